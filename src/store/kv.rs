//! The little that the store asks of a storage engine: three ordered maps, batches and a sync.
//!
//! Invariant: the store stays right if a crash keeps any subset of the changes since the last `sync`, in any order.

use std::ops::ControlFlow;

use crate::store::StoreError;

/// One of the ordered maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// Frames of commits.
    Journal,
    /// Pieces of snapshots.
    Snapshot,
    /// What the store is, and which snapshot is the newest complete one.
    Meta,
}

impl Tree {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Journal, Self::Snapshot, Self::Meta];

    /// Name on disk; never changes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Snapshot => "snapshot",
            Self::Meta => "meta",
        }
    }
}

/// A key and its new value, or `None` to remove it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// Called with key and value; says whether to go on.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError> + 'a;

/// Called with tree, key and value of what is to be copied or counted.
pub(super) type VisitLive<'a> = dyn FnMut(Tree, &[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// Called with key and value of each piece of a snapshot.
pub(super) type VisitPiece<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// A storage engine.
pub trait Kv: Send {
    /// Applies changes; later reads see them, a crash before [`Kv::sync`] may lose any of them.
    ///
    /// # Errors
    /// When the engine fails.
    fn apply(&mut self, tree: Tree, changes: Vec<Change>) -> Result<(), StoreError>;

    /// Makes everything applied so far survive a power cut.
    ///
    /// # Errors
    /// When the engine or the disk fails.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// The value of a key.
    ///
    /// # Errors
    /// When the engine fails.
    fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// The greatest key.
    ///
    /// # Errors
    /// When the engine fails.
    fn last_key(&self, tree: Tree) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits keys and values in ascending order, from the first key that is not less than `from`.
    ///
    /// # Errors
    /// When the engine fails, or as the visitor says.
    fn scan(&self, tree: Tree, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// Notes, outside the maps and without a sync, that everything up to `revision` is durable.
    ///
    /// # Errors
    /// When the disk fails.
    fn acknowledge(&mut self, revision: u64) -> Result<(), StoreError>;

    /// The greatest revision known to have been durable: a lower bound of what must be found at the next start.
    fn acknowledged(&self) -> u64;

    /// Bytes taken on disk.
    fn bytes_on_disk(&self) -> u64;
}
