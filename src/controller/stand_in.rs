//! A stand-in until the controller is merged: it publishes an empty state and answers nothing.
//!
//! It ends when the last handle is gone.

use std::{sync::Arc, thread};

use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::{
    clock::Clock,
    controller::{Handle, Published},
    domain::ids::Revision,
    limits,
    state::{Settings, State},
    store::Store,
};

/// What the controller is told.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What is fixed for the life of the store.
    pub settings: Settings,
    /// Age at which a forecast is stale, milliseconds.
    pub stale_after_ms: u64,
    /// How long a quote can be redeemed, milliseconds.
    pub quote_valid_ms: u64,
}

/// Why the controller stopped.
#[derive(Debug, Error)]
pub enum ControllerError {}

/// Starts the controller on its own thread.
///
/// # Errors
/// Never, in the stand-in.
pub fn start(
    options: Options,
    store: Box<dyn Store>,
    _clock: Arc<dyn Clock>,
) -> Result<(Handle, thread::JoinHandle<Result<(), ControllerError>>), ControllerError> {
    let (mailbox, mut messages) = mpsc::channel(limits::MAILBOX_MAX);
    let (publish, published) = watch::channel(Arc::new(Published {
        state: State::new(options.settings),
        history: imbl::Vector::new(),
        oldest_resumable: Revision(0),
    }));
    let writer = thread::spawn(move || {
        let _store = store;
        while messages.blocking_recv().is_some() {}
        drop(publish);
        Ok(())
    });
    Ok((Handle { mailbox, published }, writer))
}
