//! What is to be planned anew, and the change of plan that follows: at the writer's own pace, in bounded steps.
//!
//! Each step is one atomic revision; sound placements move only when it pays, and only so many for one cause.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    controller::{
        batch::Batch,
        planning::{Plan, Wanted},
        writer::Writer,
    },
    domain::{
        ids::{GatewayId, JobId, SiteId},
        job::{ChangeCause, Job, JobState},
        placement::Placement,
        site::Site,
    },
    limits,
    planner::{Candidate, Move, MoveKind, ReplanOptions, Window, replan},
    slot::{Slot, SlotRange, TimeMs},
    state::{Rejection, Settings, command::PlanChange, event::Event},
};

/// Something that may change where jobs are best placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) cause: ChangeCause,
    /// The site, supply or forecast behind it.
    pub(super) trigger: Arc<str>,
    pub(super) scope: Scope,
}

/// Which jobs to look at. Jobs without a placement and jobs whose start has passed are always looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// No others.
    Queued,
    /// Those that draw grid energy.
    Improvable,
    /// Those placed at a site in these slots, and where it may help them those that draw grid energy.
    Site {
        site: SiteId,
        range: SlotRange,
        or_improvable: bool,
    },
    /// Those whose input comes over this link or another way, the latter where it may help them.
    Link(GatewayId),
    /// All.
    Everything,
}

/// A job to look at, and why.
type Entry = (JobId, ChangeCause, Arc<str>);

/// What is due, and the jobs of the last causes that are still to be looked at.
#[derive(Debug, Default)]
pub(super) struct Replanning {
    due: Vec<Due>,
    /// Jobs without a sound placement, in the order in which they are served.
    waiting: BTreeMap<(Reverse<u32>, JobId), Entry>,
    /// Jobs with one.
    sound: VecDeque<Entry>,
    /// Whether the last step had no place for jobs with a sound placement: then they come first in the next.
    sound_next: bool,
    moves_left: usize,
    stuck: Stuck,
    /// Whether what is due was left by a stop: then only what no longer holds is moved, as a restart is no reason to.
    is_after_restart: bool,
}

/// Jobs without a placement for which there is no room as it is: others may move for them.
#[derive(Debug)]
struct Stuck {
    /// Each once. The others get their turn before one is tried again.
    queue: VecDeque<Entry>,
    ids: BTreeSet<JobId>,
    /// How many may be tried before the present slot is over.
    tries_left: usize,
}

impl Default for Stuck {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            ids: BTreeSet::new(),
            tries_left: limits::CHAINS_PER_SLOT_MAX,
        }
    }
}

impl Stuck {
    fn push(&mut self, entry: Entry) {
        if self.ids.insert(entry.0) {
            self.queue.push_back(entry);
        }
    }

    fn is_due(&self) -> bool {
        0 < self.tries_left && !self.queue.is_empty()
    }

    fn next(&mut self) -> Option<Entry> {
        self.tries_left = self.tries_left.checked_sub(1)?;
        let entry = self.queue.pop_front()?;
        self.ids.remove(&entry.0);
        Some(entry)
    }
}

impl Due {
    /// What an event may have left to be done if the writer stopped right after it; `None` when nothing.
    pub(super) fn after_restart(event: &Event) -> Option<Self> {
        let everywhere = |site: &SiteId| Scope::Site {
            site: site.clone(),
            range: SlotRange::new(Slot(0), Slot(u32::MAX)),
            or_improvable: true,
        };
        match event {
            Event::SitePut(site) => Some(Self {
                cause: match site.cordon {
                    Some(_) => closed_by(site),
                    None => ChangeCause::SiteChanged,
                },
                trigger: site.id.as_str().into(),
                scope: everywhere(&site.id),
            }),
            Event::ForecastPut(issue) => Some(Self {
                cause: ChangeCause::Forecast,
                trigger: issue.id.to_string().into(),
                scope: everywhere(&SiteId::parse(issue.id.supply.site_part()).ok()?),
            }),
            Event::LatenciesPut(_) => Some(Self {
                cause: ChangeCause::Latency,
                trigger: Arc::default(),
                scope: Scope::Everything,
            }),
            Event::LinkPut(link) => Some(Self {
                cause: ChangeCause::LinkChanged,
                trigger: link.gateway.as_str().into(),
                scope: Scope::Link(link.gateway.clone()),
            }),
            Event::JobSubmitted(_)
            | Event::JobChanged(_)
            | Event::JobForgotten(_)
            | Event::ForecastForgotten(_)
            | Event::ActualsPut(_)
            | Event::ActualsForgotten(..)
            | Event::RequestForgotten(_)
            | Event::AgentPut(_)
            | Event::ReadingsPut(_)
            | Event::JobReadingsPut(_)
            | Event::SlotSettled(_)
            | Event::LedgerTrimmed { .. } => None,
        }
    }
}

impl Replanning {
    /// Notes that something is due; the same thing twice is due once.
    pub(super) fn note(&mut self, due: Due) {
        if !self.due.contains(&due) {
            self.due.push(due);
        }
    }

    /// Notes what a stop may have left.
    pub(super) fn note_after_restart(&mut self, left: impl IntoIterator<Item = Due>) {
        left.into_iter().for_each(|due| self.note(due));
        self.is_after_restart = true;
    }

    /// Whether there is something to do.
    pub(super) fn is_due(&self) -> bool {
        self.has_step() || self.stuck.is_due()
    }

    /// Whether there are jobs to look at as the room is.
    fn has_step(&self) -> bool {
        !self.due.is_empty() || !self.waiting.is_empty() || !self.sound.is_empty()
    }

    /// Takes out the next jobs that pass `is_within`: those without a sound placement first, so that none of them is
    /// served after one of a lower priority; but every other step first those that had no place in the last.
    fn take(&mut self, mut is_within: impl FnMut(JobId) -> bool) -> Vec<Entry> {
        let mut next = Vec::new();
        let parts = if self.sound_next {
            [Part::Sound, Part::Waiting]
        } else {
            [Part::Waiting, Part::Sound]
        };
        let mut n_sound = 0;
        for part in parts {
            loop {
                let first = match part {
                    Part::Waiting => self.waiting.first_key_value().map(|((_, id), _)| *id),
                    Part::Sound => self.sound.front().map(|(id, ..)| *id),
                };
                let Some(id) = first else { break };
                if next.len() == limits::REPLAN_CANDIDATES_MAX || !is_within(id) {
                    self.sound_next = n_sound == 0 && !self.sound.is_empty();
                    return next;
                }
                match part {
                    Part::Waiting => next.extend(self.waiting.pop_first().map(|(_, entry)| entry)),
                    Part::Sound => next.extend(self.sound.pop_front()),
                }
                n_sound += usize::from(part == Part::Sound);
            }
        }
        self.sound_next = false;
        next
    }
}

/// The two parts of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Waiting,
    Sound,
}

impl Writer {
    /// Moves time on: a new slot opens the horizon and closes windows.
    pub(super) fn tick(&mut self, now: TimeMs) {
        let slot = self.options.settings.grid.slot_at(now);
        let before = self.horizon().start;
        if slot <= before {
            return;
        }
        self.plan.advance(self.core.state(), now);
        self.replanning.note(Due {
            cause: ChangeCause::StartMissed,
            trigger: Arc::default(),
            scope: Scope::Queued,
        });
        // Counted from the start of the grid, so that a restart does not put it off.
        let sweeps_by = |slot: Slot| slot.0.checked_div(self.options.sweep_every_slots);
        if sweeps_by(before) != sweeps_by(slot) {
            self.replanning.note(Due {
                cause: ChangeCause::Sweep,
                trigger: Arc::default(),
                scope: Scope::Everything,
            });
        }
        self.replanning.stuck.tries_left = limits::CHAINS_PER_SLOT_MAX;
        self.forgetting = true;
    }

    /// Forgets some of what is older than it is kept; the rest with the next call.
    pub(super) fn forget(&mut self, now: TimeMs, batch: &mut Batch) {
        let forgotten = self.core.decide_forget(
            now,
            self.options.ended_jobs_kept_ms,
            super::REQUESTS_KEPT_MS,
        );
        let (grid, ledger) = (self.options.settings.grid, self.options.ledger);
        let forgotten = forgotten.or_else(|| {
            let whole_from = ledger.whole_from(grid, now);
            let totals_from = ledger.totals_from(grid, now);
            self.core.decide_trim(whole_from, totals_from, now)
        });
        self.forgetting = forgotten.is_some();
        if let Some(record) = forgotten {
            self.commit(record, batch);
        }
    }

    /// Plans the next jobs anew that are due, in one revision; when there are none, makes room for some that are stuck,
    /// each in a revision of its own.
    ///
    /// # Errors
    /// When the plan does not fit the state: a defect. The timetable is built anew then.
    pub(super) fn replan(&mut self, now: TimeMs, batch: &mut Batch) -> Result<(), Rejection> {
        let outcome = if self.replanning.has_step() {
            self.plan_step(now, batch)
        } else {
            self.make_room_for_stuck(now, batch)
        };
        if outcome.is_err() {
            self.plan = Plan::new(self.core.state(), self.options, now);
        }
        outcome
    }

    fn plan_step(&mut self, now: TimeMs, batch: &mut Batch) -> Result<(), Rejection> {
        if !self.replanning.due.is_empty() {
            self.fill_queue(now);
        }
        let next = self.next_step();
        self.go_on_later(next.iter().map(|(id, ..)| *id), now, batch);
        let changes = self.plan_changes(&next, now);
        if let Some(record) = self.core.decide_plan(&changes, now)? {
            self.commit(record, batch);
        }
        let state = self.core.state();
        let is_stuck = |id| {
            state
                .job(id)
                .is_some_and(|job| job.state == JobState::Queued)
        };
        let stuck = next.into_iter().filter(|(id, ..)| is_stuck(*id));
        stuck.for_each(|entry| self.replanning.stuck.push(entry));
        Ok(())
    }

    fn make_room_for_stuck(&mut self, now: TimeMs, batch: &mut Batch) -> Result<(), Rejection> {
        for _ in 0..limits::CHAINS_PER_STEP_MAX {
            let Some((id, cause, trigger)) = self.replanning.stuck.next() else {
                break;
            };
            let state = self.core.state();
            let job = state.job(id).filter(|job| job.state == JobState::Queued);
            let Some(job) = job.cloned() else { continue };
            let wanted = Wanted {
                id,
                spec: &job.spec,
                staged: job.staged_at(self.plan.timetable.horizon().start),
                end_by: job.end_by,
            };
            let Ok(found) = self.plan.seek(state, wanted, &BTreeSet::new(), now) else {
                continue;
            };
            let mut changes = found.moves;
            changes.push(PlanChange {
                id,
                from: None,
                to: Some(found.placement),
                expired: false,
                cause,
                trigger,
            });
            let record = self.core.decide_plan(&changes, now)?;
            let adopted = record.filter(|record| record.events.len() == changes.len());
            let Some(record) = adopted else {
                return Err(Rejection::PlanStale(format!(
                    "no room was made for the job {id}"
                )));
            };
            self.commit(record, batch);
        }
        Ok(())
    }

    /// The next jobs of the queue: so many as one step may look at and one record may hold.
    fn next_step(&mut self) -> Vec<Entry> {
        let grid = self.options.settings.grid;
        let state = self.core.state();
        let mut n_slots = 0;
        self.replanning.take(|id| {
            let runtime_ms = state.job(id).map_or(0, |job| job.spec.timing.runtime_ms);
            n_slots += u64::from(grid.slots_for_ms(runtime_ms));
            n_slots <= limits::RECORD_SLOTS_MAX
        })
    }

    /// Lists the jobs that are due, each part by priority and then as submitted.
    fn fill_queue(&mut self, now: TimeMs) {
        let due = std::mem::take(&mut self.replanning.due);
        let queued = self
            .replanning
            .waiting
            .values()
            .chain(&self.replanning.sound);
        let queued: BTreeSet<JobId> = queued.map(|(id, ..)| *id).collect();
        let first_slot = self.options.settings.grid.slot_at(now);
        let mut sound = Vec::new();
        for job in self.core.state().jobs().values() {
            if job.state.is_terminal() || queued.contains(&job.id) {
                continue;
            }
            let has_started = |placement: &Arc<Placement>| placement.start() < first_slot;
            if self.options.starts_as_planned && job.placement().is_some_and(has_started) {
                continue;
            }
            let Some((cause, trigger)) = due_cause(job, &due, first_slot) else {
                continue;
            };
            let entry = (job.id, cause, trigger);
            if job.placement().is_none() || cause == ChangeCause::StartMissed {
                let key = (Reverse(job.spec.priority), job.id);
                self.replanning.waiting.insert(key, entry);
            } else {
                sound.push((Reverse(job.spec.priority), entry));
            }
        }
        if !sound.is_empty() {
            self.replanning.moves_left = if self.replanning.is_after_restart {
                0
            } else {
                self.options.replan_max_moves
            };
        }
        self.replanning.is_after_restart = false;
        sound.sort_by_key(|(priority, _)| *priority);
        let sound = sound.into_iter().map(|(_, entry)| entry);
        self.replanning.sound.extend(sound);
    }

    fn plan_changes(&mut self, next: &[Entry], now: TimeMs) -> Vec<PlanChange> {
        let mut changes = Vec::new();
        let mut candidates = Vec::new();
        let mut causes = Vec::new();
        for (id, cause, trigger) in next {
            let Some(job) = self.core.state().job(*id) else {
                continue;
            };
            let first_slot = self.options.settings.grid.slot_at(now);
            let current = match &job.state {
                // It has found its place already.
                JobState::Planned(placement) if job.goes_on() && first_slot < placement.end() => {
                    continue;
                }
                JobState::Planned(placement) => Some(placement.clone()),
                JobState::Queued | JobState::Held => None,
                JobState::Active(_)
                | JobState::Succeeded
                | JobState::Failed
                | JobState::Cancelled
                | JobState::Expired => continue,
            };
            let grid = self.options.settings.grid;
            let not_before = job.work.as_deref().and_then(|work| work.not_before);
            let window = Window::new(&job.spec, now, job.end_by, grid).not_before(not_before, grid);
            if is_closed(job, &window, self.options.settings) {
                if let Some(placement) = &current {
                    self.plan.timetable.release(placement);
                }
                changes.push(expiry(job.id, current));
            } else if job.state != JobState::Held {
                candidates.push(Candidate {
                    id: job.id,
                    spec: job.spec.clone(),
                    window,
                    current,
                    staged: job.staged_at(window.current).cloned(),
                });
                causes.push((*id, *cause, trigger.clone()));
            }
        }
        causes.sort_unstable();
        let options = ReplanOptions {
            min_gain_permille: self.options.replan_min_gain_permille,
            max_moves: self.replanning.moves_left,
            work_max: limits::REPLAN_WORK_MAX,
            decided_revision: self.core.state().revision(),
        };
        let moves = replan(&mut self.plan.timetable, &candidates, &options);
        let n_moved = moves.iter().filter(|m| m.kind == MoveKind::Moved).count();
        self.replanning.moves_left = self.replanning.moves_left.saturating_sub(n_moved);
        changes.extend(moves.into_iter().map(|m| change_of(m, &causes)));
        changes
    }
}

/// Why what is planned at a site that takes no new work moves.
pub(super) fn closed_by(site: &Site) -> ChangeCause {
    match site.restrictions.drain {
        Some(_) => ChangeCause::Drain,
        None => ChangeCause::Cordon,
    }
}

/// Why a job is to be looked at; `None` when it is not.
fn due_cause(job: &Job, due: &[Due], first_slot: Slot) -> Option<(ChangeCause, Arc<str>)> {
    let placement = match &job.state {
        JobState::Planned(placement) => placement,
        JobState::Queued | JobState::Held => {
            let first = due.first()?;
            // A job that waits finds room; what made it look is not why its own start was missed.
            let cause = match first.cause {
                ChangeCause::StartMissed => ChangeCause::Room,
                cause => cause,
            };
            return Some((cause, first.trigger.clone()));
        }
        // What is at its site stays there.
        JobState::Active(_)
        | JobState::Succeeded
        | JobState::Failed
        | JobState::Cancelled
        | JobState::Expired => return None,
    };
    if job.goes_on() {
        // It has begun: until its last run is over it stays where it is, as an active one does.
        let is_missed = placement.end() <= first_slot;
        return is_missed.then(|| (ChangeCause::StartMissed, Arc::default()));
    }
    if placement.start() < first_slot {
        return Some((ChangeCause::StartMissed, Arc::default()));
    }
    let touched = due.iter().find(|due| touches(placement, &due.scope))?;
    Some((touched.cause, touched.trigger.clone()))
}

fn touches(placement: &Placement, scope: &Scope) -> bool {
    let improvable = placement.energy.grid_watt_seconds > 0;
    match scope {
        Scope::Queued => false,
        Scope::Improvable => improvable,
        Scope::Everything => true,
        Scope::Link(gateway) => placement
            .stage_in
            .as_ref()
            .is_some_and(|stage_in| stage_in.link.as_ref() == Some(gateway) || improvable),
        Scope::Site {
            site,
            range,
            or_improvable,
        } => {
            let there = placement.site == *site
                && placement
                    .runs
                    .iter()
                    .any(|run| !run.slots.intersect(*range).is_empty());
            there || (*or_improvable && improvable)
        }
    }
}

/// Whether the job could not run even at an empty site; one that begins in the present slot still can.
fn is_closed(job: &Job, window: &Window, settings: Settings) -> bool {
    let begins_now = |placement: &Arc<Placement>| placement.start() == window.current;
    if job.placement().is_some_and(begins_now) {
        return false;
    }
    let needed = job.spec.least_slots(settings.grid);
    window.not_before > window.start_by || window.not_before.plus(needed) > window.end_by
}

fn expiry(id: JobId, from: Option<Arc<Placement>>) -> PlanChange {
    PlanChange {
        id,
        from,
        to: None,
        expired: true,
        cause: ChangeCause::Deadline,
        trigger: Arc::default(),
    }
}

fn change_of(moved: Move, causes: &[Entry]) -> PlanChange {
    let position = causes.binary_search_by_key(&moved.id, |(id, ..)| *id);
    let (cause, trigger) = match position {
        Ok(i) => (causes[i].1, causes[i].2.clone()),
        Err(_) => (ChangeCause::Room, Arc::default()),
    };
    PlanChange {
        id: moved.id,
        from: moved.from,
        to: moved.to,
        expired: false,
        cause,
        trigger,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u128) -> Entry {
        (JobId(id), ChangeCause::Room, Arc::default())
    }

    /// Ids of the next step of at most `n` jobs.
    fn step(replanning: &mut Replanning, n: usize) -> Vec<u128> {
        let mut left = n;
        let next = replanning.take(|_| {
            let is_within = 0 < left;
            left = left.saturating_sub(1);
            is_within
        });
        next.into_iter().map(|(JobId(id), ..)| id).collect()
    }

    #[test]
    fn the_higher_priority_is_looked_at_first_and_sound_jobs_are_not_left_out() {
        let mut replanning = Replanning::default();
        for (id, priority) in [(1, 3), (2, 9), (3, 3), (4, 9), (5, 5)] {
            let key = (Reverse(priority), JobId(id));
            replanning.waiting.insert(key, entry(id));
        }
        replanning.sound.extend([entry(11), entry(12), entry(13)]);
        assert_eq!(step(&mut replanning, 2), [2, 4]);
        // One that comes later goes before those that count less.
        let key = (Reverse(8), JobId(6));
        replanning.waiting.insert(key, entry(6));
        assert_eq!(step(&mut replanning, 2), [11, 12]);
        assert_eq!(step(&mut replanning, 3), [6, 5, 1]);
        assert_eq!(step(&mut replanning, 3), [13, 3]);
        assert!(!replanning.is_due());
    }
}
