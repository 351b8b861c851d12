//! What the reader of instances takes and refuses.

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::{Refusal, decode, encode};
use crate::{
    sim::generate::{Family, Order, generate},
    solver::{Class, StageIn},
};

/// Two sites, a link, and a job of each class.
fn sound() -> Value {
    let site = |id: &str| {
        json!({
            "id": id, "cap": [8, 1, 32], "power_cap_w": 900, "pue_milli": 1250,
            "green_w": [100, 200, 300, 400, 500, 600], "weight": [1000, 1000, 1000, 1000, 1000, 1000],
        })
    };
    json!({
        "version": 1, "name": "tiny", "slot_minutes": 15, "slots": 6,
        "sites": [site("a"), site("b")],
        "links": [{"id": "l", "cap_mbps": 1000}],
        "jobs": [
            {"id": 7, "arrival": 0, "release": 0, "deadline": 4, "class": "rigid", "req": [1, 0, 2],
             "power_w": 101, "duration": 2, "sites": [0, 1], "link": -1, "xfer_slots": 0, "xfer_mbps": 0,
             "min_chunk": 0, "resume_slots": 0, "speed": [], "work": 0, "value": 5, "tenant": 3},
            {"id": 8, "arrival": 1, "release": 2, "deadline": 6, "class": "interruptible", "req": [1, 1, 2],
             "power_w": 100, "duration": 3, "sites": [1], "link": 0, "xfer_slots": 1, "xfer_mbps": 400,
             "min_chunk": 0, "resume_slots": 1, "speed": [], "work": 0, "value": 1, "tenant": 3},
            {"id": 9, "arrival": 0, "release": 0, "deadline": 6, "class": "malleable", "req": [2, 0, 2],
             "power_w": 50, "duration": 4, "sites": [0], "link": -1, "xfer_slots": 0, "xfer_mbps": 0,
             "min_chunk": 0, "resume_slots": 0, "speed": [1000, 1800, 2500], "work": 4000, "value": 1, "tenant": 3},
        ],
    })
}

fn refusal_of(value: &Value) -> Refusal {
    decode(value.to_string().as_bytes()).unwrap_err()
}

#[test]
fn a_sound_instance_becomes_a_problem() {
    let problem = decode(sound().to_string().as_bytes()).unwrap();
    assert_eq!((problem.n_slots, problem.slot_minutes), (6, 15));
    assert_eq!(problem.pools[1].site, 1);
    let [rigid, interruptible, malleable] = &problem.jobs[..] else {
        panic!("three jobs")
    };
    // ceil(101 W x 1.25)
    assert_eq!(rigid.choices[1].watts, 127);
    assert_eq!(rigid.miss_penalty, 4 * 1_000 * 127 * 2 * 5);
    assert_eq!(
        interruptible.stage_in,
        Some(StageIn {
            link: 0,
            n_slots: 1,
            mbps: 400
        })
    );
    let class = Class::Interruptible {
        min_chunk: 1,
        resume: 1,
    };
    assert_eq!(interruptible.class, class);
    // Three units at most: one is what the duration is meant for.
    assert_eq!(malleable.miss_penalty, 4 * 1_000 * 63 * 4);
    assert_eq!(malleable.units_max(), 3);
}

/// Where something is put, what, and how the violation begins that it must cause.
const IMPOSSIBLE: &[(&str, &str, &str)] = &[
    ("/version", "2", "version: 2 is unknown"),
    ("/version", r#""1""#, "version: \"1\" is not a whole number"),
    ("/name", r#""""#, "name: must have 1 to 128 bytes"),
    ("/slots", "0", "slots: 0 is below 1"),
    (
        "/slots",
        "7",
        "sites[0].green_w: has 6 entries, the instance has 7 slots",
    ),
    ("/slot_minutes", "1441", "slot_minutes: 1441 is above 1440"),
    ("/sites", "[]", "sites: has 0 entries"),
    ("/sites", "3", "sites: 3 is not a list"),
    ("/jobs/1", r#""x""#, "jobs[1]: \"x\" is not an object"),
    (
        "/sites/1/id",
        r#""a""#,
        "sites[1].id: `a` is the id of sites[0] already",
    ),
    ("/sites/0/cap/2", "-1", "sites[0].cap[2]: -1 is below 0"),
    (
        "/sites/0/cap",
        "[1, 2]",
        "sites[0].cap: has 2 entries, needs 3",
    ),
    (
        "/sites/0/power_cap_w",
        "1000000001",
        "sites[0].power_cap_w: 1000000001 is above",
    ),
    (
        "/sites/0/pue_milli",
        "900",
        "sites[0].pue_milli: 900 is below 1000",
    ),
    (
        "/sites/0/green_w/3",
        "1.5",
        "sites[0].green_w[3]: 1.5 is not a whole number",
    ),
    (
        "/sites/0/green_w/3",
        "null",
        "sites[0].green_w[3]: null is not a whole number",
    ),
    ("/sites/1/green_w", "[1]", "sites[1].green_w: has 1 entries"),
    (
        "/sites/1/weight",
        "[1, 2, 3, 4, 5]",
        "sites[1].weight: has 5 entries",
    ),
    (
        "/sites/1/weight/0",
        "-5",
        "sites[1].weight[0]: -5 is below 0",
    ),
    (
        "/links/0/cap_mbps",
        "-5",
        "links[0].cap_mbps: -5 is below 0",
    ),
    (
        "/jobs/1/id",
        "7",
        "jobs[1].id: 7 is the id of jobs[0] already",
    ),
    (
        "/jobs/0/id",
        "4294967296",
        "jobs[0].id: 4294967296 is above 4294967295",
    ),
    (
        "/jobs/0/class",
        r#""elastic""#,
        "jobs[0].class: `elastic` is none of",
    ),
    ("/jobs/0/deadline", "7", "jobs[0].deadline: 7 is above 6"),
    (
        "/jobs/0/deadline",
        "1",
        "jobs[0].deadline: 1 slots after the release, the job needs 2",
    ),
    (
        "/jobs/1/deadline",
        "1",
        "jobs[1].deadline: 1 is before the release, 2",
    ),
    ("/jobs/0/arrival", "-1", "jobs[0].arrival: -1 is below 0"),
    (
        "/jobs/0/release",
        "1",
        "jobs[0].release: 1 is not arrival plus xfer_slots, 0",
    ),
    ("/jobs/0/duration", "0", "jobs[0].duration: 0 is below 1"),
    (
        "/jobs/0/duration",
        r#""2""#,
        "jobs[0].duration: \"2\" is not a whole number",
    ),
    ("/jobs/0/req", "[1]", "jobs[0].req: has 1 entries, needs 3"),
    ("/jobs/0/req/1", "-1", "jobs[0].req[1]: -1 is below 0"),
    ("/jobs/0/power_w", "0", "jobs[0].power_w: 0 is below 1"),
    (
        "/jobs/0/power_w",
        "900000000",
        "jobs[0].power_w: with the PUE of site 0",
    ),
    ("/jobs/0/sites", "[]", "jobs[0].sites: is empty"),
    (
        "/jobs/0/sites/1",
        "2",
        "jobs[0].sites[1]: there are 2 sites, and no 2",
    ),
    (
        "/jobs/0/sites/1",
        "0",
        "jobs[0].sites[1]: 0 stands there twice",
    ),
    (
        "/jobs/1/link",
        "1",
        "jobs[1].link: there are 1 links, and no 1",
    ),
    (
        "/jobs/1/link",
        "-1",
        "jobs[1].xfer_slots: 1 without a link must be 0",
    ),
    (
        "/jobs/1/xfer_mbps",
        "1001",
        "jobs[1].xfer_mbps: 1001 is above 1000",
    ),
    (
        "/jobs/1/min_chunk",
        "-1",
        "jobs[1].min_chunk: -1 is below 0",
    ),
    (
        "/jobs/1/resume_slots",
        "-1",
        "jobs[1].resume_slots: -1 is below 0",
    ),
    ("/jobs/2/speed", "[]", "jobs[2].speed: has 0 entries"),
    (
        "/jobs/2/speed",
        "[1000, 900, 800]",
        "jobs[2].speed[1]: 900 is no more than",
    ),
    (
        "/jobs/2/speed",
        "[1000, 1500, 2100]",
        "jobs[2].speed[2]: the unit adds 600",
    ),
    (
        "/jobs/2/work",
        "15001",
        "jobs[2].work: 15001 cannot be reached; all units do 15000",
    ),
    ("/jobs/0/value", "11", "jobs[0].value: 11 is above 10"),
];

#[test]
fn each_impossible_value_is_named() {
    for (pointer, value, expected) in IMPOSSIBLE {
        let mut instance = sound();
        *instance.pointer_mut(pointer).unwrap() = serde_json::from_str(value).unwrap();
        let lines = refusal_of(&instance).lines();
        assert!(
            lines.iter().any(|line| line.starts_with(expected)),
            "{pointer} = {value}: {lines:#?} lacks {expected}"
        );
    }
}

#[test]
fn a_missing_field_is_named() {
    for (list, fields) in [
        (
            "sites",
            vec!["id", "cap", "power_cap_w", "pue_milli", "green_w", "weight"],
        ),
        ("links", vec!["id", "cap_mbps"]),
        (
            "jobs",
            vec!["id", "arrival", "deadline", "class", "speed", "value"],
        ),
    ] {
        for field in fields {
            let mut instance = sound();
            instance[list][0].as_object_mut().unwrap().remove(field);
            let lines = refusal_of(&instance).lines();
            let expected = format!("{list}[0].{field}: is missing");
            assert!(lines.contains(&expected), "{lines:#?} lacks {expected}");
        }
    }
    for field in [
        "version",
        "name",
        "slot_minutes",
        "slots",
        "sites",
        "links",
        "jobs",
    ] {
        let mut instance = sound();
        instance.as_object_mut().unwrap().remove(field);
        let lines = refusal_of(&instance).lines();
        assert!(
            lines.contains(&format!("{field}: is missing")),
            "{lines:#?}"
        );
    }
}

#[test]
fn all_violations_come_at_once_and_no_more_than_can_be_read() {
    let mut instance = sound();
    instance["jobs"][0]["value"] = json!(0);
    instance["jobs"][2]["class"] = json!("?");
    instance["sites"][1]["cap"][0] = json!(-4);
    assert_eq!(refusal_of(&instance).lines().len(), 3);

    let job = instance["jobs"][0].clone();
    instance["jobs"] = vec![job; 500].into();
    let Refusal::Violations { told, n_total } = refusal_of(&instance) else {
        panic!("violations")
    };
    // Each with its value, all but the first with their id, and the site.
    assert_eq!((told.len(), n_total), (100, 500 + 499 + 1));
}

#[test]
fn numbers_that_json_does_not_have_are_refused() {
    for wrong in ["NaN", "Infinity", "-"] {
        let text = sound().to_string().replace("101", wrong);
        let refusal = decode(text.as_bytes()).unwrap_err();
        assert!(matches!(refusal, Refusal::Json(_)), "{refusal:?}");
        assert!(refusal.to_string().contains("line 1 column"), "{refusal}");
    }
}

#[test]
fn sums_that_64_bits_do_not_hold_are_refused() {
    let mut instance = sound();
    for site in 0..2 {
        instance["sites"][site]["power_cap_w"] = json!(1_000_000_000);
        instance["sites"][site]["weight"] = vec![1_000_000; 6].into();
    }
    decode(instance.to_string().as_bytes()).unwrap();
    instance["jobs"][0]["power_w"] = json!(790_000_000);
    let lines = refusal_of(&instance).lines();
    let dearest = "jobs[0].power_w: all its window on grid power would cost more than";
    assert!(lines[0].starts_with(dearest), "{lines:#?}");
    for site in 0..2 {
        instance["sites"][site]["weight"] = vec![1_000; 6].into();
    }
    let job = instance["jobs"][0].clone();
    let jobs: Vec<Value> = (0..40_000)
        .map(|id| {
            let mut job = job.clone();
            job["id"] = json!(id);
            job["power_w"] = json!(790_000_000);
            job["value"] = json!(10);
            job
        })
        .collect();
    instance["jobs"] = jobs.into();
    let lines = refusal_of(&instance).lines();
    assert!(lines[0].starts_with("jobs: penalties"), "{lines:#?}");
}

#[test]
fn a_file_that_is_cut_off_is_refused_wherever_it_is_cut() {
    let text = sound().to_string();
    for at in 0..text.len() {
        let refusal = decode(&text.as_bytes()[..at]).unwrap_err();
        let cut = matches!(refusal, Refusal::CutJson { .. });
        // Half a word is as good as a wrong one.
        assert!(
            cut || matches!(refusal, Refusal::Json(_)),
            "{at}: {refusal:?}"
        );
    }
    let packed = encode(&sound(), true);
    assert_eq!(decode(&packed).unwrap(), decode(text.as_bytes()).unwrap());
    for at in 2..packed.len() {
        assert_eq!(decode(&packed[..at]).unwrap_err(), Refusal::CutGzip, "{at}");
    }
}

#[test]
fn a_file_that_is_damaged_or_goes_on_is_refused() {
    let mut packed = encode(&sound(), true);
    packed.extend(b"more");
    let trailing = Refusal::TrailingBytes { n_bytes: 4 };
    assert_eq!(decode(&packed).unwrap_err(), trailing);
    packed.truncate(packed.len() - 4);
    let sum = packed.len() - 6;
    packed[sum] ^= 1;
    assert!(matches!(
        decode(&packed).unwrap_err(),
        Refusal::DamagedGzip(_)
    ));

    let mut text = sound().to_string();
    text.push_str("{}");
    let refusal = decode(text.as_bytes()).unwrap_err();
    assert!(refusal.to_string().contains("trailing"), "{refusal}");
    assert_eq!(decode(b"[1]\xff").unwrap_err(), Refusal::NotText { at: 3 });
    assert!(matches!(decode(b"[1]").unwrap_err(), Refusal::Json(_)));
}

#[test]
fn every_family_makes_sound_instances() {
    for (i, family) in Family::ALL.into_iter().enumerate() {
        let order = Order {
            family,
            n_jobs: 150,
            n_sites: 1 + i,
            n_slots: 96 + 100 * i,
            seed: 5,
        };
        let document = generate(&order);
        let bytes = encode(&document, true);
        let problem = decode(&bytes).unwrap_or_else(|refusal| {
            panic!("{family}: {:#?}", refusal.lines());
        });
        assert_eq!(problem.jobs.len(), 150, "{family}");
        assert_eq!(bytes, encode(&generate(&order), true), "{family}");
        let other = generate(&Order { seed: 6, ..order });
        assert_ne!(document.jobs, other.jobs, "{family}");
        // What is packed is what was made.
        let mut text = String::new();
        std::io::Read::read_to_string(&mut GzDecoder::new(&bytes[..]), &mut text).unwrap();
        let again: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(again, serde_json::to_value(&document).unwrap(), "{family}");
    }
}
