//! A state put together again from what is kept of it.
//!
//! What follows from the parts, the keys and the counters, is made here and never read back.

use std::sync::Arc;

use imbl::OrdMap;
use thiserror::Error;

use crate::{
    domain::{
        forecast::{ForecastId, ForecastIssue},
        ids::{JobId, Revision, SiteId, SupplyId},
        job::Job,
        latency::LatencyTable,
        site::Site,
    },
    slot::{Slot, TimeMs},
    state::{RequestMark, Settings, State, state_index},
};

/// What is kept of a state.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// Revision of the last change.
    pub revision: Revision,
    /// Time of the last change.
    pub changed_at: TimeMs,
    /// Sites by id.
    pub sites: OrdMap<SiteId, Arc<Site>>,
    /// Zones and round-trip times.
    pub latencies: LatencyTable,
    /// Forecast issues by id.
    pub forecasts: OrdMap<ForecastId, Arc<ForecastIssue>>,
    /// Readings by supply and slot, watts; no supply without a reading.
    pub actuals: OrdMap<SupplyId, OrdMap<Slot, u64>>,
    /// Jobs by id.
    pub jobs: OrdMap<JobId, Arc<Job>>,
    /// Request ids that were used.
    pub requests: OrdMap<Arc<str>, RequestMark>,
}

/// Two jobs have the same idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the jobs {first} and {second} have the same idempotency key")]
pub struct KeyTwice {
    /// The job submitted first.
    pub first: JobId,
    /// The other.
    pub second: JobId,
}

impl State {
    /// The state that has these parts.
    ///
    /// # Errors
    /// When two jobs have the same idempotency key.
    pub fn from_parts(settings: Settings, parts: Parts) -> Result<Self, KeyTwice> {
        let mut jobs_by_key = OrdMap::new();
        let mut n_jobs_by_state = [0; 5];
        for job in parts.jobs.values() {
            n_jobs_by_state[state_index(&job.state)] += 1;
            if let Some(first) = jobs_by_key.insert(job.idempotency_key.clone(), job.id) {
                let second = job.id;
                return Err(KeyTwice { first, second });
            }
        }
        Ok(Self {
            settings,
            revision: parts.revision,
            changed_at: parts.changed_at,
            sites: parts.sites,
            latencies: Arc::new(parts.latencies),
            forecasts: parts.forecasts,
            actuals: parts.actuals,
            jobs: parts.jobs,
            jobs_by_key,
            requests: parts.requests,
            n_jobs_by_state,
        })
    }
}
