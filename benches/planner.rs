//! How fast one thread decides: place and reserve among many live jobs, eight sites, a horizon of 14 days.
//!
//! The oldest job is released for every new one, so that the number of live jobs stays. Criterion gives the mean; the
//! percentiles printed before it come from single decisions.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures time, prints, and may fail"
)]

use std::{collections::VecDeque, hint::black_box, sync::Arc, time::Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lancang::{
    domain::{
        data_policy::{CnFlow, DataPolicy},
        ids::{CityId, GatewayId, JobId, PoolId, Revision, SiteId, SupplyId},
        job::{ClientPlace, Flexibility, JobSpec, Origin, TaskResources, Timing},
        latency::{LatencyTable, NetworkPath, RoundTrip, RttQuantile},
        link::{Link, Staging},
        outlook::{Confidence, SiteOutlook},
        placement::Placement,
        restriction::Restrictions,
        site::{Country, Pool, Site, Supply, SupplyKind},
    },
    limits,
    planner::{Candidate, ReplanOptions, Request, Timetable, Window, replan},
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
};

const N_SITES: usize = 8;
const SLOTS: u32 = 14 * 96;
const START: u32 = 2_000_000;
const SLOT_MS: u64 = 900_000;
const GATEWAY: &str = "kunming";
const GBIT: u64 = 1_000_000_000;

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

    fn roll_u32(&mut self, from: u32, to: u32) -> u32 {
        u32::try_from(self.roll(from.into(), to.into())).unwrap()
    }
}

/// Which jobs come.
#[derive(Clone, Copy)]
enum Mix {
    /// Rigid, 1 to 16 slots, windows of 1 to 2 days.
    Short,
    /// As `Short`, and of ten jobs one rigid and one interruptible with a window of 3 to 7 days.
    Long,
    /// As `Short`, each with 1 to 8 slots of input over one link that is three quarters full.
    Input,
}

/// Sites whose power grows with the number of jobs, so that about two thirds of it are taken.
fn site(i: usize, live: u64) -> Site {
    let id = format!("site-{i}");
    // Jobs draw 4 kW for 8.5 slots on average.
    let mean_watts = live * 4_000 * 17 / 2 / (8 * u64::from(SLOTS));
    let cap = (mean_watts * 3 / 2).max(100_000);
    Site {
        id: SiteId::parse(&id).unwrap(),
        display_name: id.as_str().into(),
        country: Country::CN,
        latitude_microdegrees: 25_000_000,
        longitude_microdegrees: 102_000_000,
        utc_offset_minutes: 480,
        pools: vec![
            pool("cpu", u32::try_from(cap / 300).unwrap(), false),
            pool("gpu", 100, true),
        ],
        power_cap_watts: cap,
        grid_limit_watts: cap,
        pue_permille: 1_150 + 20 * u32::try_from(i).unwrap(),
        supplies: vec![Supply {
            id: SupplyId::parse(&format!("{id}/sun")).unwrap(),
            kind: SupplyKind::Solar,
            nameplate_watts: cap,
            monthly_capacity_permille: [200; 12],
            carbon_mg_per_kwh: 20_000,
            price_micro_cny_per_kwh: 200_000,
        }],
        gateway: Some(GatewayId::parse(GATEWAY).unwrap()),
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

fn pool(id: &str, nodes: u32, gpu: bool) -> Pool {
    Pool {
        id: PoolId::parse(id).unwrap(),
        nodes,
        cpu_cores_per_node: 64,
        memory_mib_per_node: 256 << 10,
        gpus_per_node: if gpu { 8 } else { 0 },
        gpu_model: gpu.then(|| "a100".into()),
        no_domestic_mix: false,
        encrypted_in_use: false,
    }
}

/// A steady river, a sun by day and some wind.
fn outlook(cap: u64, dice: &mut Dice) -> SiteOutlook {
    let mut outlook = SiteOutlook {
        range: horizon(),
        ..SiteOutlook::default()
    };
    let river = cap * dice.roll(10, 40) / 100;
    for slot in 0..SLOTS {
        let of_day = u64::from(slot % 96);
        let sun = cap / 2 * of_day.saturating_sub(28).min(68_u64.saturating_sub(of_day)) / 20;
        let wind = cap * dice.roll(0, 15) / 100;
        let median = river + sun + wind;
        for (level, percent) in [(0, 120), (1, 100), (2, 75)] {
            outlook.green_watts[level].push(median * percent / 100);
        }
        for (kind, watts) in [river, sun, wind].into_iter().enumerate() {
            outlook.median_by_kind_watts[kind].push(watts);
        }
        let mg = (river * 24_000 + sun * 45_000 + wind * 11_000) / median.max(1);
        outlook.green_mg_per_kwh.push(u32::try_from(mg).unwrap());
        let price = (river * 200_000 + sun * 250_000 + wind * 300_000) / median.max(1);
        outlook.green_price_micro_cny_per_kwh.push(price);
        outlook.grid_location_mg_per_kwh.push(120_000);
        outlook.grid_marginal_mg_per_kwh.push(560_000);
        let peak = (28..36).contains(&of_day) || 72 <= of_day;
        outlook
            .grid_price_micro_cny_per_kwh
            .push(if peak { 600_000 } else { 300_000 });
        outlook.fallback.push(false);
    }
    outlook
}

fn horizon() -> SlotRange {
    SlotRange::new(Slot(START), Slot(START + SLOTS))
}

fn window(from: u32, to: u32) -> Window {
    Window {
        current: Slot(START - 1),
        stage_from: Slot(START + from),
        not_before: Slot(START + from),
        start_by: Slot(START + to),
        end_by: Slot(START + to),
    }
}

fn timetable_of(n_sites: usize, live: u64) -> Timetable {
    let mut dice = Dice(1);
    let mut timetable = Timetable::new(SlotGrid::new(900).unwrap(), horizon());
    let mut latencies = LatencyTable::default();
    for i in 0..n_sites {
        let site = site(i, live);
        let trips = (0..16).map(|city| {
            let id = CityId::parse(&format!("city-{city}")).unwrap();
            let trip = RoundTrip {
                leased_p50_us: Some(20_000),
                ..RoundTrip::default()
            };
            (id, trip)
        });
        latencies
            .round_trips
            .insert(site.id.clone(), trips.collect());
        let outlook = outlook(site.power_cap_watts, &mut dice);
        timetable.set_site(Arc::new(site), outlook);
    }
    timetable.set_latencies(Arc::new(latencies));
    timetable.set_link(&Link {
        gateway: GatewayId::parse(GATEWAY).unwrap(),
        // On average 4.5 slots of input a job in 1,344 slots take 3.35 Gbit/s a thousand jobs.
        bandwidth_bits_per_second: live * GBIT * 4_500 / 1_000_000,
        updated_at: TimeMs(0),
        revision: Revision(1),
    });
    timetable
}

fn job(dice: &mut Dice, mix: Mix) -> (JobSpec, Window) {
    let kind = match mix {
        Mix::Short | Mix::Input => 0,
        Mix::Long => dice.roll(0, 9),
    };
    let n_slots = dice.roll(1, 16);
    let window = if kind < 8 {
        dice.roll_u32(96, 192)
    } else {
        dice.roll_u32(288, 672)
    };
    let flexibility = if kind == 9 {
        Flexibility::Interruptible {
            min_chunk_ms: dice.roll(1, n_slots.min(4)) * SLOT_MS,
            resume_cost_ms: dice.roll(0, 1).min(n_slots) * SLOT_MS,
        }
    } else {
        Flexibility::Rigid
    };
    let tasks = dice.roll_u32(1, 15);
    let spec = JobSpec {
        name: "bench".into(),
        labels: Box::default(),
        origin: Origin {
            place: ClientPlace::City(CityId::parse(&format!("city-{}", dice.roll(0, 15))).unwrap()),
            max_rtt_us: Some(50_000),
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
        task_count: tasks,
        task_power_watts: 500,
        timing: Timing {
            runtime_ms: n_slots * SLOT_MS,
            earliest_start: None,
            start_deadline: None,
            finish_deadline: None,
        },
        flexibility,
        min_green_share_permille: 0,
        confidence: Confidence::Even,
        data_policy: Arc::new(DataPolicy::unprotected(CnFlow::DomesticOnly)),
        execution: None,
        weights: None,
        priority: limits::PRIORITY_DEFAULT,
        staging: match mix {
            Mix::Short | Mix::Long => None,
            Mix::Input => Some(Staging {
                input_bytes: dice.roll(1, 8) * 112_500_000_000,
                max_bits_per_second: Some(GBIT),
            }),
        },
    };
    let from = dice.roll_u32(0, SLOTS - window);
    (spec, self::window(from, from + window))
}

/// A timetable with so many live jobs, the live placements, and the jobs to come.
struct World {
    timetable: Timetable,
    live: VecDeque<Placement>,
    jobs: Vec<(JobSpec, Window)>,
    next: usize,
}

impl World {
    fn new(n_live: usize, mix: Mix) -> Self {
        let mut dice = Dice(2);
        let mut world = Self {
            timetable: timetable_of(N_SITES, u64::try_from(n_live).unwrap()),
            live: VecDeque::new(),
            jobs: (0..n_live.min(20_000))
                .map(|_| job(&mut dice, mix))
                .collect(),
            next: 0,
        };
        while world.live.len() < n_live {
            assert!(world.decide(), "the bench has room for its jobs");
        }
        world
    }

    /// Places and reserves the next job; whether there was room.
    fn decide(&mut self) -> bool {
        let (spec, window) = &self.jobs[self.next % self.jobs.len()];
        self.next += 1;
        let request = Request {
            spec,
            window: *window,
            decided_revision: Revision(1),
            staged: None,
        };
        let Ok(placement) = self.timetable.place(&request) else {
            return false;
        };
        self.timetable.reserve(&placement);
        self.live.push_back(placement);
        true
    }

    fn retire(&mut self) {
        if let Some(placement) = self.live.pop_front() {
            self.timetable.release(&placement);
        }
    }
}

fn percentiles(name: &str, world: &mut World, n: usize) {
    let mut nanos: Vec<u128> = Vec::with_capacity(n);
    let mut n_placed = 0;
    for _ in 0..n {
        world.retire();
        let start = Instant::now();
        n_placed += usize::from(black_box(world.decide()));
        nanos.push(start.elapsed().as_nanos());
    }
    nanos.sort_unstable();
    let total: u128 = nanos.iter().sum();
    let at = |permille: usize| nanos[(nanos.len() * permille / 1_000).min(nanos.len() - 1)];
    println!(
        "{name}: {n_placed} of {n} placed, {} decisions/s, p50 {} ns, p90 {} ns, p99 {} ns, p99.9 {} ns, max {} ns",
        u128::try_from(n).unwrap() * 1_000_000_000 / total.max(1),
        at(500),
        at(900),
        at(990),
        at(999),
        at(1_000),
    );
}

/// The dearest decisions and re-plans there are, timed one by one.
fn worst(_: &mut Criterion) {
    let mut dice = Dice(3);
    let timetable = timetable_of(10, 10_000);
    let week = 7 * 96;
    let rigid = Flexibility::Rigid;
    let pieces = |chunk: u64, resume: u64| Flexibility::Interruptible {
        min_chunk_ms: chunk * SLOT_MS,
        resume_cost_ms: resume * SLOT_MS,
    };
    // Each unit adds a little less than the one before.
    let units = |n: u32| Flexibility::Malleable {
        speed_permille: (0..n)
            .scan(0, |speed, i| {
                *speed += 1_000 - 15 * i;
                Some(*speed)
            })
            .collect(),
    };
    let cases = [
        ("rigid, no green", week, rigid, 1_000, 500),
        ("pieces, no green", week, pieces(1, 0), 1_000, 500),
        ("pieces, nearly green enough", week, pieces(24, 8), 850, 60),
        ("pieces, too large chunks", week, pieces(160, 1), 700, 60),
        ("pieces, little green", week, pieces(1, 0), 500, 500),
        (
            "pieces, long and green",
            week,
            pieces(week / 2 - 8, 1),
            700,
            500,
        ),
        ("pieces, feasible", week, pieces(4, 1), 0, 500),
        ("units, no green", week, units(64), 1_000, 500),
        ("units, little green", week, units(64), 500, 10),
        ("units, feasible", week, units(64), 0, 10),
        ("units, long and feasible", 2 * week, units(8), 0, 10),
    ];
    for (name, n_slots, flexibility, share, watts) in cases {
        let (mut spec, _) = job(&mut dice, Mix::Short);
        spec.timing.runtime_ms = n_slots * SLOT_MS;
        spec.task_count = 100;
        spec.task_power_watts = watts;
        spec.min_green_share_permille = share;
        spec.flexibility = flexibility;
        let request = Request {
            spec: &spec,
            window: window(0, SLOTS),
            decided_revision: Revision(1),
            staged: None,
        };
        // The best of some: what else runs on the machine is not the question.
        let micros = (0..5).map(|_| {
            let start = Instant::now();
            let placed = black_box(timetable.place(&request));
            if placed.is_err() {
                black_box(timetable.suggest(&request));
            }
            start.elapsed().as_micros()
        });
        println!("worst decision ({name}): {} us", micros.min().unwrap());
    }
}

/// Re-plans of as many jobs as one step takes, after every outlook changed.
fn replans(_: &mut Criterion) {
    for (name, mix) in [("short", Mix::Short), ("long", Mix::Long)] {
        let n = limits::REPLAN_CANDIDATES_MAX;
        let mut world = World::new(n, mix);
        let candidates: Vec<Candidate> = world
            .live
            .iter()
            .zip(&world.jobs)
            .enumerate()
            .map(|(i, (placement, (spec, window)))| Candidate {
                id: JobId(u128::try_from(i).unwrap()),
                spec: Arc::new(spec.clone()),
                window: *window,
                current: Some(Arc::new(placement.clone())),
                staged: None,
            })
            .collect();
        let mut dice = Dice(4);
        for i in 0..N_SITES {
            let site = site(i, u64::try_from(n).unwrap());
            let outlook = outlook(site.power_cap_watts, &mut dice);
            world.timetable.set_outlook(&site.id, outlook);
        }
        let options = ReplanOptions {
            min_gain_permille: 50,
            max_moves: 1_000,
            work_max: limits::REPLAN_WORK_MAX,
            decided_revision: Revision(2),
        };
        let runs = (0..3).map(|_| {
            let mut timetable = world.timetable.clone();
            let start = Instant::now();
            let moves = black_box(replan(&mut timetable, &candidates, &options));
            (start.elapsed().as_micros(), moves.len())
        });
        let (micros, n_changes) = runs.min().unwrap();
        println!("replan of {n} ({name}): {micros} us, {n_changes} changes");
    }
}

fn place(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("place_and_reserve");
    group.throughput(Throughput::Elements(1));
    let cases = [
        ("10k_live_short", 10_000, Mix::Short),
        ("100k_live_short", 100_000, Mix::Short),
        ("100k_live_long", 100_000, Mix::Long),
        ("100k_live_input", 100_000, Mix::Input),
    ];
    for (name, n_live, mix) in cases {
        let mut world = World::new(n_live, mix);
        percentiles(name, &mut world, 50_000);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                world.retire();
                black_box(world.decide())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, worst, replans, place);
criterion_main!(benches);
