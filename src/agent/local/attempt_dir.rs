//! The directory of one attempt: how the agent and the shim that runs the attempt talk without needing each other alive.
//!
//! The claim is made once, by whoever decides whether the attempt begins; the result is written once, after nothing runs.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::{
    agent::{
        attempt::{AttemptKey, End, Seen, StopCause, Task},
        files::{self, Durability, FileError, io_error},
        local::{
            cgroup::Cgroups,
            sandbox::Sandbox,
            staging::{self, Staging},
        },
    },
    clock::Mono,
};

/// What who copies for an attempt holds, where its shim does not copy.
const COPIES: &str = "copies.lock";

/// Paths of one attempt.
#[derive(Debug, Clone)]
pub(in crate::agent) struct AttemptDir {
    path: PathBuf,
}

/// What the shim is to run, and how.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::agent) struct Plan {
    pub(in crate::agent) key: AttemptKey,
    pub(in crate::agent) task: Task,
    pub(in crate::agent) sandbox: Sandbox,
    pub(in crate::agent) cgroups: Cgroups,
    pub(in crate::agent) host: Host,
    #[serde(default)]
    pub(in crate::agent) staging: Option<Staging>,
}

/// Who starts the shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::agent) enum Host {
    /// The agent, as its child.
    Agent,
    /// Slurm, as the script of a batch job.
    Slurm,
}

/// Where an attempt stands by its files alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) enum Stand {
    /// It ended.
    Over(Outcome),
    /// Nobody has settled whether it begins.
    Unclaimed,
    /// Its shim lives; the status is there once the program runs.
    Alive(Option<Status>),
    /// Its program has succeeded; its output is not out yet.
    Ran(Outcome),
    /// Its shim died without a result.
    Dead(Option<Status>),
}

/// What the agent wants; the newest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::agent) enum Wanted {
    Run,
    Suspend,
    Stop {
        /// When it is killed, by the clock of the agent's machine.
        kill_at_ms: u64,
        /// How long after the wish that is, for who does not have that clock.
        grace_ms: u64,
        cause: StopCause,
    },
}

/// Where the shim says that the attempt stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::agent) struct Status {
    /// Process of the program, which leads the group of the same number; that of the shim while it stages.
    pub(in crate::agent) pid: u32,
    /// When it began, in the kernel's ticks: tells it from a later process with its number.
    pub(in crate::agent) start_ticks: u64,
    pub(in crate::agent) suspended: bool,
    /// The program has not begun: its input is brought in, or it waits for its start.
    #[serde(default)]
    pub(in crate::agent) staging: bool,
    /// What its engine calls it.
    pub(in crate::agent) engine_id: String,
    /// The boot of the machine that it runs on.
    pub(in crate::agent) boot_id: String,
}

impl Status {
    /// As the agent knows it.
    pub(in crate::agent) fn seen(self) -> Seen {
        if self.staging {
            return Seen::Staging;
        }
        if self.suspended {
            return Seen::Suspended;
        }
        Seen::Running {
            engine_id: self.engine_id,
        }
    }
}

/// Seconds and nanoseconds since the Unix epoch at which an attempt ended.
pub(super) type EndedAt = Option<(i64, i64)>;

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::agent) struct Outcome {
    pub(in crate::agent) end: End,
    /// What its engine called it, when a program ran.
    pub(in crate::agent) engine_id: Option<String>,
}

impl AttemptDir {
    pub(in crate::agent) fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
        }
    }

    pub(in crate::agent) fn path(&self) -> &Path {
        &self.path
    }

    /// The agent's directory.
    pub(in crate::agent) fn agent_dir(&self) -> &Path {
        let attempts = self.path.parent();
        attempts.and_then(Path::parent).unwrap_or(&self.path)
    }

    /// Where the program works.
    pub(in crate::agent) fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    pub(in crate::agent) fn log(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What the program is told while it runs: a directory, because a sandbox that shows a file shows that one for ever.
    pub(super) fn told(&self) -> PathBuf {
        self.path.join("told")
    }

    /// Where the program reads how many units it has now.
    pub(super) fn units_file(&self) -> PathBuf {
        self.told().join("units")
    }

    /// Says how many units it has now.
    pub(in crate::agent) fn tell_units(&self, units: u32) -> Result<(), FileError> {
        files::make_dir(&self.told())?;
        let line = format!("{units}\n");
        files::replace(&self.units_file(), line.as_bytes(), Durability::Visible)
    }

    /// Takes over the directory in which an earlier attempt worked, unless there is one already.
    pub(in crate::agent) fn inherit(&self, earlier: &Self) -> Result<(), FileError> {
        files::make_dir(&self.path)?;
        let (from, to) = (earlier.work(), self.work());
        if !from.is_dir() || to.exists() {
            return Ok(());
        }
        if earlier.is_staged() {
            staging::note_staged(self)?;
        }
        fs::rename(&from, &to).map_err(io_error("take over", &from))?;
        files::sync_dir(&self.path)?;
        files::sync_dir(&earlier.path)
    }

    /// Whether its input is in its directory.
    pub(in crate::agent) fn is_staged(&self) -> bool {
        self.path.join("staged").exists()
    }

    /// Makes the directory with what shim and program find in it.
    pub(in crate::agent) fn prepare(&self, plan: &Plan) -> Result<(), FileError> {
        files::make_dir(&self.work())?;
        make_fifo(&self.control())?;
        // The claim, not this, decides whether it begins: after a power cut the plan is written again.
        files::write_json(&self.path.join("plan.json"), plan, Durability::Visible)
    }

    pub(in crate::agent) fn plan(&self) -> Result<Plan, FileError> {
        let path = self.path.join("plan.json");
        files::read_json(&path)?.ok_or_else(|| FileError::Damaged {
            path,
            what: "it is missing".to_owned(),
        })
    }

    /// Decides once and for all who settles this attempt: true for the first caller only, durably.
    pub(in crate::agent) fn claim(&self) -> Result<bool, FileError> {
        let path = self.path.join("claim");
        match files::private().create_new(true).open(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(io_error("create", &path)(error)),
        }
        files::sync_dir(&self.path)?;
        files::sync_dir(self.path.parent().unwrap_or(&self.path))?;
        Ok(true)
    }

    pub(in crate::agent) fn is_claimed(&self) -> bool {
        self.path.join("claim").exists()
    }

    /// The lock that a shim holds for as long as it lives; `None` while another one has it.
    pub(in crate::agent) fn try_lock(&self) -> Result<Option<File>, FileError> {
        self.try_lock_file("shim.lock")
    }

    /// The same of who copies for it where its shim does not.
    pub(super) fn try_lock_copies(&self) -> Result<Option<File>, FileError> {
        self.try_lock_file(COPIES)
    }

    /// Whether somebody who is not its shim copies for it.
    pub(in crate::agent) fn is_copied(&self) -> Result<bool, FileError> {
        let is_or_was = self.path.join(COPIES).exists();
        Ok(is_or_was && self.try_lock_copies()?.is_none())
    }

    fn try_lock_file(&self, name: &str) -> Result<Option<File>, FileError> {
        let path = self.path.join(name);
        let lock = files::private()
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error("open", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(io_error("lock", &path)(error)),
        }
    }

    /// Where the attempt stands by its files.
    pub(in crate::agent) fn stand(&self) -> Result<Stand, FileError> {
        if let Some(outcome) = self.outcome()? {
            return Ok(Stand::Over(outcome));
        }
        if !self.is_claimed() {
            return Ok(Stand::Unclaimed);
        }
        let Some(_shim_is_dead) = self.try_lock()? else {
            return Ok(Stand::Alive(self.status()?));
        };
        // It may have ended in good order between the two looks.
        Ok(match (self.outcome()?, self.ran()?) {
            (Some(outcome), _) => Stand::Over(outcome),
            (None, Some(ran)) => Stand::Ran(ran),
            (None, None) => Stand::Dead(self.status()?),
        })
    }

    pub(in crate::agent) fn want(&self, wanted: Wanted) -> Result<(), FileError> {
        let path = self.path.join("wanted.json");
        files::write_json(&path, &wanted, Durability::Visible)?;
        hint(&self.control(), "\n");
        Ok(())
    }

    pub(in crate::agent) fn wanted(&self) -> Result<Wanted, FileError> {
        let wanted = files::read_json(&self.path.join("wanted.json"))?;
        Ok(wanted.unwrap_or(Wanted::Run))
    }

    pub(in crate::agent) fn set_status(&self, status: Status) -> Result<(), FileError> {
        let path = self.path.join("status.json");
        files::write_json(&path, &status, Durability::Visible)?;
        self.hint_agent();
        Ok(())
    }

    pub(in crate::agent) fn status(&self) -> Result<Option<Status>, FileError> {
        files::read_json(&self.path.join("status.json"))
    }

    pub(in crate::agent) fn set_outcome(&self, outcome: &Outcome) -> Result<(), FileError> {
        let path = self.path.join("result.json");
        files::write_json(&path, outcome, Durability::Durable)?;
        self.hint_agent();
        Ok(())
    }

    pub(in crate::agent) fn outcome(&self) -> Result<Option<Outcome>, FileError> {
        files::read_json(&self.path.join("result.json"))
    }

    /// Notes how a program ended whose output somebody else brings out, and who writes the result.
    pub(super) fn set_ran(&self, ran: &Outcome) -> Result<(), FileError> {
        files::write_json(&self.path.join("ran.json"), ran, Durability::Durable)?;
        self.hint_agent();
        Ok(())
    }

    /// How a program ended whose output somebody else brings out.
    pub(super) fn ran(&self) -> Result<Option<Outcome>, FileError> {
        files::read_json(&self.path.join("ran.json"))
    }

    /// When its result was written, by the wall clock: `None`, which is before all others, when there is none.
    pub(super) fn ended_at(&self) -> EndedAt {
        let about = fs::metadata(self.path.join("result.json")).ok()?;
        Some((about.mtime(), about.mtime_nsec()))
    }

    /// Whether its result was written so long ago, by the wall clock; not when there is none.
    pub(super) fn is_older(&self, time: Duration) -> bool {
        let about = fs::metadata(self.path.join("result.json"));
        let written = about.and_then(|about| about.modified()).ok();
        written.is_some_and(|at| at.elapsed().is_ok_and(|since| time < since))
    }

    /// The end of the pipe at which the shim is woken.
    pub(in crate::agent) fn open_control(&self) -> Result<File, FileError> {
        open_fifo(&self.control())
    }

    fn control(&self) -> PathBuf {
        self.path.join("control")
    }

    pub(super) fn hint_agent(&self) {
        let name = self.path.file_name().unwrap_or_default();
        let line = format!("{}\n", name.display());
        hint(&wake_path(self.agent_dir()), &line);
    }
}

/// The pipe on which shims tell the agent whom to look at.
pub(in crate::agent) fn wake_path(agent_dir: &Path) -> PathBuf {
    agent_dir.join("wake")
}

/// Makes a named pipe unless it is there.
pub(in crate::agent) fn make_fifo(path: &Path) -> Result<(), FileError> {
    match rustix::fs::mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(io_error("create", path)(error.into())),
    }
}

/// Opens a named pipe for reading such that it never ends and never blocks.
pub(in crate::agent) fn open_fifo(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nonblocking())
        .open(path)
        .map_err(io_error("open", path))
}

/// Reads what is in a pipe that does not block.
pub(in crate::agent) fn drain(mut pipe: &File) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 4_096];
    while let Ok(n_bytes @ 1..) = io::Read::read(&mut pipe, &mut buffer) {
        all.extend_from_slice(&buffer[..n_bytes]);
    }
    all
}

/// Wakes a reader, if there is one and it is not awake already: files say what is, this only saves waiting.
fn hint(fifo: &Path, line: &str) {
    let pipe = OpenOptions::new()
        .write(true)
        .custom_flags(nonblocking())
        .open(fifo);
    if let Ok(mut pipe) = pipe {
        let _full = pipe.write_all(line.as_bytes());
    }
}

fn nonblocking() -> i32 {
    i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default()
}

/// A stop of so much grace from now on.
pub(in crate::agent) fn stop_wanted(grace: Duration, cause: StopCause) -> Wanted {
    Wanted::Stop {
        kill_at_ms: Mono::now().after(grace).0,
        grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
        cause,
    }
}

/// Removes everything of an attempt.
pub(in crate::agent) fn remove(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            let path = path.display();
            tracing::warn!(%path, %error, "what an ended attempt has left cannot be removed");
        }
        Ok(()) | Err(_) => {}
    }
}
