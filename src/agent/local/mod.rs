//! Runs attempts as processes of this machine, each under a shim of its own that outlives the agent.
//!
//! What is true stands in the files of the attempt; pipes only save waiting, and locks say who lives.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File},
    os::{fd::AsFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::Signal,
    time::Timespec,
};
use tokio::sync::mpsc;

pub(in crate::agent) mod attempt_dir;
pub(in crate::agent) mod attempts;
pub(in crate::agent) mod cgroup;
mod copier;
mod keeper;
mod log_file;
mod payload;
mod process;
pub(in crate::agent) mod sandbox;
mod shim;
mod staging;

pub(in crate::agent) use self::staging::not_copied;
use self::{
    attempt_dir::{AttemptDir, Host, Outcome, Plan, Stand, Wanted},
    attempts::Attempts,
    cgroup::Cgroups,
    sandbox::Sandbox,
};
pub use self::{
    copier::run as run_copier, sandbox::SandboxChoice, shim::run as run_shim, staging::Staging,
};
use crate::{
    agent::{
        attempt::{AttemptKey, End, How, Seen, StopCause, Task, shorten},
        executor::{EngineEvent, Executor, ExecutorError},
        files::{self, FileError, io_error},
    },
    clock::Mono,
};

/// Where programs are looked for, and what they find as `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The subcommand of this program that is the shim of one attempt.
const SHIM: &str = "agent-shim";

/// How often everything is looked at when no shim gives a hint.
const LOOK: Duration = Duration::from_secs(1);

/// How long a shim may take to end what it runs, after the grace: then it hangs, as one that somebody halted, and nobody
/// else would ever end its program.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the local engine cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// A file or directory cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
    /// The sandbox that was asked for does not work here.
    #[error("bubblewrap (bwrap) is not installed or not allowed to make namespaces")]
    NoSandbox,
}

/// The engine that runs attempts as processes of this machine.
#[derive(Debug)]
pub struct LocalExecutor {
    attempts: Attempts,
    /// This program, which has the shim as a subcommand.
    program: PathBuf,
    sandbox: Sandbox,
    cgroups: Cgroups,
    staging: Option<Staging>,
    watched: Arc<Mutex<Watched>>,
}

/// Attempts that are looked at.
#[derive(Debug, Default)]
struct Watched {
    attempts: BTreeMap<AttemptKey, Watch>,
    /// Shims of attempts that are over, until they are gone.
    leaving: Vec<Child>,
}

/// What was last said of an attempt.
#[derive(Debug, Default)]
struct Watch {
    said: Option<Seen>,
    /// Its shim, when this agent started it.
    shim: Option<Child>,
    /// By when its shim, which was told to stop, must have ended it.
    ends_by: Option<Mono>,
}

impl LocalExecutor {
    /// Makes the engine of the attempts of an agent; what it sees goes to `events`. The name tells the agent from others of
    /// the machine, for as long as its directory lives.
    ///
    /// # Errors
    /// When its files cannot be made or the sandbox does not work.
    pub(in crate::agent) fn new(
        attempts: Attempts,
        name: &str,
        program: PathBuf,
        choice: SandboxChoice,
        staging: Option<Staging>,
        events: mpsc::Sender<EngineEvent>,
    ) -> Result<Self, LocalError> {
        let wake = attempts.open_wake()?;
        let sandbox = Sandbox::probe(choice).ok_or(LocalError::NoSandbox)?;
        let cgroups = Cgroups::probe(name);
        tracing::info!(?sandbox, ?cgroups, "the local engine is ready");
        let watched = Arc::default();
        let watcher = Watcher {
            path: attempts.path().to_path_buf(),
            watched: Arc::clone(&watched),
            events,
        };
        thread::spawn(move || watcher.run(&wake));
        Ok(Self {
            attempts,
            program,
            sandbox,
            cgroups,
            staging,
            watched,
        })
    }

    fn watch(&self, key: AttemptKey, shim: Option<Child>) {
        let mut watched = lock(&self.watched);
        let watch = watched.attempts.entry(key).or_default();
        if shim.is_some() {
            watch.shim = shim;
        }
    }

    /// Starts a shim for an attempt.
    fn launch(&mut self, key: AttemptKey, task: &Task) -> Result<(), ExecutorError> {
        let dir = self.attempts.dir(key);
        self.attempts.go_on(key)?;
        dir.prepare(&Plan {
            key,
            task: task.clone(),
            sandbox: self.sandbox.clone(),
            cgroups: self.cgroups.clone(),
            host: Host::Agent,
            staging: self.staging.clone(),
        })?;
        let shim = spawn_for(&dir, &self.program, SHIM)?;
        self.watch(key, Some(shim));
        Ok(())
    }

    /// Whether a shim lives or has settled the attempt.
    fn has_shim(&self, key: AttemptKey) -> Result<bool, FileError> {
        let mut watched = lock(&self.watched);
        let shim = watched
            .attempts
            .get_mut(&key)
            .and_then(|watch| watch.shim.as_mut());
        let lives = shim.is_some_and(|shim| matches!(shim.try_wait(), Ok(None)));
        Ok(lives || self.attempts.dir(key).is_claimed())
    }
}

/// Starts this program for an attempt with nothing of what the agent has; what it says goes to the log of the shim.
pub(in crate::agent) fn spawn_for(
    dir: &AttemptDir,
    program: &Path,
    verb: &str,
) -> Result<Child, FileError> {
    let log = dir.log("shim.log");
    let log = files::private()
        .create(true)
        .truncate(false)
        .open(&log)
        .map_err(io_error("open", &log))?;
    Command::new(program)
        .arg(verb)
        .arg(dir.path())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(io_error("start", program))
}

/// Ends all that runs for an agent that has ended itself: without a lease, and nobody to write it again, shims end at once.
///
/// # Errors
/// When the lease cannot be taken away, or a shim does not end.
pub fn end_all(agent_dir: &Path) -> Result<(), FileError> {
    const TRIES: u32 = 2_000;
    let lease = agent_dir.join("lease.json");
    match fs::remove_file(&lease) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(io_error("remove", &lease)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let attempts = agent_dir.join("attempts");
    for entry in fs::read_dir(&attempts).into_iter().flatten().flatten() {
        let dir = AttemptDir::new(&entry.path());
        let mut tries = 0..TRIES;
        while dir.try_lock()?.is_none() {
            if tries.next().is_none() {
                return Err(FileError::Damaged {
                    path: entry.path(),
                    what: "its shim does not end".to_owned(),
                });
            }
            process::pause(Duration::from_millis(10));
        }
    }
    Ok(())
}

impl Drop for LocalExecutor {
    fn drop(&mut self) {
        self.cgroups.remove_empty();
    }
}

impl Executor for LocalExecutor {
    fn recover(&mut self, held: &BTreeSet<AttemptKey>) -> Result<Vec<EngineEvent>, ExecutorError> {
        let mut known = Vec::new();
        for key in self.attempts.keys()? {
            let seen = inspect(&self.attempts.dir(key))?.unwrap_or(Seen::Unknown);
            let is_over = matches!(seen, Seen::Ended(_) | Seen::NotStarted);
            if is_over && !held.contains(&key) {
                self.attempts.keep(key)?;
                continue;
            }
            // One that has not begun may still be about to, by a shim of the last agent.
            if !matches!(seen, Seen::Ended(_)) {
                self.watch(key, None);
            }
            known.push((key, seen));
        }
        Ok(known)
    }

    fn stage(&mut self, key: AttemptKey, task: &Task) -> Result<(), ExecutorError> {
        let dir = self.attempts.dir(key);
        files::make_dir(dir.path())?;
        // First the wish: a shim that has brought the input in reads it before it begins.
        dir.want(Wanted::Suspend)?;
        self.launch(key, task)
    }

    fn start(&mut self, key: AttemptKey, task: &Task) -> Result<(), ExecutorError> {
        let dir = self.attempts.dir(key);
        if dir.path().is_dir() && dir.wanted()? == Wanted::Suspend {
            dir.want(Wanted::Run)?;
            if self.has_shim(key)? {
                return Ok(());
            }
        }
        self.launch(key, task)
    }

    fn tell_units(&mut self, key: AttemptKey, units: u32) -> Result<(), ExecutorError> {
        Ok(self.attempts.dir(key).tell_units(units)?)
    }

    fn suspend(&mut self, key: AttemptKey) -> Result<(), ExecutorError> {
        Ok(self.attempts.dir(key).want(Wanted::Suspend)?)
    }

    fn resume(&mut self, key: AttemptKey) -> Result<(), ExecutorError> {
        Ok(self.attempts.dir(key).want(Wanted::Run)?)
    }

    fn stop(
        &mut self,
        key: AttemptKey,
        grace: Duration,
        cause: StopCause,
    ) -> Result<(), ExecutorError> {
        let by = Mono::now().after(grace).after(PATIENCE);
        {
            let mut watched = lock(&self.watched);
            let watch = watched.attempts.entry(key).or_default();
            watch.ends_by = Some(watch.ends_by.map_or(by, |earlier| earlier.min(by)));
        }
        Ok(self.attempts.stop(key, grace, cause)?)
    }

    fn forget(&mut self, key: AttemptKey) -> Result<(), ExecutorError> {
        {
            let mut watched = lock(&self.watched);
            let shim = watched.attempts.remove(&key).and_then(|watch| watch.shim);
            watched.leaving.extend(shim);
        }
        Ok(self.attempts.keep(key)?)
    }
}

/// Looks at attempts and says what is new.
struct Watcher {
    /// Directory of the attempts.
    path: PathBuf,
    watched: Arc<Mutex<Watched>>,
    events: mpsc::Sender<EngineEvent>,
}

impl Watcher {
    /// Looks at whom the pipe names, and at all once in a while; ends when nobody listens.
    fn run(self, wake: &File) {
        let timeout = Timespec {
            tv_sec: i64::try_from(LOOK.as_secs()).unwrap_or(1),
            tv_nsec: 0,
        };
        let mut looked = Mono::now();
        while !self.events.is_closed() {
            let mut pipe = [PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)];
            let _interrupted = poll(&mut pipe, Some(&timeout));
            let hints = attempt_dir::drain(wake);
            let mut keys: BTreeSet<AttemptKey> = String::from_utf8_lossy(&hints)
                .lines()
                .filter_map(AttemptKey::parse)
                .collect();
            let now = Mono::now();
            if now.since(looked) >= LOOK {
                looked = now;
                let mut watched = lock(&self.watched);
                keys.extend(watched.attempts.keys());
                watched
                    .leaving
                    .retain_mut(|shim| matches!(shim.try_wait(), Ok(None)));
            }
            for key in keys {
                for seen in self.look(key) {
                    // Without the lock: who listens may be waiting for it.
                    let _nobody = self.events.blocking_send((key, seen));
                }
            }
        }
    }

    /// What is new of one attempt, in order.
    fn look(&self, key: AttemptKey) -> Vec<Seen> {
        let dir = attempts::dir_of(&self.path, key);
        let (shim_is_gone, is_overdue) = {
            let mut watched = lock(&self.watched);
            let Some(watch) = watched.attempts.get_mut(&key) else {
                return Vec::new();
            };
            if matches!(watch.said, Some(Seen::Ended(_))) {
                return Vec::new();
            }
            let shim = watch.shim.as_mut();
            let is_gone = shim.is_some_and(|shim| matches!(shim.try_wait(), Ok(Some(_))));
            let is_overdue = watch.ends_by.is_some_and(|by| by <= Mono::now());
            (is_gone, is_overdue)
        };
        if is_overdue {
            kill_stuck(key, &dir);
        }
        let settled = settle_unclaimed(&dir, shim_is_gone).and_then(|()| inspect(&dir));
        let seen = match settled {
            Ok(Some(seen)) => seen,
            Ok(None) => return Vec::new(),
            Err(error) => {
                tracing::warn!(%key, %error, "cannot look at an attempt");
                Seen::Unknown
            }
        };
        let mut watched = lock(&self.watched);
        let Some(watch) = watched.attempts.get_mut(&key) else {
            return Vec::new();
        };
        if watch.said.as_ref() == Some(&seen) || seen == Seen::NotStarted {
            return Vec::new();
        }
        // A program can be over before anyone has seen it run.
        let began = match (&watch.said, &seen) {
            (None | Some(Seen::Staging), Seen::Ended(_)) => {
                dir.outcome().ok().flatten().as_ref().and_then(began)
            }
            _ => None,
        };
        watch.said = Some(seen.clone());
        began.into_iter().chain([seen]).collect()
    }
}

/// A shim that ends without the claim never began anything: nobody else will say so.
fn settle_unclaimed(dir: &AttemptDir, shim_is_gone: bool) -> Result<(), FileError> {
    if shim_is_gone && !dir.is_claimed() && dir.claim()? {
        let said = fs::read_to_string(dir.log("shim.log")).unwrap_or_default();
        let message = format!("its shim ended at once: {}", said.trim());
        dir.set_outcome(&over(How::StartFailed, &message))?;
    }
    Ok(())
}

/// That it ran, of one that is over.
pub(in crate::agent) fn began(outcome: &Outcome) -> Option<Seen> {
    let engine_id = outcome.engine_id.clone()?;
    Some(Seen::Running { engine_id })
}

/// Where an attempt stands by its files; `None` while its shim has not said.
fn inspect(dir: &AttemptDir) -> Result<Option<Seen>, FileError> {
    let engine_id = match dir.stand()? {
        Stand::Over(outcome) => return Ok(Some(Seen::Ended(outcome.end))),
        Stand::Unclaimed => return Ok(Some(Seen::NotStarted)),
        Stand::Alive(status) => return Ok(status.map(|status| status.seen())),
        Stand::Ran(ran) => ran.engine_id,
        Stand::Dead(status) => status.map(|status| status.engine_id),
    };
    if !kill_orphans(dir)? {
        return Ok(Some(Seen::Unknown));
    }
    let lost = Outcome {
        engine_id,
        ..over(
            How::EngineLost,
            "its shim died; what was left of it was killed",
        )
    };
    dir.set_outcome(&lost)?;
    Ok(Some(Seen::Ended(lost.end)))
}

/// Kills a shim that lives although it should have ended: what it leaves behind is killed as that of any dead one.
fn kill_stuck(key: AttemptKey, dir: &AttemptDir) {
    if matches!(dir.stand(), Ok(Stand::Alive(_))) {
        for shim in process::with_last_arguments([SHIM.as_ref(), dir.path().as_os_str()]) {
            tracing::warn!(%key, pid = shim.pid, "a shim does not stop what it runs; it is killed");
            shim.signal(Signal::KILL);
        }
    }
}

/// Kills what a dead shim left behind; false while some of it still lives.
pub(in crate::agent) fn kill_orphans(dir: &AttemptDir) -> Result<bool, FileError> {
    let plan = dir.plan()?;
    let marks = payload::marks(dir, &plan).map(|(name, value)| {
        let mut variable = OsString::from(name);
        variable.push("=");
        variable.push(value);
        variable
    });
    for _ in 0..50 {
        let mut left = process::with_environment(&marks);
        if let Some(status) = dir.status()? {
            let leader = process::Process::read(status.pid);
            let is_it = leader.is_some_and(|leader| leader.start_ticks == status.start_ticks);
            left.extend(leader.filter(|leader| is_it && !leader.is_zombie));
            for process in left.clone() {
                left.extend(process::descendants(process.pid));
            }
        }
        if left.is_empty() {
            plan.cgroups.remove(&plan.key.to_string());
            return Ok(true);
        }
        for process in left {
            process.signal(Signal::KILL);
        }
        process::pause(Duration::from_millis(10));
    }
    Ok(false)
}

/// An end of what no program lived to tell.
pub(in crate::agent) fn over(how: How, message: &str) -> Outcome {
    Outcome {
        end: End {
            how,
            message: shorten(message.to_owned()),
            run_time: Duration::ZERO,
        },
        engine_id: None,
    }
}

/// The map is sound between any two of its changes.
fn lock(watched: &Mutex<Watched>) -> std::sync::MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file of a program: an absolute path itself, a name where the site has it.
fn find_program(name: &str) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        fs::metadata(path)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if name.starts_with('/') {
        return Some(PathBuf::from(name)).filter(is_program);
    }
    PATH.split(':')
        .map(|dir| Path::new(dir).join(name))
        .find(is_program)
}
