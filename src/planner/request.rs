//! What is asked of the planner: a job's description and the slots it may use.
//!
//! A window is in whole slots and never wider than what the job's times allow.

use std::sync::Arc;

use crate::{
    domain::{
        ids::Revision,
        job::{Flexibility, JobSpec},
        link::StageIn,
        placement::Run,
    },
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
};

/// A job to place, and when it may run.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The description.
    pub spec: &'a JobSpec,
    /// When it may run.
    pub window: Window,
    /// Revision the decision will rest on; goes into the placement.
    pub decided_revision: Revision,
    /// A transfer of the job's input that stands (`Job::staged_at`): where it serves, none is made again.
    pub staged: Option<&'a Arc<StageIn>>,
}

/// Slots that a job may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The slot that is passing: a placement that begins in it may be beginning right now, and still holds.
    pub current: Slot,
    /// First slot in which its input may be brought in.
    pub stage_from: Slot,
    /// First slot it may start in.
    pub not_before: Slot,
    /// Last slot it may start in.
    pub start_by: Slot,
    /// It runs end here or before.
    pub end_by: Slot,
}

impl Window {
    /// The window of a job at `now` with the finish deadline in force (`Job::end_by`).
    ///
    /// A deadline within a slot counts as the start of that slot, an earliest start as the start of the next one,
    /// so that whole slots keep every promise; but a job that is run by an agent, in one piece, begins in the slot that
    /// is passing where what is left of it makes its slots no more than they are anyway. The planner itself cuts the window at its horizon.
    #[must_use]
    pub fn new(spec: &JobSpec, now: TimeMs, end_by: TimeMs, grid: SlotGrid) -> Self {
        let earliest = spec
            .timing
            .earliest_start
            .map_or(now, |start| start.max(now));
        let end_by = grid.slot_at(end_by);
        let current = grid.slot_at(now);
        let fits_now = spec.execution.is_some()
            && spec.flexibility == Flexibility::Rigid
            && earliest == now
            && grid.slots_for_ms(spec.timing.runtime_ms.saturating_add(grid.passed_ms(now)))
                == grid.slots_for_ms(spec.timing.runtime_ms);
        Self {
            current,
            stage_from: grid.slot_from(now),
            not_before: if fits_now {
                current
            } else {
                grid.slot_from(earliest)
            },
            start_by: spec
                .timing
                .start_deadline
                .map_or(end_by, |by| grid.slot_at(by)),
            end_by,
        }
    }

    /// The same, but with no start before a moment.
    #[must_use]
    pub fn not_before(self, at: Option<TimeMs>, grid: SlotGrid) -> Self {
        let first = at.map_or(self.not_before, |at| grid.slot_from(at));
        Self {
            not_before: self.not_before.max(first),
            ..self
        }
    }

    /// All slots from the first start to the last end.
    #[must_use]
    pub fn range(&self) -> SlotRange {
        SlotRange::new(self.not_before, self.end_by)
    }

    /// All slots in which a job takes something, its input included.
    #[must_use]
    pub fn reach(&self, has_input: bool) -> SlotRange {
        let first = if has_input {
            self.stage_from.min(self.not_before)
        } else {
            self.not_before
        };
        SlotRange::new(first, self.end_by)
    }

    /// Whether runs in this order keep the window.
    #[must_use]
    pub fn allows(&self, runs: &[Run]) -> bool {
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
            return false;
        };
        let (start, end) = (first.slots.start, last.slots.end);
        self.not_before <= start && start <= self.start_by && end <= self.end_by
    }
}

impl<'a> Request<'a> {
    /// A request for `spec` at `now`; see [`Window::new`].
    #[must_use]
    pub fn new(
        spec: &'a JobSpec,
        now: TimeMs,
        end_by: TimeMs,
        grid: SlotGrid,
        decided_revision: Revision,
    ) -> Self {
        Self {
            spec,
            window: Window::new(spec, now, end_by, grid),
            decided_revision,
            staged: None,
        }
    }

    /// The same request with a transfer that stands.
    #[must_use]
    pub fn with_staged(self, staged: Option<&'a Arc<StageIn>>) -> Self {
        Self { staged, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::testing::{at, grid, job};

    #[test]
    fn a_window_never_passes_what_the_times_allow() {
        let mut spec = job(1);
        let inside = |offset: u32| at(offset).plus_ms(1);
        let offsets = |window: Window| {
            [window.not_before, window.start_by, window.end_by]
                .map(|slot| slot.0 - grid().slot_at(at(0)).0)
        };
        let of = |spec: &JobSpec, now, end_by| offsets(Window::new(spec, now, end_by, grid()));
        assert_eq!(of(&spec, at(2), at(9)), [2, 9, 9]);
        assert_eq!(of(&spec, inside(2), inside(9)), [3, 9, 9]);
        spec.timing.earliest_start = Some(inside(4));
        spec.timing.start_deadline = Some(inside(6));
        assert_eq!(of(&spec, at(2), at(9)), [5, 6, 9]);
        assert_eq!(
            of(&spec, at(7), at(9)),
            [7, 6, 9],
            "the start deadline has passed"
        );
    }
}
