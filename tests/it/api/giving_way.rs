//! What runs gives way to drains and windows: real programs of real agents save, pause, are stopped and go on.
//!
//! Facts are read from the worlds of the programs, from their processes and from the API; only the test moves the clock.

use lancang::proto::v1::{
    self, AttemptEnd, ChangeCause, DrainMode, DrainState, JobState, PauseMode, WindowKind,
    watch_sites_response::Item,
};
use tokio_stream::StreamExt;

use super::{
    drain::left,
    scene::{Scene, assert_begun_once_each, assert_counted, pid},
    windows::window,
    world::at,
};
use crate::agent::process::{lives, process_state, until};

/// Heartbeats within which a program is halted that is to pause at once: two seconds of them, where one would do.
const HEARTBEATS_MAX: u32 = 20;

/// What a drain says that is left at its site, step by step until nothing is.
async fn progress(scene: &Scene, site: &str, from: u64) -> Vec<(u64, u64, u64, DrainState)> {
    let request = v1::WatchSitesRequest {
        site_id: site.into(),
        after_revision: Some(from),
        ..v1::WatchSitesRequest::default()
    };
    let mut client = scene.server.sites();
    let mut items = client.watch_sites(request).await.unwrap().into_inner();
    let mut told = Vec::new();
    while let Some(item) = items.next().await {
        if let Item::Event(event) = item.unwrap().item.unwrap() {
            told.push(left(&event.site.unwrap()));
        }
        if told
            .last()
            .is_some_and(|last| last.3 == DrainState::Drained)
        {
            break;
        }
    }
    told
}

/// Drains a site by checkpoint while a program counts there, and waits until it is empty; gives the job as it ran.
async fn drain_while_it_counts(scene: &Scene, job_id: &str) -> v1::Job {
    scene.until_said("world", "step", 1);
    let running = scene.until_state(job_id, JobState::Running);
    let before = scene.server.revision().await;
    let mode = DrainMode::Checkpoint;
    scene.server.try_drain("dli", mode, None).await.unwrap();
    let told = progress(scene, "dli", before).await;
    let expected = [
        (0, 1, 0, DrainState::Draining),
        (0, 0, 1, DrainState::Draining),
        (0, 0, 0, DrainState::Drained),
    ];
    assert_eq!(told, expected);
    assert!(!lives(pid(&running)));
    running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_by_checkpoint_lets_a_program_save_and_begins_it_at_another_site() {
    let scene = Scene::start(&["dli", "kmg"]).await;
    let spec = scene.saves("world", &["dli", "kmg"], PauseMode::Suspend);
    let job = scene.server.submit("moves", spec).await;
    let running = drain_while_it_counts(&scene, &job.job_id).await;
    assert_eq!(running.attempts[0].site_id, "dli");
    scene.until_said("world", "saved", 1);
    let again = scene.until_attempt(&job.job_id, 2);
    assert_eq!(again.attempts[1].site_id, "kmg");
    // What it saved is at the site that it left.
    assert_eq!(scene.until_said("world", "begin", 2), 0);
    scene.let_end("world");
    let done = scene.until_state(&job.job_id, JobState::Succeeded);
    let ends: Vec<_> = done.attempts.iter().map(|one| one.end()).collect();
    assert_eq!(ends, [AttemptEnd::Stopped, AttemptEnd::Exited]);
    assert_begun_once_each(&scene.said("world"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_a_drained_site_goes_on_there_from_what_it_saved_once_the_drain_ends() {
    let scene = Scene::start(&["dli"]).await;
    let spec = scene.saves("world", &["dli"], PauseMode::Suspend);
    let job = scene.server.submit("stays", spec).await;
    drain_while_it_counts(&scene, &job.job_id).await;
    let saved = scene.until_said("world", "saved", 1);
    let waits = scene.until_state(&job.job_id, JobState::Queued);
    assert_eq!(waits.cause(), ChangeCause::Drain);
    scene.server.advance_slots(1).await;
    scene.nothing_happens("world", "dli");
    scene.server.uncordon("dli").await;
    scene.until_attempt(&job.job_id, 2);
    assert_eq!(scene.until_said("world", "begin", 2), saved);
    scene.let_end("world");
    let done = scene.until_state(&job.job_id, JobState::Succeeded);
    assert_eq!(done.attempts.len(), 2);
    assert_begun_once_each(&scene.said("world"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_curtailment_that_begins_halts_a_program_within_some_heartbeats_and_it_goes_on_after_it()
{
    let scene = Scene::start(&["dli"]).await;
    let mut spec = scene.saves("world", &["dli"], PauseMode::Suspend);
    // It is halted at once: no time to save is waited for.
    spec.execution.as_mut().unwrap().checkpoint = None;
    let job = scene.server.submit("pauses", spec).await;
    scene.until_said("world", "step", 1);
    let running = scene.until_state(&job.job_id, JobState::Running);
    scene
        .server
        .put(window(WindowKind::Curtailment, 1, 3, 0))
        .await;
    let planned = scene.server.get(&job.job_id).await.placement.unwrap();
    let runs = planned.runs.iter();
    let runs: Vec<_> = runs.map(|run| (run.start_time, run.end_time)).collect();
    let expected = [(0, 1), (3, 6)].map(|(start, end)| (Some(at(start)), Some(at(end))));
    assert_eq!(runs, expected);
    // Until it begins nothing has changed.
    let is_halted = || process_state(pid(&running)).as_deref() == Some("T");
    assert!(!is_halted());
    scene.server.advance_slots(1).await;
    let n = scene.heartbeats_until("dli", "it is halted", is_halted);
    assert!(n <= HEARTBEATS_MAX, "halted after {n} heartbeats");
    scene.until_state(&job.job_id, JobState::Suspended);
    let power = scene.server.site("dli").await.power.unwrap();
    assert_eq!((power.allowed_watts, power.running_watts), (0, 0));
    scene.nothing_happens("world", "dli");
    scene.server.advance_slots(1).await;
    scene.nothing_happens("world", "dli");

    let so_far = scene.said("world").len();
    scene.server.advance_slots(1).await;
    let goes_on = || so_far < scene.said("world").len();
    let n = scene.heartbeats_until("dli", "it goes on", goes_on);
    assert!(n <= HEARTBEATS_MAX, "went on after {n} heartbeats");
    let again = scene.until_state(&job.job_id, JobState::Running);
    assert_eq!(pid(&again), pid(&running));
    scene.let_end("world");
    let done = scene.until_state(&job.job_id, JobState::Succeeded);
    assert_eq!(done.attempts.len(), 1);
    assert_counted(&scene.said("world"));
    assert_begun_once_each(&scene.said("world"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_stops_what_cannot_pause_and_it_runs_elsewhere_but_not_what_runs_once() {
    let scene = Scene::start(&["dli", "kmg"]).await;
    let moves = scene.counts("moves", &["dli", "kmg"]);
    let mut once = scene.counts("once", &["dli", "kmg"]);
    once.execution.as_mut().unwrap().at_most_once = true;
    let moves = scene.server.submit("moves", moves).await;
    let once = scene.server.submit("once", once).await;
    let first = scene.until_state(&moves.job_id, JobState::Running);
    let stays = scene.until_state(&once.job_id, JobState::Running);
    for job in [&first, &stays] {
        assert_eq!(job.attempts[0].site_id, "dli");
    }
    let before = scene.server.revision().await;
    scene
        .server
        .put(window(WindowKind::Emergency, 0, 8, 0))
        .await;
    until("it begins again", || {
        let said = scene.said("moves");
        let begun = said
            .iter()
            .any(|(n, word, _)| (*n, word.as_str()) == (2, "begin"));
        // Whatever is seen of the second attempt, nothing is left of the first one.
        assert!(!begun || !lives(pid(&first)), "both run");
        begun.then_some(())
    });
    let again = scene.until_attempt(&moves.job_id, 2);
    assert_eq!(again.attempts[1].site_id, "kmg");
    assert_eq!(again.attempts[0].end(), AttemptEnd::Stopped);
    let told = scene.server.changes_after(before).await;
    let stops = told.iter().filter_map(|event| event.job.as_ref());
    let stops = stops.filter(|job| job.state() == JobState::Stopping);
    let stops: Vec<_> = stops.map(|job| (&job.job_id, job.cause())).collect();
    assert_eq!(stops, [(&moves.job_id, ChangeCause::Curtailed)]);
    assert!(lives(pid(&stays)));
    for (job, world) in [(&again, "moves"), (&stays, "once")] {
        scene.let_end(world);
        scene.until_state(&job.job_id, JobState::Succeeded);
    }
    assert_begun_once_each(&scene.said("moves"), 2);
    assert_begun_once_each(&scene.said("once"), 1);
}
