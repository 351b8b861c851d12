//! `lancang verify` and `lancang restore`: work on a store that no server has open.
//!
//! The two functions at the end are the only doors to the store.

use std::path::{Path, PathBuf};

use crate::{
    cli::{admin::sound, failure::Failure, output::Format, time},
    proto::v1,
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
    let answer = verify_directory(&args.data_dir)?;
    show(args.output, &answer)?;
    sound(&answer)
}

/// Makes a store from a backup and checks it.
pub(crate) fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let answer = restore_file(&args.file, &args.data_dir)?;
    show(args.output, &answer)?;
    sound(&answer)
}

fn show(format: Format, answer: &v1::VerifyResponse) -> Result<(), Failure> {
    let view = time::View {
        zone: time::yunnan(),
    };
    format.output(view, std::io::stdout()).show(answer)
}

/// Reads the whole store of a directory and says what is wrong with it. To be joined to `crate::store`.
fn verify_directory(data_dir: &Path) -> Result<v1::VerifyResponse, Failure> {
    Err(Failure::Unsound(format!(
        "cannot verify {}: this build has no store",
        data_dir.display()
    )))
}

/// Writes the store of a backup file into a directory that holds none. To be joined to `crate::store`.
fn restore_file(file: &Path, data_dir: &Path) -> Result<v1::VerifyResponse, Failure> {
    Err(Failure::Unsound(format!(
        "cannot restore {} into {}: this build has no store",
        file.display(),
        data_dir.display()
    )))
}
