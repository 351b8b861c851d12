//! `lancang site drain` and `lancang site watch`: empties a site and shows what is left.
//!
//! A drain that is watched ends with the site: empty, or open again.

use jiff::SignedDuration;

use crate::{
    cli::{
        client::{ClientArgs, Session},
        failure::Failure,
        time::{self, When, duration_to_proto},
        watch::{Cursor, Seen, ended, follow_on},
        words,
    },
    proto::v1::{self, watch_sites_response::Item},
};

pub(super) const DRAIN_EXAMPLES: &str = "\
Examples:
  lancang site drain dli-dali --mode finish                      what runs goes on to its end
  lancang site drain dli-dali --mode checkpoint --deadline 2h --watch
  lancang site uncordon dli-dali                                 ends it";

pub(super) const WATCH_EXAMPLES: &str = "\
Examples:
  lancang site watch                          changes of all sites from now on
  lancang site watch dli-dali --initial       first the site as it is";

/// Flags of `site drain`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct DrainArgs {
    /// Id of the site.
    #[arg(value_name = "SITE")]
    site: String,
    /// What becomes of jobs that have begun; what has not begun moves away.
    #[arg(long, value_name = "MODE", value_parser = words::drain_mode())]
    mode: v1::DrainMode,
    /// When everything that is still there is stopped and planned anew; without it, never.
    #[arg(long, value_name = "TIME")]
    deadline: Option<When>,
    /// Why; shown in explanations.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Show what is left until nothing is.
    #[arg(long)]
    watch: bool,
}

/// Flags of `site watch`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct WatchArgs {
    /// Only this site.
    #[arg(value_name = "SITE", default_value = "")]
    site: String,
    /// Begin after this revision; without it, now.
    #[arg(long, value_name = "REVISION", conflicts_with = "initial")]
    after: Option<u64>,
    /// First show every site as it is.
    #[arg(long)]
    initial: bool,
    /// Longest silence of the server, 1 s to 1 h.
    #[arg(long, value_name = "DURATION", value_parser = time::parse_length)]
    bookmark_interval: Option<SignedDuration>,
    /// Stop after so many changes.
    #[arg(long, value_name = "COUNT")]
    max_events: Option<u64>,
}

/// Drains a site.
pub(super) async fn drain(client: &ClientArgs, args: DrainArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let deadline = args
        .deadline
        .map(|when| when.resolve(session.now, &session.view))
        .transpose()
        .map_err(Failure::Usage)?;
    let request = v1::DrainSiteRequest {
        site_id: args.site.clone(),
        reason: args.reason,
        mode: args.mode.into(),
        deadline,
        request_id: String::new(),
    };
    let answer = session.sites().drain_site(request).await?.into_inner();
    if !args.watch {
        return session.show(&answer.site.unwrap_or_default());
    }
    let watch = WatchArgs {
        site: args.site,
        after: None,
        initial: true,
        bookmark_interval: None,
        max_events: None,
    };
    follow_while(&mut session, &watch, |event| {
        let drain = event.site.as_ref().and_then(|site| site.drain.as_ref());
        drain.is_some_and(|drain| drain.state() != v1::DrainState::Drained)
    })
    .await
}

/// Watches until interrupted, or until enough was shown.
pub(super) async fn watch(client: &ClientArgs, args: WatchArgs) -> Result<(), Failure> {
    let mut session = client.connect().await?;
    let mut left = args.max_events;
    follow_while(&mut session, &args, |_| {
        left = left.map(|left| left.saturating_sub(1));
        left != Some(0)
    })
    .await
}

/// Shows changes as long as `goes_on` says so.
async fn follow_while(
    session: &mut Session,
    args: &WatchArgs,
    mut goes_on: impl FnMut(&v1::SiteEvent) -> bool,
) -> Result<(), Failure> {
    let cursor = Cursor::new(args.after, args.initial);
    follow_on(cursor, async |cursor| {
        let request = v1::WatchSitesRequest {
            site_id: args.site.clone(),
            after_revision: cursor.complete,
            initial_sites: cursor.initial,
            bookmark_interval: args.bookmark_interval.map(duration_to_proto),
        };
        let mut answers = session.sites().watch_sites(request).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            let Some(item) = &answer.item else { continue };
            if !cursor.accept(seen(item)) {
                continue;
            }
            session.show(&answer)?;
            if let Item::Event(event) = item
                && !goes_on(event)
            {
                return Ok(());
            }
        }
        Err(ended())
    })
    .await
}

fn seen(item: &Item) -> Seen<'_> {
    match item {
        Item::Bookmark(bookmark) => Seen::Bookmark(bookmark.revision),
        Item::Event(event) => Seen::Event {
            revision: event.revision,
            id: event.site.as_ref().map_or("", |site| &site.site_id),
            last_in_revision: event.last_in_revision,
        },
    }
}
