//! What a schedule was worth: recomputed from what ran and what was metered, whoever decided it.
//!
//! Shares no code with the planner; integers only. In each slot a site uses green power up to its load and takes the rest
//! from the grid; the green power used is dealt out to the supplies in proportion to what each gives.

use jiff::{Timestamp, tz::Offset};
use serde::Serialize;

use crate::{
    domain::{
        ids::SupplyId,
        site::{Site, TariffPeriod},
    },
    slot::Slot,
    units,
};

use super::{execution::Executed, scenario::Scenario};

/// A schedule's worth at every site, and in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    /// One entry for each site of the scenario.
    pub sites: Vec<SiteScore>,
    /// Sums over all sites.
    pub totals: Totals,
    /// Bounds that the executed work broke.
    pub violations: Violations,
}

/// A site slot by slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteScore {
    /// One entry for each slot of the scenario.
    pub slots: Vec<SlotScore>,
    /// Sums over all slots.
    pub totals: Totals,
}

/// One site and slot; hydro, solar, wind in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotScore {
    /// Facility power drawn, watts.
    pub load_watts: u64,
    /// Green power that was there, watts.
    pub available_watts: [u64; 3],
    /// Green power used, watts; at most what was there, together at most the load.
    pub used_watts: [u64; 3],
}

/// Energy in watt-seconds, carbon in milligrams, money in micro-CNY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// All energy drawn.
    pub energy_watt_seconds: u64,
    /// Hydro, solar and wind energy used.
    pub green_watt_seconds: [u64; 3],
    /// The rest.
    pub grid_watt_seconds: u64,
    /// Green energy that was there.
    pub available_watt_seconds: u64,
    /// All energy at the grid's average.
    pub carbon_location_mg: u64,
    /// Green energy at its contracts' figures, grid energy at the average.
    pub carbon_contract_mg: u64,
    /// Grid energy at the marginal figure.
    pub carbon_marginal_mg: u64,
    /// Green energy at its contracts' prices, grid energy at the tariff.
    pub cost_micro_cny: u64,
}

/// Bounds that the executed work broke: sites and slots in which it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Violations {
    /// Load above the site's power cap.
    pub power_cap_site_slots: u64,
    /// Load above what the grid connection carries.
    pub grid_limit_site_slots: u64,
    /// More cores, memory or GPUs than a pool has.
    pub pool_slots: u64,
    /// Work after the end of the scenario, which is not scored; slots of jobs.
    pub job_slots_after_end: u64,
}

impl SlotScore {
    /// Grid power, watts.
    #[must_use]
    pub fn grid_watts(&self) -> u64 {
        self.load_watts - self.green_watts()
    }

    /// Green power used, watts.
    #[must_use]
    pub fn green_watts(&self) -> u64 {
        self.used_watts.iter().sum()
    }
}

impl Totals {
    /// Green energy used, watt-seconds.
    #[must_use]
    pub fn green(&self) -> u64 {
        self.green_watt_seconds.iter().sum()
    }

    fn add(&mut self, other: &Self) {
        self.energy_watt_seconds += other.energy_watt_seconds;
        for (sum, part) in self
            .green_watt_seconds
            .iter_mut()
            .zip(other.green_watt_seconds)
        {
            *sum += part;
        }
        self.grid_watt_seconds += other.grid_watt_seconds;
        self.available_watt_seconds += other.available_watt_seconds;
        self.carbon_location_mg += other.carbon_location_mg;
        self.carbon_contract_mg += other.carbon_contract_mg;
        self.carbon_marginal_mg += other.carbon_marginal_mg;
        self.cost_micro_cny += other.cost_micro_cny;
    }
}

/// Scores what ran.
#[must_use]
pub fn score(scenario: &Scenario, executed: &[Executed]) -> Score {
    let mut violations = Violations::default();
    let loads = loads(scenario, executed, &mut violations);
    let mut totals = Totals::default();
    let mut sites = Vec::with_capacity(scenario.sites.len());
    for (site, load) in scenario.sites.iter().zip(&loads) {
        let scored = score_site(scenario, site, load);
        for slot in &scored.slots {
            let over = |bound| u64::from(slot.load_watts > bound);
            violations.power_cap_site_slots += over(site.power_cap_watts);
            violations.grid_limit_site_slots += over(site.grid_limit_watts);
        }
        totals.add(&scored.totals);
        sites.push(scored);
    }
    violations.pool_slots = overfull_pools(scenario, executed);
    Score {
        sites,
        totals,
        violations,
    }
}

/// Load of each site in each slot, watts.
fn loads(scenario: &Scenario, executed: &[Executed], violations: &mut Violations) -> Vec<Vec<u64>> {
    let n_slots = index(scenario.range.len());
    let mut loads = vec![vec![0; n_slots]; scenario.sites.len()];
    for piece in executed {
        let within = piece.slots.intersect(scenario.range);
        violations.job_slots_after_end += u64::from(piece.slots.len() - within.len());
        for slot in within.iter() {
            loads[piece.site][index(slot.0 - scenario.range.start.0)] += piece.watts;
        }
    }
    loads
}

fn score_site(scenario: &Scenario, site: &Site, load: &[u64]) -> SiteScore {
    let supplies: Vec<&[u64]> = site
        .supplies
        .iter()
        .map(|supply| given(scenario, &supply.id))
        .collect();
    let mut prices = Prices::new(site);
    let mut sums = Sums::default();
    let mut slots = Vec::with_capacity(load.len());
    let mut given = vec![0; supplies.len()];
    let mut used = vec![0; supplies.len()];
    for (i, (slot, &load_watts)) in scenario.range.iter().zip(load).enumerate() {
        for (watts, series) in given.iter_mut().zip(&supplies) {
            *watts = series[i];
        }
        deal_out(load_watts, &given, &mut used);
        let mut scored = SlotScore {
            load_watts,
            ..SlotScore::default()
        };
        for (supply, (given, used)) in site.supplies.iter().zip(given.iter().zip(&used)) {
            let kind = supply.kind.index();
            scored.available_watts[kind] += given;
            scored.used_watts[kind] += used;
            let used = u128::from(*used);
            sums.contract += used * u128::from(supply.carbon_mg_per_kwh);
            sums.cost += used * u128::from(supply.price_micro_cny_per_kwh);
        }
        sums.add_slot(&scored);
        if load_watts > 0 {
            let at = prices.at(scenario, slot);
            let (load, grid) = (u128::from(load_watts), u128::from(scored.grid_watts()));
            let average = u128::from(site.grid_location_mg_per_kwh);
            sums.location += load * average;
            sums.contract += grid * average;
            sums.marginal += grid * u128::from(at.marginal_mg_per_kwh);
            sums.cost += grid * u128::from(at.price_micro_cny_per_kwh);
        }
        slots.push(scored);
    }
    SiteScore {
        totals: sums.totals(scenario.grid.slot_seconds()),
        slots,
    }
}

fn given<'a>(scenario: &'a Scenario, supply: &SupplyId) -> &'a [u64] {
    // A scenario that exists has readings of every supply.
    &scenario.actuals[supply]
}

/// Deals out what of `load` the supplies can carry, in proportion to what each gives; what is left by rounding goes to
/// the first that can still give.
fn deal_out(load: u64, given: &[u64], used: &mut [u64]) {
    let total: u64 = given.iter().sum();
    let green = load.min(total);
    let mut left = green;
    for (used, given) in used.iter_mut().zip(given) {
        let share = (u128::from(green) * u128::from(*given))
            .checked_div(u128::from(total))
            .unwrap_or(0);
        *used = u64::try_from(share).unwrap_or(u64::MAX);
        left -= *used;
    }
    for (used, given) in used.iter_mut().zip(given) {
        let more = left.min(given - *used);
        *used += more;
        left -= more;
    }
}

/// Sums of power, and of power times rates, over slots.
#[derive(Debug, Default)]
struct Sums {
    load: u128,
    green: [u128; 3],
    available: u128,
    location: u128,
    contract: u128,
    marginal: u128,
    cost: u128,
}

impl Sums {
    fn add_slot(&mut self, slot: &SlotScore) {
        self.load += u128::from(slot.load_watts);
        for (sum, watts) in self.green.iter_mut().zip(slot.used_watts) {
            *sum += u128::from(watts);
        }
        self.available += slot
            .available_watts
            .iter()
            .copied()
            .map(u128::from)
            .sum::<u128>();
    }

    fn totals(&self, slot_seconds: u32) -> Totals {
        let seconds = u128::from(slot_seconds);
        let energy = |watt_slots: u128| narrow(watt_slots * seconds);
        let per_kwh =
            |sum: u128| narrow((sum * seconds).div_ceil(u128::from(units::WATT_SECONDS_PER_KWH)));
        let green: u128 = self.green.iter().sum();
        Totals {
            energy_watt_seconds: energy(self.load),
            green_watt_seconds: self.green.map(energy),
            grid_watt_seconds: energy(self.load - green),
            available_watt_seconds: energy(self.available),
            carbon_location_mg: per_kwh(self.location),
            carbon_contract_mg: per_kwh(self.contract),
            carbon_marginal_mg: per_kwh(self.marginal),
            cost_micro_cny: per_kwh(self.cost),
        }
    }
}

fn narrow(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// What grid energy costs and emits in a slot.
#[derive(Debug, Clone, Copy)]
struct Rates {
    price_micro_cny_per_kwh: u64,
    marginal_mg_per_kwh: u32,
}

/// Rates of a site by civil month and minute.
struct Prices<'a> {
    site: &'a Site,
}

impl<'a> Prices<'a> {
    fn new(site: &'a Site) -> Self {
        Self { site }
    }

    fn at(&mut self, scenario: &Scenario, slot: Slot) -> Rates {
        let (month, minute) = civil(scenario, self.site.utc_offset_minutes, slot);
        let holds = |period: &&TariffPeriod| {
            (period.months.is_empty() || period.months.contains(&month))
                && (period.start_minute..period.end_minute).contains(&minute)
        };
        let period = self.site.tariff.iter().find(holds);
        let marginal = self
            .site
            .grid_marginal_mg_per_kwh
            .get(usize::from(month) - 1);
        Rates {
            price_micro_cny_per_kwh: period.map_or(0, |period| period.price_micro_cny_per_kwh),
            marginal_mg_per_kwh: marginal
                .copied()
                .unwrap_or(self.site.grid_location_mg_per_kwh),
        }
    }
}

/// Civil month (1 to 12) and minute of the day of the start of a slot.
pub(super) fn civil(scenario: &Scenario, utc_offset_minutes: i32, slot: Slot) -> (u8, u16) {
    let time = Timestamp::from_millisecond(scenario.grid.start_of(slot).0).unwrap_or_default();
    let offset = Offset::from_seconds(utc_offset_minutes * 60).unwrap_or(Offset::UTC);
    let civil = offset.to_datetime(time);
    let month = u8::try_from(civil.month()).unwrap_or(1);
    let minute = i32::from(civil.hour()) * 60 + i32::from(civil.minute());
    (month, u16::try_from(minute).unwrap_or(0))
}

/// Pools and slots in which more was taken than there is.
fn overfull_pools(scenario: &Scenario, executed: &[Executed]) -> u64 {
    let n_slots = index(scenario.range.len());
    let mut overfull = 0;
    for (site_position, site) in scenario.sites.iter().enumerate() {
        for (pool_position, pool) in site.pools.iter().enumerate() {
            let capacity = pool.capacity();
            let mut used = vec![crate::domain::site::Amounts::default(); n_slots];
            let here =
                |piece: &&Executed| piece.site == site_position && piece.pool == pool_position;
            for piece in executed.iter().filter(here) {
                for slot in piece.slots.intersect(scenario.range).iter() {
                    let used = &mut used[index(slot.0 - scenario.range.start.0)];
                    used.cpu_cores += piece.amounts.cpu_cores;
                    used.memory_mib += piece.amounts.memory_mib;
                    used.gpus += piece.amounts.gpus;
                }
            }
            let over = used.iter().filter(|used| !capacity.cover(used)).count();
            overfull += u64::try_from(over).unwrap_or(u64::MAX);
        }
    }
    overfull
}

fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
