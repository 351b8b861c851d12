//! Data rules that change under work that has begun: it is stopped where they forbid it, and runs where they allow it.
//!
//! Most tests play the agents; the last one has real ones. Only the tests move the clock.

use std::time::Duration;

use lancang::proto::v1::{self, AttemptWish, ChangeCause, JobState};
use tonic::Code;

use super::{
    client::refusal,
    drain::{anywhere, ended, in_pieces, runs},
    scene::{Scene, assert_begun_once_each, pid},
    site_agent::Agent,
    world::{at_second, forecast, job, job_between, seconds},
};
use crate::{
    agent::process::{lives, until},
    support::in_memory::TestServer,
};

impl TestServer {
    /// The site gives up its enclave, which the jobs of these tests need.
    async fn close_enclave(&self, site: &str) {
        let mut changed = self.site(site).await;
        changed.offshore_enclave = false;
        self.update_site(changed, &["offshore_enclave"]).await;
    }

    /// The agent obeys an order to stop an attempt.
    async fn stop(&self, agent: &mut Agent, job: &v1::Job) -> v1::AttemptOrder {
        let order = self.order_of(agent, job).await;
        assert_eq!(order.wish(), AttemptWish::Stop);
        // All attempts have the fence (1, 1), each in its own job.
        agent.held.retain(|held| held.job_id != job.job_id);
        agent.say(&order, ended(v1::AttemptEnd::Stopped));
        self.poll(agent).await;
        order
    }
}

fn stands(job: &v1::Job) -> (JobState, ChangeCause) {
    (job.state(), job.cause())
}

const FORBIDDEN: (JobState, ChangeCause) = (JobState::Stopping, ChangeCause::Forbidden);

#[tokio::test]
async fn what_a_site_may_no_longer_hold_is_stopped_with_the_change_and_runs_elsewhere() {
    let (server, mut agents) = TestServer::with_agents(&["dli", "kmg"]).await;
    let mut saves = anywhere(in_pieces(runs(job())));
    let execution = saves.execution.as_mut().unwrap();
    execution.stop_grace = seconds(600);
    execution.checkpoint = Some(v1::Checkpoint {
        signal: v1::CheckpointSignal::Usr1.into(),
        grace: seconds(600),
    });
    let (running, _) = server.begin(&mut agents[0], "runs", saves).await;
    let mut once = anywhere(runs(job()));
    once.execution.as_mut().unwrap().at_most_once = true;
    let (once, _) = server.begin(&mut agents[0], "once", once).await;
    // It asks for no enclave: foreign data that are sent out again do.
    let mut free = runs(job());
    let policy = free.data_policy.as_mut().unwrap();
    policy.cn_flow = v1::CnFlow::Outbound.into();
    let (free, _) = server.begin(&mut agents[0], "free", free).await;
    // One is offered, and one is planned for later.
    let offered = server.submit("offered", anywhere(runs(job()))).await;
    let later = anywhere(runs(job_between(8, 16)));
    let later = server.submit("later", later).await;
    assert_eq!(server.state_of(&offered).await, JobState::Assigned);
    let before = server.revision().await;
    server.close_enclave("dli").await;
    for job in [&running, &once, &offered] {
        assert_eq!(stands(&server.get(&job.job_id).await), FORBIDDEN);
    }
    assert_eq!(server.state_of(&free).await, JobState::Running);
    let told = server.changes_after(before).await;
    let stopped = told
        .iter()
        .filter(|event| event.cause() == ChangeCause::Forbidden);
    assert!(stopped.clone().all(|event| event.trigger == "dli"));
    assert_eq!(stopped.count(), 3);
    // In bounded time: neither its checkpoint nor the grace that it asked for is waited for.
    let order = server.stop(&mut agents[0], &running).await;
    assert_eq!((order.goes_on, order.stop_grace), (false, seconds(30)));
    server.stop(&mut agents[0], &once).await;
    // The offer was never taken: it ends with the first report of an agent that has heard of it.
    server.settle().await;
    for job in [&running, &offered, &later] {
        let job = server.get(&job.job_id).await;
        assert_eq!(job.placement.as_ref().unwrap().site_id, "kmg", "{job:?}");
        // The one attempt that is allowed is not used up.
        assert!([JobState::Planned, JobState::Assigned].contains(&job.state()));
    }
    let failed = server.get(&once.job_id).await;
    assert_eq!(stands(&failed), (JobState::Failed, ChangeCause::Forbidden));
}

#[tokio::test]
async fn traits_of_pools_and_the_gateway_count_as_well_also_over_a_restart() {
    let (mut server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let mut routed = runs(job());
    routed.data_policy.as_mut().unwrap().require_gateway_id = "mohan".into();
    let (routed, _) = server.begin(agent, "routed", routed).await;
    let (mixed, _) = server.begin(agent, "mixed", runs(job())).await;
    let mut site = server.site("dli").await;
    site.gateway_id = "ruili".into();
    server.update_site(site.clone(), &["gateway_id"]).await;
    assert_eq!(stands(&server.get(&routed.job_id).await), FORBIDDEN);
    assert_eq!(server.state_of(&mixed).await, JobState::Running);
    site.pools[0].no_domestic_mix = false;
    server.update_site(site, &["pools"]).await;
    assert_eq!(stands(&server.get(&mixed.job_id).await), FORBIDDEN);
    server.reopen().await;
    for job in [&routed, &mixed] {
        assert_eq!(stands(&server.get(&job.job_id).await), FORBIDDEN);
        server.stop(agent, job).await;
        let waits = server.get(&job.job_id).await;
        assert_eq!(stands(&waits), (JobState::Queued, ChangeCause::Forbidden));
    }
}

#[tokio::test]
async fn a_stop_that_lets_a_program_save_is_cut_short_where_the_rules_forbid_it() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let mut saves = in_pieces(runs(job()));
    saves.execution.as_mut().unwrap().checkpoint = Some(v1::Checkpoint {
        signal: v1::CheckpointSignal::Usr1.into(),
        grace: seconds(3_600),
    });
    let (job, _) = server.begin(agent, "saves", saves).await;
    let mode = v1::DrainMode::Checkpoint;
    server.try_drain("dli", mode, None).await.unwrap();
    assert!(server.order_of(agent, &job).await.goes_on);
    server.close_enclave("dli").await;
    assert_eq!(stands(&server.get(&job.job_id).await), FORBIDDEN);
    assert!(!server.order_of(agent, &job).await.goes_on);
}

#[tokio::test]
async fn between_two_runs_a_job_leaves_a_site_that_the_rules_forbid() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    // Green are half an hour now and half an hour at the end of the second hour.
    let watts: Vec<u64> = (0..8).map(|slot| u64::from(slot % 6 < 2) * 1_000).collect();
    server
        .put_forecast(forecast("dli/hydro", 0, 0, &watts))
        .await;
    let mut spec = in_pieces(runs(job_between(0, 16)));
    spec.execution.as_mut().unwrap().pause_mode = v1::PauseMode::Requeue.into();
    let (job, order) = server.begin(agent, "pieces", spec).await;
    server.pass(agent, 1_800).await;
    agent.end(&order, v1::AttemptEnd::Stopped, 0);
    server.poll(agent).await;
    assert_eq!(server.state_of(&job).await, JobState::Planned);
    server.close_enclave("dli").await;
    let left = server.get(&job.job_id).await;
    assert_eq!(stands(&left), (JobState::Queued, ChangeCause::Forbidden));
    assert_eq!(server.pass(agent, 5_400).await.attempts, []);
}

#[tokio::test]
async fn a_proof_that_runs_out_stops_what_runs_longer_than_planned() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    let mut spec = runs(job());
    let policy = spec.data_policy.as_mut().unwrap();
    policy.data_class = v1::DataClass::Personal.into();
    policy.subject_count = 1;
    policy.export_basis = v1::ExportBasis::Art4.into();
    policy.origin_bases = vec![v1::OriginBasis {
        country: "LA".into(),
        kind: v1::OriginBasisKind::Consent.into(),
        evidence: Some(v1::Evidence {
            reference: "consent".into(),
            // Its hour is over a quarter of an hour before, and the results must be gone by then.
            valid_until: Some(at_second(4_500)),
        }),
    }];
    policy.retention = seconds(600);
    let (job, _) = server.begin(agent, "proven", spec).await;
    server.pass(agent, 3_899).await;
    assert_eq!(server.state_of(&job).await, JobState::Running);
    server.pass(agent, 1).await;
    assert_eq!(stands(&server.get(&job.job_id).await), FORBIDDEN);
    server.stop(agent, &job).await;
    // No other proof, no other place.
    assert_eq!(server.state_of(&job).await, JobState::Queued);
    let explained = server.explain(&job.job_id).await;
    let reason = explained.sites[0].refusals[0].reason();
    assert_eq!(reason, v1::RefusalReason::EvidenceExpires);
}

#[tokio::test]
async fn the_labels_of_a_job_themselves_never_change() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let (job, _) = server.begin(&mut agents[0], "one", runs(job())).await;
    let mut spec = job.spec.clone().unwrap();
    spec.data_policy.as_mut().unwrap().denied_countries = vec!["CN".into()];
    let refused = server.try_update(&job.job_id, spec, &["data_policy"]).await;
    let (code, _) = refusal(&refused.unwrap_err());
    assert_eq!(code, Code::InvalidArgument);
    // The country of a site neither.
    let mut site = server.site("dli").await;
    site.country = "LA".into();
    let request = v1::UpdateSiteRequest {
        site: Some(site),
        update_mask: super::world::mask(&["country"]),
        ..v1::UpdateSiteRequest::default()
    };
    let refused = server.sites().update_site(request).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    server.advance(Duration::from_secs(5)).await;
    assert_eq!(server.state_of(&job).await, JobState::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_program_is_gone_from_a_forbidden_site_before_it_begins_at_another() {
    let scene = Scene::start(&["dli", "kmg"]).await;
    let spec = scene.counts("world", &["dli", "kmg"]);
    let job = scene.server.submit("moves", spec).await;
    scene.until_said("world", "step", 1);
    let first = scene.until_state(&job.job_id, JobState::Running);
    assert_eq!(first.attempts[0].site_id, "dli");
    scene.server.close_enclave("dli").await;
    until("it begins again", || {
        let said = scene.said("world");
        let begun = said.iter().any(|(n, ..)| *n == 2);
        assert!(!begun || !lives(pid(&first)), "both run");
        begun.then_some(())
    });
    let again = scene.until_attempt(&job.job_id, 2);
    assert_eq!(again.attempts[1].site_id, "kmg");
    scene.let_end("world");
    scene.until_state(&job.job_id, JobState::Succeeded);
    assert_begun_once_each(&scene.said("world"), 2);
}
