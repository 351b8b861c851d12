//! The only writer: brings state, planner, energy and store together.
//!
//! Nothing is answered before it is durable, and a failed write stops the writer.

mod mailbox;
mod reading;
mod stand_in;

#[cfg(test)]
pub(crate) use self::mailbox::Message;
pub use self::mailbox::{
    ActualsReceipt, Commit, Explanation, ForecastReceipt, Handle, LatencyReceipt, Published, Quote,
    Submitted, VerifyReport,
};
pub use self::reading::{BandSource, RulingBand, Skill, backup_parts};
pub use self::stand_in::{ControllerError, Options, start};
