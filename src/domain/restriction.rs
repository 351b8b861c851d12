//! What operators restrict at a site besides its traits: a drain, and windows of maintenance or less power.
//!
//! A site that is drained is cordoned too; where windows overlap, the lowest power rules.

use std::sync::Arc;

use crate::{
    domain::{ids::WindowId, site::Site},
    slot::{Slot, SlotRange, TimeMs},
};

/// All restrictions of a site.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restrictions {
    /// Set while the site is being emptied.
    pub drain: Option<Drain>,
    /// Windows by id, at most [`crate::limits::SITE_WINDOWS_MAX`].
    pub windows: Vec<Window>,
}

/// Slots in which a site may draw less than its cap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Id within the site.
    pub id: WindowId,
    /// What it is for.
    pub kind: WindowKind,
    /// The slots; never empty.
    pub slots: SlotRange,
    /// Facility power allowed, watts; 0 for maintenance.
    pub max_watts: u64,
    /// As the operator said.
    pub reason: Arc<str>,
}

/// What a window is for: how far it goes with work that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WindowKind {
    /// Nothing runs; whatever cannot pause is stopped when it begins.
    Maintenance,
    /// Less power; what cannot pause or slow down goes on.
    Curtailment,
    /// Less power; what cannot pause or slow down is stopped.
    Emergency,
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

impl WindowKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Maintenance, Self::Curtailment, Self::Emergency];
}

impl Site {
    /// The window that rules a slot: the one of least power, the sternest among equals.
    #[must_use]
    pub fn window_at(&self, slot: Slot) -> Option<&Window> {
        let open = self.restrictions.windows.iter();
        let open = open.filter(|window| window.slots.contains(slot));
        open.min_by_key(|window| {
            let is_gentle = window.kind == WindowKind::Curtailment;
            (
                window.max_watts,
                window.kind != WindowKind::Maintenance,
                is_gentle,
            )
        })
    }

    /// Facility power allowed in a slot, watts.
    #[must_use]
    pub fn power_allowed(&self, slot: Slot) -> u64 {
        let window = self.window_at(slot);
        window.map_or(self.power_cap_watts, |window| {
            window.max_watts.min(self.power_cap_watts)
        })
    }
}

impl DrainMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Finish, Self::Checkpoint, Self::Kill];
}
