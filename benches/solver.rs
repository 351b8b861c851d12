//! What one decision at arrival costs, and a whole plan, as jobs and sites grow.
//!
//! `cargo bench --bench solver [-- JOBS...]`; each line is one instance of the family dry-mix, half way through its week.

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
        policy::without_jobs,
    },
    solver::{Online, OnlineOptions, Part, PlanOptions, Problem, plan, score},
};

/// Slots of the week that pass before anything is timed.
const WARM_SLOTS: usize = 336;
/// Slots whose arrivals are timed.
const TIMED_SLOTS: usize = 96;

fn main() -> Result<(), Box<dyn Error>> {
    let mut sizes: Vec<usize> = env::args().filter_map(|text| text.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![1_000, 10_000, 100_000];
    }
    let mut out = stdout();
    writeln!(
        out,
        "| jobs | sites | live | greedy decisions/s | p50 us | p99 us | online arrivals/s, sweeps included | plan, one round a thread, s |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for n_jobs in sizes {
        for n_sites in [8, 16, 64] {
            let problem = instance(n_jobs, n_sites)?;
            writeln!(out, "{}", row(&problem, n_jobs, n_sites)?)?;
        }
    }
    Ok(())
}

fn instance(n_jobs: usize, n_sites: usize) -> Result<Problem, Box<dyn Error>> {
    let document = generate(&Order {
        family: Family::DryMix,
        n_jobs,
        n_sites,
        n_slots: 672,
        seed: 1,
    });
    decode(&encode(&document, false)).map_err(|refusal| format!("{refusal:?}").into())
}

fn row(problem: &Problem, n_jobs: usize, n_sites: usize) -> Result<String, Box<dyn Error>> {
    let greedy = OnlineOptions {
        n_sweeps: 0,
        ..OnlineOptions::default()
    };
    let (mut each, live) = arrivals(problem, greedy);
    let (swept, _) = arrivals(problem, OnlineOptions::default());
    each.decisions.sort_unstable();
    let at = |permille: usize| each.decisions[each.decisions.len() * permille / 1_001];
    let begun = Instant::now();
    let run = |parts: &mut [Part<'_>]| parts.iter_mut().for_each(Part::run);
    let mut rounds = |progress: &lancang::solver::Progress| {
        if progress.n_rounds == 0 { 0 } else { 1_000 }
    };
    let schedule = plan(problem, &PlanOptions::default(), &run, &mut rounds);
    let planned = begun.elapsed();
    score(problem, &schedule).map_err(|breaches| format!("{:?}", breaches.first()))?;
    let sum: Duration = each.decisions.iter().sum();
    Ok(format!(
        "| {n_jobs} | {n_sites} | {live} | {} | {:.1} | {:.1} | {} | {:.2} |",
        per_second(each.decisions.len(), sum),
        at(500).as_secs_f64() * 1e6,
        at(990).as_secs_f64() * 1e6,
        per_second(swept.decisions.len(), swept.total),
        planned.as_secs_f64(),
    ))
}

struct Timed {
    decisions: Vec<Duration>,
    total: Duration,
}

/// Every decision of the timed slots, and how many jobs were waiting or running when they began.
fn arrivals(problem: &Problem, options: OnlineOptions) -> (Timed, usize) {
    let mut online = Online::new(&without_jobs(problem), options);
    let mut order: Vec<usize> = (0..problem.jobs.len()).collect();
    order.sort_by_key(|&position| problem.jobs[position].arrival);
    let mut waiting = order.into_iter().peekable();
    let mut next = |slot: usize| waiting.next_if(|&i| problem.jobs[i].arrival <= slot);
    for slot in 0..WARM_SLOTS {
        online.advance(slot);
        while let Some(position) = next(slot) {
            online.arrive(position, &problem.jobs[position]);
        }
    }
    let schedule = online.clone().finish(problem.jobs.len());
    let is_live = |end: usize| WARM_SLOTS <= end;
    let placed = schedule.assignments.iter().flatten();
    let live = placed.filter(|there| is_live(there.end())).count();
    let begun = Instant::now();
    let mut decisions = Vec::new();
    for slot in WARM_SLOTS..WARM_SLOTS + TIMED_SLOTS {
        online.advance(slot);
        while let Some(position) = next(slot) {
            let begun = Instant::now();
            online.arrive(position, &problem.jobs[position]);
            decisions.push(begun.elapsed());
        }
    }
    let total = begun.elapsed();
    (Timed { decisions, total }, live)
}

fn per_second(n: usize, took: Duration) -> u64 {
    let n = u64::try_from(n).unwrap_or(u64::MAX);
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    n * 1_000_000 / micros
}
