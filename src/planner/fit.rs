//! Whether an interruptible job has room at all, whatever it costs: exact, and far cheaper than the search for the
//! best runs.
//!
//! Runs found keep every rule about pieces: each long enough, none touching, together exactly the work.

use std::{cmp::Reverse, collections::BinaryHeap, ops::Range};

use crate::planner::{
    column::Room,
    feasibility::{Ask, Offer},
    shape::Pieces,
    site_table::to_index,
};

/// A job in pieces, in slots.
#[derive(Debug, Clone, Copy)]
struct Cut {
    work: usize,
    min_chunk: usize,
    resume: usize,
    last_start: usize,
}

/// Some runs of the job in the room of one pool, if it fits there.
pub(super) fn runs(
    ask: &Ask<'_>,
    offer: &Offer<'_>,
    pieces: Pieces,
    room: &Room<'_>,
) -> Option<Vec<Range<usize>>> {
    let stretches: Vec<Range<usize>> = room.stretches(offer.slots.clone()).collect();
    ask.work.add_slots(offer.slots.len());
    Cut::new(ask, offer, pieces).runs(&stretches)
}

/// Whether the job fits into some pool of the offer.
pub(super) fn fits(ask: &Ask<'_>, offer: &Offer<'_>, pieces: Pieces) -> bool {
    offer
        .pools
        .iter()
        .any(|pool| runs(ask, offer, pieces, &offer.room(ask, pool)).is_some())
}

/// Where the runs start that end soonest.
pub(super) fn soonest(ask: &Ask<'_>, offer: &Offer<'_>, pieces: Pieces) -> Option<usize> {
    let cut = Cut::new(ask, offer, pieces);
    let of_pool = |pool| {
        let stretches: Vec<Range<usize>> = offer
            .room(ask, pool)
            .stretches(offer.slots.clone())
            .collect();
        ask.work.add_slots(offer.slots.len());
        let until = |end: usize| {
            let cut_off = |stretch: &Range<usize>| stretch.start..stretch.end.min(end);
            let early = stretches.iter().map(cut_off);
            cut.runs(&early.filter(|run| !run.is_empty()).collect::<Vec<_>>())
        };
        // More time never takes room away, so that the least end is found by halving.
        let (mut too_soon, mut enough) = (offer.slots.start, offer.slots.end);
        let mut found = until(enough)?;
        while too_soon + 1 < enough {
            let end = usize::midpoint(too_soon, enough);
            match until(end) {
                Some(runs) => (enough, found) = (end, runs),
                None => too_soon = end,
            }
        }
        Some((enough, found.first()?.start))
    };
    let found = offer.pools.iter().filter_map(of_pool).min();
    found.map(|(_, start)| start)
}

impl Cut {
    fn new(ask: &Ask<'_>, offer: &Offer<'_>, pieces: Pieces) -> Self {
        Self {
            work: to_index(ask.shape.n_slots),
            min_chunk: to_index(pieces.min_chunk),
            resume: to_index(pieces.resume),
            last_start: offer.last_start,
        }
    }

    /// Runs within stretches that lie apart and in order.
    ///
    /// One run a stretch is enough, and a stretch holds most when it is used from its start to its end. The latest
    /// first run that leaves enough for the longest of the stretches behind it is taken.
    fn runs(&self, stretches: &[Range<usize>]) -> Option<Vec<Range<usize>>> {
        // With more runs than that some would be too short.
        let n_later = self.work / self.min_chunk - 1;
        let mut later: BinaryHeap<Reverse<(usize, usize)>> = BinaryHeap::new();
        let mut sum = 0;
        for (i, stretch) in stretches.iter().enumerate().rev() {
            let len = stretch.len();
            let may_be_first = stretch.start <= self.last_start && self.min_chunk <= len;
            if may_be_first && self.work <= len + sum {
                let later = later.into_iter().map(|Reverse(later)| later).collect();
                return Some(self.share_out(stretches, i, later));
            }
            let Some(gain) = len.checked_sub(self.resume) else {
                continue;
            };
            if self.min_chunk <= gain {
                later.push(Reverse((gain, i)));
                sum += gain;
                if n_later < later.len()
                    && let Some(Reverse((least, _))) = later.pop()
                {
                    sum -= least;
                }
            }
        }
        None
    }

    /// Shares the work out to the first stretch and the longest others, as few as do.
    fn share_out(
        &self,
        stretches: &[Range<usize>],
        first: usize,
        mut later: Vec<(usize, usize)>,
    ) -> Vec<Range<usize>> {
        later.sort_unstable_by_key(|&(gain, i)| (Reverse(gain), i));
        let mut parts = vec![(first, stretches[first].len().min(self.work))];
        let mut left = self.work - parts[0].1;
        for (gain, i) in later {
            if left == 0 {
                break;
            }
            let part = gain.min(left);
            left -= part;
            parts.push((i, part));
        }
        // What the last run lacks to be long enough comes from the others: all together have it to spare.
        let mut lacks = match parts.last() {
            Some(&(_, part)) => self.min_chunk.saturating_sub(part),
            None => 0,
        };
        if let Some((last, others)) = parts.split_last_mut() {
            last.1 += lacks;
            for (_, part) in others {
                let given = lacks.min(*part - self.min_chunk);
                *part -= given;
                lacks -= given;
            }
        }
        assert_eq!((left, lacks), (0, 0), "the work is shared out");
        parts.sort_unstable();
        let to_run = |(i, part): (usize, usize)| {
            let start = stretches[i].start;
            let repeated = if i == first { 0 } else { self.resume };
            start..start + repeated + part
        };
        parts.into_iter().map(to_run).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every set of slots, tried one by one.
    fn brute_force(cut: Cut, stretches: &[Range<usize>], n: usize) -> bool {
        let free = |slot: usize| stretches.iter().any(|stretch| stretch.contains(&slot));
        (1_u32..1 << n).any(|mask| {
            let mut runs: Vec<Range<usize>> = Vec::new();
            for slot in (0..n).filter(|slot| mask & (1 << slot) != 0) {
                match runs.last_mut() {
                    Some(run) if run.end == slot => run.end += 1,
                    _ => runs.push(slot..slot + 1),
                }
            }
            runs.iter().cloned().flatten().all(free) && is_right(cut, &runs)
        })
    }

    fn is_right(cut: Cut, runs: &[Range<usize>]) -> bool {
        let works: Vec<Option<usize>> = runs
            .iter()
            .enumerate()
            .map(|(i, run)| run.len().checked_sub(if i == 0 { 0 } else { cut.resume }))
            .collect();
        runs[0].start <= cut.last_start
            && runs.windows(2).all(|pair| pair[0].end < pair[1].start)
            && works
                .iter()
                .all(|work| work.is_some_and(|work| cut.min_chunk <= work))
            && works.iter().flatten().sum::<usize>() == cut.work
    }

    #[test]
    fn it_fits_exactly_when_some_set_of_slots_does() {
        let n = 10;
        // Every pattern of free slots against every small job.
        for pattern in 0_u32..1 << n {
            let mut stretches: Vec<Range<usize>> = Vec::new();
            for slot in (0..n).filter(|slot| pattern & (1 << slot) != 0) {
                match stretches.last_mut() {
                    Some(run) if run.end == slot => run.end += 1,
                    _ => stretches.push(slot..slot + 1),
                }
            }
            // One job a pattern keeps the brute force short; over all patterns every job meets many.
            let dice = usize::try_from(pattern.wrapping_mul(2_654_435_761) >> 8).unwrap();
            let work = 1 + dice % 6;
            let cut = Cut {
                work,
                min_chunk: 1 + dice / 6 % work.min(3),
                resume: dice / 36 % 3,
                last_start: dice / 108 % n,
            };
            let runs = cut.runs(&stretches);
            assert_eq!(
                runs.is_some(),
                brute_force(cut, &stretches, n),
                "{cut:?} in {stretches:?}"
            );
            if let Some(runs) = runs {
                assert!(is_right(cut, &runs), "{runs:?} for {cut:?}");
            }
        }
    }
}
