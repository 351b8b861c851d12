//! Settings of the server.
//!
//! A stand-in until the configuration is merged: only the fields that the wiring reads.

use std::{net::SocketAddr, path::PathBuf};

/// Settings of the server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the store is.
    pub data_dir: PathBuf,
    /// Length of a slot, seconds.
    pub slot_seconds: u32,
    /// Slots that the planner looks ahead.
    pub horizon_slots: u32,
    /// Age at which a forecast is stale, milliseconds.
    pub stale_after_ms: u64,
    /// How long a quote can be redeemed, seconds.
    pub quote_valid_seconds: u64,
    /// Jobs that have not ended, at most.
    pub max_live_jobs: u64,
}
