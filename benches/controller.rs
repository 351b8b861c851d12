//! How long the writer takes to plan 100,000 jobs anew after the forecasts of all sites changed, commit included, and to
//! decide jobs for which no site has room.
//!
//! The store is in memory: what the disk takes is measured by the bench of the store.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures time, prints, and may fail"
)]

use std::{sync::Arc, time::Instant};

use lancang::{
    clock::VirtualClock,
    controller::{Options, Stepped},
    domain::{
        data_policy::{CnFlow, DataPolicy},
        forecast::{Band, ForecastId, ForecastIssue, ForecastProduct},
        ids::{CityId, JobId, PoolId, Revision, SiteId, SupplyId, ZoneId},
        job::{ClientPlace, Flexibility, JobSpec, Origin, TaskResources, Timing},
        latency::{City, LatencyZone, NetworkPath, RoundTrip, RttQuantile},
        outlook::Confidence,
        restriction::Restrictions,
        site::{Country, Pool, Site, Supply, SupplyKind},
    },
    limits,
    slot::{SlotGrid, SlotRange, TimeMs},
    state::{
        Settings,
        command::{ForecastCommand, LatencyUpdate, SiteCommand, SiteVerb, Submission},
    },
    store::MemoryStore,
};
use uuid::Uuid;

const N_JOBS: u64 = 100_000;
const N_SITES: usize = 8;
const DAYS: u32 = 14;
const SLOT_MS: u64 = 900_000;
const NOW: TimeMs = TimeMs(1_800_000_000_000);
/// Jobs draw 4 kW for 8.5 slots on average and take about two thirds of this.
const SITE_WATTS: u64 = N_JOBS * 4_000 * 17 / 2 / (8 * DAYS as u64 * 96) * 3 / 2;

/// A small generator of repeatable numbers (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, from: u64, to: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        from + (z ^ (z >> 31)) % (to - from + 1)
    }
}

fn site_id(i: usize) -> SiteId {
    SiteId::parse(&format!("site-{i}")).unwrap()
}

fn supply_id(i: usize) -> SupplyId {
    SupplyId::parse(&format!("site-{i}/river")).unwrap()
}

fn city() -> CityId {
    CityId::parse("city").unwrap()
}

fn site(i: usize) -> Site {
    Site {
        id: site_id(i),
        display_name: "bench".into(),
        country: Country::parse("LA").unwrap(),
        latitude_microdegrees: 25_000_000,
        longitude_microdegrees: 102_000_000,
        utc_offset_minutes: 480,
        pools: vec![Pool {
            id: PoolId::parse("cpu").unwrap(),
            nodes: u32::try_from(SITE_WATTS / 300).unwrap(),
            cpu_cores_per_node: 64,
            memory_mib_per_node: 256 << 10,
            gpus_per_node: 0,
            gpu_model: None,
            no_domestic_mix: false,
            encrypted_in_use: false,
        }],
        power_cap_watts: SITE_WATTS,
        grid_limit_watts: SITE_WATTS,
        pue_permille: 1_150,
        supplies: vec![Supply {
            id: supply_id(i),
            kind: SupplyKind::Hydro,
            nameplate_watts: SITE_WATTS,
            monthly_capacity_permille: [300; 12],
            carbon_mg_per_kwh: 24_000,
            price_micro_cny_per_kwh: 200_000,
        }],
        gateway: None,
        offshore_enclave: false,
        grid_location_mg_per_kwh: 120_000,
        grid_marginal_mg_per_kwh: vec![],
        tariff: vec![],
        water_ml_per_kwh: 0,
        cordon: None,
        restrictions: Restrictions::default(),
        created_at: TimeMs(0),
        updated_at: TimeMs(0),
        revision: Revision(1),
    }
}

fn latencies() -> LatencyUpdate {
    let trip = RoundTrip {
        leased_p50_us: Some(20_000),
        ..RoundTrip::default()
    };
    LatencyUpdate {
        zones: vec![LatencyZone {
            id: ZoneId::parse("zone").unwrap(),
            cities: vec![City {
                id: city(),
                country: Country::parse("LA").unwrap(),
            }],
            budget_us: 50_000,
        }],
        round_trips: (0..N_SITES).map(|i| (site_id(i), city(), trip)).collect(),
    }
}

fn job(dice: &mut Dice) -> JobSpec {
    let n_slots = dice.roll(1, 16);
    let start = dice.roll(1, u64::from(DAYS * 96) - 200);
    let at = |slot: u64| NOW.plus_ms(i64::try_from(slot * SLOT_MS).unwrap());
    JobSpec {
        name: "bench".into(),
        labels: Box::default(),
        origin: Origin {
            place: ClientPlace::City(city()),
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
        task_count: u32::try_from(dice.roll(1, 15)).unwrap(),
        task_power_watts: 500,
        timing: Timing {
            runtime_ms: n_slots * SLOT_MS,
            earliest_start: Some(at(start)),
            start_deadline: None,
            finish_deadline: Some(at(start + dice.roll(96, 192))),
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

fn submission(id: u64, spec: JobSpec) -> Submission {
    Submission {
        id: JobId(u128::from(id)),
        idempotency_key: format!("bench-{id}").into(),
        payload_sha256: [0; 32],
        spec: Arc::new(spec),
        hold: false,
        quote: None,
        retry_of: None,
    }
}

/// An issue of every site with a level of its own for each quarter of a day.
fn put_forecasts(stepped: &mut Stepped, issued_at: TimeMs, dice: &mut Dice) {
    let grid = SlotGrid::new(900).unwrap();
    let first = grid.slot_at(NOW);
    for i in 0..N_SITES {
        let mut median = 0;
        let bands = (0..DAYS * 96).map(|slot| {
            if slot % 24 == 0 {
                median = SITE_WATTS * dice.roll(10, 80) / 100;
            }
            Band {
                p10_watts: median * 4 / 5,
                p50_watts: median,
                p90_watts: median * 6 / 5,
            }
        });
        let command = ForecastCommand {
            issue: ForecastIssue {
                id: ForecastId {
                    supply: supply_id(i),
                    issued_at,
                    product: ForecastProduct::DayAhead,
                },
                range: SlotRange::new(first, first.plus(DAYS * 96)),
                bands: bands.collect(),
            },
            slots_per_step: 1,
            accept_jump: true,
        };
        stepped.put_forecast(&command).unwrap().unwrap();
    }
}

fn open(max_moves: usize) -> (Stepped, Arc<VirtualClock>) {
    let settings = Settings {
        grid: SlotGrid::new(900).unwrap(),
        horizon_slots: DAYS * 96,
        live_jobs_max: 2 * N_JOBS,
    };
    let options = Options {
        replan_max_moves: max_moves,
        ..Options::new(settings)
    };
    let clock = Arc::new(VirtualClock::at(NOW));
    let store = Box::new(MemoryStore::new(900, Uuid::nil()));
    let mut stepped = Stepped::open(options, store, clock.clone()).unwrap();
    for i in 0..N_SITES {
        let site = site(i);
        let create = SiteCommand {
            id: site.id.clone(),
            etag: None,
            request: None,
            verb: SiteVerb::Create(Box::new(site)),
        };
        stepped.change_site(&create).unwrap().unwrap();
    }
    stepped.put_latencies(&latencies()).unwrap().unwrap();
    (stepped, clock)
}

fn main() {
    for max_moves in [1_000, usize::MAX] {
        let mut dice = Dice(1);
        let (mut stepped, clock) = open(max_moves);
        put_forecasts(&mut stepped, NOW, &mut dice);
        let mut next = 1;
        let mut n_placed = 0;
        let begin = Instant::now();
        while next <= N_JOBS {
            let batch = (next..next + 1_000).map(|id| submission(id, job(&mut dice)));
            let answers = stepped.submit(batch.collect()).unwrap().unwrap();
            n_placed += answers.iter().filter(|answer| answer.is_ok()).count();
            next += 1_000;
        }
        println!(
            "{n_placed} of {N_JOBS} jobs placed in {:.2} s",
            begin.elapsed().as_secs_f64()
        );
        stepped.settle().unwrap().unwrap();
        stepped.take_deltas();
        let later = NOW.plus_ms(60_000);
        clock.set(later);
        put_forecasts(&mut stepped, later, &mut dice);
        let begin = Instant::now();
        stepped.settle().unwrap().unwrap();
        let seconds = begin.elapsed().as_secs_f64();
        let deltas = stepped.take_deltas();
        println!(
            "after new forecasts of all sites, at most {max_moves} moves: {seconds:.2} s, {} jobs changed",
            deltas.len()
        );
        refuse(&mut stepped, &mut dice, next);
    }
}

/// Jobs that want a whole site at once: no room, and mostly no chain either.
fn refuse(stepped: &mut Stepped, dice: &mut Dice, first_id: u64) {
    let mut micros = Vec::new();
    let mut n_placed = 0;
    for id in first_id..first_id + 200 {
        let mut spec = job(dice);
        spec.task_count = u32::try_from(SITE_WATTS * 6 / 10 / 1_150 * 2).unwrap();
        let begin = Instant::now();
        let answers = stepped.submit(vec![submission(id, spec)]).unwrap().unwrap();
        micros.push(begin.elapsed().as_micros());
        n_placed += usize::from(answers[0].is_ok());
    }
    micros.sort_unstable();
    println!(
        "large jobs at {N_JOBS} live: {n_placed} of 200 placed, p50 {} us, p99 {} us, max {} us",
        micros[100], micros[198], micros[199]
    );
}
