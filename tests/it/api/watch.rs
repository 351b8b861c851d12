//! Watches: ordered, unique, reliable, atomic, resumable, bookmarked, true to their filter; and what they cannot do.

use std::collections::BTreeMap;

use lancang::proto::v1::{self, watch_jobs_response::Item};
use proptest::{collection::vec, prelude::*};
use tokio_stream::StreamExt;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use super::{
    client::{assert_refused, metadata},
    history::{Draw, History, Step, config, run, steps},
    world::{at, job, seconds, site, submission},
};
use crate::support::in_memory::{TestServer, options};

type Stream = Streaming<v1::WatchJobsResponse>;

/// The name of the job that ends what a live watcher is to see.
const LAST: &str = "the-last";

fn after(revision: u64) -> v1::WatchJobsRequest {
    v1::WatchJobsRequest {
        after_revision: Some(revision),
        ..v1::WatchJobsRequest::default()
    }
}

async fn watch(server: &TestServer, request: v1::WatchJobsRequest) -> Result<Stream, Status> {
    Ok(server.jobs().watch_jobs(request).await?.into_inner())
}

/// Everything up to the first bookmark at or after a revision, that one included.
async fn items_until(stream: &mut Stream, revision: u64) -> Vec<Item> {
    let mut items = Vec::new();
    while let Some(message) = stream.next().await {
        let item = message.unwrap().item.unwrap();
        let is_end = matches!(&item, Item::Bookmark(mark) if revision <= mark.revision);
        items.push(item);
        if is_end {
            break;
        }
    }
    items
}

fn events_of(items: Vec<Item>) -> Vec<v1::JobEvent> {
    let events = items.into_iter().filter_map(|item| match item {
        Item::Event(event) => Some(event),
        Item::Bookmark(_) => None,
    });
    events.collect()
}

fn job_of(event: &v1::JobEvent) -> &v1::Job {
    event.job.as_ref().unwrap()
}

/// A watcher that is there all the time, and comes back where it was when the server restarts.
struct Follower {
    stream: Stream,
    events: Vec<v1::JobEvent>,
}

impl Follower {
    async fn new(server: &TestServer) -> Self {
        Self {
            stream: watch(server, after(0)).await.unwrap(),
            events: Vec::new(),
        }
    }

    /// Reads on to the end of the old server's stream and resumes it at the new one.
    async fn follow_restart(&mut self, server: &TestServer) {
        let end = loop {
            match self.stream.next().await.unwrap() {
                Ok(message) => self.take(message),
                Err(status) => break status,
            }
        };
        let end = assert_refused(Err::<(), _>(end), Code::Unavailable, "SHUTTING_DOWN");
        let resume: u64 = metadata(&end, "resume_revision").unwrap().parse().unwrap();
        // What it had of a revision that was not sent to its end comes again as a whole.
        self.events.retain(|event| event.revision <= resume);
        assert!(
            self.events
                .last()
                .is_none_or(|event| event.last_in_revision)
        );
        self.stream = watch(server, after(resume)).await.unwrap();
    }

    async fn read_to_last(mut self) -> Vec<v1::JobEvent> {
        while self.events.last().is_none_or(|event| {
            let spec = job_of(event).spec.as_ref().unwrap();
            spec.name != LAST
        }) {
            let message = self.stream.next().await.unwrap();
            self.take(message.unwrap());
        }
        self.events
    }

    fn take(&mut self, message: v1::WatchJobsResponse) {
        if let Some(Item::Event(event)) = message.item {
            self.events.push(event);
        }
    }
}

/// Ordered, unique, without a gap, and each revision whole: every change of a job starts where the one before ended.
fn assert_complete(events: &[v1::JobEvent], listed: &[v1::Job]) {
    let mut now: BTreeMap<String, v1::Job> = BTreeMap::new();
    let mut last = (0, true);
    let mut in_revision = Vec::new();
    for event in events {
        let job = job_of(event);
        let (revision, was_last) = last;
        if was_last {
            assert!(revision < event.revision, "{event:?}");
            in_revision.clear();
        } else {
            assert_eq!(revision, event.revision, "a revision is sent whole");
        }
        assert!(!in_revision.contains(&job.job_id), "once a revision");
        in_revision.push(job.job_id.clone());
        last = (event.revision, event.last_in_revision);
        assert_eq!(job.revision, event.revision);
        assert_eq!(
            (event.to_state(), event.cause()),
            (job.state(), job.cause())
        );
        assert_eq!(event.record_time, job.update_time);
        match now.insert(job.job_id.clone(), job.clone()) {
            None => {
                assert_eq!(event.from_state(), v1::JobState::Unspecified);
                assert_eq!(event.old_placement, None);
                assert_eq!(job.create_revision, event.revision);
            }
            Some(before) => {
                assert_eq!(event.from_state(), before.state());
                assert_eq!(event.old_placement, before.placement);
            }
        }
    }
    assert!(last.1, "the last revision is whole");
    let listed = listed.iter().map(|job| (job.job_id.clone(), job.clone()));
    assert_eq!(now, listed.collect::<BTreeMap<_, _>>());
}

/// Bookmarks say what was sent: all before one is not newer, all after it is.
fn assert_bookmarked(items: &[Item]) {
    let mut reached = 0;
    for item in items {
        match item {
            Item::Event(event) => assert!(reached < event.revision),
            Item::Bookmark(mark) => {
                assert!(reached <= mark.revision);
                reached = mark.revision;
            }
        }
    }
    let newest = items.iter().filter_map(|item| match item {
        Item::Event(event) => Some(event.revision),
        Item::Bookmark(_) => None,
    });
    assert!(newest.max().unwrap_or(0) <= reached, "a bookmark ends it");
}

type Matches = fn(&v1::Job) -> bool;

fn is_at(job: &v1::Job, site_id: &str) -> bool {
    let placement = job.placement.as_ref();
    placement.is_some_and(|placement| placement.site_id == site_id)
}

fn team(job: &v1::Job) -> &str {
    &job.spec.as_ref().unwrap().labels["team"]
}

const FILTERS: [(&str, Matches); 4] = [
    ("state = PLANNED", |job| {
        job.state() == v1::JobState::Planned
    }),
    ("site_id = a", |job| is_at(job, "a")),
    ("labels.team = film AND NOT site_id = b", |job| {
        team(job) == "film" && !is_at(job, "b")
    }),
    ("replan_count > 0 OR cause = CANCELLED", |job| {
        job.replan_count > 0 || job.cause() == v1::ChangeCause::Cancelled
    }),
];

/// The changes of jobs that match before or after, and which is the last of its revision.
fn filtered(events: &[v1::JobEvent], matches: Matches) -> Vec<v1::JobEvent> {
    let mut before: BTreeMap<String, v1::Job> = BTreeMap::new();
    let mut kept: Vec<v1::JobEvent> = Vec::new();
    for event in events {
        let job = job_of(event);
        let old = before.insert(job.job_id.clone(), job.clone());
        if matches(job) || old.is_some_and(|old| matches(&old)) {
            kept.push(event.clone());
        }
    }
    for i in 0..kept.len() {
        let next = kept.get(i + 1).map(|event| event.revision);
        kept[i].last_in_revision = next != Some(kept[i].revision);
    }
    kept
}

proptest! {
    #![proptest_config(config(4))]

    #[test]
    fn watches_tell_every_change_once_and_in_order(
        steps in vec(steps(), 30..60),
        midway in 0..30_usize,
    ) {
        run(async {
            let mut history = History::new().await;
            let mut follower = Follower::new(&history.server).await;
            history.carry_out(&Step::Submit(Draw::easy())).await;
            let mut midway_jobs = Vec::new();
            let mut midway_revision = 0;
            for (i, step) in steps.iter().enumerate() {
                history.carry_out(step).await;
                if matches!(step, Step::Restart) {
                    follower.follow_restart(&history.server).await;
                }
                if i == midway {
                    (midway_jobs, midway_revision) = initial_jobs(&history.server).await;
                }
            }
            // Whatever became of the others, this one takes any job.
            history.server.create_sites(vec![site("d")]).await;
            let mut spec = Draw::easy().spec(0);
            spec.name = LAST.into();
            history.server.submit(LAST, spec).await;
            check_watches(&history.server, follower).await;
            check_resumed(&history.server, midway_jobs, midway_revision).await;
        });
    }
}

async fn check_watches(server: &TestServer, follower: Follower) {
    let newest = server.revision().await;
    let mut stream = watch(server, after(0)).await.unwrap();
    let items = items_until(&mut stream, newest).await;
    assert_bookmarked(&items);
    let all = events_of(items);
    assert_complete(&all, &server.list("", "").await);
    assert_eq!(follower.read_to_last().await, all);
    for revision in 0..=newest {
        let later = all.iter().filter(|event| revision < event.revision);
        let later: Vec<_> = later.cloned().collect();
        assert_eq!(
            server.changes_after(revision).await,
            later,
            "after {revision}"
        );
    }
    for (filter, matches) in FILTERS {
        let request = v1::WatchJobsRequest {
            filter: filter.into(),
            ..after(0)
        };
        let told = server.watched(request).await;
        assert_eq!(told, filtered(&all, matches), "{filter}");
        let now = server.list(filter, "").await;
        let all_now = server.list("", "").await;
        assert_eq!(now, all_now.into_iter().filter(matches).collect::<Vec<_>>());
    }
}

/// The jobs that a watch begins with, and the revision that it shows them at.
async fn initial_jobs(server: &TestServer) -> (Vec<v1::Job>, u64) {
    let request = v1::WatchJobsRequest {
        initial_jobs: true,
        ..v1::WatchJobsRequest::default()
    };
    let mut stream = watch(server, request).await.unwrap();
    let mut items = items_until(&mut stream, 0).await;
    let Some(Item::Bookmark(mark)) = items.pop() else {
        panic!("a bookmark follows the initial jobs: {items:?}")
    };
    let jobs = events_of(items).into_iter().map(|event| {
        assert_eq!(event.from_state(), v1::JobState::Unspecified);
        assert!(!event.last_in_revision);
        event.job.unwrap()
    });
    (jobs.collect(), mark.revision)
}

/// What a watch began with and what changed since is what there is now.
async fn check_resumed(server: &TestServer, jobs: Vec<v1::Job>, revision: u64) {
    let jobs = jobs.into_iter().map(|job| (job.job_id.clone(), job));
    let mut jobs: BTreeMap<String, v1::Job> = jobs.collect();
    for event in server.changes_after(revision).await {
        let job = event.job.unwrap();
        jobs.insert(job.job_id.clone(), job);
    }
    let listed = server.list("", "").await.into_iter();
    let listed = listed.map(|job| (job.job_id.clone(), job));
    assert_eq!(jobs, listed.collect::<BTreeMap<_, _>>());
}

#[tokio::test]
async fn a_watch_from_the_future_is_refused_with_the_present_revision() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let now = server.revision().await;
    let refused = watch(&server, after(now + 1)).await;
    let status = assert_refused(refused, Code::OutOfRange, "REVISION_UNKNOWN");
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.metadata["revision"], now.to_string());
    let mut stream = watch(&server, after(now)).await.unwrap();
    server.submit("one", job()).await;
    let first = loop {
        if let Item::Event(event) = stream.next().await.unwrap().unwrap().item.unwrap() {
            break event;
        }
    };
    assert_eq!(first.revision, now + 1);
    assert!(first.last_in_revision);
}

#[tokio::test]
async fn a_watch_without_a_revision_sends_what_comes_from_now_on() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    server.submit("before", job()).await;
    let mut stream = watch(&server, v1::WatchJobsRequest::default())
        .await
        .unwrap();
    let job = server.submit("after", job()).await;
    let first = loop {
        if let Item::Event(event) = stream.next().await.unwrap().unwrap().item.unwrap() {
            break event;
        }
    };
    assert_eq!(first.job, Some(job));
}

#[tokio::test]
async fn bookmarks_come_while_nothing_matches() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let request = v1::WatchJobsRequest {
        filter: "name = nobody".into(),
        bookmark_interval: seconds(1),
        ..v1::WatchJobsRequest::default()
    };
    let mut stream = watch(&server, request).await.unwrap();
    let first = stream.next().await.unwrap().unwrap().item.unwrap();
    let now = server.revision().await;
    assert_eq!(first, Item::Bookmark(v1::Bookmark { revision: now }));
    server.submit("key", job()).await;
    let second = stream.next().await.unwrap().unwrap().item.unwrap();
    assert_eq!(second, Item::Bookmark(v1::Bookmark { revision: now + 1 }));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let server = TestServer::with_sites(vec![]).await;
    let both = v1::WatchJobsRequest {
        initial_jobs: true,
        ..after(0)
    };
    let often = v1::WatchJobsRequest {
        bookmark_interval: Some(prost_types::Duration {
            seconds: 0,
            nanos: 999_000_000,
        }),
        ..v1::WatchJobsRequest::default()
    };
    let unknown = v1::WatchJobsRequest {
        filter: "colour = green".into(),
        ..v1::WatchJobsRequest::default()
    };
    for request in [both, often, unknown] {
        let refused = watch(&server, request).await;
        assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
    }
}

#[tokio::test]
async fn a_compacted_revision_is_refused_with_the_oldest_one_that_works() {
    let mut often = options();
    often.snapshot_every_records = 5;
    let mut server = TestServer::with_options(often).await;
    server.create_sites(vec![site("a")]).await;
    for i in 0..12 {
        server.submit(&format!("key-{i}"), job()).await;
    }
    let all = server.changes_after(0).await;
    assert_eq!(all.len(), 12);
    // The snapshot is written between requests; what came before it is gone after a restart.
    server.settle().await;
    server.reopen().await;
    let info = server
        .admin()
        .get_server_info(v1::GetServerInfoRequest {})
        .await;
    let oldest = info.unwrap().into_inner().oldest_revision;
    assert!(0 < oldest && oldest < server.revision().await);
    for compacted in [0, oldest - 1] {
        let refused = watch(&server, after(compacted)).await;
        let status = assert_refused(refused, Code::OutOfRange, "REVISION_COMPACTED");
        assert_eq!(
            metadata(&status, "oldest_revision"),
            Some(oldest.to_string())
        );
    }
    let kept: Vec<_> = all
        .into_iter()
        .filter(|event| oldest < event.revision)
        .collect();
    assert_eq!(server.changes_after(oldest).await, kept);
    let (jobs, revision) = initial_jobs(&server).await;
    assert_eq!((jobs.len(), revision), (12, server.revision().await));
}

#[tokio::test]
async fn a_watcher_that_does_not_read_keeps_nobody_waiting() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let mut spec = job();
    spec.task_resources.as_mut().unwrap().cpu_cores = 1;
    spec.task_power_watts = 1;
    spec.timing.as_mut().unwrap().finish_deadline = Some(at(190));
    // 1 KiB of labels each: together far more than the connection and the server hold for a watcher.
    for i in 0..8 {
        spec.labels.insert(format!("label-{i}"), "x".repeat(128));
    }
    let channel = server.connect().await;
    let mut idle = v1::job_service_client::JobServiceClient::new(channel);
    let mut idle = idle.watch_jobs(after(0)).await.unwrap().into_inner();
    let mut busy = watch(&server, after(0)).await.unwrap();
    let mut read = Vec::new();
    for batch in 0..8 {
        let items = (0..500).map(|i| submission(&format!("{batch}-{i}"), spec.clone()));
        let request = v1::SubmitJobsRequest {
            items: items.collect(),
            all_or_nothing: true,
        };
        server.jobs().submit_jobs(request).await.unwrap();
        // The busy one hears of each batch before the next.
        while read.len() < (batch + 1) * 500 {
            if let Item::Event(event) = busy.next().await.unwrap().unwrap().item.unwrap() {
                read.push(event);
            }
        }
    }
    // And the idle one still gets everything once it reads.
    let mut late = Vec::new();
    while late.len() < read.len() {
        if let Item::Event(event) = idle.next().await.unwrap().unwrap().item.unwrap() {
            late.push(event);
        }
    }
    assert!(late == read, "both were told the same");
}
