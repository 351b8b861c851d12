//! Sites that are emptied: what moves, what is stopped and when, and what is told of it meanwhile.
//!
//! The tests play the agents, on a clock that only they move.

use std::time::Duration;

use lancang::proto::v1::{
    self, AttemptWish, ChangeCause, DrainMode, DrainState, JobState, watch_sites_response::Item,
};
use prost_types::Timestamp;
use tokio_stream::StreamExt;
use tonic::{Code, Status};

use super::{
    client::{assert_refused, place_of, there, violated_fields},
    site_agent::Agent,
    world::{at_second, forecast, job, job_between, seconds},
};
use crate::support::in_memory::TestServer;

impl TestServer {
    pub(super) async fn try_drain(
        &self,
        site: &str,
        mode: DrainMode,
        deadline: Option<Timestamp>,
    ) -> Result<v1::Site, Status> {
        let request = v1::DrainSiteRequest {
            site_id: site.into(),
            reason: "transformer".into(),
            mode: mode.into(),
            deadline,
            request_id: String::new(),
        };
        let answer = self.sites().drain_site(request).await?;
        Ok(answer.into_inner().site.unwrap())
    }

    pub(super) async fn site(&self, site: &str) -> v1::Site {
        let request = v1::GetSiteRequest {
            site_id: site.into(),
        };
        let answer = self.sites().get_site(request).await.unwrap();
        answer.into_inner().site.unwrap()
    }

    /// Planned, running and stopping jobs that a drain has left, and how far it is.
    async fn left(&self, site: &str) -> (u64, u64, u64, DrainState) {
        self.settle().await;
        left(&self.site(site).await)
    }

    /// Lets time pass while all agents report.
    pub(super) async fn pass_all(&self, agents: &mut [Agent], seconds: u64) {
        let mut left = seconds;
        while 0 < left {
            let step = left.min(20);
            self.advance(Duration::from_secs(step)).await;
            for agent in agents.iter_mut() {
                self.poll(agent).await;
            }
            left -= step;
        }
    }

    /// Submits a job for a site that begins at once, and takes it there.
    pub(super) async fn begin(
        &self,
        agent: &mut Agent,
        key: &str,
        mut spec: v1::JobSpec,
    ) -> (v1::Job, v1::AttemptOrder) {
        let policy = spec.data_policy.as_mut().unwrap();
        if policy.allowed_sites.is_empty() {
            policy.allowed_sites = vec![agent.site.clone()];
        }
        let job = self.submit(key, spec).await;
        self.settle().await;
        let orders = self.poll(agent).await.attempts;
        let order = orders.into_iter().find(|order| order.job_id == job.job_id);
        let order = order.unwrap();
        agent.take(&order);
        self.poll(agent).await;
        assert_eq!(self.state_of(&job).await, JobState::Running);
        (job, order)
    }

    /// The order about a job.
    pub(super) async fn order_of(&self, agent: &mut Agent, job: &v1::Job) -> v1::AttemptOrder {
        let orders = self.poll(agent).await.attempts;
        let order = orders.into_iter().find(|order| order.job_id == job.job_id);
        order.unwrap()
    }
}

pub(super) fn left(site: &v1::Site) -> (u64, u64, u64, DrainState) {
    let drain = site.drain.as_ref().unwrap();
    (
        drain.planned_jobs,
        drain.running_jobs,
        drain.stopping_jobs,
        drain.state(),
    )
}

/// A job with something to run.
pub(super) fn runs(spec: v1::JobSpec) -> v1::JobSpec {
    v1::JobSpec {
        execution: Some(v1::Execution {
            argv: vec!["/bin/true".into()],
            ..v1::Execution::default()
        }),
        ..spec
    }
}

/// An hour in pieces of a slot, without a cost to go on.
pub(super) fn in_pieces(spec: v1::JobSpec) -> v1::JobSpec {
    let kind = v1::flexibility::Kind::Interruptible(v1::Interruptible {
        min_chunk: seconds(900),
        resume_cost: None,
    });
    v1::JobSpec {
        flexibility: Some(v1::Flexibility { kind: Some(kind) }),
        ..spec
    }
}

/// For either of two sites.
pub(super) fn anywhere(mut spec: v1::JobSpec) -> v1::JobSpec {
    spec.data_policy.as_mut().unwrap().allowed_sites = vec!["dli".into(), "kmg".into()];
    spec
}

#[tokio::test]
async fn what_has_not_begun_moves_and_the_rest_is_stopped_at_the_deadline_also_after_a_restart() {
    let (mut server, mut agents) = TestServer::with_agents(&["dli", "kmg"]).await;
    let (running, _) = server
        .begin(&mut agents[0], "one", anywhere(runs(job())))
        .await;
    let later = server
        .submit("two", anywhere(runs(job_between(4, 12))))
        .await;
    assert_eq!(place_of(&later), there("dli", 4, 8));
    // In the middle of a slot.
    let site = server
        .try_drain("dli", DrainMode::Finish, Some(at_second(600)))
        .await
        .unwrap();
    assert!(site.cordon.unwrap().cordoned);
    assert_eq!(server.left("dli").await, (0, 1, 0, DrainState::Draining));
    let moved = server.get(&later.job_id).await;
    assert_eq!(place_of(&moved), there("kmg", 4, 8));
    assert_eq!(moved.cause(), ChangeCause::Drain);
    server.pass_all(&mut agents, 599).await;
    assert_eq!(server.state_of(&running).await, JobState::Running);
    server.reopen().await;
    for agent in &mut agents {
        server.poll(agent).await;
    }
    assert_eq!(server.state_of(&running).await, JobState::Running);
    server.pass_all(&mut agents, 1).await;
    assert_eq!(server.left("dli").await, (0, 0, 1, DrainState::Draining));
    let stopping = server.get(&running.job_id).await;
    assert_eq!(stopping.state(), JobState::Stopping);
    assert_eq!(stopping.cause(), ChangeCause::Drain);
    let order = server.order_of(&mut agents[0], &running).await;
    assert_eq!(order.wish(), AttemptWish::Stop);
    assert_eq!(order.stop_grace, seconds(30));
    agents[0].end(&order, v1::AttemptEnd::Stopped, 0);
    server.poll(&mut agents[0]).await;
    assert_eq!(server.left("dli").await, (0, 0, 0, DrainState::Drained));
    // A stop by an operator is no failure: it is planned anew, elsewhere.
    let again = server.get(&running.job_id).await;
    assert_eq!(again.state(), JobState::Planned);
    assert_eq!(place_of(&again).0, "kmg");
    server.uncordon("dli").await;
    assert_eq!(server.site("dli").await.drain, None);
}

#[tokio::test]
async fn a_checkpoint_stops_what_can_be_interrupted_and_a_kill_stops_all_without_grace() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let (rigid, _) = server.begin(agent, "rigid", runs(job())).await;
    let (pieces, _) = server.begin(agent, "pieces", in_pieces(runs(job()))).await;
    let mut once = runs(job());
    once.execution.as_mut().unwrap().at_most_once = true;
    let (once, _) = server.begin(agent, "once", once).await;
    server
        .try_drain("dli", DrainMode::Checkpoint, None)
        .await
        .unwrap();
    assert_eq!(server.left("dli").await, (0, 2, 1, DrainState::Draining));
    assert_eq!(server.state_of(&pieces).await, JobState::Stopping);
    let order = server.order_of(agent, &pieces).await;
    assert_eq!(order.stop_grace, seconds(30));
    // All have the fence (1, 1), each in its own job.
    agent.held.retain(|held| held.job_id != pieces.job_id);
    agent.say(&order, ended(v1::AttemptEnd::Stopped));
    server.poll(agent).await;
    // Without a deadline nothing is forced, however long it takes, and nothing begins there.
    assert_eq!(server.state_of(&pieces).await, JobState::Queued);
    assert_eq!(server.get(&pieces.job_id).await.cause(), ChangeCause::Drain);
    server.pass(agent, 2_700).await;
    assert_eq!(server.left("dli").await, (0, 2, 0, DrainState::Draining));
    let since = server.site("dli").await.drain.unwrap().since;
    server
        .try_drain("dli", DrainMode::Kill, None)
        .await
        .unwrap();
    assert_eq!(server.left("dli").await, (0, 0, 2, DrainState::Draining));
    assert_eq!(server.site("dli").await.drain.unwrap().since, since);
    for job in [&rigid, &once] {
        let order = server.order_of(agent, job).await;
        assert_eq!(order.wish(), AttemptWish::Stop);
        assert_eq!(order.stop_grace, seconds(0));
        agent.held.retain(|held| held.job_id != job.job_id);
        agent.say(&order, ended(v1::AttemptEnd::Stopped));
    }
    server.poll(agent).await;
    assert_eq!(server.left("dli").await, (0, 0, 0, DrainState::Drained));
    assert_eq!(server.state_of(&rigid).await, JobState::Queued);
    // What may have begun is not begun again.
    assert_eq!(server.state_of(&once).await, JobState::Failed);
}

pub(super) fn ended(end: v1::AttemptEnd) -> v1::agent_event::Kind {
    v1::agent_event::Kind::Ended(v1::AttemptEnded {
        end: end.into(),
        run_time: seconds(60),
        ..v1::AttemptEnded::default()
    })
}

fn watch(site_id: &str, after_revision: Option<u64>, initial_sites: bool) -> v1::WatchSitesRequest {
    v1::WatchSitesRequest {
        site_id: site_id.into(),
        after_revision,
        initial_sites,
        bookmark_interval: None,
    }
}

/// The site of an item, or that it is a bookmark.
fn id(item: &Item) -> String {
    match item {
        Item::Event(event) => event.site.as_ref().unwrap().site_id.clone(),
        Item::Bookmark(_) => "bookmark".into(),
    }
}

#[tokio::test]
async fn a_watch_tells_of_sites_and_of_what_a_drain_has_left() {
    let (server, mut agents) = TestServer::with_agents(&["dli", "kmg"]).await;
    let (job, order) = server.begin(&mut agents[0], "one", runs(job())).await;
    let mut client = server.sites();
    let mut all = client
        .watch_sites(watch("", None, true))
        .await
        .unwrap()
        .into_inner();
    let mut next = async || all.next().await.unwrap().unwrap().item.unwrap();
    for expected in ["dli", "kmg", "bookmark"] {
        assert_eq!(id(&next().await), expected);
    }
    let before = server.revision().await;
    server
        .try_drain("dli", DrainMode::Kill, None)
        .await
        .unwrap();
    server.settle().await;
    agents[0].end(&order, v1::AttemptEnd::Stopped, 0);
    server.poll(&mut agents[0]).await;
    server.uncordon("dli").await;
    let mut told = Vec::new();
    for _ in 0..4 {
        let Item::Event(event) = next().await else {
            panic!("a bookmark");
        };
        assert!(event.last_in_revision);
        // What is heard of agents has no revision: it is no event.
        let site = event.site.as_ref().unwrap();
        assert_eq!((&site.agent, &site.power), (&None, &None));
        told.push(event);
    }
    let numbers = |event: &v1::SiteEvent| {
        event
            .site
            .as_ref()
            .unwrap()
            .drain
            .as_ref()
            .map(|_| left(event.site.as_ref().unwrap()))
    };
    let expected = [
        Some((0, 1, 0, DrainState::Draining)),
        Some((0, 0, 1, DrainState::Draining)),
        Some((0, 0, 0, DrainState::Drained)),
        None,
    ];
    assert_eq!(told.iter().map(numbers).collect::<Vec<_>>(), expected);
    // It resumes after any of them; another site's watch has none of it.
    let mut client = server.sites();
    let request = watch("dli", Some(told[0].revision), false);
    let resumed = client.watch_sites(request).await.unwrap().into_inner();
    let rest: Vec<_> = resumed
        .take(3)
        .map(|item| item.unwrap().item.unwrap())
        .collect()
        .await;
    let rest = rest.into_iter().map(|item| match item {
        Item::Event(event) => event,
        Item::Bookmark(_) => panic!("a bookmark"),
    });
    assert_eq!(rest.collect::<Vec<_>>(), told[1..]);
    let request = watch("kmg", Some(before), false);
    let mut other = client.watch_sites(request).await.unwrap().into_inner();
    let first = other.next().await.unwrap().unwrap().item.unwrap();
    assert_eq!(id(&first), "bookmark");
    // Stopped before it was over, and open again: it may run here once more.
    assert_eq!(server.state_of(&job).await, JobState::Assigned);
}

#[tokio::test]
async fn a_drain_is_refused_with_all_that_is_wrong() {
    let (server, _) = TestServer::with_agents(&["dli"]).await;
    let past = server
        .try_drain("dli", DrainMode::Finish, Some(at_second(0)))
        .await
        .unwrap_err();
    assert_eq!(violated_fields(&past), ["deadline"]);
    let request = v1::DrainSiteRequest {
        site_id: "DLI".into(),
        reason: "\u{1b}".into(),
        mode: 9,
        deadline: Some(Timestamp {
            seconds: -1,
            nanos: 0,
        }),
        request_id: "x".repeat(129),
    };
    let status = server.sites().drain_site(request).await.unwrap_err();
    let mut fields = violated_fields(&status);
    fields.sort();
    assert_eq!(
        fields,
        ["deadline", "mode", "reason", "request_id", "site_id"]
    );
    let nowhere = server.try_drain("nowhere", DrainMode::Kill, None).await;
    assert_refused(nowhere, Code::NotFound, "SITE_NOT_FOUND");
    assert_eq!(server.site("dli").await.drain, None);
}

#[tokio::test]
async fn a_finish_deadline_is_kept_within_a_slot() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let mut spec = runs(job());
    // The hour ends with the fourth slot, and what is left until the deadline is in the fifth.
    spec.timing.as_mut().unwrap().finish_deadline = Some(at_second(3_600 + 300));
    let (job, _) = server.begin(agent, "one", spec).await;
    server.pass(agent, 3_600 + 300).await;
    assert_eq!(server.state_of(&job).await, JobState::Running);
    server.pass(agent, 1).await;
    assert_eq!(server.state_of(&job).await, JobState::Stopping);
    assert_eq!(server.get(&job.job_id).await.cause(), ChangeCause::Deadline);
}

#[tokio::test]
async fn a_start_deadline_is_kept_by_what_waits_at_its_site() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let mut spec = runs(job());
    spec.timing.as_mut().unwrap().start_deadline = Some(at_second(300));
    let (begun, _) = server.begin(agent, "begun", spec.clone()).await;
    let waits = server.submit("waits", spec).await;
    server.settle().await;
    let order = server.order_of(agent, &waits).await;
    // As one that a batch system has in its queue.
    agent.hold(&order);
    let accepted = v1::AttemptAccepted {};
    agent.say(&order, v1::agent_event::Kind::Accepted(accepted));
    server.pass(agent, 300 + 60).await;
    assert_eq!(server.state_of(&waits).await, JobState::Starting);
    server.pass(agent, 1).await;
    assert_eq!(server.state_of(&begun).await, JobState::Running);
    assert_eq!(server.state_of(&waits).await, JobState::Stopping);
    let order = server.order_of(agent, &waits).await;
    agent.end(&order, v1::AttemptEnd::Stopped, 0);
    server.poll(agent).await;
    assert_eq!(server.state_of(&waits).await, JobState::Expired);
    assert_eq!(
        server.get(&waits.job_id).await.cause(),
        ChangeCause::Deadline
    );
}

#[tokio::test]
async fn what_is_between_two_runs_goes_on_at_a_site_that_finishes_and_leaves_one_that_does_not() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    // Green are half an hour now and half an hour at the end of the second hour.
    let watts: Vec<u64> = (0..16)
        .map(|slot| u64::from(slot % 6 < 2) * 1_000)
        .collect();
    server
        .put_forecast(forecast("dli/hydro", 0, 0, &watts))
        .await;
    let mut spec = in_pieces(runs(job_between(0, 16)));
    spec.execution.as_mut().unwrap().pause_mode = v1::PauseMode::Requeue.into();
    let (job, order) = server.begin(agent, "pieces", spec).await;
    assert_eq!(
        server.get(&job.job_id).await.placement.unwrap().runs.len(),
        2
    );
    server.pass(agent, 1_800).await;
    agent.end(&order, v1::AttemptEnd::Stopped, 0);
    server.poll(agent).await;
    assert_eq!(server.state_of(&job).await, JobState::Planned);
    server
        .try_drain("dli", DrainMode::Finish, None)
        .await
        .unwrap();
    assert_eq!(server.left("dli").await, (1, 0, 0, DrainState::Draining));
    let orders = server.pass(agent, 3_600).await;
    // Its second run begins though nothing new does.
    assert_eq!(server.state_of(&job).await, JobState::Assigned);
    let order = orders.attempts[0].clone();
    agent.take(&order);
    agent.end(&order, v1::AttemptEnd::Exited, 0);
    server.poll(agent).await;
    assert_eq!(server.left("dli").await, (0, 0, 0, DrainState::Drained));
    server.uncordon("dli").await;
    let mut spec = in_pieces(runs(job_between(6, 16)));
    spec.execution.as_mut().unwrap().pause_mode = v1::PauseMode::Requeue.into();
    let (job, order) = server.begin(agent, "again", spec).await;
    server.pass(agent, 1_800).await;
    agent.end(&order, v1::AttemptEnd::Stopped, 0);
    server.poll(agent).await;
    assert_eq!(server.state_of(&job).await, JobState::Planned);
    server
        .try_drain("dli", DrainMode::Checkpoint, None)
        .await
        .unwrap();
    assert_eq!(server.left("dli").await, (0, 0, 0, DrainState::Drained));
    let left = server.get(&job.job_id).await;
    assert_eq!(
        (left.state(), left.cause()),
        (JobState::Queued, ChangeCause::Drain)
    );
}
