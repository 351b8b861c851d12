//! Pauses by plan: a real agent runs a real program in the runs of its placement, while the test moves the server's clock.
//!
//! What counts is what the program did to the world: nothing between two runs, and nothing twice.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use lancang::{
    controller::{LeaseTimes, Options},
    proto::v1::{self, AttemptEnd, CheckpointSignal, JobState, PauseMode},
};
use tempfile::TempDir;
use tokio::{runtime::Handle, task::block_in_place};

use super::world::{at, job, seconds, site, slot_of};
use crate::{
    agent::process::{lives, process_state, until},
    support::in_memory::{TestServer, options},
};

/// The agent reports ten times a second, and no move of the clock makes it look silent.
const TIMES: LeaseTimes = LeaseTimes {
    heartbeat_ms: 100,
    silent_after_ms: 36_000_000,
    stop_after_ms: 37_000_000,
    lost_after_ms: 38_000_000,
};

/// Counts on from what was saved, a line in the world for each step, until the test says so. Told to save, it does.
const COUNTS: &str = r#"
n=$(cat saved || echo 0)
say() { echo "$LANCANG_ATTEMPT $1 $n" >> "$WORLD"; }
trap 'echo $n > saved; say saved' USR1
say begin
until [ -e "$WORLD.end" ]; do n=$((n+1)); say step; read -t 0.05 _ <> "$QUIET" || true; done
say end
"#;

/// A server whose clock the test moves, and the real agent of its one site.
struct Scene {
    server: TestServer,
    root: TempDir,
    agent: Child,
}

impl Scene {
    async fn start() -> Self {
        let options = Options {
            leases: TIMES,
            ..options()
        };
        let server = TestServer::with_options(options).await;
        server.create_sites(vec![site("dli")]).await;
        // Green in slots 0, 1, 4 and 5.
        server
            .forecast_at("dli", 0, &[1_000, 1_000, 0, 0, 1_000, 1_000])
            .await;
        let root = tempfile::tempdir().unwrap();
        let fifo = Command::new("mkfifo")
            .arg(root.path().join("quiet"))
            .status();
        assert!(fifo.unwrap().success());
        let address = server.listen().await;
        let agent = Command::new(env!("CARGO_BIN_EXE_lancang"))
            .args(["agent", "--sandbox", "none", "--site", "dli", "--server"])
            .arg(format!("http://{address}"))
            .arg("--dir")
            .arg(root.path().join("agent"))
            .env("LANCANG_AGENT_TOKEN", server.token("dli").await)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(root.path().join("agent.log")).unwrap())
            .spawn()
            .unwrap();
        let scene = Self {
            server,
            root,
            agent,
        };
        until("the agent enrols", || {
            let quote = scene.wait(scene.server.quote(scene.spec(PauseMode::Suspend)));
            quote.placement.is_some().then_some(())
        });
        scene
    }

    fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        block_in_place(|| Handle::current().block_on(what))
    }

    fn world(&self) -> PathBuf {
        self.root.path().join("world")
    }

    /// An hour in pieces of at least a quarter, best in the green slots.
    fn spec(&self, mode: PauseMode) -> v1::JobSpec {
        let path = |name| self.root.path().join(name).to_str().unwrap().to_owned();
        let environment = [
            ("WORLD".to_owned(), path("world")),
            ("QUIET".to_owned(), path("quiet")),
        ];
        let cut = v1::Interruptible {
            min_chunk: seconds(900),
            resume_cost: None,
        };
        v1::JobSpec {
            flexibility: Some(v1::Flexibility {
                kind: Some(v1::flexibility::Kind::Interruptible(cut)),
            }),
            execution: Some(v1::Execution {
                argv: vec!["bash".into(), "-c".into(), COUNTS.into()],
                environment: environment.into(),
                pause_mode: mode.into(),
                checkpoint: Some(v1::Checkpoint {
                    signal: CheckpointSignal::Usr1.into(),
                    grace: seconds(1),
                }),
                stop_grace: seconds(1),
                ..v1::Execution::default()
            }),
            ..job()
        }
    }

    fn submit(&self, mode: PauseMode) -> String {
        let job = self.wait(self.server.submit("counts", self.spec(mode)));
        let runs = &job.placement.as_ref().unwrap().runs;
        let runs: Vec<_> = runs
            .iter()
            .map(|run| (run.start_time.unwrap(), run.end_time.unwrap()))
            .collect();
        assert_eq!(runs, [(at(0), at(2)), (at(4), at(6))]);
        job.job_id
    }

    fn until_state(&self, job_id: &str, state: JobState) -> v1::Job {
        until(state.as_str_name(), || {
            self.wait(self.server.settle());
            let job = self.wait(self.server.get(job_id));
            (job.state() == state).then_some(job)
        })
    }

    /// Everything the program has said, as (attempt, what, number).
    fn said(&self) -> Vec<(u32, String, u32)> {
        let text = fs::read_to_string(self.world()).unwrap_or_default();
        let line = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |i: usize| words[i].parse().unwrap();
            (number(0), words[1].to_owned(), number(2))
        };
        text.lines().map(line).collect()
    }

    fn until_said(&self, what: &str, attempt: u32) -> u32 {
        until(what, || {
            let said = self.said().into_iter().rev();
            said.filter(|(number, ..)| *number == attempt)
                .find(|(_, word, _)| word == what)
                .map(|(.., n)| n)
        })
    }

    /// Lets the agent report and be answered a few times; nothing may happen to the world meanwhile.
    fn nothing_happens(&self) {
        let lease = || fs::read(self.root.path().join("agent/lease.json")).unwrap();
        let before = self.said();
        for _ in 0..5 {
            let last = lease();
            until("the agent is answered", || (lease() != last).then_some(()));
        }
        assert_eq!(self.said(), before, "it ran between its runs");
    }

    fn pid(&self, job: &v1::Job) -> u32 {
        job.attempts.last().unwrap().engine_id.parse().unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Shims keep a lease; without the file, and nobody to write it again, they end at once.
        let _gone = self.agent.kill();
        let _gone = self.agent.wait();
        let _none = fs::remove_file(self.root.path().join("agent/lease.json"));
        let _end = fs::write(self.root.path().join("world.end"), "");
    }
}

/// Every step is counted once, in order, over all attempts.
fn assert_counted(said: &[(u32, String, u32)]) {
    let steps = said.iter().filter(|(_, word, _)| word == "step");
    let steps: Vec<u32> = steps.map(|(.., n)| *n).collect();
    let expected: Vec<u32> = (1..).take(steps.len()).collect();
    assert_eq!(steps, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_two_runs_a_program_is_halted_and_then_goes_on() {
    let scene = Scene::start().await;
    let job_id = scene.submit(PauseMode::Suspend);
    scene.until_said("step", 1);
    scene.server.advance_slots(2).await;
    let paused = scene.until_state(&job_id, JobState::Suspended);
    let pid = scene.pid(&paused);
    assert_eq!(process_state(pid).as_deref(), Some("T"));
    scene.until_said("saved", 1);
    scene.nothing_happens();
    // A slot later it is still between its runs.
    scene.server.advance_slots(1).await;
    scene.until_state(&job_id, JobState::Suspended);
    scene.nothing_happens();
    let so_far = scene.said().len();

    scene.server.advance_slots(1).await;
    let running = scene.until_state(&job_id, JobState::Running);
    assert_eq!(scene.pid(&running), pid);
    until("it goes on", || (so_far < scene.said().len()).then_some(()));
    fs::write(scene.root.path().join("world.end"), "").unwrap();
    let done = scene.until_state(&job_id, JobState::Succeeded);
    assert_eq!(done.attempts.len(), 1);
    let said = scene.said();
    assert_counted(&said);
    let count = |word| said.iter().filter(|(_, said, _)| said == word).count();
    assert_eq!((count("begin"), count("saved"), count("end")), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_two_runs_an_attempt_ends_and_the_next_goes_on_from_what_it_saved() {
    let scene = Scene::start().await;
    let job_id = scene.submit(PauseMode::Requeue);
    scene.until_said("step", 1);
    let running = scene.until_state(&job_id, JobState::Running);
    let pid = scene.pid(&running);
    scene.server.advance_slots(2).await;
    let paused = scene.until_state(&job_id, JobState::Planned);
    assert_eq!(paused.cause(), v1::ChangeCause::Paused);
    assert_eq!(paused.attempts[0].end(), AttemptEnd::Paused);
    assert_eq!(paused.placement, running.placement, "it keeps its place");
    assert!(!lives(pid));
    let saved = scene.until_said("saved", 1);
    let explained = scene.server.explain(&job_id).await;
    assert!(
        explained.summary.contains("between two runs at dli"),
        "{}",
        explained.summary
    );
    scene.nothing_happens();
    // Nothing moves what has begun: neither the clock, nor a better forecast, nor a restart.
    scene.server.advance_slots(1).await;
    scene.server.forecast_at("dli", 3, &[1_000; 8]).await;
    let waiting = scene.until_state(&job_id, JobState::Planned);
    assert_eq!(waiting.placement, running.placement);
    scene.nothing_happens();

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
    let begun_at = scene.until_said("begin", 2);
    let after = |word: &str| {
        let said = scene.said().into_iter();
        let of_first = said.filter(|(attempt, said, _)| *attempt == 1 && said == word);
        of_first.map(|(.., n)| n).max().unwrap()
    };
    // It goes on where it saved, and what it did while it was given time to end is done again, no more.
    assert_eq!(begun_at, saved);
    assert!(saved <= after("step"));
    fs::write(scene.root.path().join("world.end"), "").unwrap();
    let done = scene.until_state(&job_id, JobState::Succeeded);
    // One attempt is allowed, and a pause is not a failure: none was counted.
    let ends: Vec<_> = done.attempts.iter().map(|one| one.end()).collect();
    assert_eq!(ends, [AttemptEnd::Paused, AttemptEnd::Exited]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_job_whose_last_run_passes_without_its_agent_is_planned_anew() {
    let mut scene = Scene::start().await;
    let job_id = scene.submit(PauseMode::Requeue);
    scene.until_said("step", 1);
    scene.server.advance_slots(2).await;
    scene.until_state(&job_id, JobState::Planned);
    scene.agent.kill().unwrap();
    scene.agent.wait().unwrap();
    scene.server.advance_slots(4).await;
    let moved = scene.server.get(&job_id).await;
    assert_eq!(moved.replan_count, 1);
    let start = moved.placement.unwrap().runs[0].start_time;
    assert!(6 <= slot_of(start), "{start:?}");
}
