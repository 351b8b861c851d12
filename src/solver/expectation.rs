//! What load is still to come: jobs like those seen at the same time of day.
//!
//! Only what has arrived is used; the same history and noise give the same expectation.

use super::{noise::Noise, problem::Job};

/// Jobs kept for each slot of the day.
const KEPT_PER_SLOT: usize = 256;
/// Slots before and after one whose jobs count as like those of it.
const REACH: usize = 2;

/// Arrivals by slot of the day.
#[derive(Debug, Clone)]
pub(super) struct Expectation {
    slots_per_day: usize,
    seen: Vec<Vec<Job>>,
    n_seen: Vec<usize>,
}

impl Expectation {
    pub(super) fn new(slots_per_day: usize) -> Self {
        Self {
            slots_per_day,
            seen: vec![Vec::new(); slots_per_day],
            n_seen: vec![0; slots_per_day],
        }
    }

    /// A job has arrived.
    pub(super) fn learn(&mut self, job: &Job) {
        let slot = job.arrival % self.slots_per_day;
        let n = self.n_seen[slot];
        self.n_seen[slot] += 1;
        let kept = &mut self.seen[slot];
        if kept.len() < KEPT_PER_SLOT {
            kept.push(job.clone());
        } else {
            kept[n % KEPT_PER_SLOT] = job.clone();
        }
    }

    /// Jobs that may arrive in a slot after `now`, as many as arrived in like slots on average.
    pub(super) fn at(&self, slot: usize, now: usize, noise: &mut Noise) -> Vec<Job> {
        let day = self.slots_per_day;
        let like: Vec<usize> = if slot.saturating_sub(day) <= now && day <= slot {
            (0..=2 * REACH)
                .map(|offset| (slot + day + offset - REACH) % day)
                .collect()
        } else {
            (0..day).collect()
        };
        // How many of the like slots have passed, on all days so far.
        let passed = like
            .iter()
            .map(|&like| (now + day - like) / day)
            .sum::<usize>()
            .max(1);
        let total: usize = like.iter().map(|&like| self.n_seen[like]).sum();
        let n = (total + noise.below(passed)) / passed;
        let kept: usize = like.iter().map(|&like| self.seen[like].len()).sum();
        if kept == 0 {
            return Vec::new();
        }
        (0..n)
            .map(|_| {
                let mut i = noise.below(kept);
                let jobs = like
                    .iter()
                    .map(|&like| &self.seen[like])
                    .find(|jobs| {
                        let found = i < jobs.len();
                        if !found {
                            i -= jobs.len();
                        }
                        found
                    })
                    .expect("the index is below the sum of all lengths");
                moved(&jobs[i], slot)
            })
            .collect()
    }
}

/// The job as if it arrived in another slot.
fn moved(job: &Job, arrival: usize) -> Job {
    Job {
        arrival,
        release: arrival + (job.release - job.arrival),
        deadline: arrival + (job.deadline - job.arrival),
        ..job.clone()
    }
}
