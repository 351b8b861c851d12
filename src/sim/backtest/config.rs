//! `scenario.toml` as it stands in the file.
//!
//! Unknown keys are refused; what is left out has the default that stands here.

use serde::Deserialize;
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileScenario {
    /// What the report is called.
    pub(super) name: String,
    /// First moment, RFC 3339; the start of a slot.
    pub(super) start: Spanned<String>,
    /// Moment after the last; the start of a slot.
    pub(super) end: Spanned<String>,
    /// Length of a slot, minutes.
    #[serde(default = "slot_minutes")]
    pub(super) slot_minutes: Spanned<u32>,
    pub(super) files: Files,
    #[serde(default)]
    pub(super) jobs: Jobs,
    #[serde(default)]
    pub(super) policy: Policy,
    #[serde(default)]
    pub(super) late: Vec<Spanned<Late>>,
    #[serde(default)]
    pub(super) missing: Vec<Spanned<Missing>>,
    #[serde(default)]
    pub(super) outage: Vec<Spanned<OutageEntry>>,
    pub(super) overrun: Option<Spanned<Overrun>>,
}

/// Paths, relative to the directory of the scenario; a name that ends in `.gz` is decompressed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Files {
    /// Topology in the form of the starter data.
    pub(super) sites: String,
    /// Round-trip times.
    pub(super) latencies: String,
    /// Metered power: `ts` and a column for each supply.
    pub(super) actuals: Vec<String>,
    /// Forecast streams with issue times.
    #[serde(default)]
    pub(super) forecasts: Vec<String>,
    /// Plain day-ahead forecasts.
    #[serde(default)]
    pub(super) day_ahead: Vec<DayAhead>,
    /// Jobs.
    pub(super) jobs: String,
}

/// A table of one forecast for each slot, issued on the day before.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DayAhead {
    pub(super) file: String,
    /// Hour of the day before at which it is issued, in the civil time of the first site.
    #[serde(default = "issue_hour")]
    pub(super) issue_hour: u32,
    /// `kw`, or `permille` of the contracted power.
    pub(super) unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Unit {
    Kw,
    Permille,
}

/// How rows of the job file become jobs; each default is stated in the documentation of the command.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Jobs {
    pub(super) format: Format,
    /// What a trace counts time in.
    pub(super) time_unit: TimeUnit,
    /// Moment that a trace counts from; the start of the scenario unless given.
    pub(super) epoch: Option<Spanned<String>>,
    /// Rows taken at most, from the first on.
    pub(super) take: Option<usize>,
    /// A job may end so many hours later than if it ran at once.
    pub(super) slack_hours: u32,
    /// IT power of one core, watts.
    pub(super) watts_per_core: u64,
    /// Memory of one core, MiB.
    pub(super) mib_per_core: u64,
    /// Cores of one task; a job of more cores has more tasks.
    pub(super) cores_per_task: u32,
    /// Whether jobs without a class may be cut.
    pub(super) interruptible: bool,
    /// Shortest piece of those, minutes.
    pub(super) min_chunk_minutes: u32,
    /// Work repeated when those resume, minutes.
    pub(super) resume_minutes: u32,
    /// Cities of jobs without one, in turn.
    pub(super) cities: Vec<String>,
    /// Round-trip budget of jobs without one, milliseconds; that of the city's zone unless given.
    pub(super) max_rtt_ms: Option<u32>,
    /// Green share that jobs without one ask for, thousandths.
    pub(super) min_green_permille: u32,
    /// Every job stays at one site, dealt out by the sites' power: the sites on their own instead of pooled.
    pub(super) alone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// Own columns.
    #[default]
    Csv,
    /// Standard Workload Format.
    Swf,
    /// `arrival_time,length,cpus`.
    Trace,
    /// Batch tasks of Alibaba's cluster trace of 2018.
    Alibaba,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TimeUnit {
    #[default]
    Seconds,
    Hours,
}

/// Options of the controller.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Policy {
    pub(super) horizon_days: u32,
    pub(super) stale_after_hours: u64,
    pub(super) replan_min_gain_permille: u32,
    pub(super) replan_max_moves: usize,
    pub(super) replan_sweep_minutes: u32,
}

/// Forecasts that arrive late.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Late {
    pub(super) minutes: u32,
    /// One supply; all unless given.
    pub(super) supply: Option<String>,
}

/// Forecasts that never arrive: those issued from `from` up to `until`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Missing {
    /// One supply; all unless given.
    pub(super) supply: Option<String>,
    pub(super) from: String,
    pub(super) until: String,
}

/// A site that is dark from `from` up to `until`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutageEntry {
    pub(super) site: String,
    pub(super) from: String,
    pub(super) until: String,
}

/// Jobs that run longer than they said, unless the job file says how long each really ran.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Overrun {
    /// Share of the jobs, thousandths.
    pub(super) jobs_permille: u32,
    /// Extra runtime at most, thousandths of the runtime; drawn evenly from nothing to this.
    pub(super) extra_permille_max: u32,
    pub(super) seed: u64,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            format: Format::Csv,
            time_unit: TimeUnit::Seconds,
            epoch: None,
            take: None,
            slack_hours: 24,
            watts_per_core: 10,
            mib_per_core: 4_096,
            cores_per_task: 64,
            interruptible: false,
            min_chunk_minutes: 60,
            resume_minutes: 0,
            cities: Vec::new(),
            max_rtt_ms: None,
            min_green_permille: 0,
            alone: false,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            horizon_days: 14,
            stale_after_hours: 40,
            replan_min_gain_permille: 50,
            replan_max_moves: 1_000,
            replan_sweep_minutes: 60,
        }
    }
}

fn slot_minutes() -> Spanned<u32> {
    Spanned::new(0..0, 15)
}

fn issue_hour() -> u32 {
    9
}
