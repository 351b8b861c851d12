//! Programs are told to save what they have done, halted or stopped, and go on in the directory that they left.

use std::{fs, time::Duration};

use lancang::proto::v1::{
    AttemptEnd, AttemptOffer, AttemptWish, Checkpoint, CheckpointSignal, agent_event::Kind,
};

use super::{
    process::{Site, lives, process_state, program, shell, until},
    server::Key,
};

const JOB: &str = "019a0000-0000-7000-8000-00000000000a";
const FIRST: Key = (JOB, 1);
const SECOND: Key = (JOB, 2);
const OTHER: Key = ("019a0000-0000-7000-8000-00000000000b", 1);

/// A script that is told to save by SIGUSR1, so long before it is halted or stopped.
fn saves(script: &str, grace: Duration) -> AttemptOffer {
    let mut offer = program(&["bash", "-c", script]);
    offer.execution.as_mut().unwrap().checkpoint = Some(Checkpoint {
        signal: CheckpointSignal::Usr1.into(),
        grace: Some(grace.try_into().unwrap()),
    });
    offer
}

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_program_that_saves_and_ends_is_not_waited_for_and_the_next_attempt_finds_its_files() {
    let site = Site::start();
    let script =
        "trap 'echo 42 > saved; exit 0' USR1; echo up; tail -f /dev/null & while :; do wait; done";
    site.server.offer(FIRST, saves(script, LONG));
    until("it is up", || {
        site.read(FIRST, "stdout.log").contains("up").then_some(())
    });
    site.server.pause(FIRST, LONG);
    let ended = site.server.ended(FIRST);
    assert_eq!(ended.end(), AttemptEnd::Stopped);
    assert!(ended.message.contains("exit code 0"), "{ended:?}");
    // Other jobs come and go, and agents too.
    site.server.offer(OTHER, shell("exit 3"));
    site.server.ended(OTHER);
    site.server.change(|state| state.orders.clear());
    site.server
        .wait_for("nothing held", |state| state.held.is_empty().then_some(()));
    site.server.offer(SECOND, shell("cat saved"));
    assert_eq!(site.server.ended(SECOND).exit_code, 0);
    assert_eq!(site.read(SECOND, "stdout.log"), "42\n");
    // It moved: there are no two that could differ.
    assert!(!site.work(FIRST, "").exists());
}

#[test]
fn what_was_saved_outlives_the_agent() {
    let mut site = Site::start();
    site.server.offer(
        FIRST,
        saves("echo 42 > saved; echo up; tail -f /dev/null", SHORT),
    );
    until("it is up", || {
        site.read(FIRST, "stdout.log").contains("up").then_some(())
    });
    site.server.pause(FIRST, SHORT);
    site.server.ended(FIRST);
    site.server.change(|state| state.orders.clear());
    site.server
        .wait_for("nothing held", |state| state.held.is_empty().then_some(()));
    site.kill_agent();
    site.start_agent();
    site.server.offer(SECOND, shell("cat saved"));
    assert_eq!(site.server.ended(SECOND).exit_code, 0);
    assert_eq!(site.read(SECOND, "stdout.log"), "42\n");
}

#[test]
fn one_that_hears_neither_signal_is_killed_after_both_graces() {
    let site = Site::start();
    let script = "trap '' USR1 TERM; echo up; tail -f /dev/null";
    site.server.offer(FIRST, saves(script, SHORT));
    let pid = site.server.started(FIRST);
    until("it is up", || {
        (site.read(FIRST, "stdout.log") == "up\n").then_some(())
    });
    site.server.pause(FIRST, SHORT);
    let ended = site.server.ended(FIRST);
    assert_eq!(ended.end(), AttemptEnd::Stopped);
    assert!(ended.message.contains("signal 9"), "{ended:?}");
    let ran = Duration::try_from(ended.run_time.unwrap()).unwrap();
    assert!(2 * SHORT <= ran, "{ran:?}");
    assert!(!lives(pid));
}

#[test]
fn a_cancelled_program_is_given_no_time_to_save() {
    let site = Site::start();
    let script =
        "trap 'echo saved >> side' USR1; echo up; tail -f /dev/null & while :; do wait; done";
    site.server.offer(FIRST, saves(script, LONG));
    until("it is up", || {
        site.read(FIRST, "stdout.log").contains("up").then_some(())
    });
    site.server.pause(FIRST, LONG);
    until("it saves", || {
        site.work(FIRST, "side").exists().then_some(())
    });
    site.server
        .change(|state| state.orders.get_mut(&FIRST).unwrap().goes_on = false);
    site.server.wish(FIRST, AttemptWish::Stop, Some(SHORT));
    assert_eq!(site.server.ended(FIRST).end(), AttemptEnd::Stopped);
    assert_eq!(
        fs::read_to_string(site.work(FIRST, "side")).unwrap(),
        "saved\n"
    );
}

#[test]
fn a_program_is_halted_after_its_grace_unless_it_may_go_on_before() {
    let site = Site::start();
    let script =
        "trap 'echo saved >> side' USR1; echo up; tail -f /dev/null & while :; do wait; done";
    site.server.offer(FIRST, saves(script, LONG));
    let pid = site.server.started(FIRST);
    site.server.offer(OTHER, saves(script, SHORT));
    let halted = site.server.started(OTHER);
    for key in [FIRST, OTHER] {
        until("it is up", || {
            site.read(key, "stdout.log").contains("up").then_some(())
        });
        site.server.wish(key, AttemptWish::Suspend, None);
        until("it saves", || site.work(key, "side").exists().then_some(()));
    }
    let is_pause = |kind: &Kind| matches!(kind, Kind::Suspended(_)).then_some(());
    site.server.event(OTHER, "suspended", is_pause);
    assert_eq!(process_state(halted).as_deref(), Some("T"));
    // The long grace is not over: it runs, and is never halted once it may go on.
    site.server.wish(FIRST, AttemptWish::Run, None);
    site.server.more_reports(20);
    assert!(lives(pid));
    assert_ne!(process_state(pid).as_deref(), Some("T"));
    let kinds = site.server.state().kinds(FIRST);
    assert!(
        !kinds.iter().any(|kind| is_pause(kind).is_some()),
        "{kinds:?}"
    );
}
