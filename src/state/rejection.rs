//! Why a command was refused.
//!
//! Every refusal is typed; the service maps it to a status in one place, and nothing was changed.

use thiserror::Error;

use crate::{
    domain::{
        ids::{JobId, Revision, SiteId},
        refusal::{Refusal, Suggestion},
        violation::Violation,
    },
    slot::TimeMs,
};

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Rejection {
    /// Fields are wrong whatever the state, or together with it.
    #[error("{} wrong", if .0.len() == 1 { "a field is" } else { "fields are" })]
    InvalidFields(Vec<Violation>),
    /// Something named does not exist.
    #[error("{what} `{id}` is not known")]
    NotFound {
        /// Kind of thing.
        what: Missing,
        /// Its id as asked for.
        id: String,
        /// The known ones, when they are few.
        known: Vec<String>,
    },
    /// An idempotency key or request id was used for something else.
    #[error("the key `{key}` was used before with other content; use a new key for a new request")]
    KeyReused {
        /// The key.
        key: String,
        /// The job submitted under it, for a submission.
        job: Option<JobId>,
    },
    /// A site exists already.
    #[error("the site `{0}` exists already; change it with UpdateSite")]
    SiteExists(SiteId),
    /// A forecast issue exists already with other values.
    #[error(
        "the forecast issue `{0}` exists already with other values; issues are immutable, issue a newer one"
    )]
    ForecastExists(String),
    /// No site can run the job.
    #[error("no site can run the job as asked")]
    Infeasible(Box<Infeasibility>),
    /// The job's state does not allow it.
    #[error("a job that is {state} cannot be {verb}")]
    WrongJobState {
        /// The job.
        id: JobId,
        /// Its state.
        state: &'static str,
        /// What was to be done, as a participle.
        verb: &'static str,
    },
    /// The etag is not the present one.
    #[error(
        "the resource has changed since it was read: its etag is now `{now}`; read it again and retry"
    )]
    StaleEtag {
        /// The present etag.
        now: String,
    },
    /// The placement now is worse than quoted.
    #[error("the placement now is worse than quoted: {0}; ask for a new quote or allow more drift")]
    QuoteDrifted(String),
    /// The quote cannot be redeemed.
    #[error("the quote cannot be redeemed: {0}")]
    QuoteInvalid(String),
    /// A series is not plausible.
    #[error("the series is not plausible")]
    ImplausibleSeries(Vec<Violation>),
    /// A slot is older than the ledger takes changes for.
    #[error(
        "slots of the site `{site}` before {} are closed: the ledger keeps their totals as they are",
        .open_from_ms
    )]
    LedgerClosed {
        /// The site.
        site: SiteId,
        /// Start of the first slot that takes changes.
        open_from_ms: i64,
    },
    /// A bound is reached.
    #[error("the limit of {max} {what} is reached; {remedy}")]
    LimitReached {
        /// What is bounded.
        what: &'static str,
        /// The bound.
        max: u64,
        /// What to do.
        remedy: &'static str,
    },
    /// The token is not the site's, was used, or has expired.
    #[error("the token does not serve for this site; make a new one with CreateAgentToken")]
    TokenRefused,
    /// The credential or the instance is not that of the site's agent.
    #[error("another agent speaks for this site, or none; enroll with a new token")]
    AgentRefused,
    /// The certificate is that of another site's agent.
    #[error("the certificate is that of another site's agent")]
    CertificateRefused,
    /// The agent of the site was heard lately.
    #[error(
        "the agent of `{0}` was heard moments ago, so that something may run there; drain the site with DRAIN_MODE_KILL instead"
    )]
    SiteIsAlive(SiteId),
    /// Another process of the agent has reported since.
    #[error(
        "another process with the identity of this agent has reported since; give each host a directory of its own, and each site one agent"
    )]
    AgentReplaced,
    /// The mailbox is full.
    #[error("the server has too many requests waiting; retry shortly")]
    Overloaded,
    /// The writer has stopped.
    #[error("the server is stopping; retry against the restarted server")]
    Stopped,
    /// An item of a submission of all or nothing was refused, and all others with it.
    #[error("item {index}: {rejection}")]
    AtItem {
        /// Its place in the submission, from 0.
        index: usize,
        /// Why.
        rejection: Box<Self>,
    },
    /// A re-check against the state failed: a defect.
    #[error("the plan does not fit the state: {0}")]
    PlanStale(String),
}

/// Kind of thing that was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A job.
    Job,
    /// A site.
    Site,
    /// A supply.
    Supply,
    /// A city.
    City,
    /// A latency zone.
    Zone,
    /// A link.
    Link,
    /// A window of a site.
    Window,
    /// A forecast issue.
    Forecast,
}

/// Why no site can run a job, and what would help.
#[derive(Debug, Clone, PartialEq)]
pub struct Infeasibility {
    /// Every site's reasons, in order of precedence.
    pub sites: Vec<(SiteId, Vec<Refusal>)>,
    /// The nearest changes that would do.
    pub suggestions: Vec<Suggestion>,
    /// When it was judged.
    pub at: TimeMs,
    /// Revision it was judged by.
    pub revision: Revision,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Job => "the job",
            Self::Site => "the site",
            Self::Supply => "the supply",
            Self::City => "the city",
            Self::Zone => "the latency zone",
            Self::Link => "the link of the gateway",
            Self::Window => "the window",
            Self::Forecast => "the forecast issue",
        })
    }
}

impl Rejection {
    /// One wrong field.
    #[must_use]
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::InvalidFields(vec![Violation {
            field: field.into(),
            description: description.into(),
        }])
    }

    /// The same of a message that stands in the field `outer` of another.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        match self {
            Self::InvalidFields(mut found) => {
                for violation in &mut found {
                    violation.field = format!("{outer}.{}", violation.field);
                }
                Self::InvalidFields(found)
            }
            other => other,
        }
    }

    /// Something that does not exist, with the known ones when they are at most 20.
    pub fn not_found<T: ToString>(
        what: Missing,
        id: impl ToString,
        known: impl Iterator<Item = T>,
    ) -> Self {
        const KNOWN_MAX: usize = 20;
        let mut known: Vec<String> = known.take(KNOWN_MAX + 1).map(|id| id.to_string()).collect();
        if known.len() > KNOWN_MAX {
            known.clear();
        }
        Self::NotFound {
            what,
            id: id.to_string(),
            known,
        }
    }
}
