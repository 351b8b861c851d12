//! What is durable: the bytes of records and snapshots.
//!
//! Only this layer knows how a state is written down.

pub mod codec;
pub mod snapshot;
