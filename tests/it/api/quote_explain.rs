//! Quotes and explanations: the same decision as a submission, without it; and reasons with numbers.

use std::time::Duration;

use lancang::proto::v1::{self, RefusalReason, Verdict};
use proptest::{collection::vec, prelude::*};
use tonic::Code;

use super::{
    client::{assert_refused, place, place_of, there},
    history::{Draw, History, Step, config, draws, run, steps},
    world::{at, green_between, job, job_between, latencies, pool, seconds, site, submission},
};
use crate::support::in_memory::TestServer;

proptest! {
    #![proptest_config(config(6))]

    #[test]
    fn a_quote_is_what_a_submission_gives(
        before in vec(steps(), 10..30),
        asked in vec(draws(), 10..20),
    ) {
        run(async {
            let mut history = History::new().await;
            history.carry_out(&Step::Submit(Draw::easy())).await;
            for step in &before {
                history.carry_out(step).await;
            }
            let server = &history.server;
            let now = (server.now().0 / 1_000 - at(0).seconds) / 900;
            for (i, draw) in asked.iter().enumerate() {
                assert_quote_is_kept(server, &format!("asked-{i}"), draw.spec(now)).await;
            }
        });
    }
}

/// The order in which placements without weights are compared.
fn rank(placement: &v1::Placement, is_malleable: bool) -> [u64; 4] {
    let carbon = placement.carbon.unwrap().contract_mg;
    let grid = placement.energy.unwrap().grid_watt_seconds;
    let end = place(placement).2.unsigned_abs();
    let cost = placement.cost_micro_cny;
    if is_malleable {
        [grid, carbon, cost, end]
    } else {
        [grid, end, carbon, cost]
    }
}

async fn assert_quote_is_kept(server: &TestServer, key: &str, spec: v1::JobSpec) {
    let revision = server.revision().await;
    let quote = server.quote(spec.clone()).await;
    assert_eq!(
        quote,
        server.quote(spec.clone()).await,
        "asking changes nothing"
    );
    assert_eq!(server.revision().await, revision);
    assert_eq!(quote.revision, revision);
    assert_verdicts(&quote);
    let submitted = server.try_submit(submission(key, spec.clone())).await;
    let Some(promised) = quote.placement.clone() else {
        assert_refused(submitted, Code::FailedPrecondition, "JOB_INFEASIBLE");
        assert_eq!(
            (quote.quote_id.as_str(), quote.run_now.as_ref()),
            ("", None)
        );
        for suggestion in &quote.suggestions {
            let mended = server.quote(followed(spec.clone(), suggestion)).await;
            let placement = mended.placement.as_ref();
            assert!(
                placement.is_some(),
                "{suggestion:?} does not help: {mended:?}"
            );
        }
        return;
    };
    let job = submitted.unwrap().job.unwrap();
    assert_eq!(job.placement.as_ref(), Some(&promised));
    // Run at once, nobody moves for it: with others out of its way it may end sooner.
    if quote.moved_job_count == 0 {
        let now = quote.run_now.as_ref().unwrap();
        assert!(place(now).2 <= place(&promised).2, "nothing ends before it");
    }
    if spec.weights.is_none() {
        let ranks = [&promised].into_iter().chain(&quote.alternatives);
        let flexibility = spec.flexibility.as_ref();
        let is_malleable = flexibility.is_some_and(|flexibility| {
            matches!(flexibility.kind, Some(v1::flexibility::Kind::Malleable(_)))
        });
        let ranks: Vec<_> = ranks.map(|at| rank(at, is_malleable)).collect();
        assert!(ranks.is_sorted(), "{ranks:?}");
    }
    // Explained, it is where it was quoted.
    let explained = server.explain(&job.job_id).await;
    let chosen = explained
        .sites
        .iter()
        .find(|site| site.verdict() == Verdict::Chosen);
    assert_eq!(chosen.unwrap().placement, Some(promised));
    assert_eq!(explained.job, Some(job));
}

/// Every site is there, one at most is chosen, and a refused one says why, the weightiest reason first.
fn assert_verdicts(quote: &v1::QuoteJobResponse) {
    let ids: Vec<&str> = quote
        .sites
        .iter()
        .map(|site| site.site_id.as_str())
        .collect();
    assert_eq!(ids, super::history::SITES);
    let mut others = Vec::new();
    let mut chosen = None;
    for site in &quote.sites {
        let reasons: Vec<i32> = site.refusals.iter().map(|refusal| refusal.reason).collect();
        assert!(reasons.is_sorted());
        match site.verdict() {
            Verdict::Refused => {
                assert!(!reasons.is_empty());
                assert_eq!(site.placement, None);
                for refusal in &site.refusals {
                    assert!(!refusal.message.is_empty());
                    let (need, have) = (refusal.need, refusal.have);
                    match refusal.reason() {
                        // What is free at a stretch may be enough and yet too short, or never free with the rest.
                        RefusalReason::CapacityBusy | RefusalReason::PowerBusy => {}
                        RefusalReason::LatencyExceeded => assert!(need < have, "{refusal:?}"),
                        _ => assert!(refusal.unit.is_empty() || have < need, "{refusal:?}"),
                    }
                }
            }
            Verdict::Feasible => others.push(site.placement.clone().unwrap()),
            _ => {
                assert_eq!(chosen, None, "one is chosen");
                chosen = site.placement.clone();
            }
        }
    }
    assert_eq!(chosen, quote.placement);
    assert_eq!(chosen.is_none(), quote.quote_id.is_empty());
    assert_eq!(others.len(), quote.alternatives.len());
    assert!(
        others
            .iter()
            .all(|other| quote.alternatives.contains(other))
    );
}

fn followed(mut spec: v1::JobSpec, suggestion: &v1::Suggestion) -> v1::JobSpec {
    match suggestion.kind() {
        v1::SuggestionKind::LaterDeadline => {
            let timing = spec.timing.as_mut().unwrap();
            timing.finish_deadline = suggestion.finish_deadline;
        }
        v1::SuggestionKind::LargerRtt => {
            let origin = spec.origin.as_mut().unwrap();
            assert!(origin.max_rtt_us < suggestion.max_rtt_us);
            origin.max_rtt_us = suggestion.max_rtt_us;
        }
        v1::SuggestionKind::LowerGreenShare => {
            let green = spec.green.as_mut().unwrap();
            assert!(suggestion.min_share_permille < green.min_share_permille);
            green.min_share_permille = suggestion.min_share_permille;
        }
        v1::SuggestionKind::Unspecified => panic!("{suggestion:?}"),
    }
    spec
}

/// 1 kW green in slots 16 to 20 and in slots 24 to 28.
async fn two_green_hours() -> TestServer {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let mut watts = green_between(96, 16, 20, 1_000);
    watts[24..28].fill(1_000);
    server.forecast_at("a", 0, &watts).await;
    server
}

fn redeeming(key: &str, quote_id: &str, drift: Option<v1::QuoteDrift>) -> v1::SubmitJobRequest {
    v1::SubmitJobRequest {
        quote_id: quote_id.into(),
        drift,
        ..submission(key, job())
    }
}

#[tokio::test]
async fn a_quote_is_redeemed_as_long_as_it_holds() {
    let server = two_green_hours().await;
    let quote = server.quote(job()).await;
    assert_eq!(place(quote.placement.as_ref().unwrap()), there("a", 16, 20));
    // At once it would run on grid energy.
    let now = quote.run_now.unwrap();
    assert_eq!(
        (place(&now), now.green_share_permille),
        (there("a", 0, 4), 0)
    );
    assert_eq!(
        quote.expire_time,
        Some(at(0)).map(|time| prost_types::Timestamp {
            seconds: time.seconds + 300,
            ..time
        })
    );
    server.advance(Duration::from_secs(300)).await;
    let redeemed = redeeming("key", &quote.quote_id, None);
    let answer = server.try_submit(redeemed).await.unwrap();
    assert_eq!(place_of(answer.job.as_ref().unwrap()), there("a", 16, 20));
    // A repeat is the same submission, with the quote or without, even when the quote is no longer good.
    server.advance(Duration::from_secs(1)).await;
    for repeat in [
        redeeming("key", &quote.quote_id, None),
        submission("key", job()),
    ] {
        let again = server.try_submit(repeat).await.unwrap();
        assert!(again.already_existed);
    }
    let late = server
        .try_submit(redeeming("late", &quote.quote_id, None))
        .await;
    assert_refused(late, Code::FailedPrecondition, "QUOTE_INVALID");
}

#[tokio::test]
async fn a_quote_that_drifted_is_refused_beyond_what_is_welcome() {
    let server = two_green_hours().await;
    let quote = server.quote(job()).await;
    let drift = |delay_s, drop| {
        Some(v1::QuoteDrift {
            max_delay: seconds(delay_s),
            max_green_share_drop_permille: drop,
        })
    };
    server.submit("faster", job()).await;
    // The second hour is as green, and ends 8 slots later: 7200 s.
    let revision = server.revision().await;
    for refused in [None, drift(7_199, 1_000)] {
        let refused = server
            .try_submit(redeeming("key", &quote.quote_id, refused))
            .await;
        assert_refused(refused, Code::FailedPrecondition, "QUOTE_DRIFTED");
    }
    assert_eq!(server.revision().await, revision);
    let later = redeeming("later", &quote.quote_id, drift(7_200, 0));
    let later = server.try_submit(later).await.unwrap().job.unwrap();
    assert_eq!(place_of(&later), there("a", 24, 28));
    // No green hour is left: at once, all grey.
    let refused = redeeming("key", &quote.quote_id, drift(7_200, 999));
    let refused = server.try_submit(refused).await;
    assert_refused(refused, Code::FailedPrecondition, "QUOTE_DRIFTED");
    let grey = redeeming("grey", &quote.quote_id, drift(0, 1_000));
    let grey = server.try_submit(grey).await.unwrap().job.unwrap();
    assert_eq!(place_of(&grey), there("a", 0, 4));
}

#[tokio::test]
async fn a_quote_is_good_for_its_own_description_only() {
    let server = two_green_hours().await;
    let quote = server.quote(job()).await;
    let mut other = redeeming("other", &quote.quote_id, None);
    other.spec.as_mut().unwrap().task_count = 2;
    let refused = server.try_submit(other).await;
    assert_refused(refused, Code::FailedPrecondition, "QUOTE_INVALID");
    let made_up = redeeming("made-up", "00ff", None);
    let refused = server.try_submit(made_up).await;
    assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
    let no_quote = redeeming("none", "", Some(v1::QuoteDrift::default()));
    let refused = server.try_submit(no_quote).await;
    assert_refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
    assert_eq!(server.list("", "").await, []);
    let mut unknown = job();
    unknown.origin.as_mut().unwrap().city_id = "atlantis".into();
    let request = v1::QuoteJobRequest {
        spec: Some(unknown),
    };
    let refused = server.jobs().quote_job(request).await;
    assert_refused(refused, Code::NotFound, "CITY_NOT_FOUND");
}

/// Site, reason, need, have and unit of every refusal.
fn refusals(sites: &[v1::SiteVerdict]) -> Vec<(&str, RefusalReason, u64, u64, &str)> {
    let told = sites.iter().flat_map(|site| {
        site.refusals.iter().map(|refusal| {
            let (need, have) = (refusal.need, refusal.have);
            (&*site.site_id, refusal.reason(), need, have, &*refusal.unit)
        })
    });
    told.collect()
}

#[tokio::test]
async fn every_site_says_what_is_needed_and_what_it_has() {
    let mut small = site("a-small");
    small.pools = vec![pool("general", 1)];
    let mut weak = site("b-weak");
    weak.power_cap_watts = 1_500;
    let sites = vec![small, weak, site("c-closed"), site("d-busy"), site("e-lit")];
    let server = TestServer::with_sites(sites).await;
    let far = latencies(60_000, &["c-closed"]);
    server.sites().put_latencies(far).await.unwrap();
    server.cordon("c-closed").await;
    // Ten whole nodes for two hours at `d`, all the power but 1 kW for three hours at `e`.
    let at_site = |site_id: &str, mut spec: v1::JobSpec| {
        let policy = spec.data_policy.as_mut().unwrap();
        policy.allowed_sites = vec![site_id.into()];
        spec
    };
    let lasting = |hours: i64| {
        let mut spec = job_between(0, hours * 4);
        spec.timing.as_mut().unwrap().runtime = seconds(hours * 3_600);
        spec
    };
    let mut nodes = at_site("d-busy", lasting(2));
    nodes.task_count = 10;
    nodes.task_resources.as_mut().unwrap().cpu_cores = 64;
    server.submit("nodes", nodes).await;
    let mut power = at_site("e-lit", lasting(3));
    power.task_power_watts = 99_000;
    server.submit("power", power).await;
    // Two whole nodes and 2 kW for the first hour.
    let mut spec = job_between(0, 4);
    spec.task_count = 2;
    spec.task_resources.as_mut().unwrap().cpu_cores = 64;
    let quote = server.quote(spec.clone()).await;
    let expected = [
        (
            "a-small",
            RefusalReason::JobExceedsPool,
            128,
            64,
            "cpu_cores",
        ),
        (
            "b-weak",
            RefusalReason::PowerExceedsCap,
            2_000,
            1_500,
            "watts",
        ),
        (
            "c-closed",
            RefusalReason::LatencyExceeded,
            50_000,
            60_000,
            "microseconds",
        ),
        ("c-closed", RefusalReason::SiteCordoned, 0, 0, ""),
        ("d-busy", RefusalReason::CapacityBusy, 128, 0, "cpu_cores"),
        ("e-lit", RefusalReason::PowerBusy, 2_000, 1_000, "watts"),
    ];
    assert_eq!(refusals(&quote.sites), expected);
    // What is busy says until when.
    let until = |i: usize| quote.sites[i].refusals[0].until;
    assert_eq!((until(3), until(4)), (Some(at(8)), Some(at(12))));
    // The nearest change: the hour after the nodes are free again ends 8 slots after the deadline.
    let [later] = &quote.suggestions[..] else {
        panic!("one suggestion: {:?}", quote.suggestions)
    };
    assert_eq!(later.kind(), v1::SuggestionKind::LaterDeadline);
    assert_eq!(
        (later.site_id.as_str(), later.finish_deadline),
        ("d-busy", Some(at(12)))
    );
    assert_eq!(later.delay, seconds(8 * 900));
    let mended = server.quote(followed(spec, later)).await;
    assert_eq!(place(&mended.placement.unwrap()), there("d-busy", 8, 12));
}

#[tokio::test]
async fn an_explanation_says_where_why_and_why_not_elsewhere() {
    let server = TestServer::with_sites(vec![site("a"), site("b"), site("c")]).await;
    server
        .forecast_at("b", 0, &green_between(96, 16, 20, 1_000))
        .await;
    server.cordon("c").await;
    let job = server.submit("job", job()).await;
    let why = server.explain(&job.job_id).await;
    let verdicts = why.sites.iter();
    let verdicts: Vec<_> = verdicts
        .map(|site| (site.site_id.as_str(), site.verdict()))
        .collect();
    let expected = [
        ("a", Verdict::Feasible),
        ("b", Verdict::Chosen),
        ("c", Verdict::Refused),
    ];
    assert_eq!(verdicts, expected);
    let grey = why.sites[0].placement.as_ref().unwrap();
    assert_eq!(
        (place(grey), grey.green_share_permille),
        (there("a", 0, 4), 0)
    );
    for part in ["placed at b", "100.0 % green", "2 feasible sites"] {
        assert!(why.summary.contains(part), "{part}: {}", why.summary);
    }
    assert_eq!((why.suggestions.len(), why.history.len()), (0, 0));
    server.try_hold(&job.job_id).await.unwrap();
    let held = server.explain(&job.job_id).await;
    assert!(held.summary.starts_with("held"), "{}", held.summary);
    assert_eq!(held.history[0].cause(), v1::ChangeCause::Held);
    assert_eq!(held.history[0].site_id, "");
    server.try_cancel(&job.job_id).await.unwrap();
    let ended = server.explain(&job.job_id).await;
    assert_eq!(ended.sites, []);
    assert!(ended.summary.contains("not needed"), "{}", ended.summary);
    let nobody = v1::ExplainJobRequest {
        job_id: "01900000-0000-7000-8000-000000000000".into(),
    };
    let refused = server.jobs().explain_job(nobody).await;
    assert_refused(refused, Code::NotFound, "JOB_NOT_FOUND");
}
