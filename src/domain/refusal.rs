//! Why a site cannot take a job, with numbers; and what would help.
//!
//! The order of [`RefusalReason`] is the order of precedence: the first reason of a site is the one to mend first.

use crate::{
    domain::{ids::SiteId, placement::Placement},
    slot::TimeMs,
};

/// Typed reason; each is explained in `proto/lancang/v1/reasons.proto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalReason {
    /// The labels contradict the rules.
    DataPolicyForbids,
    /// The export basis is missing or too weak.
    ExportBasisInsufficient,
    /// A country of collection asks for a basis that is missing.
    OriginBasisMissing,
    /// Evidence expires too early.
    EvidenceExpires,
    /// Not on the allow list.
    SiteNotAllowed,
    /// On the deny list.
    SiteDenied,
    /// Country not on the allow list.
    CountryNotAllowed,
    /// Country on the deny list.
    CountryDenied,
    /// No offshore enclave.
    EnclaveRequired,
    /// No pool free of domestic data.
    DomesticMix,
    /// No pool with encryption in use.
    EncryptionInUseRequired,
    /// Another gateway.
    GatewayMismatch,
    /// Not over a leased line.
    LeasedLineRequired,
    /// Round-trip time not known.
    LatencyUnknown,
    /// Round-trip time above the budget.
    LatencyExceeded,
    /// No pool with the GPU model.
    GpuModelMissing,
    /// A task is larger than a node.
    TaskExceedsNode,
    /// The job is larger than the pool.
    JobExceedsPool,
    /// The job draws more than the cap.
    PowerExceedsCap,
    /// The window is shorter than the runtime.
    WindowTooShort,
    /// The window begins beyond the horizon.
    BeyondHorizon,
    /// The site is cordoned.
    SiteCordoned,
    /// Capacity is taken.
    CapacityBusy,
    /// Power is taken.
    PowerBusy,
    /// Not green enough.
    GreenShareUnreachable,
    /// The input cannot be brought in before the last start, even over an idle link.
    StageInTooLong,
    /// The link is taken by other transfers.
    LinkBusy,
    /// No agent runs work there.
    NoAgent,
    /// The site is maintained.
    Maintenance,
    /// The site may draw less for a time.
    Curtailed,
}

/// Unit of the numbers of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalUnit {
    /// No number.
    None,
    /// Watts.
    Watts,
    /// CPU cores.
    CpuCores,
    /// MiB.
    Mib,
    /// GPUs.
    Gpus,
    /// Microseconds.
    Microseconds,
    /// Seconds.
    Seconds,
    /// Thousandths.
    Permille,
    /// People.
    People,
    /// Bits per second.
    BitsPerSecond,
}

/// One reason with its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: RefusalReason,
    /// What the job needs.
    pub need: u64,
    /// What the site has at best.
    pub have: u64,
    /// Unit of both.
    pub unit: RefusalUnit,
    /// When the obstacle is expected to end; `None` when it does not by itself.
    pub until: Option<TimeMs>,
    /// The same as a sentence, with what to do about it.
    pub message: String,
}

/// How one site came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteVerdict {
    /// The site.
    pub site: SiteId,
    /// The outcome.
    pub outcome: Outcome,
}

/// Chosen, feasible or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The job is there, or would be.
    Chosen(Box<Placement>),
    /// It could run there, at a higher cost.
    Feasible(Box<Placement>),
    /// It cannot run there; all reasons in order of precedence.
    Refused(Vec<Refusal>),
}

/// The nearest single change that would make a job feasible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// The change.
    pub change: SuggestedChange,
    /// The site it would then run at.
    pub site: SiteId,
    /// The same as a sentence.
    pub message: String,
}

/// What would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuggestedChange {
    /// This finish deadline.
    LaterDeadline(TimeMs),
    /// This round-trip budget, microseconds.
    LargerRtt(u32),
    /// This least green share, thousandths.
    LowerGreenShare(u32),
}

impl RefusalUnit {
    /// Name as in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Watts => "watts",
            Self::CpuCores => "cpu_cores",
            Self::Mib => "mib",
            Self::Gpus => "gpus",
            Self::Microseconds => "microseconds",
            Self::Seconds => "seconds",
            Self::Permille => "permille",
            Self::People => "people",
            Self::BitsPerSecond => "bits_per_second",
        }
    }
}

impl Refusal {
    /// A reason without numbers.
    #[must_use]
    pub fn plain(reason: RefusalReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            need: 0,
            have: 0,
            unit: RefusalUnit::None,
            until: None,
            message: message.into(),
        }
    }

    /// A reason with what is needed and what is there.
    #[must_use]
    pub fn numbers(
        reason: RefusalReason,
        unit: RefusalUnit,
        need: u64,
        have: u64,
        message: impl Into<String>,
    ) -> Self {
        Self {
            reason,
            need,
            have,
            unit,
            until: None,
            message: message.into(),
        }
    }
}
