//! Reads what is asked of logs, and what agents answer.
//!
//! What an agent sends is bounded here, whatever it was asked for.

use super::fields::Fields;
use crate::{
    domain::ids::JobId,
    limits,
    proto::v1::{self, log_read, read_job_logs_request::Start},
    service::logs::LogQuery,
    state::Rejection,
};

const OUTPUTS: [(v1::LogOutput, v1::LogOutput); 2] = [
    (v1::LogOutput::Stdout, v1::LogOutput::Stdout),
    (v1::LogOutput::Stderr, v1::LogOutput::Stderr),
];

/// Reads the request of logs.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn log_query(
    request: &v1::ReadJobLogsRequest,
) -> Result<LogQuery, Rejection> {
    let mut fields = Fields::default();
    let job = JobId::parse(&request.job_id);
    fields.check(job.is_some(), "job_id", || {
        "is a job id as SubmitJob answered it: a UUID in lower case".into()
    });
    let output = fields.choice_or(
        "output",
        request.output,
        v1::LogOutput::Stdout,
        &OUTPUTS,
        v1::LogOutput::as_str_name,
    );
    let start = match request.start {
        None => log_read::Start::Offset(0),
        Some(Start::Offset(offset)) => log_read::Start::Offset(offset),
        Some(Start::TailLines(lines)) => {
            let is_ok = lines <= limits::LOG_TAIL_LINES_MAX;
            fields.check(is_ok, "tail_lines", || {
                format!("is at most {}", limits::LOG_TAIL_LINES_MAX)
            });
            log_read::Start::TailLines(lines)
        }
    };
    fields.finish(job.map(|job| LogQuery {
        job,
        attempt: request.attempt,
        output,
        start,
        follow: request.follow,
    }))
}

/// Checks what an agent answers.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn log_chunks(chunks: &[v1::LogChunk]) -> Result<(), Rejection> {
    let mut fields = Fields::default();
    fields.list(
        "log_chunks",
        chunks,
        limits::LOG_READERS_PER_AGENT_MAX,
        |fields, _, chunk| {
            let is_ok = chunk.data.len() <= limits::LOG_CHUNK_BYTES_MAX;
            fields.check(is_ok, "data", || {
                format!("has at most {} bytes", limits::LOG_CHUNK_BYTES_MAX)
            });
        },
    );
    fields.finish(Some(()))
}
