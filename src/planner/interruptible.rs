//! Finds the best runs of an interruptible job at one site: in one pool, each long enough, never touching.
//!
//! Exact up to two stated limits. Above `INTERRUPTIBLE_CELLS_MAX` time is cut into coarser steps of equal length (the
//! runs stay valid, and no single run is missed). And the best way by score is taken before the green share is
//! asked: when no best way to any end keeps the share, the greenest ways decide, so that a job whose share can be
//! kept is always placed.

use std::ops::Range;

use crate::{
    limits,
    planner::{
        column::Room,
        cost::{Aim, Meter, Score, Sums, weighted},
        feasibility::{Ask, Offer, Pieces},
        pieces::{Key, Solved, Steps, n_cells, solve},
        rigid,
        site_table::to_index,
    },
};

/// The best runs found at a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) score: Score,
    pub(super) pool: usize,
    pub(super) runs: Vec<Range<usize>>,
}

/// How slots are grouped into steps for one pool.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Slots of a step.
    step: usize,
    n_steps: usize,
    work: usize,
    min_chunk: usize,
    resume: usize,
    last_start: usize,
    /// Slots by which the last run is cut at its end, because the work is not whole steps.
    trim: usize,
    /// Slots by which a later run starts late, because the resume cost is not whole steps.
    late: usize,
}

/// The best runs that are better than `beat`, if there are any.
pub(super) fn search(
    ask: &Ask<'_>,
    offer: &Offer<'_>,
    pieces: Pieces,
    beat: Option<&Score>,
) -> Option<Hit> {
    let plan = Plan::new(ask, offer, pieces);
    if beat.is_some_and(|beat| is_hopeless(ask, offer, beat)) {
        return None;
    }
    let mut best: Option<Hit> = None;
    if 1 < plan.step {
        best = rigid::search(ask, offer, beat).map(|hit| one_run(ask, hit));
    }
    for pool in offer.pools.iter() {
        let room = offer.room(ask, pool);
        let found = search_pool(ask, offer, &plan, pool, &room);
        let is_better = |hit: &Hit| best.as_ref().is_none_or(|best| hit.score < best.score);
        if let Some(hit) = found.filter(is_better) {
            best = Some(hit);
        }
        if room.first_blocked(offer.slots.clone()) == offer.slots.end {
            break;
        }
    }
    best.filter(|hit| beat.is_none_or(|beat| hit.score < *beat))
}

/// Whether even the greenest slots of the site, room or not, take more from the grid than the best known.
fn is_hopeless(ask: &Ask<'_>, offer: &Offer<'_>, beat: &Score) -> bool {
    if ask.aim != Aim::Strict {
        return false;
    }
    let mut grid: Vec<u64> = offer
        .slots
        .clone()
        .map(|slot| offer.meter.grid_at(slot))
        .collect();
    let n_slots = to_index(ask.shape.n_slots);
    if n_slots < grid.len() {
        grid.select_nth_unstable(n_slots);
    }
    beat.sums.grid < grid.iter().take(n_slots).sum()
}

fn one_run(ask: &Ask<'_>, hit: rigid::Hit) -> Hit {
    let end = hit.start + to_index(ask.shape.n_slots);
    Hit {
        score: hit.score,
        pool: hit.pool,
        runs: std::iter::once(hit.start..end).collect(),
    }
}

impl Plan {
    /// The finest steps that the limit on table cells allows.
    fn new(ask: &Ask<'_>, offer: &Offer<'_>, pieces: Pieces) -> Self {
        let slots = offer.slots.len();
        let work = to_index(ask.shape.n_slots);
        let is_small = |step: usize| {
            n_cells(slots / step, work.div_ceil(step)) <= limits::INTERRUPTIBLE_CELLS_MAX
        };
        let step = (1..=slots).find(|&step| is_small(step)).unwrap_or(slots);
        let (min_chunk, resume) = (to_index(pieces.min_chunk), to_index(pieces.resume));
        let steps_of_work = work.div_ceil(step);
        let trim = steps_of_work * step - work;
        Self {
            step,
            n_steps: slots / step,
            work: steps_of_work,
            // The last run loses `trim` slots and must be long enough even then.
            min_chunk: (min_chunk + trim).div_ceil(step).min(steps_of_work),
            resume: resume.div_ceil(step),
            last_start: (offer.last_start - offer.slots.start) / step,
            trim,
            late: resume.div_ceil(step) * step - resume,
        }
    }

    /// Runs of steps as runs of slots.
    fn to_slots(self, runs: Vec<Range<usize>>, base: usize) -> Vec<Range<usize>> {
        let last = runs.len() - 1;
        runs.into_iter()
            .enumerate()
            .map(|(i, run)| {
                let late = if i == 0 { 0 } else { self.late };
                let trim = if i == last { self.trim } else { 0 };
                base + run.start * self.step + late..base + run.end * self.step - trim
            })
            .collect()
    }
}

fn search_pool(
    ask: &Ask<'_>,
    offer: &Offer<'_>,
    plan: &Plan,
    pool: usize,
    room: &Room<'_>,
) -> Option<Hit> {
    let free_before = free_before(offer, plan, room);
    let meter = offer.meter;
    let found = match ask.aim {
        Aim::Strict | Aim::Soonest => {
            let steps = steps_of(meter, offer, plan, &free_before, |_| ());
            best_end(ask, offer, plan, &solve(&steps))
        }
        Aim::Weighted(weights) => {
            let key = |sums| i128::try_from(weighted(weights, sums)).unwrap_or(i128::MAX);
            let steps = steps_of(meter, offer, plan, &free_before, key);
            best_end(ask, offer, plan, &solve(&steps))
        }
    };
    let found = found.or_else(|| {
        if ask.min_share_permille == 0 {
            return None;
        }
        // Grid power above what the share leaves for it; runs with less of it are greener.
        let allowed = i128::from(1_000 - ask.min_share_permille.min(1_000));
        let excess = |sums: Sums| i128::from(sums.grid) * 1_000;
        let slots = i128::try_from(plan.step).unwrap_or(i128::MAX);
        let share = allowed * i128::from(meter.watts()) * slots;
        let steps = steps_of(meter, offer, plan, &free_before, |sums| {
            excess(sums) - share
        });
        best_end(ask, offer, plan, &solve(&steps))
    });
    found.map(|(score, runs)| Hit { score, pool, runs })
}

/// Number of steps with room throughout that end right before each boundary.
fn free_before(offer: &Offer<'_>, plan: &Plan, room: &Room<'_>) -> Vec<usize> {
    let mut counts = vec![0; plan.n_steps + 1];
    for i in 0..plan.n_steps {
        let start = offer.slots.start + i * plan.step;
        let is_free = room.first_blocked(start..start + plan.step) == start + plan.step;
        counts[i + 1] = if is_free { counts[i] + 1 } else { 0 };
    }
    counts
}

fn steps_of<K: Key>(
    meter: Meter<'_>,
    offer: &Offer<'_>,
    plan: &Plan,
    free_before: &[usize],
    key: impl Fn(Sums) -> K,
) -> Steps<K> {
    let mut prefix = Vec::with_capacity(plan.n_steps + 1);
    let mut total = (K::default(), Sums::default());
    prefix.push(total);
    for i in 0..plan.n_steps {
        let start = offer.slots.start + i * plan.step;
        let sums = meter.sums(start..start + plan.step);
        total = (total.0.plus(key(sums)), total.1.plus(sums));
        prefix.push(total);
    }
    Steps {
        work: plan.work,
        min_chunk: plan.min_chunk,
        resume: plan.resume,
        last_start: plan.last_start,
        free_before: free_before.to_vec(),
        prefix,
    }
}

/// The best of the ways to all ends that keep the green share.
fn best_end<K: Key>(
    ask: &Ask<'_>,
    offer: &Offer<'_>,
    plan: &Plan,
    solved: &Solved<K>,
) -> Option<(Score, Vec<Range<usize>>)> {
    let base = offer.slots.start;
    let mut best: Option<(Score, usize)> = None;
    for (end, way) in solved.ends.iter().enumerate() {
        let Some(way) = way else { continue };
        let (score, n_slots) = if plan.step == 1 {
            let start = base + to_index(way.start);
            let score = offer.score(ask.aim, way.sums, start, base + end);
            let resume = u32::try_from(plan.resume).unwrap_or(u32::MAX);
            (score, ask.shape.n_slots + resume * (way.runs - 1))
        } else {
            // A coarse way is trimmed to whole slots, which changes what it costs.
            let runs = plan.to_slots(solved.runs(end), base);
            score_of(ask, offer, &runs)
        };
        let keeps_share = score.sums.grid <= offer.grid_bound(ask, n_slots);
        if keeps_share && best.is_none_or(|(least, _)| score < least) {
            best = Some((score, end));
        }
    }
    best.map(|(score, end)| (score, plan.to_slots(solved.runs(end), base)))
}

/// Rank and number of slots of some runs.
fn score_of(ask: &Ask<'_>, offer: &Offer<'_>, runs: &[Range<usize>]) -> (Score, u32) {
    let sums = runs.iter().fold(Sums::default(), |sums, run| {
        sums.plus(offer.meter.sums(run.clone()))
    });
    let (start, end) = (runs[0].start, runs[runs.len() - 1].end);
    let n_slots: usize = runs.iter().map(Range::len).sum();
    let n_slots = u32::try_from(n_slots).unwrap_or(u32::MAX);
    (offer.score(ask.aim, sums, start, end), n_slots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::outlook::SiteOutlook,
        planner::{
            check,
            testing::{flat, horizon, job, pieces, request, site, timetable, window},
        },
        slot::SlotRange,
    };

    /// A horizon too long to search slot by slot.
    fn long() -> SlotRange {
        horizon(limits::HORIZON_SLOTS_MAX)
    }

    /// Green for two hours of every three.
    fn striped() -> SiteOutlook {
        let mut outlook = flat(long(), 0);
        for column in &mut outlook.green_watts {
            for (slot, watts) in column.iter_mut().enumerate() {
                *watts = if slot % 12 < 8 { 1_000 } else { 0 };
            }
        }
        outlook
    }

    #[test]
    fn above_the_limit_coarser_steps_still_give_valid_and_good_runs() {
        let mut timetable = timetable(long(), vec![(site("a"), striped())]);
        let everything = window(0, long().len());
        let spec = pieces(403, 3, 1);
        let ask_request = request(&spec, everything);
        let ask = Ask::new(&timetable, &ask_request);
        let tally = &mut crate::planner::feasibility::Tally::default();
        let offer =
            crate::planner::feasibility::examine(&timetable.sites[0], 0, &ask, tally).unwrap();
        let plan = Plan::new(&ask, &offer, ask.shape.pieces.unwrap());
        assert!(
            1 < plan.step && n_cells(plan.n_steps, plan.work) <= limits::INTERRUPTIBLE_CELLS_MAX
        );
        let placement = timetable.place(&request(&spec, everything)).unwrap();
        let whole = timetable.place(&request(&job(403), everything)).unwrap();
        assert!(placement.energy.grid_watt_seconds < whole.energy.grid_watt_seconds);
        assert!(placement.runs.len() > 1);
        timetable.reserve(&placement);
        check(&timetable, [(request(&spec, everything), &placement)]);
    }
}
