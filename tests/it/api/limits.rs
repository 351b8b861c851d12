//! Every bound that a client can reach: at it the call is fine, above it the answer is typed.

use lancang::{limits, proto::v1};
use tonic::Code;
use tonic_types::StatusExt;

use super::{
    client::{assert_refused, metadata, place_of, refusal, there},
    world::{CITY, ZONE, at, forecast, green_between, hydro, job, latencies, site, submission},
};
use crate::support::in_memory::{TestServer, options};

#[tokio::test]
async fn a_server_that_is_full_says_so_and_takes_more_when_a_job_has_ended() {
    let mut small = options();
    small.settings.live_jobs_max = 3;
    let server = TestServer::with_options(small).await;
    server.create_sites(vec![site("a")]).await;
    server
        .forecast_at("a", 0, &green_between(96, 16, 20, 1_000))
        .await;
    let mut held = submission("one", job());
    held.hold = true;
    server.try_submit(held.clone()).await.unwrap();
    let mut grey = job();
    grey.timing.as_mut().unwrap().finish_deadline = Some(at(8));
    for key in ["two", "three"] {
        server.submit(key, grey.clone()).await;
    }
    let revision = server.revision().await;
    let full = server.try_submit(submission("four", job())).await;
    let status = assert_refused(full, Code::ResourceExhausted, "LIMIT_REACHED");
    assert_eq!(metadata(&status, "limit").as_deref(), Some("3"));
    let details = status.get_error_details();
    assert_eq!(details.quota_failure().unwrap().violations.len(), 1);
    assert!(details.retry_info().is_some());
    let mut batch = v1::SubmitJobsRequest {
        items: vec![submission("four", job())],
        all_or_nothing: true,
    };
    let full = server.jobs().submit_jobs(batch.clone()).await;
    assert_refused(full, Code::ResourceExhausted, "LIMIT_REACHED");
    assert_eq!(server.revision().await, revision);
    // A repeat is no new job.
    let again = server.try_submit(held).await.unwrap();
    assert!(again.already_existed);
    server.try_cancel(&again.job.unwrap().job_id).await.unwrap();
    // Room for one of two; and the green hour was not kept for those who were refused.
    batch.items.push(submission("five", job()));
    let full = server.jobs().submit_jobs(batch.clone()).await;
    assert_refused(full, Code::ResourceExhausted, "LIMIT_REACHED");
    batch.all_or_nothing = false;
    let answer = server.jobs().submit_jobs(batch).await.unwrap().into_inner();
    use v1::submit_jobs_item::Outcome;
    let [Some(Outcome::Accepted(four)), Some(Outcome::Error(five))] =
        [0, 1].map(|i| answer.items[i].outcome.clone())
    else {
        panic!("{answer:?}")
    };
    assert_eq!(place_of(&four.job.unwrap()), there("a", 16, 20));
    assert_eq!(five.reason(), v1::ErrorReason::LimitReached);
}

type Change = fn(&mut v1::SubmitJobRequest, usize);

/// Fields of a submission with their bounds, and how to make one so long or large.
const BOUNDS: [(&str, usize, Change); 8] = [
    (
        "idempotency_key",
        limits::IDEMPOTENCY_KEY_BYTES_MAX,
        |request, n| {
            request.idempotency_key = "k".repeat(n);
        },
    ),
    ("spec.name", limits::NAME_BYTES_MAX, |request, n| {
        spec(request).name = "n".repeat(n);
    }),
    ("spec.labels", limits::LABELS_MAX, |request, n| {
        let labels = (0..n).map(|i| (format!("label-{i}"), String::new()));
        spec(request).labels = labels.collect();
    }),
    (
        "spec.labels",
        limits::LABEL_VALUE_BYTES_MAX,
        |request, n| {
            let labels = &mut spec(request).labels;
            labels.insert("label".into(), "v".repeat(n));
        },
    ),
    (
        "spec.data_policy.output_to",
        limits::POLICY_LIST_MAX,
        |request, n| {
            let policy = spec(request).data_policy.as_mut().unwrap();
            let letter = |i: usize| char::from(b'A' + u8::try_from(i).unwrap());
            let code = |i| format!("{}{}", letter(i / 26), letter(i % 26));
            policy.output_to = (0..n).map(code).collect();
        },
    ),
    ("spec.task_resources.gpus", 256, |request, n| {
        let task = spec(request).task_resources.as_mut().unwrap();
        task.gpus = u32::try_from(n).unwrap();
    }),
    ("spec.task_count", 1_000_000, |request, n| {
        spec(request).task_count = u32::try_from(n).unwrap();
    }),
    ("spec.timing.runtime", 192 * 900, |request, n| {
        let timing = spec(request).timing.as_mut().unwrap();
        timing.runtime.as_mut().unwrap().seconds = i64::try_from(n).unwrap();
    }),
];

fn spec(request: &mut v1::SubmitJobRequest) -> &mut v1::JobSpec {
    request.spec.as_mut().unwrap()
}

#[tokio::test]
async fn what_a_submission_may_say_is_bounded() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    for (i, (field, max, change)) in BOUNDS.into_iter().enumerate() {
        let mut request = submission(&format!("key-{i}"), job());
        change(&mut request, max);
        // What is not wrong may still be too much for the site.
        if let Err(status) = server.try_submit(request.clone()).await {
            let expected = (Code::FailedPrecondition, "JOB_INFEASIBLE".to_owned());
            assert_eq!(refusal(&status), expected, "{field} of {max}: {status:?}");
        }
        request.idempotency_key = format!("more-{i}");
        change(&mut request, max + 1);
        let refused = server.try_submit(request).await;
        let status = assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
        let details = status.get_error_details();
        let wrong = &details.bad_request().unwrap().field_violations;
        assert!(
            wrong.iter().all(|violation| violation.field == field),
            "{wrong:?}"
        );
    }
}

#[tokio::test]
async fn batches_pages_and_filters_are_bounded() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let batch = |n: usize, first: usize| v1::SubmitJobsRequest {
        items: (first..first + n)
            .map(|i| v1::SubmitJobRequest {
                hold: true,
                ..submission(&format!("key-{i}"), job())
            })
            .collect(),
        all_or_nothing: true,
    };
    let n_max = limits::BATCH_JOBS_MAX;
    server.jobs().submit_jobs(batch(n_max, 0)).await.unwrap();
    for n in [0, n_max + 1] {
        let refused = server.jobs().submit_jobs(batch(n, n_max)).await;
        assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
    }
    server.jobs().submit_jobs(batch(5, n_max)).await.unwrap();
    for (asked, given) in [(0, 100), (999, 999), (1_000, 1_000), (5_000, 1_000)] {
        let request = v1::ListJobsRequest {
            page_size: asked,
            ..v1::ListJobsRequest::default()
        };
        let page = server.jobs().list_jobs(request).await.unwrap().into_inner();
        assert_eq!(page.jobs.len(), given, "{asked}");
    }
    let filter_of = |bytes: usize| format!("name = {}", "n".repeat(bytes - 7));
    let nested = |depth: usize| {
        let (open, close) = ("(".repeat(depth), ")".repeat(depth));
        format!("{open}name = nobody{close}")
    };
    let (bytes, depth) = (limits::FILTER_BYTES_MAX, limits::FILTER_DEPTH_MAX);
    for filter in [filter_of(bytes), nested(depth)] {
        assert_eq!(server.list(&filter, "").await, []);
    }
    for filter in [filter_of(bytes + 1), nested(depth + 1)] {
        let request = v1::ListJobsRequest {
            filter,
            ..v1::ListJobsRequest::default()
        };
        let refused = server.jobs().list_jobs(request).await;
        assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
    }
}

#[tokio::test]
async fn sites_zones_and_latencies_are_bounded() {
    let server = TestServer::start().await;
    let create = async |i: usize| {
        let request = v1::CreateSiteRequest {
            site: Some(site(&format!("site-{i}"))),
            ..v1::CreateSiteRequest::default()
        };
        server.sites().create_site(request).await
    };
    for i in 0..limits::SITES_MAX {
        create(i).await.unwrap();
    }
    let refused = create(limits::SITES_MAX).await;
    assert_refused(refused, Code::ResourceExhausted, "LIMIT_REACHED");
    let zones = |numbers: std::ops::Range<usize>| {
        let zones = numbers.map(|i| v1::LatencyZone {
            zone_id: format!("zone-{i}"),
            cities: vec![v1::City {
                city_id: format!("city-{i}"),
                country: "LA".into(),
            }],
            budget_us: 50_000,
        });
        v1::PutLatenciesRequest {
            zones: zones.collect(),
            ..v1::PutLatenciesRequest::default()
        }
    };
    let n_max = limits::ZONES_MAX;
    let put = async |numbers| server.sites().put_latencies(zones(numbers)).await;
    let refused = put(0..n_max + 1).await;
    assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
    let full = put(0..n_max).await.unwrap().into_inner();
    assert_eq!(full.zones, 1_024);
    let refused = put(n_max..n_max + 1).await;
    assert_refused(refused, Code::ResourceExhausted, "LIMIT_REACHED");
    assert_eq!(server.revision().await, full.revision);
    let entries = |n: usize| {
        let mut request = latencies(10_000, &["site-0"]);
        request.zones.clear();
        request.latencies[0].city_id = "city-0".into();
        let entry = request.latencies[0].clone();
        request.latencies = vec![entry; n];
        request
    };
    let n_max = limits::LATENCIES_PER_CALL_MAX;
    let refused = server.sites().put_latencies(entries(n_max + 1)).await;
    assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
}

#[tokio::test]
async fn a_supply_keeps_its_newest_512_issues() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let issue = |i: usize| v1::StreamForecastsRequest {
        sequence: u64::try_from(i).unwrap(),
        // A second apart, over the last ten minutes.
        forecast: Some(forecast(
            &hydro("a"),
            i64::try_from(i).unwrap() - 600,
            0,
            &[1_000; 4],
        )),
        accept_jump: true,
    };
    let n_max = limits::ISSUES_PER_SUPPLY_MAX;
    let issues = tokio_stream::iter((0..n_max + 3).map(issue));
    let mut answers = server
        .forecasts()
        .stream_forecasts(issues)
        .await
        .unwrap()
        .into_inner();
    while let Some(answer) = answers.message().await.unwrap() {
        use v1::stream_forecasts_response::Outcome;
        assert!(
            matches!(answer.outcome, Some(Outcome::Receipt(_))),
            "{answer:?}"
        );
    }
    let request = v1::ListForecastsRequest {
        page_size: 1_000,
        ..v1::ListForecastsRequest::default()
    };
    let listed = server.forecasts().list_forecasts(request).await;
    let listed = listed.unwrap().into_inner().forecasts;
    assert_eq!(listed.len(), n_max);
    let oldest = listed.last().unwrap().issued_at.unwrap().seconds;
    assert_eq!(oldest, at(0).seconds - 600 + 3);
}

#[tokio::test]
async fn a_series_covers_at_most_28_days() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let put = async |n: usize| {
        let request = v1::PutForecastRequest {
            forecast: Some(forecast(&hydro("a"), 0, 0, &vec![1_000; n])),
            accept_jump: true,
        };
        server.forecasts().put_forecast(request).await
    };
    let refused = put(limits::SERIES_SLOTS_MAX + 1).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    let receipt = put(limits::SERIES_SLOTS_MAX).await.unwrap().into_inner();
    assert_eq!(receipt.receipt.unwrap().covered_slots, 2_688);
}

#[tokio::test]
async fn an_explanation_remembers_the_last_16_changes_newest_first() {
    let server = TestServer::with_sites(vec![site("a"), site("b")]).await;
    let job = server.submit("job", job()).await;
    for _ in 0..10 {
        for site_id in ["a", "b"] {
            server.cordon(site_id).await;
            server.uncordon(site_id).await;
        }
    }
    let history = server.explain(&job.job_id).await.history;
    let sites: Vec<&str> = history
        .iter()
        .map(|change| change.site_id.as_str())
        .collect();
    assert_eq!(sites, ["a", "b"].repeat(limits::PLACEMENT_HISTORY_MAX / 2));
    assert!(
        history
            .windows(2)
            .all(|pair| pair[0].revision > pair[1].revision)
    );
    assert_eq!(server.get(&job.job_id).await.replan_count, 20);
}

#[tokio::test]
async fn a_quote_names_the_best_16_alternatives_and_every_site() {
    let sites: Vec<v1::Site> = (0..20).map(|i| site(&format!("site-{i:02}"))).collect();
    let server = TestServer::with_sites(sites).await;
    // The higher its number, the greener a site is.
    for i in 0..20_u64 {
        let watts = [i * 10; 96];
        server.forecast_at(&format!("site-{i:02}"), 0, &watts).await;
    }
    let quote = server.quote(job()).await;
    assert_eq!(quote.sites.len(), 20);
    assert_eq!(quote.placement.unwrap().site_id, "site-19");
    let alternatives = quote.alternatives.iter();
    let named: Vec<String> = alternatives.map(|other| other.site_id.clone()).collect();
    let expected: Vec<String> = (3..19).rev().map(|i| format!("site-{i:02}")).collect();
    assert_eq!(named, expected);
}

#[tokio::test]
async fn a_city_stands_in_one_zone_only() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let revision = server.revision().await;
    let mut second = latencies(10_000, &[]);
    second.zones[0].zone_id = "other".into();
    let refused = server.sites().put_latencies(second).await;
    let status = assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
    assert!(status.message().contains(CITY) && status.message().contains(ZONE));
    assert_eq!(server.revision().await, revision);
}
