//! Attempts: the tries to run a job, each under a fence of its own.
//!
//! A fence is never used twice, and the last attempt of a job is open exactly while the job is active.

use std::sync::Arc;

use crate::{
    domain::{
        execution::FailureClass,
        ids::{PoolId, Revision, SiteId},
        spans::Spans,
    },
    limits,
    slot::TimeMs,
};

/// What keeps two runs of a job apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    /// Epoch of the site when the attempt was offered.
    pub site_epoch: u64,
    /// Number of the attempt within the job, from 1.
    pub attempt: u32,
}

/// One try to run a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its fence.
    pub fence: Fence,
    /// Its site.
    pub site: SiteId,
    /// Its pool.
    pub pool: PoolId,
    /// When it was offered.
    pub assigned_at: TimeMs,
    /// Revision that it was offered in: orders made of earlier ones do not name it.
    pub assigned_revision: Revision,
    /// When it began to run, by the clock of the site.
    pub started_at: Option<TimeMs>,
    /// When its program ran, by the clock of the site, held to times that can be true.
    pub spans: Spans,
    /// What its engine calls it; empty before it began.
    pub engine_id: Arc<str>,
    /// How it ended; `None` while it has not.
    pub ended: Option<Ended>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: TimeMs,
    /// How.
    pub end: AttemptEnd,
    /// How long it ran, pauses left out, milliseconds.
    pub run_ms: u64,
    /// Energy of its IT load as measured, watt-seconds; 0 where nothing measured it.
    pub energy_watt_seconds: u64,
    /// What is known besides.
    pub message: Arc<str>,
}

/// The ways in which an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttemptEnd {
    /// By itself, with this code.
    Exited(u8),
    /// By a signal that nobody had ordered.
    Signalled(u8),
    /// As ordered.
    Stopped,
    /// As ordered, because its run was over: the next run goes on under another fence.
    Paused,
    /// Longer than allowed.
    TimedOut,
    /// More memory than asked for.
    OutOfMemory,
    /// It could not be started.
    StartFailed,
    /// Its agent had heard nothing for too long.
    SelfFenced,
    /// The engine lost it.
    EngineLost,
    /// The agent did not take it, or not in time.
    Declined,
    /// Its site was given up.
    SiteLost,
    /// Its input could not be brought in, or its output not out.
    StageFailed,
}

/// All attempts of a job that are kept, and what follows from those before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Work {
    /// The last attempts, oldest first, at most [`limits::ATTEMPTS_KEPT_MAX`].
    pub attempts: Vec<Attempt>,
    /// Attempts that failed and count against the retry policy.
    pub n_failed: u32,
    /// No attempt before this moment.
    pub not_before: Option<TimeMs>,
}

impl Fence {
    /// Before any other.
    pub const MIN: Self = Self {
        site_epoch: 0,
        attempt: 0,
    };
}

impl AttemptEnd {
    /// The failure it is; `None` for success, and for what is nobody's failure.
    #[must_use]
    pub fn failure(self) -> Option<FailureClass> {
        match self {
            Self::Exited(0)
            | Self::Stopped
            | Self::Paused
            | Self::Declined
            | Self::SelfFenced
            | Self::SiteLost => None,
            Self::Exited(_) => Some(FailureClass::ExitCode),
            Self::Signalled(_) => Some(FailureClass::Signal),
            Self::TimedOut => Some(FailureClass::Timeout),
            Self::OutOfMemory => Some(FailureClass::OutOfMemory),
            Self::StartFailed => Some(FailureClass::Start),
            Self::EngineLost => Some(FailureClass::Engine),
            Self::StageFailed => Some(FailureClass::Stage),
        }
    }
}

impl Attempt {
    /// A moment of the attempt as its site told it, held to what can be true: not before it was offered, not after it
    /// was heard.
    #[must_use]
    pub fn plausible(&self, at: TimeMs, heard: TimeMs) -> TimeMs {
        at.min(heard).max(self.assigned_at)
    }

    /// Closes it. What ended without a word of its start ran for the time that its end tells.
    pub fn end(&mut self, ended: Ended, heard: TimeMs) {
        let at = self.plausible(ended.at, heard);
        if self.spans.is_empty() && 0 < ended.run_ms {
            let run_ms = i64::try_from(ended.run_ms).unwrap_or(i64::MAX);
            self.spans
                .begin(self.plausible(at.plus_ms(run_ms.saturating_neg()), heard));
        }
        self.spans.end(at);
        self.ended = Some(ended);
    }

    /// Whether the program may have begun: by all that is known it has not, only if this is false.
    #[must_use]
    pub fn may_have_begun(&self) -> bool {
        let never = self.ended.as_ref().is_some_and(|ended| {
            matches!(
                ended.end,
                AttemptEnd::Declined | AttemptEnd::StartFailed | AttemptEnd::StageFailed
            )
        });
        self.started_at.is_some() || !never
    }
}

impl Work {
    /// The last attempt.
    #[must_use]
    pub fn last(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// Number of the next attempt.
    #[must_use]
    pub fn next_attempt(&self) -> u32 {
        self.last().map_or(0, |last| last.fence.attempt) + 1
    }

    /// The same with another attempt, the oldest dropped where there are too many.
    #[must_use]
    pub fn with(&self, attempt: Attempt) -> Self {
        let mut work = self.clone();
        work.attempts.push(attempt);
        let n_over = work
            .attempts
            .len()
            .saturating_sub(limits::ATTEMPTS_KEPT_MAX);
        work.attempts.drain(..n_over);
        work
    }

    /// The same with the last attempt changed.
    #[must_use]
    pub fn with_last(&self, change: impl FnOnce(&mut Attempt)) -> Self {
        let mut work = self.clone();
        if let Some(last) = work.attempts.last_mut() {
            change(last);
        }
        work
    }
}
