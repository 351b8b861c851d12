//! Our own methods as the scoreboard runs them.
//!
//! A budget in seconds makes figures differ a little from machine to machine; a budget in rounds does not.

use std::{
    thread,
    time::{Duration, Instant},
};

use lancang::solver::{Part, PlanOptions, Problem, Progress, Schedule, plan};

/// All jobs at once, in so many seconds, on two threads.
pub(crate) fn offline(problem: &Problem, seconds: u64) -> Option<Schedule> {
    let (begun, allowed) = (Instant::now(), Duration::from_secs(seconds));
    let mut budget = |_: &_| {
        let used = begun.elapsed().as_millis() * 1000 / allowed.as_millis();
        u32::try_from(used).unwrap_or(1000)
    };
    Some(plan(problem, &PlanOptions::default(), &in_two, &mut budget))
}

/// All jobs at once, in so many rounds.
pub(crate) fn with_rounds(problem: &Problem, n_rounds: u64) -> Option<Schedule> {
    let mut budget =
        |progress: &Progress| u32::try_from(progress.n_rounds * 1000 / n_rounds).unwrap_or(1000);
    let run = |parts: &mut [Part<'_>]| parts.iter_mut().for_each(Part::run);
    Some(plan(problem, &PlanOptions::default(), &run, &mut budget))
}

/// Job by job.
pub(crate) fn online(_problem: &Problem) -> Option<Schedule> {
    None
}

fn in_two(parts: &mut [Part<'_>]) {
    let (first, second) = parts.split_at_mut(parts.len() / 2);
    thread::scope(|scope| {
        scope.spawn(|| first.iter_mut().for_each(Part::run));
        second.iter_mut().for_each(Part::run);
    });
}
