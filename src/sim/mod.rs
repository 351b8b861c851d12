//! Simulation: instances and schedules as files, policies that decide job by job, and what they are worth.
//!
//! Every schedule is scored by `solver::score`, never by the claim of the policy that made it.

pub mod instance;
pub mod schedule;
pub mod generate;
pub mod report;
pub mod policy;
pub mod policies;
#[cfg(test)]
mod method_tests;
