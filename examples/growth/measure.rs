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
/// Rounds of the offline method.
const N_ROUNDS: u64 = 4;
/// A round that takes longer is not repeated.
const ROUND_MAX_S: f64 = 20.0;

/// Every stage has a thread of its own that lives on while the next one works: each living thread has its own heap
/// (glibc), so that what one stage has freed does not hide what the next one takes.
pub(crate) fn point(sites: usize, jobs: usize) -> Outcome<Point> {
    let point = in_own_heap(|| {
        let problem = instance(sites, jobs)?;
        in_own_heap(|| {
            let (online, bytes) = peak_of(|| decisions(&problem))?;
            let online_bytes_per_job = bytes / jobs as f64;
            in_own_heap(|| {
                let (round_s, bytes) = peak_of(|| rounds(&problem))?;
                Ok(Point {
                    sites,
                    jobs,
                    missed: online.n_missed,
                    decision_us_p50: online.us[online.us.len() / 2],
                    decision_us_mean: online.us_mean,
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

/// The last decisions in microseconds, in rising order, their mean, and how many jobs found no place.
struct Decisions {
    us: Vec<f64>,
    us_mean: f64,
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

fn decisions(problem: &Problem) -> Told<Decisions> {
    let mut online = Online::new(&without_jobs(problem), OnlineOptions::default());
    online.advance(0);
    let n_timed = TIMED_MAX.min(problem.jobs.len() / 5);
    let mut us = Vec::with_capacity(n_timed);
    let mut n_missed = 0;
    let mut cpu = 0.0;
    for (position, job) in problem.jobs.iter().enumerate() {
        if position + n_timed == problem.jobs.len() {
            cpu = cpu_seconds()?;
        }
        let begun = Instant::now();
        let placed = online.arrive(position, job);
        let took = begun.elapsed();
        n_missed += usize::from(!placed);
        if position + n_timed >= problem.jobs.len() {
            us.push(took.as_secs_f64() * 1e6);
        }
    }
    us.sort_unstable_by(f64::total_cmp);
    Ok(Decisions {
        us_mean: (cpu_seconds()? - cpu) * 1e6 / n_timed as f64,
        us,
        n_missed,
    })
}

/// The median processor time of a round, seconds.
fn rounds(problem: &Problem) -> Told<f64> {
    let mut ends = Vec::new();
    let mut budget = |progress: &Progress| {
        // Without a clock no round is known to be short.
        let now = cpu_seconds().unwrap_or(f64::INFINITY);
        let took = ends.last().map_or(0.0, |last| now - last);
        ends.push(now);
        if progress.n_rounds == N_ROUNDS || ROUND_MAX_S <= took {
            1_000
        } else {
            u32::try_from(progress.n_rounds * 1_000 / (N_ROUNDS + 1)).unwrap_or(999)
        }
    };
    let run = |parts: &mut [Part<'_>]| parts.iter_mut().for_each(Part::run);
    let schedule = plan(problem, &PlanOptions::default(), &run, &mut budget);
    score(problem, &schedule).map_err(|breaches| format!("{:?}", breaches.first()))?;
    let mut gaps: Vec<f64> = ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable_by(f64::total_cmp);
    Ok(gaps[gaps.len() / 2])
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
