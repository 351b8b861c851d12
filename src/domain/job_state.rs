//! Where a job stands in its life, and what brought it there.
//!
//! A state that needs a placement carries it, so that a planned job without a window cannot be written.

use std::sync::Arc;

use crate::domain::placement::Placement;

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Held by a user.
    Held,
    /// Accepted, without a placement.
    Queued,
    /// Has a placement.
    Planned(Arc<Placement>),
    /// At its site; its last attempt is open.
    Active(Active),
    /// Ended with exit code 0; final.
    Succeeded,
    /// Its last attempt failed; final.
    Failed,
    /// Cancelled; final.
    Cancelled,
    /// Deadline out of reach; final.
    Expired,
}

/// Where a job at its site stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Active {
    /// Its placement; it stays taken until nothing of the attempt runs any more.
    pub placement: Arc<Placement>,
    /// How far the attempt is, as last heard.
    pub phase: Phase,
    /// Why it is to be paused; `None` when it is to run.
    pub pause: Option<Pause>,
    /// Whether its agent has fallen silent, so that nobody knows.
    pub is_silent: bool,
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Offered.
    Assigned,
    /// Taken by the agent.
    Starting,
    /// Runs.
    Running,
    /// Paused.
    Suspended,
    /// Being stopped.
    Stopping(StopCause),
}

/// Why an attempt is stopped: what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopCause {
    /// Its job is cancelled.
    Cancel,
    /// Its job's deadline has passed.
    Deadline,
    /// Its job is planned anew.
    Requeue,
    /// Its site is drained, and its job planned anew.
    Drain,
    /// Its site is maintained, and its job planned anew.
    Maintenance,
    /// Its site may use less, and its job is planned anew.
    Curtailed,
    /// The data rules forbid it where it is by now, and its job is planned anew.
    Forbidden,
    /// Its run is over, and the next one begins another attempt.
    Pause,
}

/// Why a job at its site is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pause {
    /// Its plan has no run now.
    Plan,
    /// A user said so.
    User,
}

/// What made a job change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeCause {
    /// It was submitted.
    Submitted,
    /// Its description was changed.
    Updated,
    /// It was held.
    Held,
    /// It was released.
    Released,
    /// It was cancelled.
    Cancelled,
    /// A forecast changed.
    Forecast,
    /// Its site was cordoned.
    Cordon,
    /// A site was created or uncordoned.
    SiteAvailable,
    /// A site's traits changed.
    SiteChanged,
    /// Round-trip times changed.
    Latency,
    /// The bandwidth of a link changed.
    LinkChanged,
    /// Its planned start came: it was offered to the agent.
    StartDue,
    /// The agent took it.
    Accepted,
    /// The agent did not take it, or not in time.
    Declined,
    /// It began to run.
    Started,
    /// It was paused, or is to be.
    Suspended,
    /// It goes on, or is to.
    Resumed,
    /// Its program ended.
    Ended,
    /// Its attempt failed and another one follows.
    Retry,
    /// It ran longer than planned.
    Overrun,
    /// It made way for one that ran longer than planned.
    Displaced,
    /// Its agent fell silent.
    SiteSilent,
    /// Its agent is back.
    SiteBack,
    /// Its site was given up.
    SiteLost,
    /// A user had it stopped and planned anew.
    Requeued,
    /// Its run is over: its attempt is ended, or has ended, and the next run goes on under another fence.
    Paused,
    /// It moved so that another job has room.
    MadeRoom,
    /// Everything that had not begun was looked at, as is done from time to time.
    Sweep,
    /// Its planned start passed without a start.
    StartMissed,
    /// Room became free.
    Room,
    /// Its deadline is out of reach.
    Deadline,
    /// Its site is drained.
    Drain,
    /// Its site is maintained.
    Maintenance,
    /// What its site may use fell below what is there.
    Curtailed,
    /// The data rules forbid it where it was by now.
    Forbidden,
}

impl ChangeCause {
    /// Every cause.
    pub const ALL: [Self; 35] = [
        Self::Submitted,
        Self::Updated,
        Self::Held,
        Self::Released,
        Self::Cancelled,
        Self::Forecast,
        Self::Cordon,
        Self::SiteAvailable,
        Self::SiteChanged,
        Self::Latency,
        Self::LinkChanged,
        Self::StartDue,
        Self::Accepted,
        Self::Declined,
        Self::Started,
        Self::Suspended,
        Self::Resumed,
        Self::Ended,
        Self::Retry,
        Self::Overrun,
        Self::Displaced,
        Self::SiteSilent,
        Self::SiteBack,
        Self::SiteLost,
        Self::Requeued,
        Self::Paused,
        Self::MadeRoom,
        Self::Sweep,
        Self::StartMissed,
        Self::Room,
        Self::Deadline,
        Self::Drain,
        Self::Maintenance,
        Self::Curtailed,
        Self::Forbidden,
    ];
}

impl StopCause {
    /// Why the job waits after a stop that lets it begin again; `None` after one that ends it.
    #[must_use]
    pub fn begins_again(self) -> Option<ChangeCause> {
        match self {
            Self::Cancel | Self::Deadline | Self::Pause => None,
            Self::Requeue => Some(ChangeCause::Requeued),
            Self::Drain => Some(ChangeCause::Drain),
            Self::Maintenance => Some(ChangeCause::Maintenance),
            Self::Curtailed => Some(ChangeCause::Curtailed),
            Self::Forbidden => Some(ChangeCause::Forbidden),
        }
    }
}

impl JobState {
    /// The placement of a planned or active job.
    #[must_use]
    pub fn placement(&self) -> Option<&Arc<Placement>> {
        match self {
            Self::Planned(placement) => Some(placement),
            Self::Active(active) => Some(&active.placement),
            Self::Held
            | Self::Queued
            | Self::Succeeded
            | Self::Failed
            | Self::Cancelled
            | Self::Expired => None,
        }
    }

    /// The job at its site.
    #[must_use]
    pub fn active(&self) -> Option<&Active> {
        match self {
            Self::Active(active) => Some(active),
            _ => None,
        }
    }

    /// Whether nothing changes any more.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired => true,
            Self::Held | Self::Queued | Self::Planned(_) | Self::Active(_) => false,
        }
    }

    /// Name as in the API, without its prefix.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Held => "HELD",
            Self::Queued => "QUEUED",
            Self::Planned(_) => "PLANNED",
            Self::Active(active) => active.name(),
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::Expired => "EXPIRED",
        }
    }
}

impl Active {
    /// Why it is being stopped; `None` when it is not.
    #[must_use]
    pub fn stopping(&self) -> Option<StopCause> {
        match self.phase {
            Phase::Stopping(cause) => Some(cause),
            Phase::Assigned | Phase::Starting | Phase::Running | Phase::Suspended => None,
        }
    }

    /// Name of the state as in the API, without its prefix.
    #[must_use]
    pub fn name(&self) -> &'static str {
        if self.is_silent {
            return "UNREACHABLE";
        }
        match self.phase {
            Phase::Assigned => "ASSIGNED",
            Phase::Starting => "STARTING",
            Phase::Running => "RUNNING",
            Phase::Suspended => "SUSPENDED",
            Phase::Stopping(_) => "STOPPING",
        }
    }
}
