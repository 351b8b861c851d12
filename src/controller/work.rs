//! Work at the sites: what is due is offered, what agents report is taken in, what overruns gets its room.
//!
//! A fence is durable before the offer leaves, because offers are read from the published state.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tracing::{info, warn};

use crate::{
    controller::{
        batch::Batch,
        leases::{Heard, Silence},
        replanning::{Due, Scope},
        writer::Writer,
    },
    domain::{
        agent::{Evidence, Token},
        ids::{JobId, Revision, SiteId},
        job::{ChangeCause, Job, JobState, StopCause},
        placement::Placement,
        site::Site,
    },
    limits,
    slot::{Slot, TimeMs},
    state::{
        Rejection, State,
        command::{LossCommand, PlanChange, Report},
        decide_agents::Told,
        event::{JobDelta, Record},
    },
};

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportReceipt {
    /// Events up to this one are durable.
    pub acknowledged: u64,
    /// Revision of the state that holds them.
    pub revision: Revision,
    /// What of the report was refused.
    pub refused: Vec<Evidence>,
}

/// An agent that asks to speak for a site.
#[derive(Debug, Clone)]
pub struct Enrollment {
    /// The site.
    pub site: SiteId,
    /// SHA-256 of the token it shows.
    pub token_sha256: [u8; 32],
    /// Its instance.
    pub instance: Arc<str>,
    /// SHA-256 of the credential it is given.
    pub credential_sha256: [u8; 32],
}

/// Jobs by the moment at which the clock concerns them; exactly those of the state.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// Planned jobs with something to run, by site and the slot from which they are offered.
    starts: BTreeMap<SiteId, BTreeSet<(Slot, JobId)>>,
    /// Active jobs by the end of their placement.
    ends: BTreeSet<(Slot, JobId)>,
    /// Jobs whose overrun found no room in the slot.
    unbooked: (Slot, BTreeSet<JobId>),
    /// Jobs that were not offered in the slot, because rules forbid it by now.
    pub(super) forbidden: (Slot, BTreeSet<JobId>),
    /// Jobs that have begun by the moments at which a proof of theirs runs out: when to ask the rules.
    pub(super) proofs: BTreeSet<(TimeMs, JobId)>,
    /// The last slot in which plans were followed.
    followed: Slot,
    /// Active jobs by the deadline that stops them, but those that are stopped for it or for more.
    deadlines: BTreeSet<(TimeMs, JobId)>,
    /// When to look at the drain of a site; it may have ended meanwhile.
    drains: BTreeSet<(TimeMs, SiteId)>,
}

impl Agenda {
    pub(super) fn new(state: &State) -> Self {
        let mut agenda = Self::default();
        for job in state.jobs().values() {
            agenda.put(job);
        }
        for site in state.sites().values() {
            agenda.follow_site(site);
        }
        agenda
    }

    pub(super) fn follow(&mut self, delta: &JobDelta) {
        if let Some(before) = &delta.before {
            self.drop(before);
        }
        if let Some(after) = &delta.after {
            self.put(after);
        }
    }

    /// Notes when a drain asks for something: at once, and at its deadline.
    pub(super) fn follow_site(&mut self, site: &Site) {
        if let Some(drain) = &site.restrictions.drain {
            let moments = [Some(drain.since), drain.deadline];
            let moments = moments.into_iter().flatten();
            self.drains.extend(moments.map(|at| (at, site.id.clone())));
        }
    }

    fn put(&mut self, job: &Job) {
        self.deadlines.extend(deadline(job));
        self.proofs.extend(proofs(job));
        match &job.state {
            JobState::Planned(placement) if job.spec.execution.is_some() => {
                let starts = self.starts.entry(placement.site.clone()).or_default();
                starts.insert((job.offered_from(placement), job.id));
            }
            JobState::Active(active) => {
                self.ends.insert((active.placement.end(), job.id));
            }
            _ => {}
        }
    }

    fn drop(&mut self, job: &Job) {
        if let Some(deadline) = deadline(job) {
            self.deadlines.remove(&deadline);
        }
        for proof in proofs(job) {
            self.proofs.remove(&proof);
        }
        match &job.state {
            JobState::Planned(placement) if job.spec.execution.is_some() => {
                if let Some(starts) = self.starts.get_mut(&placement.site) {
                    starts.remove(&(job.offered_from(placement), job.id));
                }
            }
            JobState::Active(active) => {
                self.ends.remove(&(active.placement.end(), job.id));
            }
            _ => {}
        }
    }
}

impl Writer {
    /// Keeps a token for a site.
    pub(super) fn put_token(
        &mut self,
        site: &SiteId,
        token: Token,
        now: TimeMs,
        batch: &mut Batch,
    ) -> Result<(), Rejection> {
        let record = self.core.decide_token(site, token, now)?;
        self.commit(record, batch);
        Ok(())
    }

    /// Makes an instance the agent of its site; answers with the site's epoch.
    pub(super) fn enroll(
        &mut self,
        enrollment: &Enrollment,
        now: TimeMs,
        mono_ms: u64,
        batch: &mut Batch,
    ) -> Result<u64, Rejection> {
        let Enrollment {
            site,
            token_sha256,
            instance,
            credential_sha256,
        } = enrollment;
        let epoch = |writer: &Self| writer.core.state().agent(site).map_or(0, |a| a.epoch);
        let before = epoch(self);
        let record =
            self.core
                .decide_enroll(site, *token_sha256, instance, *credential_sha256, now)?;
        self.commit_work(record, batch);
        self.follow_agent(site);
        if epoch(self) != before {
            self.leases.replace(site, mono_ms);
        }
        info!(%site, %instance, epoch = epoch(self), "an agent has enrolled");
        Ok(epoch(self))
    }

    /// Takes the word of a person that nothing runs at a site any more; not while its agent is heard.
    pub(super) fn declare_lost(
        &mut self,
        command: &LossCommand,
        now: TimeMs,
        mono_ms: u64,
        batch: &mut Batch,
    ) -> Result<Arc<Site>, Rejection> {
        let site = &command.site;
        if let Some(record) = self.core.decide_declared_lost(command, now)? {
            if self.leases.is_live(site, mono_ms) {
                return Err(Rejection::SiteIsAlive(site.clone()));
            }
            warn!(%site, reason = %command.reason, "the site is declared lost");
            self.commit_work(record, batch);
            self.leases.forget(site);
            self.follow_agent(site);
        }
        self.core.known_site(site).cloned()
    }

    /// Takes in a report.
    pub(super) fn take_report(
        &mut self,
        report: &Report,
        now: TimeMs,
        mono_ms: u64,
        batch: &mut Batch,
    ) -> Result<ReportReceipt, Rejection> {
        let refused = match self.core.decide_report(report, now)? {
            Told::Nothing => Vec::new(),
            Told::News { record, refused } => {
                self.commit_work(record, batch);
                self.follow_agent(&report.site);
                refused
            }
            Told::Refused(evidence) => {
                if let Some(record) = evidence {
                    self.commit_work(record, batch);
                }
                return Err(Rejection::AgentReplaced);
            }
        };
        let heard = Heard {
            mono_ms,
            at: now,
            n_held: report.held.len(),
            version: report.version.clone(),
        };
        self.leases.hear(&report.site, heard);
        let state = self.core.state();
        let member = state
            .agent(&report.site)
            .and_then(|agent| agent.member.as_ref());
        Ok(ReportReceipt {
            acknowledged: member.map_or(0, |member| member.acknowledged),
            revision: state.revision(),
            refused,
        })
    }

    /// The last slot in which plans were followed.
    pub(super) fn followed_slot(&self) -> Slot {
        self.agenda.followed
    }

    /// Does what the clock asks for: offers what is due, notes silence, gives up what is lost, follows plans.
    pub(super) fn work(&mut self, now: TimeMs, mono_ms: u64, batch: &mut Batch) {
        self.judge_silence(now, mono_ms, batch);
        let slot = self.options.settings.grid.slot_at(now);
        self.stop_overdue(now, batch);
        self.follow_proofs(now, batch);
        self.follow_drains(now, batch);
        self.extend_overruns(slot, now, batch);
        if self.agenda.followed < slot {
            self.agenda.followed = slot;
            let busy: Vec<SiteId> = self.core.state().active_sites().cloned().collect();
            for site in busy {
                // The rules themselves may be others than those of the program before this one.
                self.stop_forbidden(&site, now, batch);
                self.shed(&site, now, batch);
            }
            if let Some(record) = self.core.decide_clock(now) {
                self.commit_work(record, batch);
            }
        }
        self.offer_due(slot, now, mono_ms, batch);
    }

    fn judge_silence(&mut self, now: TimeMs, mono_ms: u64, batch: &mut Batch) {
        for site in self.leases.take_orphaned(mono_ms) {
            if let Some(record) = self.core.decide_lost(&site, true, now) {
                warn!(%site, "what an earlier agent held is given up");
                self.commit_work(record, batch);
            }
        }
        let agents = self.core.state().agents().values();
        let sites: Vec<SiteId> = agents
            // One that was given up is no sign of anything any more.
            .filter(|agent| agent.is_usable())
            .map(|agent| agent.site.clone())
            .collect();
        let judged = self.leases.judge(&sites, mono_ms);
        for (site, silence) in sites.iter().zip(judged) {
            if silence == Silence::None {
                continue;
            }
            if let Some(record) = self.core.decide_silence(site, now) {
                warn!(%site, "the site's agent is silent");
                self.commit_work(record, batch);
            }
            if silence == Silence::Lost
                && let Some(record) = self.core.decide_lost(site, false, now)
            {
                warn!(%site, "the site is given up until its agent is heard again");
                self.commit_work(record, batch);
                self.follow_agent(site);
            }
        }
    }

    /// Follows an agent that came or was given up: jobs that wait may run there, or those planned there may not.
    fn follow_agent(&mut self, site: &SiteId) {
        if !self.plan.set_agent(self.core.state(), site) {
            return;
        }
        let is_usable = self.core.state().agent(site).is_some_and(|a| a.is_usable());
        let (cause, scope) = if is_usable {
            (ChangeCause::SiteBack, Scope::Improvable)
        } else {
            (ChangeCause::SiteLost, self.all_of(site, false))
        };
        self.replanning.note(Due {
            cause,
            trigger: site.as_str().into(),
            scope,
        });
    }

    /// Stops what is past its deadline.
    fn stop_overdue(&mut self, now: TimeMs, batch: &mut Batch) {
        loop {
            let before_now = (now, JobId(0));
            let overdue = self.agenda.deadlines.range(..before_now);
            let overdue = overdue.take(limits::REPLAN_CANDIDATES_MAX);
            let ids: Vec<JobId> = overdue.map(|(_, id)| *id).collect();
            // What is stopped leaves the agenda.
            match self.core.decide_deadlines(&ids, now) {
                Some(record) => self.commit_work(record, batch),
                None => return,
            }
        }
    }

    /// Stops what drains ask to stop.
    fn follow_drains(&mut self, now: TimeMs, batch: &mut Batch) {
        while let Some((at, _)) = self.agenda.drains.first()
            && *at <= now
            && let Some((_, site)) = self.agenda.drains.pop_first()
        {
            while let Some(record) = self.core.decide_drain(&site, now) {
                self.commit_work(record, batch);
            }
        }
    }

    /// Offers what is due to agents that were heard lately.
    fn offer_due(&mut self, slot: Slot, now: TimeMs, mono_ms: u64, batch: &mut Batch) {
        let state = self.core.state();
        let mut due: Vec<JobId> = Vec::new();
        for (site, starts) in &self.agenda.starts {
            let is_open = state.site(site).is_some_and(|site| site.cordon.is_none());
            if starts.is_empty() || !self.leases.is_live(site, mono_ms) {
                continue;
            }
            let up_to = (slot, JobId(u128::MAX));
            // What has begun there goes on also where nothing new begins.
            let goes_on = |id: &JobId| state.job(*id).is_some_and(|job| job.goes_on());
            let ids = starts.range(..=up_to).map(|(_, id)| *id);
            due.extend(ids.filter(|id| is_open || goes_on(id)));
        }
        self.drop_forbidden(&mut due, slot, now, batch);
        let state = self.core.state();
        // What runs past its placement is in no sum: where a window is open, what begins may be too much with it.
        let windowed = due.iter().filter_map(|id| {
            let site = &state.job(*id)?.placement()?.site;
            state.site(site)?.window_at(slot).map(|_| site.clone())
        });
        let windowed: BTreeSet<SiteId> = windowed.collect();
        for ids in due.chunks(limits::REPLAN_CANDIDATES_MAX) {
            if let Some(record) = self.core.decide_starts(ids, now) {
                self.commit_work(record, batch);
            }
        }
        for site in &windowed {
            self.shed(site, now, batch);
        }
    }

    /// Gives active jobs past the end of their placement the slot that is passing, at the cost of planned ones.
    fn extend_overruns(&mut self, slot: Slot, now: TimeMs, batch: &mut Batch) {
        let grid = self.options.settings.grid;
        if self.agenda.unbooked.0 != slot {
            self.agenda.unbooked = (slot, BTreeSet::new());
        }
        let up_to = (slot, JobId(u128::MAX));
        let late = self.agenda.ends.range(..=up_to);
        let late: Vec<JobId> = late
            .filter(|(end, id)| {
                let grace_over = grid.start_of(*end).plus_ms(limits::OVERRUN_GRACE_MS) <= now;
                grace_over && !self.agenda.unbooked.1.contains(id)
            })
            .map(|(_, id)| *id)
            .collect();
        for id in late {
            self.extend_overrun(id, slot, now, batch);
        }
    }

    fn extend_overrun(&mut self, id: JobId, slot: Slot, now: TimeMs, batch: &mut Batch) {
        let Some(job) = self.core.state().job(id).cloned() else {
            return;
        };
        let Some(placement) = job.placement() else {
            return;
        };
        let mut displaced: Vec<PlanChange> = Vec::new();
        let mut in_the_way = None;
        let longer = loop {
            if let Some(longer) = self.plan.timetable.extend(placement, slot) {
                break Some(Arc::new(longer));
            }
            let candidates =
                in_the_way.get_or_insert_with(|| self.planned_in(&placement.site, slot));
            let Some(victim) = candidates.pop() else {
                break None;
            };
            if let Some(old) = victim.placement() {
                self.plan.timetable.release(old);
                displaced.push(displacement(&victim, old, id));
            }
        };
        let decided = longer.as_ref().and_then(|longer| {
            let decided = self.core.decide_overrun(id, longer, &displaced, now);
            decided
                .inspect_err(|defect| tracing::error!(%defect, "an overrun was not booked"))
                .ok()
        });
        let Some(record) = decided else {
            for change in &displaced {
                if let Some(old) = &change.from {
                    self.plan.timetable.reserve(old);
                }
            }
            self.agenda.unbooked.1.insert(id);
            warn!(job = %id, site = %placement.site, "a job that overruns finds no room: its site is over-committed");
            return;
        };
        self.plan.timetable.release(placement);
        if let Some(longer) = &longer {
            self.plan.timetable.reserve(longer);
        }
        self.commit(record, batch);
        if !displaced.is_empty() {
            self.replanning.note(Due {
                cause: ChangeCause::Displaced,
                trigger: id.to_string().into(),
                scope: Scope::Queued,
            });
        }
    }

    /// Jobs planned at a site in a slot, the first to give way last: the lowest priority, then the latest deadline.
    fn planned_in(&self, site: &SiteId, slot: Slot) -> Vec<Arc<Job>> {
        let takes = |placement: &Arc<Placement>| {
            placement.site == *site && placement.runs.iter().any(|run| run.slots.contains(slot))
        };
        let jobs = self.core.state().jobs().values();
        let mut there: Vec<Arc<Job>> = jobs
            .filter(|job| matches!(&job.state, JobState::Planned(placement) if takes(placement)))
            .filter(|job| !job.goes_on())
            .cloned()
            .collect();
        there.sort_by_key(|job| (std::cmp::Reverse(job.spec.priority), job.end_by, job.id));
        there
    }

    /// Applies a record that the timetable has still to follow.
    pub(super) fn commit_work(&mut self, record: Record, batch: &mut Batch) {
        let n_before = batch.commits.len();
        self.commit(record, batch);
        let mut has_room = false;
        for commit in &batch.commits[n_before..] {
            for delta in &commit.deltas {
                let before = delta.before.as_ref().and_then(|job| job.placement());
                let after = delta.after.as_ref().and_then(|job| job.placement());
                if before == after {
                    continue;
                }
                if let Some(old) = before {
                    self.plan.timetable.release(old);
                    has_room = true;
                }
                if let Some(new) = after {
                    self.plan.timetable.reserve(new);
                }
            }
        }
        if has_room {
            self.note_room();
        }
    }
}

/// When an active job is to be stopped for its deadline; `None` when it is not.
fn deadline(job: &Job) -> Option<(TimeMs, JobId)> {
    let stopping = job.state.active()?.stopping();
    let ends = matches!(stopping, Some(StopCause::Cancel | StopCause::Deadline));
    let deadline = job.stops_by().filter(|_| !ends)?;
    Some((deadline, job.id))
}

/// When a job that has begun may have to end because a proof runs out.
fn proofs(job: &Job) -> impl Iterator<Item = (TimeMs, JobId)> {
    let policy = (job.state.active().is_some() || job.goes_on()).then_some(&job.spec.data_policy);
    policy.into_iter().flat_map(|policy| {
        let proofs = policy.proofs().filter_map(|proof| proof.valid_until);
        proofs.map(|until| (policy.must_end_by(until), job.id))
    })
}

fn displacement(victim: &Job, old: &Arc<Placement>, by: JobId) -> PlanChange {
    PlanChange {
        id: victim.id,
        from: Some(old.clone()),
        to: None,
        expired: false,
        cause: ChangeCause::Displaced,
        trigger: by.to_string().into(),
    }
}
