//! The directories of all attempts of an agent, and what the next attempts of paused jobs go on from.
//!
//! Only names that are attempts are looked at; paths are absolute, so that they hold whatever directory a shim runs in.

use std::{
    collections::BTreeMap,
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
            keeper::{Keeper, Kept},
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
    /// Who keeps what nothing goes on from.
    keeper: Keeper,
    /// Attempts whose directory the next one of the job takes over.
    paused: BTreeMap<JobId, AttemptKey>,
}

impl Attempts {
    /// Those in the directory of an agent. What programs of ended attempts have left takes so many bytes at most.
    pub(in crate::agent) fn open(agent_dir: &Path, work_bytes_max: u64) -> Result<Self, FileError> {
        let agent_dir = fs::canonicalize(agent_dir).map_err(io_error("find", agent_dir))?;
        let path = agent_dir.join("attempts");
        files::make_dir(&path)?;
        Ok(Self {
            keeper: Keeper::start(Kept::new(&path, work_bytes_max))?,
            path,
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

    /// Keeps the files of an attempt that is over: its directory for the next one if the job goes on, else for a look at it.
    pub(in crate::agent) fn keep(&mut self, key: AttemptKey) -> Result<(), FileError> {
        let dir = self.dir(key);
        let goes_on = dir
            .outcome()?
            .is_some_and(|outcome| outcome.end.how == How::Stopped(StopCause::GoesOn));
        if !goes_on || !dir.work().is_dir() {
            self.keeper.take(key);
            return Ok(());
        }
        // The newest counts: what an earlier one left has been taken over, or was left for good.
        match self.paused.insert(key.job_id, key) {
            Some(other) if key < other => {
                self.paused.insert(key.job_id, other);
                self.keeper.take(key);
            }
            Some(other) if other != key => self.keeper.take(other),
            Some(_) | None => {}
        }
        self.drop_paused();
        Ok(())
    }

    /// Gives an attempt that begins what an earlier one of its job has saved.
    pub(in crate::agent) fn go_on(&mut self, key: AttemptKey) -> Result<(), FileError> {
        if let Some(earlier) = self.paused.get(&key.job_id).copied() {
            self.dir(key).inherit(&self.dir(earlier))?;
            self.paused.remove(&key.job_id);
            self.keeper.take(earlier);
        }
        Ok(())
    }

    /// No longer waits for jobs that were paused too long ago, or of which there are too many, the oldest first.
    fn drop_paused(&mut self) {
        let time_max = Duration::from_secs(limits::AGENT_PAUSED_KEPT_SECONDS_MAX);
        let paused = self.paused.iter();
        let stale = paused.filter(|(_, key)| self.dir(**key).is_older(time_max));
        let stale: Vec<JobId> = stale.map(|(job, _)| *job).collect();
        let dropped = stale.into_iter().filter_map(|job| self.paused.remove(&job));
        let mut dropped: Vec<AttemptKey> = dropped.collect();
        while limits::AGENT_PAUSED_KEPT_MAX < self.paused.len()
            && let Some((_, oldest)) = self.paused.pop_first()
        {
            dropped.push(oldest);
        }
        for key in dropped {
            tracing::warn!(%key, "what a paused job has saved is no longer kept for it: too many, or for too long");
            self.keeper.take(key);
        }
    }
}

/// The directory of one attempt among all.
pub(in crate::agent) fn dir_of(attempts: &Path, key: AttemptKey) -> AttemptDir {
    AttemptDir::new(&attempts.join(key.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use super::*;
    use crate::agent::local::keeper::tests::{DAY, ended, key};

    /// The attempts of a directory, and those that are given away.
    fn open(dir: &Path) -> (Attempts, Receiver<AttemptKey>) {
        let (keeper, given) = Keeper::noting();
        let attempts = Attempts {
            path: dir.to_path_buf(),
            keeper,
            paused: BTreeMap::new(),
        };
        (attempts, given)
    }

    fn keep(attempts: &mut Attempts, key: AttemptKey, cause: StopCause, before: Duration) {
        ended(&attempts.dir(key), cause, before, 9);
        attempts.keep(key).unwrap();
    }

    #[test]
    fn what_a_paused_job_goes_on_from_is_not_given_away_but_is_not_kept_for_ever() {
        let root = tempfile::tempdir().unwrap();
        let (mut attempts, given) = open(root.path());
        let (fresh, stale, other) = (key(1, 1), key(2, 1), key(3, 1));
        keep(&mut attempts, fresh, StopCause::GoesOn, 30 * DAY);
        keep(&mut attempts, stale, StopCause::GoesOn, 32 * DAY);
        keep(&mut attempts, other, StopCause::Ordered, Duration::ZERO);
        assert_eq!(given.try_iter().collect::<Vec<_>>(), [stale, other]);
        // Once the next attempt has taken it over, it is that one's.
        attempts.go_on(key(1, 2)).unwrap();
        assert_eq!(attempts.paused.len(), 0);
        assert!(attempts.dir(key(1, 2)).work().join("8").exists());
        assert!(!attempts.dir(fresh).work().exists());
        keep(&mut attempts, key(1, 2), StopCause::Ordered, Duration::ZERO);
        assert_eq!(given.try_iter().collect::<Vec<_>>(), [fresh, key(1, 2)]);
    }

    #[test]
    fn of_very_many_paused_jobs_the_newest_are_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let (mut attempts, given) = open(root.path());
        let n_paused = limits::AGENT_PAUSED_KEPT_MAX;
        for job in 0..=u32::try_from(n_paused).unwrap() {
            let key = key(job.into(), 1);
            ended(&attempts.dir(key), StopCause::GoesOn, Duration::ZERO, 0);
            attempts.keep(key).unwrap();
        }
        assert_eq!(attempts.paused.len(), n_paused);
        assert_eq!(given.try_iter().collect::<Vec<_>>(), [key(0, 1)]);
    }
}
