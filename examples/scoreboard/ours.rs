//! Our own methods as the scoreboard runs them.
//!
//! A budget in seconds makes figures differ a little from machine to machine; a budget in rounds does not.

use std::{
    thread,
    time::{Duration, Instant},
};

use lancang::{
    sim::policy::{simulate, without_jobs},
    solver::{Online, OnlineOptions, Part, PlanOptions, Problem, Progress, Schedule, plan},
};

/// All jobs at once, in so many seconds, on two threads.
pub(crate) fn offline(problem: &Problem, seconds: u64) -> Schedule {
    let (begun, allowed) = (Instant::now(), Duration::from_secs(seconds));
    let mut budget = |_: &_| {
        let used = begun.elapsed().as_millis() * 1000 / allowed.as_millis();
        u32::try_from(used).unwrap_or(1000)
    };
    plan(problem, &PlanOptions::default(), &in_two, &mut budget)
}

/// All jobs at once, in so many rounds.
pub(crate) fn with_rounds(problem: &Problem, n_rounds: u64) -> Schedule {
    let mut budget =
        |progress: &Progress| u32::try_from(progress.n_rounds * 1000 / n_rounds).unwrap_or(1000);
    let run = |parts: &mut [Part<'_>]| parts.iter_mut().for_each(Part::run);
    plan(problem, &PlanOptions::default(), &run, &mut budget)
}

/// Job by job; what has not begun is arranged anew every hour.
pub(crate) fn online(problem: &Problem) -> Schedule {
    let hour = 60 / problem.slot_minutes.max(1);
    let options = OnlineOptions {
        every_slots: usize::try_from(hour).unwrap_or(1).max(1),
        ..OnlineOptions::default()
    };
    let policy = Online::new(&without_jobs(problem), options);
    simulate(problem, Box::new(policy), &mut |_| ())
}

fn in_two(parts: &mut [Part<'_>]) {
    let (first, second) = parts.split_at_mut(parts.len() / 2);
    thread::scope(|scope| {
        scope.spawn(|| first.iter_mut().for_each(Part::run));
        second.iter_mut().for_each(Part::run);
    });
}
