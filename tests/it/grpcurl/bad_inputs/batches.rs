//! Batches, streams and quotes that are refused.
//!
//! All or nothing leaves nothing; what is refused on its own leaves the rest alone, which the good paths show.

use serde_json::{Value, json};
use tonic::Code;

use super::{Case, Details, SUBMIT, check, invalid, refused, submission};
use crate::{
    grpcurl::{Client, Shared, after, hydro_of, job_at, job_from},
    support::samples::{SITE, create_site, put_forecast, put_latencies, slot_start, with},
};

static WORLD: Shared = Shared::new(|client| {
    client.ok("SiteService/CreateSite", &create_site());
    client.ok("SiteService/PutLatencies", &put_latencies(&[SITE]));
});

const BATCH: &str = "JobService/SubmitJobs";

fn item(key: &str) -> Value {
    with(submission(&job_at(&[SITE])), "/idempotency_key", key)
}

fn all_or_nothing(items: &[Value]) -> Value {
    json!({ "items": items, "all_or_nothing": true })
}

#[test]
fn batches() {
    let client = WORLD.get();
    let many: Vec<Value> = (0..1_001)
        .map(|i| json!({ "idempotency_key": format!("k{i}") }))
        .collect();
    let without_tasks = with(item("b"), "/spec/task_count", 0);
    let without_power = with(item("c"), "/spec/task_power_watts", 0);
    let elsewhere = with(item("d"), "/spec/origin/city_id", "atlantis");
    let hopeless = with(item("e"), "/spec/task_count", 1_000);
    let twice = Case {
        reason: "DUPLICATE_KEY_IN_BATCH",
        ..invalid(
            "key twice",
            BATCH,
            json!({ "items": [item("a"), item("b"), item("a")] }),
            &["items[2].idempotency_key"],
        )
    };
    check(
        &client,
        &[
            invalid("batch of nothing", BATCH, json!({}), &["items"]),
            invalid("batch of 1001", BATCH, json!({ "items": many }), &["items"]),
            twice,
            invalid(
                "two of three wrong",
                BATCH,
                all_or_nothing(&[item("a"), without_tasks, without_power]),
                &["items[1].spec.task_count", "items[2].spec.task_power_watts"],
            ),
            refused(
                "one from an unknown city",
                BATCH,
                all_or_nothing(&[item("a"), elsewhere]),
                (Code::NotFound, "CITY_NOT_FOUND"),
                Details::Resource("atlantis".to_owned()),
            ),
        ],
    );
    let before = client.info()["revision"].clone();
    let output = client.call(BATCH, &all_or_nothing(&[item("a"), hopeless]));
    output.assert_error(Code::FailedPrecondition, "JOB_INFEASIBLE");
    assert_eq!(client.info()["revision"], before);
    let listed = client.ok("JobService/ListJobs", &json!({}));
    assert_eq!(listed.get("jobs"), None, "nothing of all is left");
}

#[test]
fn streams() {
    let client = WORLD.get();
    let message = |sequence: u64| json!({ "sequence": sequence, "submission": {} });
    let falling = Case {
        messages: vec![message(5), message(5)],
        ..invalid(
            "sequence that does not rise",
            "JobService/SubmitJobStream",
            json!({}),
            &["sequence"],
        )
    };
    let forecast = |sequence: u64| json!({ "sequence": sequence });
    let forecasts_falling = Case {
        messages: vec![forecast(2), forecast(1)],
        ..invalid(
            "sequence of forecasts that falls",
            "ForecastService/StreamForecasts",
            json!({}),
            &["sequence"],
        )
    };
    check(&client, &[falling, forecasts_falling]);
}

#[test]
fn quotes() {
    // Alone, for it changes what was quoted.
    let client = Client::alone();
    let site = client.site("quoted", 1_200);
    let first = slot_start(8);
    let spec = with(job_from(&[&site], first), "/name", "quoted");
    let quoted = client.ok("JobService/QuoteJob", &json!({ "spec": spec }));
    let quote = quoted["quoteId"].as_str().unwrap();
    let redeem = |quote: &str| with(submission(&spec), "/quote_id", quote);
    let turned = match quote.split_at(quote.len() - 1) {
        (head, "0") => format!("{head}1"),
        (head, _) => format!("{head}0"),
    };
    // The water is gone in the quoted hour, and comes back later.
    let dry = with(
        put_forecast(&hydro_of(&site), 4, 0),
        "/forecast/start_time",
        first.to_string(),
    );
    client.ok("ForecastService/PutForecast", &dry);
    let (code, drifted) = (Code::FailedPrecondition, "QUOTE_DRIFTED");
    let subject = || Details::Precondition("quote_id".to_owned());
    let other = with(redeem(quote), "/spec/name", "other");
    let soon = with(
        redeem(quote),
        "/drift",
        json!({ "max_delay": "3599s", "max_green_share_drop_permille": 1_000 }),
    );
    check(
        &client,
        &[
            invalid(
                "drift without a quote",
                SUBMIT,
                with(submission(&spec), "/drift/max_delay", "60s"),
                &["drift"],
            ),
            invalid(
                "quote of another kind",
                SUBMIT,
                redeem("q-17"),
                &["quote_id"],
            ),
            invalid(
                "quote with a digit turned",
                SUBMIT,
                redeem(&turned),
                &["quote_id"],
            ),
            invalid(
                "drift above all",
                SUBMIT,
                with(redeem(quote), "/drift/max_green_share_drop_permille", 1_001),
                &["drift.max_green_share_drop_permille"],
            ),
            invalid(
                "negative drift",
                SUBMIT,
                with(redeem(quote), "/drift/max_delay", "-1s"),
                &["drift.max_delay"],
            ),
            refused(
                "quote of another job",
                SUBMIT,
                other,
                (code, "QUOTE_INVALID"),
                subject(),
            ),
            refused(
                "quote that has drifted",
                SUBMIT,
                redeem(quote),
                (code, drifted),
                subject(),
            ),
            refused(
                "drift of a second too little",
                SUBMIT,
                soon,
                (code, drifted),
                subject(),
            ),
        ],
    );
    // An hour later is what the hour without water costs.
    let welcome = with(redeem(quote), "/drift/max_delay", "3600s");
    let job = &client.ok(SUBMIT, &welcome)["job"];
    assert_eq!(job["placement"]["runs"][0]["startTime"], after(first, 4));
    assert_eq!(job["placement"]["greenSharePermille"], 1_000);
}
