//! Answers that need no decision: computed from a published state, on the reader's own thread.
//!
//! The same energy mathematics serve these answers and the planner.

use std::sync::Arc;

use crate::{
    controller::Handle,
    domain::{
        forecast::{ForecastId, ForecastProduct},
        ids::SupplyId,
    },
    energy::{outlook, skill, sun::Place},
    slot::{Slot, SlotRange},
    state::Rejection,
};

pub use crate::energy::staleness::BandSource;

/// The band that rules one slot of a supply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulingBand {
    /// The slot.
    pub slot: Slot,
    /// Its band.
    pub band: crate::domain::forecast::Band,
    /// Where the band comes from.
    pub source: BandSource,
    /// The issue it comes from; `None` for climatology.
    pub issue: Option<ForecastId>,
}

pub use crate::energy::skill::ProductSkill as Skill;

impl Handle {
    /// The bands that rule a supply's slots as of now.
    ///
    /// # Errors
    /// When there is no such supply.
    pub fn ruling_bands(
        &self,
        supply: &SupplyId,
        range: SlotRange,
    ) -> Result<Vec<RulingBand>, Rejection> {
        let state = &self.published().state;
        let (site, contract) = state.known_supply(supply)?;
        let window = outlook::Window {
            range,
            grid: state.settings().grid,
            now: self.now(),
            stale_after_ms: self.options().stale_after_ms,
        };
        let issues = state.issues_of(supply).map(Arc::as_ref);
        let bands = outlook::ruling_bands(contract, Place::of(site), issues, window);
        Ok(bands
            .into_iter()
            .map(|ruling| RulingBand {
                slot: ruling.slot,
                band: ruling.band,
                source: ruling.source,
                issue: ruling.issue.map(|issue| issue.id.clone()),
            })
            .collect())
    }

    /// How good the forecasts of a supply were, by product.
    ///
    /// # Errors
    /// When there is no such supply.
    pub fn skill(
        &self,
        supply: &SupplyId,
        product: Option<ForecastProduct>,
        range: SlotRange,
    ) -> Result<Vec<Skill>, Rejection> {
        let state = &self.published().state;
        state.known_supply(supply)?;
        let issues = state.issues_of(supply).map(Arc::as_ref);
        let actuals = state.actuals_of(supply);
        let actuals = actuals
            .into_iter()
            .flat_map(|readings| readings.iter().map(|(slot, watts)| (*slot, *watts)));
        let mut skills = skill::skills(issues, actuals, range, state.settings().grid);
        skills.retain(|skill| product.is_none_or(|product| skill.product == product));
        Ok(skills)
    }
}
