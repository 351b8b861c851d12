//! Backtests: the real controller under a virtual clock, on recorded power, forecasts and jobs.
//!
//! Same scenario, same report bytes; what a schedule is worth is computed from what ran and what was metered, by a scorer
//! that shares no code with the planner.

mod config;
mod input;
mod series;
mod jobs;
mod swf;
mod alibaba;
mod scenario;
mod faults;
mod drive;
mod execution;
mod run_now;
mod score;
mod tally;
mod report;
mod page;
mod output;

use thiserror::Error;

pub use self::{
    drive::{Counters, Driven},
    execution::{Executed, Outcome, Verdict},
    faults::Outage,
    report::{Comparison, JobCounts, Policy, PolicyReport, PolicyRun, Report, run_policy},
    scenario::{LeftOut, Scenario, TimedIssue, TraceJob},
    score::{Score, SiteScore, SlotScore, Totals, Violations, score},
};
use crate::{controller::ControllerError, state::Rejection};

/// Why there is no report.
#[derive(Debug, Error)]
pub enum BacktestError {
    /// Files of the scenario are wrong; nothing was run.
    #[error("the scenario is not usable; nothing was run")]
    Scenario(Vec<String>),
    /// The controller failed.
    #[error("the controller failed")]
    Controller(#[from] ControllerError),
    /// The controller refused what a scenario that was checked cannot ask for: a defect.
    #[error("the controller refused {what}: {rejection}")]
    Refused {
        /// What was asked.
        what: String,
        /// Its answer.
        rejection: Box<Rejection>,
    },
    /// The report could not be written.
    #[error("writing {path}")]
    Write {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Told from time to time how many slots of how many have been simulated, all runs together.
pub type Progress<'a> = dyn Fn(u64, u64) + Sync + 'a;

/// Runs the scenario under the controller, under run-now, and under the controller with perfect forecasts, and scores
/// each.
///
/// # Errors
/// When the controller fails, which no scenario can make it do.
pub fn run<'a>(
    scenario: &'a Scenario,
    progress: &Progress<'_>,
) -> Result<Report<'a>, BacktestError> {
    report::run(scenario, progress)
}
