//! Chains by hand, in all small cases against every arrangement, and in random worlds.
//!
//! What is made is checked from the placements alone.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    domain::{job::JobSpec, site::Site},
    planner::{
        Window, check,
        testing::{
            flat, green, horizon, job, name, pieces, request, runs_of, site, timetable, window,
        },
        worlds::{World, a_world},
    },
};

/// Planned jobs by id, all of which may move.
#[derive(Debug, Clone, Default)]
struct Others(BTreeMap<JobId, Candidate>);

impl Movers for Others {
    fn at(
        &self,
        site: &SiteId,
        slots: SlotRange,
    ) -> impl Iterator<Item = (JobId, &Arc<Placement>)> {
        self.0.values().filter_map(move |candidate| {
            let placement = candidate.current.as_ref()?;
            let overlaps =
                |run: &crate::domain::placement::Run| !run.slots.intersect(slots).is_empty();
            (placement.site == *site && placement.runs.iter().any(overlaps))
                .then_some((candidate.id, placement))
        })
    }

    fn candidate(&self, id: JobId) -> Option<Candidate> {
        self.0.get(&id).cloned()
    }
}

impl Others {
    fn add(&mut self, id: u128, spec: &JobSpec, window: Window, placement: Placement) {
        let candidate = Candidate {
            id: JobId(id),
            spec: Arc::new(spec.clone()),
            window,
            current: Some(Arc::new(placement)),
            staged: None,
        };
        self.0.insert(candidate.id, candidate);
    }

    fn adopt(&mut self, made: &MadeRoom) {
        for moved in &made.moves {
            let candidate = self.0.get_mut(&moved.id).expect("only others move");
            assert_eq!(candidate.current.as_ref(), Some(&moved.from));
            candidate.current = Some(moved.to.clone());
        }
    }

    /// Everyone's promises, asked again.
    fn check_with(&self, timetable: &Timetable, own: Option<(Request<'_>, &Placement)>) {
        let others = self.0.values().filter_map(|candidate| {
            let placement = candidate.current.as_deref()?;
            Some((request(&candidate.spec, candidate.window), placement))
        });
        check(timetable, others.chain(own));
    }
}

/// Places and reserves these in order, each at its best.
fn settled(timetable: &mut Timetable, jobs: &[(JobSpec, Window)]) -> Others {
    let mut others = Others::default();
    for (id, (spec, window)) in (1..).zip(jobs) {
        let placement = timetable.place(&request(spec, *window)).unwrap();
        timetable.reserve(&placement);
        others.add(id, spec, *window, placement);
    }
    others
}

/// A site that can power one job of a kilowatt at a time.
fn narrow(id: &str) -> Site {
    Site {
        power_cap_watts: 1_000,
        ..site(id)
    }
}

/// Id, site and runs of one that moved.
type Moved = (u128, String, Vec<(u32, u32)>);

fn moved(made: &MadeRoom) -> Vec<Moved> {
    let moves = made.moves.iter();
    moves
        .map(|moved| (moved.id.0, moved.to.site.to_string(), runs_of(&moved.to)))
        .collect()
}

fn only_at(site: &str, spec: JobSpec) -> JobSpec {
    let mut spec = spec;
    Arc::make_mut(&mut spec.data_policy).allowed_sites = [name(site)].into();
    spec
}

#[test]
fn a_job_that_can_wait_makes_room_for_one_that_cannot() {
    let mut timetable = timetable(horizon(4), vec![(narrow("a"), flat(horizon(4), 0))]);
    let mut others = settled(&mut timetable, &[(job(2), window(0, 4))]);
    let tight = job(2);
    let request = request(&tight, window(0, 2));
    assert!(timetable.place(&request).is_err());
    let before = timetable.clone();
    let made = timetable.make_room(&request, &others).unwrap();
    assert_eq!(runs_of(&made.placement), [(0, 2)]);
    assert_eq!(moved(&made), [(1, "a".into(), vec![(2, 4)])]);
    let after = timetable.clone();
    timetable.undo(&made);
    assert_eq!(timetable, before);
    others.adopt(&made);
    others.check_with(&after, Some((request, &made.placement)));
}

#[test]
fn who_finds_no_place_itself_moves_the_next() {
    let sites = ["a", "b"].map(|id| (narrow(id), flat(horizon(4), 0)));
    let mut timetable = timetable(horizon(4), sites.into());
    // The first can only go to `b`, where the second is, which can wait.
    let jobs = [(job(2), window(0, 2)), (only_at("b", job(2)), window(0, 4))];
    let others = settled(&mut timetable, &jobs);
    let tight = only_at("a", job(2));
    let made = timetable
        .make_room(&request(&tight, window(0, 2)), &others)
        .unwrap();
    assert_eq!(
        moved(&made),
        [(1, "b".into(), vec![(0, 2)]), (2, "b".into(), vec![(2, 4)])]
    );
}

#[test]
fn nobody_moves_for_a_lower_priority_and_nobody_loses_its_place() {
    let mut timetable = timetable(horizon(4), vec![(narrow("a"), flat(horizon(4), 0))]);
    let high = JobSpec {
        priority: 6,
        ..job(2)
    };
    let others = settled(&mut timetable, &[(high, window(0, 4))]);
    let before = timetable.clone();
    let with_priority = |priority| JobSpec { priority, ..job(2) };
    for (priority, end_by, is_made) in [(5, 2, false), (6, 2, true), (7, 2, true)] {
        let spec = with_priority(priority);
        let made = timetable.make_room(&request(&spec, window(0, end_by)), &others);
        assert_eq!(made.is_some(), is_made, "{priority}");
        made.iter().for_each(|made| timetable.undo(made));
        assert_eq!(timetable, before);
    }
    // There is no other place for the one in the way, however low it is.
    let mut full = before.clone();
    let blocker = full.place(&request(&job(2), window(2, 4))).unwrap();
    full.reserve(&blocker);
    let held = full.clone();
    let urgent = with_priority(10);
    assert_eq!(
        full.make_room(&request(&urgent, window(0, 2)), &others),
        None
    );
    assert_eq!(full, held);
}

#[test]
fn green_power_that_a_job_was_promised_is_made_free_too() {
    let outlook = green(horizon(4), &[1_000, 1_000, 0, 0]);
    let mut timetable = timetable(horizon(4), vec![(site("a"), outlook)]);
    let others = settled(&mut timetable, &[(job(2), window(0, 4))]);
    let green_only = JobSpec {
        min_green_share_permille: 1_000,
        ..job(2)
    };
    let request = request(&green_only, window(0, 4));
    assert!(timetable.place(&request).is_err());
    let made = timetable.make_room(&request, &others).unwrap();
    assert_eq!(runs_of(&made.placement), [(0, 2)]);
    assert_eq!(made.placement.green_share_permille(), 1_000);
    assert_eq!(moved(&made)[0].0, 1);
}

#[test]
fn only_who_takes_what_is_short_moves_and_only_as_many_as_must() {
    let roomy = Site {
        power_cap_watts: 3_000,
        ..site("a")
    };
    let mut timetable = timetable(horizon(8), vec![(roomy, flat(horizon(8), 0))]);
    let others = settled(&mut timetable, &vec![(job(2), window(0, 8)); 3]);
    let tight = job(2);
    let made = timetable
        .make_room(&request(&tight, window(0, 2)), &others)
        .unwrap();
    assert_eq!(made.moves.len(), 1);
}

#[test]
fn a_job_in_pieces_takes_what_is_free_and_moves_others_for_the_rest() {
    let mut timetable = timetable(horizon(6), vec![(narrow("a"), flat(horizon(6), 0))]);
    let others = settled(
        &mut timetable,
        &[(job(1), window(1, 6)), (job(1), window(3, 4))],
    );
    let spec = pieces(3, 1, 0);
    let made = timetable
        .make_room(&request(&spec, window(0, 4)), &others)
        .unwrap();
    assert_eq!(runs_of(&made.placement), [(0, 3)]);
    assert_eq!(moved(&made), [(1, "a".into(), vec![(4, 5)])]);
}

/// All windows of jobs of one or two slots within four.
fn small_jobs() -> Vec<(u32, u32, u32)> {
    let mut all = Vec::new();
    for n_slots in 1..=2 {
        for from in 0..=4 - n_slots {
            for to in from + n_slots..=4 {
                all.push((n_slots, from, to));
            }
        }
    }
    all
}

/// Whether jobs that fill one slot each find a place, by trying every one.
fn fit_together(jobs: &[(u32, u32, u32)], taken: u32) -> bool {
    let Some(((n_slots, from, to), rest)) = jobs.split_first() else {
        return true;
    };
    (*from..=to - n_slots).any(|start| {
        let own = ((1 << n_slots) - 1) << start;
        taken & own == 0 && fit_together(rest, taken | own)
    })
}

#[test]
fn in_small_cases_a_chain_is_found_exactly_where_there_is_an_arrangement() {
    let jobs = small_jobs();
    let (mut n_needed, mut n_found) = (0, 0);
    for first in &jobs {
        for second in &jobs {
            for third in &jobs {
                let mut timetable = timetable(horizon(4), vec![(narrow("a"), flat(horizon(4), 0))]);
                let of =
                    |(n_slots, from, to): &(u32, u32, u32)| (job(*n_slots), window(*from, *to));
                if !fit_together(&[*first, *second], 0) {
                    continue;
                }
                let mut others = Others::default();
                for (id, planned) in [(1, first), (2, second)] {
                    let (spec, window) = of(planned);
                    if let Ok(placement) = timetable.place(&request(&spec, window)) {
                        timetable.reserve(&placement);
                        others.add(id, &spec, window, placement);
                    }
                }
                let (spec, window) = of(third);
                let request = request(&spec, window);
                if others.0.len() < 2 || timetable.place(&request).is_ok() {
                    continue;
                }
                let is_possible = fit_together(&[*third, *first, *second], 0);
                n_needed += u32::from(is_possible);
                match timetable.make_room(&request, &others) {
                    Some(made) => {
                        assert!(is_possible);
                        n_found += 1;
                        others.adopt(&made);
                        others.check_with(&timetable, Some((request, &made.placement)));
                    }
                    None => assert!(!is_possible, "{first:?} {second:?} {third:?}"),
                }
            }
        }
    }
    assert!(0 < n_needed);
    assert_eq!(n_found, n_needed);
}

fn filled(world: &World) -> (Timetable, Others, Vec<usize>) {
    let mut timetable = world.timetable();
    let placed = world.fill(&mut timetable);
    let mut others = Others::default();
    for (i, placement) in &placed {
        let (spec, window) = &world.jobs[*i];
        others.add(
            u128::try_from(*i).unwrap(),
            spec,
            *window,
            placement.clone(),
        );
    }
    let left = (0..world.jobs.len()).filter(|i| placed.iter().all(|(placed, _)| placed != i));
    (timetable, others, left.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn whoever_makes_room_keeps_a_place_and_all_its_promises(world in a_world(6..16)) {
        let (mut timetable, mut others, left) = filled(&world);
        for i in left {
            let (spec, window) = &world.jobs[i];
            let request = request(spec, *window);
            let before = timetable.clone();
            let Some(made) = timetable.make_room(&request, &others) else {
                prop_assert_eq!(&timetable, &before, "what does not help leaves no trace");
                continue;
            };
            prop_assert!(made.moves.len() <= limits::CHAIN_MOVES_MAX);
            for moved in &made.moves {
                prop_assert!(others.0[&moved.id].spec.priority <= spec.priority);
            }
            let after = timetable.clone();
            timetable.undo(&made);
            prop_assert_eq!(&timetable, &before);
            timetable = after;
            others.adopt(&made);
            others.check_with(&timetable, Some((request, &made.placement)));
            let id = u128::try_from(i).unwrap();
            others.add(id, spec, *window, Placement::clone(&made.placement));
        }
    }
}
