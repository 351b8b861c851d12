//! `lancang job watch`: every change as it happens, without gaps, over broken connections.
//!
//! Nothing is shown twice.

use jiff::SignedDuration;

use crate::{
    cli::{
        client::{ClientArgs, Session},
        failure::Failure,
        time::{self, duration_to_proto},
        watch::{Cursor, Seen, ended, follow_on},
    },
    proto::v1::{self, watch_jobs_response::Item},
};

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

impl WatchArgs {
    /// The request that goes on from a cursor.
    fn request(&self, cursor: &Cursor) -> v1::WatchJobsRequest {
        v1::WatchJobsRequest {
            filter: self.filter.clone(),
            after_revision: cursor.complete,
            initial_jobs: cursor.initial,
            bookmark_interval: self.bookmark_interval.map(duration_to_proto),
        }
    }
}

/// Watches until interrupted.
pub(super) async fn run(client: &ClientArgs, args: WatchArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let mut left = args.max_events;
    let cursor = Cursor::new(args.after, args.initial);
    follow_on(cursor, async |cursor| {
        follow(&mut session, &args, cursor, &mut left).await
    })
    .await
}

/// Shows changes until the connection breaks, or until enough were shown.
async fn follow(
    session: &mut Session,
    args: &WatchArgs,
    cursor: &mut Cursor,
    left: &mut Option<u64>,
) -> Result<(), Failure> {
    let request = args.request(cursor);
    let mut answers = session.jobs().watch_jobs(request).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        let Some(item) = &answer.item else { continue };
        if !cursor.accept(seen(item)) {
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
    Err(ended())
}

fn seen(item: &Item) -> Seen<'_> {
    match item {
        Item::Bookmark(bookmark) => Seen::Bookmark(bookmark.revision),
        Item::Event(event) => Seen::Event {
            revision: event.revision,
            id: event.job.as_ref().map_or("", |job| &job.job_id),
            last_in_revision: event.last_in_revision,
        },
    }
}
