//! Programs run, end, pause and are stopped as ordered, as they do without Slurm.

use std::{fs, time::Duration};

use lancang::proto::v1::{AttemptEnd, AttemptWish, TaskResources, agent_event::Kind};

use super::cluster::{Cluster, own_dir, pid_of, text};
use crate::agent::{
    injection,
    process::{Site, lives, program, shell, until},
    server::Key,
    units::{READS, until_said},
};

const A: Key = ("019a0000-0000-7000-8000-00000000000a", 1);
const B: Key = ("019a0000-0000-7000-8000-00000000000b", 1);
const C: Key = ("019a0000-0000-7000-8000-00000000000c", 1);
const D: Key = ("019a0000-0000-7000-8000-00000000000d", 1);

/// Says who it is and runs until the test makes a file in its directory.
const WAITS: &str = "echo $$ > pid; until [ -e go ]; do sleep 0.05; done; exit 5";

#[test]
fn programs_run_and_their_ends_come_back() {
    let cluster = Cluster::start(1, "");
    let mut site = cluster.site(&[]);
    site.start_agent();
    site.server
        .offer(A, shell("echo out; echo err >&2; pwd; exit 7"));
    site.server.offer(B, shell("kill -SEGV $$"));
    site.server.offer(C, program(&["no-such-program"]));
    site.server.offer(D, program(&["env"]));

    let ended = site.server.ended(A);
    assert_eq!(ended.end(), AttemptEnd::Exited, "{ended:?}");
    assert_eq!((ended.exit_code, ended.signal), (7, 0));
    let work = text(&site.work(A, ""));
    let work = work.trim_end_matches('/');
    assert_eq!(site.read(A, "stdout.log"), format!("out\n{work}\n"));
    assert_eq!(site.read(A, "stderr.log"), "err\n");
    let kinds = site.server.state().kinds(A);
    assert!(
        matches!(
            kinds[..],
            [Kind::Accepted(_), Kind::Started(_), Kind::Ended(_)]
        ),
        "{kinds:?}"
    );
    let ended = site.server.ended(B);
    assert_eq!((ended.end(), ended.signal), (AttemptEnd::Signalled, 11));
    let ended = site.server.ended(C);
    assert_eq!(ended.end(), AttemptEnd::StartFailed);
    assert!(ended.message.contains("no-such-program"), "{ended:?}");

    // What the job says, what every program gets, and what `srun` goes by: nothing of the agent's or of root's.
    site.server.ended(D);
    let printed = site.read(D, "stdout.log");
    let name = |line: &str| line.split('=').next().unwrap().to_owned();
    let names: Vec<String> = printed.lines().map(name).collect();
    assert!(names.contains(&"SLURM_JOB_ID".to_owned()), "{printed}");
    for name in names {
        let is_known = ["PATH", "LANG", "HOME", "TMPDIR"].contains(&&*name);
        let is_ours = name == "LANCANG_PROGRAM";
        assert!(
            is_known || name.starts_with("SLURM") || name.starts_with("LANCANG_") && !is_ours,
            "{name}"
        );
    }
}

#[test]
fn resources_are_asked_for_and_stops_reach_whatever_waits_or_runs() {
    let cluster = Cluster::start(1, "GresTypes=gpu");
    let mut site = cluster.site(&["--slurm-partition", "green"]);
    site.start_agent();
    let mut wide = shell(WAITS);
    wide.task_count = 2;
    wide.task_resources = Some(TaskResources {
        cpu_cores: 8,
        memory_mib: 800,
        ..Default::default()
    });
    site.server.offer(A, wide.clone());
    let id = site.server.started(A).to_string();
    let shown = cluster.client("scontrol", &["show", "job", &id]);
    for part in [
        "Requeue=0",
        "NumCPUs=16",
        "NumTasks=2",
        "CPUs/Task=8",
        "MinMemoryCPU=100M",
        "TimeLimit=00:12:00",
        "Partition=green",
        "JobName=lancang-019a0000-0000-7000-8000-00000000000a.1.1",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }

    // The next one has no room: it waits, and is stopped before it has begun.
    site.server.offer(B, wide);
    let waiting = ["-h", "-t", "PENDING", "-o", "%i"];
    until("it waits", || {
        (!cluster.client("squeue", &waiting).is_empty()).then_some(())
    });
    site.server.wish(B, AttemptWish::Stop, None);
    let ended = site.server.ended(B);
    assert_eq!(ended.end(), AttemptEnd::Stopped);
    assert!(ended.message.contains("never begun"), "{ended:?}");
    until("it leaves the queue", || {
        cluster.client("squeue", &waiting).is_empty().then_some(())
    });
    assert!(!site.work(B, "pid").exists());

    // One that runs gets its grace from its shim.
    let pid = pid_of(&site, A);
    site.server.wish(A, AttemptWish::Stop, None);
    assert_eq!(site.server.ended(A).end(), AttemptEnd::Stopped);
    assert!(!lives(pid));

    // And one that somebody cancels in Slurm is lost, with nothing of it left.
    site.server.offer(C, shell(WAITS));
    let id = site.server.started(C).to_string();
    let pid = pid_of(&site, C);
    cluster.client("scancel", &[&id]);
    let ended = site.server.ended(C);
    assert_eq!(ended.end(), AttemptEnd::EngineLost, "{ended:?}");
    assert!(!lives(pid));
}

#[test]
fn what_slurm_refuses_fails_and_time_and_memory_are_bounded() {
    let cluster = Cluster::start(1, "");
    let mut site = cluster.site(&["--slurm-licence", "no-such=1"]);
    site.start_agent();
    site.server.offer(A, program(&["true"]));
    let ended = site.server.ended(A);
    assert_eq!(ended.end(), AttemptEnd::StartFailed);
    assert!(ended.message.contains("license"), "{ended:?}");
    drop(site);

    let mut site = cluster.site(&["--slurm-pause-minutes", "5"]);
    site.start_agent();
    // Slurm takes what no node of the partition can ever hold.
    let mut wide = program(&["true"]);
    wide.task_count = 17;
    site.server.offer(D, wide);
    let ended = site.server.ended(D);
    assert_eq!(ended.end(), AttemptEnd::StartFailed, "{ended:?}");
    until("it leaves the queue", || {
        cluster.client("squeue", &["-h"]).is_empty().then_some(())
    });
    let mut endless = shell("while :; do :; done");
    endless.max_run_time = Some(prost_types::Duration {
        seconds: 1,
        nanos: 0,
    });
    site.server.offer(B, endless);
    let mut greedy = program(&["tail", "/dev/zero"]);
    greedy.task_resources = Some(TaskResources {
        cpu_cores: 1,
        memory_mib: 64,
        ..Default::default()
    });
    site.server.offer(C, greedy);
    assert_eq!(site.server.ended(B).end(), AttemptEnd::TimedOut);
    // Where Slurm does not bound it, the program sees a bound of its own.
    let ended = site.server.ended(C);
    let is_refused = ended.end() == AttemptEnd::Exited && ended.exit_code != 0;
    assert!(
        ended.end() == AttemptEnd::OutOfMemory || is_refused,
        "{ended:?}"
    );
}

#[test]
fn gpus_are_given_to_one_job_each_and_a_slurm_that_lacks_them_is_a_clear_end() {
    let with_gpus = |script: &str, gpus| {
        let mut offer = shell(script);
        offer.task_resources.as_mut().unwrap().gpus = gpus;
        offer
    };
    let refused = |site: &Site, key: Key, gpus| {
        site.server.offer(key, with_gpus("true", gpus));
        let ended = site.server.ended(key);
        assert_eq!(ended.end(), AttemptEnd::StartFailed, "{ended:?}");
        let says = format!("GPUs: {gpus} for each task");
        assert!(ended.message.contains(&says), "{ended:?}");
    };
    let cluster = Cluster::start_with_gpus(1, 2);
    let mut site = cluster.site(&[]);
    site.start_agent();
    let script = format!("echo $CUDA_VISIBLE_DEVICES > gpu; {WAITS}");
    let keys = [A, B];
    let given = keys.map(|key| {
        site.server.offer(key, with_gpus(&script, 1));
        site.server.started(key);
        until("it says which", || {
            let gpu = site.read(key, "work/gpu");
            gpu.ends_with('\n').then(|| gpu.trim().to_owned())
        })
    });
    let mut given = given.to_vec();
    given.sort();
    assert_eq!(given, ["0", "1"]);
    refused(&site, C, 3);
    for key in keys {
        fs::write(site.work(key, "go"), "").unwrap();
        assert_eq!(site.server.ended(key).exit_code, 5);
    }

    // Of what the one has never heard, the other has none.
    for conf in ["", "GresTypes=gpu"] {
        let cluster = Cluster::start(1, conf);
        let mut site = cluster.site(&[]);
        site.start_agent();
        refused(&site, D, 1);
        until("it leaves the queue", || {
            cluster.client("squeue", &["-h"]).is_empty().then_some(())
        });
    }
}

#[test]
fn nothing_of_a_job_is_a_command_for_slurm() {
    let cluster = Cluster::start(1, "");
    for corpus in [
        injection::arrive_as_they_are,
        injection::are_no_command_lines,
    ] {
        let mut site = cluster.site(&[]);
        site.start_agent();
        corpus(&site);
    }
}

#[test]
fn the_power_cap_holds_as_licences() {
    let cluster = Cluster::start(1, "Licenses=watt:1000");
    let mut site = cluster.site(&["--slurm-licence", "watt=1"]);
    let world = site.root.path().join("world");
    own_dir(&world);
    site.start_agent();
    // Two of them would take more than there is.
    let script =
        "mkdir \"$WORLD/runs\" || touch \"$WORLD/overlap\"; sleep 0.3; rmdir \"$WORLD/runs\"";
    let mut offer = shell(script);
    offer.it_power_watts = 600;
    let execution = offer.execution.as_mut().unwrap();
    execution
        .environment
        .insert("WORLD".to_owned(), text(&world));
    let keys = [A, B, C, D];
    for key in keys {
        site.server.offer(key, offer.clone());
    }
    for key in keys {
        let ended = site.server.ended(key);
        assert_eq!((ended.end(), ended.exit_code), (AttemptEnd::Exited, 0));
    }
    assert_eq!(fs::read_dir(&world).unwrap().count(), 0);
}

#[test]
fn a_malleable_program_reads_its_units_and_has_room_for_the_most() {
    let cluster = Cluster::start(1, "");
    let mut site = cluster.site(&[]);
    site.start_agent();
    let reads = READS.replace("echo 9", "false");
    site.server.offer_units(A, shell(&reads), 2);
    let id = site.server.started(A).to_string();
    until_said(&site, A, "begins with 2\nhas 2\n");
    let shown = cluster.client("scontrol", &["show", "job", &id]);
    assert!(shown.contains("NumTasks=3"), "{shown}");
    for units in [3, 1] {
        site.server.units(A, units);
        until("it reads it", || {
            let said = site.read(A, "stdout.log");
            said.ends_with(&format!("has {units}\n")).then_some(())
        });
    }
    fs::write(site.work(A, "go"), "").unwrap();
    assert_eq!(site.server.ended(A).end(), AttemptEnd::Exited);
}

#[test]
fn a_paused_program_does_not_move_until_it_goes_on() {
    let cluster = Cluster::start(1, "");
    let mut site = cluster.site(&[]);
    site.start_agent();
    site.server
        .offer(A, shell("while :; do echo x >> count; done"));
    site.server.started(A);
    let count = || fs::metadata(site.work(A, "count")).map_or(0, |meta| meta.len());
    until("it moves", || (count() > 0).then_some(()));
    site.server.wish(A, AttemptWish::Suspend, None);
    site.server.event(A, "suspended", |kind| {
        matches!(kind, Kind::Suspended(_)).then_some(())
    });
    let before = count();
    site.server.more_reports(8);
    assert_eq!(count(), before, "it ran while paused");
    site.server.wish(A, AttemptWish::Run, None);
    until("it moves again", || (count() > before).then_some(()));
    site.server
        .wish(A, AttemptWish::Stop, Some(Duration::from_millis(200)));
    assert_eq!(site.server.ended(A).end(), AttemptEnd::Stopped);
}
