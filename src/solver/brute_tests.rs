//! Tiny problems, solved by trying everything: the score, the bound and the search against it.

use proptest::prelude::*;

use super::{
    Assignment, BoundPart, Choice, Class, Job, Link, Part, PlanOptions, Pool, Problem, Run,
    Schedule, Site, StageIn, lower_bound, plan, score,
};

const SLOTS: usize = 5;

prop_compose! {
    fn site()(
        power_cap_w in 60..200_i32,
        green_w in prop::collection::vec(0..120_i32, SLOTS),
        weight in prop::collection::vec(prop_oneof![Just(1000), Just(500), 0..1200_i32], SLOTS),
        capacity in (2..5_i32, 0..3_i32, 3..8_i32),
    ) -> (Site, [i32; 3]) {
        let site = Site { id: "s".into(), power_cap_w, green_w, weight };
        (site, [capacity.0, capacity.1, capacity.2])
    }
}

fn class(duration: usize) -> impl Strategy<Value = Class> {
    let work = i64::try_from(duration).unwrap() * 1_000;
    prop_oneof![
        Just(Class::Rigid),
        (1..=duration, 0..2_usize)
            .prop_map(|(min_chunk, resume)| Class::Interruptible { min_chunk, resume }),
        Just(Class::Malleable {
            speed: [1_000, 1_800].into(),
            work
        }),
    ]
}

fn job(n_sites: usize) -> impl Strategy<Value = Job> {
    let choice = (1..3_i32, 0..2_i32, 1..4_i32, 20..90_i32);
    let shape = (1..4_usize).prop_flat_map(|duration| (Just(duration), class(duration)));
    let choices = prop::collection::vec(prop::option::weighted(0.8, choice), n_sites);
    (0..SLOTS, 0..2_usize, 0..3_usize, shape, choices, 1..6_i64).prop_map(
        |(arrival, stage_in, slack, (duration, class), choices, value)| {
            let release = arrival + stage_in;
            let choices: Vec<Choice> = choices
                .into_iter()
                .enumerate()
                .filter_map(|(pool, choice)| {
                    let (cores, gpus, memory, watts) = choice?;
                    let need = [cores, gpus, memory];
                    Some(Choice { pool, need, watts })
                })
                .collect();
            Job {
                id: 0,
                arrival,
                release,
                deadline: (release + duration + slack).min(SLOTS),
                duration,
                class,
                choices: choices.into(),
                stage_in: (0 < stage_in).then_some(StageIn {
                    link: 0,
                    n_slots: stage_in,
                    mbps: 100,
                }),
                miss_penalty: value * 100_000,
                delay_price: 0,
            }
        },
    )
}

/// Up to two sites and three jobs; every job has room for its window, whether or not it can run.
fn problem() -> impl Strategy<Value = Problem> {
    prop::collection::vec(site(), 1..3).prop_flat_map(|sites| {
        let n_sites = sites.len();
        prop::collection::vec(job(n_sites), 1..4).prop_map(move |jobs| {
            let pools = sites.iter().enumerate();
            let pools = pools.map(|(site, &(_, capacity))| Pool { site, capacity });
            let fits =
                |job: &Job| job.release + job.duration <= job.deadline && !job.choices.is_empty();
            Problem {
                name: "tiny".into(),
                slot_minutes: 15,
                n_slots: SLOTS,
                pools: pools.collect(),
                sites: sites.iter().map(|(site, _)| site.clone()).collect(),
                links: vec![Link {
                    id: "l".into(),
                    capacity_mbps: 1_000,
                }],
                jobs: jobs
                    .into_iter()
                    .filter(fits)
                    .enumerate()
                    .map(|(id, job)| Job {
                        id: u32::try_from(id).unwrap(),
                        ..job
                    })
                    .collect(),
            }
        })
    })
}

/// Units by slot as runs.
fn runs_of(units: &[usize], from: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (i, &units) in units.iter().enumerate().filter(|(_, units)| 0 < **units) {
        let start = from + i;
        match runs.last_mut() {
            Some(last) if last.end() == start && last.units == units => last.len += 1,
            _ => runs.push(Run {
                start,
                len: 1,
                units,
            }),
        }
    }
    runs
}

/// Every way to run a job, units by slot of its window.
fn ways(job: &Job) -> Vec<Vec<usize>> {
    let base = job.units_max() + 1;
    let n = job.deadline - job.release;
    let all = (0..base.pow(u32::try_from(n).unwrap())).map(|mut number| {
        let mut units = vec![0; n];
        for units in &mut units {
            *units = number % base;
            number /= base;
        }
        units
    });
    all.filter(|units| is_right(job, &runs_of(units, job.release)))
        .collect()
}

/// The rules of the classes, written once more.
fn is_right(job: &Job, runs: &[Run]) -> bool {
    let len: usize = runs.iter().map(|run| run.len).sum();
    match &job.class {
        Class::Rigid => runs.len() == 1 && len == job.duration,
        Class::Interruptible { min_chunk, resume } => {
            !runs.is_empty()
                && len == job.duration + resume * (runs.len() - 1)
                && runs.iter().enumerate().all(|(i, run)| {
                    let lost = if i == 0 { 0 } else { *resume };
                    lost + min_chunk <= run.len
                })
        }
        Class::Malleable { speed, work } => {
            let done = |run: &Run| speed[run.units - 1] * i64::try_from(run.len).unwrap();
            *work <= runs.iter().map(done).sum::<i64>()
        }
    }
}

/// Weighted grid energy and penalties, slot by slot, or `None` when there is too little of anything.
fn price(problem: &Problem, schedule: &Schedule) -> Option<i64> {
    let mut price = 0;
    for slot in 0..problem.n_slots {
        for (s, site) in problem.sites.iter().enumerate() {
            let (mut load, mut used) = (0, [0; 3]);
            for (job, assignment) in problem.jobs.iter().zip(&schedule.assignments) {
                let Some(assignment) = assignment else {
                    continue;
                };
                let choice = &job.choices[assignment.choice];
                let runs = assignment.runs.iter();
                for run in runs.filter(|run| (run.start..run.end()).contains(&slot)) {
                    if choice.pool == s {
                        let units = i32::try_from(run.units).unwrap();
                        load += units * choice.watts;
                        for (used, need) in used.iter_mut().zip(choice.need) {
                            *used += units * need;
                        }
                    }
                }
            }
            let full = used.iter().zip(problem.pools[s].capacity);
            if site.power_cap_w < load || full.into_iter().any(|(&used, have)| have < used) {
                return None;
            }
            let grid = i64::from((load - site.green_w[slot]).max(0));
            price += grid * i64::from(site.weight[slot]);
        }
    }
    for (job, assignment) in problem.jobs.iter().zip(&schedule.assignments) {
        if assignment.is_none() {
            price += job.miss_penalty;
        }
    }
    Some(price)
}

/// Calls `visit` with every schedule whose jobs keep their own rules.
fn every_schedule(problem: &Problem, visit: &mut dyn FnMut(&Schedule)) {
    fn go(problem: &Problem, schedule: &mut Schedule, visit: &mut dyn FnMut(&Schedule)) {
        let position = schedule.assignments.len();
        let Some(job) = problem.jobs.get(position) else {
            visit(schedule);
            return;
        };
        schedule.assignments.push(None);
        go(problem, schedule, visit);
        for way in ways(job) {
            for choice in 0..job.choices.len() {
                schedule.assignments[position] = Some(Assignment {
                    choice,
                    stage_in: job.stage_in.map(|_| job.arrival),
                    runs: runs_of(&way, job.release),
                });
                go(problem, schedule, visit);
            }
        }
        schedule.assignments.pop();
    }
    go(problem, &mut Schedule::default(), visit);
}

fn n_ways(problem: &Problem) -> usize {
    let of = |job: &Job| 1 + ways(job).len() * job.choices.len();
    problem.jobs.iter().map(of).product()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn score_bound_and_plan_agree_with_trying_everything(problem in problem()) {
        prop_assume!(n_ways(&problem) <= 30_000);
        let mut least = i64::MAX;
        let mut differ = None;
        every_schedule(&problem, &mut |schedule| {
            let ours = score(&problem, schedule).ok().map(|score| score.objective());
            let price = price(&problem, schedule);
            if ours != price {
                differ.get_or_insert_with(|| (schedule.clone(), ours, price));
            }
            least = least.min(price.unwrap_or(i64::MAX));
        });
        prop_assert_eq!(differ, None);

        let run = |parts: &mut [BoundPart<'_>]| parts.iter_mut().for_each(BoundPart::run);
        let mut last = i128::MIN;
        let bound = lower_bound(&problem, 60, &run, &mut |progress| {
            assert!(last <= progress.best, "a bound was lost");
            last = progress.best;
        });
        let bound = bound.unwrap();
        prop_assert!(bound.objective() <= i128::from(least), "{} > {least}", bound.objective());
        // All prices at nothing prove that nothing is negative; the search must not be worse.
        prop_assert!(0 <= bound.objective());

        let run = |parts: &mut [Part<'_>]| parts.iter_mut().for_each(Part::run);
        let mut budget = |progress: &super::Progress| u32::try_from(progress.n_rounds * 25).unwrap();
        let schedule = plan(&problem, &PlanOptions::default(), &run, &mut budget);
        let found = score(&problem, &schedule).map(|score| score.objective());
        prop_assert!(found.as_ref().is_ok_and(|&found| least <= found), "{found:?} < {least}");
    }
}
