//! Bandwidth of links, slot by slot, and the earliest stage-in that it allows.
//!
//! No link ever carries more than it has.

use super::problem::{Job, Problem};

/// Bandwidth that is free on every link in every slot.
#[derive(Debug, Clone)]
pub(super) struct Links {
    free: Vec<Vec<i32>>,
}

impl Links {
    pub(super) fn new(problem: &Problem) -> Self {
        let n = problem.n_slots;
        let free = problem.links.iter().map(|link| vec![link.capacity_mbps; n]);
        Self {
            free: free.collect(),
        }
    }

    /// The earliest start of the job's stage-in from a slot on that ends by `end_by`.
    pub(super) fn earliest(&self, job: &Job, from: usize, end_by: usize) -> Option<usize> {
        let stage_in = job.stage_in?;
        let free = &self.free[stage_in.link];
        let mut start = from;
        while start + stage_in.n_slots <= end_by {
            let slots = &free[start..start + stage_in.n_slots];
            match slots.iter().rposition(|&free| free < stage_in.mbps) {
                None => return Some(start),
                Some(blocked) => start += blocked + 1,
            }
        }
        None
    }

    pub(super) fn take(&mut self, job: &Job, start: usize) {
        if let Some(stage_in) = job.stage_in {
            for free in &mut self.free[stage_in.link][start..start + stage_in.n_slots] {
                *free -= stage_in.mbps;
            }
        }
    }
}
