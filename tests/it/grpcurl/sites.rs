//! `SiteService` on its good paths, and what a change of a site does to the jobs that are planned there.
//!
//! Each test has a server of its own: the cause of a move is only certain where nothing else moves.

use serde_json::{Value, json};
use tonic::Code;

use super::{Client, column, exercises, from_now, hydro_site, job_at, number};
use crate::support::{
    grpcurl::Grpcurl,
    samples::{create_site_named, put_latencies, with},
};

exercises! {
    by crate::grpcurl::Client::alone();
    a_created_site_is_given_back_as_stored: "SiteService/CreateSite",
    a_site_reads_back_as_created: "SiteService/GetSite",
    sites_are_listed_by_id_over_one_revision: "SiteService/ListSites",
    an_update_changes_what_the_mask_names_and_moves_what_no_longer_fits: "SiteService/UpdateSite",
    a_cordon_moves_what_has_not_started: "SiteService/CordonSite",
    an_uncordoned_site_takes_waiting_work: "SiteService/UncordonSite",
    a_drain_shows_what_is_left: "SiteService/DrainSite",
    a_watch_shows_a_drain_from_its_beginning: "SiteService/WatchSites",
    a_window_of_maintenance_moves_what_is_planned_into_it: "SiteService/PutSiteWindow",
    a_window_that_is_deleted_lets_work_back: "SiteService/DeleteSiteWindow",
    a_site_without_an_agent_is_declared_lost: "SiteService/DeclareSiteLost",
    a_line_that_became_too_long_takes_jobs_off_their_site: "SiteService/PutLatencies",
    round_trip_times_read_back: "SiteService/GetLatencies",
    a_link_that_became_too_narrow_takes_jobs_off_their_site: "SiteService/PutLink",
    a_link_reads_back_as_put: "SiteService/GetLink",
    links_are_listed_by_gateway_over_one_revision: "SiteService/ListLinks",
}

fn a_created_site_is_given_back_as_stored(client: &Client) {
    let request = create_site_named("created");
    let request = with(request, "/site/display_name", "Kūnmíng 昆明");
    let request = with(request, "/request_id", "create-1");
    let request = with(
        request,
        "/site/tariff",
        json!([
            { "start_minute": 0, "end_minute": 480, "price_micro_cny_per_kwh": 200_000 },
            { "start_minute": 480, "end_minute": 1440, "price_micro_cny_per_kwh": 500_000 },
        ]),
    );
    let site = client.ok("SiteService/CreateSite", &request)["site"].clone();
    assert_eq!(site["displayName"], "Kūnmíng 昆明");
    assert_eq!(site["latitudeMicrodegrees"], 25_040_000);
    assert_eq!(site["powerCapWatts"], "100000");
    assert_eq!(site["puePermille"], 1_200);
    assert_eq!(
        column(&site["supplies"], "supplyId"),
        ["created/hydro", "created/solar"]
    );
    assert_eq!(
        column(&site["supplies"], "kind"),
        ["SUPPLY_KIND_HYDRO", "SUPPLY_KIND_SOLAR"]
    );
    assert_eq!(
        column(&site["tariff"], "priceMicroCnyPerKwh"),
        ["200000", "500000"]
    );
    assert_eq!(site["createTime"], site["updateTime"]);
    assert!(site["etag"].as_str().unwrap().starts_with('r'));
    assert!(!site["cordon"]["cordoned"].as_bool().unwrap_or_default());
    // The same request again gets the first answer instead of SITE_EXISTS.
    assert_eq!(client.ok("SiteService/CreateSite", &request)["site"], site);
}

fn a_site_reads_back_as_created(client: &Client) {
    let created = client.ok("SiteService/CreateSite", &hydro_site("read"))["site"].clone();
    let read = client.ok("SiteService/GetSite", &json!({ "site_id": "read" }));
    assert_eq!(read["site"], created);
    assert_eq!(
        created["displayName"], "read",
        "without a name the id is the name"
    );
}

fn sites_are_listed_by_id_over_one_revision(client: &Client) {
    for id in ["listed-b", "listed-a", "listed-c"] {
        client.ok("SiteService/CreateSite", &hydro_site(id));
    }
    let first = client.ok("SiteService/ListSites", &json!({ "page_size": 2 }));
    assert_eq!(first["sites"].as_array().unwrap().len(), 2);
    let late = hydro_site("zz-listed-late");
    client.ok("SiteService/CreateSite", &late);
    let request = json!({ "page_size": 1000, "page_token": first["nextPageToken"] });
    let rest = client.ok("SiteService/ListSites", &request);
    assert_eq!(rest["revision"], first["revision"]);
    assert_eq!(rest.get("nextPageToken"), None);
    let ids = [
        column(&first["sites"], "siteId"),
        column(&rest["sites"], "siteId"),
    ]
    .concat();
    assert!(ids.is_sorted(), "{ids:?}");
    assert!(!ids.contains(&"zz-listed-late"), "{ids:?}");
    let own: Vec<&&str> = ids.iter().filter(|id| id.starts_with("listed-")).collect();
    assert_eq!(own, [&"listed-a", &"listed-b", &"listed-c"]);
}

fn an_update_changes_what_the_mask_names_and_moves_what_no_longer_fits(client: &Client) {
    let site = client.site("updated", 30_000);
    let job = client.submit("site-update", &job_at(&[&site]));
    let before = client.ok("SiteService/GetSite", &json!({ "site_id": site }))["site"].clone();
    // The job draws 1,200 W.
    let request = json!({
        "site": { "site_id": site, "power_cap_watts": 1_199, "pue_permille": 2_000 },
        "update_mask": { "paths": ["power_cap_watts"] },
        "etag": before["etag"],
        "request_id": "site-update-1",
    });
    let updated = client.ok("SiteService/UpdateSite", &request)["site"].clone();
    let expected = with(before, "/powerCapWatts", "1199");
    let expected = with(expected, "/power/allowedWatts", "1199");
    let expected = with(expected, "/etag", updated["etag"].clone());
    let expected = with(expected, "/updateTime", updated["updateTime"].clone());
    assert_eq!(updated, expected);
    assert_eq!(
        client.ok("SiteService/UpdateSite", &request)["site"],
        updated
    );

    let waiting = client.job_once(
        &job["jobId"],
        "JOB_STATE_QUEUED",
        "CHANGE_CAUSE_SITE_CHANGED",
    );
    assert_eq!(waiting.get("placement"), None);
    let explained = client.ok("JobService/ExplainJob", &json!({ "job_id": job["jobId"] }));
    let refusal = verdict_at(&explained, &site)["refusals"][0].clone();
    assert_eq!(refusal["reason"], "REFUSAL_REASON_POWER_EXCEEDS_CAP");
    assert_eq!(
        (&refusal["need"], &refusal["have"], &refusal["unit"]),
        (&json!("1200"), &json!("1199"), &json!("watts"))
    );

    let request = json!({
        "site": { "site_id": site, "power_cap_watts": 1_200 },
        "update_mask": { "paths": ["power_cap_watts"] },
    });
    client.ok("SiteService/UpdateSite", &request);
    let planned = client.job_once(
        &job["jobId"],
        "JOB_STATE_PLANNED",
        "CHANGE_CAUSE_SITE_CHANGED",
    );
    assert_eq!(planned["placement"]["powerWatts"], "1200");
}

#[track_caller]
fn verdict_at<'a>(explained: &'a Value, site_id: &str) -> &'a Value {
    let verdicts = explained["sites"].as_array().unwrap();
    verdicts
        .iter()
        .find(|verdict| verdict["siteId"] == site_id)
        .unwrap()
}

fn a_cordon_moves_what_has_not_started(client: &Client) {
    let (green, grey) = (client.site("cordoned", 30_000), client.site("spare", 600));
    let job = client.submit("cordon-1", &job_at(&[&green, &grey]));
    assert_eq!(job["placement"]["siteId"], green.as_str());
    let request = json!({ "site_id": green, "reason": "transformer maintenance" });
    let site = client.ok("SiteService/CordonSite", &request)["site"].clone();
    assert_eq!(site["cordon"]["cordoned"], true);
    assert_eq!(site["cordon"]["reason"], "transformer maintenance");
    assert_eq!(site["cordon"]["since"], site["updateTime"]);
    // Cordoned is cordoned: the same again is no change.
    assert_eq!(client.ok("SiteService/CordonSite", &request)["site"], site);

    let moved = client.job_once(&job["jobId"], "JOB_STATE_PLANNED", "CHANGE_CAUSE_CORDON");
    assert_eq!(moved["placement"]["siteId"], grey.as_str());
    assert_eq!(moved["placement"]["greenSharePermille"], 500);
    assert_eq!(moved["replanCount"], 1);
    let explained = client.ok("JobService/ExplainJob", &json!({ "job_id": job["jobId"] }));
    let refusal = &verdict_at(&explained, &green)["refusals"][0];
    assert_eq!(refusal["reason"], "REFUSAL_REASON_SITE_CORDONED");
    let why = refusal["message"].as_str().unwrap();
    assert!(why.contains("transformer maintenance"), "{why}");
    assert_eq!(explained["history"][0]["trigger"], green.as_str());
}

fn an_uncordoned_site_takes_waiting_work(client: &Client) {
    let site = client.site("reopened", 30_000);
    let job = client.submit("uncordon-1", &job_at(&[&site]));
    client.ok("SiteService/CordonSite", &json!({ "site_id": site }));
    client.job_once(&job["jobId"], "JOB_STATE_QUEUED", "CHANGE_CAUSE_CORDON");
    let explained = client.ok("JobService/ExplainJob", &json!({ "job_id": job["jobId"] }));
    let summary = explained["summary"].as_str().unwrap();
    assert!(
        summary.starts_with("waiting without a placement: "),
        "{summary}"
    );

    let answer = client.ok("SiteService/UncordonSite", &json!({ "site_id": site }));
    assert!(
        !answer["site"]["cordon"]["cordoned"]
            .as_bool()
            .unwrap_or_default()
    );
    let cause = "CHANGE_CAUSE_SITE_AVAILABLE";
    let planned = client.job_once(&job["jobId"], "JOB_STATE_PLANNED", cause);
    assert_eq!(planned["placement"]["runs"], job["placement"]["runs"]);
}

/// A zone and a city that no other test knows, 20 ms from the site.
fn own_zone(name: &str, site: &str) -> Value {
    json!({
        "zones": [{
            "zone_id": name,
            "budget_us": 30_000,
            "cities": [{ "city_id": format!("{name}-city"), "country": "LA" }],
        }],
        "latencies": [{
            "site_id": site,
            "city_id": format!("{name}-city"),
            "leased_p50_us": 20_000,
            "leased_p95_us": 25_000,
        }],
    })
}

fn a_line_that_became_too_long_takes_jobs_off_their_site(client: &Client) {
    let site = client.site("far-off", 30_000);
    let known = client.ok("SiteService/PutLatencies", &own_zone("stretched", &site));
    let spec = with(
        job_at(&[&site]),
        "/origin",
        json!({ "zone_id": "stretched" }),
    );
    let job = client.submit("stretched-1", &spec);
    assert_eq!(job["placement"]["rttUs"], 20_000);

    let longer = json!({
        "latencies": [{ "site_id": site, "city_id": "stretched-city", "leased_p50_us": 30_001 }],
        "request_id": "stretched-2",
    });
    let changed = client.ok("SiteService/PutLatencies", &longer);
    assert!(number(&changed["revision"]) > number(&known["revision"]));
    assert!(number(&changed["zones"]) >= number(&known["zones"]));
    client.job_once(&job["jobId"], "JOB_STATE_QUEUED", "CHANGE_CAUSE_LATENCY");
    let explained = client.ok("JobService/ExplainJob", &json!({ "job_id": job["jobId"] }));
    let refusal = &verdict_at(&explained, &site)["refusals"][0];
    assert_eq!(refusal["reason"], "REFUSAL_REASON_LATENCY_EXCEEDED");
    assert_eq!(
        (&refusal["need"], &refusal["have"], &refusal["unit"]),
        (&json!("30000"), &json!("30001"), &json!("microseconds"))
    );
    let suggestion = &explained["suggestions"][0];
    assert_eq!(suggestion["kind"], "SUGGESTION_KIND_LARGER_RTT");
    assert_eq!(suggestion["maxRttUs"], 30_001);
}

fn round_trip_times_read_back(client: &Client) {
    client.ok("SiteService/CreateSite", &hydro_site("measured"));
    client.ok("SiteService/PutLatencies", &put_latencies(&["measured"]));
    client.ok(
        "SiteService/PutLatencies",
        &own_zone("measured-zone", "measured"),
    );
    let read = client.ok(
        "SiteService/GetLatencies",
        &json!({ "site_id": "measured" }),
    );
    let cities = ["bangkok", "measured-zone-city", "vientiane"];
    assert_eq!(column(&read["latencies"], "cityId"), cities);
    assert_eq!(
        read["latencies"][1],
        json!({
            "siteId": "measured",
            "cityId": "measured-zone-city",
            "leasedP50Us": 20_000,
            "leasedP95Us": 25_000,
        })
    );
    let zones = column(&read["zones"], "zoneId");
    assert!(
        zones.contains(&"mekong") && zones.contains(&"measured-zone"),
        "{zones:?}"
    );
    assert!(zones.is_sorted());

    let all = client.ok("SiteService/GetLatencies", &json!({}));
    let sites = column(&all["latencies"], "siteId");
    assert!(
        sites.is_sorted() && sites.contains(&"measured"),
        "{sites:?}"
    );
}

fn a_drain_shows_what_is_left(client: &Client) {
    let site = client.site("drained", 30_000);
    let job = client.submit("drained-1", &job_at(&[&site]));
    let request = json!({
        "site_id": site,
        "reason": "new transformer",
        "mode": "DRAIN_MODE_CHECKPOINT",
        "deadline": from_now(3_600),
        "request_id": "drained-2",
    });
    let drained = client.ok("SiteService/DrainSite", &request)["site"].clone();
    assert_eq!(drained["cordon"]["reason"], "new transformer");
    assert_eq!(drained["drain"]["mode"], "DRAIN_MODE_CHECKPOINT");
    assert!(drained["drain"]["deadline"].is_string());
    client.job_once(&job["jobId"], "JOB_STATE_QUEUED", "CHANGE_CAUSE_DRAIN");
    let read = client.ok("SiteService/GetSite", &json!({ "site_id": site }))["site"].clone();
    assert_eq!(read["drain"]["state"], "DRAIN_STATE_DRAINED");
    assert_eq!(client.ok("SiteService/DrainSite", &request)["site"], read);
    let opened = client.ok("SiteService/UncordonSite", &json!({ "site_id": site }));
    assert_eq!(opened["site"].get("drain"), None);
}

fn a_watch_shows_a_drain_from_its_beginning(client: &Client) {
    let site = client.site("watched", 30_000);
    let job = client.submit("watched-1", &job_at(&[&site]));
    let request = json!({ "site_id": site, "mode": "DRAIN_MODE_FINISH" });
    client.ok("SiteService/DrainSite", &request);
    client.job_once(&job["jobId"], "JOB_STATE_QUEUED", "CHANGE_CAUSE_DRAIN");
    let request = json!({ "site_id": site, "after_revision": job["revision"] });
    let call = Grpcurl::new(client.port(), "SiteService/WatchSites")
        .flag("-max-time", "3")
        .message(&request);
    let output = client.run("SiteService/WatchSites", call);
    output.assert_code(Code::DeadlineExceeded);
    let told = output.messages.iter().filter_map(|item| item.get("event"));
    let drains: Vec<&Value> = told.map(|event| &event["site"]["drain"]).collect();
    let planned: Vec<u64> = drains
        .iter()
        .map(|drain| number(&drain["plannedJobs"]))
        .collect();
    assert_eq!(planned, [1, 0]);
    assert_eq!(drains[1]["state"], "DRAIN_STATE_DRAINED");
    assert!(
        output
            .messages
            .iter()
            .any(|item| item.get("bookmark").is_some())
    );
}

/// A window over all the time that the usual job has.
fn closed(site: &str) -> Value {
    json!({
        "site_id": site,
        "window": {
            "window_id": "ups-7",
            "kind": "WINDOW_KIND_MAINTENANCE",
            "end_time": from_now(86_400),
            "reason": "new batteries",
        },
    })
}

fn a_window_of_maintenance_moves_what_is_planned_into_it(client: &Client) {
    let site = client.site("maintained", 30_000);
    let job = client.submit("maintained-1", &job_at(&[&site]));
    let request = with(closed(&site), "/request_id", "maintained-2");
    let put = client.ok("SiteService/PutSiteWindow", &request)["site"].clone();
    let window = &put["windows"][0];
    assert_eq!(window["windowId"], "ups-7");
    assert_eq!(window["kind"], "WINDOW_KIND_MAINTENANCE");
    assert!(window["startTime"].is_string() && window["endTime"].is_string());
    assert_eq!(
        put["power"].get("allowedWatts"),
        None,
        "nothing is allowed now"
    );
    client.job_once(
        &job["jobId"],
        "JOB_STATE_QUEUED",
        "CHANGE_CAUSE_MAINTENANCE",
    );
    let explained = client.ok("JobService/ExplainJob", &json!({ "job_id": job["jobId"] }));
    let refusal = verdict_at(&explained, &site)["refusals"][0].clone();
    assert_eq!(refusal["reason"], "REFUSAL_REASON_MAINTENANCE");
    assert_eq!(refusal["until"], window["endTime"]);
    assert_eq!(
        client.ok("SiteService/PutSiteWindow", &request)["site"],
        put
    );
}

fn a_window_that_is_deleted_lets_work_back(client: &Client) {
    let site = client.site("lifted", 30_000);
    let job = client.submit("lifted-1", &job_at(&[&site]));
    client.ok("SiteService/PutSiteWindow", &closed(&site));
    client.job_once(
        &job["jobId"],
        "JOB_STATE_QUEUED",
        "CHANGE_CAUSE_MAINTENANCE",
    );
    let request = json!({ "site_id": site, "window_id": "ups-7", "request_id": "lifted-2" });
    let open = client.ok("SiteService/DeleteSiteWindow", &request)["site"].clone();
    assert_eq!(open.get("windows"), None);
    assert_eq!(
        client.ok("SiteService/DeleteSiteWindow", &request)["site"],
        open
    );
    client.job_once(
        &job["jobId"],
        "JOB_STATE_PLANNED",
        "CHANGE_CAUSE_SITE_AVAILABLE",
    );
}

fn a_site_without_an_agent_is_declared_lost(client: &Client) {
    let site = client.site("dead", 30_000);
    let request = json!({
        "site_id": site,
        "reason": "fire in hall 2",
        "nothing_runs_there": true,
        "request_id": "dead-1",
    });
    let lost = client.ok("SiteService/DeclareSiteLost", &request)["site"].clone();
    assert_eq!(lost["agent"]["state"], "AGENT_STATE_NEVER_ENROLLED");
    assert_eq!(
        client.ok("SiteService/DeclareSiteLost", &request)["site"],
        lost
    );
}

/// A link that carries so many bits per second.
fn link(gateway: &str, bits_per_second: u64) -> Value {
    json!({ "link": { "gateway_id": gateway, "bandwidth_bits_per_second": bits_per_second } })
}

fn a_link_that_became_too_narrow_takes_jobs_off_their_site(client: &Client) {
    let site = with(hydro_site("narrow"), "/site/gateway_id", "strait");
    client.ok("SiteService/CreateSite", &site);
    client.ok("SiteService/PutLatencies", &put_latencies(&["narrow"]));
    client.ok("SiteService/PutLink", &link("strait", 8_000_000));
    // 900 MB take a slot at 8 Mbit/s, and the job starts in two hours.
    let input = json!({ "input_bytes": 900_000_000, "max_bits_per_second": 10_000_000 });
    let job = client.submit("narrow-1", &with(job_at(&["narrow"]), "/staging", input));
    let stage_in = &job["placement"]["stageIn"];
    assert_eq!(stage_in["gatewayId"], "strait");
    assert_eq!(stage_in["siteId"], "narrow");
    assert_eq!(number(&stage_in["bitsPerSecond"]), 8_000_000);
    let runs = &job["placement"]["runs"];
    assert!(stage_in["endTime"].as_str() <= runs[0]["startTime"].as_str());

    // At 80 kbit/s it takes a day.
    let request = with(link("strait", 80_000), "/request_id", "narrow-2");
    let put = client.ok("SiteService/PutLink", &request)["link"].clone();
    assert_eq!(put["bandwidthBitsPerSecond"], "80000");
    assert_eq!(client.ok("SiteService/PutLink", &request)["link"], put);
    client.job_once(
        &job["jobId"],
        "JOB_STATE_QUEUED",
        "CHANGE_CAUSE_LINK_CHANGED",
    );
    let explained = client.ok("JobService/ExplainJob", &json!({ "job_id": job["jobId"] }));
    let refusal = verdict_at(&explained, "narrow")["refusals"][0].clone();
    assert_eq!(refusal["reason"], "REFUSAL_REASON_STAGE_IN_TOO_LONG");
    // 7.2 Gbit at 80 kbit/s are 90,000 s, which are 100 slots.
    assert_eq!(
        (&refusal["need"], &refusal["unit"]),
        (&json!("90000"), &json!("seconds"))
    );

    let wide = with(link("strait", 8_000_000), "/etag", put["etag"].clone());
    client.ok("SiteService/PutLink", &wide);
    client.job_once(
        &job["jobId"],
        "JOB_STATE_PLANNED",
        "CHANGE_CAUSE_LINK_CHANGED",
    );
}

fn a_link_reads_back_as_put(client: &Client) {
    let put = client.ok("SiteService/PutLink", &link("read-back", 7))["link"].clone();
    let read = client.ok("SiteService/GetLink", &json!({ "gateway_id": "read-back" }));
    assert_eq!(read["link"], put);
    assert_eq!(put["gatewayId"], "read-back");
    assert_eq!(put["bandwidthBitsPerSecond"], "7");
    assert!(put["etag"].as_str().unwrap().starts_with('r'));
    assert!(put["updateTime"].is_string());
}

fn links_are_listed_by_gateway_over_one_revision(client: &Client) {
    for gateway in ["gate-b", "gate-a", "gate-c"] {
        client.ok("SiteService/PutLink", &link(gateway, 5));
    }
    let first = client.ok("SiteService/ListLinks", &json!({ "page_size": 2 }));
    assert_eq!(column(&first["links"], "gatewayId"), ["gate-a", "gate-b"]);
    client.ok("SiteService/PutLink", &link("gate-z", 5));
    let request = json!({ "page_size": 1000, "page_token": first["nextPageToken"] });
    let rest = client.ok("SiteService/ListLinks", &request);
    assert_eq!(rest["revision"], first["revision"]);
    assert_eq!(rest.get("nextPageToken"), None);
    assert_eq!(column(&rest["links"], "gatewayId"), ["gate-c"]);
}
