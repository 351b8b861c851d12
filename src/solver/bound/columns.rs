//! The cheapest way to run each job under prices, and what those ways use together.
//!
//! A way may ignore minimum pieces, resume slots and links, and end in a part of a unit: its cost is never above that of
//! a real one.

use std::ops::Range;

use super::{
    super::problem::{Choice, Class, Job, Problem, RESOURCES},
    Prices,
};

/// Parts of one unit in which use is counted.
pub(super) const MILLI: i64 = 1_000;

/// Jobs whose cheapest ways one worker finds.
#[derive(Debug)]
pub struct BoundPart<'a> {
    problem: &'a Problem,
    prices: &'a Prices,
    /// Green power and power cap together, site by site.
    watt: &'a [i64],
    /// Whether any slot of a resource of a pool has a price.
    priced: &'a [[bool; RESOURCES]],
    jobs: Range<usize>,
    /// Sum of the least costs of the jobs.
    pub(super) value: i128,
    pub(super) usage: Usage,
    buffers: Buffers,
}

/// What the cheapest ways use, in thousandths.
#[derive(Debug, Clone)]
pub(super) struct Usage {
    /// Power, site by site.
    pub(super) power: Vec<i64>,
    /// Each kind of resource, pool by pool.
    pub(super) resources: [Vec<i64>; RESOURCES],
}

#[derive(Debug, Default)]
struct Buffers {
    /// Cost of a unit in each slot of the window.
    cost: Vec<i64>,
    /// The same with positions, sorted as far as needed.
    sorted: Vec<(i64, usize)>,
    /// Slots and thousandths of units of the way at hand, and of the best.
    way: Vec<(usize, i64)>,
    best: Vec<(usize, i64)>,
}

impl Usage {
    pub(super) fn new(problem: &Problem) -> Self {
        let n = problem.n_slots;
        Self {
            power: vec![0; n * problem.sites.len()],
            resources: [(); RESOURCES].map(|()| vec![0; n * problem.pools.len()]),
        }
    }
}

/// The parts of a problem under prices; `watt` and `priced` are filled from them first.
pub(super) fn parts<'a>(
    problem: &'a Problem,
    prices: &'a Prices,
    watt: &'a [i64],
    priced: &'a [[bool; RESOURCES]],
    n_parts: usize,
) -> Vec<BoundPart<'a>> {
    let n = problem.jobs.len();
    (0..n_parts)
        .map(|part| BoundPart {
            problem,
            prices,
            watt,
            priced,
            jobs: part * n / n_parts..(part + 1) * n / n_parts,
            value: 0,
            usage: Usage::new(problem),
            buffers: Buffers::default(),
        })
        .collect()
}

impl BoundPart<'_> {
    /// Finds the cheapest way of each job.
    pub fn run(&mut self) {
        for position in self.jobs.clone() {
            self.job(&self.problem.jobs[position]);
        }
    }

    fn job(&mut self, job: &Job) {
        let missed = i128::from(job.miss_penalty) * i128::from(self.prices.k);
        let mut least = i64::try_from(missed).unwrap_or(i64::MAX);
        let mut choice_of_least = None;
        for choice in &job.choices {
            if !self.holds(choice) {
                continue;
            }
            self.costs(job, choice);
            if let Some(cost) = self.buffers.cheapest(job, least)
                && cost < least
            {
                least = cost;
                choice_of_least = Some(choice);
                std::mem::swap(&mut self.buffers.way, &mut self.buffers.best);
            }
        }
        let Some(choice) = choice_of_least else {
            self.value += missed;
            return;
        };
        self.value += i128::from(least);
        let n = self.problem.n_slots;
        let site = self.problem.site_of(choice) * n + job.release;
        let pool = choice.pool * n + job.release;
        for &(slot, amount) in &self.buffers.best {
            self.usage.power[site + slot] += amount * i64::from(choice.watts);
            for (used, &need) in self.usage.resources.iter_mut().zip(&choice.need) {
                used[pool + slot] += amount * i64::from(need);
            }
        }
    }

    /// No schedule runs a job where one unit of it does not fit.
    fn holds(&self, choice: &Choice) -> bool {
        let pool = &self.problem.pools[choice.pool];
        choice.watts <= self.problem.sites[pool.site].power_cap_w
            && choice
                .need
                .iter()
                .zip(&pool.capacity)
                .all(|(need, have)| need <= have)
    }

    fn costs(&mut self, job: &Job, choice: &Choice) {
        let n = self.problem.n_slots;
        let window = job.release..job.deadline.max(job.release);
        let site = self.problem.site_of(choice) * n;
        let watts = i64::from(choice.watts);
        let cost = &mut self.buffers.cost;
        cost.clear();
        cost.extend(
            self.watt[site..][window.clone()]
                .iter()
                .map(|price| price * watts),
        );
        let pool = choice.pool * n;
        for (r, &need) in choice.need.iter().enumerate() {
            if need == 0 || !self.priced[choice.pool][r] {
                continue;
            }
            let prices = &self.prices.resources[r][pool..][window.clone()];
            for (cost, price) in cost.iter_mut().zip(prices) {
                *cost += price * i64::from(need);
            }
        }
    }
}

impl Buffers {
    /// Least cost of a job, with its way in `way`; a way that reaches `enough` may be left unfinished.
    fn cheapest(&mut self, job: &Job, enough: i64) -> Option<i64> {
        match &job.class {
            Class::Rigid => self.window(job.duration),
            Class::Interruptible { .. } => self.slots(job.duration),
            Class::Malleable { speed, work } => self.units(speed, *work, enough),
        }
    }

    /// Slots in a row.
    fn window(&mut self, n: usize) -> Option<i64> {
        if self.cost.len() < n {
            return None;
        }
        let mut sum: i64 = self.cost[..n].iter().sum();
        let (mut least, mut start) = (sum, 0);
        for (i, pair) in self.cost[n..].iter().zip(&self.cost).enumerate() {
            sum += pair.0 - pair.1;
            if sum < least {
                (least, start) = (sum, i + 1);
            }
        }
        self.way.clear();
        self.way
            .extend((start..start + n).map(|slot| (slot, MILLI)));
        Some(least)
    }

    /// The cheapest slots.
    fn slots(&mut self, n: usize) -> Option<i64> {
        if self.cost.len() < n || n == 0 {
            return None;
        }
        self.sorted.clear();
        self.sorted.extend(
            self.cost
                .iter()
                .enumerate()
                .map(|(slot, &cost)| (cost, slot)),
        );
        self.sorted.select_nth_unstable(n - 1);
        let chosen = &self.sorted[..n];
        self.way.clear();
        self.way
            .extend(chosen.iter().map(|&(_, slot)| (slot, MILLI)));
        Some(chosen.iter().map(|(cost, _)| cost).sum())
    }

    /// The cheapest units by work done, the last in part.
    fn units(&mut self, speed: &[i64], work: i64, enough: i64) -> Option<i64> {
        self.sorted.clear();
        self.sorted.extend(
            self.cost
                .iter()
                .enumerate()
                .map(|(slot, &cost)| (cost, slot)),
        );
        self.sorted.sort_unstable();
        self.way.clear();
        let gain = |k: usize| (speed[k] - if k == 0 { 0 } else { speed[k - 1] }).max(1);
        // For each number of units the next slot that gets so many.
        let mut next = vec![0; speed.len()];
        let (mut left, mut sum) = (work, 0_i64);
        loop {
            let mut best: Option<(i64, i64, usize)> = None;
            for (k, &at) in next.iter().enumerate() {
                let Some(&(cost, _)) = self.sorted.get(at) else {
                    continue;
                };
                let gain = gain(k);
                let cheaper = best.is_none_or(|(other, other_gain, _)| {
                    i128::from(cost) * i128::from(other_gain) < i128::from(other) * i128::from(gain)
                });
                if cheaper {
                    best = Some((cost, gain, k));
                }
            }
            let (cost, gain, k) = best?;
            let slot = self.sorted[next[k]].1;
            next[k] += 1;
            if left <= gain {
                let part = i128::from(cost) * i128::from(left) / i128::from(gain);
                self.way.push((slot, left * MILLI / gain));
                return Some(sum + i64::try_from(part).unwrap_or(i64::MAX));
            }
            self.way.push((slot, MILLI));
            sum += cost;
            left -= gain;
            if enough <= sum {
                return None;
            }
        }
    }
}
