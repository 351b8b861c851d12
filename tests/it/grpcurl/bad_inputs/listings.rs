//! Listings, pages, filters and watches that are refused.
//!
//! The server has been restarted from a snapshot, so that changes and pages from before are no longer kept.

use serde_json::{Value, json};
use tonic::Code;

use super::{Details, check, refused, submission};
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
const LIST_LINKS: &str = "SiteService/ListLinks";
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

fn nested(depth: usize) -> String {
    format!("{}state = PLANNED{}", "(".repeat(depth), ")".repeat(depth))
}

calls! { filters_and_orders();
    "filter above 2048 characters": LIST { "filter": format!("name = {}", "n".repeat(2_048)) } => ["filter"];
    "filter of 64 KiB": LIST { "filter": "a".repeat(64 << 10) } => ["filter"];
    "filter nested 33 deep": LIST { "filter": nested(33) } => ["filter"];
    "filter of 1000 parentheses": LIST { "filter": "(".repeat(1_000) } => ["filter"];
    "filter by an unknown field": LIST { "filter": "colour = green" } => ["filter"];
    "filter by a word for a number": LIST { "filter": "task_count = many" } => ["filter"];
    "filter by a negative number": LIST { "filter": "replan_count > -1" } => ["filter"];
    "filter by a number for a time": LIST { "filter": "create_time > 17" } => ["filter"];
    "filter by an unknown state": LIST { "filter": "state = DONE" } => ["filter"];
    "filter by an unknown cause": LIST { "filter": "cause = WEATHER" } => ["filter"];
    "filter by half a job id": LIST { "filter": "job_id = 0189" } => ["filter"];
    "filter that orders names": LIST { "filter": "name < b" } => ["filter"];
    "filter that orders states": LIST { "filter": "state >= PLANNED" } => ["filter"];
    "filter without an operator": LIST { "filter": "name" } => ["filter"];
    "filter without a value": LIST { "filter": "name = " } => ["filter"];
    "filter with an open quote": LIST { "filter": "name = 'a" } => ["filter"];
    "filter with an open parenthesis": LIST { "filter": "(name = a" } => ["filter"];
    "filter with a second end": LIST { "filter": "name = a)" } => ["filter"];
    "filter by a label without a key": LIST { "filter": "labels. = a" } => ["filter"];
    "filter of an injection": LIST { "filter": "name = a; DROP TABLE jobs" } => ["filter"];
    "filter with NUL": LIST { "filter": "name \0= a" } => ["filter"];
    "watch by a wrong filter": WATCH { "filter": "=" } => ["filter"];
    "order by an unknown field": LIST { "order_by": "colour" } => ["order_by"];
    "order with a wrong direction": LIST { "order_by": "name asc" } => ["order_by"];
    "order by two fields": LIST { "order_by": "name, create_time" } => ["order_by"];
}

calls! { pages();
    "negative page": LIST { "page_size": -1 } => ["page_size"];
    "most negative page": LIST { "page_size": i32::MIN } => ["page_size"];
    "negative page of sites": LIST_SITES { "page_size": -5 } => ["page_size"];
    "negative page of links": LIST_LINKS { "page_size": -5 } => ["page_size"];
    "token of nobody for links": LIST_LINKS { "page_token": "abc" } => ["page_token"];
    "negative page of forecasts": LIST_FORECASTS { "page_size": -5 } => ["page_size"];
    "token of nobody": LIST { "page_token": "abc" } => ["page_token"];
    "token of 64 KiB": LIST { "page_token": "0".repeat(64 << 10) } => ["page_token"];
    "all wrong in a listing of forecasts": LIST_FORECASTS { "supply_id": "hydro", "product": 99 } => ["supply_id", "product"];
    "forecasts of an unknown product": LIST_FORECASTS { "product": 99 } => ["product"];
    "forecasts of a supply without a site": LIST_FORECASTS { "supply_id": "hydro" } => ["supply_id"];
    "forecasts of an unknown supply": LIST_FORECASTS { "supply_id": "kunming/tidal" } => (SUPPLY_NOT_FOUND of "kunming/tidal");
}

calls! { watches();
    "watch from a revision and from all jobs": WATCH { "after_revision": 1, "initial_jobs": true } => ["initial_jobs"];
    "bookmarks too often": WATCH { "bookmark_interval": "0.999s" } => ["bookmark_interval"];
    "bookmarks too seldom": WATCH { "bookmark_interval": "3601s" } => ["bookmark_interval"];
    "bookmarks backwards": WATCH { "bookmark_interval": "-30s" } => ["bookmark_interval"];
}

calls! { tokens(jobs: &str, sites: &str, turned: &str);
    "token that was turned": LIST { "order_by": ORDER, "page_token": turned } => ["page_token"];
    "token of another order": LIST { "page_token": jobs } => ["page_token"];
    "token of another filter": LIST { "order_by": ORDER, "filter": "state = HELD", "page_token": jobs } => ["page_token"];
    "token of sites for jobs": LIST { "order_by": ORDER, "page_token": sites } => ["page_token"];
    "token of sites for links": LIST_LINKS { "page_token": sites } => ["page_token"];
    "token of jobs for sites": LIST_SITES { "page_token": jobs } => ["page_token"];
    "token of jobs for forecasts": LIST_FORECASTS { "page_token": jobs } => ["page_token"];
}

#[test]
fn filters_orders_pages_and_watches_are_checked() {
    let client = Client::alone();
    check(&client, [filters_and_orders(), pages(), watches()].concat());
}

#[test]
fn a_token_and_a_revision_open_only_what_is_kept() {
    let (client, before) = restarted();
    let oldest = client.info()["oldestRevision"].as_str().unwrap().to_owned();
    let token = |method, request: Value| {
        let page = client.ok(method, &request);
        page["nextPageToken"].as_str().unwrap().to_owned()
    };
    let jobs = token(LIST, json!({ "page_size": 1, "order_by": ORDER }));
    let sites = token(LIST_SITES, json!({ "page_size": 1 }));
    let last = if jobs.ends_with('0') { "1" } else { "0" };
    let turned = format!("{}{last}", &jobs[..jobs.len() - 1]);
    let gone = vec![
        refused(
            "token from before the restart",
            LIST,
            json!({ "order_by": ORDER, "page_token": before }),
            (Code::OutOfRange, "PAGE_TOKEN_EXPIRED"),
            Details::None,
        ),
        refused(
            "watch after a revision that is compacted",
            WATCH,
            json!({ "after_revision": 1 }),
            (Code::OutOfRange, "REVISION_COMPACTED"),
            Details::Metadata("oldest_revision", oldest),
        ),
    ];
    check(&client, [tokens(&jobs, &sites, &turned), gone].concat());
}
