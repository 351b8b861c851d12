//! The directories of all attempts of an agent, and how long those of ended ones are kept.
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
            attempt_dir::{self, AttemptDir, EndedAt},
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
    /// Attempts that are over, in the order in which they ended, with what their working directories take, bytes.
    kept: BTreeMap<(EndedAt, AttemptKey), u64>,
    /// What these directories may take together, bytes.
    work_bytes_max: u64,
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
            path,
            kept: BTreeMap::new(),
            work_bytes_max,
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
            self.keep_for_a_look(key);
            return Ok(());
        }
        // The newest counts: what an earlier one left has been taken over, or was left for good.
        match self.paused.insert(key.job_id, key) {
            Some(other) if key < other => {
                self.paused.insert(key.job_id, other);
                self.keep_for_a_look(key);
            }
            Some(other) if other != key => self.keep_for_a_look(other),
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
            self.keep_for_a_look(earlier);
        }
        Ok(())
    }

    /// No longer waits for jobs that were paused too long ago, or of which there are too many, the oldest first.
    fn drop_paused(&mut self) {
        let time_max = Duration::from_secs(limits::AGENT_PAUSED_KEPT_SECONDS_MAX);
        let paused = self.paused.iter();
        let stale = paused.filter(|(_, key)| self.is_older(**key, time_max));
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
            self.keep_for_a_look(key);
        }
    }

    /// Keeps the files of an attempt that nothing goes on from, and drops what is too much: attempts as a whole by number
    /// and time, and working directories by what they take, always those that ended first.
    fn keep_for_a_look(&mut self, key: AttemptKey) {
        let dir = self.dir(key);
        if dir.path().is_dir() {
            let file_min = limits::AGENT_WORK_FILE_BYTES_MIN;
            let bytes = files::bytes_of(&dir.work(), file_min, self.work_bytes_max);
            self.kept.insert((dir.ended_at(), key), bytes);
        }
        while limits::AGENT_ENDED_KEPT_MAX < self.kept.len()
            && let Some(((_, oldest), _)) = self.kept.pop_first()
        {
            attempt_dir::remove(self.dir(oldest).path());
        }
        let time_max = Duration::from_secs(limits::AGENT_ENDED_KEPT_SECONDS_MAX);
        let old = self
            .kept
            .keys()
            .filter(|(_, key)| self.is_older(*key, time_max));
        for old in old.copied().collect::<Vec<_>>() {
            self.kept.remove(&old);
            attempt_dir::remove(self.dir(old.1).path());
        }
        let path = self.path.clone();
        let mut sum = self
            .kept
            .values()
            .fold(0_u64, |sum, n| sum.saturating_add(*n));
        for ((_, oldest), bytes) in &mut self.kept {
            if sum <= self.work_bytes_max {
                break;
            }
            if 0 < *bytes {
                attempt_dir::remove(&dir_of(&path, *oldest).work());
                sum = sum.saturating_sub(std::mem::take(bytes));
            }
        }
    }

    fn is_older(&self, key: AttemptKey, time_max: Duration) -> bool {
        let ended = self.dir(key).ended_before();
        ended.is_some_and(|time| time_max < time)
    }
}

/// The directory of one attempt among all.
pub(in crate::agent) fn dir_of(attempts: &Path, key: AttemptKey) -> AttemptDir {
    AttemptDir::new(&attempts.join(key.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file counts here.
    const FILE: u64 = limits::AGENT_WORK_FILE_BYTES_MIN;
    const DAY: Duration = Duration::from_secs(86_400);

    fn key(job: u128, attempt: u32) -> AttemptKey {
        AttemptKey {
            job_id: JobId(job),
            site_epoch: 1,
            attempt,
        }
    }

    /// The attempts of a directory in which so many files of the smallest size may be kept.
    fn open(dir: &Path, n_files: u64) -> Attempts {
        Attempts::open(dir, n_files * FILE).unwrap()
    }

    /// Makes an attempt that ended so long ago, with some files where its program worked.
    fn ended(attempts: &Attempts, key: AttemptKey, cause: StopCause, before: Duration, files: u32) {
        let dir = attempts.dir(key);
        files::make_dir(&dir.work()).unwrap();
        fs::write(dir.log("stdout.log"), "said").unwrap();
        for i in 0..files {
            fs::write(dir.work().join(i.to_string()), "left").unwrap();
        }
        dir.set_outcome(&over(How::Stopped(cause), "")).unwrap();
        let result = File::options()
            .append(true)
            .open(dir.path().join("result.json"))
            .unwrap();
        let now = result.metadata().unwrap().modified().unwrap();
        result.set_modified(now - before).unwrap();
    }

    /// Whether its outputs and its working directory are there.
    fn left(attempts: &Attempts, key: AttemptKey) -> (bool, bool) {
        let dir = attempts.dir(key);
        (dir.log("stdout.log").exists(), dir.work().exists())
    }

    #[test]
    fn working_directories_of_those_that_ended_first_go_first_and_outputs_stay() {
        let root = tempfile::tempdir().unwrap();
        let mut attempts = open(root.path(), 4);
        // The job that came first ends last.
        let ends = [(3, 5), (2, 4), (1, 3)];
        for (job, days) in ends {
            ended(&attempts, key(job, 1), StopCause::Ordered, days * DAY, 2);
            attempts.keep(key(job, 1)).unwrap();
        }
        assert_eq!(left(&attempts, key(3, 1)), (true, false));
        for job in [2, 1] {
            assert_eq!(left(&attempts, key(job, 1)), (true, true));
        }
        // What is too much alone goes at once, and takes the others with it.
        ended(&attempts, key(4, 1), StopCause::Ordered, DAY, 5);
        attempts.keep(key(4, 1)).unwrap();
        for job in 1..=4 {
            assert_eq!(left(&attempts, key(job, 1)), (true, false));
        }
        // Another agent in the directory finds the same.
        let mut again = open(root.path(), 1);
        ended(&again, key(5, 1), StopCause::Ordered, Duration::ZERO, 1);
        for key in again.keys().unwrap() {
            again.keep(key).unwrap();
        }
        assert_eq!(left(&again, key(5, 1)), (true, true));
        assert_eq!(again.kept.len(), 5);
    }

    #[test]
    fn what_a_paused_job_goes_on_from_is_never_too_much_but_is_not_kept_for_ever() {
        let root = tempfile::tempdir().unwrap();
        let mut attempts = open(root.path(), 1);
        let (fresh, stale) = (key(1, 1), key(2, 1));
        ended(&attempts, fresh, StopCause::GoesOn, 30 * DAY, 9);
        ended(&attempts, stale, StopCause::GoesOn, 32 * DAY, 9);
        for key in [fresh, stale] {
            attempts.keep(key).unwrap();
        }
        assert_eq!(left(&attempts, fresh), (true, true));
        assert_eq!(left(&attempts, stale), (false, false));
        // Once the next attempt has taken it over, it is that one's.
        attempts.go_on(key(1, 2)).unwrap();
        assert_eq!(attempts.paused.len(), 0);
        assert!(attempts.dir(key(1, 2)).work().join("8").exists());
        ended(&attempts, key(1, 2), StopCause::Ordered, Duration::ZERO, 0);
        attempts.keep(key(1, 2)).unwrap();
        assert_eq!(left(&attempts, key(1, 2)), (true, false));
    }

    #[test]
    fn of_very_many_ended_attempts_and_paused_jobs_the_newest_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let mut attempts = open(root.path(), 9);
        let n_ended = limits::AGENT_ENDED_KEPT_MAX;
        for job in 0..=u32::try_from(n_ended).unwrap() {
            let key = key(job.into(), 1);
            ended(&attempts, key, StopCause::Ordered, Duration::ZERO, 0);
            attempts.keep(key).unwrap();
        }
        assert_eq!(attempts.kept.len(), n_ended);
        assert_eq!(left(&attempts, key(0, 1)), (false, false));
        assert_eq!(left(&attempts, key(1, 1)), (true, true));
        let n_paused = limits::AGENT_PAUSED_KEPT_MAX;
        for job in 0..=u32::try_from(n_paused).unwrap() {
            let key = key(1_000_000 + u128::from(job), 1);
            ended(&attempts, key, StopCause::GoesOn, Duration::ZERO, 0);
            attempts.keep(key).unwrap();
        }
        assert_eq!(attempts.paused.len(), n_paused);
        assert!(!attempts.paused.contains_key(&JobId(1_000_000)));
    }
}
