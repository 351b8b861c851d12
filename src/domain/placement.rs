//! Where and when a job is to run and on which power.
//!
//! The energy of a placement adds up exactly: power times time is hydro plus solar plus wind plus grid.

use std::sync::Arc;

use crate::{
    domain::{
        ids::{PoolId, Revision, SiteId},
        link::StageIn,
        outlook::Confidence,
        site::Amounts,
    },
    slot::{Slot, SlotRange},
};

/// A site, a pool, runs, and the energy, carbon and cost planned for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The site.
    pub site: SiteId,
    /// The pool.
    pub pool: PoolId,
    /// Runs in order, never touching or overlapping; at least one.
    pub runs: Box<[SlotRange]>,
    /// What the job takes of the pool in every slot of its runs.
    pub amounts: Amounts,
    /// Facility power in every slot of its runs, watts.
    pub power_watts: u64,
    /// Reserved green power, slot after slot of all runs, in stretches.
    pub green: Box<[GreenStretch]>,
    /// Energy by source.
    pub energy: EnergyMix,
    /// Carbon, three figures.
    pub carbon: Carbon,
    /// Cost of energy, micro-CNY.
    pub cost_micro_cny: u64,
    /// Confidence the plan rests on.
    pub confidence: Confidence,
    /// Round-trip time held against the budget, microseconds.
    pub rtt_us: u32,
    /// Slots without a fresh forecast.
    pub fallback_slots: u32,
    /// Version of the data rules.
    pub policy_version: Arc<str>,
    /// Revision the decision rests on.
    pub decided_revision: Revision,
    /// The transfer of its input, over before the first run; present exactly when the job has input.
    pub stage_in: Option<Arc<StageIn>>,
}

/// The same reserved green power over some slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GreenStretch {
    /// Number of slots, at least 1.
    pub slots: u32,
    /// Reserved green power in each, at most the placement's power; watts.
    pub watts: u64,
}

/// Energy by source, watt-seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EnergyMix {
    /// Hydro, solar, wind, in the order of `SupplyKind::ALL`.
    pub green_watt_seconds: [u64; 3],
    /// Grid.
    pub grid_watt_seconds: u64,
}

/// Carbon in milligrams CO2e: three figures that are never mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Carbon {
    /// All energy at the grid's average.
    pub location_mg: u64,
    /// Green energy at its contracts' figures, grid energy at the average.
    pub contract_mg: u64,
    /// Grid energy at the marginal figure.
    pub marginal_mg: u64,
}

impl Placement {
    /// First slot of the first run.
    #[must_use]
    pub fn start(&self) -> Slot {
        self.runs.first().map_or(Slot(0), |run| run.start)
    }

    /// Slot after the last run.
    #[must_use]
    pub fn end(&self) -> Slot {
        self.runs.last().map_or(Slot(0), |run| run.end)
    }

    /// Slots of all runs.
    #[must_use]
    pub fn n_slots(&self) -> u32 {
        self.runs.iter().map(|run| run.len()).sum()
    }

    /// Every slot of the runs with its reserved green power in watts.
    pub fn green_by_slot(&self) -> impl Iterator<Item = (Slot, u64)> {
        let slots = self.runs.iter().flat_map(|run| run.iter());
        let watts = self.green.iter().flat_map(|stretch| {
            std::iter::repeat_n(stretch.watts, usize::try_from(stretch.slots).unwrap_or(0))
        });
        slots.zip(watts)
    }

    /// Green share of the energy in thousandths, rounded down.
    #[must_use]
    pub fn green_share_permille(&self) -> u32 {
        crate::units::share_permille(self.energy.green(), self.energy.total())
    }
}

impl EnergyMix {
    /// Energy that is not grid energy, watt-seconds.
    #[must_use]
    pub fn green(&self) -> u64 {
        self.green_watt_seconds.iter().sum()
    }

    /// All energy, watt-seconds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.green() + self.grid_watt_seconds
    }
}
