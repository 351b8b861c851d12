//! Stub of the server's wiring, to be replaced; only the signatures count.
//!
//! Nothing listens yet.

use std::net::SocketAddr;

use crate::config::Config;

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// This tree has no server.
    #[error("cannot start the server: this build has none")]
    Absent,
}

/// A server within this process.
#[derive(Debug)]
pub struct Embedded {
    address: SocketAddr,
}

impl Embedded {
    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it and waits until its store is closed.
    ///
    /// # Errors
    /// When the store could not be closed.
    #[expect(clippy::unused_async, reason = "the real one waits")]
    pub async fn stop(self) -> Result<(), StartError> {
        Ok(())
    }
}

/// Serves until a signal.
///
/// # Errors
/// When the store cannot be opened or the address cannot be bound.
#[expect(clippy::unused_async, reason = "the real one waits")]
pub async fn run(_config: Config) -> Result<(), StartError> {
    Ok(())
}

/// Starts a server within this process.
///
/// # Errors
/// When the store cannot be opened or the address cannot be bound.
#[expect(clippy::unused_async, reason = "the real one waits")]
pub async fn start_embedded(_config: Config) -> Result<Embedded, StartError> {
    Err(StartError::Absent)
}
