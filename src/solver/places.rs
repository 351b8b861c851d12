//! Which jobs run at a site around a slot, for those who want to move them.
//!
//! Every job noted is found as long as it stays where it was noted; jobs that have moved on since are found as well.

use std::ops::Range;

use super::{problem::Problem, schedule::Assignment, state::State};

/// Slots that share a list.
const BLOCK: usize = 8;

/// Positions of jobs by site and block of slots.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    n_blocks: usize,
    lists: Vec<Vec<usize>>,
}

impl Places {
    /// No job is anywhere.
    pub(super) fn new(problem: &Problem) -> Self {
        let n_blocks = problem.n_slots.div_ceil(BLOCK);
        Self {
            n_blocks,
            lists: vec![Vec::new(); n_blocks * problem.sites.len()],
        }
    }

    /// Forgets where jobs were, and notes where these are.
    pub(super) fn renew(
        &mut self,
        problem: &Problem,
        state: &State,
        jobs: impl IntoIterator<Item = usize>,
    ) {
        self.lists.iter_mut().for_each(Vec::clear);
        for position in jobs {
            self.note(problem, state, position);
        }
    }

    /// Notes where a job is.
    pub(super) fn note(&mut self, problem: &Problem, state: &State, position: usize) {
        let Some(there) = &state.assignments[position] else {
            return;
        };
        let first = self.n_blocks * site_of(problem, position, there);
        let mut next = 0;
        for run in &there.runs {
            let blocks = blocks(run.start..run.end());
            for list in &mut self.lists[first + next.max(blocks.start)..first + blocks.end] {
                list.push(position);
            }
            next = blocks.end;
        }
    }

    /// Jobs that were noted at a site within these slots; one may come more than once.
    pub(super) fn near(&self, site: usize, slots: Range<usize>) -> impl Iterator<Item = usize> {
        let blocks = blocks(slots);
        let first = self.n_blocks * site;
        let lists = &self.lists[first + blocks.start..first + blocks.end];
        lists.iter().flatten().copied()
    }
}

fn blocks(slots: Range<usize>) -> Range<usize> {
    slots.start / BLOCK..slots.end.div_ceil(BLOCK)
}

/// Site of a job that is there.
pub(super) fn site_of(problem: &Problem, position: usize, there: &Assignment) -> usize {
    problem.site_of(&problem.jobs[position].choices[there.choice])
}
