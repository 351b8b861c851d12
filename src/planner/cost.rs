//! What a window costs: grid energy, carbon, money, and the order in which placements are compared.
//!
//! All sums are exact integers of watts times rate over slots, bounded below 2^64 by the limits; units come last.

use std::ops::Range;

use crate::{
    domain::{
        job::{Flexibility, JobSpec, Weights},
        outlook::Confidence,
        placement::{Carbon, EnergyMix, GreenStretch},
        site::SupplyKind,
    },
    planner::site_table::{PrefixRates, SiteTable},
    slot::Slot,
    units,
};

/// What counts in the strict order, over some slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Sums {
    /// Grid power, watts x slots.
    pub(super) grid: u64,
    /// Contract carbon, watts x mg/kWh x slots.
    pub(super) carbon: u64,
    /// Cost of energy, watts x micro-CNY/kWh x slots.
    pub(super) cost: u64,
}

/// Rank of a placement; the least is the best. The order of the fields is the order of comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Score {
    /// What goes before the strict order; see [`Aim::total`].
    pub(super) total: u128,
    pub(super) sums: Sums,
    pub(super) end: Slot,
    /// Position of the site in the order of ids.
    pub(super) site: usize,
    pub(super) start: Slot,
}

/// By what placements are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// Grid energy, the end, contract carbon, cost, strictly in this order: green power that is not used now is gone,
    /// that of later slots will find other jobs.
    Early,
    /// Grid energy, contract carbon, cost, end, strictly in this order: for malleable jobs, which would end early by
    /// drawing more.
    Strict,
    /// The sum of all, each at its price; the strict order breaks ties.
    Weighted(Weights),
    /// The end first, then the strict order.
    Soonest,
}

/// Reads what a job of constant power costs at a site in any slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meter<'a> {
    table: &'a SiteTable,
    green_free: &'a [u64],
    watts: u64,
}

/// What is written into a placement about its energy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bill {
    pub(super) green: Box<[GreenStretch]>,
    pub(super) energy: EnergyMix,
    pub(super) carbon: Carbon,
    pub(super) cost_micro_cny: u64,
    pub(super) fallback_slots: u32,
}

impl Sums {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            grid: self.grid + other.grid,
            carbon: self.carbon + other.carbon,
            cost: self.cost + other.cost,
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            grid: self.grid - other.grid,
            carbon: self.carbon - other.carbon,
            cost: self.cost - other.cost,
        }
    }
}

impl Aim {
    /// The order that the job asks for.
    pub(super) fn of(spec: &JobSpec) -> Self {
        match (spec.weights, &spec.flexibility) {
            (Some(weights), _) => Self::Weighted(weights),
            (None, Flexibility::Malleable { .. }) => Self::Strict,
            (None, Flexibility::Rigid | Flexibility::Interruptible { .. }) => Self::Early,
        }
    }

    /// What goes before the strict order, for runs that end `delay` slots after the earliest start.
    pub(super) fn total(self, sums: Sums, delay: u32) -> u128 {
        match self {
            // No horizon has 2^32 slots.
            Self::Early => u128::from(sums.grid) << 32 | u128::from(delay),
            Self::Strict => 0,
            Self::Weighted(weights) => weighted(weights, sums) + weighted_delay(weights, delay),
            Self::Soonest => u128::from(delay),
        }
    }
}

/// Sums at their prices, in micro-CNY x 3.6e12 / slot seconds: the least unit in which every term is whole.
///
/// Watts x slots are kWh when multiplied by slot seconds / 3.6e6, and carbon goes from mg to kg by 1e6 more. The
/// greatest possible total is below 2^97.
pub(super) fn weighted(weights: Weights, sums: Sums) -> u128 {
    const MG_PER_KG: u128 = 1_000_000;
    u128::from(sums.grid) * u128::from(weights.grid_energy_micro_cny_per_kwh) * MG_PER_KG
        + u128::from(sums.carbon) * u128::from(weights.carbon_micro_cny_per_kg)
        + u128::from(sums.cost) * u128::from(weights.cost_permille) * (MG_PER_KG / 1_000)
}

/// Slots of delay at their price, in the unit of [`weighted`]: hours are slot seconds / 3600.
fn weighted_delay(weights: Weights, delay: u32) -> u128 {
    const UNITS_PER_SLOT_HOUR: u128 = 1_000_000_000;
    u128::from(delay) * u128::from(weights.delay_micro_cny_per_hour) * UNITS_PER_SLOT_HOUR
}

/// Greatest grid power (watts x slots) of a job that keeps its green share over `n_slots` slots.
pub(super) fn grid_bound(watts: u64, n_slots: u64, min_share_permille: u32) -> u64 {
    let grid_permille = 1_000_u32.saturating_sub(min_share_permille);
    let bound = u128::from(watts) * u128::from(n_slots) * u128::from(grid_permille) / 1_000;
    u64::try_from(bound).unwrap_or(u64::MAX)
}

/// Grid power that a green share leaves to a job of so many watts, thousandths of watts.
pub(super) fn allowed_grid(watts: u64, min_share_permille: u32) -> i128 {
    i128::from(1_000 - min_share_permille.min(1_000)) * i128::from(watts)
}

impl<'a> Meter<'a> {
    pub(super) fn new(table: &'a SiteTable, confidence: Confidence, watts: u64) -> Self {
        Self {
            table,
            green_free: table.green_free(confidence),
            watts,
        }
    }

    /// The same for so many units of the job at once. They have room: together they stay within the site's power.
    pub(super) fn times(self, units: u32) -> Self {
        Self {
            watts: self.watts * u64::from(units),
            ..self
        }
    }

    /// Facility power, watts.
    pub(super) fn watts(&self) -> u64 {
        self.watts
    }

    /// Green power left for the job, by slot of `slots`.
    pub(super) fn green_free(&self, slots: Range<usize>) -> &'a [u64] {
        &self.green_free[slots]
    }

    /// Grid power in a slot, watts.
    pub(super) fn grid_at(&self, slot: usize) -> u64 {
        self.watts.saturating_sub(self.green_free[slot])
    }

    /// Costs of one slot.
    pub(super) fn sums_at(&self, slot: usize) -> Sums {
        let outlook = &self.table.outlook;
        let grid = self.grid_at(slot);
        let green = self.watts - grid;
        Sums {
            grid,
            carbon: green * u64::from(outlook.green_mg_per_kwh[slot])
                + grid * u64::from(outlook.grid_location_mg_per_kwh[slot]),
            cost: green * outlook.green_price_micro_cny_per_kwh[slot]
                + grid * outlook.grid_price_micro_cny_per_kwh[slot],
        }
    }

    /// Costs of one watt in a slot: of green power and of grid power.
    pub(super) fn rates_at(&self, slot: usize) -> [Sums; 2] {
        let outlook = &self.table.outlook;
        let green = Sums {
            grid: 0,
            carbon: outlook.green_mg_per_kwh[slot].into(),
            cost: outlook.green_price_micro_cny_per_kwh[slot],
        };
        let grid = Sums {
            grid: 1,
            carbon: outlook.grid_location_mg_per_kwh[slot].into(),
            cost: outlook.grid_price_micro_cny_per_kwh[slot],
        };
        [green, grid]
    }

    /// Costs of some slots, one by one.
    pub(super) fn sums(&self, slots: Range<usize>) -> Sums {
        slots.fold(Sums::default(), |sums, slot| sums.plus(self.sums_at(slot)))
    }

    /// Costs of a window whose grid power is known and that is all green or all grid; `None` for a mixed one.
    pub(super) fn pure_sums(&self, slots: Range<usize>, grid: u64) -> Option<Sums> {
        let rates: &PrefixRates = self.table.rates();
        let n_slots = u64::try_from(slots.len()).unwrap_or(u64::MAX);
        let (mg, price) = if grid == 0 {
            (&rates.green_mg, &rates.green_price)
        } else if grid == self.watts * n_slots {
            (&rates.grid_mg, &rates.grid_price)
        } else {
            return None;
        };
        let rate = |prefix: &[u64]| self.watts * (prefix[slots.end] - prefix[slots.start]);
        Some(Sums {
            grid,
            carbon: rate(mg),
            cost: rate(price),
        })
    }

    /// Everything about the energy of some slots, in order, each with the units that run in it.
    pub(super) fn bill(
        &self,
        slots: impl Iterator<Item = (usize, u32)>,
        slot_seconds: u32,
    ) -> Bill {
        let outlook = &self.table.outlook;
        let mut green: Vec<GreenStretch> = Vec::new();
        let mut green_watt_seconds = [0_u64; 3];
        let mut sums = Sums::default();
        let (mut location, mut marginal, mut fallback_slots) = (0_u64, 0_u64, 0_u32);
        for (slot, units) in slots {
            let meter = self.times(units);
            let grid = meter.grid_at(slot);
            let watts = meter.watts - grid;
            match green.last_mut() {
                Some(stretch) if stretch.watts == watts => stretch.slots += 1,
                _ => green.push(GreenStretch { slots: 1, watts }),
            }
            let parts = attribute(watts * u64::from(slot_seconds), self.kinds_at(slot));
            for (total, part) in green_watt_seconds.iter_mut().zip(parts) {
                *total += part;
            }
            sums = sums.plus(meter.sums_at(slot));
            location += meter.watts * u64::from(outlook.grid_location_mg_per_kwh[slot]);
            marginal += grid * u64::from(outlook.grid_marginal_mg_per_kwh[slot]);
            fallback_slots += u32::from(outlook.fallback[slot]);
        }
        Bill {
            green: green.into(),
            energy: EnergyMix {
                green_watt_seconds,
                grid_watt_seconds: sums.grid * u64::from(slot_seconds),
            },
            carbon: Carbon {
                location_mg: units::carbon_mg(location, slot_seconds),
                contract_mg: units::carbon_mg(sums.carbon, slot_seconds),
                marginal_mg: units::carbon_mg(marginal, slot_seconds),
            },
            cost_micro_cny: units::cost_micro_cny(sums.cost, slot_seconds),
            fallback_slots,
        }
    }

    /// Shares of hydro, solar and wind in a slot's green power: the median forecasts; where all of them are 0 the
    /// contracted powers, because then nobody knows better.
    fn kinds_at(&self, slot: usize) -> [u64; 3] {
        let medians = [0, 1, 2].map(|kind| self.table.outlook.median_by_kind_watts[kind][slot]);
        if medians.iter().any(|&watts| 0 < watts) {
            return medians;
        }
        let mut contracted = [0; 3];
        for supply in &self.table.site.supplies {
            contracted[supply.kind.index()] += supply.nameplate_watts;
        }
        contracted
    }
}

/// Splits an amount by weights: whole parts first, then one unit each to the largest remainders, the earlier kind
/// first; all to hydro when no weight is known. The parts add up to the amount.
pub(super) fn attribute(amount: u64, weights: [u64; 3]) -> [u64; 3] {
    let total: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    let mut parts = [0; 3];
    if total == 0 {
        parts[SupplyKind::Hydro.index()] = amount;
        return parts;
    }
    let mut remainders = [0; 3];
    for kind in 0..3 {
        let product = u128::from(amount) * u128::from(weights[kind]);
        parts[kind] = u64::try_from(product / total).expect("a part is at most the amount");
        remainders[kind] = product % total;
    }
    let mut kinds = [0, 1, 2];
    kinds.sort_by_key(|&kind| std::cmp::Reverse(remainders[kind]));
    let left = amount - parts.iter().sum::<u64>();
    for kind in kinds.into_iter().take(usize::try_from(left).unwrap_or(3)) {
        parts[kind] += 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_the_largest_remainder_gets_the_odd_unit() {
        let cases = [
            (10, [1, 1, 1], [4, 3, 3]),
            (10, [0, 1, 2], [0, 3, 7]),
            (2, [1, 1, 1], [1, 1, 0]),
            (7, [0, 0, 5], [0, 0, 7]),
            (7, [0, 0, 0], [7, 0, 0]),
            (0, [3, 2, 1], [0, 0, 0]),
        ];
        for (amount, weights, expected) in cases {
            assert_eq!(
                attribute(amount, weights),
                expected,
                "{amount} by {weights:?}"
            );
        }
    }

    #[test]
    fn the_largest_job_over_the_longest_horizon_does_not_overflow() {
        use crate::limits;
        let slots = u64::from(limits::HORIZON_SLOTS_MAX);
        let energy = limits::SITE_POWER_WATTS_MAX * slots;
        let sums = Sums {
            grid: energy,
            carbon: energy * u64::from(limits::CARBON_MG_PER_KWH_MAX),
            cost: energy * limits::PRICE_MICRO_CNY_PER_KWH_MAX,
        };
        let weights = Weights {
            grid_energy_micro_cny_per_kwh: limits::WEIGHT_MICRO_CNY_MAX,
            carbon_micro_cny_per_kg: limits::WEIGHT_MICRO_CNY_MAX,
            cost_permille: limits::WEIGHT_COST_PERMILLE_MAX,
            delay_micro_cny_per_hour: limits::WEIGHT_MICRO_CNY_MAX,
        };
        assert!(Aim::Weighted(weights).total(sums, limits::HORIZON_SLOTS_MAX) < 1 << 97);
    }

    #[test]
    fn weights_add_up_in_money() {
        // 1 kW from the grid for 4 slots of 15 min = 1 kWh at 3 CNY, 1 kg at 5 CNY, half of 2 CNY, 1 h at 7 CNY.
        let weights = Weights {
            grid_energy_micro_cny_per_kwh: 3_000_000,
            carbon_micro_cny_per_kg: 5_000_000,
            cost_permille: 500,
            delay_micro_cny_per_hour: 7_000_000,
        };
        let sums = Sums {
            grid: 4_000,
            carbon: 4_000 * 1_000_000,
            cost: 4_000 * 2_000_000,
        };
        let units_per_micro_cny = 3_600_000_000_000 / 900;
        assert_eq!(
            Aim::Weighted(weights).total(sums, 4),
            16_000_000 * units_per_micro_cny
        );
    }

    #[test]
    fn a_green_share_bounds_the_grid_power_rounded_down() {
        assert_eq!(grid_bound(1_000, 3, 1_000), 0);
        assert_eq!(grid_bound(1_000, 3, 0), 3_000);
        assert_eq!(grid_bound(7, 1, 500), 3);
    }
}
