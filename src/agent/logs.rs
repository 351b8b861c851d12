//! Reads what programs have written, for whoever asks for it by the server.
//!
//! Only files of attempts below the agent's own directory are opened, by names that are made of the attempt's key: no path
//! ever comes from outside. Every engine keeps the outputs of an attempt in its directory, as `stdout.log` and
//! `stderr.log`; of a long one the full part before the present one is beside it, as `stdout.log.N` with its number from 1.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::OFlags;
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::timeout,
};

use crate::{
    agent::attempt::AttemptKey,
    clock::Mono,
    domain::ids::JobId,
    limits,
    proto::v1::{self, log_read::Start},
};

/// How often a file is looked at for which somebody waits.
const LOOK: Duration = Duration::from_millis(200);
/// How often a file is opened anew that is rotated meanwhile: a program that fills it faster gets no answer this time.
const TRIES: usize = 5;
/// Longest wait for bytes, whatever the server says.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Where outputs lie.
#[derive(Debug, Clone)]
pub struct Logs {
    attempts: PathBuf,
    /// Bytes after which a file is full.
    file_bytes: u64,
}

/// One read that is to be answered.
#[derive(Debug, Clone)]
struct Read {
    key: Option<AttemptKey>,
    output: v1::LogOutput,
    start: Start,
    wait: Duration,
    since: Mono,
}

/// The files of one output, in order, each with the offset of its first byte.
#[derive(Debug)]
struct Parts(Vec<(u64, File, u64)>);

impl Logs {
    /// The outputs of an agent's attempts.
    #[must_use]
    pub fn of_agent(agent_dir: &Path) -> Self {
        Self {
            attempts: agent_dir.join("attempts"),
            file_bytes: limits::ATTEMPT_LOG_BYTES_MAX,
        }
    }

    /// Answers the reads that are wanted, each once, until nobody takes the answers. One at a time: whoever reads much
    /// waits for the others.
    pub async fn serve(
        self,
        mut wanted: watch::Receiver<v1::LogReads>,
        answers: mpsc::Sender<v1::LogChunk>,
    ) {
        let mut open: BTreeMap<u64, Read> = BTreeMap::new();
        let mut answered: BTreeSet<u64> = BTreeSet::new();
        loop {
            let reads = wanted.borrow_and_update().clone();
            let named: BTreeSet<u64> = reads.reads.iter().map(|read| read.read_id).collect();
            open.retain(|id, _| named.contains(id));
            answered.retain(|id| named.contains(id));
            let new = reads.reads.into_iter();
            for read in new.take(limits::LOG_READERS_PER_AGENT_MAX) {
                if !answered.contains(&read.read_id) {
                    let id = read.read_id;
                    open.entry(id).or_insert_with(|| Read::new(&read));
                }
            }
            for (id, read) in open.clone() {
                let Some(chunk) = self.answer(id, read).await else {
                    continue;
                };
                if answers.send(chunk).await.is_err() {
                    return;
                }
                open.remove(&id);
                answered.insert(id);
            }
            let changed = if open.is_empty() {
                wanted.changed().await.is_ok()
            } else {
                !matches!(timeout(LOOK, wanted.changed()).await, Ok(Err(_)))
            };
            if !changed || answers.is_closed() {
                return;
            }
        }
    }

    /// The answer to a read; `None` while it waits for something to be written.
    async fn answer(&self, read_id: u64, read: Read) -> Option<v1::LogChunk> {
        let waits = Mono::now().since(read.since) < read.wait;
        let logs = self.clone();
        let looked = spawn_blocking(move || logs.look(&read)).await;
        let chunk = match looked {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => {
                tracing::warn!(%error, "an output cannot be read");
                None
            }
            // The runtime ends.
            Err(_) => None,
        };
        match chunk {
            Some(chunk) if chunk.data.is_empty() && waits => None,
            Some(chunk) => Some(v1::LogChunk { read_id, ..chunk }),
            None => Some(v1::LogChunk {
                read_id,
                not_kept: true,
                ..v1::LogChunk::default()
            }),
        }
    }

    /// What is there; `None` when nothing is kept of the attempt.
    fn look(&self, read: &Read) -> io::Result<Option<v1::LogChunk>> {
        let Some(key) = read.key else {
            return Ok(None);
        };
        let dir = self.attempts.join(key.to_string());
        if !dir.is_dir() {
            return Ok(None);
        }
        let name = match read.output {
            v1::LogOutput::Stdout | v1::LogOutput::Unspecified => "stdout.log",
            v1::LogOutput::Stderr => "stderr.log",
        };
        let parts = Parts::open(&dir, name, self.file_bytes)?;
        let from = match read.start {
            Start::Offset(offset) => offset,
            Start::TailLines(lines) => parts.tail(lines)?,
        };
        let (offset, data) = parts.read(from)?;
        Ok(Some(v1::LogChunk {
            read_id: 0,
            not_kept: false,
            first_kept_offset: parts.first(),
            offset,
            data,
            end_offset: parts.end(),
        }))
    }
}

impl Read {
    fn new(read: &v1::LogRead) -> Self {
        let fence = read.fence.unwrap_or_default();
        let key = JobId::parse(&read.job_id).map(|job_id| AttemptKey {
            job_id,
            site_epoch: fence.site_epoch,
            attempt: fence.attempt,
        });
        let wait = read.wait.and_then(|wait| Duration::try_from(wait).ok());
        Self {
            key,
            output: read.output(),
            start: read.start.unwrap_or(Start::Offset(0)),
            wait: wait.unwrap_or_default().min(WAIT_MAX),
            since: Mono::now(),
        }
    }
}

impl Parts {
    /// Opens all files of an output, such that none is rotated in between.
    fn open(dir: &Path, name: &str, file_bytes: u64) -> io::Result<Self> {
        for _ in 0..TRIES {
            let full = full_parts(dir, name)?;
            let mut parts = Vec::new();
            for &number in &full {
                let path = dir.join(format!("{name}.{number}"));
                let base = (number - 1).saturating_mul(file_bytes);
                parts.extend(open(&path)?.map(|(file, len)| (base, file, len.min(file_bytes))));
            }
            let base = full.last().copied().unwrap_or(0).saturating_mul(file_bytes);
            let present = open(&dir.join(name))?;
            if full_parts(dir, name)? == full {
                parts.extend(present.map(|(file, len)| (base, file, len)));
                return Ok(Self(parts));
            }
        }
        Err(io::Error::other("the output is written too fast"))
    }

    fn first(&self) -> u64 {
        self.0.first().map_or(0, |&(base, _, _)| base)
    }

    fn end(&self) -> u64 {
        self.0.last().map_or(0, |&(base, _, len)| base + len)
    }

    /// A piece from an offset on, or from the next byte that is kept.
    fn read(&self, from: u64) -> io::Result<(u64, Vec<u8>)> {
        for (base, file, len) in &self.0 {
            let from = from.max(*base);
            let end = base + len;
            if from < end {
                let left = usize::try_from(end - from).unwrap_or(usize::MAX);
                let mut data = vec![0; left.min(limits::LOG_CHUNK_BYTES_MAX)];
                let n_bytes = file.read_at(&mut data, from - base)?;
                data.truncate(n_bytes);
                return Ok((from, data));
            }
        }
        Ok((from, Vec::new()))
    }

    /// Where the last lines begin.
    fn tail(&self, lines: u32) -> io::Result<u64> {
        let end = self.end();
        if lines == 0 {
            return Ok(end);
        }
        let mut left = lines;
        for (base, file, len) in self.0.iter().rev() {
            let mut block = vec![0; limits::LOG_CHUNK_BYTES_MAX];
            let block_bytes = u64::try_from(block.len()).unwrap_or(u64::MAX);
            let mut to = *len;
            while to > 0 {
                let from = to.saturating_sub(block_bytes);
                let n_bytes = usize::try_from(to - from).unwrap_or_default();
                file.read_exact_at(&mut block[..n_bytes], from)?;
                for (at, _) in block[..n_bytes]
                    .iter()
                    .enumerate()
                    .rev()
                    .filter(|(_, byte)| **byte == b'\n')
                {
                    let next = base + from + u64::try_from(at).unwrap_or_default() + 1;
                    // The break at the very end ends the last line and begins none.
                    if next < end {
                        left -= 1;
                    }
                    if left == 0 {
                        return Ok(next);
                    }
                }
                to = from;
            }
        }
        Ok(self.first())
    }
}

/// Numbers of the full files of an output, rising.
fn full_parts(dir: &Path, name: &str) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let file_name = entry?.file_name();
        let rest = file_name
            .to_str()
            .and_then(|file| file.strip_prefix(name)?.strip_prefix('.'));
        numbers.extend(rest.and_then(|digits| digits.parse::<u64>().ok()));
    }
    numbers.retain(|&number| number > 0);
    numbers.sort_unstable();
    Ok(numbers)
}

/// A file with its length; `None` when it is not there. Links are not followed and pipes not waited for.
fn open(path: &Path) -> io::Result<Option<(File, u64)>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("an output is no file"));
    }
    Ok(Some((file, about.len())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JOB: &str = "00000000-0000-7000-8000-000000000001";

    fn logs(dir: &Path) -> Logs {
        Logs {
            attempts: dir.join("attempts"),
            file_bytes: 10,
        }
    }

    fn wanted(start: Start) -> v1::LogRead {
        v1::LogRead {
            read_id: 1,
            job_id: JOB.to_owned(),
            fence: Some(v1::Fence {
                site_epoch: 1,
                attempt: 1,
            }),
            start: Some(start),
            ..v1::LogRead::default()
        }
    }

    fn look(logs: &Logs, start: Start) -> Option<v1::LogChunk> {
        logs.look(&Read::new(&wanted(start))).unwrap()
    }

    /// All that is there from an offset on, and where it begins.
    fn all(logs: &Logs, start: Start) -> (u64, Vec<u8>) {
        let mut start = start;
        let mut first = None;
        let mut data = Vec::new();
        loop {
            let chunk = look(logs, start).unwrap();
            first.get_or_insert(chunk.offset);
            if chunk.data.is_empty() {
                return (first.unwrap(), data);
            }
            start = Start::Offset(chunk.offset + chunk.data.len() as u64);
            data.extend(chunk.data);
        }
    }

    /// The directory of the attempt, with these files.
    fn write(dir: &Path, files: &[(&str, &str)]) -> PathBuf {
        let attempt = dir.join("attempts").join(format!("{JOB}.1.1"));
        fs::create_dir_all(&attempt).unwrap();
        for (name, text) in files {
            fs::write(attempt.join(name), text).unwrap();
        }
        attempt
    }

    #[test]
    fn offsets_count_from_the_begin_whatever_was_rotated_away() {
        let dir = tempfile::tempdir().unwrap();
        let logs = logs(dir.path());
        assert!(look(&logs, Start::Offset(0)).is_none(), "nothing is kept");
        write(dir.path(), &[("claim", "")]);
        let empty = look(&logs, Start::Offset(0)).unwrap();
        assert!(empty.data.is_empty());
        write(
            dir.path(),
            &[("stdout.log.2", "klmnopqrst"), ("stdout.log", "uv\nx")],
        );
        let chunk = look(&logs, Start::Offset(3)).unwrap();
        assert_eq!(chunk.first_kept_offset, 10);
        assert_eq!((chunk.offset, chunk.end_offset), (10, 24));
        assert_eq!(chunk.data, b"klmnopqrst");
        let (_, text) = all(&logs, Start::Offset(12));
        assert_eq!(text, b"mnopqrstuv\nx");
        assert_eq!(all(&logs, Start::Offset(30)), (30, Vec::new()));
        assert_eq!(all(&logs, Start::TailLines(1)), (23, b"x".to_vec()));
        assert_eq!(all(&logs, Start::TailLines(2)).0, 10);
        assert_eq!(all(&logs, Start::TailLines(0)).0, 24);
    }

    #[test]
    fn bytes_that_a_full_disk_did_not_take_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[("stdout.log.1", "abc"), ("stdout.log", "x")]);
        let logs = logs(dir.path());
        assert_eq!(all(&logs, Start::Offset(2)), (2, b"cx".to_vec()));
        assert_eq!(look(&logs, Start::Offset(3)).unwrap().offset, 10);
    }

    #[test]
    fn links_pipes_and_names_from_outside_are_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let attempt = write(dir.path(), &[]);
        let secret = dir.path().join("secret");
        fs::write(&secret, "credential").unwrap();
        std::os::unix::fs::symlink(&secret, attempt.join("stdout.log")).unwrap();
        let logs = logs(dir.path());
        assert!(logs.look(&Read::new(&wanted(Start::Offset(0)))).is_err());
        fs::remove_file(attempt.join("stdout.log")).unwrap();
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            attempt.join("stdout.log"),
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        )
        .unwrap();
        assert!(logs.look(&Read::new(&wanted(Start::Offset(0)))).is_err());
        for job_id in ["", "..", "../../secret", "/etc/passwd"] {
            let read = v1::LogRead {
                job_id: job_id.to_owned(),
                ..wanted(Start::Offset(0))
            };
            assert!(logs.look(&Read::new(&read)).unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn a_read_is_answered_once_and_one_that_waits_when_there_is_something() {
        let dir = tempfile::tempdir().unwrap();
        let attempt = write(dir.path(), &[("stdout.log", "ab")]);
        let (want, wants) = watch::channel(v1::LogReads::default());
        let (answers, mut chunks) = mpsc::channel(1);
        tokio::spawn(logs(dir.path()).serve(wants, answers));
        let at_once = wanted(Start::Offset(0));
        let later = v1::LogRead {
            read_id: 2,
            start: Some(Start::Offset(2)),
            wait: Some(Duration::from_secs(50).try_into().unwrap()),
            ..at_once.clone()
        };
        let reads = vec![at_once, later.clone()];
        want.send_replace(v1::LogReads { reads });
        let first = chunks.recv().await.unwrap();
        assert_eq!((first.read_id, first.data), (1, b"ab".to_vec()));
        fs::write(attempt.join("stdout.log"), "abc").unwrap();
        let second = chunks.recv().await.unwrap();
        assert_eq!((second.read_id, second.data), (2, b"c".to_vec()));
        // Wanted still, but answered on this connection.
        let other = v1::LogRead {
            read_id: 3,
            ..wanted(Start::Offset(1))
        };
        let reads = vec![later, other];
        want.send_replace(v1::LogReads { reads });
        assert_eq!(chunks.recv().await.unwrap().read_id, 3);
        drop(want);
        assert!(chunks.recv().await.is_none());
    }

    proptest! {
        /// Whatever was written and wherever it was rotated, a tail has the lines that it should.
        #[test]
        fn a_tail_has_the_last_lines(
            text in "[ab\n]{0,60}",
            lines in 0_u32..8,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let n_full = text.len() / 10;
            let mut files = vec![("stdout.log".to_owned(), text[n_full * 10..].to_owned())];
            if n_full > 0 {
                files.push((format!("stdout.log.{n_full}"), text[n_full * 10 - 10..n_full * 10].to_owned()));
            }
            let files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            write(dir.path(), &files);
            let kept = &text[n_full.saturating_sub(1) * 10..];
            let mut wanted: Vec<&str> = kept.split_inclusive('\n').collect();
            let n_over = wanted.len().saturating_sub(usize::try_from(lines).unwrap());
            wanted.drain(..n_over);
            let (_, tail) = all(&logs(dir.path()), Start::TailLines(lines));
            prop_assert_eq!(String::from_utf8(tail).unwrap(), wanted.concat());
        }
    }
}
