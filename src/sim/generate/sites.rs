//! Sites and links: where they lie, how large they are.
//!
//! Every site could hold each job that may run there three times over; links hold all stage-in at its earliest.

use super::{Demand, N_LINKS, Order, Random, family::Traits, green, int, real, whole};
use crate::sim::instance::{JobEntry, LinkEntry, SiteEntry};

/// Cities in which the users are.
const N_CITIES: usize = 8;
/// Jurisdictions among the sites.
const N_REGIONS: usize = 3;
/// Jobs whose data must stay in one jurisdiction.
const RESIDENT: f64 = 0.1;

/// How often the largest job fits into the smallest site.
const ROOM: i64 = 3;
/// Power of the largest job at the meter, against its IT power.
const ROOM_POWER: f64 = 1.4;
/// Of the load of cores: the load of GPUs, which are scarcer.
const GPU_LOAD: f64 = 1.138;
/// Of the load of cores: the load of memory, of which there is more.
const MEMORY_LOAD: f64 = 0.8846;
/// Part of the horizon in which jobs come at their full rate.
const BUSY: f64 = 0.933;
/// Power cap against the mean IT power of a site that is used as `load` says.
const POWER_ROOM: f64 = 1.28;
/// Watts of one core of a site with GPUs, and of one without.
const CORE_W: [f64; 2] = [10.56, 13.18];
/// Watts of one GPU.
const GPU_W: f64 = 933.0;
/// Most mean green power of a site, of its power cap.
const GREEN_MAX: f64 = 0.9;

/// Where sites and cities lie.
pub(super) struct Map {
    /// For jobs without and with GPUs: sites by distance for each city.
    by_distance: [Vec<Vec<i64>>; 2],
    /// Jurisdiction of each site.
    region: Vec<usize>,
    n_sites: usize,
}

impl Map {
    pub(super) fn new(order: &Order, random: &mut Random) -> Self {
        let n = order.n_sites;
        let mut points = |n: usize| -> Vec<(f64, f64)> {
            (0..n).map(|_| (random.unit(), random.unit())).collect()
        };
        let (sites, cities) = (points(n), points(N_CITIES));
        let order = |eligible: &dyn Fn(usize) -> bool| -> Vec<Vec<i64>> {
            let near = |city: &(f64, f64)| {
                let mut by: Vec<usize> = (0..n).filter(|&site| eligible(site)).collect();
                let distance =
                    |site: &usize| (sites[*site].0 - city.0).hypot(sites[*site].1 - city.1);
                by.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
                by.into_iter().map(int).collect()
            };
            cities.iter().map(near).collect()
        };
        let by_distance = [order(&|_| true), order(&has_gpus)];
        let regions = [0, 1, 2];
        let region = (0..n)
            .map(|_| random.pick(&regions[..N_REGIONS.min(n)]))
            .collect();
        Self {
            by_distance,
            region,
            n_sites: n,
        }
    }

    /// Sites that may run a job, in order of position.
    pub(super) fn sites(&self, gpus: bool, reach: &[f64; 3], random: &mut Random) -> Vec<i64> {
        let cities = &self.by_distance[usize::from(gpus)];
        let by_distance = &cities[random.pick(&[0, 1, 2, 3, 4, 5, 6, 7])];
        let n = match random.weighted(reach) {
            0 => by_distance.len(),
            1 => self.n_sites.div_ceil(2),
            _ => (self.n_sites / 8).max(2),
        };
        let mut sites = by_distance[..n.min(by_distance.len())].to_vec();
        if random.chance(RESIDENT) {
            let region = random.pick(&[0, 1, 2]);
            let inside =
                |site: &i64| usize::try_from(*site).is_ok_and(|site| self.region[site] == region);
            if sites.iter().any(inside) {
                sites.retain(inside);
            }
        }
        sites.sort_unstable();
        sites
    }
}

/// Every fourth site has no GPUs.
fn has_gpus(site: usize) -> bool {
    site % 4 != 3
}

pub(super) fn sites(
    order: &Order,
    traits: &Traits,
    demand: &Demand,
    random: &mut Random,
) -> Vec<SiteEntry> {
    let n = order.n_sites;
    let sizes = shares((0..n).map(|_| (traits.skew * random.normal()).exp()));
    let gpus = shares(sizes.iter().enumerate().map(|(site, size)| {
        let much = match site % 4 {
            0 => 2.0,
            3 => 0.0,
            _ => 1.0,
        };
        size * much * random.between(0.7, 1.3)
    }));
    let load = traits.load * BUSY;
    let total = [
        demand.mean[0] / load,
        demand.mean[1] / (load * GPU_LOAD),
        demand.mean[2] / (load * MEMORY_LOAD),
    ];
    let watts = |site: usize| {
        let gpu_w = GPU_W * total[1] * gpus[site];
        CORE_W[usize::from(!has_gpus(site))] * total[0] * sizes[site] + gpu_w
    };
    let power = shares((0..n).map(watts));
    let total_w = POWER_ROOM * demand.mean_w / traits.load;
    let at_least = |wanted: f64, peak: i64| whole(wanted + 0.5).max(ROOM * peak);
    let mut sites: Vec<SiteEntry> = (0..n)
        .map(|site| SiteEntry {
            id: format!("yn-{site:02}"),
            cap: vec![
                at_least(total[0] * sizes[site], demand.peak[0]),
                if has_gpus(site) {
                    at_least(total[1] * gpus[site], demand.peak[1])
                } else {
                    0
                },
                at_least(total[2] * sizes[site], demand.peak[2]),
            ],
            power_cap_w: whole(total_w * power[site])
                .max(whole(ROOM_POWER * real(ROOM * demand.peak_w))),
            pue_milli: random.whole_between(1100, 1350),
            green_w: Vec::new(),
            weight: Vec::new(),
        })
        .collect();
    let means = green_means(&sites, &power, traits.green * demand.mean_w, random);
    let grid = green::grid_carbon(order.n_slots, random);
    for (site, mean) in sites.iter_mut().zip(means) {
        site.green_w = green::series(order.n_slots, mean, traits, random);
        site.weight = if traits.carbon {
            let dirty = random.between(0.75, 1.25);
            let weight = |&carbon: &f64| whole(carbon * dirty).clamp(20, 1200);
            grid.iter().map(weight).collect()
        } else {
            vec![1000; order.n_slots]
        };
    }
    sites
}

/// Mean green power of each site: by size and luck, but little more than the site can use.
fn green_means(sites: &[SiteEntry], power: &[f64], total_w: f64, random: &mut Random) -> Vec<f64> {
    let luck = shares(
        power
            .iter()
            .map(|size| size * (0.55 * random.normal()).exp()),
    );
    let mut means: Vec<f64> = luck.iter().map(|share| share * total_w).collect();
    // What one site cannot use goes to the others; after a few rounds next to nothing is left over.
    for _ in 0..8 {
        let most = |site: &SiteEntry| GREEN_MAX * real(site.power_cap_w);
        let mut over = 0.0;
        for (mean, site) in means.iter_mut().zip(sites) {
            over += (*mean - most(site)).max(0.0);
            *mean = mean.min(most(site));
        }
        let open: f64 = means
            .iter()
            .zip(sites)
            .filter(|(mean, site)| **mean < most(site))
            .map(|(mean, _)| mean)
            .sum();
        if over <= 0.0 || open <= 0.0 {
            break;
        }
        for (mean, site) in means.iter_mut().zip(sites) {
            if *mean < most(site) {
                *mean += over * *mean / open;
            }
        }
    }
    means
}

/// Links that hold all stage-in when each begins at arrival.
pub(super) fn links(jobs: &[JobEntry], n_slots: usize) -> Vec<LinkEntry> {
    let mut used = vec![vec![0; n_slots]; N_LINKS];
    for job in jobs {
        let span = usize::try_from(job.arrival)
            .ok()
            .zip(usize::try_from(job.release).ok());
        if let (Ok(link), Some((arrival, release))) = (usize::try_from(job.link), span) {
            for mbps in &mut used[link][arrival..release] {
                *mbps += job.xfer_mbps;
            }
        }
    }
    used.iter()
        .enumerate()
        .map(|(link, used)| LinkEntry {
            id: format!("xb-{link}"),
            cap_mbps: used.iter().copied().max().unwrap_or(0).max(1600),
        })
        .collect()
}

fn shares(weights: impl Iterator<Item = f64>) -> Vec<f64> {
    let weights: Vec<f64> = weights.collect();
    let sum: f64 = weights.iter().sum();
    weights
        .iter()
        .map(|weight| if sum > 0.0 { weight / sum } else { 0.0 })
        .collect()
}
