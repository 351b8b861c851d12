//! All that a server's reads answer, taken at once and compared part by part.
//!
//! Left out is only what must differ: the token of a quote and its expiry.

use lancang::proto::v1;

use crate::{
    crash::{
        client::{Clients, Jobs},
        restart::wait_until_quiet,
        world::{SMALL_SITE, at_small_site, forecast, named},
    },
    support::samples::{HYDRO, SLOT_S, SOLAR, slot_start},
};

/// Slots of the past for which there are forecasts and readings.
const PAST_SLOTS: i64 = 8;

/// What reads answer.
pub(super) struct Contents {
    pub(super) jobs: Jobs,
    explanations: Vec<v1::ExplainJobResponse>,
    quotes: Vec<v1::QuoteJobResponse>,
    sites: v1::ListSitesResponse,
    latencies: v1::GetLatenciesResponse,
    links: v1::ListLinksResponse,
    forecasts: Vec<v1::ForecastSummary>,
    bands: Vec<v1::GetForecastResponse>,
    skill: v1::GetForecastSkillResponse,
    counts: Vec<v1::StateCount>,
    revision: u64,
}

/// Puts forecasts of which one reaches into the past, and readings to compare it with.
pub(super) async fn put_series(clients: &Clients) {
    let mut client = clients.forecasts.clone();
    let mut past = forecast(HYDRO, 1, 220_000_000);
    let start = slot_start(-PAST_SLOTS).as_second();
    past.forecast.as_mut().unwrap().start_time = Some(timestamp(start));
    let small = format!("{SMALL_SITE}/hydro");
    let issues = [
        past,
        forecast(HYDRO, 2, 250_000_000),
        forecast(HYDRO, 3, 210_000_000),
        forecast(SOLAR, 1, 0),
        forecast(&small, 1, 20_000),
    ];
    for issue in issues {
        client.put_forecast(issue).await.unwrap();
    }
    let readings = v1::PutActualsRequest {
        supply_id: HYDRO.to_owned(),
        start_time: Some(timestamp(start)),
        watts: (0..PAST_SLOTS.unsigned_abs())
            .map(|i| 200_000_000 + i)
            .collect(),
        request_id: "readings".to_owned(),
    };
    client.put_actuals(readings).await.unwrap();
}

/// Reads everything once the writer is quiet.
pub(super) async fn read(clients: &Clients, base: &v1::JobSpec) -> Contents {
    wait_until_quiet(clients).await;
    let jobs = clients.all_jobs().await;
    let mut explanations = Vec::new();
    for job in &jobs.jobs {
        let request = v1::ExplainJobRequest {
            job_id: job.job_id.clone(),
        };
        let answer = clients.jobs.clone().explain_job(request).await;
        explanations.push(answer.unwrap().into_inner());
    }
    let mut quotes = Vec::new();
    for spec in [named(base, "quote"), at_small_site(named(base, "refused"))] {
        quotes.push(quote(clients, spec).await);
    }
    let mut sites = clients.sites.clone();
    let mut bands = Vec::new();
    for supply_id in [HYDRO, SOLAR, "dali/hydro", "dali/solar"] {
        bands.push(ruling(clients, supply_id).await);
    }
    let info = clients.info().await;
    Contents {
        jobs,
        explanations,
        quotes,
        sites: sites
            .list_sites(v1::ListSitesRequest::default())
            .await
            .unwrap()
            .into_inner(),
        latencies: sites
            .get_latencies(v1::GetLatenciesRequest::default())
            .await
            .unwrap()
            .into_inner(),
        links: sites
            .list_links(v1::ListLinksRequest::default())
            .await
            .unwrap()
            .into_inner(),
        forecasts: clients.all_forecasts().await,
        bands,
        skill: skill(clients).await,
        counts: info.jobs,
        revision: info.revision,
    }
}

/// A server that was started anew answers as before.
#[track_caller]
pub(super) fn check_equal(after: &Contents, before: &Contents, when: &str) {
    assert_eq!(
        after.revision, before.revision,
        "{when} a revision was added"
    );
    for (after, before) in after.jobs.jobs.iter().zip(&before.jobs.jobs) {
        assert_eq!(after, before, "{when}");
    }
    assert_eq!(after.counts, before.counts, "{when}");
    assert_eq!(after.sites, before.sites, "{when}");
    assert_eq!(after.latencies, before.latencies, "{when}");
    assert_eq!(after.links, before.links, "{when}");
    assert_eq!(after.forecasts, before.forecasts, "{when}");
    assert_eq!(after.bands, before.bands, "{when}");
    assert!(!after.skill.skills.is_empty());
    assert_eq!(after.skill, before.skill, "{when}");
    for (after, before) in after.explanations.iter().zip(&before.explanations) {
        assert_eq!(after, before, "{when}");
    }
    for (after, before) in after.quotes.iter().zip(&before.quotes) {
        assert_eq!(after, before, "{when}");
    }
}

async fn quote(clients: &Clients, spec: v1::JobSpec) -> v1::QuoteJobResponse {
    let request = v1::QuoteJobRequest { spec: Some(spec) };
    let answer = clients.jobs.clone().quote_job(request).await.unwrap();
    v1::QuoteJobResponse {
        quote_id: String::new(),
        expire_time: None,
        ..answer.into_inner()
    }
}

async fn ruling(clients: &Clients, supply_id: &str) -> v1::GetForecastResponse {
    let request = v1::GetForecastRequest {
        supply_id: supply_id.to_owned(),
        start_time: Some(timestamp(slot_start(0).as_second())),
        end_time: Some(timestamp(slot_start(192).as_second())),
        ..Default::default()
    };
    let answer = clients.forecasts.clone().get_forecast(request).await;
    answer.unwrap().into_inner()
}

async fn skill(clients: &Clients) -> v1::GetForecastSkillResponse {
    let request = v1::GetForecastSkillRequest {
        supply_id: HYDRO.to_owned(),
        start_time: Some(timestamp(slot_start(-PAST_SLOTS).as_second())),
        end_time: Some(timestamp(slot_start(0).as_second())),
        ..Default::default()
    };
    let answer = clients.forecasts.clone().get_forecast_skill(request).await;
    answer.unwrap().into_inner()
}

fn timestamp(seconds: i64) -> prost_types::Timestamp {
    assert_eq!(seconds % SLOT_S, 0, "series begin with a slot");
    prost_types::Timestamp { seconds, nanos: 0 }
}
