//! Forecasts and actuals: which issue rules, what is refused, and how good it was.
//!
//! What a forecast does to jobs is in `replan`.

use lancang::proto::v1::{self, BandSource, ForecastProduct};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{
    client::{assert_refused, metadata},
    world::{at, at_second, banded_forecast, forecast, hydro, site, supply},
};
use crate::support::in_memory::TestServer;

fn issue(product: ForecastProduct, issued_at: i64, from: i64, watts: &[u64]) -> v1::Forecast {
    v1::Forecast {
        product: product.into(),
        ..forecast(&hydro("a"), issued_at, from, watts)
    }
}

async fn try_put(
    server: &TestServer,
    forecast: v1::Forecast,
    accept_jump: bool,
) -> Result<v1::ForecastReceipt, Status> {
    let request = v1::PutForecastRequest {
        forecast: Some(forecast),
        accept_jump,
    };
    let answer = server.forecasts().put_forecast(request).await?;
    Ok(answer.into_inner().receipt.unwrap())
}

async fn try_actuals(
    server: &TestServer,
    from: i64,
    watts: &[u64],
    request_id: &str,
) -> Result<v1::PutActualsResponse, Status> {
    let request = v1::PutActualsRequest {
        supply_id: hydro("a"),
        start_time: Some(at(from)),
        watts: watts.into(),
        request_id: request_id.into(),
    };
    Ok(server.forecasts().put_actuals(request).await?.into_inner())
}

async fn list(server: &TestServer, request: v1::ListForecastsRequest) -> v1::ListForecastsResponse {
    let listed = server.forecasts().list_forecasts(request).await;
    listed.unwrap().into_inner()
}

#[tokio::test]
async fn in_each_slot_the_newest_issue_that_covers_it_rules() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let day = issue(ForecastProduct::DayAhead, 0, 0, &[1_000; 96]);
    let day = server.put_forecast(day).await;
    assert_eq!((day.covered_slots, day.ruling_slots), (96, 96));
    let hours = issue(ForecastProduct::Intraday, 60, 8, &[2_000; 8]);
    let hours = server.put_forecast(hours).await;
    assert_eq!((hours.covered_slots, hours.ruling_slots), (8, 8));
    assert_eq!(hours.revision, day.revision + 1);
    // Issued between the two, arrived last: it rules where the intraday issue does not.
    let week = issue(ForecastProduct::WeekAhead, 30, 0, &[3_000; 120]);
    let week = server.put_forecast(week).await;
    assert_eq!((week.covered_slots, week.ruling_slots), (120, 112));
    // Of the same moment the later product rules: nothing is left for this one.
    let same = issue(ForecastProduct::Intraday, 30, 0, &[4_000; 96]);
    let same = server.put_forecast(same).await;
    assert_eq!(same.ruling_slots, 0);
    let request = v1::GetForecastRequest {
        supply_id: hydro("a"),
        start_time: Some(at(6)),
        end_time: Some(at(18)),
        ..v1::GetForecastRequest::default()
    };
    let ruling = server.forecasts().get_forecast(request).await.unwrap();
    let ruling = ruling.into_inner();
    assert_eq!(ruling.newest_issued_at, Some(at_second(60)));
    for (band, slot) in ruling.bands.iter().zip(6..18) {
        let (id, watts) = match slot {
            8..16 => (&hours.forecast_id, 2_000),
            _ => (&week.forecast_id, 3_000),
        };
        assert_eq!(band.start_time, Some(at(slot)));
        assert_eq!((&band.forecast_id, band.p50_watts), (id, watts), "{slot}");
        assert_eq!(band.source(), BandSource::Forecast);
    }
    assert_eq!(ruling.bands.len(), 12);
    // Without a window: 24 hours from now.
    let request = v1::GetForecastRequest {
        supply_id: hydro("a"),
        ..v1::GetForecastRequest::default()
    };
    let ruling = server.forecasts().get_forecast(request).await.unwrap();
    let bands = ruling.into_inner().bands;
    assert_eq!((bands[0].start_time, bands.len()), (Some(at(0)), 96));
    // The newest first, then by id; each with what is left of it.
    let listed = list(&server, v1::ListForecastsRequest::default()).await;
    let listed = listed.forecasts.iter();
    let listed: Vec<_> = listed
        .map(|issue| (issue.forecast_id.as_str(), issue.ruling_slots))
        .collect();
    let expected = [
        (hours.forecast_id.as_str(), 8),
        (&same.forecast_id, 0),
        (&week.forecast_id, 112),
        (&day.forecast_id, 0),
    ];
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn an_issue_is_stored_once_and_never_changed() {
    let mut server = TestServer::with_sites(vec![site("a")]).await;
    let put = issue(ForecastProduct::DayAhead, 0, 0, &[1_000; 8]);
    let first = server.put_forecast(put.clone()).await;
    assert_eq!(first.forecast_id, "a/hydro:DA:1795478400000");
    server.reopen().await;
    let revision = server.revision().await;
    // The same in steps of two hours.
    let coarse = v1::Forecast {
        step_seconds: 7_200,
        p10_watts: vec![1_000],
        p50_watts: vec![1_000],
        p90_watts: vec![1_000],
        ..put.clone()
    };
    for same in [put.clone(), coarse] {
        let again = server.put_forecast(same).await;
        assert!(again.already_existed);
        assert_eq!(
            (again.forecast_id, again.ruling_slots),
            (first.forecast_id.clone(), 8)
        );
    }
    let other = issue(ForecastProduct::DayAhead, 0, 0, &[1_001; 8]);
    let refused = try_put(&server, other, false).await;
    assert_refused(refused, Code::AlreadyExists, "FORECAST_EXISTS");
    assert_eq!(server.revision().await, revision);
    let request = v1::GetForecastRequest {
        forecast_id: first.forecast_id.clone(),
        ..v1::GetForecastRequest::default()
    };
    let read = server.forecasts().get_forecast(request).await.unwrap();
    let expected = v1::Forecast {
        forecast_id: first.forecast_id,
        ..put
    };
    assert_eq!(read.into_inner().forecast, Some(expected));
}

#[tokio::test]
async fn listings_of_issues_are_filtered_and_paged_over_one_revision() {
    let server = TestServer::with_sites(vec![site("a"), site("b")]).await;
    for issued_at in [10, 20, 30] {
        for product in [ForecastProduct::DayAhead, ForecastProduct::WeekAhead] {
            for site_id in ["a", "b"] {
                let put = v1::Forecast {
                    supply_id: hydro(site_id),
                    ..issue(product, issued_at, 0, &[1_000; 4])
                };
                server.put_forecast(put).await;
            }
        }
    }
    let all = list(&server, v1::ListForecastsRequest::default()).await;
    let ids: Vec<&str> = all
        .forecasts
        .iter()
        .map(|issue| &*issue.forecast_id)
        .collect();
    let expected: Vec<String> = [30, 20, 10]
        .iter()
        .flat_map(|issued_at| {
            let ms = at_second(*issued_at).seconds * 1_000;
            ["a/hydro:DA", "a/hydro:WA", "b/hydro:DA", "b/hydro:WA"]
                .map(|start| format!("{start}:{ms}"))
        })
        .collect();
    assert_eq!(ids, expected);
    let only = v1::ListForecastsRequest {
        supply_id: hydro("b"),
        product: ForecastProduct::DayAhead.into(),
        page_size: 1,
        ..v1::ListForecastsRequest::default()
    };
    let mut found = Vec::new();
    let mut request = only.clone();
    loop {
        let page = list(&server, request.clone()).await;
        assert_eq!(page.revision, all.revision);
        found.extend(page.forecasts.into_iter().map(|issue| issue.forecast_id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        let more = issue(
            ForecastProduct::DayAhead,
            40 + i64::try_from(found.len()).unwrap(),
            0,
            &[1; 4],
        );
        server
            .put_forecast(v1::Forecast {
                supply_id: hydro("b"),
                ..more
            })
            .await;
    }
    assert_eq!(found, [2, 6, 10].map(|i: usize| expected[i].clone()));
}

/// A day of 4 kW with something wrong about it.
fn day_but(change: fn(&mut v1::Forecast)) -> v1::Forecast {
    let mut forecast = issue(ForecastProduct::DayAhead, 0, 0, &[4_000; 96]);
    change(&mut forecast);
    forecast
}

/// What is wrong, the issue, and the field that says so.
fn implausible() -> [(&'static str, v1::Forecast, &'static str); 5] {
    [
        (
            "above the nameplate",
            day_but(|f| f.p90_watts[3] = 10_001),
            "p90_watts[3]",
        ),
        // Slot 48 is 20:00 in Yunnan.
        (
            "solar power at night",
            day_but(|f| {
                f.supply_id = "a/solar".into();
                f.start_time = Some(at(48));
                for watts in [&mut f.p10_watts, &mut f.p50_watts, &mut f.p90_watts] {
                    *watts = vec![2_000; 1];
                }
            }),
            "p10_watts[0]",
        ),
        (
            "kW for W",
            day_but(|f| {
                for watts in [&mut f.p10_watts, &mut f.p50_watts, &mut f.p90_watts] {
                    *watts = vec![4; 96];
                }
            }),
            "p50_watts",
        ),
        (
            "a clock ahead",
            day_but(|f| f.issued_at = Some(at_second(301))),
            "issued_at",
        ),
        (
            "over before it was issued",
            day_but(|f| f.start_time = Some(at(-96))),
            "start_time",
        ),
    ]
}

#[tokio::test]
async fn what_cannot_be_true_is_refused_with_the_reason_and_not_stored() {
    let mut sunny = site("a");
    let mut solar = supply("a/solar", v1::SupplyKind::Solar);
    solar.monthly_capacity_permille = vec![200; 12];
    sunny.supplies.push(solar);
    sunny.supplies[0].monthly_capacity_permille = vec![500; 12];
    let server = TestServer::with_sites(vec![sunny]).await;
    let revision = server.revision().await;
    for (what, forecast, field) in implausible() {
        let refused = try_put(&server, forecast, false).await;
        let status = assert_refused(refused, Code::FailedPrecondition, "IMPLAUSIBLE_SERIES");
        let details = status.get_error_details();
        let failures = &details.precondition_failure().unwrap().violations;
        assert_eq!(failures[0].subject, field, "{what}: {failures:?}");
    }
    let crossed = day_but(|f| f.p10_watts[5] = 4_001);
    let refused = try_put(&server, crossed, false).await;
    let status = assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
    assert!(status.message().contains("p50_watts[5]"), "{status:?}");
    let nobody = day_but(|f| f.supply_id = "b/hydro".into());
    let refused = try_put(&server, nobody, false).await;
    let status = assert_refused(refused, Code::NotFound, "SUPPLY_NOT_FOUND");
    assert_eq!(
        metadata(&status, "known").as_deref(),
        Some("a/hydro, a/solar")
    );
    assert_eq!(server.revision().await, revision);
    // A level that jumps is accepted when it is meant.
    let drought = day_but(|f| {
        for watts in [&mut f.p10_watts, &mut f.p50_watts, &mut f.p90_watts] {
            *watts = vec![4; 96];
        }
    });
    try_put(&server, drought, true).await.unwrap();
    // Noon in Yunnan is slot 16.
    let noon = v1::Forecast {
        supply_id: "a/solar".into(),
        ..issue(ForecastProduct::Intraday, 0, 16, &[7_000; 2])
    };
    try_put(&server, noon, false).await.unwrap();
}

#[tokio::test]
async fn a_stream_of_issues_is_answered_in_order_and_goes_on_after_a_refusal() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let request = |sequence: u64| {
        let issued_at = i64::try_from(sequence).unwrap();
        let watts = if sequence == 7 { 10_001 } else { 1_000 };
        v1::StreamForecastsRequest {
            sequence,
            forecast: Some(issue(ForecastProduct::Intraday, issued_at, 0, &[watts; 4])),
            accept_jump: false,
        }
    };
    let sent = (1..=100).chain([100, 200]).map(request);
    let mut putter = server.forecasts();
    let answers = putter.stream_forecasts(tokio_stream::iter(sent)).await;
    let mut answers = answers.unwrap().into_inner();
    for expected in 1..=100 {
        use v1::stream_forecasts_response::Outcome;
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.sequence, expected);
        match answer.outcome.unwrap() {
            Outcome::Error(error) => {
                assert_eq!(expected, 7);
                assert_eq!(error.reason(), v1::ErrorReason::ImplausibleSeries);
            }
            // Each rules until the next.
            Outcome::Receipt(receipt) => assert_eq!(receipt.ruling_slots, 4),
        }
    }
    let end = answers.message().await;
    assert_refused(end, Code::InvalidArgument, "INVALID_FIELDS");
    let listed = list(&server, v1::ListForecastsRequest::default()).await;
    assert_eq!(listed.forecasts.len(), 99);
}

#[tokio::test]
async fn readings_are_new_or_corrections() {
    let mut server = TestServer::with_sites(vec![site("a")]).await;
    server.advance_slots(8).await;
    let put = try_actuals(&server, 0, &[1, 2, 3, 4], "").await.unwrap();
    assert_eq!((put.new_slots, put.corrected_slots), (4, 0));
    let same = try_actuals(&server, 0, &[1, 2, 3, 4], "").await.unwrap();
    let expected = v1::PutActualsResponse {
        new_slots: 0,
        corrected_slots: 0,
        revision: put.revision,
    };
    assert_eq!(same, expected);
    let more = try_actuals(&server, 2, &[3, 5, 6], "once").await.unwrap();
    assert_eq!((more.new_slots, more.corrected_slots), (1, 1));
    assert_eq!(more.revision, put.revision + 1);
    // Corrected by somebody else; a late repeat of the request before does not undo that.
    try_actuals(&server, 4, &[7], "").await.unwrap();
    server.reopen().await;
    let revision = server.revision().await;
    try_actuals(&server, 2, &[3, 5, 6], "once").await.unwrap();
    let other = try_actuals(&server, 2, &[9], "once").await;
    assert_refused(other, Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    // The present slot may be read, later ones have not been.
    for (from, watts) in [(9, &[1][..]), (8, &[1, 1]), (0, &[10_001])] {
        let refused = try_actuals(&server, from, watts, "").await;
        assert_refused(refused, Code::FailedPrecondition, "IMPLAUSIBLE_SERIES");
    }
    assert_eq!(server.revision().await, revision);
    let now = try_actuals(&server, 8, &[1], "").await.unwrap();
    assert_eq!(now.new_slots, 1);
}

async fn skills(
    server: &TestServer,
    product: ForecastProduct,
    window: Option<(i64, i64)>,
) -> Vec<v1::ForecastSkill> {
    let request = v1::GetForecastSkillRequest {
        supply_id: hydro("a"),
        product: product.into(),
        start_time: window.map(|(from, _)| at(from)),
        end_time: window.map(|(_, to)| at(to)),
    };
    let answer = server.forecasts().get_forecast_skill(request).await;
    answer.unwrap().into_inner().skills
}

#[tokio::test]
async fn skill_is_what_one_works_out_by_hand() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    server.advance_slots(8).await;
    let all = ForecastProduct::Unspecified;
    assert_eq!(skills(&server, all, None).await, []);
    let day = banded_forecast(&hydro("a"), -3_600, 0, &[(100, 200, 300); 4]);
    server.put_forecast(day).await;
    // Issued a second into slot 1: it counts from slot 2 on.
    let hours = issue(ForecastProduct::Intraday, 901, 0, &[300; 4]);
    server.put_forecast(hours).await;
    assert_eq!(skills(&server, all, None).await, [], "without readings");
    try_actuals(&server, 0, &[150, 200, 350, 50], "")
        .await
        .unwrap();
    let day = v1::ForecastSkill {
        product: ForecastProduct::DayAhead.into(),
        slots: 4,
        // (50 + 0 - 150 + 150) / 4
        bias_watts: 12.5,
        // (50 + 0 + 150 + 150) / 4
        mae_watts: 87.5,
        // (0.1 * 50 + 0.1 * 100 + 0.1 * 250 + 0.9 * 50) / 4
        pinball_p10_watts: 21.25,
        // Half of the mean absolute error.
        pinball_p50_watts: 43.75,
        // (0.1 * 150 + 0.1 * 100 + 0.9 * 50 + 0.1 * 250) / 4
        pinball_p90_watts: 23.75,
        // 150 and 200 are within, 350 and 50 are not.
        coverage_permille: 500,
    };
    let hours = v1::ForecastSkill {
        product: ForecastProduct::Intraday.into(),
        slots: 2,
        // (-50 + 250) / 2 and (50 + 250) / 2
        bias_watts: 100.0,
        mae_watts: 150.0,
        // (0.1 * 50 + 0.9 * 250) / 2, half of the mean absolute error, (0.9 * 50 + 0.1 * 250) / 2
        pinball_p10_watts: 115.0,
        pinball_p50_watts: 75.0,
        pinball_p90_watts: 35.0,
        coverage_permille: 0,
    };
    assert_eq!(skills(&server, all, None).await, [day, hours]);
    assert_eq!(
        skills(&server, ForecastProduct::Intraday, None).await,
        [hours]
    );
    // Slots 0 and 1 only, where the intraday issue was not known.
    let early = skills(&server, all, Some((0, 2))).await;
    let told: Vec<_> = early
        .iter()
        .map(|skill| (skill.product(), skill.slots, skill.bias_watts))
        .collect();
    assert_eq!(told, [(ForecastProduct::DayAhead, 2, 25.0)]);
    // A correction counts from then on: (50 + 0 - 150 + 0) / 4.
    try_actuals(&server, 3, &[200], "").await.unwrap();
    let corrected = skills(&server, ForecastProduct::DayAhead, None).await;
    assert_eq!(corrected[0].bias_watts.to_string(), "-25");
    assert_eq!(corrected[0].coverage_permille, 750);
}
