//! What happened: facts that are written and replayed.
//!
//! One record is one revision; its events hold together or not at all.

use std::sync::Arc;

use crate::{
    domain::{
        agent::Agent,
        attempt::Work,
        forecast::{Actuals, ForecastId, ForecastIssue},
        ids::{JobId, Revision, SiteId, SupplyId},
        job::{ChangeCause, Job, JobSpec, JobState},
        ledger::{Entry, JobReadings, Line, Readings},
        link::Link,
        site::Site,
    },
    slot::{Slot, TimeMs},
    state::{
        SiteLoad,
        command::{LatencyUpdate, RequestKey},
    },
};

/// One durable change.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Revision it makes.
    pub revision: Revision,
    /// When it was decided.
    pub at: TimeMs,
    /// The request it answers, where it has an id.
    pub request: Option<RequestKey>,
    /// What happened.
    pub events: Vec<Event>,
}

impl Record {
    /// Whether the job has no placement after it that it had before.
    #[must_use]
    pub fn ends_placement_of(&self, id: JobId) -> bool {
        self.events.iter().any(|event| match event {
            Event::JobChanged(change) => change.id == id && change.state.placement().is_none(),
            _ => false,
        })
    }
}

/// One fact.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A job was accepted.
    JobSubmitted(Arc<Job>),
    /// A job changed.
    JobChanged(JobChange),
    /// An ended job was forgotten, and its key with it.
    JobForgotten(JobId),
    /// A site was created or changed; the whole site as it is now.
    SitePut(Arc<Site>),
    /// Zones and round-trip times were set.
    LatenciesPut(Arc<LatencyUpdate>),
    /// A link was set; the whole link as it is now.
    LinkPut(Arc<Link>),
    /// A forecast issue was stored.
    ForecastPut(Arc<ForecastIssue>),
    /// A forecast issue was forgotten.
    ForecastForgotten(ForecastId),
    /// Readings were stored.
    ActualsPut(Actuals),
    /// Readings before a slot were forgotten.
    ActualsForgotten(SupplyId, Slot),
    /// A request id was forgotten.
    RequestForgotten(Arc<str>),
    /// What is known of a site's agent changed; all of it as it is now.
    AgentPut(Arc<Agent>),
    /// Readings of a site's meter were stored.
    ReadingsPut(Readings),
    /// Measured energy of an attempt was stored.
    JobReadingsPut(JobReadings),
    /// A site-slot was settled, or settled anew.
    SlotSettled(Arc<SlotSettled>),
    /// All but totals before a slot of a site was dropped, and totals before another.
    LedgerTrimmed {
        /// The site.
        site: SiteId,
        /// First slot that stays whole.
        whole_from: Slot,
        /// First slot of which totals stay.
        totals_from: Slot,
    },
}

/// How a site-slot was settled.
#[derive(Debug, Clone, PartialEq)]
pub struct SlotSettled {
    /// The site.
    pub site: SiteId,
    /// The slot.
    pub slot: Slot,
    /// Its totals.
    pub entry: Entry,
    /// Its lines by job and attempt.
    pub lines: Arc<[Line]>,
}

/// How a job changed.
#[derive(Debug, Clone, PartialEq)]
pub struct JobChange {
    /// The job.
    pub id: JobId,
    /// Its new description with its finish deadline in force, where that changed.
    pub spec: Option<(Arc<JobSpec>, TimeMs)>,
    /// Its state now.
    pub state: JobState,
    /// What made it change.
    pub cause: ChangeCause,
    /// The site, supply, forecast or other job behind it; empty when it was the job itself.
    pub trigger: Arc<str>,
    /// The reason given, where one was.
    pub note: Option<Arc<str>>,
    /// Its attempts now, where they changed.
    pub work: Option<Arc<Work>>,
}

/// What a record changed, for watchers and the timetable.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Applied {
    /// Jobs, in the record's order.
    pub jobs: Vec<JobDelta>,
    /// Sites, each once, by id.
    pub sites: Vec<SiteDelta>,
}

/// A site after a record that changed it, or what a drain has left there.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteDelta {
    /// The site.
    pub site: Arc<Site>,
    /// What is there.
    pub load: SiteLoad,
}

/// A job before and after a record: what watchers and the timetable need.
#[derive(Debug, Clone, PartialEq)]
pub struct JobDelta {
    /// Before; `None` for a new job.
    pub before: Option<Arc<Job>>,
    /// After; `None` for a forgotten job.
    pub after: Option<Arc<Job>>,
    /// The site, supply, forecast or other job behind it.
    pub trigger: Arc<str>,
}
