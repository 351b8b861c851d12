//! Pauses by plan: a real agent runs a real program in the runs of its placement, while the test moves the server's clock.
//!
//! What counts is what the program did to the world: nothing between two runs, and nothing twice.

use lancang::proto::v1::{self, AttemptEnd, JobState, PauseMode};

use super::{
    drain::{anywhere, in_pieces, runs},
    scene::{Scene, assert_begun_once_each, assert_counted, pid},
    world::{at, job_between, slot_of},
};
use crate::{
    agent::process::{lives, process_state, until},
    support::in_memory::TestServer,
};

/// The name of the world in which the programs of these tests count.
const WORLD: &str = "world";

/// A scene of one site that is green in slots 0, 1, 4 and 5.
async fn start() -> Scene {
    let scene = Scene::start(&["dli"]).await;
    scene
        .server
        .forecast_at("dli", 0, &[1_000, 1_000, 0, 0, 1_000, 1_000])
        .await;
    scene
}

/// An hour in pieces, best in the green slots.
fn submit(scene: &Scene, mode: PauseMode) -> String {
    let spec = scene.saves(WORLD, &["dli"], mode);
    let job = scene.wait(scene.server.submit("counts", spec));
    let runs = &job.placement.as_ref().unwrap().runs;
    let runs: Vec<_> = runs
        .iter()
        .map(|run| (run.start_time.unwrap(), run.end_time.unwrap()))
        .collect();
    assert_eq!(runs, [(at(0), at(2)), (at(4), at(6))]);
    job.job_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_two_runs_a_program_is_halted_and_then_goes_on() {
    let scene = start().await;
    let job_id = submit(&scene, PauseMode::Suspend);
    scene.until_said(WORLD, "step", 1);
    scene.server.advance_slots(2).await;
    let paused = scene.until_state(&job_id, JobState::Suspended);
    let halted = pid(&paused);
    assert_eq!(process_state(halted).as_deref(), Some("T"));
    scene.until_said(WORLD, "saved", 1);
    scene.nothing_happens(WORLD, "dli");
    // A slot later it is still between its runs.
    scene.server.advance_slots(1).await;
    scene.until_state(&job_id, JobState::Suspended);
    scene.nothing_happens(WORLD, "dli");
    let so_far = scene.said(WORLD).len();

    scene.server.advance_slots(1).await;
    let running = scene.until_state(&job_id, JobState::Running);
    assert_eq!(pid(&running), halted);
    until("it goes on", || {
        (so_far < scene.said(WORLD).len()).then_some(())
    });
    scene.let_end(WORLD);
    let done = scene.until_state(&job_id, JobState::Succeeded);
    assert_eq!(done.attempts.len(), 1);
    let said = scene.said(WORLD);
    assert_counted(&said);
    let count = |word| said.iter().filter(|(_, said, _)| said == word).count();
    assert_eq!((count("begin"), count("saved"), count("end")), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_two_runs_an_attempt_ends_and_the_next_goes_on_from_what_it_saved() {
    let scene = start().await;
    let job_id = submit(&scene, PauseMode::Requeue);
    scene.until_said(WORLD, "step", 1);
    let running = scene.until_state(&job_id, JobState::Running);
    let first = pid(&running);
    scene.server.advance_slots(2).await;
    let paused = scene.until_state(&job_id, JobState::Planned);
    assert_eq!(paused.cause(), v1::ChangeCause::Paused);
    assert_eq!(paused.attempts[0].end(), AttemptEnd::Paused);
    assert_eq!(paused.placement, running.placement, "it keeps its place");
    assert!(!lives(first));
    let saved = scene.until_said(WORLD, "saved", 1);
    let explained = scene.server.explain(&job_id).await;
    assert!(
        explained.summary.contains("between two runs at dli"),
        "{}",
        explained.summary
    );
    scene.nothing_happens(WORLD, "dli");
    // Nothing moves what has begun: neither the clock, nor a better forecast, nor a restart.
    scene.server.advance_slots(1).await;
    scene.server.forecast_at("dli", 3, &[1_000; 8]).await;
    let waiting = scene.until_state(&job_id, JobState::Planned);
    assert_eq!(waiting.placement, running.placement);
    scene.nothing_happens(WORLD, "dli");

    scene.server.advance_slots(1).await;
    let again = scene.until_state(&job_id, JobState::Running);
    let fences: Vec<_> = again.attempts.iter().map(|one| one.fence).collect();
    let fence = |attempt| {
        Some(v1::Fence {
            site_epoch: 1,
            attempt,
        })
    };
    assert_eq!(fences, [fence(1), fence(2)]);
    let begun_at = scene.until_said(WORLD, "begin", 2);
    let after = |word: &str| {
        let said = scene.said(WORLD).into_iter();
        let of_first = said.filter(|(attempt, said, _)| *attempt == 1 && said == word);
        of_first.map(|(.., n)| n).max().unwrap()
    };
    // It goes on where it saved, and what it did while it was given time to end is done again, no more.
    assert_eq!(begun_at, saved);
    assert!(saved <= after("step"));
    scene.let_end(WORLD);
    let done = scene.until_state(&job_id, JobState::Succeeded);
    // One attempt is allowed, and a pause is not a failure: none was counted.
    let ends: Vec<_> = done.attempts.iter().map(|one| one.end()).collect();
    assert_eq!(ends, [AttemptEnd::Paused, AttemptEnd::Exited]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_job_whose_last_run_passes_without_its_agent_goes_on_later_with_what_is_left() {
    let mut scene = start().await;
    let job_id = submit(&scene, PauseMode::Requeue);
    scene.until_said(WORLD, "step", 1);
    scene.server.advance_slots(2).await;
    scene.until_state(&job_id, JobState::Planned);
    let saved = scene.until_said(WORLD, "saved", 1);
    scene.kill_agent("dli");
    scene.server.advance_slots(4).await;
    let moved = scene.server.get(&job_id).await;
    assert_eq!(moved.replan_count, 1);
    assert_eq!(moved.cause(), v1::ChangeCause::StartDue);
    // Half of it is done; the other half was missed, and is all that is left.
    let runs = &moved.placement.as_ref().unwrap().runs;
    let runs: Vec<_> = runs
        .iter()
        .map(|run| (run.start_time.unwrap(), run.end_time.unwrap()))
        .collect();
    assert_eq!(runs, [(at(0), at(2)), (at(6), at(8))]);
    scene.start_agent("dli", None).await;
    scene.until_attempt(&job_id, 2);
    assert_eq!(scene.until_said(WORLD, "begin", 2), saved);
    scene.let_end(WORLD);
    scene.until_state(&job_id, JobState::Succeeded);
    assert_begun_once_each(&scene.said(WORLD), 2);
}

#[tokio::test]
async fn a_paused_job_whose_site_is_given_up_is_planned_elsewhere_as_a_whole() {
    let (server, mut agents) = TestServer::with_agents(&["dli", "kmg", "qj"]).await;
    let mut spec = anywhere(in_pieces(runs(job_between(0, 40))));
    spec.execution.as_mut().unwrap().pause_mode = PauseMode::Requeue.into();
    server
        .forecast_at("dli", 0, &[1_000, 1_000, 0, 0, 1_000, 1_000])
        .await;
    let (job, order) = server.begin(&mut agents[0], "pieces", spec).await;
    server.pass_all(&mut agents, 1_800).await;
    agents[0].end(&order, AttemptEnd::Stopped, 0);
    server.poll(&mut agents[0]).await;
    assert_eq!(server.state_of(&job).await, JobState::Planned);
    // The others are heard: it is this agent's fault.
    server.pass_all(&mut agents[1..], 3_600).await;
    let elsewhere = server.get(&job.job_id).await;
    let placement = elsewhere.placement.unwrap();
    assert_eq!(placement.site_id, "kmg");
    let n_slots: i64 = placement
        .runs
        .iter()
        .map(|run| slot_of(run.end_time) - slot_of(run.start_time))
        .sum();
    assert_eq!(n_slots, 4);
}
