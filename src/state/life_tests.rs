//! Any order of offers, reports, silence and verbs against simulated agents: no fence runs twice, no job runs at two
//! places at once, what has ended stays ended, and the records rebuild an equal core.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select},
};

use super::*;
use crate::{
    domain::{
        agent::Token,
        attempt::{AttemptEnd, Ended, Fence},
        execution::{Execution, PauseMode, RetryPolicy, SiteLostPolicy},
        job::{JobSpec, Phase, StopCause},
        placement::Run,
        restriction::DrainMode,
    },
    slot::SlotRange,
    state::{
        command::{
            HeldAttempt, JobCommand, JobVerb, PlanChange, Report, ReportedEvent, ReportedKind,
            SiteCommand, SiteVerb,
        },
        decide_agents::Told,
        decide_jobs::JobStep,
        event::{Record, SiteDelta},
        testing::{self, FIRST, NOW, placement, settings, submission},
    },
};

const SITES: [&str; 2] = ["dli", "kmg"];

/// What a program does: exit codes stand for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Accepted,
    Runs,
    Paused,
}

/// One thing that may happen.
#[derive(Debug, Clone)]
enum Step {
    /// A job is planned at a site from the present slot on.
    Submit {
        site: usize,
        kind: u8,
    },
    /// What is due is offered.
    Offer,
    /// Orders are sent to the agent.
    Order(usize),
    /// The agent does what the last orders say.
    Obey(usize),
    /// A program ends by itself.
    Exit(usize, Index, u8),
    /// The agent reports; the report is kept and may come again later.
    Report(usize),
    /// An old report comes once more.
    Repeat(Index),
    /// A new agent with an empty memory enrolls; the old one goes on for a while.
    Replace(usize),
    Cancel(Index),
    /// A site is emptied, or open again.
    Drain(usize, Option<DrainMode>, bool),
    /// The data rules forbid everything that is at a site.
    Forbid(usize),
    Pass(u8),
    Silence(usize),
    /// Programs of the site stop by its agent's own clock, then the site is given up.
    Lose(usize),
}

/// An agent and what it runs.
#[derive(Debug, Clone, Default)]
struct Agent {
    instance: u8,
    sequence: u64,
    unacknowledged: Vec<ReportedEvent>,
    holds: BTreeMap<(JobId, Fence), Doing>,
    /// Ended, until that is acknowledged.
    ended: BTreeMap<(JobId, Fence), u64>,
    /// Orders that came and are not taken in yet.
    inbox: Option<Orders>,
    /// Revision of the last ones taken in.
    seen: Revision,
}

/// Every attempt that the site should hold, whether to stop or to pause it; and the revision they are of.
type Orders = (Revision, BTreeMap<(JobId, Fence), (bool, bool)>);

struct World {
    core: Core,
    records: Vec<Record>,
    now: TimeMs,
    agents: [Agent; 2],
    /// Agents that were replaced and have not been waited for yet.
    old: Vec<(usize, Agent)>,
    sent: Vec<Report>,
    started: BTreeSet<(JobId, Fence)>,
    n_submitted: u64,
    n_instances: u8,
}

fn step() -> impl Strategy<Value = Step> {
    let site = || 0..2_usize;
    let job = any::<Index>;
    prop_oneof![
        4 => (site(), any::<u8>()).prop_map(|(site, kind)| Step::Submit { site, kind }),
        6 => Just(Step::Offer),
        8 => site().prop_map(Step::Order),
        8 => site().prop_map(Step::Obey),
        4 => (site(), job(), 0..2_u8).prop_map(|(site, which, code)| Step::Exit(site, which, code)),
        8 => site().prop_map(Step::Report),
        2 => job().prop_map(Step::Repeat),
        1 => site().prop_map(Step::Replace),
        2 => job().prop_map(Step::Cancel),
        1 => (site(), option::of(select(DrainMode::ALL.to_vec())), any::<bool>())
            .prop_map(|(site, mode, ends)| Step::Drain(site, mode, ends)),
        1 => site().prop_map(Step::Forbid),
        3 => (0..100_u8).prop_map(Step::Pass),
        1 => site().prop_map(Step::Silence),
        1 => site().prop_map(Step::Lose),
    ]
}

fn instance(number: u8) -> Arc<str> {
    format!("i-{number}").into()
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            core: Core::new(settings()),
            records: vec![],
            now: NOW,
            agents: Default::default(),
            old: vec![],
            sent: vec![],
            started: BTreeSet::new(),
            n_submitted: 0,
            n_instances: 0,
        };
        for (i, id) in SITES.iter().enumerate() {
            let site = testing::site(id);
            let create = SiteCommand {
                id: site.id.clone(),
                etag: None,
                request: None,
                verb: SiteVerb::Create(Box::new(site)),
            };
            let record = world.core.decide_site(&create, NOW).unwrap().unwrap();
            world.apply(record);
            world.enroll(i);
        }
        let update = testing::latencies(&SITES);
        let record = world.core.decide_latencies(&update, None, NOW).unwrap();
        world.apply(record.unwrap());
        world
    }

    fn apply(&mut self, record: Record) {
        let before = self.core.state().clone();
        let applied = self.core.apply(&record);
        check(&before, self.core.state());
        check_told(&before, self.core.state(), &applied.sites);
        self.records.push(record);
    }

    fn apply_some(&mut self, record: Option<Record>) {
        if let Some(record) = record {
            self.apply(record);
        }
    }

    fn enroll(&mut self, i: usize) {
        let site = testing::site_id(SITES[i]);
        let hash = [self.n_instances; 32];
        let token = Token {
            sha256: hash,
            expires_at: self.now,
        };
        let record = self.core.decide_token(&site, token, self.now).unwrap();
        self.apply(record);
        let instance = instance(self.n_instances);
        let enroll =
            |core: &Core, now, hash| core.decide_enroll(&site, hash, &instance, [9; 32], now);
        // The token is good for its site, its time and one use only.
        assert!(enroll(&self.core, self.now.plus_ms(1), hash).is_err());
        assert!(enroll(&self.core, self.now, [0xff; 32]).is_err());
        let record = enroll(&self.core, self.now, hash).unwrap();
        self.apply(record);
        assert!(enroll(&self.core, self.now, hash).is_err());
        self.agents[i] = Agent {
            instance: self.n_instances,
            ..Agent::default()
        };
        self.n_instances += 1;
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Submit { site, kind } => self.submit(*site, *kind),
            Step::Offer => {
                let ids: Vec<JobId> = self.core.state().jobs().keys().copied().collect();
                let record = self.core.decide_starts(&ids, self.now);
                self.apply_some(record);
            }
            Step::Order(i) => self.agents[*i].inbox = Some(self.orders(*i)),
            Step::Obey(i) => self.obey(*i),
            Step::Exit(i, which, code) => {
                let held = self.agents[*i].holds.iter();
                let running: Vec<_> = held
                    .filter(|(_, doing)| **doing == Doing::Runs)
                    .map(|(key, _)| *key)
                    .collect();
                if !running.is_empty() {
                    let key = running[which.index(running.len())];
                    self.end(*i, key, AttemptEnd::Exited(*code));
                }
            }
            Step::Report(i) => {
                let report = self.report(*i);
                self.sent.push(report.clone());
                self.bring(&report);
            }
            Step::Repeat(which) => {
                if !self.sent.is_empty() {
                    let report = self.sent[which.index(self.sent.len())].clone();
                    self.bring(&report);
                }
            }
            Step::Replace(i) => {
                let old = self.agents[*i].clone();
                self.old.push((*i, old));
                self.enroll(*i);
            }
            Step::Cancel(which) => self.cancel(*which),
            Step::Pass(tenths) => self.pass(i64::from(*tenths) * 10_000),
            Step::Drain(i, mode, ends) => self.drain_or_open(*i, *mode, *ends),
            Step::Forbid(i) => self.forbid(*i),
            Step::Silence(i) => {
                let site = testing::site_id(SITES[*i]);
                let record = self.core.decide_silence(&site, self.now);
                self.apply_some(record);
            }
            Step::Lose(i) => self.lose(*i),
        }
        self.check_one_place();
    }

    fn cancel(&mut self, which: Index) {
        let jobs = self.core.state().jobs();
        let picked = jobs.keys().nth(which.index(jobs.len().max(1))).copied();
        let Some(id) = picked else { return };
        let command = JobCommand {
            id,
            etag: None,
            request: None,
            verb: JobVerb::Cancel {
                note: "stop".into(),
            },
        };
        if let Ok(JobStep::Decided(record)) = self.core.begin_job(&command, self.now) {
            self.apply(record);
        }
    }

    fn pass(&mut self, ms: i64) {
        self.now = self.now.plus_ms(ms);
        let record = self.core.decide_clock(self.now);
        self.apply_some(record);
        let ids: Vec<JobId> = self.core.state().jobs().keys().copied().collect();
        let record = self.core.decide_deadlines(&ids, self.now);
        self.apply_some(record);
        for i in 0..SITES.len() {
            self.drain(i);
        }
    }

    fn drain_or_open(&mut self, i: usize, mode: Option<DrainMode>, ends: bool) {
        let verb = mode.map_or(SiteVerb::Uncordon, |mode| SiteVerb::Drain {
            reason: "mains".into(),
            mode,
            deadline: ends.then(|| self.now.plus_ms(500_000)),
        });
        let command = SiteCommand {
            id: testing::site_id(SITES[i]),
            etag: None,
            request: None,
            verb,
        };
        let record = self.core.decide_site(&command, self.now).unwrap();
        self.apply_some(record);
        self.drain(i);
    }

    /// Stops what the drain of a site asks for, after which it asks for nothing more.
    fn drain(&mut self, i: usize) {
        let site = testing::site_id(SITES[i]);
        let record = self.core.decide_drain(&site, self.now);
        self.apply_some(record);
        assert_eq!(self.core.decide_drain(&site, self.now), None);
        let state = self.core.state();
        let drain = state.site(&site).unwrap().restrictions.drain;
        let is_over = drain.is_some_and(|drain| {
            drain.mode == DrainMode::Kill || drain.deadline.is_some_and(|at| at <= self.now)
        });
        assert!(!is_over || state.load(&site).running == 0);
    }

    fn forbid(&mut self, i: usize) {
        let site = testing::site_id(SITES[i]);
        let ids: Vec<JobId> = self.core.state().begun_at(&site).map(|j| j.id).collect();
        let forbid = |core: &Core, now| core.decide_forbidden(&ids, &"rules".into(), now);
        let record = forbid(&self.core, self.now);
        self.apply_some(record);
        assert_eq!(forbid(&self.core, self.now), None);
        let state = self.core.state();
        assert_eq!(state.load(&site).running, 0);
        assert_eq!(state.between_runs(&site).count(), 0);
        // It has no time to save: nothing of it goes on there.
        let saves = state.active_at(&site).any(|job| {
            let stopping = job.state.active().unwrap().stopping();
            !matches!(
                stopping,
                Some(StopCause::Forbidden | StopCause::Cancel | StopCause::Deadline)
            )
        });
        assert!(!saves);
    }

    fn submit(&mut self, site: usize, kind: u8) {
        self.n_submitted += 1;
        let mut item = submission(self.n_submitted, None);
        item.submission.spec = Arc::new(JobSpec {
            execution: Some(Arc::new(Execution {
                argv: Box::new(["run".into()]),
                environment: Box::default(),
                max_runtime_ms: None,
                retry: RetryPolicy {
                    max_attempts: if kind & 8 == 0 { 2 } else { 1 },
                    backoff_ms: 0,
                    retry_on: BTreeSet::new(),
                },
                on_site_lost: [
                    SiteLostPolicy::Requeue,
                    SiteLostPolicy::Wait,
                    SiteLostPolicy::Fail,
                ][usize::from(kind % 3)],
                at_most_once: kind & 8 != 0,
                stop_grace_ms: 0,
                pause_mode: match kind & (8 | 32) {
                    32 => PauseMode::Requeue,
                    _ => PauseMode::Suspend,
                },
                checkpoint: None,
                inputs: Box::default(),
                outputs: Box::default(),
            })),
            ..testing::spec()
        });
        let slot = settings().grid.slot_at(self.now).max(FIRST);
        let slots = 1 + u32::from(kind % 4);
        let mut at = placement(SITES[site], slot, slots);
        if kind & 16 != 0 && 1 < slots {
            // The first slot is a run of its own, and a gap follows.
            let run = |from, to| Run::single(SlotRange::new(slot.plus(from), slot.plus(to)));
            Arc::make_mut(&mut at).runs = Box::new([run(0, 1), run(3, 2 + slots)]);
        }
        item.placement = Some(at);
        item.submission.hold = false;
        if let Ok(record) = self.core.decide_submit(&[item], self.now) {
            self.apply(record);
        }
        // What waits is planned again at the other site.
        let queued: Vec<_> = self.core.state().jobs().values().cloned().collect();
        for job in queued.iter().filter(|job| job.state == JobState::Queued) {
            let change = PlanChange {
                id: job.id,
                from: None,
                to: Some(placement(SITES[1 - site], slot.max(FIRST), 1)),
                expired: false,
                cause: crate::domain::job::ChangeCause::Room,
                trigger: "".into(),
            };
            if let Ok(Some(record)) = self.core.decide_plan(&[change], self.now) {
                self.apply(record);
            }
        }
    }

    /// What the rim would order: every attempt under the present epoch, whether to run, to pause or to stop.
    fn orders(&self, i: usize) -> Orders {
        let site = testing::site_id(SITES[i]);
        let state = self.core.state();
        let agent = state.agent(&site).unwrap();
        let active = state.active_at(&site);
        let orders = active
            .filter_map(|job| {
                let last = job.work.as_ref()?.last()?;
                let active = job.state.active()?;
                let stop = matches!(active.phase, Phase::Stopping(_));
                (last.fence.site_epoch == agent.epoch)
                    .then_some(((job.id, last.fence), (stop, active.pause.is_some())))
            })
            .collect();
        (state.revision(), orders)
    }

    fn obey(&mut self, i: usize) {
        let Some((revision, orders)) = self.agents[i].inbox.take() else {
            return;
        };
        self.agents[i].seen = revision;
        let held: Vec<_> = self.agents[i].holds.keys().copied().collect();
        for key in held.into_iter().filter(|key| !orders.contains_key(key)) {
            self.agents[i].holds.remove(&key);
        }
        for (key, (stop, pause)) in orders {
            let agent = &mut self.agents[i];
            if agent.ended.contains_key(&key) {
                continue;
            }
            match (agent.holds.get(&key).copied(), stop, pause) {
                (None, true, _) => {}
                (None, false, _) => {
                    agent.holds.insert(key, Doing::Accepted);
                    self.say(i, key, ReportedKind::Accepted);
                }
                (Some(_), true, _) => self.end(i, key, AttemptEnd::Stopped),
                (Some(Doing::Accepted), false, _) => {
                    agent.holds.insert(key, Doing::Runs);
                    assert!(self.started.insert(key), "a fence runs once");
                    let engine_id = "1".into();
                    self.say(i, key, ReportedKind::Started { engine_id });
                }
                (Some(Doing::Runs), false, true) => {
                    agent.holds.insert(key, Doing::Paused);
                    self.say(i, key, ReportedKind::Suspended);
                }
                (Some(Doing::Paused), false, false) => {
                    agent.holds.insert(key, Doing::Runs);
                    self.say(i, key, ReportedKind::Resumed);
                }
                (Some(Doing::Runs), false, false) | (Some(Doing::Paused), false, true) => {}
            }
        }
    }

    fn say(&mut self, i: usize, (job, fence): (JobId, Fence), kind: ReportedKind) {
        let agent = &mut self.agents[i];
        agent.sequence += 1;
        agent.unacknowledged.push(ReportedEvent {
            sequence: agent.sequence,
            job,
            fence,
            at: self.now,
            kind,
        });
    }

    fn end(&mut self, i: usize, key: (JobId, Fence), end: AttemptEnd) {
        self.agents[i].holds.remove(&key);
        let ended = Ended {
            at: self.now,
            end,
            run_ms: 1,
            energy_watt_seconds: 0,
            message: "".into(),
        };
        self.say(i, key, ReportedKind::Ended(ended));
        let sequence = self.agents[i].sequence;
        self.agents[i].ended.insert(key, sequence);
    }

    fn report(&self, i: usize) -> Report {
        let agent = &self.agents[i];
        let held = agent.holds.keys().chain(agent.ended.keys());
        Report {
            process: None,
            site: testing::site_id(SITES[i]),
            instance: instance(agent.instance),
            last_sequence: agent.sequence,
            seen_revision: agent.seen,
            held: held
                .map(|&(job, fence)| HeldAttempt { job, fence })
                .collect(),
            events: agent.unacknowledged.clone(),
            version: "".into(),
        }
    }

    fn bring(&mut self, report: &Report) {
        match self.core.decide_report(report, self.now) {
            Ok(Told::News { record, .. }) => self.apply_some(Some(record)),
            Ok(Told::Nothing) => {}
            Ok(Told::Refused(_)) | Err(_) => return,
        }
        // The same again changes nothing.
        assert_eq!(self.core.decide_report(report, self.now), Ok(Told::Nothing));
        for agent in &mut self.agents {
            let site = self.core.state().agent(&report.site).unwrap();
            let member = site.member.as_ref().unwrap();
            if member.instance == instance(agent.instance) {
                let acknowledged = member.acknowledged;
                agent.unacknowledged.retain(|e| acknowledged < e.sequence);
                agent.ended.retain(|_, sequence| acknowledged < *sequence);
            }
        }
    }

    /// The agent hears nothing, stops what it runs by its own clock, and only then the server gives up.
    fn lose(&mut self, i: usize) {
        let site = testing::site_id(SITES[i]);
        let record = self.core.decide_silence(&site, self.now);
        self.apply_some(record);
        // Orders that are on their way do not arrive.
        self.agents[i].inbox = None;
        let held: Vec<_> = self.agents[i].holds.keys().copied().collect();
        for key in held {
            self.end(i, key, AttemptEnd::SelfFenced);
        }
        self.old.retain(|(at, _)| *at != i);
        let record = self.core.decide_lost(&site, false, self.now);
        self.apply_some(record);
    }

    /// A job never runs twice at once: a new attempt begins only when nothing of the last one can run any more.
    fn check_one_place(&self) {
        let live = self.agents.iter().chain(self.old.iter().map(|(_, a)| a));
        let mut running = BTreeSet::new();
        for agent in live {
            for ((job, _), doing) in &agent.holds {
                if *doing != Doing::Accepted {
                    assert!(running.insert(*job), "{job} runs twice");
                }
            }
        }
    }
}

/// What must hold after every record.
fn check(before: &State, state: &State) {
    for job in state.jobs().values() {
        let last = job.work.as_deref().and_then(|work| work.last());
        let is_open = last.is_some_and(|last| last.ended.is_none());
        assert_eq!(is_open, job.state.active().is_some(), "{job:?}");
        let Some(old) = before.job(job.id) else {
            continue;
        };
        if old.state.is_terminal() {
            assert_eq!(old, job, "what has ended stays so");
        }
        let number = |job: &Job| {
            job.work
                .as_deref()
                .and_then(|work| work.last())
                .map_or(0, |last| last.fence.attempt)
        };
        assert!(number(old) <= number(job) && number(job) <= number(old) + 1);
        let once = job
            .spec
            .execution
            .as_deref()
            .is_some_and(|e| e.at_most_once);
        let begun = job.work.iter().flat_map(|work| &work.attempts);
        let begun = begun.filter(|attempt| attempt.started_at.is_some()).count();
        assert!(!once || begun <= 1, "{job:?}");
    }
}

/// Every change of a site, and of what a drain has left, is told as it is by now.
fn check_told(before: &State, state: &State, told: &[SiteDelta]) {
    for (id, site) in state.sites() {
        let delta = told.iter().find(|delta| delta.site.id == *id);
        let load = state.load(id);
        if let Some(delta) = delta {
            assert_eq!((&delta.site, delta.load), (site, load));
        }
        let is_drained = site.restrictions.drain.is_some();
        let has_changed = before.site(id) != Some(site) || (is_drained && before.load(id) != load);
        assert!(delta.is_some() || !has_changed, "{id}");
    }
}

proptest! {
    #![proptest_config(testing::cases(256))]

    #[test]
    fn whatever_agents_do_no_job_runs_twice_and_the_records_rebuild_the_state(
        steps in vec(step(), 1..120),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        let mut replayed = Core::new(settings());
        for record in &world.records {
            replayed.apply(record);
        }
        prop_assert!(replayed == world.core);
        prop_assert!(Core::restore(world.core.state().clone()) == world.core);
    }
}
