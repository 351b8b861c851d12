//! Tests of reading requests: every wrong field is named, all of them at once.
//!
//! One line for each wrong field, with the path that a client sees.

use std::collections::BTreeMap;

use prost_types::{Duration, FieldMask, Timestamp};

use super::*;
use crate::{
    proto::v1,
    service::{quote_token::QuotePromise, testing},
    slot::TimeMs,
    state::command::{JobVerb, SiteVerb},
};

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn lasting(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

fn good_spec() -> v1::JobSpec {
    v1::JobSpec {
        name: "render-7".into(),
        labels: BTreeMap::from([("team".into(), "ml".into())]),
        origin: Some(v1::Origin {
            city_id: "sgn".into(),
            ..v1::Origin::default()
        }),
        task_resources: Some(v1::TaskResources {
            cpu_cores: 4,
            memory_mib: 1_024,
            ..v1::TaskResources::default()
        }),
        task_count: 2,
        task_power_watts: 300,
        timing: Some(v1::Timing {
            runtime: lasting(3_600),
            finish_deadline: at(1_790_000_000),
            ..v1::Timing::default()
        }),
        data_policy: Some(v1::DataPolicy {
            data_class: v1::DataClass::None.into(),
            cn_flow: v1::CnFlow::InboundProcessReexport.into(),
            ..v1::DataPolicy::default()
        }),
        ..v1::JobSpec::default()
    }
}

fn good_submission() -> v1::SubmitJobRequest {
    v1::SubmitJobRequest {
        idempotency_key: "key-1".into(),
        spec: Some(good_spec()),
        ..v1::SubmitJobRequest::default()
    }
}

fn fields_of<T: std::fmt::Debug>(read: Result<T, Rejection>) -> Vec<String> {
    match read {
        Ok(_) => Vec::new(),
        Err(Rejection::InvalidFields(found)) => found.into_iter().map(|v| v.field).collect(),
        Err(other) => panic!("{other:?}"),
    }
}

/// The wrong fields of a good description after a change.
#[track_caller]
fn check_spec(expected: &[&str], change: impl FnOnce(&mut v1::JobSpec)) {
    let mut request = good_submission();
    change(request.spec.as_mut().unwrap());
    let read = submission(request, Place::Alone, testing::settings(), TimeMs(0));
    assert_eq!(fields_of(read), expected);
}

fn timing(spec: &mut v1::JobSpec) -> &mut v1::Timing {
    spec.timing.as_mut().unwrap()
}

fn policy(spec: &mut v1::JobSpec) -> &mut v1::DataPolicy {
    spec.data_policy.as_mut().unwrap()
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
fn an_unknown_enum_is_refused_with_the_accepted_names() {
    let mut request = good_submission();
    policy(request.spec.as_mut().unwrap()).cn_flow = 99;
    let read = submission(request, Place::Streamed, testing::settings(), TimeMs(0));
    let Err(Rejection::InvalidFields(found)) = read else {
        panic!("accepted");
    };
    assert_eq!(found[0].field, "submission.spec.data_policy.cn_flow");
    assert!(
        found[0]
            .description
            .starts_with("has no value 99: one of CN_FLOW_NO_CN, ")
    );
}

#[test]
fn keys_are_printable_ascii_of_bounded_length() {
    let read = |key: &str| {
        let request = v1::SubmitJobRequest {
            idempotency_key: key.into(),
            ..good_submission()
        };
        fields_of(submission(
            request,
            Place::Alone,
            testing::settings(),
            TimeMs(0),
        ))
    };
    for key in ["", "a\nb", "ключ", "\u{7f}", &"k".repeat(129)] {
        assert_eq!(read(key), ["idempotency_key"], "{key:?}");
    }
    for key in ["a", "urn:job:1 (2)", &"k".repeat(128)] {
        assert!(read(key).is_empty(), "{key:?}");
    }
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

#[test]
fn masks_name_what_may_change() {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let update = |paths: &[&str]| v1::UpdateJobRequest {
        job_id: id.into(),
        spec: Some(good_spec()),
        update_mask: Some(FieldMask {
            paths: paths.iter().map(ToString::to_string).collect(),
        }),
        ..v1::UpdateJobRequest::default()
    };
    for paths in [
        &[][..],
        &["name"],
        &["labels", "*"],
        &["timing"],
        &["labels.team"],
        &[""],
    ] {
        assert_eq!(
            fields_of(update_job(update(paths))),
            ["update_mask"],
            "{paths:?}"
        );
    }
    let command = update_job(update(&["labels", "timing.finish_deadline", "weights"])).unwrap();
    let JobVerb::Update(patch) = command.verb else {
        panic!("not an update");
    };
    assert_eq!(patch.labels.unwrap().len(), 1);
    assert_eq!(patch.finish_deadline, Some(Some(TimeMs(1_790_000_000_000))));
    assert_eq!(patch.weights, Some(None));
    assert_eq!((patch.earliest_start, patch.green), (None, None));
    let mut wrong = update(&["timing.finish_deadline"]);
    timing(wrong.spec.as_mut().unwrap()).finish_deadline = at(-1);
    assert_eq!(
        fields_of(update_job(wrong)),
        ["spec.timing.finish_deadline"]
    );
    let mut missing = update(&["labels"]);
    missing.spec = None;
    missing.job_id = "x".into();
    assert_eq!(fields_of(update_job(missing)), ["spec", "job_id"]);
}

#[test]
fn etags_and_request_ids_are_read_strictly() {
    let cancel = |etag: &str, request_id: &str| {
        cancel_job(v1::CancelJobRequest {
            job_id: "01890a5d-ac96-774b-bcce-b302099a8057".into(),
            etag: etag.into(),
            request_id: request_id.into(),
            ..v1::CancelJobRequest::default()
        })
    };
    let command = cancel("r17", "x").unwrap();
    assert_eq!(command.etag, Some(Revision(17)));
    let key = command.request.unwrap();
    assert_eq!(&*key.id, "CancelJob/x");
    // A repeat after the etag was read again is still the same request.
    assert_eq!(cancel("", "x").unwrap().request, Some(key));
    assert_eq!(cancel("", "").unwrap().request, None);
    for etag in [
        "17",
        "r",
        "r-1",
        "r+1",
        "R1",
        "r1 ",
        "r99999999999999999999",
    ] {
        assert_eq!(fields_of(cancel(etag, "")), ["etag"], "{etag:?}");
    }
    for request_id in ["\n", "é", &"x".repeat(129)] {
        assert_eq!(
            fields_of(cancel("", request_id)),
            ["request_id"],
            "{request_id:?}"
        );
    }
}

#[test]
fn job_ids_and_page_sizes_are_read_strictly() {
    for text in ["", "1", "01890A5D-AC96-774B-BCCE-B302099A8057", "../x"] {
        assert_eq!(fields_of(job_id(text)), ["job_id"], "{text:?}");
    }
    assert_eq!(fields_of(page_size(-1)), ["page_size"]);
    let sizes = [
        (0, 100),
        (1, 1),
        (1_000, 1_000),
        (1_001, 1_000),
        (i32::MAX, 1_000),
    ];
    for (asked, given) in sizes {
        assert_eq!(page_size(asked), Ok(given));
    }
    for seconds in [0, 3_601, -1] {
        let read = bookmark_interval(lasting(seconds).as_ref());
        assert_eq!(fields_of(read), ["bookmark_interval"], "{seconds}");
    }
}

fn good_site() -> v1::Site {
    v1::Site {
        site_id: "dli-dali".into(),
        country: "CN".into(),
        utc_offset_minutes: 480,
        pools: vec![v1::Pool {
            pool_id: "cpu".into(),
            nodes: 10,
            cpu_cores_per_node: 64,
            memory_mib_per_node: 1 << 18,
            ..v1::Pool::default()
        }],
        power_cap_watts: 1_000_000,
        grid_limit_watts: 2_000_000,
        pue_permille: 1_200,
        supplies: vec![v1::Supply {
            supply_id: "dli-dali/wind".into(),
            kind: v1::SupplyKind::Wind.into(),
            nameplate_watts: 500_000,
            monthly_capacity_permille: vec![300; 12],
            ..v1::Supply::default()
        }],
        ..v1::Site::default()
    }
}

#[track_caller]
fn check_site(expected: &[&str], change: impl FnOnce(&mut v1::Site)) {
    let mut site = good_site();
    change(&mut site);
    let read = create_site(v1::CreateSiteRequest {
        site: Some(site),
        request_id: String::new(),
    });
    assert_eq!(fields_of(read), expected);
}

#[test]
fn every_wrong_field_of_a_site_is_named() {
    check_site(&[], |_| {});
    check_site(&["site.site_id"], |site| site.site_id = "Dali".into());
    check_site(&["site.country"], |site| site.country = "cn".into());
    check_site(&["site.display_name"], |site| {
        site.display_name = "a\u{202e}".into();
    });
    check_site(&["site.etag"], |site| site.etag = "r1".into());
    check_site(&["site.cordon"], |site| {
        site.cordon = Some(v1::Cordon::default());
    });
    check_site(&["site.pools"], |site| site.pools.clear());
    check_site(&["site.pools"], |site| {
        site.pools = vec![v1::Pool::default(); 17];
    });
    check_site(&["site.pools[0].pool_id"], |site| {
        site.pools[0].pool_id = "a/b".into();
    });
    check_site(&["site.pools[0].nodes"], |site| site.pools[0].nodes = 0);
    check_site(&["site.pools[0].gpu_model"], |site| {
        site.pools[0].gpus_per_node = 8;
    });
    check_site(&["site.power_cap_watts"], |site| {
        site.power_cap_watts = u64::MAX;
    });
    check_site(&["site.pue_permille"], |site| site.pue_permille = 999);
    check_site(&["site.gateway_id"], |site| site.gateway_id = "!".into());
    check_site(&["site.supplies[0].kind"], |site| site.supplies[0].kind = 4);
    check_site(&["site.supplies[0].supply_id"], |site| {
        site.supplies[0].supply_id = "other/wind".into();
    });
    let months = ["site.supplies[0].monthly_capacity_permille"];
    check_site(&months, |site| {
        site.supplies[0].monthly_capacity_permille = vec![300; 11];
    });
    check_site(&months, |site| {
        site.supplies[0].monthly_capacity_permille = vec![70_000; 12];
    });
    check_site(&["site.tariff"], |site| {
        site.tariff = vec![v1::TariffPeriod {
            start_minute: 1,
            end_minute: 1_440,
            ..v1::TariffPeriod::default()
        }];
    });
    check_site(
        &["site.tariff[0].end_minute", "site.tariff[0].months"],
        |site| {
            site.tariff = vec![v1::TariffPeriod {
                months: vec![1, 300],
                end_minute: u32::MAX,
                ..v1::TariffPeriod::default()
            }];
        },
    );
}

#[test]
fn a_site_is_named_like_its_id_unless_it_says_otherwise() {
    let read = create_site(v1::CreateSiteRequest {
        site: Some(good_site()),
        request_id: "r".into(),
    });
    let SiteVerb::Create(site) = read.unwrap().verb else {
        panic!("not a creation");
    };
    assert_eq!(&*site.display_name, "dli-dali");
}

#[test]
fn latencies_are_set_once_and_in_order() {
    let latency = |p50: u32, p95: u32| v1::Latency {
        site_id: "dli-dali".into(),
        city_id: "sgn".into(),
        leased_p50_us: p50,
        leased_p95_us: p95,
        ..v1::Latency::default()
    };
    let put = |latencies: Vec<v1::Latency>| {
        fields_of(latency_update(v1::PutLatenciesRequest {
            latencies,
            ..v1::PutLatenciesRequest::default()
        }))
    };
    assert!(put(vec![latency(5, 9)]).is_empty());
    assert!(put(vec![latency(5, 0)]).is_empty());
    assert_eq!(put(vec![]), ["zones"]);
    assert_eq!(put(vec![latency(9, 5)]), ["latencies[0].leased_p95_us"]);
    assert_eq!(
        put(vec![latency(u32::MAX, 0)]),
        ["latencies[0].leased_p50_us"]
    );
    assert_eq!(put(vec![latency(1, 2), latency(1, 3)]), ["latencies"]);
    assert_eq!(put(vec![latency(1, 2); 10_001]), ["latencies"]);
}

fn good_forecast() -> v1::Forecast {
    v1::Forecast {
        supply_id: "dli-dali/wind".into(),
        product: v1::ForecastProduct::DayAhead.into(),
        issued_at: at(1_789_990_123),
        start_time: at(1_790_000_100 / 900 * 900),
        step_seconds: 3_600,
        p10_watts: vec![1, 2],
        p50_watts: vec![2, 3],
        p90_watts: vec![3, 4],
        ..v1::Forecast::default()
    }
}

#[track_caller]
fn check_forecast(expected: &[&str], change: impl FnOnce(&mut v1::Forecast)) {
    let mut forecast = good_forecast();
    change(&mut forecast);
    let read = put_forecast(
        &v1::PutForecastRequest {
            forecast: Some(forecast),
            accept_jump: false,
        },
        testing::settings(),
    );
    assert_eq!(fields_of(read), expected);
}

#[test]
fn steps_are_spread_over_their_slots() {
    let request = v1::PutForecastRequest {
        forecast: Some(good_forecast()),
        accept_jump: true,
    };
    let issue = put_forecast(&request, testing::settings()).unwrap().issue;
    let medians: Vec<u64> = issue.bands.iter().map(|band| band.p50_watts).collect();
    assert_eq!(medians, [2, 2, 2, 2, 3, 3, 3, 3]);
    assert_eq!(issue.range.len(), 8);
}

#[test]
fn every_wrong_field_of_a_forecast_is_named() {
    check_forecast(&["forecast.supply_id"], |f| f.supply_id = "wind".into());
    check_forecast(&["forecast.forecast_id"], |f| f.forecast_id = "x".into());
    check_forecast(&["forecast.product"], |f| f.product = 0);
    check_forecast(&["forecast.issued_at"], |f| f.issued_at = None);
    check_forecast(&["forecast.start_time"], |f| f.start_time = at(1));
    check_forecast(&["forecast.start_time"], |f| {
        f.start_time = Some(Timestamp {
            seconds: 900,
            nanos: 1,
        });
    });
    for step_seconds in [0, 1, 899, 1_000] {
        check_forecast(&["forecast.step_seconds"], |f| {
            f.step_seconds = step_seconds;
        });
    }
    check_forecast(&["forecast.p10_watts"], |f| f.p10_watts = vec![1]);
    check_forecast(&["forecast.p10_watts", "forecast.p90_watts"], |f| {
        f.p50_watts.push(3);
    });
    check_forecast(&["forecast.p50_watts[1]"], |f| f.p10_watts = vec![1, 4]);
    check_forecast(&["forecast.p50_watts"], |f| {
        f.p10_watts.clear();
        f.p50_watts.clear();
        f.p90_watts.clear();
    });
    check_forecast(&["forecast.p50_watts"], |f| {
        f.p10_watts = vec![1; 673];
        f.p50_watts = vec![1; 673];
        f.p90_watts = vec![1; 673];
    });
    check_forecast(&["forecast.p50_watts"], |f| {
        f.step_seconds = 900 * 4_000_000;
    });
}

#[test]
fn a_forecast_is_asked_for_by_id_or_by_supply() {
    let ask = |change: &dyn Fn(&mut v1::GetForecastRequest)| {
        let mut request = v1::GetForecastRequest {
            supply_id: "dli-dali/wind".into(),
            ..v1::GetForecastRequest::default()
        };
        change(&mut request);
        forecast_query(&request, testing::settings(), TimeMs(1_790_000_000_000))
    };
    let Ok(ForecastQuery::Ruling(_, range)) = ask(&|_| {}) else {
        panic!("refused");
    };
    // A window of 24 hours that begins within a slot touches one slot more.
    assert_eq!(range.len(), 97);
    assert_eq!(fields_of(ask(&|r| r.supply_id.clear())), ["supply_id"]);
    assert_eq!(fields_of(ask(&|r| r.end_time = at(1))), ["end_time"]);
    assert_eq!(
        fields_of(ask(&|r| r.end_time = at(1_890_000_000))),
        ["end_time"]
    );
    let by_id = ask(&|r| r.forecast_id = "dli-dali/wind:DA:7".into());
    assert_eq!(fields_of(by_id), ["supply_id"]);
    let malformed = ask(&|r| {
        r.supply_id.clear();
        r.forecast_id = "dli-dali/wind:XX:7".into();
    });
    assert_eq!(fields_of(malformed), ["forecast_id"]);
}
