//! How long one site-slot takes to settle, and how a late week of a large site holds up the writer.
//!
//! `cargo bench --bench ledger` times `settle` alone; `cargo bench --bench ledger -- backlog [JOBS...]` reads the meters
//! of a whole week at once and asks the writer something else, again and again, until all of it is settled. The store is
//! in memory: what the disk takes is measured by the bench of the store.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures time, prints, and may fail"
)]

use std::{
    fs,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput};
use lancang::{
    clock::VirtualClock,
    controller::{self, Handle, LeaseTimes, Options},
    domain::{
        attempt::{Attempt, AttemptEnd, Ended, Fence, Work},
        data_policy::{CnFlow, DataPolicy},
        forecast::Actuals,
        ids::{CityId, JobId, PoolId, Revision, SiteId, SupplyId},
        job::{
            Active, ChangeCause, ClientPlace, Flexibility, Job, JobSpec, JobState, Origin, Phase,
            TaskResources, Timing,
        },
        latency::{NetworkPath, RttQuantile},
        ledger::{Readings, Use},
        outlook::Confidence,
        placement::{Carbon, EnergyMix, GreenStretch, Placement, Run},
        restriction::Restrictions,
        site::{Amounts, Country, Pool, Site, Supply, SupplyKind},
        spans::{Span, Spans},
    },
    ledger::{GridFigures, Inputs, SupplyInput, settle},
    limits,
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
    state::{
        Settings,
        command::{ActualsCommand, ReadingsCommand},
        event::{Event, JobChange, Record},
    },
    store::{self, MemoryStore, Store as _, codec},
};
use uuid::Uuid;

const N_SUPPLIES: usize = 8;
const SLOT_SECONDS: u32 = 900;
const SLOT_MS: i64 = 900_000;
const WEEK: u32 = 7 * 96;
const NOW: TimeMs = TimeMs(1_800_000_000_000);
const WATTS: u64 = 1_000;
const FENCE: Fence = Fence {
    site_epoch: 1,
    attempt: 1,
};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let Some(at) = words.iter().position(|word| word == "backlog") else {
        let mut criterion = Criterion::default().configure_from_args();
        slots(&mut criterion);
        criterion.final_summary();
        return;
    };
    let counts = words[at + 1..].iter().filter_map(|word| word.parse().ok());
    let mut counts: Vec<u64> = counts.collect();
    if counts.is_empty() {
        counts = vec![250, 500, 1_000];
    }
    println!(
        "| jobs at once | they run | lines | settled in, s | turns p50 / p99 / longest, ms | resident before, after, peak, MiB |"
    );
    println!("|---|---|---|---|---|---|");
    for n_jobs in counts {
        for n_slots in [32, WEEK] {
            backlog(n_jobs, n_slots);
        }
    }
}

/// Settles slots with few and with many attempts.
fn slots(criterion: &mut Criterion) {
    let kinds = SupplyKind::ALL;
    let supplies: Vec<SupplyInput> = (0..N_SUPPLIES)
        .map(|i| SupplyInput {
            id: supply_id(i),
            kind: kinds[i % kinds.len()],
            watts: 90_000 + 7_001 * u64::try_from(i).unwrap(),
            carbon_mg_per_kwh: 24_000,
            price_micro_cny_per_kwh: 250_000,
        })
        .collect();
    let mut group = criterion.benchmark_group("ledger/settle");
    group.sample_size(20);
    for count in [1_u64, 100, 1_000, 5_000] {
        let uses: Vec<(JobId, Fence, Use)> = (0..count)
            .map(|i| {
                let one = Use {
                    run_ms: 900_000 - u32::try_from(i % 900).unwrap(),
                    units: 1,
                    power_watts: WATTS + i % 7,
                    green_watts: 900 * (i % 2),
                    cpu_cores: 8,
                    gpus: 0,
                    reported_watt_seconds: (i % 3 == 0).then_some(800_000 + i),
                    read_watt_seconds: None,
                };
                (JobId(i.into()), FENCE, one)
            })
            .collect();
        let inputs = Inputs {
            slot_seconds: SLOT_SECONDS,
            metered_watt_seconds: count * 1_100 * 900,
            supplies: &supplies,
            uses: &uses,
            grid: GridFigures {
                location_mg_per_kwh: 120_000,
                marginal_mg_per_kwh: 240_000,
                price_micro_cny_per_kwh: 500_000,
            },
            water_ml_per_kwh: 1_800,
        };
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| settle(black_box(&inputs)));
        });
    }
    group.finish();
}

fn site_id() -> SiteId {
    SiteId::parse("large").unwrap()
}

fn supply_id(i: usize) -> SupplyId {
    SupplyId::parse(&format!("large/s{i}")).unwrap()
}

fn site(n_jobs: u64) -> Site {
    let watts = 2 * n_jobs * WATTS;
    Site {
        id: site_id(),
        display_name: "bench".into(),
        country: Country::parse("LA").unwrap(),
        latitude_microdegrees: 25_000_000,
        longitude_microdegrees: 102_000_000,
        utc_offset_minutes: 480,
        pools: vec![Pool {
            id: PoolId::parse("cpu").unwrap(),
            nodes: u32::try_from(n_jobs).unwrap(),
            cpu_cores_per_node: 64,
            memory_mib_per_node: 256 << 10,
            gpus_per_node: 0,
            gpu_model: None,
            no_domestic_mix: false,
            encrypted_in_use: false,
        }],
        power_cap_watts: watts,
        grid_limit_watts: watts,
        pue_permille: 1_000,
        supplies: (0..N_SUPPLIES)
            .map(|i| Supply {
                id: supply_id(i),
                // The sun would have to be down at night.
                kind: [SupplyKind::Hydro, SupplyKind::Wind][i % 2],
                nameplate_watts: watts,
                monthly_capacity_permille: [300; 12],
                carbon_mg_per_kwh: 24_000,
                price_micro_cny_per_kwh: 200_000,
            })
            .collect(),
        gateway: None,
        offshore_enclave: false,
        grid_location_mg_per_kwh: 120_000,
        grid_marginal_mg_per_kwh: vec![],
        tariff: vec![],
        water_ml_per_kwh: 1_800,
        cordon: None,
        restrictions: Restrictions::default(),
        created_at: TimeMs(0),
        updated_at: TimeMs(0),
        revision: Revision(1),
    }
}

fn spec() -> JobSpec {
    JobSpec {
        name: "bench".into(),
        labels: Box::default(),
        origin: Origin {
            place: ClientPlace::City(CityId::parse("city").unwrap()),
            max_rtt_us: None,
            path: NetworkPath::Leased,
            quantile: RttQuantile::P50,
        },
        task: TaskResources {
            cpu_cores: 8,
            memory_mib: 16 << 10,
            gpus: 0,
            gpu_model: None,
            exclusive_node: false,
        },
        task_count: 1,
        task_power_watts: WATTS,
        timing: Timing {
            runtime_ms: 8 * 86_400_000,
            earliest_start: None,
            start_deadline: None,
            finish_deadline: None,
        },
        flexibility: Flexibility::Rigid,
        min_green_share_permille: 0,
        confidence: Confidence::Even,
        data_policy: Arc::new(DataPolicy::unprotected(CnFlow::DomesticOnly)),
        weights: None,
        priority: limits::PRIORITY_DEFAULT,
        staging: None,
        execution: None,
    }
}

/// A job at the site that was offered at the start of its slots.
fn job(number: u64, spec: &Arc<JobSpec>, slots: SlotRange) -> Job {
    let grid = SlotGrid::new(SLOT_SECONDS).unwrap();
    let n_slots = slots.len();
    let placement = Placement {
        site: site_id(),
        pool: PoolId::parse("cpu").unwrap(),
        runs: Box::new([Run::single(slots)]),
        amounts: Amounts {
            cpu_cores: 8,
            memory_mib: 16 << 10,
            gpus: 0,
        },
        power_watts: WATTS,
        // No two slots alike, as where green power is short.
        green: (0..n_slots)
            .map(|i| GreenStretch {
                slots: 1,
                watts: 500 + u64::from(i % 499),
            })
            .collect(),
        energy: EnergyMix::default(),
        carbon: Carbon::default(),
        cost_micro_cny: 0,
        confidence: Confidence::Even,
        rtt_us: 1,
        fallback_slots: 0,
        policy_version: "bench".into(),
        decided_revision: Revision(1),
        stage_in: None,
    };
    let begin = grid.start_of(slots.start);
    Job {
        id: JobId(number.into()),
        idempotency_key: format!("bench-{number}").into(),
        payload_sha256: [0; 32],
        spec: spec.clone(),
        end_by: NOW.plus_ms(30 * 86_400_000),
        state: JobState::Active(Active {
            placement: Arc::new(placement),
            phase: Phase::Running,
            pause: None,
            is_silent: false,
        }),
        cause: ChangeCause::Submitted,
        created_at: begin,
        updated_at: begin,
        state_since: begin,
        create_revision: Revision(2),
        revision: Revision(2),
        replan_count: 0,
        note: "".into(),
        history: Arc::default(),
        staged: None,
        work: Some(Arc::new(work(begin, None))),
        retry_of: None,
    }
}

/// One attempt that runs from a moment on, perhaps to its end.
fn work(begin: TimeMs, end: Option<TimeMs>) -> Work {
    let closed = end.map(|end| Span { start: begin, end });
    let spans = Spans::restore(closed.into_iter().collect(), end.is_none().then_some(begin));
    Work {
        attempts: vec![Attempt {
            fence: FENCE,
            site: site_id(),
            pool: PoolId::parse("cpu").unwrap(),
            assigned_at: begin,
            assigned_revision: Revision(2),
            started_at: Some(begin),
            spans: spans.unwrap(),
            engine_id: "7".into(),
            ended: end.map(|at| Ended {
                at,
                end: AttemptEnd::Exited(0),
                run_ms: u64::try_from(at.0 - begin.0).unwrap(),
                energy_watt_seconds: 0,
                message: Arc::default(),
            }),
        }],
        n_failed: 0,
        not_before: None,
    }
}

/// A store of a week in which so many jobs ran at once, one after the other for so many slots; those that run for the
/// whole week still do.
fn week(n_jobs: u64, n_slots: u32) -> MemoryStore {
    let grid = SlotGrid::new(SLOT_SECONDS).unwrap();
    let first = grid.slot_at(NOW);
    let spec = Arc::new(spec());
    let mut store = MemoryStore::new(SLOT_SECONDS, Uuid::nil());
    let mut revision = 0;
    let mut write = |events: Vec<Event>, at: TimeMs| {
        revision += 1;
        let record = Record {
            revision: Revision(revision),
            at,
            request: None,
            events,
        };
        let payload = codec::encode_record(&record);
        store
            .commit(&[store::Record { revision, payload }])
            .unwrap();
    };
    write(vec![Event::SitePut(Arc::new(site(n_jobs)))], NOW);
    let n_rounds = WEEK / n_slots;
    for round in 0..n_rounds {
        let start = first.plus(round * n_slots);
        let end = start.plus(n_slots);
        // Those that go on have a day more.
        let slots = SlotRange::new(start, if n_rounds == 1 { end.plus(96) } else { end });
        let numbers = u64::from(round) * n_jobs..(u64::from(round) + 1) * n_jobs;
        let jobs: Vec<Job> = numbers.map(|number| job(number, &spec, slots)).collect();
        let (begin, over) = (grid.start_of(start), grid.start_of(end));
        let submitted = jobs
            .iter()
            .cloned()
            .map(|job| Event::JobSubmitted(Arc::new(job)));
        write(submitted.collect(), begin);
        if n_rounds == 1 {
            break;
        }
        let ended = jobs.iter().map(|job| {
            Event::JobChanged(JobChange {
                id: job.id,
                spec: None,
                state: JobState::Succeeded,
                cause: ChangeCause::Ended,
                trigger: Arc::default(),
                note: None,
                work: Some(Arc::new(work(begin, Some(over)))),
            })
        });
        write(ended.collect(), over);
    }
    store
}

/// Reads all meters of the week at once.
async fn read_meters(handle: &Handle, n_jobs: u64, range: SlotRange) {
    let n_slots = usize::try_from(range.len()).unwrap();
    for i in 0..N_SUPPLIES {
        let actuals = ActualsCommand {
            actuals: Actuals {
                supply: supply_id(i),
                range,
                watts: vec![n_jobs * 90; n_slots].into(),
            },
            request: None,
        };
        handle.put_actuals(actuals).await.unwrap();
    }
    let readings = ReadingsCommand {
        readings: Readings {
            site: site_id(),
            range,
            watt_seconds: vec![n_jobs * WATTS * 1_000; n_slots].into(),
        },
        request: None,
    };
    handle.put_readings(readings).await.unwrap();
}

fn backlog(n_jobs: u64, n_slots: u32) {
    let grid = SlotGrid::new(SLOT_SECONDS).unwrap();
    let settings = Settings {
        grid,
        horizon_slots: 14 * 96,
        live_jobs_max: 1_000_000,
    };
    const DAY_MS: u64 = 86_400_000;
    let options = Options {
        // Nobody plays the agent.
        leases: LeaseTimes {
            heartbeat_ms: DAY_MS,
            silent_after_ms: 20 * DAY_MS,
            stop_after_ms: 30 * DAY_MS,
            lost_after_ms: 40 * DAY_MS,
        },
        ..Options::new(settings)
    };
    let end = NOW.plus_ms(i64::from(WEEK) * SLOT_MS + 3_600_000);
    let clock = Arc::new(VirtualClock::at(end));
    let store = Box::new(week(n_jobs, n_slots));
    let (handle, writer) = controller::start(options, store, clock).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let first: Slot = grid.slot_at(NOW);
    let range = SlotRange::new(first, first.plus(WEEK));
    runtime.block_on(async {
        // What is due after the start is done by now.
        for _ in 0..200 {
            turn(&handle).await;
        }
        let before = resident("VmRSS");
        let begin = Instant::now();
        read_meters(&handle, n_jobs, range).await;
        let mut turns = Vec::new();
        let settled = |handle: &Handle| {
            let published = handle.published();
            let settled = published.state.ledger().settled().get(&site_id());
            settled.map_or(0, |slots| slots.len())
        };
        while settled(&handle) < usize::try_from(WEEK).unwrap() {
            turns.push(turn(&handle).await);
        }
        let seconds = begin.elapsed().as_secs_f64();
        turns.sort_unstable();
        let at = |permille: usize| {
            let one = turns[(turns.len() - 1) * permille / 1_000];
            one.as_secs_f64() * 1e3
        };
        let published = handle.published();
        let n_lines: usize = published.state.ledger().settled()[&site_id()]
            .values()
            .map(|one| one.lines.as_ref().unwrap().len())
            .sum();
        let hours = f64::from(n_slots) / 4.0;
        println!(
            "| {n_jobs} | {hours} h | {n_lines} | {seconds:.2} | {:.1} / {:.1} / {:.1} | {before}, {}, {} |",
            at(500),
            at(990),
            at(1_000),
            resident("VmRSS"),
            resident("VmHWM"),
        );
        handle.stop().await;
    });
    writer.join().unwrap().unwrap();
}

/// How long the writer takes for one turn and a question that costs nothing.
async fn turn(handle: &Handle) -> Duration {
    let begin = Instant::now();
    handle.explain(JobId(u128::MAX)).await.unwrap_err();
    begin.elapsed()
}

/// A figure of this process in MiB.
fn resident(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1_024
}
