//! The files of attempts that are over and from which nothing goes on: kept for a look, within bounds.
//!
//! They are counted and removed on a thread of their own: a disk that is slow with a million files must not hold up leases.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{
    agent::{
        attempt::AttemptKey,
        files::{self, FileError, io_error},
        local::{
            attempt_dir::{self, EndedAt},
            attempts::dir_of,
        },
    },
    limits,
};

/// The thread that keeps; it ends with this handle, once it has done what it was given.
#[derive(Debug)]
pub(super) struct Keeper {
    /// As long as there are directories of attempts that ended, at most.
    queue: mpsc::Sender<AttemptKey>,
}

impl Keeper {
    /// Starts it.
    pub(super) fn start(mut kept: Kept) -> Result<Self, FileError> {
        let (queue, ended) = mpsc::channel();
        let path = kept.attempts.clone();
        thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || ended.iter().for_each(|key| kept.take(key)))
            .map_err(io_error("make a thread for", &path))?;
        Ok(Self { queue })
    }

    /// One that only notes what it is given.
    #[cfg(test)]
    pub(super) fn noting() -> (Self, mpsc::Receiver<AttemptKey>) {
        let (queue, given) = mpsc::channel();
        (Self { queue }, given)
    }

    /// Gives it an attempt that is over.
    pub(super) fn take(&self, key: AttemptKey) {
        if self.queue.send(key).is_err() {
            tracing::error!(%key, "nobody keeps what ended attempts have left, so that nothing of it is removed");
        }
    }
}

/// What is kept.
#[derive(Debug)]
pub(super) struct Kept {
    /// Directory of the attempts.
    attempts: PathBuf,
    /// Attempts in the order in which they ended, with what their working directories take, bytes.
    ended: BTreeMap<(EndedAt, AttemptKey), u64>,
    /// What these directories may take together, bytes.
    work_bytes_max: u64,
}

impl Kept {
    /// Nothing yet.
    pub(super) fn new(attempts: &Path, work_bytes_max: u64) -> Self {
        Self {
            attempts: attempts.to_path_buf(),
            ended: BTreeMap::new(),
            work_bytes_max,
        }
    }

    /// Keeps an attempt, and drops what is too much: attempts as a whole by number and time, and working directories by
    /// what they take, always those that ended first.
    fn take(&mut self, key: AttemptKey) {
        let dir = dir_of(&self.attempts, key);
        if dir.path().is_dir() {
            let file_min = limits::AGENT_WORK_FILE_BYTES_MIN;
            let bytes = files::bytes_of(&dir.work(), file_min, self.work_bytes_max);
            self.ended.insert((dir.ended_at(), key), bytes);
        }
        while limits::AGENT_ENDED_KEPT_MAX < self.ended.len()
            && let Some(((_, oldest), _)) = self.ended.pop_first()
        {
            attempt_dir::remove(dir_of(&self.attempts, oldest).path());
        }
        let time_max = Duration::from_secs(limits::AGENT_ENDED_KEPT_SECONDS_MAX);
        self.ended.retain(|(_, key), _| {
            let dir = dir_of(&self.attempts, *key);
            let is_old = dir.is_older(time_max);
            if is_old {
                attempt_dir::remove(dir.path());
            }
            !is_old
        });
        let sum = self.ended.values();
        let mut sum = sum.fold(0_u64, |sum, bytes| sum.saturating_add(*bytes));
        for ((_, oldest), bytes) in &mut self.ended {
            if sum <= self.work_bytes_max {
                break;
            }
            if 0 < *bytes {
                attempt_dir::remove(&dir_of(&self.attempts, *oldest).work());
                sum = sum.saturating_sub(std::mem::take(bytes));
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs::{self, File};

    use super::*;
    use crate::{
        agent::{
            attempt::{How, StopCause},
            local::{attempt_dir::AttemptDir, over},
        },
        domain::ids::JobId,
    };

    /// What a file counts here.
    const FILE: u64 = limits::AGENT_WORK_FILE_BYTES_MIN;
    pub(in crate::agent::local) const DAY: Duration = Duration::from_secs(86_400);

    pub(in crate::agent::local) fn key(job: u128, attempt: u32) -> AttemptKey {
        AttemptKey {
            job_id: JobId(job),
            site_epoch: 1,
            attempt,
        }
    }

    /// Makes an attempt that ended so long ago, with some files where its program worked.
    pub(in crate::agent::local) fn ended(
        dir: &AttemptDir,
        cause: StopCause,
        before: Duration,
        files: u32,
    ) {
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

    /// Keeps an attempt that ended so long ago.
    fn keep(kept: &mut Kept, key: AttemptKey, before: Duration, files: u32) {
        ended(
            &dir_of(&kept.attempts, key),
            StopCause::Ordered,
            before,
            files,
        );
        kept.take(key);
    }

    /// Whether its outputs and its working directory are there.
    fn left(kept: &Kept, key: AttemptKey) -> (bool, bool) {
        let dir = dir_of(&kept.attempts, key);
        (dir.log("stdout.log").exists(), dir.work().exists())
    }

    #[test]
    fn working_directories_of_those_that_ended_first_go_first_and_outputs_stay() {
        let root = tempfile::tempdir().unwrap();
        let mut kept = Kept::new(root.path(), 4 * FILE);
        // The job that came first ends last.
        for (job, days) in [(3, 5), (2, 4), (1, 3)] {
            keep(&mut kept, key(job, 1), days * DAY, 2);
        }
        assert_eq!(left(&kept, key(3, 1)), (true, false));
        for job in [2, 1] {
            assert_eq!(left(&kept, key(job, 1)), (true, true));
        }
        // What is too much alone goes at once, and takes the others with it.
        keep(&mut kept, key(4, 1), DAY, 5);
        for job in 1..=4 {
            assert_eq!(left(&kept, key(job, 1)), (true, false));
        }
        // Another agent in the directory finds the same.
        let mut again = Kept::new(root.path(), FILE);
        keep(&mut again, key(5, 1), Duration::ZERO, 1);
        for job in 1..=5 {
            again.take(key(job, 1));
        }
        assert_eq!(left(&again, key(5, 1)), (true, true));
        assert_eq!(again.ended.len(), 5);
    }

    #[test]
    fn what_ended_long_ago_goes_as_a_whole() {
        let root = tempfile::tempdir().unwrap();
        let mut kept = Kept::new(root.path(), 9 * FILE);
        keep(&mut kept, key(1, 1), 6 * DAY, 1);
        keep(&mut kept, key(2, 1), 8 * DAY, 1);
        assert_eq!(left(&kept, key(1, 1)), (true, true));
        assert_eq!(left(&kept, key(2, 1)), (false, false));
    }

    #[test]
    fn of_very_many_ended_attempts_the_newest_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let mut kept = Kept::new(root.path(), 9 * FILE);
        let n_ended = limits::AGENT_ENDED_KEPT_MAX;
        for job in 0..=u32::try_from(n_ended).unwrap() {
            keep(&mut kept, key(job.into(), 1), Duration::ZERO, 0);
        }
        assert_eq!(kept.ended.len(), n_ended);
        assert_eq!(left(&kept, key(0, 1)), (false, false));
        assert_eq!(left(&kept, key(1, 1)), (true, true));
    }
}
