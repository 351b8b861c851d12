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
        staleness::{BandSource, Freshness, freshness, limit_ms, widened},
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
    /// Age from which a day-ahead or intraday issue is stale, milliseconds; one for a week is six days later.
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
    dated_outlook(site, issues, window).0
}

/// The outlook of a site over the window, and until when it stays as it is: while no new issue comes, the same slots
/// look the same at any time from `window.now` up to and with that moment.
#[must_use]
pub fn dated_outlook<'a, I>(
    site: &Site,
    issues: impl Fn(&SupplyId) -> I,
    window: Window,
) -> (SiteOutlook, TimeMs)
where
    I: IntoIterator<Item = &'a ForecastIssue>,
{
    let slots = usize::try_from(window.range.len()).unwrap_or(usize::MAX);
    let climate = Climate::new(Place::of(site), &site.supplies, window.range, window.grid);
    let mut green = vec![Green::default(); slots];
    let mut lasts_until = TimeMs(i64::MAX);
    for supply in &site.supplies {
        let bands = supply_bands(supply, issues(&supply.id), &climate, window);
        for (sum, ruling) in green.iter_mut().zip(bands) {
            sum.add(supply, &ruling);
            lasts_until = lasts_until.min(unchanged_until(&ruling, window));
        }
    }
    let mut outlook = grid_columns(site, window);
    for sum in &green {
        sum.push_to(&mut outlook);
    }
    (outlook, lasts_until)
}

/// Until when a slot's band does not age.
fn unchanged_until(ruling: &RulingBand<'_>, window: Window) -> TimeMs {
    match (ruling.source, ruling.issue) {
        (BandSource::Forecast, Some(issue)) => {
            let limit_ms = limit_ms(issue.id.product, window.stale_after_ms);
            let limit_ms = i64::try_from(limit_ms).unwrap_or(i64::MAX);
            issue.id.issued_at.plus_ms(limit_ms)
        }
        (BandSource::Climatology, _) => TimeMs(i64::MAX),
        (BandSource::StaleForecast, _) | (BandSource::Forecast, None) => window.now,
    }
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
            let limit_ms = limit_ms(issue.id.product, window.stale_after_ms);
            match freshness(issue.id.issued_at, window.now, limit_ms) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        domain::site::{SupplyKind, TariffPeriod},
        energy::fixtures::{FIRST_OF_JULY, KUNMING, band, grid, issue, site, slots, supply},
    };

    const HOUR_MS: u64 = 3_600_000;

    /// Four slots from midnight of 1 July; now is nine hours before.
    fn window() -> Window {
        Window {
            range: SlotRange::new(FIRST_OF_JULY, FIRST_OF_JULY.plus(4)),
            grid: grid(),
            now: grid().start_of(FIRST_OF_JULY.minus(36)),
            stale_after_ms: 36 * HOUR_MS,
        }
    }

    fn outlook_of(site: &Site, issues: &[ForecastIssue], window: Window) -> SiteOutlook {
        let of = |id: &SupplyId| {
            let id = id.clone();
            issues.iter().filter(move |issue| issue.id.supply == id)
        };
        site_outlook(site, of, window)
    }

    /// One fresh issue over the window with the same band in every slot.
    fn flat(supply: &Supply, watts: Band, window: Window) -> ForecastIssue {
        let bands = window.range.iter().map(|_| watts);
        issue(supply, window.now, window.range.start, bands)
    }

    #[test]
    fn kinds_are_independent_and_supplies_of_a_kind_are_not() {
        let mut hydro = supply(SupplyKind::Hydro, 10_000);
        let mut more_hydro = hydro.clone();
        more_hydro.id = SupplyId::parse("kmg/river").unwrap();
        let mut wind = supply(SupplyKind::Wind, 10_000);
        (hydro.carbon_mg_per_kwh, hydro.price_micro_cny_per_kwh) = (24_000, 250_000);
        (
            more_hydro.carbon_mg_per_kwh,
            more_hydro.price_micro_cny_per_kwh,
        ) = (20_000, 200_000);
        (wind.carbon_mg_per_kwh, wind.price_micro_cny_per_kwh) = (11_000, 350_001);
        let issues = [
            flat(&hydro, band(900, 1_000, 1_100), window()),
            flat(&more_hydro, band(1_800, 2_000, 2_400), window()),
            flat(&wind, band(100, 500, 1_700), window()),
        ];
        let site = site(vec![hydro, more_hydro, wind]);
        let outlook = outlook_of(&site, &issues, window());
        // Below the median: hydro 100 + 200 = 300, wind 400, together the root of 300^2 + 400^2 = 500.
        // Above: hydro 100 + 400 = 500, wind 1200, together 1300.
        assert_eq!(outlook.green_watts[Confidence::High.index()], [3_000; 4]);
        assert_eq!(outlook.green_watts[Confidence::Even.index()], [3_500; 4]);
        assert_eq!(outlook.green_watts[Confidence::Low.index()], [4_800; 4]);
        let by_kind = SupplyKind::ALL.map(|kind| outlook.median_by_kind_watts[kind.index()][0]);
        assert_eq!(by_kind, [3_000, 0, 500]);
        // (1000 * 24000 + 2000 * 20000 + 500 * 11000) / 3500 = 19857.1, rounded up.
        assert_eq!(outlook.green_mg_per_kwh, [19_858; 4]);
        // (1000 * 250000 + 2000 * 200000 + 500 * 350001) / 3500 = 235714.4, rounded up.
        assert_eq!(outlook.green_price_micro_cny_per_kwh, [235_715; 4]);
        assert_eq!(outlook.fallback, [false; 4]);
    }

    #[test]
    fn an_inexact_root_is_rounded_against_the_promise() {
        let hydro = supply(SupplyKind::Hydro, 100);
        let wind = supply(SupplyKind::Wind, 100);
        let issues = [
            flat(&hydro, band(9, 10, 11), window()),
            flat(&wind, band(9, 10, 11), window()),
        ];
        let outlook = outlook_of(&site(vec![hydro, wind]), &issues, window());
        // The root of 2 is 1.41: 18.59 and 21.41.
        assert_eq!(outlook.green_watts[Confidence::High.index()][0], 18);
        assert_eq!(outlook.green_watts[Confidence::Low.index()][0], 21);
    }

    #[test]
    fn roots_of_gigawatts_are_exact() {
        let giga = 10_u64.pow(10);
        let parts = [3 * giga, 4 * giga, 0];
        assert_eq!(root_of_sum_of_squares(parts), (5 * giga, true));
        assert_eq!(
            root_of_sum_of_squares([3 * giga, 4 * giga, 1]),
            (5 * giga, false)
        );
        assert_eq!(root_of_sum_of_squares([0, 0, 0]), (0, true));
    }

    #[test]
    fn a_site_without_supplies_has_no_green_power_and_no_fallback() {
        let outlook = outlook_of(&site(Vec::new()), &[], window());
        assert_eq!(outlook.green_watts, [const { [0; 4] }; 3]);
        assert_eq!(outlook.green_mg_per_kwh, [0; 4]);
        assert_eq!(outlook.green_price_micro_cny_per_kwh, [0; 4]);
        assert_eq!(outlook.fallback, [false; 4]);
        assert_eq!(outlook.grid_location_mg_per_kwh, [107_300; 4]);
        assert_eq!(outlook.grid_marginal_mg_per_kwh, [107_300; 4]);
        assert_eq!(outlook.grid_price_micro_cny_per_kwh, [0; 4]);
    }

    #[test]
    fn grid_columns_follow_the_civil_month_and_minute() {
        let mut site = site(Vec::new());
        site.grid_marginal_mg_per_kwh = (1..=12).map(|month| month * 1_000).collect();
        site.tariff = (1..=12_u8)
            .flat_map(|month| {
                [(0, 15, 1), (15, 1_440, 2)].map(|(start_minute, end_minute, part)| TariffPeriod {
                    months: vec![month],
                    start_minute,
                    end_minute,
                    price_micro_cny_per_kwh: u64::from(month) * 100 + part,
                })
            })
            .collect();
        let range = SlotRange::new(FIRST_OF_JULY.minus(1), FIRST_OF_JULY.plus(2));
        let outlook = outlook_of(&site, &[], Window { range, ..window() });
        assert_eq!(outlook.grid_marginal_mg_per_kwh, [6_000, 7_000, 7_000]);
        assert_eq!(outlook.grid_price_micro_cny_per_kwh, [602, 701, 702]);
    }

    #[test]
    fn slots_with_no_median_take_the_mix_of_the_high_quantile() {
        let mut solar = supply(SupplyKind::Solar, 1_000);
        (solar.carbon_mg_per_kwh, solar.price_micro_cny_per_kwh) = (45_000, 300_000);
        let issues = [flat(&solar, band(0, 0, 7), window())];
        let outlook = outlook_of(&site(vec![solar]), &issues, window());
        assert_eq!(outlook.green_mg_per_kwh, [45_000; 4]);
        assert_eq!(outlook.green_price_micro_cny_per_kwh, [300_000; 4]);
    }

    #[test]
    fn sources_go_from_forecast_over_stale_to_climatology() {
        let hydro = supply(SupplyKind::Hydro, 1_000_000);
        let watts = band(400_000, 500_000, 600_000);
        let start = window().range.start;
        let now = window().now;
        let day = i64::try_from(24 * HOUR_MS).unwrap();
        let issues = [
            issue(&hydro, now, start, [watts]),
            issue(&hydro, now.plus_ms(-3 * day), start, [watts; 2]),
            issue(&hydro, now.plus_ms(-10 * day), start, [watts; 3]),
        ];
        let found = ruling_bands(&hydro, KUNMING, &issues, window());
        let sources: Vec<_> = found.iter().map(|ruling| ruling.source).collect();
        assert_eq!(
            sources,
            [
                BandSource::Forecast,
                BandSource::StaleForecast,
                BandSource::Climatology,
                BandSource::Climatology,
            ]
        );
        let issued: Vec<_> = found.iter().map(|ruling| ruling.issue).collect();
        assert_eq!(issued, [Some(&issues[0]), Some(&issues[1]), None, None]);
        assert_eq!(found[0].band, watts);
        // Climatology: 144, 200 and 256 kW. At 72 h, twice the limit, half of it.
        assert_eq!(found[1].band, band(272_000, 350_000, 600_000));
        assert_eq!(found[2].band, band(144_000, 200_000, 256_000));
        let outlook = outlook_of(&site(vec![hydro]), &issues, window());
        assert_eq!(outlook.fallback, [false, true, true, true]);
    }

    #[test]
    fn a_nameplate_that_shrank_caps_older_issues() {
        let hydro = supply(SupplyKind::Hydro, 450);
        let issues = [flat(&hydro, band(400, 500, 600), window())];
        let found = ruling_bands(&hydro, KUNMING, &issues, window());
        assert_eq!(found[0].band, band(400, 450, 450));
    }

    /// Three supplies of random nameplate and kind, some with issues of random age.
    fn cases() -> impl Strategy<Value = (Site, Vec<ForecastIssue>)> {
        let supply = (0..3_usize, 1..=1_000_000_000_u64, 0..=1_000_u16).prop_map(
            |(kind, nameplate, factor)| {
                let mut supply = supply(SupplyKind::ALL[kind], nameplate);
                supply.monthly_capacity_permille = [factor; 12];
                supply
            },
        );
        let supplies = prop::collection::vec(supply, 0..4).prop_map(|mut supplies| {
            for (i, supply) in supplies.iter_mut().enumerate() {
                supply.id = SupplyId::parse(&format!("kmg/s{i}")).unwrap();
            }
            supplies
        });
        let issue_parts = (0..150_i64, 0..30_u32, [0..=1_000_u64, 0..=1_000, 0..=1_000]);
        let parts = prop::collection::vec((0..4_usize, issue_parts), 0..8);
        (supplies, parts).prop_map(|(supplies, parts)| {
            let mut issues = Vec::new();
            for (supply, (age_hours, start, mut permille)) in parts {
                let Some(supply) = supplies.get(supply) else {
                    continue;
                };
                permille.sort_unstable();
                let [p10, p50, p90] =
                    permille.map(|permille| supply.nameplate_watts * permille / 1_000);
                let issued_at = window().now.plus_ms(-age_hours * 3_600_000);
                let start = FIRST_OF_JULY.plus(start);
                issues.push(issue(supply, issued_at, start, [band(p10, p50, p90); 20]));
            }
            (site(supplies), issues)
        })
    }

    proptest! {
        #[test]
        fn totals_lie_between_the_sums_of_quantiles((site, issues) in cases()) {
            let range = slots(FIRST_OF_JULY.0, FIRST_OF_JULY.0 + 60);
            let window = Window { range, ..window() };
            let outlook = outlook_of(&site, &issues, window);
            let mut sums = vec![Band::default(); 60];
            for supply in &site.supplies {
                let of_supply = issues.iter().filter(|issue| issue.id.supply == supply.id);
                for (sum, ruling) in sums.iter_mut().zip(ruling_bands(supply, KUNMING, of_supply, window)) {
                    let band = ruling.band;
                    prop_assert!(band.p10_watts <= band.p50_watts && band.p50_watts <= band.p90_watts);
                    prop_assert!(band.p90_watts <= supply.nameplate_watts);
                    sum.p10_watts += band.p10_watts;
                    sum.p50_watts += band.p50_watts;
                    sum.p90_watts += band.p90_watts;
                }
            }
            let [low, even, high] = &outlook.green_watts;
            for (i, sum) in sums.iter().enumerate() {
                prop_assert!(sum.p10_watts <= high[i] && high[i] <= even[i]);
                prop_assert_eq!(even[i], sum.p50_watts);
                prop_assert!(even[i] <= low[i] && low[i] <= sum.p90_watts);
                let by_kind: u64 = outlook.median_by_kind_watts.iter().map(|kind| kind[i]).sum();
                prop_assert_eq!(by_kind, even[i]);
            }
        }
    }
}
