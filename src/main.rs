//! The `lancang` binary: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use lancang::cli::{self, Cli};

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(command) => cli::run(command),
        Err(error) => cli::usage(&error),
    }
}
