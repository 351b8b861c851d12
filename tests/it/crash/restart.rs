//! What a restart must not change, and how watches go on after it.
//!
//! Everything that can be read is compared: from records alone, and from a snapshot with the records after it.

use std::{collections::BTreeSet, path::Path};

use lancang::proto::v1::{self, ChangeCause, JobState};
use tonic::Code;

use super::{
    client::{Clients, detail, reason},
    client_runtime, history,
    ledger::{Change, Verb},
    world::{SMALL_SITE, at_small_site, begin, named},
};
use crate::support::{process::ServerProcess, samples::slot_start};

mod contents;

/// Turns of the writer without a change after which nothing more is due: under load it lets 32 go before it plans anew.
const QUIET_TURNS: usize = 40;

/// Turns of the writer within which it becomes quiet, or a snapshot is written.
const TURNS_MAX: usize = 500;

/// More jobs than records between two snapshots at the lowest setting.
const MANY_JOBS: usize = 110;

/// A server that writes snapshots as often as it may.
fn start_with_snapshots(data_dir: &Path) -> ServerProcess {
    let mut command = ServerProcess::command(data_dir);
    command.env("LANCANG_SNAPSHOT_EVERY_RECORDS", "100");
    ServerProcess::launch(command).unwrap()
}

/// Submits jobs, each in a record of its own.
async fn submit_many(
    clients: &Clients,
    base: &v1::JobSpec,
    prefix: &str,
    hold: bool,
    n_jobs: usize,
) -> Vec<v1::Job> {
    let items = (0..n_jobs).map(|i| v1::SubmitJobRequest {
        idempotency_key: format!("{prefix}{i}"),
        spec: Some(named(base, &format!("{prefix}{i}"))),
        hold,
        ..Default::default()
    });
    let request = v1::SubmitJobsRequest {
        items: items.collect(),
        all_or_nothing: false,
    };
    let answer = clients.jobs.clone().submit_jobs(request).await.unwrap();
    let items = answer.into_inner().items.into_iter();
    let accepted = items.map(|item| match item.outcome {
        Some(v1::submit_jobs_item::Outcome::Accepted(accepted)) => accepted.job.unwrap(),
        other => panic!("refused: {other:?}"),
    });
    accepted.collect()
}

async fn change(clients: &Clients, job: &v1::Job, verb: Verb) -> v1::Job {
    let change = Change {
        verb,
        request_id: format!("{verb:?}-{}", job.job_id),
        note: format!("{verb:?} for a test"),
    };
    change.send(clients, &job.job_id).await.unwrap()
}

/// Waits until the writer has planned all that was due.
async fn wait_until_quiet(clients: &Clients) {
    let (mut revision, mut n_quiet) = (0, 0);
    for _ in 0..TURNS_MAX {
        // A turn of the writer.
        clients.verify().await;
        let present = clients.info().await.revision;
        n_quiet = if present == revision { n_quiet + 1 } else { 0 };
        revision = present;
        if n_quiet == QUIET_TURNS {
            return;
        }
    }
    panic!("the writer never rests");
}

/// Waits until a snapshot is durable; each check is a turn in which a slice of it is written.
async fn wait_for_snapshot(clients: &Clients) -> u64 {
    for _ in 0..TURNS_MAX {
        let revision = clients.verify().await.snapshot_revision;
        if revision > 0 {
            return revision;
        }
    }
    panic!("no snapshot was written");
}

/// Jobs of every state that there is; the last two become so by the planner.
async fn submit_every_state(clients: &Clients, base: &v1::JobSpec) {
    submit_many(clients, base, "planned", false, 10).await;
    submit_many(clients, base, "held", true, 2).await;
    for job in submit_many(clients, base, "cancelled", false, 2).await {
        change(clients, &job, Verb::Cancel).await;
    }
    for job in submit_many(clients, base, "released", true, 2).await {
        change(clients, &job, Verb::Release).await;
    }
    let mut green = base.clone();
    green.green.as_mut().unwrap().min_share_permille = 900;
    submit_many(clients, &green, "green", false, 2).await;
    let mut pieces = base.clone();
    let hour = |hours: i64| prost_types::Duration {
        seconds: hours * 3_600,
        nanos: 0,
    };
    pieces.timing.as_mut().unwrap().runtime = Some(hour(4));
    let kind = v1::flexibility::Kind::Interruptible(v1::Interruptible {
        min_chunk: Some(hour(1)),
        resume_cost: Some(hour(0)),
    });
    pieces.flexibility = Some(v1::Flexibility { kind: Some(kind) });
    submit_many(clients, &pieces, "pieces", false, 2).await;
    submit_many(clients, &at_small_site(base.clone()), "queued", false, 3).await;
    let cordon = v1::CordonSiteRequest {
        site_id: SMALL_SITE.to_owned(),
        reason: "maintenance".to_owned(),
        ..Default::default()
    };
    submit_late(clients, base).await;
    clients.sites.clone().cordon_site(cordon).await.unwrap();
}

/// A held job whose deadline is moved into the past: it expires when the planner looks at it next.
async fn submit_late(clients: &Clients, base: &v1::JobSpec) {
    let job = submit_many(clients, base, "expired", true, 1)
        .await
        .remove(0);
    let mut spec = v1::JobSpec::default();
    let passed = jiff::Timestamp::now().as_second() - 3_600;
    spec.timing = Some(v1::Timing {
        finish_deadline: Some(prost_types::Timestamp {
            seconds: passed,
            nanos: 0,
        }),
        ..Default::default()
    });
    let update = v1::UpdateJobRequest {
        job_id: job.job_id.clone(),
        spec: Some(spec),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["timing.finish_deadline".to_owned()],
        }),
        ..Default::default()
    };
    clients.jobs.clone().update_job(update).await.unwrap();
}

#[test]
fn a_restart_changes_nothing_that_can_be_read() {
    let runtime = client_runtime();
    // Explanations and quotes begin with the present slot: again when it has changed meanwhile.
    let is_compared = (0..3).any(|_| runtime.block_on(compare_restarts()));
    assert!(is_compared, "three slots began within a few seconds");
}

/// Fills a store and restarts it in every way; false when another slot began meanwhile.
async fn compare_restarts() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let slot = slot_start(0);
    let mut server = ServerProcess::start(folder.path());
    let (clients, base) = begin(&server).await;
    contents::put_series(&clients).await;
    submit_every_state(&clients, &base).await;
    let before = contents::read(&clients, &base).await;
    let states: BTreeSet<JobState> = before.jobs.jobs.iter().map(v1::Job::state).collect();
    assert_eq!(states.len(), 5, "jobs of every state: {states:?}");
    server.terminate();
    let mut server = ServerProcess::start(folder.path());
    let stopped = contents::read(&Clients::connect(&server).await, &base).await;
    server.kill();
    let mut server = start_with_snapshots(folder.path());
    let clients = Clients::connect(&server).await;
    let killed = contents::read(&clients, &base).await;
    submit_many(&clients, &base, "more", true, MANY_JOBS).await;
    let snapshot = wait_for_snapshot(&clients).await;
    submit_many(&clients, &base, "after-snapshot", false, 10).await;
    let before_snapshot = contents::read(&clients, &base).await;
    server.kill();
    let server = ServerProcess::start(folder.path());
    let clients = Clients::connect(&server).await;
    let from_snapshot = contents::read(&clients, &base).await;
    if slot != slot_start(0) {
        return false;
    }
    contents::check_equal(&stopped, &before, "after a stop");
    contents::check_equal(&killed, &before, "after a kill");
    contents::check_equal(&from_snapshot, &before_snapshot, "from a snapshot");
    let report = clients.verify().await;
    assert!(report.snapshot_revision >= snapshot && report.journal_records > 0);
    true
}

#[test]
fn a_watch_goes_on_after_a_restart_without_a_gap_or_a_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = client_runtime();
    let mut server = ServerProcess::start(folder.path());
    let (seen, expected) = runtime.block_on(async {
        let (clients, base) = begin(&server).await;
        submit_many(&clients, &base, "seen", false, 5).await;
        let seen = history::changes_after(&clients, 0).await;
        let unseen = submit_many(&clients, &base, "unseen", false, 5).await;
        let held = change(&clients, &unseen[0], Verb::Hold).await;
        let mut expected = revisions(&unseen);
        expected.extend(revisions(&[held]));
        (seen.last().unwrap().revision, expected)
    });
    server.kill();
    let server = ServerProcess::start(folder.path());
    runtime.block_on(async {
        let clients = Clients::connect(&server).await;
        let base = clients.all_jobs().await.jobs[0].spec.clone().unwrap();
        let later = submit_many(&clients, &base, "later", false, 5).await;
        let cancelled = change(&clients, &later[0], Verb::Cancel).await;
        let mut expected = expected;
        expected.extend(revisions(&later));
        expected.extend(revisions(&[cancelled]));
        assert_eq!(
            asked_for(&history::changes_after(&clients, seen).await),
            expected
        );
    });
}

#[test]
fn a_watch_from_a_compacted_revision_is_told_where_it_can_begin() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = client_runtime();
    let mut server = start_with_snapshots(folder.path());
    let snapshot = runtime.block_on(async {
        let (clients, base) = begin(&server).await;
        submit_many(&clients, &base, "before", true, MANY_JOBS).await;
        let snapshot = wait_for_snapshot(&clients).await;
        // Memory still has all.
        assert!(!history::changes_after(&clients, 0).await.is_empty());
        snapshot
    });
    server.kill();
    let server = ServerProcess::start(folder.path());
    runtime.block_on(async {
        let clients = Clients::connect(&server).await;
        let refused = history::watch_after(&clients, snapshot - 1)
            .await
            .unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::OutOfRange, "REVISION_COMPACTED")
        );
        let oldest = detail(&refused, "oldest_revision");
        assert_eq!(oldest, clients.info().await.oldest_revision);
        let base = clients.all_jobs().await.jobs[0].spec.clone().unwrap();
        let after = submit_many(&clients, &base, "after", true, 3).await;
        let events = asked_for(&history::changes_after(&clients, oldest).await);
        assert!(events.ends_with(&revisions(&after)), "{events:?}");
        assert!(events.iter().all(|&(revision, _)| revision > oldest));
    });
}

fn revisions(jobs: &[v1::Job]) -> Vec<(u64, String)> {
    jobs.iter()
        .map(|job| (job.revision, job.job_id.clone()))
        .collect()
}

/// The changes that a client asked for; the planner may add its own when a slot begins.
fn asked_for(events: &[v1::JobEvent]) -> Vec<(u64, String)> {
    let asked_for = events.iter().filter(|event| {
        let causes = [
            ChangeCause::Submitted,
            ChangeCause::Held,
            ChangeCause::Cancelled,
        ];
        causes.contains(&event.cause())
    });
    let jobs = asked_for.map(|event| (event.revision, event.job.clone().unwrap().job_id));
    jobs.collect()
}
