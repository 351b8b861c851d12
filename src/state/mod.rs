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
pub mod decide_resubmit;
mod decide_plan;
mod decide_sites;
mod decide_links;
mod plausible;
mod decide_drain;
mod decide_relief;
mod decide_declared;
pub mod decide_agents;
mod life;
mod transfers;
pub mod ledger;
mod decide_ledger;
pub mod parts;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod replay_tests;
#[cfg(test)]
mod decide_tests;
#[cfg(test)]
mod life_tests;

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::{
    domain::{
        agent::Agent,
        forecast::{ForecastId, ForecastIssue},
        ids::{GatewayId, JobId, Revision, SiteId, SupplyId},
        job::{Job, JobState, Phase},
        latency::LatencyTable,
        link::Link,
        site::{Site, Supply},
    },
    slot::{Slot, SlotGrid, TimeMs},
};

pub use self::{bookings::Bookings, ledger::Ledger, rejection::Rejection};

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
    agents: OrdMap<SiteId, Arc<Agent>>,
    ledger: Ledger,
    /// Active jobs by site; a site without one has no entry.
    active: OrdMap<SiteId, OrdSet<JobId>>,
    /// What is at sites; a site with nothing has no entry.
    loads: OrdMap<SiteId, SiteLoad>,
    n_jobs_by_state: [u64; STATES.len()],
}

/// Jobs of a site that have not ended, by how far they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SiteLoad {
    /// Planned there.
    pub planned: u64,
    /// At the site and not being stopped, those included that are paused or out of reach.
    pub running: u64,
    /// Being stopped.
    pub stopping: u64,
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
            agents: OrdMap::new(),
            ledger: Ledger::default(),
            active: OrdMap::new(),
            loads: OrdMap::new(),
            n_jobs_by_state: [0; STATES.len()],
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

    /// Number of jobs in every state, live ones first, by the names of the API.
    #[must_use]
    pub fn n_jobs_by_state(&self) -> [(&'static str, u64); STATES.len()] {
        std::array::from_fn(|i| (STATES[i], self.n_jobs_by_state[i]))
    }

    /// Number of jobs that wait for a placement.
    #[must_use]
    pub fn n_queued_jobs(&self) -> u64 {
        self.n_jobs_by_state[1]
    }

    /// Number of jobs that have ended and are still kept.
    #[must_use]
    pub fn n_ended_jobs(&self) -> u64 {
        self.n_jobs_by_state[N_LIVE_STATES..].iter().sum()
    }

    /// Number of jobs that have not ended.
    #[must_use]
    pub fn n_live_jobs(&self) -> u64 {
        self.n_jobs_by_state[..N_LIVE_STATES].iter().sum()
    }

    /// Jobs planned at a site and at it.
    #[must_use]
    pub fn load(&self, site: &SiteId) -> SiteLoad {
        self.loads.get(site).copied().unwrap_or_default()
    }

    /// Follows a job into its state, or out of it.
    fn count(&mut self, job: &Job, comes: bool) {
        let n_jobs = &mut self.n_jobs_by_state[state_index(&job.state)];
        *n_jobs = if comes { *n_jobs + 1 } else { *n_jobs - 1 };
        self.weigh(&job.state, comes);
        let Some(active) = job.state.active() else {
            return;
        };
        let site = &active.placement.site;
        let mut there = self.active.get(site).cloned().unwrap_or_default();
        if comes {
            there.insert(job.id);
        } else {
            there.remove(&job.id);
        }
        if there.is_empty() {
            self.active.remove(site);
        } else {
            self.active.insert(site.clone(), there);
        }
    }
}

impl State {
    fn weigh(&mut self, state: &JobState, comes: bool) {
        let Some(site) = state.placement().map(|placement| &placement.site) else {
            return;
        };
        let mut load = self.load(site);
        let n_jobs = load.part(state);
        *n_jobs = if comes { *n_jobs + 1 } else { *n_jobs - 1 };
        if load.is_empty() {
            self.loads.remove(site);
        } else {
            self.loads.insert(site.clone(), load);
        }
    }
}

impl SiteLoad {
    /// Whether nothing is planned there and nothing is at the site.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The number in which a job of this state counts, which has a placement.
    fn part(&mut self, state: &JobState) -> &mut u64 {
        match state.active() {
            None => &mut self.planned,
            Some(active) if active.stopping().is_some() => &mut self.stopping,
            Some(_) => &mut self.running,
        }
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

/// Names of the states as in the API, without their prefix; the order of the counters.
pub const STATES: [&str; 13] = [
    "HELD",
    "QUEUED",
    "PLANNED",
    "ASSIGNED",
    "STARTING",
    "RUNNING",
    "SUSPENDED",
    "STOPPING",
    "UNREACHABLE",
    "SUCCEEDED",
    "FAILED",
    "CANCELLED",
    "EXPIRED",
];

/// The first of them are of jobs that have not ended.
const N_LIVE_STATES: usize = 9;

/// Position of a state in the counters.
fn state_index(state: &JobState) -> usize {
    match state {
        JobState::Held => 0,
        JobState::Queued => 1,
        JobState::Planned(_) => 2,
        JobState::Active(active) if active.is_silent => 8,
        JobState::Active(active) => match active.phase {
            Phase::Assigned => 3,
            Phase::Starting => 4,
            Phase::Running => 5,
            Phase::Suspended => 6,
            Phase::Stopping(_) => 7,
        },
        JobState::Succeeded => 9,
        JobState::Failed => 10,
        JobState::Cancelled => 11,
        JobState::Expired => 12,
    }
}
