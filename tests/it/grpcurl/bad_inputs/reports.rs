//! Readings and questions about the ledger that are refused.
//!
//! The site has a grid limit of 200 kW, which are 180,000,000 watt-seconds in a slot.

use serde_json::{Value, json};
use tonic::Code;

use super::{Details, check, invalid, missing, refused};
use crate::{
    grpcurl::{Shared, time},
    support::samples::{SITE, create_site, with},
};

static WORLD: Shared = Shared::new(|client| {
    client.ok("SiteService/CreateSite", &create_site());
});

const METER: &str = "ReportService/PutReadings";
const JOB_METER: &str = "ReportService/PutJobReadings";
const LIST: &str = "ReportService/ListSettlements";
const GET: &str = "ReportService/GetSettlement";
const LINES: &str = "ReportService/StreamLines";
const STATEMENT: &str = "ReportService/GetStatement";
const SIGN: &str = "ReportService/SignStatement";

/// No job has this id.
const NOBODY: &str = "01900000-0000-7000-8000-00000000dead";

/// Three readings of an hour ago.
fn readings() -> Value {
    json!({ "site_id": SITE, "start_time": time(-4), "facility_watt_seconds": [1, 2, 3] })
}

fn job_readings() -> Value {
    json!({ "job_id": NOBODY, "start_time": time(-4), "it_watt_seconds": [1, 2, 3] })
}

changes! { malformed_readings, METER, readings();
    "meter of no site": "site_id" = "";
    "meter of a supply": "site_id" = "kunming/hydro";
    "meter from within a slot": "start_time" = "2026-11-24T08:07:30Z";
    "meter of no time": "start_time" = Value::Null;
    "no readings of a meter": "facility_watt_seconds" = Value::Null;
    "2689 readings of a meter": "facility_watt_seconds" = vec![1; 2_689];
    "meter under a long id": "request_id" = "r".repeat(129);
}

changes! { malformed_job_readings, JOB_METER, job_readings();
    "energy of no job": "job_id" = "";
    "energy of a job in words": "job_id" = "render";
    "energy from within a slot": "start_time" = "2026-11-24T08:07:30Z";
    "no energy of a job": "it_watt_seconds" = Value::Null;
    "2689 energies of a job": "it_watt_seconds" = vec![1; 2_689];
    "energy under a long id": "request_id" = "r".repeat(129);
}

#[test]
fn readings_of_meters_are_checked() {
    let implausible = |name, field: &str, value: Value, wrong: &[&'static str]| {
        let message = with(readings(), field, value);
        let why = (Code::FailedPrecondition, "IMPLAUSIBLE_SERIES");
        let fields = Details::Implausible(wrong.to_vec());
        refused(name, METER, message, why, fields)
    };
    let values = "/facility_watt_seconds";
    let unknown = with(readings(), "/site_id", "atlantis");
    let old = with(readings(), "/start_time", time(-41 * 96));
    let closed = (Code::FailedPrecondition, "LEDGER_CLOSED");
    let others = vec![
        invalid(
            "nothing of a meter",
            METER,
            json!({}),
            &["site_id", "start_time", "facility_watt_seconds"],
        ),
        invalid(
            "nothing of a job",
            JOB_METER,
            json!({}),
            &["job_id", "start_time", "it_watt_seconds"],
        ),
        missing(
            "meter of an unknown site",
            METER,
            unknown,
            "SITE_NOT_FOUND",
            "atlantis",
        ),
        missing(
            "energy of an unknown job",
            JOB_METER,
            job_readings(),
            "JOB_NOT_FOUND",
            NOBODY,
        ),
        implausible(
            "meter of tomorrow",
            "/start_time",
            json!(time(96)),
            &["start_time"],
        ),
        implausible(
            "meter into the future",
            values,
            vec![1; 96].into(),
            &["facility_watt_seconds"],
        ),
        implausible(
            "meter above the grid limit",
            values,
            json!([180_000_000, 180_000_001, u64::MAX]),
            &["facility_watt_seconds[1]", "facility_watt_seconds[2]"],
        ),
        refused(
            "meter of 41 days ago",
            METER,
            old,
            closed,
            Details::Precondition(SITE.into()),
        ),
    ];
    let malformed = [malformed_readings(), malformed_job_readings()].concat();
    check(&WORLD.get(), [malformed, others].concat());
}

calls! { questions();
    "settlements of a supply": LIST { "site_id": "kunming/hydro" } => ["site_id"];
    "settlements of an unknown site": LIST { "site_id": "atlantis" } => (SITE_NOT_FOUND of "atlantis");
    "settlements backwards": LIST { "start_time": time(-4), "end_time": time(-8) } => ["end_time"];
    "settlements of 402 days": LIST { "start_time": time(-402 * 96), "end_time": time(0) } => ["end_time"];
    "settlements on pages below 0": LIST { "page_size": -1 } => ["page_size"];
    "settlements by a token in words": LIST { "page_token": "next" } => ["page_token"];
    "settlement of nothing": GET {} => ["site_id", "start_time"];
    "settlement of an unknown site": GET { "site_id": "atlantis", "start_time": time(-4) } => (SITE_NOT_FOUND of "atlantis");
    "settlement of tomorrow": GET { "site_id": SITE, "start_time": time(96) } => ["start_time"];
    "lines of a supply": LINES { "site_id": "kunming/hydro" } => ["site_id"];
    "lines of an unknown site": LINES { "site_id": "atlantis" } => (SITE_NOT_FOUND of "atlantis");
    "lines of a job in words": LINES { "job_id": "render" } => ["job_id"];
    "lines of an unknown job": LINES { "job_id": NOBODY } => (JOB_NOT_FOUND of NOBODY);
    "lines backwards": LINES { "start_time": time(-4), "end_time": time(-8) } => ["end_time"];
    "statement of a job and a filter": STATEMENT { "job_id": NOBODY, "filter": "name = \"x\"" } => ["filter"];
    "statement by a filter in words": STATEMENT { "filter": "all of them" } => ["filter"];
    "statement of an unknown job": STATEMENT { "job_id": NOBODY } => (JOB_NOT_FOUND of NOBODY);
    "statement of an unknown site": STATEMENT { "site_id": "atlantis" } => (SITE_NOT_FOUND of "atlantis");
    "statement of 402 days": STATEMENT { "start_time": time(-402 * 96), "end_time": time(0) } => ["end_time"];
    "statement by nothing": STATEMENT { "group_by": [0] } => ["group_by[0]"];
    "statement by an unknown group": STATEMENT { "group_by": [1, 99] } => ["group_by[1]"];
    "statement by the same twice": STATEMENT { "group_by": [1, 1] } => ["group_by"];
    "statement by day and month": STATEMENT { "group_by": [2, 3] } => ["group_by"];
    "statement by four groups": STATEMENT { "group_by": [1, 2, 4, 5], "label_key": "tenant" } => ["group_by", "label_key"];
    "statement by a label without a key": STATEMENT { "group_by": [5] } => ["label_key"];
    "statement by no label with a key": STATEMENT { "group_by": [1], "label_key": "tenant" } => ["label_key"];
    "nothing to sign": SIGN {} => ["statement"];
    "signed statement of a supply": SIGN { "statement": { "site_id": "kunming/hydro" } } => ["statement.site_id"];
    "signed statement of an unknown site": SIGN { "statement": { "site_id": "atlantis" } } => (SITE_NOT_FOUND of "atlantis");
    "signed statement of an unknown job": SIGN { "statement": { "job_id": NOBODY } } => (JOB_NOT_FOUND of NOBODY);
    "signed statement by two wrong fields": SIGN { "statement": { "start_time": time(-4), "end_time": time(-8), "group_by": [0] } } => ["statement.end_time", "statement.group_by[0]"];
    "statement by a label in two words": STATEMENT { "group_by": [5], "label_key": "a b" } => ["label_key"];
}

#[test]
fn questions_about_the_ledger_are_checked() {
    check(&WORLD.get(), questions());
}
