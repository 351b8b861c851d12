//! What is free at every site, pool and link in every slot, and what one more unit would cost there.
//!
//! A row is exactly its capacity less the sum of what was added and not removed.

use std::ops::Range;

use super::{
    problem::{Choice, JOB_PRICE_MAX, Job, Problem, RESOURCES},
    schedule::{Assignment, Run},
};

/// Price of a slot that has no room: more than any job costs, and so little that the sum over an instance's most slots
/// fits into 64 bits.
pub(super) const BLOCKED: i64 = 2 * JOB_PRICE_MAX;
/// A toll rises to so many times what a unit's share of the site's power would cost.
const TOLL_MAX: i64 = 4;

/// How the price of a watt rises from nothing to its weight around the green power of a slot: over twice 2^bits watts.
///
/// A step prices what is; a wide ramp spreads load over slots while all of them still have green power to spare, so
/// that less of it is left over where no job fits any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ramp {
    bits: u32,
}

impl Default for Ramp {
    fn default() -> Self {
        Self::STEP
    }
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

    fn small(self) -> Option<SmallRamp> {
        (self.bits <= 14).then_some(SmallRamp {
            half: 1 << self.bits,
            shift: self.bits + 2,
        })
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

/// Tolls and reserve prices of units of a job in one slot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Dues {
    /// Of one unit.
    toll: i64,
    /// By kind of resource: reserve, what is free, and what one unit needs.
    reserves: [(Reserve, i32, i64); RESOURCES],
}

impl Dues {
    /// Of some units.
    #[inline]
    pub(super) fn of(&self, units: i64) -> i64 {
        let mut sum = self.toll * units;
        for (reserve, free, need) in self.reserves {
            sum += reserve.price(free, units * need);
        }
        sum
    }
}

/// A ramp whose squares fit into 32 bits; without checks, so that many slots are priced at once.
#[derive(Debug, Clone, Copy)]
struct SmallRamp {
    half: i32,
    shift: u32,
}

impl SmallRamp {
    #[inline]
    fn above(self, excess: i32) -> i32 {
        let twice = self.half.wrapping_mul(2);
        let inside = excess.wrapping_add(self.half).max(0).min(twice);
        let below = inside.wrapping_mul(inside).wrapping_shr(self.shift);
        below.wrapping_add(excess.wrapping_sub(self.half).max(0))
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
    /// First slot in which reserves are kept: for what is nearer, hardly anybody is still to come.
    pub(super) reserve_from: usize,
}

#[derive(Debug, Clone, Default)]
pub(super) struct SiteRow {
    /// Load less green power, watts.
    pub(super) excess: Vec<i32>,
    pub(super) power_free: Vec<i32>,
    pub(super) weight: Vec<i32>,
    /// What a watt-slot of green power is held to be worth: it may be the last one for somebody still to come.
    pub(super) green_price: Vec<i32>,
    /// Sums of the least that a watt costs in any slot from one on, over that slot and all later ones.
    pub(super) floor_sums: Vec<i64>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct PoolRow {
    pub(super) free: [Vec<i32>; RESOURCES],
    /// Price of one unit of a resource, in weighted watts, where it keeps green power from being used.
    pub(super) toll: [Vec<i64>; RESOURCES],
    /// The last of each resource, kept for those who have no other slot.
    reserve: [Reserve; RESOURCES],
}

/// Amount of a resource that is dearer the less of it is left.
#[derive(Debug, Clone, Copy, Default)]
struct Reserve {
    amount: i32,
    /// Price of one unit in weighted watts for each unit of the reserve that is then gone.
    slope: i64,
}

impl Reserve {
    /// The price of so many units where so many are free.
    fn price(self, free: i32, need: i64) -> i64 {
        let gone = i64::from(self.amount) - i64::from(free) + need;
        gone.max(0).wrapping_mul(self.slope).wrapping_mul(need)
    }
}

impl Table {
    /// Nothing is used.
    pub(super) fn new(problem: &Problem) -> Self {
        let n = problem.n_slots;
        let sites = problem.sites.iter().map(|site| SiteRow {
            excess: site.green_w.iter().map(|&green| -green).collect(),
            power_free: vec![site.power_cap_w; n],
            weight: site.weight.clone(),
            green_price: vec![0; n],
            floor_sums: vec![0; n + 1],
        });
        let pools = problem.pools.iter().map(|pool| PoolRow {
            free: pool.capacity.map(|capacity| vec![capacity; n]),
            toll: [(); RESOURCES].map(|()| vec![0; n]),
            reserve: [Reserve::default(); RESOURCES],
        });
        Self {
            sites: sites.collect(),
            pools: pools.collect(),
            reserve_from: 0,
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

    /// Takes what the runs need.
    pub(super) fn take(&mut self, site: usize, choice: &Choice, runs: &[Run]) {
        self.book(site, choice, runs, 1);
    }

    /// Whether some units fit in a slot.
    pub(super) fn has_room(&self, site: usize, choice: &Choice, slot: usize, units: i32) -> bool {
        let pool = &self.pools[choice.pool];
        units.saturating_mul(choice.watts) <= self.sites[site].power_free[slot]
            && pool
                .free
                .iter()
                .zip(choice.need)
                .all(|(free, need)| units.saturating_mul(need) <= free[slot].max(0))
    }

    /// What the runs lack anywhere: by kind of resource, and power at the end.
    pub(super) fn short_of(
        &self,
        site: usize,
        choice: &Choice,
        runs: &[Run],
    ) -> [bool; RESOURCES + 1] {
        let mut short = [false; RESOURCES + 1];
        let pool = &self.pools[choice.pool];
        for run in runs {
            let units = i32::try_from(run.units).unwrap_or(i32::MAX);
            for slot in run.start..run.end() {
                for ((short, free), need) in short.iter_mut().zip(&pool.free).zip(choice.need) {
                    *short |= 0 < need && free[slot] < units.saturating_mul(need);
                }
                short[RESOURCES] |=
                    self.sites[site].power_free[slot] < units.saturating_mul(choice.watts);
            }
        }
        short
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

    /// Appends what one unit costs in each of the slots, `BLOCKED` or more where it does not fit.
    pub(super) fn prices(
        &self,
        site: usize,
        choice: &Choice,
        slots: Range<usize>,
        ramp: Ramp,
        out: &mut Vec<i64>,
    ) {
        let row = &self.sites[site];
        let watts = choice.watts;
        let excess = &row.excess[slots.clone()];
        let weight = &row.weight[slots.clone()];
        let green = &row.green_price[slots.clone()];
        let power = &row.power_free[slots.clone()];
        let first = out.len();
        let cells = excess.iter().zip(weight).zip(green).zip(power);
        let cells =
            cells.map(|(((&excess, &weight), &green), &free)| (excess, weight, green, free));
        match ramp.small() {
            _ if ramp.is_a_step() => {
                fill(
                    watts,
                    cells,
                    |excess| excess.wrapping_add(watts).max(0).min(watts),
                    out,
                );
            }
            Some(ramp) => fill(
                watts,
                cells,
                |excess| {
                    ramp.above(excess.wrapping_add(watts))
                        .wrapping_sub(ramp.above(excess))
                },
                out,
            ),
            None => fill(
                watts,
                cells,
                |excess| {
                    let grid = ramp.above(excess.wrapping_add(watts)) - ramp.above(excess);
                    i32::try_from(grid).unwrap_or(watts)
                },
                out,
            ),
        }
        let out = &mut out[first..];
        let near = self.reserve_from.saturating_sub(slots.start).min(out.len());
        let pool = &self.pools[choice.pool];
        for (kind, need) in choice.need.into_iter().enumerate() {
            if need != 0 {
                let free = &pool.free[kind][slots.clone()];
                let toll = &pool.toll[kind][slots.clone()];
                let n = i64::from(need);
                for (price, (&free, &toll)) in out.iter_mut().zip(free.iter().zip(toll)) {
                    let with_toll = price.wrapping_add(toll.wrapping_mul(n));
                    *price = if free < need { BLOCKED } else { with_toll };
                }
                let reserve = pool.reserve[kind];
                if 0 < reserve.amount {
                    for (price, &free) in out[near..].iter_mut().zip(&free[near..]) {
                        *price = price.wrapping_add(reserve.price(free, n));
                    }
                }
            }
        }
    }

    /// The least that so many watts can cost in slots in a row, or in any as many from the first of them on.
    pub(super) fn floor(&self, site: usize, watts: i32, slots: Range<usize>) -> i64 {
        let sums = &self.sites[site].floor_sums;
        i64::from(watts) * (sums[slots.start] - sums[slots.end])
    }

    /// Keeps a share of every resource for those who have no other slot: its last unit costs as much as all power of
    /// the site from the grid.
    pub(super) fn set_reserves(&mut self, problem: &Problem, permille: i64) {
        for (row, pool) in self.pools.iter_mut().zip(&problem.pools) {
            let site = &problem.sites[pool.site];
            let weight = site.weight.first().copied().unwrap_or(0);
            for (reserve, capacity) in row.reserve.iter_mut().zip(pool.capacity) {
                let amount = i64::from(capacity) * permille / 1_000;
                if 0 < amount {
                    let unit =
                        i64::from(site.power_cap_w) * i64::from(weight) / i64::from(capacity);
                    *reserve = Reserve {
                        amount: i32::try_from(amount).unwrap_or(0),
                        slope: unit / amount,
                    };
                }
            }
        }
    }

    /// Tolls and reserve prices of the runs.
    fn dues_of(&self, choice: &Choice, runs: &[Run]) -> i64 {
        let pool = &self.pools[choice.pool];
        let mut sum = 0_i64;
        for (kind, need) in choice.need.into_iter().enumerate() {
            if need == 0 {
                continue;
            }
            let reserve = pool.reserve[kind];
            for run in runs {
                let need = i64::try_from(run.units).unwrap_or(0) * i64::from(need);
                let slots = run.start..run.end();
                let tolls = pool.toll[kind][slots.clone()].iter().copied();
                sum += tolls.fold(0, i64::wrapping_add) * need;
                let far = self.reserve_from.max(slots.start)..slots.end;
                if 0 < reserve.amount && !far.is_empty() {
                    for &free in &pool.free[kind][far] {
                        sum = sum.wrapping_add(reserve.price(free, need));
                    }
                }
            }
        }
        sum
    }

    /// Tolls and reserve prices in a slot.
    pub(super) fn dues_in(&self, choice: &Choice, slot: usize) -> Dues {
        let pool = &self.pools[choice.pool];
        let mut dues = Dues::default();
        for (kind, need) in choice.need.into_iter().enumerate() {
            if need != 0 {
                let need = i64::from(need);
                dues.toll += pool.toll[kind][slot] * need;
                if self.reserve_from <= slot {
                    dues.reserves[kind] = (pool.reserve[kind], pool.free[kind][slot], need);
                }
            }
        }
        dues
    }

    /// What the runs would cost in the eyes of a search: grid energy on the ramp, and tolls.
    pub(super) fn soft_cost_of(
        &self,
        site: usize,
        choice: &Choice,
        runs: &[Run],
        ramp: Ramp,
    ) -> i64 {
        self.sites[site].soft_cost_of(choice.watts, runs, ramp) + self.dues_of(choice, runs)
    }

    /// Raises the tolls of full resources in slots from one on with green power to spare, and lowers all others.
    pub(super) fn set_tolls(&mut self, problem: &Problem, from: usize, rate_permille: i64) {
        for (row, pool) in self.pools.iter_mut().zip(&problem.pools) {
            let site = &self.sites[pool.site];
            let cap = i64::from(problem.sites[pool.site].power_cap_w);
            for ((free, toll), capacity) in row.free.iter().zip(&mut row.toll).zip(pool.capacity) {
                for (slot, toll) in toll.iter_mut().enumerate().skip(from) {
                    let gap = i64::from((-site.excess[slot]).min(site.power_free[slot]));
                    let is_full = i64::from(free[slot]) * FULL_SHARE < i64::from(capacity);
                    if 0 < gap && is_full {
                        let unit = cap * i64::from(site.weight[slot]) / i64::from(capacity.max(1));
                        let share = (gap * 16 * 1_000 / cap.max(1)).min(1_000);
                        let more = unit * rate_permille / 1_000 * share / 1_000;
                        *toll = (*toll + more).min(TOLL_MAX * unit);
                    } else {
                        *toll -= *toll / TOLL_FALL;
                    }
                }
            }
        }
    }
}

/// What a unit costs in each cell of excess, weight, price of green power and free power; `grid` tells how much of it is
/// from the grid by the excess before.
#[inline(always)]
fn fill(
    watts: i32,
    cells: impl Iterator<Item = (i32, i32, i32, i32)>,
    grid: impl Fn(i32) -> i32,
    out: &mut Vec<i64>,
) {
    // Nothing here is negative; products of two unsigned halves are what vector units have.
    let product =
        |a: i32, b: i32| u64::from(a.cast_unsigned()).wrapping_mul(b.cast_unsigned().into());
    out.extend(cells.map(|(excess, weight, green, free)| {
        let more = product(grid(excess), weight.wrapping_sub(green));
        let price = more.wrapping_add(product(watts, green)).cast_signed();
        if free < watts { BLOCKED } else { price }
    }));
}

/// The price of so much power, of which some is from the grid.
fn energy_price(grid: i64, all: i64, weight: i32, green: i32) -> i64 {
    let more = i64::from(weight) - i64::from(green);
    grid.wrapping_mul(more)
        .wrapping_add(all.wrapping_mul(i64::from(green)))
}

impl SiteRow {
    /// Takes over prices of green power that have changed from a slot on.
    pub(super) fn set_floor(&mut self, from: usize) {
        let (mut least, mut sum) = (i32::MAX, 0);
        let prices = self.green_price[from..].iter().rev();
        for (floor_sum, &price) in self.floor_sums[from..].iter_mut().rev().skip(1).zip(prices) {
            least = least.min(price);
            sum += i64::from(least);
            *floor_sum = sum;
        }
    }

    /// What the runs would cost on top of the load there is, on a ramp and with the price of green power.
    fn soft_cost_of(&self, watts: i32, runs: &[Run], ramp: Ramp) -> i64 {
        let mut cost = 0;
        for run in runs {
            let load = watts * i32::try_from(run.units).unwrap_or(0);
            for slot in run.start..run.end() {
                let excess = self.excess[slot];
                let grid = ramp.above(excess + load) - ramp.above(excess);
                cost += self.energy_price(slot, grid, i64::from(load));
            }
        }
        cost
    }

    /// The price of so much power in a slot, of which some is from the grid.
    pub(super) fn energy_price(&self, slot: usize, grid: i64, all: i64) -> i64 {
        energy_price(grid, all, self.weight[slot], self.green_price[slot])
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
        if let Some(stage_in) = job.stage_in {
            for free in &mut self.free[stage_in.link][start..start + stage_in.n_slots] {
                *free -= stage_in.mbps;
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
