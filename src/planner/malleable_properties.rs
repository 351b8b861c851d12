//! What the greedy search for malleable jobs guarantees, against every way to spread units over a few slots.
//!
//! The brute force shares nothing with the search but the shape of a job, which has a table of its own.

use proptest::{option, prelude::*};

use crate::{
    domain::{
        job::{Flexibility, JobSpec},
        placement::Placement,
    },
    planner::{
        Window,
        cost::{Meter, Score, weighted},
        feasibility::{Ask, Work},
        testing::{START, job, request, window},
        worlds::{Counter, N, World, a_world, some_input, some_speeds, some_weights},
    },
    slot::Slot,
    units,
};

/// Slots of the windows: all ways to spread three units over them can be tried.
const WINDOW: u32 = 5;

fn a_malleable_job() -> impl Strategy<Value = (JobSpec, Window)> {
    let size = (1_u32..6, 1_u32..3, 1_u64..3);
    let wishes = (
        prop::sample::select(vec![0_u32, 0, 300, 700, 1_000]),
        option::weighted(0.4, some_weights()),
        option::weighted(0.3, some_input()),
    );
    let starts = (0_u32..=N - WINDOW, 0_u32..=WINDOW);
    (size, some_speeds(), wishes, starts).prop_map(|(size, speed_permille, wishes, starts)| {
        let (n_slots, task_count, task_power_watts) = size;
        let spec = JobSpec {
            task_count,
            task_power_watts,
            flexibility: Flexibility::Malleable { speed_permille },
            min_green_share_permille: wishes.0,
            weights: wishes.1,
            staging: wishes.2,
            ..job(n_slots)
        };
        let (from, last_start) = starts;
        let window = Window {
            start_by: Slot(START + from + last_start),
            ..window(from, from + WINDOW)
        };
        (spec, window)
    })
}

fn speeds(spec: &JobSpec) -> &[u32] {
    let Flexibility::Malleable { speed_permille } = &spec.flexibility else {
        panic!("the job is malleable")
    };
    speed_permille
}

/// Every number of units for every slot of the window.
fn choices(spec: &JobSpec, window: Window) -> Vec<Vec<u32>> {
    let most = u32::try_from(speeds(spec).len()).unwrap();
    let first = usize::try_from(window.not_before.0 - START).unwrap();
    let mut choices = vec![vec![0; first]];
    for _ in 0..WINDOW {
        choices = choices
            .into_iter()
            .flat_map(|before| {
                (0..=most).map(move |units| {
                    let mut choice = before.clone();
                    choice.push(units);
                    choice
                })
            })
            .collect();
    }
    choices
}

fn best(world: &World, placed: &[(usize, Placement)], job: &(JobSpec, Window)) -> Option<Score> {
    let counter = Counter { world, placed };
    counter.best_of(&job.0, job.1, &choices(&job.0, job.1))
}

/// Whether every unit that helps helps as much as the first.
fn is_in_proportion(spec: &JobSpec) -> bool {
    let speeds = speeds(spec);
    let in_proportion = |(i, speed): (usize, &u32)| *speed == 1_000 * u32::try_from(i + 1).unwrap();
    speeds.iter().enumerate().all(in_proportion)
}

/// Whether grid power is nowhere cheaper than green power, by what the job counts.
fn green_comes_first(world: &World, spec: &JobSpec) -> bool {
    let timetable = world.timetable();
    let Some(weights) = spec.weights else {
        return true;
    };
    timetable.sites.iter().all(|table| {
        let meter = Meter::new(table, spec.confidence, 1);
        (0..usize::try_from(N).unwrap()).all(|slot| {
            let [green, grid] = meter.rates_at(slot);
            weighted(weights, green) <= weighted(weights, grid)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn units_are_found_whenever_there_are_any_and_cost_little_more_than_the_best(
        world in a_world(0..5),
        job in a_malleable_job(),
    ) {
        let (spec, window) = &job;
        let mut timetable = world.timetable();
        let placed = world.fill(&mut timetable);
        let request = request(spec, *window);
        let work = Work::default();
        let ask = Ask::new(&timetable, &request, &work);
        let found = timetable.best(&ask);
        let score = found.as_ref().map(|found| found.score);
        let expected = best(&world, &placed, &job);
        let in_proportion = is_in_proportion(spec);
        let green_first = green_comes_first(&world, spec);
        if spec.min_green_share_permille == 0 || in_proportion {
            prop_assert_eq!(score.is_some(), expected.is_some());
        }
        let (Some(score), Some(expected)) = (score, expected) else {
            // Found is never what does not exist.
            prop_assert!(score.is_none());
            return Ok(());
        };
        prop_assert!(expected <= score);
        let exact = spec.weights.is_none() || spec.min_green_share_permille == 0;
        if in_proportion && green_first && exact {
            prop_assert_eq!(score, expected);
        }
        if spec.weights.is_none() && spec.min_green_share_permille == 0 {
            let pue = timetable.sites[score.site].site.pue_permille;
            let unit = units::facility_watts(spec.it_watts(), pue).unwrap();
            prop_assert!(score.sums.grid <= expected.sums.grid + unit);
        }
        let placement = found.map(|found| found.write_out(&timetable, &ask)).unwrap();
        timetable.reserve(&placement);
        let plan = placed
            .iter()
            .map(|(i, placement)| {
                let (spec, window) = &world.jobs[*i];
                (crate::planner::testing::request(spec, *window), placement)
            })
            .chain([(request, &placement)]);
        crate::planner::check(&timetable, plan);
    }

    #[test]
    fn the_soonest_units_end_first(world in a_world(0..5), job in a_malleable_job()) {
        let (spec, window) = &job;
        let mut timetable = world.timetable();
        let placed = world.fill(&mut timetable);
        if spec.min_green_share_permille > 0 && !is_in_proportion(spec) {
            return Ok(());
        }
        let soonest = timetable.place_now(&request(spec, *window)).ok();
        let end = soonest.map(|placement| placement.end());
        let first_end = (1..=WINDOW).map(|slots| window.not_before.plus(slots)).find(|&end_by| {
            let cut = Window { end_by, ..*window };
            let strict = JobSpec { weights: None, ..spec.clone() };
            best(&world, &placed, &(strict, cut)).is_some()
        });
        prop_assert_eq!(end, first_end);
    }
}
