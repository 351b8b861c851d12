//! Watches: each is a cursor over the history of commits, woken when there is more.
//!
//! Changes are sent in order, whole revision after whole revision, none twice and none left out; where that cannot be
//! kept the stream ends with a status that says so.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{filter::Filter, status::ServiceError, to_proto};
use crate::{
    controller::{Commit, Published},
    domain::ids::Revision,
    limits,
    proto::v1::{self, watch_jobs_response::Item},
    slot::SlotGrid,
    state::State,
};

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartAt {
    /// After the present revision.
    Now,
    /// With all jobs as they are now.
    InitialJobs,
    /// After a revision, past or future.
    After(Revision),
}

/// What a watch is to send.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) filter: Filter,
    pub(super) start_at: StartAt,
    pub(super) bookmark_interval: Duration,
    pub(super) stop: CancellationToken,
    /// Counts the watch as long as it runs.
    pub(super) permit: OwnedSemaphorePermit,
}

/// What a watch sends: items, then how it ended. The end never waits behind a full buffer.
#[derive(Debug)]
pub(super) struct WatchStream {
    items: mpsc::Receiver<v1::WatchJobsResponse>,
    end: Option<oneshot::Receiver<Status>>,
}

/// A running watch.
struct Watcher {
    filter: Filter,
    grid: SlotGrid,
    /// Everything up to here has been sent.
    cursor: Revision,
    bookmark_interval: Duration,
    next_bookmark: Instant,
    published: watch::Receiver<Arc<Published>>,
    items: mpsc::Sender<v1::WatchJobsResponse>,
    stop: CancellationToken,
}

/// Some commits, and the revision that is reached with them.
type Batch = (Vec<Arc<Commit>>, Revision);

/// Why a watch ends.
enum End {
    /// Nobody listens any more.
    Gone,
    Because(ServiceError),
}

impl Watch {
    /// Starts the watch.
    ///
    /// # Errors
    /// When it is to begin where the history no longer reaches.
    pub(super) fn start(
        self,
        mut published: watch::Receiver<Arc<Published>>,
    ) -> Result<WatchStream, ServiceError> {
        let now = published.borrow_and_update().clone();
        let present = now.state.revision();
        let (cursor, initial) = match self.start_at {
            StartAt::Now => (present, None),
            StartAt::InitialJobs => (present, Some(now.state.clone())),
            StartAt::After(asked) => {
                let oldest = now.oldest_resumable;
                if asked < oldest {
                    return Err(ServiceError::RevisionCompacted { asked, oldest });
                }
                (asked, None)
            }
        };
        let (items, stream) = mpsc::channel(limits::STREAM_BUFFER_MAX);
        let watcher = Watcher {
            filter: self.filter,
            grid: now.state.settings().grid,
            cursor,
            bookmark_interval: self.bookmark_interval,
            next_bookmark: Instant::now(),
            published,
            items,
            stop: self.stop,
        };
        let (end, ended) = oneshot::channel();
        let permit = self.permit;
        tokio::spawn(async move {
            if let End::Because(error) = watcher.run(initial).await {
                // A client that is gone needs no status.
                let _gone = end.send(error.into());
            }
            drop(permit);
        });
        Ok(WatchStream {
            items: stream,
            end: Some(ended),
        })
    }
}

impl Watcher {
    async fn run(mut self, initial: Option<State>) -> End {
        match self.send_all(initial).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn send_all(&mut self, initial: Option<State>) -> Result<std::convert::Infallible, End> {
        if let Some(state) = initial {
            self.send_initial(&state).await?;
        }
        loop {
            while let Some((commits, scanned)) = self.next_commits()? {
                for commit in commits {
                    self.send_commit(&commit).await?;
                    self.cursor = self.cursor.max(commit.revision);
                }
                self.cursor = self.cursor.max(scanned);
            }
            if self.next_bookmark <= Instant::now() {
                let Revision(revision) = self.cursor;
                self.send(Item::Bookmark(v1::Bookmark { revision })).await?;
                self.next_bookmark = Instant::now() + self.bookmark_interval;
            }
            self.wait().await?;
        }
    }

    async fn send_initial(&mut self, state: &State) -> Result<(), End> {
        for job in state.jobs().values() {
            if self.filter.matches(job, self.grid) {
                let event = to_proto::initial_event(job, self.grid);
                self.send(Item::Event(event)).await?;
            }
        }
        Ok(())
    }

    /// Some commits after the cursor and the revision that is reached with them; `None` when there are none. Holds on
    /// to nothing else of what was published, however long sending takes.
    fn next_commits(&mut self) -> Result<Option<Batch>, End> {
        let published = self.published.borrow_and_update().clone();
        let present = published.state.revision();
        if present <= self.cursor {
            return Ok(None);
        }
        if self.cursor < published.oldest_resumable {
            let resume = self.cursor;
            return Err(End::Because(ServiceError::SlowConsumer { resume }));
        }
        let history = &published.history;
        let first = match history.binary_search_by(|commit| commit.revision.cmp(&self.cursor)) {
            Ok(position) => position + 1,
            Err(position) => position,
        };
        let commits: Vec<Arc<Commit>> = (first..history.len())
            .take(limits::WATCH_COMMITS_AT_ONCE_MAX)
            .filter_map(|position| history.get(position).cloned())
            .collect();
        let reached_all = first + commits.len() >= history.len();
        let scanned = match commits.last() {
            Some(last) if !reached_all => last.revision,
            _ => present,
        };
        Ok(Some((commits, scanned)))
    }

    /// Sends all matching changes of a revision.
    async fn send_commit(&mut self, commit: &Commit) -> Result<(), End> {
        let matches = |job: &Arc<_>| self.filter.matches(job, self.grid);
        let matching: Vec<_> = commit
            .deltas
            .iter()
            .filter(|delta| delta.after.is_some())
            .filter(|delta| {
                delta.after.as_ref().is_some_and(matches)
                    || delta.before.as_ref().is_some_and(matches)
            })
            .collect();
        for (i, delta) in matching.iter().enumerate() {
            let last = i + 1 == matching.len();
            if let Some(event) = to_proto::job_event(commit, delta, last, self.grid) {
                self.send(Item::Event(event)).await?;
            }
        }
        Ok(())
    }

    /// Sends an item; a client that takes nothing for too long is cut.
    async fn send(&mut self, item: Item) -> Result<(), End> {
        let is_event = matches!(item, Item::Event(_));
        let message = v1::WatchJobsResponse { item: Some(item) };
        let stall = Duration::from_secs(limits::STREAM_STALL_SECONDS_MAX);
        let resume = self.cursor;
        let sent = tokio::select! {
            biased;
            sent = timeout(stall, self.items.send(message)) => sent,
            () = self.stop.cancelled() => return Err(self.stopping()),
        };
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(End::Gone),
            Err(_) => return Err(End::Because(ServiceError::SlowConsumer { resume })),
        }
        // The first bookmark is due at once, whatever is sent before it.
        if is_event && self.next_bookmark > Instant::now() {
            self.next_bookmark = Instant::now() + self.bookmark_interval;
        }
        Ok(())
    }

    /// Waits for a newer state or for the next bookmark.
    async fn wait(&mut self) -> Result<(), End> {
        tokio::select! {
            changed = self.published.changed() => {
                // The writer is gone: nothing more will come.
                changed.map_err(|_| self.stopping())
            }
            () = sleep_until(self.next_bookmark) => Ok(()),
            () = self.stop.cancelled() => Err(self.stopping()),
            () = self.items.closed() => Err(End::Gone),
        }
    }

    fn stopping(&self) -> End {
        let resume = Some(self.cursor);
        End::Because(ServiceError::Stopping { resume })
    }
}

impl Stream for WatchStream {
    type Item = Result<v1::WatchJobsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(item) = ready!(self.items.poll_recv(cx)) {
            return Poll::Ready(Some(Ok(item)));
        }
        let Some(end) = &mut self.end else {
            return Poll::Ready(None);
        };
        let status = ready!(Pin::new(end).poll(cx));
        self.end = None;
        Poll::Ready(status.ok().map(Err))
    }
}

#[cfg(test)]
mod tests;
