//! Refusals into statuses: the one place that knows codes and reasons.
//!
//! Every status has an `ErrorInfo` with a typed reason, and a batch item says the same as a call would.

mod details;

use std::{collections::BTreeMap, fmt};

use thiserror::Error;
use tonic::{Code, Status};

use self::details::Problem;
use crate::{
    domain::{
        ids::{JobId, Revision, SiteId},
        violation::Violation,
    },
    proto::v1,
    state::{
        Rejection,
        rejection::{Infeasibility, Missing},
    },
};

pub(super) use self::details::with_reason;

/// Why the service itself refuses or ends a call.
#[derive(Debug, Clone, PartialEq, Error)]
pub(super) enum ServiceError {
    /// The controller refused, or a field is wrong.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// A page token's snapshot is gone.
    #[error("the snapshot of this listing is no longer kept; list again from the start")]
    PageTokenExpired,
    /// A watch cannot resume so far back.
    #[error(
        "changes after revision {asked} are no longer kept, only those after {oldest}; watch again with initial_jobs or initial_sites"
    )]
    RevisionCompacted {
        /// The revision asked for.
        asked: Revision,
        /// The oldest that can be resumed after.
        oldest: Revision,
    },
    /// A watch cannot wait for a revision that has not been.
    #[error(
        "revision {asked} has not been, the present one is {present}; a server restored from a backup counts anew, so watch again with initial_jobs or initial_sites"
    )]
    RevisionUnknown {
        /// The revision asked for.
        asked: Revision,
        /// The present one.
        present: Revision,
    },
    /// A reader did not keep up.
    #[error("the stream was read too slowly; {resume}")]
    SlowConsumer {
        /// How to go on.
        resume: Resume,
    },
    /// The server stops.
    #[error(
        "the server is stopping; retry against the restarted server{}",
        resume.map_or_else(String::new, |resume| format!("; {resume}"))
    )]
    Stopping {
        /// How a stream goes on.
        resume: Option<Resume>,
    },
    /// There is nothing to read of an attempt.
    #[error("{} has not begun to run, so that it has no logs", attempt_name(*job, *attempt))]
    NotBegun {
        /// The job.
        job: JobId,
        /// Number of the attempt; 0 for any.
        attempt: u32,
    },
    /// A job has no such attempt.
    #[error("{} is not known; GetJob names the attempts that are", attempt_name(*job, *attempt))]
    AttemptNotFound {
        /// The job.
        job: JobId,
        /// Number of the attempt.
        attempt: u32,
    },
    /// The agent that would have to answer does not speak.
    #[error("the agent of the site {site} is silent; retry when it is back")]
    AgentSilent {
        /// The site.
        site: SiteId,
    },
    /// The files are gone.
    #[error(
        "the agent of the site {site} no longer keeps the files of {}",
        attempt_name(*job, *attempt)
    )]
    LogsNotKept {
        /// The job.
        job: JobId,
        /// Number of the attempt.
        attempt: u32,
        /// The site.
        site: SiteId,
    },
    /// A key stands twice in a batch.
    #[error("the idempotency key of items[{second}] stands in items[{first}] too")]
    DuplicateKeyInBatch {
        /// The first item with the key.
        first: usize,
        /// The second.
        second: usize,
    },
}

/// How a stream that was cut goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resume {
    /// A watch: after a revision.
    After(Revision),
    /// A watch: from its start, for not all that there is at first was sent.
    WithInitial,
    /// A stream of requests: with those that have no answer.
    Unanswered,
    /// A stream of logs: at an offset.
    AtOffset(u64),
    /// From its start.
    Anew,
}

impl fmt::Display for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::After(revision) => return write!(f, "watch again after revision {revision}"),
            Self::AtOffset(offset) => return write!(f, "read again from offset {offset}"),
            Self::WithInitial => {
                "watch again with initial_jobs or initial_sites, for not all of them were sent"
            }
            Self::Unanswered => "send again what has no answer yet",
            Self::Anew => "begin again from the start",
        })
    }
}

impl ServiceError {
    /// The same error as the answer to one item of a batch or stream.
    pub(super) fn into_item_error(self) -> v1::ItemError {
        problem(self).into_item_error()
    }
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        problem(error).into_status()
    }
}

impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Self {
        problem(rejection.into()).into_status()
    }
}

fn problem(error: ServiceError) -> Problem {
    let message = error.to_string();
    let rejection = match error {
        ServiceError::Rejected(rejection) => rejection,
        ServiceError::PageTokenExpired => {
            return Problem::new(Code::OutOfRange, v1::ErrorReason::PageTokenExpired, message);
        }
        ServiceError::RevisionCompacted { oldest, .. } => {
            return Problem::new(
                Code::OutOfRange,
                v1::ErrorReason::RevisionCompacted,
                message,
            )
            .with("oldest_revision", oldest);
        }
        ServiceError::RevisionUnknown { present, .. } => {
            return Problem::new(Code::OutOfRange, v1::ErrorReason::RevisionUnknown, message)
                .with("revision", present);
        }
        ServiceError::SlowConsumer { resume } => {
            let slow = Problem::new(Code::Aborted, v1::ErrorReason::SlowConsumer, message);
            return with_resume(slow, Some(resume));
        }
        ServiceError::Stopping { resume } => return with_resume(shutting_down(message), resume),
        ServiceError::NotBegun { job, .. } => {
            return Problem::new(
                Code::FailedPrecondition,
                v1::ErrorReason::NotBegun,
                message.clone(),
            )
            .with_precondition("NOT_BEGUN", job.to_string(), message);
        }
        ServiceError::AttemptNotFound { job, attempt } => {
            let name = format!("{job}/{attempt}");
            return Problem::new(Code::NotFound, v1::ErrorReason::AttemptNotFound, message)
                .with_resource("the attempt", &name);
        }
        ServiceError::AgentSilent { site } => {
            return Problem::new(Code::Unavailable, v1::ErrorReason::AgentSilent, message)
                .with("site_id", site)
                .with_retry_after_ms(5_000);
        }
        ServiceError::LogsNotKept { job, attempt, .. } => {
            let name = format!("{job}/{attempt}");
            return Problem::new(Code::NotFound, v1::ErrorReason::LogsNotKept, message)
                .with_resource("the logs of the attempt", &name);
        }
        ServiceError::DuplicateKeyInBatch { second, .. } => {
            let field = format!("items[{second}].idempotency_key");
            return Problem::new(
                Code::InvalidArgument,
                v1::ErrorReason::DuplicateKeyInBatch,
                message.clone(),
            )
            .with_field(field, message);
        }
    };
    rejected(rejection, message, "")
}

/// Tells the revision that a watch can resume after, where there is one.
fn with_resume(problem: Problem, resume: Option<Resume>) -> Problem {
    match resume {
        Some(Resume::After(revision)) => problem.with("resume_revision", revision),
        Some(Resume::AtOffset(offset)) => problem.with("resume_offset", offset),
        _ => problem,
    }
}

/// The codes and reasons of everything the core refuses. Fields stand below the path `at`.
fn rejected(rejection: Rejection, message: String, at: &str) -> Problem {
    use v1::ErrorReason as Reason;
    match rejection {
        Rejection::AtItem { index, rejection } => {
            rejected(*rejection, message, &format!("items[{index}].")).with("item", index)
        }
        Rejection::InvalidFields(violations) => {
            Problem::new(Code::InvalidArgument, Reason::InvalidFields, message)
                .with_violations(below(at, violations))
        }
        Rejection::NotFound { what, id, known } => not_found(what, &id, &known, message),
        Rejection::KeyReused { key, job } => key_reused(key, job, message),
        Rejection::SiteExists(site) => {
            Problem::new(Code::AlreadyExists, Reason::SiteExists, message)
                .with_resource("the site", site.as_str())
        }
        Rejection::ForecastExists(id) => {
            Problem::new(Code::AlreadyExists, Reason::ForecastExists, message)
                .with_resource("the forecast issue", &id)
        }
        Rejection::Infeasible(why) => infeasible(&why, message),
        Rejection::WrongJobState { id, state, .. } => Problem::new(
            Code::FailedPrecondition,
            Reason::WrongJobState,
            message.clone(),
        )
        .with("state", state)
        .with_precondition("WRONG_JOB_STATE", id.to_string(), message),
        Rejection::StaleEtag { now } => {
            Problem::new(Code::Aborted, Reason::StaleEtag, message).with("etag", now)
        }
        Rejection::QuoteDrifted(_) => quote_refused(Reason::QuoteDrifted, message, at),
        Rejection::QuoteInvalid(_) => quote_refused(Reason::QuoteInvalid, message, at),
        Rejection::ImplausibleSeries(violations) => {
            Problem::new(Code::FailedPrecondition, Reason::ImplausibleSeries, message)
                .with_implausible(below(at, violations))
        }
        Rejection::LedgerClosed { site, open_from_ms } => {
            ledger_closed(site.to_string(), open_from_ms, message)
        }
        Rejection::LimitReached { what, max, .. } => Problem::new(
            Code::ResourceExhausted,
            Reason::LimitReached,
            message.clone(),
        )
        .with("limit", max)
        .with_quota(what, message)
        .with_retry_after_ms(1_000),
        Rejection::TokenRefused => denied(Reason::TokenRefused, message),
        Rejection::AgentRefused => denied(Reason::AgentRefused, message),
        Rejection::CertificateRefused => denied(Reason::CertificateRefused, message),
        Rejection::SiteIsAlive(site) => Problem::new(
            Code::FailedPrecondition,
            Reason::SiteIsAlive,
            message.clone(),
        )
        .with_precondition("SITE_IS_ALIVE", site.to_string(), message),
        Rejection::AgentReplaced => denied(Reason::AgentReplaced, message),
        Rejection::Overloaded => {
            Problem::new(Code::Unavailable, Reason::Overloaded, message).with_retry_after_ms(100)
        }
        Rejection::Stopped => shutting_down(message),
        Rejection::PlanStale(what) => {
            tracing::error!(%what, "a plan did not fit the state");
            let told = "the server made an error; its log has the details".into();
            Problem::new(Code::Internal, Reason::Internal, told)
        }
    }
}

fn denied(reason: v1::ErrorReason, message: String) -> Problem {
    Problem::new(Code::PermissionDenied, reason, message)
}

fn ledger_closed(site: String, open_from_ms: i64, message: String) -> Problem {
    let closed = Problem::new(
        Code::FailedPrecondition,
        v1::ErrorReason::LedgerClosed,
        message.clone(),
    );
    closed
        .with("open_from", open_from_ms)
        .with_precondition("LEDGER_CLOSED", site, message)
}

fn attempt_name(job: JobId, attempt: u32) -> String {
    match attempt {
        0 => format!("the job {job}"),
        number => format!("attempt {number} of the job {job}"),
    }
}

fn key_reused(key: String, job: Option<JobId>, message: String) -> Problem {
    let reused = Problem::new(
        Code::AlreadyExists,
        v1::ErrorReason::IdempotencyKeyReused,
        message,
    )
    .with("key", key);
    match job {
        Some(job) => reused.with("job_id", job),
        None => reused,
    }
}

fn quote_refused(reason: v1::ErrorReason, message: String, at: &str) -> Problem {
    let kind = match reason {
        v1::ErrorReason::QuoteDrifted => "QUOTE_DRIFTED",
        _ => "QUOTE_INVALID",
    };
    Problem::new(Code::FailedPrecondition, reason, message.clone()).with_precondition(
        kind,
        format!("{at}quote_id"),
        message,
    )
}

/// The same wrong fields below a path, but for those that stand below an item already.
fn below(at: &str, mut violations: Vec<Violation>) -> Vec<Violation> {
    for violation in &mut violations {
        if !violation.field.starts_with("items[") {
            violation.field.insert_str(0, at);
        }
    }
    violations
}

fn shutting_down(message: String) -> Problem {
    Problem::new(Code::Unavailable, v1::ErrorReason::ShuttingDown, message)
        .with_retry_after_ms(1_000)
}

fn not_found(what: Missing, id: &str, known: &[String], message: String) -> Problem {
    let reason = match what {
        Missing::Job => v1::ErrorReason::JobNotFound,
        Missing::Site => v1::ErrorReason::SiteNotFound,
        Missing::Supply => v1::ErrorReason::SupplyNotFound,
        Missing::City => v1::ErrorReason::CityNotFound,
        Missing::Zone => v1::ErrorReason::ZoneNotFound,
        Missing::Window => v1::ErrorReason::WindowNotFound,
        Missing::Link => v1::ErrorReason::LinkNotFound,
        Missing::Forecast => v1::ErrorReason::ForecastNotFound,
    };
    if known.is_empty() {
        return Problem::new(Code::NotFound, reason, message).with_resource(&what.to_string(), id);
    }
    let known = known.join(", ");
    Problem::new(
        Code::NotFound,
        reason,
        format!("{message}; known are {known}"),
    )
    .with("known", known)
    .with_resource(&what.to_string(), id)
}

fn infeasible(why: &Infeasibility, message: String) -> Problem {
    let message = match why.suggestions.first() {
        Some(nearest) => format!("{message}; the nearest change: {}", nearest.message),
        None => message,
    };
    let mut problem = Problem::new(
        Code::FailedPrecondition,
        v1::ErrorReason::JobInfeasible,
        message,
    )
    .with("revision", why.revision)
    .with_sites(&why.sites);
    for (i, suggestion) in why.suggestions.iter().enumerate() {
        problem = problem
            .with(&format!("suggestion_{}", i + 1), &suggestion.message)
            .with_precondition(
                "SUGGESTION",
                suggestion.site.to_string(),
                suggestion.message.clone(),
            );
    }
    problem
}

/// Metadata of an `ErrorInfo`, sorted.
type Metadata = BTreeMap<String, String>;

#[cfg(test)]
mod tests;
