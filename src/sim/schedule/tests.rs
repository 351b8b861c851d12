//! Schedules survive a file, and a file that cannot be one is refused with its places.

use serde_json::{Value, json};

use super::{decode_schedule, encode_schedule};
use crate::{
    sim::{
        generate::{Family, Order, generate},
        instance,
        policies::Rule,
        policy::simulate,
    },
    solver::{Problem, Schedule, score},
};

fn problem() -> Problem {
    let document = generate(&Order {
        family: Family::DryMix,
        n_jobs: 80,
        n_sites: 3,
        n_slots: 192,
        seed: 3,
    });
    instance::decode(&instance::encode(&document, false)).unwrap()
}

fn schedule_of(problem: &Problem) -> Schedule {
    simulate(problem, Rule::RunNow.policy(problem), &mut |_| {})
}

fn file_of(problem: &Problem, schedule: &Schedule) -> Value {
    let score = score(problem, schedule).unwrap();
    let bytes = encode_schedule(problem, schedule, &score, false);
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn a_schedule_comes_back_as_it_was_written() {
    let problem = problem();
    let mut schedule = schedule_of(&problem);
    schedule.assignments[4] = None;
    let score = score(&problem, &schedule).unwrap();
    for compressed in [false, true] {
        let bytes = encode_schedule(&problem, &schedule, &score, compressed);
        assert_eq!(decode_schedule(&problem, &bytes).unwrap(), schedule);
    }
}

#[test]
fn what_is_wrong_with_a_schedule_is_named() {
    let problem = problem();
    let good = file_of(&problem, &schedule_of(&problem));
    let id = good["assignments"][0]["job"].clone();
    let cases: Vec<(&str, Value, String)> = vec![
        (
            "/instance",
            json!("other"),
            "instance: `other` is not the instance".to_owned(),
        ),
        (
            "/missed",
            json!([id]),
            format!("missed[0]: job {id} is placed or missed already"),
        ),
        (
            "/missed",
            json!("x"),
            "missed: \"x\" is not a list of ids of jobs".to_owned(),
        ),
        (
            "/assignments/1/job",
            json!(id),
            format!("assignments[1].job: job {id} is placed"),
        ),
        (
            "/assignments/1/job",
            json!(9999),
            "assignments[1].job: the instance has no job 9999".to_owned(),
        ),
        (
            "/assignments/1/site",
            json!(99),
            "assignments[1].site: job".to_owned(),
        ),
        (
            "/assignments/1/runs/0",
            json!([0, 0, 1]),
            "assignments[1].runs[0]: 0 is below 1".to_owned(),
        ),
        (
            "/assignments/1/runs/0",
            json!([-1, 1, 1]),
            "assignments[1].runs[0]: -1 is below 0".to_owned(),
        ),
        (
            "/assignments/1/runs/0",
            json!([1, 1]),
            "assignments[1].runs[0]: [1,1] is not [start, length, units]".to_owned(),
        ),
        (
            "/assignments/1/xfer_start",
            json!(-2),
            "assignments[1].xfer_start: -2 is below 0".to_owned(),
        ),
    ];
    for (pointer, value, expected) in cases {
        let mut file = good.clone();
        *file.pointer_mut(pointer).unwrap() = value.clone();
        let refusal = decode_schedule(&problem, file.to_string().as_bytes()).unwrap_err();
        let lines = refusal.lines();
        assert!(
            lines.iter().any(|line| line.starts_with(&expected)),
            "{pointer} = {value}: {lines:#?} lacks {expected}"
        );
    }
    let mut file = good;
    file["assignments"].as_array_mut().unwrap().pop();
    let refusal = decode_schedule(&problem, file.to_string().as_bytes()).unwrap_err();
    assert!(refusal.lines()[0].ends_with("is neither placed nor missed"));
}
