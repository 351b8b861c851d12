//! The agent of a site: the real program against a server whose orders the test writes.
//!
//! What counts is what programs did to the world, not what anybody says of it.

mod faults;
pub(crate) mod injection;
mod pauses;
pub(crate) mod process;
mod runs;
mod sandbox;
pub(crate) mod server;
pub(crate) mod staging;
pub(crate) mod units;
