//! What operators restrict at a site besides its traits: a drain.
//!
//! A site that is drained is cordoned too.

use crate::slot::TimeMs;

/// All restrictions of a site.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restrictions {
    /// Set while the site is being emptied.
    pub drain: Option<Drain>,
}

/// How and until when a site is emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// What becomes of jobs that have begun.
    pub mode: DrainMode,
    /// When whatever is still there is stopped; `None` for never.
    pub deadline: Option<TimeMs>,
    /// Since when.
    pub since: TimeMs,
}

/// What a drain makes of jobs that have begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainMode {
    /// They go on to their end.
    Finish,
    /// Interruptible ones are stopped with their grace and planned elsewhere, the others go on.
    Checkpoint,
    /// All are stopped at once, without grace.
    Kill,
}

impl DrainMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Finish, Self::Checkpoint, Self::Kill];
}
