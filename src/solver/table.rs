//! What is free at every site, pool and link in every slot, and what one more unit would cost there.
//!
//! A row is exactly its capacity less the sum of what was added and not removed; it is below 0 only while a search lets
//! it be overdrawn.

use std::ops::Range;

use super::{
    problem::{Choice, JOB_PRICE_MAX, Job, Problem, RESOURCES},
    ramp::Ramp,
    schedule::{Assignment, Run},
};

/// Price of a slot that has no room: more than any job costs, and so little that the sum over an instance's most slots
/// fits into 64 bits.
pub(super) const BLOCKED: i64 = 2 * JOB_PRICE_MAX;
/// A toll rises to so many times what a unit's share of the site's power would cost.
const TOLL_MAX: i64 = 4;

/// Tolls, reserve and overdraft prices of units of a job in one slot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Dues {
    /// Of one unit.
    toll: i64,
    /// By kind of resource: reserve, what is free, and what one unit needs.
    reserves: [(Reserve, i32, i64); RESOURCES],
    /// Where there may be overdrafts, by kind of resource and power at the end: price of a unit too many, what is free,
    /// and what one unit needs.
    overdrafts: Option<[(i64, i32, i64); RESOURCES + 1]>,
}

impl Dues {
    /// Of some units.
    #[inline]
    pub(super) fn of(&self, units: i64) -> i64 {
        let mut sum = self.toll * units;
        for (reserve, free, need) in self.reserves {
            sum += reserve.price(free, units * need);
        }
        for (over, free, need) in self.overdrafts.iter().flatten() {
            sum += over * lack(*free, units * need);
        }
        sum
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
    /// How far below 0 power may go, watts, and what a watt-slot of it costs.
    pub(super) power_floor: i32,
    power_over: i64,
    pub(super) weight: Vec<i32>,
    /// What a watt-slot of green power is held to be worth: it may be the last one for somebody still to come.
    pub(super) green_price: Vec<i32>,
    /// Sums of the least that a watt costs in any slot from one on, over that slot and all later ones.
    pub(super) floor_sums: Vec<i64>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct PoolRow {
    pub(super) free: [Vec<i32>; RESOURCES],
    /// How far below 0 each resource may go, and what a unit of it costs.
    pub(super) free_floor: [i32; RESOURCES],
    over: [i64; RESOURCES],
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
            ..SiteRow::default()
        });
        let pools = problem.pools.iter().map(|pool| PoolRow {
            free: pool.capacity.map(|capacity| vec![capacity; n]),
            toll: [(); RESOURCES].map(|()| vec![0; n]),
            ..PoolRow::default()
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
            let has = |free: &[i32], floor: i32, need: i32| {
                let least = units * i64::from(need) + i64::from(floor);
                need == 0
                    || free[slots.clone()]
                        .iter()
                        .all(|&free| least <= i64::from(free))
            };
            let (row, pool) = (&self.sites[site], &self.pools[choice.pool]);
            let rows = pool.free.iter().zip(pool.free_floor).zip(choice.need);
            has(&row.power_free, row.power_floor, choice.watts)
                && rows
                    .into_iter()
                    .all(|((free, floor), need)| has(free, floor, need))
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
        let room = (watts, watts + row.power_floor);
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
                    room,
                    cells,
                    |excess| excess.wrapping_add(watts).max(0).min(watts),
                    out,
                );
            }
            Some(ramp) => fill(
                room,
                cells,
                |excess| {
                    ramp.above(excess.wrapping_add(watts))
                        .wrapping_sub(ramp.above(excess))
                },
                out,
            ),
            None => fill(
                room,
                cells,
                |excess| {
                    let grid = ramp.above(excess.wrapping_add(watts)) - ramp.above(excess);
                    i32::try_from(grid).unwrap_or(watts)
                },
                out,
            ),
        }
        let out = &mut out[first..];
        add_overdraft(out, power, watts, row.power_over);
        let near = self.reserve_from.saturating_sub(slots.start).min(out.len());
        let pool = &self.pools[choice.pool];
        for (kind, need) in choice.need.into_iter().enumerate() {
            if need != 0 {
                let free = &pool.free[kind][slots.clone()];
                let toll = &pool.toll[kind][slots.clone()];
                let n = i64::from(need);
                let least = need + pool.free_floor[kind];
                for (price, (&free, &toll)) in out.iter_mut().zip(free.iter().zip(toll)) {
                    let with_toll = price.wrapping_add(toll.wrapping_mul(n));
                    *price = if free < least { BLOCKED } else { with_toll };
                }
                add_overdraft(out, free, need, pool.over[kind]);
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
    pub(super) fn price_floor(&self, site: usize, watts: i32, slots: Range<usize>) -> i64 {
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

    /// Lets more be used than there is, up to as much again, at so many thousandths of what a unit's share of the power
    /// cap costs on grid power; 0 ends that.
    pub(super) fn set_overdraft(&mut self, problem: &Problem, permille: i64) {
        // All overdrafts of a slot together cost no more than a slot without room.
        let price = |capacity: i32, unit: i64| {
            let most = BLOCKED / 8 / i64::from(capacity.max(1));
            (unit * permille / 1_000).min(most)
        };
        let floor = |capacity: i32| if 0 < permille { -capacity } else { 0 };
        for (row, site) in self.sites.iter_mut().zip(&problem.sites) {
            let weight = i64::from(site.weight.first().copied().unwrap_or(0));
            row.power_floor = floor(site.power_cap_w);
            row.power_over = price(site.power_cap_w, weight);
        }
        for (row, pool) in self.pools.iter_mut().zip(&problem.pools) {
            let site = &problem.sites[pool.site];
            let weight = i64::from(site.weight.first().copied().unwrap_or(0));
            for (kind, capacity) in pool.capacity.into_iter().enumerate() {
                let unit = i64::from(site.power_cap_w) * weight / i64::from(capacity.max(1));
                row.free_floor[kind] = floor(capacity);
                row.over[kind] = price(capacity, unit);
            }
        }
    }

    /// Whether the runs stand where something that they need is overdrawn.
    pub(super) fn is_overdrawn(&self, site: usize, choice: &Choice, runs: &[Run]) -> bool {
        let pool = &self.pools[choice.pool];
        let rows = pool.free.iter().zip(choice.need);
        let needed = rows.filter(|&(_, need)| need != 0).map(|(free, _)| free);
        needed.chain([&self.sites[site].power_free]).any(|free| {
            let mut slots = runs.iter().flat_map(|run| &free[run.start..run.end()]);
            slots.any(|&free| free < 0)
        })
    }

    /// Tolls, reserve and overdraft prices of the runs.
    fn dues_of(&self, site: usize, choice: &Choice, runs: &[Run]) -> i64 {
        let (row, pool) = (&self.sites[site], &self.pools[choice.pool]);
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
            sum += overdraft_of(&pool.free[kind], need, pool.over[kind], runs);
        }
        sum + overdraft_of(&row.power_free, choice.watts, row.power_over, runs)
    }

    /// Tolls, reserve and overdraft prices in a slot.
    pub(super) fn dues_in(&self, site: usize, choice: &Choice, slot: usize) -> Dues {
        let (row, pool) = (&self.sites[site], &self.pools[choice.pool]);
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
        if row.power_floor < 0 {
            let mut overdrafts = [(
                row.power_over,
                row.power_free[slot],
                i64::from(choice.watts),
            ); RESOURCES + 1];
            for (kind, overdraft) in overdrafts[..RESOURCES].iter_mut().enumerate() {
                let need = i64::from(choice.need[kind]);
                *overdraft = (pool.over[kind], pool.free[kind][slot], need);
            }
            dues.overdrafts = Some(overdrafts);
        }
        dues
    }

    /// What the runs would cost in the eyes of a search: grid energy on the ramp, tolls, reserves and overdrafts.
    pub(super) fn soft_cost_of(
        &self,
        site: usize,
        choice: &Choice,
        runs: &[Run],
        ramp: Ramp,
    ) -> i64 {
        self.sites[site].soft_cost_of(choice.watts, runs, ramp) + self.dues_of(site, choice, runs)
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

/// How much of the need is beyond what is free.
fn lack(free: i32, need: i64) -> i64 {
    (need - i64::from(free)).clamp(0, need)
}

/// What the part of the runs' need costs that is beyond what is free.
fn overdraft_of(free: &[i32], need: i32, over: i64, runs: &[Run]) -> i64 {
    if over == 0 {
        return 0;
    }
    let lacks = runs.iter().flat_map(|run| {
        let need = i64::try_from(run.units).unwrap_or(0) * i64::from(need);
        free[run.start..run.end()]
            .iter()
            .map(move |&free| lack(free, need))
    });
    lacks.sum::<i64>() * over
}

/// Adds to the prices of slots what the part of the need costs that is beyond what is free there.
fn add_overdraft(prices: &mut [i64], free: &[i32], need: i32, over: i64) {
    if 0 < over {
        for (price, &free) in prices.iter_mut().zip(free) {
            let lack = need.wrapping_sub(free).clamp(0, need);
            *price = price.wrapping_add(i64::from(lack).wrapping_mul(over));
        }
    }
}

/// What a unit costs in each cell of excess, weight, price of green power and free power; `grid` tells how much of it is
/// from the grid by the excess before, and it fits where at least `least` is free.
#[inline(always)]
fn fill(
    (watts, least): (i32, i32),
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
        if free < least { BLOCKED } else { price }
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
    pub(super) fn set_price_floor(&mut self, from: usize) {
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

/// The price of the delay of an assignment.
pub(super) fn delay_cost(job: &Job, assignment: &Assignment) -> i64 {
    delay_until(job, assignment.end())
}

/// The price of ending at a slot.
pub(super) fn delay_until(job: &Job, end: usize) -> i64 {
    job.delay_price * i64::try_from(end.saturating_sub(job.release)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{
        super::problem::{Pool, Site},
        *,
    };

    #[test]
    fn what_is_overdrawn_has_a_price_and_a_limit_and_ends() {
        let problem = Problem {
            n_slots: 1,
            sites: vec![Site {
                id: "s".into(),
                power_cap_w: 1_000,
                green_w: vec![1_000],
                weight: vec![10],
            }],
            pools: vec![Pool {
                site: 0,
                capacity: [10, 0, 0],
            }],
            ..Problem::default()
        };
        let choice = Choice {
            pool: 0,
            need: [8, 0, 0],
            watts: 100,
        };
        let run = [Run {
            start: 0,
            len: 1,
            units: 1,
        }];
        let mut table = Table::new(&problem);
        let price = |table: &Table| {
            let mut prices = Vec::new();
            table.prices(0, &choice, 0..1, Ramp::STEP, &mut prices);
            prices[0]
        };
        table.add(0, &choice, &run);
        assert_eq!(price(&table), BLOCKED);
        assert!(!table.fits(0, &choice, &run));
        table.set_overdraft(&problem, 500);
        // Six cores too many, each at half of a tenth of 1,000 W at weight 10.
        assert_eq!(price(&table), 6 * 500);
        assert_eq!(table.soft_cost_of(0, &choice, &run, Ramp::STEP), 6 * 500);
        // Of two units, fourteen cores; there is power for both.
        assert_eq!(table.dues_in(0, &choice, 0).of(2), 14 * 500);
        assert!(table.fits(0, &choice, &run));
        table.add(0, &choice, &run);
        assert!(BLOCKED <= price(&table), "as much again, not more");
        assert!(table.is_overdrawn(0, &choice, &run));
        table.set_overdraft(&problem, 0);
        table.remove(0, &choice, &run);
        assert_eq!(price(&table), BLOCKED);
        assert!(!table.is_overdrawn(0, &choice, &run));
    }
}
