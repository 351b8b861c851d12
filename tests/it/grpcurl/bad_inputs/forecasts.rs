//! Forecasts and readings that are refused.
//!
//! Hydro power has 60,000 W and a monthly factor of 500 thousandths, so 30,000 W are its usual level; the creek has 2
//! thousandths, 120 W, so that its nameplate is a level from another world.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tonic::Code;

use super::{Case, Details, check, invalid, missing, refused};
use crate::{
    grpcurl::{Client, Shared, from_now, time},
    support::samples::{HYDRO, SOLAR, create_site, put_forecast, slot_start, with, without},
};

const CREEK: &str = "kunming/creek";

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
    let day = Timestamp::now().as_second().div_euclid(86_400) * 86_400;
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

/// The base with one thing set, and the fields that are then wrong.
fn set(name: &'static str, field: &str, value: impl Into<Value>, fields: &[&'static str]) -> Case {
    let pointer = format!("/forecast/{field}");
    invalid(name, PUT, with(base(), &pointer, value), fields)
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

#[test]
fn malformed_issues() {
    let client = WORLD.get();
    let unset = |name, field: &str, wrong: &'static str| {
        invalid(
            name,
            PUT,
            without(base(), &format!("/forecast/{field}")),
            &[wrong],
        )
    };
    let supply = |name, id: &str| set(name, "supply_id", id, &["forecast.supply_id"]);
    let (start, step) = (&["forecast.start_time"], &["forecast.step_seconds"]);
    let p50 = &["forecast.p50_watts"];
    let long = with(
        put_forecast(HYDRO, 2_689, 30_000),
        "/forecast/start_time",
        time(1),
    );
    // 673 hours are 2692 slots.
    let hours = with(
        put_forecast(HYDRO, 673, 30_000),
        "/forecast/step_seconds",
        3_600,
    );
    let empty = json!({ "forecast": {
        "supply_id": HYDRO,
        "product": "FORECAST_PRODUCT_INTRADAY",
        "issued_at": from_now(0),
        "start_time": time(1),
        "step_seconds": 900,
    }});
    let nothing = [
        "forecast.supply_id",
        "forecast.product",
        "forecast.issued_at",
        "forecast.start_time",
        "forecast.step_seconds",
        "forecast.p50_watts",
    ];
    check(
        &client,
        &[
            invalid("no forecast", PUT, json!({}), &["forecast"]),
            invalid(
                "forecast of nothing",
                PUT,
                json!({ "forecast": {} }),
                &nothing,
            ),
            set(
                "forecast with an id",
                "forecast_id",
                "a/b:DA:0",
                &["forecast.forecast_id"],
            ),
            supply("supply without a name", ""),
            supply("supply without a site", "hydro"),
            supply("supply as a path", "kunming/../hydro"),
            supply("supply in capitals", "Kunming/hydro"),
            missing(
                "unknown supply",
                PUT,
                with(base(), "/forecast/supply_id", "kunming/tidal"),
                "SUPPLY_NOT_FOUND",
                "kunming/tidal",
            ),
            unset("no product", "product", "forecast.product"),
            set("unknown product", "product", 99, &["forecast.product"]),
            unset("no time of issue", "issued_at", "forecast.issued_at"),
            unset("no start", "start_time", "forecast.start_time"),
            set(
                "start within a slot",
                "start_time",
                "2026-11-24T08:07:30Z",
                start,
            ),
            set(
                "start a nanosecond late",
                "start_time",
                "2026-11-24T08:00:00.000000001Z",
                start,
            ),
            set(
                "start in the year 1",
                "start_time",
                "0001-01-01T00:00:00Z",
                start,
            ),
            unset("no step", "step_seconds", "forecast.step_seconds"),
            set("step of a minute", "step_seconds", 60, step),
            set("step of a slot and a second", "step_seconds", 901, step),
            set(
                "one p10 too few",
                "p10_watts",
                vec![1; 3],
                &["forecast.p10_watts"],
            ),
            set(
                "one p90 too many",
                "p90_watts",
                vec![60_000; 5],
                &["forecast.p90_watts"],
            ),
            set(
                "p10 above p50 in the third step",
                "p10_watts",
                vec![1, 1, 30_001, 1],
                &["forecast.p50_watts[2]"],
            ),
            set(
                "p50 above p90 in all steps",
                "p90_watts",
                vec![29_999; 4],
                &[
                    "forecast.p50_watts[0]",
                    "forecast.p50_watts[1]",
                    "forecast.p50_watts[2]",
                    "forecast.p50_watts[3]",
                ],
            ),
            invalid("forecast without steps", PUT, empty, p50),
            invalid("forecast of 2689 slots", PUT, long, p50),
            invalid("forecast of 673 hours", PUT, hours, p50),
        ],
    );
}

#[test]
fn implausible_issues() {
    let client = WORLD.get();
    let above = [
        "p90_watts[0]",
        "p90_watts[1]",
        "p90_watts[2]",
        "p90_watts[3]",
    ];
    let night = night_of_solar();
    let dark = ["p10_watts[0]", "p50_watts[0]", "p90_watts[0]"];
    let late = with(base(), "/forecast/issued_at", from_now(3_600));
    let old = with(base(), "/forecast/start_time", time(-8));
    let far = with(base(), "/forecast/start_time", time(31 * 96));
    let changed = with(stored(), "/forecast/p10_watts/0", 0);
    let id = forecast_id(&stored());
    check(
        &client,
        &[
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
            implausible("issued in an hour", late, &["issued_at"]),
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

#[test]
fn readings() {
    let client = WORLD.get();
    let good = json!({ "supply_id": HYDRO, "start_time": time(-4), "watts": [1, 2, 3] });
    let wrong =
        |name, message: Value, field: &'static str| invalid(name, ACTUALS, message, &[field]);
    let implausible = |name, message: Value, fields: &[&'static str]| {
        let why = (Code::FailedPrecondition, "IMPLAUSIBLE_SERIES");
        refused(
            name,
            ACTUALS,
            message,
            why,
            Details::Implausible(fields.to_vec()),
        )
    };
    check(
        &client,
        &[
            invalid(
                "readings of nothing",
                ACTUALS,
                json!({}),
                &["supply_id", "start_time", "watts"],
            ),
            wrong(
                "readings of a site",
                with(good.clone(), "/supply_id", "kunming"),
                "supply_id",
            ),
            missing(
                "readings of an unknown supply",
                ACTUALS,
                with(good.clone(), "/supply_id", "kunming/tidal"),
                "SUPPLY_NOT_FOUND",
                "kunming/tidal",
            ),
            wrong(
                "readings from within a slot",
                with(good.clone(), "/start_time", from_now(-3_601)),
                "start_time",
            ),
            wrong("no readings", without(good.clone(), "/watts"), "watts"),
            wrong(
                "2689 readings",
                with(good.clone(), "/watts", vec![1; 2_689]),
                "watts",
            ),
            wrong(
                "readings under a long id",
                with(good.clone(), "/request_id", "r".repeat(129)),
                "request_id",
            ),
            implausible(
                "readings of tomorrow",
                with(good.clone(), "/start_time", time(96)),
                &["start_time"],
            ),
            implausible(
                "readings that run into the future",
                with(good.clone(), "/watts", vec![1; 96]),
                &["watts"],
            ),
            implausible(
                "reading above the nameplate",
                with(good.clone(), "/watts", vec![1, 60_001, 1]),
                &["watts[1]"],
            ),
            implausible(
                "reading of 64 bits",
                with(good, "/watts", vec![u64::MAX, 1, 1]),
                &["watts[0]"],
            ),
        ],
    );
}

#[test]
fn questions() {
    let client = WORLD.get();
    let by_id = |name, id: &str| invalid(name, GET, json!({ "forecast_id": id }), &["forecast_id"]);
    let window = |from: i64, to: i64| json!({ "supply_id": HYDRO, "start_time": time(from), "end_time": time(to) });
    let nobody = format!("{HYDRO}:WA:0");
    let id = forecast_id(&stored());
    let days_62 = SignedDuration::from_hours(63 * 24).as_secs();
    check(
        &client,
        &[
            invalid("forecast of nobody", GET, json!({}), &["supply_id"]),
            by_id("forecast without a time", "kunming/hydro:DA"),
            by_id("forecast of another product", "kunming/hydro:XX:1"),
            by_id("forecast as a path", "../kunming/hydro:DA:1"),
            by_id("forecast of a time in words", "kunming/hydro:DA:noon"),
            missing(
                "forecast that was never issued",
                GET,
                json!({ "forecast_id": nobody }),
                "FORECAST_NOT_FOUND",
                &nobody,
            ),
            invalid(
                "forecast by id and supply",
                GET,
                json!({ "forecast_id": id, "supply_id": HYDRO, "start_time": time(1) }),
                &["supply_id", "start_time"],
            ),
            missing(
                "bands of an unknown supply",
                GET,
                json!({ "supply_id": "kunming/tidal" }),
                "SUPPLY_NOT_FOUND",
                "kunming/tidal",
            ),
            invalid("bands backwards", GET, window(8, 4), &["end_time"]),
            invalid("bands of no slot", GET, window(4, 4), &["end_time"]),
            invalid(
                "bands beyond the horizon",
                GET,
                window(0, 1_345),
                &["end_time"],
            ),
            invalid("skill of nobody", SKILL, json!({}), &["supply_id"]),
            missing(
                "skill of an unknown supply",
                SKILL,
                json!({ "supply_id": "kunming/tidal" }),
                "SUPPLY_NOT_FOUND",
                "kunming/tidal",
            ),
            invalid(
                "skill of an unknown product",
                SKILL,
                json!({ "supply_id": HYDRO, "product": 99 }),
                &["product"],
            ),
            invalid("skill backwards", SKILL, window(8, 4), &["end_time"]),
            invalid(
                "skill of 63 days",
                SKILL,
                json!({ "supply_id": HYDRO, "start_time": from_now(-days_62) }),
                &["end_time"],
            ),
        ],
    );
}
