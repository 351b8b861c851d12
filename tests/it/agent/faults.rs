//! Agents, shims, servers and lines fail: no program runs twice, none outlives its lease, and every end is told.

use std::{fs, time::Duration};

use lancang::proto::v1::{AttemptEnd, AttemptWish, agent_event::Kind};

use super::{
    process::{Site, lives, parent, program, shell, signal, until},
    server::{Key, State},
};

const A: Key = ("019a0000-0000-7000-8000-00000000000a", 1);
const B: Key = ("019a0000-0000-7000-8000-00000000000b", 1);

/// Leaves a mark for each time it begins, and ends when the test says so.
const COUNTED: &str = "echo once >> side; until [ -e go ]; do sleep 0.05; done; exit 5";

#[test]
fn a_program_outlives_its_agent_and_the_next_one_tells_its_end() {
    let mut site = Site::start();
    let pid = site.run(A, COUNTED);
    site.kill_agent();
    assert!(lives(pid));
    site.start_agent();
    site.server.more_reports(3);
    fs::write(site.work(A, "go"), "").unwrap();
    let ended = site.server.ended(A);
    assert_eq!((ended.end(), ended.exit_code), (AttemptEnd::Exited, 5));
    assert_eq!(fs::read_to_string(site.work(A, "side")).unwrap(), "once\n");
    assert_eq!(site.server.state().n_enrolled, 1);
}

#[test]
fn an_end_without_an_agent_is_told_by_the_next_one() {
    let mut site = Site::start();
    let pid = site.run(A, COUNTED);
    site.kill_agent();
    fs::write(site.work(A, "go"), "").unwrap();
    until("it ends", || (!lives(pid)).then_some(()));
    site.start_agent();
    let ended = site.server.ended(A);
    assert_eq!((ended.end(), ended.exit_code), (AttemptEnd::Exited, 5));
}

#[test]
fn an_agent_killed_again_and_again_starts_nothing_twice() {
    let mut site = Site::start();
    let jobs: Vec<Key> = (1..=8).map(|attempt| (B.0, attempt)).collect();
    for &key in &jobs {
        // One attempt after the other, as a job that is tried again; each may begin while the agent dies.
        site.server.offer(key, shell("echo once >> side; exit 0"));
        site.server.event(key, "accepted", |kind| {
            matches!(kind, Kind::Accepted(_)).then_some(())
        });
        site.kill_agent();
        site.start_agent();
        assert_eq!(site.server.ended(key).end(), AttemptEnd::Exited);
        site.server.change(|state| state.orders.remove(&key));
    }
    for key in jobs {
        let side = fs::read_to_string(site.work(key, "side")).unwrap();
        assert_eq!(side, "once\n", "attempt {}", key.1);
        let kinds = site.server.state().kinds(key);
        let ends = kinds.iter().filter(|kind| matches!(kind, Kind::Ended(_)));
        assert_eq!(ends.count(), 1);
    }
}

#[test]
fn many_jobs_under_agents_that_die_all_run_once() {
    const COUNT: usize = 60;
    let mut site = Site::start();
    let jobs: Vec<Key> = (0..COUNT)
        .map(|number| {
            let id = format!("019a0000-0000-7000-8000-1000000000{number:02}");
            (&*id.leak(), 1)
        })
        .collect();
    for &key in &jobs {
        site.server
            .offer(key, shell("echo once >> side; sleep 0.3; exit 4"));
    }
    let is_end = |kind: &Kind| matches!(kind, Kind::Ended(_));
    let n_ends = |state: &State| {
        let kinds = state.events.iter().filter_map(|event| event.kind.as_ref());
        kinds.filter(|kind| is_end(kind)).count()
    };
    // Wherever it is at these moments: taking, starting, hearing of ends.
    for least in (0..COUNT).step_by(10) {
        site.server
            .wait_for("more ends", |state| (n_ends(state) >= least).then_some(()));
        site.kill_agent();
        site.start_agent();
    }
    for key in jobs {
        let ended = site.server.ended(key);
        assert_eq!((ended.end(), ended.exit_code), (AttemptEnd::Exited, 4));
        let side = fs::read_to_string(site.work(key, "side")).unwrap();
        assert_eq!(side, "once\n", "{}", key.0);
    }
    assert_eq!(n_ends(&site.server.state()), COUNT, "each end is told once");
}

#[test]
fn a_silent_server_ends_everything_and_the_same_fence_does_not_come_back() {
    let mut site = Site::quiet(&["--sandbox", "none"]);
    site.server
        .change(|state| state.stop_after = Duration::from_secs(3));
    site.start_agent();
    let pid = site.run(A, COUNTED);
    site.server.change(|state| state.is_silent = true);
    // Reports still arrive; it is the answers that keep work alive.
    assert_eq!(site.server.ended(A).end(), AttemptEnd::SelfFenced);
    assert!(!lives(pid));
    site.server.change(|state| state.is_silent = false);
    site.server
        .wait_for("nothing held", |state| state.held.is_empty().then_some(()));
    site.server.more_reports(5);
    assert_eq!(fs::read_to_string(site.work(A, "side")).unwrap(), "once\n");
    // Another fence of the same job runs.
    site.server.change(|state| state.orders.remove(&A));
    site.run((A.0, 2), COUNTED);
}

#[test]
fn without_agent_and_server_a_program_still_ends_with_its_lease() {
    let mut site = Site::quiet(&["--sandbox", "none"]);
    site.server
        .change(|state| state.stop_after = Duration::from_secs(3));
    site.start_agent();
    let pid = site.run(A, COUNTED);
    site.kill_agent();
    until("its lease ends", || (!lives(pid)).then_some(()));
    site.start_agent();
    assert_eq!(site.server.ended(A).end(), AttemptEnd::SelfFenced);
}

#[test]
fn what_cannot_begin_leaves_no_control_group() {
    let site = Site::start();
    site.server.offer(A, program(&["no-such-program"]));
    assert_eq!(site.server.ended(A).end(), AttemptEnd::StartFailed);
    assert!(site.groups(A).iter().all(|group| !group.exists()));
}

#[test]
fn a_dead_shim_takes_its_program_with_it() {
    let site = Site::start();
    let pid = site.run(A, "setsid tail -f /dev/null & echo $!; tail -f /dev/null");
    let other = until("it is up", || {
        site.read(A, "stdout.log").trim().parse().ok()
    });
    let groups = site.groups(A);
    assert!(groups.iter().all(|group| group.is_dir()));
    signal("KILL", parent(pid));
    let ended = site.server.ended(A);
    assert_eq!(ended.end(), AttemptEnd::EngineLost);
    assert!(!lives(pid) && !lives(other));
    assert!(groups.iter().all(|group| !group.exists()));
}

#[test]
fn a_halted_shim_is_killed_when_it_does_not_stop_its_program() {
    let mut site = Site::quiet(&["--sandbox", "none"]);
    site.start_agent();
    let pid = site.run(A, COUNTED);
    signal("STOP", parent(pid));
    // Also one that this agent has not started.
    site.kill_agent();
    site.start_agent();
    site.server.more_reports(3);
    assert!(lives(pid));
    site.server
        .wish(A, AttemptWish::Stop, Some(Duration::from_millis(100)));
    assert_eq!(site.server.ended(A).end(), AttemptEnd::EngineLost);
    assert!(!lives(pid));
    assert!(site.log().contains("a shim does not stop what it runs"));
}

#[test]
fn an_agent_told_to_end_leaves_its_programs_to_the_next() {
    let mut site = Site::start();
    let pid = site.run(A, COUNTED);
    assert!(site.terminate_agent().success());
    assert!(lives(pid));
    site.start_agent();
    site.server.more_reports(3);
    site.server.wish(A, AttemptWish::Stop, None);
    assert_eq!(site.server.ended(A).end(), AttemptEnd::Stopped);
}

#[test]
fn a_refused_agent_stops_its_programs_and_says_what_to_do() {
    let mut site = Site::quiet(&["--sandbox", "none"]);
    site.server
        .change(|state| state.stop_after = Duration::from_secs(3));
    site.start_agent();
    let pid = site.run(A, COUNTED);
    site.server.change(|state| state.refuses = true);
    assert_eq!(site.wait_exit().code(), Some(5));
    assert!(!lives(pid));
    let log = site.log();
    assert!(log.contains("enrol it again"), "{log}");
    assert!(!log.contains("-of-the-test"), "a secret in the log: {log}");
}

#[test]
fn a_wrong_token_is_said_and_not_tried_again() {
    let mut site = Site::quiet(&["--sandbox", "none", "--token", "wrong"]);
    site.start_agent();
    assert_eq!(site.wait_exit().code(), Some(5));
    assert!(site.log().contains("nobody knows this token"));
    // And without any token there is nothing to begin with.
    let output = site
        .command()
        .env_remove("LANCANG_AGENT_TOKEN")
        .args(["--log-filter", "error"])
        .output()
        .unwrap();
    assert!(!output.status.success());
}

#[test]
fn single_calls_do_where_streams_do_not_pass() {
    let mut site = Site::quiet(&["--sandbox", "none"]);
    site.server.change(|state| state.only_polls = true);
    site.start_agent();
    site.server.offer(A, shell("exit 3"));
    assert_eq!(site.server.ended(A).exit_code, 3);
    assert!(site.server.state().n_polls > 0);
}

#[test]
fn two_agents_never_share_a_directory() {
    let site = Site::start();
    site.server.more_reports(1);
    let output = site.command().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("another agent uses"), "{said}");
}

#[test]
fn a_damaged_journal_is_named() {
    let mut site = Site::start();
    site.run(A, COUNTED);
    site.kill_agent();
    let journal = site.dir().join("journal");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[40] ^= 1;
    fs::write(&journal, bytes).unwrap();
    let output = site.command().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("journal is damaged: line 2"), "{said}");
}

#[test]
fn a_disk_that_hangs_does_not_let_a_program_outlive_its_lease() {
    let mut site = Site::quiet(&["--sandbox", "none"]);
    site.server
        .change(|state| state.stop_after = Duration::from_secs(3));
    site.start_agent();
    let pid = site.run(A, COUNTED);
    site.kill_agent();
    // Whoever reads this waits until somebody writes.
    let lease = site.dir().join("lease.json");
    fs::remove_file(&lease).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&lease).status();
    assert!(made.unwrap().success());
    until("it is killed", || (!lives(pid)).then_some(()));
    drop(fs::File::options().write(true).open(&lease).unwrap());
    until("its shim ends", || {
        site.attempt(A).join("result.json").exists().then_some(())
    });
}
