//! Forecasts and readings that are refused.
//!
//! Hydro power has 60,000 W and a monthly factor of 500 thousandths, so 30,000 W are its usual level; the creek has 2
//! thousandths, 120 W, so that its nameplate is a level from another world.

use jiff::Timestamp;
use serde_json::{Value, json};
use tonic::Code;

use super::{Case, Details, check, invalid, missing, refused};
use crate::{
    grpcurl::{Client, Shared, from_now, time},
    support::samples::{HYDRO, SOLAR, create_site, put_forecast, slot_start, with, without},
};

const CREEK: &str = "kunming/creek";

/// No supply has this name.
const TIDAL: &str = "kunming/tidal";

static WORLD: Shared = Shared::new(|client| {
    let site = create_site();
    let hydro = site["site"]["supplies"][0].clone();
    let creek = with(hydro.clone(), "/supply_id", CREEK);
    let creek = with(creek, "/monthly_capacity_permille", vec![2; 12]);
    let solar = site["site"]["supplies"][1].clone();
    client.ok(
        "SiteService/CreateSite",
        &with(site, "/site/supplies", vec![hydro, solar, creek]),
    );
    client.ok("ForecastService/PutForecast", &stored());
});

const PUT: &str = "ForecastService/PutForecast";
const GET: &str = "ForecastService/GetForecast";
const ACTUALS: &str = "ForecastService/PutActuals";
const SKILL: &str = "ForecastService/GetForecastSkill";

/// An issue that is stored: of this day's beginning, so that every test makes the same one.
fn stored() -> Value {
    let begin: Timestamp = time(0).parse().unwrap();
    let day = begin.as_second().div_euclid(86_400) * 86_400;
    let midnight = Timestamp::from_second(day).unwrap();
    let forecast = put_forecast(HYDRO, 192, 30_000);
    let forecast = with(forecast, "/forecast/issued_at", midnight.to_string());
    with(forecast, "/forecast/start_time", midnight.to_string())
}

/// Four slots of hydro power from the next one on, issued now.
fn base() -> Value {
    with(
        put_forecast(HYDRO, 4, 30_000),
        "/forecast/start_time",
        time(1),
    )
}

/// A forecast that could be true of no supply.
fn implausible(name: &'static str, forecast: Value, fields: &[&'static str]) -> Case {
    let why = (Code::FailedPrecondition, "IMPLAUSIBLE_SERIES");
    refused(
        name,
        PUT,
        forecast,
        why,
        Details::Implausible(fields.to_vec()),
    )
}

/// The base with the same band in all four slots.
fn bands(supply_id: &str, [p10, p50, p90]: [u64; 3]) -> Value {
    let forecast = with(base(), "/forecast/supply_id", supply_id);
    let forecast = with(forecast, "/forecast/p10_watts", vec![p10; 4]);
    let forecast = with(forecast, "/forecast/p50_watts", vec![p50; 4]);
    with(forecast, "/forecast/p90_watts", vec![p90; 4])
}

/// Hours instead of slots.
fn hours_673() -> Value {
    let hours = with(
        put_forecast(HYDRO, 673, 30_000),
        "/forecast/step_seconds",
        3_600,
    );
    hours["forecast"].clone()
}

/// A forecast without a step.
fn without_steps() -> Value {
    let forecast = without(base(), "/forecast/p10_watts");
    let forecast = without(forecast, "/forecast/p90_watts");
    without(forecast, "/forecast/p50_watts")["forecast"].clone()
}

changes! { malformed, PUT, base();
    "no forecast": "forecast" = Value::Null;
    "forecast of nothing": "forecast" = json!({}) => [
        "forecast.supply_id", "forecast.product", "forecast.issued_at", "forecast.start_time", "forecast.step_seconds",
        "forecast.p50_watts"
    ];
    "forecast with an id": "forecast.forecast_id" = "a/b:DA:0";
    "supply without a name": "forecast.supply_id" = "";
    "supply without a site": "forecast.supply_id" = "hydro";
    "supply as a path": "forecast.supply_id" = "kunming/../hydro";
    "supply in capitals": "forecast.supply_id" = "Kunming/hydro";
    "no product": "forecast.product" = Value::Null;
    "unknown product": "forecast.product" = 99;
    "no time of issue": "forecast.issued_at" = Value::Null;
    "issued in the year 1": "forecast.issued_at" = "0001-01-01T00:00:00Z";
    "no start": "forecast.start_time" = Value::Null;
    "start within a slot": "forecast.start_time" = "2026-11-24T08:07:30Z";
    "start a nanosecond late": "forecast.start_time" = "2026-11-24T08:00:00.000000001Z";
    "start in the year 1": "forecast.start_time" = "0001-01-01T00:00:00Z";
    "no step": "forecast.step_seconds" = Value::Null;
    "step of a minute": "forecast.step_seconds" = 60;
    "step of a slot and a second": "forecast.step_seconds" = 901;
    "one p10 too few": "forecast.p10_watts" = vec![1; 3];
    "one p90 too many": "forecast.p90_watts" = vec![60_000; 5];
    "p10 above p50 in the third step": "forecast.p10_watts" = vec![1, 1, 30_001, 1] => ["forecast.p50_watts[2]"];
    "p50 above p90 in all steps": "forecast.p90_watts" = vec![29_999; 4] => [
        "forecast.p50_watts[0]", "forecast.p50_watts[1]", "forecast.p50_watts[2]", "forecast.p50_watts[3]"
    ];
    "forecast without steps": "forecast" = without_steps() => ["forecast.p50_watts"];
    "forecast of 2689 slots": "forecast" = put_forecast(HYDRO, 2_689, 30_000)["forecast"].clone() => ["forecast.p50_watts"];
    // 673 hours are 2692 slots.
    "forecast of 673 hours": "forecast" = hours_673() => ["forecast.p50_watts"];
}

#[test]
fn the_form_of_an_issue_is_checked() {
    let unknown = with(base(), "/forecast/supply_id", TIDAL);
    let unknown = missing("unknown supply", PUT, unknown, "SUPPLY_NOT_FOUND", TIDAL);
    check(&WORLD.get(), [malformed(), vec![unknown]].concat());
}

#[test]
fn the_values_of_an_issue_are_checked() {
    let above = [
        "p90_watts[0]",
        "p90_watts[1]",
        "p90_watts[2]",
        "p90_watts[3]",
    ];
    let night = night_of_solar();
    let dark = ["p10_watts[0]", "p50_watts[0]", "p90_watts[0]"];
    let late = with(base(), "/forecast/issued_at", from_now(600));
    let old = with(base(), "/forecast/start_time", time(-8));
    let far = with(base(), "/forecast/start_time", time(31 * 96));
    let changed = with(stored(), "/forecast/p10_watts/0", 0);
    let id = forecast_id(&stored());
    check(
        &WORLD.get(),
        vec![
            implausible(
                "power above the nameplate",
                bands(HYDRO, [0, 30_000, 60_001]),
                &above,
            ),
            implausible(
                "power of 64 bits",
                bands(HYDRO, [0, 30_000, u64::MAX]),
                &above,
            ),
            // Kilowatts sent as watts: 30 instead of 30,000.
            implausible(
                "a thousandth of the level",
                bands(HYDRO, [15, 30, 45]),
                &["p50_watts"],
            ),
            // 60,000 instead of 120.
            implausible(
                "500 times the level",
                bands(CREEK, [0, 60_000, 60_000]),
                &["p50_watts"],
            ),
            implausible("sun at midnight", night, &dark),
            implausible("issued in ten minutes", late, &["issued_at"]),
            implausible("over before it was issued", old, &["start_time"]),
            implausible("in 31 days", far, &["start_time"]),
            refused(
                "same issue with other values",
                PUT,
                changed,
                (Code::AlreadyExists, "FORECAST_EXISTS"),
                Details::Resource(id),
            ),
        ],
    );
}

#[test]
fn a_jump_that_the_operator_vouches_for_is_stored() {
    let client = Client::alone();
    client.ok("SiteService/CreateSite", &create_site());
    let drought = bands(HYDRO, [15, 30, 45]);
    client
        .call(PUT, &drought)
        .assert_error(Code::FailedPrecondition, "IMPLAUSIBLE_SERIES");
    let receipt = client.ok(PUT, &with(drought, "/accept_jump", true));
    assert_eq!(receipt["receipt"]["coveredSlots"], 4);
}

/// One step of solar power at midnight of Yunnan, 16:00 UTC, a tenth of the nameplate.
fn night_of_solar() -> Value {
    let day_s = 86_400;
    let midnight = slot_start(1).as_second().div_euclid(day_s) * day_s + 16 * 3_600;
    let midnight = Timestamp::from_second(midnight + day_s).unwrap();
    let forecast = put_forecast(SOLAR, 1, 3_000);
    with(forecast, "/forecast/start_time", midnight.to_string())
}

/// `<supply>:<product>:<issued at, milliseconds>`.
fn forecast_id(request: &Value) -> String {
    let forecast = &request["forecast"];
    let issued_at: Timestamp = forecast["issued_at"].as_str().unwrap().parse().unwrap();
    let supply = forecast["supply_id"].as_str().unwrap();
    format!("{supply}:DA:{}", issued_at.as_millisecond())
}

/// Three readings of an hour ago.
fn readings() -> Value {
    json!({ "supply_id": HYDRO, "start_time": time(-4), "watts": [1, 2, 3] })
}

changes! { malformed_readings, ACTUALS, readings();
    "readings of a site": "supply_id" = "kunming";
    "readings from within a slot": "start_time" = "2026-11-24T08:07:30Z";
    "readings of no time": "start_time" = Value::Null;
    "no readings": "watts" = Value::Null;
    "2689 readings": "watts" = vec![1; 2_689];
    "readings under a long id": "request_id" = "r".repeat(129);
}

#[test]
fn readings_are_checked() {
    let implausible = |name, field: &str, value: Value, wrong| {
        let message = with(readings(), field, value);
        let why = (Code::FailedPrecondition, "IMPLAUSIBLE_SERIES");
        refused(
            name,
            ACTUALS,
            message,
            why,
            Details::Implausible(vec![wrong]),
        )
    };
    let (start, watts) = ("/start_time", "/watts");
    let unknown = with(readings(), "/supply_id", TIDAL);
    let others = vec![
        invalid(
            "nothing",
            ACTUALS,
            json!({}),
            &["supply_id", "start_time", "watts"],
        ),
        missing(
            "readings of an unknown supply",
            ACTUALS,
            unknown,
            "SUPPLY_NOT_FOUND",
            TIDAL,
        ),
        implausible("readings of tomorrow", start, json!(time(96)), "start_time"),
        implausible(
            "readings into the future",
            watts,
            vec![1; 96].into(),
            "watts",
        ),
        implausible(
            "reading above the nameplate",
            watts,
            json!([1, 60_001, 1]),
            "watts[1]",
        ),
        implausible(
            "reading of 64 bits",
            watts,
            json!([u64::MAX, 1, 1]),
            "watts[0]",
        ),
    ];
    check(&WORLD.get(), [malformed_readings(), others].concat());
}

/// An issue of the hydro power that was never put.
fn never() -> String {
    format!("{HYDRO}:WA:0")
}

calls! { questions();
    "forecast of nobody": GET {} => ["supply_id"];
    "forecast without a time": GET { "forecast_id": "kunming/hydro:DA" } => ["forecast_id"];
    "forecast of another product": GET { "forecast_id": "kunming/hydro:XX:1" } => ["forecast_id"];
    "forecast as a path": GET { "forecast_id": "../kunming/hydro:DA:1" } => ["forecast_id"];
    "forecast of a time in words": GET { "forecast_id": "kunming/hydro:DA:noon" } => ["forecast_id"];
    "forecast by id, supply and time": GET {
        "forecast_id": forecast_id(&stored()), "supply_id": HYDRO, "start_time": time(1),
    } => ["supply_id", "start_time"];
    "forecast that was never issued": GET { "forecast_id": never() } => (FORECAST_NOT_FOUND of &never());
    "bands of an unknown supply": GET { "supply_id": TIDAL } => (SUPPLY_NOT_FOUND of TIDAL);
    "bands backwards": GET { "supply_id": HYDRO, "start_time": time(8), "end_time": time(4) } => ["end_time"];
    "bands of no slot": GET { "supply_id": HYDRO, "start_time": time(4), "end_time": time(4) } => ["end_time"];
    "bands beyond the horizon": GET { "supply_id": HYDRO, "start_time": time(0), "end_time": time(1_345) } => ["end_time"];
    "skill of nobody": SKILL {} => ["supply_id"];
    "skill of an unknown supply": SKILL { "supply_id": TIDAL } => (SUPPLY_NOT_FOUND of TIDAL);
    "skill of an unknown product": SKILL { "supply_id": HYDRO, "product": 99 } => ["product"];
    "skill backwards": SKILL { "supply_id": HYDRO, "start_time": time(8), "end_time": time(4) } => ["end_time"];
    "skill of 63 days": SKILL { "supply_id": HYDRO, "start_time": time(-63 * 96) } => ["end_time"];
}

#[test]
fn questions_are_checked() {
    check(&WORLD.get(), questions());
}
