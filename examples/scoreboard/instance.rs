//! Reads the public instances and computes the bound that their prices certify, in whole numbers.
//!
//! The bound is a Lagrangian one: any prices give a true lower bound of the objective.

use std::path::Path;

use lancang::solver::{Choice, Class, Job, Link, Pool, Problem, RESOURCES, Site, StageIn};
use serde::Deserialize;

use crate::{Outcome, data};

#[derive(Deserialize)]
struct Instance {
    name: Box<str>,
    slot_minutes: u32,
    slots: usize,
    sites: Vec<SiteEntry>,
    links: Vec<LinkEntry>,
    jobs: Vec<JobEntry>,
}

#[derive(Deserialize)]
struct SiteEntry {
    id: Box<str>,
    cap: [i32; RESOURCES],
    power_cap_w: i32,
    pue_milli: i32,
    green_w: Vec<i32>,
    weight: Vec<i32>,
}

#[derive(Deserialize)]
struct LinkEntry {
    id: Box<str>,
    cap_mbps: i32,
}

#[derive(Deserialize)]
struct JobEntry {
    id: u32,
    arrival: usize,
    release: usize,
    deadline: usize,
    class: String,
    req: [i32; RESOURCES],
    power_w: i64,
    duration: usize,
    sites: Vec<usize>,
    link: i64,
    xfer_slots: usize,
    xfer_mbps: i32,
    min_chunk: usize,
    resume_slots: usize,
    speed: Box<[i64]>,
    work: i64,
    value: i64,
}

/// A public instance as a problem; a pool for each site.
pub(crate) fn read(path: &Path) -> Outcome<Problem> {
    let instance: Instance = serde_json::from_str(&data::text(path)?)?;
    let pools = instance.sites.iter().enumerate().map(|(site, entry)| Pool {
        site,
        capacity: entry.cap,
    });
    let jobs = instance.jobs.iter().map(|entry| job(&instance, entry));
    Ok(Problem {
        pools: pools.collect(),
        jobs: jobs.collect::<Outcome<_>>()?,
        name: instance.name,
        slot_minutes: instance.slot_minutes,
        n_slots: instance.slots,
        sites: instance
            .sites
            .into_iter()
            .map(|entry| Site {
                id: entry.id,
                power_cap_w: entry.power_cap_w,
                green_w: entry.green_w,
                weight: entry.weight,
            })
            .collect(),
        links: instance
            .links
            .into_iter()
            .map(|entry| Link {
                id: entry.id,
                capacity_mbps: entry.cap_mbps,
            })
            .collect(),
    })
}

fn job(instance: &Instance, entry: &JobEntry) -> Outcome<Job> {
    let mut choices = Vec::new();
    for &pool in &entry.sites {
        let pue = i64::from(instance.sites[pool].pue_milli);
        choices.push(Choice {
            pool,
            need: entry.req,
            watts: i32::try_from((entry.power_w * pue + 999) / 1000)?,
        });
    }
    let class = match entry.class.as_str() {
        "rigid" => Class::Rigid,
        "interruptible" => Class::Interruptible {
            min_chunk: entry.min_chunk.max(1).min(entry.duration),
            resume: entry.resume_slots,
        },
        "malleable" => Class::Malleable {
            speed: entry.speed.clone(),
            work: entry.work,
        },
        other => return Err(format!("job {}: no class {other}", entry.id).into()),
    };
    let units = match &class {
        Class::Malleable { speed, .. } => i64::try_from((speed.len() / 2).max(1))?,
        _ => 1,
    };
    let watts = choices.iter().map(|choice| choice.watts).max().unwrap_or(0);
    let energy = i64::from(watts) * units * i64::try_from(entry.duration)?;
    Ok(Job {
        id: entry.id,
        arrival: entry.arrival,
        release: entry.release,
        deadline: entry.deadline,
        duration: entry.duration,
        class,
        choices: choices.into(),
        stage_in: usize::try_from(entry.link).ok().map(|link| StageIn {
            link,
            n_slots: entry.xfer_slots,
            mbps: entry.xfer_mbps,
        }),
        miss_penalty: 4 * 1000 * energy * entry.value,
        delay_price: 0,
    })
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
