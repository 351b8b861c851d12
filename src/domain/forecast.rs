//! Forecast issues and actuals of one supply.
//!
//! An issue never changes once stored; its bands are ordered and cover its range without gaps.

use std::{fmt, sync::Arc};

use crate::{
    domain::ids::SupplyId,
    slot::{SlotRange, TimeMs},
};

/// Kind of issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForecastProduct {
    /// For the whole next day.
    DayAhead,
    /// For the next hours.
    Intraday,
    /// For the next week.
    WeekAhead,
}

/// Power expected in one slot, mean watts: `p10 <= p50 <= p90`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Band {
    /// Exceeded with 90 % probability.
    pub p10_watts: u64,
    /// Median.
    pub p50_watts: u64,
    /// Exceeded with 10 % probability.
    pub p90_watts: u64,
}

/// One issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForecastIssue {
    /// What it is called.
    pub id: ForecastId,
    /// Slots it covers.
    pub range: SlotRange,
    /// One band for each slot of the range.
    pub bands: Arc<[Band]>,
}

/// What names an issue: who, which product, when. Issues of a supply sort by issue time first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForecastId {
    /// The supply.
    pub supply: SupplyId,
    /// When it was issued; the newest rules.
    pub issued_at: TimeMs,
    /// The product; at the same moment the later one of day-ahead, intraday, week-ahead rules.
    pub product: ForecastProduct,
}

/// Metered power of a supply over consecutive slots, mean watts in each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actuals {
    /// The supply.
    pub supply: SupplyId,
    /// Slots covered.
    pub range: SlotRange,
    /// One value for each slot of the range.
    pub watts: Arc<[u64]>,
}

impl ForecastProduct {
    /// All products.
    pub const ALL: [Self; 3] = [Self::DayAhead, Self::Intraday, Self::WeekAhead];

    /// The short name in ids and files: `DA`, `ID`, `WA`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::DayAhead => "DA",
            Self::Intraday => "ID",
            Self::WeekAhead => "WA",
        }
    }

    /// Reads the short name.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|product| product.code() == code)
    }
}

impl ForecastId {
    /// Reads what `Display` prints; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let supply = SupplyId::parse(parts.next()?).ok()?;
        let product = ForecastProduct::from_code(parts.next()?)?;
        let issued_at = TimeMs(parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(Self {
            supply,
            issued_at,
            product,
        })
    }
}

/// Prints `<supply>:<product code>:<milliseconds since the epoch>`.
impl fmt::Display for ForecastId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}",
            self.supply,
            self.product.code(),
            self.issued_at.0
        )
    }
}
