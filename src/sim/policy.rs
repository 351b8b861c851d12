//! A policy decides each job when it arrives and knows nothing of later ones.
//!
//! A run that has begun never moves; others may, until the slot in which they begin.

use crate::solver::{Job, Online, Problem, Schedule};

/// Decides where and when jobs run, one arrival after the other.
///
/// The driver calls `advance` for every slot in rising order, then `arrive` for each job of that slot in order of id,
/// and `finish` after the last slot.
pub trait Policy {
    /// A slot begins: every run that begins before `slot` is fixed to its end.
    fn advance(&mut self, slot: usize);

    /// The job at this position of the instance arrives in the current slot.
    fn arrive(&mut self, position: usize, job: &Job);

    /// All decisions, one entry for each position up to the number of jobs; jobs never placed are missed.
    fn finish(self: Box<Self>, n_jobs: usize) -> Schedule;
}

impl Policy for Online {
    fn advance(&mut self, slot: usize) {
        Self::advance(self, slot);
    }

    fn arrive(&mut self, position: usize, job: &Job) {
        Self::arrive(self, position, job);
    }

    fn finish(self: Box<Self>, n_jobs: usize) -> Schedule {
        Self::finish(*self, n_jobs)
    }
}

/// Lets a policy decide the jobs of a problem as they arrive.
///
/// The policy must have been made from `without_jobs`, so that it cannot know the future.
pub fn simulate(
    problem: &Problem,
    mut policy: Box<dyn Policy>,
    progress: &mut dyn FnMut(usize),
) -> Schedule {
    let mut order: Vec<usize> = (0..problem.jobs.len()).collect();
    order.sort_by_key(|&position| (problem.jobs[position].arrival, problem.jobs[position].id));
    let mut waiting = order.into_iter().peekable();
    for slot in 0..problem.n_slots {
        policy.advance(slot);
        while let Some(position) =
            waiting.next_if(|&position| problem.jobs[position].arrival <= slot)
        {
            policy.arrive(position, &problem.jobs[position]);
        }
        progress(slot + 1);
    }
    policy.finish(problem.jobs.len())
}

/// The sites, pools and links of a problem: all that a policy may know at the start.
#[must_use]
pub fn without_jobs(problem: &Problem) -> Problem {
    Problem {
        jobs: Vec::new(),
        ..problem.clone()
    }
}
