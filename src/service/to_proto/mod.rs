//! Domain values into answers: the only way out.
//!
//! Every enum is mapped by an exhaustive match, so that a new value of the domain cannot leave as unspecified.

mod jobs;
mod spec;
mod placements;
mod sites;
mod links;
mod attempts;
mod forecasts;
mod reports;

use prost_types::{Duration, Timestamp};

pub(super) use self::{
    attempts::{fence, orders, refused_report},
    forecasts::{forecast, forecast_summary, receipt, ruling_band, skill},
    jobs::{accepted_job, cause, initial_event, job, job_event, placement_change, submit_response},
    links::link,
    placements::{placement, refusal, refusal_reason, site_verdict, suggestion},
    reports::{settlement_entry, settlement_line, statement},
    sites::{latency, latency_zone, site, site_now},
};
use crate::{domain::ids::Revision, slot::TimeMs};

/// A moment.
pub(super) fn time(time: TimeMs) -> Timestamp {
    let nanos = time.0.rem_euclid(1_000) * 1_000_000;
    Timestamp {
        seconds: time.0.div_euclid(1_000),
        nanos: i32::try_from(nanos).unwrap_or(0),
    }
}

/// A duration of milliseconds.
pub(super) fn duration(ms: u64) -> Duration {
    Duration {
        seconds: i64::try_from(ms / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(ms % 1_000 * 1_000_000).unwrap_or(0),
    }
}

/// The etag of a resource that last changed at a revision.
pub(super) fn etag(revision: Revision) -> String {
    format!("r{revision}")
}
