//! Work that runs at a site is brought under what the site may use: by a curtailment, a window of maintenance, or a cap
//! or pool that became smaller.
//!
//! What has not begun gives way by re-planning; here it is the turn of what has. In the first slot that is over its
//! bound, and then in the next: jobs that can be interrupted pause, those of the lowest priority first, then those that
//! save most; malleable ones go on with fewer units from the next slot on; and at a maintenance or an emergency whatever
//! is left is stopped. Each change is planned, so that what pauses goes on by its plan.

use std::{collections::BTreeMap, sync::Arc};

use tracing::{info, warn};

use crate::{
    controller::{batch::Batch, planning::Plan, writer::Writer},
    domain::{
        ids::{JobId, PoolId, SiteId},
        job::{Active, ChangeCause, Flexibility, Job, JobState, Phase, StopCause},
        placement::Placement,
        restriction::WindowKind,
        site::{Amounts, Site},
    },
    limits,
    slot::{Slot, SlotRange, TimeMs},
    state::command::Relief,
};

/// What the active jobs of a site take slot by slot, those left out that are being stopped.
struct Draw {
    first: Slot,
    power_watts: Vec<u64>,
    pools: BTreeMap<PoolId, Vec<Amounts>>,
}

/// A job that may give way in a slot. The order is that in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    class: Class,
    priority: u32,
    /// Those that save most come first.
    watts: std::cmp::Reverse<u64>,
    id: JobId,
}

/// How a job may give way; the gentlest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Pauses,
    Slows,
    Stops,
}

impl Writer {
    /// Brings what runs at a site under its bounds, in the present slot and in those to come; what cannot be is left.
    pub(super) fn shed(&mut self, id: &SiteId, now: TimeMs, batch: &mut Batch) {
        let Some(site) = self.core.state().site(id).cloned() else {
            return;
        };
        let current = self.options.settings.grid.slot_at(now);
        let is_sound = self.core.bookings().is_within(&site, current, None);
        if is_sound && site.window_at(current).is_none() {
            return;
        }
        let begun = self.begun_at(id).into_iter();
        let mut jobs: BTreeMap<JobId, Arc<Job>> = begun.map(|job| (job.id, job)).collect();
        let mut draw = Draw::of(jobs.values(), &site, current);
        let mut reliefs = Vec::new();
        for slot in draw.slots() {
            if draw.is_within(&site, slot) {
                continue;
            }
            for candidate in candidates(jobs.values(), &site, slot, current) {
                if draw.is_within(&site, slot) {
                    break;
                }
                let Some(job) = jobs.get(&candidate.id).cloned() else {
                    continue;
                };
                if !draw.is_helped_by(&site, slot, &job) {
                    continue;
                }
                let Some(relief) = self.relief(&site, &job, candidate.class, slot, current) else {
                    continue;
                };
                draw.give_back(&job, &site);
                match &relief {
                    Relief::Rest { to, .. } => {
                        let after = with_placement(&job, to);
                        draw.take(&after, &site);
                        jobs.insert(job.id, after);
                    }
                    Relief::Stop { .. } => {
                        jobs.remove(&job.id);
                    }
                }
                reliefs.push(relief);
            }
            if !draw.is_within(&site, slot) && slot == current {
                let watts = draw.power_at(slot);
                warn!(site = %id, watts, allowed = site.power_allowed(slot), "what runs is above what the site may use, and nothing of it may be stopped");
            }
        }
        self.relieve(id, &reliefs, now, batch);
    }

    /// How a job gives way in a slot; `None` when it cannot, or need not yet.
    fn relief(
        &mut self,
        site: &Site,
        job: &Arc<Job>,
        class: Class,
        slot: Slot,
        current: Slot,
    ) -> Option<Relief> {
        let cause = cause_of(site, slot);
        let stop = Relief::Stop { id: job.id, cause };
        let once = |job: &Job| {
            let execution = job.spec.execution.as_deref();
            execution.is_some_and(|execution| execution.at_most_once)
        };
        let may_stop = slot == current && (!once(job) || cause == StopCause::Maintenance);
        if class == Class::Stops {
            return may_stop.then_some(stop);
        }
        let placement = job.placement()?.clone();
        // Units change where a slot begins.
        let from = match class {
            Class::Slows => slot.max(current.plus(1)),
            Class::Pauses | Class::Stops => slot,
        };
        self.plan.timetable.release(&placement);
        let rest = self.rest(job, &placement, from);
        // What runs past its placement is not in the timetable, so that the rest may look possible where it is not.
        let gives_way = |rest: &Placement| {
            *rest != *placement
                && (class != Class::Pauses || units_in(rest, site, slot, current) == 0)
        };
        let Some(to) = rest.filter(gives_way).map(Arc::new) else {
            self.plan.timetable.reserve(&placement);
            return may_stop.then_some(stop);
        };
        self.plan.timetable.reserve(&to);
        let id = job.id;
        Some(Relief::Rest {
            id,
            to,
            from,
            cause: cause.begins_again().unwrap_or(ChangeCause::Curtailed),
        })
    }

    /// Jobs that have begun at a site and are to go on, now or by their plans.
    fn begun_at(&self, site: &SiteId) -> Vec<Arc<Job>> {
        let state = self.core.state();
        let is_stopping = |job: &Job| {
            let active = job.state.active();
            active.is_some_and(|active| matches!(active.phase, Phase::Stopping(_)))
        };
        let active = state.active_at(site).filter(|job| !is_stopping(job));
        active.chain(state.between_runs(site)).cloned().collect()
    }

    /// Makes reliefs durable; the timetable has followed those that are planned.
    fn relieve(&mut self, site: &SiteId, reliefs: &[Relief], now: TimeMs, batch: &mut Batch) {
        if reliefs.is_empty() {
            return;
        }
        info!(%site, n_jobs = reliefs.len(), "what has begun there goes on by another plan, or stops");
        let stopped = reliefs.iter().filter_map(|relief| match relief {
            Relief::Stop { id, .. } => self.core.state().job(*id).cloned(),
            Relief::Rest { .. } => None,
        });
        // Between two runs nothing of a job has to end first: its room is free at once.
        for job in stopped.collect::<Vec<_>>() {
            if let JobState::Planned(placement) = &job.state {
                self.plan.timetable.release(placement);
            }
        }
        for part in reliefs.chunks(limits::REPLAN_CANDIDATES_MAX) {
            match self.core.decide_relief(site, part, now) {
                Ok(Some(record)) => self.commit(record, batch),
                Ok(None) => {}
                Err(defect) => {
                    tracing::error!(%defect, "a relief did not fit the state");
                    self.plan = Plan::new(self.core.state(), self.options, now);
                    return;
                }
            }
        }
        self.note_room();
    }

    /// Lets jobs of a site go on earlier that wait for their plan there, now that it may use more.
    pub(super) fn unshed(&mut self, id: &SiteId, now: TimeMs, batch: &mut Batch) {
        let next = self.options.settings.grid.slot_from(now);
        let mut reliefs = Vec::new();
        for job in self.begun_at(id) {
            let Some(placement) = job.placement().cloned() else {
                continue;
            };
            let waits = placement.runs.iter().all(|run| !run.slots.contains(next));
            if !waits || placement.end() <= next {
                continue;
            }
            self.plan.timetable.release(&placement);
            let rest = self.rest(&job, &placement, next);
            match rest
                .filter(|rest| rest.end() < placement.end())
                .map(Arc::new)
            {
                Some(to) => {
                    self.plan.timetable.reserve(&to);
                    reliefs.push(Relief::Rest {
                        id: job.id,
                        to,
                        from: next,
                        cause: ChangeCause::SiteAvailable,
                    });
                }
                None => self.plan.timetable.reserve(&placement),
            }
        }
        self.relieve(id, &reliefs, now, batch);
    }
}

impl Writer {
    /// Lets jobs between two runs that have missed all of their runs go on later where they are, with what is left to do.
    /// Those that find no room there, or nobody to run them, are left.
    pub(super) fn go_on_later(
        &mut self,
        ids: impl Iterator<Item = JobId>,
        now: TimeMs,
        batch: &mut Batch,
    ) {
        let slot = self.options.settings.grid.slot_at(now);
        for id in ids {
            let job = self.core.state().job(id).filter(|job| job.goes_on());
            let Some(job) = job.cloned() else { continue };
            let Some(placement) = job.placement().filter(|one| one.end() <= slot) else {
                continue;
            };
            let site = placement.site.clone();
            let agent = self.core.state().agent(&site);
            if !agent.is_some_and(|agent| agent.is_usable()) {
                continue;
            }
            // None of it is in a slot to come: there is nothing to release.
            if let Some(to) = self.rest(&job, placement, slot).map(Arc::new) {
                self.plan.timetable.reserve(&to);
                let rest = Relief::Rest {
                    id,
                    to,
                    from: slot,
                    cause: ChangeCause::StartMissed,
                };
                self.relieve(&site, &[rest], now, batch);
            }
        }
    }

    /// Where the rest of a job that has begun goes on from a slot, once its reservation is released.
    fn rest(&self, job: &Job, placement: &Placement, from: Slot) -> Option<Placement> {
        let grid = self.options.settings.grid;
        let done = job
            .done_before(grid)
            .map_or(from, |before| before.min(from));
        let end_by = grid.slot_at(job.end_by);
        let revision = self.core.state().revision();
        let timetable = &self.plan.timetable;
        timetable.rest(&job.spec, placement, done, from, end_by, revision)
    }
}

impl Draw {
    fn of<'a>(jobs: impl Iterator<Item = &'a Arc<Job>> + Clone, site: &Site, first: Slot) -> Self {
        let placements = jobs.clone().filter_map(|job| job.placement());
        let end = placements.map(|placement| placement.end()).max();
        let n_slots = end.map_or(0, |end| end.0.saturating_sub(first.0)).max(1);
        let n_slots = usize::try_from(n_slots).unwrap_or(0);
        let pools = site.pools.iter();
        let mut draw = Self {
            first,
            power_watts: vec![0; n_slots],
            pools: pools
                .map(|pool| (pool.id.clone(), vec![Amounts::default(); n_slots]))
                .collect(),
        };
        for job in jobs {
            draw.take(job, site);
        }
        draw
    }

    fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        let n_slots = u32::try_from(self.power_watts.len()).unwrap_or(u32::MAX);
        SlotRange::new(self.first, self.first.plus(n_slots)).iter()
    }

    fn index(&self, slot: Slot) -> Option<usize> {
        let offset = slot.0.checked_sub(self.first.0)?;
        usize::try_from(offset).ok()
    }

    fn power_at(&self, slot: Slot) -> u64 {
        let i = self.index(slot);
        i.and_then(|i| self.power_watts.get(i))
            .copied()
            .unwrap_or(0)
    }

    fn pool_at(&self, pool: &PoolId, slot: Slot) -> Amounts {
        let column = self.pools.get(pool);
        let i = self.index(slot);
        i.and_then(|i| column?.get(i)).copied().unwrap_or_default()
    }

    fn take(&mut self, job: &Job, site: &Site) {
        self.book(job, site, |sum, more| *sum += more);
    }

    fn give_back(&mut self, job: &Job, site: &Site) {
        self.book(job, site, |sum, less| *sum = sum.saturating_sub(less));
    }

    fn book(&mut self, job: &Job, site: &Site, mut book: impl FnMut(&mut u64, u64)) {
        let Some(placement) = job.placement() else {
            return;
        };
        let planned = placement.units_by_slot();
        let late = late_units(placement, site, self.first).map(|units| (self.first, units));
        for (slot, units) in planned.chain(late) {
            let Some(i) = self.index(slot).filter(|i| *i < self.power_watts.len()) else {
                continue;
            };
            book(
                &mut self.power_watts[i],
                placement.power_watts.saturating_mul(units.into()),
            );
            if let Some(pool) = self.pools.get_mut(&placement.pool) {
                let amounts = placement.amounts.times(units);
                book(&mut pool[i].cpu_cores, amounts.cpu_cores);
                book(&mut pool[i].memory_mib, amounts.memory_mib);
                book(&mut pool[i].gpus, amounts.gpus);
            }
        }
    }

    fn is_within(&self, site: &Site, slot: Slot) -> bool {
        self.power_at(slot) <= site.power_allowed(slot)
            && site
                .pools
                .iter()
                .all(|pool| pool.capacity().cover(&self.pool_at(&pool.id, slot)))
    }

    /// Whether less of the job would help in a slot.
    fn is_helped_by(&self, site: &Site, slot: Slot, job: &Job) -> bool {
        let too_much_power = site.power_allowed(slot) < self.power_at(slot);
        let pool = job.placement().map(|placement| &placement.pool);
        let too_full = pool
            .and_then(|id| site.pool(id))
            .is_some_and(|(_, pool)| !pool.capacity().cover(&self.pool_at(&pool.id, slot)));
        too_much_power || too_full
    }
}

/// Jobs that take something in a slot, in the order in which they give way there.
fn candidates<'a>(
    jobs: impl Iterator<Item = &'a Arc<Job>>,
    site: &Site,
    slot: Slot,
    current: Slot,
) -> Vec<Candidate> {
    let kind = site.window_at(slot).map(|window| window.kind);
    let is_hard = matches!(kind, Some(WindowKind::Maintenance | WindowKind::Emergency));
    let mut found: Vec<Candidate> = jobs
        .filter_map(|job| {
            let placement = job.placement()?;
            let units = units_in(placement, site, slot, current);
            let class = match &job.spec.flexibility {
                Flexibility::Interruptible { .. } => Class::Pauses,
                Flexibility::Malleable { .. } => Class::Slows,
                Flexibility::Rigid if is_hard && slot == current => Class::Stops,
                Flexibility::Rigid => return None,
            };
            (0 < units).then_some(Candidate {
                class,
                priority: job.spec.priority,
                watts: std::cmp::Reverse(placement.power_watts.saturating_mul(units.into())),
                id: job.id,
            })
        })
        .collect();
    found.sort_unstable();
    found
}

/// Units with which a placement that is over draws on. That counts only while a window is open: at other times it gets its
/// slots from what has not begun.
fn late_units(placement: &Placement, site: &Site, current: Slot) -> Option<u32> {
    let is_late = placement.end() <= current && site.window_at(current).is_some();
    let last = placement.runs.last().filter(|_| is_late)?;
    Some(last.units)
}

/// Units of a placement in a slot from the present one on.
fn units_in(placement: &Placement, site: &Site, slot: Slot, current: Slot) -> u32 {
    let run = placement.runs.iter().find(|run| run.slots.contains(slot));
    let late = || late_units(placement, site, current).filter(|_| slot == current);
    run.map(|run| run.units).or_else(late).unwrap_or(0)
}

/// Why jobs give way in a slot.
fn cause_of(site: &Site, slot: Slot) -> StopCause {
    match site.window_at(slot).map(|window| window.kind) {
        Some(WindowKind::Maintenance) => StopCause::Maintenance,
        Some(WindowKind::Curtailment | WindowKind::Emergency) | None => StopCause::Curtailed,
    }
}

fn with_placement(job: &Arc<Job>, to: &Arc<Placement>) -> Arc<Job> {
    let mut after = Job::clone(job);
    after.state = match job.state.active() {
        Some(active) => JobState::Active(Active {
            placement: to.clone(),
            ..active.clone()
        }),
        None => JobState::Planned(to.clone()),
    };
    Arc::new(after)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        controller::{Heard, Options, planning::Plan, work::Enrollment},
        domain::{
            agent::Token,
            attempt::{AttemptEnd, Ended},
            data_policy::{DataPolicy, Requirements},
            execution::{Execution, PauseMode, RetryPolicy, SiteLostPolicy},
            ids::{Revision, WindowId},
            job::JobSpec,
            restriction::Window,
            site::Country,
        },
        state::{
            Core,
            command::{Report, ReportedEvent, ReportedKind, SiteCommand, SitePatch, SiteVerb},
            testing::{self, NOW, latencies, settings, submission},
        },
    };

    /// What a job is: 0 rigid, 1 in pieces, 2 malleable; its priority; whether it runs once; whether its attempts end with
    /// its runs; whether its data ask for memory that is encrypted.
    type Kind = (u8, u32, bool, bool, bool);

    #[derive(Debug, Clone)]
    enum Step {
        Submit(Kind),
        Window(u8, WindowKind, u32, u32, u64),
        Lift(u8),
        Cap(u64),
        /// Whether memory is encrypted from now on.
        Encrypt(bool),
        /// The agent has ended what is to end.
        End,
        /// Whether the agent is heard from now on: if not, nothing is offered, and runs are missed.
        Hear(bool),
        Pass(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let kind = proptest::sample::select(WindowKind::ALL.to_vec());
        prop_oneof![
            6 => kind_of_job().prop_map(Step::Submit),
            3 => (0..3_u8, kind, 0..8_u32, 1..8_u32, 0..6_000_u64)
                .prop_map(|(id, kind, at, n, watts)| Step::Window(id, kind, at, n, watts)),
            1 => (0..3_u8).prop_map(Step::Lift),
            1 => (0..9_000_u64).prop_map(Step::Cap),
            2 => any::<bool>().prop_map(Step::Encrypt),
            4 => Just(Step::End),
            2 => any::<bool>().prop_map(Step::Hear),
            4 => (0..5_u32).prop_map(Step::Pass),
        ]
    }

    fn kind_of_job() -> impl Strategy<Value = Kind> {
        let seldom = || prop::bool::weighted(0.2);
        (0..3_u8, 1..=10_u32, seldom(), any::<bool>(), any::<bool>())
    }

    struct World {
        writer: Writer,
        batch: Batch,
        now: TimeMs,
        site: SiteId,
        n_submitted: u64,
        /// Number of the agent's last event.
        sequence: u64,
        is_heard: bool,
    }

    impl World {
        fn new() -> Self {
            let options = Options::new(settings());
            let mut batch = Batch::default();
            let mut writer = Writer::new(Core::new(settings()), options, Vec::new(), NOW, 0);
            let mut site = testing::site("here");
            // Where no rule of data is in the way.
            site.country = Country::parse("LA").unwrap();
            site.pools[0].encrypted_in_use = true;
            let id = site.id.clone();
            let create = command(&id, SiteVerb::Create(Box::new(site)));
            writer.change_site(&create, NOW, &mut batch).unwrap();
            let table = latencies(&["here"]);
            writer.put_latencies(&table, None, NOW, &mut batch).unwrap();
            let token = Token {
                sha256: [1; 32],
                expires_at: NOW,
            };
            writer.put_token(&id, token, NOW, &mut batch).unwrap();
            let enrollment = Enrollment {
                site: id.clone(),
                token_sha256: [1; 32],
                instance: "i".into(),
                credential_sha256: [2; 32],
            };
            writer.enroll(&enrollment, NOW, 0, &mut batch).unwrap();
            Self {
                writer,
                batch,
                now: NOW,
                site: id,
                n_submitted: 0,
                sequence: 0,
                is_heard: true,
            }
        }

        fn take(&mut self, step: &Step) {
            let first = settings().grid.slot_at(self.now);
            let verb = match step {
                Step::Submit(kind) => {
                    self.submit(*kind);
                    None
                }
                Step::Window(id, kind, at, n_slots, watts) => {
                    let start = first.plus(*at);
                    Some(SiteVerb::PutWindow(Box::new(Window {
                        id: window_id(*id),
                        kind: *kind,
                        slots: SlotRange::new(start, start.plus(*n_slots)),
                        max_watts: if *kind == WindowKind::Maintenance {
                            0
                        } else {
                            *watts
                        },
                        reason: "mains".into(),
                    })))
                }
                Step::Lift(id) => Some(SiteVerb::DropWindow(window_id(*id))),
                Step::Cap(watts) => Some(SiteVerb::Update(Box::new(SitePatch {
                    power_cap_watts: Some(*watts),
                    ..SitePatch::default()
                }))),
                Step::Encrypt(is_encrypted) => {
                    let site = self.writer.core.known_site(&self.site).unwrap();
                    let mut pools = site.pools.clone();
                    pools[0].encrypted_in_use = *is_encrypted;
                    Some(SiteVerb::Update(Box::new(SitePatch {
                        pools: Some(pools),
                        ..SitePatch::default()
                    })))
                }
                Step::End => {
                    self.end();
                    None
                }
                Step::Hear(is_heard) => {
                    self.is_heard = *is_heard;
                    None
                }
                Step::Pass(n_slots) => {
                    self.now = self.now.plus_ms(i64::from(*n_slots) * 900_000 + 60_000);
                    None
                }
            };
            if let Some(verb) = verb {
                let command = command(&self.site, verb);
                let _refused = self.writer.change_site(&command, self.now, &mut self.batch);
            }
            self.turn();
        }

        /// Reports that what is to be stopped has ended.
        fn end(&mut self) {
            let state = self.writer.core.state();
            let stopping = state.active_at(&self.site).filter(|job| {
                let active = job.state.active();
                active.is_some_and(|active| active.stopping().is_some())
            });
            let ended = stopping.zip(self.sequence + 1..).map(|(job, sequence)| {
                let fence = job.work.as_ref().unwrap().last().unwrap().fence;
                let end = Ended {
                    at: self.now,
                    end: AttemptEnd::Stopped,
                    run_ms: 0,
                    energy_watt_seconds: 0,
                    message: "".into(),
                };
                ReportedEvent {
                    sequence,
                    job: job.id,
                    fence,
                    at: self.now,
                    kind: ReportedKind::Ended(end),
                }
            });
            let events: Vec<ReportedEvent> = ended.collect();
            self.sequence += u64::try_from(events.len()).unwrap();
            let report = Report {
                process: None,
                site: self.site.clone(),
                instance: "i".into(),
                last_sequence: self.sequence,
                seen_revision: Revision(0),
                held: Vec::new(),
                events,
                version: "".into(),
            };
            let taken = self
                .writer
                .take_report(&report, self.now, 0, &mut self.batch);
            assert_eq!(taken.unwrap().acknowledged, self.sequence);
        }

        fn submit(&mut self, (flexibility, priority, at_most_once, requeues, is_secret): Kind) {
            let may_requeue = flexibility != 0 && !at_most_once;
            self.n_submitted += 1;
            let mut submission = submission(self.n_submitted, None).submission;
            submission.hold = false;
            submission.spec = Arc::new(JobSpec {
                priority,
                flexibility: match flexibility {
                    0 => Flexibility::Rigid,
                    1 => Flexibility::Interruptible {
                        min_chunk_ms: 900_000,
                        resume_cost_ms: 0,
                    },
                    _ => Flexibility::Malleable {
                        speed_permille: [1_000, 1_900].into(),
                    },
                },
                execution: Some(Arc::new(Execution {
                    argv: Box::new(["run".into()]),
                    environment: Box::default(),
                    max_runtime_ms: None,
                    retry: RetryPolicy {
                        max_attempts: 1,
                        backoff_ms: 0,
                        retry_on: std::collections::BTreeSet::new(),
                    },
                    on_site_lost: SiteLostPolicy::Requeue,
                    at_most_once,
                    stop_grace_ms: 0,
                    pause_mode: match requeues && may_requeue {
                        true => PauseMode::Requeue,
                        false => PauseMode::Suspend,
                    },
                    checkpoint: None,
                    inputs: Box::default(),
                    outputs: Box::default(),
                })),
                data_policy: Arc::new(DataPolicy {
                    require: Requirements {
                        encrypted_in_use: is_secret,
                        ..Requirements::default()
                    },
                    ..DataPolicy::clone(&testing::spec().data_policy)
                }),
                ..testing::spec()
            });
            let outcome = self
                .writer
                .submit(vec![submission], true, self.now, &mut self.batch);
            if outcome.is_err() {
                self.n_submitted -= 1;
            }
        }

        /// What a turn of the controller does, with an agent that says nothing of its jobs, whether or not it is heard.
        fn turn(&mut self) {
            self.writer.tick(self.now);
            while self.writer.replanning.is_due() {
                self.writer.replan(self.now, &mut self.batch).unwrap();
            }
            let heard = Heard {
                mono_ms: 0,
                at: self.now,
                n_held: 0,
                version: Arc::default(),
            };
            match self.is_heard {
                true => self.writer.leases.hear(&self.site, heard),
                false => self.writer.leases.forget(&self.site),
            }
            self.writer.work(self.now, 0, &mut self.batch);
            self.batch = Batch::default();
            self.check();
        }

        fn only_job(&self) -> Arc<Job> {
            let mut jobs = self.writer.core.state().jobs().values();
            Arc::clone(jobs.next().unwrap())
        }

        /// Jobs that are to run in the present slot, with what they draw, watts.
        fn draws(&self, site: &Site, slot: Slot) -> impl Iterator<Item = (Arc<Job>, u64)> {
            let begun = self.writer.begun_at(&self.site).into_iter();
            begun.filter_map(move |job| {
                let active = job.state.active().filter(|active| active.pause.is_none())?;
                let units = units_in(&active.placement, site, slot, slot);
                let watts = active.placement.power_watts * u64::from(units);
                (0 < units).then(|| (job.clone(), watts))
            })
        }

        /// What runs is within what the site may use, or nothing more of it may be stopped; the data rules allow it; no job
        /// is lost; the timetable and the sums are those of the state.
        fn check(&self) {
            let state = self.writer.core.state();
            let site = state.site(&self.site).unwrap();
            let slot = settings().grid.slot_at(self.now);
            // What runs past its placement gets its slots from others, or none: only a window concerns it.
            let placed: u64 = self.draws(site, slot).map(|(_, watts)| watts).sum();
            if site.power_allowed(slot) < placed {
                let window = site.window_at(slot).map(|window| window.kind);
                for (job, _) in self.draws(site, slot) {
                    let once = job.spec.execution.as_deref().unwrap().at_most_once;
                    let may_stay = match (&job.spec.flexibility, window) {
                        // Units change where a slot begins.
                        (Flexibility::Malleable { .. }, _) => true,
                        (Flexibility::Interruptible { .. }, kind) => {
                            once && kind != Some(WindowKind::Maintenance)
                        }
                        (Flexibility::Rigid, Some(WindowKind::Maintenance)) => false,
                        (Flexibility::Rigid, Some(WindowKind::Emergency)) => once,
                        (Flexibility::Rigid, Some(WindowKind::Curtailment) | None) => true,
                    };
                    assert!(may_stay, "{job:?}");
                }
            }
            for job in self.writer.begun_at(&self.site) {
                assert!(self.writer.may_go_on(&job, self.now), "{job:?}");
            }
            let n_jobs = u64::try_from(state.jobs().len()).unwrap();
            assert_eq!(n_jobs, self.n_submitted);
            let anew = Plan::new(state, self.writer.options, self.now);
            assert!(anew.timetable == self.writer.plan.timetable);
            assert!(Core::restore(state.clone()) == self.writer.core);
        }
    }

    fn command(id: &SiteId, verb: SiteVerb) -> SiteCommand {
        SiteCommand {
            id: id.clone(),
            etag: None,
            request: None,
            verb,
        }
    }

    fn window_id(number: u8) -> WindowId {
        WindowId::parse(&format!("w-{number}")).unwrap()
    }

    /// A job with two runs, the second from the third slot on, that is between them.
    fn between_runs() -> World {
        let mut world = World::new();
        world.take(&Step::Submit((1, 5, false, true, false)));
        world.take(&Step::Window(0, WindowKind::Curtailment, 1, 2, 0));
        world.take(&Step::Pass(1));
        world.take(&Step::End);
        world.take(&Step::Pass(1));
        assert!(world.only_job().goes_on());
        world
    }

    #[test]
    fn a_job_that_missed_its_runs_goes_on_later_with_what_is_left() {
        let mut world = between_runs();
        let runs = |world: &World| {
            let placement = world.only_job().placement().unwrap().clone();
            let runs = placement.runs.iter();
            runs.map(|run| run.slots).collect::<Vec<_>>()
        };
        let before = runs(&world);
        assert_eq!(before.len(), 2);
        world.take(&Step::Hear(false));
        let n_missed = before[1].end.0 - settings().grid.slot_at(world.now).0;
        world.take(&Step::Pass(n_missed));
        let after = runs(&world);
        assert_eq!(after[0], before[0]);
        assert_eq!(after[1].start, before[1].end);
        assert_eq!(after[1].len(), before[1].len());
        world.take(&Step::Hear(true));
        assert!(world.only_job().state.active().is_some());
    }

    #[test]
    fn a_job_between_two_runs_for_which_there_is_no_room_any_more_gives_its_room_back() {
        let mut world = between_runs();
        // Its run has come, and before it is offered its site loses all of its power.
        world.now = world.now.plus_ms(900_000);
        world.take(&Step::Cap(0));
        assert_eq!(world.only_job().state, JobState::Queued);
    }

    proptest! {
        #![proptest_config(testing::cases(64))]

        #[test]
        fn what_runs_is_allowed_and_within_its_bounds_or_may_not_be_stopped_and_no_job_is_lost(
            steps in vec(step(), 1..40),
        ) {
            let mut world = World::new();
            for step in &steps {
                world.take(step);
            }
        }
    }
}
