//! What runs at a site, and how it may fail.
//!
//! Arguments are an array from end to end: nothing here is ever read by a shell.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    domain::violation::{Violation, Violations},
    limits,
};

/// What runs at a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// Program and arguments; at least the program.
    pub argv: Box<[Arc<str>]>,
    /// Environment besides what the agent sets, sorted by name.
    pub environment: Box<[(Arc<str>, Arc<str>)]>,
    /// An attempt ends after so much running, pauses left out; milliseconds. `None` means twice the runtime.
    pub max_runtime_ms: Option<u64>,
    /// What follows a failure.
    pub retry: RetryPolicy,
    /// What follows the loss of the site.
    pub on_site_lost: SiteLostPolicy,
    /// The program may begin at most once.
    pub at_most_once: bool,
    /// Time between SIGTERM and SIGKILL, milliseconds.
    pub stop_grace_ms: u64,
    /// What becomes of the program between two runs.
    pub pause_mode: PauseMode,
    /// How the program is told to save what it has done, before it is paused or stopped to go on later.
    pub checkpoint: Option<Checkpoint>,
}

/// What becomes of a program between two runs of its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum PauseMode {
    /// It is halted where it is and keeps its memory.
    #[default]
    Suspend,
    /// Its attempt ends; the next run begins another one in the same directory.
    Requeue,
}

/// How a program is told to save what it has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// What is sent to the program.
    pub signal: CheckpointSignal,
    /// Time between the signal and the pause or stop, milliseconds.
    pub grace_ms: u64,
}

/// Signals that tell a program to save what it has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckpointSignal {
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGHUP.
    Hup,
}

/// What follows a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, at least 1.
    pub max_attempts: u32,
    /// Pause before the second attempt, doubled before each further one; milliseconds.
    pub backoff_ms: u64,
    /// Failures after which another attempt is made; empty means all.
    pub retry_on: BTreeSet<FailureClass>,
}

/// What follows the loss of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SiteLostPolicy {
    /// Another attempt, which does not count against the retry policy.
    Requeue,
    /// The job waits for its site.
    Wait,
    /// The job fails.
    Fail,
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureClass {
    /// Another exit code than 0.
    ExitCode,
    /// A signal that nobody had ordered.
    Signal,
    /// Longer than allowed.
    Timeout,
    /// More memory than asked for.
    OutOfMemory,
    /// It could not be started.
    Start,
    /// The engine lost it.
    Engine,
}

impl Execution {
    /// Everything that is wrong with it, by field of the API's `Execution`; `runtime_ms` is the job's.
    #[must_use]
    pub fn violations(&self, runtime_ms: u64, horizon_ms: u64) -> Vec<Violation> {
        let mut found = Violations::new();
        self.check_argv(&mut found);
        self.check_environment(&mut found);
        if let Some(max_ms) = self.max_runtime_ms {
            found.check(
                (runtime_ms..=horizon_ms.max(runtime_ms)).contains(&max_ms),
                "max_runtime",
                || "is between timing.runtime and the horizon".into(),
            );
        }
        found.check(
            (1..=limits::ATTEMPTS_MAX).contains(&self.retry.max_attempts),
            "retry.max_attempts",
            || format!("is between 1 and {}", limits::ATTEMPTS_MAX),
        );
        found.check(
            self.retry.backoff_ms <= limits::RETRY_BACKOFF_MS_MAX,
            "retry.backoff",
            || "is at most 1 hour".into(),
        );
        found.check(
            !self.at_most_once || self.retry.max_attempts == 1,
            "retry.max_attempts",
            || "is 1 with at_most_once".into(),
        );
        found.check(
            self.stop_grace_ms <= limits::STOP_GRACE_MS_MAX,
            "stop_grace",
            || "is at most 1 hour".into(),
        );
        if let Some(checkpoint) = &self.checkpoint {
            found.check(
                checkpoint.grace_ms <= limits::CHECKPOINT_GRACE_MS_MAX,
                "checkpoint.grace",
                || "is at most 1 hour".into(),
            );
        }
        found.check(
            self.pause_mode == PauseMode::Suspend || !self.at_most_once,
            "pause_mode",
            || "is not REQUEUE with at_most_once: every run would be another start".into(),
        );
        found.into_vec()
    }

    /// How long an attempt may run, pauses left out, milliseconds.
    #[must_use]
    pub fn max_run_ms(&self, runtime_ms: u64) -> u64 {
        self.max_runtime_ms
            .unwrap_or_else(|| runtime_ms.saturating_mul(2))
    }

    fn check_argv(&self, found: &mut Violations) {
        found.check(
            (1..=limits::ARGV_MAX).contains(&self.argv.len()),
            "argv",
            || format!("has 1 to {} entries", limits::ARGV_MAX),
        );
        let bytes: usize = self.argv.iter().map(|arg| arg.len()).sum();
        found.check(bytes <= limits::ARGV_BYTES_MAX, "argv", || {
            format!("has at most {} bytes", limits::ARGV_BYTES_MAX)
        });
        found.check(
            self.argv.iter().all(|arg| !arg.contains('\0')),
            "argv",
            || "has no NUL character".into(),
        );
        if let Some(program) = self.argv.first() {
            let is_plain_name = !program.contains('/') && !program.starts_with('-');
            found.check(
                !program.is_empty() && (is_plain_name || program.starts_with('/')),
                "argv",
                || "begins with an absolute path, or with a name without `/`".into(),
            );
        }
    }

    fn check_environment(&self, found: &mut Violations) {
        found.check(
            self.environment.len() <= limits::ENVIRONMENT_MAX,
            "environment",
            || format!("has at most {} entries", limits::ENVIRONMENT_MAX),
        );
        let bytes: usize = self
            .environment
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        found.check(
            bytes <= limits::ENVIRONMENT_BYTES_MAX,
            "environment",
            || format!("has at most {} bytes", limits::ENVIRONMENT_BYTES_MAX),
        );
        for (name, value) in &self.environment {
            let shown: String = name.chars().take(64).collect();
            found.check(is_variable_name(name), "environment", || {
                format!("the name {shown:?} is not `[A-Za-z_][A-Za-z0-9_]*`")
            });
            found.check(!is_reserved(name), "environment", || {
                format!("the name {shown:?} is reserved: PATH, LD_ and LANCANG_ are the agent's")
            });
            found.check(!value.contains('\0'), "environment", || {
                format!("the value of {shown:?} has a NUL character")
            });
        }
    }
}

impl RetryPolicy {
    /// Whether another attempt follows the failure of the one numbered `tries` among those that count.
    #[must_use]
    pub fn allows(&self, tries: u32, class: FailureClass) -> bool {
        tries < self.max_attempts && (self.retry_on.is_empty() || self.retry_on.contains(&class))
    }

    /// Pause after the `tries`th attempt that counts, milliseconds.
    #[must_use]
    pub fn pause_ms(&self, tries: u32) -> u64 {
        let doublings = tries.saturating_sub(1).min(32);
        (self.backoff_ms << doublings).min(limits::RETRY_BACKOFF_MS_MAX)
    }
}

fn is_variable_name(name: &str) -> bool {
    let mut chars = name.chars();
    let begins = chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    begins && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_reserved(name: &str) -> bool {
    name == "PATH" || name.starts_with("LD_") || name.starts_with("LANCANG_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution(argv: &[&str], environment: &[(&str, &str)]) -> Execution {
        Execution {
            argv: argv.iter().map(|&arg| arg.into()).collect(),
            environment: environment
                .iter()
                .map(|&(name, value)| (name.into(), value.into()))
                .collect(),
            max_runtime_ms: None,
            retry: RetryPolicy {
                max_attempts: 1,
                backoff_ms: 0,
                retry_on: BTreeSet::new(),
            },
            on_site_lost: SiteLostPolicy::Requeue,
            at_most_once: false,
            stop_grace_ms: 0,
            pause_mode: PauseMode::Suspend,
            checkpoint: None,
        }
    }

    fn fields(execution: &Execution) -> Vec<String> {
        let violations = execution.violations(1_000, 10_000).into_iter();
        violations.map(|violation| violation.field).collect()
    }

    #[test]
    fn what_a_shell_would_read_is_only_text() {
        let args = ["echo", "; rm -rf /", "$(id)", "a\nb", "-x", "../..", "'\""];
        assert_eq!(fields(&execution(&args, &[("A_1", "=$x\n")])), [""; 0]);
    }

    #[test]
    fn programs_and_names_are_restricted() {
        for program in ["", "./run", "bin/run", "../run", "-x", "a\0b"] {
            assert_eq!(fields(&execution(&[program], &[])), ["argv"], "{program:?}");
        }
        assert_eq!(fields(&execution(&[], &[])), ["argv"]);
        for name in [
            "",
            "1A",
            "A-B",
            "A=B",
            "PATH",
            "LD_PRELOAD",
            "LANCANG_JOB_ID",
            "é",
        ] {
            let found = fields(&execution(&["run"], &[(name, "")]));
            assert_eq!(found, ["environment"], "{name:?}");
        }
    }

    #[test]
    fn what_may_begin_once_is_never_tried_again() {
        let mut once = execution(&["run"], &[]);
        once.at_most_once = true;
        assert_eq!(fields(&once), [""; 0]);
        once.retry.max_attempts = 2;
        assert_eq!(fields(&once), ["retry.max_attempts"]);
    }

    #[test]
    fn what_may_begin_once_is_halted_and_never_begun_again_after_a_pause() {
        let mut paused = execution(&["run"], &[]);
        paused.pause_mode = PauseMode::Requeue;
        let checkpoint = |grace_ms| Checkpoint {
            signal: CheckpointSignal::Usr1,
            grace_ms,
        };
        paused.checkpoint = Some(checkpoint(limits::CHECKPOINT_GRACE_MS_MAX));
        assert_eq!(fields(&paused), [""; 0]);
        paused.checkpoint = Some(checkpoint(limits::CHECKPOINT_GRACE_MS_MAX + 1));
        paused.at_most_once = true;
        assert_eq!(fields(&paused), ["checkpoint.grace", "pause_mode"]);
    }

    #[test]
    fn pauses_double_up_to_an_hour() {
        let retry = RetryPolicy {
            max_attempts: 16,
            backoff_ms: 30_000,
            retry_on: [FailureClass::Signal].into(),
        };
        let pauses = [1, 2, 3, 16].map(|tries| retry.pause_ms(tries));
        assert_eq!(pauses, [30_000, 60_000, 120_000, 3_600_000]);
        assert!(retry.allows(15, FailureClass::Signal));
        assert!(!retry.allows(16, FailureClass::Signal));
        assert!(!retry.allows(1, FailureClass::ExitCode));
    }
}
