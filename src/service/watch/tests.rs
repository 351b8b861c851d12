//! Tests of watches over a history that the test makes.
//!
//! Time stands still until a test moves it.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_stream::StreamExt;
use tonic::Status;
use tonic_types::StatusExt;

use super::*;
use crate::{
    domain::{
        ids::JobId,
        job::{ChangeCause, JobState},
    },
    proto::v1::{self, watch_jobs_response::Item},
    service::{
        filter::Filter,
        testing::{self, Stage},
    },
    state::event::{Event, JobChange},
};

/// What a test says of an item: `r2 3!` is job 3 in revision 2 as its last, `b2` a bookmark.
fn told(item: Result<v1::WatchJobsResponse, Status>) -> String {
    match item.map(|response| response.item.unwrap()) {
        Ok(Item::Bookmark(v1::Bookmark { revision })) => format!("b{revision}"),
        Ok(Item::Event(event)) => {
            let id = JobId::parse(&event.job.unwrap().job_id).unwrap().0;
            let last = if event.last_in_revision { "!" } else { "" };
            format!("r{} {id}{last}", event.revision)
        }
        Err(status) => {
            let details = status.get_error_details();
            let info = details.error_info().unwrap();
            let resume = info.metadata.get("resume_revision");
            let oldest = info.metadata.get("oldest_revision");
            let present = info.metadata.get("revision");
            let at = resume.or(oldest).or(present).map_or("", String::as_str);
            format!("{:?} {} {at}", status.code(), info.reason)
        }
    }
}

fn watch(start_at: StartAt, filter: &str) -> Watch<Jobs> {
    Watch {
        subject: Jobs(Filter::parse(filter).unwrap()),
        start_at,
        bookmark_interval: Duration::from_secs(30),
        stop: CancellationToken::new(),
        permit: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
    }
}

fn start(stage: &Stage, start_at: StartAt, filter: &str) -> WatchStream<Jobs> {
    let watch = watch(start_at, filter);
    watch.start(stage.handle.subscribe()).unwrap()
}

async fn next(stream: &mut WatchStream<Jobs>, n: usize) -> Vec<String> {
    let mut items = Vec::new();
    for _ in 0..n {
        items.push(told(stream.next().await.unwrap()));
    }
    items
}

fn hold(id: u128) -> Event {
    Event::JobChanged(JobChange {
        id: JobId(id),
        spec: None,
        state: JobState::Held,
        cause: ChangeCause::Held,
        trigger: "".into(),
        note: None,
        work: None,
    })
}

#[tokio::test(start_paused = true)]
async fn changes_come_in_order_and_the_last_of_a_revision_is_marked() {
    let mut stage = Stage::new();
    let mut stream = start(&stage, StartAt::Now, "");
    stage.submit([testing::job(1, "a"), testing::job(2, "b")]);
    stage.commit(vec![hold(2)]);
    let expected = ["r1 1", "r1 2!", "r2 2!", "b2"];
    assert_eq!(next(&mut stream, 4).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_resumes_sends_each_later_change_once_and_then_a_bookmark() {
    let mut stage = Stage::new();
    for id in 1..=5 {
        stage.submit([testing::job(id, "a")]);
    }
    let mut stream = start(&stage, StartAt::After(Revision(3)), "");
    assert_eq!(next(&mut stream, 3).await, ["r4 4!", "r5 5!", "b5"]);
    stage.submit([testing::job(6, "a")]);
    assert_eq!(next(&mut stream, 1).await, ["r6 6!"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_can_begin_with_all_matching_jobs() {
    let mut stage = Stage::new();
    stage.submit([testing::job(1, "a"), testing::job(2, "b")]);
    stage.submit([testing::job(3, "a")]);
    let mut stream = start(&stage, StartAt::Initial, "name = a");
    assert_eq!(next(&mut stream, 3).await, ["r1 1", "r2 3", "b2"]);
    stage.submit([testing::job(4, "a")]);
    assert_eq!(next(&mut stream, 1).await, ["r3 4!"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_matched_before_its_change_is_told_of() {
    let mut stage = Stage::new();
    stage.submit([testing::job(1, "a"), testing::job(2, "b")]);
    let mut stream = start(&stage, StartAt::Now, "state = QUEUED");
    stage.commit(vec![hold(1), hold(2)]);
    // A second change: neither before nor after it do they match.
    stage.commit(vec![hold(1), hold(2)]);
    stage.submit([testing::job(3, "a")]);
    assert_eq!(next(&mut stream, 3).await, ["r2 1", "r2 2!", "r4 3!"]);
}

#[tokio::test(start_paused = true)]
async fn forgotten_jobs_are_not_told_of_but_the_bookmark_passes_them() {
    let mut stage = Stage::new();
    stage.submit([testing::job(1, "a")]);
    let mut stream = start(&stage, StartAt::Now, "");
    stage.commit(vec![Event::JobForgotten(JobId(1))]);
    assert_eq!(next(&mut stream, 1).await, ["b2"]);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_at_their_interval_while_nothing_matches() {
    let stage = Stage::new();
    let mut stream = start(&stage, StartAt::Now, "name = nothing");
    let begun = Instant::now();
    assert_eq!(next(&mut stream, 3).await, ["b0", "b0", "b0"]);
    assert_eq!(begun.elapsed(), Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_has_not_been_is_refused_with_the_present_one() {
    let mut stage = Stage::new();
    stage.submit([testing::job(1, "a")]);
    let refused = watch(StartAt::After(Revision(2)), "").start(stage.handle.subscribe());
    let told = told(Err(refused.unwrap_err().into()));
    assert_eq!(told, "OutOfRange REVISION_UNKNOWN 1");
    let mut stream = start(&stage, StartAt::After(Revision(1)), "");
    assert_eq!(next(&mut stream, 1).await, ["b1"]);
}

#[tokio::test(start_paused = true)]
async fn the_bookmark_after_the_initial_jobs_comes_before_any_change() {
    let mut stage = Stage::new();
    stage.submit([testing::job(1, "a")]);
    let mut stream = start(&stage, StartAt::Initial, "");
    // The watcher does not run before this.
    stage.submit([testing::job(2, "a")]);
    assert_eq!(next(&mut stream, 3).await, ["r1 1", "b1", "r2 2!"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_cut_among_its_initial_jobs_cannot_be_resumed() {
    for stops in [false, true] {
        let mut stage = Stage::new();
        let n = limits::STREAM_BUFFER_MAX;
        // With all jobs in the buffer there is no room for their bookmark.
        stage.submit((1..=n).map(|id| testing::job(u128::try_from(id).unwrap(), "a")));
        let watch = watch(StartAt::Initial, "");
        let stop = watch.stop.clone();
        let mut stream = watch.start(stage.handle.subscribe()).unwrap();
        let stall = limits::STREAM_STALL_SECONDS_MAX;
        let (seconds, expected) = if stops {
            (stall - 1, "Unavailable SHUTTING_DOWN ")
        } else {
            (stall + 1, "Aborted SLOW_CONSUMER ")
        };
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        stop.cancel();
        tokio::task::yield_now().await;
        let items = next(&mut stream, n + 1).await;
        assert_eq!(items[n - 1], format!("r1 {n}"));
        assert_eq!(items[n], expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_cut_after_its_initial_bookmark_resumes_there() {
    let mut stage = Stage::new();
    stage.submit([testing::job(1, "a")]);
    let watch = watch(StartAt::Initial, "");
    let stop = watch.stop.clone();
    let mut stream = watch.start(stage.handle.subscribe()).unwrap();
    assert_eq!(next(&mut stream, 2).await, ["r1 1", "b1"]);
    stop.cancel();
    assert_eq!(next(&mut stream, 1).await, ["Unavailable SHUTTING_DOWN 1"]);
}

#[tokio::test]
async fn a_compacted_revision_is_refused_with_the_oldest_one() {
    let mut stage = Stage::new();
    for id in 1..=4 {
        stage.submit([testing::job(id, "a")]);
    }
    stage.compact(2);
    let refused = watch(StartAt::After(Revision(1)), "").start(stage.handle.subscribe());
    let told = told(Err(refused.unwrap_err().into()));
    assert_eq!(told, "OutOfRange REVISION_COMPACTED 2");
    let mut stream = start(&stage, StartAt::After(Revision(2)), "");
    assert_eq!(next(&mut stream, 3).await, ["r3 3!", "r4 4!", "b4"]);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_whose_place_is_compacted_is_cut_with_a_revision() {
    let mut stage = Stage::new();
    let mut stream = start(&stage, StartAt::Now, "");
    assert_eq!(next(&mut stream, 1).await, ["b0"]);
    // The watcher does not run between these.
    stage.submit([testing::job(1, "a")]);
    stage.submit([testing::job(2, "a")]);
    stage.compact(2);
    assert_eq!(next(&mut stream, 1).await, ["Aborted SLOW_CONSUMER 0"]);
    assert!(stream.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_and_can_resume_without_a_gap() {
    let mut stage = Stage::new();
    let mut stream = start(&stage, StartAt::Now, "");
    let n = u128::try_from(limits::STREAM_BUFFER_MAX).unwrap();
    for id in 1..=n + 10 {
        stage.submit([testing::job(id, "a")]);
    }
    tokio::time::sleep(Duration::from_secs(limits::STREAM_STALL_SECONDS_MAX + 1)).await;
    let items = next(&mut stream, limits::STREAM_BUFFER_MAX + 1).await;
    let (end, events) = items.split_last().unwrap();
    assert_eq!(events.last().unwrap(), &format!("r{n} {n}!"));
    assert_eq!(end, &format!("Aborted SLOW_CONSUMER {n}"));
}

#[tokio::test(start_paused = true)]
async fn a_stopping_server_says_where_to_resume() {
    let mut stage = Stage::new();
    stage.submit([testing::job(1, "a")]);
    let watch = watch(StartAt::Now, "");
    let stop = watch.stop.clone();
    let mut stream = watch.start(stage.handle.subscribe()).unwrap();
    assert_eq!(next(&mut stream, 1).await, ["b1"]);
    stop.cancel();
    assert_eq!(next(&mut stream, 1).await, ["Unavailable SHUTTING_DOWN 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_the_writer_is_gone() {
    let stage = Stage::new();
    let mut stream = start(&stage, StartAt::Now, "");
    assert_eq!(next(&mut stream, 1).await, ["b0"]);
    drop(stage);
    assert_eq!(next(&mut stream, 1).await, ["Unavailable SHUTTING_DOWN 0"]);
}

#[tokio::test]
async fn a_watch_that_is_dropped_gives_its_place_back() {
    let stage = Stage::new();
    let places = Arc::new(Semaphore::new(1));
    let watch = Watch {
        permit: places.clone().try_acquire_owned().unwrap(),
        ..watch(StartAt::Now, "")
    };
    let mut stream = watch.start(stage.handle.subscribe()).unwrap();
    assert_eq!(next(&mut stream, 1).await, ["b0"]);
    drop(stream);
    let place = places.acquire().await;
    assert!(place.is_ok());
}
