//! Plain data of the field: sites, jobs, forecasts, placements, and the reasons between them.
//!
//! Nothing here does IO, reads a clock or knows protobuf; values come from the rims only after their
//! `violations` are empty.

pub mod ids;
pub mod violation;
pub mod restriction;
pub mod site;
pub mod latency;
pub mod link;
pub mod forecast;
pub mod outlook;
pub mod data_policy;
pub mod interner;
mod speeds;
pub mod execution;
pub mod spans;
pub mod attempt;
pub mod agent;
mod job_state;
pub mod job;
pub mod placement;
pub mod ledger;
pub mod refusal;
