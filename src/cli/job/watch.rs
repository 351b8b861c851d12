//! `lancang job watch`: every change as it happens, without gaps, over broken connections.
//!
//! A [`Cursor`] knows what was shown; after a break the watch resumes there and nothing is shown twice.

use std::{collections::BTreeSet, time::Duration};

use jiff::SignedDuration;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    cli::{
        client::{ClientArgs, Session},
        failure::Failure,
        output::talk,
        time::{self, duration_to_proto},
    },
    proto::v1::{self, watch_jobs_response::Item},
};

/// Wait after the first break; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(250);
/// Longest wait between attempts.
const RETRY_MAX: Duration = Duration::from_secs(10);

pub(super) const EXAMPLES: &str = "\
Examples:
  lancang job watch                              changes from now on
  lancang job watch --initial                    first all jobs as they are
  lancang job watch --after 1200 --filter 'site_id = \"dli-dali\"'
  lancang job watch -o json | jq -c 'select(.event.cause == \"CHANGE_CAUSE_FORECAST\")'";

/// Flags of `job watch`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct WatchArgs {
    /// Only changes of jobs that match before or after.
    #[arg(long, value_name = "FILTER", default_value = "")]
    filter: String,
    /// Begin after this revision; without it, now.
    #[arg(long, value_name = "REVISION", conflicts_with = "initial")]
    after: Option<u64>,
    /// First show every matching job as it is.
    #[arg(long)]
    initial: bool,
    /// Longest silence of the server, 1 s to 1 h.
    #[arg(long, value_name = "DURATION", value_parser = time::parse_length)]
    bookmark_interval: Option<SignedDuration>,
    /// Stop after so many changes.
    #[arg(long, value_name = "COUNT")]
    max_events: Option<u64>,
}

/// What has been shown of a watch, and so from where it goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Cursor {
    /// Everything up to here was shown.
    complete: Option<u64>,
    /// Jobs shown of the revision that is under way.
    partial: Option<(u64, BTreeSet<String>)>,
    /// The initial jobs are not all there yet.
    initial: bool,
}

impl Cursor {
    fn new(args: &WatchArgs) -> Self {
        Self {
            complete: args.after,
            partial: None,
            initial: args.initial,
        }
    }

    /// The request that goes on from here.
    fn request(&self, args: &WatchArgs) -> v1::WatchJobsRequest {
        v1::WatchJobsRequest {
            filter: args.filter.clone(),
            after_revision: self.complete,
            initial_jobs: self.initial,
            bookmark_interval: args.bookmark_interval.map(duration_to_proto),
        }
    }

    /// Takes note of an answer; false when it was shown before the connection broke.
    fn accept(&mut self, item: &Item) -> bool {
        match item {
            Item::Bookmark(bookmark) => {
                self.initial = false;
                self.complete = Some(bookmark.revision);
                self.partial = None;
                true
            }
            // Initial jobs carry the revisions of their last changes, in no order that could be resumed.
            Item::Event(_) if self.initial => true,
            Item::Event(event) => self.accept_change(event),
        }
    }

    fn accept_change(&mut self, event: &v1::JobEvent) -> bool {
        let job_id = event
            .job
            .as_ref()
            .map(|job| job.job_id.clone())
            .unwrap_or_default();
        let (revision, shown) = self
            .partial
            .get_or_insert_with(|| (event.revision, BTreeSet::new()));
        if *revision != event.revision {
            *revision = event.revision;
            shown.clear();
        }
        let is_new = shown.insert(job_id);
        if event.last_in_revision {
            self.complete = Some(event.revision);
            self.partial = None;
        }
        is_new
    }
}

/// Watches until interrupted.
pub(super) async fn run(client: &ClientArgs, args: WatchArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let mut cursor = Cursor::new(&args);
    let mut left = args.max_events;
    let mut wait = RETRY_MIN;
    loop {
        let before = cursor.clone();
        let broken = match follow(&mut session, &args, &mut cursor, &mut left).await {
            Ok(()) => return Ok(()),
            Err(Failure::Status(status)) if can_resume(&status) => status,
            Err(failure) => return Err(failure),
        };
        if before != cursor {
            wait = RETRY_MIN;
        }
        talk(&format!(
            "connection lost ({}); resuming after revision {} in {} ms",
            broken.message(),
            cursor
                .complete
                .map_or_else(|| "now".to_owned(), |revision| revision.to_string()),
            wait.as_millis()
        ));
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// Shows changes until the connection breaks, or until enough were shown.
async fn follow(
    session: &mut Session,
    args: &WatchArgs,
    cursor: &mut Cursor,
    left: &mut Option<u64>,
) -> Result<(), Failure> {
    let mut answers = session
        .jobs()
        .watch_jobs(cursor.request(args))
        .await?
        .into_inner();
    while let Some(answer) = answers.message().await? {
        let Some(item) = &answer.item else { continue };
        if !cursor.accept(item) {
            continue;
        }
        session.show(&answer)?;
        if let (Some(left), Item::Event(_)) = (left.as_mut(), item) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Ok(());
            }
        }
    }
    Err(Status::unavailable("the server ended the stream").into())
}

/// Whether the same watch may be tried again: breaks of the connection, a restart, a reader that was too slow.
fn can_resume(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        // Broken transports surface as these in the middle of a stream.
        Code::Unknown | Code::Internal | Code::Cancelled => {
            status.get_error_details().error_info().is_none()
        }
        Code::Aborted => status
            .get_error_details()
            .error_info()
            .is_some_and(|info| info.reason == "SLOW_CONSUMER"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn event(revision: u64, job: &str, last: bool) -> Item {
        Item::Event(v1::JobEvent {
            revision,
            last_in_revision: last,
            job: Some(v1::Job {
                job_id: job.to_owned(),
                ..v1::Job::default()
            }),
            ..v1::JobEvent::default()
        })
    }

    fn bookmark(revision: u64) -> Item {
        Item::Bookmark(v1::Bookmark { revision })
    }

    #[test]
    fn a_watch_resumes_after_the_last_whole_revision_and_repeats_nothing() {
        let mut cursor = Cursor::default();
        assert!(cursor.accept(&event(7, "a", true)));
        assert!(cursor.accept(&event(8, "a", false)));
        assert!(cursor.accept(&event(8, "b", false)));
        assert_eq!(cursor.complete, Some(7), "revision 8 is not whole");
        // The connection breaks; the server sends revision 8 again from its start.
        assert!(!cursor.accept(&event(8, "a", false)));
        assert!(!cursor.accept(&event(8, "b", false)));
        assert!(cursor.accept(&event(8, "c", true)));
        assert_eq!(cursor.complete, Some(8));
        assert!(
            cursor.accept(&event(9, "a", true)),
            "the same job may change again"
        );
    }

    #[test]
    fn bookmarks_move_the_cursor() {
        let mut cursor = Cursor::default();
        assert!(cursor.accept(&bookmark(12)));
        assert_eq!(cursor.complete, Some(12));
    }

    #[test]
    fn initial_jobs_begin_anew_until_their_bookmark() {
        let mut cursor = Cursor {
            initial: true,
            ..Cursor::default()
        };
        assert!(cursor.accept(&event(9, "a", false)));
        assert!(cursor.initial && cursor.complete.is_none());
        assert!(cursor.accept(&bookmark(20)));
        assert!(!cursor.initial);
        assert_eq!(cursor.complete, Some(20));
    }

    #[test]
    fn only_breaks_are_resumed() {
        let slow = Status::with_error_details(
            Code::Aborted,
            "cut",
            ErrorDetails::with_error_info("SLOW_CONSUMER", "lancang.v1", []),
        );
        assert!(can_resume(&slow));
        assert!(can_resume(&Status::unavailable("restart")));
        assert!(!can_resume(&Status::out_of_range("compacted")));
        assert!(!can_resume(&Status::invalid_argument("filter")));
        let ours = Status::with_error_details(
            Code::Internal,
            "defect",
            ErrorDetails::with_error_info("INTERNAL", "lancang.v1", []),
        );
        assert!(!can_resume(&ours));
    }
}
