//! Real agents that run real programs, at sites of a server whose clock the test moves.
//!
//! What counts is what a program did to the world: each program writes down, in a file of its own, what it does.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use lancang::{
    controller::{LeaseTimes, Options},
    proto::v1::{self, CheckpointSignal, JobState, PauseMode},
};
use tempfile::TempDir;
use tokio::{runtime::Handle, task::block_in_place};

use super::world::{job, seconds, site};
use crate::{
    agent::process::until,
    support::in_memory::{TestServer, options},
};

/// Agents report ten times a second, and no move of the clock makes one look silent.
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

/// One line that a program has written: its attempt, what it did, and its number.
pub(super) type Said = (u32, String, u32);

/// Counts the answers that an agent gets: it writes its lease anew with each.
struct Answers {
    lease: PathBuf,
    last: Vec<u8>,
    n: u32,
}

impl Answers {
    fn count(&mut self) -> u32 {
        let now = fs::read(&self.lease).unwrap();
        self.n += u32::from(now != self.last);
        self.last = now;
        self.n
    }
}

/// A server whose clock the test moves, and the real agents of its sites.
pub(super) struct Scene {
    pub(super) server: TestServer,
    root: TempDir,
    agents: BTreeMap<String, Child>,
}

impl Scene {
    pub(super) async fn start(sites: &[&str]) -> Self {
        let options = Options {
            leases: TIMES,
            ..options()
        };
        let server = TestServer::with_options(options).await;
        server
            .create_sites(sites.iter().map(|id| site(id)).collect())
            .await;
        let root = tempfile::tempdir().unwrap();
        let fifo = Command::new("mkfifo")
            .arg(root.path().join("quiet"))
            .status();
        assert!(fifo.unwrap().success());
        let mut scene = Self {
            server,
            root,
            agents: BTreeMap::new(),
        };
        for id in sites {
            let token = scene.server.token(id).await;
            scene.start_agent(id, Some(&token)).await;
            until("the agent enrols", || {
                let quote = scene.wait(scene.server.quote(scene.counts("nothing", &[id])));
                quote.placement.is_some().then_some(())
            });
        }
        scene
    }

    /// Starts the agent of a site; with a token for the first time.
    pub(super) async fn start_agent(&mut self, site: &str, token: Option<&str>) {
        let address = self.server.listen().await;
        let log = self.root.path().join(format!("{site}.log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_lancang"));
        command
            .args(["agent", "--sandbox", "none", "--site", site, "--server"])
            .arg(format!("http://{address}"))
            .arg("--dir")
            .arg(self.agent_dir(site))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(log).unwrap());
        if let Some(token) = token {
            command.env("LANCANG_AGENT_TOKEN", token);
        }
        let agent = command.spawn().unwrap();
        self.agents.insert(site.into(), agent);
    }

    /// Ends the agent of a site as a crash does.
    pub(super) fn kill_agent(&mut self, site: &str) {
        let mut agent = self.agents.remove(site).unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    pub(super) fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        block_in_place(|| Handle::current().block_on(what))
    }

    /// The usual job for any of these sites, with a program that counts in a world of this name.
    pub(super) fn counts(&self, world: &str, sites: &[&str]) -> v1::JobSpec {
        let path = |name| self.root.path().join(name).to_str().unwrap().to_owned();
        let environment = [
            ("WORLD".to_owned(), path(world)),
            ("QUIET".to_owned(), path("quiet")),
        ];
        let mut spec = v1::JobSpec {
            execution: Some(v1::Execution {
                argv: vec!["bash".into(), "-c".into(), COUNTS.into()],
                environment: environment.into(),
                stop_grace: seconds(1),
                ..v1::Execution::default()
            }),
            ..job()
        };
        let allowed = sites.iter().map(|&id| id.to_owned());
        spec.data_policy.as_mut().unwrap().allowed_sites = allowed.collect();
        spec
    }

    /// The same in pieces of at least a quarter of an hour, told to save a second before each pause.
    pub(super) fn saves(&self, world: &str, sites: &[&str], mode: PauseMode) -> v1::JobSpec {
        let mut spec = self.counts(world, sites);
        let cut = v1::Interruptible {
            min_chunk: seconds(900),
            resume_cost: None,
        };
        spec.flexibility = Some(v1::Flexibility {
            kind: Some(v1::flexibility::Kind::Interruptible(cut)),
        });
        let execution = spec.execution.as_mut().unwrap();
        execution.pause_mode = mode.into();
        execution.checkpoint = Some(v1::Checkpoint {
            signal: CheckpointSignal::Usr1.into(),
            grace: seconds(1),
        });
        spec
    }

    pub(super) fn until_state(&self, job_id: &str, state: JobState) -> v1::Job {
        self.until_job(state.as_str_name(), job_id, |job| job.state() == state)
    }

    /// Waits until its attempt of this number runs.
    pub(super) fn until_attempt(&self, job_id: &str, number: usize) -> v1::Job {
        self.until_job("the attempt runs", job_id, |job| {
            job.state() == JobState::Running && job.attempts.len() == number
        })
    }

    fn until_job(&self, what: &str, job_id: &str, is_so: impl Fn(&v1::Job) -> bool) -> v1::Job {
        until(what, || {
            self.wait(self.server.settle());
            let job = self.wait(self.server.get(job_id));
            is_so(&job).then_some(job)
        })
    }

    /// Everything that was written into a world.
    pub(super) fn said(&self, world: &str) -> Vec<Said> {
        let text = fs::read_to_string(self.root.path().join(world)).unwrap_or_default();
        let line = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |i: usize| words[i].parse().unwrap();
            (number(0), words[1].to_owned(), number(2))
        };
        text.lines().map(line).collect()
    }

    pub(super) fn until_said(&self, world: &str, what: &str, attempt: u32) -> u32 {
        until(what, || {
            let said = self.said(world).into_iter().rev();
            said.filter(|(number, ..)| *number == attempt)
                .find(|(_, word, _)| word == what)
                .map(|(.., n)| n)
        })
    }

    /// Lets the program of a world end by itself.
    pub(super) fn let_end(&self, world: &str) {
        fs::write(self.root.path().join(format!("{world}.end")), "").unwrap();
    }

    /// Heartbeats of a site's agent that are answered until there is something to see.
    pub(super) fn heartbeats_until(&self, site: &str, what: &str, look: impl Fn() -> bool) -> u32 {
        let mut answers = self.answers(site);
        until(what, || {
            let n = answers.count();
            look().then_some(n)
        })
    }

    fn answers(&self, site: &str) -> Answers {
        let lease = self.agent_dir(site).join("lease.json");
        Answers {
            last: fs::read(&lease).unwrap(),
            lease,
            n: 0,
        }
    }

    /// Lets the agent report and be answered a few times; nothing may happen to the world meanwhile.
    pub(super) fn nothing_happens(&self, world: &str, site: &str) {
        let before = self.said(world);
        self.until_answered(site, 5);
        assert_eq!(self.said(world), before, "it ran between its runs");
    }

    /// Waits until the agent has had so many answers.
    fn until_answered(&self, site: &str, n: u32) {
        let mut answers = self.answers(site);
        until("the agent is answered", || {
            (n <= answers.count()).then_some(())
        });
    }

    fn agent_dir(&self, site: &str) -> PathBuf {
        self.root.path().join(format!("agent-{site}"))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for (site, mut agent) in std::mem::take(&mut self.agents) {
            // Shims keep a lease; without the file, and nobody to write it again, they end at once.
            let _gone = agent.kill();
            let _gone = agent.wait();
            let _none = fs::remove_file(self.agent_dir(&site).join("lease.json"));
        }
    }
}

/// The process of a job's last attempt.
pub(super) fn pid(job: &v1::Job) -> u32 {
    job.attempts.last().unwrap().engine_id.parse().unwrap()
}

/// Every step is counted once, in order, over all attempts.
pub(super) fn assert_counted(said: &[Said]) {
    let steps = said.iter().filter(|(_, word, _)| word == "step");
    let steps: Vec<u32> = steps.map(|(.., n)| *n).collect();
    let expected: Vec<u32> = (1..).take(steps.len()).collect();
    assert_eq!(steps, expected);
}

/// Each of so many attempts has begun once.
pub(super) fn assert_begun_once_each(said: &[Said], n_attempts: u32) {
    let begun = said.iter().filter(|(_, word, _)| word == "begin");
    let begun: Vec<u32> = begun.map(|(attempt, ..)| *attempt).collect();
    assert_eq!(begun, (1..=n_attempts).collect::<Vec<_>>());
}
