//! What an old issue is still worth.
//!
//! Up to the limit of staleness an issue is taken as it is; from there to three times the limit its median moves in a
//! straight line to climatology while its band never gets narrower; from there on climatology alone holds.

use crate::{domain::forecast::Band, slot::TimeMs};

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
