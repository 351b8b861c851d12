//! The store on sled, and the only user of sled, with the precautions that sled 0.34.7 needs to survive a power cut.
//!
//! Invariant: sled's own flusher, blobs and recovery files are never relied on: every sync is `flush` plus `fdatasync` of
//! the `db` file, no value reaches the unsynced `blobs/`, and a torn recovery file is removed before sled sees it.

use std::{
    fmt,
    fs::{self, File},
    io::ErrorKind,
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use uuid::Uuid;

use crate::store::{
    Store as _, StoreError, VALUE_BYTES_MAX,
    acknowledged::AcknowledgedFile,
    directory::{self, DataDir},
    engine::KvStore,
    kv::{Change, Kv, Tree, Visit},
    meta,
};

/// Bytes of log that sled keeps in memory, counted as on disk; real use is a multiple.
const CACHE_BYTES: u64 = 128 * 1024 * 1024;
/// A quarter of it is the most that a leaf may take before sled moves it to `blobs/`; see [`VALUE_BYTES_MAX`].
const SEGMENT_BYTES: usize = 1024 * 1024;
/// sled never gives log space back, so a store that is mostly dead is rewritten when it is opened.
const REWRITE: Rewrite = Rewrite {
    bytes_min: 64 * 1024 * 1024,
    live_multiple: 4,
};
/// We hold our own lock by then: only threads of a store just closed in this process can still hold sled's.
const LOCK_TRIES: u32 = 100;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// A [`Store`](crate::store::Store) in a data directory.
pub type SledStore = KvStore<SledKv>;

#[derive(Debug, Clone, Copy)]
struct Rewrite {
    bytes_min: u64,
    live_multiple: u64,
}

impl SledStore {
    /// Opens the store in `dir`, or makes one there when `dir` is absent or empty.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::NotAStore`], [`StoreError::NewerSchema`], [`StoreError::SlotSeconds`],
    /// [`StoreError::Corrupt`], and whatever the disk does.
    pub fn open_or_create(
        dir: &Path,
        slot_seconds: u32,
        store_id_if_new: Uuid,
    ) -> Result<Self, StoreError> {
        let mut data_dir = DataDir::lock(dir, true)?;
        if data_dir.current().is_none() {
            return create_in(data_dir, slot_seconds, store_id_if_new, |_| Ok(()));
        }
        open_in(&mut data_dir, Some(slot_seconds), REWRITE).map(|store| store.with_dir(data_dir))
    }

    /// Opens the store in `dir`, whatever its slot length.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is none; else as [`SledStore::open_or_create`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let mut data_dir = DataDir::lock(dir, false)?;
        open_in(&mut data_dir, None, REWRITE).map(|store| store.with_dir(data_dir))
    }

    /// Makes a store in an absent or empty `dir` and fills it; nothing is there unless all of it succeeds.
    pub(super) fn create_filled(
        dir: &Path,
        slot_seconds: u32,
        store_id: Uuid,
        fill: impl FnOnce(&mut Self) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let data_dir = DataDir::lock(dir, true)?;
        create_in(data_dir, slot_seconds, store_id, fill)
    }

    fn with_dir(mut self, data_dir: DataDir) -> Self {
        self.kv_mut().data_dir = Some(data_dir);
        self
    }
}

fn create_in(
    mut data_dir: DataDir,
    slot_seconds: u32,
    store_id: Uuid,
    fill: impl FnOnce(&mut SledStore) -> Result<(), StoreError>,
) -> Result<SledStore, StoreError> {
    if data_dir.current().is_some() {
        return Err(StoreError::AlreadyExists {
            dir: data_dir.root().to_path_buf(),
        });
    }
    let prepared = data_dir.prepare_next()?;
    let mut store = SledStore::initialise(SledKv::open(&prepared)?, slot_seconds, store_id)?;
    fill(&mut store)?;
    // sled keeps the path it was opened with: it is closed before the rename and opened again after it.
    drop(store);
    data_dir.publish_next()?;
    open_in(&mut data_dir, Some(slot_seconds), REWRITE).map(|store| store.with_dir(data_dir))
}

fn open_in(
    data_dir: &mut DataDir,
    slot_seconds: Option<u32>,
    rewrite: Rewrite,
) -> Result<SledStore, StoreError> {
    let Some(current) = data_dir.current() else {
        return Err(StoreError::Missing {
            dir: data_dir.root().to_path_buf(),
        });
    };
    let store = open_generation(&current, slot_seconds)?;
    let bytes = store.kv().bytes_on_disk();
    if bytes <= rewrite.bytes_min
        || bytes <= store.live_bytes()?.saturating_mul(rewrite.live_multiple)
    {
        return Ok(store);
    }
    let prepared = data_dir.prepare_next()?;
    if let Err(error) = write_generation(&store, &prepared) {
        return match error {
            // A full disk must not keep a good store from starting; the next open removes what was written.
            StoreError::Io { .. } | StoreError::Engine { .. } => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "store not rewritten"
                );
                Ok(store)
            }
            other => Err(other),
        };
    }
    drop(store);
    let current = data_dir.publish_next()?;
    let store = open_generation(&current, slot_seconds)?;
    tracing::info!(
        bytes_before = bytes,
        bytes_after = store.info().bytes_on_disk,
        "store rewritten"
    );
    Ok(store)
}

fn open_generation(path: &Path, slot_seconds: Option<u32>) -> Result<SledStore, StoreError> {
    let kv = SledKv::open(path)?;
    let Some(identity) = meta::read_identity(&kv)? else {
        return Err(StoreError::corrupt(
            path.display().to_string(),
            "the entries that say what the store is are missing",
        ));
    };
    SledStore::recover(kv, identity, slot_seconds)
}

fn write_generation(store: &SledStore, path: &Path) -> Result<(), StoreError> {
    let mut target = SledKv::open(path)?;
    store.copy_live(&mut target)
}

/// The engine of a [`SledStore`].
pub struct SledKv {
    // Fields are dropped in this order: sled is closed before the lock is given back.
    journal: sled::Tree,
    snapshot: sled::Tree,
    meta: sled::Tree,
    db: sled::Db,
    /// sled's `flush` does not sync on Linux; this handle does.
    db_file: File,
    path: PathBuf,
    acknowledged: AcknowledgedFile,
    data_dir: Option<DataDir>,
}

impl SledKv {
    fn open(path: &Path) -> Result<Self, StoreError> {
        remove_torn_recovery_files(path)?;
        refuse_blobs(path)?;
        let db = open_sled(path)?;
        let tree = |tree: Tree| guard("open a tree", path, || db.open_tree(tree.name()));
        let (journal, snapshot, meta) = (
            tree(Tree::Journal)?,
            tree(Tree::Snapshot)?,
            tree(Tree::Meta)?,
        );
        let acknowledged = AcknowledgedFile::open(path)?;
        // sled writes `conf` and the names of all its files without a sync.
        for file in ["conf", "db"] {
            let file = path.join(file);
            File::open(&file)
                .and_then(|file| file.sync_all())
                .map_err(StoreError::io("sync", &file))?;
        }
        for dir in [path.join("blobs"), path.to_path_buf()] {
            directory::sync_dir(&dir)?;
        }
        if let Some(parent) = path.parent() {
            directory::sync_dir(parent)?;
        }
        let db_path = path.join("db");
        let db_file = File::options()
            .write(true)
            .open(&db_path)
            .map_err(StoreError::io("open", &db_path))?;
        Ok(Self {
            journal,
            snapshot,
            meta,
            db,
            db_file,
            path: path.to_path_buf(),
            acknowledged,
            data_dir: None,
        })
    }

    fn tree(&self, tree: Tree) -> &sled::Tree {
        match tree {
            Tree::Journal => &self.journal,
            Tree::Snapshot => &self.snapshot,
            Tree::Meta => &self.meta,
        }
    }
}

impl Kv for SledKv {
    fn apply(&mut self, tree: Tree, changes: Vec<Change>) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => {
                    assert!(
                        value.len() <= VALUE_BYTES_MAX,
                        "sled would not sync a larger value"
                    );
                    batch.insert(key, value);
                }
                None => batch.remove(key),
            }
        }
        guard("apply a batch", &self.path, || {
            self.tree(tree).apply_batch(batch)
        })
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        guard("flush", &self.path, || self.db.flush())?;
        self.db_file
            .sync_data()
            .map_err(StoreError::io("sync", self.path.join("db")))
    }

    fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = guard("read a value", &self.path, || self.tree(tree).get(key))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn last_key(&self, tree: Tree) -> Result<Option<Vec<u8>>, StoreError> {
        let last = guard("read the last key", &self.path, || self.tree(tree).last())?;
        Ok(last.map(|(key, _)| key.to_vec()))
    }

    fn scan(&self, tree: Tree, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let mut entries = self.tree(tree).range(from..);
        while let Some((key, value)) =
            guard("read an entry", &self.path, || entries.next().transpose())?
        {
            if visit(&key, &value)? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, revision: u64) -> Result<(), StoreError> {
        self.acknowledged.write(revision)
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.revision()
    }

    fn bytes_on_disk(&self) -> u64 {
        // The figure is for people and for the rewrite: a file that cannot be examined counts as nothing.
        self.db_file.metadata().map_or(0, |metadata| metadata.len())
    }
}

impl fmt::Debug for SledKv {
    /// sled's own would print every key and value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledKv")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A crash while sled opens leaves `snap.*.generating`, which the next open would take for the newest recovery file.
fn remove_torn_recovery_files(path: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(path).map_err(StoreError::io("list", path))? {
        let entry = entry.map_err(StoreError::io("list", path))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path()).map_err(StoreError::io("remove", entry.path()))?;
        }
    }
    Ok(())
}

/// Values are too small to get there, so a file in `blobs/` means that something else wrote to this store.
fn refuse_blobs(path: &Path) -> Result<(), StoreError> {
    let blobs = path.join("blobs");
    let first = match fs::read_dir(&blobs) {
        Ok(mut entries) => entries.next(),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(StoreError::io("list", &blobs)(error)),
    };
    match first {
        None => Ok(()),
        Some(_) => Err(StoreError::corrupt(
            blobs.display().to_string(),
            "it must be empty, sled does not sync what is in it",
        )),
    }
}

fn open_sled(path: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(None);
    let mut tries = 1;
    loop {
        match guard("open the database", path, || config.open()) {
            Err(error) if is_lock_failure(&error) => {
                if tries == LOCK_TRIES {
                    return Err(StoreError::Locked {
                        dir: path.to_path_buf(),
                    });
                }
                tries += 1;
                thread::sleep(LOCK_WAIT);
            }
            opened => return opened,
        }
    }
}

/// sled wraps the failed lock in an error of kind `Other` with a text.
fn is_lock_failure(error: &StoreError) -> bool {
    match error {
        StoreError::Io { source, .. } => {
            source.kind() == ErrorKind::WouldBlock
                || source.to_string().contains("could not acquire lock")
        }
        _ => false,
    }
}

/// Calls sled; its errors and its panics, which damaged files cause, become ours.
fn guard<T>(
    action: &'static str,
    path: &Path,
    call: impl FnOnce() -> sled::Result<T>,
) -> Result<T, StoreError> {
    match panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Corruption { at, .. })) => Err(StoreError::corrupt(
            path.join("db").display().to_string(),
            format!("sled found it damaged at {at:?} ({action})"),
        )),
        Ok(Err(sled::Error::Io(source))) => Err(StoreError::Io {
            action,
            path: path.join("db"),
            source,
        }),
        Ok(Err(source)) => Err(StoreError::Engine {
            action,
            source: Box::new(source),
        }),
        Err(_) => Err(StoreError::corrupt(
            path.join("db").display().to_string(),
            format!("sled panicked ({action})"),
        )),
    }
}

/// Opens a store and rewrites it when it takes more than `bytes_min`, mostly dead.
#[cfg(test)]
pub(super) fn open_and_rewrite_above(dir: &Path, bytes_min: u64) -> Result<SledStore, StoreError> {
    let rewrite = Rewrite {
        bytes_min,
        ..REWRITE
    };
    let mut data_dir = DataDir::lock(dir, false)?;
    open_in(&mut data_dir, None, rewrite).map(|store| store.with_dir(data_dir))
}
