//! What moves a placed job: forecasts, sites, latencies, the clock; and what does not.
//!
//! All changes of one cause are one revision, and each says what it was, what it is, and why.

use std::time::Duration;

use lancang::proto::v1;

use super::{
    client::{energy, place, place_of, there},
    world::{
        CITY, KWH_WATT_SECONDS, at, forecast, green_between, green_job, hydro, job, job_between,
        latencies, pool, seconds, site, submission,
    },
};
use crate::support::in_memory::{TestServer, options};

/// What changed: job, cause, trigger, place before and after.
type Change<'a> = (
    &'a str,
    v1::ChangeCause,
    &'a str,
    Option<String>,
    Option<String>,
);

fn told(events: &[v1::JobEvent]) -> Vec<Change<'_>> {
    let short = |placement: Option<&v1::Placement>| {
        placement.map(|placement| {
            let (site, start, end) = place(placement);
            format!("{site} {start}-{end}")
        })
    };
    let events = events.iter();
    events
        .map(|event| {
            let job = event.job.as_ref().unwrap();
            let name = job.spec.as_ref().unwrap().name.as_str();
            let (old, new) = (event.old_placement.as_ref(), job.placement.as_ref());
            (
                name,
                event.cause(),
                event.trigger.as_str(),
                short(old),
                short(new),
            )
        })
        .collect()
}

fn named(name: &str, spec: v1::JobSpec) -> v1::JobSpec {
    v1::JobSpec {
        name: name.into(),
        ..spec
    }
}

fn some(place: &str) -> Option<String> {
    Some(place.into())
}

#[tokio::test]
async fn a_forecast_moves_jobs_in_one_revision_that_says_everything() {
    let server = TestServer::with_sites(vec![site("a"), site("b")]).await;
    server
        .forecast_at("b", 0, &green_between(96, 40, 48, 2_000))
        .await;
    for name in ["one", "two", "three"] {
        server.submit(name, named(name, job())).await;
    }
    let before = server.revision().await;
    // The same green power sooner at another site: an earlier end alone moves nobody.
    server
        .forecast_at("a", 0, &green_between(96, 8, 12, 5_000))
        .await;
    assert_eq!(server.changes_after(before).await, []);
    let gone = forecast(&hydro("b"), 60, 0, &[0; 96]);
    let receipt = server.put_forecast(gone).await;
    let events = server.changes_after(before).await;
    let cause = v1::ChangeCause::Forecast;
    let id = receipt.forecast_id.as_str();
    let to = some("a 8-12");
    // The third found the first hour of `b` taken by the two before.
    let expected = [
        ("one", cause, id, some("b 40-44"), to.clone()),
        ("two", cause, id, some("b 40-44"), to.clone()),
        ("three", cause, id, some("b 44-48"), to.clone()),
    ];
    assert_eq!(told(&events), expected);
    let revisions: Vec<_> = events
        .iter()
        .map(|event| (event.revision, event.last_in_revision))
        .collect();
    let next = receipt.revision + 1;
    assert_eq!(revisions, [(next, false), (next, false), (next, true)]);
    for event in &events {
        assert_eq!(event.from_state(), v1::JobState::Planned);
        assert_eq!(event.to_state(), v1::JobState::Planned);
        let job = event.job.as_ref().unwrap();
        assert_eq!(server.get(&job.job_id).await, *job);
        assert_eq!((job.revision, job.replan_count), (next, 1));
        assert_eq!(energy(job), [KWH_WATT_SECONDS, 0, 0, 0]);
        let history = server.explain(&job.job_id).await.history;
        let newest = &history[0];
        assert_eq!((newest.trigger.as_str(), newest.cause()), (id, cause));
        assert_eq!(newest.site_id, "a");
        assert_eq!(newest.start_time, Some(at(8)));
    }
}

#[tokio::test]
async fn a_small_gain_moves_nobody() {
    // A job of 1 kW with so many watts green moves to a fully green hour elsewhere from a gain of 5 % on.
    for (watts, moves) in [(951, false), (950, true)] {
        let server = TestServer::with_sites(vec![site("a"), site("b")]).await;
        server
            .forecast_at("b", 0, &green_between(96, 40, 44, watts))
            .await;
        let job = server.submit("job", job()).await;
        assert_eq!(place_of(&job), there("b", 40, 44));
        server
            .forecast_at("a", 0, &green_between(96, 8, 12, 1_000))
            .await;
        let after = server.get(&job.job_id).await;
        assert_eq!(after != job, moves, "{watts}");
        if moves {
            assert_eq!(place_of(&after), there("a", 8, 12));
        }
    }
}

#[tokio::test]
async fn what_a_forecast_takes_and_gives_where_a_job_is_changes_its_account_only() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    server
        .forecast_at("a", 0, &green_between(96, 40, 44, 1_000))
        .await;
    let job = server.submit("job", job()).await;
    let less = forecast(&hydro("a"), 60, 0, &green_between(96, 40, 44, 600));
    server.put_forecast(less).await;
    let after = server.get(&job.job_id).await;
    assert_eq!(place_of(&after), there("a", 40, 44));
    // 600 W and 400 W for an hour.
    assert_eq!(energy(&after), [600 * 3_600, 0, 0, 400 * 3_600]);
    assert_eq!(after.cause(), v1::ChangeCause::Forecast);
}

#[tokio::test]
async fn sound_jobs_move_only_so_many_at_a_time() {
    let mut few = options();
    few.replan_max_moves = 2;
    let server = TestServer::with_options(few).await;
    server.create_sites(vec![site("a")]).await;
    for i in 0..5 {
        // Not before the next slot: what begins in the present one stays.
        server.submit(&format!("job-{i}"), job_between(1, 96)).await;
    }
    let mut before = server.revision().await;
    let mut moved = Vec::new();
    for round in 1..=4 {
        let green = green_between(96, 40, 48, 5_000 + u64::try_from(round).unwrap());
        server
            .put_forecast(forecast(&hydro("a"), round, 0, &green))
            .await;
        let events = server.changes_after(before).await;
        assert!(events.iter().all(|e| e.revision == events[0].revision));
        // The others only learn that a forecast covers their slots now.
        let is_moved = |event: &&v1::JobEvent| {
            let now = event.job.as_ref().and_then(|job| job.placement.as_ref());
            let runs = |placement: &v1::Placement| placement.runs.clone();
            event.old_placement.as_ref().map(runs) != now.map(runs)
        };
        moved.push(events.iter().filter(is_moved).count());
        before = server.revision().await;
    }
    assert_eq!(moved, [2, 2, 1, 0]);
    // Jobs that have lost their place are not counted.
    server.create_sites(vec![site("b")]).await;
    let before = server.revision().await;
    server.cordon("a").await;
    assert_eq!(server.changes_after(before).await.len(), 5);
}

#[tokio::test]
async fn a_cordon_moves_all_jobs_away_and_nothing_comes_back() {
    let server = TestServer::with_sites(vec![site("a"), site("b")]).await;
    for name in ["one", "two"] {
        server.submit(name, named(name, job())).await;
    }
    let before = server.revision().await;
    server.cordon("a").await;
    let cause = v1::ChangeCause::Cordon;
    let (from, to) = (some("a 0-4"), some("b 0-4"));
    let expected = [
        ("one", cause, "a", from.clone(), to.clone()),
        ("two", cause, "a", from, to),
    ];
    let events = server.changes_after(before).await;
    assert_eq!(told(&events), expected);
    assert_eq!(events[0].revision, events[1].revision);
    let placed = server.submit("three", job()).await;
    assert_eq!(place_of(&placed), there("b", 0, 4));
    // No gain is to be had at `a`, so nobody moves when it is open again.
    let before = server.revision().await;
    server.uncordon("a").await;
    assert_eq!(server.changes_after(before).await, []);
}

#[tokio::test]
async fn a_job_without_a_site_waits_and_says_why() {
    let server = TestServer::with_sites(vec![site("a"), site("b")]).await;
    let far = latencies(30_000, &["b"]);
    server.sites().put_latencies(far).await.unwrap();
    server.settle().await;
    let mut near = job();
    near.origin.as_mut().unwrap().max_rtt_us = 20_000;
    let job = server.submit("job", near).await;
    server.cordon("a").await;
    let queued = server.get(&job.job_id).await;
    assert_eq!(queued.state(), v1::JobState::Queued);
    assert_eq!(queued.cause(), v1::ChangeCause::Cordon);
    assert_eq!(queued.placement, None);
    let why = server.explain(&job.job_id).await;
    let reasons: Vec<_> = why
        .sites
        .iter()
        .map(|site| {
            let [refusal] = &site.refusals[..] else {
                panic!("one reason: {site:?}")
            };
            (
                site.site_id.as_str(),
                refusal.reason(),
                refusal.need,
                refusal.have,
            )
        })
        .collect();
    let expected = [
        ("a", v1::RefusalReason::SiteCordoned, 0, 0),
        ("b", v1::RefusalReason::LatencyExceeded, 20_000, 30_000),
    ];
    assert_eq!(reasons, expected);
    let cordoned = &why.sites[0].refusals[0];
    assert!(cordoned.message.contains("works on the mains"));
    let [suggestion] = &why.suggestions[..] else {
        panic!("one suggestion: {:?}", why.suggestions)
    };
    assert_eq!(suggestion.kind(), v1::SuggestionKind::LargerRtt);
    assert_eq!(suggestion.max_rtt_us, 30_000);
    assert_eq!(suggestion.site_id, "b");
    assert_eq!(why.history[0].site_id, "", "it lost its placement");
    server.uncordon("a").await;
    let placed = server.get(&job.job_id).await;
    assert_eq!(place_of(&placed), there("a", 0, 4));
    assert_eq!(placed.cause(), v1::ChangeCause::SiteAvailable);
}

#[tokio::test]
async fn a_lower_cap_sends_away_what_is_too_much() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    server
        .forecast_at("a", 0, &green_between(96, 16, 20, 5_000))
        .await;
    for (name, deadline) in [("one", 90), ("two", 96), ("three", 80), ("four", 96)] {
        server
            .submit(name, named(name, job_between(0, deadline)))
            .await;
    }
    let before = server.revision().await;
    let lower = v1::Site {
        power_cap_watts: 2_500,
        ..site("a")
    };
    server.update_site(lower, &["power_cap_watts"]).await;
    // Two of four jobs of 1 kW fit under 2.5 kW: those with the earliest deadlines stay. The others are grey now, and
    // go where they end first.
    let cause = v1::ChangeCause::SiteChanged;
    let (from, to) = (some("a 16-20"), some("a 0-4"));
    let expected = [
        ("two", cause, "a", from.clone(), to.clone()),
        ("four", cause, "a", from, to),
    ];
    let events = server.changes_after(before).await;
    assert_eq!(told(&events), expected);
}

#[tokio::test]
async fn a_smaller_pool_sends_away_what_is_too_much_and_a_new_one_takes_over() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    for i in 0..10 {
        server.submit(&format!("job-{i}"), job_between(0, 96)).await;
    }
    let smaller = v1::Site {
        pools: vec![pool("general", 1)],
        ..site("a")
    };
    server.update_site(smaller, &["pools"]).await;
    // One node of 64 cores takes 8 jobs of 8 cores at a time.
    let starts = |jobs: &[v1::Job]| {
        let starts = jobs.iter().map(|job| place_of(job).1);
        starts.fold([0; 2], |mut counts, start| {
            counts[usize::from(start != 0)] += 1;
            counts
        })
    };
    assert_eq!(starts(&server.list("", "").await), [8, 2]);
    let before = server.revision().await;
    let other = v1::Site {
        pools: vec![pool("other", 10)],
        ..site("a")
    };
    server.update_site(other, &["pools"]).await;
    assert_eq!(server.changes_after(before).await.len(), 10);
    let jobs = server.list("", "").await;
    assert_eq!(starts(&jobs), [10, 0]);
    for job in jobs {
        assert_eq!(job.cause(), v1::ChangeCause::SiteChanged);
        assert_eq!(job.placement.unwrap().pool_id, "other");
    }
}

#[tokio::test]
async fn a_longer_way_moves_jobs_to_a_nearer_site() {
    let server = TestServer::with_sites(vec![site("a"), site("b")]).await;
    server.submit("job", named("job", job())).await;
    let before = server.revision().await;
    // The budget of the zone is 50 ms.
    let far = latencies(50_001, &["a"]);
    server.sites().put_latencies(far).await.unwrap();
    server.settle().await;
    let moved = (
        "job",
        v1::ChangeCause::Latency,
        "",
        some("a 0-4"),
        some("b 0-4"),
    );
    assert_eq!(told(&server.changes_after(before).await), [moved]);
    // What is just within the budget moves nobody.
    let before = server.revision().await;
    let limit = latencies(50_000, &["b"]);
    server.sites().put_latencies(limit).await.unwrap();
    server.settle().await;
    let events = server.changes_after(before).await;
    assert!(events.iter().all(|event| {
        let job = event.job.as_ref().unwrap();
        place_of(job) == there("b", 0, 4)
    }));
}

#[tokio::test]
async fn a_start_that_passed_is_planned_again_until_the_deadline() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let first = server.submit("job", named("job", job_between(0, 6))).await;
    let mut held = submission("held", named("held", job_between(0, 6)));
    held.hold = true;
    let held = server.try_submit(held).await.unwrap().job.unwrap();
    let mut start_by = named("start", job());
    start_by.timing.as_mut().unwrap().start_deadline = Some(at(1));
    server.submit("start", start_by).await;
    // The slot that it starts in is not over.
    server.advance(Duration::from_secs(899)).await;
    assert_eq!(server.get(&first.job_id).await, first);
    let before = server.revision().await;
    server.advance(Duration::from_secs(1)).await;
    let missed = v1::ChangeCause::StartMissed;
    let expected = [
        ("job", missed, "", some("a 0-4"), some("a 1-5")),
        ("start", missed, "", some("a 0-4"), some("a 1-5")),
    ];
    assert_eq!(told(&server.changes_after(before).await), expected);
    let before = server.revision().await;
    server.advance_slots(1).await;
    let expected = [
        ("start", v1::ChangeCause::Deadline, "", some("a 1-5"), None),
        ("job", missed, "", some("a 1-5"), some("a 2-6")),
    ];
    assert_eq!(told(&server.changes_after(before).await), expected);
    assert_eq!(server.get(&first.job_id).await.replan_count, 2);
    let before = server.revision().await;
    server.advance_slots(1).await;
    let late = v1::ChangeCause::Deadline;
    let expected = [
        ("job", late, "", some("a 2-6"), None),
        ("held", late, "", None, None),
    ];
    assert_eq!(told(&server.changes_after(before).await), expected);
    for job_id in [&first.job_id, &held.job_id] {
        let expired = server.get(job_id).await;
        assert_eq!(expired.state(), v1::JobState::Expired);
        assert_eq!(expired.placement, None);
        assert_eq!(server.explain(job_id).await.sites, []);
        assert!(server.try_cancel(job_id).await.is_err(), "it is final");
    }
    let before = server.revision().await;
    server.advance_slots(20).await;
    assert_eq!(server.revision().await, before);
}

#[tokio::test]
async fn a_server_that_was_away_plans_anew_what_it_missed() {
    let mut server = TestServer::with_sites(vec![site("a")]).await;
    let job = server.submit("job", job()).await;
    let short = server.submit("short", job_between(0, 6)).await;
    server.reopen().await;
    // Nobody asked it anything for two hours.
    server.advance_slots(8).await;
    server.reopen().await;
    server.settle().await;
    assert_eq!(place_of(&server.get(&job.job_id).await), there("a", 8, 12));
    let expired = server.get(&short.job_id).await;
    assert_eq!(expired.state(), v1::JobState::Expired);
}

#[tokio::test]
async fn a_late_issue_rules_only_what_nothing_newer_covers_and_moves_nobody() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    let green = green_between(96, 16, 20, 1_000);
    server
        .put_forecast(forecast(&hydro("a"), 100, 0, &green))
        .await;
    let first = server.submit("first", job()).await;
    let second = server.submit("second", job()).await;
    assert_eq!(place_of(&first), there("a", 16, 20));
    assert_eq!(place_of(&second), there("a", 0, 4));
    // The green hour is free again; a sound job does not move for that.
    server.try_cancel(&first.job_id).await.unwrap();
    server.settle().await;
    assert_eq!(server.get(&second.job_id).await, second);
    let before = server.revision().await;
    let late = server
        .put_forecast(forecast(&hydro("a"), 50, 0, &[0; 96]))
        .await;
    assert_eq!((late.covered_slots, late.ruling_slots), (96, 0));
    // It is stored, and that is all.
    assert_eq!(server.revision().await, before + 1);
    assert_eq!(server.changes_after(before).await, []);
    let third = server.submit("third", job()).await;
    assert_eq!(place_of(&third), there("a", 16, 20));
    // One that reaches further rules only there.
    let longer = forecast(&hydro("a"), 40, 0, &[500; 120]);
    let longer = server.put_forecast(longer).await;
    assert_eq!((longer.covered_slots, longer.ruling_slots), (120, 24));
}

#[tokio::test]
async fn a_better_forecast_or_a_new_site_places_what_waits() {
    let server = TestServer::with_sites(vec![site("a")]).await;
    server
        .forecast_at("a", 0, &green_between(96, 40, 44, 1_000))
        .await;
    let picky = |name| named(name, green_job(900, 500));
    server.submit("one", picky("one")).await;
    let before = server.revision().await;
    let none = forecast(&hydro("a"), 60, 0, &[0; 96]);
    let none = server.put_forecast(none).await;
    let some_again = forecast(&hydro("a"), 120, 0, &green_between(96, 30, 34, 900));
    let some_again = server.put_forecast(some_again).await;
    let cause = v1::ChangeCause::Forecast;
    let expected = [
        ("one", cause, &*none.forecast_id, some("a 40-44"), None),
        (
            "one",
            cause,
            &*some_again.forecast_id,
            None,
            some("a 30-34"),
        ),
    ];
    assert_eq!(told(&server.changes_after(before).await), expected);
    server.cordon("a").await;
    let before = server.revision().await;
    let mut grey = site("b");
    grey.supplies = vec![];
    server.create_sites(vec![grey]).await;
    assert_eq!(
        server.changes_after(before).await,
        [],
        "`b` has no green power"
    );
    server.create_sites(vec![site("c")]).await;
    let now_green = server.forecast_at("c", 0, &[1_000; 96]).await;
    let expected = [("one", cause, &*now_green.forecast_id, None, some("c 0-4"))];
    assert_eq!(told(&server.changes_after(before).await), expected);
}

#[tokio::test]
async fn stale_forecasts_fade_into_the_profile() {
    let mut traits = site("a");
    // The profile says 5 kW: 3.6 kW to be sure of and 6.4 kW at best, as for all hydro power.
    traits.supplies[0].monthly_capacity_permille = vec![500; 12];
    let server = TestServer::with_sites(vec![traits]).await;
    let bands = async |from: i64, to: i64| {
        let request = v1::GetForecastRequest {
            supply_id: hydro("a"),
            start_time: Some(at(from)),
            end_time: Some(at(to)),
            ..v1::GetForecastRequest::default()
        };
        let answer = server.forecasts().get_forecast(request).await.unwrap();
        let answer = answer.into_inner();
        assert_eq!(answer.newest_issued_at, Some(at(0)));
        let bands = answer.bands.into_iter();
        bands
            .map(|band| {
                let watts = (band.p10_watts, band.p50_watts, band.p90_watts);
                assert_eq!(band.forecast_id.is_empty(), band.source() == Climatology);
                (watts, band.source())
            })
            .collect::<Vec<_>>()
    };
    server.forecast_at("a", 0, &[8_000; 160]).await;
    use v1::BandSource::{Climatology, Forecast, StaleForecast};
    let fresh = ((8_000, 8_000, 8_000), Forecast);
    let profile = ((3_600, 5_000, 6_400), Climatology);
    assert_eq!(bands(159, 161).await, [fresh, profile]);
    let placed = server.submit("fresh", job_between(0, 4)).await;
    assert_eq!(placed.placement.unwrap().fallback_slots, 0);
    let placed = server.submit("partly", job_between(158, 162)).await;
    assert_eq!(placed.placement.unwrap().fallback_slots, 2);
    // An issue is fresh for 26 hours.
    server.advance_slots(26 * 4).await;
    assert_eq!(bands(159, 160).await, [fresh]);
    // 39 hours: a quarter of the way from 26 to 78 hours. The band never gets narrower.
    // p10: 8000 * 3/4 + 3600 * 1/4; p50: 8000 * 3/4 + 5000 * 1/4; p90: what was issued, as the mix is below it.
    server.advance_slots(13 * 4).await;
    let faded = ((6_900, 7_250, 8_000), StaleForecast);
    assert_eq!(bands(158, 161).await, [faded, faded, profile]);
    let placed = server.submit("stale", job_between(156, 160)).await;
    let placement = placed.placement.unwrap();
    assert_eq!(
        (placement.fallback_slots, placement.green_share_permille),
        (4, 1_000)
    );
    // A new issue ends that.
    let again = server.forecast_at("a", 156, &[8_000; 8]).await;
    assert_eq!(again.ruling_slots, 8);
    let info = server
        .admin()
        .get_server_info(v1::GetServerInfoRequest {})
        .await;
    let info = info.unwrap().into_inner();
    assert_eq!(info.stalest_forecast_issued_at, Some(at(156)));
}

#[tokio::test]
async fn a_zone_counts_by_its_farthest_city() {
    let server = TestServer::with_sites(vec![site("a"), site("b")]).await;
    let mut zone = latencies(10_000, &["a", "b"]);
    zone.zones[0].cities.push(v1::City {
        city_id: "bangkok".into(),
        country: "TH".into(),
    });
    for (site_id, rtt_us) in [("a", 40_000), ("b", 30_000)] {
        zone.latencies.push(v1::Latency {
            site_id: site_id.into(),
            city_id: "bangkok".into(),
            leased_p50_us: rtt_us,
            ..v1::Latency::default()
        });
    }
    server.sites().put_latencies(zone).await.unwrap();
    let mut spec = job();
    spec.timing.as_mut().unwrap().runtime = seconds(900);
    let placed = |origin| v1::JobSpec {
        origin: Some(origin),
        ..spec.clone()
    };
    let by_zone = v1::Origin {
        zone_id: "mekong".into(),
        max_rtt_us: 35_000,
        ..v1::Origin::default()
    };
    let job = server.submit("zone", placed(by_zone)).await;
    assert_eq!(job.placement.as_ref().unwrap().rtt_us, 30_000);
    assert_eq!(place_of(&job), there("b", 0, 1));
    let by_city = v1::Origin {
        city_id: CITY.into(),
        max_rtt_us: 35_000,
        ..v1::Origin::default()
    };
    let job = server.submit("city", placed(by_city)).await;
    assert_eq!(job.placement.as_ref().unwrap().rtt_us, 10_000);
    assert_eq!(place_of(&job), there("a", 0, 1));
}
