//! The commands of the README, run as printed against `lancang demo`.
//!
//! Only what a test cannot share is replaced: the port, the path of grpcurl, the data directory, and `cargo run` by the
//! program that is built already. Each command has a row that says what it must show; one without a row fails.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;

use super::{column, reports::Works};
use crate::{
    support::{grpcurl::program, process::ServerProcess},
    tidy::readme::fenced_shell,
};

/// The address that the README prints.
const ADDRESS: &str = "127.0.0.1:50051";
const GRPCURL: &str = "target/tools/grpcurl";
const CARGO: &str = "cargo run --release --";
const DATA_DIR: &str = "target/lancang-data";

/// Commands of the README that run the server, Slurm (`slurm/site.rs` runs those), or this very test.
const SPECIAL: [&str; 5] = [
    "cargo run --release -- demo",
    "scripts/test",
    "cargo run --release -- serve --listen 127.0.0.1:50051 --data-dir target/lancang-data",
    "scripts/slurm-site up /tmp/lancang-slurm 26500 2 16 nobody",
    "scripts/slurm-site down /tmp/lancang-slurm",
];

/// What a command must print; the rest of the command is the README's own affair.
struct Row {
    begins: &'static str,
    contains: &'static str,
    shows: fn(&str),
}

/// In the order of the README.
const ROWS: &[Row] = &[
    Row {
        begins: GRPCURL,
        contains: " list",
        shows: |output| {
            for service in ["Job", "Site", "Forecast", "Agent", "Report", "Admin"] {
                let service = format!("lancang.v1.{service}Service");
                assert!(output.lines().any(|line| line == service), "{output}");
            }
        },
    },
    Row {
        begins: GRPCURL,
        contains: "JobService/QuoteJob",
        shows: |output| {
            let quote = json(output);
            // 20 tasks of 400 W.
            assert!(watts(&quote["placement"]) >= 8_000, "{output}");
            assert_ne!(quote["quoteId"], Value::Null);
            assert_eq!(quote["sites"].as_array().map(Vec::len), Some(10));
        },
    },
    Row {
        begins: GRPCURL,
        contains: "JobService/SubmitJob",
        shows: |output| {
            let job = &json(output)["job"];
            assert_eq!(job["state"], "JOB_STATE_PLANNED");
            assert_eq!(job["spec"]["name"], "night-render");
        },
    },
    Row {
        begins: GRPCURL,
        contains: "SiteService/CordonSite",
        shows: |output| assert_eq!(json(output)["site"]["cordon"]["cordoned"], true),
    },
    Row {
        begins: GRPCURL,
        contains: "JobService/ListJobs",
        shows: |output| {
            let jobs = &json(output)["jobs"];
            assert_eq!(column(jobs, "cause"), ["CHANGE_CAUSE_CORDON"; 3]);
            for job in jobs.as_array().unwrap() {
                assert_ne!(job["placement"]["siteId"], "dli-dali");
            }
        },
    },
    Row {
        begins: CARGO,
        contains: " job list",
        shows: |output| assert!(output.contains("fx-risk-nightly"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " job submit",
        shows: |output| {
            let said = words(output);
            assert!(said.contains("name etl"), "{output}");
            assert!(said.contains("state PLANNED"), "{output}");
        },
    },
    Row {
        begins: CARGO,
        contains: " --speeds 1000,1900,2700 --priority 8 ",
        shows: |output| {
            let said = words(output);
            assert!(said.contains("speeds 1.000, 1.900, 2.700"), "{output}");
            assert!(said.contains("priority 8"), "{output}");
            assert!(said.contains("state PLANNED"), "{output}");
        },
    },
    Row {
        begins: CARGO,
        contains: " site list",
        shows: |output| {
            assert!(output.contains("kmg-chenggong"), "{output}");
            assert!(output.contains("cxg-chuxiong"), "{output}");
        },
    },
    Row {
        begins: CARGO,
        contains: " link list",
        shows: |output| assert!(words(output).contains("kunming 400.0 Gbit/s"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " --input-size 1.5TB",
        shows: |output| {
            let said = words(output);
            assert!(
                said.contains("input 1.5 TB at up to 4.0 Gbit/s"),
                "{output}"
            );
            assert!(said.contains("at 4.0 Gbit/s to "), "{output}");
        },
    },
    Row {
        begins: CARGO,
        contains: " forecast get",
        shows: |output| assert!(output.lines().count() >= 96, "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " admin info",
        shows: |output| {
            assert!(output.contains(env!("CARGO_PKG_VERSION")), "{output}");
        },
    },
    Row {
        begins: CARGO,
        contains: " site token",
        shows: |output| assert_eq!(words(output).split(' ').nth(1).map(str::len), Some(64)),
    },
    Row {
        begins: CARGO,
        contains: " agent --site",
        shows: |_| {},
    },
    Row {
        begins: CARGO,
        contains: " -- sh -c 'echo hello",
        shows: |output| assert!(words(output).contains("runs sh -c"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " job list --filter 'name = hello'",
        shows: |output| assert!(output.contains("hello"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " job logs JOB",
        shows: |output| assert_eq!(output, "hello from attempt 1\n"),
    },
    Row {
        begins: CARGO,
        contains: " site drain ",
        shows: |output| assert!(output.contains("DRAINED by CHECKPOINT until "), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " site uncordon",
        shows: |output| assert!(!words(output).contains("cordoned since"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " site maintain ",
        shows: |output| assert!(output.contains("MAINTENANCE"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " site curtail ",
        shows: |output| assert!(words(output).contains("of 2.00 MW allowed"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " site lift ",
        shows: |output| assert!(!output.contains("CURTAILMENT"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " site get ",
        shows: |output| assert!(words(output).contains("agent NEVER_ENROLLED"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " site meter",
        shows: |output| assert!(output.contains("slots new"), "{output}"),
    },
    Row {
        begins: GRPCURL,
        contains: "ReportService/ListSettlements",
        shows: |output| assert_ne!(json(output)["revision"], Value::Null),
    },
    Row {
        begins: GRPCURL,
        contains: "ReportService/GetStatement",
        shows: |output| assert_ne!(json(output)["total"], Value::Null),
    },
    Row {
        begins: CARGO,
        contains: " backtest ",
        shows: |output| {
            for run in ["lancang", "run-now", "perfect forecast", "regret"] {
                assert!(output.contains(run), "{output}");
            }
        },
    },
    Row {
        begins: CARGO,
        contains: " instance generate",
        shows: |output| assert!(output.contains("dry-mix-n500-"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " plan ",
        shows: |output| assert!(output.contains("times it, regret"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " simulate ",
        shows: |output| assert!(words(output).contains("method run-now"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " instance check",
        shows: |output| assert!(output.contains("schedule.json: sound"), "{output}"),
    },
];

/// The section in which time must pass: it runs against a server whose clock the test moves.
const PROOF_HEADING: &str = "## Prove it";

/// In the order of that section.
const PROOF: &[Row] = &[
    Row {
        begins: CARGO,
        contains: " job submit --name proof",
        shows: |output| assert!(words(output).contains("state PLANNED"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " site meter",
        shows: |output| assert!(output.contains('1'), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " forecast actuals",
        shows: |output| assert!(!output.is_empty()),
    },
    Row {
        begins: CARGO,
        contains: " report job JOB",
        // 600 W for 15 minutes while 1 kW of hydro power was there.
        shows: |output| {
            let said = words(output);
            assert!(said.contains("1 settled, none open"), "{output}");
            assert!(said.contains("energy 0.150 kWh: hydro 0.150"), "{output}");
            assert!(said.contains("green, of jobs 100.0 %"), "{output}");
        },
    },
    Row {
        begins: CARGO,
        contains: " report site",
        shows: |output| assert!(words(output).contains("by volume"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " report export",
        shows: |output| assert!(output.contains("1 lines"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " report page",
        shows: |output| assert!(output.contains("site-slots"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " report key",
        shows: |output| assert!(words(output).contains("public key "), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " report job JOB --sign",
        shows: |output| assert!(words(output).contains("hydro 0.150"), "{output}"),
    },
    Row {
        begins: CARGO,
        contains: " report verify",
        shows: |output| assert!(output.starts_with("GOOD: "), "{output}"),
    },
];

#[track_caller]
fn json(output: &str) -> Value {
    serde_json::from_str(output).unwrap()
}

fn watts(placement: &Value) -> u64 {
    super::number(&placement["powerWatts"])
}

/// The words of a text with one space between them.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The README without the section of the proof, and that section.
fn readme() -> (String, String) {
    let root = env!("CARGO_MANIFEST_DIR");
    let text = std::fs::read_to_string(format!("{root}/README.md")).unwrap();
    let (before, rest) = text.split_once(PROOF_HEADING).unwrap();
    let (proof, after) = rest.split_once("\n## ").unwrap();
    (format!("{before}\n## {after}"), proof.to_owned())
}

/// The commands in the fenced blocks of a text, a line each.
pub(crate) fn commands(text: &str) -> Vec<String> {
    let blocks = fenced_shell(text);
    let lines = blocks.iter().flat_map(|block| block.lines());
    lines
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned)
        .collect()
}

/// Runs a command by the shell in the root of the repository; its standard output.
#[track_caller]
fn run(command: &str, port: u16) -> String {
    try_run(command, port).unwrap_or_else(|why| panic!("{why}"))
}

fn try_run(command: &str, port: u16) -> Result<String, String> {
    let printed = command
        .replace(ADDRESS, &format!("127.0.0.1:{port}"))
        .replace(GRPCURL, &program().display().to_string())
        .replace(CARGO, env!("CARGO_BIN_EXE_lancang"));
    let output = Command::new("sh")
        .args(["-c", &printed])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("LANCANG_SERVER", format!("http://127.0.0.1:{port}"))
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(format!("{printed}\n{output:?}"));
    }
    Ok(String::from_utf8(output.stdout).unwrap())
}

/// The agent of the README; dropped, it ends and takes its directory with it.
struct Agent {
    process: Child,
    dir: PathBuf,
}

impl Agent {
    #[track_caller]
    fn start(printed: &str, port: u16, temporary: &Path) -> Self {
        let dir = temporary.join("agent");
        let printed = printed
            .replace("target/agent-kmg", &dir.display().to_string())
            .replace(CARGO, env!("CARGO_BIN_EXE_lancang"));
        let process = Command::new("sh")
            .args(["-c", &format!("exec {printed}")])
            .env("LANCANG_SERVER", format!("http://127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, dir }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _dead = self.process.kill();
        let _reaped = self.process.wait();
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}

/// Runs a command again until it succeeds.
#[track_caller]
fn run_until_accepted(command: &str, port: u16) -> String {
    const TRIES: usize = 200;
    let accepted = (0..TRIES).find_map(|_| try_run(command, port).ok());
    accepted.unwrap_or_else(|| panic!("`{command}` never succeeds"))
}

/// Runs a command again until its answer has a field.
#[track_caller]
fn run_until(command: &str, port: u16, field: &str) -> String {
    const TRIES: usize = 200;
    (0..TRIES)
        .map(|_| run(command, port))
        .find(|output| json(output).get(field).is_some())
        .unwrap_or_else(|| panic!("`{command}` never shows {field}"))
}

fn demo(temporary: &Path) -> ServerProcess {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lancang"));
    command
        .args(["demo", "--listen", "127.0.0.1:0"])
        .env("TMPDIR", temporary);
    ServerProcess::launch(command).unwrap()
}

#[test]
fn every_command_works_as_printed() {
    let temporary = tempfile::tempdir().unwrap();
    let mut server = demo(temporary.path());
    let commands = commands(&readme().0);
    for special in SPECIAL {
        assert!(
            commands.iter().any(|command| command == special),
            "{special}"
        );
    }
    let plain: Vec<&String> = commands
        .iter()
        .filter(|command| !SPECIAL.contains(&command.as_str()))
        .collect();
    assert_eq!(
        plain.len(),
        ROWS.len(),
        "a row for each command: {plain:#?}"
    );
    let n_grpcurl = plain
        .iter()
        .filter(|line| line.starts_with(GRPCURL))
        .count();
    assert_eq!(n_grpcurl, 7);
    let (mut token, mut hello, mut agent) = (String::new(), String::new(), None);
    for (command, row) in plain.into_iter().zip(ROWS) {
        assert!(
            command.starts_with(row.begins) && command.contains(row.contains),
            "`{command}` stands where `{}` is expected",
            row.contains
        );
        if row.contains == " agent --site" {
            let printed = command.replace("TOKEN", &token);
            agent = Some(Agent::start(&printed, server.port(), temporary.path()));
            continue;
        }
        if row.contains == " job logs JOB" {
            // It may have to wait for the sun.
            match try_run(&command.replace("JOB", &hello), server.port()) {
                Ok(output) => (row.shows)(&output),
                Err(why) => assert!(why.contains("NOT_BEGUN"), "{why}"),
            }
            continue;
        }
        let output = match row.contains {
            // The agent enrols a moment after it has begun.
            " -- sh -c 'echo hello" => run_until_accepted(command, server.port()),
            // The plan follows a moment after the cordon, a long one where nothing is optimised.
            "JobService/ListJobs" => run_until(command, server.port(), "jobs"),
            _ => run(command, server.port()),
        };
        (row.shows)(&output);
        if row.contains == " -- sh -c 'echo hello" {
            let said = words(&output);
            hello = said.split(' ').nth(1).unwrap_or_default().to_owned();
        }
        if row.contains == " site token" {
            let said = words(&output);
            token = said.split(' ').nth(1).unwrap_or_default().to_owned();
        }
        if command.contains("SubmitJob") {
            // "can be sent as often as you like".
            let (first, again) = (json(&output), json(&run(command, server.port())));
            assert_eq!(again["alreadyExisted"], true);
            assert_eq!(again["job"]["jobId"], first["job"]["jobId"]);
        }
    }
    drop(agent);
    // Ctrl-C ends it, and it leaves nothing behind.
    assert!(server.interrupt().success(), "{}", server.log());
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_server_starts_as_printed() {
    let data_dir = tempfile::tempdir().unwrap();
    let printed = SPECIAL[2]
        .replace(ADDRESS, "127.0.0.1:0")
        .replace(DATA_DIR, &data_dir.path().display().to_string())
        .replace(CARGO, env!("CARGO_BIN_EXE_lancang"));
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {printed}")]);
    let mut server = ServerProcess::launch(command).unwrap();
    let info = super::Client::of(&server).info();
    let started: Timestamp = info["startTime"].as_str().unwrap().parse().unwrap();
    assert!(started <= Timestamp::now());
    assert!(server.terminate().success());
}

/// The last word of the line that begins with these words.
#[track_caller]
fn told<'a>(output: &'a str, what: &str) -> &'a str {
    let mut lines = output.lines();
    let line = lines.find_map(|line| line.strip_prefix(what));
    line.unwrap_or_else(|| panic!("no `{what}` in {output}"))
        .trim()
}

#[test]
fn a_job_is_proven_as_printed() {
    let works = Works::at("kmg-chenggong");
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    // What the meters of the site and of its hydro contract show: 2 kW and 1 kW in the first slot.
    let readings = [
        ("meter.csv", "ts,kwh\n2026-11-24T08:00:00+08:00,0.5\n"),
        (
            "actuals.csv",
            "ts,kmg-chenggong_hydro\n2026-11-24T08:00:00+08:00,1\n",
        ),
    ];
    for (name, text) in readings {
        std::fs::write(file(name), text).unwrap();
    }
    let commands = commands(&readme().1);
    assert_eq!(commands.len(), PROOF.len(), "a row for each: {commands:#?}");
    let (mut job, mut key) = (String::new(), String::new());
    for (command, row) in commands.iter().zip(PROOF) {
        assert!(
            command.starts_with(row.begins) && command.contains(row.contains),
            "`{command}` stands where `{}` is expected",
            row.contains
        );
        let mut printed = command.replace("JOB", &job).replace("KEY", &key);
        for name in ["meter.csv", "actuals.csv"] {
            printed = printed.replace(name, &file(name));
        }
        let output = run(&printed.replace("target/", &file("")), works.port());
        (row.shows)(&output);
        match row.contains {
            " job submit --name proof" => {
                job = told(&output, "job ").to_owned();
                works.run_for_a_slot();
            }
            " forecast actuals" => works.pass(Duration::from_secs(300)),
            " report key" => key = told(&output, "public key ").to_owned(),
            _ => {}
        }
    }
}
