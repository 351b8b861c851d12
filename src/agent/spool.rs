//! The agent's directory: who it is, its journal and its lease.
//!
//! One line of the journal is one step, whole or absent: a last line without its end is a crash and is cut off, anything
//! else that does not check is damage and is named.

use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    agent::{
        book::{Book, Record},
        core::Lease,
        files::{self, Durability, FileError, io_error},
    },
    clock::Mono,
    limits,
};

/// Raised when a line means something else than before.
const JOURNAL_HEAD: &str = "lancang-agent-journal 1\n";

/// Who the agent is; kept for the life of its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The site.
    pub site_id: String,
    /// The agent's own name: a UUID.
    pub instance_id: String,
    /// What it shows to the server; absent until it is enrolled.
    pub credential: Option<Secret>,
    /// Hash of the token that gave the credential: the same token is not spent twice.
    pub token_hash: Option<String>,
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The lease as it lies on disk, for the processes that outlive an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LeaseFile {
    /// A lease does not survive the boot whose clock it counts by.
    boot_id: String,
    heard_ms: u64,
    stop_after_ms: u64,
    /// How old it was when it was written, for who does not have that clock.
    #[serde(default)]
    age_ms: u64,
}

/// A directory that this agent alone works in.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    identity: Identity,
    journal: File,
    journal_bytes: u64,
    /// Length of the journal when it was last written anew.
    base_bytes: u64,
    boot_id: String,
    /// The lock is held as long as this file is open.
    _lock: File,
}

impl Spool {
    /// Opens the directory of a site, making it when it is new, and reads what is in it.
    ///
    /// # Errors
    /// When another agent has it, it belongs to another site, or a file in it is damaged.
    pub fn open(dir: &Path, site_id: &str) -> Result<(Self, Book), FileError> {
        files::make_dir(dir)?;
        // It may have been made by somebody else; the credential in it is the agent's alone.
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
            .map_err(io_error("protect", dir))?;
        let lock = lock(dir)?;
        let identity = identity(dir, site_id)?;
        let path = dir.join("journal");
        let (book, good_bytes) = read_journal(&path)?;
        let mut spool = Self {
            dir: dir.to_path_buf(),
            identity,
            journal: open_journal(&path)?,
            journal_bytes: good_bytes,
            base_bytes: 0,
            boot_id: boot_id()?,
            _lock: lock,
        };
        // A half-written last line goes with this as well.
        spool.write_anew(&book)?;
        Ok((spool, book))
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Who the agent is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Keeps the credential that a token gave.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn enrolled(&mut self, credential: Secret, token: &Secret) -> Result<(), FileError> {
        self.identity.credential = Some(credential);
        self.identity.token_hash = Some(hash(token));
        let path = self.dir.join("identity.json");
        files::write_json(&path, &self.identity, Durability::Durable)
    }

    /// Whether this token gave the credential that is kept.
    #[must_use]
    pub fn has_spent(&self, token: &Secret) -> bool {
        self.identity.token_hash.as_deref() == Some(hash(token).as_str())
    }

    /// Makes records durable as one step; `book` is what they lead to.
    ///
    /// # Errors
    /// When the system refuses: then the agent must end, for its memory is ahead of the disk.
    pub fn append(&mut self, records: &[Record], book: &Book) -> Result<(), FileError> {
        if records.is_empty() {
            return Ok(());
        }
        let path = self.dir.join("journal");
        let line = line(records).map_err(io_error("write", &path))?;
        let write = || {
            let mut journal = &self.journal;
            journal.write_all(line.as_bytes())?;
            journal.sync_data()
        };
        write().map_err(io_error("write", &path))?;
        self.journal_bytes += line.len() as u64;
        if self.journal_bytes > limits::AGENT_JOURNAL_BYTES_MAX.max(4 * self.base_bytes) {
            self.write_anew(book)?;
        }
        Ok(())
    }

    /// Notes the lease for the processes that outlive this one.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write_lease(&self, lease: Lease) -> Result<(), FileError> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let file = LeaseFile {
            boot_id: self.boot_id.clone(),
            heard_ms: lease.heard.0,
            stop_after_ms: ms(lease.stop_after),
            age_ms: ms(Mono::now().since(lease.heard)),
        };
        files::write_json(&lease_path(&self.dir), &file, Durability::Visible)
    }

    fn write_anew(&mut self, book: &Book) -> Result<(), FileError> {
        let path = self.dir.join("journal");
        let mut text = JOURNAL_HEAD.to_owned();
        text += &line(&book.records()).map_err(io_error("write", &path))?;
        files::replace(&path, text.as_bytes(), Durability::Durable)?;
        self.journal = open_journal(&path)?;
        self.journal_bytes = text.len() as u64;
        self.base_bytes = self.journal_bytes;
        Ok(())
    }
}

/// The lease that an agent of this boot left in its directory.
///
/// # Errors
/// When the system refuses. A file that makes no sense is no lease: nothing may run by it.
pub fn read_lease(dir: &Path) -> Result<Option<Lease>, FileError> {
    let Some(file) = read_lease_file(dir)? else {
        return Ok(None);
    };
    let is_of_this_boot = file.boot_id == boot_id()?;
    Ok(is_of_this_boot.then(|| file.lease(Mono(file.heard_ms))))
}

fn read_lease_file(dir: &Path) -> Result<Option<LeaseFile>, FileError> {
    match files::read_json(&lease_path(dir)) {
        Ok(file) => Ok(file),
        Err(FileError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl LeaseFile {
    fn lease(&self, heard: Mono) -> Lease {
        Lease {
            heard,
            stop_after: Duration::from_millis(self.stop_after_ms),
        }
    }
}

/// Reads a lease again and again, by the clock of this machine, whichever machine wrote it.
///
/// One of another machine counts from the last look at which its predecessor still stood there: it was written later, so that
/// it ends no later here than there. Clocks need not agree; the first one that is found says nothing.
#[derive(Debug)]
pub struct LeaseReader {
    boot_id: String,
    last: Option<Foreign>,
}

/// What another machine wrote.
#[derive(Debug)]
struct Foreign {
    file: LeaseFile,
    /// When it was last seen to stand there.
    looked: Mono,
    lease: Option<Lease>,
}

impl LeaseReader {
    /// A reader that has not read yet.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> Result<Self, FileError> {
        Ok(Self {
            boot_id: boot_id()?,
            last: None,
        })
    }

    /// Name of the boot of this machine.
    #[must_use]
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Whether the lease that was read last is of another machine.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        self.last.is_some()
    }

    /// The lease in an agent's directory, once it can be told how long it lasts.
    ///
    /// # Errors
    /// When the system refuses. A file that makes no sense is no lease: nothing may run by it.
    pub fn read(&mut self, dir: &Path) -> Result<Option<Lease>, FileError> {
        let looked = Mono::now();
        let file = read_lease_file(dir)?;
        Ok(self.take(file, looked))
    }

    fn take(&mut self, file: Option<LeaseFile>, looked: Mono) -> Option<Lease> {
        let file = file?;
        if file.boot_id == self.boot_id {
            self.last = None;
            return Some(file.lease(Mono(file.heard_ms)));
        }
        let lease = match &self.last {
            None => None,
            Some(last) if last.file == file => last.lease,
            Some(last) => {
                let heard = last.looked.0.saturating_sub(file.age_ms);
                Some(file.lease(Mono(heard)))
            }
        };
        self.last = Some(Foreign {
            file,
            looked,
            lease,
        });
        lease
    }
}

fn lease_path(dir: &Path) -> PathBuf {
    dir.join("lease.json")
}

/// Name of the boot of this machine.
///
/// # Errors
/// When the system refuses.
pub fn boot_id() -> Result<String, FileError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = fs::read_to_string(path).map_err(io_error("read", path))?;
    Ok(text.trim().to_owned())
}

fn lock(dir: &Path) -> Result<File, FileError> {
    let path = dir.join("lock");
    let lock = files::private()
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(FileError::Locked {
            dir: dir.to_path_buf(),
        }),
        Err(TryLockError::Error(error)) => Err(io_error("lock", &path)(error)),
    }
}

fn identity(dir: &Path, site_id: &str) -> Result<Identity, FileError> {
    let path = dir.join("identity.json");
    if let Some(identity) = files::read_json::<Identity>(&path)? {
        if identity.site_id == site_id {
            return Ok(identity);
        }
        // A directory whose agent was never enrolled holds nothing: a mistyped name binds it to no site.
        if identity.credential.is_some() {
            return Err(FileError::OtherSite {
                dir: dir.to_path_buf(),
                site: identity.site_id,
            });
        }
    }
    let identity = Identity {
        site_id: site_id.to_owned(),
        instance_id: Uuid::now_v7().to_string(),
        credential: None,
        token_hash: None,
    };
    files::write_json(&path, &identity, Durability::Durable)?;
    Ok(identity)
}

fn hash(token: &Secret) -> String {
    let digest = Sha256::digest(token.0.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn open_journal(path: &Path) -> Result<File, FileError> {
    let mut options = fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .append(true)
        .create(true)
        .open(path)
        .map_err(io_error("open", path))
}

/// One step: its checksum, its records as JSON, the end of the line.
fn line(records: &[Record]) -> Result<String, std::io::Error> {
    let json = serde_json::to_string(records)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())))
}

/// The book of a journal and how many bytes of it are good.
fn read_journal(path: &Path) -> Result<(Book, u64), FileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Book::default(), 0)),
        Err(error) => return Err(io_error("read", path)(error)),
    };
    let damaged = |what: String| FileError::Damaged {
        path: path.to_path_buf(),
        what,
    };
    let mut book = Book::default();
    let Some(rest) = bytes.strip_prefix(JOURNAL_HEAD.as_bytes()) else {
        return Err(damaged(
            "it does not begin as a journal of this version".to_owned(),
        ));
    };
    let mut good = JOURNAL_HEAD.len();
    for (index, line) in rest.split_inclusive(|&byte| byte == b'\n').enumerate() {
        match read_line(line) {
            Some(records) => records.iter().for_each(|record| book.apply(record)),
            // Only the last step can be half on disk: every earlier one was synced before it.
            None if good + line.len() == bytes.len() => {
                tracing::warn!(path = %path.display(), "the last step was not written to its end; it is cut off");
                break;
            }
            None => return Err(damaged(format!("line {} does not check", index + 2))),
        }
        good += line.len();
    }
    Ok((book, good as u64))
}

fn read_line(line: &[u8]) -> Option<Vec<Record>> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, json) = line.split_at_checked(8)?;
    let json = json.strip_prefix(' ')?;
    let sum = u32::from_str_radix(sum, 16).ok()?;
    if sum != crc32fast::hash(json.as_bytes()) {
        return None;
    }
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        agent::attempt::{AttemptKey, Task},
        domain::ids::JobId,
    };

    fn key(job: u128) -> AttemptKey {
        AttemptKey {
            job_id: JobId(job),
            site_epoch: 1,
            attempt: 1,
        }
    }

    fn accept(job: u128) -> Record {
        Record::Accept {
            key: key(job),
            task: Task {
                argv: vec!["echo".to_owned(), "a\n\"b\"".to_owned()],
                environment: BTreeMap::new(),
                task_count: 1,
                cpu_cores: 1,
                gpus: 0,
                memory_mib: 1,
                units_max: 1,
                it_power_watts: 1,
                max_run_time: Duration::from_secs(1),
                stop_grace: Duration::ZERO,
                checkpoint: None,
                inputs: Vec::new(),
                outputs: Vec::new(),
                stage_bits_per_second: 0,
            },
        }
    }

    fn write(spool: &mut Spool, book: &mut Book, records: &[Record]) {
        records.iter().for_each(|record| book.apply(record));
        spool.append(records, book).unwrap();
    }

    /// A directory in which two steps were written, and the book they lead to.
    fn written(dir: &Path) -> Book {
        let (mut spool, mut book) = Spool::open(dir, "a").unwrap();
        write(&mut spool, &mut book, &[accept(1)]);
        write(
            &mut spool,
            &mut book,
            &[accept(2), Record::Start { key: key(2) }],
        );
        book
    }

    #[test]
    fn a_lease_of_another_machine_never_lasts_longer_than_there() {
        let mut reader = LeaseReader::new().unwrap();
        let file = |boot: &str, heard_ms, age_ms| {
            Some(LeaseFile {
                boot_id: boot.to_owned(),
                heard_ms,
                stop_after_ms: 60_000,
                age_ms,
            })
        };
        // The clock there is 900 s ahead.
        assert_eq!(reader.take(file("there", 901_000, 10), Mono(1_500)), None);
        assert!(reader.is_elsewhere());
        assert_eq!(reader.take(file("there", 901_000, 10), Mono(2_500)), None);
        // Written at 3 s by the clock here, and seen at 3.5 s: it may have been written right after the last look.
        let lease = reader
            .take(file("there", 902_980, 20), Mono(3_500))
            .unwrap();
        assert_eq!(lease.heard, Mono(2_480));
        assert!(lease.end() <= Mono(2_980 + 60_000));
        // The same again is no newer.
        let again = reader.take(file("there", 902_980, 20), Mono(4_500));
        assert_eq!(again, Some(lease));
        let next = reader
            .take(file("there", 903_980, 20), Mono(5_500))
            .unwrap();
        assert_eq!(next.heard, Mono(4_480));
        // None is none, and one of this machine counts as it stands.
        assert_eq!(reader.take(None, Mono(6_000)), None);
        let own = reader.boot_id.clone();
        let lease = reader.take(file(&own, 5_000, 10), Mono(7_000)).unwrap();
        assert_eq!((lease.heard, reader.is_elsewhere()), (Mono(5_000), false));
    }

    #[test]
    fn what_was_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let book = written(dir.path());
        let (spool, read) = Spool::open(dir.path(), "a").unwrap();
        assert_eq!(read, book);
        let instance = spool.identity().instance_id.clone();
        drop(spool);
        let (spool, read) = Spool::open(dir.path(), "a").unwrap();
        assert_eq!(
            (read, &spool.identity().instance_id),
            (book, &instance),
            "also from the journal written anew"
        );
        let mode = fs::metadata(dir.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        for file in ["journal", "identity.json", "lock"] {
            let mode = fs::metadata(dir.path().join(file)).unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn a_step_cut_anywhere_is_absent_and_the_rest_stands() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path());
        let path = dir.path().join("journal");
        let whole = fs::read(&path).unwrap();
        let last = whole[..whole.len() - 1]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .unwrap();
        for cut in last + 1..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (_spool, book) = Spool::open(dir.path(), "a").unwrap();
            assert_eq!(book.attempts().len(), 1, "cut at {cut}");
        }
    }

    #[test]
    fn damage_before_the_end_is_named() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path());
        let path = dir.path().join("journal");
        let mut bytes = fs::read(&path).unwrap();
        bytes[JOURNAL_HEAD.len() + 20] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = Spool::open(dir.path(), "a").unwrap_err().to_string();
        assert!(error.contains("journal is damaged: line 2"), "{error}");
        fs::write(dir.path().join("identity.json"), "{").unwrap();
        let error = Spool::open(dir.path(), "a").unwrap_err().to_string();
        assert!(error.contains("identity.json is damaged"), "{error}");
    }

    #[test]
    fn two_agents_never_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Spool::open(dir.path(), "a").unwrap();
        let second = Spool::open(dir.path(), "a");
        assert!(matches!(second, Err(FileError::Locked { .. })));
    }

    #[test]
    fn a_directory_belongs_to_the_site_that_it_was_enrolled_at() {
        let dir = tempfile::tempdir().unwrap();
        let open = |site| Spool::open(dir.path(), site).map(|(spool, _)| spool);
        let mistyped = open("aa").unwrap().identity().instance_id.clone();
        let mut spool = open("a").unwrap();
        assert_ne!(spool.identity().instance_id, mistyped);
        let secret = || Secret("s".to_owned());
        spool.enrolled(secret(), &secret()).unwrap();
        drop(spool);
        assert!(open("a").is_ok());
        let other = open("b");
        assert!(matches!(other, Err(FileError::OtherSite { .. })));
    }

    #[test]
    fn a_long_journal_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, mut book) = Spool::open(dir.path(), "a").unwrap();
        write(&mut spool, &mut book, &[accept(1)]);
        let step = vec![Record::Start { key: key(1) }; 20_000];
        let mut lengths = Vec::new();
        for _ in 0..12 {
            write(&mut spool, &mut book, &step);
            lengths.push(fs::metadata(dir.path().join("journal")).unwrap().len());
        }
        let longest = lengths.iter().max().unwrap();
        assert!(lengths.iter().any(|len| len < &10_000), "{lengths:?}");
        assert!(*longest <= limits::AGENT_JOURNAL_BYTES_MAX, "{lengths:?}");
        drop(spool);
        assert_eq!(Spool::open(dir.path(), "a").unwrap().1, book);
    }

    #[test]
    fn a_lease_is_read_by_the_same_boot_only() {
        let dir = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(dir.path(), "a").unwrap();
        assert_eq!(read_lease(dir.path()).unwrap(), None);
        let lease = Lease {
            heard: Mono(5),
            stop_after: Duration::from_millis(7),
        };
        spool.write_lease(lease).unwrap();
        assert_eq!(read_lease(dir.path()).unwrap(), Some(lease));
        let path = lease_path(dir.path());
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(&boot_id().unwrap(), "another")).unwrap();
        assert_eq!(read_lease(dir.path()).unwrap(), None);
        fs::write(&path, "{").unwrap();
        assert_eq!(read_lease(dir.path()).unwrap(), None);
    }
}
