//! What can be asked of the writer: the closed list of changes.
//!
//! A command carries values whose own violations are empty; what depends on the state is judged by `decide`.

use std::sync::Arc;

use crate::{
    domain::{
        attempt::{Ended, Fence},
        forecast::{Actuals, ForecastIssue},
        ids::{GatewayId, JobId, Revision, SiteId, WindowId},
        job::{ChangeCause, Flexibility, JobSpec, Labels, StopCause, Weights},
        latency::{LatencyZone, RoundTrip},
        ledger::Readings,
        outlook::Confidence,
        placement::Placement,
        restriction::{DrainMode, Window},
        site::{Pool, Site, Supply, TariffPeriod},
    },
    slot::{Slot, SlotRange, TimeMs},
};

/// Marks a write so that a repeat changes nothing: the client's id and the hash of what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// The client's id, with the method before it, so that ids of different methods never meet.
    pub id: Arc<str>,
    /// SHA-256 of the canonical request.
    pub payload_sha256: [u8; 32],
}

/// A job to be submitted.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Id the job gets if it is new.
    pub id: JobId,
    /// The client's idempotency key.
    pub idempotency_key: Arc<str>,
    /// SHA-256 of the canonical submission.
    pub payload_sha256: [u8; 32],
    /// What to run.
    pub spec: Arc<JobSpec>,
    /// Accept it without planning it.
    pub hold: bool,
    /// The quote to be honoured.
    pub quote: Option<QuoteTerms>,
    /// The job that it was resubmitted from.
    pub retry_of: Option<JobId>,
}

/// A job that has ended, to be submitted once more.
#[derive(Debug, Clone)]
pub struct Resubmission {
    /// Id the new job gets.
    pub id: JobId,
    /// The client's idempotency key.
    pub idempotency_key: Arc<str>,
    /// SHA-256 of the canonical request.
    pub payload_sha256: [u8; 32],
    /// The job that has ended.
    pub of: JobId,
    /// What is to differ.
    pub patch: JobPatch,
    /// Accept it without planning it.
    pub hold: bool,
}

/// What a quote promised and how much worse is still welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuoteTerms {
    /// Until when the quote holds.
    pub expires_at: TimeMs,
    /// Quoted end.
    pub end: TimeMs,
    /// Quoted green share, thousandths.
    pub green_share_permille: u32,
    /// Later end that is still welcome, milliseconds.
    pub max_delay_ms: u64,
    /// Lower green share that is still welcome, thousandths.
    pub max_green_share_drop_permille: u32,
}

/// Something to do with one job.
#[derive(Debug, Clone)]
pub struct JobCommand {
    /// The job.
    pub id: JobId,
    /// The etag last read; `None` means whatever it is now.
    pub etag: Option<Revision>,
    /// Marks a repeat.
    pub request: Option<RequestKey>,
    /// What to do.
    pub verb: JobVerb,
}

/// What can be done with a job.
#[derive(Debug, Clone)]
pub enum JobVerb {
    /// Change its description.
    Update(Box<JobPatch>),
    /// Take it out of the plan.
    Hold {
        /// Why.
        note: Arc<str>,
    },
    /// Put it back.
    Release,
    /// End it.
    Cancel {
        /// Why.
        note: Arc<str>,
    },
    /// Pause it at its site.
    Suspend {
        /// Why.
        note: Arc<str>,
    },
    /// Let it go on.
    Resume,
    /// Stop it at its site and plan it anew.
    Requeue {
        /// Why.
        note: Arc<str>,
    },
}

/// New values of some fields of a job; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct JobPatch {
    /// Labels.
    pub labels: Option<Labels>,
    /// Earliest start.
    pub earliest_start: Option<Option<TimeMs>>,
    /// Start deadline.
    pub start_deadline: Option<Option<TimeMs>>,
    /// Finish deadline.
    pub finish_deadline: Option<Option<TimeMs>>,
    /// Flexibility.
    pub flexibility: Option<Flexibility>,
    /// Least green share and its confidence.
    pub green: Option<(u32, Confidence)>,
    /// Weights.
    pub weights: Option<Option<Weights>>,
    /// Priority.
    pub priority: Option<u32>,
}

/// Something to do with one site.
#[derive(Debug, Clone)]
pub struct SiteCommand {
    /// The site.
    pub id: SiteId,
    /// The etag last read; `None` means whatever it is now.
    pub etag: Option<Revision>,
    /// Marks a repeat.
    pub request: Option<RequestKey>,
    /// What to do.
    pub verb: SiteVerb,
}

/// What can be done with a site.
#[derive(Debug, Clone)]
pub enum SiteVerb {
    /// Add it.
    Create(Box<Site>),
    /// Change some fields.
    Update(Box<SitePatch>),
    /// Take no new work.
    Cordon {
        /// Why.
        reason: Arc<str>,
    },
    /// Empty it: a cordon that also concerns what has begun.
    Drain {
        /// Why.
        reason: Arc<str>,
        /// What becomes of jobs that have begun.
        mode: DrainMode,
        /// When whatever is still there is stopped.
        deadline: Option<TimeMs>,
    },
    /// Let it draw less for a time, or nothing; a window with the same id is replaced.
    PutWindow(Box<Window>),
    /// End a window, or call it off.
    DropWindow(WindowId),
    /// Take work again.
    Uncordon,
}

/// The word of a person that nothing runs at a site any more.
#[derive(Debug, Clone)]
pub struct LossCommand {
    /// The site.
    pub site: SiteId,
    /// What happened.
    pub reason: Arc<str>,
    /// Marks a repeat.
    pub request: Option<RequestKey>,
}

/// New values of some fields of a site; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct SitePatch {
    /// Name for people.
    pub display_name: Option<Arc<str>>,
    /// Pools.
    pub pools: Option<Vec<Pool>>,
    /// Power cap, watts.
    pub power_cap_watts: Option<u64>,
    /// Grid limit, watts.
    pub grid_limit_watts: Option<u64>,
    /// PUE, thousandths.
    pub pue_permille: Option<u32>,
    /// Supplies.
    pub supplies: Option<Vec<Supply>>,
    /// Gateway.
    pub gateway: Option<Option<GatewayId>>,
    /// Offshore enclave.
    pub offshore_enclave: Option<bool>,
    /// Average carbon of the grid, mg/kWh.
    pub grid_location_mg_per_kwh: Option<u32>,
    /// Marginal carbon of the grid by month, mg/kWh.
    pub grid_marginal_mg_per_kwh: Option<Vec<u32>>,
    /// Tariff.
    pub tariff: Option<Vec<TariffPeriod>>,
    /// Water for each kWh, millilitres.
    pub water_ml_per_kwh: Option<u32>,
}

/// What an agent reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The process of the agent that reports; `None` when it has no name.
    pub process: Option<u128>,
    /// The site it speaks for.
    pub site: SiteId,
    /// Its instance.
    pub instance: Arc<str>,
    /// Sequence number of its last event; what it holds is as of then.
    pub last_sequence: u64,
    /// Revision of the last orders it has taken in.
    pub seen_revision: Revision,
    /// Every attempt it holds.
    pub held: Vec<HeldAttempt>,
    /// What happened and is not acknowledged yet, by rising sequence.
    pub events: Vec<ReportedEvent>,
    /// Version of the program; empty when it does not say.
    pub version: Arc<str>,
}

/// An attempt that an agent holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldAttempt {
    /// The job.
    pub job: JobId,
    /// The fence.
    pub fence: Fence,
}

/// Something that happened to an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportedEvent {
    /// Rises with every event of the instance.
    pub sequence: u64,
    /// The job.
    pub job: JobId,
    /// The fence.
    pub fence: Fence,
    /// When, by the clock of the site.
    pub at: TimeMs,
    /// What.
    pub kind: ReportedKind,
}

/// What happened to an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum ReportedKind {
    /// Taken.
    Accepted,
    /// Not taken.
    Declined {
        /// Why.
        reason: Arc<str>,
    },
    /// Began to run.
    Started {
        /// What the engine calls it.
        engine_id: Arc<str>,
    },
    /// Paused.
    Suspended,
    /// Goes on.
    Resumed,
    /// Ended.
    Ended(Ended),
}

impl ReportedKind {
    /// Name as in the API.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Declined { .. } => "declined",
            Self::Started { .. } => "started",
            Self::Suspended => "suspended",
            Self::Resumed => "resumed",
            Self::Ended(_) => "ended",
        }
    }
}

/// A link to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkCommand {
    /// The gateway.
    pub gateway: GatewayId,
    /// Its bandwidth, bits per second.
    pub bandwidth_bits_per_second: u64,
    /// The etag last read; `None` means whatever it is now.
    pub etag: Option<Revision>,
    /// Marks a repeat.
    pub request: Option<RequestKey>,
}

/// Zones and round-trip times to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatencyUpdate {
    /// Zones; the same id is replaced.
    pub zones: Vec<LatencyZone>,
    /// Round-trip times; the same pair is replaced.
    pub round_trips: Vec<(SiteId, crate::domain::ids::CityId, RoundTrip)>,
}

/// A forecast issue to store.
#[derive(Debug, Clone)]
pub struct ForecastCommand {
    /// The issue.
    pub issue: ForecastIssue,
    /// Slots of one step as the issuer sent it: field paths of violations count steps.
    pub slots_per_step: u32,
    /// Accept a jump that smells of mixed-up units.
    pub accept_jump: bool,
}

/// Metered power to store.
#[derive(Debug, Clone)]
pub struct ActualsCommand {
    /// The readings.
    pub actuals: Actuals,
    /// Marks a repeat.
    pub request: Option<RequestKey>,
}

/// Readings of a site's meter to store.
#[derive(Debug, Clone)]
pub struct ReadingsCommand {
    /// The readings.
    pub readings: Readings,
    /// Marks a repeat.
    pub request: Option<RequestKey>,
}

/// Measured energy of an attempt to store.
#[derive(Debug, Clone)]
pub struct JobReadingsCommand {
    /// The job.
    pub job: JobId,
    /// Number of the attempt; `None` means the last one.
    pub attempt: Option<u32>,
    /// Slots covered.
    pub range: SlotRange,
    /// Energy of its IT load in each, watt-seconds.
    pub it_watt_seconds: Arc<[u64]>,
    /// Marks a repeat.
    pub request: Option<RequestKey>,
}

/// A change of plan that the planner proposes for jobs that have not started.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanChange {
    /// The job.
    pub id: JobId,
    /// Its placement when the planner looked; a job that has another one by now is left alone.
    pub from: Option<Arc<Placement>>,
    /// Its new placement; `None` queues it, or ends it when `expired`.
    pub to: Option<Arc<Placement>>,
    /// Whether its deadline is out of reach for good.
    pub expired: bool,
    /// What made it change.
    pub cause: ChangeCause,
    /// The site, supply, forecast or other job behind it.
    pub trigger: Arc<str>,
}

/// How a job at its site gives way to what the site may use, or goes on when that is more again.
#[derive(Debug, Clone, PartialEq)]
pub enum Relief {
    /// Another plan for the rest of it.
    Rest {
        /// The job.
        id: JobId,
        /// Its placement from now on.
        to: Arc<Placement>,
        /// First slot in which it may differ from the one before.
        from: Slot,
        /// What made it change.
        cause: ChangeCause,
    },
    /// It is stopped and planned anew.
    Stop {
        /// The job.
        id: JobId,
        /// What made it change.
        cause: StopCause,
    },
}
