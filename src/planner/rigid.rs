//! Finds the best window of a job in one piece at one site.
//!
//! Looks at every allowed start with room exactly once, in time linear in the window, without allocation.

use std::ops::Range;

use crate::planner::{
    cost::{Aim, Meter, Score},
    feasibility::{Ask, Offer},
    site_table::to_index,
};

/// The best window found at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) score: Score,
    pub(super) pool: usize,
    pub(super) start: usize,
}

/// The best window that is better than `beat`, if there is one.
pub(super) fn search(ask: &Ask<'_>, offer: &Offer<'_>, beat: Option<&Score>) -> Option<Hit> {
    let n_slots = to_index(ask.shape.n_slots);
    let bound = offer.grid_bound(ask, ask.shape.n_slots);
    match ask.aim {
        Aim::Early => {
            // Worse grid energy than the best known is of no interest; equal may still win by its end.
            let bound = beat.map_or(bound, |score| bound.min(score.sums.grid));
            let mut scan = EarlyScan::new(offer.meter, n_slots, bound);
            for_each_stretch(ask, offer, n_slots, |starts, pool| scan.run(starts, pool));
            scan.hit(offer)
        }
        Aim::Strict | Aim::Weighted(_) | Aim::Soonest => {
            let mut best: Option<Hit> = None;
            for_each_stretch(ask, offer, n_slots, |starts, pool| {
                scan_scores(ask.aim, offer, n_slots, bound, starts, pool, &mut best);
            });
            best
        }
    }
    .filter(|hit| beat.is_none_or(|score| hit.score < *score))
}

/// Calls `visit` with the starts of every stretch with room, pool by pool; stops at a pool that has room throughout.
fn for_each_stretch(
    ask: &Ask<'_>,
    offer: &Offer<'_>,
    n_slots: usize,
    mut visit: impl FnMut(Range<usize>, usize),
) {
    for pool in offer.pools.iter() {
        ask.work.add_slots(offer.slots.len());
        let room = offer.room(ask, pool);
        for stretch in room.stretches(offer.slots.clone()) {
            if stretch.len() >= n_slots {
                let last = (stretch.end - n_slots).min(offer.last_start);
                if stretch.start <= last {
                    visit(stretch.start..last + 1, pool);
                }
            }
            if stretch == offer.slots {
                return;
            }
        }
    }
}

/// Search for the least grid power and then the earliest end, which costs two subtractions a start; carbon and cost are
/// those of the slots, whatever the pool.
#[derive(Debug)]
struct EarlyScan<'a> {
    meter: Meter<'a>,
    n_slots: usize,
    /// Grid power (watts x slots) of the best window, or the most that is of interest.
    bound: u64,
    /// Start and pool of the best window.
    best: Option<(usize, usize)>,
}

impl<'a> EarlyScan<'a> {
    fn new(meter: Meter<'a>, n_slots: usize, bound: u64) -> Self {
        Self {
            meter,
            n_slots,
            bound,
            best: None,
        }
    }

    fn run(&mut self, starts: Range<usize>, pool: usize) {
        let watts = self.meter.watts();
        let free = self
            .meter
            .green_free(starts.start..starts.end - 1 + self.n_slots);
        let (first, rest) = free.split_at(self.n_slots);
        let mut grid: u64 = first.iter().map(|&green| watts.saturating_sub(green)).sum();
        if grid <= self.bound {
            self.consider(starts.start, grid, pool);
        }
        for (i, (&gone, &come)) in free.iter().zip(rest).enumerate() {
            // Wrapping because the sum itself is always in range, and this is the innermost loop of all.
            grid = grid
                .wrapping_add(watts.saturating_sub(come))
                .wrapping_sub(watts.saturating_sub(gone));
            if grid <= self.bound {
                self.consider(starts.start + i + 1, grid, pool);
            }
        }
    }

    fn consider(&mut self, start: usize, grid: u64, pool: usize) {
        let is_later = |(best, _): (usize, usize)| grid == self.bound && best <= start;
        if !self.best.is_some_and(is_later) {
            self.bound = grid;
            self.best = Some((start, pool));
        }
    }

    fn hit(self, offer: &Offer<'_>) -> Option<Hit> {
        let (start, pool) = self.best?;
        let window = start..start + self.n_slots;
        let pure = self.meter.pure_sums(window.clone(), self.bound);
        let sums = pure.unwrap_or_else(|| self.meter.sums(window.clone()));
        Some(Hit {
            score: offer.score(Aim::Early, sums, start, window.end),
            pool,
            start,
        })
    }
}

/// Search by any other order: full sums at every start.
fn scan_scores(
    aim: Aim,
    offer: &Offer<'_>,
    n_slots: usize,
    bound: u64,
    starts: Range<usize>,
    pool: usize,
    best: &mut Option<Hit>,
) {
    let mut sums = offer.meter.sums(starts.start..starts.start + n_slots);
    for start in starts.clone() {
        if starts.start < start {
            sums = sums
                .plus(offer.meter.sums_at(start + n_slots - 1))
                .minus(offer.meter.sums_at(start - 1));
        }
        if bound < sums.grid {
            continue;
        }
        let score = offer.score(aim, sums, start, start + n_slots);
        if best.is_none_or(|best| score < best.score) {
            *best = Some(Hit { score, pool, start });
        }
        if aim == Aim::Soonest {
            return;
        }
    }
}
