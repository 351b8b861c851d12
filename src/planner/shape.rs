//! How a job may run: for how long, and what of it may be varied.
//!
//! Runs that a shape allows do the job's work, with no unit more than it takes.

use crate::{
    domain::{
        job::{Flexibility, JobSpec},
        placement::Run,
    },
    planner::site_table::to_index,
    slot::SlotGrid,
};

/// How long a job runs and how it may be cut, in slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape<'a> {
    /// Work of the job; what one run of one unit needs.
    pub(super) n_slots: u32,
    pub(super) flex: Flex<'a>,
}

/// What may be varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flex<'a> {
    /// Nothing: it runs in one piece.
    Rigid,
    /// The runs.
    Pieces(Pieces),
    /// The units of each slot.
    Units(Speeds<'a>),
}

/// Speed of a malleable job by number of units: rising, each unit adding no more than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Speeds<'a>(&'a [u32]);

/// How an interruptible job may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pieces {
    /// Least work of a run, at most the job's.
    pub(super) min_chunk: u32,
    /// Slots by which every run after the first is longer than its work.
    pub(super) resume: u32,
}

impl<'a> Shape<'a> {
    pub(super) fn of(spec: &'a JobSpec, grid: SlotGrid) -> Self {
        let n_slots = grid.slots_for_ms(spec.timing.runtime_ms).max(1);
        let flex = match &spec.flexibility {
            Flexibility::Rigid => Flex::Rigid,
            Flexibility::Interruptible {
                min_chunk_ms,
                resume_cost_ms,
            } => Flex::Pieces(Pieces {
                min_chunk: grid.slots_for_ms(*min_chunk_ms).clamp(1, n_slots),
                resume: grid.slots_for_ms(*resume_cost_ms),
            }),
            Flexibility::Malleable { speed_permille } => Flex::Units(Speeds(speed_permille)),
        };
        Self { n_slots, flex }
    }

    /// Slots that it takes at least where so many units have room, one at least.
    pub(super) fn least_slots(&self, units: u64) -> u32 {
        let Flex::Units(speeds) = self.flex else {
            return self.n_slots;
        };
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let speed = speeds.of(units.clamp(1, speeds.useful().max(1)));
        let work = u64::from(self.n_slots) * 1_000;
        u32::try_from(work.div_ceil(speed.max(1))).unwrap_or(u32::MAX)
    }

    /// Whether runs, given in order, are a way to do the job.
    pub(super) fn allows(&self, runs: &[Run]) -> bool {
        let in_order = Run::are_in_order(runs);
        match self.flex {
            Flex::Rigid => {
                matches!(runs, [run] if *run == Run::single(run.slots) && run.slots.len() == self.n_slots)
            }
            Flex::Pieces(pieces) => {
                let single = runs.iter().all(|run| run.units == 1);
                in_order && single && pieces.do_work(runs, self.n_slots)
            }
            Flex::Units(speeds) => in_order && speeds.do_work(runs, self.n_slots),
        }
    }
}

impl Pieces {
    /// Whether runs are long enough and together do exactly the work.
    fn do_work(self, runs: &[Run], n_slots: u32) -> bool {
        let work = |(i, run): (usize, &Run)| {
            let repeated = if i == 0 { 0 } else { self.resume };
            run.slots.len().saturating_sub(repeated)
        };
        let enough = runs
            .iter()
            .enumerate()
            .all(|run| self.min_chunk <= work(run));
        let done: u32 = runs.iter().enumerate().map(work).sum();
        enough && done == n_slots
    }
}

impl Speeds<'_> {
    /// Speed with some units, thousandths of that with one; no units have none.
    pub(super) fn of(self, units: u32) -> u64 {
        let position = units.checked_sub(1).map(to_index);
        position.map_or(0, |i| self.0.get(i).copied().unwrap_or_default().into())
    }

    /// Units that add speed: any more are for nothing.
    pub(super) fn useful(self) -> u32 {
        let greatest = self.0.last();
        let useful = self.0.iter().position(|speed| Some(speed) == greatest);
        useful.map_or(0, |i| u32::try_from(i + 1).unwrap_or(u32::MAX))
    }

    /// Whether runs do the work, and would not without any one of their units.
    fn do_work(self, runs: &[Run], n_slots: u32) -> bool {
        let done: u64 = runs
            .iter()
            .map(|run| u64::from(run.slots.len()) * self.of(run.units))
            .sum();
        let needed = |run: &Run, surplus: u64| {
            let gain = self
                .of(run.units)
                .saturating_sub(self.of(run.units.saturating_sub(1)));
            surplus < gain
        };
        let surplus = done.checked_sub(u64::from(n_slots) * 1_000);
        surplus.is_some_and(|surplus| runs.iter().all(|run| needed(run, surplus)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        planner::testing::{grid, job, malleable, pieces},
        slot::{Slot, SlotRange},
    };

    fn run(from: u32, to: u32, units: u32) -> Run {
        Run {
            slots: SlotRange::new(Slot(from), Slot(to)),
            units,
        }
    }

    fn runs(offsets: &[(u32, u32)]) -> Vec<Run> {
        offsets.iter().map(|&(from, to)| run(from, to, 1)).collect()
    }

    #[test]
    fn a_rigid_job_runs_in_one_piece_of_its_length() {
        let spec = job(3);
        let shape = Shape::of(&spec, grid());
        assert!(shape.allows(&runs(&[(5, 8)])));
        for wrong in [&[(5, 7)][..], &[(5, 9)], &[(5, 6), (7, 9)], &[]] {
            assert!(!shape.allows(&runs(wrong)), "{wrong:?}");
        }
    }

    #[test]
    fn pieces_are_long_enough_apart_and_repeat_the_resume_cost() {
        let spec = pieces(5, 2, 1);
        let shape = Shape::of(&spec, grid());
        for right in [&[(0, 5)][..], &[(0, 2), (3, 7)], &[(0, 3), (9, 12)]] {
            assert!(shape.allows(&runs(right)), "{right:?}");
        }
        for wrong in [
            &[(0, 2), (2, 6)][..],
            &[(0, 2), (3, 6)],
            &[(0, 4), (5, 7)],
            &[(0, 1), (2, 7)],
            &[(0, 6)],
        ] {
            assert!(!shape.allows(&runs(wrong)), "{wrong:?}");
        }
        let spec = pieces(1, 1, 0);
        let short = Shape::of(&spec, grid());
        assert!(short.allows(&runs(&[(4, 5)])));
    }

    #[test]
    fn units_do_the_work_and_none_of_them_is_superfluous() {
        // Five slots of work; two units are 1.8 and three 2.1 times as fast, a fourth does not help.
        let spec = malleable(5, &[1_000, 1_800, 2_100, 2_100]);
        let shape = Shape::of(&spec, grid());
        let least = [0, 1, 2, 3, 99].map(|units| shape.least_slots(units));
        assert_eq!((shape.n_slots, least), (5, [5, 5, 3, 3, 3]));
        for right in [
            &[run(0, 5, 1)][..],
            &[run(0, 2, 2), run(2, 4, 1)],
            &[run(0, 1, 1), run(1, 2, 2), run(7, 8, 1), run(9, 10, 2)],
            &[run(0, 2, 3), run(9, 10, 1)],
        ] {
            assert!(shape.allows(right), "{right:?}");
        }
        for wrong in [
            &[][..],
            &[run(0, 4, 1)],
            &[run(0, 6, 1)],
            &[run(0, 3, 3)],
            &[run(0, 2, 2), run(2, 4, 2)],
            &[run(0, 2, 1), run(2, 5, 1)],
            &[run(0, 2, 4), run(2, 3, 1)],
            &[run(0, 5, 0)],
            &[run(0, 2, 5), run(2, 7, 1)],
        ] {
            assert!(!shape.allows(wrong), "{wrong:?}");
        }
    }
}
