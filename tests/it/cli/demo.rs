//! What the demonstration shows of the jobs that really ran.
//!
//! Moments and the order of lines of different jobs are left open: the machine may be busy.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use crate::agent::process::{signal, until};

/// Three jobs ran at two sites: one at once, one that paused, one that moved.
#[track_caller]
pub(super) fn assert_jobs_ran(shown: &str) {
    let lines = |job: &str, change: &str| {
        let all = shown
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        all.filter(|line| line.contains(job) && line.contains(change))
            .count()
    };
    for job in ["quick-look", "film-frames", "night-batch"] {
        assert_eq!(lines(job, "planned at "), 1, "{shown}");
        assert_eq!(lines(job, "STARTING -> RUNNING"), 1, "{shown}");
        assert_eq!(lines(job, "RUNNING -> SUCCEEDED"), 1, "{shown}");
    }
    // What each drew is settled when it is told.
    for job in ["quick-look", "film-frames", "night-batch"] {
        assert_eq!(lines(job, "kWh of wind"), 1, "{shown}");
    }
    assert!(lines("film-frames", "RUNNING -> SUSPENDED") >= 1, "{shown}");
    assert!(lines("film-frames", "SUSPENDED -> RUNNING") >= 1, "{shown}");
    assert_eq!(lines("night-batch", "[FORECAST]"), 1, "{shown}");
    assert!(
        lines("night-batch", "RUNNING at cxg-chuxiong") >= 1,
        "{shown}"
    );
}

/// Processes that work for this directory: by their arguments, or by where they are.
fn working_for(directory: &Path) -> Vec<String> {
    let name = directory.to_str().unwrap();
    let is_ours = |process: &Path| {
        let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
        let place = fs::read_link(process.join("cwd")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(name) || place.starts_with(directory)
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .map(|entry| entry.path())
        .filter(|process| is_ours(process))
        .map(|process| process.display().to_string())
        .collect()
}

#[test]
fn ctrl_c_while_jobs_run_ends_them_and_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_lancang"))
        .args(["demo", "--listen", "127.0.0.1:0"])
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let has_begun = lines.any(|line| line.unwrap().contains("-> RUNNING"));
    assert!(has_begun);
    assert!(!working_for(temporary.path()).is_empty());
    signal("INT", demo.id());
    // What it still says is read, so that it never waits for a reader.
    let _rest = lines.count();
    let exit = until("the demonstration ends", || demo.try_wait().unwrap());
    assert!(exit.success(), "{exit}");
    assert_eq!(working_for(temporary.path()), Vec::<String>::new());
    let left: Vec<_> = fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
