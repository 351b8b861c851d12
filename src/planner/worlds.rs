//! Small worlds at random, and what the best placement in them is, by trying every one.
//!
//! The brute force knows nothing of the timetable: it counts watts from the list of placements.

use std::sync::Arc;

use proptest::{collection::vec, option, prelude::*};

use crate::{
    domain::{
        job::{Flexibility, JobSpec, Weights},
        latency::NetworkPath,
        link::Staging,
        outlook::{Confidence, SiteOutlook},
        placement::{Placement, Run},
        site::{Pool, Site},
    },
    limits,
    planner::{
        Timetable, Window, check,
        cost::{Aim, Score, Sums},
        shape::Shape,
        testing::{
            START, flat, grid, horizon, job, link, name, pool, request, site, slots_ms, timetable,
            window,
        },
    },
    slot::{Slot, SlotRange},
    units,
};

/// Slots of the small worlds.
pub(super) const N: u32 = 10;
/// Bits per second that carry one unit of input in a slot.
const UNIT_RATE: u64 = 4;
/// Bytes that [`UNIT_RATE`] carries in a slot.
const UNIT_BYTES: u64 = 450;

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) sites: Vec<(Site, SiteOutlook)>,
    pub(super) jobs: Vec<(JobSpec, Window)>,
    /// Bandwidth of the gateway `g`, bits per second; `None` without a link.
    pub(super) link: Option<u64>,
}

pub(super) fn a_site(id: &'static str) -> impl Strategy<Value = (Site, SiteOutlook)> {
    let n = usize::try_from(N).unwrap();
    (
        (
            2_u64..12,
            1_u32..4,
            option::of(1_u32..3),
            prop::sample::select(vec![1_000_u32, 1_300]),
            any::<bool>(),
        ),
        vec(prop::array::uniform3(0_u64..6), n),
        vec(prop::array::uniform4(0_u64..3), n),
    )
        .prop_map(
            move |((cap, nodes, second, pue, has_gateway), green, rates)| {
                let small = |pool: Pool, nodes: u32| Pool {
                    nodes,
                    cpu_cores_per_node: 2,
                    ..pool
                };
                let mut pools = vec![small(pool("main"), nodes)];
                pools.extend(second.map(|nodes| small(pool("second"), nodes)));
                let site = Site {
                    power_cap_watts: cap,
                    pue_permille: pue,
                    pools,
                    gateway: has_gateway.then(|| name("g")),
                    ..site(id)
                };
                let mut outlook = flat(horizon(N), 0);
                for (i, mut bands) in green.into_iter().enumerate() {
                    bands.sort_unstable();
                    let [high, even, low] = bands;
                    for (level, watts) in [low, even, high].into_iter().enumerate() {
                        outlook.green_watts[level][i] = watts;
                    }
                    outlook.median_by_kind_watts = [(); 3].map(|()| outlook.green_watts[1].clone());
                    outlook.green_price_micro_cny_per_kwh[i] = rates[i][0];
                    outlook.grid_price_micro_cny_per_kwh[i] = rates[i][1];
                    outlook.green_mg_per_kwh[i] = u32::try_from(rates[i][2]).unwrap();
                    outlook.grid_location_mg_per_kwh[i] = u32::try_from(rates[i][3]).unwrap();
                }
                (site, outlook)
            },
        )
}

pub(super) fn some_weights() -> impl Strategy<Value = Weights> {
    (1_u64..4, 0_u64..4, 0_u32..4, 0_u64..3).prop_map(|(grid, carbon, cost, delay)| Weights {
        grid_energy_micro_cny_per_kwh: grid,
        carbon_micro_cny_per_kg: carbon * 1_000_000,
        cost_permille: cost * 1_000,
        delay_micro_cny_per_hour: delay,
    })
}

/// A few speeds: in proportion, with falling gains, with units that do not help.
pub(super) fn some_speeds() -> impl Strategy<Value = Arc<[u32]>> {
    let speeds: [&[u32]; 6] = [
        &[1_000, 2_000],
        &[1_000, 2_000, 3_000],
        &[1_000, 1_600],
        &[1_000, 1_900, 2_400],
        &[1_000, 1_300, 1_301],
        &[1_000, 1_700, 1_700],
    ];
    prop::sample::select(speeds.map(Arc::from).to_vec())
}

fn a_way_to_run() -> impl Strategy<Value = Flexibility> {
    let pieces = (1_u32..4, 0_u32..3).prop_map(|(chunk, resume)| Flexibility::Interruptible {
        min_chunk_ms: slots_ms(chunk),
        resume_cost_ms: slots_ms(resume),
    });
    let units = some_speeds().prop_map(|speed_permille| Flexibility::Malleable { speed_permille });
    prop_oneof![2 => Just(Flexibility::Rigid), 2 => pieces, 1 => units]
}

fn a_job() -> impl Strategy<Value = (JobSpec, Window)> {
    (
        (1_u32..5, 1_u32..4, 1_u64..3, 0_usize..3),
        prop::sample::select(vec![0_u32, 0, 300, 700, 1_000]),
        a_way_to_run(),
        option::weighted(0.3, some_weights()),
        (0_u32..6, 1_u32..=N, 0_u32..=N),
        (
            limits::PRIORITY,
            option::weighted(0.4, some_input()),
            any::<bool>(),
        ),
    )
        .prop_map(
            |(
                (n_slots, tasks, watts, level),
                share,
                flexibility,
                weights,
                (from, len, starts),
                (priority, staging, is_leased),
            )| {
                let flexibility = match flexibility {
                    Flexibility::Interruptible {
                        min_chunk_ms,
                        resume_cost_ms,
                    } => Flexibility::Interruptible {
                        min_chunk_ms: min_chunk_ms.min(slots_ms(n_slots)),
                        resume_cost_ms,
                    },
                    other => other,
                };
                let mut spec = JobSpec {
                    task_count: tasks,
                    task_power_watts: watts,
                    confidence: Confidence::ALL[level],
                    min_green_share_permille: share,
                    flexibility,
                    weights,
                    priority,
                    staging,
                    ..job(n_slots)
                };
                if !is_leased {
                    spec.origin.path = NetworkPath::Internet;
                }
                let to = (from + len).min(N);
                let start_by = Slot(START + (from + starts).min(to));
                (
                    spec,
                    Window {
                        start_by,
                        ..window(from, to)
                    },
                )
            },
        )
}

/// Input of up to 4 units and a byte, at up to 3 units a slot.
pub(super) fn some_input() -> impl Strategy<Value = Staging> {
    (1_u64..4, 0_u64..2, 1_u64..4).prop_map(|(units, odd, rate)| Staging {
        input_bytes: units * UNIT_BYTES + odd,
        max_bits_per_second: Some(rate * UNIT_RATE),
    })
}

/// A link of up to 5 units, or none.
pub(super) fn a_link() -> impl Strategy<Value = Option<u64>> {
    option::weighted(0.8, 2_u64..5 * UNIT_RATE)
}

pub(super) fn set_link(timetable: &mut Timetable, bandwidth: Option<u64>) {
    if let Some(bits_per_second) = bandwidth {
        timetable.set_link(&link("g", bits_per_second));
    }
}

pub(super) fn a_world(n_jobs: std::ops::Range<usize>) -> impl Strategy<Value = World> {
    let sites = (a_site("a"), option::of(a_site("b")));
    (sites, vec(a_job(), n_jobs), a_link()).prop_map(|((a, b), jobs, link)| World {
        sites: std::iter::once(a).chain(b).collect(),
        jobs,
        link,
    })
}

impl World {
    pub(super) fn timetable(&self) -> Timetable {
        let mut timetable = timetable(horizon(N), self.sites.clone());
        set_link(&mut timetable, self.link);
        timetable
    }

    /// Places and reserves the jobs in order, those that fit.
    pub(super) fn fill(&self, timetable: &mut Timetable) -> Vec<(usize, Placement)> {
        let mut placed = Vec::new();
        for (i, (spec, window)) in self.jobs.iter().enumerate() {
            if let Ok(placement) = timetable.place(&request(spec, *window)) {
                timetable.reserve(&placement);
                placed.push((i, placement));
            }
        }
        placed
    }

    pub(super) fn check(&self, timetable: &Timetable, placed: &[(usize, Placement)]) {
        let plan = placed
            .iter()
            .map(|(i, placement)| (request(&self.jobs[*i].0, self.jobs[*i].1), placement));
        check(timetable, plan);
    }
}

/// Power of the job at a site and what a slot costs it, counted from the placements.
pub(super) struct Counter<'a> {
    pub(super) world: &'a World,
    pub(super) placed: &'a [(usize, Placement)],
}

impl Counter<'_> {
    /// Placements that run in a slot, with their units there.
    fn placed_at(&self, site: usize, slot: u32) -> impl Iterator<Item = (&Placement, u64)> {
        let id = self.world.sites[site].0.id.clone();
        self.placed
            .iter()
            .map(|(_, placement)| placement)
            .filter(move |placement| placement.site == id)
            .filter_map(move |placement| {
                let covers = |run: &&Run| run.slots.contains(Slot(START + slot));
                let run = placement.runs.iter().find(covers)?;
                Some((placement, run.units.into()))
            })
    }

    fn has_room(&self, spec: &JobSpec, site: usize, pool: usize, slot: u32, units: u32) -> bool {
        let (traits, _) = &self.world.sites[site];
        let watts: u64 = self
            .placed_at(site, slot)
            .map(|(p, units)| p.power_watts * units)
            .sum();
        let cores: u64 = self
            .placed_at(site, slot)
            .filter(|(p, _)| p.pool == traits.pools[pool].id)
            .map(|(p, units)| p.amounts.cpu_cores * units)
            .sum();
        let own = units::facility_watts(spec.it_watts(), traits.pue_permille).unwrap();
        let own_cores = u64::from(spec.task_count * units);
        watts + own * u64::from(units) <= traits.power_cap_watts
            && cores + own_cores <= traits.pools[pool].capacity().cpu_cores
    }

    fn green_left(&self, confidence: Confidence, site: usize, slot: u32) -> u64 {
        let outlook = &self.world.sites[site].1;
        let left = |level: Confidence| {
            let claimed: u64 = self
                .placed_at(site, slot)
                .map(|(placement, _)| placement)
                .filter(|p| level <= p.confidence)
                .flat_map(Placement::green_by_slot)
                .filter(|(at, _)| *at == Slot(START + slot))
                .map(|(_, watts)| watts)
                .sum();
            let green = outlook.green_watts[level.index()][usize::try_from(slot).unwrap()];
            green
                .checked_sub(claimed)
                .expect("claims stay within the forecast")
        };
        let levels = Confidence::ALL
            .into_iter()
            .filter(|level| *level <= confidence);
        levels.map(left).min().unwrap()
    }

    /// Whether any transfer whatever brings the input to the site by this slot.
    fn is_there_by(&self, spec: &JobSpec, site: usize, first: u32) -> bool {
        let Some(staging) = spec.staging else {
            return true;
        };
        let is_leased = spec.origin.path == NetworkPath::Leased;
        let crosses = is_leased && self.world.sites[site].0.gateway.is_some();
        let bandwidth = self.world.link.filter(|_| crosses).unwrap_or(u64::MAX);
        let rate = staging.max_bits_per_second.unwrap().min(bandwidth);
        // Bits over bits in a slot of 900 seconds, by hand.
        let n_slots = (staging.input_bytes * 8).div_ceil(rate * 900);
        let taken = |slot: u32| -> u64 {
            let placed = self.placed.iter().filter_map(|(_, p)| p.stage_in.as_ref());
            placed
                .filter(|other| other.link.is_some() && other.slots.contains(Slot(START + slot)))
                .map(|other| other.bits_per_second)
                .sum()
        };
        (0..N).any(|start| {
            let end = start.saturating_add(u32::try_from(n_slots).unwrap());
            end <= first && (start..end).all(|slot| !crosses || taken(slot) + rate <= bandwidth)
        })
    }

    /// Rank of running with so many units in each slot in one pool, if that is allowed.
    fn score(
        &self,
        spec: &JobSpec,
        window: Window,
        place: (usize, usize),
        units_by_slot: &[u32],
    ) -> Option<Score> {
        let (site, pool) = place;
        let (traits, outlook) = &self.world.sites[site];
        let runs = runs_of_units(units_by_slot);
        if !Shape::of(spec, grid()).allows(&runs) || !window.allows(&runs) {
            return None;
        }
        if !self.is_there_by(spec, site, runs[0].slots.start.0 - START) {
            return None;
        }
        let watts = units::facility_watts(spec.it_watts(), traits.pue_permille).unwrap();
        let mut sums = Sums::default();
        let mut total = 0;
        for (slot, &units) in (0..N).zip(units_by_slot).filter(|(_, units)| 0 < **units) {
            if !self.has_room(spec, site, pool, slot, units) {
                return None;
            }
            let i = usize::try_from(slot).unwrap();
            let watts = watts * u64::from(units);
            let green = self.green_left(spec.confidence, site, slot).min(watts);
            let grid = watts - green;
            total += watts;
            sums = sums.plus(Sums {
                grid,
                carbon: green * u64::from(outlook.green_mg_per_kwh[i])
                    + grid * u64::from(outlook.grid_location_mg_per_kwh[i]),
                cost: green * outlook.green_price_micro_cny_per_kwh[i]
                    + grid * outlook.grid_price_micro_cny_per_kwh[i],
            });
        }
        let too_grey = total * u64::from(1_000 - spec.min_green_share_permille) < sums.grid * 1_000;
        let end = runs.last()?.slots.end;
        (!too_grey).then(|| Score {
            total: Aim::of(spec).total(sums, end.0 - window.not_before.0),
            sums,
            end,
            site,
            start: runs[0].slots.start,
        })
    }

    /// The best over every site, pool and set of slots.
    pub(super) fn best(&self, spec: &JobSpec, window: Window) -> Option<Score> {
        let sets: Vec<Vec<u32>> = (1..1_u32 << N)
            .map(|mask| (0..N).map(|slot| mask >> slot & 1).collect())
            .collect();
        self.best_of(spec, window, &sets)
    }

    /// The best over every site, pool and number of units by slot out of `choices`.
    pub(super) fn best_of(
        &self,
        spec: &JobSpec,
        window: Window,
        choices: &[Vec<u32>],
    ) -> Option<Score> {
        let places = self
            .world
            .sites
            .iter()
            .enumerate()
            .flat_map(|(site, (traits, _))| {
                (0..traits.pools.len())
                    .filter(move |&pool| {
                        let held = u64::from(traits.pools[pool].nodes) * 2;
                        u64::from(spec.task_count) <= held
                    })
                    .map(move |pool| (site, pool))
            });
        places
            .flat_map(|place| choices.iter().map(move |units| (place, units)))
            .filter_map(|(place, units)| self.score(spec, window, place, units))
            .min()
    }
}

fn runs_of_units(units_by_slot: &[u32]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (slot, &units) in (START..)
        .zip(units_by_slot)
        .filter(|(_, units)| 0 < **units)
    {
        let slot = Slot(slot);
        match runs.last_mut() {
            Some(run) if run.slots.end == slot && run.units == units => {
                run.slots.end = slot.plus(1);
            }
            _ => runs.push(Run {
                slots: SlotRange::new(slot, slot.plus(1)),
                units,
            }),
        }
    }
    runs
}
