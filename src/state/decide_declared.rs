//! What a person says of a site: that nothing runs there any more.
//!
//! From then on every attempt of the site is closed, and whatever its agent may still say comes under an epoch that is over.

use std::sync::Arc;

use crate::{
    domain::{
        agent::Agent,
        attempt::{AttemptEnd, Ended},
        job::{ChangeCause, JobState},
    },
    slot::TimeMs,
    state::{
        Core, Rejection,
        command::LossCommand,
        decide_agents::change,
        event::{Event, Record},
        life::{self, Step},
    },
};

impl Core {
    /// Ends at once what is at a site, and with it the word of its agent; `None` when that was said before. Jobs go on as
    /// they asked for the loss of their site; those that would wait for it are planned anew, as nobody can speak for them.
    ///
    /// # Errors
    /// When the site is not known.
    pub fn decide_declared_lost(
        &self,
        command: &LossCommand,
        now: TimeMs,
    ) -> Result<Option<Record>, Rejection> {
        if self.is_repeat(command.request.as_ref())? {
            return Ok(None);
        }
        let site = &self.known_site(&command.site)?.id;
        let trigger: Arc<str> = site.as_str().into();
        let mut events: Vec<Event> = Vec::new();
        for job in self.state.active_at(site) {
            let (Some(active), Some(work)) = (job.state.active(), job.work.as_deref()) else {
                continue;
            };
            let ended = Ended {
                at: now,
                end: AttemptEnd::SiteLost,
                run_ms: 0,
                energy_watt_seconds: 0,
                message: command.reason.clone(),
            };
            let step = life::end(job, active, work, ended, now);
            events.push(change(job.id, step, trigger.clone()));
        }
        for job in self.state.between_runs(site) {
            let step = Step {
                state: JobState::Queued,
                work: None,
                cause: ChangeCause::SiteLost,
            };
            events.push(change(job.id, step, trigger.clone()));
        }
        let known = self.state.agent(site);
        if let Some(agent) = known.filter(|agent| agent.member.is_some()) {
            events.push(Event::AgentPut(Arc::new(Agent {
                epoch: agent.epoch + 1,
                member: None,
                is_lost: false,
                ..Agent::clone(agent)
            })));
        }
        if events.is_empty() && command.request.is_none() {
            return Ok(None);
        }
        Ok(Some(self.record(now, command.request.clone(), events)))
    }
}
