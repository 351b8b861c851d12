//! The attempts that the engine looks at, shared by its verbs and its thread.
//!
//! An entry lives from the first request for an attempt until it is forgotten, or the agent ends.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    agent::{
        attempt::{AttemptKey, Seen},
        slurm::request::Ask,
    },
    clock::Mono,
};

/// What the engine's verbs and its thread share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    watches: Mutex<BTreeMap<AttemptKey, Watch>>,
    /// Woken when an entry is new.
    pub(super) changed: Notify,
}

/// What is known of an attempt for as long as the agent lives.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    /// What it needs, once this agent is asked to start it.
    pub(super) ask: Option<Ask>,
    /// A list that was begun before this moment says nothing of it.
    pub(super) since: Mono,
    pub(super) submissions: u32,
    pub(super) submit_after: Mono,
    pub(super) cancel_after: Mono,
    pub(super) dead_since: Option<Mono>,
    pub(super) said: Option<Seen>,
}

impl Shared {
    /// Looks at an attempt from now on; with an `ask` it is to be started.
    pub(super) fn watch(&self, key: AttemptKey, ask: Option<Ask>) {
        let now = Mono::now();
        let mut watches = self.lock();
        let watch = watches.entry(key).or_insert_with(|| Watch {
            ask: None,
            since: now,
            submissions: 0,
            submit_after: now,
            cancel_after: now,
            dead_since: None,
            said: None,
        });
        if ask.is_some() {
            watch.ask = ask;
            watch.since = now;
        }
        drop(watches);
        self.changed.notify_one();
    }

    pub(super) fn forget(&self, key: AttemptKey) {
        self.lock().remove(&key);
    }

    /// The map is sound between any two of its changes.
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<AttemptKey, Watch>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
