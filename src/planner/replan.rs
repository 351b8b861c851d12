//! TBD
use std::sync::Arc;

use crate::{
    domain::{
        ids::{JobId, Revision},
        job::JobSpec,
        placement::Placement,
    },
    planner::{Timetable, Window},
};

/// A job that may be placed anew.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The job.
    pub id: JobId,
    /// Its description.
    pub spec: Arc<JobSpec>,
    /// When it may run from now on.
    pub window: Window,
    /// Its placement, reserved in the timetable; `None` for a queued job.
    pub current: Option<Arc<Placement>>,
}

/// Bounds of a re-plan.
#[derive(Debug, Clone, Copy)]
pub struct ReplanOptions {
    /// Least gain for which a sound placement is moved: thousandths of the job's energy that turn from grid to green, or
    /// of its score at equal grid energy.
    pub min_gain_permille: u32,
    /// Sound placements moved at most; broken and missing ones are always placed.
    pub max_moves: usize,
    /// Revision the decisions rest on.
    pub decided_revision: Revision,
}

/// A change of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The job.
    pub id: JobId,
    /// Its placement before.
    pub from: Option<Arc<Placement>>,
    /// Its placement after, reserved in the timetable.
    pub to: Option<Placement>,
    /// What happened.
    pub kind: MoveKind,
}

/// What happened to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MoveKind {
    /// Another site, pool or window.
    Moved,
    /// The same site, pool and runs with other green power, power or amounts.
    Recosted,
    /// It had no placement and has one now.
    Placed,
    /// It had a placement that no longer holds, and no other was found.
    Lost,
}

/// Places the candidates anew, broken and missing placements first (by deadline, then id), and moves sound ones only when
/// it pays. Reports only jobs that changed, by id; the timetable holds exactly the new set afterwards. Its own
/// result fed back changes nothing.
pub fn replan(
    _timetable: &mut Timetable,
    _candidates: &[Candidate],
    _options: &ReplanOptions,
) -> Vec<Move> {
    todo!()
}
