//! Decisions on agents: who speaks for a site, what its reports make of the jobs there, and what its silence does.
//!
//! What comes under a fence that does not hold changes no job; it is kept as evidence.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    domain::{
        agent::{Agent, Evidence, Member, RefusedBecause, Token},
        attempt::{Attempt, AttemptEnd, Ended, Fence},
        execution::{PauseMode, SiteLostPolicy},
        ids::{JobId, SiteId},
        job::{Active, ChangeCause, Job, JobState, Pause, Phase, StopCause},
        spans::Spans,
    },
    limits,
    slot::TimeMs,
    state::{
        Core, Rejection, State,
        command::{Report, ReportedEvent},
        event::{Event, JobChange, Record},
        life::{self, Step},
        plausible::judged,
    },
};

/// What a report comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// Nothing is new.
    Nothing,
    /// What is new, and what of it was refused.
    News {
        record: Record,
        refused: Vec<Evidence>,
    },
    /// Another process speaks for the agent by now; the record keeps the evidence, where there is none yet.
    Refused(Option<Record>),
}

impl State {
    /// What is known of a site's agent.
    #[must_use]
    pub fn agent(&self, site: &SiteId) -> Option<&Arc<Agent>> {
        self.agents.get(site)
    }

    /// All agents by site.
    #[must_use]
    pub fn agents(&self) -> &imbl::OrdMap<SiteId, Arc<Agent>> {
        &self.agents
    }

    /// Jobs that are active at a site, by id.
    pub fn active_at(&self, site: &SiteId) -> impl Iterator<Item = &Arc<Job>> {
        let ids = self.active.get(site).into_iter().flatten();
        ids.filter_map(|id| self.jobs.get(id))
    }

    /// Sites with an active job.
    pub fn active_sites(&self) -> impl Iterator<Item = &SiteId> {
        self.active.keys()
    }
}

impl Core {
    /// Keeps a token by which an agent can enroll; one before it no longer serves.
    ///
    /// # Errors
    /// When the site is not known.
    pub fn decide_token(
        &self,
        site: &SiteId,
        token: Token,
        now: TimeMs,
    ) -> Result<Record, Rejection> {
        self.known_site(site)?;
        let agent = Agent {
            token: Some(token),
            ..self.agent_of(site)
        };
        Ok(self.record(now, None, vec![Event::AgentPut(Arc::new(agent))]))
    }

    /// Makes an instance the agent of its site. What another instance may still run there is out of reach from now on.
    ///
    /// # Errors
    /// When the site is not known, or the token is not the site's or has expired.
    pub fn decide_enroll(
        &self,
        site: &SiteId,
        token_sha256: [u8; 32],
        instance: &Arc<str>,
        credential_sha256: [u8; 32],
        now: TimeMs,
    ) -> Result<Record, Rejection> {
        self.known_site(site)?;
        let agent = self.agent_of(site);
        let is_valid = agent
            .token
            .as_ref()
            .is_some_and(|token| token.sha256 == token_sha256 && now <= token.expires_at);
        if !is_valid {
            return Err(Rejection::TokenRefused);
        }
        let same = agent.member.filter(|member| member.instance == *instance);
        let is_same = same.is_some();
        let member = Member {
            instance: instance.clone(),
            credential_sha256,
            enrolled_at: now,
            acknowledged: same.as_ref().map_or(0, |member| member.acknowledged),
            process: same.as_ref().and_then(|member| member.process),
            replaced: same.map_or_else(Vec::new, |member| member.replaced),
        };
        let put = Event::AgentPut(Arc::new(Agent {
            is_lost: false,
            epoch: agent.epoch + u64::from(!is_same),
            token: None,
            member: Some(member),
            ..agent
        }));
        let mut events = vec![put];
        if !is_same {
            events.extend(self.silenced(site));
        }
        Ok(self.record(now, None, events))
    }

    /// Takes in what an agent reports.
    ///
    /// # Errors
    /// When the instance does not speak for the site.
    pub fn decide_report(&self, report: &Report, now: TimeMs) -> Result<Told, Rejection> {
        let agent = self.agent_of(&report.site);
        let Some(member) = agent
            .member
            .as_ref()
            .filter(|member| member.instance == report.instance)
        else {
            return Err(Rejection::AgentRefused);
        };
        let mut member = member.clone();
        let is_new_process = match report.process {
            Some(process) if member.replaced.contains(&process) => {
                return Ok(Told::Refused(self.replaced(agent, now)));
            }
            Some(process) => take_over(&mut member, process),
            None => false,
        };
        let mut scene = Scene {
            core: self,
            site: &report.site,
            jobs: BTreeMap::new(),
            refused: Vec::new(),
            events: Vec::new(),
            now,
        };
        let acknowledged = member.acknowledged;
        let new = report.events.iter();
        for event in new.filter(|event| acknowledged < event.sequence) {
            scene.take(event);
        }
        // A report that was made before the last one that counts says nothing about the present.
        if acknowledged <= report.last_sequence {
            scene.compare(report, agent.epoch);
        }
        let heard = report.events.last().map_or(0, |event| event.sequence);
        let is_back = agent.is_lost;
        let is_news = acknowledged < heard || is_back || is_new_process;
        if scene.events.is_empty() && !is_news {
            return Ok(Told::Nothing);
        }
        let (mut events, refused) = (scene.events, scene.refused);
        if is_news {
            let mut evidence = agent.evidence.clone();
            for one in &refused {
                keep(&mut evidence, one.clone());
            }
            member.acknowledged = heard.max(acknowledged);
            events.push(Event::AgentPut(Arc::new(Agent {
                member: Some(member),
                is_lost: false,
                evidence,
                ..agent
            })));
        }
        let record = self.record(now, None, events);
        Ok(Told::News { record, refused })
    }

    /// Keeps it as evidence that a replaced process has spoken, once in a row.
    fn replaced(&self, agent: Agent, now: TimeMs) -> Option<Record> {
        let last = agent.evidence.last();
        if last.is_some_and(|last| last.reason == RefusedBecause::ReplacedProcess) {
            return None;
        }
        let mut evidence = agent.evidence.clone();
        keep(
            &mut evidence,
            Evidence {
                at: now,
                reason: RefusedBecause::ReplacedProcess,
                about: None,
                kind: "report".into(),
                detail: "a process that another one has replaced goes on reporting".into(),
            },
        );
        let put = Event::AgentPut(Arc::new(Agent { evidence, ..agent }));
        Some(self.record(now, None, vec![put]))
    }

    /// Offers planned jobs to the agents of their sites, each under a new fence; `None` when there is none to offer.
    pub fn decide_starts(&self, ids: &[JobId], now: TimeMs) -> Option<Record> {
        let slot = self.state.settings.grid.slot_at(now);
        let mut events = Vec::new();
        for job in ids.iter().filter_map(|id| self.state.job(*id)) {
            let JobState::Planned(placement) = &job.state else {
                continue;
            };
            let agent = self.agent_of(&placement.site);
            let is_due = if job.goes_on() {
                placement.runs.iter().any(|run| run.slots.contains(slot))
            } else {
                job.offered_from(placement) <= slot
            };
            // Where more is planned than the site may use, re-planning decides first who goes.
            let site = self.state.site(&placement.site);
            let is_sound = site.is_some_and(|site| {
                let from = placement.start().max(slot);
                self.bookings.is_within(site, from, Some(placement))
            });
            let may_start = job.spec.execution.is_some() && agent.member.is_some();
            if !may_start || !is_due || !is_sound {
                continue;
            }
            let work = job.work.as_deref().cloned().unwrap_or_default();
            let attempt = Attempt {
                fence: Fence {
                    site_epoch: agent.epoch,
                    attempt: work.next_attempt(),
                },
                site: placement.site.clone(),
                pool: placement.pool.clone(),
                assigned_at: now,
                assigned_revision: self.state.revision.next(),
                started_at: None,
                spans: Spans::default(),
                engine_id: Arc::default(),
                ended: None,
            };
            let step = Step {
                state: JobState::Active(Active {
                    placement: placement.clone(),
                    phase: Phase::Assigned,
                    // Before its first run only its input is brought in.
                    pause: (slot < placement.start()).then_some(Pause::Plan),
                    is_silent: false,
                }),
                work: Some(Arc::new(work.with(attempt))),
                cause: ChangeCause::StartDue,
            };
            events.push(change(job.id, step, "".into()));
        }
        (!events.is_empty()).then(|| self.record(now, None, events))
    }

    /// Notes that nothing is known any more of what is active at a site; `None` when that is noted already.
    pub fn decide_silence(&self, site: &SiteId, now: TimeMs) -> Option<Record> {
        let events = self.silenced(site);
        (!events.is_empty()).then(|| self.record(now, None, events))
    }

    /// Gives up what is out of reach at a site, all of it and with it the site until its agent is heard again, or only
    /// what an earlier agent held; `None` when that is done already. The caller has waited until nothing of it can run any more.
    pub fn decide_lost(&self, site: &SiteId, only_earlier: bool, now: TimeMs) -> Option<Record> {
        let agent = self.agent_of(site);
        let mut events = Vec::new();
        for job in self.state.active_at(site) {
            let (Some(active), Some(work)) = (job.state.active(), job.work.as_deref()) else {
                continue;
            };
            let is_earlier = work
                .last()
                .is_some_and(|last| last.fence.site_epoch < agent.epoch);
            let waits = job.spec.execution.as_deref().is_some_and(|execution| {
                let is_ending =
                    matches!(active.phase, Phase::Stopping(cause) if cause != StopCause::Pause);
                execution.on_site_lost == SiteLostPolicy::Wait && !is_ending
            });
            if !active.is_silent || (only_earlier && !is_earlier) || (waits && !is_earlier) {
                continue;
            }
            let ended = Ended {
                at: now,
                end: AttemptEnd::SiteLost,
                run_ms: 0,
                energy_watt_seconds: 0,
                message: Arc::default(),
            };
            let step = life::end(job, active, work, ended, now);
            events.push(change(job.id, step, site.as_str().into()));
        }
        if !only_earlier && agent.is_usable() {
            events.push(Event::AgentPut(Arc::new(Agent {
                is_lost: true,
                ..agent
            })));
        }
        (!events.is_empty()).then(|| self.record(now, None, events))
    }

    /// What the clock makes of active jobs: those past their deadline stop, those without a run in this slot pause, and
    /// those with one go on. `None` when all is as it was.
    pub fn decide_clock(&self, now: TimeMs) -> Option<Record> {
        let slot = self.state.settings.grid.slot_at(now);
        let ids = self.state.active.values().flatten();
        let jobs = ids.filter_map(|id| self.state.jobs.get(id));
        let events: Vec<Event> = jobs
            .filter_map(|job| {
                let active = job.state.active()?;
                if let Some(stopped) = overdue(job, now) {
                    return Some(stopped);
                }
                let mode = job.spec.execution.as_deref();
                let mode = mode.map_or(PauseMode::Suspend, |execution| execution.pause_mode);
                let step = life::follow_plan(active, life::has_run(active, slot), mode)?;
                Some(change(job.id, step, Arc::default()))
            })
            .collect();
        (!events.is_empty()).then(|| self.record(now, None, events))
    }

    /// Stops those of these jobs that are active and past their finish deadline, or that have not begun a grace after their
    /// start deadline; `None` when there is none.
    pub fn decide_deadlines(&self, ids: &[JobId], now: TimeMs) -> Option<Record> {
        let jobs = ids.iter().filter_map(|id| self.state.job(*id));
        let events: Vec<Event> = jobs.filter_map(|job| overdue(job, now)).collect();
        (!events.is_empty()).then(|| self.record(now, None, events))
    }

    /// Stops those of these jobs that have begun, because the data rules forbid them where they are; `None` when all are
    /// being stopped already. The trigger is what made the rules say so.
    pub fn decide_forbidden(
        &self,
        ids: &[JobId],
        trigger: &Arc<str>,
        now: TimeMs,
    ) -> Option<Record> {
        let jobs = ids.iter().filter_map(|id| self.state.job(*id));
        let stopped = jobs.filter_map(|job| {
            let step = life::give_up(job, StopCause::Forbidden)?;
            Some(change(job.id, step, trigger.clone()))
        });
        let events: Vec<Event> = stopped.collect();
        (!events.is_empty()).then(|| self.record(now, None, events))
    }

    fn agent_of(&self, site: &SiteId) -> Agent {
        let known = self.state.agents.get(site);
        known.map_or_else(|| Agent::none(site.clone()), |agent| Agent::clone(agent))
    }

    fn silenced(&self, site: &SiteId) -> Vec<Event> {
        let active = self.state.active_at(site);
        active
            .filter_map(|job| {
                let active = job.state.active().filter(|active| !active.is_silent)?;
                let silent = Active {
                    is_silent: true,
                    ..active.clone()
                };
                let step = Step::active(silent, ChangeCause::SiteSilent);
                Some(change(job.id, step, site.as_str().into()))
            })
            .collect()
    }
}

/// The jobs of a site while a report is taken in.
struct Scene<'a> {
    core: &'a Core,
    site: &'a SiteId,
    /// Jobs that changed, as they are by now.
    jobs: BTreeMap<JobId, Job>,
    /// What of the report was refused.
    refused: Vec<Evidence>,
    events: Vec<Event>,
    now: TimeMs,
}

impl Scene<'_> {
    fn job(&self, id: JobId) -> Option<&Job> {
        let known = || self.core.state.job(id).map(Arc::as_ref);
        self.jobs.get(&id).or_else(known)
    }

    fn put(&mut self, id: JobId, step: Step, trigger: Arc<str>) {
        if let Some(mut job) = self.job(id).cloned() {
            job.state = step.state.clone();
            if let Some(work) = &step.work {
                job.work = Some(work.clone());
            }
            self.jobs.insert(id, job);
        }
        self.events.push(change(id, step, trigger));
    }

    fn take(&mut self, event: &ReportedEvent) {
        let holds = self
            .job(event.job)
            .filter(|job| is_held(job, self.site, event.fence));
        let last = holds.and_then(|job| Some((job, job.work.as_deref()?.last()?)));
        let Some((job, attempt)) = last else {
            let reason = self.why_not_held(event.job);
            return self.refuse(event, reason, "");
        };
        let (judged, refused) = judged(job, attempt, event, self.now);
        if let Some(step) = life::on_report(job, &judged.kind, judged.at, self.now) {
            self.put(event.job, step, Arc::default());
        }
        for (reason, detail) in refused {
            self.refuse(event, reason, &detail);
        }
    }

    fn why_not_held(&self, id: JobId) -> RefusedBecause {
        let Some(job) = self.job(id) else {
            return RefusedBecause::UnknownJob;
        };
        let attempts = job.work.as_deref().map_or(&[][..], |work| &work.attempts);
        match attempts.iter().any(|attempt| attempt.site == *self.site) {
            true => RefusedBecause::StaleFence,
            false => RefusedBecause::ForeignJob,
        }
    }

    fn refuse(&mut self, event: &ReportedEvent, reason: RefusedBecause, detail: &str) {
        self.refused.push(Evidence {
            at: self.now,
            reason,
            about: Some((event.job, event.fence)),
            kind: event.kind.name().into(),
            detail: detail.into(),
        });
    }

    /// Compares what the agent holds with what is active at its site.
    fn compare(&mut self, report: &Report, epoch: u64) {
        let held: BTreeSet<(JobId, Fence)> = report
            .held
            .iter()
            .map(|attempt| (attempt.job, attempt.fence))
            .collect();
        let ids: Vec<JobId> = self.core.state.active_at(self.site).map(|j| j.id).collect();
        for id in ids {
            let Some(job) = self.job(id) else { continue };
            let (Some(active), Some(work)) = (job.state.active(), job.work.as_deref()) else {
                continue;
            };
            let Some(last) = work.last() else { continue };
            if held.contains(&(id, last.fence)) {
                if active.is_silent {
                    let back = Active {
                        is_silent: false,
                        ..active.clone()
                    };
                    let step = Step::active(back, ChangeCause::SiteBack);
                    self.put(id, step, self.site.as_str().into());
                }
                continue;
            }
            // What an earlier agent was offered, this one cannot know; what it has not seen yet, it cannot hold.
            let is_known =
                last.fence.site_epoch == epoch && last.assigned_revision <= report.seen_revision;
            if !is_known {
                continue;
            }
            let was_taken = last.started_at.is_some()
                || !matches!(active.phase, Phase::Assigned | Phase::Stopping(_));
            let (end, message) = if was_taken {
                (AttemptEnd::EngineLost, "the agent no longer knows it")
            } else {
                (AttemptEnd::Declined, "the agent did not take it")
            };
            let ended = Ended {
                at: self.now,
                end,
                run_ms: 0,
                energy_watt_seconds: 0,
                message: message.into(),
            };
            let step = life::end(job, active, work, ended, self.now);
            self.put(id, step, self.site.as_str().into());
        }
    }
}

/// Makes a process the one that speaks for an agent; false when it is that already.
fn take_over(member: &mut Member, process: u128) -> bool {
    if member.process == Some(process) {
        return false;
    }
    member.replaced.extend(member.process.replace(process));
    let n_over = member
        .replaced
        .len()
        .saturating_sub(limits::REPLACED_PROCESSES_MAX);
    member.replaced.drain(..n_over);
    true
}

/// Adds evidence; the oldest goes where there is too much.
fn keep(evidence: &mut Vec<Evidence>, new: Evidence) {
    evidence.push(new);
    let n_over = evidence.len().saturating_sub(limits::EVIDENCE_MAX);
    evidence.drain(..n_over);
}

/// The stop of an active job that is past its deadline.
fn overdue(job: &Job, now: TimeMs) -> Option<Event> {
    let active = job.state.active()?;
    job.stops_by().filter(|deadline| *deadline < now)?;
    let stopping = life::stop(active, StopCause::Deadline)?;
    let step = Step::active(stopping, ChangeCause::Deadline);
    Some(change(job.id, step, Arc::default()))
}

/// Whether the job's last attempt is open, at this site and under this fence.
fn is_held(job: &Job, site: &SiteId, fence: Fence) -> bool {
    let last = job.work.as_deref().and_then(|work| work.last());
    job.state.active().is_some()
        && last.is_some_and(|last| last.fence == fence && last.site == *site)
}

/// The event of a step of a job's life.
pub(super) fn change(id: JobId, step: Step, trigger: Arc<str>) -> Event {
    Event::JobChanged(JobChange {
        id,
        spec: None,
        state: step.state,
        cause: step.cause,
        trigger,
        note: None,
        work: step.work,
    })
}
