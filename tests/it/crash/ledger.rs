//! What the clients of a server know: what they asked for, and what was acknowledged.
//!
//! An entry is made before its request is sent, so that whatever has no answer is known to be without one.

use std::collections::BTreeMap;

use lancang::proto::v1::{self, JobState};
use tonic::{Code, Status};

use super::client::{Clients, reason};

/// What some clients know; ledgers of several clients are merged.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Jobs by name, which is their idempotency key.
    pub(super) jobs: BTreeMap<String, JobEntry>,
    /// Forecast issues in the order they were put.
    pub(super) forecasts: Vec<ForecastEntry>,
    /// The cordon of the small site, once a client has changed it.
    pub(super) cordon: Option<Cordon>,
    /// Highest revision that was acknowledged.
    pub(super) revision: u64,
    /// Acknowledgements received.
    pub(super) n_acknowledged: usize,
    /// How the streams of this ledger ended, as code and reason.
    pub(super) stream_ends: Vec<(Code, String)>,
}

/// A submission and what is known of its job.
#[derive(Debug)]
pub(super) struct JobEntry {
    pub(super) request: v1::SubmitJobRequest,
    /// All entries with the same batch stand in one call, all or nothing.
    pub(super) batch: Option<String>,
    /// Absent until the submission is acknowledged.
    pub(super) known: Option<Known>,
    /// What the last acknowledged request made of it.
    pub(super) phase: Phase,
    /// The note of the last acknowledged hold or cancellation.
    pub(super) note: String,
    /// A request on it without an answer.
    pub(super) lost: Option<Change>,
    /// Whether the submission has been repeated since the last crash.
    pub(super) is_repeated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) job_id: String,
    pub(super) create_revision: u64,
}

/// What a client can tell of a job whatever the planner does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Queued or planned.
    Live,
    Held,
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Hold,
    Release,
    Cancel,
}

/// A request on a job.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) verb: Verb,
    pub(super) request_id: String,
    pub(super) note: String,
}

#[derive(Debug)]
pub(super) struct ForecastEntry {
    pub(super) request: v1::PutForecastRequest,
    /// Absent until it is acknowledged.
    pub(super) forecast_id: Option<String>,
    /// Whether it has been repeated since the last crash.
    pub(super) is_repeated: bool,
}

/// The cordon of a site: the reason, or none.
#[derive(Debug, Default)]
pub(super) struct Cordon {
    pub(super) acknowledged: Option<String>,
    /// A request without an answer: what it would make of the cordon.
    pub(super) lost: Option<Option<String>>,
}

/// The connection is gone, or the server says that it stops.
#[derive(Debug)]
pub(super) struct Gone;

impl Ledger {
    /// Takes over what another ledger knows.
    pub(super) fn merge(&mut self, other: Self) {
        self.jobs.extend(other.jobs);
        self.forecasts.extend(other.forecasts);
        self.cordon = other.cordon.or_else(|| self.cordon.take());
        self.revision = self.revision.max(other.revision);
        self.n_acknowledged += other.n_acknowledged;
        self.stream_ends.extend(other.stream_ends);
    }

    /// Notes an acknowledged revision.
    pub(super) fn saw(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
        self.n_acknowledged += 1;
    }
}

impl JobEntry {
    pub(super) fn new(spec: v1::JobSpec, hold: bool, batch: Option<String>) -> Self {
        let request = v1::SubmitJobRequest {
            idempotency_key: spec.name.clone(),
            spec: Some(spec),
            hold,
            ..Default::default()
        };
        Self {
            request,
            batch,
            known: None,
            phase: if hold { Phase::Held } else { Phase::Live },
            note: String::new(),
            lost: None,
            is_repeated: false,
        }
    }

    /// Notes that a request on the job was acknowledged.
    pub(super) fn changed(&mut self, change: Change) {
        self.phase = change.verb.result();
        if change.verb != Verb::Release {
            self.note = change.note;
        }
        self.lost = None;
    }
}

impl Phase {
    #[track_caller]
    pub(super) fn of(job: &v1::Job) -> Self {
        match job.state() {
            JobState::Queued | JobState::Planned => Self::Live,
            JobState::Held => Self::Held,
            JobState::Cancelled => Self::Cancelled,
            // Nothing runs these jobs, and their deadlines are far.
            state => panic!("unexpected state {state:?} of {job:?}"),
        }
    }

    /// What may be asked of such a job.
    pub(super) fn verbs(self) -> &'static [Verb] {
        match self {
            Self::Live => &[Verb::Hold, Verb::Cancel],
            Self::Held => &[Verb::Release, Verb::Cancel],
            Self::Cancelled => &[],
        }
    }
}

impl Verb {
    pub(super) fn result(self) -> Phase {
        match self {
            Self::Hold => Phase::Held,
            Self::Release => Phase::Live,
            Self::Cancel => Phase::Cancelled,
        }
    }
}

impl Change {
    /// Sends the request.
    pub(super) async fn send(&self, clients: &Clients, job_id: &str) -> Result<v1::Job, Status> {
        let mut client = clients.jobs.clone();
        let (job_id, etag) = (job_id.to_owned(), String::new());
        let (reason, request_id) = (self.note.clone(), self.request_id.clone());
        let job = match self.verb {
            Verb::Hold => {
                let request = v1::HoldJobRequest {
                    job_id,
                    reason,
                    etag,
                    request_id,
                };
                client.hold_job(request).await?.into_inner().job
            }
            Verb::Release => {
                let request = v1::ReleaseJobRequest {
                    job_id,
                    etag,
                    request_id,
                };
                client.release_job(request).await?.into_inner().job
            }
            Verb::Cancel => {
                let request = v1::CancelJobRequest {
                    job_id,
                    reason,
                    etag,
                    request_id,
                };
                client.cancel_job(request).await?.into_inner().job
            }
        };
        Ok(job.unwrap())
    }
}

impl From<Status> for Gone {
    /// Fails the test when the server refused what it must accept.
    #[track_caller]
    fn from(status: Status) -> Self {
        let reason = reason(&status);
        assert!(
            reason.is_empty() || reason == "SHUTTING_DOWN",
            "the server refused: {status:?}"
        );
        Self
    }
}
