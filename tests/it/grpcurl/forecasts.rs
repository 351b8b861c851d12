//! `ForecastService` on its good paths.
//!
//! The sample site's hydro power has 60,000 W and a monthly factor of 500 thousandths, so climatology is 30,000 W.

use serde_json::{Value, json};
use tonic::Code;

use super::{Client, after, column, exercises, hydro_of, hydro_site, number};
use crate::support::{
    grpcurl::Grpcurl,
    samples::{put_forecast, slot_start, with},
};

exercises! {
    by crate::grpcurl::GOOD.get();
    an_issue_is_stored_once: "ForecastService/PutForecast",
    a_stream_answers_each_issue_on_its_own: "ForecastService/StreamForecasts",
    an_issue_reads_back_and_rules_its_slots: "ForecastService/GetForecast",
    issues_are_listed_newest_first_with_what_they_rule: "ForecastService/ListForecasts",
    readings_are_counted_as_new_or_corrected: "ForecastService/PutActuals",
    skill_follows_from_readings: "ForecastService/GetForecastSkill",
}

/// A site with hydro power that no forecast is known for; gives the supply.
#[track_caller]
fn supply(client: &Client, site_id: &str) -> String {
    client.ok("SiteService/CreateSite", &hydro_site(site_id));
    hydro_of(site_id)
}

fn put(client: &Client, request: &Value) -> Value {
    client.ok("ForecastService/PutForecast", request)["receipt"].clone()
}

/// The same forecast as another product, issued this many seconds later.
fn reissued(request: &Value, product: &str, seconds: i64) -> Value {
    let issued_at = request["forecast"]["issued_at"].as_str().unwrap();
    let issued_at: jiff::Timestamp = issued_at.parse().unwrap();
    let later = issued_at + jiff::SignedDuration::from_secs(seconds);
    let request = with(request.clone(), "/forecast/product", product);
    with(request, "/forecast/issued_at", later.to_string())
}

fn an_issue_is_stored_once(client: &Client) {
    let supply = supply(client, "issued");
    let request = put_forecast(&supply, 96, 20_000);
    let receipt = put(client, &request);
    let id = receipt["forecastId"].as_str().unwrap();
    assert!(id.starts_with(&format!("{supply}:DA:")), "{id}");
    assert_eq!(
        (&receipt["coveredSlots"], &receipt["rulingSlots"]),
        (&json!(96), &json!(96))
    );
    assert_eq!(receipt.get("alreadyExisted"), None);
    let again = put(client, &request);
    assert_eq!(again["alreadyExisted"], true);
    assert_eq!(again["forecastId"], receipt["forecastId"]);

    // An older issue that comes late rules only what the newer one does not cover: 4 of 100 slots.
    let late = put_forecast(&supply, 100, 10_000);
    let late = reissued(&late, "FORECAST_PRODUCT_WEEK_AHEAD", -3_600);
    let late = with(
        late,
        "/forecast/start_time",
        request["forecast"]["start_time"].clone(),
    );
    let receipt = put(client, &late);
    assert_eq!(
        (&receipt["coveredSlots"], &receipt["rulingSlots"]),
        (&json!(100), &json!(4))
    );
}

fn a_stream_answers_each_issue_on_its_own(client: &Client) {
    let supply = supply(client, "streamed");
    let good = put_forecast(&supply, 4, 20_000);
    // Ten times the nameplate.
    let wrong = with(
        reissued(&good, "FORECAST_PRODUCT_INTRADAY", 0),
        "/forecast/p90_watts",
        vec![600_000; 4],
    );
    let unknown = with(good.clone(), "/forecast/supply_id", "streamed/tidal");
    let message = |sequence: u64, request: &Value| json!({ "sequence": sequence, "forecast": request["forecast"] });
    let call = Grpcurl::new(client.port(), "ForecastService/StreamForecasts")
        .message(&message(10, &good))
        .message(&message(20, &wrong))
        .message(&message(21, &unknown))
        .message(&message(30, &good));
    let output = client.run("ForecastService/StreamForecasts", call);
    output.assert_code(Code::Ok);
    let [stored, refused, missing, repeated] = output.messages.as_slice() else {
        panic!("{output:#?}");
    };
    assert_eq!(stored["sequence"], "10");
    assert_eq!(stored["receipt"]["coveredSlots"], 4);
    assert_eq!(refused["sequence"], "20");
    assert_eq!(refused["error"]["code"], 9);
    assert_eq!(
        refused["error"]["reason"],
        "ERROR_REASON_IMPLAUSIBLE_SERIES"
    );
    assert_eq!(
        column(&refused["error"]["fieldViolations"], "field"),
        [
            "p90_watts[0]",
            "p90_watts[1]",
            "p90_watts[2]",
            "p90_watts[3]"
        ]
    );
    assert_eq!(missing["error"]["reason"], "ERROR_REASON_SUPPLY_NOT_FOUND");
    assert_eq!(repeated["sequence"], "30");
    assert_eq!(repeated["receipt"]["alreadyExisted"], true);
    assert_eq!(
        repeated["receipt"]["forecastId"],
        stored["receipt"]["forecastId"]
    );
}

fn an_issue_reads_back_and_rules_its_slots(client: &Client) {
    let supply = supply(client, "ruling");
    let first = slot_start(4);
    // Two steps of half an hour.
    let request = json!({ "forecast": {
        "supply_id": supply,
        "product": "FORECAST_PRODUCT_INTRADAY",
        "issued_at": after(first, -8),
        "start_time": first.to_string(),
        "step_seconds": 1_800,
        "p10_watts": [10_000, 11_000],
        "p50_watts": [20_000, 21_000],
        "p90_watts": [30_000, 31_000],
    }});
    let receipt = put(client, &request);
    assert_eq!(receipt["coveredSlots"], 4);
    let id = &receipt["forecastId"];
    let read = client.ok("ForecastService/GetForecast", &json!({ "forecast_id": id }));
    assert_eq!(read["newestIssuedAt"], request["forecast"]["issued_at"]);
    let issue = &read["forecast"];
    assert_eq!(issue["forecastId"], *id);
    assert_eq!(issue["product"], "FORECAST_PRODUCT_INTRADAY");
    assert_eq!(issue["startTime"], first.to_string());
    assert_eq!(watts_of(issue, "p50Watts"), slots(issue, &[20_000, 21_000]));
    assert_eq!(watts_of(issue, "p10Watts"), slots(issue, &[10_000, 11_000]));

    let window = json!({
        "supply_id": supply,
        "start_time": after(first, 2),
        "end_time": after(first, 6),
    });
    let ruling = client.ok("ForecastService/GetForecast", &window);
    let bands = &ruling["bands"];
    assert_eq!(
        column(bands, "startTime"),
        [2, 3, 4, 5].map(|slot| after(first, slot))
    );
    let (issued, monthly) = ("BAND_SOURCE_FORECAST", "BAND_SOURCE_CLIMATOLOGY");
    assert_eq!(column(bands, "source"), [issued, issued, monthly, monthly]);
    assert_eq!(
        column(bands, "p50Watts"),
        ["21000", "21000", "30000", "30000"]
    );
    assert_eq!(bands[0]["forecastId"], *id);
    assert_eq!(bands[2].get("forecastId"), None);
}

fn watts_of(issue: &Value, field: &str) -> Vec<u64> {
    issue[field]
        .as_array()
        .unwrap()
        .iter()
        .map(number)
        .collect()
}

/// Values of half-hour steps as the issue was read: by its own step.
fn slots(issue: &Value, steps: &[u64]) -> Vec<u64> {
    let per_step = 1_800 / number(&issue["stepSeconds"]);
    let per_step = usize::try_from(per_step).unwrap();
    steps
        .iter()
        .flat_map(|&watts| std::iter::repeat_n(watts, per_step))
        .collect()
}

fn issues_are_listed_newest_first_with_what_they_rule(client: &Client) {
    let supply = supply(client, "catalogued");
    let day = put_forecast(&supply, 96, 20_000);
    let oldest = put(client, &day);
    let hours = put_forecast(&supply, 16, 20_000);
    let hours = with(
        hours,
        "/forecast/start_time",
        day["forecast"]["start_time"].clone(),
    );
    let middle = put(client, &reissued(&hours, "FORECAST_PRODUCT_INTRADAY", 1));
    let newest = put(client, &reissued(&hours, "FORECAST_PRODUCT_INTRADAY", 2));

    let request = json!({ "supply_id": supply, "page_size": 2 });
    let first = client.ok("ForecastService/ListForecasts", &request);
    let request = with(request, "/page_token", first["nextPageToken"].clone());
    let rest = client.ok("ForecastService/ListForecasts", &request);
    let ids = [
        column(&first["forecasts"], "forecastId"),
        column(&rest["forecasts"], "forecastId"),
    ];
    assert_eq!(
        ids.concat(),
        [&newest, &middle, &oldest].map(|receipt| receipt["forecastId"].as_str().unwrap())
    );
    assert_eq!(rest["revision"], first["revision"]);
    // The newest rules its 16 slots, the one before it none, the first what is left of 96.
    assert_eq!(first["forecasts"][0]["rulingSlots"], 16);
    assert_eq!(first["forecasts"][1].get("rulingSlots"), None);
    assert_eq!(rest["forecasts"][0]["rulingSlots"], 80);
    assert_eq!(
        rest["forecasts"][0]["startTime"],
        day["forecast"]["start_time"]
    );

    let product = json!({ "supply_id": supply, "product": "FORECAST_PRODUCT_DAY_AHEAD" });
    let only = client.ok("ForecastService/ListForecasts", &product);
    assert_eq!(
        column(&only["forecasts"], "forecastId"),
        [oldest["forecastId"].as_str().unwrap()]
    );
}

fn readings_are_counted_as_new_or_corrected(client: &Client) {
    let supply = supply(client, "metered");
    let start = slot_start(-8).to_string();
    let request = json!({
        "supply_id": supply,
        "start_time": start,
        "watts": [10_000, 11_000, 12_000, 13_000],
        "request_id": "metered-1",
    });
    let stored = client.ok("ForecastService/PutActuals", &request);
    assert_eq!(
        (&stored["newSlots"], stored.get("correctedSlots")),
        (&json!(4), None)
    );
    let again = client.ok("ForecastService/PutActuals", &request);
    assert_eq!(
        number(&again["newSlots"]) + number(&again["correctedSlots"]),
        0
    );

    // One of the four is corrected, two are new.
    let more = with(
        request,
        "/watts",
        vec![10_000, 11_000, 12_000, 9_000, 8_000, 7_000],
    );
    let more = with(more, "/request_id", "metered-2");
    let stored = client.ok("ForecastService/PutActuals", &more);
    assert_eq!(
        (&stored["newSlots"], &stored["correctedSlots"]),
        (&json!(2), &json!(1))
    );
}

/// p10, p50, p90 of 15, 30, 45 kW against four readings of 40 kW and four of 10 kW.
fn skill_follows_from_readings(client: &Client) {
    let supply = supply(client, "judged");
    let first = slot_start(-8);
    let forecast = put_forecast(&supply, 8, 30_000);
    let forecast = with(forecast, "/forecast/issued_at", after(first, -4));
    put(
        client,
        &with(forecast, "/forecast/start_time", first.to_string()),
    );
    let watts = [[40_000; 4], [10_000; 4]].concat();
    let readings = json!({
        "supply_id": supply,
        "start_time": first.to_string(),
        "watts": watts,
    });
    client.ok("ForecastService/PutActuals", &readings);

    let answer = client.ok(
        "ForecastService/GetForecastSkill",
        &json!({ "supply_id": supply }),
    );
    assert_eq!(
        answer["skills"],
        json!([{
            "product": "FORECAST_PRODUCT_DAY_AHEAD",
            "slots": 8,
            // (30 - 40) and (30 - 10) kW in equal parts.
            "biasWatts": 5_000,
            "maeWatts": 15_000,
            // 0.1 x (40 - 15) and 0.9 x (15 - 10).
            "pinballP10Watts": 3_500,
            // Half of the mean absolute error.
            "pinballP50Watts": 7_500,
            // 0.1 x (45 - 40) and 0.1 x (45 - 10).
            "pinballP90Watts": 2_000,
            // 40 kW is within the band, 10 kW is below it.
            "coveragePermille": 500,
        }])
    );
    let other = json!({ "supply_id": supply, "product": "FORECAST_PRODUCT_INTRADAY" });
    let none = client.ok("ForecastService/GetForecastSkill", &other);
    assert_eq!(none.get("skills"), None);
}
