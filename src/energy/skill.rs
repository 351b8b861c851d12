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
