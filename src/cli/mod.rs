//! The command line: parses flags, talks to a server over gRPC, and shows answers.
//!
//! Client commands see the generated API only, never the state or the store; data goes to standard output, talk to
//! standard error.

use std::{io, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

mod time;
mod words;
mod json;
mod failure;
mod output;
mod input;
mod render;
mod client;
mod watch;
mod tls;
mod bulk;
mod job;
mod site;
mod latency;
mod link;
mod forecast;
mod report;
mod meter;
mod admin;
mod offline;
mod serve;
mod agent;
mod starter;
mod demo;
mod load;
mod backtest;
mod files;
mod workers;
mod outcome;
mod instance;
mod plan;
mod simulate;

use crate::cli::{
    failure::{EXIT_CODES, EXIT_USAGE, Failure},
    output::talk,
};

/// Green-power job scheduler: places compute jobs where and when the water and the sun are.
///
/// Start with `lancang demo`, which needs nothing and leaves nothing behind.
#[derive(Debug, Parser)]
#[command(name = "lancang", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(serve::ServeArgs),
    /// Run the agent of a site: it takes the site's jobs from the server and runs their programs.
    Agent(agent::AgentArgs),
    /// Run one attempt; started by the agent.
    #[command(hide = true)]
    AgentShim(agent::AttemptArgs),
    /// Copy for one attempt; started by the agent.
    #[command(hide = true)]
    AgentCopy(agent::AttemptArgs),
    /// Work as a job of the demonstration.
    #[command(hide = true)]
    DemoWork(demo::WorkArgs),
    /// See it work: an embedded server, ten modelled sites in Yunnan, a week of forecasts, jobs from ASEAN.
    Demo(demo::DemoArgs),
    /// Submit, quote, read, watch, explain and change jobs.
    Job(job::JobArgs),
    /// Create, read, change and cordon sites.
    Site(site::SiteArgs),
    /// Submit many jobs and measure how many a second are accepted.
    Load(load::LoadArgs),
    /// Simulate a recorded scenario with the real controller, and score it against run-now and perfect forecasts.
    Backtest(backtest::BacktestArgs),
    /// Set and show latency zones and round-trip times.
    Latency(latency::LatencyArgs),
    /// Set and show what the gateways of sites carry.
    Link(link::LinkArgs),
    /// Send and show forecasts and readings of green power.
    Forecast(forecast::ForecastArgs),
    /// State energy, carbon, cost and water of jobs and sites: tables, files, pages, signed statements.
    Report(report::ReportArgs),
    /// Ask the server about itself.
    Admin(admin::AdminArgs),
    /// Write a consistent copy of a running server's store to a file.
    Backup(admin::BackupArgs),
    /// Check the store of a stopped server.
    Verify(offline::VerifyArgs),
    /// Make a new store from a backup.
    Restore(offline::RestoreArgs),
    /// Plan all jobs of an instance at once.
    Plan(plan::PlanArgs),
    /// Let a policy decide the jobs of an instance as they arrive.
    Simulate(simulate::SimulateArgs),
    /// Make, check and bound placement instances.
    Instance(instance::InstanceArgs),
    /// Check or show the configuration of the server.
    #[command(subcommand)]
    Config(serve::ConfigVerb),
    /// Print a completion script: `lancang completions bash > /etc/bash_completion.d/lancang`.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Runs a command to its end and says how it went.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.lines() {
                talk(&line);
            }
            ExitCode::from(failure.exit())
        }
    }
}

/// Prints what the parser has to say: help and versions are answers, everything else is wrong usage.
#[must_use]
pub fn usage(error: &clap::Error) -> ExitCode {
    let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
    // When the message cannot be printed there is nobody to tell.
    let _ = error.print();
    ExitCode::from(code)
}

fn execute(cli: Cli) -> Result<(), Failure> {
    if let Command::AgentShim(args) = &cli.command {
        // One process for each attempt: it goes without the threads of a runtime.
        return agent::shim(args);
    }
    if let Command::AgentCopy(args) = &cli.command {
        return agent::copy(args);
    }
    if let Command::DemoWork(args) = &cli.command {
        return demo::work(args);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    match cli.command {
        Command::Serve(args) => runtime.block_on(serve::serve(args)),
        Command::Agent(args) => runtime.block_on(agent::run(args)),
        Command::AgentShim(args) => agent::shim(&args),
        Command::AgentCopy(args) => agent::copy(&args),
        Command::DemoWork(args) => demo::work(&args),
        Command::Demo(args) => runtime.block_on(demo::run(args)),
        Command::Job(args) => runtime.block_on(job::run(args)),
        Command::Site(args) => runtime.block_on(site::run(args)),
        Command::Load(args) => runtime.block_on(load::run(args)),
        Command::Backtest(args) => backtest::run(&args),
        Command::Latency(args) => runtime.block_on(latency::run(args)),
        Command::Link(args) => runtime.block_on(link::run(args)),
        Command::Forecast(args) => runtime.block_on(forecast::run(args)),
        Command::Report(args) => runtime.block_on(report::run(args)),
        Command::Admin(args) => runtime.block_on(admin::run(args)),
        Command::Backup(args) => runtime.block_on(admin::run_backup(args)),
        Command::Verify(args) => offline::verify(&args),
        Command::Restore(args) => offline::restore(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Instance(args) => instance::run(&args),
        Command::Config(verb) => serve::config(&verb),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lancang", &mut script);
            io::Write::write_all(&mut io::stdout(), &script).map_err(Failure::Stdout)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parses(line: &str) {
        let words = line.split_whitespace();
        assert!(Cli::try_parse_from(words).is_ok(), "{line}");
    }

    #[track_caller]
    fn refuses(line: &str) {
        assert!(
            Cli::try_parse_from(line.split_whitespace()).is_err(),
            "{line}"
        );
    }

    #[test]
    fn verify_cli() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_of_the_documentation_parse() {
        for line in [
            "lancang serve --listen 127.0.0.1:50051 --data-dir d --config lancang.toml --allow-insecure-remote",
            "lancang demo --once",
            "lancang agent --site kmg-chenggong --dir agent --sandbox bwrap --log-format json",
            "lancang job list --filter state=PLANNED -o json --server http://127.0.0.1:1 --timeout 5s",
            "lancang job -o json get a b",
            "lancang job submit --file - --all-or-nothing",
            "lancang job watch --initial --time-zone -03:00",
            "lancang job cancel j --reason gone --etag e",
            "lancang job logs j -f --tail 20 --stderr",
            "lancang job logs j --attempt 2 --since-offset 5 --raw",
            "lancang job resubmit j --deadline 1d --hold",
            "lancang site evidence dli-dali --all",
            "lancang site cordon dli-dali --reason maintenance",
            "lancang latency put --file x.csv",
            "lancang backtest --scenario d --out e -o json",
            "lancang link put kunming --bandwidth 400Gbit --etag r1",
            "lancang link get kunming -o json",
            "lancang link list",
            "lancang job submit --city a --runtime 1h --input-size 50GB --input-rate 2Gbit",
            "lancang forecast put --file x.csv.gz --first-day today",
            "lancang forecast put --file x.csv --time-shift -24h",
            "lancang forecast get --supply dli-dali/wind --to 12h",
            "lancang forecast skill --supply dli-dali/wind --from -7d",
            "lancang forecast actuals --file x.csv --skip-future",
            "lancang report job j --month 2026-11",
            "lancang report jobs --filter labels.a=b --group-by month,label:tenant --from -7d",
            "lancang report site s --sign --out f.json",
            "lancang report settlements s --open --all",
            "lancang report settlements",
            "lancang report slot s 2026-11-24T14:00",
            "lancang report export --format csv --out f --site s",
            "lancang report page s --out f.html --month 2026-11",
            "lancang report key",
            "lancang report verify f.json -o json",
            "lancang admin info",
            "lancang backup --out f",
            "lancang verify --data-dir d",
            "lancang restore --file f --data-dir d",
            "lancang config check --config lancang.toml",
            "lancang config show",
            "lancang completions fish",
        ] {
            parses(line);
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for line in [
            "lancang",
            "lancang job submit --city a --zone b --runtime 1h",
            "lancang job submit --all-or-nothing",
            "lancang job submit --file f --name n",
            "lancang job submit --file f --city a",
            "lancang job submit --file f --tasks 2",
            "lancang job submit --file f --deadline 1h",
            "lancang job submit --file f --input-size 1GB",
            "lancang job submit --city a --runtime 1h --input-rate 1Gbit",
            "lancang job submit --city a --runtime 1h --input-size 1G",
            "lancang link put kunming",
            "lancang job quote --file f --min-green 80%",
            "lancang job quote --file f --data-class none",
            "lancang job watch --initial --after 5",
            "lancang job logs",
            "lancang job logs j --stdout --stderr",
            "lancang job logs j --tail 5 --since-offset 5",
            "lancang job resubmit",
            "lancang forecast get",
            "lancang forecast get --id i --supply s",
            "lancang forecast put --file f --time-shift 1h --first-day today",
            "lancang job submit --data-class secret",
            "lancang report job j --month 2026-11 --from -7d",
            "lancang report job j --sign",
            "lancang report job j --out f",
            "lancang report jobs --group-by year",
            "lancang report site",
            "lancang report export",
            "lancang job get j -o xml",
        ] {
            refuses(line);
        }
    }
}
