//! Flags that say what runs at the site, and how it may fail.
//!
//! What follows `--` is the program with its arguments as they stand; no shell reads them.

use jiff::SignedDuration;

use crate::{
    cli::{
        failure::Failure,
        time::{self, duration_to_proto},
        words,
    },
    proto::v1,
};

#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What runs at the site")]
pub(super) struct RunArgs {
    /// Variable of its environment; may be repeated.
    #[arg(long = "env", value_name = "NAME=VALUE", requires = "argv", value_parser = words::parse_label)]
    environment: Vec<(String, String)>,
    /// An attempt is ended after so much running, pauses left out; without it twice the runtime.
    #[arg(long, value_name = "DURATION", requires = "argv", value_parser = time::parse_length)]
    max_runtime: Option<SignedDuration>,
    /// Attempts in all when it fails, 1 to 16.
    #[arg(long, value_name = "COUNT", requires = "argv", default_value_t = 1)]
    attempts: u32,
    /// Pause before the second attempt, doubled before each further one; without it 30s.
    #[arg(long, value_name = "DURATION", requires = "argv", value_parser = time::parse_length)]
    backoff: Option<SignedDuration>,
    /// What follows the loss of its site.
    #[arg(long, value_name = "POLICY", requires = "argv", value_parser = words::site_lost_policy())]
    on_site_lost: Option<v1::SiteLostPolicy>,
    /// It may begin at most once: no retry of any kind follows a start.
    #[arg(long, requires = "argv")]
    at_most_once: bool,
    /// Time between SIGTERM and SIGKILL; without it 30s.
    #[arg(long, value_name = "DURATION", requires = "argv", value_parser = time::parse_length)]
    stop_grace: Option<SignedDuration>,
    /// What becomes of it between two runs: halted where it is (the default), or stopped and begun again in the same
    /// directory.
    #[arg(long, value_name = "MODE", requires = "argv", value_parser = words::pause_mode())]
    pause_mode: Option<v1::PauseMode>,
    /// Signal by which it is told to save what it has done, before a pause.
    #[arg(long, value_name = "SIGNAL", requires = "argv", value_parser = words::checkpoint_signal())]
    checkpoint_signal: Option<v1::CheckpointSignal>,
    /// Time between that signal and the pause; without it 30s.
    #[arg(long, value_name = "DURATION", requires = "checkpoint_signal", value_parser = time::parse_length)]
    checkpoint_grace: Option<SignedDuration>,
    /// Program and arguments; without them the job is only planned, and its client runs it.
    #[arg(last = true, value_name = "PROGRAM")]
    argv: Vec<String>,
}

impl RunArgs {
    pub(super) fn build(self) -> Result<Option<v1::Execution>, Failure> {
        if self.argv.is_empty() {
            return Ok(None);
        }
        let n_variables = self.environment.len();
        let environment: std::collections::BTreeMap<_, _> = self.environment.into_iter().collect();
        if environment.len() < n_variables {
            return Err(Failure::Usage("--env names a variable twice".to_owned()));
        }
        Ok(Some(v1::Execution {
            argv: self.argv,
            environment,
            max_runtime: self.max_runtime.map(duration_to_proto),
            retry: Some(v1::RetryPolicy {
                max_attempts: self.attempts,
                backoff: self.backoff.map(duration_to_proto),
                retry_on: Vec::new(),
            }),
            on_site_lost: self.on_site_lost.unwrap_or_default().into(),
            at_most_once: self.at_most_once,
            stop_grace: self.stop_grace.map(duration_to_proto),
            pause_mode: self.pause_mode.unwrap_or_default().into(),
            checkpoint: self.checkpoint_signal.map(|signal| v1::Checkpoint {
                signal: signal.into(),
                grace: self.checkpoint_grace.map(duration_to_proto),
            }),
        }))
    }
}
