//! The cheapest pieces of an interruptible job for given prices of slots.
//!
//! The answer is exact: no runs that keep the rules about pieces are cheaper.

use super::{respond::join, schedule::Run, table::BLOCKED};

/// What the pieces must come to, in slots.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) work: usize,
    pub(super) min_chunk: usize,
    pub(super) resume: usize,
}

/// The cheapest pieces of an interruptible job, by dynamic programming over useful slots and time.
#[derive(Debug, Clone, Default)]
pub(super) struct Pieces {
    prefix: Vec<i64>,
    /// Least price with n useful slots done and a run ending at t, by n then t.
    ending: Vec<i64>,
    /// Least price with n useful slots done by t.
    done: Vec<i64>,
    order: Vec<usize>,
}

impl Pieces {
    /// The least price; the runs, from slot 0 on, in `runs`.
    pub(super) fn search(
        &mut self,
        prices: &[i64],
        shape: Shape,
        delay_price: i64,
        delay: impl Fn(usize) -> i64,
        runs: &mut Vec<Run>,
    ) -> Option<i64> {
        if shape.min_chunk == 1 && shape.resume == 0 && delay_price == 0 {
            return self.cheapest_slots(prices, shape.work, runs);
        }
        let n = prices.len();
        let width = n + 1;
        let Shape {
            work,
            min_chunk,
            resume,
        } = shape;
        self.prefix.clear();
        self.prefix.push(0);
        let mut sum = 0;
        self.prefix.extend(prices.iter().map(|price| {
            sum += price;
            sum
        }));
        let levels = work - min_chunk + 1;
        self.ending.clear();
        self.ending.resize(levels * width, BLOCKED);
        self.done.clear();
        self.done.resize(levels * width, BLOCKED);
        let gap = usize::from(0 < resume);
        let fresh = min_chunk + resume;
        for level in 0..levels {
            let useful = level + min_chunk;
            let (before, rest) = self.ending.split_at_mut(level * width);
            let ending = &mut rest[..width];
            if level == 0 {
                let sums = self.prefix.iter().zip(&self.prefix[min_chunk.min(n)..]);
                for (ending, (begin, end)) in ending[min_chunk.min(n)..].iter_mut().zip(sums) {
                    *ending = (end - begin).min(BLOCKED);
                }
            } else {
                let last = &before[(level - 1) * width..];
                for ((ending, last), price) in ending[1..].iter_mut().zip(last).zip(prices) {
                    *ending = (last + price).min(BLOCKED);
                }
                if 2 * min_chunk <= useful && fresh + gap <= n {
                    let done = &self.done[(level - min_chunk) * width..];
                    for t in fresh + gap..=n {
                        let price = self.prefix[t] - self.prefix[t - fresh];
                        ending[t] = ending[t].min(done[t - fresh - gap] + price);
                    }
                }
            }
            let mut least = BLOCKED;
            for (done, ending) in self.done[level * width..].iter_mut().zip(&*ending) {
                least = least.min(*ending);
                *done = least;
            }
        }
        let last = &self.ending[(levels - 1) * width..];
        let (price, end) = (0..=n)
            .map(|t| (last[t].saturating_add(delay(t)), t))
            .min()?;
        if BLOCKED <= price {
            return None;
        }
        self.trace(prices, shape, end, runs);
        Some(price)
    }

    /// Walks back from the end to the first run.
    fn trace(&self, prices: &[i64], shape: Shape, end: usize, runs: &mut Vec<Run>) {
        let width = prices.len() + 1;
        let gap = usize::from(0 < shape.resume);
        let fresh = shape.min_chunk + shape.resume;
        let (mut level, mut t) = (shape.work - shape.min_chunk, end);
        let mut run_end = end;
        runs.clear();
        loop {
            let price = self.ending[level * width + t];
            if level == 0 {
                let start = t - shape.min_chunk;
                runs.push(run(start, run_end));
                break;
            }
            if price == self.ending[(level - 1) * width + t - 1] + prices[t - 1] {
                level -= 1;
                t -= 1;
                continue;
            }
            let start = t - fresh;
            runs.push(run(start, run_end));
            level -= shape.min_chunk;
            t = start - gap;
            let least = self.done[level * width + t];
            while self.ending[level * width + t] != least {
                t -= 1;
            }
            run_end = t;
        }
        runs.reverse();
        join(runs);
    }

    /// Without chunks and resume costs the cheapest slots are the best.
    fn cheapest_slots(&mut self, prices: &[i64], n: usize, runs: &mut Vec<Run>) -> Option<i64> {
        self.order.clear();
        self.order
            .extend((0..prices.len()).filter(|&slot| prices[slot] < BLOCKED));
        if self.order.len() < n {
            return None;
        }
        if n < self.order.len() {
            self.order
                .select_nth_unstable_by_key(n - 1, |&slot| (prices[slot], slot));
            self.order.truncate(n);
        }
        self.order.sort_unstable();
        runs.clear();
        runs.extend(self.order.iter().map(|&slot| run(slot, slot + 1)));
        join(runs);
        Some(self.order.iter().map(|&slot| prices[slot]).sum())
    }
}

fn run(start: usize, end: usize) -> Run {
    Run {
        start,
        len: end - start,
        units: 1,
    }
}
