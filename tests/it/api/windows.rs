//! Windows in which a site may draw less: what is planned moves, what runs pauses, slows down or stops.
//!
//! The tests play the agents, on a clock that only they move.

use std::time::Duration;

use lancang::proto::v1::{self, AttemptWish, ChangeCause, JobState, WindowKind};
use tonic::{Code, Status};

use super::{
    client::{Where, assert_refused, place, there, violated_fields},
    drain::{in_pieces, runs},
    world::{at, at_second, forecast, job, job_between, seconds},
};
use crate::support::in_memory::TestServer;

impl TestServer {
    async fn try_put(&self, window: v1::SiteWindow) -> Result<v1::Site, Status> {
        let request = v1::PutSiteWindowRequest {
            site_id: "dli".into(),
            window: Some(window),
            request_id: String::new(),
        };
        let answer = self.sites().put_site_window(request).await?;
        self.settle().await;
        Ok(answer.into_inner().site.unwrap())
    }

    pub(super) async fn put(&self, window: v1::SiteWindow) -> v1::Site {
        self.try_put(window).await.unwrap()
    }

    async fn try_lift(&self, window_id: &str) -> Result<v1::Site, Status> {
        let request = v1::DeleteSiteWindowRequest {
            site_id: "dli".into(),
            window_id: window_id.into(),
            request_id: String::new(),
        };
        let answer = self.sites().delete_site_window(request).await?;
        self.settle().await;
        Ok(answer.into_inner().site.unwrap())
    }

    /// What the site may draw now and what runs there, watts.
    async fn power(&self) -> (u64, u64) {
        self.settle().await;
        let power = self.site("dli").await.power.unwrap();
        (power.allowed_watts, power.running_watts)
    }
}

/// A window from one slot to another.
pub(super) fn window(kind: WindowKind, from: i64, to: i64, max_power_watts: u64) -> v1::SiteWindow {
    v1::SiteWindow {
        window_id: "w".into(),
        kind: kind.into(),
        start_time: Some(at(from)),
        end_time: Some(at(to)),
        max_power_watts,
        reason: "grid operator".into(),
    }
}

/// Where a job is, whether it has begun or not.
fn where_is(job: &v1::Job) -> Where {
    place(job.placement.as_ref().unwrap())
}

fn with_priority(priority: u32, spec: v1::JobSpec) -> v1::JobSpec {
    v1::JobSpec { priority, ..spec }
}

#[tokio::test]
async fn a_curtailment_pauses_the_lowest_priority_first_and_it_goes_on_by_plan() {
    let (mut server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let spec = |priority| with_priority(priority, in_pieces(runs(job())));
    let (high, _) = server.begin(agent, "high", spec(8)).await;
    let (low, _) = server.begin(agent, "low", spec(2)).await;
    let (rigid, _) = server
        .begin(agent, "rigid", with_priority(1, runs(job())))
        .await;
    assert_eq!(server.power().await, (100_000, 3_000));
    // In the middle of a slot, for the first hour.
    server.pass(agent, 300).await;
    server
        .put(window(WindowKind::Curtailment, 0, 4, 2_000))
        .await;
    assert_eq!(server.power().await, (2_000, 2_000));
    let paused = server.get(&low.job_id).await;
    assert_eq!(paused.cause(), ChangeCause::Curtailed);
    assert_eq!(where_is(&paused), there("dli", 4, 8));
    let order = server.order_of(agent, &low).await;
    assert_eq!(order.wish(), AttemptWish::Suspend);
    agent.say(
        &order,
        v1::agent_event::Kind::Suspended(v1::AttemptSuspended {}),
    );
    server.poll(agent).await;
    assert_eq!(server.state_of(&low).await, JobState::Suspended);
    for job in [&high, &rigid] {
        assert_eq!(server.state_of(job).await, JobState::Running);
    }
    // Nothing more begins meanwhile: all that is allowed is taken.
    let later = server.submit("later", runs(job())).await;
    assert_eq!(where_is(&later), there("dli", 4, 8));
    server.reopen().await;
    server.pass(agent, 3_600 - 300 - 1).await;
    assert_eq!(
        server.order_of(agent, &low).await.wish(),
        AttemptWish::Suspend
    );
    server.pass(agent, 1).await;
    let order = server.order_of(agent, &low).await;
    assert_eq!(order.wish(), AttemptWish::Run);
    agent.say(
        &order,
        v1::agent_event::Kind::Resumed(v1::AttemptResumed {}),
    );
    server.poll(agent).await;
    assert_eq!(server.state_of(&low).await, JobState::Running);
    assert_eq!(server.site("dli").await.windows, []);
}

#[tokio::test]
async fn a_window_that_is_lifted_lets_work_go_on_with_the_next_slot() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let (job, _) = server.begin(agent, "one", in_pieces(runs(job()))).await;
    server.put(window(WindowKind::Curtailment, 0, 8, 500)).await;
    assert_eq!(
        where_is(&server.get(&job.job_id).await),
        there("dli", 8, 12)
    );
    server.pass(agent, 1_000).await;
    let site = server.try_lift("w").await.unwrap();
    assert_eq!(site.windows, []);
    let moved = server.get(&job.job_id).await;
    assert_eq!(where_is(&moved), there("dli", 2, 6));
    assert_eq!(moved.cause(), ChangeCause::SiteAvailable);
    server.pass(agent, 800).await;
    assert_eq!(server.order_of(agent, &job).await.wish(), AttemptWish::Run);
    assert_refused(
        server.try_lift("w").await,
        Code::NotFound,
        "WINDOW_NOT_FOUND",
    );
}

#[tokio::test]
async fn only_an_emergency_stops_what_runs_in_one_piece_and_never_what_runs_once() {
    let (server, mut agents) = TestServer::with_agents(&["dli", "kmg"]).await;
    let (rigid, _) = server.begin(&mut agents[0], "rigid", runs(job())).await;
    let mut once = runs(job());
    once.execution.as_mut().unwrap().at_most_once = true;
    let (once, _) = server.begin(&mut agents[0], "once", once).await;
    server.put(window(WindowKind::Curtailment, 0, 4, 0)).await;
    // It cannot be brought under the cap, and that is shown.
    assert_eq!(server.power().await, (0, 2_000));
    let update = v1::SiteWindow {
        start_time: None,
        ..window(WindowKind::Emergency, 0, 4, 0)
    };
    server.put(update).await;
    assert_eq!(server.power().await, (0, 1_000));
    let stopping = server.get(&rigid.job_id).await;
    assert_eq!(
        (stopping.state(), stopping.cause()),
        (JobState::Stopping, ChangeCause::Curtailed)
    );
    assert_eq!(server.state_of(&once).await, JobState::Running);
    let order = server.order_of(&mut agents[0], &rigid).await;
    agents[0].end(&order, v1::AttemptEnd::Stopped, 0);
    // Both have the fence (1, 1).
    agents[0].held.push(v1::HeldAttempt {
        job_id: once.job_id.clone(),
        fence: order.fence,
    });
    server.poll(&mut agents[0]).await;
    // Its allowed site may draw nothing for an hour.
    let again = server.get(&rigid.job_id).await;
    assert_eq!(server.state_of(&rigid).await, JobState::Planned);
    assert_eq!(
        where_is(&server.get(&again.job_id).await),
        there("dli", 4, 8)
    );
}

#[tokio::test]
async fn nothing_is_planned_into_maintenance_and_what_runs_is_stopped_when_it_begins() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let (rigid, _) = server.begin(agent, "rigid", runs(job())).await;
    let (pieces, _) = server.begin(agent, "pieces", in_pieces(runs(job()))).await;
    let planned = server.submit("planned", runs(job_between(2, 12))).await;
    assert_eq!(where_is(&planned), there("dli", 2, 6));
    server.put(window(WindowKind::Maintenance, 2, 6, 0)).await;
    // What has not begun moves behind it, what can pause does so by plan, and what cannot runs on until it begins.
    let moved = server.get(&planned.job_id).await;
    assert_eq!(where_is(&moved), there("dli", 6, 10));
    assert_eq!(moved.cause(), ChangeCause::Maintenance);
    let plan = server.get(&pieces.job_id).await.placement.unwrap();
    let parts: Vec<_> = plan
        .runs
        .iter()
        .map(|run| (run.start_time, run.end_time))
        .collect();
    assert_eq!(
        parts,
        [(Some(at(0)), Some(at(2))), (Some(at(6)), Some(at(8)))]
    );
    let quote = server.quote(runs(job_between(2, 6))).await;
    assert_eq!(quote.placement, None);
    let verdict = &quote.sites[0];
    let refusal = &verdict.refusals[0];
    assert_eq!(refusal.reason(), v1::RefusalReason::Maintenance);
    assert_eq!(refusal.until, Some(at(6)));
    assert!(
        refusal.message.contains("grid operator"),
        "{}",
        refusal.message
    );
    server.pass(agent, 1_799).await;
    assert_eq!(server.state_of(&rigid).await, JobState::Running);
    server.pass(agent, 1).await;
    let stopping = server.get(&rigid.job_id).await;
    assert_eq!(
        (stopping.state(), stopping.cause()),
        (JobState::Stopping, ChangeCause::Maintenance)
    );
    assert_eq!(
        server.order_of(agent, &pieces).await.wish(),
        AttemptWish::Suspend
    );
    assert_eq!(server.power().await, (0, 0));
}

#[tokio::test]
async fn a_smaller_cap_or_pool_sheds_what_can_pause() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let (low, _) = server
        .begin(agent, "low", with_priority(2, in_pieces(runs(job()))))
        .await;
    let (high, _) = server
        .begin(agent, "high", with_priority(3, in_pieces(runs(job()))))
        .await;
    let mut site = server.site("dli").await;
    site.power_cap_watts = 1_500;
    server.update_site(site.clone(), &["power_cap_watts"]).await;
    let shed = server.get(&low.job_id).await;
    assert_eq!(where_is(&shed), there("dli", 4, 8));
    assert_eq!(shed.cause(), ChangeCause::Curtailed);
    assert_eq!(server.power().await, (1_500, 1_000));
    // With the cap back it goes on as soon as it can.
    site.power_cap_watts = 100_000;
    server.update_site(site.clone(), &["power_cap_watts"]).await;
    server.pass(agent, 900).await;
    assert_eq!(server.power().await, (100_000, 2_000));
    // Each takes 8 cores: there is room for one of them only.
    site.pools[0].nodes = 1;
    site.pools[0].cpu_cores_per_node = 8;
    server.update_site(site, &["pools"]).await;
    assert_eq!(server.power().await, (100_000, 1_000));
    assert_eq!(server.order_of(agent, &high).await.wish(), AttemptWish::Run);
}

#[tokio::test]
async fn a_malleable_job_goes_on_with_fewer_units_from_the_next_slot() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let kind = v1::flexibility::Kind::Malleable(v1::Malleable {
        speed_permille: vec![1_000, 2_000],
    });
    // Green for two units for an hour: both run at once.
    server
        .put_forecast(forecast("dli/hydro", 0, 0, &[2_000; 4]))
        .await;
    let spec = v1::JobSpec {
        flexibility: Some(v1::Flexibility { kind: Some(kind) }),
        timing: Some(v1::Timing {
            runtime: seconds(7_200),
            ..v1::Timing::default()
        }),
        ..runs(job())
    };
    let (job, _) = server.begin(agent, "wide", spec).await;
    assert_eq!(server.power().await, (100_000, 2_000));
    server
        .put(window(WindowKind::Curtailment, 0, 8, 1_000))
        .await;
    // The slot that is passing is over its bound, and the next is not.
    assert_eq!(server.power().await, (1_000, 2_000));
    let plan = server.get(&job.job_id).await.placement.unwrap();
    let units: Vec<_> = plan
        .runs
        .iter()
        .map(|run| (run.start_time, run.units))
        .collect();
    assert_eq!(units[..2], [(Some(at(0)), 2), (Some(at(1)), 1)]);
    server.pass(agent, 900).await;
    assert_eq!(server.power().await, (1_000, 1_000));
    assert_eq!(server.order_of(agent, &job).await.wish(), AttemptWish::Run);
}

#[tokio::test]
async fn windows_are_bounded_and_checked() {
    let (server, _) = TestServer::with_agents(&["dli"]).await;
    for i in 0..32 {
        let one = v1::SiteWindow {
            window_id: format!("w-{i}"),
            ..window(WindowKind::Curtailment, 1, 2, 5)
        };
        server.put(one).await;
    }
    let more = || window(WindowKind::Curtailment, 1, 2, 5);
    assert_refused(
        server.try_put(more()).await,
        Code::ResourceExhausted,
        "LIMIT_REACHED",
    );
    let again = v1::SiteWindow {
        window_id: "w-3".into(),
        ..more()
    };
    server.put(again).await;
    // Those that are over make room.
    server.advance(Duration::from_secs(1_800)).await;
    assert_eq!(server.site("dli").await.windows, []);
    let put = server.put(window(WindowKind::Curtailment, 1, 3, 5)).await;
    assert_eq!(put.windows.len(), 1);
    let past = server
        .try_put(window(WindowKind::Curtailment, 0, 2, 5))
        .await;
    assert_eq!(violated_fields(&past.unwrap_err()), ["window.end_time"]);
    let wrong = v1::SiteWindow {
        window_id: "W".into(),
        kind: 7,
        start_time: Some(at_second(9)),
        end_time: Some(at_second(9)),
        max_power_watts: u64::MAX,
        reason: "x".repeat(513),
    };
    let status = server.try_put(wrong).await.unwrap_err();
    let mut fields = violated_fields(&status);
    fields.sort();
    let expected = ["end_time", "kind", "max_power_watts", "reason", "window_id"];
    assert_eq!(fields, expected.map(|field| format!("window.{field}")));
    let powered = window(WindowKind::Maintenance, 4, 5, 1);
    let status = server.try_put(powered).await.unwrap_err();
    assert_eq!(violated_fields(&status), ["window.max_power_watts"]);
}
