//! Batches, streams and quotes that are refused.
//!
//! All or nothing leaves nothing; what is refused on its own leaves the rest alone, which the good paths show.

use serde_json::{Value, json};
use tonic::Code;

use super::{Case, Details, SUBMIT, check, invalid, refused, submission};
use crate::{
    grpcurl::{Client, Shared, after, first, hydro_of, job_at, job_from},
    support::samples::{SITE, create_site, put_forecast, put_latencies, with},
};

static WORLD: Shared = Shared::new(|client| {
    client.ok("SiteService/CreateSite", &create_site());
    client.ok("SiteService/PutLatencies", &put_latencies(&[SITE]));
});

const BATCH: &str = "JobService/SubmitJobs";

fn item(key: &str) -> Value {
    with(submission(&job_at(&[SITE])), "/idempotency_key", key)
}

/// An item with one thing set.
fn item_with(key: &str, pointer: &str, value: impl Into<Value>) -> Value {
    with(item(key), &format!("/spec/{pointer}"), value)
}

fn items_1001() -> Vec<Value> {
    (0..1_001)
        .map(|i| json!({ "idempotency_key": format!("k{i}") }))
        .collect()
}

calls! { batches();
    "batch of nothing": BATCH {} => ["items"];
    "batch of 1001": BATCH { "items": items_1001() } => ["items"];
    "two of three wrong": BATCH {
        "items": [item("a"), item_with("b", "task_count", 0), item_with("c", "task_power_watts", 0)],
        "all_or_nothing": true,
    } => ["items[1].spec.task_count", "items[2].spec.task_power_watts"];
    "one from an unknown city": BATCH {
        "items": [item("a"), item_with("b", "origin/city_id", "atlantis")],
        "all_or_nothing": true,
    } => (CITY_NOT_FOUND of "atlantis");
}

#[test]
fn a_batch_is_all_or_nothing() {
    let client = WORLD.get();
    let twice = Case {
        reason: "DUPLICATE_KEY_IN_BATCH",
        ..invalid(
            "key twice",
            BATCH,
            json!({ "items": [item("a"), item("b"), item("a")] }),
            &["items[2].idempotency_key"],
        )
    };
    check(&client, [batches(), vec![twice]].concat());

    let before = client.info()["revision"].clone();
    let hopeless = item_with("b", "task_count", 1_000);
    let request = json!({ "items": [item("a"), hopeless], "all_or_nothing": true });
    let output = client.call(BATCH, &request);
    output.assert_error(Code::FailedPrecondition, "JOB_INFEASIBLE");
    assert_eq!(client.info()["revision"], before);
    let listed = client.ok("JobService/ListJobs", &json!({}));
    assert_eq!(listed.get("jobs"), None, "nothing of all is left");
}

#[test]
fn a_sequence_rises() {
    let falling = |name, method, messages: Vec<Value>| Case {
        messages,
        ..invalid(name, method, json!({}), &["sequence"])
    };
    let job = |sequence: u64| json!({ "sequence": sequence, "submission": {} });
    let forecast = |sequence: u64| json!({ "sequence": sequence });
    let rows = vec![
        falling(
            "jobs that stand still",
            "JobService/SubmitJobStream",
            vec![job(5), job(5)],
        ),
        falling(
            "forecasts that fall",
            "ForecastService/StreamForecasts",
            vec![forecast(2), forecast(1)],
        ),
    ];
    check(&WORLD.get(), rows);
}

/// Redeems a quote for the usual job at the site.
fn redeem(quote: &str) -> Value {
    with(submission(&quoted()), "/quote_id", quote)
}

fn quoted() -> Value {
    job_from(&["quoted"], first())
}

/// The same quote with its last digit turned.
fn turned(quote: &str) -> String {
    match quote.split_at(quote.len() - 1) {
        (head, "0") => format!("{head}1"),
        (head, _) => format!("{head}0"),
    }
}

/// A drift of so many seconds and of any green share.
fn drift(seconds: u32) -> Value {
    json!({ "max_delay": format!("{seconds}s"), "max_green_share_drop_permille": 1_000 })
}

fn quotes(quote: &str) -> Vec<Case> {
    let redeeming = |name, pointer: &str, value: Value, field| {
        invalid(name, SUBMIT, with(redeem(quote), pointer, value), &[field])
    };
    let refusing = |name, message, reason| {
        let subject = Details::Precondition("quote_id".to_owned());
        refused(
            name,
            SUBMIT,
            message,
            (Code::FailedPrecondition, reason),
            subject,
        )
    };
    let unquoted = with(submission(&quoted()), "/drift", drift(60));
    let other = with(redeem(quote), "/spec/name", "other");
    let soon = with(redeem(quote), "/drift", drift(3_599));
    let share = "drift.max_green_share_drop_permille";
    let (too_much, backwards) = (json!({ share[6..]: 1_001 }), json!({ "max_delay": "-1s" }));
    vec![
        invalid("drift without a quote", SUBMIT, unquoted, &["drift"]),
        invalid("quote of nobody", SUBMIT, redeem("q-17"), &["quote_id"]),
        invalid(
            "quote with a digit turned",
            SUBMIT,
            redeem(&turned(quote)),
            &["quote_id"],
        ),
        redeeming("drift above all", "/drift", too_much, share),
        redeeming("negative drift", "/drift", backwards, "drift.max_delay"),
        refusing("quote of another job", other, "QUOTE_INVALID"),
        refusing("quote that has drifted", redeem(quote), "QUOTE_DRIFTED"),
        refusing("drift of a second too little", soon, "QUOTE_DRIFTED"),
    ]
}

#[test]
fn a_quote_is_kept_within_its_drift() {
    let client = Client::alone();
    let site = client.site("quoted", 1_200);
    let quote = client.ok("JobService/QuoteJob", &json!({ "spec": quoted() }));
    let quote = quote["quoteId"].as_str().unwrap();
    // The water is gone in the quoted hour.
    let dry = put_forecast(&hydro_of(&site), 4, 0);
    let dry = with(dry, "/forecast/start_time", first().to_string());
    client.ok("ForecastService/PutForecast", &dry);
    check(&client, quotes(quote));

    // An hour later is what the hour without water costs.
    let welcome = with(redeem(quote), "/drift", drift(3_600));
    let job = &client.ok(SUBMIT, &welcome)["job"];
    assert_eq!(job["placement"]["runs"][0]["startTime"], after(first(), 4));
    assert_eq!(job["placement"]["greenSharePermille"], 1_000);
}
