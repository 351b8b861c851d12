//! The intensity of each site's supply by slot: what a carbon-aware client of the site is shown.
//!
//! It depends on forecasts alone and never on who else has read it: that is the assumption of the published rules, and
//! why many jobs follow it into the same slot.

use crate::solver::Problem;

/// Thousandths of the weight of grid energy, by site and slot.
///
/// A site whose green power would feed it at its power cap has intensity 0; one without green power has that of the
/// grid. With no green power anywhere this is the carbon intensity that the papers use.
#[derive(Debug)]
pub(super) struct Signal {
    sums: Vec<Vec<i64>>,
}

impl Signal {
    pub(super) fn new(problem: &Problem) -> Self {
        let sums = problem.sites.iter().map(|site| {
            let cap = i64::from(site.power_cap_w);
            let mut sums = Vec::with_capacity(problem.n_slots + 1);
            let mut sum = 0;
            sums.push(sum);
            for (&green, &weight) in site.green_w.iter().zip(&site.weight) {
                let grid = (cap - i64::from(green)).max(0);
                sum += i64::from(weight) * 1000 * grid / cap.max(1);
                sums.push(sum);
            }
            sums
        });
        Self {
            sums: sums.collect(),
        }
    }

    /// Intensity in one slot.
    pub(super) fn at(&self, site: usize, slot: usize) -> i64 {
        self.sum(site, slot, 1)
    }

    /// Sum over slots in a row; slots after the last count nothing.
    pub(super) fn sum(&self, site: usize, start: usize, len: usize) -> i64 {
        let sums = &self.sums[site];
        let last = sums.len() - 1;
        sums[(start + len).min(last)] - sums[start.min(last)]
    }
}
