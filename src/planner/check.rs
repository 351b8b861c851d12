//! TBD
use crate::{
    domain::placement::Placement,
    planner::{Request, Timetable},
};

/// Asserts that a whole plan holds: the timetable's reservations are exactly those of `plan`, every placement keeps its
/// window and rules, and at no slot is capacity, power or green power over-committed. Panics otherwise: a defect.
pub fn check<'a>(
    _timetable: &Timetable,
    _plan: impl IntoIterator<Item = (Request<'a>, &'a Placement)>,
) {
    todo!()
}
