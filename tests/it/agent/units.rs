//! A malleable program reads how many units it has, at its start and whenever that changes.
//!
//! Only what the program itself read counts.

use std::fs;

use lancang::proto::v1::{AttemptEnd, AttemptWish, agent_event::Kind};

use super::{
    process::{Site, shell, until},
    server::Key,
};

const A: Key = ("019a0000-0000-7000-8000-00000000000a", 1);
const B: Key = ("019a0000-0000-7000-8000-00000000000b", 1);
const C: Key = ("019a0000-0000-7000-8000-00000000000c", 1);

/// Says with how many units it begins, tries to change that, and says how many it reads whenever they are others.
pub(crate) const READS: &str = r#"
echo "begins with $LANCANG_UNITS"
(echo 9 >> "$LANCANG_UNITS_FILE") 2> /dev/null && echo changed
until [ -e go ]; do
    has=$(cat "$LANCANG_UNITS_FILE")
    [ "$has" = "$had" ] || echo "has $has"
    had=$has
    sleep 0.05
done
"#;

/// Waits until a program has said all of this and nothing else.
#[track_caller]
pub(crate) fn until_said(site: &Site, key: Key, said: &str) {
    until(said, || {
        (site.read(key, "stdout.log") == said).then_some(())
    });
}

#[test]
fn a_program_in_its_sandbox_reads_its_units_and_cannot_change_them() {
    let mut site = Site::quiet(&["--sandbox", "bwrap"]);
    site.start_agent();
    site.server.offer_units(A, shell(READS), 2);
    until_said(&site, A, "begins with 2\nhas 2\n");
    site.server.units(A, 3);
    until_said(&site, A, "begins with 2\nhas 2\nhas 3\n");
    fs::write(site.work(A, "go"), "").unwrap();
    assert_eq!(site.server.ended(A).end(), AttemptEnd::Exited);
}

#[test]
fn units_reach_a_program_whatever_happens_to_its_agent_and_before_it_goes_on() {
    let reads = READS.replace("echo 9", "false");
    let mut site = Site::start();
    site.server.offer_units(A, shell(&reads), 1);
    until_said(&site, A, "begins with 1\nhas 1\n");
    // The agent is dead when they change.
    site.kill_agent();
    site.server.units(A, 3);
    site.start_agent();
    until_said(&site, A, "begins with 1\nhas 1\nhas 3\n");
    // A pause has no units: what it reads then is what it had, and what goes on reads what it has.
    site.server.wish(A, AttemptWish::Suspend, None);
    site.server.units(A, 0);
    site.server.event(A, "suspended", |kind| {
        matches!(kind, Kind::Suspended(_)).then_some(())
    });
    assert_eq!(site.read(A, "told/units"), "3\n");
    site.server.change(|state| {
        let order = state.orders.get_mut(&A).unwrap();
        order.set_wish(AttemptWish::Run);
        order.units = 2;
    });
    until_said(&site, A, "begins with 1\nhas 1\nhas 3\nhas 2\n");
    // The next attempt of the job begins with what it has then.
    let second = (A.0, 2);
    site.server.wish(A, AttemptWish::Stop, None);
    site.server.ended(A);
    site.server.change(|state| state.orders.clear());
    site.server.offer_units(second, shell(&reads), 1);
    until_said(&site, second, "begins with 1\nhas 1\n");
}

#[test]
fn what_is_not_malleable_is_told_nothing_and_who_is_told_late_begins_with_the_newest() {
    let site = Site::start();
    site.server.offer(B, shell("env | grep UNITS; exit 4"));
    assert_eq!(site.server.ended(B).exit_code, 4);
    assert_eq!(site.read(B, "stdout.log"), "");
    assert!(!site.attempt(B).join("told").exists());
    // One that may not begin yet is told of its units when it may.
    site.server
        .offer_as(C, shell("echo $LANCANG_UNITS"), AttemptWish::Suspend);
    site.server.more_reports(3);
    assert!(!site.attempt(C).join("told").exists());
    site.server.change(|state| {
        let order = state.orders.get_mut(&C).unwrap();
        order.set_wish(AttemptWish::Run);
        order.units = 1;
    });
    site.server.ended(C);
    assert_eq!(site.read(C, "stdout.log"), "1\n");
}
