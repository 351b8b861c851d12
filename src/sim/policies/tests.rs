//! Each rule on a case that shows it, and no rule broken on random problems.

use super::*;
use crate::{
    sim::policy::{simulate, without_jobs},
    solver::{Choice, Class, Link, Pool, RESOURCES, Run, Site, StageIn, score},
};
use proptest::prelude::*;

/// Sites of 10 cores and 1000 W with these weights of grid energy by slot, and no green power; a day has 4 slots.
fn dear(weights: &[&[i32]]) -> Problem {
    let site = |(i, weight): (usize, &&[i32])| Site {
        id: format!("s{i}").into(),
        power_cap_w: 1000,
        green_w: vec![0; weight.len()],
        weight: weight.to_vec(),
    };
    let pool = |site| Pool {
        site,
        capacity: [10, 0, 0],
    };
    Problem {
        name: "test".into(),
        slot_minutes: 360,
        n_slots: weights[0].len(),
        sites: weights.iter().enumerate().map(site).collect(),
        pools: (0..weights.len()).map(pool).collect(),
        links: Vec::new(),
        jobs: Vec::new(),
    }
}

/// A job of so many slots that takes 6 cores and 600 W at any site, from slot 0 to the end.
fn job(problem: &Problem, duration: usize, class: Class) -> Job {
    let choice = |pool| Choice {
        pool,
        need: [6, 0, 0],
        watts: 600,
    };
    Job {
        id: 0,
        arrival: 0,
        release: 0,
        deadline: problem.n_slots,
        duration,
        class,
        choices: (0..problem.pools.len()).map(choice).collect(),
        stage_in: None,
        miss_penalty: 1_000_000_000,
        delay_price: 0,
    }
}

fn cuttable(min_chunk: usize, resume: usize) -> Class {
    Class::Interruptible { min_chunk, resume }
}

fn run(mut problem: Problem, jobs: Vec<Job>, rule: Rule) -> Schedule {
    problem.jobs = jobs;
    for (id, job) in (0..).zip(&mut problem.jobs) {
        job.id = id;
    }
    let schedule = simulate(&problem, rule.policy(&without_jobs(&problem)), &mut |_| ());
    score(&problem, &schedule).unwrap();
    schedule
}

/// Site and runs of each job as text, `-` for a missed one.
fn check(problem: Problem, jobs: Vec<Job>, rule: Rule, expected: &str) {
    let schedule = run(problem, jobs, rule);
    let shown: Vec<String> = schedule.assignments.iter().map(shown).collect();
    assert_eq!(shown.join(" "), expected, "{rule:?}");
}

fn shown(assignment: &Option<Assignment>) -> String {
    let Some(assignment) = assignment else {
        return "-".to_owned();
    };
    let run = |run: &Run| match run.units {
        1 => format!("{}+{}", run.start, run.len),
        units => format!("{}+{}x{units}", run.start, run.len),
    };
    let runs: Vec<String> = assignment.runs.iter().map(run).collect();
    format!("s{}:{}", assignment.choice, runs.join(","))
}

#[test]
fn run_now_takes_the_first_site_with_room() {
    let at = dear(&[&[9; 4], &[1; 4]]);
    let jobs = vec![job(&at, 2, Class::Rigid); 5];
    check(at, jobs, Rule::RunNow, "s0:0+2 s1:0+2 s0:2+2 s1:2+2 -");
}

#[test]
fn balanced_takes_the_emptiest_site() {
    let at = dear(&[&[9; 4], &[9; 4]]);
    let mut small = job(&at, 1, Class::Rigid);
    for choice in &mut small.choices {
        *choice = Choice {
            pool: choice.pool,
            need: [1, 0, 0],
            watts: 100,
        };
    }
    let jobs = vec![small.clone(), small.clone(), small];
    check(at, jobs, Rule::Balanced, "s0:0+1 s1:0+1 s0:0+1");
}

#[test]
fn a_malleable_job_runs_as_declared_and_wider_only_if_it_must() {
    let at = dear(&[&[9; 4]]);
    let class = Class::Malleable {
        speed: [10, 18].into(),
        work: 36,
    };
    let mut wide = job(&at, 4, class);
    wide.choices[0].need = [5, 0, 0];
    wide.choices[0].watts = 500;
    check(at.clone(), vec![wide.clone()], Rule::RunNow, "s0:0+4");
    wide.deadline = 3;
    check(at, vec![wide], Rule::RunNow, "s0:0+2x2");
}

#[test]
fn sites_by_rule_and_the_next_one_when_there_is_no_room() {
    let at = dear(&[&[9, 1, 1], &[1, 9, 9]]);
    let jobs = vec![job(&at, 3, Class::Rigid); 3];
    check(
        at.clone(),
        jobs.clone(),
        Rule::LowestCarbon,
        "s1:0+3 s0:0+3 -",
    );
    check(at.clone(), jobs.clone(), Rule::LocalOnly, "s0:0+3 s1:0+3 -");
    check(at.clone(), jobs, Rule::MostAvailable, "s0:0+3 s1:0+3 -");
    let jobs = vec![job(&at, 1, Class::Rigid); 3];
    check(
        at.clone(),
        jobs.clone(),
        Rule::RoundRobin,
        "s0:0+1 s1:0+1 s0:1+1",
    );
    check(at, jobs, Rule::LocalOnly, "s0:0+1 s0:1+1 s0:2+1");
}

#[test]
fn rules_see_what_was_free_when_the_step_began() {
    let at = dear(&[&[9; 4], &[9; 4]]);
    let mut small = job(&at, 2, Class::Rigid);
    for choice in &mut small.choices {
        (choice.need, choice.watts) = ([3, 0, 0], 100);
    }
    let mut later = small.clone();
    (later.arrival, later.release) = (1, 1);
    let jobs = vec![small.clone(), small, later];
    check(at, jobs, Rule::MostAvailable, "s0:0+2 s0:0+2 s1:1+2");
}

#[test]
fn lowest_slot_looks_at_the_first_slot_only() {
    let at = dear(&[&[6, 3, 9, 4, 4]]);
    let jobs = vec![job(&at, 2, Class::Rigid)];
    check(at.clone(), jobs.clone(), Rule::LowestSlot, "s0:1+2");
    check(at, jobs, Rule::LowestWindow, "s0:3+2");
}

#[test]
fn lowest_window_goes_round_what_is_taken_and_to_the_cheaper_site() {
    let at = dear(&[&[5, 1, 1, 9], &[9, 9, 4, 4]]);
    let jobs = vec![job(&at, 2, Class::Rigid); 3];
    check(at, jobs, Rule::LowestWindow, "s0:1+2 s1:2+2 s1:0+2");
}

#[test]
fn carbon_time_does_not_wait_long_for_little() {
    // Against 10 now: 4 saved by time 2 beats 6 saved by time 4.
    let at = dear(&[&[10, 6, 10, 4]]);
    let jobs = vec![job(&at, 1, Class::Rigid)];
    check(at.clone(), jobs.clone(), Rule::CarbonTime, "s0:1+1");
    check(at, jobs, Rule::LowestWindow, "s0:3+1");
    let at = dear(&[&[3, 5, 4, 3]]);
    let jobs = vec![job(&at, 1, Class::Rigid)];
    check(at, jobs, Rule::CarbonTime, "s0:0+1");
}

#[test]
fn the_queue_mean_decides_but_the_real_length_runs() {
    let at = dear(&[&[5, 1, 9, 3, 3, 3]]);
    let mut with_jobs = at.clone();
    with_jobs.jobs = vec![job(&at, 2, Class::Rigid)];
    let setting = Setting {
        short_below: 3,
        mean_len: Some([1, 9]),
        stride: 1,
        day: 4,
        step: 1,
    };
    let policy = Rule::LowestWindow.with_setting(&at, setting);
    let schedule = simulate(&with_jobs, policy, &mut |_| ());
    assert_eq!(shown(&schedule.assignments[0]), "s0:1+2");
    let every_third = Setting {
        stride: 3,
        mean_len: None,
        ..setting
    };
    let policy = Rule::LowestWindow.with_setting(&at, every_third);
    let schedule = simulate(&with_jobs, policy, &mut |_| ());
    assert_eq!(shown(&schedule.assignments[0]), "s0:0+2");
}

#[test]
fn wait_awhile_takes_the_cheapest_slots_or_the_cheapest_window() {
    let at = dear(&[&[1, 9, 2, 3, 1]]);
    let jobs = vec![job(&at, 2, cuttable(1, 0))];
    check(at.clone(), jobs.clone(), Rule::WaitAwhile, "s0:0+1,4+1");
    check(at.clone(), jobs, Rule::WaitAwhileWhole, "s0:3+2");
    let jobs = vec![job(&at, 2, cuttable(1, 1))];
    check(at, jobs, Rule::WaitAwhile, "s0:3+2");
}

#[test]
fn threshold_runs_in_low_slots_and_at_last_in_any() {
    let at = dear(&[&[9, 1, 9, 9, 9]]);
    let jobs = vec![job(&at, 2, cuttable(1, 0)); 2];
    check(at.clone(), jobs, Rule::Threshold, "s0:1+1,4+1 s0:2+2");
    let jobs = vec![job(&at, 2, Class::Rigid); 2];
    check(at, jobs, Rule::Threshold, "s0:1+2 s0:3+2");
}

#[test]
fn the_capacity_curve_is_learned_and_puts_work_into_green_slots() {
    let mut at = dear(&[&[9; 12]]);
    at.sites[0].green_w = vec![0, 0, 0, 0, 0, 0, 600, 600, 0, 0, 600, 600];
    let mut first = job(&at, 2, Class::Rigid);
    first.deadline = 4;
    let mut second = first.clone();
    (second.arrival, second.release, second.deadline) = (4, 4, 12);
    let jobs = vec![first, second];
    // The first day is not shaped; on the second the curve leaves the work to the green slots.
    check(at, jobs, Rule::CapacityCurve, "s0:0+2 s0:6+2");
}

#[test]
fn stage_in_waits_for_the_link() {
    let mut at = dear(&[&[9; 8]]);
    at.links = vec![Link {
        id: "l".into(),
        capacity_mbps: 100,
    }];
    at.pools[0].capacity = [100, 0, 0];
    let mut staged = job(&at, 1, Class::Rigid);
    staged.choices[0].watts = 1;
    staged.release = 2;
    staged.stage_in = Some(StageIn {
        link: 0,
        n_slots: 2,
        mbps: 60,
    });
    let jobs = vec![staged.clone(), staged.clone(), staged];
    check(at, jobs, Rule::RunNow, "s0:2+1 s0:4+1 s0:6+1");
}

#[test]
fn every_rule_has_a_name() {
    let at = dear(&[&[1]]);
    for (name, _) in RULES {
        assert!(policy(name, &at, 0).is_some(), "{name}");
    }
    assert!(policy("lancang", &at, 0).is_some());
    assert!(policy("none-such", &at, 0).is_none());
}

fn classes() -> impl Strategy<Value = Class> {
    prop_oneof![
        Just(Class::Rigid),
        (1_usize..3, 0_usize..3).prop_map(|(min_chunk, resume)| cuttable(min_chunk, resume)),
        (1_i64..20).prop_map(|work| Class::Malleable {
            speed: [10, 18, 24].into(),
            work
        }),
    ]
}

fn jobs(n_slots: usize, n_pools: usize) -> impl Strategy<Value = Job> {
    let when = (0..n_slots, 0_usize..3, 0_usize..9, 1_usize..5);
    let choices = prop::collection::btree_map(0..n_pools, (1_i32..8, 1_i32..900), 1..=n_pools);
    (when, classes(), choices, 1_i32..80).prop_map(
        move |((arrival, stage, slack, duration), class, choices, mbps)| {
            let duration = match class {
                Class::Interruptible { min_chunk, .. } => duration.max(min_chunk),
                _ => duration,
            };
            let choice = |(pool, (cores, watts))| Choice {
                pool,
                need: [cores, 0, 0],
                watts,
            };
            Job {
                id: 0,
                arrival,
                release: arrival + stage,
                deadline: (arrival + stage + duration + slack).min(n_slots),
                duration,
                class,
                choices: choices.into_iter().map(choice).collect(),
                stage_in: (0 < stage).then_some(StageIn {
                    link: 0,
                    n_slots: stage,
                    mbps,
                }),
                miss_penalty: 1000,
                delay_price: 1,
            }
        },
    )
}

fn problems() -> impl Strategy<Value = Problem> {
    (6_usize..20, 1_usize..4).prop_flat_map(|(n_slots, n_sites)| {
        let green = prop::collection::vec(0_i32..1200, n_slots);
        let weight = prop::collection::vec(0_i32..1000, n_slots);
        let site = (green, weight, 0_i32..1500).prop_map(|(green_w, weight, power_cap_w)| Site {
            id: "s".into(),
            power_cap_w,
            green_w,
            weight,
        });
        let sites = prop::collection::vec(site, n_sites);
        // Two pools at the first site.
        let jobs = prop::collection::vec(jobs(n_slots, n_sites + 1), 0..25);
        (sites, jobs).prop_map(move |(sites, mut jobs)| {
            for (id, job) in (0..).zip(&mut jobs) {
                job.id = id;
            }
            let pool = |site| Pool {
                site,
                capacity: [10; RESOURCES],
            };
            Problem {
                name: "random".into(),
                slot_minutes: 240,
                n_slots,
                pools: (0..n_sites).chain([0]).map(pool).collect(),
                sites,
                links: vec![Link {
                    id: "l".into(),
                    capacity_mbps: 100,
                }],
                jobs,
            }
        })
    })
}

proptest! {
    #[test]
    fn no_rule_breaks_a_limit(problem in problems()) {
        for (name, rule) in RULES {
            let schedule = simulate(&problem, rule.policy(&problem), &mut |_| ());
            let breaches = score(&problem, &schedule).err();
            prop_assert_eq!(breaches, None, "{}", name);
        }
    }

    #[test]
    fn decisions_never_lie_in_the_past(problem in problems()) {
        for (_, rule) in RULES {
            let schedule = simulate(&problem, rule.policy(&problem), &mut |_| ());
            for (job, assignment) in problem.jobs.iter().zip(&schedule.assignments) {
                prop_assert!(assignment.as_ref().is_none_or(|a| job.arrival <= a.start()));
            }
        }
    }
}
