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
    sorted: Vec<i64>,
    prefix: Vec<i64>,
    /// Least price with n useful slots done and a run ending at t, by n then t - n.
    ending: Vec<i64>,
    /// Least price with n useful slots done by t, by n then t - n.
    done: Vec<i64>,
    order: Vec<usize>,
}

impl Pieces {
    /// The least price below `beat`; the runs, from slot 0 on, in `runs`.
    pub(super) fn search(
        &mut self,
        prices: &[i64],
        shape: Shape,
        (delay_price, delay): (i64, impl Fn(usize) -> i64),
        beat: i64,
        runs: &mut Vec<Run>,
    ) -> Option<i64> {
        let work = shape.work;
        self.sorted.clear();
        self.sorted.extend_from_slice(prices);
        let (cheap, &mut last, _) = self.sorted.select_nth_unstable(work - 1);
        let least = cheap
            .iter()
            .fold(last, |sum, price| sum.wrapping_add(*price));
        if beat <= least.saturating_add(delay(work)) {
            return None;
        }
        if 0 < delay_price {
            let key = self.cut_up(prices, shape, delay, runs);
            return key.filter(|&key| key < beat);
        }
        if shape.min_chunk == 1 && shape.resume == 0 {
            return self.cheapest_slots(prices, work, runs);
        }
        let mut sum: i64 = prices[..work].iter().sum();
        let (mut whole, mut at) = (sum, 0);
        for (i, (old, new)) in prices.iter().zip(&prices[work..]).enumerate() {
            sum += new - old;
            if sum < whole {
                (whole, at) = (sum, i + 1);
            }
        }
        // A slot so dear cannot be part of anything better: the other slots cost what they cost at least.
        let useless = last.saturating_add(whole.min(beat) - least);
        let is_of_use = |&price: &i64| price < useless;
        let from = prices.iter().position(is_of_use).unwrap_or(0);
        let to = prices
            .iter()
            .rposition(is_of_use)
            .map_or(0, |last| last + 1);
        if work <= to.saturating_sub(from) && least < whole {
            let key = self.cut_up(&prices[from..to], shape, |_| 0, runs);
            if key.is_some_and(|key| key < whole) {
                for run in runs {
                    run.start += from;
                }
                return key.filter(|&key| key < beat);
            }
        }
        runs.clear();
        runs.push(run(at, at + work));
        (whole < beat).then_some(whole)
    }

    /// The best pieces, by dynamic programming.
    fn cut_up(
        &mut self,
        prices: &[i64],
        shape: Shape,
        delay: impl Fn(usize) -> i64,
        runs: &mut Vec<Run>,
    ) -> Option<i64> {
        let Shape {
            work,
            min_chunk,
            resume,
        } = shape;
        // With n useful slots done at t, t - n slots were idle or resumed: never more than there are to spare.
        let width = (prices.len() + 1).checked_sub(work)?;
        self.prefix.clear();
        self.prefix.push(0);
        let mut sum = 0_i64;
        self.prefix.extend(prices.iter().map(|price| {
            sum = sum.wrapping_add(*price);
            sum
        }));
        let levels = work - min_chunk + 1;
        self.ending.clear();
        self.ending.resize(levels * width, BLOCKED);
        self.done.clear();
        self.done.resize(levels * width, BLOCKED);
        let fresh = min_chunk + resume;
        let skip = resume + usize::from(0 < resume);
        for level in 0..levels {
            let useful = level + min_chunk;
            let (before, rest) = self.ending.split_at_mut(level * width);
            let ending = &mut rest[..width];
            let ends = &self.prefix[useful..];
            if level == 0 {
                let sums = self.prefix.iter().zip(ends);
                for (ending, (begin, end)) in ending.iter_mut().zip(sums) {
                    *ending = end.wrapping_sub(*begin).min(BLOCKED);
                }
            } else {
                let last = before[(level - 1) * width..].iter();
                let prices = &prices[useful - 1..];
                for ((ending, last), price) in ending.iter_mut().zip(last).zip(prices) {
                    *ending = last.wrapping_add(*price).min(BLOCKED);
                }
                if min_chunk <= level && skip < width {
                    let done = self.done[(level - min_chunk) * width..].iter();
                    let ends = &ends[skip..];
                    let begins = &self.prefix[useful + skip - fresh..];
                    let cells = ending[skip..].iter_mut().zip(done);
                    for ((ending, done), (begin, end)) in cells.zip(begins.iter().zip(ends)) {
                        let price = end.wrapping_sub(*begin).wrapping_add(*done);
                        *ending = price.min(*ending);
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
        let (price, spare) = (0..width)
            .map(|spare| (last[spare].saturating_add(delay(work + spare)), spare))
            .min()?;
        if BLOCKED <= price {
            return None;
        }
        self.trace(prices, shape, width, spare, runs);
        Some(price)
    }

    /// Walks back from the end to the first run; `spare` is how many slots before the end did no useful work.
    fn trace(
        &self,
        prices: &[i64],
        shape: Shape,
        width: usize,
        mut spare: usize,
        runs: &mut Vec<Run>,
    ) {
        let gap = usize::from(0 < shape.resume);
        let fresh = shape.min_chunk + shape.resume;
        let mut level = shape.work - shape.min_chunk;
        let mut run_end = shape.work + spare;
        runs.clear();
        loop {
            let t = level + shape.min_chunk + spare;
            let price = self.ending[level * width + spare];
            if level == 0 {
                runs.push(run(t - shape.min_chunk, run_end));
                break;
            }
            if price == self.ending[(level - 1) * width + spare] + prices[t - 1] {
                level -= 1;
                continue;
            }
            runs.push(run(t - fresh, run_end));
            level -= shape.min_chunk;
            spare -= shape.resume + gap;
            let least = self.done[level * width + spare];
            while self.ending[level * width + spare] != least {
                spare -= 1;
            }
            run_end = level + shape.min_chunk + spare;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solver::noise::Noise;

    /// Least price of the useful slots that are left, from a slot on; `since` is when the last run ended.
    fn least(prices: &[i64], shape: Shape, at: usize, left: usize, since: Option<usize>) -> i64 {
        if left == 0 {
            return 0;
        }
        let resume = if since.is_some() { shape.resume } else { 0 };
        let mut best = BLOCKED;
        // Runs that touch are one, unless nothing is lost between them.
        let gap = usize::from(0 < resume);
        for start in since.map_or(at, |end| end + gap)..prices.len() {
            for useful in shape.min_chunk.min(left)..=left {
                let end = start + resume + useful;
                let is_long = shape.min_chunk <= useful;
                if is_long && end <= prices.len() {
                    let price: i64 = prices[start..end].iter().sum();
                    let rest = least(prices, shape, end, left - useful, Some(end));
                    best = best.min(price + rest);
                }
            }
        }
        best
    }

    #[test]
    fn pieces_are_the_cheapest_and_only_below_the_price_to_beat() {
        let mut noise = Noise::new(3, 1);
        let mut pieces = Pieces::default();
        let mut runs = Vec::new();
        let i64_below = |noise: &mut Noise, n| i64::try_from(noise.below(n)).unwrap();
        for case in 0..600 {
            let n = 2 + noise.below(9);
            let mut price = |_| match noise.below(6) {
                0 => BLOCKED,
                _ => i64_below(&mut noise, 8),
            };
            let prices: Vec<i64> = (0..n).map(&mut price).collect();
            let work = 1 + noise.below(n.min(6));
            let shape = Shape {
                work,
                min_chunk: 1 + noise.below(work),
                resume: noise.below(3),
            };
            let best = least(&prices, shape, 0, work, None);
            let delay = (0, |_| 0);
            let found = pieces.search(&prices, shape, delay, BLOCKED, &mut runs);
            assert_eq!(
                found,
                (best < BLOCKED).then_some(best),
                "{case}: {prices:?} {shape:?}"
            );
            if found.is_some() {
                let slots = runs.iter().flat_map(|run| run.start..run.end());
                assert_eq!(slots.map(|slot| prices[slot]).sum::<i64>(), best);
                let n_slots: usize = runs.iter().map(|run| run.len).sum();
                assert_eq!(n_slots, work + shape.resume * (runs.len() - 1));
                assert_eq!(pieces.search(&prices, shape, delay, best, &mut runs), None);
                assert_eq!(
                    pieces.search(&prices, shape, delay, best + 1, &mut runs),
                    Some(best)
                );
            }
        }
    }
}
