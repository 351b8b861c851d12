//! Programs run, end, pause and are stopped as ordered.

use std::{fs, time::Duration};

use lancang::proto::v1::{AttemptEnd, AttemptWish, TaskResources, agent_event::Kind};

use super::{
    process::{Site, cpu_ticks, lives, program, shell, until},
    server::Key,
};

const A: Key = ("019a0000-0000-7000-8000-00000000000a", 1);
const B: Key = ("019a0000-0000-7000-8000-00000000000b", 1);

/// Runs until the test makes this file in its directory.
const WAITS: &str = "echo up; until [ -e go ]; do sleep 0.05; done; exit 5";

#[test]
fn a_program_runs_and_its_exit_code_comes_back() {
    let site = Site::start();
    site.server
        .offer(A, shell("echo out; echo err >&2; pwd; exit 7"));
    let ended = site.server.ended(A);
    assert_eq!(ended.end(), AttemptEnd::Exited);
    assert_eq!((ended.exit_code, ended.signal), (7, 0));
    assert!(ended.message.contains("CPU time"), "{ended:?}");
    let work = site.work(A, "");
    let pwd = work.to_str().unwrap().trim_end_matches('/').to_owned();
    assert_eq!(site.read(A, "stdout.log"), format!("out\n{pwd}\n"));
    assert_eq!(site.read(A, "stderr.log"), "err\n");
    let kinds = site.server.state().kinds(A);
    assert!(
        matches!(
            kinds[..],
            [Kind::Accepted(_), Kind::Started(_), Kind::Ended(_)]
        ),
        "{kinds:?}"
    );
    // Once the end is acknowledged it is held no more.
    site.server
        .wait_for("nothing held", |state| state.held.is_empty().then_some(()));
}

#[test]
fn a_signal_that_nobody_ordered_and_a_program_that_is_not_there_are_told_apart() {
    let site = Site::start();
    site.server.offer(A, shell("kill -SEGV $$"));
    site.server.offer(B, program(&["no-such-program"]));
    let ended = site.server.ended(A);
    assert_eq!(ended.end(), AttemptEnd::Signalled);
    assert_eq!(ended.signal, 11);
    let ended = site.server.ended(B);
    assert_eq!(ended.end(), AttemptEnd::StartFailed);
    assert!(ended.message.contains("no-such-program"), "{ended:?}");
}

#[test]
fn a_program_gets_its_grace_and_one_that_ignores_it_is_killed() {
    let site = Site::start();
    site.run(
        A,
        "trap 'echo bye; exit 0' TERM; echo up; tail -f /dev/null & wait",
    );
    let stubborn = site.run(B, "trap '' TERM; echo up; tail -f /dev/null");
    for key in [A, B] {
        until("it is up", || {
            (site.read(key, "stdout.log") == "up\n").then_some(())
        });
    }
    let grace = Some(Duration::from_millis(500));
    site.server.wish(A, AttemptWish::Stop, None);
    site.server.wish(B, AttemptWish::Stop, grace);
    let polite = site.server.ended(A);
    assert_eq!(polite.end(), AttemptEnd::Stopped);
    assert!(polite.message.contains("exit code 0"), "{polite:?}");
    assert_eq!(site.read(A, "stdout.log"), "up\nbye\n");
    let killed = site.server.ended(B);
    assert_eq!(killed.end(), AttemptEnd::Stopped);
    assert!(killed.message.contains("signal 9"), "{killed:?}");
    assert!(!lives(stubborn));
}

#[test]
fn nothing_of_a_program_outlives_it() {
    let site = Site::start();
    site.server.offer(
        A,
        shell("setsid tail -f /dev/null & echo $!; (setsid sh -c 'setsid tail -f /dev/null & echo $!' &); until [ $(wc -l < ../stdout.log) = 2 ]; do :; done"),
    );
    assert_eq!(site.server.ended(A).end(), AttemptEnd::Exited);
    let pids: Vec<u32> = site
        .read(A, "stdout.log")
        .lines()
        .map(|pid| pid.parse().unwrap())
        .collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.into_iter().all(|pid| !lives(pid)));
}

#[test]
fn a_paused_program_does_not_move_until_it_goes_on() {
    let site = Site::start();
    let pid = site.run(A, "while :; do :; done");
    site.server.wish(A, AttemptWish::Suspend, None);
    site.server.event(A, "suspended", |kind| {
        matches!(kind, Kind::Suspended(_)).then_some(())
    });
    let before = cpu_ticks(pid);
    site.server.more_reports(8);
    assert_eq!(cpu_ticks(pid), before, "it ran while paused");

    site.server.wish(A, AttemptWish::Run, None);
    site.server.event(A, "resumed", |kind| {
        matches!(kind, Kind::Resumed(_)).then_some(())
    });
    until("it moves again", || (cpu_ticks(pid) > before).then_some(()));
    // A paused one can be stopped as well.
    site.server.wish(A, AttemptWish::Suspend, None);
    site.server.wait_for("suspended again", |state| {
        let pauses = |kind: &&Kind| matches!(kind, Kind::Suspended(_));
        (state.kinds(A).iter().filter(pauses).count() == 2).then_some(())
    });
    site.server.wish(A, AttemptWish::Stop, None);
    assert_eq!(site.server.ended(A).end(), AttemptEnd::Stopped);
}

#[test]
fn time_and_memory_are_bounded() {
    let site = Site::start();
    let mut endless = shell("while :; do :; done");
    endless.max_run_time = Some(prost_types::Duration {
        seconds: 1,
        nanos: 0,
    });
    site.server.offer(A, endless);
    // It wants to hold all zeros there are in one line.
    let mut greedy = program(&["tail", "/dev/zero"]);
    greedy.task_resources = Some(TaskResources {
        cpu_cores: 1,
        memory_mib: 64,
        ..Default::default()
    });
    site.server.offer(B, greedy);
    let ended = site.server.ended(A);
    assert_eq!(ended.end(), AttemptEnd::TimedOut);
    assert!(ended.run_time.unwrap().seconds >= 1);
    // With control groups the kernel says so, without them the program sees its own bound.
    let ended = site.server.ended(B);
    let is_refused = ended.end() == AttemptEnd::Exited && ended.exit_code != 0;
    assert!(
        ended.end() == AttemptEnd::OutOfMemory || is_refused,
        "{ended:?}"
    );
}

#[test]
fn it_gets_no_more_cores_than_it_asks_for() {
    let site = Site::start();
    let pid = site.run(A, "tail -f /dev/null").to_string();
    for group in site.groups(A) {
        // As version 1 of control groups says it, and version 2; not every group of an attempt is about cores.
        for file in ["cpu.cfs_quota_us", "cpu.max"] {
            let Ok(bound) = fs::read_to_string(group.join(file)) else {
                continue;
            };
            assert_eq!(bound.split_whitespace().next(), Some("100000"));
            let inside = fs::read_to_string(group.join("cgroup.procs")).unwrap();
            assert!(inside.lines().any(|line| line == pid), "{inside}");
        }
    }
}

#[test]
fn logs_keep_the_newest_within_their_bound() {
    let site = Site::start();
    let script = "head -c 20000000 /dev/zero; echo the end";
    site.server.offer(A, shell(script));
    assert_eq!(site.server.ended(A).exit_code, 0);
    let mut bytes = 0;
    for entry in fs::read_dir(site.attempt(A)).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().contains("stdout.log") {
            bytes += entry.metadata().unwrap().len();
        }
    }
    assert!(
        bytes <= 2 * lancang::limits::ATTEMPT_LOG_BYTES_MAX,
        "{bytes}"
    );
    assert!(site.read(A, "stdout.log").ends_with("the end\n"));
}

#[test]
fn the_environment_is_what_the_job_says_and_nothing_of_the_agents() {
    let site = Site::start();
    let mut offer = program(&["env"]);
    let execution = offer.execution.as_mut().unwrap();
    execution
        .environment
        .insert("GREETING".to_owned(), "a=b $HOME".to_owned());
    offer.task_count = 3;
    site.server.offer(A, offer);
    site.server.ended(A);
    let work = site.work(A, "");
    let work = work.to_str().unwrap().trim_end_matches('/');
    let text = site.read(A, "stdout.log");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "GREETING=a=b $HOME".to_owned(),
            format!("HOME={work}"),
            "LANCANG_ATTEMPT=1".to_owned(),
            format!("LANCANG_DIR={}", site.attempt(A).display()),
            "LANCANG_FENCE=1.1".to_owned(),
            format!("LANCANG_JOB_ID={}", A.0),
            "LANCANG_SITE_EPOCH=1".to_owned(),
            "LANCANG_TASK_COUNT=3".to_owned(),
            "LANG=C.UTF-8".to_owned(),
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            format!("TMPDIR={work}"),
        ]
    );
}

#[test]
fn what_the_orders_do_not_name_is_killed_without_a_word() {
    let site = Site::start();
    let pid = site.run(A, WAITS);
    site.server.change(|state| state.orders.remove(&A));
    until("it is gone", || (!lives(pid)).then_some(()));
    site.server
        .wait_for("nothing held", |state| state.held.is_empty().then_some(()));
    let kinds = site.server.state().kinds(A);
    assert!(!kinds.iter().any(|kind| matches!(kind, Kind::Ended(_))));
}

#[test]
fn what_ended_attempts_leave_behind_is_bounded_and_what_runs_or_is_paused_stays() {
    let mut site = Site::quiet(&["--sandbox", "none", "--keep-work", "1MB"]);
    site.start_agent();
    let leaves = "head -c 600000 /dev/urandom > big; echo left";
    let keys = [(A.0, 1), (A.0, 2), (A.0, 3)];
    let runs = (B.0, 1);
    site.run(runs, &format!("{leaves}; tail -f /dev/null"));
    until("it has left something", || {
        (site.read(runs, "stdout.log") == "left\n").then_some(())
    });
    for key in keys {
        site.server.offer(key, shell(leaves));
        assert_eq!(site.server.ended(key).exit_code, 0);
        site.server.change(|state| state.orders.remove(&key));
        // Only what is acknowledged is over.
        site.server.wait_for("it is let go", |state| {
            let is_held = state
                .held
                .iter()
                .any(|held| held.fence.unwrap().attempt == key.1 && held.job_id == key.0);
            (!is_held).then_some(())
        });
    }
    // There is room for one of the three.
    for (key, is_kept) in keys.into_iter().zip([false, false, true]) {
        until("what is too much goes", || {
            (site.work(key, "big").exists() == is_kept).then_some(())
        });
        assert_eq!(site.read(key, "stdout.log"), "left\n");
    }
    assert!(site.work(runs, "big").exists());
}
