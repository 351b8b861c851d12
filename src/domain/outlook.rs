//! What a site's energy looks like slot by slot: made by `energy`, read by `planner`.
//!
//! All columns have one entry for each slot of the range.

use crate::slot::SlotRange;

/// Green power and prices of one site over the horizon.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SiteOutlook {
    /// Slots covered.
    pub range: SlotRange,
    /// Green power of all supplies together by confidence level ([`Confidence`]), watts.
    pub green_watts: [Vec<u64>; 3],
    /// Median power by supply kind (hydro, solar, wind), watts: the key by which green energy is attributed.
    pub median_by_kind_watts: [Vec<u64>; 3],
    /// Life-cycle carbon of the green mix, mg/kWh.
    pub green_mg_per_kwh: Vec<u32>,
    /// Contract price of the green mix, micro-CNY/kWh.
    pub green_price_micro_cny_per_kwh: Vec<u64>,
    /// Average carbon of the grid, mg/kWh.
    pub grid_location_mg_per_kwh: Vec<u32>,
    /// Marginal carbon of the grid, mg/kWh.
    pub grid_marginal_mg_per_kwh: Vec<u32>,
    /// Price of grid energy, micro-CNY/kWh.
    pub grid_price_micro_cny_per_kwh: Vec<u64>,
    /// Whether some supply had no fresh forecast for the slot.
    pub fallback: Vec<bool>,
}

/// How sure the planned green power must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Confidence {
    /// 100 thousandths: the p90 forecast.
    Low,
    /// 500 thousandths: the p50 forecast.
    #[default]
    Even,
    /// 900 thousandths: the p10 forecast.
    High,
}

impl Confidence {
    /// All levels, in the order of [`SiteOutlook::green_watts`].
    pub const ALL: [Self; 3] = [Self::Low, Self::Even, Self::High];

    /// Position in [`SiteOutlook::green_watts`].
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Low => 0,
            Self::Even => 1,
            Self::High => 2,
        }
    }

    /// Probability in thousandths that the green power is there.
    #[must_use]
    pub fn permille(self) -> u32 {
        match self {
            Self::Low => 100,
            Self::Even => 500,
            Self::High => 900,
        }
    }

    /// The level of a probability in thousandths; `None` unless it is one of the three.
    #[must_use]
    pub fn from_permille(permille: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|level| level.permille() == permille)
    }
}
