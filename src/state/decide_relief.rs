//! The decision to bring what runs at a site under what the site may use.
//!
//! Only what is at the site changes, and the new part of every placement fits every bound.

use std::sync::Arc;

use crate::{
    domain::{
        execution::PauseMode,
        ids::{JobId, SiteId},
        job::{Active, Job, JobState, Phase},
        placement::Placement,
    },
    slot::{Slot, TimeMs},
    state::{
        Core, Rejection, State,
        command::Relief,
        decide_agents::change,
        event::{Event, Record},
        life::{self, Step},
    },
};

impl State {
    /// Facility power that the jobs at a site which are to run draw in the present slot by their plans, watts.
    #[must_use]
    pub fn running_watts(&self, site: &SiteId, slot: Slot) -> u64 {
        let active = self.active_at(site).filter_map(|job| job.state.active());
        let running = active
            .filter(|active| active.pause.is_none() && !matches!(active.phase, Phase::Stopping(_)));
        running
            .map(|active| {
                let placement = &active.placement;
                let run = placement.runs.iter().find(|run| run.slots.contains(slot));
                // Past its runs it goes on as in the last.
                let last = || placement.runs.last().filter(|_| placement.end() <= slot);
                let units = run.or_else(last).map_or(0, |run| run.units);
                placement.power_watts.saturating_mul(units.into())
            })
            .sum()
    }

    /// Jobs that have begun at a site and have no attempt there now, because they are between two runs.
    pub fn between_runs(&self, site: &SiteId) -> impl Iterator<Item = &Arc<Job>> {
        let jobs = (0 < self.load(site).planned).then(|| self.jobs.values());
        jobs.into_iter().flatten().filter(move |job| {
            let placement = job.placement();
            job.goes_on() && placement.is_some_and(|placement| placement.site == *site)
        })
    }

    /// Jobs that have begun at a site and have not ended, whether or not they have an attempt there now.
    pub fn begun_at(&self, site: &SiteId) -> impl Iterator<Item = &Arc<Job>> {
        self.active_at(site).chain(self.between_runs(site))
    }
}

impl Core {
    /// Adopts reliefs of a site in their order; `None` when there is none to adopt.
    ///
    /// # Errors
    /// When a job is not at the site, or the new part of its placement does not fit.
    pub fn decide_relief(
        &self,
        site: &SiteId,
        reliefs: &[Relief],
        now: TimeMs,
    ) -> Result<Option<Record>, Rejection> {
        let known = self.known_site(site)?;
        let current = self.state.settings.grid.slot_at(now);
        let trigger: Arc<str> = site.as_str().into();
        let mut trial = self.trial(now);
        let mut events: Vec<Event> = Vec::with_capacity(reliefs.len());
        // What is given up is free for all of them: the planner found their places one after the other.
        for relief in reliefs {
            if let Relief::Rest { id, .. } = relief {
                trial.remove_runs(self.placed_there(*id, site)?.1);
            }
        }
        for relief in reliefs {
            match relief {
                Relief::Rest {
                    id,
                    to,
                    from,
                    cause,
                } => {
                    let (job, _) = self.placed_there(*id, site)?;
                    trial
                        .add_runs(to, known, *from)
                        .map_err(Rejection::PlanStale)?;
                    let step = with_rest(job, to, current);
                    let step = Step {
                        cause: *cause,
                        ..step
                    };
                    events.push(change(*id, step, trigger.clone()));
                }
                Relief::Stop { id, cause } => {
                    let (job, _) = self.placed_there(*id, site)?;
                    let stopped = life::give_up(job, *cause);
                    events.extend(stopped.map(|step| change(*id, step, trigger.clone())));
                }
            }
        }
        Ok((!events.is_empty()).then(|| self.record(now, None, events)))
    }

    /// A job that has begun at a site, with its placement.
    fn placed_there(
        &self,
        id: JobId,
        site: &SiteId,
    ) -> Result<(&Arc<Job>, &Arc<Placement>), Rejection> {
        let job = self.known_job(id)?;
        let there = job.placement().filter(|placement| {
            placement.site == *site && (job.state.active().is_some() || job.goes_on())
        });
        let placement = there.ok_or_else(|| {
            Rejection::PlanStale(format!("the job {id} is not at the site {site}"))
        })?;
        Ok((job, placement))
    }
}

/// What another plan for the rest of it makes of a job that has begun.
fn with_rest(job: &Job, to: &Arc<Placement>, current: Slot) -> Step {
    let JobState::Active(active) = &job.state else {
        return Step {
            state: JobState::Planned(to.clone()),
            work: None,
            cause: job.cause,
        };
    };
    let planned = Active {
        placement: to.clone(),
        ..active.clone()
    };
    let mode = job.spec.execution.as_deref();
    let mode = mode.map_or(PauseMode::Suspend, |execution| execution.pause_mode);
    let follows = life::follow_plan(&planned, life::has_run(&planned, current), mode);
    follows.unwrap_or_else(|| Step::active(planned, job.cause))
}
