//! Finds the best runs of an interruptible job at one site: in one pool, each long enough, never touching.
//!
//! Exact up to two stated limits. Above `INTERRUPTIBLE_CELLS_MAX` time is cut into coarser steps of equal length (the
//! runs stay valid, no single run is missed, and a job that has room is never refused for it). And the best way by
//! score is taken before the green share is asked: when no best way to any end keeps the share, the greenest ways
//! decide, so that a job whose share can be kept by whole steps is always placed.

use std::ops::Range;

use crate::planner::{
    column::Room,
    cost::{Aim, Score, Sums, allowed_grid, weighted},
    feasibility::{Ask, Offer},
    fit,
    pieces::{Key, Solved, Steps, n_cells, solve},
    rigid,
    shape::Pieces,
    site_table::to_index,
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

/// Runs with their rank.
type Scored = (Score, Vec<Range<usize>>);

/// Cost of all slots of an offer before each, so that a run's is a subtraction.
#[derive(Debug)]
struct Costs {
    /// First slot.
    base: usize,
    prefix: Vec<Sums>,
}

/// The best runs that are better than `beat`, if there are any.
pub(super) fn search(
    ask: &Ask<'_>,
    offer: &Offer<'_>,
    pieces: Pieces,
    beat: Option<&Score>,
) -> Option<Hit> {
    if !can_be_cut(ask, offer, pieces) {
        return rigid::search(ask, offer, beat).map(|hit| one_run(ask, hit));
    }
    if beat.is_some_and(|beat| is_hopeless(ask, offer, beat)) {
        return None;
    }
    let plan = Plan::new(ask, offer, pieces);
    let costs = Costs::new(ask, offer);
    let mut best: Option<Hit> = None;
    if 1 < plan.step {
        best = rigid::search(ask, offer, beat).map(|hit| one_run(ask, hit));
    }
    for pool in offer.pools.iter() {
        let room = offer.room(ask, pool);
        let found = search_pool(ask, offer, &plan, &costs, (pool, &room), pieces);
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

/// Whether there is work and time for a second run.
fn can_be_cut(ask: &Ask<'_>, offer: &Offer<'_>, pieces: Pieces) -> bool {
    let n_slots = ask.shape.n_slots;
    // Two runs repeat some work and leave a slot between them.
    let shortest = to_index(n_slots.saturating_add(pieces.resume).saturating_add(1));
    pieces.min_chunk.saturating_mul(2) <= n_slots && shortest <= offer.slots.len()
}

/// Whether even the greenest slots of the site, room or not, take more from the grid than the best known.
fn is_hopeless(ask: &Ask<'_>, offer: &Offer<'_>, beat: &Score) -> bool {
    if !matches!(ask.aim, Aim::Strict | Aim::Early) {
        return false;
    }
    ask.work.add_slots(offer.slots.len());
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
    /// The finest steps that the limit on table cells allows. Every coarser plan is a finer one with more slots to a
    /// step, so that runs found coarsely are among those that a finer search looks at.
    fn new(ask: &Ask<'_>, offer: &Offer<'_>, pieces: Pieces) -> Self {
        let cells_max = ask.cells_max(offer.pools.len());
        let mut plan = Self::of_step(1, ask, offer, pieces);
        while cells_max < plan.n_cells() && plan.step < offer.slots.len() {
            plan = Self::of_step(plan.step * 2, ask, offer, pieces);
        }
        plan
    }

    fn of_step(step: usize, ask: &Ask<'_>, offer: &Offer<'_>, pieces: Pieces) -> Self {
        let work = to_index(ask.shape.n_slots);
        let (min_chunk, resume) = (to_index(pieces.min_chunk), to_index(pieces.resume));
        let steps_of_work = work.div_ceil(step);
        let trim = steps_of_work * step - work;
        Self {
            step,
            n_steps: offer.slots.len() / step,
            work: steps_of_work,
            // The last run loses `trim` slots and must be long enough even then.
            min_chunk: (min_chunk + trim).div_ceil(step).min(steps_of_work),
            resume: resume.div_ceil(step),
            last_start: (offer.last_start - offer.slots.start) / step,
            trim,
            late: resume.div_ceil(step) * step - resume,
        }
    }

    fn n_cells(&self) -> usize {
        n_cells(self.n_steps, self.work, self.resume + self.min_chunk)
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

impl Costs {
    fn new(ask: &Ask<'_>, offer: &Offer<'_>) -> Self {
        ask.work.add_slots(offer.slots.len());
        let mut prefix = Vec::with_capacity(offer.slots.len() + 1);
        let mut total = Sums::default();
        prefix.push(total);
        for slot in offer.slots.clone() {
            total = total.plus(offer.meter.sums_at(slot));
            prefix.push(total);
        }
        Self {
            base: offer.slots.start,
            prefix,
        }
    }

    fn of(&self, run: Range<usize>) -> Sums {
        self.prefix[run.end - self.base].minus(self.prefix[run.start - self.base])
    }

    /// Rank and number of slots of some runs.
    fn score(&self, ask: &Ask<'_>, offer: &Offer<'_>, runs: &[Range<usize>]) -> (Score, u32) {
        let sums = runs
            .iter()
            .fold(Sums::default(), |sums, run| sums.plus(self.of(run.clone())));
        let (start, end) = (runs[0].start, runs[runs.len() - 1].end);
        let n_slots: usize = runs.iter().map(Range::len).sum();
        let n_slots = u32::try_from(n_slots).unwrap_or(u32::MAX);
        (offer.score(ask.aim, sums, start, end), n_slots)
    }
}

fn search_pool(
    ask: &Ask<'_>,
    offer: &Offer<'_>,
    plan: &Plan,
    costs: &Costs,
    (pool, room): (usize, &Room<'_>),
    pieces: Pieces,
) -> Option<Hit> {
    let any = fit::runs(ask, offer, pieces, room)?;
    if !can_be_green(ask, offer, room, pieces) {
        return None;
    }
    let found = search_steps(ask, offer, plan, costs, room).or_else(|| {
        // Whole steps may not fit where single slots do.
        let (score, n_slots) = costs.score(ask, offer, &any);
        (score.sums.grid <= offer.grid_bound(ask, n_slots)).then_some((score, any))
    });
    found.map(|(score, runs)| Hit { score, pool, runs })
}

/// Whether the greenest slots with room, apart or not, keep the green share.
fn can_be_green(ask: &Ask<'_>, offer: &Offer<'_>, room: &Room<'_>, pieces: Pieces) -> bool {
    if ask.min_share_permille == 0 {
        return true;
    }
    ask.work.add_slots(offer.slots.len());
    let share = allowed_grid(offer.meter.watts(), ask.min_share_permille);
    let mut excesses: Vec<i128> = room
        .stretches(offer.slots.clone())
        .flatten()
        .map(|slot| i128::from(offer.meter.grid_at(slot)) * 1_000 - share)
        .collect();
    let n_slots = to_index(ask.shape.n_slots).min(excesses.len());
    if n_slots < excesses.len() {
        excesses.select_nth_unstable(n_slots);
    }
    let (work, rest) = excesses.split_at(n_slots);
    // Repeated work counts as well and may lie in greener slots than the share asks for.
    let repeated: i128 = match pieces.resume {
        0 => 0,
        _ => rest.iter().filter(|&&excess| excess < 0).sum(),
    };
    work.iter().sum::<i128>() + repeated <= 0
}

fn search_steps(
    ask: &Ask<'_>,
    offer: &Offer<'_>,
    plan: &Plan,
    costs: &Costs,
    room: &Room<'_>,
) -> Option<Scored> {
    let free_before = free_before(offer, plan, room);
    let (found, has_way) = match ask.aim {
        Aim::Strict | Aim::Early | Aim::Soonest => {
            let steps = steps_of(costs, plan, &free_before, |_| ());
            solve_and_choose(ask, offer, plan, costs, &steps)
        }
        Aim::Weighted(weights) => {
            let key = |sums| i128::try_from(weighted(weights, sums)).unwrap_or(i128::MAX);
            let steps = steps_of(costs, plan, &free_before, key);
            solve_and_choose(ask, offer, plan, costs, &steps)
        }
    };
    if found.is_some() || !has_way || ask.min_share_permille == 0 {
        return found;
    }
    // Grid power above what the share leaves for it; runs with less of it are greener.
    let slots = i128::try_from(plan.step).unwrap_or(i128::MAX);
    let share = allowed_grid(offer.meter.watts(), ask.min_share_permille) * slots;
    let steps = steps_of(costs, plan, &free_before, |sums| {
        i128::from(sums.grid) * 1_000 - share
    });
    solve_and_choose(ask, offer, plan, costs, &steps).0
}

/// The best runs, and whether there are any when the green share is left out of account.
fn solve_and_choose<K: Key>(
    ask: &Ask<'_>,
    offer: &Offer<'_>,
    plan: &Plan,
    costs: &Costs,
    steps: &Steps<K>,
) -> (Option<Scored>, bool) {
    ask.work.add_cells(plan.n_cells());
    let solved = solve(steps);
    let has_way = solved.ends.iter().any(Option::is_some);
    (best_end(ask, offer, plan, costs, &solved), has_way)
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
    costs: &Costs,
    plan: &Plan,
    free_before: &[usize],
    key: impl Fn(Sums) -> K,
) -> Steps<K> {
    let mut prefix = Vec::with_capacity(plan.n_steps + 1);
    let mut total = (K::default(), Sums::default());
    prefix.push(total);
    for i in 0..plan.n_steps {
        let start = costs.base + i * plan.step;
        let sums = costs.of(start..start + plan.step);
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
    costs: &Costs,
    solved: &Solved<K>,
) -> Option<Scored> {
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
            costs.score(ask, offer, &runs)
        };
        let keeps_share = score.sums.grid <= offer.grid_bound(ask, n_slots);
        if keeps_share && best.is_none_or(|(least, _)| score < least) {
            best = Some((score, end));
        }
    }
    best.map(|(score, end)| (score, plan.to_slots(solved.runs(end), base)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::outlook::SiteOutlook,
        limits,
        planner::{
            check,
            feasibility::{Tally, Work, examine},
            shape::Flex,
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
        let work = Work::default();
        let ask = Ask::new(&timetable, &ask_request, &work);
        let offer = examine(&timetable.sites[0], 0, &ask, &mut Tally::default()).unwrap();
        let Flex::Pieces(pieces) = ask.shape.flex else {
            panic!("the job is interruptible")
        };
        let plan = Plan::new(&ask, &offer, pieces);
        assert!(1 < plan.step && plan.n_cells() <= limits::INTERRUPTIBLE_CELLS_MAX);
        let placement = timetable.place(&request(&spec, everything)).unwrap();
        let whole = timetable.place(&request(&job(403), everything)).unwrap();
        assert!(placement.energy.grid_watt_seconds < whole.energy.grid_watt_seconds);
        assert!(placement.runs.len() > 1);
        timetable.reserve(&placement);
        check(&timetable, [(request(&spec, everything), &placement)]);
    }
}
