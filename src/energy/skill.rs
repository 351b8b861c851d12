//! How good the forecasts of a supply were where actuals have arrived.
//!
//! A slot counts for a product by the newest of its issues that was issued before the slot began: what could have been
//! known, and nothing later.

use crate::{
    domain::forecast::{Band, ForecastIssue, ForecastProduct},
    energy::coverage::{band_at, newest_first},
    slot::{Slot, SlotGrid, SlotRange},
};

/// Skill of one product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProductSkill {
    /// The product.
    pub product: ForecastProduct,
    /// Slots compared.
    pub slots: u32,
    /// Mean of median minus actual, watts; positive means too high.
    pub bias_watts: f64,
    /// Mean absolute error of the median, watts.
    pub mae_watts: f64,
    /// Mean pinball loss at the 10 %, 50 % and 90 % quantiles, watts.
    pub pinball_watts: [f64; 3],
    /// Share of actuals within p10 and p90, thousandths, rounded down.
    pub coverage_permille: u32,
}

/// The skill of each product that has slots with actuals in the range, in the order of the products.
///
/// `issues` are those of one supply in any order; `actuals` are watts by slot, slots outside the range are ignored.
#[must_use]
pub fn skills<'a>(
    issues: impl IntoIterator<Item = &'a ForecastIssue>,
    actuals: impl IntoIterator<Item = (Slot, u64)>,
    range: SlotRange,
    grid: SlotGrid,
) -> Vec<ProductSkill> {
    let mut parts = [const { Vec::new() }; 3];
    for issue in issues {
        // The first slot that begins after the issue.
        let first = grid.slot_at(issue.id.issued_at).plus(1);
        let part = issue
            .range
            .intersect(SlotRange::new(first, issue.range.end));
        parts[index(issue.id.product)].push((part, issue));
    }
    let ruling = parts.map(|parts| newest_first(parts, range));
    let mut tallies = [Tally::default(); 3];
    for (slot, watts) in actuals {
        if !range.contains(slot) {
            continue;
        }
        let at = usize::try_from(slot.0 - range.start.0).unwrap_or(usize::MAX);
        for (tally, ruling) in tallies.iter_mut().zip(&ruling) {
            let issue = ruling.get(at).copied().flatten();
            if let Some(band) = issue.and_then(|issue| band_at(issue, slot)) {
                tally.add(band, watts);
            }
        }
    }
    ForecastProduct::ALL
        .into_iter()
        .filter_map(|product| tallies[index(product)].skill(product))
        .collect()
}

fn index(product: ForecastProduct) -> usize {
    match product {
        ForecastProduct::DayAhead => 0,
        ForecastProduct::Intraday => 1,
        ForecastProduct::WeekAhead => 2,
    }
}

/// Exact sums over slots, watts.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    slots: u32,
    within: u32,
    bias: i128,
    absolute: u128,
    /// Ten times the pinball losses.
    pinball_tenfold: [u128; 3],
}

impl Tally {
    fn add(&mut self, band: Band, watts: u64) {
        self.slots += 1;
        self.within += u32::from(band.p10_watts <= watts && watts <= band.p90_watts);
        self.bias += i128::from(band.p50_watts) - i128::from(watts);
        self.absolute += u128::from(band.p50_watts.abs_diff(watts));
        let quantiles = [
            (1, band.p10_watts),
            (5, band.p50_watts),
            (9, band.p90_watts),
        ];
        for (sum, (tenths, quantile)) in self.pinball_tenfold.iter_mut().zip(quantiles) {
            // Koenker and Bassett 1978: q times what the actual is above, 1 - q times what it is below.
            let weight = if watts >= quantile {
                tenths
            } else {
                10 - tenths
            };
            *sum += u128::from(watts.abs_diff(quantile)) * weight;
        }
    }

    fn skill(&self, product: ForecastProduct) -> Option<ProductSkill> {
        if self.slots == 0 {
            return None;
        }
        let slots = f64::from(self.slots);
        let coverage = u64::from(self.within) * 1_000 / u64::from(self.slots);
        Some(ProductSkill {
            product,
            slots: self.slots,
            bias_watts: statistic(self.bias) / slots,
            mae_watts: unsigned_statistic(self.absolute) / slots,
            pinball_watts: self
                .pinball_tenfold
                .map(|sum| unsigned_statistic(sum) / 10.0 / slots),
            coverage_permille: u32::try_from(coverage).unwrap_or(1_000),
        })
    }
}

fn unsigned_statistic(sum: u128) -> f64 {
    statistic(i128::try_from(sum).unwrap_or(i128::MAX))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a statistic for people, not an account"
)]
fn statistic(sum: i128) -> f64 {
    sum as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::site::SupplyKind,
        energy::fixtures::{band, grid, issue, slots, supply},
        slot::TimeMs,
    };

    const SLOT_MS: i64 = 900_000;

    #[track_caller]
    fn assert_close(value: f64, expected: f64) {
        assert!(
            (value - expected).abs() < 1e-9,
            "{value} instead of {expected}"
        );
    }

    fn forecast(issued_at: i64, start: u32, bands: &[Band]) -> ForecastIssue {
        let hydro = supply(SupplyKind::Hydro, 1_000_000);
        issue(
            &hydro,
            TimeMs(issued_at),
            Slot(start),
            bands.iter().copied(),
        )
    }

    #[test]
    fn a_perfect_forecast_has_no_error() {
        let exact = [band(5, 5, 5), band(70, 70, 70), band(0, 0, 0)];
        let actuals = [(Slot(10), 5), (Slot(11), 70), (Slot(12), 0)];
        let issues = [forecast(0, 10, &exact)];
        let [skill] = skills(&issues, actuals, slots(0, 100), grid())[..] else {
            unreachable!("one product")
        };
        assert_eq!((skill.slots, skill.coverage_permille), (3, 1_000));
        assert_close(skill.bias_watts, 0.0);
        assert_close(skill.mae_watts, 0.0);
        for loss in skill.pinball_watts {
            assert_close(loss, 0.0);
        }
    }

    /// Slot 10: 100 against 80, 100, 140. Slot 11: 50 against 60, 90, 100. Slot 12: 200 against 100, 150, 190.
    #[test]
    fn a_small_case_comes_out_as_by_hand() {
        let bands = [band(80, 100, 140), band(60, 90, 100), band(100, 150, 190)];
        let actuals = [(Slot(10), 100), (Slot(11), 50), (Slot(12), 200)];
        let issues = [forecast(0, 10, &bands)];
        let [skill] = skills(&issues, actuals, slots(0, 100), grid())[..] else {
            unreachable!("one product")
        };
        assert_eq!(skill.product, ForecastProduct::DayAhead);
        assert_eq!((skill.slots, skill.coverage_permille), (3, 333));
        // Errors of the median: 0, +40, -50.
        assert_close(skill.bias_watts, -10.0 / 3.0);
        assert_close(skill.mae_watts, 90.0 / 3.0);
        // p10: 20 above, 10 below, 100 above: 0.1 * 20 + 0.9 * 10 + 0.1 * 100.
        assert_close(skill.pinball_watts[0], 21.0 / 3.0);
        assert_close(skill.pinball_watts[1], 45.0 / 3.0);
        // p90: 40 below, 50 below, 10 above: 0.1 * 40 + 0.1 * 50 + 0.9 * 10.
        assert_close(skill.pinball_watts[2], 18.0 / 3.0);
    }

    #[test]
    fn a_slot_counts_by_the_newest_issue_from_before_it_began() {
        let flat = |watts| [band(watts, watts, watts); 4];
        let start = 10 * SLOT_MS;
        let issues = [
            forecast(start - 1, 10, &flat(1_000)),
            // Issued when slot 10 began: it was not known before, so it counts from slot 11.
            forecast(start, 10, &flat(2_000)),
            // Issued after all slots.
            forecast(start + 100 * SLOT_MS, 10, &flat(9_000)),
        ];
        let actuals = (10..14).map(|slot| (Slot(slot), 0));
        let [skill] = skills(&issues, actuals, slots(0, 100), grid())[..] else {
            unreachable!("one product")
        };
        assert_eq!(skill.slots, 4);
        assert_close(skill.bias_watts, (1_000.0 + 3.0 * 2_000.0) / 4.0);
    }

    #[test]
    fn products_are_judged_apart_and_only_where_actuals_are_in_range() {
        let mut intraday = forecast(5, 10, &[band(7, 7, 7); 10]);
        intraday.id.product = ForecastProduct::Intraday;
        let week_ahead = ForecastIssue {
            id: crate::domain::forecast::ForecastId {
                product: ForecastProduct::WeekAhead,
                ..intraday.id.clone()
            },
            range: slots(50, 60),
            ..intraday.clone()
        };
        let issues = [forecast(0, 10, &[band(3, 3, 3); 10]), intraday, week_ahead];
        let actuals = (0..20).map(|slot| (Slot(slot), 0));
        let found = skills(&issues, actuals, slots(12, 15), grid());
        let summary: Vec<_> = found
            .iter()
            .map(|skill| (skill.product, skill.slots))
            .collect();
        assert_eq!(
            summary,
            [
                (ForecastProduct::DayAhead, 3),
                (ForecastProduct::Intraday, 3)
            ]
        );
        assert_close(found[0].mae_watts, 3.0);
        assert_close(found[1].mae_watts, 7.0);
        assert_eq!(skills(&issues, [], slots(12, 15), grid()), []);
    }
}
