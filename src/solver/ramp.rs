//! How the price of grid power rises around the green power of a slot while a schedule is searched.
//!
//! It never falls with the load, and beyond its width a ramp prices load exactly as the true step does.

/// How the price of a watt rises from nothing to its weight around the green power of a slot: over twice 2^bits watts.
///
/// A step prices what is; a wide ramp spreads load over slots while all of them still have green power to spare, so
/// that less of it is left over where no job fits any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ramp {
    bits: u32,
}

impl Default for Ramp {
    fn default() -> Self {
        Self::STEP
    }
}

impl Ramp {
    pub(super) const STEP: Self = Self { bits: 0 };

    /// Of at most `watts` on either side.
    pub(super) fn of(watts: i64) -> Self {
        let bits = u64::try_from(watts)
            .unwrap_or(0)
            .checked_ilog2()
            .unwrap_or(0);
        Self { bits: bits.min(28) }
    }

    pub(super) fn small(self) -> Option<SmallRamp> {
        (self.bits <= 14).then_some(SmallRamp {
            half: 1 << self.bits,
            shift: self.bits + 2,
        })
    }

    pub(super) fn is_a_step(self) -> bool {
        self.bits == 0
    }

    /// The price of an excess in watts: the integral of the ramp.
    #[inline]
    pub(super) fn above(self, excess: i32) -> i64 {
        let excess = i64::from(excess);
        if self.is_a_step() {
            return excess.max(0);
        }
        let half = 1_i64 << self.bits;
        let inside = (excess + half).clamp(0, 2 * half);
        (inside.wrapping_mul(inside) >> (self.bits + 2)) + (excess - half).max(0)
    }
}

/// A ramp whose squares fit into 32 bits; without checks, so that many slots are priced at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct SmallRamp {
    half: i32,
    shift: u32,
}

impl SmallRamp {
    #[inline]
    pub(super) fn above(self, excess: i32) -> i32 {
        let twice = self.half.wrapping_mul(2);
        let inside = excess.wrapping_add(self.half).max(0).min(twice);
        let below = inside.wrapping_mul(inside).wrapping_shr(self.shift);
        below.wrapping_add(excess.wrapping_sub(self.half).max(0))
    }
}
