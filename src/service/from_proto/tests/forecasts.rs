//! Tests of reading forecasts.
//!
//! One line for each wrong field, with the path that a client sees.

use super::*;

fn good_forecast() -> v1::Forecast {
    v1::Forecast {
        supply_id: "dli-dali/wind".into(),
        product: v1::ForecastProduct::DayAhead.into(),
        issued_at: at(1_789_990_123),
        start_time: at(1_790_000_100 / 900 * 900),
        step_seconds: 3_600,
        p10_watts: vec![1, 2],
        p50_watts: vec![2, 3],
        p90_watts: vec![3, 4],
        ..v1::Forecast::default()
    }
}

#[track_caller]
fn check_forecast(expected: &[&str], change: impl FnOnce(&mut v1::Forecast)) {
    let mut forecast = good_forecast();
    change(&mut forecast);
    let read = put_forecast(
        &v1::PutForecastRequest {
            forecast: Some(forecast),
            accept_jump: false,
        },
        testing::settings(),
    );
    assert_eq!(fields_of(read), expected);
}

#[test]
fn steps_are_spread_over_their_slots() {
    let request = v1::PutForecastRequest {
        forecast: Some(good_forecast()),
        accept_jump: true,
    };
    let issue = put_forecast(&request, testing::settings()).unwrap().issue;
    let medians: Vec<u64> = issue.bands.iter().map(|band| band.p50_watts).collect();
    assert_eq!(medians, [2, 2, 2, 2, 3, 3, 3, 3]);
    assert_eq!(issue.range.len(), 8);
}

#[test]
fn every_wrong_field_of_a_forecast_is_named() {
    check_forecast(&["forecast.supply_id"], |f| f.supply_id = "wind".into());
    check_forecast(&["forecast.forecast_id"], |f| f.forecast_id = "x".into());
    check_forecast(&["forecast.product"], |f| f.product = 0);
    check_forecast(&["forecast.issued_at"], |f| f.issued_at = None);
    check_forecast(&["forecast.start_time"], |f| f.start_time = at(1));
    check_forecast(&["forecast.start_time"], |f| {
        f.start_time = Some(Timestamp {
            seconds: 900,
            nanos: 1,
        });
    });
    for step_seconds in [0, 1, 899, 1_000] {
        check_forecast(&["forecast.step_seconds"], |f| {
            f.step_seconds = step_seconds;
        });
    }
    check_forecast(&["forecast.p10_watts"], |f| f.p10_watts = vec![1]);
    check_forecast(&["forecast.p10_watts", "forecast.p90_watts"], |f| {
        f.p50_watts.push(3);
    });
    check_forecast(&["forecast.p50_watts[1]"], |f| f.p10_watts = vec![1, 4]);
    check_forecast(&["forecast.p50_watts"], |f| {
        f.p10_watts.clear();
        f.p50_watts.clear();
        f.p90_watts.clear();
    });
    check_forecast(&["forecast.p50_watts"], |f| {
        f.p10_watts = vec![1; 673];
        f.p50_watts = vec![1; 673];
        f.p90_watts = vec![1; 673];
    });
    check_forecast(&["forecast.p50_watts"], |f| {
        f.step_seconds = 900 * 4_000_000;
    });
}

#[test]
fn a_forecast_is_asked_for_by_id_or_by_supply() {
    let ask = |change: &dyn Fn(&mut v1::GetForecastRequest)| {
        let mut request = v1::GetForecastRequest {
            supply_id: "dli-dali/wind".into(),
            ..v1::GetForecastRequest::default()
        };
        change(&mut request);
        forecast_query(&request, testing::settings(), TimeMs(1_790_000_000_000))
    };
    let Ok(ForecastQuery::Ruling(_, range)) = ask(&|_| {}) else {
        panic!("refused");
    };
    // A window of 24 hours that begins within a slot touches one slot more.
    assert_eq!(range.len(), 97);
    assert_eq!(fields_of(ask(&|r| r.supply_id.clear())), ["supply_id"]);
    assert_eq!(fields_of(ask(&|r| r.end_time = at(1))), ["end_time"]);
    assert_eq!(
        fields_of(ask(&|r| r.end_time = at(1_890_000_000))),
        ["end_time"]
    );
    let by_id = ask(&|r| r.forecast_id = "dli-dali/wind:DA:7".into());
    assert_eq!(fields_of(by_id), ["supply_id"]);
    let malformed = ask(&|r| {
        r.supply_id.clear();
        r.forecast_id = "dli-dali/wind:XX:7".into();
    });
    assert_eq!(fields_of(malformed), ["forecast_id"]);
}
