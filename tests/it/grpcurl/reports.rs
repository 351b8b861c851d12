//! The ledger: readings in, settlements, lines and statements out.
//!
//! A slot must pass before it is settled, so these tests call a server in this process, whose clock they move.

use std::time::Duration;

use lancang::controller::{LeaseTimes, Options};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{Client, exercises, hydro_site, job_at, number};
use crate::support::{
    grpcurl::Grpcurl,
    in_memory::{START_S, TestServer, options},
    samples::{put_latencies, with},
};

exercises! {
    by super::settled();
    a_meter_is_read_and_corrected: "ReportService/PutReadings",
    measured_energy_of_a_job_is_stored: "ReportService/PutJobReadings",
    site_slots_are_listed: "ReportService/ListSettlements",
    a_slot_is_shown_with_its_lines: "ReportService/GetSettlement",
    all_lines_are_sent: "ReportService/StreamLines",
    a_statement_adds_up: "ReportService/GetStatement",
    a_statement_is_signed: "ReportService/SignStatement",
    the_key_is_told: "ReportService/GetSigningKey",
}

const SITE: &str = "works";
const INSTANCE: &str = "01900000-0000-7000-8000-000000000001";
const HOUR_MS: u64 = 3_600_000;

/// 2 kW for a slot.
const METERED: u64 = 1_800_000;

/// A moment of the server, so many slots after its start.
fn at(slots: i64) -> String {
    let time = jiff::Timestamp::from_second(START_S + slots * 900).unwrap();
    time.to_string()
}

/// A server in this process with one site, whose clock the test moves and whose agent it plays.
pub(crate) struct Works {
    client: Client,
    server: TestServer,
    runtime: Runtime,
    site: &'static str,
    credential: String,
}

impl Works {
    /// The site, with an agent that has reported once.
    pub(crate) fn at(site: &'static str) -> Self {
        let runtime = Runtime::new().unwrap();
        // The clock jumps over hours: nobody is silent for that.
        let leases = LeaseTimes {
            heartbeat_ms: 5_000,
            silent_after_ms: 3 * HOUR_MS,
            stop_after_ms: 4 * HOUR_MS,
            lost_after_ms: 5 * HOUR_MS,
        };
        let options = Options {
            leases,
            ..options()
        };
        let server = runtime.block_on(TestServer::with_options(options));
        let client = Client::at(runtime.block_on(server.listen()).port());
        client.ok("SiteService/CreateSite", &hydro_site(site));
        client.ok("SiteService/PutLatencies", &put_latencies(&[site]));
        let token = client.ok("SiteService/CreateAgentToken", &json!({ "site_id": site }));
        let enroll = json!({ "site_id": site, "token": token["token"], "instance_id": INSTANCE });
        let enrolled = client.ok("AgentService/EnrollAgent", &enroll);
        let works = Self {
            client,
            server,
            runtime,
            site,
            credential: enrolled["credential"].as_str().unwrap().to_owned(),
        };
        works.poll(0, &json!([]), &json!([]));
        works
    }

    pub(crate) fn port(&self) -> u16 {
        self.client.port()
    }

    /// Moves the clock and waits until the server has followed.
    pub(crate) fn pass(&self, by: Duration) {
        self.runtime.block_on(self.server.advance(by));
    }

    /// The agent takes the only job there is, runs it for the first slot and reports its end.
    pub(crate) fn run_for_a_slot(&self) {
        self.pass(Duration::ZERO);
        let orders = self.poll(0, &json!([]), &json!([]));
        let order = &orders["attempts"][0];
        let event = |sequence: u64, slot: i64, kind: &str, what: Value| {
            json!([{
                "sequence": sequence,
                "job_id": order["jobId"],
                "fence": order["fence"],
                "event_time": at(slot),
                kind: what,
            }])
        };
        let held = json!([{ "job_id": order["jobId"], "fence": order["fence"] }]);
        let started = event(1, 0, "started", json!({ "engine_id": "7" }));
        self.poll(1, &held, &started);
        self.pass(Duration::from_secs(900));
        let ended = json!({ "end": "ATTEMPT_END_EXITED", "run_time": "900s" });
        self.poll(2, &json!([]), &event(2, 1, "ended", ended));
    }

    fn poll(&self, sequence: u64, held: &Value, events: &Value) -> Value {
        let report = json!({
            "site_id": self.site,
            "instance_id": INSTANCE,
            "held": held,
            "events": events,
            "last_sequence": sequence,
        });
        let call = Grpcurl::new(self.port(), "AgentService/Poll")
            .flag("-H", &format!("authorization: Bearer {}", self.credential))
            .message(&json!({ "report": report }));
        self.client.run("AgentService/Poll", call).ok()["orders"].clone()
    }
}

/// A server at which a job of 1,200 W has run for one slot; the meter showed 2 kW, and 1 kW of hydro power was there.
pub(crate) fn settled() -> Client {
    let works = Works::at(SITE);
    let client = &works.client;
    let spec = with(job_at(&[SITE]), "/timing/runtime", "900s");
    let spec = with(spec, "/timing/earliest_start", Value::Null);
    let spec = with(spec, "/labels", json!({ "tenant": "film" }));
    let mut spec = with(spec, "/timing/finish_deadline", Value::Null);
    spec["execution"] = json!({ "argv": ["true"] });
    client.submit("one", &spec);
    works.run_for_a_slot();
    let reading =
        json!({ "site_id": SITE, "start_time": at(0), "facility_watt_seconds": [METERED] });
    client.ok("ReportService/PutReadings", &reading);
    let actual =
        json!({ "supply_id": format!("{SITE}/hydro"), "start_time": at(0), "watts": [1_000] });
    client.ok("ForecastService/PutActuals", &actual);
    works.pass(Duration::from_secs(300));
    Client::at(works.port()).keeping(works)
}

/// The only slot that is settled.
fn settlement(client: &Client) -> Value {
    let request = json!({ "site_id": SITE, "start_time": at(0) });
    client.ok("ReportService/GetSettlement", &request)
}

fn job_of(client: &Client) -> Value {
    settlement(client)["lines"][0]["jobId"].clone()
}

fn a_meter_is_read_and_corrected(client: &Client) {
    let request = json!({
        "site_id": SITE,
        "start_time": at(0),
        "facility_watt_seconds": [METERED + 1],
        "request_id": "again",
    });
    let stored = client.ok("ReportService/PutReadings", &request);
    assert_eq!(stored["correctedSlots"], 1);
    let again = client.ok("ReportService/PutReadings", &request);
    assert_eq!(again.get("correctedSlots"), None);
    let earlier = json!({
        "site_id": SITE,
        "start_time": at(-2),
        "facility_watt_seconds": [1, 2],
    });
    let stored = client.ok("ReportService/PutReadings", &earlier);
    assert_eq!(stored["newSlots"], 2);
}

fn measured_energy_of_a_job_is_stored(client: &Client) {
    let request = json!({
        "job_id": job_of(client),
        "start_time": at(0),
        "it_watt_seconds": [800_000],
    });
    let stored = client.ok("ReportService/PutJobReadings", &request);
    assert_eq!(stored["newSlots"], 1);
    let more = with(request, "/it_watt_seconds", json!([900_000]));
    let stored = client.ok("ReportService/PutJobReadings", &more);
    assert_eq!(stored["correctedSlots"], 1);
}

fn site_slots_are_listed(client: &Client) {
    let request =
        json!({ "site_id": SITE, "start_time": at(0), "end_time": at(1), "page_size": 1 });
    let listed = client.ok("ReportService/ListSettlements", &request);
    let settlement = &listed["settlements"][0];
    assert_eq!(settlement["siteId"], SITE);
    assert_eq!(settlement["state"], "SETTLEMENT_STATE_SETTLED");
    assert_eq!(listed.get("nextPageToken"), None);
}

fn a_slot_is_shown_with_its_lines(client: &Client) {
    let shown = settlement(client);
    let entry = &shown["settlement"]["entry"];
    assert_eq!(number(&entry["meteredWattSeconds"]), METERED);
    // 900,000 of 1,800,000 are green.
    assert_eq!(entry["matchedPermille"], 500);
    let idle = &entry["idle"]["energy"];
    assert_eq!(number(&idle["gridWattSeconds"]), 720_000);
    let line = &shown["lines"][0];
    // 1,200 W for a slot, of which all that is green goes to the only job that reserved it.
    let energy = &line["figures"]["energy"];
    assert_eq!(number(&energy["hydroWattSeconds"]), 900_000);
    assert_eq!(number(&energy["gridWattSeconds"]), 180_000);
    assert_eq!(number(&line["reservedWattSeconds"]), 1_080_000);
    assert_eq!(line["labels"], json!({ "tenant": "film" }));
}

fn all_lines_are_sent(client: &Client) {
    let request = json!({ "site_id": SITE, "start_time": at(0), "end_time": at(1) });
    let output = client.call("ReportService/StreamLines", &request);
    let [lines, end] = &output.messages[..] else {
        panic!("two messages: {}", output.stderr);
    };
    assert_eq!(lines["lines"].as_array().map(Vec::len), Some(1));
    assert_eq!(number(&end["end"]["nLines"]), 1);
    assert_eq!(number(&end["end"]["nOpenSlots"]), 0);
}

fn a_statement_adds_up(client: &Client) {
    let request = json!({
        "filter": "labels.tenant = \"film\"",
        "start_time": at(0),
        "end_time": at(1),
        "group_by": ["STATEMENT_GROUP_LABEL"],
        "label_key": "tenant",
    });
    let statement = client.ok("ReportService/GetStatement", &request);
    let total = &statement["total"];
    assert_eq!(number(&total["runMs"]), 900_000);
    // 900,000 of 1,080,000.
    assert_eq!(total["matchedPermille"], 833);
    assert_eq!(statement["rows"][0]["labelValue"], "film");
    assert_eq!(statement["rows"][0]["figures"], *total);
    // Begun at once it would have had the share of the site: a half.
    assert_eq!(number(&total["runNow"]["greenWattSeconds"]), 540_000);
}

fn a_statement_is_signed(client: &Client) {
    let request = json!({ "statement": { "job_id": job_of(client), "start_time": at(0) } });
    let signed = &client.ok("ReportService/SignStatement", &request)["signedStatement"];
    assert_eq!(
        signed["payloadType"],
        "application/vnd.lancang.v1.StatementRecord+json"
    );
    // 64 bytes in base64.
    let signature = signed["signatures"][0]["sig"].as_str();
    assert_eq!(signature.map(str::len), Some(88));
}

fn the_key_is_told(client: &Client) {
    let key = client.ok("ReportService/GetSigningKey", &json!({}));
    assert_eq!(key["publicKey"].as_str().map(str::len), Some(64));
    assert_eq!(key["keyId"].as_str().map(str::len), Some(16));
    assert_eq!(key["storeId"].as_str().map(str::len), Some(36));
}
