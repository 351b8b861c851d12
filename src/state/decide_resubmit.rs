//! Resubmission: an ended job becomes a submission of its own.
//!
//! The ended job is read and never changed; what it asked for is judged anew as of now.

use std::sync::Arc;

use crate::{
    domain::{
        ids::JobId,
        job::{Job, JobSpec},
        violation::Violation,
    },
    slot::TimeMs,
    state::{
        Rejection, State,
        command::{Resubmission, Submission},
        decide_jobs::{patched_spec, under_spec, wrong_state},
        rejection::Missing,
    },
};

/// What a resubmission comes to.
#[derive(Debug, Clone)]
pub enum Resubmitted {
    /// It was made before: this is the job.
    Before(Arc<Job>),
    /// It is to be submitted.
    Now(Submission),
}

impl State {
    /// Makes a submission of a job that has ended. A repeat finds its job even when the ended one is forgotten.
    ///
    /// # Errors
    /// When the key was used otherwise, the job is not known or has not ended, or what it asks for is not possible any more.
    pub fn resubmission(
        &self,
        resubmission: &Resubmission,
        now: TimeMs,
    ) -> Result<Resubmitted, Rejection> {
        if let Some(job) = self.job_by_key(&resubmission.idempotency_key) {
            if job.payload_sha256 == resubmission.payload_sha256 {
                return Ok(Resubmitted::Before(job.clone()));
            }
            return Err(Rejection::KeyReused {
                key: resubmission.idempotency_key.to_string(),
                job: Some(job.id),
            });
        }
        let of = resubmission.of;
        let old = self.job(of);
        let old =
            old.ok_or_else(|| Rejection::not_found(Missing::Job, of, std::iter::empty::<JobId>()))?;
        if !old.state.is_terminal() {
            return Err(wrong_state(old, "resubmitted"));
        }
        let spec = patched_spec(&old.spec, &resubmission.patch);
        let settings = self.settings();
        let mut violations = spec.violations(settings.grid, settings.horizon_slots);
        violations.extend(passed(&spec, now));
        if !violations.is_empty() {
            return Err(under_spec(violations));
        }
        Ok(Resubmitted::Now(Submission {
            id: resubmission.id,
            idempotency_key: resubmission.idempotency_key.clone(),
            payload_sha256: resubmission.payload_sha256,
            spec: Arc::new(spec),
            hold: resubmission.hold,
            quote: None,
            retry_of: Some(of),
        }))
    }
}

/// Deadlines that can no longer be kept, whoever named them.
fn passed(spec: &JobSpec, now: TimeMs) -> impl Iterator<Item = Violation> {
    let deadlines = [
        ("timing.start_deadline", spec.timing.start_deadline),
        ("timing.finish_deadline", spec.timing.finish_deadline),
    ];
    deadlines
        .into_iter()
        .filter(move |(_, deadline)| deadline.is_some_and(|deadline| deadline <= now))
        .map(|(field, _)| Violation {
            field: field.into(),
            description: "has passed; mask it and name a later moment, or leave it out for none"
                .into(),
        })
}
