//! Units of malleable jobs: orders name those of the slot, and programs read them.
//!
//! The tests move the clock; the agent is the test or a real one with a real program.

use lancang::proto::v1::{self, AttemptEnd, AttemptWish, JobState, PauseMode, WindowKind};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::Request;

use super::{
    drain::runs,
    scene::Scene,
    site_agent::Agent,
    windows::window,
    world::{job, seconds, slot_of},
};
use crate::{agent::process::until, support::in_memory::TestServer};

/// What a job of six slots with one unit, 1 kW each, takes on green power alone: two units, one, none, two, one.
const GREEN: [u64; 5] = [2_000, 1_000, 0, 2_000, 1_000];

/// The name of the world in which the programs of these tests write.
const WORLD: &str = "world";

/// Says the units with which it begins, and those that it reads whenever they are others, until the test says so.
const READS: &str = r#"
say() { echo "$LANCANG_ATTEMPT $1 $2" >> "$WORLD"; }
say begin "$LANCANG_UNITS"
until [ -e "$WORLD.end" ]; do
    has=$(cat "$LANCANG_UNITS_FILE")
    [ "$has" = "$had" ] || say units "$has"
    had=$has
    read -t 0.05 _ <> "$QUIET" || true
done
say end "$had"
"#;

/// A job that takes so many slots with one unit, and half of them with two.
fn malleable(slots: i64, spec: v1::JobSpec) -> v1::JobSpec {
    let kind = v1::flexibility::Kind::Malleable(v1::Malleable {
        speed_permille: vec![1_000, 2_000],
    });
    v1::JobSpec {
        flexibility: Some(v1::Flexibility { kind: Some(kind) }),
        timing: Some(v1::Timing {
            runtime: seconds(slots * 900),
            ..v1::Timing::default()
        }),
        ..spec
    }
}

/// The runs of a job, as (first slot, slot after it, units).
fn plan(job: &v1::Job) -> Vec<(i64, i64, u32)> {
    let runs = &job.placement.as_ref().unwrap().runs;
    runs.iter()
        .map(|run| (slot_of(run.start_time), slot_of(run.end_time), run.units))
        .collect()
}

/// What a job is ordered to do, and with how many units.
async fn ordered(server: &TestServer, agent: &mut Agent, job: &v1::Job) -> (AttemptWish, u32) {
    let order = server.order_of(agent, job).await;
    (order.wish(), order.units)
}

#[tokio::test]
async fn orders_name_the_units_of_the_slot_and_a_session_brings_them_when_it_begins() {
    let (mut server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    server.forecast_at("dli", 0, &GREEN).await;
    let (wide, order) = server.begin(agent, "wide", malleable(6, runs(job()))).await;
    assert_eq!(plan(&wide), [(0, 1, 2), (1, 2, 1), (3, 4, 2), (4, 5, 1)]);
    assert_eq!((order.units, order.offer.unwrap().max_units), (2, 2));
    let (rigid, order) = server.begin(agent, "rigid", runs(job())).await;
    assert_eq!((order.units, order.offer.unwrap().max_units), (0, 0));

    let (reports, sent) = mpsc::unbounded_channel();
    let mut request = Request::new(UnboundedReceiverStream::new(sent));
    request
        .metadata_mut()
        .insert("authorization", agent.authorization());
    let message = v1::SessionRequest {
        report: Some(agent.report()),
        log_chunks: Vec::new(),
    };
    reports.send(message).unwrap();
    let session = server.agents().session(request).await.unwrap();
    let mut session = session.into_inner();
    let mut next = async || {
        let orders = session.next().await.unwrap().unwrap().orders.unwrap();
        let units = |job: &v1::Job| {
            let mut orders = orders.attempts.iter();
            orders
                .find(|order| order.job_id == job.job_id)
                .unwrap()
                .units
        };
        (units(&wide), units(&rigid))
    };
    assert_eq!(next().await, (2, 0));
    // Nothing changes of the jobs, and so nothing is said, until the slot begins.
    server.pass(agent, 900).await;
    assert_eq!(next().await, (1, 0));
    drop((reports, session));

    assert_eq!(ordered(&server, agent, &wide).await, (AttemptWish::Run, 1));
    server.reopen().await;
    assert_eq!(ordered(&server, agent, &wide).await, (AttemptWish::Run, 1));
    server.pass(agent, 900).await;
    let paused = ordered(&server, agent, &wide).await;
    assert_eq!(paused, (AttemptWish::Suspend, 0));
    server.pass(agent, 900).await;
    assert_eq!(ordered(&server, agent, &wide).await, (AttemptWish::Run, 2));
    server.pass(agent, 900).await;
    assert_eq!(ordered(&server, agent, &wide).await, (AttemptWish::Run, 1));
    // Past its plan it goes on as it was.
    server.pass(agent, 900).await;
    assert_eq!(ordered(&server, agent, &wide).await, (AttemptWish::Run, 1));
}

#[tokio::test]
async fn fewer_units_are_ordered_from_the_slot_on_in_which_the_plan_has_fewer() {
    let (server, mut agents) = TestServer::with_agents(&["dli"]).await;
    let agent = &mut agents[0];
    server.forecast_at("dli", 0, &[2_000; 8]).await;
    let (wide, _) = server.begin(agent, "wide", malleable(8, runs(job()))).await;
    server
        .put(window(WindowKind::Curtailment, 0, 2, 1_000))
        .await;
    let replanned = server.get(&wide.job_id).await;
    assert_eq!(plan(&replanned)[..2], [(0, 1, 2), (1, 2, 1)]);
    assert_eq!(ordered(&server, agent, &wide).await, (AttemptWish::Run, 2));
    server.pass(agent, 900).await;
    assert_eq!(ordered(&server, agent, &wide).await, (AttemptWish::Run, 1));
    server.pass(agent, 900).await;
    assert_eq!(ordered(&server, agent, &wide).await, (AttemptWish::Run, 2));
}

/// A scene of one site with so much green power in the slots to come, watts.
async fn green(watts: &[u64]) -> Scene {
    let scene = Scene::start(&["dli"]).await;
    scene.server.forecast_at("dli", 0, watts).await;
    scene
}

impl Scene {
    /// Submits a malleable job of so many slots whose program reads its units.
    fn submit_malleable(&self, slots: i64, pause_mode: PauseMode) -> v1::Job {
        let mut spec = malleable(slots, self.counts(WORLD, &["dli"]));
        let execution = spec.execution.as_mut().unwrap();
        execution.argv[2] = READS.into();
        execution.pause_mode = pause_mode.into();
        self.wait(self.server.submit("reads", spec))
    }

    /// Waits until programs have said this and nothing else, as (attempt, what, units).
    #[track_caller]
    fn until_read(&self, expected: &[(u32, &str, u32)]) {
        until(&format!("{expected:?}"), || {
            let said = self.said(WORLD);
            let said = said.iter().map(|(by, what, n)| (*by, &**what, *n));
            said.eq(expected.iter().copied()).then_some(())
        });
    }

    fn end(&self, job: &v1::Job) -> v1::Job {
        self.let_end(WORLD);
        self.until_state(&job.job_id, JobState::Succeeded)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_reads_the_units_of_each_slot_through_a_pause_and_a_new_agent() {
    let mut scene = green(&GREEN).await;
    let job = scene.submit_malleable(6, PauseMode::Suspend);
    assert_eq!(plan(&job), [(0, 1, 2), (1, 2, 1), (3, 4, 2), (4, 5, 1)]);
    let mut read = vec![(1, "begin", 2), (1, "units", 2)];
    scene.until_read(&read);
    scene.server.advance_slots(1).await;
    read.push((1, "units", 1));
    scene.until_read(&read);
    scene.server.advance_slots(1).await;
    scene.until_state(&job.job_id, JobState::Suspended);
    scene.server.advance_slots(1).await;
    read.push((1, "units", 2));
    scene.until_read(&read);
    // The slot begins while there is no agent: the next one tells.
    scene.kill_agent("dli");
    scene.server.advance_slots(1).await;
    scene.start_agent("dli", None).await;
    read.push((1, "units", 1));
    scene.until_read(&read);
    let done = scene.end(&job);
    read.push((1, "end", 1));
    scene.until_read(&read);
    assert_eq!(done.attempts.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_attempt_begins_with_the_units_that_the_job_has_then() {
    let scene = green(&GREEN).await;
    let job = scene.submit_malleable(6, PauseMode::Requeue);
    let mut read = vec![(1, "begin", 2), (1, "units", 2)];
    scene.until_read(&read);
    scene.server.advance_slots(1).await;
    read.push((1, "units", 1));
    scene.until_read(&read);
    scene.server.advance_slots(1).await;
    let paused = scene.until_state(&job.job_id, JobState::Planned);
    assert_eq!(paused.attempts[0].end(), AttemptEnd::Paused);
    scene.server.advance_slots(1).await;
    read.extend([(2, "begin", 2), (2, "units", 2)]);
    scene.until_read(&read);
    scene.end(&job);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_curtailment_reaches_the_program_with_the_next_slot() {
    let scene = green(&[2_000; 8]).await;
    let job = scene.submit_malleable(8, PauseMode::Suspend);
    let mut read = vec![(1, "begin", 2), (1, "units", 2)];
    scene.until_read(&read);
    scene
        .server
        .put(window(WindowKind::Curtailment, 0, 2, 1_000))
        .await;
    scene.server.advance_slots(1).await;
    read.push((1, "units", 1));
    scene.until_read(&read);
    scene.server.advance_slots(1).await;
    read.push((1, "units", 2));
    scene.until_read(&read);
    scene.end(&job);
}
