//! Watches: each is a cursor over the history of commits, woken when there is more.
//!
//! Changes are sent in order, whole revision after whole revision, none twice and none left out; where that cannot be
//! kept the stream ends with a status that says so.

mod subject;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    outbox::{Answers, Outbox, Undelivered, outbox},
    status::{Resume, ServiceError},
};
use crate::{
    controller::{Commit, Published},
    domain::ids::Revision,
    limits,
    slot::SlotGrid,
    state::State,
};

pub(super) use self::subject::{Jobs, Sites, Subject};

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartAt {
    /// After the present revision.
    Now,
    /// With everything as it is now.
    Initial,
    /// After a revision that has been.
    After(Revision),
}

/// What a watch is to send.
#[derive(Debug)]
pub(super) struct Watch<S> {
    pub(super) subject: S,
    pub(super) start_at: StartAt,
    pub(super) bookmark_interval: Duration,
    pub(super) stop: CancellationToken,
    /// Counts the watch as long as it runs.
    pub(super) permit: OwnedSemaphorePermit,
}

/// What a watch sends.
pub(super) type WatchStream<S> = Answers<<S as Subject>::Message>;

/// A running watch.
struct Watcher<S: Subject> {
    subject: S,
    grid: SlotGrid,
    /// Everything up to here has been sent.
    cursor: Revision,
    /// What there is at first is still to be sent: nothing can be resumed yet.
    is_initial: bool,
    bookmark_interval: Duration,
    next_bookmark: Instant,
    published: watch::Receiver<Arc<Published>>,
    outbox: Outbox<S::Message>,
}

/// Some commits, and the revision that is reached with them.
type Batch = (Vec<Arc<Commit>>, Revision);

/// Why a watch ends.
enum End {
    /// Nobody listens any more.
    Gone,
    Because(ServiceError),
}

impl<S: Subject> Watch<S> {
    /// Starts the watch.
    ///
    /// # Errors
    /// When it is to begin where the history no longer reaches, or does not reach yet.
    pub(super) fn start(
        self,
        mut published: watch::Receiver<Arc<Published>>,
    ) -> Result<WatchStream<S>, ServiceError> {
        let now = published.borrow_and_update().clone();
        let present = now.state.revision();
        let (cursor, initial) = match self.start_at {
            StartAt::Now => (present, None),
            StartAt::Initial => (present, Some(now.state.clone())),
            StartAt::After(asked) => {
                let oldest = now.oldest_resumable;
                if asked < oldest {
                    return Err(ServiceError::RevisionCompacted { asked, oldest });
                }
                // To wait for it would hide the changes of a server that was restored to before it.
                if asked > present {
                    return Err(ServiceError::RevisionUnknown { asked, present });
                }
                (asked, None)
            }
        };
        let (outbox, ending, stream) = outbox(limits::STREAM_BUFFER_MAX, self.stop);
        let watcher = Watcher {
            subject: self.subject,
            grid: now.state.settings().grid,
            cursor,
            is_initial: initial.is_some(),
            bookmark_interval: self.bookmark_interval,
            next_bookmark: Instant::now(),
            published,
            outbox,
        };
        let permit = self.permit;
        tokio::spawn(async move {
            if let End::Because(error) = watcher.run(initial).await {
                ending.with(error.into());
            }
            drop(permit);
        });
        Ok(stream)
    }
}

impl<S: Subject> Watcher<S> {
    async fn run(mut self, initial: Option<State>) -> End {
        match self.send_all(initial).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn send_all(&mut self, initial: Option<State>) -> Result<std::convert::Infallible, End> {
        if let Some(state) = initial {
            self.send_initial(&state).await?;
            self.send_bookmark().await?;
            self.is_initial = false;
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
                self.send_bookmark().await?;
            }
            self.wait().await?;
        }
    }

    async fn send_initial(&mut self, state: &State) -> Result<(), End> {
        for message in self.subject.initial(state, self.grid) {
            let sent = self.outbox.send(message).await;
            sent.map_err(|why| self.undelivered(why))?;
        }
        Ok(())
    }

    async fn send_bookmark(&mut self) -> Result<(), End> {
        let sent = self.outbox.send(S::bookmark(self.cursor)).await;
        sent.map_err(|why| self.undelivered(why))?;
        self.next_bookmark = Instant::now() + self.bookmark_interval;
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
            return Err(self.too_slow());
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

    /// Sends all changes of a revision that the watch is about.
    async fn send_commit(&mut self, commit: &Commit) -> Result<(), End> {
        for message in self.subject.changes(commit, self.grid) {
            let sent = self.outbox.send(message).await;
            sent.map_err(|why| self.undelivered(why))?;
            // The first bookmark is due at once, whatever is sent before it.
            if self.next_bookmark > Instant::now() {
                self.next_bookmark = Instant::now() + self.bookmark_interval;
            }
        }
        Ok(())
    }

    /// Why the watch ends; a client that takes nothing for too long is cut.
    fn undelivered(&self, why: Undelivered) -> End {
        match why {
            Undelivered::Gone => End::Gone,
            Undelivered::Stalled => self.too_slow(),
            Undelivered::Stopping => self.stopping(),
        }
    }

    /// Waits for a newer state or for the next bookmark.
    async fn wait(&mut self) -> Result<(), End> {
        tokio::select! {
            changed = self.published.changed() => {
                // The writer is gone: nothing more will come.
                changed.map_err(|_| self.stopping())
            }
            () = sleep_until(self.next_bookmark) => Ok(()),
            () = self.outbox.stopping() => Err(self.stopping()),
            () = self.outbox.gone() => Err(End::Gone),
        }
    }

    fn too_slow(&self) -> End {
        let resume = self.resume();
        End::Because(ServiceError::SlowConsumer { resume })
    }

    fn stopping(&self) -> End {
        let resume = Some(self.resume());
        End::Because(ServiceError::Stopping { resume })
    }

    fn resume(&self) -> Resume {
        if self.is_initial {
            Resume::WithInitial
        } else {
            Resume::After(self.cursor)
        }
    }
}

#[cfg(test)]
mod tests;
