//! The directories of all attempts of an agent, and how long those of ended ones are kept.
//!
//! Only names that are attempts are looked at; paths are absolute, so that they hold whatever directory a shim runs in.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    agent::{
        attempt::{AttemptKey, How, StopCause},
        files::{self, FileError, io_error},
        local::{
            attempt_dir::{self, AttemptDir},
            over,
        },
    },
    clock::Mono,
    limits,
};

/// The attempts of an agent.
#[derive(Debug)]
pub(in crate::agent) struct Attempts {
    path: PathBuf,
    /// Attempts that are over and only kept for their logs.
    kept: BTreeSet<AttemptKey>,
}

impl Attempts {
    /// Those in the directory of an agent.
    pub(in crate::agent) fn open(agent_dir: &Path) -> Result<Self, FileError> {
        let agent_dir = fs::canonicalize(agent_dir).map_err(io_error("find", agent_dir))?;
        let path = agent_dir.join("attempts");
        files::make_dir(&path)?;
        Ok(Self {
            path,
            kept: BTreeSet::new(),
        })
    }

    pub(in crate::agent) fn path(&self) -> &Path {
        &self.path
    }

    /// The agent's directory.
    pub(in crate::agent) fn agent_dir(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// The end at which shims wake the agent.
    pub(in crate::agent) fn open_wake(&self) -> Result<File, FileError> {
        let wake = attempt_dir::wake_path(self.agent_dir());
        attempt_dir::make_fifo(&wake)?;
        attempt_dir::open_fifo(&wake)
    }

    /// All that are there.
    pub(in crate::agent) fn keys(&self) -> Result<Vec<AttemptKey>, FileError> {
        let entries = fs::read_dir(&self.path).map_err(io_error("read", &self.path))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| AttemptKey::parse(&name)).collect())
    }

    pub(in crate::agent) fn dir(&self, key: AttemptKey) -> AttemptDir {
        dir_of(&self.path, key)
    }

    /// Stops one: its shim is told, and if it has not begun it never will.
    pub(in crate::agent) fn stop(
        &self,
        key: AttemptKey,
        grace: Duration,
        cause: StopCause,
    ) -> Result<(), FileError> {
        let dir = self.dir(key);
        files::make_dir(dir.path())?;
        // First the wish: a shim that gets the claim right now reads it before it begins.
        let kill_at = Mono::now().after(grace);
        dir.want(attempt_dir::stop_wanted(kill_at, cause))?;
        if dir.claim()? {
            dir.set_outcome(&over(How::Stopped(cause), "never begun"))?;
        }
        Ok(())
    }

    /// Keeps the files of one that is over, and drops the oldest that are kept.
    pub(in crate::agent) fn keep(&mut self, key: AttemptKey) -> Result<(), FileError> {
        if self.dir(key).path().is_dir() {
            self.kept.insert(key);
        }
        while self.kept.len() > limits::AGENT_ENDED_KEPT_MAX
            && let Some(oldest) = self.kept.pop_first()
        {
            attempt_dir::remove(self.dir(oldest).path())?;
        }
        Ok(())
    }
}

/// The directory of one attempt among all.
pub(in crate::agent) fn dir_of(attempts: &Path, key: AttemptKey) -> AttemptDir {
    AttemptDir::new(&attempts.join(key.to_string()))
}
