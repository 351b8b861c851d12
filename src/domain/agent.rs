//! Agents: who may speak for a site, and up to which event it has been heard.
//!
//! One credential at a time belongs to a site; secrets are kept as hashes only.

use std::sync::Arc;

use crate::{
    domain::{
        attempt::Fence,
        ids::{JobId, SiteId},
    },
    slot::TimeMs,
};

/// What is known of a site's agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The site.
    pub site: SiteId,
    /// Rises with every other agent that enrolls; part of every fence.
    pub epoch: u64,
    /// The token by which the next agent enrolls.
    pub token: Option<Token>,
    /// The agent that speaks for the site; `None` before the first.
    pub member: Option<Member>,
    /// Whether the site was given up for the silence of its agent, which has not spoken since.
    pub is_lost: bool,
    /// What came under a fence that no longer held, the last [`crate::limits::EVIDENCE_MAX`], oldest first.
    pub evidence: Vec<Evidence>,
}

/// A token that serves once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
    /// Until when.
    pub expires_at: TimeMs,
}

/// An enrolled agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its instance: a new one has lost its memory of what runs.
    pub instance: Arc<str>,
    /// SHA-256 of its credential.
    pub credential_sha256: [u8; 32],
    /// When it enrolled.
    pub enrolled_at: TimeMs,
    /// The last of its events that is durable; 0 before the first.
    pub acknowledged: u64,
    /// The process that speaks for it; `None` before one with a name has.
    pub process: Option<u128>,
    /// Processes that were replaced, the last [`crate::limits::REPLACED_PROCESSES_MAX`], oldest first.
    pub replaced: Vec<u128>,
}

/// Something reported that was refused, whole or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// When it came.
    pub at: TimeMs,
    /// Why.
    pub reason: RefusedBecause,
    /// The job it names, and the fence it came under; `None` for a whole report.
    pub about: Option<(JobId, Fence)>,
    /// What it said, as a word of the API.
    pub kind: Arc<str>,
    /// The figures, for people.
    pub detail: Arc<str>,
}

/// Why something reported was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusedBecause {
    /// The fence is not that of the job's open attempt.
    StaleFence,
    /// No job has this id.
    UnknownJob,
    /// The job was never offered to this site.
    ForeignJob,
    /// The time is ahead of the server's.
    TimeAhead,
    /// The time is before the attempt was offered.
    TimeBackwards,
    /// The end is before the begin.
    EndBeforeStart,
    /// The run time is longer than the attempt.
    RunTimeTooLong,
    /// The energy is more than the job's power can take.
    EnergyTooHigh,
    /// Another process has replaced the one that reported.
    ReplacedProcess,
}

impl RefusedBecause {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::StaleFence,
        Self::UnknownJob,
        Self::ForeignJob,
        Self::TimeAhead,
        Self::TimeBackwards,
        Self::EndBeforeStart,
        Self::RunTimeTooLong,
        Self::EnergyTooHigh,
        Self::ReplacedProcess,
    ];
}

impl Agent {
    /// Whether work can be planned at the site.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.member.is_some() && !self.is_lost
    }

    /// A site of which no agent is known yet.
    #[must_use]
    pub fn none(site: SiteId) -> Self {
        Self {
            site,
            epoch: 0,
            token: None,
            member: None,
            is_lost: false,
            evidence: Vec::new(),
        }
    }
}
