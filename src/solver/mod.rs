//! Where and when many jobs run best together: an instance of dense integers in, a schedule and its exact score out.
//!
//! Pure and deterministic: the same problem, seed and budget give the same schedule whoever carries out the work; no
//! schedule leaves a capacity, a power cap, a link or a job's rules broken.

mod problem;
mod schedule;
mod score;

pub use problem::{
    AMOUNT_MAX, Choice, Class, Job, Link, Pool, Problem, RESOURCES, Site, StageIn, WEIGHT_MAX,
};
pub use schedule::{Assignment, Run, Schedule};
pub use score::{Breach, Score, score};
