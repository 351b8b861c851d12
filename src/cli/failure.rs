//! What can go wrong in a command, how it reads on standard error, and which exit code it gives.
//!
//! Nothing that a server said is dropped: status, reason, every field and every site come out, one a line.

use std::{error::Error, io, path::PathBuf};

use tonic::{Code, Status, TimeoutExpired};

use crate::{
    agent::run::AgentError, config::ConfigError, proto::json::JsonError, server::StartError,
    sim::backtest::BacktestError, telemetry::TelemetryError,
};

mod status;

pub(crate) use status::item_error_lines;

/// Section of `--help` that documents the exit codes; [`exit_of`] implements it.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  another failure
   2  not feasible, or not possible in the present state (FAILED_PRECONDITION)
   4  not found (NOT_FOUND)
   5  not allowed (PERMISSION_DENIED, UNAUTHENTICATED)
   6  conflict (ABORTED, ALREADY_EXISTS)
  64  wrong usage or wrong input (INVALID_ARGUMENT)
  69  the server cannot be reached or is not ready (UNAVAILABLE, DEADLINE_EXCEEDED)
  75  a bound is reached; try again later (RESOURCE_EXHAUSTED)";

/// Exit code for what is wrong with arguments or files.
pub(crate) const EXIT_USAGE: u8 = 64;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Arguments that do not fit together.
    #[error("{0}")]
    Usage(String),
    /// A file that cannot be understood.
    #[error("{} is not usable; nothing was sent", file)]
    Malformed {
        /// The file, `-` for standard input.
        file: String,
        /// Every problem with its place.
        problems: Vec<String>,
    },
    /// An instance or schedule that is not sound.
    #[error("{file} is not sound; nothing was written")]
    Unreadable {
        /// The file.
        file: String,
        /// Every problem with its place.
        problems: Vec<String>,
    },
    /// The server refused.
    #[error("{}", .0.message())]
    Status(Box<Status>),
    /// The server cannot be reached.
    #[error("cannot reach {server}")]
    Connect {
        /// Its address.
        server: String,
        /// What the transport said.
        #[source]
        source: tonic::transport::Error,
    },
    /// A stream ended before everything was answered.
    #[error("the server closed the stream with {unanswered} items unanswered")]
    StreamCut {
        /// Items sent or waiting without an answer; they may or may not be stored.
        unanswered: usize,
    },
    /// Lines of the ledger ended before the server had said that they are complete.
    #[error(
        "the server ended the stream after {n_lines} lines without saying that these are all; nothing was written"
    )]
    LinesCut {
        /// Lines received.
        n_lines: u64,
    },
    /// A file or stream failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was attempted, as `read`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Standard output failed.
    #[error("cannot write to standard output")]
    Stdout(#[source] io::Error),
    /// Some items were refused; they were shown already.
    #[error("{refused} of {total} refused")]
    Refused {
        /// Items refused.
        refused: usize,
        /// All items.
        total: usize,
        /// The exit code that the refusals agree on, or 1.
        exit: u8,
    },
    /// A quote that found nothing; it was shown already.
    #[error("no site can run the job as asked")]
    Infeasible,
    /// A check that found problems; they were shown already.
    #[error("{0}")]
    Unsound(String),
    /// A backtest came to no report.
    #[error(transparent)]
    Backtest(BacktestError),
    /// The configuration is wrong.
    #[error("the configuration is wrong")]
    Config(ConfigError),
    /// Logging cannot start.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The server cannot start.
    #[error(transparent)]
    Start(StartError),
    /// The agent ended.
    #[error(transparent)]
    Agent(AgentError),
    /// The process lacks what every command needs.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// An answer has no JSON form: a defect of this program.
    #[error("cannot write {message} as JSON")]
    Json {
        /// Full name of the message.
        message: &'static str,
        /// Why.
        #[source]
        source: JsonError,
    },
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl Failure {
    /// The exit code, as documented in [`EXIT_CODES`].
    pub(crate) fn exit(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::Malformed { .. }
            | Self::Unreadable { .. }
            | Self::Config(_)
            | Self::Backtest(BacktestError::Scenario(_)) => EXIT_USAGE,
            Self::Status(status) if broken(status).is_some() => exit_of(Code::Unavailable),
            Self::Status(status) => exit_of(status.code()),
            Self::Agent(AgentError::Refused(status)) => exit_of(status.code()),
            Self::Connect { .. } | Self::StreamCut { .. } | Self::LinesCut { .. } => {
                exit_of(Code::Unavailable)
            }
            // The reader of a pipe that has seen enough is no failure.
            Self::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Refused { exit, .. } => *exit,
            Self::Infeasible => exit_of(Code::FailedPrecondition),
            Self::File { .. }
            | Self::Stdout(_)
            | Self::Unsound(_)
            | Self::Backtest(_)
            | Self::Telemetry(_)
            | Self::Start(_)
            | Self::Agent(_)
            | Self::Runtime(_)
            | Self::Json { .. } => 1,
        }
    }

    /// What a person reads, first the message, then one detail a line; empty when there is nothing to say.
    pub(crate) fn lines(&self) -> Vec<String> {
        if self.exit() == 0 {
            return Vec::new();
        }
        match self {
            Self::Status(status) => match broken(status) {
                Some(what) => vec![format!("error: {what}")],
                None => status::lines(status),
            },
            Self::Malformed { problems, .. }
            | Self::Unreadable { problems, .. }
            | Self::Backtest(BacktestError::Scenario(problems)) => {
                let mut lines = vec![format!("error: {self}")];
                lines.extend(problems.iter().map(|problem| format!("  {problem}")));
                lines
            }
            Self::Config(error) => {
                let mut lines = vec![format!("error: {self}")];
                lines.extend(error.problems.iter().map(|problem| format!("  {problem}")));
                lines
            }
            _ => vec![format!("error: {}", chain(self))],
        }
    }
}

/// What broke, where the status was made here because there is no connection any more, as when the server refuses a
/// certificate, or no answer in time: a status that a server sent has no cause.
///
/// Which code the transport gives a broken connection depends on whether the call was already on its way.
fn broken(status: &Status) -> Option<String> {
    let cause = status.source()?;
    match status.code() {
        Code::Cancelled if is_late(cause) => Some(
            "the server did not answer within --timeout; what was asked may have been done"
                .to_owned(),
        ),
        Code::Cancelled | Code::Unknown | Code::Internal => {
            Some(format!("the connection broke: {}", chain(cause)))
        }
        _ => None,
    }
}

/// Whether the time of a call ran out at this end.
fn is_late(error: &(dyn Error + 'static)) -> bool {
    error.is::<TimeoutExpired>() || error.source().is_some_and(is_late)
}

/// The exit code of a gRPC status.
pub(crate) fn exit_of(code: Code) -> u8 {
    match code {
        Code::Ok => 0,
        Code::FailedPrecondition => 2,
        Code::NotFound => 4,
        Code::PermissionDenied | Code::Unauthenticated => 5,
        Code::Aborted | Code::AlreadyExists => 6,
        Code::InvalidArgument => EXIT_USAGE,
        Code::Unavailable | Code::DeadlineExceeded => 69,
        Code::ResourceExhausted => 75,
        Code::Cancelled
        | Code::Unknown
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => 1,
    }
}

/// An error with all its causes, each said once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_the_documented_exit_code() {
        let cases = [
            (Code::Ok, 0),
            (Code::FailedPrecondition, 2),
            (Code::NotFound, 4),
            (Code::PermissionDenied, 5),
            (Code::Aborted, 6),
            (Code::AlreadyExists, 6),
            (Code::InvalidArgument, 64),
            (Code::Unavailable, 69),
            (Code::ResourceExhausted, 75),
            (Code::Internal, 1),
        ];
        for (code, exit) in cases {
            assert_eq!(exit_of(code), exit, "{code:?}");
            assert!(
                EXIT_CODES.contains(&format!("{exit:4}  ")),
                "{exit} is not documented"
            );
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let failure = Failure::Stdout(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.exit(), 0);
        assert!(failure.lines().is_empty());
    }

    #[test]
    fn causes_are_said_once() {
        let failure = Failure::File {
            action: "read",
            path: "x.csv".into(),
            source: io::Error::other("disk gone"),
        };
        assert_eq!(failure.lines(), ["error: cannot read x.csv: disk gone"]);
    }
}
