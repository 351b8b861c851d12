//! What an agent asks of an engine, whichever it is.
//!
//! Every verb is a request that may be repeated; what came of it arrives as an event, and only that is believed.

use std::{collections::BTreeSet, error::Error, time::Duration};

use crate::agent::{
    attempt::{AttemptKey, Seen, StopCause, Task},
    files::FileError,
};

/// What an engine saw of an attempt.
pub type EngineEvent = (AttemptKey, Seen);

/// The engine could not take a request; it can be made again.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ExecutorError(Box<dyn Error + Send + Sync>);

impl From<FileError> for ExecutorError {
    fn from(error: FileError) -> Self {
        Self(Box::new(error))
    }
}

/// An engine that runs attempts. It sends [`EngineEvent`]s to whom it was made with.
pub trait Executor: Send {
    /// Everything the engine knows, whether this agent started it or one before. `held` is what the agent answers for:
    /// the rest may be dropped once it is over.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    fn recover(&mut self, held: &BTreeSet<AttemptKey>) -> Result<Vec<EngineEvent>, ExecutorError>;

    /// Starts an attempt unless it has begun before: the engine itself holds a claim on its name.
    ///
    /// # Errors
    /// When the engine cannot take the request.
    fn start(&mut self, key: AttemptKey, task: &Task) -> Result<(), ExecutorError>;

    /// Brings the input of an attempt in and does not begin it; `start` follows.
    ///
    /// # Errors
    /// When the engine cannot take the request.
    fn stage(&mut self, key: AttemptKey, task: &Task) -> Result<(), ExecutorError>;

    /// Says to its program, running or not, with how many units it is to run: before it begins, and at each change.
    ///
    /// # Errors
    /// When the engine cannot take the request.
    fn tell_units(&mut self, key: AttemptKey, units: u32) -> Result<(), ExecutorError>;

    /// Pauses it.
    ///
    /// # Errors
    /// When the engine cannot take the request.
    fn suspend(&mut self, key: AttemptKey) -> Result<(), ExecutorError>;

    /// Lets it go on.
    ///
    /// # Errors
    /// When the engine cannot take the request.
    fn resume(&mut self, key: AttemptKey) -> Result<(), ExecutorError>;

    /// Stops it: a first signal now, a kill after the grace. One that has not begun never will.
    ///
    /// # Errors
    /// When the engine cannot take the request.
    fn stop(
        &mut self,
        key: AttemptKey,
        grace: Duration,
        cause: StopCause,
    ) -> Result<(), ExecutorError>;

    /// It is over and reported: what is kept of it may go.
    ///
    /// # Errors
    /// When the engine cannot take the request.
    fn forget(&mut self, key: AttemptKey) -> Result<(), ExecutorError>;
}
