//! Jobs: when they come, what they need, how long, where they may run.
//!
//! Each job has a window in which it can run, and sites that could hold it alone.

use super::{
    N_LINKS, Order, Random, SLOTS_PER_DAY, family::Traits, int, real, sites::Map,
    units_of_reference, whole,
};
use crate::sim::instance::JobEntry;

/// Relative number of arrivals by hour of the day.
const ARRIVALS: [f64; 24] = [
    0.55, 0.55, 0.56, 0.56, 0.57, 0.60, 0.64, 0.70, 0.81, 0.95, 1.15, 1.33, 1.52, 1.65, 1.65, 1.56,
    1.37, 1.21, 1.09, 1.06, 1.06, 1.03, 0.86, 0.69,
];
/// Of the arrivals of a working day, so many come on a day of the weekend.
const WEEKEND: f64 = 0.7;
/// Jobs that wait already when the first slot begins.
const BACKLOG: f64 = 0.0635;
/// Last slots in which nothing arrives.
const CLOSED: usize = 24;

/// Relative number of jobs by duration from 1 slot on; longer ones follow `LONG`.
const SHORT: [f64; 24] = [
    9.57, 14.68, 12.04, 9.52, 7.37, 5.92, 4.56, 3.82, 3.09, 2.70, 2.20, 1.82, 1.55, 1.34, 1.16,
    1.02, 0.89, 0.81, 0.69, 0.60, 0.54, 0.47, 0.42, 0.37,
];
/// Part of the jobs that are longer than `SHORT`.
const LONG_SHARE: f64 = 0.1285;
/// Share and duration in slots: points between which the durations of long jobs lie evenly.
const LONG: [(f64, f64); 13] = [
    (0.0, 25.0),
    (0.1, 26.8),
    (0.2, 28.8),
    (0.3, 31.3),
    (0.4, 34.5),
    (0.5, 38.5),
    (0.6, 43.5),
    (0.7, 51.5),
    (0.8, 66.5),
    (0.9, 100.5),
    (0.95, 152.0),
    (0.9665, 192.5),
    (1.0, 192.5),
];

/// Jobs for each site for every node that the largest jobs have.
const JOBS_PER_NODE: f64 = 244.0;

pub(super) fn jobs(
    order: &Order,
    traits: &Traits,
    map: &Map,
    random: &mut Random,
) -> Vec<JobEntry> {
    let clock = arrival_weights(order.n_slots);
    let mut arrivals: Vec<usize> = (0..order.n_jobs)
        .map(|_| {
            if random.chance(BACKLOG) {
                0
            } else {
                clock.draw(random)
            }
        })
        .collect();
    arrivals.sort_unstable();
    let per_site = real(int(order.n_jobs)) / real(int(order.n_sites));
    let nodes = traits.nodes * per_site / JOBS_PER_NODE;
    let maker = Maker {
        order,
        traits,
        map,
        nodes,
    };
    arrivals
        .into_iter()
        .enumerate()
        .map(|(id, arrival)| maker.job(int(id), int(arrival), random))
        .collect()
}

/// Running sums of the weights of slots.
struct Clock(Vec<f64>);

impl Clock {
    fn draw(&self, random: &mut Random) -> usize {
        let total = self.0.last().copied().unwrap_or(0.0);
        let at = random.unit() * total;
        self.0
            .partition_point(|&sum| sum <= at)
            .min(self.0.len() - 1)
    }
}

fn arrival_weights(n_slots: usize) -> Clock {
    let mut sum = 0.0;
    let sums = (0..n_slots - CLOSED).map(|slot| {
        let (day, slot) = (slot / SLOTS_PER_DAY, slot % SLOTS_PER_DAY);
        // Half an hour back, so that a figure of the table rules in the middle of its hour.
        let at = (slot + SLOTS_PER_DAY - 2) % SLOTS_PER_DAY;
        let (hour, quarter) = (at / 4, at % 4);
        let part = 0.125 + 0.25 * real(int(quarter));
        let rate = ARRIVALS[hour] * (1.0 - part) + ARRIVALS[(hour + 1) % 24] * part;
        sum += if day % 7 < 5 { rate } else { WEEKEND * rate };
        sum
    });
    Clock(sums.collect())
}

/// Draws jobs one by one.
struct Maker<'a> {
    order: &'a Order,
    traits: &'a Traits,
    map: &'a Map,
    /// Most nodes of a job; below 1 means 1.
    nodes: f64,
}

impl Maker<'_> {
    fn job(&self, id: i64, arrival: i64, random: &mut Random) -> JobEntry {
        let (req, power_w) = self.needs(random);
        let gpus = req[1] > 0;
        let mut job = JobEntry {
            id,
            arrival,
            release: arrival,
            deadline: 0,
            class: "rigid".to_owned(),
            req,
            power_w,
            duration: duration(random),
            sites: self.map.sites(gpus, &self.traits.reach, random),
            link: -1,
            xfer_slots: 0,
            xfer_mbps: 0,
            min_chunk: 0,
            resume_slots: 0,
            speed: Vec::new(),
            work: 0,
            value: if random.chance(0.1) { 5 } else { 1 },
            tenant: random.whole_between(0, 31),
        };
        if random.chance(0.3) {
            job.link = random.whole_between(0, int(N_LINKS) - 1);
            job.xfer_slots = random.whole_between(1, 6);
            job.xfer_mbps = random.pick(&[100, 200, 400, 800, 1600]);
            job.release += job.xfer_slots;
        }
        let horizon = int(self.order.n_slots);
        job.duration = job.duration.min(horizon - job.release - 1);
        job.deadline = horizon.min(job.release + job.duration + self.slack(job.duration, random));
        self.class(&mut job, random);
        job
    }

    /// Cores, GPUs and GiB, and IT power in watts.
    fn needs(&self, random: &mut Random) -> (Vec<i64>, i64) {
        match random.weighted(&[0.28, 0.35, 0.37]) {
            0 => {
                let n = power_of_two(2.0 * self.nodes, 2.18, random);
                let watts = real(n) * random.between(700.0, 1100.0);
                (vec![12 * n, n, 96 * n], whole(watts))
            }
            1 => {
                let cores = random.pick(&[1, 2, 4, 8, 16, 32]);
                let gib = cores * random.whole_between(2, 8);
                let watts = 5.0 + real(cores) * random.between(6.0, 10.0);
                (vec![cores, 0, gib], whole(watts))
            }
            _ => {
                let n = power_of_two(self.nodes, 2.48, random);
                let watts = real(n) * random.between(350.0, 600.0);
                (vec![64 * n, 0, 256 * n], whole(watts))
            }
        }
    }

    /// Slots to spare.
    fn slack(&self, duration: i64, random: &mut Random) -> i64 {
        let slots = real(duration);
        match random.weighted(&self.traits.slack) {
            0 => whole(slots * random.between(0.05, 0.5)) + 1,
            1 => whole(8.0 + slots * random.between(0.5, 3.0)),
            _ => random.whole_between(48, 192),
        }
    }

    fn class(&self, job: &mut JobEntry, random: &mut Random) {
        let (malleable, interruptible) = (self.traits.malleable, self.traits.interruptible);
        let dice = random.unit();
        if dice < malleable && 2 <= job.duration {
            "malleable".clone_into(&mut job.class);
            let units = random.pick(&[2_u8, 4, 6, 8]);
            let bend = random.between(0.7, 0.97);
            let speed = |k: u8| whole(1000.0 * f64::from(k).powf(bend) + 0.5);
            job.speed = (1..=units).map(speed).collect();
            let reference = units_of_reference(job);
            let part = |whole: i64| (whole + reference - 1) / reference;
            job.req = job.req.iter().map(|&need| part(need)).collect();
            job.power_w = part(job.power_w);
            job.work = job.duration * job.speed[usize::from(units / 2) - 1];
        } else if (malleable..malleable + interruptible).contains(&dice) && 4 <= job.duration {
            "interruptible".clone_into(&mut job.class);
            job.min_chunk = random.whole_between(1, (job.duration / 3).clamp(1, 8));
            job.resume_slots = i64::from(8 <= job.duration && random.chance(0.5));
        }
    }
}

/// A power of two below `most`; the higher `steep`, the fewer large ones.
fn power_of_two(most: f64, steep: f64, random: &mut Random) -> i64 {
    let levels = most.log2().max(0.0);
    let level = whole(levels * random.unit().powf(steep)).clamp(0, 20);
    1 << level
}

fn duration(random: &mut Random) -> i64 {
    if !random.chance(LONG_SHARE) {
        return int(random.weighted(&SHORT)) + 1;
    }
    let at = random.unit();
    let i = LONG.partition_point(|point| point.0 <= at).clamp(1, 12);
    let ((from, low), (to, high)) = (LONG[i - 1], LONG[i]);
    whole(low + (high - low) * (at - from) / (to - from))
}
