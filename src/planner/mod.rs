//! Places jobs: where and when each runs, on which power, and why not elsewhere.
//!
//! Pure and deterministic: a [`Timetable`] and a [`Request`] in, a placement or typed refusals out. Capacity, power
//! and reserved green power are never promised twice; submit, quote, explain and re-plan share one feasibility path.

mod request;
mod latency;
mod stage_in;
pub mod data_rules;
mod column;
mod site_table;
mod timetable;
mod cost;
mod shape;
mod feasibility;
mod pools;
mod rigid;
mod pieces;
mod fit;
mod interruptible;
mod malleable;
mod place;
mod busy;
mod explain;
mod suggest;
mod chain;
mod replan;
mod extend;
mod rest;
mod check;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod worlds;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod malleable_properties;

pub use chain::{GaveWay, MadeRoom, Movers};
pub use check::check;
pub use data_rules::POLICY_VERSION;
pub use place::Infeasible;
pub use replan::{Candidate, Move, MoveKind, ReplanOptions, replan};
pub use request::{Request, Window};
pub use timetable::Timetable;
