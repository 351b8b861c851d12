//! Starts that must be refused: a store in use, another slot length, an address in use.
//!
//! A refusal says what is wrong, exits with 1, and leaves the store as it is.

use std::{path::Path, process::Command};

use super::{client::Clients, client_runtime, rounds::verify_offline};
use crate::support::process::ServerProcess;

/// The start fails with exit code 1 and says so.
#[track_caller]
fn check(command: Command, says: &str) {
    let Err(failure) = ServerProcess::launch(command) else {
        panic!("it started");
    };
    assert_eq!(
        failure.status.and_then(|status| status.code()),
        Some(1),
        "{failure:?}"
    );
    assert!(failure.log.contains(says), "{failure:?}");
}

#[test]
fn a_store_in_use_is_refused_and_its_server_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = client_runtime();
    let mut first = ServerProcess::start(folder.path());
    let says = "another process has it open";
    check(ServerProcess::command(folder.path()), says);
    let mut verify = Command::new(env!("CARGO_BIN_EXE_lancang"));
    verify.args(["verify", "--data-dir"]).arg(folder.path());
    let refused = verify.output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains(says),
        "{refused:?}"
    );
    runtime.block_on(async { Clients::connect(&first).await.verify().await });
    // A killed server leaves no lock behind.
    first.kill();
    ServerProcess::start(folder.path());
}

#[test]
fn another_slot_length_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    ServerProcess::start(folder.path()).terminate();
    let mut command = ServerProcess::command(folder.path());
    command.args(["--slot-minutes", "5"]);
    check(command, "it was created with slots of 900 s");
    verify_offline(folder.path());
    ServerProcess::start(folder.path());
}

#[test]
fn an_address_in_use_is_refused_before_a_store_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let first = ServerProcess::start(&folder.path().join("first"));
    let second = folder.path().join("second");
    let address = format!("127.0.0.1:{}", first.port());
    check(
        serve_at(&address, &second),
        &format!("listening on {address}"),
    );
    assert!(!second.exists());
}

fn serve_at(address: &str, data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lancang"));
    command
        .args(["serve", "--listen", address, "--data-dir"])
        .arg(data_dir);
    command
}
