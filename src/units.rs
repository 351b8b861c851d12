//! Arithmetic on quantities that must be exact: power, energy, carbon, money.
//!
//! Everything is an integer whose unit stands in its name; rounding happens in one stated direction, here.

/// Watt-seconds in a kilowatt-hour.
pub const WATT_SECONDS_PER_KWH: u64 = 3_600_000;

/// Facility power of an IT load, rounded up: what the connection must carry is never understated.
///
/// ```
/// assert_eq!(lancang::units::facility_watts(1_000, 1_250), Some(1_250));
/// assert_eq!(lancang::units::facility_watts(1, 1_001), Some(2));
/// ```
/// `None` when the product passes 64 bits.
#[must_use]
pub fn facility_watts(it_watts: u64, pue_permille: u32) -> Option<u64> {
    let scaled = it_watts.checked_mul(u64::from(pue_permille))?;
    Some(scaled.div_ceil(1_000))
}

/// Carbon in milligrams, rounded up, of a sum over slots of power (W) times intensity (mg/kWh).
#[must_use]
pub fn carbon_mg(watt_mg_per_kwh_slots: u64, slot_seconds: u32) -> u64 {
    per_kwh(watt_mg_per_kwh_slots, slot_seconds)
}

/// Cost in micro-CNY, rounded up, of a sum over slots of power (W) times price (micro-CNY/kWh).
#[must_use]
pub fn cost_micro_cny(watt_price_slots: u64, slot_seconds: u32) -> u64 {
    per_kwh(watt_price_slots, slot_seconds)
}

/// Share of `part` in `whole` in thousandths, rounded down so that a promise is never overstated; 1000 of nothing.
///
/// ```
/// assert_eq!(lancang::units::share_permille(999, 1_000), 999);
/// assert_eq!(lancang::units::share_permille(0, 0), 1_000);
/// ```
#[must_use]
pub fn share_permille(part: u64, whole: u64) -> u32 {
    if whole == 0 {
        return 1_000;
    }
    let share = u128::from(part) * 1_000 / u128::from(whole);
    u32::try_from(share).unwrap_or(u32::MAX)
}

fn per_kwh(sum: u64, slot_seconds: u32) -> u64 {
    let total =
        (u128::from(sum) * u128::from(slot_seconds)).div_ceil(u128::from(WATT_SECONDS_PER_KWH));
    u64::try_from(total).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kilowatt_for_an_hour_at_a_price_of_one_cny_costs_one_cny() {
        assert_eq!(cost_micro_cny(4 * 1_000 * 1_000_000, 900), 1_000_000);
    }

    #[test]
    fn carbon_is_rounded_up() {
        assert_eq!(carbon_mg(1, 900), 1);
    }

    #[test]
    fn facility_power_refuses_to_overflow() {
        assert_eq!(facility_watts(u64::MAX, 2_000), None);
    }
}
