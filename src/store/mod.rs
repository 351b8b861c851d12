//! Keeps numbered opaque records and snapshots on disk, and gives them back after any crash.
//!
//! Invariant: what `commit` answered with `Ok` is given back by every later `load`, whole and in order, or `load` fails
//! with an error that says where; nothing is ever given back in part.

pub mod error;
mod frame;
pub mod kv;
mod meta;
mod pieces;
pub mod engine;
mod load;
pub mod memory;
mod acknowledged;
mod directory;
pub mod sled_store;
pub mod backup;
pub mod codec;
pub mod snapshot;

use std::fmt;

use uuid::Uuid;

pub use self::{error::StoreError, memory::MemoryStore, sled_store::SledStore};

/// Version of everything below the records: keys, frames, meta. A store with a newer one is refused.
pub const SCHEMA_VERSION: u32 = 1;

/// Most bytes of one value. sled moves a leaf of more than a quarter segment into a file that it never syncs; a leaf
/// holds up to about 26 values, and 26 of 8 KiB stay below a quarter of the 1 MiB segment.
pub const VALUE_BYTES_MAX: usize = 8 * 1024;

/// Most bytes of one commit and of one snapshot chunk: both are held in memory while they are read back.
pub const COMMIT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most keys removed by one call of [`Store::maintain`], so that the writer never stalls on trimming.
pub const TRIM_KEYS_MAX: usize = 500;

/// One durable change: the store knows its number, not its meaning.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Number of the change; rises by 1 from record to record, starting with 1.
    pub revision: u64,
    /// The encoded change.
    pub payload: Vec<u8>,
}

/// What [`Store::load`] hands over, in this order: at most one snapshot with its chunks, then the records after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// The chunks that follow are the snapshot of this revision.
    Snapshot {
        /// Revision of the state in the snapshot.
        revision: u64,
    },
    /// The next chunk of the snapshot, as it was put.
    Chunk(Vec<u8>),
    /// The next record; numbers are contiguous and follow the snapshot.
    Record(Record),
}

/// Everything a store holds, for stores that fit in memory twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Revision and chunks of the newest complete snapshot.
    pub snapshot: Option<(u64, Vec<Vec<u8>>)>,
    /// The records after the snapshot.
    pub records: Vec<Record>,
}

/// What a store is and how far it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreInfo {
    /// Identity given at creation; kept by backup and restore.
    pub store_id: Uuid,
    /// Length of a slot in seconds, given at creation.
    pub slot_seconds: u32,
    /// Version of the store's format on disk.
    pub schema_version: u32,
    /// Revision of the last durable record, or of the snapshot when no record follows it; 0 in an empty store.
    pub last_revision: u64,
    /// Revision of the newest complete snapshot.
    pub snapshot_revision: Option<u64>,
    /// Bytes that the store takes on disk (or would, for a store in memory).
    pub bytes_on_disk: u64,
}

/// Result of reading everything again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// What is wrong, one sentence each, at most [`VerifyReport::PROBLEMS_MAX`]; empty when all is well.
    pub problems: Vec<String>,
    /// Journal frames read, also those that a snapshot has made superfluous.
    pub frames: u64,
    /// Records after the snapshot.
    pub records: u64,
    /// Chunks of the newest complete snapshot.
    pub chunks: u64,
    /// Bytes of payload read.
    pub bytes: u64,
}

impl VerifyReport {
    /// Most problems listed: a broken disk must not fill the memory.
    pub const PROBLEMS_MAX: usize = 100;

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Receives what [`Store::load`] reads; its error ends the load.
pub type Sink<'a> = dyn FnMut(Loaded) -> Result<(), StoreError> + 'a;

/// A store of records and snapshots with one writer.
///
/// Any error but one of `verify` is final: the store is poisoned, every later call answers [`StoreError::Poisoned`], and
/// the process must end, because nobody knows how much of the failed call a restart will find.
pub trait Store: Send {
    /// Identity, reach and size.
    fn info(&self) -> StoreInfo;

    /// Revision of the last durable record, or of the snapshot when no record follows it.
    fn last_revision(&self) -> u64 {
        self.info().last_revision
    }

    /// Makes all records durable or none; they survive a power cut once this has answered `Ok`.
    ///
    /// # Errors
    /// [`StoreError::NotContiguous`] when the numbers do not follow the last one, [`StoreError::TooLarge`] beyond
    /// [`COMMIT_BYTES_MAX`], and whatever the disk does.
    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError>;

    /// Starts a snapshot of the state at `revision`; one still being written is given up. Commits may go on meanwhile.
    ///
    /// # Errors
    /// [`StoreError::SnapshotOrder`] when the revision is not durable yet or older than the newest snapshot.
    fn begin_snapshot(&mut self, revision: u64) -> Result<(), StoreError>;

    /// Adds chunks to the snapshot that was begun; not durable before [`Store::finish_snapshot`].
    ///
    /// # Errors
    /// [`StoreError::NoSnapshot`] when none was begun, [`StoreError::TooLarge`] for a chunk beyond [`COMMIT_BYTES_MAX`].
    fn put_snapshot_chunks(&mut self, chunks: &[Vec<u8>]) -> Result<(), StoreError>;

    /// Makes the snapshot durable and, after that, the newest one. Call [`Store::maintain`] to free what it replaces.
    ///
    /// # Errors
    /// [`StoreError::NoSnapshot`] when none was begun, and whatever the disk does.
    fn finish_snapshot(&mut self) -> Result<(), StoreError>;

    /// Removes up to [`TRIM_KEYS_MAX`] keys that are not needed any more; answers whether there is more to do.
    ///
    /// # Errors
    /// Whatever the disk does.
    fn maintain(&mut self) -> Result<bool, StoreError>;

    /// Reads the newest complete snapshot and all records after it into `sink`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::UnknownVersion`] or [`StoreError::Gap`], saying where; the sink's error.
    fn load(&mut self, sink: &mut Sink<'_>) -> Result<(), StoreError>;

    /// Reads everything again and reports all that is wrong.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`]; a fault in what is read is a problem in the report, not an error.
    fn verify(&self) -> Result<VerifyReport, StoreError>;

    /// Reads everything into memory.
    ///
    /// # Errors
    /// As [`Store::load`].
    fn load_all(&mut self) -> Result<Contents, StoreError> {
        let mut contents = Contents::default();
        self.load(&mut |loaded| {
            match loaded {
                Loaded::Snapshot { revision } => contents.snapshot = Some((revision, Vec::new())),
                Loaded::Chunk(chunk) => {
                    if let Some((_, chunks)) = &mut contents.snapshot {
                        chunks.push(chunk);
                    }
                }
                Loaded::Record(record) => contents.records.push(record),
            }
            Ok(())
        })?;
        Ok(contents)
    }
}

impl fmt::Debug for Record {
    /// Leaves the payload out: it may hold what users sent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("revision", &self.revision)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

#[cfg(test)]
mod tests;
