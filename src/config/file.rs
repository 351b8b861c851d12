//! Configuration as written: by defaults, file, environment and flags.
//!
//! Every key has a default here and nowhere else; unknown keys are refused.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Configuration as written; every key has a default, unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Address to listen on, `IP:PORT`.
    pub listen: String,
    /// Directory of the store.
    pub data_dir: PathBuf,
    /// Length of a slot in minutes: 5, 15, 30 or 60.
    pub slot_minutes: u32,
    /// Days that the planner looks ahead, 1 to 31.
    pub horizon_days: u32,
    /// Whether to listen on an address that other machines reach, although not every client shows a certificate.
    pub allow_insecure_remote: bool,
    /// Encryption, and certificates of clients.
    pub tls: FileTls,
    /// Logging.
    pub log: FileLog,
    /// Forecasts.
    pub forecast: FileForecast,
    /// Re-planning.
    pub replan: FileReplan,
    /// Snapshots of the state.
    pub snapshot: FileSnapshot,
    /// How long history is kept.
    pub retention: FileRetention,
    /// Bounds.
    pub limits: FileLimits,
    /// Quotes.
    pub quote: FileQuote,
    /// Agents at the sites.
    pub agents: FileAgents,
    /// The energy ledger.
    pub ledger: FileLedger,
}

/// Section `tls`: files in PEM, read when the server starts. Empty paths stand for none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileTls {
    /// Certificate of the server, followed by those between it and the authority; without it nothing is encrypted.
    pub certificate: PathBuf,
    /// Private key of that certificate.
    pub key: PathBuf,
    /// Authority whose certificates clients must show; without it none is asked for. That of an agent has the DNS name
    /// `SITE.agents.lancang.internal` and serves for nothing but the agent of that site.
    pub client_ca: PathBuf,
}

/// Section `log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileLog {
    /// `text` or `json`.
    pub format: LogFormat,
    /// Directives of the filter, as `info` or `lancang=debug,info`.
    pub filter: String,
}

/// Section `forecast`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileForecast {
    /// Age in minutes from which an issue counts as stale; one for a week lasts six days longer. The default, 40 hours, keeps a day-ahead issue of 09:00 fresh
    /// until the end of the day that it is for.
    pub stale_after_minutes: u32,
}

/// Section `replan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileReplan {
    /// Most jobs moved in one revision.
    pub max_moves_per_revision: u32,
    /// Least gain, in thousandths of the present cost, for which a job that could stay is moved.
    pub min_gain_permille: u32,
    /// Minutes after which all jobs that have not begun are looked at, rounded up to whole slots; 0 for never. Changes of
    /// forecasts and sites are followed at once in any case.
    pub sweep_minutes: u32,
}

/// Section `snapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSnapshot {
    /// Journal records after which a snapshot is written.
    pub every_records: u64,
}

/// Section `retention`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRetention {
    /// Days that a job in a final state is kept.
    pub terminal_days: u32,
}

/// Section `limits`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileLimits {
    /// Most jobs that are not in a final state.
    pub max_live_jobs: u64,
}

/// Section `quote`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileQuote {
    /// Seconds that a quote can be redeemed.
    pub valid_seconds: u32,
}

/// Section `agents`: for how long an agent may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileAgents {
    /// An agent reports at least this often.
    pub heartbeat_seconds: u32,
    /// Silence after which its jobs are UNREACHABLE; at least twice the heartbeat.
    pub silent_after_seconds: u32,
    /// Silence after which it stops its jobs by its own clock; more than `silent_after_seconds`.
    pub stop_after_seconds: u32,
    /// Silence after which its jobs may run elsewhere; at least 15 s more than `stop_after_seconds`.
    pub lost_after_seconds: u32,
}

/// Section `ledger`: what the energy ledger waits for and keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileLedger {
    /// Minutes after the end of a slot for which late reports are waited for before it is settled.
    pub settle_after_minutes: u32,
    /// Days for which lines of jobs and readings are kept, and corrections taken; 1 to 60.
    pub lines_days: u32,
    /// Days for which totals of site-slots are kept; at least `lines_days`.
    pub keep_days: u32,
    /// File with the private key that signs statements, made with the first start; empty stands for `signing.key` in the
    /// directory of the store. It is in no backup; another file is another key.
    pub signing_key: PathBuf,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for FileConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:50051".to_owned(),
            data_dir: PathBuf::from("lancang-data"),
            slot_minutes: 15,
            horizon_days: 14,
            allow_insecure_remote: false,
            tls: FileTls::default(),
            log: FileLog {
                format: LogFormat::Text,
                filter: "info".to_owned(),
            },
            forecast: FileForecast {
                stale_after_minutes: 2400,
            },
            replan: FileReplan {
                max_moves_per_revision: 1000,
                min_gain_permille: 50,
                sweep_minutes: 60,
            },
            snapshot: FileSnapshot {
                every_records: 100_000,
            },
            retention: FileRetention { terminal_days: 30 },
            limits: FileLimits {
                max_live_jobs: 1_000_000,
            },
            quote: FileQuote { valid_seconds: 300 },
            agents: FileAgents {
                heartbeat_seconds: 5,
                silent_after_seconds: 30,
                stop_after_seconds: 300,
                lost_after_seconds: 600,
            },
            ledger: FileLedger {
                settle_after_minutes: 5,
                lines_days: 40,
                keep_days: 400,
                signing_key: PathBuf::new(),
            },
        }
    }
}

impl FileConfig {
    /// The same as TOML, with every key.
    ///
    /// # Errors
    /// When a value has no TOML form, which a path that is no UTF-8 has not.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// What the command line sets; `None` leaves the key to environment, file and default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Flags {
    /// Key `listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Key `data_dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// Key `slot_minutes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot_minutes: Option<u32>,
    /// Key `horizon_days`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub horizon_days: Option<u32>,
    /// Key `allow_insecure_remote`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_insecure_remote: Option<bool>,
    /// Section `log`.
    #[serde(skip_serializing_if = "LogFlags::is_empty")]
    pub log: LogFlags,
}

/// What the command line sets of the section `log`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LogFlags {
    /// Key `log.format`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormat>,
    /// Key `log.filter`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

impl LogFlags {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
