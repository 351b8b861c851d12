//! `lancang verify` and `lancang restore`: work on a store that no server has open.
//!
//! The store is reached through the server's wiring only.

use std::path::PathBuf;

use crate::{
    cli::{admin::sound, failure::Failure, output::Format, time},
    proto::v1,
    server,
};

const VERIFY_EXAMPLES: &str = "\
Example:
  lancang verify --data-dir lancang-data
The server must be stopped; `lancang admin verify` checks a running one.";

const RESTORE_EXAMPLES: &str = "\
Example:
  lancang backup --out lancang.backup
  lancang restore --file lancang.backup --data-dir new-data && lancang serve --data-dir new-data
The directory must not hold a store.";

/// Flags of `lancang verify`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = VERIFY_EXAMPLES)]
pub(crate) struct VerifyArgs {
    /// Directory of the store.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Tables for people, or canonical protobuf JSON.
    #[arg(short, long, default_value = "table", value_name = "FORM")]
    output: Format,
}

/// Flags of `lancang restore`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = RESTORE_EXAMPLES)]
pub(crate) struct RestoreArgs {
    /// File that `lancang backup` wrote.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Directory of the new store; made when it does not exist.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Tables for people, or canonical protobuf JSON.
    #[arg(short, long, default_value = "table", value_name = "FORM")]
    output: Format,
}

/// Checks every record of a store.
pub(crate) fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let report = server::verify_directory(&args.data_dir).map_err(Failure::Start)?;
    let answer = answer(report);
    show(args.output, &answer)?;
    sound(&answer)
}

/// Makes a store from a backup and checks it.
pub(crate) fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let report = server::restore_file(&args.file, &args.data_dir).map_err(Failure::Start)?;
    let answer = answer(report);
    show(args.output, &answer)?;
    sound(&answer)
}

fn show(format: Format, answer: &v1::VerifyResponse) -> Result<(), Failure> {
    let view = time::View {
        zone: time::yunnan(),
    };
    format.output(view, std::io::stdout()).show(answer)
}

fn answer(report: server::VerifyReport) -> v1::VerifyResponse {
    v1::VerifyResponse {
        ok: report.problems.is_empty(),
        problems: report.problems,
        journal_records: report.n_records,
        snapshot_revision: report.snapshot_revision.0,
        revision: report.revision.0,
        jobs: report.n_jobs,
    }
}
