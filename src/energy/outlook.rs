//! What green power a site can count on, slot by slot, with carbon and prices.
//!
//! Quantiles are combined by a stated dependence: supplies of one kind at a site rise and fall together (their quantiles
//! add); the kinds are independent (their distances from the median add as the root of the sum of squares).

use crate::{
    domain::{
        forecast::{Band, ForecastIssue},
        ids::SupplyId,
        outlook::{Confidence, SiteOutlook},
        site::{Site, Supply},
    },
    energy::{
        civil::civil_slots,
        climatology::Climate,
        coverage::{band_at, ruling_issues},
        staleness::{BandSource, Freshness, freshness, widened},
        sun::Place,
        tariff::PriceTable,
    },
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
};

/// What to look at, and from when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Slots wanted.
    pub range: SlotRange,
    /// The slots.
    pub grid: SlotGrid,
    /// The present.
    pub now: TimeMs,
    /// Age from which an issue is stale, milliseconds.
    pub stale_after_ms: u64,
}

/// The band that rules one slot of a supply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RulingBand<'a> {
    /// The slot.
    pub slot: Slot,
    /// Its band: `p10 <= p50 <= p90 <= nameplate`.
    pub band: Band,
    /// Where the band comes from.
    pub source: BandSource,
    /// The issue it comes from; `None` for climatology.
    pub issue: Option<&'a ForecastIssue>,
}

/// The outlook of a site over the window; `issues` gives those of a supply, in any order.
#[must_use]
pub fn site_outlook<'a, I>(
    site: &Site,
    issues: impl Fn(&SupplyId) -> I,
    window: Window,
) -> SiteOutlook
where
    I: IntoIterator<Item = &'a ForecastIssue>,
{
    let slots = usize::try_from(window.range.len()).unwrap_or(usize::MAX);
    let climate = Climate::new(Place::of(site), &site.supplies, window.range, window.grid);
    let mut green = vec![Green::default(); slots];
    for supply in &site.supplies {
        let bands = supply_bands(supply, issues(&supply.id), &climate, window);
        for (sum, ruling) in green.iter_mut().zip(bands) {
            sum.add(supply, &ruling);
        }
    }
    let mut outlook = grid_columns(site, window);
    for sum in &green {
        sum.push_to(&mut outlook);
    }
    outlook
}

/// What rules each slot of a supply over the window; `issues` are those of the supply, in any order.
#[must_use]
pub fn ruling_bands<'a>(
    supply: &Supply,
    place: Place,
    issues: impl IntoIterator<Item = &'a ForecastIssue>,
    window: Window,
) -> Vec<RulingBand<'a>> {
    let supplies = std::slice::from_ref(supply);
    let climate = Climate::new(place, supplies, window.range, window.grid);
    supply_bands(supply, issues, &climate, window).collect()
}

fn supply_bands<'a>(
    supply: &Supply,
    issues: impl IntoIterator<Item = &'a ForecastIssue>,
    climate: &Climate,
    window: Window,
) -> impl Iterator<Item = RulingBand<'a>> {
    let ruling = ruling_issues(issues, window.range);
    window.range.iter().zip(ruling).map(move |(slot, issue)| {
        let from_issue = issue.and_then(|issue| {
            let issued = capped(band_at(issue, slot)?, supply.nameplate_watts);
            match freshness(issue.id.issued_at, window.now, window.stale_after_ms) {
                Freshness::Fresh => Some((issued, BandSource::Forecast)),
                Freshness::Stale {
                    climatology_permille,
                } => {
                    let band = widened(issued, climate.band(supply, slot), climatology_permille);
                    Some((band, BandSource::StaleForecast))
                }
                Freshness::Expired => None,
            }
        });
        match from_issue {
            Some((band, source)) => RulingBand {
                slot,
                band,
                source,
                issue,
            },
            None => RulingBand {
                slot,
                band: climate.band(supply, slot),
                source: BandSource::Climatology,
                issue: None,
            },
        }
    })
}

/// A nameplate can shrink after an issue was checked against it.
fn capped(band: Band, nameplate_watts: u64) -> Band {
    Band {
        p10_watts: band.p10_watts.min(nameplate_watts),
        p50_watts: band.p50_watts.min(nameplate_watts),
        p90_watts: band.p90_watts.min(nameplate_watts),
    }
}

/// The columns that do not depend on supplies; the others are left empty.
fn grid_columns(site: &Site, window: Window) -> SiteOutlook {
    let location = site.grid_location_mg_per_kwh;
    let mut prices = PriceTable::new(&site.tariff, window.grid);
    let mut outlook = SiteOutlook {
        range: window.range,
        ..SiteOutlook::default()
    };
    for civil in civil_slots(window.range, window.grid, site.utc_offset_minutes) {
        let marginal = site.grid_marginal_mg_per_kwh.get(civil.month_index);
        outlook.grid_location_mg_per_kwh.push(location);
        outlook
            .grid_marginal_mg_per_kwh
            .push(marginal.copied().unwrap_or(location));
        outlook
            .grid_price_micro_cny_per_kwh
            .push(prices.price(civil));
    }
    outlook
}

/// Green power of one slot while supplies are added up.
#[derive(Debug, Clone, Copy, Default)]
struct Green {
    kinds: [Band; 3],
    /// Carbon and price weighted by the median, and by p90 for slots whose medians are all 0.
    by_median: Mix,
    by_high: Mix,
    fallback: bool,
}

/// Sums of power times intensity. A site has at most 32 supplies of 1 GW at 2 CNY or 2 kg a kWh: below 2^57.
#[derive(Debug, Clone, Copy, Default)]
struct Mix {
    watts: u64,
    watts_mg_per_kwh: u64,
    watts_price: u64,
}

impl Green {
    fn add(&mut self, supply: &Supply, ruling: &RulingBand<'_>) {
        let kind = &mut self.kinds[supply.kind.index()];
        kind.p10_watts += ruling.band.p10_watts;
        kind.p50_watts += ruling.band.p50_watts;
        kind.p90_watts += ruling.band.p90_watts;
        self.by_median.add(supply, ruling.band.p50_watts);
        self.by_high.add(supply, ruling.band.p90_watts);
        self.fallback |= ruling.source != BandSource::Forecast;
    }

    fn total(&self) -> Band {
        let p50_watts: u64 = self.kinds.iter().map(|kind| kind.p50_watts).sum();
        let below = self.kinds.map(|kind| kind.p50_watts - kind.p10_watts);
        let above = self.kinds.map(|kind| kind.p90_watts - kind.p50_watts);
        let (low, low_is_exact) = root_of_sum_of_squares(below);
        let (high, _) = root_of_sum_of_squares(above);
        // Both ends are rounded down: what is promised is never overstated.
        let low_up = low + u64::from(!low_is_exact);
        Band {
            p10_watts: p50_watts.saturating_sub(low_up),
            p50_watts,
            p90_watts: p50_watts + high,
        }
    }

    fn push_to(&self, outlook: &mut SiteOutlook) {
        let total = self.total();
        let levels = Confidence::ALL.map(|level| match level {
            Confidence::Low => total.p90_watts,
            Confidence::Even => total.p50_watts,
            Confidence::High => total.p10_watts,
        });
        for (column, watts) in outlook.green_watts.iter_mut().zip(levels) {
            column.push(watts);
        }
        for (column, kind) in outlook.median_by_kind_watts.iter_mut().zip(self.kinds) {
            column.push(kind.p50_watts);
        }
        let mix = if self.by_median.watts > 0 {
            self.by_median
        } else {
            self.by_high
        };
        let carbon = mix.mean(mix.watts_mg_per_kwh);
        outlook
            .green_mg_per_kwh
            .push(u32::try_from(carbon).unwrap_or(u32::MAX));
        outlook
            .green_price_micro_cny_per_kwh
            .push(mix.mean(mix.watts_price));
        outlook.fallback.push(self.fallback);
    }
}

impl Mix {
    fn add(&mut self, supply: &Supply, watts: u64) {
        self.watts += watts;
        self.watts_mg_per_kwh += watts * u64::from(supply.carbon_mg_per_kwh);
        self.watts_price += watts * supply.price_micro_cny_per_kwh;
    }

    /// The weighted mean, rounded up; 0 without power.
    fn mean(&self, sum: u64) -> u64 {
        if self.watts == 0 {
            return 0;
        }
        sum.div_ceil(self.watts)
    }
}

/// The root, rounded down, and whether it is exact.
fn root_of_sum_of_squares(parts: [u64; 3]) -> (u64, bool) {
    let mut sum = 0_u64;
    for part in parts {
        let square = part.checked_mul(part);
        match square.and_then(|square| sum.checked_add(square)) {
            Some(next) => sum = next,
            None => return wide_root(parts),
        }
    }
    let root = sum.isqrt();
    (root, root * root == sum)
}

/// The same for spreads of gigawatts, whose squares pass 64 bits.
fn wide_root(parts: [u64; 3]) -> (u64, bool) {
    let sum: u128 = parts
        .iter()
        .map(|&part| u128::from(part) * u128::from(part))
        .sum();
    let root = sum.isqrt();
    (u64::try_from(root).unwrap_or(u64::MAX), root * root == sum)
}
