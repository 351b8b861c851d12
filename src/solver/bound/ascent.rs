//! The search for prices: each moves up where too much is used and down where too little, by its own recent history.
//!
//! Steps are a share of the weight that falls over the iterations (the Adam rule, in integers); the best prices are kept.

use super::{
    super::problem::{Problem, RESOURCES},
    Bound, BoundPart, BoundProgress, N_PARTS, PRICE_MAX, Prices,
    columns::{self, MILLI, Usage},
    value,
};

/// First step, of the weight, in units of 2^-20.
const FIRST_STEP: i64 = 838_861;
/// How often the step is halved, in units of 2^-16: to 1/1600.
const HALVINGS: i64 = 697_300;
/// Price of green power at the start, of the weight.
const FIRST_PRICE: (i64, i64) = (1, 5);
/// Iterations that the mean excess remembers, and its mean square.
const MEAN: i64 = 10;
const SQUARE: i64 = 100;
/// Parts of a watt in the mean excess.
const FINE: u32 = 8;
/// Largest excess in watts that counts: its square leaves room in 64 bits.
const EXCESS_MAX: i128 = 1 << 30;

/// One price with its history.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    /// Price, for a watt's share.
    now: i64,
    /// What a step is a share of: the weight in parts of one.
    weight: i64,
    /// Largest price.
    max: i64,
    /// Mean excess, watts in units of 2^-FINE.
    mean: i64,
    /// Mean square of the excess, square watts.
    square: i64,
}

impl Row {
    fn step(&mut self, excess: i64, n_seen: i64, step: i64) {
        // Early on every excess counts the same, so that the first ones do not linger.
        self.mean += ((excess << FINE) - self.mean) / n_seen.min(MEAN);
        self.square += (excess * excess - self.square) / n_seen.min(SQUARE);
        let share = i128::from((self.weight * step) >> 20);
        let spread = i128::from(self.square.isqrt() + 1) << FINE;
        let by = share * i128::from(self.mean) / spread;
        let by = i64::try_from(by).unwrap_or(0);
        self.now = (self.now + by).clamp(0, self.max);
    }
}

/// Prices as rows: green power, power caps, and resources pool by pool.
struct Rows {
    green: Vec<Row>,
    power: Vec<Row>,
    resources: [Vec<Row>; RESOURCES],
}

pub(super) fn ascend(
    problem: &Problem,
    k: i64,
    n_iterations: u32,
    run: &dyn Fn(&mut [BoundPart<'_>]),
    progress: &mut dyn FnMut(&BoundProgress),
) -> Bound {
    let mut rows = Rows::new(problem, k);
    // No prices at all prove that nothing is negative: the search never ends below that.
    let mut best = without_prices(problem, k, run);
    for iteration in 0..n_iterations.max(1) {
        let prices = rows.prices(problem, k);
        let (value, usage) = evaluate(problem, &prices, run);
        let step = step_of(iteration, n_iterations.max(1));
        rows.step(problem, &usage, i64::from(iteration) + 1, step);
        if best.value < value {
            best = Bound { prices, value };
        }
        progress(&BoundProgress {
            n_done: iteration + 1,
            best: best.value / i128::from(k),
        });
    }
    best
}

fn without_prices(problem: &Problem, k: i64, run: &dyn Fn(&mut [BoundPart<'_>])) -> Bound {
    let n = problem.n_slots;
    let prices = Prices {
        k,
        green: vec![0; n * problem.sites.len()],
        power: vec![0; n * problem.sites.len()],
        resources: [(); RESOURCES].map(|()| vec![0; n * problem.pools.len()]),
    };
    let (value, _) = evaluate(problem, &prices, run);
    Bound { prices, value }
}

/// The bound that prices prove, and what the cheapest ways use under them.
fn evaluate(
    problem: &Problem,
    prices: &Prices,
    run: &dyn Fn(&mut [BoundPart<'_>]),
) -> (i128, Usage) {
    let n = problem.n_slots;
    let watt: Vec<i64> = prices
        .green
        .iter()
        .zip(&prices.power)
        .map(|(green, power)| green + power)
        .collect();
    let priced = |pool: usize| {
        let any = |prices: &Vec<i64>| prices[pool * n..][..n].iter().any(|&price| 0 < price);
        [0, 1, 2].map(|r| any(&prices.resources[r]))
    };
    let priced: Vec<[bool; RESOURCES]> = (0..problem.pools.len()).map(priced).collect();
    let mut parts = columns::parts(problem, prices, &watt, &priced, N_PARTS);
    run(&mut parts);
    let value = value(problem, prices, &parts);
    let mut usage = Usage::new(problem);
    for part in &parts {
        add(&mut usage.power, &part.usage.power);
        for (sum, used) in usage.resources.iter_mut().zip(&part.usage.resources) {
            add(sum, used);
        }
    }
    (value, usage)
}

fn add(sum: &mut [i64], more: &[i64]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}

/// The step of an iteration, in units of 2^-20: halved evenly, between halvings along a line.
fn step_of(iteration: u32, n_iterations: u32) -> i64 {
    let halvings = HALVINGS * i64::from(iteration) / i64::from(n_iterations);
    let whole = FIRST_STEP >> (halvings >> 16);
    let rest = halvings & 0xFFFF;
    (whole * ((1 << 17) - rest)) >> 17
}

impl Rows {
    fn new(problem: &Problem, k: i64) -> Self {
        let mut green = Vec::new();
        let mut power = Vec::new();
        let mut dearest = Vec::new();
        for site in &problem.sites {
            let most = i64::from(site.weight.iter().copied().max().unwrap_or(0)) * k;
            dearest.push(most);
            green.extend(site.weight.iter().map(|&weight| {
                let weight = i64::from(weight) * k;
                Row {
                    now: weight * FIRST_PRICE.0 / FIRST_PRICE.1,
                    weight,
                    max: weight,
                    ..Row::default()
                }
            }));
            power.extend(vec![free(most); problem.n_slots]);
        }
        let pools = problem.pools.iter();
        let resource: Vec<Row> = pools
            .flat_map(|pool| vec![free(dearest[pool.site]); problem.n_slots])
            .collect();
        Self {
            green,
            power,
            resources: [resource.clone(), resource.clone(), resource],
        }
    }

    fn prices(&self, problem: &Problem, k: i64) -> Prices {
        let n = problem.n_slots;
        let resource = |r: usize, rows: &[Row]| {
            let mut prices = Vec::with_capacity(rows.len());
            for (pool, rows) in problem.pools.iter().zip(rows.chunks(n)) {
                let (watts, units) = exchange(problem, pool.site, pool.capacity[r]);
                prices.extend(rows.iter().map(|row| row.now * watts / units));
            }
            prices
        };
        Prices {
            k,
            green: self.green.iter().map(|row| row.now).collect(),
            power: self.power.iter().map(|row| row.now).collect(),
            resources: [0, 1, 2].map(|r| resource(r, &self.resources[r])),
        }
    }

    fn step(&mut self, problem: &Problem, usage: &Usage, n_seen: i64, step: i64) {
        let n = problem.n_slots;
        for (s, site) in problem.sites.iter().enumerate() {
            let rows = self.green[s * n..].iter_mut().zip(&mut self.power[s * n..]);
            let used = &usage.power[s * n..][..n];
            for ((green, power), (&used, &have)) in rows.zip(used.iter().zip(&site.green_w)) {
                green.step(excess(used, have, (1, 1)), n_seen, step);
                power.step(excess(used, site.power_cap_w, (1, 1)), n_seen, step);
            }
        }
        for (r, rows) in self.resources.iter_mut().enumerate() {
            for (p, pool) in problem.pools.iter().enumerate() {
                let rate = exchange(problem, pool.site, pool.capacity[r]);
                let used = &usage.resources[r][p * n..][..n];
                for (row, &used) in rows[p * n..].iter_mut().zip(used) {
                    row.step(excess(used, pool.capacity[r], rate), n_seen, step);
                }
            }
        }
    }
}

/// A price that is nothing at first.
fn free(weight: i64) -> Row {
    Row {
        weight,
        max: PRICE_MAX * weight,
        ..Row::default()
    }
}

/// Watts of a site and units of a resource that are the same share of it.
fn exchange(problem: &Problem, site: usize, capacity: i32) -> (i64, i64) {
    let watts = problem.sites[site].power_cap_w;
    (i64::from(watts.max(1)), i64::from(capacity.max(1)))
}

/// Use in thousandths above what there is, as watts.
fn excess(used: i64, have: i32, (watts, units): (i64, i64)) -> i64 {
    let over = i128::from(used) - i128::from(have) * i128::from(MILLI);
    let over = over * i128::from(watts) / (i128::from(units) * i128::from(MILLI));
    i64::try_from(over.clamp(-EXCESS_MAX, EXCESS_MAX)).unwrap_or(0)
}
