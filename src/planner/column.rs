//! A column of amounts in use, one for each slot, with the greatest of every block of slots.
//!
//! `block_max` is always exactly the maximum of its block, so that a search may skip a block on its word alone.

use std::ops::Range;

/// Slots of a block: small enough to refresh at every reservation, long enough to skip most of a free window.
const BLOCK: usize = 16;

/// Amounts in use by slot offset within the horizon.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct UseColumn {
    used: Vec<u64>,
    block_max: Vec<u64>,
}

/// Where in time a job fits: bounds on what others may use in a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room<'a, const N: usize = 4> {
    /// Column and the greatest use by others that leaves enough.
    bounds: [(&'a UseColumn, u64); N],
}

impl UseColumn {
    /// Nothing in use in `n_slots` slots.
    pub(super) fn new(n_slots: usize) -> Self {
        Self {
            used: vec![0; n_slots],
            block_max: vec![0; n_slots.div_ceil(BLOCK)],
        }
    }

    /// Amount in use by slot.
    pub(super) fn used(&self) -> &[u64] {
        &self.used
    }

    /// Whether nothing is in use at any slot.
    pub(super) fn is_unused(&self) -> bool {
        self.block_max.iter().all(|&max| max == 0)
    }

    /// Takes `amount` in every slot of `slots`.
    pub(super) fn take(&mut self, slots: Range<usize>, amount: u64) {
        if amount == 0 || slots.is_empty() {
            return;
        }
        for used in &mut self.used[slots.clone()] {
            *used += amount;
        }
        self.refresh(slots);
    }

    /// Gives back `amount` in every slot of `slots`; asserts that it was taken.
    pub(super) fn give_back(&mut self, slots: Range<usize>, amount: u64) {
        if amount == 0 || slots.is_empty() {
            return;
        }
        for used in &mut self.used[slots.clone()] {
            assert!(
                amount <= *used,
                "released {amount} where only {used} was reserved"
            );
            *used -= amount;
        }
        self.refresh(slots);
    }

    /// Forgets the first `n_gone` slots and opens unused ones at the end, up to `n_slots`.
    pub(super) fn shift(&mut self, n_gone: usize, n_slots: usize) {
        shift(&mut self.used, n_gone, n_slots, 0);
        self.block_max.resize(n_slots.div_ceil(BLOCK), 0);
        self.refresh(0..n_slots);
    }

    /// Gives everything back.
    pub(super) fn clear(&mut self) {
        self.used.fill(0);
        self.block_max.fill(0);
    }

    fn refresh(&mut self, slots: Range<usize>) {
        let blocks = slots.start / BLOCK..slots.end.div_ceil(BLOCK);
        let first = blocks.start * BLOCK;
        let maxima = &mut self.block_max[blocks];
        for (max, block) in maxima.iter_mut().zip(self.used[first..].chunks(BLOCK)) {
            *max = block.iter().copied().max().unwrap_or(0);
        }
    }
}

impl<'a, const N: usize> Room<'a, N> {
    /// Room where every column has at most its bound in use.
    pub(super) fn new(bounds: [(&'a UseColumn, u64); N]) -> Self {
        Self { bounds }
    }

    /// Whether the slot has room.
    pub(super) fn is_free(&self, slot: usize) -> bool {
        self.bounds
            .iter()
            .all(|(column, bound)| column.used[slot] <= *bound)
    }

    /// First slot of `slots` without room, or its end.
    pub(super) fn first_blocked(&self, slots: Range<usize>) -> usize {
        let mut slot = slots.start;
        while slot < slots.end {
            let block = slot / BLOCK;
            let next = ((block + 1) * BLOCK).min(slots.end);
            if !self.is_free_block(block)
                && let Some(blocked) = (slot..next).find(|&slot| !self.is_free(slot))
            {
                return blocked;
            }
            slot = next;
        }
        slots.end
    }

    /// First slot of `slots` with room, or its end.
    pub(super) fn first_free(&self, slots: Range<usize>) -> usize {
        let end = slots.end;
        slots
            .into_iter()
            .find(|&slot| self.is_free(slot))
            .unwrap_or(end)
    }

    /// The longest stretches with room within `slots`, in order.
    pub(super) fn stretches(&self, slots: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let mut from = slots.start;
        std::iter::from_fn(move || {
            let start = self.first_free(from..slots.end);
            from = self.first_blocked(start..slots.end);
            (start < from).then_some(start..from)
        })
    }

    fn is_free_block(&self, block: usize) -> bool {
        self.bounds
            .iter()
            .all(|(column, bound)| column.block_max[block] <= *bound)
    }
}

/// Drops the first `n_gone` values and fills up to `n_slots` with `fill`.
pub(super) fn shift<T: Clone>(values: &mut Vec<T>, n_gone: usize, n_slots: usize, fill: T) {
    values.drain(..n_gone.min(values.len()));
    values.resize(n_slots, fill);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_leave_out_exactly_the_blocked_slots() {
        let mut column = UseColumn::new(50);
        let empty = UseColumn::new(50);
        column.take(3..5, 8);
        column.take(20..21, 8);
        column.take(47..50, 8);
        let room = Room::new([(&column, 7), (&empty, 0), (&empty, 0), (&empty, 0)]);
        let found: Vec<_> = room.stretches(1..49).collect();
        assert_eq!(found, [1..3, 5..20, 21..47]);
        assert_eq!(room.stretches(47..50).count(), 0);
    }

    #[test]
    fn what_is_given_back_leaves_no_trace() {
        let mut column = UseColumn::new(40);
        column.take(0..40, 5);
        let before = column.clone();
        column.take(10..33, 7);
        column.give_back(10..33, 7);
        assert_eq!(column, before);
        column.give_back(0..40, 5);
        assert!(column.is_unused());
    }

    #[test]
    fn a_shift_moves_use_and_maxima_together() {
        let mut column = UseColumn::new(40);
        column.take(20..24, 9);
        column.shift(18, 40);
        let mut expected = UseColumn::new(40);
        expected.take(2..6, 9);
        assert_eq!(column, expected);
        column.shift(1_000, 40);
        assert!(column.is_unused());
    }
}
