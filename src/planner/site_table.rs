//! The columns of one site: use of pools and power, claims on green power, and the outlook.
//!
//! At every slot and level of confidence, the claims that are at least so sure together stay within the green power of
//! that level for as long as the outlook does not fall; a new claim gets what all levels below its own leave.

use std::{ops::Range, sync::Arc};

use crate::{
    domain::{
        ids::PoolId,
        outlook::{Confidence, SiteOutlook},
        placement::Placement,
        site::{Amounts, Pool, Site},
    },
    limits,
    planner::{
        column::{Room, UseColumn, shift},
        feasibility::Ignored,
    },
    slot::{Slot, SlotRange},
};

/// Everything the planner knows of one site over the horizon; columns are indexed by slot minus `horizon.start`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SiteTable {
    /// Whether an agent runs work there; jobs that need none do not ask.
    pub(super) has_agent: bool,
    pub(super) site: Arc<Site>,
    /// Covers exactly the horizon.
    pub(super) outlook: SiteOutlook,
    /// Those of the site, in its order, then pools it no longer has that are still in use.
    pools: Vec<PoolTable>,
    /// Power in use, and what the site may not use in a slot, which nothing can take.
    power: UseColumn,
    /// Of it what the site may not use; empty when it may use its cap everywhere.
    withheld: Vec<u64>,
    /// Green power claimed at this confidence or a higher one.
    claimed: [Vec<u64>; 3],
    /// Green power left for a claim at this confidence.
    green_free: [Vec<u64>; 3],
    rates: PrefixRates,
}

/// Sums of rates over all slots before one: the price of a window by a subtraction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct PrefixRates {
    pub(super) green_mg: Vec<u64>,
    pub(super) green_price: Vec<u64>,
    pub(super) grid_mg: Vec<u64>,
    pub(super) grid_price: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct PoolTable {
    id: PoolId,
    cpu_cores: UseColumn,
    memory_mib: UseColumn,
    gpus: UseColumn,
}

/// Takes or gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Booking {
    Take,
    GiveBack,
}

impl SiteTable {
    /// A site without reservations.
    pub(super) fn new(site: Arc<Site>, outlook: SiteOutlook, horizon: SlotRange) -> Self {
        let n_slots = n_slots(horizon);
        let pools = site
            .pools
            .iter()
            .map(|pool| PoolTable::new(&pool.id, n_slots))
            .collect();
        let mut table = Self {
            has_agent: false,
            site,
            outlook: SiteOutlook::default(),
            pools,
            power: UseColumn::new(n_slots),
            withheld: Vec::new(),
            claimed: [(); 3].map(|()| vec![0; n_slots]),
            green_free: [(); 3].map(|()| vec![0; n_slots]),
            rates: PrefixRates::default(),
        };
        table.set_outlook(outlook, horizon);
        table.withhold();
        table
    }

    /// Replaces the traits of the site; reservations stay with the pool of the same id.
    pub(super) fn set_site(&mut self, site: Arc<Site>) {
        let n_slots = self.power.used().len();
        let mut old = std::mem::take(&mut self.pools);
        for pool in &site.pools {
            let kept = old.iter().position(|table| table.id == pool.id);
            self.pools.push(
                kept.map_or_else(|| PoolTable::new(&pool.id, n_slots), |i| old.swap_remove(i)),
            );
        }
        old.retain(|table| !table.is_unused());
        old.sort_by(|a, b| a.id.cmp(&b.id));
        self.pools.append(&mut old);
        self.site = site;
        self.withhold();
    }

    /// Replaces the outlook.
    pub(super) fn set_outlook(&mut self, outlook: SiteOutlook, horizon: SlotRange) {
        self.outlook = fit(outlook, horizon, &self.site);
        self.refresh_green(0..n_slots(horizon));
        self.rates = PrefixRates::new(&self.outlook);
    }

    /// Takes over an outlook of some slots of the horizon; the others keep theirs.
    pub(super) fn splice_outlook(&mut self, part: &SiteOutlook) {
        let horizon = self.outlook.range;
        assert!(horizon.covers(part.range), "a part lies within the horizon");
        let slots = to_indexes(part.range, horizon);
        let outlook = &mut self.outlook;
        for level in 0..3 {
            outlook.green_watts[level][slots.clone()].copy_from_slice(&part.green_watts[level]);
            outlook.median_by_kind_watts[level][slots.clone()]
                .copy_from_slice(&part.median_by_kind_watts[level]);
        }
        outlook.green_mg_per_kwh[slots.clone()].copy_from_slice(&part.green_mg_per_kwh);
        outlook.green_price_micro_cny_per_kwh[slots.clone()]
            .copy_from_slice(&part.green_price_micro_cny_per_kwh);
        outlook.grid_location_mg_per_kwh[slots.clone()]
            .copy_from_slice(&part.grid_location_mg_per_kwh);
        outlook.grid_marginal_mg_per_kwh[slots.clone()]
            .copy_from_slice(&part.grid_marginal_mg_per_kwh);
        outlook.grid_price_micro_cny_per_kwh[slots.clone()]
            .copy_from_slice(&part.grid_price_micro_cny_per_kwh);
        outlook.fallback[slots.clone()].copy_from_slice(&part.fallback);
        self.refresh_green(slots);
        self.rates = PrefixRates::new(&self.outlook);
    }

    /// Moves on to a later horizon.
    pub(super) fn advance(&mut self, horizon: SlotRange) {
        let gone = horizon.start.0.saturating_sub(self.outlook.range.start.0);
        let (n_gone, n_slots) = (to_index(gone), n_slots(horizon));
        for pool in &mut self.pools {
            for column in pool.columns_mut() {
                column.shift(n_gone, n_slots);
            }
        }
        self.power.shift(n_gone, n_slots);
        if !self.withheld.is_empty() {
            shift(&mut self.withheld, n_gone, n_slots, 0);
        }
        for column in self.claimed.iter_mut().chain(&mut self.green_free) {
            shift(column, n_gone, n_slots, 0);
        }
        let outlook = std::mem::take(&mut self.outlook);
        self.set_outlook(outlook, horizon);
        self.withhold();
    }

    /// Gives everything back.
    pub(super) fn clear(&mut self) {
        for pool in &mut self.pools {
            for column in pool.columns_mut() {
                column.clear();
            }
        }
        self.power.clear();
        self.withheld.clear();
        self.withhold();
        for column in &mut self.claimed {
            column.fill(0);
        }
        self.refresh_green(0..self.power.used().len());
    }

    /// Takes what a placement here needs, or gives it back; slots outside the horizon are left out.
    pub(super) fn book(&mut self, placement: &Placement, booking: Booking) {
        let horizon = self.outlook.range;
        let i = self.pool_for(&placement.pool);
        for run in &placement.runs {
            let slots = to_indexes(run.slots.intersect(horizon), horizon);
            let Amounts {
                cpu_cores,
                memory_mib,
                gpus,
            } = placement.amounts.times(run.units);
            let [cores, memory, cards] = self.pools[i].columns_mut();
            let columns = [
                (cores, cpu_cores),
                (memory, memory_mib),
                (cards, gpus),
                (
                    &mut self.power,
                    placement.power_watts * u64::from(run.units),
                ),
            ];
            for (column, amount) in columns {
                match booking {
                    Booking::Take => column.take(slots.clone(), amount),
                    Booking::GiveBack => column.give_back(slots.clone(), amount),
                }
            }
        }
        for (slot, watts) in placement.green_by_slot() {
            if 0 < watts && horizon.contains(slot) {
                self.claim(
                    to_index(slot.0 - horizon.start.0),
                    placement.confidence,
                    watts,
                    booking,
                );
            }
        }
    }

    /// Where a job with these needs has room in the pool; `None` when pool or cap are too small even when idle.
    pub(super) fn room(
        &self,
        pool: usize,
        need: &Amounts,
        watts: u64,
        ignored: Option<Ignored>,
    ) -> Option<Room<'_>> {
        let capacity = self.site.pools[pool].capacity();
        let table = &self.pools[pool];
        let mut bounds = [
            capacity.cpu_cores.checked_sub(need.cpu_cores)?,
            capacity.memory_mib.checked_sub(need.memory_mib)?,
            capacity.gpus.checked_sub(need.gpus)?,
            self.site.power_cap_watts.checked_sub(watts)?,
        ];
        match ignored {
            Some(Ignored::Pools) => bounds[..3].fill(u64::MAX),
            Some(Ignored::Power) => bounds[3] = u64::MAX,
            None => {}
        }
        let [cpu_cores, memory_mib, gpus, power] = bounds;
        Some(Room::new([
            (&table.cpu_cores, cpu_cores),
            (&table.memory_mib, memory_mib),
            (&table.gpus, gpus),
            (&self.power, power),
        ]))
    }

    /// How many times these needs have room in a slot of the pool besides what is in use there.
    pub(super) fn units_free(
        &self,
        pool: usize,
        need: &Amounts,
        watts: u64,
        ignored: Option<Ignored>,
        slot: usize,
    ) -> u64 {
        let capacity = self.site.pools[pool].capacity();
        let unless = |kind: Ignored, used: u64| if ignored == Some(kind) { 0 } else { used };
        let in_pool = |used: u64| unless(Ignored::Pools, used);
        let used = self.pool_used(pool, slot);
        let kinds = [
            (capacity.cpu_cores, in_pool(used.cpu_cores), need.cpu_cores),
            (
                capacity.memory_mib,
                in_pool(used.memory_mib),
                need.memory_mib,
            ),
            (capacity.gpus, in_pool(used.gpus), need.gpus),
            (
                self.site.power_cap_watts,
                unless(Ignored::Power, self.power.used()[slot]),
                watts,
            ),
        ];
        kinds
            .into_iter()
            // More may be in use than there is, until a re-plan after the site shrank.
            .filter_map(|(have, used, need)| have.saturating_sub(used).checked_div(need))
            .min()
            .unwrap_or(0)
    }

    /// What of the pool is in use in a slot.
    pub(super) fn pool_used(&self, pool: usize, slot: usize) -> Amounts {
        self.pools[pool].used(slot)
    }

    /// Facility power in use or withheld by slot, watts.
    pub(super) fn power_used(&self) -> &[u64] {
        self.power.used()
    }

    /// Green power left for a claim at this confidence by slot, watts.
    pub(super) fn green_free(&self, confidence: Confidence) -> &[u64] {
        &self.green_free[confidence.index()]
    }

    /// Green power claimed at this confidence or a higher one by slot, watts.
    pub(super) fn green_claimed(&self, confidence: Confidence) -> &[u64] {
        &self.claimed[confidence.index()]
    }

    pub(super) fn rates(&self) -> &PrefixRates {
        &self.rates
    }

    /// Pools with reservations that the site no longer has.
    pub(super) fn has_stranded_use(&self) -> bool {
        self.pools[self.site.pools.len()..]
            .iter()
            .any(|pool| !pool.is_unused())
    }

    /// The same site as if it might use its cap everywhere.
    pub(super) fn without_windows(&self) -> Self {
        let mut open = self.clone();
        open.give_back_withheld();
        open
    }

    /// Takes out of every slot what the site may not use there, so that every search sees it as taken.
    fn withhold(&mut self) {
        self.give_back_withheld();
        let horizon = self.outlook.range;
        let windows = &self.site.restrictions.windows;
        let is_open = |slots: SlotRange| !slots.intersect(horizon).is_empty();
        if !windows.iter().any(|window| is_open(window.slots)) {
            return;
        }
        let cap = self.site.power_cap_watts;
        let allowed = horizon.iter().map(|slot| self.site.power_allowed(slot));
        self.withheld = allowed.map(|allowed| cap - allowed).collect();
        for (slot, watts) in self.withheld.iter().enumerate() {
            self.power.take(slot..slot + 1, *watts);
        }
    }

    fn give_back_withheld(&mut self) {
        for (slot, watts) in std::mem::take(&mut self.withheld).into_iter().enumerate() {
            self.power.give_back(slot..slot + 1, watts);
        }
    }

    fn claim(&mut self, slot: usize, confidence: Confidence, watts: u64, booking: Booking) {
        // A sure claim counts at every less sure level too: that power is spoken for there as well.
        for claimed in &mut self.claimed[..=confidence.index()] {
            let claimed = &mut claimed[slot];
            *claimed = match booking {
                Booking::Take => *claimed + watts,
                Booking::GiveBack => claimed
                    .checked_sub(watts)
                    .expect("green power is given back only where it was claimed"),
            };
        }
        self.refresh_green(slot..slot + 1);
    }

    fn refresh_green(&mut self, slots: Range<usize>) {
        for slot in slots {
            let mut left = u64::MAX;
            for level in 0..3 {
                let watts = self.outlook.green_watts[level][slot];
                left = left.min(watts.saturating_sub(self.claimed[level][slot]));
                self.green_free[level][slot] = left;
            }
        }
    }

    /// Position of the pool's columns; a pool the site does not have gets its own behind the others.
    fn pool_for(&mut self, id: &PoolId) -> usize {
        let found = self.pools.iter().position(|table| table.id == *id);
        found.unwrap_or_else(|| {
            let n_slots = self.power.used().len();
            self.pools.push(PoolTable::new(id, n_slots));
            self.pools.len() - 1
        })
    }
}

impl PoolTable {
    fn new(id: &PoolId, n_slots: usize) -> Self {
        Self {
            id: id.clone(),
            cpu_cores: UseColumn::new(n_slots),
            memory_mib: UseColumn::new(n_slots),
            gpus: UseColumn::new(n_slots),
        }
    }

    fn columns_mut(&mut self) -> [&mut UseColumn; 3] {
        [&mut self.cpu_cores, &mut self.memory_mib, &mut self.gpus]
    }

    fn used(&self, slot: usize) -> Amounts {
        Amounts {
            cpu_cores: self.cpu_cores.used()[slot],
            memory_mib: self.memory_mib.used()[slot],
            gpus: self.gpus.used()[slot],
        }
    }

    fn is_unused(&self) -> bool {
        self.cpu_cores.is_unused() && self.memory_mib.is_unused() && self.gpus.is_unused()
    }
}

impl PrefixRates {
    fn new(outlook: &SiteOutlook) -> Self {
        let carbon = |column: &[u32]| prefix(column.iter().map(|&mg| u64::from(mg)));
        let price = |column: &[u64]| prefix(column.iter().copied());
        Self {
            green_mg: carbon(&outlook.green_mg_per_kwh),
            green_price: price(&outlook.green_price_micro_cny_per_kwh),
            grid_mg: carbon(&outlook.grid_location_mg_per_kwh),
            grid_price: price(&outlook.grid_price_micro_cny_per_kwh),
        }
    }
}

/// Position of a slot count in a column.
pub(super) fn to_index(slots: u32) -> usize {
    usize::try_from(slots).expect("a slot count fits the address space")
}

/// The slot at a position of a column.
pub(super) fn to_slot(index: usize, horizon: SlotRange) -> Slot {
    let offset = u32::try_from(index).expect("a column is at most a horizon long");
    horizon.start.plus(offset)
}

/// Positions of slots that lie within the horizon.
pub(super) fn to_indexes(slots: SlotRange, horizon: SlotRange) -> Range<usize> {
    if slots.is_empty() {
        return 0..0;
    }
    to_index(slots.start.0 - horizon.start.0)..to_index(slots.end.0 - horizon.start.0)
}

fn n_slots(horizon: SlotRange) -> usize {
    to_index(horizon.len())
}

fn prefix(values: impl Iterator<Item = u64>) -> Vec<u64> {
    let sums = values.scan(0_u64, |sum, value| {
        *sum += value;
        Some(*sum)
    });
    std::iter::once(0).chain(sums).collect()
}

/// The outlook cut and filled to exactly the horizon; see `Timetable::set_outlook` for the fill.
fn fit(mut outlook: SiteOutlook, horizon: SlotRange, site: &Site) -> SiteOutlook {
    let assert_len = |len: usize| {
        assert_eq!(
            len,
            n_slots(outlook.range),
            "an outlook column covers its range"
        );
    };
    for column in outlook
        .green_watts
        .iter()
        .chain(&outlook.median_by_kind_watts)
    {
        assert_len(column.len());
    }
    assert_len(outlook.green_mg_per_kwh.len());
    assert_len(outlook.green_price_micro_cny_per_kwh.len());
    assert_len(outlook.grid_location_mg_per_kwh.len());
    assert_len(outlook.grid_marginal_mg_per_kwh.len());
    assert_len(outlook.grid_price_micro_cny_per_kwh.len());
    assert_len(outlook.fallback.len());
    let rates_ok = |prices: &[u64]| {
        prices
            .iter()
            .all(|&price| price <= limits::PRICE_MICRO_CNY_PER_KWH_MAX)
    };
    assert!(
        rates_ok(&outlook.green_price_micro_cny_per_kwh)
            && rates_ok(&outlook.grid_price_micro_cny_per_kwh),
        "prices of an outlook are within limits, so that no sum over a horizon overflows"
    );
    let old = outlook.range;
    let location_mg = site.grid_location_mg_per_kwh;
    for column in outlook
        .green_watts
        .iter_mut()
        .chain(&mut outlook.median_by_kind_watts)
    {
        refit(column, old, horizon, 0);
    }
    refit(&mut outlook.green_mg_per_kwh, old, horizon, 0);
    refit(&mut outlook.green_price_micro_cny_per_kwh, old, horizon, 0);
    refit(
        &mut outlook.grid_location_mg_per_kwh,
        old,
        horizon,
        location_mg,
    );
    refit(
        &mut outlook.grid_marginal_mg_per_kwh,
        old,
        horizon,
        location_mg,
    );
    refit(&mut outlook.grid_price_micro_cny_per_kwh, old, horizon, 0);
    refit(&mut outlook.fallback, old, horizon, true);
    outlook.range = horizon;
    outlook
}

fn refit<T: Clone>(column: &mut Vec<T>, old: SlotRange, new: SlotRange, fill: T) {
    let lead = to_index(old.start.0.saturating_sub(new.start.0)).min(n_slots(new));
    if 0 < lead {
        column.splice(0..0, std::iter::repeat_n(fill.clone(), lead));
    }
    let gone = to_index(new.start.0.saturating_sub(old.start.0));
    shift(column, gone, n_slots(new), fill);
}

/// Whether the pool has the traits that only some jobs need.
pub(super) fn is_special(pool: &Pool) -> bool {
    pool.no_domestic_mix || pool.encrypted_in_use
}
