//! Chance for the searches: a small generator of known seed, and noise in whole numbers.
//!
//! Integers only, so that a seed gives the same schedule on every machine.

/// Fixed-point unit of `gumbel` and `exponential`.
const UNIT_BITS: u32 = 10;
/// ln 2 in units of 2^-10.
const LN_2: i64 = 710;

/// A splitmix64 generator (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub(super) struct Noise {
    state: u64,
}

impl Noise {
    /// Two streams of one seed are independent.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut noise = Self {
            state: seed ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93),
        };
        noise.next();
        noise
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is at least 1 and below 2^32.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        let scaled = (self.next() >> 32).wrapping_mul(bound) >> 32;
        usize::try_from(scaled).unwrap_or(0)
    }

    /// True once in `n` times.
    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// An exponential sample of mean `scale`.
    pub(super) fn exponential(&mut self, scale: i64) -> i64 {
        scale.saturating_mul(self.unit_exponential()) >> UNIT_BITS
    }

    /// A Gumbel sample of scale `scale`: the least of costs, each less its own sample, falls on a cost with odds
    /// exp(-cost / scale).
    pub(super) fn gumbel(&mut self, scale: i64) -> i64 {
        let exponential = u64::try_from(self.unit_exponential().max(1)).unwrap_or(1);
        let unit_log2 = i64::from(UNIT_BITS) << UNIT_BITS;
        let log2 = log2(exponential) - unit_log2;
        scale.saturating_mul((-log2 * LN_2) >> UNIT_BITS) >> UNIT_BITS
    }

    /// -ln of a uniform number, in units of 2^-10.
    fn unit_exponential(&mut self) -> i64 {
        let uniform = self.next() | 1;
        (((i64::from(u64::BITS) << UNIT_BITS) - log2(uniform)) * LN_2) >> UNIT_BITS
    }
}

/// log2 of a positive number in units of 2^-10, by its highest bit and a straight line (at most 0.09 too low).
fn log2(value: u64) -> i64 {
    let high = u64::BITS - 1 - value.leading_zeros();
    let mantissa = if high < UNIT_BITS {
        value << (UNIT_BITS - high)
    } else {
        value >> (high - UNIT_BITS)
    };
    let fraction = i64::try_from(mantissa).unwrap_or(0) - (1 << UNIT_BITS);
    (i64::from(high) << UNIT_BITS) + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noise_has_the_means_of_its_distributions() {
        let mut noise = Noise::new(1, 2);
        let n = 100_000;
        let mean = |sum: i64| sum / i64::from(n);
        let exponential = mean((0..n).map(|_| noise.exponential(1_000)).sum());
        assert!((930..1_070).contains(&exponential), "{exponential}");
        // The mean of a Gumbel distribution is the Euler-Mascheroni constant.
        let gumbel = mean((0..n).map(|_| noise.gumbel(1_000)).sum());
        assert!((500..660).contains(&gumbel), "{gumbel}");
        let below: usize = (0..n).map(|_| noise.below(10)).sum();
        assert!((440_000..460_000).contains(&below), "{below}");
    }
}
