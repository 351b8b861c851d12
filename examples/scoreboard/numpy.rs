//! The few draws of `numpy.random.default_rng(0)` that Let's Wait Awhile's published job set is made of.
//!
//! Bit for bit: the job set is not shipped, and only the same draws give the same jobs.

use crate::data;

/// PCG64 as numpy seeds it from 0.
pub(crate) struct Rng {
    state: u128,
    /// Upper half of the last 64 bits, if only the lower one was used.
    half: Option<u32>,
}

const STATE_OF_SEED_0: u128 = 35_399_562_948_360_463_058_890_781_895_381_311_971;
const INCREMENT_OF_SEED_0: u128 = 87_136_372_517_582_989_555_478_159_403_783_844_777;
const MULTIPLIER: u128 = 47_026_247_687_942_121_848_144_207_491_837_523_525;

impl Rng {
    pub(crate) fn seed_0() -> Self {
        Self {
            state: STATE_OF_SEED_0,
            half: None,
        }
    }

    fn next_u64(&mut self) -> u64 {
        self.state = self
            .state
            .wrapping_mul(MULTIPLIER)
            .wrapping_add(INCREMENT_OF_SEED_0);
        let [low, high] = halves(self.state);
        let turn = u32::try_from(self.state >> 122).unwrap_or(0);
        (low ^ high).rotate_right(turn)
    }

    fn next_u32(&mut self) -> u32 {
        if let Some(half) = self.half.take() {
            return half;
        }
        let both = self.next_u64();
        self.half = u32::try_from(both >> 32).ok();
        low_u32(both)
    }

    /// In `0.0..1.0`.
    fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / 9_007_199_254_740_992.0
    }

    /// In `0..n`, without bias (Lemire).
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        let mut product = u64::from(self.next_u32()) * u64::from(n);
        if low_u32(product) < n {
            let threshold = n.wrapping_neg() % n;
            while low_u32(product) < threshold {
                product = u64::from(self.next_u32()) * u64::from(n);
            }
        }
        u32::try_from(product >> 32).unwrap_or(0)
    }

    /// How many of `n` fall into each of so many equally likely bins.
    pub(crate) fn multinomial(&mut self, n: usize, n_bins: usize) -> Vec<usize> {
        let share = 1.0 / n_bins as f64;
        let (mut left, mut rest) = (n, 1.0);
        let mut counts = Vec::with_capacity(n_bins);
        for _ in 1..n_bins {
            let count = self.binomial(left, share / rest);
            counts.push(count);
            left -= count;
            rest -= share;
        }
        counts.push(left);
        counts
    }

    /// By inversion, which numpy uses up to a mean of 30.
    fn binomial(&mut self, n: usize, p: f64) -> usize {
        if n == 0 {
            return 0;
        }
        if 0.5 < p {
            return n - self.binomial(n, 1.0 - p);
        }
        let (q, size) = (1.0 - p, n as f64);
        let first = (size * (-p).ln_1p()).exp();
        let mean = size * p;
        let bound = data::floored(size.min(mean + 10.0 * (mean * q + 1.0).sqrt()));
        let (mut count, mut chance, mut drawn) = (0, first, self.next_f64());
        while chance < drawn {
            count += 1;
            if bound < count {
                (count, chance, drawn) = (0, first, self.next_f64());
            } else {
                drawn -= chance;
                chance = ((n - count + 1) as f64 * p * chance) / (count as f64 * q);
            }
        }
        count
    }
}

fn halves(bits: u128) -> [u64; 2] {
    let low = bits & u128::from(u64::MAX);
    [low, bits >> 64].map(|half| u64::try_from(half).unwrap_or(0))
}

fn low_u32(bits: u64) -> u32 {
    u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0)
}
