//! Seeded chance and the few distributions that instances are made of.
//!
//! The same seed gives the same numbers on every machine; nothing here decides a capacity of the scheduler.

use std::f64::consts::TAU;

/// A stream of numbers (`SplitMix64`).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(0x5EED_1A4C_A4C0_FFEE))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to but without 1.
    pub(super) fn unit(&mut self) -> f64 {
        let high = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        f64::from(high) / 4_294_967_296.0
    }

    /// Evenly between two bounds.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A whole number from `low` to `high`, both included.
    pub(super) fn whole_between(&mut self, low: i64, high: i64) -> i64 {
        low + whole(real(high - low + 1) * self.unit())
    }

    /// One of several.
    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        let n = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let i = whole(f64::from(n) * self.unit());
        all[usize::try_from(i).unwrap_or(0)]
    }

    /// Position in a list of weights, by weight.
    pub(super) fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        for (i, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return i;
            }
        }
        weights.len() - 1
    }

    /// True so often out of 1.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// The standard normal distribution.
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }
}

/// A process that forgets slowly: `keep` of the last value and a normal step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drift {
    keep: f64,
    step: f64,
    now: f64,
}

impl Drift {
    /// Begins in its own long-run distribution.
    pub(super) fn new(keep: f64, step: f64, random: &mut Random) -> Self {
        let spread = step / (1.0 - keep * keep).sqrt();
        let now = spread * random.normal();
        Self { keep, step, now }
    }

    pub(super) fn next(&mut self, random: &mut Random) -> f64 {
        self.now = self.keep * self.now + self.step * random.normal();
        self.now
    }
}

/// The whole number below; what no integer can hold becomes the nearest that can.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the cast saturates and the fraction is meant to go"
)]
pub(super) fn whole(x: f64) -> i64 {
    x.floor() as i64
}

/// The number as a float; instances are statistics, the last digit does not matter.
#[expect(clippy::cast_precision_loss, reason = "said above")]
pub(super) fn real(n: i64) -> f64 {
    n as f64
}
