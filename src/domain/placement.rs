//! Where and when a job is to run and on which power.
//!
//! The energy of a placement adds up exactly: power times units times time is hydro plus solar plus wind plus grid.

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
    /// Runs in order, never overlapping; at least one. Two that touch have different units.
    pub runs: Box<[Run]>,
    /// What one unit takes of the pool in every slot of its runs.
    pub amounts: Amounts,
    /// Facility power of one unit in every slot of its runs, watts.
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

/// A piece of a job's run: slots in a row with the same number of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The slots; never empty.
    pub slots: SlotRange,
    /// Units that run in each: copies of the whole block of tasks. 1 unless the job is malleable.
    pub units: u32,
}

/// The same reserved green power over some slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GreenStretch {
    /// Number of slots, at least 1.
    pub slots: u32,
    /// Reserved green power in each, at most the power of the units that run there; watts.
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
        self.runs.first().map_or(Slot(0), |run| run.slots.start)
    }

    /// Slot after the last run.
    #[must_use]
    pub fn end(&self) -> Slot {
        self.runs.last().map_or(Slot(0), |run| run.slots.end)
    }

    /// Slots of all runs.
    #[must_use]
    pub fn n_slots(&self) -> u32 {
        self.runs.iter().map(|run| run.slots.len()).sum()
    }

    /// Slots of all runs, each as often as units run in it.
    #[must_use]
    pub fn unit_slots(&self) -> u64 {
        self.runs.iter().map(|run| run.unit_slots()).sum()
    }

    /// Units with which it runs in a slot. Where it has no run there it runs as in the run before, or else as in the first.
    #[must_use]
    pub fn units_at(&self, slot: Slot) -> u32 {
        let begun = self.runs.iter().take_while(|run| run.slots.start <= slot);
        let run = begun.last().or_else(|| self.runs.first());
        run.map_or(0, |run| run.units)
    }

    /// The most units that run at once.
    #[must_use]
    pub fn most_units(&self) -> u32 {
        self.runs.iter().map(|run| run.units).max().unwrap_or(0)
    }

    /// Every slot of the runs with the number of units that run in it.
    pub fn units_by_slot(&self) -> impl Iterator<Item = (Slot, u32)> {
        self.runs
            .iter()
            .flat_map(|run| run.slots.iter().map(|slot| (slot, run.units)))
    }

    /// Every slot of the runs with its reserved green power in watts.
    pub fn green_by_slot(&self) -> impl Iterator<Item = (Slot, u64)> {
        let slots = self.runs.iter().flat_map(|run| run.slots.iter());
        let watts = self.green.iter().flat_map(|stretch| {
            std::iter::repeat_n(stretch.watts, usize::try_from(stretch.slots).unwrap_or(0))
        });
        slots.zip(watts)
    }

    /// Reserved green power in a slot of the runs, watts; `None` in any other. As long as the runs and stretches are many,
    /// whatever their length.
    #[must_use]
    pub fn green_at(&self, slot: Slot) -> Option<u64> {
        let begun = self.runs.iter().take_while(|run| run.slots.start <= slot);
        let mut n_before = 0;
        for run in begun {
            if run.slots.contains(slot) {
                n_before += slot.0 - run.slots.start.0;
                let mut stretches = self.green.iter();
                let at = stretches.find(|stretch| {
                    let is_in = n_before < stretch.slots;
                    n_before = n_before.saturating_sub(stretch.slots);
                    is_in
                });
                return at.map(|stretch| stretch.watts);
            }
            n_before += run.slots.len();
        }
        None
    }

    /// Green share of the energy in thousandths, rounded down.
    #[must_use]
    pub fn green_share_permille(&self) -> u32 {
        crate::units::share_permille(self.energy.green(), self.energy.total())
    }
}

impl Run {
    /// A run with one unit.
    #[must_use]
    pub fn single(slots: SlotRange) -> Self {
        Self { slots, units: 1 }
    }

    /// Slots times units.
    #[must_use]
    pub fn unit_slots(self) -> u64 {
        u64::from(self.slots.len()) * u64::from(self.units)
    }

    /// Whether runs are in order, none empty or without a unit, and no two of them could be written as one.
    #[must_use]
    pub fn are_in_order(runs: &[Self]) -> bool {
        let apart = runs.windows(2).all(|pair| {
            let (end, start) = (pair[0].slots.end, pair[1].slots.start);
            end < start || (end == start && pair[0].units != pair[1].units)
        });
        apart
            && runs
                .iter()
                .all(|run| !run.slots.is_empty() && 0 < run.units)
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

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::state::testing::{FIRST, placement};

    #[test]
    fn units_between_runs_and_past_them_are_those_of_the_run_before() {
        let run = |start, end, units| Run {
            slots: SlotRange::new(Slot(start), Slot(end)),
            units,
        };
        let placement = Placement {
            site: SiteId::parse("a").unwrap(),
            pool: PoolId::parse("general").unwrap(),
            runs: [run(4, 6, 2), run(6, 7, 3), run(9, 10, 1)].into(),
            amounts: Amounts::default(),
            power_watts: 1,
            green: Box::default(),
            energy: EnergyMix::default(),
            carbon: Carbon::default(),
            cost_micro_cny: 0,
            confidence: Confidence::Low,
            rtt_us: 0,
            fallback_slots: 0,
            policy_version: "".into(),
            decided_revision: Revision(0),
            stage_in: None,
        };
        let units: Vec<u32> = (3..12).map(|slot| placement.units_at(Slot(slot))).collect();
        assert_eq!(units, [2, 2, 2, 3, 3, 3, 1, 1, 1]);
        assert_eq!(placement.most_units(), 3);
    }

    proptest! {
        #[test]
        fn green_power_of_a_slot_is_that_of_the_walk(
            runs in vec((0..3_u32, 1..6_u32), 1..5),
            stretches in vec((1..5_u32, 0..900_u64), 1..9),
        ) {
            let mut plan = (*placement("kmg", FIRST, 1)).clone();
            let mut at = FIRST;
            let run = |(gap, slots): &(u32, u32)| {
                let start = at.plus(*gap);
                at = start.plus(*slots);
                Run::single(SlotRange::new(start, at))
            };
            plan.runs = runs.iter().map(run).collect();
            let stretch = |&(slots, watts): &(u32, u64)| GreenStretch { slots, watts };
            plan.green = stretches.iter().map(stretch).collect();
            for slot in FIRST.0 - 1..=at.0 {
                let walked = plan.green_by_slot().find(|(of, _)| of.0 == slot);
                prop_assert_eq!(plan.green_at(Slot(slot)), walked.map(|(_, watts)| watts));
            }
        }
    }
}
