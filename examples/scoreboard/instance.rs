//! Reads the public instances and computes the bound that their prices certify, in whole numbers.
//!
//! The bound is a Lagrangian one: any prices give a true lower bound of the objective.

use std::{fs, path::Path};

use lancang::{
    sim::instance::decode,
    solver::{Choice, Class, Job, Problem, RESOURCES},
};
use serde::Deserialize;

use crate::{Outcome, data};

/// A public instance.
pub(crate) fn read(path: &Path) -> Outcome<Problem> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    decode(&bytes).map_err(|refusal| format!("{}: {refusal}", path.display()).into())
}

/// Integer prices of green power, of each resource and of power, by site and slot.
#[derive(Deserialize)]
struct Prices {
    k: i64,
    lam: Vec<i64>,
    mu: [Vec<i64>; RESOURCES + 1],
}

/// The bound in weighted watt-slots that the prices in a file certify, rounded up: the objective is a whole number.
pub(crate) fn certified_bound(problem: &Problem, path: &Path) -> Outcome<i64> {
    let prices: Prices = serde_json::from_str(&data::text(path)?)?;
    let n = problem.n_slots;
    let mut total: i128 = 0;
    for job in &problem.jobs {
        let missed = i128::from(job.miss_penalty) * i128::from(prices.k);
        let runs = job
            .choices
            .iter()
            .filter_map(|choice| cheapest(job, &by_slot(problem, &prices, job, choice)));
        total += runs.fold(missed, i128::min);
    }
    for (s, site) in problem.sites.iter().enumerate() {
        let capacity = &problem.pools[s].capacity;
        for t in 0..n {
            let at = s * n + t;
            total -= i128::from(prices.lam[at]) * i128::from(site.green_w[t]);
            total -= i128::from(prices.mu[RESOURCES][at]) * i128::from(site.power_cap_w);
            for (r, &amount) in capacity.iter().enumerate() {
                total -= i128::from(prices.mu[r][at]) * i128::from(amount);
            }
        }
    }
    let k = i128::from(prices.k);
    Ok(i64::try_from((total + k - 1).div_euclid(k))?)
}

/// Price of one unit in each slot a job may run in.
fn by_slot(problem: &Problem, prices: &Prices, job: &Job, choice: &Choice) -> Vec<i128> {
    let first = problem.site_of(choice) * problem.n_slots;
    let price = |t: usize| {
        let at = first + t;
        let power = i128::from(prices.lam[at] + prices.mu[RESOURCES][at]);
        let needs = choice.need.iter().enumerate();
        let pools: i128 = needs
            .map(|(r, &need)| i128::from(need) * i128::from(prices.mu[r][at]))
            .sum();
        i128::from(choice.watts) * power + pools
    };
    (job.release..job.deadline).map(price).collect()
}

/// Least sum of prices of all the work, pieces of any size allowed.
fn cheapest(job: &Job, prices: &[i128]) -> Option<i128> {
    match &job.class {
        Class::Rigid => prices
            .windows(job.duration)
            .map(|window| window.iter().sum())
            .min(),
        Class::Interruptible { .. } => {
            let mut sorted = prices.to_vec();
            sorted.sort_unstable();
            Some(sorted.get(..job.duration)?.iter().sum())
        }
        Class::Malleable { speed, work } => {
            let mut last = 0;
            let mut steps: Vec<(i128, i128)> = Vec::new();
            for &speed in speed {
                let more = i128::from((speed - last).max(1));
                steps.extend(prices.iter().map(|&price| (price, more)));
                last = speed;
            }
            steps.sort_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)));
            let mut rest = i128::from(*work);
            let mut sum = 0;
            for (price, more) in steps {
                if rest <= more {
                    return Some(sum + price * rest / more);
                }
                sum += price;
                rest -= more;
            }
            None
        }
    }
}
