//! What ran where and when, whoever decided it, and what became of each job.
//!
//! Work occupies whole slots; a job's executed pieces never overlap.

use crate::{
    domain::{job::Flexibility, site::Amounts},
    slot::{Slot, SlotRange},
};

/// A stretch of slots in which a job ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Position of the job in the scenario.
    pub job: usize,
    /// Position of the site in the scenario.
    pub site: usize,
    /// Position of the pool at the site.
    pub pool: usize,
    /// When.
    pub slots: SlotRange,
    /// Facility power in each slot, watts.
    pub watts: u64,
    /// What it took of the pool in each slot.
    pub amounts: Amounts,
}

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The end of its story.
    pub verdict: Verdict,
    /// How often it was planned anew before it began.
    pub moves: u32,
    /// How often an outage stopped it.
    pub stops: u32,
}

/// The end of a job's story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It ran to its end, which is the slot after its last.
    Finished(Slot),
    /// It was refused when it was submitted, with the last hurdle.
    Refused(String),
    /// It was accepted and never came to its end, with the reason.
    Lost(&'static str),
}

/// The runs of a plan as they turn out: cut or extended at their end by how much longer the job really takes.
pub(super) fn real_runs(planned: &[SlotRange], extra_slots: i64) -> Vec<SlotRange> {
    let total: i64 = planned.iter().map(|run| i64::from(run.len())).sum();
    let mut left = u32::try_from((total + extra_slots).max(1)).unwrap_or(u32::MAX);
    let mut runs = Vec::with_capacity(planned.len());
    for (i, run) in planned.iter().enumerate() {
        let is_last = i + 1 == planned.len();
        let slots = if is_last { left } else { left.min(run.len()) };
        if slots > 0 {
            runs.push(SlotRange::new(run.start, run.start.plus(slots)));
        }
        left -= slots;
    }
    runs
}

/// Slots that are still to be run after a stop: planned ones, and how many more or fewer it really takes.
pub(super) fn after_stop(
    flexibility: &Flexibility,
    (planned, extra): (u32, i64),
    done: u32,
    resume_slots: u32,
) -> (u32, i64) {
    match flexibility {
        Flexibility::Interruptible { .. } if done > 0 => {
            let real = i64::from(planned) + extra - i64::from(done) + i64::from(resume_slots);
            let planned = (planned.saturating_sub(done) + resume_slots).max(1);
            (planned, real.max(1) - i64::from(planned))
        }
        Flexibility::Interruptible { .. } | Flexibility::Rigid | Flexibility::Malleable { .. } => {
            (planned, extra)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: u32, end: u32) -> SlotRange {
        SlotRange::new(Slot(start), Slot(end))
    }

    #[test]
    fn a_run_is_cut_or_extended_at_its_end() {
        let planned = [run(2, 4), run(8, 10)];
        assert_eq!(real_runs(&planned, 0), planned);
        assert_eq!(real_runs(&planned, 3), [run(2, 4), run(8, 13)]);
        assert_eq!(real_runs(&planned, -1), [run(2, 4), run(8, 9)]);
        assert_eq!(real_runs(&planned, -3), [run(2, 3)]);
        assert_eq!(real_runs(&planned, -9), [run(2, 3)]);
    }

    #[test]
    fn a_stop_costs_a_rigid_job_all_and_an_interruptible_one_its_resumption() {
        let cut = Flexibility::Interruptible {
            min_chunk_ms: 1,
            resume_cost_ms: 1,
        };
        assert_eq!(after_stop(&Flexibility::Rigid, (8, 2), 5, 1), (8, 2));
        assert_eq!(after_stop(&cut, (8, 2), 5, 1), (4, 2));
        assert_eq!(after_stop(&cut, (8, 2), 9, 1), (1, 1));
        assert_eq!(after_stop(&cut, (8, 0), 0, 1), (8, 0));
    }
}
