//! Instances, plans and simulations through the command line, files in and files out.
//!
//! A file appears whole or not at all, and the same seed gives the same bytes on any number of threads.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// What a run came to.
#[derive(Debug)]
struct Run {
    exit: i32,
    stdout: String,
    stderr: String,
}

#[track_caller]
fn lancang(arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_lancang"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Run {
        exit: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Run {
    #[track_caller]
    fn exits(self, exit: i32) -> Self {
        assert_eq!(self.exit, exit, "{self:#?}");
        self
    }

    #[track_caller]
    fn value(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("{self:#?}"))
    }
}

/// A small instance that lies in the repository.
fn small() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dry-mix-60.json.gz")
}

/// A directory with the path of a file to be.
fn place(name: &str) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name).to_str().unwrap().to_owned();
    (dir, path)
}

fn made(family: &str, jobs: &str) -> (TempDir, String) {
    let (dir, path) = place("instance.json.gz");
    let order = [
        "--family", family, "--jobs", jobs, "--seed", "4", "--out", &path,
    ];
    lancang(&[&["instance", "generate"], &order[..]].concat()).exits(0);
    (dir, path)
}

#[test]
fn a_plan_is_the_same_on_any_number_of_threads_and_sound() {
    let (dir, instance) = made("dry-mix", "300");
    let mut files = Vec::new();
    for threads in ["1", "2", "3"] {
        let out = dir.path().join(format!("{threads}.json"));
        let out = out.to_str().unwrap();
        let search = ["--iterations", "8", "--seed", "9", "--threads", threads];
        let more = ["--bound", "12", "-o", "json"];
        let run = lancang(&[&["plan", &instance, "--out", out], &search[..], &more[..]].concat());
        let outcome = run.exits(0).value();
        lancang(&["instance", "check", &instance, "--schedule", out]).exits(0);
        let figures = ["objective", "bound_kwh", "missed", "rounds"];
        files.push((
            fs::read(out).unwrap(),
            figures.map(|name| outcome[name].clone()),
        ));
    }
    assert_eq!(files[0].1[3], 8);
    assert_eq!(files[0], files[1]);
    assert_eq!(files[0], files[2]);
}

#[test]
fn no_plan_is_better_than_its_bound() {
    let instance = small();
    let instance = instance.to_str().unwrap();
    let (_dir, out) = place("schedule.json.gz");
    let run = lancang(&[
        "plan",
        instance,
        "--out",
        &out,
        "--time-limit",
        "500ms",
        "--bound",
        "100",
        "-o",
        "json",
    ]);
    let outcome = run.exits(0).value();
    let figure = |name: &str| {
        outcome[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name}: {outcome}"))
    };
    assert!(figure("bound_kwh") <= figure("objective_kwh"), "{outcome}");
    assert!(0.5 <= figure("seconds"), "{outcome}");
    assert!(1.0 <= figure("rounds"), "{outcome}");
    lancang(&["instance", "check", instance, "--schedule", &out]).exits(0);
}

#[test]
fn policies_simulate_and_report() {
    let instance = small();
    let instance = instance.to_str().unwrap();
    for policy in ["lancang", "run-now", "wait-awhile"] {
        let (dir, out) = place("schedule.json");
        let report = dir.path().join("report.json");
        let report = report.to_str().unwrap();
        let order = ["--policy", policy, "--out", &out, "--report", report];
        let run = lancang(&[&["simulate", instance], &order[..]].concat()).exits(0);
        assert!(run.stdout.contains(policy), "{run:#?}");
        let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
        let sum = |name: &str| report[name].as_i64().unwrap();
        let file: Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
        assert_eq!(file["grid_wslots"], sum("grid_wslots"), "{policy}");
        assert_eq!(report["sites"].as_array().unwrap().len(), 2, "{policy}");
        lancang(&["instance", "check", instance, "--schedule", &out]).exits(0);
    }
}

#[test]
fn prices_of_a_bound_are_written_with_it() {
    let instance = small();
    let instance = instance.to_str().unwrap();
    let (_dir, prices) = place("prices.json");
    let order = ["--iterations", "20", "--prices", &prices];
    let run = lancang(&[&["instance", "bound", instance], &order[..]].concat()).exits(0);
    assert!(run.stdout.contains("no schedule is below"), "{run:#?}");
    let prices: Value = serde_json::from_slice(&fs::read(&prices).unwrap()).unwrap();
    assert_eq!(prices["lam"].as_array().unwrap().len(), 2 * 96);
    assert_eq!(prices["mu"].as_array().unwrap().len(), 4);
    assert_eq!(prices["k"], 1024);
}

#[test]
fn an_instance_that_is_not_sound_leaves_no_file() {
    let (dir, instance) = made("geo", "20");
    let good = fs::read(&instance).unwrap();
    let plain = dir.path().join("plain.json");
    let plain = plain.to_str().unwrap();
    let family = [
        "--family", "geo", "--jobs", "20", "--seed", "4", "--out", plain,
    ];
    lancang(&[&["instance", "generate"], &family[..]].concat()).exits(0);
    let mut wrong: Value = serde_json::from_slice(&fs::read(plain).unwrap()).unwrap();
    wrong["jobs"][3]["deadline"] = 0.into();
    wrong["sites"][1]["cap"][0] = (-8).into();
    let cases = [
        (
            wrong.to_string().into_bytes(),
            "jobs[3].deadline: 0 is before the release",
        ),
        (
            wrong.to_string().into_bytes(),
            "sites[1].cap[0]: -8 is below 0",
        ),
        (
            good[..good.len() / 2].to_vec(),
            "the compressed data is cut off",
        ),
        (
            b"{\"version\": 1,".to_vec(),
            "the JSON is cut off at line 1",
        ),
        (
            wrong.to_string().replace("-8", "NaN").into_bytes(),
            "line 1 column",
        ),
    ];
    for (bytes, expected) in cases {
        fs::write(&instance, bytes).unwrap();
        let out = dir.path().join("schedule.json");
        let file = out.to_str().unwrap();
        for verb in [
            &["plan", &instance, "--out", file, "--iterations", "1"][..],
            &["simulate", &instance, "--out", file],
            &["instance", "check", &instance],
            &["instance", "bound", &instance, "--prices", file],
        ] {
            let run = lancang(verb).exits(64);
            assert!(run.stderr.contains(expected), "{expected}: {run:#?}");
            assert!(run.stderr.contains("is not sound; nothing was written"));
            assert_eq!(run.stdout, "");
            assert!(!out.exists(), "{verb:?}");
        }
    }
}

#[test]
fn a_schedule_that_breaks_a_rule_is_told_by_its_job() {
    let instance = small();
    let instance = instance.to_str().unwrap();
    let (_dir, out) = place("schedule.json");
    lancang(&["simulate", instance, "--policy", "run-now", "--out", &out]).exits(0);
    let mut file: Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    file["assignments"][0]["runs"][0][1] = 95.into();
    fs::write(&out, file.to_string()).unwrap();
    let run = lancang(&["instance", "check", instance, "--schedule", &out]).exits(64);
    let id = &file["assignments"][0]["job"];
    assert!(run.stderr.contains(&format!("job {id}: ")), "{run:#?}");
}

#[test]
fn a_file_that_cannot_be_written_is_a_failure() {
    let instance = small();
    let instance = instance.to_str().unwrap();
    let (dir, _) = place("x");
    let out = dir.path().join("no/such/schedule.json");
    let run = lancang(&["simulate", instance, "--out", out.to_str().unwrap()]).exits(1);
    assert!(run.stderr.contains("cannot create"), "{run:#?}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
