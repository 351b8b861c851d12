//! Who speaks for a site and whether it is heard, and the word of a person that a site is dead.

use std::time::Duration;

use lancang::proto::v1::{self, AgentState, JobState};
use tonic::{Code, Status};

use super::{
    client::{assert_refused, violated_fields},
    drain::runs,
    site_agent::{INSTANCE, OTHER},
    world::{at_second, job, site},
};
use crate::support::in_memory::TestServer;

impl TestServer {
    async fn try_declare(&self, site: &str, nothing_runs: bool) -> Result<v1::Site, Status> {
        let request = v1::DeclareSiteLostRequest {
            site_id: site.into(),
            reason: "fire in hall 2".into(),
            nothing_runs_there: nothing_runs,
            request_id: String::new(),
        };
        let answer = self.sites().declare_site_lost(request).await?;
        self.settle().await;
        Ok(answer.into_inner().site.unwrap())
    }

    async fn agent_of(&self, site: &str) -> v1::AgentStatus {
        self.site(site).await.agent.unwrap()
    }
}

#[tokio::test]
async fn a_site_shows_its_agent_from_before_it_enrolls_until_it_is_given_up() {
    let (mut server, mut agents) = TestServer::with_agents(&["dli"]).await;
    server.create_sites(vec![site("kmg")]).await;
    assert_eq!(
        server.agent_of("kmg").await.state(),
        AgentState::NeverEnrolled
    );
    let agent = &mut agents[0];
    server.begin(agent, "one", runs(job())).await;
    server.pass(agent, 40).await;
    let heard = server.agent_of("dli").await;
    assert_eq!(heard.state(), AgentState::Connected);
    assert_eq!((heard.site_epoch, heard.held_attempts), (1, 1));
    assert_eq!(heard.instance_id, INSTANCE);
    assert_eq!(heard.version, "1.2.3");
    assert_eq!(heard.report_time, Some(at_second(40)));
    assert_eq!(heard.enroll_time, Some(at_second(0)));
    server.advance(Duration::from_secs(29)).await;
    assert_eq!(server.agent_of("dli").await.state(), AgentState::Connected);
    server.advance(Duration::from_secs(1)).await;
    let silent = server.agent_of("dli").await;
    assert_eq!(silent.state(), AgentState::Silent);
    assert_eq!(silent.report_time, heard.report_time);
    // A server that was away has heard nobody yet.
    server.reopen().await;
    let unheard = server.agent_of("dli").await;
    assert_eq!(
        (unheard.state(), unheard.report_time),
        (AgentState::Silent, None)
    );
    server.advance(Duration::from_secs(600)).await;
    assert_eq!(server.agent_of("dli").await.state(), AgentState::GivenUp);
    server.poll(agent).await;
    assert_eq!(server.agent_of("dli").await.state(), AgentState::Connected);
    let listed = server
        .sites()
        .list_sites(v1::ListSitesRequest::default())
        .await
        .unwrap();
    let states = listed.into_inner().sites.into_iter();
    let states: Vec<_> = states.map(|site| site.agent.unwrap().state()).collect();
    assert_eq!(states, [AgentState::Connected, AgentState::NeverEnrolled]);
}

#[tokio::test]
async fn a_new_agent_of_a_site_that_was_silent_for_long_is_not_given_up_before_it_could_speak() {
    let (server, _) = TestServer::with_agents(&["dli"]).await;
    server.advance(Duration::from_secs(700)).await;
    assert_eq!(server.agent_of("dli").await.state(), AgentState::GivenUp);
    let token = server.token("dli").await;
    server.try_enroll("dli", &token, OTHER).await.unwrap();
    server.advance(Duration::from_secs(1)).await;
    assert_eq!(server.agent_of("dli").await.state(), AgentState::Silent);
    // It is planned for at once.
    let planned = server.submit("one", runs(job())).await;
    assert_eq!(planned.placement.unwrap().site_id, "dli");
    server.advance(Duration::from_secs(600)).await;
    assert_eq!(server.agent_of("dli").await.state(), AgentState::GivenUp);
}

#[tokio::test]
async fn of_two_dead_sites_one_is_given_up_by_word_and_its_jobs_go_as_they_asked() {
    let (server, mut agents) = TestServer::with_agents(&["dli", "kmg"]).await;
    let with_policy = |policy: v1::SiteLostPolicy, once: bool| {
        let mut spec = runs(job());
        let execution = spec.execution.as_mut().unwrap();
        execution.on_site_lost = policy.into();
        execution.at_most_once = once;
        spec
    };
    let mut jobs = Vec::new();
    for (key, policy, once) in [
        ("requeue", v1::SiteLostPolicy::Requeue, false),
        ("wait", v1::SiteLostPolicy::Wait, false),
        ("fail", v1::SiteLostPolicy::Fail, false),
        ("once", v1::SiteLostPolicy::Requeue, true),
    ] {
        jobs.push(
            server
                .begin(&mut agents[0], key, with_policy(policy, once))
                .await,
        );
    }
    let (other, _) = server.begin(&mut agents[1], "other", runs(job())).await;
    let alive = server.try_declare("dli", true).await;
    assert_refused(alive, Code::FailedPrecondition, "SITE_IS_ALIVE");
    // Most agents are silent: nothing is given up by itself, however long it takes.
    server.advance(Duration::from_secs(7_200)).await;
    for (job, _) in &jobs {
        assert_eq!(server.state_of(job).await, JobState::Unreachable);
    }
    let careless = server.try_declare("dli", false).await.unwrap_err();
    assert_eq!(violated_fields(&careless), ["nothing_runs_there"]);
    let nowhere = server.try_declare("nowhere", true).await;
    assert_refused(nowhere, Code::NotFound, "SITE_NOT_FOUND");
    let lost = server.try_declare("dli", true).await.unwrap();
    let agent = lost.agent.unwrap();
    assert_eq!((agent.state(), agent.site_epoch), (AgentState::GivenUp, 2));
    let mut states = Vec::new();
    for (job, _) in &jobs {
        states.push(server.state_of(job).await);
        let attempt = &server.get(&job.job_id).await.attempts[0];
        assert_eq!(attempt.end(), v1::AttemptEnd::SiteLost);
        assert_eq!(attempt.message, "fire in hall 2");
    }
    use JobState::{Failed, Queued};
    assert_eq!(states, [Queued, Queued, Failed, Failed]);
    // The last site that is silent is alone now, and given up by itself.
    assert_ne!(server.state_of(&other).await, JobState::Running);
    // The agent is back after all: what it says does not count, and it is told nothing.
    let (_, order) = jobs[0].clone();
    agents[0].end(&order, v1::AttemptEnd::Exited, 0);
    let stale = server.try_poll(&agents[0]).await;
    assert_refused(stale, Code::PermissionDenied, "AGENT_REFUSED");
    assert_eq!(server.state_of(&jobs[0].0).await, Queued);
    // Said again it changes nothing; a new agent takes up what waits.
    let revision = server.revision().await;
    server.try_declare("dli", true).await.unwrap();
    assert_eq!(server.revision().await, revision);
    let mut second = server.enroll("dli", OTHER).await;
    server.poll(&mut second).await;
    assert_eq!(server.agent_of("dli").await.site_epoch, 3);
    let requeued = server.state_of(&jobs[0].0).await;
    assert!(
        matches!(requeued, JobState::Planned | JobState::Assigned),
        "{requeued:?}"
    );
}
