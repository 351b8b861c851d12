//! What the tests share: the real server as a process or in memory, grpcurl, sample requests, a disk that can lose power.
//!
//! Nothing here skips: what a machine cannot do is said as a value or fails the test that needs it.

pub(crate) mod fsync_order;
pub(crate) mod grpcurl;
pub(crate) mod in_memory;
pub(crate) mod power_cut;
pub(crate) mod process;
pub(crate) mod samples;
