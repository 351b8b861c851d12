//! Time as the core knows it: slots counted from the Unix epoch, half-open ranges of them, and milliseconds.
//!
//! Civil time exists only at the rim; a [`SlotGrid`] is the one place where moments become slots.

use std::fmt;

/// A moment: milliseconds since the Unix epoch, never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TimeMs(pub i64);

/// A slot: its number since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Slot(pub u32);

/// Slots from `start` up to and without `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SlotRange {
    /// First slot.
    pub start: Slot,
    /// Slot after the last.
    pub end: Slot,
}

/// The length of a slot, and with it the way from moments to slots and back.
///
/// ```
/// use lancang::slot::{Slot, SlotGrid, TimeMs};
/// let grid = SlotGrid::new(900).unwrap();
/// assert_eq!(grid.slot_at(TimeMs(899_999)), Slot(0));
/// assert_eq!(grid.slot_from(TimeMs(1)), Slot(1));
/// assert_eq!(grid.start_of(Slot(2)), TimeMs(1_800_000));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotGrid {
    slot_seconds: u32,
}

impl TimeMs {
    /// After any other.
    pub const MAX: Self = Self(i64::MAX);

    /// Moment of a second since the Unix epoch.
    #[must_use]
    pub fn from_seconds(unix_seconds: i64) -> Self {
        Self(unix_seconds.saturating_mul(1_000))
    }

    /// The moment `ms` milliseconds later.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl Slot {
    /// The slot `slots` later.
    #[must_use]
    pub fn plus(self, slots: u32) -> Self {
        Self(self.0.saturating_add(slots))
    }

    /// The slot `slots` earlier, not before the epoch.
    #[must_use]
    pub fn minus(self, slots: u32) -> Self {
        Self(self.0.saturating_sub(slots))
    }
}

impl SlotRange {
    /// Range of `start` up to and without `end`; empty when `end` is not later.
    #[must_use]
    pub fn new(start: Slot, end: Slot) -> Self {
        Self {
            start,
            end: end.max(start),
        }
    }

    /// Number of slots.
    #[must_use]
    pub fn len(self) -> u32 {
        self.end.0 - self.start.0
    }

    /// Whether there is no slot in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Whether the slot is in it.
    #[must_use]
    pub fn contains(self, slot: Slot) -> bool {
        self.start <= slot && slot < self.end
    }

    /// Whether every slot of `inner` is in it.
    #[must_use]
    pub fn covers(self, inner: Self) -> bool {
        inner.is_empty() || (self.start <= inner.start && inner.end <= self.end)
    }

    /// The slots that are in both.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// The slots, one by one.
    pub fn iter(self) -> impl Iterator<Item = Slot> {
        (self.start.0..self.end.0).map(Slot)
    }
}

impl SlotGrid {
    /// Lengths of a slot that are allowed, in seconds: 5, 15, 30 and 60 minutes.
    pub const SECONDS_ALLOWED: [u32; 4] = [300, 900, 1_800, 3_600];

    /// A grid of slots of this length; `None` unless it is one of [`Self::SECONDS_ALLOWED`].
    #[must_use]
    pub fn new(slot_seconds: u32) -> Option<Self> {
        Self::SECONDS_ALLOWED
            .contains(&slot_seconds)
            .then_some(Self { slot_seconds })
    }

    /// Length of a slot in seconds.
    #[must_use]
    pub fn slot_seconds(self) -> u32 {
        self.slot_seconds
    }

    /// Slots in a day.
    #[must_use]
    pub fn slots_per_day(self) -> u32 {
        86_400 / self.slot_seconds
    }

    /// The slot that the moment lies in.
    #[must_use]
    pub fn slot_at(self, time: TimeMs) -> Slot {
        let slot = time.0.div_euclid(self.slot_ms());
        Slot(u32::try_from(slot.max(0)).unwrap_or(u32::MAX))
    }

    /// The first slot that starts at the moment or later.
    #[must_use]
    pub fn slot_from(self, time: TimeMs) -> Slot {
        self.slot_at(TimeMs(time.0.saturating_add(self.slot_ms() - 1)))
    }

    /// Milliseconds of its slot that have passed at a moment.
    #[must_use]
    pub fn passed_ms(self, time: TimeMs) -> u64 {
        time.0.rem_euclid(self.slot_ms()).unsigned_abs()
    }

    /// Start of the slot.
    #[must_use]
    pub fn start_of(self, slot: Slot) -> TimeMs {
        TimeMs(i64::from(slot.0) * self.slot_ms())
    }

    /// Whether the moment is the start of a slot.
    #[must_use]
    pub fn is_aligned(self, time: TimeMs) -> bool {
        time.0.rem_euclid(self.slot_ms()) == 0
    }

    /// Whole slots that a duration needs, rounded up.
    #[must_use]
    pub fn slots_for_ms(self, duration_ms: u64) -> u32 {
        let slot_ms = u64::from(self.slot_seconds) * 1_000;
        u32::try_from(duration_ms.div_ceil(slot_ms)).unwrap_or(u32::MAX)
    }

    fn slot_ms(self) -> i64 {
        i64::from(self.slot_seconds) * 1_000
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_four_lengths_make_a_grid() {
        for seconds in [0, 1, 60, 301, 7_200] {
            assert_eq!(SlotGrid::new(seconds), None);
        }
        assert_eq!(SlotGrid::new(3_600).unwrap().slots_per_day(), 24);
    }

    #[test]
    fn a_moment_before_the_epoch_lies_in_the_first_slot() {
        let grid = SlotGrid::new(300).unwrap();
        assert_eq!(grid.slot_at(TimeMs(-1)), Slot(0));
    }

    #[test]
    fn a_range_that_ends_before_it_starts_is_empty() {
        let range = SlotRange::new(Slot(5), Slot(3));
        assert!(range.is_empty());
        assert_eq!(range.len(), 0);
    }
}
