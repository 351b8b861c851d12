//! A state put together again from what is kept of it.
//!
//! What follows from the parts, the keys and the counters, is made here and never read back.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use thiserror::Error;

use crate::{
    domain::{
        agent::Agent,
        forecast::{ForecastId, ForecastIssue},
        ids::{GatewayId, JobId, Revision, SiteId, SupplyId},
        job::Job,
        latency::LatencyTable,
        ledger::{Settlement, Use, UseKey},
        link::Link,
        site::Site,
    },
    slot::{Slot, TimeMs},
    state::{Ledger, RequestMark, Settings, State},
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
    /// Links by gateway.
    pub links: OrdMap<GatewayId, Arc<Link>>,
    /// Forecast issues by id.
    pub forecasts: OrdMap<ForecastId, Arc<ForecastIssue>>,
    /// Readings by supply and slot, watts; no supply without a reading.
    pub actuals: OrdMap<SupplyId, OrdMap<Slot, u64>>,
    /// Jobs by id.
    pub jobs: OrdMap<JobId, Arc<Job>>,
    /// Request ids that were used.
    pub requests: OrdMap<Arc<str>, RequestMark>,
    /// What is known of agents, by site.
    pub agents: OrdMap<SiteId, Arc<Agent>>,
    /// The ledger; what follows from its parts is made anew.
    pub ledger: LedgerParts,
}

/// What is kept of the ledger.
#[derive(Debug, Clone, Default)]
pub struct LedgerParts {
    /// Readings by site and slot, watt-seconds; no site without a reading.
    pub readings: OrdMap<SiteId, OrdMap<Slot, u64>>,
    /// Slots that are due.
    pub due: OrdSet<(Slot, SiteId)>,
    /// Uses.
    pub uses: OrdMap<UseKey, Use>,
    /// Settled slots by site; no site without one.
    pub settled: OrdMap<SiteId, OrdMap<Slot, Arc<Settlement>>>,
    /// First slots that are whole, by site.
    pub open_from: OrdMap<SiteId, Slot>,
    /// Jobs that are forgotten, of which uses are kept.
    pub forgotten: OrdMap<JobId, Arc<Job>>,
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
        let mut state = Self::new(settings);
        let LedgerParts {
            readings,
            due,
            uses,
            settled,
            open_from,
            forgotten,
        } = parts.ledger;
        let mut ledger = Ledger {
            readings,
            uses,
            settled,
            due,
            open_from,
            forgotten,
            ..Ledger::default()
        };
        ledger.derive();
        for job in parts.jobs.values() {
            state.count(job, true);
            let key = job.idempotency_key.clone();
            if let Some(first) = state.jobs_by_key.insert(key, job.id) {
                let second = job.id;
                return Err(KeyTwice { first, second });
            }
        }
        Ok(Self {
            revision: parts.revision,
            changed_at: parts.changed_at,
            sites: parts.sites,
            latencies: Arc::new(parts.latencies),
            links: parts.links,
            forecasts: parts.forecasts,
            actuals: parts.actuals,
            jobs: parts.jobs,
            requests: parts.requests,
            agents: parts.agents,
            ledger,
            ..state
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{data_policy::DataPolicy, job::JobSpec, placement::Placement},
        slot::TimeMs,
        state::{
            Core,
            testing::{settings, submission},
        },
    };

    #[test]
    fn two_jobs_never_have_the_same_key() {
        let core = Core::new(settings());
        let now = TimeMs(0);
        let record = core.decide_submit(&[submission(1, None)], now).unwrap();
        let mut core = core;
        core.apply(&record);
        let first = core.state().jobs().values().next().unwrap().clone();
        let mut second = Job::clone(&first);
        second.id = JobId(first.id.0 + 1);
        let ids = KeyTwice {
            first: first.id,
            second: second.id,
        };
        let jobs = [first, Arc::new(second)];
        let parts = Parts {
            jobs: jobs.into_iter().map(|job| (job.id, job)).collect(),
            ..Parts::default()
        };
        assert_eq!(State::from_parts(settings(), parts), Err(ids));
    }

    /// A live job may take 2 KiB with all that hangs on it: 900 bytes for these leave 1100 for texts and maps.
    #[test]
    fn a_job_stays_small() {
        let bytes = size_of::<Job>()
            + size_of::<JobSpec>()
            + size_of::<Placement>()
            + size_of::<DataPolicy>();
        assert!(bytes <= 900, "{bytes}");
    }
}
