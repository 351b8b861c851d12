//! Price of grid energy by slot.
//!
//! A slot that straddles two tariff periods costs the mean of its minutes, rounded up.

use crate::{
    domain::site::TariffPeriod,
    energy::civil::{CivilSlot, DAY_MINUTES},
    slot::SlotGrid,
};

/// Prices of a tariff, worked out once for each month and slot of the day that is asked for.
#[derive(Debug)]
pub struct PriceTable<'a> {
    tariff: &'a [TariffPeriod],
    slot_minutes: u32,
    /// By month, then by slot of the day; empty until asked for.
    months: [Vec<Option<u64>>; 12],
}

impl<'a> PriceTable<'a> {
    /// A table over a tariff; an empty one prices everything at 0.
    #[must_use]
    pub fn new(tariff: &'a [TariffPeriod], grid: SlotGrid) -> Self {
        Self {
            tariff,
            slot_minutes: grid.slot_seconds() / 60,
            months: Default::default(),
        }
    }

    /// Price in a slot, micro-CNY/kWh.
    pub fn price(&mut self, at: CivilSlot) -> u64 {
        let slots = usize::try_from(DAY_MINUTES.div_ceil(self.slot_minutes)).unwrap_or(0);
        let slot = usize::try_from(at.minute / self.slot_minutes).unwrap_or(0);
        let (tariff, slot_minutes) = (self.tariff, self.slot_minutes);
        let compute = || mean_price(tariff, at, slot_minutes);
        let Some(prices) = self.months.get_mut(at.month_index) else {
            return compute();
        };
        if prices.is_empty() {
            prices.resize(slots, None);
        }
        match prices.get_mut(slot) {
            Some(price) => *price.get_or_insert_with(compute),
            None => compute(),
        }
    }
}

fn mean_price(tariff: &[TariffPeriod], at: CivilSlot, slot_minutes: u32) -> u64 {
    let (start, end) = (at.minute, at.minute + slot_minutes);
    let mut sum = 0_u64;
    for period in tariff {
        let applies = period.months.is_empty()
            || period
                .months
                .iter()
                .any(|&month| usize::from(month) == at.month_index + 1);
        if !applies {
            continue;
        }
        let from = u32::from(period.start_minute);
        let to = u32::from(period.end_minute);
        // With an offset off the grid a slot can reach past midnight; the prices of the day it starts in hold.
        let minutes = overlap(start, end, from, to)
            + overlap(start, end, from + DAY_MINUTES, to + DAY_MINUTES);
        sum = sum.saturating_add(
            period
                .price_micro_cny_per_kwh
                .saturating_mul(u64::from(minutes)),
        );
    }
    sum.div_ceil(u64::from(slot_minutes))
}

fn overlap(start: u32, end: u32, from: u32, to: u32) -> u32 {
    end.min(to).saturating_sub(start.max(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(months: &[u8], start_minute: u16, end_minute: u16, price: u64) -> TariffPeriod {
        TariffPeriod {
            months: months.to_vec(),
            start_minute,
            end_minute,
            price_micro_cny_per_kwh: price,
        }
    }

    fn price(tariff: &[TariffPeriod], slot_seconds: u32, month: usize, minute: u32) -> u64 {
        let grid = SlotGrid::new(slot_seconds).unwrap();
        let at = CivilSlot {
            day: 0,
            month_index: month - 1,
            minute,
        };
        let mut table = PriceTable::new(tariff, grid);
        let first = table.price(at);
        assert_eq!(table.price(at), first, "the same when asked again");
        first
    }

    #[test]
    fn the_period_of_the_month_and_minute_prices_the_slot() {
        let tariff = [
            period(&[6, 7], 0, 720, 100),
            period(&[6, 7], 720, 1_440, 200),
            period(&[1, 2, 3, 4, 5, 8, 9, 10, 11, 12], 0, 1_440, 300),
        ];
        for (month, minute, expected) in [
            (6, 0, 100),
            (6, 705, 100),
            (7, 720, 200),
            (7, 1_425, 200),
            (8, 720, 300),
            (12, 0, 300),
        ] {
            assert_eq!(price(&tariff, 900, month, minute), expected);
        }
    }

    #[test]
    fn a_slot_across_two_periods_costs_their_mean_rounded_up() {
        let tariff = [period(&[], 0, 30, 100), period(&[], 30, 1_440, 201)];
        // Half an hour at 100 and half an hour at 201: 150.5.
        assert_eq!(price(&tariff, 3_600, 1, 0), 151);
    }

    #[test]
    fn a_slot_across_midnight_takes_the_prices_of_its_day() {
        let tariff = [period(&[], 0, 720, 100), period(&[], 720, 1_440, 200)];
        // From 23:45 to 00:45: 15 minutes at 200 and 45 at 100.
        assert_eq!(price(&tariff, 3_600, 1, 1_425), 125);
    }

    #[test]
    fn no_tariff_means_no_price() {
        assert_eq!(price(&[], 900, 1, 0), 0);
    }
}
