//! Cuts the work of one job into pieces that lie in the cheapest free slots.
//!
//! Every piece keeps the job's least chunk and pays for its resumption; work that may not be cut stays whole.

use super::timetable::Shape;
use crate::solver::{Class, Job, Run};

/// Most steps of the exact search, slots times work; above it a job that pays for cuts stays whole.
const STEPS_MAX: usize = 1 << 22;

/// How the work of a job may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    min_chunk: usize,
    resume: usize,
}

/// Free slots from `from` on, each with its price, `None` if taken.
#[derive(Debug)]
pub(super) struct Prices {
    pub(super) from: usize,
    pub(super) prices: Vec<Option<i64>>,
}

/// Runs with the sum of their prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pieces {
    pub(super) price: i64,
    pub(super) runs: Vec<Run>,
}

impl Pieces {
    /// Slot after the last run.
    pub(super) fn end(&self) -> usize {
        self.runs.last().map_or(0, Run::end)
    }
}

/// How a job may be cut; `None` if it runs whole.
pub(super) fn cut(job: &Job) -> Option<Cut> {
    match job.class {
        Class::Rigid => None,
        Class::Interruptible { min_chunk, resume } => Some(Cut {
            min_chunk: min_chunk.max(1),
            resume,
        }),
        // A malleable job may have no units in a slot.
        Class::Malleable { .. } => Some(Cut {
            min_chunk: 1,
            resume: 0,
        }),
    }
}

impl Cut {
    /// Whether any slots will do.
    pub(super) fn is_free(self) -> bool {
        self.min_chunk <= 1 && self.resume == 0
    }
}

/// Runs of all the work with the least sum of prices; among equals those that end first.
pub(super) fn cheapest(prices: &Prices, shape: Shape, cut: Cut) -> Option<Pieces> {
    if cut.is_free() {
        cheapest_slots(prices, shape)
    } else if prices.prices.len().saturating_mul(shape.len) <= STEPS_MAX {
        cheapest_chunks(prices, shape, cut)
    } else {
        cheapest_window(prices, shape)
    }
}

/// Slots in rising order as runs.
pub(super) fn runs(slots: &[usize], units: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for &start in slots {
        match runs.last_mut() {
            Some(run) if run.end() == start => run.len += 1,
            _ => runs.push(Run {
                start,
                len: 1,
                units,
            }),
        }
    }
    runs
}

fn cheapest_slots(prices: &Prices, shape: Shape) -> Option<Pieces> {
    let mut slots: Vec<(i64, usize)> = prices
        .prices
        .iter()
        .enumerate()
        .filter_map(|(i, &price)| Some((price?, prices.from + i)))
        .collect();
    if slots.len() < shape.len || shape.len == 0 {
        return None;
    }
    if shape.len < slots.len() {
        slots.select_nth_unstable(shape.len);
        slots.truncate(shape.len);
    }
    let price = slots.iter().map(|(price, _)| price).sum();
    let mut slots: Vec<usize> = slots.into_iter().map(|(_, slot)| slot).collect();
    slots.sort_unstable();
    Some(Pieces {
        price,
        runs: runs(&slots, shape.units),
    })
}

fn cheapest_window(prices: &Prices, shape: Shape) -> Option<Pieces> {
    let windows = prices.prices.windows(shape.len.max(1)).enumerate();
    let (price, start) = windows
        .filter_map(|(i, window)| Some((window.iter().copied().sum::<Option<i64>>()?, i)))
        .min()?;
    Some(Pieces {
        price,
        runs: vec![Run {
            start: prices.from + start,
            len: shape.len,
            units: shape.units,
        }],
    })
}

/// Least prices by slots passed and work done.
struct Table {
    /// Work that fits in a row, plus one.
    width: usize,
    /// Between pieces; the flag tells that a piece has just ended.
    idle: Vec<Option<(i64, bool)>>,
    /// Within a piece that may end now; the flag tells that it has just reached its least length.
    busy: Vec<Option<(i64, bool)>>,
}

impl Table {
    fn fill(prices: &Prices, work: usize, cut: Cut) -> Self {
        let n = prices.prices.len();
        let width = work + 1;
        let mut table = Self {
            width,
            idle: vec![None; (n + 1) * width],
            busy: vec![None; (n + 1) * width],
        };
        table.idle[0] = Some((0, false));
        let sums = sums_of_free(prices);
        for t in 0..n {
            for done in 0..work {
                let at = t * width + done;
                if let Some((price, _)) = table.idle[at] {
                    lower(&mut table.idle[at + width], price, false);
                    let len = cut.min_chunk + if done == 0 { 0 } else { cut.resume };
                    let (end, after) = (t + len, done + cut.min_chunk);
                    if after <= work
                        && end <= n
                        && let Some(more) = sums.price(t, end)
                    {
                        lower(&mut table.busy[end * width + after], price + more, true);
                    }
                }
                if let Some((price, _)) = table.busy[at] {
                    // The slot in between keeps two pieces apart.
                    lower(&mut table.idle[at + width], price, true);
                    if let Some(more) = prices.prices[t] {
                        lower(&mut table.busy[at + width + 1], price + more, false);
                    }
                }
            }
        }
        table
    }
}

fn lower(at: &mut Option<(i64, bool)>, price: i64, flag: bool) {
    if at.is_none_or(|(known, _)| price < known) {
        *at = Some((price, flag));
    }
}

/// Sums over slots in a row, and how many of them are taken.
struct Sums {
    sums: Vec<(i64, usize)>,
}

impl Sums {
    fn price(&self, start: usize, end: usize) -> Option<i64> {
        let (low, high) = (self.sums[start], self.sums[end]);
        (low.1 == high.1).then(|| high.0 - low.0)
    }
}

fn sums_of_free(prices: &Prices) -> Sums {
    let mut sums = vec![(0, 0)];
    let (mut sum, mut n_taken) = (0, 0);
    for price in &prices.prices {
        match price {
            Some(price) => sum += price,
            None => n_taken += 1,
        }
        sums.push((sum, n_taken));
    }
    Sums { sums }
}

fn cheapest_chunks(prices: &Prices, shape: Shape, cut: Cut) -> Option<Pieces> {
    let work = shape.len;
    let table = Table::fill(prices, work, cut);
    let n = prices.prices.len();
    let ends = (0..=n).filter_map(|t| Some((table.busy[t * table.width + work]?.0, t)));
    let (price, end) = ends.min()?;
    let (mut t, mut done, mut is_busy, mut piece_end) = (end, work, true, end);
    let mut runs = Vec::new();
    while 0 < t {
        let at = t * table.width + done;
        if is_busy {
            let (_, is_first) = table.busy[at]?;
            if is_first {
                done -= cut.min_chunk;
                t -= cut.min_chunk + if done == 0 { 0 } else { cut.resume };
                runs.push(Run {
                    start: prices.from + t,
                    len: piece_end - t,
                    units: shape.units,
                });
                is_busy = false;
            } else {
                (t, done) = (t - 1, done - 1);
            }
        } else {
            let (_, has_ended) = table.idle[at]?;
            t -= 1;
            if has_ended {
                (is_busy, piece_end) = (true, t);
            }
        }
    }
    runs.reverse();
    Some(Pieces { price, runs })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        prices: &[i64],
        len: usize,
        min_chunk: usize,
        resume: usize,
        expected: &[(usize, usize)],
    ) {
        let prices = Prices {
            from: 10,
            prices: prices
                .iter()
                .map(|&price| (0 <= price).then_some(price))
                .collect(),
        };
        let shape = Shape { units: 1, len };
        let pieces = cheapest(&prices, shape, Cut { min_chunk, resume });
        let runs: Vec<(usize, usize)> = pieces
            .iter()
            .flat_map(|pieces| &pieces.runs)
            .map(|run| (run.start - 10, run.len))
            .collect();
        assert_eq!(runs, expected);
    }

    #[test]
    fn any_slots_will_do() {
        check(&[5, 1, 4, 1, 1], 3, 1, 0, &[(1, 1), (3, 2)]);
        check(&[5, 1, 1, 1, 1], 2, 1, 0, &[(1, 2)]);
    }

    #[test]
    fn taken_slots_are_left_out() {
        check(&[5, -1, 4, 1, -1], 3, 1, 0, &[(0, 1), (2, 2)]);
        check(&[5, -1, -1, 1, -1], 3, 1, 0, &[]);
    }

    #[test]
    fn chunks_keep_their_length() {
        check(&[1, 9, 9, 1, 2, 9, 1, 1], 4, 2, 0, &[(3, 2), (6, 2)]);
        check(&[1, -1, 9, 1, 2, -1, 1, 1], 5, 2, 0, &[(2, 3), (6, 2)]);
    }

    #[test]
    fn resumption_is_paid() {
        check(&[1, 9, 9, 1, 1], 3, 1, 1, &[(2, 3)]);
        check(&[1, 1, 30, 30, 1, 1, 1], 4, 1, 1, &[(0, 2), (4, 3)]);
        check(&[1, 1, -1, 1, 1], 3, 1, 1, &[(0, 2), (3, 2)]);
    }

    #[test]
    fn pieces_never_touch() {
        // Two adjacent pieces would be one that runs a slot too long.
        check(&[1, 1, 1, 1], 2, 1, 1, &[(0, 2)]);
        check(&[1, 1, 1], 3, 1, 1, &[(0, 3)]);
    }
}
