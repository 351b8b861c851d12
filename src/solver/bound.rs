//! A lower bound of every schedule: prices of green power, power caps and resources, and the least each job costs.
//!
//! The bound is computed exactly, in integers, from the prices alone; a poor search for prices makes it low, never wrong.

mod ascent;
mod columns;

pub use columns::BoundPart;

use super::problem::{Job, Problem, RESOURCES};

/// Non-negative prices by slot, in `1 / k` of the unit of the objective for a watt or a unit of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prices {
    /// Parts of one.
    pub k: i64,
    /// Price of green power, site by site; at most the weight of grid energy.
    pub green: Vec<i64>,
    /// Price of power below the cap, site by site.
    pub power: Vec<i64>,
    /// Price of each kind of resource, pool by pool.
    pub resources: [Vec<i64>; RESOURCES],
}

/// A bound and the prices that prove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The prices.
    pub prices: Prices,
    /// No schedule has a smaller objective, in `1 / k` weighted watt-slots.
    pub value: i128,
}

/// How far a search for prices is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundProgress {
    /// Iterations done.
    pub n_done: u32,
    /// Largest bound so far, in weighted watt-slots.
    pub best: i128,
}

/// Largest parts of one: a thousandth is fine enough for any weight.
const K_MAX: i64 = 1 << 10;
/// Largest price of power or of a resource, in weights of a watt for what a watt's share of the site has of it.
const PRICE_MAX: i64 = 16;
/// Parts of the jobs; fixed, so that any number of workers gives the same.
const N_PARTS: usize = 8;

impl Bound {
    /// The bound in weighted watt-slots, rounded up: objectives are whole.
    #[must_use]
    pub fn objective(&self) -> i128 {
        let k = i128::from(self.prices.k.max(1));
        -(-self.value).div_euclid(k)
    }
}

/// The largest lower bound that a number of iterations finds; more are better, and never worse.
///
/// `run` carries out the parts it is given, in any order or at once. `None` when the numbers of the problem are so large
/// that prices times amounts do not fit into 64 bits, or when it has no slots.
pub fn lower_bound(
    problem: &Problem,
    n_iterations: u32,
    run: &dyn Fn(&mut [BoundPart<'_>]),
    progress: &mut dyn FnMut(&BoundProgress),
) -> Option<Bound> {
    let k = parts_of_one(problem)?;
    Some(ascent::ascend(problem, k, n_iterations, run, progress))
}

/// The bound that prices prove.
///
/// The prices must come from `lower_bound` for this problem.
fn value(problem: &Problem, prices: &Prices, parts: &[BoundPart<'_>]) -> i128 {
    let jobs: i128 = parts.iter().map(|part| part.value).sum();
    let n = problem.n_slots;
    let mut rent: i128 = 0;
    for (s, site) in problem.sites.iter().enumerate() {
        for slot in 0..n {
            let at = s * n + slot;
            rent += i128::from(prices.green[at]) * i128::from(site.green_w[slot]);
            rent += i128::from(prices.power[at]) * i128::from(site.power_cap_w);
        }
    }
    for (p, pool) in problem.pools.iter().enumerate() {
        for (prices, &capacity) in prices.resources.iter().zip(&pool.capacity) {
            let sum: i128 = prices[p * n..][..n]
                .iter()
                .map(|&price| i128::from(price))
                .sum();
            rent += sum * i128::from(capacity);
        }
    }
    jobs - rent
}

/// The largest power of two with which no job's cost can leave 62 bits.
fn parts_of_one(problem: &Problem) -> Option<i64> {
    let weight = problem.sites.iter().flat_map(|site| &site.weight).max()?;
    let power = problem.sites.iter().map(|site| site.power_cap_w).max()?;
    let unit_slots = |job: &Job| job.units_max() * job.deadline.saturating_sub(job.release);
    let unit_slots = problem.jobs.iter().map(unit_slots).max().unwrap_or(1);
    // Green power, its cap, and each resource may cost so much.
    let prices = 1 + PRICE_MAX * (1 + i64::try_from(RESOURCES).ok()?);
    let most = i128::from(prices)
        * i128::from((*weight).max(1))
        * i128::from(power.max(1))
        * i128::try_from(unit_slots.max(1)).ok()?;
    let mut k = K_MAX;
    while (1_i128 << 62) < most * i128::from(k) {
        k /= 2;
        if k == 0 {
            return None;
        }
    }
    Some(k)
}
