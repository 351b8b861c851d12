//! Dealing an amount out in proportion to weights, by largest remainder.
//!
//! The parts add up to the amount exactly, and where the amount is at most all weights together, no part is above its weight.

use std::cmp::Reverse;

/// Parts of `amount` in proportion to `weights`; what rounding down leaves goes, one by one, to the largest remainders,
/// the first of equal ones first. All parts are 0 when all weights are.
///
/// ```
/// assert_eq!(lancang::ledger::deal(10, &[1, 1, 1]), [4, 3, 3]);
/// assert_eq!(lancang::ledger::deal(7, &[0, 5, 2]), [0, 5, 2]);
/// ```
#[must_use]
pub fn deal(amount: u64, weights: &[u64]) -> Vec<u64> {
    let sum: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    if sum == 0 {
        return vec![0; weights.len()];
    }
    let mut left = amount;
    let mut parts = Vec::with_capacity(weights.len());
    let mut remainders = Vec::new();
    for (i, &weight) in weights.iter().enumerate() {
        let scaled = u128::from(amount) * u128::from(weight);
        // At most `amount`, as a weight is at most the sum.
        let part = u64::try_from(scaled / sum).unwrap_or(amount);
        left -= part;
        parts.push(part);
        if scaled % sum > 0 {
            remainders.push((Reverse(scaled % sum), i));
        }
    }
    // Fewer units are left than there are remainders, as each is below one.
    let n_left = usize::try_from(left).unwrap_or(usize::MAX);
    if 0 < n_left {
        remainders.select_nth_unstable(n_left - 1);
        for (_, i) in &remainders[..n_left] {
            parts[*i] += 1;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn parts_are_exact_fair_and_bounded(
            amount in prop_oneof![any::<u64>(), 0..1_000_u64],
            weights in vec(prop_oneof![any::<u64>(), 0..9_u64], 1..40),
        ) {
            let parts = deal(amount, &weights);
            let sum: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
            if sum == 0 {
                prop_assert!(parts.iter().all(|&part| part == 0));
                return Ok(());
            }
            prop_assert_eq!(parts.iter().sum::<u64>(), amount);
            for (&part, &weight) in parts.iter().zip(&weights) {
                // Within one of the exact share: |part * sum - amount * weight| < sum. 192 bits, in two steps.
                let floor = u128::from(amount) * u128::from(weight) / sum;
                prop_assert!(floor <= u128::from(part) && u128::from(part) <= floor + 1);
                if u128::from(amount) <= sum {
                    prop_assert!(part <= weight);
                }
            }
        }
    }
}
