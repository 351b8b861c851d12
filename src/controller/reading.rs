//! Answers read from a published state that need the mathematics of energy, and the parts of a backup.
//!
//! Reading changes nothing and never waits for the writer.

use crate::{
    controller::{Handle, Published},
    domain::{
        forecast::{Band, ForecastId, ForecastProduct},
        ids::SupplyId,
    },
    slot::{Slot, SlotRange},
    state::Rejection,
};

/// Where the band of a slot comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BandSource {
    /// A fresh issue.
    Forecast,
    /// An issue older than the limit of staleness.
    StaleForecast,
    /// The supply's monthly profile.
    Climatology,
}

/// The band that rules a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulingBand {
    /// The slot.
    pub slot: Slot,
    /// The band, watts.
    pub band: Band,
    /// Where it comes from.
    pub source: BandSource,
    /// The issue it comes from; `None` for climatology.
    pub issue: Option<ForecastId>,
}

/// How good a product was where readings have arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Skill {
    /// The product.
    pub product: ForecastProduct,
    /// Slots compared.
    pub n_slots: u32,
    /// Mean of median minus actual, watts.
    pub bias_watts: f64,
    /// Mean absolute error of the median, watts.
    pub mae_watts: f64,
    /// Mean pinball loss at the quantiles 10, 50 and 90 %, watts.
    pub pinball_watts: [f64; 3],
    /// Share of readings within p10 and p90, thousandths.
    pub coverage_permille: u32,
}

impl Handle {
    /// The bands that rule the slots of a range.
    ///
    /// # Errors
    /// When the supply is not known.
    pub fn ruling_bands(
        &self,
        _supply: &SupplyId,
        _range: SlotRange,
    ) -> Result<Vec<RulingBand>, Rejection> {
        Err(Rejection::Stopped)
    }

    /// How good the issues of a supply were in a range; one entry a product that has slots with readings.
    ///
    /// # Errors
    /// When the supply is not known.
    pub fn skill(
        &self,
        _supply: &SupplyId,
        _product: Option<ForecastProduct>,
        _range: SlotRange,
    ) -> Result<Vec<Skill>, Rejection> {
        Err(Rejection::Stopped)
    }
}

/// The parts of a backup of one state; joined, they are the file.
#[must_use]
pub fn backup_parts(_published: &Published) -> Box<dyn Iterator<Item = Vec<u8>> + Send> {
    Box::new(std::iter::empty())
}
