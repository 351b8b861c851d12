//! What one decision at arrival costs, and a whole plan, as jobs and sites grow.
//!
//! `cargo bench --bench solver [-- online LIVE...]` or `-- plan JOBS...`; one line for each size, number of sites and
//! method. Instances are of the family dry-mix; live jobs are had by many copies of each job at sites as many times as
//! large.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the machine's clock"
)]

use std::{
    env,
    error::Error,
    io::{Write, stdout},
    time::{Duration, Instant},
};

use lancang::{
    sim::{
        generate::{Family, Order, generate},
        instance::{decode, encode},
        policy::{simulate, without_jobs},
    },
    solver::{Online, OnlineOptions, Part, PlanOptions, Problem, Progress, plan, score},
};

/// Slots of the instances of online decisions.
const ONLINE_SLOTS: usize = 192;
/// Slots that pass before anything is timed.
const WARM_SLOTS: usize = 96;
/// Slots are timed until so many jobs have arrived in them, and at least as many as lie between two sweeps.
const TIMED_ARRIVALS: usize = 20_000;
/// Jobs of an instance, before copies.
const BASE_JOBS: usize = 2_000;
/// More live jobs than this are swept for too long.
const SWEPT_MAX: usize = 200_000;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let is_asked = |word: &str| words.iter().any(|other| other == word);
    let sizes: Vec<usize> = words.iter().filter_map(|text| text.parse().ok()).collect();
    let or = |few: &[usize]| {
        if sizes.is_empty() {
            few.to_vec()
        } else {
            sizes.clone()
        }
    };
    let mut out = stdout();
    if !is_asked("plan") {
        writeln!(
            out,
            "| sites | live | method | decisions/s | p50 us | p99 us | arrivals/s with the work of slots | longest slot ms |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|")?;
        for live in or(&[1_000, 10_000, 100_000]) {
            for n_sites in [8, 16, 64] {
                online(&mut out, live, n_sites)?;
            }
        }
    }
    if !is_asked("online") {
        writeln!(out, "| jobs | sites | plan, one round a thread, s |")?;
        writeln!(out, "|---|---|---|")?;
        for n_jobs in or(&[1_000, 10_000, 100_000]) {
            for n_sites in [8, 16, 64] {
                let problem = instance(n_jobs, n_sites, 672)?;
                let took = planned(&problem)?.as_secs_f64();
                writeln!(out, "| {n_jobs} | {n_sites} | {took:.2} |")?;
            }
        }
    }
    Ok(())
}

fn instance(n_jobs: usize, n_sites: usize, n_slots: usize) -> Result<Problem, Box<dyn Error>> {
    let document = generate(&Order {
        family: Family::DryMix,
        n_jobs,
        n_sites,
        n_slots,
        seed: 1,
    });
    decode(&encode(&document, false)).map_err(|refusal| format!("{refusal:?}").into())
}

fn planned(problem: &Problem) -> Result<Duration, Box<dyn Error>> {
    let begun = Instant::now();
    let run = |parts: &mut [Part<'_>]| parts.iter_mut().for_each(Part::run);
    let mut rounds = |progress: &Progress| {
        if progress.n_rounds == 0 { 0 } else { 1_000 }
    };
    let schedule = plan(problem, &PlanOptions::default(), &run, &mut rounds);
    let took = begun.elapsed();
    score(problem, &schedule).map_err(|breaches| format!("{:?}", breaches.first()))?;
    Ok(took)
}

/// A line for each method.
fn online(out: &mut impl Write, live: usize, n_sites: usize) -> Result<(), Box<dyn Error>> {
    let base = instance(BASE_JOBS, n_sites, ONLINE_SLOTS)?;
    let one = live_at_once(&base).max(1);
    let n_copies = live.div_ceil(one);
    let live = n_copies * one;
    let full = OnlineOptions::default();
    let greedy = OnlineOptions {
        n_chains: 0,
        n_sweeps: 0,
        ..full
    };
    let chains = OnlineOptions {
        n_sweeps: 0,
        ..full
    };
    for (method, options) in [("greedy", greedy), ("with chains", chains), ("full", full)] {
        if 0 < options.n_sweeps && SWEPT_MAX < live {
            continue;
        }
        let mut timed = arrivals(&base, n_copies, options)?;
        timed.decisions.sort_unstable();
        let at = |permille: usize| timed.decisions[timed.decisions.len() * permille / 1_001];
        let n = timed.decisions.len();
        let sum: Duration = timed.decisions.iter().sum();
        writeln!(
            out,
            "| {n_sites} | {live} | {method} | {} | {:.1} | {:.1} | {} | {:.1} |",
            per_second(n, sum),
            at(500).as_secs_f64() * 1e6,
            at(990).as_secs_f64() * 1e6,
            per_second(n, timed.total),
            timed.longest_slot.as_secs_f64() * 1e3,
        )?;
    }
    Ok(())
}

/// Jobs that wait or run when the first timed slot begins.
fn live_at_once(base: &Problem) -> usize {
    let online = Online::new(&without_jobs(base), OnlineOptions::default());
    let schedule = simulate(base, Box::new(online), &mut |_| {});
    let jobs = base.jobs.iter().zip(schedule.assignments);
    jobs.filter(|(job, there)| {
        job.arrival < WARM_SLOTS && there.as_ref().is_some_and(|there| WARM_SLOTS < there.end())
    })
    .count()
}

struct Timed {
    decisions: Vec<Duration>,
    /// Decisions and the work at the beginning of their slots.
    total: Duration,
    /// The longest work at the beginning of a slot.
    longest_slot: Duration,
}

/// Every decision of the timed slots, with so many copies of each job.
fn arrivals(
    base: &Problem,
    n_copies: usize,
    options: OnlineOptions,
) -> Result<Timed, Box<dyn Error>> {
    let mut online = Online::new(&without_jobs(&enlarged(base, n_copies)?), options);
    let mut order: Vec<usize> = (0..base.jobs.len()).collect();
    order.sort_by_key(|&position| base.jobs[position].arrival);
    let copies = order
        .into_iter()
        .flat_map(|i| std::iter::repeat_n(i, n_copies));
    let mut waiting = copies.enumerate().peekable();
    let mut timed = Timed {
        decisions: Vec::new(),
        total: Duration::ZERO,
        longest_slot: Duration::ZERO,
    };
    for slot in 0..ONLINE_SLOTS {
        let is_timed = WARM_SLOTS <= slot;
        let begun = Instant::now();
        online.advance(slot);
        let advanced = begun.elapsed();
        while let Some((name, i)) = waiting.next_if(|&(_, i)| base.jobs[i].arrival <= slot) {
            let begun = Instant::now();
            online.arrive(name, &base.jobs[i]);
            if is_timed {
                timed.decisions.push(begun.elapsed());
            }
        }
        if is_timed {
            timed.total += begun.elapsed();
            timed.longest_slot = timed.longest_slot.max(advanced);
            let n_slots = slot + 1 - WARM_SLOTS;
            let is_whole = n_slots.is_multiple_of(options.every_slots);
            if is_whole && TIMED_ARRIVALS <= timed.decisions.len() {
                break;
            }
        }
    }
    Ok(timed)
}

/// The same sites and links so many times as large.
fn enlarged(base: &Problem, times: usize) -> Result<Problem, Box<dyn Error>> {
    let times = i32::try_from(times)?;
    let mut problem = base.clone();
    let amounts = problem
        .sites
        .iter_mut()
        .flat_map(|site| site.green_w.iter_mut().chain([&mut site.power_cap_w]))
        .chain(problem.pools.iter_mut().flat_map(|pool| &mut pool.capacity))
        .chain(problem.links.iter_mut().map(|link| &mut link.capacity_mbps));
    for amount in amounts {
        let product = amount.checked_mul(times);
        *amount = product.ok_or("sites would be too large")?;
    }
    Ok(problem)
}

fn per_second(n: usize, took: Duration) -> u64 {
    let n = u64::try_from(n).unwrap_or(u64::MAX);
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    n * 1_000_000 / micros
}
