//! Daemons of Slurm, agents and servers die: no fence runs twice, none outlives its lease, and every end is told.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    thread,
    time::Duration,
};

use lancang::proto::v1::{AttemptEnd, AttemptWish, agent_event::Kind};

use super::cluster::{Cluster, give, pid_of};
use crate::agent::{
    process::{lives, shell, until},
    server::Key,
};

const A: Key = ("019a0000-0000-7000-8000-00000000000a", 1);
const B: Key = ("019a0000-0000-7000-8000-00000000000b", 1);

/// Leaves a mark for each time it begins, and ends when the test says so.
const COUNTED: &str =
    "echo once >> side; echo $$ > pid; until [ -e go ]; do sleep 0.05; done; exit 5";

#[test]
fn while_slurm_cannot_be_asked_what_runs_goes_on_and_what_comes_waits() {
    let cluster = Cluster::start(1, "");
    let mut site = cluster.site(&[]);
    site.start_agent();
    site.server.offer(A, shell(COUNTED));
    site.server.started(A);
    cluster.kill_daemon("ctld");
    site.server.offer(B, shell(COUNTED));
    until("the agent says it", || {
        site.log().contains("Slurm cannot be asked").then_some(())
    });
    // The result is there, whatever Slurm knows.
    fs::write(site.work(A, "go"), "").unwrap();
    let ended = site.server.ended(A);
    assert_eq!((ended.end(), ended.exit_code), (AttemptEnd::Exited, 5));
    let is_end = |kind: &Kind| matches!(kind, Kind::Started(_) | Kind::Ended(_));
    assert!(!site.server.state().kinds(B).iter().any(is_end));

    cluster.start_daemon("ctld");
    site.server.started(B);
    fs::write(site.work(B, "go"), "").unwrap();
    assert_eq!(site.server.ended(B).exit_code, 5);
    assert_eq!(site.read(B, "work/side"), "once\n");
}

#[test]
fn a_slurmrestd_of_another_version_is_named_and_what_comes_waits_for_one_that_is_spoken() {
    let cluster = Cluster::start(1, "");
    let mut site = cluster.site(&[]);
    site.start_agent();
    site.server.offer(A, shell(COUNTED));
    site.server.started(A);
    cluster.kill_daemon("rest");
    let socket = cluster.socket();
    fs::remove_file(&socket).unwrap();
    let newer = UnixListener::bind(&socket).unwrap();
    give(&socket);
    // Whatever it is asked for, it does not have.
    let answering = thread::spawn(move || {
        for stream in newer.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4_096];
            let n_bytes = stream.read(&mut request).unwrap_or_default();
            if request[..n_bytes] == *b"END" {
                break;
            }
            let answer =
                b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            let _gone = stream.write_all(answer);
        }
    });
    site.server.offer(B, shell(COUNTED));
    until("the agent says what it speaks", || {
        let says = "slurmrestd speaks none of v0.0.38, v0.0.37, v0.0.36";
        site.log().contains(says).then_some(())
    });
    let is_end = |kind: &Kind| matches!(kind, Kind::Started(_) | Kind::Ended(_));
    assert!(!site.server.state().kinds(B).iter().any(is_end));
    UnixStream::connect(&socket)
        .unwrap()
        .write_all(b"END")
        .unwrap();
    answering.join().unwrap();

    cluster.start_daemon("rest");
    site.server.started(B);
    for key in [A, B] {
        fs::write(site.work(key, "go"), "").unwrap();
        assert_eq!(site.server.ended(key).exit_code, 5);
        assert_eq!(site.read(key, "work/side"), "once\n");
    }
}

#[test]
fn a_job_that_slurm_runs_again_finds_its_fence_taken() {
    let cluster = Cluster::start(1, "");
    let mut site = cluster.site(&[]);
    site.start_agent();
    site.server.offer(A, shell(COUNTED));
    let id = site.server.started(A).to_string();
    let pid = pid_of(&site, A);
    // What the agent never asks for, and an operator may do.
    cluster.client("scontrol", &["update", &format!("JobId={id}"), "Requeue=1"]);
    cluster.client("scontrol", &["requeue", &id]);
    until("it waits again", || {
        let shown = cluster.client("scontrol", &["show", "job", &id]);
        (shown.contains("Restarts=1") && shown.contains("JobState=PENDING")).then_some(())
    });
    let now = format!("JobId={id}");
    cluster.client("scontrol", &["update", &now, "StartTime=now"]);
    let ended = site.server.ended(A);
    assert_eq!(ended.end(), AttemptEnd::EngineLost, "{ended:?}");
    assert_eq!(site.read(A, "work/side"), "once\n");
    assert!(!lives(pid));
}

#[test]
fn without_agent_and_server_a_job_still_ends_with_its_lease() {
    let cluster = Cluster::start(1, "");
    let mut site = cluster.site(&[]);
    site.server
        .change(|state| state.stop_after = Duration::from_secs(4));
    site.start_agent();
    site.server.offer(A, shell(COUNTED));
    let pid = pid_of(&site, A);
    site.kill_agent();
    site.server.change(|state| state.is_silent = true);
    until("it ends", || (!lives(pid)).then_some(()));
    until("its result is there", || {
        site.read(A, "result.json")
            .contains("self_fenced")
            .then_some(())
    });
    site.server.change(|state| state.is_silent = false);
    site.start_agent();
    assert_eq!(site.server.ended(A).end(), AttemptEnd::SelfFenced);
}

#[test]
fn a_node_that_slurm_lost_is_no_end_while_the_program_runs() {
    let cluster = Cluster::start(1, "");
    let mut site = cluster.site(&[]);
    site.start_agent();
    site.server.offer(A, shell(COUNTED));
    let id = site.server.started(A).to_string();
    cluster.kill_daemon("n1");
    until("Slurm has given the node up", || {
        let shown = cluster.client("scontrol", &["show", "job", &id]);
        shown.contains("JobState=NODE_FAIL").then_some(())
    });
    site.server.more_reports(20);
    let pid = pid_of(&site, A);
    assert!(lives(pid));
    let is_end = |kind: &Kind| matches!(kind, Kind::Ended(_));
    assert!(!site.server.state().kinds(A).iter().any(is_end));
    // The agent still reaches it.
    site.server.wish(A, AttemptWish::Stop, None);
    assert_eq!(site.server.ended(A).end(), AttemptEnd::Stopped);
    assert!(!lives(pid));
    assert_eq!(site.read(A, "work/side"), "once\n");
}

#[test]
fn on_another_machine_a_program_runs_by_the_lease_and_stops_with_its_grace() {
    let cluster = Cluster::start_elsewhere(1, "");
    let mut site = cluster.site(&[]);
    site.server
        .change(|state| state.stop_after = Duration::from_secs(6));
    site.start_agent();
    let script = "trap 'echo bye > bye; exit 0' TERM; echo $$ > pid; while :; do sleep 0.05; done";
    site.server.offer(A, shell(script));
    site.server.started(A);
    pid_of(&site, A);
    let status = site.read(A, "status.json");
    let own = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(!status.is_empty());
    assert_eq!(
        !status.contains(own.trim()),
        cluster.is_elsewhere(),
        "{status}"
    );
    site.server
        .wish(A, AttemptWish::Stop, Some(Duration::from_secs(20)));
    assert_eq!(site.server.ended(A).end(), AttemptEnd::Stopped);
    assert_eq!(site.read(A, "work/bye"), "bye\n");

    // Nobody renews the lease any more.
    site.server.offer(B, shell(COUNTED));
    let pid = pid_of(&site, B);
    site.kill_agent();
    until("it ends", || (!lives(pid)).then_some(()));
    until("its result is there", || {
        site.read(B, "result.json")
            .contains("self_fenced")
            .then_some(())
    });
}
