//! Agents: who may speak for a site, and what becomes of jobs by what is said, and by silence.
//!
//! The tests play the agent, message by message, on a clock that only they move.

use std::time::Duration;

use lancang::proto::v1::{self, AttemptWish, JobState, agent_event::Kind};
use prost_types::Timestamp;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{Code, Request};

use super::{
    client::{assert_refused, place, place_of, site_reasons, there, violated_fields},
    site_agent::{INSTANCE, OTHER},
    world::{job, seconds, site, submission},
};
use crate::support::in_memory::TestServer;

/// The usual job with something to run.
fn runs(retry: u32) -> v1::JobSpec {
    v1::JobSpec {
        execution: Some(v1::Execution {
            argv: vec!["/bin/true".into()],
            retry: Some(v1::RetryPolicy {
                max_attempts: retry,
                ..v1::RetryPolicy::default()
            }),
            ..v1::Execution::default()
        }),
        ..job()
    }
}

fn only(orders: &v1::AgentOrders) -> v1::AttemptOrder {
    assert_eq!(orders.attempts.len(), 1, "{orders:?}");
    orders.attempts[0].clone()
}

fn fence(attempt: u32) -> Option<v1::Fence> {
    Some(v1::Fence {
        site_epoch: 1,
        attempt,
    })
}

#[tokio::test]
async fn a_job_goes_from_its_plan_to_its_site_and_ends_there() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let job = server.submit("one", runs(1)).await;
    // Nothing is green, so it begins at once: in the slot that begins now.
    assert_eq!(place_of(&job), there("dli", 0, 4));
    assert_eq!(server.state_of(&job).await, JobState::Assigned);
    let order = only(&server.poll(agent).await);
    assert_eq!((order.fence, order.wish()), (fence(1), AttemptWish::Run));
    let offer = order.offer.clone().unwrap();
    assert_eq!(offer.execution.unwrap().argv, ["/bin/true"]);
    assert_eq!(offer.max_run_time, seconds(2 * 3_600));
    agent.take(&order);
    let again = only(&server.poll(agent).await);
    assert_eq!((again.fence, again.offer), (fence(1), None));
    assert!(agent.events.is_empty(), "both events are durable");
    assert_eq!(server.state_of(&job).await, JobState::Running);
    agent.end(&order, v1::AttemptEnd::Exited, 0);
    let report = agent.events.clone();
    assert_eq!(server.poll(agent).await.attempts, []);
    let ended = server.get(&job.job_id).await;
    assert_eq!(ended.state(), JobState::Succeeded);
    assert_eq!(ended.placement, None);
    let attempt = &ended.attempts[0];
    assert_eq!(
        (attempt.end(), attempt.exit_code),
        (v1::AttemptEnd::Exited, 0)
    );
    assert_eq!(attempt.engine_id, "pid 7");
    // What is reported again changes nothing.
    agent.events = report;
    server.poll(agent).await;
    assert_eq!(server.get(&job.job_id).await, ended);
}

#[tokio::test]
async fn a_failure_is_tried_again_under_a_new_fence_and_the_old_one_no_longer_counts() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let job = server.submit("one", runs(2)).await;
    server.settle().await;
    let first = only(&server.poll(agent).await);
    agent.take(&first);
    agent.end(&first, v1::AttemptEnd::Exited, 3);
    server.poll(agent).await;
    // Its pause of 30 s ends within this slot: it begins with the next one.
    assert_eq!(server.state_of(&job).await, JobState::Planned);
    assert_eq!(place_of(&server.get(&job.job_id).await), there("dli", 1, 5));
    assert_eq!(server.pass(agent, 899).await.attempts, []);
    let second = only(&server.pass(agent, 1).await);
    assert_eq!(second.fence, fence(2));
    // What comes late under the old fence changes nothing.
    agent.say(&first, Kind::Suspended(v1::AttemptSuspended {}));
    agent.take(&second);
    server.poll(agent).await;
    assert_eq!(server.state_of(&job).await, JobState::Running);
    agent.end(&second, v1::AttemptEnd::Exited, 4);
    server.poll(agent).await;
    let failed = server.get(&job.job_id).await;
    assert_eq!(failed.state(), JobState::Failed);
    assert_eq!(failed.attempts.len(), 2);
    let summary = server.explain(&job.job_id).await.summary;
    assert!(
        summary.contains("in attempt 2: its program ended with exit code 4"),
        "{summary}"
    );
}

#[tokio::test]
async fn what_an_agent_has_seen_and_does_not_hold_is_planned_again() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let job = server.submit("one", runs(1)).await;
    server.settle().await;
    // A report made before the offer says nothing about it, one made after does.
    server.try_poll(agent).await.unwrap();
    assert_eq!(server.state_of(&job).await, JobState::Assigned);
    server.poll(agent).await;
    server.poll(agent).await;
    let declined = server.get(&job.job_id).await;
    assert_eq!(declined.attempts[0].end(), v1::AttemptEnd::Declined);
    assert_eq!(server.state_of(&job).await, JobState::Planned);
    // One that it had taken and no longer knows is a failure.
    let order = only(&server.pass(agent, 900).await);
    agent.take(&order);
    server.poll(agent).await;
    agent.held.clear();
    server.poll(agent).await;
    let lost = server.get(&job.job_id).await;
    assert_eq!(lost.state(), JobState::Failed);
    assert_eq!(lost.attempts[1].end(), v1::AttemptEnd::EngineLost);
}

#[tokio::test]
async fn a_cancelled_job_is_stopped_and_success_wins_over_the_stop() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let jobs = [
        server.submit("one", runs(1)).await,
        server.submit("two", runs(1)).await,
    ];
    server.settle().await;
    let orders = server.poll(agent).await.attempts;
    orders.iter().for_each(|order| agent.take(order));
    server.poll(agent).await;
    for job in &jobs {
        let cancelled = server.try_cancel(&job.job_id).await.unwrap();
        assert_eq!(cancelled.state(), JobState::Stopping);
    }
    let stops = server.poll(agent).await.attempts;
    for stop in &stops {
        assert_eq!(stop.wish(), AttemptWish::Stop);
        assert_eq!(stop.stop_grace, seconds(30));
    }
    agent.end(&stops[0], v1::AttemptEnd::Stopped, 0);
    agent.end(&stops[1], v1::AttemptEnd::Exited, 0);
    // Both have the fence (1, 1), each in its own job.
    agent.held.clear();
    server.poll(agent).await;
    assert_eq!(server.state_of(&jobs[0]).await, JobState::Cancelled);
    assert_eq!(server.state_of(&jobs[1]).await, JobState::Succeeded);
}

#[tokio::test]
async fn a_silent_site_keeps_its_jobs_until_nothing_of_them_can_run() {
    let (mut server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let job = server.submit("one", runs(1)).await;
    server.settle().await;
    let order = only(&server.poll(agent).await);
    agent.take(&order);
    server.poll(agent).await;
    server.advance(Duration::from_secs(29)).await;
    assert_eq!(server.state_of(&job).await, JobState::Running);
    server.advance(Duration::from_secs(1)).await;
    assert_eq!(server.state_of(&job).await, JobState::Unreachable);
    // It is back before its lease is over: nothing has changed.
    server.poll(agent).await;
    assert_eq!(server.state_of(&job).await, JobState::Running);
    server.advance(Duration::from_secs(500)).await;
    // A server that was away does not know who was silent meanwhile: every lease begins anew.
    server.reopen().await;
    server.advance(Duration::from_secs(599)).await;
    assert_eq!(server.state_of(&job).await, JobState::Unreachable);
    server.advance(Duration::from_secs(1)).await;
    let lost = server.get(&job.job_id).await;
    assert_eq!(lost.attempts[0].end(), v1::AttemptEnd::SiteLost);
    // Nothing else is there, and this site is given up until its agent is heard.
    assert_eq!(server.state_of(&job).await, JobState::Queued);
    // The agent is back after all: what it holds is not its to run any more, and what it says of it does not count.
    agent.end(&order, v1::AttemptEnd::Exited, 0);
    assert_eq!(server.poll(agent).await.attempts, []);
    assert_eq!(server.state_of(&job).await, JobState::Planned);
}

#[tokio::test]
async fn while_most_sites_are_silent_none_is_given_up() {
    let (server, mut agents) = TestServer::with_agents(&["a", "b", "c"]).await;
    let mut jobs = Vec::new();
    for (i, agent) in agents.iter_mut().enumerate() {
        let mut spec = runs(1);
        let policy = spec.data_policy.as_mut().unwrap();
        policy.allowed_sites = vec![agent.site.clone()];
        jobs.push(server.submit(&format!("job-{i}"), spec).await);
        server.settle().await;
        let order = only(&server.poll(agent).await);
        agent.take(&order);
        server.poll(agent).await;
    }
    server.advance(Duration::from_secs(7_200)).await;
    for job in &jobs {
        assert_eq!(server.state_of(job).await, JobState::Unreachable);
    }
    for agent in &mut agents[..2] {
        server.poll(agent).await;
    }
    assert_eq!(server.state_of(&jobs[0]).await, JobState::Running);
    assert_ne!(server.state_of(&jobs[2]).await, JobState::Unreachable);
    // A site that was given up no longer counts among them.
    server.pass(&mut agents[0], 620).await;
    let lost = server.get(&jobs[1].job_id).await;
    assert_eq!(lost.attempts[0].end(), v1::AttemptEnd::SiteLost);
}

#[tokio::test]
async fn another_agent_takes_over_only_when_the_first_has_stopped() {
    let (mut server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let first = &mut agents[0];
    let job = server.submit("one", runs(1)).await;
    server.settle().await;
    let order = only(&server.poll(first).await);
    first.take(&order);
    server.poll(first).await;
    let mut second = server.enroll("dli", OTHER).await;
    assert_refused(
        server.try_poll(first).await,
        Code::PermissionDenied,
        "AGENT_REFUSED",
    );
    // The new one is told nothing of what the old one may still run.
    assert_eq!(server.poll(&mut second).await.attempts, []);
    assert_eq!(server.state_of(&job).await, JobState::Unreachable);
    // A server that was away waits anew.
    server.pass(&mut second, 100).await;
    server.reopen().await;
    server.pass(&mut second, 599).await;
    assert_eq!(server.state_of(&job).await, JobState::Unreachable);
    server.advance(Duration::from_secs(1)).await;
    assert_eq!(server.state_of(&job).await, JobState::Planned);
    let order = only(&server.pass(&mut second, 200).await);
    let expected = v1::Fence {
        site_epoch: 2,
        attempt: 2,
    };
    assert_eq!(order.fence, Some(expected));
}

#[tokio::test]
async fn what_runs_longer_than_planned_takes_its_slots_from_what_has_not_begun() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    // Each takes all of the site's power.
    let whole = v1::JobSpec {
        task_power_watts: 100_000,
        ..runs(1)
    };
    let first = server.submit("one", whole.clone()).await;
    let second = server.submit("two", whole).await;
    assert_eq!(place_of(&first), there("dli", 0, 4));
    assert_eq!(place_of(&second), there("dli", 4, 8));
    server.settle().await;
    let order = only(&server.poll(agent).await);
    agent.take(&order);
    server.poll(agent).await;
    server.pass(agent, 3_600 + 60).await;
    let late = server.get(&first.job_id).await;
    assert_eq!(place(late.placement.as_ref().unwrap()), there("dli", 0, 5));
    assert_eq!(late.cause(), v1::ChangeCause::Overrun);
    server.settle().await;
    let moved = server.get(&second.job_id).await;
    assert_eq!(place_of(&moved), there("dli", 5, 9));
}

#[tokio::test]
async fn a_session_brings_orders_as_soon_as_there_are_any() {
    let (server, agents) = TestServer::with_agents(&["dli"]).await;
    let (reports, sent) = mpsc::unbounded_channel();
    let mut request = Request::new(UnboundedReceiverStream::new(sent));
    request
        .metadata_mut()
        .insert("authorization", agents[0].authorization());
    let report = Some(agents[0].report());
    let message = v1::SessionRequest {
        report,
        log_chunks: Vec::new(),
    };
    reports.send(message).unwrap();
    let session = server.agents().session(request).await.unwrap();
    let mut session = session.into_inner();
    let mut next = async || session.next().await.unwrap().unwrap().orders.unwrap();
    assert_eq!(next().await.attempts, []);
    let job = server.submit("one", runs(1)).await;
    let order = only(&next().await);
    assert_eq!(order.job_id, job.job_id);
    server.try_cancel(&job.job_id).await.unwrap();
    assert_eq!(only(&next().await).wish(), AttemptWish::Stop);
}

#[tokio::test]
async fn work_is_planned_only_where_an_agent_runs_it() {
    let server = TestServer::with_sites(vec![site("a"), site("b")]).await;
    let refused = server.try_submit(submission("early", runs(1))).await;
    let status = assert_refused(refused, Code::FailedPrecondition, "JOB_INFEASIBLE");
    let no_agent = ["a", "b"].map(|id| (id.to_owned(), "NO_AGENT".to_owned()));
    assert_eq!(site_reasons(&status), no_agent);
    // A job whose client runs it needs none.
    assert_eq!(
        place_of(&server.submit("own", job()).await),
        there("a", 0, 4)
    );
    let mut agent = server.enroll("b", INSTANCE).await;
    server.poll(&mut agent).await;
    let job = server.submit("run", runs(1)).await;
    assert_eq!(place_of(&job), there("b", 0, 4));
}

#[tokio::test]
async fn nobody_else_speaks_for_a_site() {
    let (server, mut agents) = TestServer::with_agents(&["a", "b"]).await;
    let token = server.token("a").await;
    for (site, token) in [("a", "no"), ("b", token.as_str())] {
        let refused = server.try_enroll(site, token, OTHER).await;
        assert_refused(refused, Code::PermissionDenied, "TOKEN_REFUSED");
    }
    server.try_enroll("a", &token, OTHER).await.unwrap();
    let again = server.try_enroll("a", &token, OTHER).await;
    assert_refused(again, Code::PermissionDenied, "TOKEN_REFUSED");
    let late = server.token("a").await;
    server.advance(Duration::from_secs(3_601)).await;
    let refused = server.try_enroll("a", &late, OTHER).await;
    assert_refused(refused, Code::PermissionDenied, "TOKEN_REFUSED");
    // The credential of one site does not open another, and none opens nothing.
    let stranger = &mut agents[1];
    stranger.site = "a".into();
    let refused = server.try_poll(stranger).await;
    assert_refused(refused, Code::PermissionDenied, "AGENT_REFUSED");
    let report = Some(stranger.report());
    let bare = v1::PollRequest {
        report,
        log_chunks: Vec::new(),
    };
    let bare = server.agents().poll(bare).await;
    assert_refused(bare, Code::Unauthenticated, "AGENT_REFUSED");
    let unknown = server
        .sites()
        .create_agent_token(v1::CreateAgentTokenRequest {
            site_id: "nowhere".into(),
            valid_for: seconds(60),
        })
        .await;
    assert_refused(unknown, Code::NotFound, "SITE_NOT_FOUND");
}

#[tokio::test]
async fn a_report_is_refused_whole_with_all_that_is_wrong() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let event = |sequence, kind| v1::AgentEvent {
        sequence,
        job_id: "x".into(),
        fence: None,
        event_time: Some(Timestamp {
            seconds: 1,
            nanos: -1,
        }),
        kind,
    };
    let ended = v1::AttemptEnded {
        end: v1::AttemptEnd::SiteLost.into(),
        exit_code: 256,
        ..v1::AttemptEnded::default()
    };
    agent.events = vec![event(2, None), event(2, Some(Kind::Ended(ended)))];
    let status = server.try_poll(agent).await.unwrap_err();
    let fields = violated_fields(&status);
    for field in [
        "report.events[0].job_id",
        "report.events[0].fence",
        "report.events[0].event_time",
        "report.events[0].kind",
        "report.events[1].sequence",
        "report.events[1].ended.exit_code",
        "report.events[1].ended.end",
        "report.last_sequence",
    ] {
        assert!(
            fields.iter().any(|found| found == field),
            "{field}: {fields:?}"
        );
    }
}

#[tokio::test]
async fn what_runs_is_checked_before_it_is_accepted() {
    let (server, _) = TestServer::with_agents(&["dli"]).await;
    let mut spec = runs(17);
    let execution = spec.execution.as_mut().unwrap();
    execution.argv = vec!["../run".into()];
    execution.environment = [("LD_PRELOAD".into(), "x".into())].into();
    execution.max_runtime = seconds(1);
    execution.stop_grace = seconds(3_601);
    let status = server
        .try_submit(submission("one", spec))
        .await
        .unwrap_err();
    let mut fields = violated_fields(&status);
    fields.sort();
    let expected = [
        "spec.execution.argv",
        "spec.execution.environment",
        "spec.execution.max_runtime",
        "spec.execution.retry.max_attempts",
        "spec.execution.stop_grace",
    ];
    assert_eq!(fields, expected);
}
