//! Properties that hold whatever the sites, forecasts and jobs: checked on random small worlds and by brute force.
//!
//! The brute force knows nothing of the timetable: it counts watts from the list of placements.

use std::sync::Arc;

use proptest::{collection::vec, option, prelude::*};

use crate::{
    domain::{
        ids::{JobId, Revision},
        job::{Flexibility, JobSpec, Weights},
        outlook::{Confidence, SiteOutlook},
        placement::{Placement, Run},
        site::{Pool, Site},
    },
    limits,
    planner::{
        Candidate, MoveKind, ReplanOptions, Request, Timetable, Window, check,
        cost::{Aim, Score, Sums},
        feasibility::{Ask, Shape, Work},
        replan,
        testing::{
            START, flat, grid, horizon, job, name, pieces, pool, request, site, slots_ms,
            timetable, window,
        },
    },
    slot::{Slot, SlotRange},
    units,
};

/// Slots of the small worlds.
pub(super) const N: u32 = 10;

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) sites: Vec<(Site, SiteOutlook)>,
    pub(super) jobs: Vec<(JobSpec, Window)>,
}

fn a_site(id: &'static str) -> impl Strategy<Value = (Site, SiteOutlook)> {
    let n = usize::try_from(N).unwrap();
    (
        (
            2_u64..12,
            1_u32..4,
            option::of(1_u32..3),
            prop::sample::select(vec![1_000_u32, 1_300]),
        ),
        vec(prop::array::uniform3(0_u64..6), n),
        vec(prop::array::uniform4(0_u64..3), n),
    )
        .prop_map(move |((cap, nodes, second, pue), green, rates)| {
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
        })
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
        limits::PRIORITY,
    )
        .prop_map(
            |(
                (n_slots, tasks, watts, level),
                share,
                flexibility,
                weights,
                (from, len, starts),
                priority,
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
                let spec = JobSpec {
                    task_count: tasks,
                    task_power_watts: watts,
                    confidence: Confidence::ALL[level],
                    min_green_share_permille: share,
                    flexibility,
                    weights,
                    priority,
                    ..job(n_slots)
                };
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

pub(super) fn a_world(n_jobs: std::ops::Range<usize>) -> impl Strategy<Value = World> {
    (a_site("a"), option::of(a_site("b")), vec(a_job(), n_jobs)).prop_map(|(a, b, jobs)| World {
        sites: std::iter::once(a).chain(b).collect(),
        jobs,
    })
}

impl World {
    pub(super) fn timetable(&self) -> Timetable {
        timetable(horizon(N), self.sites.clone())
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

    fn check(&self, timetable: &Timetable, placed: &[(usize, Placement)]) {
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
    fn best(&self, spec: &JobSpec, window: Window) -> Option<Score> {
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

fn candidates(world: &World, placed: &[(usize, Placement)]) -> Vec<Candidate> {
    world
        .jobs
        .iter()
        .enumerate()
        .map(|(i, (spec, window))| Candidate {
            id: JobId(u128::try_from(i).unwrap()),
            spec: Arc::new(spec.clone()),
            window: *window,
            current: placed
                .iter()
                .find(|(placed, _)| *placed == i)
                .map(|(_, placement)| Arc::new(placement.clone())),
        })
        .collect()
}

fn adopt(candidates: &mut [Candidate], moves: &[crate::planner::Move]) {
    for change in moves {
        let candidate = candidates.iter_mut().find(|c| c.id == change.id).unwrap();
        assert_eq!(candidate.current, change.from);
        candidate.current.clone_from(&change.to);
    }
}

fn requests(candidates: &[Candidate]) -> impl Iterator<Item = (Request<'_>, &Placement)> {
    candidates.iter().filter_map(|candidate| {
        let placement = candidate.current.as_deref()?;
        Some((request(&candidate.spec, candidate.window), placement))
    })
}

fn options(min_gain_permille: u32) -> ReplanOptions {
    ReplanOptions {
        min_gain_permille,
        max_moves: usize::MAX,
        work_max: u64::MAX,
        decided_revision: Revision(8),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn nothing_is_ever_promised_twice(world in a_world(1..12), gone in vec(any::<bool>(), 12)) {
        let mut timetable = world.timetable();
        let mut placed = world.fill(&mut timetable);
        world.check(&timetable, &placed);
        let mut kept = Vec::new();
        for ((i, placement), gone) in placed.drain(..).zip(gone) {
            if gone {
                timetable.release(&placement);
            } else {
                kept.push((i, placement));
            }
        }
        world.check(&timetable, &kept);
        for (i, (spec, window)) in world.jobs.iter().enumerate() {
            if kept.iter().all(|(kept, _)| *kept != i)
                && let Ok(placement) = timetable.place_now(&request(spec, *window))
            {
                timetable.reserve(&placement);
                kept.push((i, placement));
            }
        }
        world.check(&timetable, &kept);
    }

    #[test]
    fn a_release_restores_the_timetable_bit_for_bit(world in a_world(1..8)) {
        let empty = world.timetable();
        let mut timetable = empty.clone();
        let mut snapshots = Vec::new();
        for (spec, window) in &world.jobs {
            if let Ok(placement) = timetable.place(&request(spec, *window)) {
                snapshots.push((timetable.clone(), placement.clone()));
                timetable.reserve(&placement);
            }
        }
        for (before, placement) in snapshots.into_iter().rev() {
            timetable.release(&placement);
            prop_assert_eq!(&timetable, &before);
        }
        prop_assert_eq!(timetable, empty);
    }

    #[test]
    fn the_best_placement_is_the_best_of_all(world in a_world(2..6)) {
        let mut timetable = world.timetable();
        let mut placed = Vec::new();
        for (i, (spec, window)) in world.jobs.iter().enumerate() {
            let request = request(spec, *window);
            let work = Work::default();
            let ask = Ask::new(&timetable, &request, &work);
            let found = timetable.best(&ask);
            let counter = Counter { world: &world, placed: &placed };
            let score = found.as_ref().map(|found| found.score);
            let (is_cut, exact) = match spec.flexibility {
                Flexibility::Rigid => (true, true),
                Flexibility::Interruptible { resume_cost_ms, .. } => {
                    let exact = spec.min_green_share_permille == 0
                        || (resume_cost_ms == 0 && spec.weights.is_none());
                    (true, exact)
                }
                // Has its own brute force.
                Flexibility::Malleable { .. } => (false, false),
            };
            let expected = if is_cut { counter.best(spec, *window) } else { score };
            if exact {
                prop_assert_eq!(score, expected);
            } else {
                prop_assert_eq!(score.is_some(), expected.is_some());
                prop_assert!(expected <= score);
            }
            let placement = found.map(|found| found.write_out(&timetable, &ask));
            prop_assert_eq!(&placement, &timetable.place(&request).ok());
            if let Some(placement) = placement {
                timetable.reserve(&placement);
                placed.push((i, placement));
            }
        }
    }

    #[test]
    fn the_best_pieces_are_the_best_of_all_sets_of_slots(
        site in a_site("a"),
        (n_slots, chunk, resume) in (2_u32..6, 1_u32..3, 0_u32..3),
        weights in option::weighted(0.3, some_weights()),
    ) {
        let spec = JobSpec {
            weights,
            ..pieces(n_slots, chunk.min(n_slots), resume)
        };
        let spec = JobSpec { task_power_watts: 2, ..spec };
        let world = World {
            sites: vec![site],
            jobs: vec![(spec.clone(), window(0, N))],
        };
        let timetable = world.timetable();
        let request = request(&spec, window(0, N));
        let work = Work::default();
        let ask = Ask::new(&timetable, &request, &work);
        let score = timetable.best(&ask).map(|found| found.score);
        let counter = Counter { world: &world, placed: &[] };
        prop_assert_eq!(score, counter.best(&spec, window(0, N)));
    }

    #[test]
    fn the_soonest_placement_ends_first(world in a_world(2..6)) {
        let mut timetable = world.timetable();
        let placed = world.fill(&mut timetable);
        let counter = Counter { world: &world, placed: &placed };
        let is_cut =
            |spec: &JobSpec| !matches!(spec.flexibility, Flexibility::Malleable { .. });
        for (spec, window) in world.jobs.iter().filter(|(spec, _)| is_cut(spec)) {
            let soonest = timetable.place_now(&request(spec, *window)).ok();
            let strict = JobSpec { weights: None, ..spec.clone() };
            let ends = |spec: &JobSpec| {
                (1..=N).find(|&to| {
                    let cut = Window { end_by: window.end_by.min(Slot(START + to)), ..*window };
                    counter.best(spec, cut).is_some()
                })
            };
            let end = soonest.as_ref().map(|placement| placement.end().0 - START);
            prop_assert_eq!(end, ends(&strict));
        }
    }

    #[test]
    fn verdicts_agree_with_the_decision(world in a_world(1..8)) {
        let mut timetable = world.timetable();
        world.fill(&mut timetable);
        for (spec, window) in &world.jobs {
            use crate::domain::refusal::Outcome;
            let request = request(spec, *window);
            let verdicts = timetable.verdicts(&request, None);
            let chosen: Vec<_> = verdicts
                .iter()
                .filter_map(|verdict| match &verdict.outcome {
                    Outcome::Chosen(placement) => Some((**placement).clone()),
                    Outcome::Feasible(_) | Outcome::Refused(_) => None,
                })
                .collect();
            match timetable.place(&request) {
                Ok(placement) => prop_assert_eq!(chosen, vec![placement]),
                Err(infeasible) => {
                    prop_assert_eq!(&infeasible.verdicts, &verdicts);
                    for verdict in verdicts {
                        let Outcome::Refused(refusals) = verdict.outcome else {
                            panic!("{:?} is refused", verdict.site)
                        };
                        prop_assert!(!refusals.is_empty());
                        prop_assert!(refusals.is_sorted_by_key(|refusal| refusal.reason));
                    }
                    check_suggestions(&timetable, &request)?;
                }
            }
        }
    }

    #[test]
    fn a_replan_keeps_every_rule_and_its_result_fed_back_changes_nothing(
        world in a_world(2..10),
        later in a_world(0..1),
        gain in prop::sample::select(vec![0_u32, 50, 300]),
        cordoned in prop::sample::select(vec![false, false, true]),
    ) {
        let mut timetable = world.timetable();
        let placed = world.fill(&mut timetable);
        let mut candidates = candidates(&world, &placed);
        // New forecasts, another cap and other pools for the first site; perhaps it is cordoned.
        for (site, outlook) in &later.sites {
            let mut site = site.clone();
            if cordoned {
                site.cordon = Some(crate::domain::site::Cordon {
                    reason: "works".into(),
                    since: crate::slot::TimeMs(0),
                });
            }
            if timetable.position(&name(site.id.as_str())).is_ok() {
                timetable.set_site(Arc::new(site), outlook.clone());
            }
        }
        let before = timetable.clone();
        let moves = replan(&mut timetable, &candidates, &options(gain));
        let mut again = before;
        prop_assert_eq!(&replan(&mut again, &candidates, &options(gain)), &moves);
        prop_assert_eq!(&again, &timetable);
        adopt(&mut candidates, &moves);
        check(&timetable, requests(&candidates));
        let settled = timetable.clone();
        prop_assert_eq!(replan(&mut timetable, &candidates, &options(gain)), vec![]);
        prop_assert_eq!(&timetable, &settled);
        for candidate in candidates.iter().filter(|candidate| candidate.current.is_none()) {
            prop_assert!(timetable.place(&request(&candidate.spec, candidate.window)).is_err());
        }
    }

    #[test]
    fn without_moves_allowed_sound_placements_stay(world in a_world(2..10), later in a_site("a")) {
        let mut timetable = world.timetable();
        let placed = world.fill(&mut timetable);
        let mut candidates = candidates(&world, &placed);
        timetable.set_outlook(&later.0.id, later.1);
        let options = ReplanOptions { max_moves: 0, ..options(0) };
        let moves = replan(&mut timetable, &candidates, &options);
        let holds = |from: &Placement| {
            // A placement without a green share asked for cannot break when only the forecast changes.
            let i = placed.iter().find(|(_, placement)| placement == from).unwrap().0;
            world.jobs[i].0.min_green_share_permille == 0
        };
        for change in &moves {
            if let Some(from) = &change.from
                && holds(from)
            {
                prop_assert_eq!(change.kind, MoveKind::Recosted);
            }
        }
        adopt(&mut candidates, &moves);
        check(&timetable, requests(&candidates));
    }
}

/// Every suggestion does what it says.
fn check_suggestions(timetable: &Timetable, request: &Request<'_>) -> Result<(), TestCaseError> {
    use crate::domain::refusal::SuggestedChange;
    for suggestion in timetable.suggest(request) {
        let mut spec = request.spec.clone();
        let mut window = request.window;
        match suggestion.change {
            SuggestedChange::LaterDeadline(deadline) => {
                let end_by = grid().slot_at(deadline);
                prop_assert!(window.end_by < end_by);
                window = Window {
                    end_by,
                    start_by: end_by,
                    ..window
                };
            }
            SuggestedChange::LargerRtt(rtt_us) => spec.origin.max_rtt_us = Some(rtt_us),
            SuggestedChange::LowerGreenShare(permille) => {
                prop_assert!(permille < spec.min_green_share_permille);
                spec.min_green_share_permille = permille;
            }
        }
        let changed = Request {
            spec: &spec,
            window,
            ..*request
        };
        prop_assert!(timetable.place(&changed).is_ok(), "{:?}", suggestion);
    }
    Ok(())
}
