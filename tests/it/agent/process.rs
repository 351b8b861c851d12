//! The real agent as a child process, its directory, and the machine around it.
//!
//! Every wait is bounded; the agent and everything it started end with the test.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::Duration,
};

use lancang::proto::v1;
use serde_json::Value;
use tempfile::TempDir;

use super::server::{Key, PATIENCE, SITE, ScriptedServer, TOKEN};

/// A site: a server, a directory, and the agent when it runs.
pub(crate) struct Site {
    pub(crate) server: ScriptedServer,
    pub(crate) root: TempDir,
    agent: Option<Child>,
    flags: Vec<String>,
    /// What starts the agent, with its arguments.
    launcher: Vec<String>,
}

impl Site {
    /// A site whose agent runs.
    #[track_caller]
    pub(crate) fn start() -> Self {
        let mut site = Self::quiet(&["--sandbox", "none"]);
        site.start_agent();
        site
    }

    /// A site whose agent is not started yet.
    pub(crate) fn quiet(flags: &[&str]) -> Self {
        Self {
            server: ScriptedServer::start(),
            root: tempfile::tempdir().unwrap(),
            agent: None,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            launcher: vec![env!("CARGO_BIN_EXE_lancang").to_owned()],
        }
    }

    /// The same with an agent that another program starts.
    pub(crate) fn launched_by(mut self, launcher: Vec<String>) -> Self {
        self.launcher = launcher;
        self
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.root.path().join("agent")
    }

    /// The directory of an attempt.
    pub(crate) fn attempt(&self, (job_id, attempt): Key) -> PathBuf {
        self.dir()
            .join("attempts")
            .join(format!("{job_id}.1.{attempt}"))
    }

    /// A file in the directory where a program works.
    pub(crate) fn work(&self, key: Key, name: &str) -> PathBuf {
        self.attempt(key).join("work").join(name)
    }

    /// The control groups of an attempt, by its plan; none where the agent may not make any.
    pub(crate) fn groups(&self, key: Key) -> Vec<PathBuf> {
        let name = self.attempt(key).file_name().unwrap().to_owned();
        let plan: Value = serde_json::from_str(&self.read(key, "plan.json")).unwrap();
        let places = plan["cgroups"].as_object();
        let places = places.into_iter().flat_map(|version| version.values());
        let places = places.flat_map(|places| places.as_object().unwrap().values());
        let bases = places.filter_map(|place| place["base"].as_str());
        bases.map(|base| Path::new(base).join(&name)).collect()
    }

    /// What is in a file of an attempt by now.
    pub(crate) fn read(&self, key: Key, name: &str) -> String {
        fs::read_to_string(self.attempt(key).join(name)).unwrap_or_default()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.launcher[0]);
        command
            .args(&self.launcher[1..])
            .args(["agent", "--site", SITE, "--server"])
            .arg(self.server.address())
            .arg("--dir")
            .arg(self.dir())
            .args(&self.flags)
            .env("LANCANG_AGENT_TOKEN", TOKEN)
            .env("SECRET_CANARY", "of-the-agent")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    #[track_caller]
    pub(crate) fn start_agent(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.root.path().join("agent.log"))
            .unwrap();
        let agent = self.command().stderr(log).spawn().unwrap();
        self.agent = Some(agent);
    }

    /// Starts a script and waits until it runs.
    #[track_caller]
    pub(crate) fn run(&self, key: Key, script: &str) -> u32 {
        self.server.offer(key, shell(script));
        self.server.started(key)
    }

    /// What the agents have said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.root.path().join("agent.log")).unwrap()
    }

    /// Ends the agent as a crash does.
    #[track_caller]
    pub(crate) fn kill_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// Asks the agent to end.
    #[track_caller]
    pub(crate) fn terminate_agent(&mut self) -> ExitStatus {
        let pid = self.agent.as_ref().unwrap().id();
        signal("TERM", pid);
        self.wait_exit()
    }

    /// Waits for the agent's end.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let mut agent = self.agent.take().unwrap();
        until("the agent ends", || agent.try_wait().unwrap())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Shims keep a lease; without the file, and nobody to write it again, they end at once.
        self.server.change(|state| state.is_silent = true);
        let _none = fs::remove_file(self.dir().join("lease.json"));
        let attempts = self.dir().join("attempts");
        until("the shims end", || {
            let dirs = fs::read_dir(&attempts).into_iter().flatten().flatten();
            let locks = ["shim.lock", "copies.lock"];
            let alive =
                dirs.filter(|dir| locks.iter().any(|lock| is_locked(&dir.path().join(lock))));
            (alive.count() == 0).then_some(())
        });
        if let Some(mut agent) = self.agent.take() {
            signal("TERM", agent.id());
            let _reaped = agent.wait();
        }
        if std::thread::panicking() {
            // Where the panic's own message goes; there is nobody else to tell.
            let _closed = writeln!(io::stderr(), "the agent said:\n{}", self.log());
        }
    }
}

fn is_locked(path: &Path) -> bool {
    File::options()
        .write(true)
        .open(path)
        .is_ok_and(|file| file.try_lock().is_err())
}

/// A job that runs a script of the shell.
pub(crate) fn shell(script: &str) -> v1::AttemptOffer {
    program(&["sh", "-c", script])
}

/// A job that runs a program.
pub(crate) fn program(argv: &[&str]) -> v1::AttemptOffer {
    v1::AttemptOffer {
        name: "test".to_owned(),
        pool_id: "general".to_owned(),
        task_resources: Some(v1::TaskResources {
            cpu_cores: 1,
            memory_mib: 512,
            ..Default::default()
        }),
        task_count: 1,
        execution: Some(v1::Execution {
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            ..Default::default()
        }),
        max_run_time: Some(prost_types::Duration {
            seconds: 600,
            nanos: 0,
        }),
        stage_bits_per_second: 0,
        it_power_watts: 100,
        max_units: 0,
    }
}

/// Looks again and again until there is something to see.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    const PAUSE: Duration = Duration::from_millis(5);
    let (_open, never) = mpsc::channel::<()>();
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if let Some(found) = look() {
            return found;
        }
        let _waited = never.recv_timeout(PAUSE);
    }
    panic!("waited in vain: {what}");
}

pub(crate) fn signal(name: &str, pid: u32) {
    let kill = format!("kill -{name} {pid}");
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(status.success(), "`{kill}` failed");
}

/// A field of what the kernel says of a process, counted from its state; `None` when there is no such process.
fn stat(pid: u32, field: usize) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    rest.split(' ').nth(field).map(str::to_owned)
}

/// The letter by which the kernel says what a process does; `None` when there is no such process.
pub(crate) fn process_state(pid: u32) -> Option<String> {
    stat(pid, 0)
}

/// Whether a process lives.
pub(crate) fn lives(pid: u32) -> bool {
    stat(pid, 0).is_some_and(|state| state != "Z")
}

pub(crate) fn parent(pid: u32) -> u32 {
    stat(pid, 1).unwrap().parse().unwrap()
}

/// CPU time of a process in ticks.
pub(crate) fn cpu_ticks(pid: u32) -> u64 {
    let ticks = |field| stat(pid, field).unwrap().parse::<u64>().unwrap();
    ticks(11) + ticks(12)
}
