//! Tests of reading descriptions and submissions of jobs.
//!
//! One line for each wrong field, with the path that a client sees.

use super::*;

/// The wrong fields of a good description after a change.
#[track_caller]
fn check_spec(expected: &[&str], change: impl FnOnce(&mut v1::JobSpec)) {
    let mut request = good_submission();
    change(request.spec.as_mut().unwrap());
    let read = submission(request, Place::Alone, testing::settings(), TimeMs(0));
    assert_eq!(fields_of(read), expected);
}

fn origin(spec: &mut v1::JobSpec) -> &mut v1::Origin {
    spec.origin.as_mut().unwrap()
}

fn interruptible(min_chunk: i64, resume_cost: i64) -> Option<v1::Flexibility> {
    let cut = v1::Interruptible {
        min_chunk: lasting(min_chunk),
        resume_cost: lasting(resume_cost),
    };
    let kind = Some(v1::flexibility::Kind::Interruptible(cut));
    Some(v1::Flexibility { kind })
}

#[test]
fn a_good_submission_is_read() {
    let read = submission(
        good_submission(),
        Place::Alone,
        testing::settings(),
        TimeMs(0),
    )
    .unwrap();
    assert_eq!(read.spec.timing.runtime_ms, 3_600_000);
    assert_eq!(&*read.idempotency_key, "key-1");
}

#[test]
fn every_wrong_field_of_a_description_is_named() {
    let name = "spec.name";
    for text in [
        "",
        "a b",
        "-a",
        "a\u{200b}",
        "a\u{202e}b",
        "ａ",
        "a\0",
        "../x",
        &"a".repeat(64),
    ] {
        check_spec(&[name], |spec| spec.name = text.into());
    }
    check_spec(&["spec.labels"], |spec| {
        spec.labels.insert("k".into(), "a\u{202e}b".into());
    });
    check_spec(&["spec.labels"], |spec| {
        spec.labels = (0..10_000)
            .map(|i| (format!("k{i}"), String::new()))
            .collect();
    });
    check_spec(&["spec.origin"], |spec| spec.origin = None);
    check_spec(&["spec.origin.city_id"], |spec| {
        origin(spec).city_id.clear();
    });
    check_spec(&["spec.origin.city_id"], |spec| {
        origin(spec).city_id = "SGN".into();
    });
    check_spec(&["spec.origin.zone_id"], |spec| {
        origin(spec).zone_id = "asean".into();
    });
    check_spec(&["spec.origin.path"], |spec| origin(spec).path = 99);
    check_spec(&["spec.origin.quantile"], |spec| origin(spec).quantile = -1);
    check_spec(&["spec.origin.max_rtt_us"], |spec| {
        origin(spec).max_rtt_us = u32::MAX;
    });
    check_spec(&["spec.task_resources"], |spec| spec.task_resources = None);
    check_spec(
        &[
            "spec.task_resources.cpu_cores",
            "spec.task_resources.memory_mib",
        ],
        |spec| spec.task_resources = Some(v1::TaskResources::default()),
    );
    check_spec(&["spec.task_count"], |spec| spec.task_count = 0);
    check_spec(&["spec.task_count"], |spec| spec.task_count = 1_000_001);
    check_spec(&["spec.task_power_watts"], |spec| {
        spec.task_power_watts = u64::MAX;
    });
    check_spec(&["spec.green.min_share_permille"], |spec| {
        spec.green = Some(v1::GreenRequirement {
            min_share_permille: 1_001,
            confidence_permille: 900,
        });
    });
    check_spec(&["spec.green.confidence_permille"], |spec| {
        spec.green = Some(v1::GreenRequirement {
            min_share_permille: 0,
            confidence_permille: 501,
        });
    });
    check_spec(&["spec.weights"], |spec| {
        spec.weights = Some(v1::Weights::default());
    });
}

#[test]
fn every_wrong_time_is_named() {
    check_spec(&["spec.timing"], |spec| spec.timing = None);
    check_spec(&["spec.timing.runtime"], |spec| timing(spec).runtime = None);
    check_spec(&["spec.timing.runtime"], |spec| {
        timing(spec).runtime = lasting(0);
    });
    check_spec(&["spec.timing.runtime"], |spec| {
        timing(spec).runtime = lasting(-1);
    });
    check_spec(
        &["spec.timing.runtime", "spec.timing.finish_deadline"],
        |spec| {
            timing(spec).earliest_start = at(1_789_000_000);
            timing(spec).runtime = lasting(3_155_760_000);
        },
    );
    check_spec(&["spec.timing.runtime"], |spec| {
        timing(spec).runtime = lasting(i64::MAX);
    });
    check_spec(&["spec.timing.earliest_start"], |spec| {
        timing(spec).earliest_start = Some(Timestamp {
            seconds: 5,
            nanos: -1,
        });
    });
    check_spec(&["spec.timing.finish_deadline"], |spec| {
        timing(spec).finish_deadline = at(253_402_300_800);
    });
    check_spec(&["spec.timing.finish_deadline"], |spec| {
        timing(spec).earliest_start = at(1_789_999_999);
    });
    check_spec(&["spec.timing.start_deadline"], |spec| {
        timing(spec).start_deadline = at(1_790_000_000);
    });
    let chunk = "spec.flexibility.interruptible.min_chunk";
    let cost = "spec.flexibility.interruptible.resume_cost";
    check_spec(&[chunk], |spec| spec.flexibility = interruptible(0, 0));
    check_spec(&[chunk], |spec| spec.flexibility = interruptible(-1, 0));
    check_spec(&[chunk, cost], |spec| {
        spec.flexibility = interruptible(3_601, 3_601);
    });
    check_spec(&["spec.timing.runtime"], |spec| {
        // What is compared with the runtime cannot be judged.
        spec.flexibility = interruptible(3_600, 0);
        timing(spec).runtime = lasting(-1);
    });
}

#[test]
fn data_policies_fail_closed() {
    check_spec(&["spec.data_policy"], |spec| spec.data_policy = None);
    for number in [0, 7, 99, -1] {
        check_spec(&["spec.data_policy.data_class"], |spec| {
            policy(spec).data_class = number;
        });
        let fields = ["spec.data_policy.cn_flow"];
        check_spec(&fields, |spec| {
            policy(spec).cn_flow = if number == 7 { 5 } else { number }
        });
    }
    check_spec(&["spec.data_policy.export_basis"], |spec| {
        policy(spec).export_basis = 10;
    });
    check_spec(&["spec.data_policy.sector"], |spec| policy(spec).sector = 7);
    check_spec(
        &[
            "spec.data_policy.collected_in",
            "spec.data_policy.subject_count",
        ],
        |spec| policy(spec).data_class = v1::DataClass::Personal.into(),
    );
    for country in ["", "cn", "CN-53", "CHN", "C1"] {
        check_spec(&["spec.data_policy.collected_in[1]"], |spec| {
            policy(spec).data_class = v1::DataClass::Anonymised.into();
            policy(spec).collected_in = vec!["VN".into(), country.into()];
        });
    }
    check_spec(&["spec.data_policy.allowed_sites[0]"], |spec| {
        policy(spec).allowed_sites = vec!["../etc".into()];
    });
    check_spec(&["spec.data_policy.denied_sites"], |spec| {
        policy(spec).allowed_sites = vec!["a".into()];
        policy(spec).denied_sites = vec!["a".into()];
    });
    check_spec(&["spec.data_policy.output_to"], |spec| {
        policy(spec).output_to = vec!["VN".into(); 65];
    });
    check_spec(&["spec.data_policy.origin_bases[0].kind"], |spec| {
        policy(spec).origin_bases = vec![v1::OriginBasis {
            country: "VN".into(),
            ..v1::OriginBasis::default()
        }];
    });
    check_spec(&["spec.data_policy.export_evidence.reference"], |spec| {
        policy(spec).export_evidence = Some(v1::Evidence::default());
    });
    check_spec(&["spec.data_policy.require_gateway_id"], |spec| {
        policy(spec).require_gateway_id = "Mo Han".into();
    });
    check_spec(&["spec.data_policy.retention"], |spec| {
        policy(spec).retention = lasting(-5);
    });
}

#[test]
fn all_wrong_fields_come_at_once() {
    let request = v1::SubmitJobRequest {
        quote_id: "zz".into(),
        spec: Some(v1::JobSpec::default()),
        ..v1::SubmitJobRequest::default()
    };
    let read = submission(request, Place::Item(3), testing::settings(), TimeMs(0));
    let expected = [
        "items[3].idempotency_key",
        "items[3].quote_id",
        "items[3].spec.origin",
        "items[3].spec.task_resources",
        "items[3].spec.timing",
        "items[3].spec.data_policy",
        "items[3].spec.name",
        "items[3].spec.task_count",
        "items[3].spec.task_power_watts",
    ];
    assert_eq!(fields_of(read), expected);
}

#[test]
fn the_hash_covers_what_runs_and_not_how_it_is_asked_for() {
    let hash = |change: &dyn Fn(&mut v1::SubmitJobRequest)| {
        let mut request = good_submission();
        change(&mut request);
        let read = submission(request, Place::Alone, testing::settings(), TimeMs(0));
        read.unwrap().payload_sha256
    };
    let plain = hash(&|_| {});
    let quote = QuotePromise {
        spec_sha256: digest_of(Some(&good_spec())),
        expires_at: TimeMs(5),
        end: TimeMs(6),
        green_share_permille: 7,
    }
    .seal();
    assert_eq!(hash(&|request| request.quote_id = quote.clone()), plain);
    assert_eq!(
        hash(&|request| request.idempotency_key = "other".into()),
        plain
    );
    assert_ne!(hash(&|request| request.hold = true), plain);
    assert_ne!(
        hash(&|request| request.spec.as_mut().unwrap().task_count = 3),
        plain
    );
}

#[test]
fn a_quote_is_redeemed_for_its_own_description_only() {
    let quote_id = QuotePromise {
        spec_sha256: digest_of(Some(&good_spec())),
        expires_at: TimeMs(5),
        end: TimeMs(6),
        green_share_permille: 7,
    }
    .seal();
    let mut request = v1::SubmitJobRequest {
        quote_id: quote_id.clone(),
        drift: Some(v1::QuoteDrift {
            max_delay: lasting(2),
            max_green_share_drop_permille: 3,
        }),
        ..good_submission()
    };
    let read = submission(
        request.clone(),
        Place::Alone,
        testing::settings(),
        TimeMs(0),
    )
    .unwrap();
    let terms = read.quote.unwrap();
    assert_eq!((terms.end, terms.green_share_permille), (TimeMs(6), 7));
    assert_eq!(
        (terms.max_delay_ms, terms.max_green_share_drop_permille),
        (2_000, 3)
    );
    request.spec.as_mut().unwrap().task_count = 9;
    let read = submission(
        request.clone(),
        Place::Alone,
        testing::settings(),
        TimeMs(0),
    );
    assert!(matches!(read, Err(Rejection::QuoteInvalid(_))));
    request.quote_id = quote_id[..quote_id.len() - 2].into();
    let read = submission(
        request.clone(),
        Place::Alone,
        testing::settings(),
        TimeMs(0),
    );
    assert_eq!(fields_of(read), ["quote_id"]);
    request.quote_id.clear();
    let read = submission(request, Place::Alone, testing::settings(), TimeMs(0));
    assert_eq!(fields_of(read), ["drift"]);
}

#[test]
fn priorities_and_speeds_are_read() {
    let priority = |priority| {
        let mut request = good_submission();
        request.spec.as_mut().unwrap().priority = priority;
        let read = submission(request, Place::Alone, testing::settings(), TimeMs(0));
        read.unwrap().spec.priority
    };
    assert_eq!([0, 1, 10].map(priority), [5, 1, 10]);
    check_spec(&["spec.priority"], |spec| spec.priority = 11);
    let field = "spec.flexibility.malleable.speed_permille";
    let speeds = |expected: &[&str], speed_permille: &[u32]| {
        check_spec(expected, |spec| {
            let malleable = v1::Malleable {
                speed_permille: speed_permille.to_vec(),
            };
            let kind = Some(v1::flexibility::Kind::Malleable(malleable));
            spec.flexibility = Some(v1::Flexibility { kind });
        });
    };
    let linear = |n: u32| (1..=n).map(|n| n * 1_000).collect::<Vec<u32>>();
    speeds(&[], &[1_000, 1_000]);
    speeds(&[], &[1_000, 1_900, 2_800, 2_800]);
    speeds(&[], &linear(64));
    speeds(&[field], &linear(65));
    speeds(&[field], &[]);
    speeds(&[field], &[1_000]);
    speeds(&[field], &[999, 1_500]);
    speeds(&[field], &[1_000, 999]);
    speeds(&[field], &[1_000, 2_001]);
    speeds(&[field], &[1_000, 1_500, 2_001]);
    speeds(&[field], &[7]);
    // What is wrong with them is said without a runtime as well.
    check_spec(&["spec.timing.runtime", field], |spec| {
        let kind = v1::flexibility::Kind::Malleable(v1::Malleable::default());
        spec.flexibility = Some(v1::Flexibility { kind: Some(kind) });
        timing(spec).runtime = None;
    });
    // A deadline has to leave time for the run at full speed only.
    let start = 1_790_000_000 - 1_800;
    let tight = |speed_permille: &[u32], expected: &[&str]| {
        check_spec(expected, |spec| {
            let malleable = v1::Malleable {
                speed_permille: speed_permille.to_vec(),
            };
            let kind = Some(v1::flexibility::Kind::Malleable(malleable));
            spec.flexibility = Some(v1::Flexibility { kind });
            timing(spec).earliest_start = at(start);
        });
    };
    tight(&[1_000, 2_000], &[]);
    tight(&[1_000, 1_999], &["spec.timing.finish_deadline"]);
}
