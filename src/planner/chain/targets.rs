//! Where a chain may begin: stretches that jobs which may move would leave free, with few of them in it.
//!
//! A target is a hint: whether the job fits there is found out when those in the way are gone.

use std::{ops::Range, sync::Arc};

use super::Movers;
use crate::{
    domain::{
        ids::{JobId, PoolId, SiteId},
        placement::Placement,
        site::Amounts,
    },
    limits,
    planner::{
        Timetable,
        cost::grid_bound,
        feasibility::{Ask, Offer, Tally, examine},
        shape::Flex,
        site_table::{to_index, to_indexes, to_slot},
    },
    slot::{Slot, SlotRange},
};

/// Slots in a row at a site where others are in the way of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) site: SiteId,
    pub(super) slots: SlotRange,
    pool: PoolId,
    /// Slots of the target in which something is short.
    n_short: usize,
    /// Grid power without those that may move, watts x slots.
    grid: u64,
    short: Short,
}

/// What the job lacks in a slot, or in any of some slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Short {
    cpu_cores: bool,
    memory: bool,
    gpus: bool,
    power: bool,
    green: bool,
}

/// What jobs that may move take in a slot.
#[derive(Debug, Clone, Copy, Default)]
struct Movable {
    amounts: Amounts,
    power_watts: u64,
    green_watts: u64,
}

/// What the job takes in a slot of a pool.
#[derive(Debug, Clone, Copy)]
struct Need {
    amounts: Amounts,
    watts: u64,
    /// Grid power that its green share allows over the whole target, watts x slots.
    grid_max: u64,
    /// Whether it asks for green power at all.
    wants_green: bool,
}

/// Stretches at all sites, at most `n_max`: first some with the fewest slots in which something is short, then some
/// with the most green power.
pub(super) fn targets(
    timetable: &Timetable,
    ask: &Ask<'_>,
    movers: &impl Movers,
    is_out: impl Fn(JobId) -> bool,
    n_max: usize,
) -> Vec<Target> {
    let mut all = Vec::new();
    for (i, table) in timetable.sites.iter().enumerate() {
        let Some(offer) = examine(table, i, ask, &mut Tally::default()) else {
            continue;
        };
        let Some((units, n_slots)) = block(ask, offer.slots.len()) else {
            continue;
        };
        let range = SlotRange::new(
            to_slot(offer.slots.start, ask.horizon),
            to_slot(offer.slots.end, ask.horizon),
        );
        let others: Vec<&Arc<Placement>> = movers
            .at(&table.site.id, range)
            .take(limits::CHAIN_LOOK_MAX)
            .filter(|(id, _)| !is_out(*id))
            .map(|(_, placement)| placement)
            .collect();
        if others.is_empty() {
            continue;
        }
        for pool in offer.pools.iter() {
            let Some(watts) = offer.meter.watts().checked_mul(units.into()) else {
                continue;
            };
            let need = Need {
                amounts: offer.need(ask, pool).times(units),
                watts,
                grid_max: grid_bound(watts, n_slots.into(), ask.min_share_permille),
                wants_green: 0 < ask.min_share_permille,
            };
            let stretches = Stretches::new(ask, &offer, pool, need, &others);
            all.extend(stretches.best(to_index(n_slots), n_max));
        }
    }
    // Half by how few are in the way, the rest by how green.
    all.sort_by(|a, b| a.by_shortage().cmp(&b.by_shortage()));
    let few = n_max.div_ceil(2).min(all.len());
    all[few..].sort_by(|a, b| a.by_grid().cmp(&b.by_grid()));
    all.truncate(n_max);
    all
}

/// Units and slots with which the job runs in one piece within so many slots: the fewest units that do.
fn block(ask: &Ask<'_>, n_slots: usize) -> Option<(u32, u32)> {
    let units_max = match ask.shape.flex {
        Flex::Rigid | Flex::Pieces(_) => 1,
        Flex::Units(speeds) => speeds.useful(),
    };
    (1..=units_max)
        .map(|units| (units, ask.shape.least_slots(units.into())))
        .find(|(_, needed)| to_index(*needed) <= n_slots)
}

/// The slots of an offer as seen by the job in one pool.
struct Stretches<'a> {
    offer: &'a Offer<'a>,
    pool: usize,
    need: Need,
    /// By slot of the offer: what is short now; `None` where even without those that may move something would be.
    short: Vec<Option<Short>>,
    /// By slot of the offer: grid power that it would draw without those that may move, watts.
    grid: Vec<u64>,
}

impl<'a> Stretches<'a> {
    fn new(
        ask: &Ask<'_>,
        offer: &'a Offer<'a>,
        pool: usize,
        need: Need,
        others: &[&Arc<Placement>],
    ) -> Self {
        let slots = offer.slots.clone();
        let movable = movable(ask, offer, pool, others);
        let green_free = offer.meter.green_free(slots.clone());
        let short = slots.clone().zip(&movable);
        let grid = green_free.iter().zip(&movable);
        ask.work.add_slots(slots.len());
        Self {
            short: short
                .map(|(slot, movable)| short_at(offer, pool, &need, slot, movable))
                .collect(),
            grid: grid
                .map(|(free, movable)| need.watts.saturating_sub(free + movable.green_watts))
                .collect(),
            offer,
            pool,
            need,
        }
    }

    /// The best stretches of this length, half of them by each of the two orders; those that overlap by more than three quarters are taken for the same.
    fn best(&self, n_slots: usize, n_max: usize) -> Vec<Target> {
        let mut left: Vec<(u64, u64, usize)> = Vec::new();
        let last_start = self.offer.last_start.saturating_sub(self.offer.slots.start);
        let n_starts = (self.short.len() + 1).saturating_sub(n_slots);
        // Sums over the slots before each.
        let prefix = |value: &dyn Fn(usize) -> u64| -> Vec<u64> {
            let mut sum = 0;
            let sums = (0..self.short.len()).map(|i| {
                sum += value(i);
                sum
            });
            std::iter::once(0).chain(sums).collect()
        };
        let is_short = |i: usize| self.short[i].is_some_and(|short| short != Short::default());
        let closed = prefix(&|i| u64::from(self.short[i].is_none()));
        let shorts = prefix(&|i| u64::from(is_short(i)));
        let grid = prefix(&|i| self.grid[i]);
        for start in 0..n_starts.min(last_start + 1) {
            let over = |sums: &[u64]| sums[start + n_slots] - sums[start];
            if over(&closed) == 0 && over(&grid) <= self.need.grid_max && 0 < over(&shorts) {
                left.push((over(&shorts), over(&grid), start));
            }
        }
        let apart = (n_slots / 4).max(1);
        let mut best: Vec<usize> = Vec::new();
        let mut take = |left: &[(u64, u64, usize)], n_max: usize| {
            for &(_, _, start) in left {
                if best.len() == n_max {
                    break;
                }
                if best.iter().all(|other| apart <= other.abs_diff(start)) {
                    best.push(start);
                }
            }
        };
        left.sort_unstable();
        take(&left, n_max.div_ceil(2));
        left.sort_unstable_by_key(|&(short, grid, start)| (grid, short, start));
        take(&left, n_max);
        let targets = best.into_iter();
        targets
            .map(|start| self.target(start..start + n_slots))
            .collect()
    }

    fn target(&self, stretch: Range<usize>) -> Target {
        let site = &self.offer.table.site;
        let mut short = Short::default();
        let mut n_short = 0;
        for at in self.short[stretch.clone()].iter().flatten() {
            n_short += usize::from(*at != Short::default());
            short = short.or(*at);
        }
        let grid = self.grid[stretch.clone()].iter().sum();
        let first = self.offer.slots.start;
        let to_slot = |i: usize| to_slot(first + i, self.offer.horizon);
        Target {
            site: site.id.clone(),
            slots: SlotRange::new(to_slot(stretch.start), to_slot(stretch.end)),
            pool: site.pools[self.pool].id.clone(),
            n_short,
            grid,
            short,
        }
    }
}

/// What those that may move take, by slot of the offer.
fn movable(
    ask: &Ask<'_>,
    offer: &Offer<'_>,
    pool: usize,
    others: &[&Arc<Placement>],
) -> Vec<Movable> {
    let mut movable = vec![Movable::default(); offer.slots.len()];
    let pool = &offer.table.site.pools[pool].id;
    for placement in others {
        ask.work.add_slots(to_index(placement.n_slots()));
        let slots = placement.green_by_slot().zip(placement.units_by_slot());
        for ((slot, green_watts), (_, units)) in slots {
            let index = to_indexes(SlotRange::new(slot, slot.plus(1)), ask.horizon).start;
            let at = index.checked_sub(offer.slots.start);
            let Some(sum) = at.and_then(|at| movable.get_mut(at)) else {
                continue;
            };
            sum.power_watts += placement.power_watts * u64::from(units);
            sum.green_watts += green_watts;
            if placement.pool == *pool {
                let amounts = placement.amounts.times(units);
                sum.amounts.cpu_cores += amounts.cpu_cores;
                sum.amounts.memory_mib += amounts.memory_mib;
                sum.amounts.gpus += amounts.gpus;
            }
        }
    }
    movable
}

/// What the job lacks in a slot; `None` when it would lack something even without those that may move.
fn short_at(
    offer: &Offer<'_>,
    pool: usize,
    need: &Need,
    slot: usize,
    movable: &Movable,
) -> Option<Short> {
    let table = offer.table;
    let capacity = table.site.pools[pool].capacity();
    let used = table.pool_used(pool, slot);
    let power_used = table.power_used()[slot];
    let is_short = |have: u64, used: u64, need: u64| 0 < need && have < used.saturating_add(need);
    let kinds = [
        (
            capacity.cpu_cores,
            used.cpu_cores,
            need.amounts.cpu_cores,
            movable.amounts.cpu_cores,
        ),
        (
            capacity.memory_mib,
            used.memory_mib,
            need.amounts.memory_mib,
            movable.amounts.memory_mib,
        ),
        (
            capacity.gpus,
            used.gpus,
            need.amounts.gpus,
            movable.amounts.gpus,
        ),
        (
            table.site.power_cap_watts,
            power_used,
            need.watts,
            movable.power_watts,
        ),
    ];
    let hopeless = kinds
        .iter()
        .any(|&(have, used, need, movable)| is_short(have, used.saturating_sub(movable), need));
    let [cpu_cores, memory, gpus, power] =
        kinds.map(|(have, used, need, _)| is_short(have, used, need));
    let green_free = offer.meter.green_free(slot..slot + 1)[0];
    (!hopeless).then_some(Short {
        cpu_cores,
        memory,
        gpus,
        power,
        green: need.wants_green && green_free < need.watts && 0 < movable.green_watts,
    })
}

impl Short {
    fn or(self, other: Self) -> Self {
        Self {
            cpu_cores: self.cpu_cores || other.cpu_cores,
            memory: self.memory || other.memory,
            gpus: self.gpus || other.gpus,
            power: self.power || other.power,
            green: self.green || other.green,
        }
    }
}

impl Target {
    fn by_shortage(&self) -> (usize, u64, &SiteId, Slot) {
        (self.n_short, self.grid, &self.site, self.slots.start)
    }

    fn by_grid(&self) -> (u64, usize, &SiteId, Slot) {
        (self.grid, self.n_short, &self.site, self.slots.start)
    }

    /// Whether a placement at the site takes something that the job lacks here.
    pub(super) fn is_short_of(&self, other: &Placement) -> bool {
        let Amounts {
            cpu_cores,
            memory_mib,
            gpus,
        } = other.amounts;
        let in_pool = other.pool == self.pool
            && (self.short.cpu_cores && 0 < cpu_cores
                || self.short.memory && 0 < memory_mib
                || self.short.gpus && 0 < gpus);
        let runs_here = other
            .runs
            .iter()
            .any(|run| !run.slots.intersect(self.slots).is_empty());
        runs_here && (in_pool || self.short.power || self.short.green && 0 < other.energy.green())
    }
}
