//! The functional core: all that is durable, and how it changes.
//!
//! `decide` turns a command into events and changes nothing; `apply` cannot refuse; a state is the fold of its
//! records, so a restart gives an equal one. Clones are cheap: readers keep an immutable one while the writer goes on.

pub mod command;
pub mod event;
pub mod rejection;
pub mod bookings;
mod apply;
mod decide_forecasts;
pub mod decide_jobs;
mod decide_plan;
mod decide_sites;
mod decide_links;
mod transfers;
pub mod parts;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod replay_tests;
#[cfg(test)]
mod decide_tests;

use std::sync::Arc;

use imbl::OrdMap;

use crate::{
    domain::{
        forecast::{ForecastId, ForecastIssue},
        ids::{GatewayId, JobId, Revision, SiteId, SupplyId},
        job::{Job, JobState},
        latency::LatencyTable,
        link::Link,
        site::{Site, Supply},
    },
    slot::{Slot, SlotGrid, TimeMs},
};

pub use self::{bookings::Bookings, rejection::Rejection};

/// Everything that is durable.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    settings: Settings,
    revision: Revision,
    changed_at: TimeMs,
    sites: OrdMap<SiteId, Arc<Site>>,
    latencies: Arc<LatencyTable>,
    links: OrdMap<GatewayId, Arc<Link>>,
    forecasts: OrdMap<ForecastId, Arc<ForecastIssue>>,
    actuals: OrdMap<SupplyId, OrdMap<Slot, u64>>,
    jobs: OrdMap<JobId, Arc<Job>>,
    jobs_by_key: OrdMap<Arc<str>, JobId>,
    requests: OrdMap<Arc<str>, RequestMark>,
    n_jobs_by_state: [u64; 5],
}

/// What is fixed for the life of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Length of a slot.
    pub grid: SlotGrid,
    /// Slots that the planner looks ahead.
    pub horizon_slots: u32,
    /// Jobs that have not ended, at most.
    pub live_jobs_max: u64,
}

/// A request id that was used: what it was used for, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestMark {
    /// SHA-256 of the canonical request.
    pub payload_sha256: [u8; 32],
    /// When it was used.
    pub at: TimeMs,
}

/// The writer's view: the state, and the sums derived from it by which decisions are checked.
#[derive(Debug, PartialEq)]
pub struct Core {
    state: State,
    bookings: Bookings,
}

impl State {
    /// An empty state at revision 0.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            revision: Revision(0),
            changed_at: TimeMs(0),
            sites: OrdMap::new(),
            latencies: Arc::default(),
            links: OrdMap::new(),
            forecasts: OrdMap::new(),
            actuals: OrdMap::new(),
            jobs: OrdMap::new(),
            jobs_by_key: OrdMap::new(),
            requests: OrdMap::new(),
            n_jobs_by_state: [0; 5],
        }
    }

    /// What is fixed.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Revision of the last change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Time of the last change.
    #[must_use]
    pub fn changed_at(&self) -> TimeMs {
        self.changed_at
    }

    /// A job.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<&Arc<Job>> {
        self.jobs.get(&id)
    }

    /// All jobs by id, which is the order of submission.
    #[must_use]
    pub fn jobs(&self) -> &OrdMap<JobId, Arc<Job>> {
        &self.jobs
    }

    /// The job submitted under a key.
    #[must_use]
    pub fn job_by_key(&self, key: &str) -> Option<&Arc<Job>> {
        self.jobs.get(self.jobs_by_key.get(key)?)
    }

    /// A site.
    #[must_use]
    pub fn site(&self, id: &SiteId) -> Option<&Arc<Site>> {
        self.sites.get(id)
    }

    /// All sites by id.
    #[must_use]
    pub fn sites(&self) -> &OrdMap<SiteId, Arc<Site>> {
        &self.sites
    }

    /// A supply with its site.
    #[must_use]
    pub fn supply(&self, id: &SupplyId) -> Option<(&Arc<Site>, &Supply)> {
        let site = self.sites.get(&SiteId::parse(id.site_part()).ok()?)?;
        let supply = site.supplies.iter().find(|supply| supply.id == *id)?;
        Some((site, supply))
    }

    /// Zones and round-trip times.
    #[must_use]
    pub fn latencies(&self) -> &Arc<LatencyTable> {
        &self.latencies
    }

    /// The link of a gateway.
    #[must_use]
    pub fn link(&self, gateway: &GatewayId) -> Option<&Arc<Link>> {
        self.links.get(gateway)
    }

    /// All links by gateway.
    #[must_use]
    pub fn links(&self) -> &OrdMap<GatewayId, Arc<Link>> {
        &self.links
    }

    /// All forecast issues, by supply, then issue time.
    #[must_use]
    pub fn forecasts(&self) -> &OrdMap<ForecastId, Arc<ForecastIssue>> {
        &self.forecasts
    }

    /// Issues of one supply, oldest first.
    pub fn issues_of<'a>(
        &'a self,
        supply: &SupplyId,
    ) -> impl Iterator<Item = &'a Arc<ForecastIssue>> + use<'a> {
        let first = ForecastId {
            supply: supply.clone(),
            issued_at: TimeMs(i64::MIN),
            product: crate::domain::forecast::ForecastProduct::DayAhead,
        };
        let supply = supply.clone();
        self.forecasts
            .range(first..)
            .take_while(move |(id, _)| id.supply == supply)
            .map(|(_, issue)| issue)
    }

    /// Metered power of a supply by slot, watts.
    #[must_use]
    pub fn actuals_of(&self, supply: &SupplyId) -> Option<&OrdMap<Slot, u64>> {
        self.actuals.get(supply)
    }

    /// Metered power of all supplies.
    #[must_use]
    pub fn actuals(&self) -> &OrdMap<SupplyId, OrdMap<Slot, u64>> {
        &self.actuals
    }

    /// Request ids that were used.
    #[must_use]
    pub fn requests(&self) -> &OrdMap<Arc<str>, RequestMark> {
        &self.requests
    }

    /// Number of jobs in the states held, queued, planned, cancelled, expired.
    #[must_use]
    pub fn n_jobs_by_state(&self) -> [(&'static str, u64); 5] {
        let names = ["HELD", "QUEUED", "PLANNED", "CANCELLED", "EXPIRED"];
        std::array::from_fn(|i| (names[i], self.n_jobs_by_state[i]))
    }

    /// Number of jobs that wait for a placement.
    #[must_use]
    pub fn n_queued_jobs(&self) -> u64 {
        self.n_jobs_by_state[1]
    }

    /// Number of jobs that have ended and are still kept.
    #[must_use]
    pub fn n_ended_jobs(&self) -> u64 {
        self.n_jobs_by_state[3..].iter().sum()
    }

    /// Number of jobs that have not ended.
    #[must_use]
    pub fn n_live_jobs(&self) -> u64 {
        self.n_jobs_by_state[..3].iter().sum()
    }
}

impl Core {
    /// The core of an empty store.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            state: State::new(settings),
            bookings: Bookings::default(),
        }
    }

    /// The core of a state read back from a snapshot.
    #[must_use]
    pub fn restore(state: State) -> Self {
        let mut bookings = Bookings::default();
        for job in state.jobs.values() {
            if let Some(placement) = job.placement() {
                bookings.add(placement);
            }
        }
        Self { state, bookings }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Sums of all placements.
    #[must_use]
    pub fn bookings(&self) -> &Bookings {
        &self.bookings
    }
}

/// Position of a state in the counters.
fn state_index(state: &JobState) -> usize {
    match state {
        JobState::Held => 0,
        JobState::Queued => 1,
        JobState::Planned(_) => 2,
        JobState::Cancelled => 3,
        JobState::Expired => 4,
    }
}
