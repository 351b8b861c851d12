//! Submissions of many jobs: batches and chunks of streams.
//!
//! Every submission is answered at its own place, whatever became of the others.

use std::collections::BTreeMap;

use tonic::Status;

use super::{
    Api,
    from_proto::{self, Place},
    status::ServiceError,
    to_proto,
};
use crate::{
    controller::Submitted,
    domain::violation::Violation,
    limits,
    proto::v1,
    state::{Rejection, command::Submission},
};

impl Api {
    /// Submits what could be read and puts its outcomes back between the errors of what could not.
    pub(super) async fn submit_read(
        &self,
        read: Vec<Result<Submission, Rejection>>,
        all_or_nothing: bool,
    ) -> Result<Vec<Result<Submitted, Rejection>>, Rejection> {
        let mut submissions = Vec::with_capacity(read.len());
        let errors: Vec<Option<Rejection>> = read
            .into_iter()
            .map(|item| item.map(|submission| submissions.push(submission)).err())
            .collect();
        let outcomes = if submissions.is_empty() {
            Vec::new()
        } else {
            self.handle.submit(submissions, all_or_nothing).await?
        };
        let mut outcomes = outcomes.into_iter();
        let mut next = || outcomes.next().unwrap_or(Err(Rejection::Stopped));
        Ok(errors
            .into_iter()
            .map(|error| error.map_or_else(&mut next, Err))
            .collect())
    }

    pub(super) fn batch_item(&self, outcome: Result<Submitted, Rejection>) -> v1::SubmitJobsItem {
        use v1::submit_jobs_item::Outcome;
        let outcome = match outcome {
            Ok(submitted) => Outcome::Accepted(to_proto::submit_response(&submitted, self.grid())),
            Err(rejection) => Outcome::Error(ServiceError::from(rejection).into_item_error()),
        };
        v1::SubmitJobsItem {
            outcome: Some(outcome),
        }
    }

    /// Answers a chunk of a stream. What stops the writer ends the stream; all else is the error of an item.
    pub(super) async fn submit_chunk(
        &self,
        chunk: Vec<v1::SubmitJobStreamRequest>,
    ) -> Result<Vec<v1::SubmitJobStreamResponse>, Status> {
        use v1::submit_job_stream_response::Outcome;
        let sequences: Vec<u64> = chunk.iter().map(|request| request.sequence).collect();
        let read = chunk
            .into_iter()
            .map(|request| {
                let missing = || Rejection::field("submission", "is required");
                let submission = request.submission.ok_or_else(missing)?;
                from_proto::submission(submission, Place::Streamed, self.settings(), self.now())
            })
            .collect();
        let outcomes = match self.submit_read(read, false).await {
            Ok(outcomes) => outcomes,
            Err(Rejection::Stopped) => return Err(Rejection::Stopped.into()),
            Err(rejection) => vec![Err(rejection); sequences.len()],
        };
        let answer = |outcome: Result<Submitted, Rejection>| match outcome {
            Ok(submitted) => Outcome::Accepted(to_proto::accepted_job(&submitted, self.grid())),
            Err(rejection) => Outcome::Error(ServiceError::from(rejection).into_item_error()),
        };
        let answered = sequences.into_iter().zip(outcomes);
        Ok(answered
            .map(|(sequence, outcome)| v1::SubmitJobStreamResponse {
                sequence,
                outcome: Some(answer(outcome)),
            })
            .collect())
    }
}

/// Refuses batches that are empty, too long, or name a key twice.
pub(super) fn check_batch(items: &[v1::SubmitJobRequest]) -> Result<(), ServiceError> {
    if !(1..=limits::BATCH_JOBS_MAX).contains(&items.len()) {
        let what = format!("has 1 to {} entries", limits::BATCH_JOBS_MAX);
        return Err(Rejection::field("items", what).into());
    }
    let mut seen = BTreeMap::new();
    for (second, item) in items.iter().enumerate() {
        // A missing key is a wrong field of its own.
        if item.idempotency_key.is_empty() {
            continue;
        }
        if let Some(first) = seen.insert(item.idempotency_key.as_str(), second) {
            return Err(ServiceError::DuplicateKeyInBatch { first, second });
        }
    }
    Ok(())
}

/// Fails with the wrong fields of all items together.
pub(super) fn all_readable(read: &[Result<Submission, Rejection>]) -> Result<(), Rejection> {
    let mut wrong: Vec<Violation> = Vec::new();
    let errors = read.iter().enumerate();
    for (index, error) in errors.filter_map(|(i, item)| Some((i, item.as_ref().err()?))) {
        match error {
            Rejection::InvalidFields(violations) => wrong.extend_from_slice(violations),
            other => {
                let rejection = Box::new(other.clone());
                return Err(Rejection::AtItem { index, rejection });
            }
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Rejection::InvalidFields(wrong))
    }
}
