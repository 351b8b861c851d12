//! What is free at every site, pool and link in every slot, and what one more unit would cost there.
//!
//! A row is exactly its capacity less the sum of what was added and not removed.

use super::{
    problem::{Choice, Job, Problem, RESOURCES},
    schedule::{Assignment, Run},
};

/// Price of a slot that has no room: more than any sum of prices of free slots.
pub(super) const BLOCKED: i64 = 1 << 50;

/// How the price of a watt rises from nothing to its weight around the green power of a slot: over twice 2^bits watts.
///
/// A step prices what is; a wide ramp spreads load over slots while all of them still have green power to spare, so
/// that less of it is left over where no job fits any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ramp {
    bits: u32,
}

impl Ramp {
    pub(super) const STEP: Self = Self { bits: 0 };

    /// Of at most `watts` on either side.
    pub(super) fn of(watts: i64) -> Self {
        let bits = u64::try_from(watts)
            .unwrap_or(0)
            .checked_ilog2()
            .unwrap_or(0);
        Self { bits: bits.min(28) }
    }

    fn is_a_step(self) -> bool {
        self.bits == 0
    }

    /// The price of an excess in watts: the integral of the ramp.
    #[inline]
    pub(super) fn above(self, excess: i32) -> i64 {
        let excess = i64::from(excess);
        if self.is_a_step() {
            return excess.max(0);
        }
        let half = 1_i64 << self.bits;
        let inside = (excess + half).clamp(0, 2 * half);
        (inside.wrapping_mul(inside) >> (self.bits + 2)) + (excess - half).max(0)
    }
}

/// A resource is full where less than one part in so many is free.
const FULL_SHARE: i64 = 16;
/// A toll without a reason falls by one part in so many each round.
const TOLL_FALL: i64 = 16;

/// Rows of all sites and pools; in a part of a search, only those of its sites are filled.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) sites: Vec<SiteRow>,
    pub(super) pools: Vec<PoolRow>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct SiteRow {
    /// Load less green power, watts.
    pub(super) excess: Vec<i32>,
    pub(super) power_free: Vec<i32>,
    pub(super) weight: Vec<i32>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct PoolRow {
    pub(super) free: [Vec<i32>; RESOURCES],
    /// Price of one unit of a resource, in weighted watts, where it keeps green power from being used.
    pub(super) toll: [Vec<i64>; RESOURCES],
}

impl Table {
    /// Nothing is used.
    pub(super) fn new(problem: &Problem) -> Self {
        let n = problem.n_slots;
        let sites = problem.sites.iter().map(|site| SiteRow {
            excess: site.green_w.iter().map(|&green| -green).collect(),
            power_free: vec![site.power_cap_w; n],
            weight: site.weight.clone(),
        });
        let pools = problem.pools.iter().map(|pool| PoolRow {
            free: pool.capacity.map(|capacity| vec![capacity; n]),
            toll: [(); RESOURCES].map(|()| vec![0; n]),
        });
        Self {
            sites: sites.collect(),
            pools: pools.collect(),
        }
    }

    /// Takes what the runs need, and tells what they cost.
    pub(super) fn add(&mut self, site: usize, choice: &Choice, runs: &[Run]) -> i64 {
        let cost = self.sites[site].cost_of(choice.watts, runs);
        self.book(site, choice, runs, 1);
        cost
    }

    /// Gives back what the runs took, and tells what they cost.
    pub(super) fn remove(&mut self, site: usize, choice: &Choice, runs: &[Run]) -> i64 {
        self.book(site, choice, runs, -1);
        self.sites[site].cost_of(choice.watts, runs)
    }

    fn book(&mut self, site: usize, choice: &Choice, runs: &[Run], sign: i32) {
        let row = &mut self.sites[site];
        let pool = &mut self.pools[choice.pool];
        for run in runs {
            let factor = sign * i32::try_from(run.units).unwrap_or(0);
            let slots = run.start..run.end();
            let watts = factor * choice.watts;
            for excess in &mut row.excess[slots.clone()] {
                *excess = excess.wrapping_add(watts);
            }
            for free in &mut row.power_free[slots.clone()] {
                *free = free.wrapping_sub(watts);
            }
            for (free, need) in pool.free.iter_mut().zip(choice.need) {
                if need != 0 {
                    let amount = factor * need;
                    for free in &mut free[slots.clone()] {
                        *free = free.wrapping_sub(amount);
                    }
                }
            }
        }
    }

    /// Whether the runs fit.
    pub(super) fn fits(&self, site: usize, choice: &Choice, runs: &[Run]) -> bool {
        runs.iter().all(|run| {
            let units = i64::try_from(run.units).unwrap_or(i64::MAX);
            let slots = run.start..run.end();
            let has = |free: &[i32], need: i32| {
                need == 0
                    || free[slots.clone()]
                        .iter()
                        .all(|&free| units * i64::from(need) <= i64::from(free))
            };
            has(&self.sites[site].power_free, choice.watts)
                && self.pools[choice.pool]
                    .free
                    .iter()
                    .zip(choice.need)
                    .all(|(free, need)| has(free, need))
        })
    }

    /// What one unit costs in each of the slots, `BLOCKED` where it does not fit.
    pub(super) fn prices(
        &self,
        site: usize,
        choice: &Choice,
        slots: std::ops::Range<usize>,
        ramp: Ramp,
        out: &mut Vec<i64>,
    ) {
        let row = &self.sites[site];
        let watts = choice.watts;
        let excess = &row.excess[slots.clone()];
        let weight = &row.weight[slots.clone()];
        let power = &row.power_free[slots.clone()];
        out.clear();
        let cells = excess.iter().zip(weight).zip(power);
        if ramp.is_a_step() {
            out.extend(cells.map(|((&excess, &weight), &free)| {
                let grid = excess.wrapping_add(watts).clamp(0, watts);
                let price = i64::from(grid).wrapping_mul(i64::from(weight));
                if free < watts { BLOCKED } else { price }
            }));
        } else {
            out.extend(cells.map(|((&excess, &weight), &free)| {
                let grid = ramp.above(excess.wrapping_add(watts)) - ramp.above(excess);
                let price = grid.wrapping_mul(i64::from(weight));
                if free < watts { BLOCKED } else { price }
            }));
        }
        let pool = &self.pools[choice.pool];
        for ((free, toll), need) in pool.free.iter().zip(&pool.toll).zip(choice.need) {
            if need != 0 {
                let cells = free[slots.clone()].iter().zip(&toll[slots.clone()]);
                for (price, (&free, &toll)) in out.iter_mut().zip(cells) {
                    let with_toll = price.wrapping_add(toll.wrapping_mul(i64::from(need)));
                    *price = if free < need { BLOCKED } else { with_toll };
                }
            }
        }
    }

    /// The tolls of the runs.
    pub(super) fn toll_of(&self, choice: &Choice, runs: &[Run]) -> i64 {
        let pool = &self.pools[choice.pool];
        let mut sum = 0;
        for (toll, need) in pool.toll.iter().zip(choice.need) {
            if need != 0 {
                for run in runs {
                    let units = i64::try_from(run.units).unwrap_or(0);
                    let tolls: i64 = toll[run.start..run.end()].iter().sum();
                    sum += tolls * units * i64::from(need);
                }
            }
        }
        sum
    }

    /// What the runs would cost in the eyes of a search: grid energy on the ramp, and tolls.
    pub(super) fn soft_cost_of(
        &self,
        site: usize,
        choice: &Choice,
        runs: &[Run],
        ramp: Ramp,
    ) -> i64 {
        self.sites[site].soft_cost_of(choice.watts, runs, ramp) + self.toll_of(choice, runs)
    }

    /// Raises the tolls of full resources in slots with green power to spare, and lowers all others.
    pub(super) fn set_tolls(&mut self, problem: &Problem, rate_permille: i64) {
        for (row, pool) in self.pools.iter_mut().zip(&problem.pools) {
            let site = &self.sites[pool.site];
            let cap = i64::from(problem.sites[pool.site].power_cap_w);
            for ((free, toll), capacity) in row.free.iter().zip(&mut row.toll).zip(pool.capacity) {
                for (slot, toll) in toll.iter_mut().enumerate() {
                    let gap = i64::from((-site.excess[slot]).min(site.power_free[slot]));
                    let is_full = i64::from(free[slot]) * FULL_SHARE < i64::from(capacity);
                    if 0 < gap && is_full {
                        let unit = cap * i64::from(site.weight[slot]) / i64::from(capacity.max(1));
                        let share = (gap * 16 * 1_000 / cap.max(1)).min(1_000);
                        *toll += unit * rate_permille / 1_000 * share / 1_000;
                    } else {
                        *toll -= *toll / TOLL_FALL;
                    }
                }
            }
        }
    }
}

impl SiteRow {
    /// What the runs would cost on top of the load there is, on a ramp.
    pub(super) fn soft_cost_of(&self, watts: i32, runs: &[Run], ramp: Ramp) -> i64 {
        if ramp.is_a_step() {
            return self.cost_of(watts, runs);
        }
        let mut cost = 0;
        for run in runs {
            let load = watts * i32::try_from(run.units).unwrap_or(0);
            let slots = run.start..run.end();
            for (&excess, &weight) in self.excess[slots.clone()].iter().zip(&self.weight[slots]) {
                cost += (ramp.above(excess + load) - ramp.above(excess)) * i64::from(weight);
            }
        }
        cost
    }

    /// What the runs would cost on top of the load there is.
    pub(super) fn cost_of(&self, watts: i32, runs: &[Run]) -> i64 {
        let mut cost = 0;
        for run in runs {
            let load = i64::from(watts) * i64::try_from(run.units).unwrap_or(0);
            let slots = run.start..run.end();
            for (&excess, &weight) in self.excess[slots.clone()].iter().zip(&self.weight[slots]) {
                let grid = (i64::from(excess) + load).clamp(0, load);
                cost += grid * i64::from(weight);
            }
        }
        cost
    }
}

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
        self.book(job, start, -1);
    }

    pub(super) fn give_back(&mut self, job: &Job, start: usize) {
        self.book(job, start, 1);
    }

    fn book(&mut self, job: &Job, start: usize, sign: i32) {
        if let Some(stage_in) = job.stage_in {
            for free in &mut self.free[stage_in.link][start..start + stage_in.n_slots] {
                *free += sign * stage_in.mbps;
            }
        }
    }
}

/// The price of the delay of an assignment.
pub(super) fn delay_cost(job: &Job, assignment: &Assignment) -> i64 {
    delay_until(job, assignment.end())
}

/// The price of ending at a slot.
pub(super) fn delay_until(job: &Job, end: usize) -> i64 {
    job.delay_price * i64::try_from(end.saturating_sub(job.release)).unwrap_or(0)
}
