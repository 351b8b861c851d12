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

mod forecasts;
mod jobs;
mod sites;

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

fn timing(spec: &mut v1::JobSpec) -> &mut v1::Timing {
    spec.timing.as_mut().unwrap()
}

fn policy(spec: &mut v1::JobSpec) -> &mut v1::DataPolicy {
    spec.data_policy.as_mut().unwrap()
}

fn fields_of<T: std::fmt::Debug>(read: Result<T, Rejection>) -> Vec<String> {
    match read {
        Ok(_) => Vec::new(),
        Err(Rejection::InvalidFields(found)) => found.into_iter().map(|v| v.field).collect(),
        Err(other) => panic!("{other:?}"),
    }
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
