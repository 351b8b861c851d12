//! Starts logging: one subscriber for the process, on standard error.
//!
//! Data never goes through here, so that standard output stays clean for pipes.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, util::SubscriberInitExt};

use crate::config::LogFormat;

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The filter is not understood.
    #[error("cannot read the log filter `{filter}`")]
    Filter {
        /// As written.
        filter: String,
        /// What the parser said.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Another subscriber is installed already.
    #[error("cannot start logging")]
    Install(#[from] tracing_subscriber::util::TryInitError),
}

/// Installs the subscriber of the process: `text` for people, `json` for machines, to standard error.
///
/// # Errors
/// When the filter is not understood or a subscriber is installed already.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.finish().try_init()?,
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}
