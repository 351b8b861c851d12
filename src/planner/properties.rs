//! Properties that hold whatever the sites, forecasts and jobs: checked on random small worlds and by brute force.
//!
//! Malleable jobs, whose search is not exact, have a brute force of their own.

mod suggestions;
mod transfers;

use std::sync::Arc;

use proptest::{collection::vec, option, prelude::*};

use crate::{
    domain::{
        ids::{JobId, Revision},
        job::{Flexibility, JobSpec},
        placement::Placement,
    },
    planner::{
        Candidate, MoveKind, ReplanOptions, Request, Window, check,
        feasibility::{Ask, Work},
        replan,
        testing::{START, name, pieces, request, window},
        worlds::{Counter, N, World, a_site, a_world, set_link, some_weights},
    },
    slot::Slot,
};

use self::suggestions::check_suggestions;

/// Whether runs are all there is to vary; malleable jobs have a brute force of their own.
fn is_cut(spec: &JobSpec) -> bool {
    !matches!(spec.flexibility, Flexibility::Malleable { .. })
}

/// Whether the search for this job finds the best of all: with repeated work, or by weights, pieces that keep a green
/// share are found, not always the best of them.
fn is_exact(spec: &JobSpec) -> bool {
    match spec.flexibility {
        Flexibility::Rigid => true,
        Flexibility::Interruptible { resume_cost_ms, .. } => {
            spec.min_green_share_permille == 0 || (resume_cost_ms == 0 && spec.weights.is_none())
        }
        Flexibility::Malleable { .. } => false,
    }
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
            staged: None,
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
            let expected = if is_cut(spec) { counter.best(spec, *window) } else { score };
            if is_exact(spec) {
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
            link: None,
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
            if is_exact(&strict) {
                prop_assert_eq!(end, ends(&strict));
            } else {
                prop_assert_eq!(end.is_some(), ends(&strict).is_some());
                prop_assert!(ends(&strict) <= end);
            }
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
        set_link(&mut timetable, later.link);
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
