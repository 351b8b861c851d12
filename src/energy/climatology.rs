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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::fixtures::{FIRST_OF_JULY, KUNMING, band, grid, slots, supply};

    /// Mean of the medians over a month of `days` days that begins at `first`, watts.
    fn month_mean(supply: &Supply, place: Place, grid: SlotGrid, first: TimeMs, days: u32) -> u64 {
        let start = grid.slot_at(first);
        let range = SlotRange::new(start, start.plus(days * grid.slots_per_day()));
        let climate = Climate::new(place, std::slice::from_ref(supply), range, grid);
        let sum: u64 = range
            .iter()
            .map(|slot| climate.band(supply, slot).p50_watts)
            .sum();
        sum / u64::from(range.len())
    }

    #[test]
    fn hydro_and_wind_are_flat_at_the_factor_of_the_month() {
        let mut hydro = supply(SupplyKind::Hydro, 1_000_000);
        hydro.monthly_capacity_permille[5] = 460;
        hydro.monthly_capacity_permille[6] = 580;
        let range = SlotRange::new(FIRST_OF_JULY.minus(1), FIRST_OF_JULY.plus(1));
        let climate = Climate::new(KUNMING, std::slice::from_ref(&hydro), range, grid());
        assert_eq!(
            climate.band(&hydro, FIRST_OF_JULY.minus(1)),
            band(331_200, 460_000, 588_800)
        );
        assert_eq!(
            climate.band(&hydro, FIRST_OF_JULY),
            band(417_600, 580_000, 742_400)
        );
        assert_eq!(climate.band(&hydro, FIRST_OF_JULY.plus(1)), Band::default());
        assert_eq!(
            climate.band(&hydro, FIRST_OF_JULY.minus(2)),
            Band::default()
        );
        let mut wind = supply(SupplyKind::Wind, 1_000_000);
        wind.monthly_capacity_permille = [500; 12];
        assert_eq!(
            climate.band(&wind, FIRST_OF_JULY),
            band(5_000, 500_000, 1_000_000)
        );
    }

    #[test]
    fn the_mean_of_solar_over_a_month_is_its_factor() {
        let kunming_july = TimeMs::from_seconds(1_751_299_200);
        let kunming_february = TimeMs::from_seconds(1_738_339_200);
        let mut solar = supply(SupplyKind::Solar, 1_000_000);
        solar.monthly_capacity_permille = [150; 12];
        let stockholm = Place {
            latitude_microdegrees: 59_330_000,
            longitude_microdegrees: 18_070_000,
            utc_offset_minutes: 60,
        };
        for seconds in SlotGrid::SECONDS_ALLOWED {
            let grid = SlotGrid::new(seconds).unwrap();
            for (place, first, days) in [
                (KUNMING, kunming_july, 31),
                (KUNMING, kunming_february, 28),
                (stockholm, kunming_july.plus_ms(7 * 3_600_000), 31),
            ] {
                let mean = month_mean(&solar, place, grid, first, days);
                assert!(mean.abs_diff(150_000) < 3_000, "{mean} W, {seconds} s");
            }
        }
    }

    #[test]
    fn solar_is_dark_at_night_and_highest_at_noon() {
        let solar = supply(SupplyKind::Solar, 1_000_000);
        let start = FIRST_OF_JULY;
        let range = SlotRange::new(start, start.plus(96));
        let climate = Climate::new(KUNMING, std::slice::from_ref(&solar), range, grid());
        let at = |hour: u32| climate.band(&solar, start.plus(hour * 4)).p50_watts;
        // Solar noon is at about 13:13 in July; sunrise at about 06:25, sunset at about 20:00.
        for hour in [0, 3, 5, 21, 23] {
            assert_eq!(at(hour), 0, "{hour}:00");
        }
        assert!(at(7) < at(10) && at(10) < at(13) && at(13) > at(16) && at(16) > at(19));
        assert!(0 < at(19));
    }

    #[test]
    fn solar_gives_nothing_in_polar_night() {
        let solar = supply(SupplyKind::Solar, 1_000_000);
        let place = Place {
            latitude_microdegrees: 85_000_000,
            longitude_microdegrees: 0,
            utc_offset_minutes: 0,
        };
        // 2024-12-01T00:00Z.
        let december = TimeMs::from_seconds(1_733_011_200);
        assert_eq!(month_mean(&solar, place, grid(), december, 31), 0);
    }

    #[test]
    fn bands_are_ordered_and_within_the_nameplate_whatever_the_profile() {
        for kind in SupplyKind::ALL {
            for factor in [0, 1, 333, 999, 1_000] {
                for nameplate in [1, 999, 1_000_000_000] {
                    let mut supply = supply(kind, nameplate);
                    supply.monthly_capacity_permille = [factor; 12];
                    let range = slots(FIRST_OF_JULY.0, FIRST_OF_JULY.0 + 96);
                    let supplies = std::slice::from_ref(&supply);
                    let climate = Climate::new(KUNMING, supplies, range, grid());
                    for slot in range.iter() {
                        let band = climate.band(&supply, slot);
                        assert!(band.p10_watts <= band.p50_watts);
                        assert!(band.p50_watts <= band.p90_watts);
                        assert!(band.p90_watts <= nameplate);
                    }
                }
            }
        }
    }
}
