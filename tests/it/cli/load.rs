//! `lancang load` with agents that it simulates.
//!
//! Every job that was accepted starts once and its end is acknowledged; figures of a small run are no benchmark.

use std::process::Command;

use serde_json::Value;

#[track_caller]
fn load(flags: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lancang"));
    command.arg("load").args(flags);
    command.output().unwrap()
}

#[test]
fn simulated_agents_start_every_job_that_was_accepted() {
    let flags = "--agents 3 --starts-per-second 20 --seconds 2 --json";
    let output = load(&flags.split(' ').collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    for field in ["submitted", "starts", "ends_acknowledged"] {
        assert_eq!(figures[field], 40, "{field}: {figures}");
    }
    assert!(figures["submit_to_start_p99_us"].is_u64(), "{figures}");
    assert!(figures["server_cpu_cores"].as_f64().unwrap() > 0.0);
}

#[test]
fn idle_agents_start_nothing_and_flags_that_do_not_fit_are_refused() {
    let output = load(&["--agents", "2", "--seconds", "1"]);
    assert!(output.status.success());
    let table = String::from_utf8(output.stdout).unwrap();
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..5], ["2", "0", "0", "0", "0"], "{table}");
    for wrong in [
        &["--agents", "0"][..],
        &["--agents", "257"],
        &["--seconds", "3"],
        &["--starts-per-second", "3"],
        &["--agents", "2", "--jobs", "3"],
    ] {
        assert_eq!(load(wrong).status.code(), Some(64), "{wrong:?}");
    }
}
