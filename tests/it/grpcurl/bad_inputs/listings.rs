//! Listings, pages, filters and watches that are refused.
//!
//! The server has been restarted from a snapshot, so that changes and pages from before are no longer kept.

use serde_json::{Value, json};
use tonic::Code;

use super::{Case, Details, check, invalid, missing, refused, submission};
use crate::{
    grpcurl::{Client, World, job_at, number},
    support::{
        process::ServerProcess,
        samples::{SITE, create_site, create_site_named, put_latencies, with},
    },
};

const LIST: &str = "JobService/ListJobs";
const WATCH: &str = "JobService/WatchJobs";
const LIST_SITES: &str = "SiteService/ListSites";
const LIST_FORECASTS: &str = "ForecastService/ListForecasts";

const ORDER: &str = "name desc";

/// Records after which a snapshot is written in this module: the least that can be set.
const SNAPSHOT_RECORDS: usize = 100;

/// A server that was restarted from a snapshot, and a page token from before.
fn restarted() -> (Client, Value) {
    let data_dir = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = ServerProcess::command(data_dir.path());
        command.env(
            "LANCANG_SNAPSHOT_EVERY_RECORDS",
            SNAPSHOT_RECORDS.to_string(),
        );
        ServerProcess::launch(command).unwrap()
    };
    let mut server = start();
    let client = Client::of(&server);
    client.ok("SiteService/CreateSite", &create_site());
    client.ok("SiteService/CreateSite", &create_site_named("dali"));
    client.ok("SiteService/PutLatencies", &put_latencies(&[SITE]));
    let items: Vec<Value> = (0..SNAPSHOT_RECORDS)
        .map(|i| {
            with(
                submission(&job_at(&[SITE])),
                "/idempotency_key",
                format!("k{i}"),
            )
        })
        .map(|item| with(item, "/hold", true))
        .collect();
    client.ok("JobService/SubmitJobs", &json!({ "items": items }));
    let page = json!({ "page_size": 1, "order_by": ORDER });
    let token = client.ok(LIST, &page)["nextPageToken"].clone();
    // A slice of the snapshot is written with each turn of the writer.
    let is_written = |i: usize| {
        let spec = job_at(&[SITE]);
        client.submit(&format!("turn-{i}"), &spec);
        number(&client.ok("AdminService/Verify", &json!({}))["snapshotRevision"]) > 0
    };
    assert!((0..50).any(is_written), "no snapshot is written");
    assert!(server.terminate().success());
    let client = Client::new(World::around(start(), data_dir));
    (client, token)
}

fn filter(name: &'static str, text: &str) -> Case {
    invalid(name, LIST, json!({ "filter": text }), &["filter"])
}

#[test]
fn filters_and_orders() {
    let client = Client::alone();
    let nested = format!("{}state = PLANNED{}", "(".repeat(33), ")".repeat(33));
    let deep = format!("{}state = PLANNED", "(".repeat(1_000));
    let long = format!("name = \"{}\"", "n".repeat(2_048));
    let order = |name, text: &str| invalid(name, LIST, json!({ "order_by": text }), &["order_by"]);
    check(
        &client,
        &[
            filter("filter above 2048 characters", &long),
            filter("filter of 64 KiB", &"a".repeat(64 << 10)),
            filter("filter nested 33 deep", &nested),
            filter("filter of 1000 parentheses", &deep),
            filter("filter by an unknown field", "colour = green"),
            filter("filter by a word for a number", "task_count = many"),
            filter("filter by a negative number", "replan_count > -1"),
            filter("filter by a number for a time", "create_time > 17"),
            filter("filter by an unknown state", "state = DONE"),
            filter("filter by an unknown cause", "cause = WEATHER"),
            filter("filter by half a job id", "job_id = 0189"),
            filter("filter that orders names", "name < b"),
            filter("filter that orders states", "state >= PLANNED"),
            filter("filter without an operator", "name"),
            filter("filter without a value", "name = "),
            filter("filter with an open quote", "name = 'a"),
            filter("filter with an open parenthesis", "(name = a"),
            filter("filter with a second end", "name = a)"),
            filter("filter by a label without a key", "labels. = a"),
            filter("filter of an injection", "name = a; DROP TABLE jobs"),
            filter("filter with NUL", "name \0= a"),
            invalid(
                "watch by a wrong filter",
                WATCH,
                json!({ "filter": "=" }),
                &["filter"],
            ),
            order("order by an unknown field", "colour"),
            order("order with a wrong direction", "name asc"),
            order("order by two fields", "name, create_time"),
        ],
    );
}

#[test]
fn pages_and_watches() {
    let (client, old_token) = restarted();
    let oldest = client.info()["oldestRevision"].as_str().unwrap().to_owned();
    let page = json!({ "page_size": 1, "order_by": ORDER });
    let token = client.ok(LIST, &page)["nextPageToken"]
        .as_str()
        .unwrap()
        .to_owned();
    let sites = client.ok(LIST_SITES, &json!({ "page_size": 1 }))["nextPageToken"].clone();
    let turned = format!("{}{token}", if token.starts_with('0') { "1" } else { "0" });
    let page_of = |token: Value| with(page.clone(), "/page_token", token);
    let bookmarks = |interval: &str| json!({ "bookmark_interval": interval });
    let wrong_token = &["page_token"];
    check(
        &client,
        &[
            invalid(
                "negative page",
                LIST,
                json!({ "page_size": -1 }),
                &["page_size"],
            ),
            invalid(
                "most negative page",
                LIST,
                json!({ "page_size": i32::MIN }),
                &["page_size"],
            ),
            invalid(
                "negative page of sites",
                LIST_SITES,
                json!({ "page_size": -5 }),
                &["page_size"],
            ),
            invalid(
                "negative page of forecasts",
                LIST_FORECASTS,
                json!({ "page_size": -5 }),
                &["page_size"],
            ),
            invalid("token of nobody", LIST, page_of(json!("abc")), wrong_token),
            invalid(
                "token of 64 KiB",
                LIST,
                page_of(json!("0".repeat(64 << 10))),
                wrong_token,
            ),
            invalid(
                "token that was turned",
                LIST,
                page_of(json!(turned[..token.len()])),
                wrong_token,
            ),
            invalid(
                "token of another order",
                LIST,
                json!({ "page_token": token }),
                wrong_token,
            ),
            invalid(
                "token of another filter",
                LIST,
                with(page_of(json!(token)), "/filter", "state = PLANNED"),
                wrong_token,
            ),
            invalid(
                "token of a listing of sites",
                LIST,
                page_of(sites),
                wrong_token,
            ),
            invalid(
                "token of jobs for sites",
                LIST_SITES,
                json!({ "page_token": token }),
                wrong_token,
            ),
            refused(
                "token from before the restart",
                LIST,
                page_of(old_token),
                (Code::OutOfRange, "PAGE_TOKEN_EXPIRED"),
                Details::None,
            ),
            invalid(
                "forecasts of an unknown product",
                LIST_FORECASTS,
                json!({ "product": 99 }),
                &["product"],
            ),
            invalid(
                "forecasts of a supply without a site",
                LIST_FORECASTS,
                json!({ "supply_id": "hydro" }),
                &["supply_id"],
            ),
            missing(
                "forecasts of an unknown supply",
                LIST_FORECASTS,
                json!({ "supply_id": "kunming/tidal" }),
                "SUPPLY_NOT_FOUND",
                "kunming/tidal",
            ),
            invalid(
                "watch from a revision and from all jobs",
                WATCH,
                json!({ "after_revision": 1, "initial_jobs": true }),
                &["initial_jobs"],
            ),
            invalid(
                "bookmarks too often",
                WATCH,
                bookmarks("0.999s"),
                &["bookmark_interval"],
            ),
            invalid(
                "bookmarks too seldom",
                WATCH,
                bookmarks("3601s"),
                &["bookmark_interval"],
            ),
            invalid(
                "bookmarks backwards",
                WATCH,
                bookmarks("-30s"),
                &["bookmark_interval"],
            ),
            refused(
                "watch after a revision that is compacted",
                WATCH,
                json!({ "after_revision": 1 }),
                (Code::OutOfRange, "REVISION_COMPACTED"),
                Details::Metadata("oldest_revision", oldest),
            ),
        ],
    );
}
