//! Sums of all placements per site and slot: the check on the planner that shares no code with it.
//!
//! A sum is exactly that of the placements added and not yet removed.

use std::collections::BTreeMap;

use crate::{
    domain::{
        ids::{GatewayId, PoolId, SiteId},
        job::JobSpec,
        placement::{Placement, Run},
        site::{Amounts, Site},
    },
    slot::{Slot, TimeMs},
    state::{
        Core,
        transfers::{LinkRules, TransferTrial, Transfers},
    },
};

/// What is taken of one site in one slot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct SlotUse {
    power_watts: u64,
    green_watts: u64,
    pools: BTreeMap<PoolId, Amounts>,
}

/// What one placement takes of one slot.
#[derive(Debug, Clone, Copy)]
struct Share {
    power_watts: u64,
    green_watts: u64,
    amounts: Amounts,
}

/// Sums by site and slot; slots that nothing takes have no entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bookings {
    sites: BTreeMap<SiteId, BTreeMap<Slot, SlotUse>>,
    transfers: Transfers,
}

/// Bookings with some placements taken out and others put in, without changing them.
#[derive(Debug)]
pub(super) struct Trial<'a> {
    base: &'a Bookings,
    changed: BTreeMap<SiteId, BTreeMap<Slot, SlotUse>>,
    transfers: TransferTrial<'a>,
}

impl Core {
    /// A trial on top of the bookings as of `now`.
    pub(super) fn trial(&self, now: TimeMs) -> Trial<'_> {
        let rules = LinkRules {
            links: &self.state.links,
            grid: self.state.settings.grid,
            current: self.state.settings.grid.slot_at(now),
        };
        Trial {
            base: &self.bookings,
            changed: BTreeMap::new(),
            transfers: self.bookings.transfers.trial(rules),
        }
    }
}

impl Bookings {
    /// Adds a placement.
    pub fn add(&mut self, placement: &Placement) {
        let slots = self.sites.entry(placement.site.clone()).or_default();
        for (slot, share) in shares(placement) {
            slots.entry(slot).or_default().add(&placement.pool, share);
        }
        if let Some(stage_in) = &placement.stage_in {
            self.transfers.add(stage_in);
        }
    }

    /// Takes a placement out again.
    ///
    /// # Panics
    /// When it was not added: the sums would be wrong from then on.
    pub fn remove(&mut self, placement: &Placement) {
        let slots = self.sites.entry(placement.site.clone()).or_default();
        for (slot, share) in shares(placement) {
            let taken = slots.entry(slot).or_default();
            taken.remove(&placement.pool, share);
            if *taken == SlotUse::default() {
                slots.remove(&slot);
            }
        }
        // A site without bookings has no entry either: bookings rebuilt from the jobs are equal.
        if slots.is_empty() {
            self.sites.remove(&placement.site);
        }
        if let Some(stage_in) = &placement.stage_in {
            self.transfers.remove(stage_in);
        }
    }

    /// Power, green power (watts) and the use of a pool in a slot.
    #[must_use]
    pub fn taken(&self, site: &SiteId, pool: &PoolId, slot: Slot) -> (u64, u64, Amounts) {
        let Some(taken) = self.sites.get(site).and_then(|slots| slots.get(&slot)) else {
            return (0, 0, Amounts::default());
        };
        let amounts = taken.pools.get(pool).copied().unwrap_or_default();
        (taken.power_watts, taken.green_watts, amounts)
    }

    /// Whether what is taken of a site from a slot on is within its bounds, in the slots of a placement or in all.
    #[must_use]
    pub fn is_within(&self, site: &Site, from: Slot, only: Option<&Placement>) -> bool {
        let slots = self.sites.get(&site.id).into_iter();
        let mut slots = slots.flat_map(|slots| slots.range(from..));
        let counts =
            |slot: Slot| only.is_none_or(|one| one.runs.iter().any(|run| run.slots.contains(slot)));
        slots.all(|(slot, taken)| {
            let fits = |pool: &PoolId, amounts: &Amounts| {
                let pool = site.pool(pool);
                pool.is_some_and(|(_, pool)| pool.capacity().cover(amounts))
            };
            !counts(*slot)
                || (taken.power_watts <= site.power_allowed(*slot)
                    && taken
                        .pools
                        .iter()
                        .all(|(pool, amounts)| fits(pool, amounts)))
        })
    }

    /// Bandwidth that transfers take of a link in a slot, bits per second.
    #[must_use]
    pub fn link_taken(&self, gateway: &GatewayId, slot: Slot) -> u64 {
        self.transfers.taken(gateway, slot)
    }
}

impl Trial<'_> {
    /// Takes the runs of a placement out; its transfer stays.
    pub(super) fn remove_runs(&mut self, placement: &Placement) {
        for (slot, share) in shares(placement) {
            self.slot(&placement.site, slot)
                .remove(&placement.pool, share);
        }
    }

    /// Takes a placement out.
    pub(super) fn remove(&mut self, placement: &Placement) {
        self.remove_runs(placement);
        if let Some(stage_in) = &placement.stage_in {
            self.transfers.remove(stage_in);
        }
    }

    /// Puts the placement of a job in if it fits the site and its links.
    ///
    /// # Errors
    /// Says which bound it would pass, and where.
    pub(super) fn add(
        &mut self,
        placement: &Placement,
        site: &Site,
        spec: &JobSpec,
    ) -> Result<(), String> {
        self.add_runs(placement, site, Slot(0))?;
        self.transfers.add(placement, site, spec)
    }

    /// Puts the runs of a placement in if those from a slot on fit the site: what was booked before may be more than
    /// the site has by now.
    ///
    /// # Errors
    /// Says which bound it would pass, and where.
    pub(super) fn add_runs(
        &mut self,
        placement: &Placement,
        site: &Site,
        from: Slot,
    ) -> Result<(), String> {
        let Some((_, pool)) = site.pool(&placement.pool) else {
            return Err(format!(
                "site `{}` has no pool `{}`",
                site.id, placement.pool
            ));
        };
        check_shape(placement)?;
        let capacity = pool.capacity();
        let nameplate_watts: u64 = site.supplies.iter().map(|s| s.nameplate_watts).sum();
        for (slot, share) in shares(placement) {
            let taken = self.slot(&placement.site, slot);
            taken.add(&placement.pool, share);
            if slot < from {
                continue;
            }
            let amounts = taken
                .pools
                .get(&placement.pool)
                .copied()
                .unwrap_or_default();
            if !capacity.cover(&amounts) {
                return Err(format!(
                    "pool `{}` of `{}` is over-committed in {slot}",
                    pool.id, site.id
                ));
            }
            if taken.power_watts > site.power_allowed(slot) {
                return Err(format!(
                    "the power cap of `{}` is passed in {slot}",
                    site.id
                ));
            }
            if share.green_watts > 0 && taken.green_watts > nameplate_watts {
                return Err(format!(
                    "green power of `{}` is given twice in {slot}",
                    site.id
                ));
            }
        }
        Ok(())
    }

    fn slot(&mut self, site: &SiteId, slot: Slot) -> &mut SlotUse {
        let base = self.base;
        self.changed
            .entry(site.clone())
            .or_default()
            .entry(slot)
            .or_insert_with(|| {
                let slots = base.sites.get(site);
                slots
                    .and_then(|slots| slots.get(&slot))
                    .cloned()
                    .unwrap_or_default()
            })
    }
}

impl SlotUse {
    fn add(&mut self, pool: &PoolId, share: Share) {
        self.power_watts += share.power_watts;
        self.green_watts += share.green_watts;
        let pool = self.pools.entry(pool.clone()).or_default();
        pool.cpu_cores += share.amounts.cpu_cores;
        pool.memory_mib += share.amounts.memory_mib;
        pool.gpus += share.amounts.gpus;
    }

    fn remove(&mut self, pool_id: &PoolId, share: Share) {
        let less = |have: u64, take: u64| {
            let rest = have.checked_sub(take);
            assert!(rest.is_some(), "a placement is removed that was not added");
            rest.unwrap_or_default()
        };
        self.power_watts = less(self.power_watts, share.power_watts);
        self.green_watts = less(self.green_watts, share.green_watts);
        let pool = self.pools.entry(pool_id.clone()).or_default();
        pool.cpu_cores = less(pool.cpu_cores, share.amounts.cpu_cores);
        pool.memory_mib = less(pool.memory_mib, share.amounts.memory_mib);
        pool.gpus = less(pool.gpus, share.amounts.gpus);
        if *pool == Amounts::default() {
            self.pools.remove(pool_id);
        }
    }
}

/// What a placement takes in each slot of its runs.
fn shares(placement: &Placement) -> impl Iterator<Item = (Slot, Share)> {
    let units = placement.units_by_slot().map(|(_, units)| units);
    placement
        .green_by_slot()
        .zip(units)
        .map(|((slot, green_watts), units)| {
            let share = Share {
                // What saturates fits nowhere.
                power_watts: placement.power_watts.saturating_mul(units.into()),
                green_watts,
                amounts: placement.amounts.times(units),
            };
            (slot, share)
        })
}

/// Runs are in order and each its own, and every slot has its green power within the job's.
fn check_shape(placement: &Placement) -> Result<(), String> {
    if placement.runs.is_empty() || !Run::are_in_order(&placement.runs) {
        return Err("its runs are not in order".into());
    }
    let n_green: u64 = placement.green.iter().map(|g| u64::from(g.slots)).sum();
    if n_green != u64::from(placement.n_slots()) {
        return Err("its green power does not cover its slots".into());
    }
    if shares(placement).any(|(_, share)| share.green_watts > share.power_watts) {
        return Err("it reserves more green power than it draws".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::{FIRST, placement};

    #[test]
    fn what_is_taken_out_leaves_no_trace() {
        let mut bookings = Bookings::default();
        let first = placement("kmg", FIRST, 4);
        let second = placement("kmg", FIRST.plus(2), 4);
        bookings.add(&first);
        let with_one = bookings.clone();
        bookings.add(&second);
        bookings.remove(&second);
        assert_eq!(bookings, with_one);
        bookings.remove(&first);
        assert_eq!(bookings, Bookings::default());
    }
}
