//! Runs attempts as batch jobs of Slurm, each under the same shim as without it; Slurm only gives the shim a node.
//!
//! An attempt is known in Slurm by its mark, never by a number of Slurm, which can be given twice; it is submitted only when
//! a list that was asked for since shows that it is not there, and the claim in its directory lets it begin once at most.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{runtime, sync::mpsc};

mod answers;
mod request;
mod rest;
mod state;
mod watches;
mod worker;

pub use self::rest::SocketError;
use self::{
    request::{Ask, checked_path},
    rest::Rest,
    watches::Shared,
    worker::Worker,
};
use crate::agent::{
    attempt::{AttemptKey, Seen, StopCause, Task},
    executor::{EngineEvent, Executor, ExecutorError},
    files::{self, FileError, io_error},
    local::{
        LocalError, SandboxChoice, Staging,
        attempt_dir::{Host, Plan, Stand, Wanted},
        attempts::Attempts,
        began,
        cgroup::Cgroups,
        sandbox::Sandbox,
    },
    spool::boot_id,
};

/// How the agent uses Slurm.
#[derive(Debug, Clone)]
pub struct Options {
    /// Socket of slurmrestd.
    pub socket: PathBuf,
    /// Partition of all jobs; absent for Slurm's default.
    pub partition: Option<Name>,
    /// Account of all jobs.
    pub account: Option<Name>,
    /// Quality of service of all jobs.
    pub qos: Option<Name>,
    /// Licences that stand for the power cap of the site.
    pub licence: Option<Licence>,
    /// Added to the time limit of each job: for Slurm time goes on while a job is paused.
    pub pause: Duration,
}

/// A name in Slurm that is safe wherever it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Letters, digits, `_`, `-` and `.`, at most 64 of them.
    ///
    /// # Errors
    /// What a name is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if !(1..=64).contains(&text.len()) || !text.bytes().all(is_plain) {
            return Err("a name is 1 to 64 letters, digits, `_`, `-` and `.`".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

/// Licences of Slurm that stand for power.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Licence {
    name: Name,
    /// IT power that one of them stands for.
    watts: u64,
}

impl Licence {
    /// Reads `NAME=WATTS`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, watts) = text
            .split_once('=')
            .ok_or("a licence is NAME=WATTS, as kw=1000")?;
        let watts = watts.parse().ok().filter(|&watts| watts > 0);
        Ok(Self {
            name: Name::parse(name)?,
            watts: watts.ok_or("WATTS is a whole number above 0")?,
        })
    }

    /// The licences for so much power, as Slurm reads them.
    fn of(&self, power_watts: u64) -> String {
        let count = power_watts.div_ceil(self.watts).max(1);
        format!("{}:{count}", self.name.0)
    }
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlurmError {
    /// The socket is not one to trust.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A file or directory cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
    /// The sandbox does not work.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// Slurm would read the path as something else.
    #[error(
        "{} cannot be given to Slurm: it has a `%`, a backslash or a character that is no text", .0.display()
    )]
    Path(PathBuf),
}

/// The engine that runs attempts as batch jobs of Slurm.
#[derive(Debug)]
pub struct SlurmExecutor {
    attempts: Attempts,
    sandbox: Sandbox,
    staging: Option<Staging>,
    options: Options,
    shared: Arc<Shared>,
}

impl SlurmExecutor {
    /// Makes the engine of the attempts of an agent; what it sees goes to `events`. The name tells the agent from others that
    /// use the same Slurm, for as long as its directory lives.
    ///
    /// # Errors
    /// When the socket is not one to trust, files cannot be made or the sandbox does not work.
    pub(in crate::agent) fn new(
        attempts: Attempts,
        name: &str,
        program: &Path,
        choice: SandboxChoice,
        staging: Option<Staging>,
        options: Options,
        events: mpsc::Sender<EngineEvent>,
    ) -> Result<Self, SlurmError> {
        rest::check(&options.socket, rustix::process::geteuid().as_raw())?;
        let text = |path: &Path| {
            let text = checked_path(path).map(str::to_owned);
            text.ok_or_else(|| SlurmError::Path(path.to_path_buf()))
        };
        text(attempts.path())?;
        let shared = Arc::new(Shared::default());
        let worker = Worker::new(
            attempts.path(),
            name.to_owned(),
            text(program)?,
            boot_id()?,
            options.clone(),
            Arc::clone(&shared),
            events,
        );
        let wake = attempts.open_wake()?;
        let sandbox = Sandbox::probe(choice).ok_or(LocalError::NoSandbox)?;
        let rest = Rest::new(options.socket.clone());
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(io_error("make threads for", attempts.agent_dir()))?;
        tracing::info!(?sandbox, ?options, "the engine is Slurm");
        thread::spawn(move || runtime.block_on(worker.run(rest, wake)));
        Ok(Self {
            attempts,
            sandbox,
            staging,
            options,
            shared,
        })
    }

    /// Writes down what an attempt is, and has it looked at.
    fn take(&mut self, key: AttemptKey, task: &Task) -> Result<(), ExecutorError> {
        self.attempts.go_on(key)?;
        self.attempts.dir(key).prepare(&Plan {
            key,
            task: task.clone(),
            sandbox: self.sandbox.clone(),
            // Slurm bounds its jobs by itself, on machines that are not this one.
            cgroups: Cgroups::None,
            host: Host::Slurm,
            staging: self.staging.clone(),
        })?;
        self.shared.watch(key, Some(Ask::new(task, &self.options)));
        Ok(())
    }
}

impl Executor for SlurmExecutor {
    fn recover(&mut self, held: &BTreeSet<AttemptKey>) -> Result<Vec<EngineEvent>, ExecutorError> {
        let mut known = Vec::new();
        for key in self.attempts.keys()? {
            let stand = self.attempts.dir(key).stand()?;
            let seen = match stand {
                Stand::Unclaimed if !held.contains(&key) => {
                    // Its job may be in the queue: it must find the claim taken.
                    self.attempts
                        .stop(key, Duration::ZERO, StopCause::Ordered)?;
                    self.attempts.keep(key)?;
                    continue;
                }
                Stand::Over(_) if !held.contains(&key) => {
                    self.attempts.keep(key)?;
                    continue;
                }
                Stand::Over(outcome) => Seen::Ended(outcome.end),
                Stand::Unclaimed => Seen::NotStarted,
                Stand::Alive(Some(status)) => status.seen(),
                Stand::Ran(ran) => began(&ran).unwrap_or(Seen::Unknown),
                Stand::Alive(None) | Stand::Dead(_) => Seen::Unknown,
            };
            if !matches!(seen, Seen::Ended(_)) {
                self.shared.watch(key, None);
            }
            known.push((key, seen));
        }
        Ok(known)
    }

    fn stage(&mut self, key: AttemptKey, task: &Task) -> Result<(), ExecutorError> {
        let dir = self.attempts.dir(key);
        files::make_dir(dir.path())?;
        // First the wish: as long as it stands nothing is submitted.
        dir.want(Wanted::Suspend)?;
        self.take(key, task)
    }

    fn start(&mut self, key: AttemptKey, task: &Task) -> Result<(), ExecutorError> {
        let dir = self.attempts.dir(key);
        if dir.path().is_dir() && dir.wanted()? == Wanted::Suspend {
            dir.want(Wanted::Run)?;
        }
        self.take(key, task)
    }

    fn tell_units(&mut self, key: AttemptKey, units: u32) -> Result<(), ExecutorError> {
        Ok(self.attempts.dir(key).tell_units(units)?)
    }

    fn suspend(&mut self, key: AttemptKey) -> Result<(), ExecutorError> {
        // Slurm lets only its operators suspend; the shim can do it for its own.
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
        self.attempts.stop(key, grace, cause)?;
        self.shared.watch(key, None);
        Ok(())
    }

    fn forget(&mut self, key: AttemptKey) -> Result<(), ExecutorError> {
        self.shared.forget(key);
        Ok(self.attempts.keep(key)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        let longest = "x".repeat(64);
        for good in ["green", "gpu-a100_2.x", "7", &longest] {
            assert_eq!(Name::parse(good), Ok(Name(good.to_owned())));
        }
        for bad in [
            "",
            "a b",
            "a,b",
            "a:1",
            "$(x)",
            "a\nb",
            "é",
            &"x".repeat(65),
        ] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_licence_is_taken_for_each_begun_step_of_power() {
        let kw = Licence::parse("kw=1000").unwrap();
        for (watts, taken) in [(1, "kw:1"), (1_000, "kw:1"), (1_001, "kw:2"), (0, "kw:1")] {
            assert_eq!(kw.of(watts), taken);
        }
        for bad in [
            "kw",
            "kw=",
            "kw=0",
            "kw=-1",
            "=1",
            "k w=1",
            "kw=1=1",
            "kw=99999999999999999999",
        ] {
            assert!(Licence::parse(bad).is_err(), "{bad}");
        }
    }
}
