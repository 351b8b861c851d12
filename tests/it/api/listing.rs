//! Listings: filters, orders, and pages that show one revision while the world goes on.

use std::time::Duration;

use lancang::proto::v1;
use tonic::Code;

use super::{
    client::assert_refused,
    world::{ZONE, green_between, green_job, job, job_between, site, submission},
};
use crate::support::in_memory::TestServer;

fn named(name: &str, team: &str, spec: v1::JobSpec) -> v1::JobSpec {
    let mut spec = v1::JobSpec {
        name: name.into(),
        ..spec
    };
    if !team.is_empty() {
        spec.labels.insert("team".into(), team.into());
    }
    spec
}

/// Six jobs, one in each state but two planned ones; now is the start of slot 2.
///
/// In the order of their acceptance: `foxtrot` and `alpha` at the start, `bravo`, `charlie`, `delta` and `echo` a
/// minute later. `alpha` has the one green hour (slots 16 to 20), which `foxtrot` would need and waits for. `bravo`
/// (two tasks, priority 10) missed its start in slot 1 and has another one in slot 2; `echo` (priority 1) missed its deadline. `charlie`, the one
/// that names a zone, is held, `delta` is cancelled.
async fn six_jobs() -> TestServer {
    let server = TestServer::with_sites(vec![site("a")]).await;
    server
        .forecast_at("a", 0, &green_between(96, 16, 20, 1_000))
        .await;
    let held = |name: &str, spec| v1::SubmitJobRequest {
        hold: true,
        ..submission(name, spec)
    };
    let foxtrot = named("foxtrot", "", green_job(1_000, 500));
    let foxtrot = server.try_submit(held("foxtrot", foxtrot)).await.unwrap();
    // It may not run on less green power either, so that it does not make room.
    let alpha = named("alpha", "film", green_job(1_000, 500));
    server.submit("alpha", alpha).await;
    let foxtrot = foxtrot.job.unwrap().job_id;
    server.try_release(&foxtrot).await.unwrap();
    server.advance(Duration::from_secs(60)).await;
    let mut bravo = named("bravo", "bank", job_between(0, 10));
    bravo.task_count = 2;
    bravo.priority = 10;
    server.submit("bravo", bravo).await;
    let mut charlie = named("charlie", "", job());
    charlie.origin = Some(v1::Origin {
        zone_id: ZONE.into(),
        ..v1::Origin::default()
    });
    server.try_submit(held("charlie", charlie)).await.unwrap();
    let delta = server.submit("delta", named("delta", "", job())).await;
    server.try_cancel(&delta.job_id).await.unwrap();
    let mut echo = named("echo", "", job_between(0, 5));
    echo.priority = 1;
    server.submit("echo", echo).await;
    server.advance(Duration::from_secs(1_740)).await;
    server
}

fn names(jobs: &[v1::Job]) -> String {
    let names = jobs
        .iter()
        .map(|job| job.spec.as_ref().unwrap().name.as_str());
    names.collect::<Vec<_>>().join(" ")
}

/// Filters, and the names of the six jobs that they select.
const FILTERS: [(&str, &str); 50] = [
    ("", "alpha bravo charlie delta echo foxtrot"),
    ("name = alpha", "alpha"),
    ("name != alpha", "bravo charlie delta echo foxtrot"),
    ("state = HELD", "charlie"),
    ("state = QUEUED", "foxtrot"),
    ("state = PLANNED", "alpha bravo"),
    ("state = JOB_STATE_CANCELLED", "delta"),
    ("state = EXPIRED", "echo"),
    ("state != PLANNED", "charlie delta echo foxtrot"),
    ("site_id = a", "alpha bravo"),
    ("site_id != a", "charlie delta echo foxtrot"),
    ("city_id = vientiane", "alpha bravo delta echo foxtrot"),
    ("zone_id = mekong", "charlie"),
    ("cause = SUBMITTED", "alpha charlie"),
    ("cause = START_MISSED", "bravo"),
    ("cause = CANCELLED", "delta"),
    ("cause = DEADLINE", "echo"),
    (
        "cause != SUBMITTED AND cause != DEADLINE",
        "bravo delta foxtrot",
    ),
    ("labels.team = film", "alpha"),
    ("labels.team != film", "bravo charlie delta echo foxtrot"),
    ("labels.team:*", "alpha bravo"),
    ("labels:team", "alpha bravo"),
    ("labels.team:bank", "bravo"),
    ("create_time < 2026-11-24T00:01:00Z", "alpha foxtrot"),
    (
        "create_time <= 2026-11-24T00:01:00Z",
        "alpha bravo charlie delta echo foxtrot",
    ),
    (
        "create_time >= 2026-11-24T00:01:00Z",
        "bravo charlie delta echo",
    ),
    ("create_time > 2026-11-24T00:01:00Z", ""),
    ("create_time = 2026-11-24T08:00:00+08:00", "alpha foxtrot"),
    // Slot 16 begins at 04:00, slot 2 at 00:30.
    ("start_time = 2026-11-24T04:00:00Z", "alpha"),
    ("start_time < 2026-11-24T04:00:00Z", "bravo"),
    (
        "start_time != 2026-11-24T04:00:00Z",
        "bravo charlie delta echo foxtrot",
    ),
    ("end_time <= 2026-11-24T01:30:00Z", "bravo"),
    ("end_time > 2026-11-24T01:30:00Z", "alpha"),
    // Slot 10 begins at 02:30; the horizon of two days stands in for a deadline.
    ("finish_deadline = 2026-11-24T02:30:00Z", "bravo"),
    (
        "finish_deadline > 2026-11-25T00:00:00Z",
        "alpha charlie delta foxtrot",
    ),
    (
        "finish_deadline = 2026-11-26T00:00:00Z",
        "alpha charlie delta foxtrot",
    ),
    ("green_share_permille >= 1000", "alpha"),
    ("green_share_permille < 1000", "bravo"),
    (
        "green_share_permille != 0",
        "alpha charlie delta echo foxtrot",
    ),
    ("task_count > 1", "bravo"),
    ("task_count = 1", "alpha charlie delta echo foxtrot"),
    ("priority > 5", "bravo"),
    ("priority = 5", "alpha charlie delta foxtrot"),
    ("priority < 5", "echo"),
    ("replan_count >= 1", "bravo"),
    ("NOT replan_count = 0", "bravo"),
    // As in AIP-160, OR binds tighter than AND.
    ("name = alpha OR name = bravo AND state = HELD", ""),
    (
        "name = alpha OR (name = bravo AND state = PLANNED)",
        "alpha bravo",
    ),
    (
        "NOT (state = PLANNED OR state = HELD)",
        "delta echo foxtrot",
    ),
    ("name = \"alpha\" OR name = 'bravo'", "alpha bravo"),
];

#[tokio::test]
async fn every_field_of_the_filter_selects_what_it_says() {
    let server = six_jobs().await;
    for (filter, expected) in FILTERS {
        let listed = server.list(filter, "name").await;
        assert_eq!(names(&listed), expected, "{filter:?}");
    }
    let echo = &server.list("name = echo", "").await[0].job_id;
    let by_id = server.list(&format!("job_id = {echo}"), "").await;
    assert_eq!(names(&by_id), "echo");
    let others = server.list(&format!("job_id != \"{echo}\""), "name").await;
    assert_eq!(names(&others), "alpha bravo charlie delta foxtrot");
}

#[tokio::test]
async fn every_order_is_kept_over_pages_of_any_size() {
    let server = six_jobs().await;
    let cases = [
        ("", "foxtrot alpha bravo charlie delta echo"),
        ("create_time", "foxtrot alpha bravo charlie delta echo"),
        ("create_time desc", "bravo charlie delta echo foxtrot alpha"),
        // `foxtrot` was released at the start, `bravo` and `echo` changed in slot 2.
        ("update_time", "foxtrot alpha charlie delta bravo echo"),
        ("update_time desc", "bravo echo charlie delta foxtrot alpha"),
        // Without a start they come last either way.
        ("start_time", "bravo alpha foxtrot charlie delta echo"),
        ("start_time desc", "alpha bravo foxtrot charlie delta echo"),
        ("finish_deadline", "echo bravo foxtrot alpha charlie delta"),
        (
            "finish_deadline desc",
            "foxtrot alpha charlie delta bravo echo",
        ),
        ("name", "alpha bravo charlie delta echo foxtrot"),
        ("name desc", "foxtrot echo delta charlie bravo alpha"),
        ("priority", "echo foxtrot alpha charlie delta bravo"),
        ("priority desc", "bravo foxtrot alpha charlie delta echo"),
    ];
    for (order_by, expected) in cases {
        for page_size in 1..=7 {
            let mut listed = Vec::new();
            let mut request = v1::ListJobsRequest {
                page_size,
                order_by: order_by.into(),
                ..v1::ListJobsRequest::default()
            };
            loop {
                let page = server.jobs().list_jobs(request.clone()).await;
                let page = page.unwrap().into_inner();
                let size = usize::try_from(page_size).unwrap();
                assert!((1..=size).contains(&page.jobs.len()), "no empty page");
                listed.extend(page.jobs);
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            assert_eq!(names(&listed), expected, "{order_by:?} by {page_size}");
        }
    }
}

#[tokio::test]
async fn pages_show_one_revision_while_writes_go_on() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    for i in 0..25 {
        server.submit(&format!("job-{i}"), job()).await;
    }
    let then = server.list("state = PLANNED", "").await;
    let revision = server.revision().await;
    let mut listed = Vec::new();
    let mut request = v1::ListJobsRequest {
        page_size: 4,
        filter: "state = PLANNED".into(),
        ..v1::ListJobsRequest::default()
    };
    for round in 0.. {
        let page = server.jobs().list_jobs(request.clone()).await;
        let page = page.unwrap().into_inner();
        assert_eq!(page.revision, revision);
        listed.extend(page.jobs);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        // What is still to be shown, and what was shown already, changes; more comes.
        server.try_cancel(&then[24 - round].job_id).await.unwrap();
        server.try_hold(&then[round].job_id).await.unwrap();
        server.submit(&format!("more-{round}"), job()).await;
        if round == 2 {
            server.cordon("a").await;
            server.uncordon("a").await;
        }
    }
    assert_eq!(listed, then);
    let now = server.list("state = PLANNED", "").await;
    assert_ne!(now, then);
}

/// The first page of one job, and the token of the next.
async fn first_page(server: &TestServer) -> (v1::ListJobsRequest, String) {
    let request = v1::ListJobsRequest {
        page_size: 1,
        filter: "task_count = 1".into(),
        order_by: "name".into(),
        ..v1::ListJobsRequest::default()
    };
    let page = server.jobs().list_jobs(request.clone()).await;
    (request, page.unwrap().into_inner().next_page_token)
}

#[tokio::test]
async fn a_token_opens_only_the_listing_it_came_from() {
    let server = TestServer::with_sites(vec![site("a"), site("b")]).await;
    for key in ["one", "two"] {
        server.submit(key, named(key, "", job())).await;
    }
    let (request, page_token) = first_page(&server).await;
    let with = |change: fn(&mut v1::ListJobsRequest)| {
        let mut request = v1::ListJobsRequest {
            page_token: page_token.clone(),
            ..request.clone()
        };
        change(&mut request);
        request
    };
    let wrong = [
        with(|request| request.filter.clear()),
        with(|request| request.order_by = "name desc".into()),
        with(|request| request.page_token = "0123abcd".into()),
        with(|request| request.page_token.push_str("00")),
        with(|request| request.page_size = -1),
        with(|request| request.filter = "name = ".into()),
        with(|request| request.order_by = "size".into()),
    ];
    for request in wrong {
        let refused = server.jobs().list_jobs(request).await;
        assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
    }
    let sites = v1::ListSitesRequest {
        page_size: 1,
        ..v1::ListSitesRequest::default()
    };
    let page = server.sites().list_sites(sites.clone()).await.unwrap();
    let site_token = page.into_inner().next_page_token;
    let refused = server
        .sites()
        .list_sites(v1::ListSitesRequest {
            page_token: page_token.clone(),
            ..sites.clone()
        })
        .await;
    assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
    let mut lister = server.sites();
    let page = lister.list_sites(v1::ListSitesRequest {
        page_token: site_token,
        ..sites
    });
    let page = page.await.unwrap().into_inner();
    assert_eq!((page.sites.len(), page.sites[0].site_id.as_str()), (1, "b"));
    assert_eq!(page.next_page_token, "");
    // Another page size is welcome.
    let rest = server
        .jobs()
        .list_jobs(with(|request| request.page_size = 100))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(names(&rest.jobs), "two");
    assert_eq!(rest.next_page_token, "");
}

#[tokio::test]
async fn a_token_lasts_until_64_newer_listings_are_open_or_the_server_restarts() {
    let mut server = TestServer::with_sites(vec![site("a")]).await;
    for key in ["one", "two"] {
        server.submit(key, named(key, "", job())).await;
    }
    let (first, token) = first_page(&server).await;
    let next = |page_token: &str| v1::ListJobsRequest {
        page_token: page_token.into(),
        ..first.clone()
    };
    let mut tokens = vec![token];
    for i in 0..63 {
        server.submit(&format!("more-{i}"), job()).await;
        tokens.push(first_page(&server).await.1);
    }
    let page = server.jobs().list_jobs(next(&tokens[0])).await.unwrap();
    assert_eq!(names(&page.into_inner().jobs), "two");
    server.submit("last", job()).await;
    first_page(&server).await;
    let expired = server.jobs().list_jobs(next(&tokens[0])).await;
    assert_refused(expired, Code::OutOfRange, "PAGE_TOKEN_EXPIRED");
    server.jobs().list_jobs(next(&tokens[1])).await.unwrap();
    server.reopen().await;
    let expired = server.jobs().list_jobs(next(&tokens[1])).await;
    assert_refused(expired, Code::OutOfRange, "PAGE_TOKEN_EXPIRED");
}
