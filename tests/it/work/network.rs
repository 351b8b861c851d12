//! The line between a server and an agent is cut: what ran has stopped before it runs elsewhere, and comes back as nothing.
//!
//! The agent is in a network namespace of its own, and the line is a pair of virtual devices. Where a machine allows no
//! namespaces, the agent is halted instead, which its programs outlive in the same way: a weaker check, as nothing is lost
//! on the way.

use std::{
    io::{self, Write as _},
    process::{Child, Command},
    time::Duration,
};

use lancang::proto::v1::{self, AttemptEnd, JobState, RefusedReportReason};

use super::{
    mark::Mark,
    province::{Province, SETTINGS},
};
use crate::agent::process::{lives, signal, until};

/// What of a line is cut.
#[derive(Clone, Copy)]
enum Cut {
    /// Both ways.
    Whole,
    /// Orders are lost, reports arrive as long as nobody has to acknowledge them.
    ToAgent,
    /// Reports are lost, orders arrive as long as nobody has to acknowledge them.
    ToServer,
}

/// The line to one agent.
pub(crate) enum Line {
    /// Devices between two namespaces.
    Devices {
        namespace: String,
        device: String,
        /// Address of the server's end.
        here: String,
        /// Address of the agent's end.
        there: String,
    },
    /// There are no namespaces here: the agent itself is halted.
    Agent { pid: Option<u32> },
}

impl Line {
    /// Lays a line; the number tells it from others of the machine.
    fn lay(number: u32) -> Self {
        let id = format!("{}-{number}", std::process::id());
        let (namespace, device) = (format!("lc{id}"), format!("lc{id}a"));
        let address = |last: u32| {
            let (high, low) = (std::process::id() / 250 % 250, std::process::id() % 250);
            format!("10.{}.{}.{}", high, low, 4 * number + last)
        };
        let (here, there) = (address(1), address(2));
        let inner = format!("lc{id}b");
        let commands = [
            format!("netns add {namespace}"),
            format!("link add {device} type veth peer name {inner} netns {namespace}"),
            format!("addr add {here}/30 dev {device}"),
            format!("link set {device} up"),
            format!("-n {namespace} addr add {there}/30 dev {inner}"),
            format!("-n {namespace} link set {inner} up"),
            format!("-n {namespace} link set lo up"),
        ];
        let line = Self::Devices {
            namespace,
            device,
            here,
            there,
        };
        match commands.iter().try_for_each(|command| ip(command)) {
            Ok(()) => line,
            Err(because) => {
                let _closed = writeln!(
                    io::stderr(),
                    "no network namespaces here ({because}): the agent is halted instead"
                );
                Self::Agent { pid: None }
            }
        }
    }

    /// Where the agent finds the server that listens on this port of every address.
    pub(super) fn server(&self, port: u16) -> String {
        match self {
            Self::Devices { here, .. } => format!("http://{here}:{port}"),
            Self::Agent { .. } => format!("http://127.0.0.1:{port}"),
        }
    }

    /// The program, started at the other end of the line.
    pub(super) fn command(&self, program: &str) -> Command {
        match self {
            Self::Devices { namespace, .. } => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, program]);
                command
            }
            Self::Agent { .. } => Command::new(program),
        }
    }

    pub(super) fn started(&mut self, agent: &Child) {
        if let Self::Agent { pid } = self {
            *pid = Some(agent.id());
        }
    }

    fn cut(&self, cut: Cut) {
        match self {
            Self::Devices { .. } => ip(&self.way(cut, "add", "down")).unwrap(),
            Self::Agent { pid } => signal("STOP", pid.unwrap()),
        }
    }

    fn heal(&self, cut: Cut) {
        match self {
            Self::Devices { .. } => ip(&self.way(cut, "del", "up")).unwrap(),
            Self::Agent { pid } => signal("CONT", pid.unwrap()),
        }
    }

    /// One way is cut by a route into nowhere at the end that sends.
    fn way(&self, cut: Cut, route: &str, link: &str) -> String {
        let Self::Devices {
            namespace,
            device,
            here,
            there,
        } = self
        else {
            unreachable!("only devices have ways");
        };
        match cut {
            Cut::Whole => format!("link set {device} {link}"),
            Cut::ToAgent => format!("route {route} blackhole {there}/32"),
            Cut::ToServer => format!("-n {namespace} route {route} blackhole {here}/32"),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Self::Devices { namespace, .. } = self {
            // The devices go with it.
            let _none = ip(&format!("netns del {namespace}"));
        }
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    output.status.success().then_some(()).ok_or(said)
}

#[test]
fn a_line_that_is_cut_for_long_ends_the_job_before_it_runs_elsewhere() {
    check_long_cut(Line::lay(1), Cut::Whole);
}

#[test]
fn an_agent_that_hears_no_orders_stops_though_its_reports_arrive() {
    check_long_cut(Line::lay(3), Cut::ToAgent);
}

#[test]
fn an_agent_whose_reports_are_lost_stops_though_orders_arrive() {
    check_long_cut(Line::lay(4), Cut::ToServer);
}

#[test]
fn an_agent_that_is_halted_for_long_is_no_better_than_one_that_is_cut_off() {
    check_long_cut(Line::Agent { pid: None }, Cut::Whole);
}

#[track_caller]
fn check_long_cut(line: Line, cut: Cut) {
    let province = Province::over_a_line(line, "dli", &["dli", "kmg"], &SETTINGS);
    let script = "mark begin; test \"$LANCANG_ATTEMPT\" != 1 || while true; do wait_a_little; done";
    // The site at the far end of the line is the first where it may run.
    let job = province.submit_anywhere("moves", script);
    assert_eq!(job.placement.unwrap().site_id, "dli");
    province.until_marked(1);
    let first = province.marks().remove(0);
    province.line().cut(cut);
    province.until_marked(2);
    // Nothing of the first attempt lives: its own clock ended it before the server gave it up.
    assert!(Mark::all_have_ended(&[first], Duration::ZERO));
    let moved = province.ended(&job.job_id);
    assert_eq!(moved.state(), JobState::Succeeded);
    let ends: Vec<AttemptEnd> = moved.attempts.iter().map(|one| one.end()).collect();
    // A report on a line without answers may still arrive.
    let is_told = matches!(cut, Cut::ToAgent) && ends[0] == AttemptEnd::SelfFenced;
    assert!(is_told || ends[0] == AttemptEnd::SiteLost, "{ends:?}");
    assert_eq!(ends[1..], [AttemptEnd::Exited]);
    province.line().heal(cut);
    until("the site is back", || {
        province.is_usable("dli").then_some(())
    });
    // What its agent says now of the first attempt changes nothing any more, and new work runs there.
    let after = province.submit("after", "dli", "mark after", |_| {});
    assert_eq!(province.ended(&after.job_id).state(), JobState::Succeeded);
    assert_eq!(province.ended(&job.job_id), moved);
    if !is_told {
        let refused = province.refused_reports("dli");
        let end_of_first = |report: &v1::RefusedReport| {
            report.job_id == job.job_id
                && report.fence == moved.attempts[0].fence
                && report.kind == "ended"
                && report.reason() == RefusedReportReason::StaleFence
        };
        assert!(refused.iter().any(end_of_first), "{refused:?}");
    }
    let marks = province.marks();
    assert_eq!(marks.len(), 3);
    Mark::assert_each_once(&marks);
}

#[test]
fn a_line_that_is_cut_for_less_than_the_lease_changes_nothing() {
    let lease = [
        ("LANCANG_SLOT_MINUTES", "5"),
        ("LANCANG_AGENTS_HEARTBEAT_SECONDS", "1"),
        ("LANCANG_AGENTS_SILENT_AFTER_SECONDS", "2"),
        ("LANCANG_AGENTS_STOP_AFTER_SECONDS", "45"),
        ("LANCANG_AGENTS_LOST_AFTER_SECONDS", "60"),
    ];
    let province = Province::over_a_line(Line::lay(2), "dli", &["dli", "kmg"], &lease);
    let script = "mark begin; until [ -e \"$WORLD.go\" ]; do wait_a_little; done";
    let job = province.submit("stays", "dli", script, |_| {});
    province.until_marked(1);
    let pid = province.marks()[0].pid;
    province.line().cut(Cut::Whole);
    province.until_state(&job.job_id, JobState::Unreachable);
    province.line().heal(Cut::Whole);
    province.until_state(&job.job_id, JobState::Running);
    assert!(lives(pid));
    province.release();
    let done = province.ended(&job.job_id);
    assert_eq!(done.state(), JobState::Succeeded);
    assert_eq!(done.attempts.len(), 1);
    assert_eq!(province.marks().len(), 1);
}

#[test]
fn a_server_that_is_halted_for_longer_than_the_lease_finds_its_jobs_stopped() {
    let province = Province::start(&["dli"]);
    let script = "mark begin; test \"$LANCANG_ATTEMPT\" != 1 || while true; do wait_a_little; done";
    let job = province.submit("again", "dli", script, |_| {});
    province.until_marked(1);
    let first = province.marks().remove(0);
    province.signal_server("STOP");
    until("its lease ends", || (!lives(first.pid)).then_some(()));
    assert_eq!(province.marks().len(), 1);
    province.signal_server("CONT");
    let done = province.ended(&job.job_id);
    assert_eq!(done.state(), JobState::Succeeded);
    assert_eq!(done.attempts.len(), 2);
    let lost = [AttemptEnd::SelfFenced, AttemptEnd::SiteLost];
    assert!(lost.contains(&done.attempts[0].end()), "{done:?}");
    let marks = province.marks();
    assert_eq!(marks.len(), 2);
    Mark::assert_each_once(&marks);
}
