//! Input is there before Slurm is asked for a node, output goes out after Slurm has taken it back, whatever dies meanwhile.

use std::{fs, time::Duration};

use lancang::proto::v1::{AttemptEnd, AttemptWish, FailureClass, JobState, agent_event::Kind};

use super::cluster::{Cluster, give};
use crate::{
    agent::{
        process::{Site, lives, signal, until},
        server::Key,
        staging::{Area, has_begun, staged, transfers},
    },
    work::province::Province,
};

const A: Key = ("019a0000-0000-7000-8000-00000000000a", 1);
const B: Key = ("019a0000-0000-7000-8000-00000000000b", 1);

/// Says who copies for whom and waits until the test lets it go on; then it copies.
const HELD: &str =
    "echo $PPID $$ >> TOOLS/said; until [ -e TOOLS/go ]; do sleep 0.05; done; cp \"$1\" \"$2\"";

fn area(files: &[(&str, &str)]) -> Area {
    let area = Area::new();
    for (name, text) in files {
        area.write(name, text);
    }
    area
}

/// A site of a Slurm whose agent copies as these flags say.
fn site(cluster: &Cluster, area: &Area, flags: &[String]) -> Site {
    for dir in [&area.root, &area.tools] {
        give(dir.path());
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut site = cluster.site(&flags);
    site.start_agent();
    site
}

/// What copies for the n-th time: the process of the agent's, and the command of the site's.
fn copier(area: &Area, n: usize) -> [u32; 2] {
    until("something copies", || {
        let said = area.tool_said();
        let words = said.lines().nth(n)?.split(' ');
        let pids: Vec<u32> = words.filter_map(|word| word.parse().ok()).collect();
        pids.try_into().ok()
    })
}

fn queue(cluster: &Cluster) -> String {
    cluster.client("squeue", &["-h"])
}

#[test]
fn directories_come_in_and_go_out() {
    let cluster = Cluster::start(1, "");
    let area = area(&[("data", "42"), ("tree/a", "1"), ("tree/b/c d", "2")]);
    let site = site(&cluster, &area, &area.by_rsync());
    let script = "cat data near/a 'near/b/c d' > result; mkdir -p out/deep; cp data out/deep/x";
    let inputs = [("data", "data"), ("tree", "near")];
    let outputs = [("result", "results/of/1"), ("out", "results/out")];
    site.server.offer(A, staged(script, &inputs, &outputs));
    let ended = site.server.ended(A);
    assert_eq!(
        (ended.end(), ended.exit_code),
        (AttemptEnd::Exited, 0),
        "{ended:?}"
    );
    assert_eq!(area.read("results/of/1"), "4212");
    assert_eq!(area.read("results/out/deep/x"), "42");
    let kinds = site.server.state().kinds(A);
    assert!(
        matches!(
            kinds[..],
            [Kind::Accepted(_), Kind::Started(_), Kind::Ended(_)]
        ),
        "{kinds:?}"
    );
    // What failed by itself has no output, and what is missing fails what had succeeded.
    for (attempt, script, end) in [
        (2, "exit 3", AttemptEnd::Exited),
        (3, "true", AttemptEnd::StageFailed),
    ] {
        let key = (A.0, attempt);
        site.server.change(|state| state.orders.clear());
        site.server
            .offer(key, staged(script, &[], &[("none", "got")]));
        let ended = site.server.ended(key);
        assert_eq!(ended.end(), end, "{ended:?}");
        assert!(has_begun(&site, key));
        assert!(!area.path("got").exists());
    }
}

#[test]
fn no_node_waits_for_what_is_copied() {
    let cluster = Cluster::start(1, "");
    let area = area(&[("data", "42")]);
    // Only what goes out waits.
    let script = "case $2 in */out) ;; *) exec cp \"$1\" \"$2\" ;; esac; ";
    let mut site = site(
        &cluster,
        &area,
        &area.by_script(&(script.to_owned() + HELD)),
    );
    let script = "echo once >> side; cp data out";
    let offer = staged(script, &[("data", "data")], &[("out", "out")]);
    site.server.offer_as(A, offer, AttemptWish::Suspend);
    until("the input is there", || {
        site.work(A, "data").exists().then_some(())
    });
    site.server.more_reports(5);
    // Not even another agent asks Slurm for it before its time, nor does it copy again.
    site.kill_agent();
    fs::remove_file(area.path("data")).unwrap();
    site.start_agent();
    site.server.more_reports(5);
    assert!(!has_begun(&site, A));
    assert_eq!(queue(&cluster), "");
    site.server.wish(A, AttemptWish::Run, None);

    // Slurm has its node back while the output goes out, and who copies needs no agent.
    let [copier, command] = copier(&area, 0);
    until("the node is free", || {
        queue(&cluster).is_empty().then_some(())
    });
    site.server.started(A);
    site.kill_agent();
    site.start_agent();
    site.server.more_reports(5);
    let is_end = |kind: &Kind| matches!(kind, Kind::Ended(_));
    assert!(!site.server.state().kinds(A).iter().any(is_end));
    assert!(lives(copier) && lives(command));
    fs::write(area.tools.path().join("go"), "").unwrap();
    let ended = site.server.ended(A);
    assert_eq!((ended.end(), ended.exit_code), (AttemptEnd::Exited, 0));
    assert_eq!(area.read("out"), "42");
    assert_eq!(site.read(A, "work/side"), "once\n");
    assert_eq!(area.tool_said().lines().count(), 1);
}

#[test]
fn what_copies_may_die_and_a_stop_reaches_it() {
    let cluster = Cluster::start(1, "");
    let area = area(&[("data", "42")]);
    let mut site = site(&cluster, &area, &area.by_script(HELD));
    let offer = || staged("echo once >> side; cat data", &[("data", "data")], &[]);
    site.server.offer(A, offer());
    let [first, first_command] = copier(&area, 0);
    // With both gone the next agent begins the copy again, and nothing of the first writes beside it.
    site.kill_agent();
    signal("KILL", first);
    site.start_agent();
    let [_, command] = copier(&area, 1);
    assert!(!lives(first_command) && lives(command));
    assert!(!has_begun(&site, A));
    site.server.wish(A, AttemptWish::Stop, None);
    assert_eq!(site.server.ended(A).end(), AttemptEnd::Stopped);
    assert!(!lives(command));

    // One that dies while its agent lives fails the attempt, as a copy that fails does.
    site.server.offer(B, offer());
    let [copier_of_b, command] = copier(&area, 2);
    signal("KILL", copier_of_b);
    let ended = site.server.ended(B);
    assert_eq!(ended.end(), AttemptEnd::StageFailed, "{ended:?}");
    assert!(!lives(command));
    assert!(!has_begun(&site, B));

    fs::write(area.tools.path().join("go"), "").unwrap();
    let again = (B.0, 2);
    site.server.change(|state| state.orders.clear());
    site.server.offer(again, offer());
    assert_eq!(site.server.ended(again).exit_code, 0);
    assert_eq!(site.read(again, "stdout.log"), "42");
    assert_eq!(site.read(again, "work/side"), "once\n");
    assert_eq!(queue(&cluster), "");
}

#[test]
fn nothing_is_copied_without_a_lease() {
    let cluster = Cluster::start(1, "");
    let area = area(&[("data", "42")]);
    let mut site = site(&cluster, &area, &area.by_script(HELD));
    site.server
        .change(|state| state.stop_after = Duration::from_secs(8));
    let inputs = [("data", "data")];
    site.server.offer(A, staged("true", &inputs, &[]));
    site.server
        .offer(B, staged("cp /etc/hostname out", &[], &[("out", "out")]));
    let copying = [copier(&area, 0), copier(&area, 1)].concat();
    site.server.started(B);
    // Neither agent nor server: the lease ends what comes in and what goes out.
    site.kill_agent();
    site.server.change(|state| state.is_silent = true);
    until("who copies ends", || {
        let any = copying.iter().any(|&pid| lives(pid));
        (!any).then_some(())
    });
    site.server.change(|state| state.is_silent = false);
    site.start_agent();
    for key in [A, B] {
        assert_eq!(site.server.ended(key).end(), AttemptEnd::SelfFenced);
    }
    assert!(!has_begun(&site, A));
    assert!(!area.path("out").exists());
}

#[test]
fn a_job_without_its_input_is_tried_again_as_it_asked_and_fails_by_name() {
    let cluster = Cluster::start(1, "");
    let area = area(&[("data", "42")]);
    for dir in [&area.root, &area.tools] {
        give(dir.path());
    }
    let mut launch = cluster.launch();
    launch.flags.extend(area.by_rsync());
    let province = Province::start_with(vec![("dli", launch)]);
    let submit = |key: &str, source: &str| {
        let job = province.submit(key, "dli", "mark done; cp data out", |execution| {
            execution.inputs = transfers(&[(source, "data")]);
            execution.outputs = transfers(&[("out", key)]);
            let retry = execution.retry.get_or_insert_default();
            retry.max_attempts = 2;
            retry.backoff = Some(prost_types::Duration::default());
            retry.retry_on = vec![FailureClass::Stage.into()];
        });
        job.job_id
    };
    let (lacks, has) = (submit("lacks", "none"), submit("has", "data"));
    let job = province.ended(&has);
    assert_eq!(job.state(), JobState::Succeeded, "{job:?}");
    assert_eq!(area.read("has"), "42");
    let job = province.ended(&lacks);
    assert_eq!(job.state(), JobState::Failed, "{job:?}");
    let ends: Vec<AttemptEnd> = job.attempts.iter().map(|attempt| attempt.end()).collect();
    assert_eq!(ends, [AttemptEnd::StageFailed; 2], "{job:?}");
    assert_eq!(province.marks().len(), 1);
}
