//! The only writer: brings state, planner, energy and store together.
//!
//! Nothing is answered before it is durable, and a failed write stops the writer.

mod mailbox;
mod reading;
mod batch;
mod open;
mod occupants;
mod planning;
mod replanning;
mod writer;
mod leases;
mod work;
mod shedding;
mod rules;
mod ledger;
mod statement;
#[cfg(test)]
mod ledger_tests;
#[cfg(test)]
mod ledger_bounds_tests;
mod submitting;
mod snapshots;
mod durable;
mod thread;
mod stepped;

use thiserror::Error;

use crate::{
    state::Settings,
    store::{StoreError, codec::DecodeError},
};

#[cfg(test)]
pub(crate) use self::mailbox::Message;
pub use self::{
    leases::{Heard, LeaseTimes},
    ledger::LedgerTimes,
    mailbox::{
        ActualsReceipt, Commit, Explanation, ForecastReceipt, Handle, LatencyReceipt, Published,
        Quote, Submitted, VerifyReport,
    },
    open::check,
    reading::{BandSource, RulingBand, Skill},
    statement::{
        RunNow, SiteSums, Statement, StatementGroup, StatementKey, StatementQuery, StatementSums,
        statement,
    },
    stepped::{Stepped, Turn},
    thread::start,
    work::{Enrollment, ReportReceipt},
};
pub use crate::planner::POLICY_VERSION;

/// How the writer works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// What is fixed for the life of the store.
    pub settings: Settings,
    /// Age from which a forecast issue is stale, milliseconds.
    pub stale_after_ms: u64,
    /// Least gain for which a sound placement is moved, thousandths.
    pub replan_min_gain_permille: u32,
    /// Sound placements moved in one revision at most.
    pub replan_max_moves: usize,
    /// Slots after which all jobs that have not begun are looked at; 0 for never.
    pub sweep_every_slots: u32,
    /// How long a quote can be redeemed, milliseconds.
    pub quote_valid_ms: i64,
    /// Records after which a snapshot is written.
    pub snapshot_every_records: u64,
    /// How long ended jobs are kept, milliseconds.
    pub ended_jobs_kept_ms: i64,
    /// Whether a planned start that passes counts as a start: a simulator runs the jobs itself and ends them. A server
    /// plans such jobs anew, as nobody reported a start.
    pub starts_as_planned: bool,
    /// For how long agents may be silent.
    pub leases: LeaseTimes,
    /// What the ledger waits for and keeps.
    pub ledger: LedgerTimes,
}

impl Options {
    /// The defaults for a store with these settings: those of the configuration.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            stale_after_ms: 40 * 3_600_000,
            replan_min_gain_permille: 50,
            replan_max_moves: 1_000,
            sweep_every_slots: settings.grid.slots_for_ms(3_600_000),
            quote_valid_ms: 300_000,
            snapshot_every_records: 100_000,
            ended_jobs_kept_ms: 30 * 86_400_000,
            starts_as_planned: false,
            leases: LeaseTimes::default(),
            ledger: LedgerTimes::default(),
        }
    }
}

/// How long request ids are remembered, milliseconds: longer than any client retries.
const REQUESTS_KEPT_MS: i64 = 7 * 86_400_000;

/// Why the writer could not start, or stopped.
#[derive(Debug, Error)]
pub enum ControllerError {
    /// The store failed.
    #[error("the store failed; no write is acknowledged any more")]
    Store(#[from] StoreError),
    /// What the store holds cannot be read.
    #[error("reading record {revision} back from the store")]
    Decode {
        /// The record, or the snapshot's revision.
        revision: u64,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The thread could not be started.
    #[error("starting the controller thread")]
    Spawn(#[source] std::io::Error),
}
