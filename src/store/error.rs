//! Says what the store attempted, on what, and why it did not succeed.
//!
//! Invariant: an error about stored data names the place (tree, revision, key or file offset), and no payload.

use std::{error::Error, io, path::PathBuf};

use thiserror::Error as ThisError;

/// Why a store could not do what was asked.
#[derive(Debug, ThisError)]
pub enum StoreError {
    /// The file system failed.
    #[error("{action} {}", path.display())]
    Io {
        /// What was attempted, such as "sync".
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The storage engine failed.
    #[error("{action} in the storage engine")]
    Engine {
        /// What was attempted.
        action: &'static str,
        /// The engine's answer.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another process has the store open.
    #[error("open the store in {}: another process has it open", dir.display())]
    Locked {
        /// The data directory.
        dir: PathBuf,
    },
    /// There is no store, and none was to be created.
    #[error("open the store in {}: there is none", dir.display())]
    Missing {
        /// The data directory.
        dir: PathBuf,
    },
    /// The directory holds something else; it is left as it is.
    #[error("use {} as data directory: it is not empty and not a store (found {found:?})", dir.display())]
    NotAStore {
        /// The data directory.
        dir: PathBuf,
        /// Name of one thing in it.
        found: String,
    },
    /// A store was to be created where one is.
    #[error("create a store in {}: there is one already", dir.display())]
    AlreadyExists {
        /// The data directory.
        dir: PathBuf,
    },
    /// A newer program wrote this.
    #[error(
        "read schema version {found}: this program supports up to {supported}, use the version that wrote it or a newer one"
    )]
    NewerSchema {
        /// Version found.
        found: u32,
        /// Newest version this program reads.
        supported: u32,
    },
    /// The store was created for another slot length.
    #[error("open the store with slots of {asked} s: it was created with slots of {stored} s")]
    SlotSeconds {
        /// Slot length given at creation, in seconds.
        stored: u32,
        /// Slot length asked for, in seconds.
        asked: u32,
    },
    /// Stored data is not what was written.
    #[error("read {at}: {what}")]
    Corrupt {
        /// Where.
        at: String,
        /// What is wrong.
        what: String,
    },
    /// Stored data has a layout this program does not know.
    #[error("read {at}: layout version {found} is unknown, a newer program may have written it")]
    UnknownVersion {
        /// Where.
        at: String,
        /// Version found.
        found: u32,
    },
    /// Records are missing.
    #[error("read the journal: revision {expected} is missing, the next one found is {found}")]
    Gap {
        /// First missing revision.
        expected: u64,
        /// First revision found after the gap.
        found: u64,
    },
    /// The records of a commit do not follow the last one.
    #[error("commit revision {found}: the next one must be {expected}")]
    NotContiguous {
        /// The revision that must come next.
        expected: u64,
        /// The revision given.
        found: u64,
    },
    /// A commit or chunk is too large to be read back safely.
    #[error("write {bytes} bytes at once: the limit is {limit}")]
    TooLarge {
        /// Bytes given.
        bytes: usize,
        /// Most bytes allowed.
        limit: usize,
    },
    /// A snapshot must lie between the newest one and the last record.
    #[error("begin a snapshot of revision {revision}: it must lie in {oldest}..={newest}")]
    SnapshotOrder {
        /// Revision given.
        revision: u64,
        /// Revision of the newest snapshot.
        oldest: u64,
        /// Revision of the last record.
        newest: u64,
    },
    /// No snapshot was begun.
    #[error("write a snapshot: none was begun")]
    NoSnapshot,
    /// A payload could be read but not understood; for the layer that decodes payloads.
    #[error("decode {at}: {what}")]
    Payload {
        /// Which record or chunk.
        at: String,
        /// What is wrong.
        what: String,
    },
    /// A backup file is cut off, damaged or not one.
    #[error("read the backup at byte {offset}: {what}")]
    Backup {
        /// Offset in the file where the fault was noticed.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// A fault that a test asked for.
    #[error("store call {call}: failed on purpose")]
    Injected {
        /// Number of the call.
        call: u64,
    },
    /// An earlier call failed; only a restart knows what is durable.
    #[error("use the store: an earlier call failed, restart to read what is durable")]
    Poisoned,
}

impl StoreError {
    /// For `map_err` after a call of the file system.
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(super) fn corrupt(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Corrupt {
            at: at.into(),
            what: what.into(),
        }
    }
}
