//! The exact search behind interruptible jobs: which slots of one pool to run in, at least total cost.
//!
//! A table over (slot, work done) with two values in each cell: the cheapest way that is running there with its run
//! long enough to stop, and the cheapest that is paused. Prefix sums jump over a run's mandatory part, so that the
//! position within a run needs no dimension of its own.

use std::ops::Range;

use crate::planner::cost::Sums;

/// What goes before the strict order when ways are compared; additive over slots.
pub(super) trait Key: Copy + Ord + Default {
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
}

/// Cost of a way through the slots. Derived order: key, strict order, first start, number of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way<K> {
    pub(super) key: K,
    pub(super) sums: Sums,
    pub(super) start: u32,
    pub(super) runs: u32,
}

/// Slots to run in and how a run may be cut; all counts in steps.
#[derive(Debug, Clone)]
pub(super) struct Steps<K> {
    /// Work to do.
    pub(super) work: usize,
    /// Least work of a run, at most `work`.
    pub(super) min_chunk: usize,
    /// Steps by which a run after the first is longer than its work.
    pub(super) resume: usize,
    /// Last step the first run may start in.
    pub(super) last_start: usize,
    /// Number of steps with room that end right before each step boundary.
    pub(super) free_before: Vec<usize>,
    /// Cost of all steps before each boundary.
    pub(super) prefix: Vec<(K, Sums)>,
}

/// The solved table.
#[derive(Debug)]
pub(super) struct Solved<K> {
    /// The cheapest way that ends exactly at each step boundary; absent when there is none.
    pub(super) ends: Vec<Option<Way<K>>>,
    choices: Choices,
}

/// How each cell was reached, for the way back.
#[derive(Debug)]
struct Choices {
    width: usize,
    cells: Vec<u8>,
    min_chunk: usize,
    resume: usize,
}

const FIRST: u8 = 1;
const LATER: u8 = 2;
const EXTENDED: u8 = 3;
const RUNNING: u8 = 3;
const STOPPED: u8 = 4;

/// Cells that a table of this size fills: those between the least work that can still be finished and the most that
/// can be done yet, and the paused ones that are kept for as long as a run's mandatory part. What is only reserved
/// counts as well, by its size.
pub(super) fn n_cells(n_steps: usize, work: usize, jump: usize) -> usize {
    const RESERVED_PER_CELL: usize = 16;
    let band = work.min((n_steps + 1).saturating_sub(work)) + 1;
    let filled = (n_steps + 1).saturating_mul(band);
    let reserved = (n_steps + 1).saturating_mul(work + 1) / RESERVED_PER_CELL;
    let paused = (jump + 1).saturating_mul(work + 1);
    filled.saturating_add(reserved).saturating_add(paused)
}

impl Key for () {
    fn plus(self, (): Self) {}
    fn minus(self, (): Self) {}
}

impl Key for i128 {
    fn plus(self, other: Self) -> Self {
        self + other
    }
    fn minus(self, other: Self) -> Self {
        self - other
    }
}

impl<K: Key> Way<K> {
    /// No way at all; worse than every way.
    fn none() -> Self {
        let sums = Sums {
            grid: u64::MAX,
            ..Sums::default()
        };
        Self {
            key: K::default(),
            sums,
            start: 0,
            runs: 0,
        }
    }

    fn exists(&self) -> bool {
        self.sums.grid != u64::MAX
    }

    fn is_better_than(&self, other: &Self) -> bool {
        !other.exists() || self < other
    }
}

impl<K: Key> Steps<K> {
    fn n_steps(&self) -> usize {
        self.free_before.len() - 1
    }

    /// Cost of running through some steps.
    fn cost(&self, steps: Range<usize>) -> (K, Sums) {
        let (key_to, to) = self.prefix[steps.end];
        let (key_from, from) = self.prefix[steps.start];
        (key_to.minus(key_from), to.minus(from))
    }

    fn continued(&self, way: &Way<K>, steps: Range<usize>, new_runs: u32) -> Way<K> {
        let (key, sums) = self.cost(steps);
        Way {
            key: way.key.plus(key),
            sums: way.sums.plus(sums),
            start: way.start,
            runs: way.runs + new_runs,
        }
    }

    /// The first run's mandatory part, ending at the boundary `end`.
    fn first_run(&self, end: usize) -> Option<Way<K>> {
        let start = end.checked_sub(self.min_chunk)?;
        if self.free_before[end] < self.min_chunk || self.last_start < start {
            return None;
        }
        let (key, sums) = self.cost(start..end);
        let start = u32::try_from(start).ok()?;
        Some(Way {
            key,
            sums,
            start,
            runs: 1,
        })
    }
}

/// Fills the table.
pub(super) fn solve<K: Key>(steps: &Steps<K>) -> Solved<K> {
    let (n_steps, work) = (steps.n_steps(), steps.work);
    let (chunk, jump) = (steps.min_chunk, steps.resume + steps.min_chunk);
    let width = work + 1;
    let none = Way::none();
    let mut running = vec![none; width];
    let mut running_before = vec![none; width];
    // A later run starts `jump` steps back, where its predecessor had paused.
    let n_rows = jump + 1;
    let mut paused = vec![none; n_rows * width];
    let mut cells = vec![0_u8; (n_steps + 1) * width];
    let mut ends = vec![None; n_steps + 1];
    for end in 0..=n_steps {
        std::mem::swap(&mut running, &mut running_before);
        let row = (end % n_rows) * width;
        let row_before = ((end + n_rows - 1) % n_rows) * width;
        let row_jump = ((end + 1) % n_rows) * width;
        let free = steps.free_before[end];
        // Less work can no longer be finished, more cannot be done yet.
        let lowest = (work + end).saturating_sub(n_steps);
        for done in lowest.max(1)..=work.min(end) {
            let mut best = none;
            let mut choice = 0;
            if done == chunk
                && let Some(way) = steps.first_run(end)
            {
                (best, choice) = (way, FIRST);
            }
            if 2 * chunk <= done && jump <= free {
                let way = &paused[row_jump + done - chunk];
                if way.exists() {
                    let way = steps.continued(way, end - jump..end, 1);
                    if way.is_better_than(&best) {
                        (best, choice) = (way, LATER);
                    }
                }
            }
            if 0 < free && running_before[done - 1].exists() {
                let way = steps.continued(&running_before[done - 1], end - 1..end, 0);
                if way.is_better_than(&best) {
                    (best, choice) = (way, EXTENDED);
                }
            }
            running[done] = best;
            let (stopped, stayed) = (running_before[done], paused[row_before + done]);
            let stops = stopped.exists() && stopped.is_better_than(&stayed);
            paused[row + done] = if stops { stopped } else { stayed };
            cells[end * width + done] = choice | if stops { STOPPED } else { 0 };
        }
        ends[end] = Some(running[work]).filter(|way| work <= end && way.exists());
    }
    Solved {
        ends,
        choices: Choices {
            width,
            cells,
            min_chunk: chunk,
            resume: steps.resume,
        },
    }
}

impl<K> Solved<K> {
    /// The runs of the cheapest way that ends at the boundary `end`, in order.
    pub(super) fn runs(&self, end: usize) -> Vec<Range<usize>> {
        let choices = &self.choices;
        let mut runs = Vec::new();
        let (mut at, mut done) = (end, choices.width - 1);
        let mut run_end = end;
        loop {
            match choices.cells[at * choices.width + done] & RUNNING {
                EXTENDED => {
                    at -= 1;
                    done -= 1;
                }
                LATER => {
                    at -= choices.resume + choices.min_chunk;
                    done -= choices.min_chunk;
                    runs.push(at..run_end);
                    while choices.cells[at * choices.width + done] & STOPPED == 0 {
                        at -= 1;
                    }
                    at -= 1;
                    run_end = at;
                }
                first => {
                    assert_eq!(first, FIRST, "a way leads back to its first run");
                    runs.push(at - choices.min_chunk..run_end);
                    runs.reverse();
                    return runs;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cells_of_a_table_include_those_that_are_paused() {
        // Long mandatory parts keep long rows of paused ways.
        assert!(1_345 * 1_345 <= n_cells(4 * 1_344, 1_344, 1_344));
        // A narrow band costs what it holds.
        assert!(n_cells(1_344, 1_343, 1) < 1_345 * 100);
    }
}
