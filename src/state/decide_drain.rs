//! What a drain makes of the jobs that are at its site.
//!
//! Only what has an open attempt there is stopped; what has not begun is moved by planning.

use std::sync::Arc;

use crate::{
    domain::{
        ids::SiteId,
        job::{Flexibility, Job, StopCause},
        restriction::{Drain, DrainMode},
    },
    limits,
    slot::TimeMs,
    state::{
        Core,
        decide_agents::change,
        event::{Event, Record},
        life,
    },
};

impl Core {
    /// Stops the next jobs that the drain of a site is to stop by now; `None` when there is none.
    pub fn decide_drain(&self, site: &SiteId, now: TimeMs) -> Option<Record> {
        let drain = self.state.site(site)?.restrictions.drain?;
        let trigger: Arc<str> = site.as_str().into();
        let begun = self.state.begun_at(site);
        let stopped = begun
            .filter(|job| stops(&drain, job, now))
            .filter_map(|job| {
                let step = life::give_up(job, StopCause::Drain)?;
                Some(change(job.id, step, trigger.clone()))
            });
        let events: Vec<Event> = stopped.take(limits::REPLAN_CANDIDATES_MAX).collect();
        (!events.is_empty()).then(|| self.record(now, None, events))
    }
}

fn stops(drain: &Drain, job: &Job, now: TimeMs) -> bool {
    let is_over = drain.deadline.is_some_and(|deadline| deadline <= now);
    is_over
        || match drain.mode {
            DrainMode::Finish => false,
            DrainMode::Checkpoint => {
                job.goes_on() || matches!(job.spec.flexibility, Flexibility::Interruptible { .. })
            }
            DrainMode::Kill => true,
        }
}
