//! The only writer: brings state, planner, energy and store together.
//!
//! Nothing is answered before it is durable, and a failed write stops the writer.

mod mailbox;

pub use self::mailbox::{
    ActualsReceipt, Commit, Explanation, ForecastReceipt, Handle, LatencyReceipt, Published, Quote,
    Submitted, VerifyReport,
};
