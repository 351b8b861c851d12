//! Job changes as a watch tells them, read up to the present and checked for gaps and repeats.
//!
//! Each job's changes form a chain: what one leads to is what the next begins from.

use std::collections::BTreeMap;

use lancang::proto::v1::{self, watch_jobs_response::Item};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::{
    PATIENCE,
    client::{Clients, Jobs},
};

/// A watch from a revision on.
pub(super) async fn watch_after(
    clients: &Clients,
    revision: u64,
) -> Result<Streaming<v1::WatchJobsResponse>, Status> {
    let request = v1::WatchJobsRequest {
        after_revision: Some(revision),
        bookmark_interval: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..Default::default()
    };
    let answer = clients.jobs.clone().watch_jobs(request).await?;
    Ok(answer.into_inner())
}

/// All changes that a watch tells until it has reached a revision; the chain is checked.
pub(super) async fn read_until(
    watch: &mut Streaming<v1::WatchJobsResponse>,
    revision: u64,
) -> Vec<v1::JobEvent> {
    let mut events = Vec::new();
    loop {
        let next = timeout(PATIENCE, watch.message()).await;
        let item = next.expect("a watch is silent").unwrap();
        match item.and_then(|response| response.item) {
            Some(Item::Event(event)) => events.push(event),
            Some(Item::Bookmark(bookmark)) if bookmark.revision >= revision => break,
            Some(Item::Bookmark(_)) => {}
            None => panic!("a watch ended without a status"),
        }
    }
    check_chain(&events);
    events
}

/// All changes after a revision, up to the present one.
pub(super) async fn changes_after(clients: &Clients, revision: u64) -> Vec<v1::JobEvent> {
    let present = clients.info().await.revision;
    let mut watch = watch_after(clients, revision).await.unwrap();
    read_until(&mut watch, present).await
}

/// The history that the server still has leads to the jobs as they are.
pub(super) async fn check(clients: &Clients, listed: &Jobs) {
    let oldest = clients.info().await.oldest_revision;
    let events = changes_after(clients, oldest).await;
    let last = last_of_each(&events, u64::MAX);
    for job in &listed.jobs {
        match last.get(job.job_id.as_str()) {
            // The planner may have moved it since it was listed.
            Some(&told) if told.revision > listed.revision => {}
            Some(&told) => assert_eq!(told, job, "a watch tells the job as it is"),
            None => assert!(job.revision <= oldest, "no watch told of {job:?}"),
        }
    }
}

/// Each job as its last change up to a revision left it.
pub(super) fn last_of_each(events: &[v1::JobEvent], until: u64) -> BTreeMap<&str, &v1::Job> {
    let jobs = events.iter().filter(|event| event.revision <= until);
    let jobs = jobs.filter_map(|event| event.job.as_ref());
    jobs.map(|job| (job.job_id.as_str(), job)).collect()
}

#[track_caller]
fn check_chain(events: &[v1::JobEvent]) {
    for (event, next) in events.iter().zip(events.iter().skip(1)) {
        assert!(event.revision <= next.revision, "{event:?} before {next:?}");
        let is_last = event.revision < next.revision;
        assert_eq!(event.last_in_revision, is_last, "{event:?} before {next:?}");
    }
    let mut before: BTreeMap<&str, &v1::JobEvent> = BTreeMap::new();
    for event in events {
        let job = event.job.as_ref().unwrap();
        assert_eq!((job.revision, job.state), (event.revision, event.to_state));
        if let Some(before) = before.insert(&job.job_id, event) {
            assert!(
                before.revision < event.revision,
                "{job:?} changed twice at once"
            );
            assert_eq!(
                before.to_state, event.from_state,
                "{before:?} before {event:?}"
            );
            let placement = before.job.as_ref().and_then(|job| job.placement.as_ref());
            assert_eq!(placement, event.old_placement.as_ref(), "{job:?}");
        }
    }
}
