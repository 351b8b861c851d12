//! Reports as files: the same bytes each time, whole or not there.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;

use super::{Files, run};

fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect()
}

#[test]
fn the_week_of_the_repository_gives_the_same_bytes_twice() {
    let directory = tempfile::tempdir().unwrap();
    let mut outputs = Vec::new();
    for name in ["once", "again"] {
        let out = directory.path().join(name);
        let output = Command::new(env!("CARGO_BIN_EXE_lancang"))
            .args([
                "backtest",
                "--scenario",
                "scenarios/yunnan-dry-week",
                "-o",
                "json",
                "--out",
            ])
            .arg(&out)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        outputs.push((output.stdout, contents(&out)));
    }
    assert_eq!(outputs[0], outputs[1]);
    let (stdout, files) = &outputs[0];
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["jobs.csv", "report.html", "report.json", "slots.csv"]
    );
    assert_eq!(stdout, &files["report.json"]);

    let report: Value = serde_json::from_slice(stdout).unwrap();
    assert_eq!(report["jobs"], 480);
    assert_eq!(report["lancang"]["jobs"]["submitted"], 480);
    let grid = |run: &str| report[run]["totals"]["grid_watt_seconds"].as_u64().unwrap();
    assert!(grid("lancang") < grid("run_now"), "{report:#}");
    let html = String::from_utf8(files["report.html"].clone()).unwrap();
    for outside in ["http://", "https://", "<script", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
    let jobs = String::from_utf8(files["jobs.csv"].clone()).unwrap();
    assert_eq!(jobs.lines().count(), 481);
    let slots = String::from_utf8(files["slots.csv"].clone()).unwrap();
    assert_eq!(slots.lines().count(), 1 + 10 * 672);
}

#[test]
fn a_report_that_cannot_be_written_leaves_none_behind() {
    let scenario = Files::new().load();
    let report = run(&scenario);
    let directory = tempfile::tempdir().unwrap();
    report.write(directory.path()).unwrap();
    assert_eq!(contents(directory.path()).len(), 4);
    // A directory stands where a part is to be written: the new report fails, and the old one is no longer whole.
    fs::create_dir(directory.path().join(".slots.csv.part")).unwrap();
    let error = report.write(directory.path()).unwrap_err();
    assert!(error.to_string().contains(".slots.csv.part"), "{error}");
    assert!(!directory.path().join("report.json").exists());
    fs::remove_dir(directory.path().join(".slots.csv.part")).unwrap();
    report.write(directory.path()).unwrap();
    assert_eq!(contents(directory.path()).len(), 4);
}

#[test]
fn wrong_input_exits_64_with_every_problem_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut files = Files::new();
    files.jobs = files.jobs.replace(",3600,", ",-1,");
    files.actuals = files.actuals.replacen(",1000", ",NaN", 1);
    files.write(directory.path());
    let out = directory.path().join("out");
    let output = Command::new(env!("CARGO_BIN_EXE_lancang"))
        .args(["backtest", "--scenario"])
        .arg(directory.path())
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("jobs.csv:2: column runtime_s"), "{said}");
    assert!(said.contains("actuals.csv:2: column alpha_hydro"), "{said}");
    assert!(output.stdout.is_empty() && !out.exists());
}
