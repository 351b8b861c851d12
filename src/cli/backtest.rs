//! `lancang backtest`: a scenario from a directory, simulated and scored, as a summary and a report.
//!
//! Nothing is written unless all runs have come to their end.

use std::{fmt::Write as _, path::PathBuf};

use crate::{
    cli::{
        bulk,
        failure::Failure,
        output::{say, talk},
    },
    sim::backtest::{self, Report, Scenario},
};

const AFTER_HELP: &str = "\
DIR/scenario.toml says what is simulated; scenarios/README.md documents it and the job formats (own CSV, SWF, traces).
Three runs are scored by what was metered: the controller, run-now, and the controller with perfect forecasts.

Examples:
  lancang backtest --scenario scenarios/yunnan-dry-week
  lancang backtest --scenario scenarios/yunnan-dry-week --out target/dry-week   then open report.html";

/// Flags of `lancang backtest`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct BacktestArgs {
    /// Directory with scenario.toml.
    #[arg(long, value_name = "DIR")]
    scenario: PathBuf,
    /// Write report.json, jobs.csv, slots.csv and report.html into this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Form of the summary.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// A table for people.
    Table,
    /// The contents of report.json.
    Json,
}

/// Runs the backtest.
pub(crate) fn run(args: &BacktestArgs) -> Result<(), Failure> {
    let scenario = Scenario::load(&args.scenario).map_err(Failure::Backtest)?;
    talk(&format!(
        "{}: {} jobs, {} slots, {} sites, {} forecast issues",
        scenario.name,
        scenario.jobs.len(),
        scenario.range.len(),
        scenario.sites.len(),
        scenario.forecasts.len()
    ));
    let bar = bulk::progress(0, "slots");
    let report = backtest::run(&scenario, &|passed, total| {
        // Often enough for the eye, seldom enough to cost nothing.
        if passed % 64 == 0 || passed == total {
            bar.set_length(total);
            bar.set_position(passed);
        }
    });
    bar.finish_and_clear();
    let report = report.map_err(Failure::Backtest)?;
    if let Some(directory) = &args.out {
        report.write(directory).map_err(Failure::Backtest)?;
        talk(&format!("written to {}", directory.display()));
    }
    match args.output {
        Form::Table => say(&summary(&report)),
        Form::Json => say(&report.json()),
    }
}

/// What a person wants to know first.
fn summary(report: &Report<'_>) -> String {
    let runs = [
        ("lancang", &report.lancang.figures),
        ("run-now", &report.run_now.figures),
        ("perfect forecast", &report.perfect.figures),
    ];
    let mut text = format!(
        "{:<17} {:>11} {:>7} {:>11} {:>12} {:>9} {:>6} {:>8} {:>6} {:>9}\n",
        "",
        "energy MWh",
        "green",
        "grid MWh",
        "carbon t",
        "in time",
        "late",
        "refused",
        "lost",
        "delay h"
    );
    for (name, figures) in runs {
        let jobs = &figures.jobs;
        let _ = writeln!(
            text,
            "{name:<17} {:>11} {:>6}% {:>11} {:>12} {:>9} {:>6} {:>8} {:>6} {:>9}",
            tenths(figures.totals.energy_watt_seconds, 3_600_000_000),
            tenths(u64::from(figures.green_share_permille), 10),
            tenths(figures.totals.grid_watt_seconds, 3_600_000_000),
            tenths(figures.totals.carbon_contract_mg, 1_000_000_000),
            jobs.finished - jobs.late,
            jobs.late,
            jobs.refused,
            jobs.lost,
            tenths(figures.mean_delay_seconds, 3_600),
        );
    }
    let comparison = report.comparison();
    let _ = write!(
        text,
        "against run-now: grid energy {}, carbon {}, cost {}; regret against perfect forecasts: {} of all energy",
        percent(-comparison.grid_energy_saved_permille),
        percent(-comparison.carbon_contract_saved_permille),
        percent(-comparison.cost_saved_permille),
        percent(comparison.regret_permille_of_energy),
    );
    text
}

/// A quotient with one decimal, rounded down.
fn tenths(value: u64, unit: u64) -> String {
    let tenths = u128::from(value) * 10 / u128::from(unit);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Thousandths as a percentage with its sign.
fn percent(permille: i64) -> String {
    let sign = if permille < 0 { "-" } else { "+" };
    format!("{sign}{}%", tenths(permille.unsigned_abs(), 10))
}
