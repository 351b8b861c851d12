//! Tests of statuses: each refusal has its code, its reason and its details.
//!
//! The details are read back as a client would.

use tonic_types::StatusExt;

use super::*;
use crate::{
    domain::{
        ids::{JobId, SiteId},
        refusal::{Refusal, RefusalReason, RefusalUnit, SuggestedChange, Suggestion},
        violation::Violation,
    },
    limits,
    slot::TimeMs,
};

fn violation(field: &str) -> Violation {
    Violation {
        field: field.into(),
        description: "is wrong".into(),
    }
}

fn site(name: &str) -> SiteId {
    SiteId::parse(name).unwrap()
}

fn missing(what: Missing) -> Rejection {
    Rejection::not_found(what, "x", ["a", "b"].into_iter())
}

fn infeasibility() -> Rejection {
    let mut busy = Refusal::numbers(
        RefusalReason::CapacityBusy,
        RefusalUnit::CpuCores,
        64,
        32,
        "the pool is taken",
    );
    busy.until = Some(TimeMs(3_600_000));
    let cordoned = Refusal::plain(RefusalReason::SiteCordoned, "the site is cordoned");
    Rejection::Infeasible(Box::new(Infeasibility {
        sites: vec![
            (site("a"), vec![cordoned, busy.clone()]),
            (site("b"), vec![busy]),
        ],
        suggestions: vec![Suggestion {
            change: SuggestedChange::LowerGreenShare(700),
            site: site("b"),
            message: "ask for 70 % green".into(),
        }],
        at: TimeMs(0),
        revision: Revision(9),
    }))
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of all refusals")]
fn every_refusal_has_its_code_and_reason() {
    let id = JobId(1);
    let cases: Vec<(Rejection, Code, &str)> = vec![
        (
            Rejection::InvalidFields(vec![violation("a")]),
            Code::InvalidArgument,
            "INVALID_FIELDS",
        ),
        (missing(Missing::Job), Code::NotFound, "JOB_NOT_FOUND"),
        (missing(Missing::Site), Code::NotFound, "SITE_NOT_FOUND"),
        (missing(Missing::Supply), Code::NotFound, "SUPPLY_NOT_FOUND"),
        (missing(Missing::City), Code::NotFound, "CITY_NOT_FOUND"),
        (missing(Missing::Zone), Code::NotFound, "ZONE_NOT_FOUND"),
        (missing(Missing::Link), Code::NotFound, "LINK_NOT_FOUND"),
        (missing(Missing::Window), Code::NotFound, "WINDOW_NOT_FOUND"),
        (
            missing(Missing::Forecast),
            Code::NotFound,
            "FORECAST_NOT_FOUND",
        ),
        (
            Rejection::KeyReused {
                key: "k".into(),
                job: Some(id),
            },
            Code::AlreadyExists,
            "IDEMPOTENCY_KEY_REUSED",
        ),
        (
            Rejection::SiteExists(site("a")),
            Code::AlreadyExists,
            "SITE_EXISTS",
        ),
        (
            Rejection::ForecastExists("f".into()),
            Code::AlreadyExists,
            "FORECAST_EXISTS",
        ),
        (infeasibility(), Code::FailedPrecondition, "JOB_INFEASIBLE"),
        (
            Rejection::WrongJobState {
                id,
                state: "CANCELLED",
                verb: "held",
            },
            Code::FailedPrecondition,
            "WRONG_JOB_STATE",
        ),
        (
            Rejection::StaleEtag { now: "r2".into() },
            Code::Aborted,
            "STALE_ETAG",
        ),
        (
            Rejection::QuoteDrifted("x".into()),
            Code::FailedPrecondition,
            "QUOTE_DRIFTED",
        ),
        (
            Rejection::QuoteInvalid("x".into()),
            Code::FailedPrecondition,
            "QUOTE_INVALID",
        ),
        (
            Rejection::ImplausibleSeries(vec![violation("p50_watts[0]")]),
            Code::FailedPrecondition,
            "IMPLAUSIBLE_SERIES",
        ),
        (
            Rejection::LimitReached {
                what: "sites",
                max: 256,
                remedy: "remove one",
            },
            Code::ResourceExhausted,
            "LIMIT_REACHED",
        ),
        (Rejection::Overloaded, Code::Unavailable, "OVERLOADED"),
        (Rejection::Stopped, Code::Unavailable, "SHUTTING_DOWN"),
        (Rejection::PlanStale("x".into()), Code::Internal, "INTERNAL"),
    ];
    for (rejection, code, reason) in cases {
        let status = Status::from(rejection.clone());
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((status.code(), info.reason.as_str()), (code, reason));
        assert_eq!(info.domain, "lancang.v1");
        assert!(!status.message().is_empty());
        // An item says the same.
        let item = ServiceError::from(rejection).into_item_error();
        assert_eq!(item.code, i32::from(code));
        assert_eq!(
            item.reason().as_str_name(),
            format!("ERROR_REASON_{reason}")
        );
        assert_eq!(item.message, status.message());
    }
}

#[test]
fn the_errors_of_the_service_itself_have_codes_and_reasons_too() {
    let resume = Revision(7);
    let cases = [
        (
            ServiceError::PageTokenExpired,
            Code::OutOfRange,
            "PAGE_TOKEN_EXPIRED",
            None,
        ),
        (
            ServiceError::RevisionCompacted {
                asked: Revision(1),
                oldest: resume,
            },
            Code::OutOfRange,
            "REVISION_COMPACTED",
            Some("oldest_revision"),
        ),
        (
            ServiceError::RevisionUnknown {
                asked: Revision(8),
                present: resume,
            },
            Code::OutOfRange,
            "REVISION_UNKNOWN",
            Some("revision"),
        ),
        (
            ServiceError::SlowConsumer {
                resume: Resume::After(resume),
            },
            Code::Aborted,
            "SLOW_CONSUMER",
            Some("resume_revision"),
        ),
        (
            ServiceError::Stopping {
                resume: Some(Resume::After(resume)),
            },
            Code::Unavailable,
            "SHUTTING_DOWN",
            Some("resume_revision"),
        ),
        (
            ServiceError::DuplicateKeyInBatch {
                first: 0,
                second: 2,
            },
            Code::InvalidArgument,
            "DUPLICATE_KEY_IN_BATCH",
            None,
        ),
    ];
    for (error, code, reason, revision_key) in cases {
        let status = Status::from(error);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((status.code(), info.reason.as_str()), (code, reason));
        if let Some(key) = revision_key {
            assert_eq!(info.metadata[key], "7");
        }
    }
}

#[test]
fn a_stream_that_cannot_be_resumed_says_so_and_names_no_revision() {
    let again = "watch again with initial_jobs or initial_sites, for not all of them were sent";
    let cases = [
        (Resume::WithInitial, again),
        (Resume::Unanswered, "send again what has no answer yet"),
        (Resume::Anew, "begin again from the start"),
    ];
    for (resume, what) in cases {
        let stopping = ServiceError::Stopping {
            resume: Some(resume),
        };
        for error in [ServiceError::SlowConsumer { resume }, stopping] {
            let status = Status::from(error);
            assert!(status.message().ends_with(what), "{status:?}");
            let details = status.get_error_details();
            let metadata = &details.error_info().unwrap().metadata;
            assert!(!metadata.contains_key("resume_revision"));
        }
    }
}

#[test]
fn a_refusal_at_an_item_says_the_same_as_without_and_which_item() {
    let at = |rejection: Rejection| Rejection::AtItem {
        index: 3,
        rejection: Box::new(rejection),
    };
    let reasons = [
        infeasibility(),
        Rejection::QuoteDrifted("x".into()),
        missing(Missing::City),
        Rejection::InvalidFields(vec![violation("spec.name")]),
    ];
    for inner in reasons {
        let plain = Status::from(inner.clone());
        let status = Status::from(at(inner));
        assert_eq!(status.code(), plain.code());
        let (details, plain) = (status.get_error_details(), plain.get_error_details());
        let (info, plain) = (details.error_info().unwrap(), plain.error_info().unwrap());
        assert_eq!(info.reason, plain.reason);
        assert_eq!(info.metadata["item"], "3");
        assert!(status.message().starts_with("item 3: "), "{status:?}");
    }
    let fields = [violation("spec.name"), violation("items[3].spec.name")];
    let status = Status::from(at(Rejection::InvalidFields(fields.to_vec())));
    let details = status.get_error_details();
    let told = &details.bad_request().unwrap().field_violations;
    assert!(told.iter().all(|v| v.field == "items[3].spec.name"));
    let status = Status::from(at(Rejection::QuoteInvalid("x".into())));
    let details = status.get_error_details();
    let failure = &details.precondition_failure().unwrap().violations[0];
    assert_eq!(failure.subject, "items[3].quote_id");
    let status = Status::from(at(Rejection::PlanStale("secret".into())));
    assert!(!status.message().contains("secret"));
}

#[test]
fn all_wrong_fields_are_in_the_details_and_the_first_in_the_message() {
    let fields = ["a", "b", "c", "d", "e", "f"];
    let status = Status::from(Rejection::InvalidFields(fields.map(violation).to_vec()));
    let details = status.get_error_details();
    let told = &details.bad_request().unwrap().field_violations;
    let told: Vec<&str> = told
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    assert_eq!(told, fields);
    let message = status.message();
    assert!(message.ends_with("d: is wrong; and 2 more"), "{message}");
}

#[test]
fn an_infeasible_job_gets_every_reason_of_every_site_and_what_would_help() {
    let status = Status::from(infeasibility());
    let details = status.get_error_details();
    let told: Vec<[&str; 3]> = details
        .precondition_failure()
        .unwrap()
        .violations
        .iter()
        .map(|v| {
            [
                v.r#type.as_str(),
                v.subject.as_str(),
                v.description.as_str(),
            ]
        })
        .collect();
    let busy = "the pool is taken (need 64 cpu_cores, have 32) until 1970-01-01T01:00:00Z";
    let expected = [
        ["SITE_CORDONED", "a", "the site is cordoned"],
        ["CAPACITY_BUSY", "a", busy],
        ["CAPACITY_BUSY", "b", busy],
        ["SUGGESTION", "b", "ask for 70 % green"],
    ];
    assert_eq!(told, expected);
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!(metadata["suggestion_1"], "ask for 70 % green");
    assert_eq!(metadata["revision"], "9");
    assert!(
        status
            .message()
            .ends_with("the nearest change: ask for 70 % green")
    );
    let item = ServiceError::from(infeasibility()).into_item_error();
    let reasons: Vec<usize> = item.sites.iter().map(|site| site.refusals.len()).collect();
    assert_eq!(reasons, [2, 1]);
}

#[test]
fn what_is_missing_comes_with_what_is_known() {
    let status = Status::from(missing(Missing::Site));
    assert_eq!(
        status.message(),
        "the site `x` is not known; known are a, b"
    );
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["known"], "a, b");
    let resource = details.resource_info().unwrap();
    assert_eq!(
        (
            resource.resource_type.as_str(),
            resource.resource_name.as_str()
        ),
        ("site", "x")
    );
}

#[test]
fn what_can_be_retried_says_when() {
    let limit = Rejection::LimitReached {
        what: "live jobs",
        max: 5,
        remedy: "wait until some have ended",
    };
    for rejection in [Rejection::Overloaded, Rejection::Stopped, limit.clone()] {
        let details = Status::from(rejection).get_error_details();
        assert!(details.retry_info().unwrap().retry_delay.is_some());
    }
    let details = Status::from(limit).get_error_details();
    assert_eq!(
        details.quota_failure().unwrap().violations[0].subject,
        "live jobs"
    );
}

#[test]
fn a_defect_tells_the_caller_nothing_of_its_inside() {
    let status = Status::from(Rejection::PlanStale("secret".into()));
    assert!(!status.message().contains("secret"));
}

#[test]
fn details_are_bounded_and_what_is_left_out_is_counted() {
    let many = (0..1_000).map(|i| violation(&format!("items[{i}].spec.name")));
    let status = Status::from(Rejection::InvalidFields(many.collect()));
    let details = status.get_error_details();
    let told = details.bad_request().unwrap().field_violations.len();
    assert_eq!(told, limits::STATUS_DETAILS_MAX);
    let left_out = &details.error_info().unwrap().metadata["details_left_out"];
    assert_eq!(left_out, &(1_000 - told).to_string());
}
