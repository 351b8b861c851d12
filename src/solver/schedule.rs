//! Who runs where and when.
//!
//! Runs of an assignment are in order and never overlap; adjacent runs with equal units are one.

/// One assignment for each job of a problem, in its order; `None` is a missed job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedule {
    /// By position of the job.
    pub assignments: Vec<Option<Assignment>>,
}

/// Where and when a job runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Position of the choice in the job's list.
    pub choice: usize,
    /// First slot of its stage-in, if it has one.
    pub stage_in: Option<usize>,
    /// Its runs.
    pub runs: Vec<Run>,
}

/// Slots in a row with a number of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// First slot.
    pub start: usize,
    /// Number of slots, at least 1.
    pub len: usize,
    /// Units, at least 1.
    pub units: usize,
}

impl Run {
    /// Slot after the last.
    #[must_use]
    pub fn end(&self) -> usize {
        self.start + self.len
    }
}

impl Assignment {
    /// First slot of the first run.
    #[must_use]
    pub fn start(&self) -> usize {
        self.runs.first().map_or(0, |run| run.start)
    }

    /// Slot after the last run.
    #[must_use]
    pub fn end(&self) -> usize {
        self.runs.last().map_or(0, Run::end)
    }
}
