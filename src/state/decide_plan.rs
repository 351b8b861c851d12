//! The decision to adopt a change of plan, all of it in one revision.
//!
//! A job whose placement is no longer the one the planner saw is left alone; what is left must fit every bound.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    domain::{
        ids::JobId,
        job::{Active, ChangeCause, JobState},
        placement::Placement,
    },
    slot::{Slot, TimeMs},
    state::{
        Core, Rejection, Settings,
        bookings::Trial,
        command::PlanChange,
        event::{Event, JobChange, Record},
    },
};

impl Core {
    /// Adopts changes of plan; `None` when none is left to adopt.
    ///
    /// # Errors
    /// When the new placements do not fit the state together, or a job stands twice.
    pub fn decide_plan(
        &self,
        changes: &[PlanChange],
        now: TimeMs,
    ) -> Result<Option<Record>, Rejection> {
        let current: Vec<&PlanChange> = changes.iter().filter(|c| self.is_current(c)).collect();
        let mut seen = BTreeSet::new();
        if let Some(twice) = current.iter().find(|change| !seen.insert(change.id)) {
            let id = twice.id;
            return Err(Rejection::PlanStale(format!("the job {id} stands twice")));
        }
        let mut trial = self.trial(now);
        self.rebook(&mut trial, &current)?;
        if current.is_empty() {
            return Ok(None);
        }
        let events = current.iter().map(|change| adopted(change));
        Ok(Some(self.record(now, None, events.collect())))
    }

    /// Adopts moves that make room for something else: all of them, or the whole is refused.
    ///
    /// # Errors
    /// When a job is not as the planner saw it, stands twice or would lose its placement, or a placement does not fit.
    pub(super) fn make_way(
        &self,
        trial: &mut Trial<'_>,
        moves: &[&PlanChange],
    ) -> Result<Vec<Event>, Rejection> {
        let mut seen = BTreeSet::new();
        for change in moves {
            let id = change.id;
            if change.to.is_none() || !self.is_current(change) || !seen.insert(id) {
                return Err(Rejection::PlanStale(format!(
                    "the job {id} cannot make room"
                )));
            }
        }
        self.rebook(trial, moves)?;
        Ok(moves.iter().map(|change| adopted(change)).collect())
    }

    /// Takes out all placements before and puts in all after.
    fn rebook(&self, trial: &mut Trial<'_>, changes: &[&PlanChange]) -> Result<(), Rejection> {
        for change in changes {
            if let Some(old) = &change.from {
                trial.remove(old);
            }
        }
        for change in changes {
            if let Some(new) = &change.to {
                let spec = &self.known_job(change.id)?.spec;
                trial
                    .add(new, self.known_site(&new.site)?, spec)
                    .map_err(Rejection::PlanStale)?;
            }
        }
        Ok(())
    }

    /// Books another slot of an active job, and takes the room from planned ones: all or nothing.
    ///
    /// # Errors
    /// When the job is not active, or does not fit even so.
    pub fn decide_overrun(
        &self,
        id: JobId,
        longer: &Arc<Placement>,
        displaced: &[PlanChange],
        now: TimeMs,
    ) -> Result<Record, Rejection> {
        let job = self.known_job(id)?;
        let Some(active) = job.state.active() else {
            let problem = format!("the job {id} is not at a site");
            return Err(Rejection::PlanStale(problem));
        };
        let mut trial = self.trial(now);
        trial.remove_runs(&active.placement);
        let mut events = Vec::with_capacity(displaced.len() + 1);
        for change in displaced.iter().filter(|change| self.is_current(change)) {
            if let Some(old) = &change.from {
                trial.remove(old);
            }
            events.push(Event::JobChanged(JobChange {
                id: change.id,
                spec: None,
                state: JobState::Queued,
                cause: change.cause,
                trigger: change.trigger.clone(),
                note: None,
                work: None,
            }));
        }
        // What it has had so far it has had, whatever the site may use by now.
        let last = longer.end().minus(1);
        trial
            .add_runs(longer, self.known_site(&longer.site)?, last)
            .map_err(Rejection::PlanStale)?;
        events.push(Event::JobChanged(JobChange {
            id,
            spec: None,
            state: JobState::Active(Active {
                placement: longer.clone(),
                ..active.clone()
            }),
            cause: ChangeCause::Overrun,
            trigger: Arc::default(),
            note: None,
            work: None,
        }));
        Ok(self.record(now, None, events))
    }

    /// Whether the job is still as the planner saw it, and the change changes it.
    fn is_current(&self, change: &PlanChange) -> bool {
        let Some(job) = self.state.job(change.id) else {
            return false;
        };
        match &job.state {
            JobState::Planned(placement) => {
                change.from.as_ref() == Some(placement) && change.to != change.from
            }
            JobState::Queued => change.from.is_none() && (change.to.is_some() || change.expired),
            // Only its owner releases a held job; it can still miss its deadline.
            JobState::Held => change.from.is_none() && change.to.is_none() && change.expired,
            // What is at its site no plan moves.
            JobState::Active(_)
            | JobState::Succeeded
            | JobState::Failed
            | JobState::Cancelled
            | JobState::Expired => false,
        }
    }
}

fn adopted(change: &PlanChange) -> Event {
    Event::JobChanged(JobChange {
        id: change.id,
        spec: None,
        state: match &change.to {
            Some(placement) => JobState::Planned(placement.clone()),
            None if change.expired => JobState::Expired,
            None => JobState::Queued,
        },
        cause: change.cause,
        trigger: change.trigger.clone(),
        note: None,
        work: None,
    })
}

impl Settings {
    /// The first slot and the end of the horizon as of `now`.
    #[must_use]
    pub fn horizon(&self, now: TimeMs) -> crate::slot::SlotRange {
        let first: Slot = self.grid.slot_at(now);
        crate::slot::SlotRange::new(first, first.plus(self.horizon_slots))
    }

    /// The finish deadline in force: the one asked for, or the end of the horizon.
    #[must_use]
    pub fn end_by(&self, finish_deadline: Option<TimeMs>, now: TimeMs) -> TimeMs {
        finish_deadline.unwrap_or_else(|| self.horizon_end(now))
    }

    /// The moment at which the horizon ends.
    fn horizon_end(&self, now: TimeMs) -> TimeMs {
        self.grid.start_of(self.horizon(now).end)
    }
}
