//! `JobService` on its good paths, watches apart.
//!
//! Energy, carbon and cost are worked out by hand from the sample site: 1,200 W for an hour are 4,320,000 watt-seconds;
//! hydro power has 24,000 mg and 250,000 micro-CNY a kWh, the grid 300,000 mg and no price.

use serde_json::{Value, json};
use tonic::Code;

use super::{Client, after, column, exercises, first, hydro_of, job_at, job_from, number, time};
use crate::support::{
    grpcurl::Grpcurl,
    samples::{put_forecast, with},
};

exercises! {
    by crate::grpcurl::GOOD.get();
    a_submitted_job_is_placed_and_a_repeat_gets_it_again: "JobService/SubmitJob",
    a_batch_answers_each_item_or_all_at_once: "JobService/SubmitJobs",
    a_stream_answers_by_sequence: "JobService/SubmitJobStream",
    a_quote_stores_nothing_and_can_be_redeemed: "JobService/QuoteJob",
    a_job_reads_back_as_submitted: "JobService/GetJob",
    a_listing_is_filtered_ordered_and_paged: "JobService/ListJobs",
    an_explanation_names_every_site: "JobService/ExplainJob",
    an_update_plans_anew: "JobService/UpdateJob",
    a_held_job_gives_its_place_back: "JobService/HoldJob",
    a_released_job_is_planned_again: "JobService/ReleaseJob",
    a_cancelled_job_stays_cancelled: "JobService/CancelJob",
    an_ended_job_is_submitted_once_more: "JobService/ResubmitJob",
}

/// 1,200 W for 3,600 s.
const JOB_WATT_SECONDS: u64 = 4_320_000;

fn a_submitted_job_is_placed_and_a_repeat_gets_it_again(client: &Client) {
    // Half of the power that the job draws, so that the other half is from the grid.
    let site = client.site("submit", 600);
    let spec = job_at(&[&site]);
    let request = json!({ "idempotency_key": "submit-1", "spec": spec });
    let answer = client.ok("JobService/SubmitJob", &request);
    let job = &answer["job"];
    assert_eq!(job["state"], "JOB_STATE_PLANNED");
    assert_eq!(job["cause"], "CHANGE_CAUSE_SUBMITTED");
    assert_eq!(job["revision"], job["createRevision"]);
    assert_eq!(
        job["etag"],
        format!("r{}", job["revision"].as_str().unwrap())
    );
    assert_eq!(answer.get("alreadyExisted"), None);

    let plan = &job["placement"];
    assert_eq!(plan["siteId"], site.as_str());
    assert_eq!(plan["poolId"], "general");
    // Every window is alike, so the earliest one is the best.
    let first = spec["timing"]["earliest_start"].as_str().unwrap();
    let end = after(first.parse().unwrap(), 4);
    assert_eq!(
        plan["runs"],
        json!([{ "startTime": first, "endTime": end, "units": 1 }])
    );
    assert_eq!(number(&plan["powerWatts"]), 1_200);
    let half = (JOB_WATT_SECONDS / 2).to_string();
    assert_eq!(
        plan["energy"],
        json!({ "hydroWattSeconds": half, "gridWattSeconds": half })
    );
    assert_eq!(plan["greenSharePermille"], 500);
    assert_eq!(plan["confidencePermille"], 500);
    // 0.6 kWh of each: 0.6 x 24,000 + 0.6 x 300,000; all 1.2 kWh at the average; 0.6 kWh from the grid.
    assert_eq!(
        plan["carbon"],
        json!({ "contractMg": "194400", "locationMg": "360000", "marginalMg": "180000" })
    );
    assert_eq!(plan["costMicroCny"], "150000");
    assert_eq!(plan["rttUs"], 20_000);
    assert_eq!(plan.get("fallbackSlots"), None);
    assert_eq!(plan["policyVersion"], client.info()["policyVersion"]);

    let again = client.ok("JobService/SubmitJob", &request);
    assert_eq!(again["alreadyExisted"], true);
    assert_eq!(again["job"], *job);
}

fn a_batch_answers_each_item_or_all_at_once(client: &Client) {
    let site = client.site("batch", 30_000);
    let item = |key: &str| json!({ "idempotency_key": key, "spec": job_at(&[&site]) });
    let wrong = with(item("batch-2"), "/spec/task_count", 0);
    let request = json!({ "items": [item("batch-1"), wrong, item("batch-3")] });
    let answer = client.ok("JobService/SubmitJobs", &request);
    let items = &answer["items"];
    assert_eq!(items.as_array().unwrap().len(), 3);
    for good in [&items[0], &items[2]] {
        let job = &good["accepted"]["job"];
        assert_eq!(job["state"], "JOB_STATE_PLANNED", "{good}");
    }
    let error = &items[1]["error"];
    assert_eq!(error["code"], 3);
    assert_eq!(error["reason"], "ERROR_REASON_INVALID_FIELDS");
    let fields = column(&error["fieldViolations"], "field");
    assert_eq!(fields, ["items[1].spec.task_count"]);

    let request = json!({ "items": [item("batch-4"), item("batch-5")], "all_or_nothing": true });
    let answer = client.ok("JobService/SubmitJobs", &request);
    let jobs: Vec<&Value> = (0..2)
        .map(|i| &answer["items"][i]["accepted"]["job"])
        .collect();
    assert_ne!(jobs[0]["jobId"], jobs[1]["jobId"]);
    // All or nothing is one record, and one record is one revision.
    assert_eq!(jobs[0]["createRevision"], jobs[1]["createRevision"]);
    assert_ne!(number(&jobs[0]["createRevision"]), 0);
}

fn a_stream_answers_by_sequence(client: &Client) {
    let site = client.site("stream", 30_000);
    let spec = job_at(&[&site]);
    let message = |sequence: u64, key: &str, spec: &Value| {
        let submission = json!({ "idempotency_key": key, "spec": spec });
        json!({ "sequence": sequence, "submission": submission })
    };
    let wrong = with(spec.clone(), "/task_power_watts", 0);
    let call = Grpcurl::new(client.port(), "JobService/SubmitJobStream")
        .message(&message(1, "stream-1", &spec))
        .message(&message(5, "stream-5", &wrong))
        .message(&message(6, "stream-1", &spec));
    let output = client.run("JobService/SubmitJobStream", call);
    output.assert_code(Code::Ok);
    let [first, refused, repeated] = output.messages.as_slice() else {
        panic!("{output:#?}");
    };
    let accepted = &first["accepted"];
    assert_eq!(first["sequence"], "1");
    assert_eq!(accepted["state"], "JOB_STATE_PLANNED");
    assert_eq!(accepted["siteId"], site.as_str());
    let start = &spec["timing"]["earliest_start"];
    assert_eq!(accepted["startTime"], *start);
    assert_eq!(
        accepted["endTime"],
        after(start.as_str().unwrap().parse().unwrap(), 4)
    );
    assert_eq!(accepted["greenSharePermille"], 1_000);
    assert_eq!(
        client.job(&accepted["jobId"])["revision"],
        accepted["revision"]
    );

    assert_eq!(refused["sequence"], "5");
    assert_eq!(refused["error"]["reason"], "ERROR_REASON_INVALID_FIELDS");
    let fields = column(&refused["error"]["fieldViolations"], "field");
    assert_eq!(fields, ["submission.spec.task_power_watts"]);

    assert_eq!(repeated["sequence"], "6");
    assert_eq!(repeated["accepted"]["alreadyExisted"], true);
    assert_eq!(repeated["accepted"]["jobId"], accepted["jobId"]);
}

fn a_quote_stores_nothing_and_can_be_redeemed(client: &Client) {
    let (grey, green) = (
        client.site("quote-grey", 600),
        client.site("quote-green", 0),
    );
    let first = first();
    // Dark for an hour after the earliest start, then more than enough.
    let sunrise = with(
        put_forecast(&hydro_of(&green), 12, 30_000),
        "/forecast/start_time",
        after(first, 4),
    );
    client.ok("ForecastService/PutForecast", &sunrise);
    let name = "quoted-job";
    let spec = with(job_from(&[&grey, &green], first), "/name", name);
    let quote = client.ok("JobService/QuoteJob", &json!({ "spec": spec }));

    let plan = &quote["placement"];
    assert_eq!(plan["siteId"], green.as_str());
    assert_eq!(
        plan["runs"],
        json!([{ "startTime": after(first, 4), "endTime": after(first, 8), "units": 1 }])
    );
    assert_eq!(plan["greenSharePermille"], 1_000);
    // At once the grey site is the better one: half instead of nothing.
    let at_once = &quote["runNow"];
    assert_eq!(at_once["siteId"], grey.as_str());
    assert_eq!(at_once["runs"][0]["startTime"], first.to_string());
    assert_eq!(at_once["greenSharePermille"], 500);
    assert_eq!(column(&quote["alternatives"], "siteId"), [&grey]);
    for verdict in quote["sites"].as_array().unwrap() {
        let expected = match verdict["siteId"].as_str().unwrap() {
            site if site == green => "VERDICT_CHOSEN",
            site if site == grey => "VERDICT_FEASIBLE",
            _ => "VERDICT_REFUSED",
        };
        assert_eq!(verdict["verdict"], expected, "{verdict}");
    }
    let stored = client.ok(
        "JobService/ListJobs",
        &json!({ "filter": format!("name = {name}") }),
    );
    assert_eq!(stored.get("jobs"), None);

    let request = json!({
        "idempotency_key": "quote-1",
        "spec": spec,
        "quote_id": quote["quoteId"],
    });
    let job = &client.ok("JobService/SubmitJob", &request)["job"];
    for field in ["siteId", "runs", "energy", "carbon", "costMicroCny"] {
        assert_eq!(job["placement"][field], plan[field], "{field}");
    }

    let hopeless = with(spec, "/green", json!({ "min_share_permille": 1_000 }));
    let hopeless = with(hopeless, "/timing/finish_deadline", after(first, 4));
    let quote = client.ok("JobService/QuoteJob", &json!({ "spec": hopeless }));
    assert_eq!((quote.get("placement"), quote.get("quoteId")), (None, None));
    let kinds = column(&quote["suggestions"], "kind");
    assert_eq!(
        kinds,
        [
            "SUGGESTION_KIND_LATER_DEADLINE",
            "SUGGESTION_KIND_LOWER_GREEN_SHARE"
        ]
    );
    let [later, lower] = [0, 1].map(|i| &quote["suggestions"][i]);
    // The redeemed job needs 1,200 of the 30,000 W, so the next one fits beside it.
    assert_eq!(later["finishDeadline"], after(first, 8));
    assert_eq!(later["siteId"], green.as_str());
    assert_eq!(lower["minSharePermille"], 500);
    assert_eq!(lower["siteId"], grey.as_str());
}

fn a_job_reads_back_as_submitted(client: &Client) {
    let site = client.site("get", 30_000);
    let spec = with(
        job_at(&[&site]),
        "/labels",
        json!({ "team": "risk", "ü": "x" }),
    );
    let refused = client.call(
        "JobService/SubmitJob",
        &json!({ "idempotency_key": "get-0", "spec": spec }),
    );
    refused.assert_violations(&["spec.labels"]);
    let spec = with(spec, "/labels", json!({ "team": "rísk ไทย 中文" }));
    let submitted = client.submit("get-1", &spec);
    let job = client.job(&submitted["jobId"]);
    assert_eq!(job, submitted);
    let read = &job["spec"];
    assert_eq!(read["labels"]["team"], "rísk ไทย 中文");
    assert_eq!(read["origin"]["cityId"], "vientiane");
    assert_eq!(
        read["taskResources"],
        json!({ "cpuCores": 4, "memoryMib": "8192" })
    );
    assert_eq!(read["taskCount"], 2);
    assert_eq!(read["taskPowerWatts"], "500");
    assert_eq!(read["timing"]["runtime"], "3600s");
    assert_eq!(
        read["dataPolicy"]["cnFlow"],
        "CN_FLOW_INBOUND_PROCESS_REEXPORT"
    );
    assert_eq!(read["dataPolicy"]["allowedSites"], json!([site]));
    assert_eq!(read["priority"], 5);

    // Twelve slots of work are done in four with a speed of three.
    let speeds = json!([1_000, 2_000, 2_600, 3_000, 3_000]);
    let spec = with(
        job_at(&[&site]),
        "/flexibility",
        json!({ "malleable": { "speed_permille": speeds } }),
    );
    let spec = with(spec, "/timing/runtime", "10800s");
    let start = spec["timing"]["earliest_start"].as_str().unwrap();
    let end = after(start.parse().unwrap(), 4);
    let spec = with(spec.clone(), "/timing/finish_deadline", end.clone());
    let spec = with(spec, "/priority", 9);
    let submitted = client.submit("get-2", &spec);
    let job = client.job(&submitted["jobId"]);
    assert_eq!(job, submitted);
    assert_eq!(
        job["spec"]["flexibility"],
        json!({ "malleable": { "speedPermille": speeds } })
    );
    assert_eq!(job["spec"]["priority"], 9);
    let plan = &job["placement"];
    let start = spec["timing"]["earliest_start"].clone();
    assert_eq!(
        plan["runs"],
        json!([{ "startTime": start, "endTime": end, "units": 4 }])
    );
    // What one unit draws, and what four take in an hour.
    assert_eq!(plan["powerWatts"], "1200");
    let all = (4 * JOB_WATT_SECONDS).to_string();
    assert_eq!(plan["energy"], json!({ "hydroWattSeconds": all }));
}

fn a_listing_is_filtered_ordered_and_paged(client: &Client) {
    let site = client.site("list", 30_000);
    for name in ["bravo", "alpha", "charlie"] {
        let spec = with(job_at(&[&site]), "/name", name);
        let spec = with(spec, "/labels", json!({ "set": "paged" }));
        client.submit(&format!("list-{name}"), &spec);
    }
    let other = with(job_at(&[&site]), "/labels", json!({ "set": "other" }));
    client.submit("list-other", &other);

    let query = json!({
        "filter": "labels.set = paged AND state = PLANNED AND green_share_permille >= 1000",
        "order_by": "name desc",
        "page_size": 2,
    });
    let names = |page: &Value| -> Vec<String> {
        let jobs = page["jobs"].as_array().into_iter().flatten();
        jobs.map(|job| job["spec"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let page = client.ok("JobService/ListJobs", &query);
    assert_eq!(names(&page), ["charlie", "bravo"]);
    // What comes between two pages is not seen by the second.
    let late = with(job_at(&[&site]), "/name", "aardvark");
    client.submit(
        "list-late",
        &with(late, "/labels", json!({ "set": "paged" })),
    );
    let next = with(query.clone(), "/page_token", page["nextPageToken"].clone());
    let rest = client.ok("JobService/ListJobs", &next);
    assert_eq!(names(&rest), ["alpha"]);
    assert_eq!(rest.get("nextPageToken"), None);
    assert_eq!(rest["revision"], page["revision"]);

    // More than the largest page means the largest page.
    let all = client.ok("JobService/ListJobs", &with(query, "/page_size", 1_000_000));
    assert_eq!(names(&all), ["charlie", "bravo", "alpha", "aardvark"]);
}

fn an_explanation_names_every_site(client: &Client) {
    let site = client.site("explain", 30_000);
    let job = client.submit("explain-1", &job_at(&[&site]));
    let answer = client.ok("JobService/ExplainJob", &json!({ "job_id": job["jobId"] }));
    assert_eq!(answer["job"], job);
    let summary = answer["summary"].as_str().unwrap();
    let expected = format!("placed at {site} from ");
    assert!(summary.starts_with(&expected), "{summary}");
    assert!(summary.contains("100.0 % green"), "{summary}");
    let n_sites = client.ok("SiteService/ListSites", &json!({}))["sites"]
        .as_array()
        .unwrap()
        .len();
    let verdicts = answer["sites"].as_array().unwrap();
    // Tests beside this one may have made sites between the two calls.
    assert!((1..=n_sites).contains(&verdicts.len()));
    for verdict in verdicts {
        if verdict["siteId"] == site.as_str() {
            assert_eq!(verdict["verdict"], "VERDICT_CHOSEN");
            assert_eq!(verdict["placement"], job["placement"]);
        } else {
            assert_eq!(verdict["verdict"], "VERDICT_REFUSED");
            let reasons = column(&verdict["refusals"], "reason");
            assert!(
                reasons.contains(&"REFUSAL_REASON_SITE_NOT_ALLOWED"),
                "{verdict}"
            );
        }
    }
    assert_ne!(number(&answer["revision"]), 0);
}

fn an_update_plans_anew(client: &Client) {
    let site = client.site("update", 30_000);
    let first = first();
    let job = client.submit("update-1", &job_from(&[&site], first));
    let request = json!({
        "job_id": job["jobId"],
        "etag": job["etag"],
        "request_id": "update-1",
        "spec": {
            "labels": { "moved": "yes" },
            "timing": { "earliest_start": after(first, 8) },
            // Not in the mask, so it stays.
            "green": { "min_share_permille": 1_000 },
            "priority": 8,
        },
        "update_mask": { "paths": ["labels", "timing.earliest_start", "priority"] },
    });
    let updated = client.ok("JobService/UpdateJob", &request)["job"].clone();
    assert_eq!(updated["state"], "JOB_STATE_PLANNED");
    assert_eq!(updated["cause"], "CHANGE_CAUSE_UPDATED");
    assert_eq!(updated["spec"]["labels"], json!({ "moved": "yes" }));
    assert_eq!(updated["spec"].get("green"), job["spec"].get("green"));
    assert_eq!(job["spec"]["priority"], 5);
    assert_eq!(updated["spec"]["priority"], 8);
    assert_eq!(
        updated["placement"]["runs"][0]["startTime"],
        after(first, 8)
    );
    assert!(number(&updated["revision"]) > number(&job["revision"]));
    assert_ne!(updated["etag"], job["etag"]);
    // The same request again changes nothing, although its etag is stale by now.
    assert_eq!(client.ok("JobService/UpdateJob", &request)["job"], updated);
}

fn a_held_job_gives_its_place_back(client: &Client) {
    let site = client.site("hold", 30_000);
    let job = client.submit("hold-1", &job_at(&[&site]));
    let request = json!({ "job_id": job["jobId"], "reason": "waiting for data" });
    let held = client.ok("JobService/HoldJob", &request)["job"].clone();
    assert_eq!(held["state"], "JOB_STATE_HELD");
    assert_eq!(held["cause"], "CHANGE_CAUSE_HELD");
    assert_eq!(held["note"], "waiting for data");
    assert_eq!(held.get("placement"), None);
    // Held is held: no new revision.
    assert_eq!(client.ok("JobService/HoldJob", &request)["job"], held);

    // 640 cores: there is room only when the held job has given its 8 back.
    let whole = with(job_at(&[&site]), "/task_resources/cpu_cores", 64);
    let whole = with(whole, "/task_count", 10);
    let whole = with(whole, "/timing/runtime", "14400s");
    assert_eq!(
        client.submit("hold-2", &whole)["state"],
        "JOB_STATE_PLANNED"
    );
}

fn a_released_job_is_planned_again(client: &Client) {
    let site = client.site("release", 30_000);
    let request = json!({
        "idempotency_key": "release-1",
        "spec": job_at(&[&site]),
        "hold": true,
    });
    let held = client.ok("JobService/SubmitJob", &request)["job"].clone();
    assert_eq!(held["state"], "JOB_STATE_HELD");
    assert_eq!(held.get("placement"), None);
    let request = json!({ "job_id": held["jobId"], "etag": held["etag"] });
    let released = client.ok("JobService/ReleaseJob", &request)["job"].clone();
    assert_eq!(released["state"], "JOB_STATE_PLANNED");
    assert_eq!(released["cause"], "CHANGE_CAUSE_RELEASED");
    assert_eq!(released["placement"]["siteId"], site.as_str());
    assert_eq!(
        released["placement"]["energy"],
        json!({ "hydroWattSeconds": JOB_WATT_SECONDS.to_string() })
    );
}

fn a_cancelled_job_stays_cancelled(client: &Client) {
    let site = client.site("cancel", 30_000);
    let spec = job_at(&[&site]);
    let job = client.submit("cancel-1", &spec);
    let request = json!({ "job_id": job["jobId"], "reason": "typing mistake" });
    let cancelled = client.ok("JobService/CancelJob", &request)["job"].clone();
    assert_eq!(cancelled["state"], "JOB_STATE_CANCELLED");
    assert_eq!(cancelled["cause"], "CHANGE_CAUSE_CANCELLED");
    assert_eq!(cancelled["note"], "typing mistake");
    assert_eq!(cancelled.get("placement"), None);
    assert_eq!(
        client.ok("JobService/CancelJob", &request)["job"],
        cancelled
    );
    // Its key still names it: a repeat of the submission does not bring it back.
    let again = client.ok(
        "JobService/SubmitJob",
        &json!({ "idempotency_key": "cancel-1", "spec": spec }),
    );
    assert_eq!(again["alreadyExisted"], true);
    assert_eq!(again["job"], cancelled);
    assert!(time(0) < time(1), "slots rise");
}

fn an_ended_job_is_submitted_once_more(client: &Client) {
    let site = client.site("resubmit", 30_000);
    let job = client.submit("resubmit-1", &job_at(&[&site]));
    client.ok("JobService/CancelJob", &json!({ "job_id": job["jobId"] }));
    let request = json!({
        "idempotency_key": "resubmit-2",
        "job_id": job["jobId"],
        "spec": { "priority": 8 },
        "update_mask": { "paths": ["priority"] },
    });
    let again = client.ok("JobService/ResubmitJob", &request)["job"].clone();
    assert_eq!(again["retryOf"], job["jobId"]);
    assert_eq!(again["spec"]["priority"], 8);
    assert_eq!(again["spec"]["timing"], job["spec"]["timing"]);
    assert_eq!(again["state"], "JOB_STATE_PLANNED");
    let repeat = client.ok("JobService/ResubmitJob", &request);
    assert_eq!(repeat["alreadyExisted"], true);
    assert_eq!(repeat["job"]["jobId"], again["jobId"]);
}
