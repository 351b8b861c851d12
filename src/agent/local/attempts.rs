//! The directories of all attempts of an agent, and how long those of ended ones are kept.
//!
//! Only names that are attempts are looked at; paths are absolute, so that they hold whatever directory a shim runs in.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    domain::ids::JobId,
    limits,
};

/// The attempts of an agent.
#[derive(Debug)]
pub(in crate::agent) struct Attempts {
    path: PathBuf,
    /// Attempts that are over and only kept for their logs.
    kept: BTreeSet<AttemptKey>,
    /// Attempts whose directory the next one of the job takes over.
    paused: BTreeMap<JobId, AttemptKey>,
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
            paused: BTreeMap::new(),
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
        dir.want(attempt_dir::stop_wanted(grace, cause))?;
        if dir.claim()? {
            dir.set_outcome(&over(How::Stopped(cause), "never begun"))?;
        }
        Ok(())
    }

    /// Keeps the files of an attempt that is over: its directory for the next one if the job goes on, else its logs for a
    /// while.
    pub(in crate::agent) fn keep(&mut self, key: AttemptKey) -> Result<(), FileError> {
        let dir = self.dir(key);
        let goes_on = dir
            .outcome()?
            .is_some_and(|outcome| outcome.end.how == How::Stopped(StopCause::GoesOn));
        if !goes_on || !dir.work().is_dir() {
            return self.keep_logs(key);
        }
        // The newest counts: what an earlier one left has been taken over, or was left for good.
        match self.paused.insert(key.job_id, key) {
            Some(other) if key < other => {
                self.paused.insert(key.job_id, other);
                self.keep_logs(key)?;
            }
            Some(other) if other != key => self.keep_logs(other)?,
            Some(_) | None => {}
        }
        while limits::AGENT_PAUSED_KEPT_MAX < self.paused.len()
            && let Some((_, oldest)) = self.paused.pop_first()
        {
            tracing::warn!(key = %oldest, "too many jobs are paused: what this one has saved is dropped");
            self.keep_logs(oldest)?;
        }
        Ok(())
    }

    /// Gives an attempt that begins what an earlier one of its job has saved.
    pub(in crate::agent) fn go_on(&mut self, key: AttemptKey) -> Result<(), FileError> {
        if let Some(earlier) = self.paused.get(&key.job_id).copied() {
            self.dir(key).inherit(&self.dir(earlier))?;
            self.paused.remove(&key.job_id);
            self.keep_logs(earlier)?;
        }
        Ok(())
    }

    fn keep_logs(&mut self, key: AttemptKey) -> Result<(), FileError> {
        if self.dir(key).path().is_dir() {
            self.kept.insert(key);
        }
        while self.kept.len() > limits::AGENT_ENDED_KEPT_MAX
            && let Some(oldest) = self.kept.pop_first()
        {
            attempt_dir::remove(self.dir(oldest).path())?;
        }
        let time_max = Duration::from_secs(limits::AGENT_ENDED_KEPT_SECONDS_MAX);
        let old = self.kept.iter().filter(|key| {
            let ended = self.dir(**key).ended_before();
            ended.is_some_and(|time| time > time_max)
        });
        for key in old.copied().collect::<Vec<_>>() {
            self.kept.remove(&key);
            attempt_dir::remove(self.dir(key).path())?;
        }
        Ok(())
    }
}

/// The directory of one attempt among all.
pub(in crate::agent) fn dir_of(attempts: &Path, key: AttemptKey) -> AttemptDir {
    AttemptDir::new(&attempts.join(key.to_string()))
}
