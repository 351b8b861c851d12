//! What one turn of the writer decided: records to make durable, and answers to give after that.
//!
//! An answer leaves only with [`Batch::release`], which the thread calls after the commit.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::{
    controller::mailbox::{Commit, Published},
    limits,
    slot::Slot,
    state::{
        Core,
        event::{Applied, Record},
    },
};

/// Records and answers of one turn.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    pub(super) commits: Vec<Arc<Commit>>,
    answers: Vec<Box<dyn FnOnce() + Send>>,
}

impl Batch {
    /// Keeps an answer back until the batch is durable. A caller that went away does not matter: what was decided
    /// stays decided.
    pub(super) fn answer<T: Send + 'static>(&mut self, reply: oneshot::Sender<T>, value: T) {
        self.answers.push(Box::new(move || {
            let _ = reply.send(value);
        }));
    }

    /// Gives all answers.
    pub(super) fn release(self) {
        for answer in self.answers {
            answer();
        }
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("records", &self.records.len())
            .field("answers", &self.answers.len())
            .finish_non_exhaustive()
    }
}

/// What watchers are told of a record; `None` when nothing.
pub(super) fn commit_of(record: &Record, applied: Applied) -> Option<Arc<Commit>> {
    let Applied { jobs, sites } = applied;
    (!jobs.is_empty() || !sites.is_empty()).then(|| {
        Arc::new(Commit {
            revision: record.revision,
            at: record.at,
            deltas: jobs,
            sites,
        })
    })
}

/// The published state after these commits in a slot, with the oldest ones dropped beyond the bound.
pub(super) fn publish(
    before: &Published,
    core: &Core,
    slot: Slot,
    commits: Vec<Arc<Commit>>,
) -> Published {
    let mut next = Published {
        state: core.state().clone(),
        slot,
        history: before.history.clone(),
        oldest_resumable: before.oldest_resumable,
        n_events: before.n_events,
    };
    for commit in commits {
        next.n_events += commit.deltas.len() + commit.sites.len();
        next.history.push_back(commit);
    }
    while next.n_events > limits::WATCH_HISTORY_EVENTS_MAX {
        let Some(oldest) = next.history.pop_front() else {
            break;
        };
        next.n_events -= oldest.deltas.len() + oldest.sites.len();
        next.oldest_resumable = oldest.revision;
    }
    next
}
