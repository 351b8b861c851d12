//! Attempts as an agent knows them: what names one, what it runs, where it stands and how it ended.
//!
//! An attempt is named by job and fence and by nothing else; a name that exists is safe as a file name.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{domain::ids::JobId, slot::TimeMs};

/// Names one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttemptKey {
    /// The job.
    pub job_id: JobId,
    /// Epoch of the site.
    pub site_epoch: u64,
    /// Number of the attempt within the job, from 1.
    pub attempt: u32,
}

impl AttemptKey {
    /// Reads what `Display` prints; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let key = Self {
            job_id: JobId::parse(parts.next()?)?,
            site_epoch: parts.next()?.parse().ok()?,
            attempt: parts.next()?.parse().ok()?,
        };
        // A sign or leading zeros would be a second spelling of the same name.
        (key.to_string() == text).then_some(key)
    }
}

impl fmt::Display for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.job_id, self.site_epoch, self.attempt)
    }
}

impl From<AttemptKey> for String {
    fn from(key: AttemptKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for AttemptKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` names no attempt"))
    }
}

/// What an attempt runs; checked, so that an engine can take it as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// Environment of the job.
    pub environment: BTreeMap<String, String>,
    /// Number of tasks of one unit.
    pub task_count: u32,
    /// The most units that it is told; 1 unless it is malleable.
    #[serde(default = "one")]
    pub units_max: u32,
    /// Cores of one task.
    #[serde(default = "one")]
    pub cpu_cores: u32,
    /// GPUs of one task.
    #[serde(default)]
    pub gpus: u32,
    /// Memory of all tasks of the most units in MiB.
    pub memory_mib: u64,
    /// IT power of all tasks of the most units, watts, for caps that an engine holds.
    #[serde(default)]
    pub it_power_watts: u64,
    /// It may run so long, pauses left out.
    pub max_run_time: Duration,
    /// Time between the first signal and the kill when no order says another.
    pub stop_grace: Duration,
    /// How it is told to save what it has done.
    #[serde(default)]
    pub checkpoint: Option<Checkpoint>,
    /// What is copied from the staging area before it begins.
    #[serde(default)]
    pub inputs: Vec<Transfer>,
    /// What is copied to the staging area after it has succeeded.
    #[serde(default)]
    pub outputs: Vec<Transfer>,
    /// Bandwidth for the inputs, bits per second; 0 for no limit.
    #[serde(default)]
    pub stage_bits_per_second: u64,
}

impl Task {
    /// Cores of all tasks of the most units.
    #[must_use]
    pub fn cpu_cores_max(&self) -> u64 {
        let tasks = u64::from(self.task_count).saturating_mul(self.units_max.into());
        tasks.saturating_mul(self.cpu_cores.into())
    }
}

/// A file or directory that is copied, by relative names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// From where.
    pub source: String,
    /// To where.
    pub destination: String,
}

/// How a program is told to save what it has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// What is sent to the program.
    pub signal: CheckpointSignal,
    /// Time between the signal and the pause or stop.
    pub grace: Duration,
}

/// Signals that tell a program to save what it has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointSignal {
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGHUP.
    Hup,
}

/// Cores, and units, of a task of which a journal does not say it.
fn one() -> u32 {
    1
}

/// Where an attempt stands, as its engine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The engine has not begun it: it can be started.
    NotStarted,
    /// Its input is brought in, or is there and it waits for its start.
    Staging,
    /// Runs.
    Running {
        /// What the engine calls it.
        engine_id: String,
    },
    /// Paused.
    Suspended,
    /// Ended, and nothing of it runs any more.
    Ended(End),
    /// The engine cannot say at the moment.
    Unknown,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Which way.
    pub how: How,
    /// What is known besides, for people.
    pub message: String,
    /// How long it ran, pauses left out.
    pub run_time: Duration,
}

/// The ways to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The program ended by itself.
    Exited {
        /// Its exit code.
        code: u8,
    },
    /// A signal that nobody had ordered.
    Signalled {
        /// Its number.
        signal: u8,
    },
    /// Stopped for this cause.
    Stopped(StopCause),
    /// Took more memory than it had asked for.
    OutOfMemory,
    /// Could not be started.
    StartFailed,
    /// Its input could not be brought in, or its output not out.
    StageFailed,
    /// Whether it ran to its end is not known.
    EngineLost,
}

/// Why something is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// The server said so.
    Ordered,
    /// The server said so, and the job goes on later: after its checkpoint signal and grace, and its directory is kept.
    GoesOn,
    /// Nothing was heard from the server for too long.
    SelfFenced,
    /// It ran longer than it may.
    TimedOut,
}

/// Something that happened to an attempt, as it is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The attempt.
    pub key: AttemptKey,
    /// When, by the wall clock of the site, milliseconds.
    #[serde(with = "time_ms")]
    pub time: TimeMs,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Taken.
    Accepted,
    /// Not taken, and why.
    Declined(String),
    /// Began to run, under this name of the engine.
    Started(String),
    /// Paused.
    Suspended,
    /// Goes on.
    Resumed,
    /// Ended.
    Ended(End),
}

/// `TimeMs` as a plain number.
mod time_ms {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::slot::TimeMs;

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature that serde asks for"
    )]
    pub(super) fn serialize<S: Serializer>(time: &TimeMs, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(time.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TimeMs, D::Error> {
        i64::deserialize(from).map(TimeMs)
    }
}

/// Cuts a text for people to what a report may carry.
#[must_use]
pub fn shorten(mut text: String) -> String {
    let mut end = crate::limits::ATTEMPT_MESSAGE_BYTES_MAX;
    if text.len() > end {
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_spelling() {
        let key = AttemptKey {
            job_id: JobId(7),
            site_epoch: 3,
            attempt: 12,
        };
        let text = key.to_string();
        assert_eq!(text, "00000000-0000-0000-0000-000000000007.3.12");
        assert_eq!(AttemptKey::parse(&text), Some(key));
        for wrong in [
            "",
            "..",
            "../../etc",
            "00000000-0000-0000-0000-000000000007.3",
            "00000000-0000-0000-0000-000000000007.3.012",
            "00000000-0000-0000-0000-000000000007.+3.12",
            "00000000-0000-0000-0000-000000000007.3.12.1",
            "00000000-0000-0000-0000-000000000007.3.12/..",
        ] {
            assert_eq!(AttemptKey::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = "x".to_owned() + &"é".repeat(4_096);
        let short = shorten(text);
        assert_eq!(short.len(), 4_095);
        assert!(short.ends_with('é'));
    }
}
