//! Any sequence of commands: its records rebuild an equal core, and every step keeps the invariants.

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
        job::JobSpec,
        link::{StageIn, Staging},
        placement::Placement,
        restriction::DrainMode,
    },
    limits,
    slot::SlotRange,
    state::{
        command::{
            ActualsCommand, JobCommand, JobPatch, JobVerb, LatencyUpdate, LinkCommand, PlanChange,
            SiteCommand, SitePatch, SiteVerb,
        },
        decide_jobs::JobStep,
        event::{Event, Record},
        parts::{LedgerParts, Parts},
        testing::{self, FIRST, NOW, actuals, issue, placement, request, settings, submission},
    },
};

const SITES: [&str; 2] = ["dli", "kmg"];
const ENDED_JOBS_KEPT_MS: i64 = 4_000_000;
const REQUESTS_KEPT_MS: i64 = 2_000_000;

/// Site, first slot, number of slots.
type Window = (usize, u32, u32);

/// One thing that may happen; jobs are named by their place among those there are.
#[derive(Debug, Clone)]
enum Step {
    Submit(Vec<(u64, Option<Window>)>),
    Hold(Index, u8),
    Release(Index, Option<Window>),
    Cancel(Index, u8),
    Update(Index, u8, Option<Window>),
    Cordon(usize),
    Drain(usize, DrainMode, bool),
    Uncordon(usize),
    SetCap(usize, u64),
    DropSupplies(usize),
    Latencies(bool),
    SetLink(u64, bool),
    Forecast(usize, u8, u64),
    Actuals(usize, u32, Vec<u64>),
    Plan(Vec<(Index, Option<Window>, bool)>),
    Forget(u32),
}

fn window() -> impl Strategy<Value = Window> {
    (0..2_usize, 0..8_u32, 1..6_u32)
}

fn step() -> impl Strategy<Value = Step> {
    let job = any::<Index>;
    let place = || option::weighted(0.8, window());
    let change = (job(), place(), any::<bool>());
    let readings = vec(0..9_u64, 0..4);
    prop_oneof![
        6 => vec((0..40_u64, place()), 1..4).prop_map(Step::Submit),
        2 => (job(), 0..4_u8).prop_map(|(job, id)| Step::Hold(job, id)),
        2 => (job(), place()).prop_map(|(job, to)| Step::Release(job, to)),
        1 => (job(), 0..4_u8).prop_map(|(job, id)| Step::Cancel(job, id)),
        2 => (job(), 0..4_u8, place()).prop_map(|(job, label, to)| Step::Update(job, label, to)),
        1 => (0..2_usize).prop_map(Step::Cordon),
        1 => (0..2_usize, select(DrainMode::ALL.to_vec()), any::<bool>())
            .prop_map(|(site, mode, ends)| Step::Drain(site, mode, ends)),
        1 => (0..2_usize).prop_map(Step::Uncordon),
        1 => (0..2_usize, 1..20_000_u64).prop_map(|(site, cap)| Step::SetCap(site, cap)),
        1 => (0..2_usize).prop_map(Step::DropSupplies),
        1 => any::<bool>().prop_map(Step::Latencies),
        1 => (1..20_u64, any::<bool>()).prop_map(|(rate, keyed)| Step::SetLink(rate, keyed)),
        2 => (0..2_usize, 0..6_u8, 1..9_u64).prop_map(|(site, at, watts)| Step::Forecast(site, at, watts)),
        2 => (0..2_usize, 0..5_u32, readings).prop_map(|(site, at, all)| Step::Actuals(site, at, all)),
        4 => vec(change, 1..5).prop_map(Step::Plan),
        2 => (0..3_u32).prop_map(Step::Forget),
    ]
}

/// A core with two sites, and the records that led there.
struct World {
    core: Core,
    records: Vec<Record>,
    now: TimeMs,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            core: Core::new(settings()),
            records: vec![],
            now: NOW,
        };
        for id in SITES {
            let mut site = testing::site(id);
            // Little green power: some submissions must fail.
            site.supplies[0].nameplate_watts = 2_000;
            site.gateway = Some(testing::name("g"));
            let verb = SiteVerb::Create(Box::new(site));
            let record = world.site_command(id, verb);
            world.apply(record.unwrap());
        }
        let update = testing::latencies(&SITES);
        let record = world.core.decide_latencies(&update, None, NOW).unwrap();
        world.apply(record.unwrap());
        world
    }

    fn apply(&mut self, record: Record) {
        let before = self.core.state().clone();
        self.core.apply(&record);
        check_step(&before, &self.core, &record);
        self.records.push(record);
    }

    fn take(&mut self, step: &Step) {
        // Now and then a slot passes, so that transfers begin and end.
        self.now = self.now.plus_ms(100_000);
        if let Some(record) = self.decide(step) {
            self.apply(record);
        }
    }

    /// What the writer would decide; a refusal decides nothing.
    fn decide(&self, step: &Step) -> Option<Record> {
        let core = &self.core;
        match step {
            Step::Submit(jobs) => self.submit(jobs),
            Step::Hold(job, id) => {
                let verb = JobVerb::Hold {
                    note: "wait".into(),
                };
                self.job_command(*job, Some(*id), verb, None)
            }
            Step::Release(job, to) => self.job_command(*job, None, JobVerb::Release, *to),
            Step::Cancel(job, id) => {
                let verb = JobVerb::Cancel {
                    note: "stop".into(),
                };
                self.job_command(*job, Some(*id), verb, None)
            }
            Step::Update(job, label, to) => {
                let patch = JobPatch {
                    labels: Some(Box::new([("n".into(), label.to_string().into())])),
                    ..JobPatch::default()
                };
                self.job_command(*job, None, JobVerb::Update(Box::new(patch)), *to)
            }
            Step::Cordon(site) => {
                let reason = "mains".into();
                self.site_command(SITES[*site], SiteVerb::Cordon { reason })
            }
            Step::Drain(site, mode, ends) => self.drain(SITES[*site], *mode, *ends),
            Step::Uncordon(site) => self.site_command(SITES[*site], SiteVerb::Uncordon),
            Step::SetCap(site, cap) => self.set_cap(SITES[*site], *cap),
            Step::DropSupplies(site) => {
                let patch = SitePatch {
                    supplies: Some(vec![]),
                    ..SitePatch::default()
                };
                self.site_command(SITES[*site], SiteVerb::Update(Box::new(patch)))
            }
            Step::Latencies(fast) => {
                let mut update: LatencyUpdate = testing::latencies(&SITES);
                update.zones[0].budget_us = if *fast { 50_000 } else { 80_000 };
                core.decide_latencies(&update, None, self.now).ok()?
            }
            Step::SetLink(rate, keyed) => self.set_link(*rate, *keyed),
            Step::Forecast(site, at, watts) => {
                let supply = format!("{}/hydro", SITES[*site]);
                let issued_at = NOW.plus_ms(i64::from(*at));
                let issue = issue(&supply, issued_at, FIRST, 4, *watts);
                core.decide_forecast(&issue, self.now).ok()?
            }
            Step::Actuals(site, at, watts) => {
                let supply = testing::name(&format!("{}/hydro", SITES[*site]));
                // Old enough to be forgotten with a later step.
                let kept = limits::ACTUALS_DAYS_MAX * settings().grid.slots_per_day();
                let command = ActualsCommand {
                    actuals: actuals(&supply, FIRST.minus(kept).plus(*at), watts),
                    request: watts.is_empty().then(|| request("PutActuals/0", 0)),
                };
                core.decide_actuals(&command, self.now).ok()?
            }
            Step::Plan(changes) => self.plan(changes),
            Step::Forget(slots_later) => {
                let now = self.now.plus_ms(i64::from(*slots_later) * 900_000);
                core.decide_forget(now, ENDED_JOBS_KEPT_MS, REQUESTS_KEPT_MS)
            }
        }
    }

    fn drain(&self, site: &str, mode: DrainMode, ends: bool) -> Option<Record> {
        let verb = SiteVerb::Drain {
            reason: "mains".into(),
            mode,
            deadline: ends.then(|| self.now.plus_ms(300_000)),
        };
        self.site_command(site, verb)
    }

    fn set_cap(&self, site: &str, watts: u64) -> Option<Record> {
        let patch = SitePatch {
            power_cap_watts: Some(watts),
            ..SitePatch::default()
        };
        self.site_command(site, SiteVerb::Update(Box::new(patch)))
    }

    fn set_link(&self, bandwidth_bits_per_second: u64, keyed: bool) -> Option<Record> {
        let command = LinkCommand {
            gateway: testing::name("g"),
            bandwidth_bits_per_second,
            etag: None,
            request: keyed.then(|| request("PutLink/0", 0)),
        };
        self.core.decide_link(&command, self.now).ok()?
    }

    fn submit(&self, jobs: &[(u64, Option<Window>)]) -> Option<Record> {
        let items: Vec<_> = jobs
            .iter()
            .map(|(number, to)| {
                let mut item = submission(*number, None);
                item.submission.spec = Arc::new(described(*number));
                item.placement = to.map(|to| placed(to, &item.submission.spec));
                item.submission.hold = item.placement.is_none();
                item
            })
            .filter(|item| self.core.repeat_of(&item.submission) == Ok(None))
            .collect();
        if items.is_empty() {
            return None;
        }
        self.core.decide_submit(&items, self.now).ok()
    }

    fn job_command(
        &self,
        job: Index,
        id: Option<u8>,
        verb: JobVerb,
        to: Option<Window>,
    ) -> Option<Record> {
        let command = JobCommand {
            id: self.pick(job)?.id,
            etag: None,
            request: id.map(|id| request(&format!("Job/{id}"), id)),
            verb,
        };
        match self.core.begin_job(&command, self.now).ok()? {
            JobStep::Unchanged(_) => None,
            JobStep::Decided(record) => Some(record),
            JobStep::Plan { spec, end_by, .. } => {
                let placement = to.map(|to| placed(to, &spec));
                let core = &self.core;
                core.finish_job(&command, &spec, end_by, placement, &[], self.now)
                    .ok()
            }
        }
    }

    fn site_command(&self, id: &str, verb: SiteVerb) -> Option<Record> {
        let command = SiteCommand {
            id: testing::site_id(id),
            etag: None,
            request: None,
            verb,
        };
        self.core.decide_site(&command, self.now).ok()?
    }

    fn plan(&self, changes: &[(Index, Option<Window>, bool)]) -> Option<Record> {
        let change = |(job, to, expired): &(Index, Option<Window>, bool)| {
            let job = self.pick(*job)?;
            Some(PlanChange {
                id: job.id,
                from: job.placement().cloned(),
                to: to.map(|to| placed(to, &job.spec)),
                expired: *expired && to.is_none(),
                cause: crate::domain::job::ChangeCause::Forecast,
                trigger: "kmg/hydro".into(),
            })
        };
        let changes: Vec<PlanChange> = changes.iter().filter_map(change).collect();
        self.core.decide_plan(&changes, self.now).ok()?
    }

    fn pick(&self, job: Index) -> Option<&Arc<Job>> {
        let jobs = self.core.state().jobs();
        jobs.values().nth(job.index(jobs.len().max(1)))
    }
}

/// Every third job has input: 900 bytes at up to 8 bits per second, which take a slot.
fn described(number: u64) -> JobSpec {
    JobSpec {
        staging: number.is_multiple_of(3).then_some(Staging {
            input_bytes: 900,
            max_bits_per_second: Some(8),
        }),
        ..testing::spec()
    }
}

/// A transfer to the site named by the window ends right before it.
fn placed((site, start, slots): Window, spec: &JobSpec) -> Arc<Placement> {
    let first = FIRST.plus(start + 1);
    let mut placed = placement(SITES[site], first, slots);
    Arc::make_mut(&mut placed).stage_in = spec.staging.map(|_| {
        Arc::new(StageIn {
            site: testing::site_id(SITES[site]),
            link: Some(testing::name("g")),
            slots: SlotRange::new(first.minus(1), first),
            bits_per_second: 8,
        })
    });
    placed
}

/// What must hold after every record.
fn check_step(before: &State, core: &Core, record: &Record) {
    let state = core.state();
    assert_eq!(state.revision, before.revision.next());
    assert_eq!(state.revision, record.revision);
    assert_eq!(state.changed_at, record.at);
    check_jobs(state);
    check_changes(before, state, record);
    check_bookings(core);
    assert!(state.actuals.values().all(|readings| !readings.is_empty()));
}

/// Counters and keys agree with the jobs.
fn check_jobs(state: &State) {
    let mut counted = [0; STATES.len()];
    for job in state.jobs.values() {
        counted[state_index(&job.state)] += 1;
        let by_key = state.job_by_key(&job.idempotency_key);
        assert_eq!(by_key.map(|job| job.id), Some(job.id));
        assert!(job.create_revision <= job.revision && job.revision <= state.revision);
        assert!(job.history.len() <= limits::PLACEMENT_HISTORY_MAX);
    }
    assert_eq!(state.jobs_by_key.len(), state.jobs.len());
    assert_eq!(state.n_jobs_by_state, counted);
}

/// A job changed exactly when the record says so, its revision is the record's, and what has ended stays so.
fn check_changes(before: &State, after: &State, record: &Record) {
    let told: BTreeSet<JobId> = record
        .events
        .iter()
        .filter_map(|event| match event {
            Event::JobSubmitted(job) => Some(job.id),
            Event::JobChanged(change) => Some(change.id),
            Event::JobForgotten(id) => Some(*id),
            Event::SitePut(_)
            | Event::LatenciesPut(_)
            | Event::LinkPut(_)
            | Event::ForecastPut(_)
            | Event::ForecastForgotten(_)
            | Event::ActualsPut(_)
            | Event::ActualsForgotten(..)
            | Event::RequestForgotten(_)
            | Event::AgentPut(_)
            | Event::ReadingsPut(_)
            | Event::JobReadingsPut(_)
            | Event::SlotSettled(_)
            | Event::LedgerTrimmed { .. } => None,
        })
        .collect();
    let ids: BTreeSet<JobId> = before
        .jobs
        .keys()
        .chain(after.jobs.keys())
        .copied()
        .collect();
    for id in ids {
        let (old, new) = (before.jobs.get(&id), after.jobs.get(&id));
        if !told.contains(&id) {
            assert_eq!(old, new);
            continue;
        }
        match (old, new) {
            (Some(old), Some(new)) => {
                assert!(!old.state.is_terminal());
                assert_eq!(new.revision, record.revision);
                assert_eq!(new.create_revision, old.create_revision);
            }
            (None, Some(new)) => assert_eq!(new.revision, record.revision),
            (Some(old), None) => assert!(old.state.is_terminal()),
            (None, None) => panic!("{id} was never there"),
        }
    }
}

/// The bookings are the sums over all planned jobs, added up here anew.
fn check_bookings(core: &Core) {
    let pool = testing::name("p");
    let mut sums: BTreeMap<(&SiteId, Slot), (u64, u64, u64)> = BTreeMap::new();
    for placement in core.state.jobs.values().filter_map(|job| job.placement()) {
        for slot in placement.runs.iter().flat_map(|run| run.slots.iter()) {
            let sum = sums.entry((&placement.site, slot)).or_default();
            sum.0 += 500;
            sum.1 += 500;
            sum.2 += 2;
        }
    }
    for site in core.state.sites.keys() {
        for slot in SlotRange::new(FIRST, FIRST.plus(16)).iter() {
            let sum = sums.get(&(site, slot)).copied().unwrap_or_default();
            let (power, green, amounts) = core.bookings.taken(site, &pool, slot);
            assert_eq!((power, green, amounts.cpu_cores), sum);
        }
    }
    let gateway = testing::name("g");
    for slot in SlotRange::new(FIRST, FIRST.plus(16)).iter() {
        let jobs = core.state.jobs.values();
        let transfers = jobs.filter_map(|job| job.placement()?.stage_in.as_ref());
        let rates = transfers
            .filter(|stage_in| stage_in.slots.contains(slot))
            .map(|stage_in| stage_in.bits_per_second);
        assert_eq!(core.bookings.link_taken(&gateway, slot), rates.sum::<u64>());
    }
    assert!(Core::restore(core.state.clone()) == *core);
}

fn parts_of(state: &State) -> Parts {
    Parts {
        revision: state.revision,
        changed_at: state.changed_at,
        sites: state.sites.clone(),
        latencies: LatencyTable::clone(&state.latencies),
        links: state.links.clone(),
        forecasts: state.forecasts.clone(),
        actuals: state.actuals.clone(),
        jobs: state.jobs.clone(),
        requests: state.requests.clone(),
        agents: state.agents.clone(),
        ledger: ledger_parts(&state.ledger),
    }
}

fn ledger_parts(ledger: &Ledger) -> LedgerParts {
    LedgerParts {
        readings: ledger.readings.clone(),
        due: ledger.due.clone(),
        uses: ledger.uses.clone(),
        settled: ledger.settled.clone(),
        open_from: ledger.open_from.clone(),
        forgotten: ledger.forgotten.clone(),
    }
}

proptest! {
    #![proptest_config(testing::cases(128))]

    #[test]
    fn the_records_of_any_commands_rebuild_an_equal_core(steps in vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        let mut replayed = Core::new(settings());
        for record in &world.records {
            replayed.apply(record);
        }
        prop_assert!(replayed == world.core);
        let state = world.core.state();
        let rebuilt = State::from_parts(settings(), parts_of(state));
        prop_assert!(rebuilt.as_ref() == Ok(state));
    }
}

#[test]
fn a_record_out_of_turn_stops_the_replay() {
    let world = World::new();
    let second = world.records[1].clone();
    let replay = std::panic::catch_unwind(|| Core::new(settings()).apply(&second));
    assert!(replay.is_err());
}
