//! The words of the energy ledger: use of a site-slot, lines, entries.
//!
//! Plain data; that an entry balances is made in `ledger` and checked in `state`.

use std::sync::Arc;

use crate::{
    domain::{
        attempt::Fence,
        ids::{JobId, SiteId, SupplyId},
        placement::{Carbon, EnergyMix},
        site::SupplyKind,
    },
    slot::{Slot, SlotRange, TimeMs},
};

/// What names a use: an attempt of a job in a slot of a site.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UseKey {
    /// The site.
    pub site: SiteId,
    /// The slot.
    pub slot: Slot,
    /// The job.
    pub job: JobId,
    /// Its attempt.
    pub fence: Fence,
}

/// What an attempt made of a slot, by the placement that was in force when the slot passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// How long its program ran in the slot, milliseconds; at most the slot.
    pub run_ms: u32,
    /// Units that ran.
    pub units: u32,
    /// Facility power of a unit, watts.
    pub power_watts: u64,
    /// Green power reserved for all units, watts.
    pub green_watts: u64,
    /// Cores of a unit.
    pub cpu_cores: u64,
    /// GPUs of a unit.
    pub gpus: u64,
    /// Its part of the facility energy that its agent measured over the whole attempt, watt-seconds.
    pub reported_watt_seconds: Option<u64>,
    /// Facility energy that was read for this slot, watt-seconds; counts before the one that was reported.
    pub read_watt_seconds: Option<u64>,
}

/// Energy of a site's meter in consecutive slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readings {
    /// The site.
    pub site: SiteId,
    /// Slots covered.
    pub range: SlotRange,
    /// Facility energy in each, watt-seconds.
    pub watt_seconds: Arc<[u64]>,
}

/// Energy of an attempt in consecutive slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobReadings {
    /// The site it ran at.
    pub site: SiteId,
    /// The job.
    pub job: JobId,
    /// Its attempt.
    pub fence: Fence,
    /// Slots covered.
    pub range: SlotRange,
    /// Facility energy in each, watt-seconds.
    pub watt_seconds: Arc<[u64]>,
}

/// Energy with what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// By source.
    pub energy: EnergyMix,
    /// Three figures.
    pub carbon: Carbon,
    /// Cost, micro-CNY.
    pub cost_micro_cny: u64,
    /// Water, millilitres.
    pub water_ml: u64,
}

/// One job's part of a site-slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The job.
    pub job: JobId,
    /// Its attempt.
    pub fence: Fence,
    /// How long it ran, milliseconds.
    pub run_ms: u32,
    /// Units that ran.
    pub units: u32,
    /// Cores of a unit.
    pub cpu_cores: u64,
    /// GPUs of a unit.
    pub gpus: u64,
    /// What it is charged with.
    pub figures: Figures,
    /// Green energy reserved for the time that it ran, watt-seconds.
    pub reserved_watt_seconds: u64,
    /// Whether its energy was measured.
    pub is_measured: bool,
    /// Whether its energy was scaled down to what the meter says.
    pub is_scaled: bool,
}

/// A supply in a site-slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupplyShare {
    /// The supply.
    pub id: SupplyId,
    /// Its kind.
    pub kind: SupplyKind,
    /// What it delivered, watt-seconds.
    pub available_watt_seconds: u64,
    /// What of it the site used, watt-seconds.
    pub used_watt_seconds: u64,
}

/// Totals of a site-slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// 1 for the first, 2 for its first correction.
    pub number: u32,
    /// When it was made.
    pub at: TimeMs,
    /// What the meter says, watt-seconds.
    pub metered_watt_seconds: u64,
    /// Supplies by id.
    pub supplies: Box<[SupplyShare]>,
    /// All lines together.
    pub jobs: Figures,
    /// What no job claims.
    pub idle: Figures,
    /// Green energy reserved for all lines, watt-seconds.
    pub reserved_watt_seconds: u64,
    /// Number of lines.
    pub n_lines: u32,
    /// Whether a line was scaled.
    pub is_scaled: bool,
}

/// A settled site-slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The entry that counts.
    pub entry: Entry,
    /// Entries before it, oldest first, at most [`crate::limits::ENTRIES_KEPT_MAX`].
    pub earlier: Box<[Entry]>,
    /// Its lines by job and attempt; `None` once they are dropped.
    pub lines: Option<Arc<[Line]>>,
}

impl Use {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.run_ms == 0 && self.read_watt_seconds.is_none()
    }

    /// Time that its units ran, milliseconds.
    #[must_use]
    pub fn unit_run_ms(&self) -> u64 {
        u64::from(self.run_ms) * u64::from(self.units)
    }

    /// Measured energy where there is some, watt-seconds.
    #[must_use]
    pub fn measured_watt_seconds(&self) -> Option<u64> {
        self.read_watt_seconds.or(self.reported_watt_seconds)
    }
}

impl Figures {
    /// Adds others; sums that pass 64 bits stay at the end.
    pub fn add(&mut self, other: &Self) {
        let Self {
            energy,
            carbon,
            cost_micro_cny,
            water_ml,
        } = other;
        let pairs = self.energy.green_watt_seconds.iter_mut();
        for (sum, part) in pairs.zip(energy.green_watt_seconds) {
            add(sum, part);
        }
        add(&mut self.energy.grid_watt_seconds, energy.grid_watt_seconds);
        add(&mut self.carbon.location_mg, carbon.location_mg);
        add(&mut self.carbon.contract_mg, carbon.contract_mg);
        add(&mut self.carbon.marginal_mg, carbon.marginal_mg);
        add(&mut self.cost_micro_cny, *cost_micro_cny);
        add(&mut self.water_ml, *water_ml);
    }
}

impl Line {
    /// Time that its units ran, milliseconds.
    #[must_use]
    pub fn unit_run_ms(&self) -> u64 {
        u64::from(self.run_ms) * u64::from(self.units)
    }
}

impl Entry {
    /// Green energy used, watt-seconds.
    #[must_use]
    pub fn green_watt_seconds(&self) -> u64 {
        self.jobs.energy.green() + self.idle.energy.green()
    }

    /// Green energy delivered, watt-seconds.
    #[must_use]
    pub fn available_watt_seconds(&self) -> u64 {
        let supplies = self.supplies.iter();
        supplies.map(|supply| supply.available_watt_seconds).sum()
    }
}

fn add(sum: &mut u64, part: u64) {
    *sum = sum.saturating_add(part);
}
