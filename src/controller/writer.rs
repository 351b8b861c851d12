//! Commands into records, one after the other: plan, decide, apply.
//!
//! Knows no thread, no store and no clock; the same commands at the same times give the same records.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    controller::{
        ActualsReceipt, ForecastReceipt, LatencyReceipt, Options,
        batch::{Batch, commit_of},
        leases::Leases,
        ledger::Settling,
        planning::{Plan, Wanted},
        replanning::{Due, Replanning, Scope, closed_by},
        work::Agenda,
    },
    domain::{
        ids::SiteId,
        interner::Interner,
        job::{ChangeCause, Job},
        link::Link,
        restriction::WindowKind,
        site::Site,
    },
    energy::{coverage, plausibility, sun::Place},
    slot::{SlotRange, TimeMs},
    state::{
        Core, Rejection,
        command::{
            ActualsCommand, ForecastCommand, JobCommand, LatencyUpdate, LinkCommand, RequestKey,
            SiteCommand, SiteVerb,
        },
        decide_jobs::JobStep,
        event::Record,
    },
};

/// The state, the timetable that follows it, and what is to be planned anew.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) core: Core,
    pub(super) plan: Plan,
    pub(super) replanning: Replanning,
    pub(super) options: Options,
    /// Whether something may be older than it is kept.
    pub(super) forgetting: bool,
    pub(super) leases: Leases,
    pub(super) agenda: Agenda,
    pub(super) settling: Settling,
    pub(super) interner: Interner,
}

impl Writer {
    /// A writer that goes on from `core` at `now`.
    ///
    /// `recent` is what may still have been due when whoever wrote the state stopped.
    pub(super) fn new(
        core: Core,
        options: Options,
        recent: Vec<Due>,
        now: TimeMs,
        mono_ms: u64,
    ) -> Self {
        let plan = Plan::new(core.state(), options, now);
        let mut writer = Self {
            leases: Leases::of(core.state(), options.leases, mono_ms),
            agenda: Agenda::new(core.state()),
            settling: Settling::default(),
            core,
            plan,
            replanning: Replanning::default(),
            options,
            forgetting: true,
            interner: Interner::new(),
        };
        writer.note_what_a_stop_left(recent);
        writer
    }

    /// What was due when the program ended is not kept, and time has passed.
    fn note_what_a_stop_left(&mut self, recent: Vec<Due>) {
        let missed = Due {
            cause: ChangeCause::StartMissed,
            trigger: Arc::default(),
            scope: Scope::Queued,
        };
        let sites = self.core.state().sites().values();
        let cordoned = sites.filter(|site| site.cordon.is_some());
        let cordons = cordoned.map(|site| Due {
            cause: closed_by(site),
            trigger: site.id.as_str().into(),
            scope: self.all_of(&site.id, false),
        });
        let left: Vec<Due> = [missed].into_iter().chain(cordons).chain(recent).collect();
        self.replanning.note_after_restart(left);
    }

    /// Carries out a command on a job.
    pub(super) fn change_job(
        &mut self,
        command: &JobCommand,
        now: TimeMs,
        batch: &mut Batch,
    ) -> Result<Arc<Job>, Rejection> {
        match self.core.begin_job(command, now)? {
            JobStep::Unchanged(job) => return Ok(job),
            JobStep::Decided(record) => {
                let job = self.core.known_job(command.id)?.clone();
                // Labels alone, or the mark of a request that changes nothing, leave the placement as it is.
                if let Some(placement) = job.placement()
                    && record.ends_placement_of(command.id)
                {
                    self.plan.timetable.release(placement);
                }
                self.commit(record, batch);
                self.note_room();
            }
            JobStep::Plan { job, spec, end_by } => {
                let old = job.placement().cloned();
                if let Some(old) = &old {
                    self.plan.timetable.release(old);
                }
                let wanted = Wanted {
                    id: command.id,
                    spec: &spec,
                    staged: job.staged_at(self.horizon().start),
                    end_by,
                };
                let nobody = BTreeSet::new();
                let proposal = self.plan.propose(self.core.state(), wanted, &nobody, now);
                let proposal = match proposal {
                    Ok(proposal) => Ok(Some(proposal)),
                    // A job that waits was accepted before: it goes on waiting instead of being refused.
                    Err(_) if old.is_none() => Ok(None),
                    Err(why) => Err(Rejection::Infeasible(why)),
                };
                let decided = proposal.and_then(|proposal| {
                    let (placement, moves) = match &proposal {
                        Some(found) => (Some(found.placement.clone()), &found.moves[..]),
                        None => (None, &[][..]),
                    };
                    let core = &self.core;
                    core.finish_job(command, &spec, end_by, placement, moves, now)
                        .inspect_err(|_| {
                            if let Some(proposal) = &proposal {
                                self.plan.withdraw(proposal);
                            }
                        })
                });
                match decided {
                    Ok(record) => {
                        self.commit(record, batch);
                        self.note_room();
                    }
                    Err(rejection) => {
                        if let Some(old) = &old {
                            self.plan.timetable.reserve(old);
                        }
                        return Err(rejection);
                    }
                }
            }
        }
        self.core.known_job(command.id).cloned()
    }

    /// Carries out a command on a site.
    pub(super) fn change_site(
        &mut self,
        command: &SiteCommand,
        now: TimeMs,
        batch: &mut Batch,
    ) -> Result<Arc<Site>, Rejection> {
        let Some(record) = self.core.decide_site(command, now)? else {
            return self.core.known_site(&command.id).cloned();
        };
        let is_changed = !record.events.is_empty();
        self.commit(record, batch);
        if !is_changed {
            return self.core.known_site(&command.id).cloned();
        }
        let site = self.core.known_site(&command.id)?.clone();
        self.plan.set_site(self.core.state(), &site);
        let (cause, scope) = match &command.verb {
            SiteVerb::Create(_) | SiteVerb::Uncordon => {
                (ChangeCause::SiteAvailable, Scope::Improvable)
            }
            SiteVerb::Cordon { .. } => (ChangeCause::Cordon, self.all_of(&site.id, false)),
            SiteVerb::Drain { .. } => (ChangeCause::Drain, self.all_of(&site.id, false)),
            SiteVerb::PutWindow(window) => {
                let cause = match window.kind {
                    WindowKind::Maintenance => ChangeCause::Maintenance,
                    WindowKind::Curtailment | WindowKind::Emergency => ChangeCause::Curtailed,
                };
                // One that replaces another may leave more.
                (cause, self.all_of(&site.id, true))
            }
            SiteVerb::DropWindow(_) => (ChangeCause::SiteAvailable, Scope::Improvable),
            SiteVerb::Update(_) => (ChangeCause::SiteChanged, self.all_of(&site.id, true)),
        };
        self.stop_forbidden(&site.id, now, batch);
        self.shed(&site.id, now, batch);
        self.unshed(&site.id, now, batch);
        self.replanning.note(Due {
            cause,
            trigger: site.id.as_str().into(),
            scope,
        });
        Ok(site)
    }

    /// Sets zones and round-trip times.
    pub(super) fn put_latencies(
        &mut self,
        update: &LatencyUpdate,
        request: Option<&RequestKey>,
        now: TimeMs,
        batch: &mut Batch,
    ) -> Result<LatencyReceipt, Rejection> {
        if let Some(record) = self.core.decide_latencies(update, request, now)? {
            self.commit(record, batch);
            let table = self.core.state().latencies().clone();
            self.plan.timetable.set_latencies(table);
            self.replanning.note(Due {
                cause: ChangeCause::Latency,
                trigger: Arc::default(),
                scope: Scope::Everything,
            });
        }
        let state = self.core.state();
        Ok(LatencyReceipt {
            n_zones: state.latencies().zones.len(),
            n_round_trips: state.latencies().n_round_trips(),
            revision: state.revision(),
        })
    }

    /// Sets the bandwidth of a link.
    pub(super) fn put_link(
        &mut self,
        command: &LinkCommand,
        now: TimeMs,
        batch: &mut Batch,
    ) -> Result<Arc<Link>, Rejection> {
        let record = self.core.decide_link(command, now)?;
        let is_changed = record
            .as_ref()
            .is_some_and(|record| !record.events.is_empty());
        if let Some(record) = record {
            self.commit(record, batch);
        }
        let link = self.core.state().known_link(&command.gateway)?.clone();
        if is_changed {
            self.plan.timetable.set_link(&link);
            self.replanning.note(Due {
                cause: ChangeCause::LinkChanged,
                trigger: link.gateway.as_str().into(),
                scope: Scope::Link(link.gateway.clone()),
            });
        }
        Ok(link)
    }

    /// Stores a forecast issue.
    pub(super) fn put_forecast(
        &mut self,
        command: &ForecastCommand,
        now: TimeMs,
        batch: &mut Batch,
    ) -> Result<ForecastReceipt, Rejection> {
        let issue = &command.issue;
        let already_existed = self.core.decide_forecast(issue, now)?.is_none();
        if !already_existed {
            self.check_plausible(command, now)?;
            if let Some(record) = self.core.decide_forecast(issue, now)? {
                self.commit(record, batch);
            }
        }
        let state = self.core.state();
        let others = state.issues_of(&issue.id.supply).map(Arc::as_ref);
        let receipt = ForecastReceipt {
            id: issue.id.clone(),
            covered_slots: issue.range.len(),
            ruling_slots: coverage::ruling_slots(issue, others),
            already_existed,
            revision: state.revision(),
        };
        // One that rules nothing is no reason to look at any job.
        if !already_existed && receipt.ruling_slots > 0 {
            self.follow_forecast(command)?;
        }
        Ok(receipt)
    }

    fn check_plausible(&self, command: &ForecastCommand, now: TimeMs) -> Result<(), Rejection> {
        let issue = &command.issue;
        let (site, supply) = self.core.state().known_supply(&issue.id.supply)?;
        let state = self.core.state();
        let others = state.issues_of(&issue.id.supply).map(Arc::as_ref);
        let ruling = coverage::ruling_bands_as_issued(others, issue.range);
        let violations = plausibility::check_issue(
            issue,
            &plausibility::IssueCheck {
                supply,
                place: Place::of(site),
                grid: self.options.settings.grid,
                slots_per_step: command.slots_per_step,
                ruling: &ruling,
                now,
                accept_jump: command.accept_jump,
            },
        );
        implausible(violations)
    }

    fn follow_forecast(&mut self, command: &ForecastCommand) -> Result<(), Rejection> {
        let id = &command.issue.id;
        let site = self.core.state().known_supply(&id.supply)?.0.clone();
        let range = command.issue.range.intersect(self.plan.timetable.horizon());
        if range.is_empty() {
            return Ok(());
        }
        self.plan.set_outlook(self.core.state(), &site);
        self.replanning.note(Due {
            cause: ChangeCause::Forecast,
            trigger: id.to_string().into(),
            scope: Scope::Site {
                site: site.id.clone(),
                range,
                or_improvable: true,
            },
        });
        Ok(())
    }

    /// Stores readings.
    pub(super) fn put_actuals(
        &mut self,
        command: &ActualsCommand,
        now: TimeMs,
        batch: &mut Batch,
    ) -> Result<ActualsReceipt, Rejection> {
        let (site, supply) = self.core.state().known_supply(&command.actuals.supply)?;
        let grid = self.options.settings.grid;
        implausible(plausibility::check_actuals(
            &command.actuals,
            supply,
            Place::of(site),
            grid,
            now,
        ))?;
        let (new_slots, corrected_slots) = self.core.count_readings(&command.actuals);
        if let Some(record) = self.core.decide_actuals(command, now)? {
            self.commit(record, batch);
        }
        Ok(ActualsReceipt {
            new_slots,
            corrected_slots,
            revision: self.core.state().revision(),
        })
    }

    /// Applies a record; the timetable has followed already.
    pub(super) fn commit(&mut self, record: Record, batch: &mut Batch) {
        let applied = self.core.apply(&record);
        for delta in &applied.jobs {
            self.agenda.follow(delta);
        }
        for delta in &applied.sites {
            self.agenda.follow_site(&delta.site);
        }
        self.plan.follow(&applied.jobs);
        batch.commits.extend(commit_of(&record, applied));
        batch.records.push(record);
    }

    /// Room became free; only jobs that wait can use it at once.
    pub(super) fn note_room(&mut self) {
        if self.core.state().n_queued_jobs() > 0 {
            self.replanning.note(Due {
                cause: ChangeCause::Room,
                trigger: Arc::default(),
                scope: Scope::Queued,
            });
        }
    }

    pub(super) fn all_of(&self, site: &SiteId, or_improvable: bool) -> Scope {
        Scope::Site {
            site: site.clone(),
            range: self.plan.timetable.horizon(),
            or_improvable,
        }
    }

    /// Slots of the horizon as of the last turn.
    pub(super) fn horizon(&self) -> SlotRange {
        self.plan.timetable.horizon()
    }
}

fn implausible(violations: Vec<crate::domain::violation::Violation>) -> Result<(), Rejection> {
    if violations.is_empty() {
        return Ok(());
    }
    Err(Rejection::ImplausibleSeries(violations))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::site::Country,
        state::{
            command::Submission,
            testing::{NOW, issue, job_id, latencies, settings, site, submission},
        },
    };

    fn site_command(id: &SiteId, verb: SiteVerb) -> SiteCommand {
        SiteCommand {
            id: id.clone(),
            etag: None,
            request: None,
            verb,
        }
    }

    fn job_to_place() -> Submission {
        let mut submission = submission(1, None).submission;
        submission.hold = false;
        submission
    }

    #[test]
    fn what_was_due_when_the_program_ended_is_due_after_a_start() {
        let options = Options::new(settings());
        let mut batch = Batch::default();
        let mut writer = Writer::new(Core::new(settings()), options, Vec::new(), NOW, 0);
        for id in ["here", "there"] {
            let mut site = site(id);
            // Where no rule of data is in the way.
            site.country = Country::parse("LA").unwrap();
            let create = site_command(&site.id, SiteVerb::Create(Box::new(site.clone())));
            writer.change_site(&create, NOW, &mut batch).unwrap();
        }
        let table = latencies(&["here", "there"]);
        writer.put_latencies(&table, None, NOW, &mut batch).unwrap();
        let submitted = writer.submit(vec![job_to_place()], true, NOW, &mut batch);
        let job = submitted.unwrap().remove(0).unwrap().job;
        let left = job.placement().unwrap().site.clone();
        let reason = "maintenance".into();
        let cordon = site_command(&left, SiteVerb::Cordon { reason });
        writer.change_site(&cordon, NOW, &mut batch).unwrap();
        // The program ends before it has had an idle moment.
        let mut writer = Writer::new(writer.core, options, Vec::new(), NOW, 0);
        while writer.replanning.is_due() {
            writer.replan(NOW, &mut batch).unwrap();
        }
        let job = writer.core.known_job(job_id(1)).unwrap();
        assert_ne!(job.placement().unwrap().site, left);
        assert_eq!(job.cause, ChangeCause::Cordon);
    }

    #[test]
    fn a_horizon_that_moves_slot_by_slot_looks_as_one_built_anew() {
        let settings = settings();
        let options = Options::new(settings);
        let (mut batch, site) = (Batch::default(), site("here"));
        let mut writer = Writer::new(Core::new(settings), options, Vec::new(), NOW, 0);
        let create = site_command(&site.id, SiteVerb::Create(Box::new(site.clone())));
        writer.change_site(&create, NOW, &mut batch).unwrap();
        // Two issues that grow stale at different slots, expire, and leave the rest to the monthly profile.
        let here = settings.grid.slot_at(NOW);
        let early = issue("here/hydro", NOW, here.plus(4), 1_400, 2_000);
        let late = issue(
            "here/hydro",
            NOW.plus_ms(3_600_000),
            here.plus(300),
            100,
            3_000,
        );
        for (hour, issue) in [(0, early), (1, late)] {
            let command = ForecastCommand {
                issue,
                slots_per_step: 1,
                accept_jump: true,
            };
            let now = NOW.plus_ms(hour * 3_600_000);
            writer.tick(now);
            writer.put_forecast(&command, now, &mut batch).unwrap();
        }
        // Most steps are of one slot; some jump over several, and one over the whole horizon.
        let mut slot = 8;
        for step in (0..600)
            .map(|i| if i % 50 == 49 { 7 } else { 1 })
            .chain([2_000, 1])
        {
            slot += step;
            let now = settings.grid.start_of(here.plus(slot));
            writer.tick(now);
            let anew = Plan::new(writer.core.state(), options, now);
            assert!(
                writer.plan.timetable == anew.timetable,
                "after {slot} slots"
            );
        }
    }
}
