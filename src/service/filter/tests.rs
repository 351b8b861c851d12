//! Tests of the filter: what it reads, what it matches, and how it refuses the rest.
//!
//! Every refusal names the position in the text.

use super::*;
use crate::{
    domain::{
        job::{Job, JobState},
        placement::Placement,
    },
    limits,
    service::testing,
};

/// A job named `a` with label `team=ml`, placed at `dli-dali` from 01:00 to 02:00, 75 % green.
fn placed() -> Job {
    let builder = testing::job(0xab, "a").labelled("team", "ml x");
    builder.created(1_000).placed("dli-dali", 4, 8).build()
}

fn queued() -> Job {
    testing::job(1, "b").in_state(JobState::Queued).build()
}

fn matches(filter: &str, job: &Job) -> bool {
    let grid = SlotGrid::new(900).unwrap();
    Filter::parse(filter).unwrap().matches(job, grid)
}

#[track_caller]
fn refused(filter: &str, expected: &str) {
    let Err(Rejection::InvalidFields(found)) = Filter::parse(filter) else {
        panic!("{filter:?} is accepted");
    };
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].field, "filter");
    let description = &found[0].description;
    assert!(description.contains(expected), "{filter:?}: {description}");
}

#[test]
fn every_field_is_compared() {
    let _: fn(&Placement) -> u32 = Placement::green_share_permille;
    let job = placed();
    let cases = [
        ("", true),
        ("  ", true),
        ("job_id = 00000000-0000-0000-0000-0000000000ab", true),
        ("job_id != 00000000-0000-0000-0000-0000000000ab", false),
        ("name = a", true),
        ("name=\"a\"", true),
        ("name != 'a'", false),
        ("state = PLANNED", true),
        ("state = JOB_STATE_PLANNED", true),
        ("state != PLANNED", false),
        ("site_id = dli-dali", true),
        ("city_id = sgn", true),
        ("zone_id = sgn", false),
        ("zone_id = \"\"", true),
        ("cause = SUBMITTED", true),
        ("cause = CHANGE_CAUSE_FORECAST", false),
        ("labels.team = \"ml x\"", true),
        ("labels.team != \"ml x\"", false),
        ("labels.team : *", true),
        ("labels.team:'ml x'", true),
        ("labels:team", true),
        ("labels.other:*", false),
        ("labels.other = x", false),
        ("labels.other != x", true),
        ("create_time = 1970-01-01T00:00:01Z", true),
        ("create_time > 1970-01-01T00:00:01Z", false),
        ("start_time >= 1970-01-01T01:00:00Z", true),
        ("start_time >= 1970-01-01T09:00:01+08:00", false),
        ("end_time <= 1970-01-01T02:00:00Z", true),
        ("finish_deadline < 1970-01-02T00:00:00Z", false),
        ("green_share_permille >= 750", true),
        ("green_share_permille<750", false),
        ("task_count = 1", true),
        ("replan_count != 0", false),
    ];
    for (filter, expected) in cases {
        assert_eq!(matches(filter, &job), expected, "{filter:?}");
    }
}

#[test]
fn what_a_job_does_not_have_only_differs() {
    let job = queued();
    let cases = [
        ("start_time > 1970-01-01T00:00:00Z", false),
        ("start_time <= 2970-01-01T00:00:00Z", false),
        ("start_time != 1970-01-01T00:00:00Z", true),
        ("green_share_permille < 1001", false),
        ("site_id = \"\"", true),
        ("site_id != dli-dali", true),
    ];
    for (filter, expected) in cases {
        assert_eq!(matches(filter, &job), expected, "{filter:?}");
    }
}

#[test]
fn or_binds_tighter_than_and_as_in_the_standard() {
    let job = placed();
    let cases = [
        ("name = x AND state = PLANNED OR state = HELD", false),
        ("(name = x AND state = HELD) OR state = PLANNED", true),
        ("name = a AND state = HELD OR state = PLANNED", true),
        ("NOT name = x", true),
        ("NOT (name = a OR name = b)", false),
        ("name = a AND NOT state = HELD", true),
        ("((((name = a))))", true),
        ("NOT(name = x)AND(name = a)", true),
    ];
    for (filter, expected) in cases {
        assert_eq!(matches(filter, &job), expected, "{filter:?}");
    }
}

#[test]
fn values_are_read_as_quoted() {
    let job = testing::job(1, "a")
        .labelled("k", "x \"y\" \\ ) AND")
        .build();
    assert!(matches(r#"labels.k = "x \"y\" \\ ) AND""#, &job));
}

#[test]
fn errors_say_where_and_what() {
    refused("name", "at character 5: expected an operator");
    refused("name =", "at character 7: expected a value");
    refused("= a", "at character 1: expected a field");
    refused("nam = a", "at character 1: `nam` is not a field");
    refused("name < a", "at character 6: `name` is compared by = or !=");
    refused(
        "state = planned",
        "at character 9: `state` is compared with one of HELD",
    );
    refused("state = WALKING", "one of HELD");
    refused("cause = X", "ChangeCause");
    refused("job_id = 1", "a UUID");
    refused("task_count = -1", "whole number");
    refused("task_count = 1e3", "whole number");
    refused("task_count : 1", "`task_count` is compared by =");
    refused("create_time > yesterday", "RFC 3339");
    refused("create_time > 2026-13-01T00:00:00Z", "RFC 3339");
    refused("labels. = a", "key of a label");
    refused("labels = a", "labels.KEY");
    refused(
        "name = a name = b",
        "at character 10: expected AND, OR or the end",
    );
    refused("name = a and name = b", "expected AND, OR or the end");
    refused("name = a AND", "at character 13: expected a field");
    refused("(name = a", "at character 10: expected AND, OR or `)`");
    refused("name = a)", "at character 9: expected AND, OR or the end");
    refused(
        "name = \"a",
        "at character 8: expected the end of the quoted value",
    );
    refused("NOT NOT name = a", "operator");
    refused("名前 = a", "at character 1: expected a field");
    refused("name = é \u{200b}", "at character 10");
    refused("-name = a", "at character 1: `-name` is not a field");
}

#[test]
fn length_and_nesting_are_bounded() {
    let deep = |n: usize| format!("{}name = a{}", "(".repeat(n), ")".repeat(n));
    assert!(Filter::parse(&deep(limits::FILTER_DEPTH_MAX)).is_ok());
    refused(
        &deep(limits::FILTER_DEPTH_MAX + 1),
        "nested more than 32 deep",
    );
    refused(&deep(1_000), "nested more than");
    refused(&"(".repeat(2_000), "nested more than");
    refused(
        &format!("name = {}", "a".repeat(2_042)),
        "at most 2048 characters",
    );
    assert!(Filter::parse(&format!("name = {}", "a".repeat(2_041))).is_ok());
}
