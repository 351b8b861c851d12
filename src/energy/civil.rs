//! Civil month and minute of the day of slots, by a fixed offset from UTC.
//!
//! No time zone database and no daylight saving: the offset of the site is the whole rule.

use jiff::{Span, civil::Date};

use crate::slot::{SlotGrid, SlotRange, TimeMs};

/// Minutes in a day.
pub const DAY_MINUTES: u32 = 1_440;

const EPOCH: Date = Date::constant(1970, 1, 1);
const DAY_MS: i64 = 86_400_000;
/// Days from the epoch to the end of the calendar that dates are computed in (year 9999); later days count as this one.
const LAST_DAY: i64 = 2_932_896;

/// Where the start of a slot lies in civil time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CivilSlot {
    /// Days since 1970-01-01.
    pub day: i64,
    /// Month, January is 0.
    pub month_index: usize,
    /// Minute of the day.
    pub minute: u32,
}

/// The civil time of each slot of a range, in order.
pub fn civil_slots(
    range: SlotRange,
    grid: SlotGrid,
    utc_offset_minutes: i32,
) -> impl Iterator<Item = CivilSlot> {
    let mut month_of = (i64::MIN, 0);
    range.iter().map(move |slot| {
        let (day, minute) = civil_time(grid.start_of(slot), utc_offset_minutes);
        if month_of.0 != day {
            month_of = (day, month_index(date_of(day)));
        }
        CivilSlot {
            day,
            month_index: month_of.1,
            minute,
        }
    })
}

/// Civil day (since 1970-01-01) and minute of the day of a moment.
#[must_use]
pub fn civil_time(time: TimeMs, utc_offset_minutes: i32) -> (i64, u32) {
    let local_ms = time
        .0
        .saturating_add(i64::from(utc_offset_minutes) * 60_000);
    let minute = local_ms.rem_euclid(DAY_MS) / 60_000;
    (
        local_ms.div_euclid(DAY_MS),
        u32::try_from(minute).unwrap_or(0),
    )
}

/// First day (since 1970-01-01) and number of days of the month that the day lies in.
#[must_use]
pub fn month_around(day: i64) -> (i64, i64) {
    let date = date_of(day);
    let first = day - i64::from(date.day()) + 1;
    (first, i64::from(date.days_in_month()))
}

/// A civil day (since 1970-01-01) as ISO 8601 writes it.
#[must_use]
pub fn civil_date(day: i64) -> String {
    date_of(day).to_string()
}

fn date_of(day: i64) -> Date {
    let days = Span::new()
        .try_days(day.clamp(0, LAST_DAY))
        .unwrap_or_default();
    EPOCH.saturating_add(days)
}

fn month_index(date: Date) -> usize {
    usize::try_from(date.month()).map_or(0, |month| month.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::Slot;

    #[track_caller]
    fn check(unix_seconds: i64, offset_minutes: i32, month: usize, day: i64, minute: u32) {
        let grid = SlotGrid::new(900).unwrap();
        let slot = grid.slot_at(TimeMs::from_seconds(unix_seconds));
        let range = SlotRange::new(slot, slot.plus(1));
        let civil = civil_slots(range, grid, offset_minutes).next().unwrap();
        assert_eq!((civil.month_index + 1, civil.minute), (month, minute));
        assert_eq!(civil.day - month_around(civil.day).0 + 1, day);
    }

    #[test]
    fn months_and_minutes_follow_the_offset() {
        // Unix seconds of 2025-01-01T00:00:00Z.
        let new_year = 1_735_689_600;
        check(new_year, 0, 1, 1, 0);
        check(new_year - 900, 0, 12, 31, 1_425);
        check(new_year - 8 * 3_600, 480, 1, 1, 0);
        check(new_year - 8 * 3_600 - 900, 480, 12, 31, 1_425);
        check(new_year, -90, 12, 31, 1_350);
        check(new_year + 59 * 86_400, 0, 3, 1, 0);
        // 2024 is a leap year: the day before its 1 March is 29 February.
        check(new_year - 307 * 86_400, 0, 2, 29, 0);
        check(0, 0, 1, 1, 0);
    }

    #[test]
    fn a_month_has_its_days() {
        let first_of_2024 = 19_723;
        assert_eq!(month_around(first_of_2024 + 40), (first_of_2024 + 31, 29));
        assert_eq!(month_around(first_of_2024 + 30), (first_of_2024, 31));
    }

    #[test]
    fn a_day_is_written_as_a_date() {
        assert_eq!(civil_date(0), "1970-01-01");
        assert_eq!(civil_date(19_723 + 59), "2024-02-29");
    }

    #[test]
    fn the_last_slot_has_a_date() {
        let grid = SlotGrid::new(3_600).unwrap();
        let range = SlotRange::new(Slot(u32::MAX - 1), Slot(u32::MAX));
        assert_eq!(civil_slots(range, grid, 840).count(), 1);
    }
}
