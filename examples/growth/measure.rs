//! One number of sites and jobs: every job of a week is known on its first morning and has its place when the last comes.
//!
//! Only the public interface of the solver is used, so that the figures of two versions compare.

use std::{fs, panic::resume_unwind, thread, time::Instant};

use lancang::{
    sim::{
        generate::{Family, Order, generate},
        instance::{decode, encode},
        policy::without_jobs,
    },
    solver::{Online, OnlineOptions, Part, PlanOptions, Problem, Progress, plan, score},
};

use crate::{Outcome, Point};

/// Last decisions that are timed, at most this many and a fifth of all.
const TIMED_MAX: usize = 10_000;
/// Processor time that is enough to measure: it is told in steps of some milliseconds.
const ENOUGH_S: f64 = 0.5;
/// Passes over the timed decisions at least.
const N_PASSES_MIN: usize = 3;

/// Every stage has a thread of its own that lives on while the next one works: each living thread has its own heap
/// (glibc), so that what one stage has freed does not hide what the next one takes.
pub(crate) fn point(sites: usize, jobs: usize) -> Outcome<Point> {
    let point = in_own_heap(|| {
        let problem = instance(sites, jobs)?;
        in_own_heap(|| {
            let (warm, bytes) = peak_of(|| Ok(warm(&problem)))?;
            let online_bytes_per_job = bytes / (jobs - n_timed(&problem)) as f64;
            let online = decisions(&problem, &warm)?;
            drop(warm);
            in_own_heap(|| {
                let (round_s, bytes) = peak_of(|| rounds(&problem))?;
                Ok(Point {
                    sites,
                    jobs,
                    missed: online.n_missed,
                    decision_us_p50: online.us[online.us.len() / 2],
                    decision_us_mean: online.us.iter().sum::<f64>() / online.us.len() as f64,
                    decision_us_p99: online.us[online.us.len() * 99 / 100],
                    round_s,
                    online_bytes_per_job,
                    plan_mib: bytes / 1_048_576.0,
                })
            })
        })
    })?;
    Ok(point)
}

/// What fails is told in words, which may pass between threads.
type Told<T> = Result<T, String>;

fn in_own_heap<T: Send>(work: impl FnOnce() -> Told<T> + Send) -> Told<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(work);
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// The last decisions in microseconds, in rising order, and how many jobs found no place.
struct Decisions {
    us: Vec<f64>,
    n_missed: usize,
}

fn instance(n_sites: usize, n_jobs: usize) -> Told<Problem> {
    let document = generate(&Order {
        family: Family::DryMix,
        n_jobs,
        n_sites,
        n_slots: 672,
        seed: 1,
    });
    decode(&encode(&document, false)).map_err(|refusal| format!("{refusal:?}"))
}

/// The method with all jobs but the last, and how many of them found no place.
fn warm(problem: &Problem) -> (Online, usize) {
    let mut online = Online::new(&without_jobs(problem), OnlineOptions::default());
    online.advance(0);
    let mut n_missed = 0;
    let n_warm = problem.jobs.len() - n_timed(problem);
    for (position, job) in problem.jobs[..n_warm].iter().enumerate() {
        n_missed += usize::from(!online.arrive(position, job));
    }
    (online, n_missed)
}

fn n_timed(problem: &Problem) -> usize {
    TIMED_MAX.min(problem.jobs.len() / 5)
}

/// The last decisions, over and over from the same state. Of each the shortest time counts: every pass decides the same,
/// and what another pass took longer was the machine's other work.
fn decisions(problem: &Problem, (online, n_missed_before): &(Online, usize)) -> Told<Decisions> {
    let n_timed = n_timed(problem);
    let first = problem.jobs.len() - n_timed;
    let mut us = vec![f64::INFINITY; n_timed];
    let mut n_missed = 0;
    let begun = cpu_seconds()?;
    let mut n_passes = 0;
    while n_passes < N_PASSES_MIN || cpu_seconds()? - begun < ENOUGH_S {
        let mut online = online.clone();
        n_missed = *n_missed_before;
        for (i, (job, us)) in problem.jobs[first..].iter().zip(&mut us).enumerate() {
            let begun = Instant::now();
            let placed = online.arrive(first + i, job);
            *us = us.min(begun.elapsed().as_secs_f64() * 1e6);
            n_missed += usize::from(!placed);
        }
        n_passes += 1;
    }
    us.sort_unstable_by(f64::total_cmp);
    Ok(Decisions { us, n_missed })
}

/// The mean processor time of the first rounds, seconds.
fn rounds(problem: &Problem) -> Told<f64> {
    let mut first = None;
    let mut per_round = 0.0;
    let mut budget = |progress: &Progress| {
        // Without a clock one round is enough.
        let now = cpu_seconds().unwrap_or(f64::INFINITY);
        let passed = now - *first.get_or_insert(now);
        per_round = passed / (progress.n_rounds.max(1) as f64);
        if progress.n_rounds > 0 && ENOUGH_S <= passed {
            1_000
        } else {
            u32::try_from(progress.n_rounds).map_or(999, |used| used.min(999))
        }
    };
    let run = |parts: &mut [Part<'_>]| parts.iter_mut().for_each(Part::run);
    let schedule = plan(problem, &PlanOptions::default(), &run, &mut budget);
    score(problem, &schedule).map_err(|breaches| format!("{:?}", breaches.first()))?;
    Ok(per_round)
}

/// Processor time of this thread, which a busy machine does not lengthen.
fn cpu_seconds() -> Told<f64> {
    let path = "/proc/thread-self/schedstat";
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let on_cpu = text.split_whitespace().next();
    let nanos: Option<f64> = on_cpu.and_then(|nanos| nanos.parse().ok());
    nanos
        .map(|nanos| nanos / 1e9)
        .ok_or_else(|| format!("{path} has no time"))
}

/// The result, and by how many bytes the resident memory of this process rose at most meanwhile.
fn peak_of<T>(work: impl FnOnce() -> Told<T>) -> Told<(T, f64)> {
    // Linux: the peak is counted anew from here on.
    fs::write("/proc/self/clear_refs", "5").map_err(|error| error.to_string())?;
    let before = status_kib("VmRSS:")?;
    let result = work()?;
    let after = status_kib("VmHWM:")?;
    Ok((result, (after - before).max(0.0) * 1024.0))
}

fn status_kib(name: &str) -> Told<f64> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| "no memory figures in /proc".to_owned())
}
