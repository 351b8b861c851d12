//! `ReadJobLogs`: what a program has written, read piece by piece from the agent of its site.
//!
//! One piece is asked for at a time and only when the one before was taken, so that a slow reader slows nobody else.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};
use tonic::Status;

use super::{
    Api, from_proto,
    log_relay::Reader,
    outbox::{Answers, Ending, Outbox, Undelivered, outbox},
    status::{Resume, ServiceError},
    to_proto,
};
use crate::{
    controller::Published,
    domain::{
        attempt::{Attempt, Fence},
        ids::{JobId, SiteId},
        job::Job,
    },
    limits,
    proto::v1::{self, log_read::Start},
    state::{Rejection, State, rejection::Missing},
};

/// What is to be read.
#[derive(Debug)]
pub(super) struct LogQuery {
    pub(super) job: JobId,
    /// Number of the attempt; 0 for the last one that began.
    pub(super) attempt: u32,
    pub(super) output: v1::LogOutput,
    pub(super) start: Start,
    pub(super) follow: bool,
}

/// One stream of logs.
struct Tail {
    reader: Reader,
    job: JobId,
    fence: Fence,
    site: SiteId,
    output: v1::LogOutput,
    follow: bool,
    published: watch::Receiver<Arc<Published>>,
    /// How long an answer may wait for bytes, milliseconds.
    wait_ms: u64,
    /// How long the agent may say nothing, milliseconds.
    patience_ms: u64,
    outbox: Outbox<v1::ReadJobLogsResponse>,
}

/// Why a stream ends before everything was sent.
enum End {
    /// Nobody listens any more.
    Gone,
    Because(ServiceError),
}

impl Api {
    /// Starts a stream of logs.
    ///
    /// # Errors
    /// When there is nothing to read, nobody to read it from, or no place for one more reader.
    pub(super) fn read_logs(
        &self,
        request: &v1::ReadJobLogsRequest,
    ) -> Result<Answers<v1::ReadJobLogsResponse>, Status> {
        let query = from_proto::log_query(request)?;
        let published = self.handle.subscribe();
        let (fence, site) = {
            let now = published.borrow();
            let job = now.state.job(query.job).ok_or_else(|| {
                Rejection::not_found(Missing::Job, query.job, std::iter::empty::<String>())
            })?;
            let attempt = attempt_of(job, query.attempt)?;
            if is_silent(&now.state, job, attempt) {
                let site = attempt.site.clone();
                return Err(ServiceError::AgentSilent { site }.into());
            }
            (attempt.fence, attempt.site.clone())
        };
        let reader = self.shared.logs.reader(&site)?;
        let leases = self.handle.options().leases;
        let (outbox, ending, answers) = outbox(limits::LOG_CHUNKS_WAITING_MAX, self.stop());
        let tail = Tail {
            reader,
            job: query.job,
            fence,
            site,
            output: query.output,
            follow: query.follow,
            published,
            wait_ms: leases.heartbeat_ms,
            patience_ms: leases.silent_after_ms,
            outbox,
        };
        tokio::spawn(tail.run(query.start, ending));
        Ok(answers)
    }
}

impl Tail {
    async fn run(mut self, start: Start, ending: Ending) {
        if let Err(End::Because(error)) = self.send_all(start).await {
            ending.with(error.into());
        }
    }

    async fn send_all(&mut self, mut start: Start) -> Result<(), End> {
        let mut is_first = true;
        // Where a stream that does not follow ends.
        let mut end = None;
        loop {
            // Looked at before the read: what the attempt wrote last is there by then.
            let is_over = self.is_over();
            let Some(chunk) = self.next(start, self.follow && !is_over).await? else {
                continue;
            };
            let end = *end.get_or_insert(chunk.end_offset);
            let is_empty = chunk.data.is_empty();
            let n_bytes = u64::try_from(chunk.data.len()).unwrap_or(u64::MAX);
            let position = chunk.offset.saturating_add(n_bytes);
            if is_first || !is_empty {
                self.send(chunk, is_first).await?;
            }
            is_first = false;
            start = Start::Offset(position);
            let is_done = if self.follow {
                is_over && is_empty
            } else {
                is_empty || end <= position
            };
            if is_done {
                return Ok(());
            }
        }
    }

    /// The next piece; `None` when the attempt ended while this waited for it to write more.
    async fn next(&mut self, start: Start, waits: bool) -> Result<Option<v1::LogChunk>, End> {
        let read = v1::LogRead {
            read_id: 0,
            job_id: self.job.to_string(),
            fence: Some(to_proto::fence(self.fence)),
            output: self.output.into(),
            start: Some(start),
            wait: waits.then(|| to_proto::duration(self.wait_ms)),
        };
        let wait_ms = if waits { self.wait_ms } else { 0 };
        let patience = Duration::from_millis(wait_ms + self.patience_ms);
        let answer = timeout(patience, self.reader.read(read));
        let is_over = |published: &Arc<Published>| is_over(&published.state, self.job, self.fence);
        let answer = tokio::select! {
            answer = answer => answer,
            ended = self.published.wait_for(is_over), if waits => {
                return ended.map(|_| None).map_err(|_| stopping(start));
            }
            () = self.outbox.stopping() => return Err(stopping(start)),
            () = self.outbox.gone() => return Err(End::Gone),
        };
        match answer {
            Ok(chunk) if chunk.not_kept => Err(End::Because(ServiceError::LogsNotKept {
                job: self.job,
                attempt: self.fence.attempt,
                site: self.site.clone(),
            })),
            Ok(chunk) => Ok(Some(chunk)),
            Err(_) => Err(End::Because(ServiceError::AgentSilent {
                site: self.site.clone(),
            })),
        }
    }

    async fn send(&self, chunk: v1::LogChunk, is_first: bool) -> Result<(), End> {
        let offset = Start::Offset(chunk.offset);
        let message = v1::ReadJobLogsResponse {
            fence: is_first.then(|| to_proto::fence(self.fence)),
            site_id: if is_first {
                self.site.to_string()
            } else {
                String::new()
            },
            first_kept_offset: chunk.first_kept_offset,
            offset: chunk.offset,
            data: chunk.data,
        };
        let sent = self.outbox.send(message).await;
        sent.map_err(|why| match why {
            Undelivered::Gone => End::Gone,
            Undelivered::Stalled => End::Because(ServiceError::SlowConsumer {
                resume: resume(offset),
            }),
            Undelivered::Stopping => stopping(offset),
        })
    }

    fn is_over(&mut self) -> bool {
        is_over(
            &self.published.borrow_and_update().state,
            self.job,
            self.fence,
        )
    }
}

/// The attempt of this number, or the last that began.
fn attempt_of(job: &Job, number: u32) -> Result<&Attempt, ServiceError> {
    let not_begun = ServiceError::NotBegun {
        job: job.id,
        attempt: number,
    };
    let attempts = job.work.as_deref().map_or(&[][..], |work| &work.attempts);
    if number == 0 || attempts.is_empty() {
        let mut began = attempts.iter().rev();
        return began
            .find(|attempt| attempt.started_at.is_some())
            .ok_or(not_begun);
    }
    let mut named = attempts.iter();
    match named.find(|attempt| attempt.fence.attempt == number) {
        Some(attempt) if attempt.started_at.is_some() => Ok(attempt),
        Some(_) => Err(not_begun),
        None => Err(ServiceError::AttemptNotFound {
            job: job.id,
            attempt: number,
        }),
    }
}

/// Whether it is known that the agent of an attempt's site does not speak.
fn is_silent(state: &State, job: &Job, attempt: &Attempt) -> bool {
    let is_silent_here =
        attempt.ended.is_none() && job.state.active().is_some_and(|active| active.is_silent);
    is_silent_here
        || state
            .agent(&attempt.site)
            .is_none_or(|agent| !agent.is_usable())
}

/// Whether an attempt has ended; one that is no longer known has.
fn is_over(state: &State, job: JobId, fence: Fence) -> bool {
    let job = state.job(job);
    let attempts = job
        .and_then(|job| job.work.as_deref())
        .map_or(&[][..], |work| &work.attempts);
    !attempts
        .iter()
        .any(|attempt| attempt.fence == fence && attempt.ended.is_none())
}

fn resume(start: Start) -> Resume {
    match start {
        Start::Offset(offset) => Resume::AtOffset(offset),
        Start::TailLines(_) => Resume::Anew,
    }
}

fn stopping(start: Start) -> End {
    let resume = Some(resume(start));
    End::Because(ServiceError::Stopping { resume })
}
