//! Makes instances of the bench families from a seed: a week of jobs, sites in Yunnan and their green power.
//!
//! The same family, size and seed give the same instance; every instance keeps the rules of `sim::instance`.

use crate::sim::instance::{Document, JobEntry, VERSION};

mod family;
mod green;
mod jobs;
mod random;
mod sites;

pub use family::Family;

use random::{Random, real, whole};

/// Slots of a day of quarter hours.
const SLOTS_PER_DAY: usize = 96;
/// Fewest slots: the shortest horizon in which every class of job still has room.
pub const SLOTS_MIN: usize = SLOTS_PER_DAY;
/// Links of an instance; stage-in picks one.
const N_LINKS: usize = 8;

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The family.
    pub family: Family,
    /// Number of jobs, at least 1.
    pub n_jobs: usize,
    /// Number of sites, at least 1.
    pub n_sites: usize,
    /// Number of slots, at least [`SLOTS_MIN`].
    pub n_slots: usize,
    /// Where chance begins.
    pub seed: u64,
}

/// An instance as ordered.
#[must_use]
pub fn generate(order: &Order) -> Document {
    let traits = order.family.traits();
    // Families with the same seed still differ in all they have by chance.
    let salt = order.family.name().bytes();
    let salt = salt.fold(0, |salt: u64, byte| {
        salt.wrapping_mul(257).wrapping_add(u64::from(byte))
    });
    let mut random = Random::new(
        order
            .seed
            .wrapping_add(salt.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
    );
    let map = sites::Map::new(order, &mut random);
    let jobs = jobs::jobs(order, &traits, &map, &mut random);
    let demand = Demand::of(&jobs, order.n_slots);
    let sites = sites::sites(order, &traits, &demand, &mut random);
    Document {
        version: VERSION,
        name: format!(
            "{}-n{}-s{}-t{}-seed{}",
            order.family, order.n_jobs, order.n_sites, order.n_slots, order.seed
        ),
        slot_minutes: 15,
        slots: int(order.n_slots),
        links: sites::links(&jobs, order.n_slots),
        sites,
        jobs,
    }
}

/// What the jobs ask for together and each.
struct Demand {
    /// Mean use over the horizon: cores, GPUs, GiB.
    mean: [f64; 3],
    /// Largest use by one job.
    peak: [i64; 3],
    /// Mean IT power, watts.
    mean_w: f64,
    /// Largest IT power of one job, watts.
    peak_w: i64,
}

impl Demand {
    fn of(jobs: &[JobEntry], n_slots: usize) -> Self {
        let slots = real(int(n_slots));
        let mut sums = [0; 3];
        let mut peak = [0; 3];
        let (mut energy, mut peak_w) = (0, 0);
        for job in jobs {
            let units = units_of_reference(job);
            for ((sum, peak), need) in sums.iter_mut().zip(&mut peak).zip(&job.req) {
                *sum += need * units * job.duration;
                *peak = (*peak).max(need * units);
            }
            energy += job.power_w * units * job.duration;
            peak_w = peak_w.max(job.power_w * units);
        }
        Self {
            mean: sums.map(|sum| real(sum) / slots),
            peak,
            mean_w: real(energy) / slots,
            peak_w,
        }
    }
}

/// Units with which the duration of a job is meant.
fn units_of_reference(job: &JobEntry) -> i64 {
    int((job.speed.len() / 2).max(1))
}

fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
