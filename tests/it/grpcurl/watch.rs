//! `WatchJobs`: from a revision on, from all jobs as they are, and through a change of plan.
//!
//! A watch does not end by itself: grpcurl ends it after some seconds, and what came until then is looked at.

use serde_json::{Value, json};
use tonic::Code;

use super::{Client, after, column, exercises, first, hydro_of, job_at, job_from, number};
use crate::support::{
    grpcurl::Grpcurl,
    samples::{put_forecast, with},
};

exercises! {
    by crate::grpcurl::Client::alone();
    changes_come_in_order_and_resume_after_any_of_them: "JobService/WatchJobs",
    all_jobs_come_first_when_asked_for: "JobService/WatchJobs",
    a_new_forecast_shows_the_old_and_the_new_plan: "JobService/WatchJobs",
}

/// Seconds until grpcurl ends a watch: what is known already comes at once.
const WATCH_SECONDS: &str = "3";

/// What a watch sends within some seconds: the changes, and the revisions of the bookmarks.
#[track_caller]
fn watch(client: &Client, request: &Value) -> (Vec<Value>, Vec<u64>) {
    let call = Grpcurl::new(client.port(), "JobService/WatchJobs")
        .flag("-max-time", WATCH_SECONDS)
        .message(request);
    let output = client.run("JobService/WatchJobs", call);
    output.assert_code(Code::DeadlineExceeded);
    let (events, bookmarks): (Vec<&Value>, Vec<&Value>) = output
        .messages
        .iter()
        .partition(|message| message.get("event").is_some());
    let revision = |message: &&Value| number(&message["bookmark"]["revision"]);
    (
        events
            .iter()
            .map(|message| message["event"].clone())
            .collect(),
        bookmarks.iter().map(revision).collect(),
    )
}

fn changes_come_in_order_and_resume_after_any_of_them(client: &Client) {
    let site = client.site("watch-order", 30_000);
    let job = client.submit("watch-order", &job_at(&[&site]));
    let this = json!({ "job_id": job["jobId"] });
    let held = client.ok("JobService/HoldJob", &this)["job"].clone();
    let released = client.ok("JobService/ReleaseJob", &this)["job"].clone();
    let cancelled = client.ok("JobService/CancelJob", &this)["job"].clone();

    let request = json!({
        "filter": format!("job_id = {}", job["jobId"]),
        "after_revision": number(&job["createRevision"]) - 1,
    });
    let (events, bookmarks) = watch(client, &request);
    let jobs: Vec<&Value> = events.iter().map(|event| &event["job"]).collect();
    assert_eq!(jobs, [&job, &held, &released, &cancelled]);
    let events = Value::from(events);
    assert_eq!(
        column(&events, "cause"),
        ["SUBMITTED", "HELD", "RELEASED", "CANCELLED"].map(|cause| format!("CHANGE_CAUSE_{cause}"))
    );
    let states =
        ["PLANNED", "HELD", "PLANNED", "CANCELLED"].map(|state| format!("JOB_STATE_{state}"));
    assert_eq!(column(&events, "toState"), states);
    assert_eq!(column(&events, "fromState")[1..], states[..3]);
    assert_eq!(
        events[0].get("fromState"),
        None,
        "a new job comes from nowhere"
    );
    assert_eq!(events[1]["oldPlacement"], job["placement"]);
    for (event, job) in events.as_array().unwrap().iter().zip(jobs_of(&events)) {
        assert_eq!(event["revision"], job["revision"]);
        assert_eq!(event["lastInRevision"], true);
    }
    // The bookmark says that all of this has been sent.
    assert!(
        bookmarks[0] >= number(&cancelled["revision"]),
        "{bookmarks:?}"
    );

    let request = with(request, "/after_revision", held["revision"].clone());
    let (rest, _) = watch(client, &request);
    assert_eq!(rest, events.as_array().unwrap()[2..]);
}

fn jobs_of(events: &Value) -> impl Iterator<Item = &Value> {
    events
        .as_array()
        .into_iter()
        .flatten()
        .map(|event| &event["job"])
}

fn all_jobs_come_first_when_asked_for(client: &Client) {
    let site = client.site("watch-all", 30_000);
    let spec = with(job_at(&[&site]), "/labels", json!({ "set": "watched" }));
    let jobs: Vec<Value> = ["watch-all-1", "watch-all-2"]
        .map(|key| client.submit(key, &spec))
        .into();
    client.submit("watch-all-3", &job_at(&[&site]));
    let request = json!({
        "filter": "labels.set = watched",
        "initial_jobs": true,
        "bookmark_interval": "1s",
    });
    let (events, bookmarks) = watch(client, &request);
    let events = Value::from(events);
    // The ids are of UUID version 7 and rise with time, and so does the order of the jobs.
    assert_eq!(
        jobs_of(&events).collect::<Vec<_>>(),
        jobs.iter().collect::<Vec<_>>()
    );
    assert_eq!(column(&events, "fromState"), ["", ""]);
    // One at once, and one for each second without a matching change.
    assert!(bookmarks.len() >= 2, "{bookmarks:?}");
    assert!(bookmarks.is_sorted());
    assert!(bookmarks[0] >= number(&jobs[1]["revision"]));
}

fn a_new_forecast_shows_the_old_and_the_new_plan(client: &Client) {
    let site = client.site("watch-plan", 600);
    let first = first();
    let job = client.submit("watch-plan", &job_from(&[&site], first));
    assert_eq!(job["placement"]["greenSharePermille"], 500);
    // Water comes two hours after the earliest start, for as long as the job may wait.
    let late = with(
        put_forecast(&hydro_of(&site), 8, 30_000),
        "/forecast/start_time",
        after(first, 8),
    );
    let receipt = client.ok("ForecastService/PutForecast", &late)["receipt"].clone();

    let request = json!({
        "filter": format!("job_id = {}", job["jobId"]),
        "after_revision": job["revision"],
    });
    let (events, _) = watch(client, &request);
    let [event] = events.as_slice() else {
        panic!("not one change: {events:#?}");
    };
    assert_eq!(event["fromState"], "JOB_STATE_PLANNED");
    assert_eq!(event["toState"], "JOB_STATE_PLANNED");
    assert_eq!(event["cause"], "CHANGE_CAUSE_FORECAST");
    assert_eq!(event["trigger"], receipt["forecastId"]);
    assert!(number(&event["revision"]) > number(&receipt["revision"]));
    assert_eq!(event["oldPlacement"], job["placement"]);
    let plan = &event["job"]["placement"];
    assert_eq!(plan["runs"][0]["startTime"], after(first, 8));
    assert_eq!(plan["greenSharePermille"], 1_000);
    assert_eq!(event["job"]["replanCount"], 1);

    let answer = client.ok("JobService/ExplainJob", &json!({ "job_id": job["jobId"] }));
    let newest = &answer["history"][0];
    assert_eq!(newest["revision"], event["revision"]);
    assert_eq!(newest["cause"], "CHANGE_CAUSE_FORECAST");
    assert_eq!(newest["trigger"], receipt["forecastId"]);
    assert_eq!(newest["siteId"], site.as_str());
    assert_eq!(newest["startTime"], after(first, 8));
}
