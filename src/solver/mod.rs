//! Where and when many jobs run best together: an instance of dense integers in, a schedule and its exact score out.
//!
//! Pure and deterministic: the same problem, seed and budget give the same schedule whoever carries out the work; no
//! schedule leaves a capacity, a power cap, a link or a job's rules broken.

mod noise;
mod problem;
mod schedule;
mod score;
mod links;
mod ramp;
mod table;
mod nudge;
mod pieces;
mod units;
mod respond;
mod state;
mod places;
mod eject;
mod plan;
mod online;
mod bound;
#[cfg(test)]
mod brute_tests;

pub use bound::{Bound, BoundPart, BoundProgress, Prices, lower_bound};
pub use online::{Online, OnlineOptions};
pub use plan::{Part, PlanOptions, Progress, plan};
pub use problem::{
    AMOUNT_MAX, Choice, Class, JOB_PRICE_MAX, Job, Link, Pool, Problem, RESOURCES, Site, StageIn,
    WEIGHT_MAX,
};
pub use schedule::{Assignment, Run, Schedule};
pub use score::{Breach, Score, score};
