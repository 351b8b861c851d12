//! What each job and each hour of the day got of the green power that a site used.
//!
//! In a slot every job at a site gets the same share of its power green, rounded down: jobs never claim more than was
//! used.

use crate::slot::Slot;

use super::{
    execution::Executed,
    scenario::Scenario,
    score::{Score, civil},
};

/// One job's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct JobTally {
    /// Energy drawn within the scenario, watt-seconds.
    pub(super) energy_watt_seconds: u64,
    /// Of it green, watt-seconds.
    pub(super) green_watt_seconds: u64,
    /// Slots run.
    pub(super) slots: u32,
    /// First slot.
    pub(super) start: Option<Slot>,
    /// Site of its last piece.
    pub(super) site: Option<usize>,
}

/// Part of each job of the scenario.
pub(super) fn by_job(scenario: &Scenario, executed: &[Executed], score: &Score) -> Vec<JobTally> {
    let seconds = u64::from(scenario.grid.slot_seconds());
    let mut tallies = vec![JobTally::default(); scenario.jobs.len()];
    for piece in executed {
        let tally = &mut tallies[piece.job];
        tally.slots += piece.slots.len();
        tally.start = Some(tally.start.unwrap_or(piece.slots.start));
        tally.site = Some(piece.site);
        for slot in piece.slots.intersect(scenario.range).iter() {
            let index = usize::try_from(slot.0 - scenario.range.start.0).unwrap_or(usize::MAX);
            let at = &score.sites[piece.site].slots[index];
            let green = u128::from(piece.watts) * u128::from(at.green_watts());
            let green = green.checked_div(u128::from(at.load_watts)).unwrap_or(0);
            tally.energy_watt_seconds += piece.watts * seconds;
            tally.green_watt_seconds += u64::try_from(green).unwrap_or(u64::MAX) * seconds;
        }
    }
    tallies
}

/// Green and all energy by hour of the civil day of each site, in watt-slots.
pub(super) fn by_hour(scenario: &Scenario, score: &Score) -> [(u64, u64); 24] {
    let mut hours = [(0, 0); 24];
    for (site, scored) in scenario.sites.iter().zip(&score.sites) {
        for (slot, at) in scenario.range.iter().zip(&scored.slots) {
            if at.load_watts > 0 {
                let (_, minute) = civil(scenario, site.utc_offset_minutes, slot);
                let hour = &mut hours[usize::from(minute / 60)];
                hour.0 += at.green_watts();
                hour.1 += at.load_watts;
            }
        }
    }
    hours
}
