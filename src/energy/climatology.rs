//! What a supply gives on average by the month, where no forecast helps.
//!
//! The middle of the band follows the supply's monthly profile: the factor of a month holds for all of it, without a
//! blend at its ends, so that the month's mean is the factor that the operator gave.

use crate::{
    domain::{
        forecast::Band,
        site::{Supply, SupplyKind},
    },
    energy::{
        civil::{civil_slots, month_around},
        sun::{Place, mean_day_sine, sine_elevation},
    },
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
};

/// Below this mean sine of the elevation (polar night) there is no shape to scale: solar gives nothing.
const SINE_MEAN_MIN: f64 = 0.001;
const HALF_DAY_MS: i64 = 43_200_000;
const DAY_MS: i64 = 86_400_000;

/// Months and sun of a place over a range, worked out once and shared by its supplies.
#[derive(Debug, Clone)]
pub struct Climate {
    range: SlotRange,
    /// Month of each slot, January is 0.
    months: Vec<usize>,
    /// Clear-sky power of each slot relative to the mean of its month, millionths; empty when no supply is solar.
    sun_millionths: Vec<u64>,
}

impl Climate {
    /// The climate for these supplies at a place; the sun is followed only when one of them is solar.
    #[must_use]
    pub fn new(place: Place, supplies: &[Supply], range: SlotRange, grid: SlotGrid) -> Self {
        let needs_sun = supplies
            .iter()
            .any(|supply| supply.kind == SupplyKind::Solar);
        let months = civil_slots(range, grid, place.utc_offset_minutes)
            .map(|civil| civil.month_index)
            .collect();
        Self {
            range,
            months,
            sun_millionths: if needs_sun {
                sun_shape(place, range, grid)
            } else {
                Vec::new()
            },
        }
    }

    /// The band of a supply in a slot; nothing outside the range.
    ///
    /// Hydro and wind are flat: nameplate times the month's factor. Solar follows the sine of the sun's elevation,
    /// scaled so that the month's mean is the factor; where that would pass the nameplate it is cut, and the mean falls.
    #[must_use]
    pub fn band(&self, supply: &Supply, slot: Slot) -> Band {
        let index = slot.0.checked_sub(self.range.start.0);
        let Some(index) = index.and_then(|index| usize::try_from(index).ok()) else {
            return Band::default();
        };
        let Some(&month) = self.months.get(index) else {
            return Band::default();
        };
        let factor = supply.monthly_capacity_permille.get(month).copied();
        let shape = match supply.kind {
            SupplyKind::Hydro | SupplyKind::Wind => 1_000_000,
            SupplyKind::Solar => self.sun_millionths.get(index).copied().unwrap_or(0),
        };
        let center = u128::from(supply.nameplate_watts)
            * u128::from(factor.unwrap_or(0))
            * u128::from(shape)
            / 1_000_000_000;
        let (low, high) = spread_permille(supply.kind);
        let capped = |permille: u128| {
            let watts = u64::try_from(center * permille / 1_000).unwrap_or(u64::MAX);
            watts.min(supply.nameplate_watts)
        };
        Band {
            p10_watts: capped(low),
            p50_watts: capped(1_000),
            p90_watts: capped(high),
        }
    }
}

/// The 10 % and 90 % quantiles of power in thousandths of the climatological mean.
///
/// From the starter data: quantiles of `availability_15min / (nameplate x monthly profile)` over all slots of the year
/// and all supplies of the kind (solar: of the clear-sky shape, sun above 6 degrees). Hydro 0.72 and 1.28, median 0.99;
/// solar 0.35 and 1.53, median 0.94; wind 0.01 and 2.26. Wind is skewed, its median is 0.57: the middle of the band
/// stays at the mean nevertheless, so that energy over a month is right, and the low end says how little may come.
fn spread_permille(kind: SupplyKind) -> (u128, u128) {
    match kind {
        SupplyKind::Hydro => (720, 1_280),
        SupplyKind::Solar => (350, 1_530),
        SupplyKind::Wind => (10, 2_260),
    }
}

fn sun_shape(place: Place, range: SlotRange, grid: SlotGrid) -> Vec<u64> {
    let half_slot_ms = i64::from(grid.slot_seconds()) * 500;
    let mut month_of = (i64::MAX, i64::MIN, 0.0);
    civil_slots(range, grid, place.utc_offset_minutes)
        .zip(range.iter())
        .map(|(civil, slot)| {
            if civil.day < month_of.0 || month_of.1 <= civil.day {
                let (first, days) = month_around(civil.day);
                month_of = (first, first + days, month_mean_sine(place, first, days));
            }
            let middle = grid.start_of(slot).plus_ms(half_slot_ms);
            let sine = sine_elevation(place, middle).max(0.0);
            if month_of.2 < SINE_MEAN_MIN {
                return 0;
            }
            millionths(sine / month_of.2)
        })
        .collect()
}

fn month_mean_sine(place: Place, first_day: i64, days: i64) -> f64 {
    let offset_ms = i64::from(place.utc_offset_minutes) * 60_000;
    let mut sum = 0.0;
    let mut count = 0.0;
    for day in first_day..first_day + days {
        let noon = TimeMs(day * DAY_MS + HALF_DAY_MS - offset_ms);
        sum += mean_day_sine(place, noon);
        count += 1.0;
    }
    if count > 0.0 { sum / count } else { 0.0 }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and a ratio of two sines is neither negative nor near 2^64"
)]
fn millionths(ratio: f64) -> u64 {
    (ratio * 1e6).round() as u64
}
