//! What an old issue is still worth.
//!
//! Up to the limit of staleness an issue is taken as it is; from there to three times the limit its median moves in a
//! straight line to climatology while its band never gets narrower; from there on climatology alone holds.

use crate::{
    domain::forecast::{Band, ForecastProduct},
    slot::TimeMs,
};

/// Where the band of a slot comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BandSource {
    /// A fresh issue.
    Forecast,
    /// An issue older than the limit; its band is widened.
    StaleForecast,
    /// The monthly profile: no issue covers the slot, or only one that is too old.
    Climatology,
}

/// How far an issue has aged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Within the limit.
    Fresh,
    /// Past the limit.
    Stale {
        /// Weight of climatology, 1 to 999 thousandths.
        climatology_permille: u32,
    },
    /// At three times the limit or past it.
    Expired,
}

/// Age from which an issue of a product is stale, where a day-ahead issue is at `stale_after_ms`: one for a week is
/// replaced after seven days instead of one, and is missed so much later. Milliseconds.
#[must_use]
pub fn limit_ms(product: ForecastProduct, stale_after_ms: u64) -> u64 {
    const SIX_DAYS_MS: u64 = 6 * 86_400_000;
    match product {
        ForecastProduct::DayAhead | ForecastProduct::Intraday => stale_after_ms,
        ForecastProduct::WeekAhead => stale_after_ms.saturating_add(SIX_DAYS_MS),
    }
}

/// How far an issue has aged at `now`. One that was issued after `now` is fresh.
#[must_use]
pub fn freshness(issued_at: TimeMs, now: TimeMs, stale_after_ms: u64) -> Freshness {
    let age_ms = u64::try_from(now.0.saturating_sub(issued_at.0)).unwrap_or(0);
    let past_ms = age_ms.saturating_sub(stale_after_ms);
    if past_ms == 0 {
        return Freshness::Fresh;
    }
    let span_ms = u128::from(stale_after_ms) * 2;
    if u128::from(past_ms) >= span_ms {
        return Freshness::Expired;
    }
    let permille = u128::from(past_ms) * 1_000 / span_ms;
    Freshness::Stale {
        climatology_permille: u32::try_from(permille).unwrap_or(999).max(1),
    }
}

/// The band of a stale issue: between the issue and climatology, and at least as wide as the issue's own reach.
#[must_use]
pub fn widened(issued: Band, climatology: Band, climatology_permille: u32) -> Band {
    let weight = u128::from(climatology_permille.min(1_000));
    let mix = |from: u64, to: u64| {
        let sum = u128::from(from) * (1_000 - weight) + u128::from(to) * weight;
        u64::try_from(sum / 1_000).unwrap_or(u64::MAX)
    };
    Band {
        p10_watts: issued
            .p10_watts
            .min(mix(issued.p10_watts, climatology.p10_watts)),
        p50_watts: mix(issued.p50_watts, climatology.p50_watts),
        p90_watts: issued
            .p90_watts
            .max(mix(issued.p90_watts, climatology.p90_watts)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::energy::fixtures::band;

    const HOUR_MS: i64 = 3_600_000;
    const LIMIT_MS: u64 = 36 * 3_600_000;

    #[track_caller]
    fn check(age_hours: i64, expected: Freshness) {
        let now = TimeMs(1_000 * HOUR_MS);
        let issued_at = now.plus_ms(-age_hours * HOUR_MS);
        assert_eq!(freshness(issued_at, now, LIMIT_MS), expected);
    }

    fn stale(climatology_permille: u32) -> Freshness {
        Freshness::Stale {
            climatology_permille,
        }
    }

    #[test]
    fn an_issue_ages_from_the_limit_to_three_times_the_limit() {
        check(-1, Freshness::Fresh);
        check(0, Freshness::Fresh);
        check(36, Freshness::Fresh);
        check(45, stale(125));
        check(72, stale(500));
        check(107, stale(986));
        check(108, Freshness::Expired);
        check(10_000, Freshness::Expired);
    }

    #[test]
    fn a_moment_past_the_limit_is_stale() {
        let now = TimeMs(200_000_000);
        let issued_at = now.plus_ms(-129_600_001);
        assert_eq!(freshness(issued_at, now, LIMIT_MS), stale(1));
    }

    #[test]
    fn without_a_limit_every_old_issue_is_expired() {
        assert_eq!(freshness(TimeMs(0), TimeMs(0), 0), Freshness::Fresh);
        assert_eq!(freshness(TimeMs(0), TimeMs(1), 0), Freshness::Expired);
    }

    #[test]
    fn a_stale_band_moves_to_climatology_and_never_gets_narrower() {
        let issued = band(900, 1_000, 1_100);
        let below = band(100, 200, 300);
        assert_eq!(widened(issued, below, 500), band(500, 600, 1_100));
        let above = band(1_900, 2_000, 2_100);
        assert_eq!(widened(issued, above, 500), band(900, 1_500, 1_600));
        let wide = band(0, 1_000, 4_000);
        assert_eq!(widened(issued, wide, 100), band(810, 1_000, 1_390));
    }

    fn bands() -> impl Strategy<Value = Band> {
        [0..=1_000_000_u64, 0..=1_000_000, 0..=1_000_000].prop_map(|mut watts| {
            watts.sort_unstable();
            band(watts[0], watts[1], watts[2])
        })
    }

    proptest! {
        #[test]
        fn a_widened_band_is_ordered_and_within_reach(
            issued in bands(),
            climatology in bands(),
            permille in 0..=1_000_u32,
        ) {
            let result = widened(issued, climatology, permille);
            prop_assert!(result.p10_watts <= result.p50_watts);
            prop_assert!(result.p50_watts <= result.p90_watts);
            prop_assert!(result.p10_watts <= issued.p10_watts);
            prop_assert!(issued.p90_watts <= result.p90_watts);
            prop_assert!(result.p90_watts <= issued.p90_watts.max(climatology.p90_watts));
        }
    }

    #[test]
    fn an_issue_for_a_week_grows_stale_six_days_later() {
        let age = |product, hours: u64| {
            let issued_at = TimeMs(0);
            let now = issued_at.plus_ms(i64::try_from(hours).unwrap() * HOUR_MS);
            freshness(issued_at, now, limit_ms(product, LIMIT_MS))
        };
        for product in [ForecastProduct::DayAhead, ForecastProduct::Intraday] {
            assert_eq!(age(product, 36), Freshness::Fresh);
            assert_ne!(age(product, 37), Freshness::Fresh);
        }
        let week = ForecastProduct::WeekAhead;
        assert_eq!(age(week, 6 * 24 + 36), Freshness::Fresh);
        assert_ne!(age(week, 6 * 24 + 37), Freshness::Fresh);
    }
}
