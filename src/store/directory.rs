//! Lays out a data directory: a lock file and one generation of the engine's files, `gen-000001`, `gen-000002`, ..
//!
//! Invariant: a generation is written and synced under a name ending in `.tmp` and renamed when complete, so the highest
//! number without that ending is the store; everything else with our names is left over from a crash and may be removed.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use crate::store::StoreError;

const LOCK: &str = "lock";
/// Made by ext4 at the root of a file system; a data directory may be a mount point.
const LOST_AND_FOUND: &str = "lost+found";

/// A data directory that this process alone has open.
#[derive(Debug)]
pub(super) struct DataDir {
    root: PathBuf,
    generation: Option<u64>,
    /// The lock is held as long as this file is open.
    _lock: File,
}

impl DataDir {
    /// Locks the directory; creates it when asked to. A directory with foreign files is left as it is.
    pub(super) fn lock(root: &Path, create: bool) -> Result<Self, StoreError> {
        if inspect(root)?.is_none() && !create {
            return Err(StoreError::Missing {
                dir: root.to_path_buf(),
            });
        }
        if create {
            create_durably(root)?;
        }
        let path = root.join(LOCK);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    dir: root.to_path_buf(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path)(error)),
        }
        // Another process may have changed it before we had the lock.
        let generation = inspect(root)?;
        let dir = Self {
            root: root.to_path_buf(),
            generation,
            _lock: lock,
        };
        dir.remove_leftovers()?;
        Ok(dir)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the store is, if there is one.
    pub(super) fn current(&self) -> Option<PathBuf> {
        let generation = self.generation?;
        Some(self.root.join(name(generation)))
    }

    /// An empty directory in which the next generation is written.
    pub(super) fn prepare_next(&self) -> Result<PathBuf, StoreError> {
        let path = self.root.join(format!("{}.tmp", name(self.next())));
        remove_dir(&path)?;
        fs::create_dir(&path).map_err(StoreError::io("create", &path))?;
        Ok(path)
    }

    /// Makes the prepared generation, whose files are synced, the store, and removes the old one.
    pub(super) fn publish_next(&mut self) -> Result<PathBuf, StoreError> {
        let next = self.next();
        let path = self.root.join(name(next));
        let prepared = self.root.join(format!("{}.tmp", name(next)));
        fs::rename(&prepared, &path).map_err(StoreError::io("rename", &prepared))?;
        self.generation = Some(next);
        self.remove_leftovers()?;
        Ok(path)
    }

    fn next(&self) -> u64 {
        self.generation.map_or(1, |generation| generation + 1)
    }

    /// Removes all generations but the current one, after making sure that the current one's name is durable.
    fn remove_leftovers(&self) -> Result<(), StoreError> {
        sync_dir(&self.root)?;
        for entry in entries(&self.root)? {
            match parse(&entry) {
                Some(Name::Generation(number)) if Some(number) == self.generation => {}
                Some(Name::Generation(_) | Name::Unfinished) => {
                    remove_dir(&self.root.join(&entry))?;
                }
                Some(Name::Other) | None => {}
            }
        }
        Ok(())
    }
}

/// Syncs a directory's list of names.
pub(super) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(StoreError::io("sync", path))
}

/// The highest complete generation; refuses a directory with foreign files.
fn inspect(root: &Path) -> Result<Option<u64>, StoreError> {
    let mut highest = None;
    let mut foreign = None;
    for entry in entries(root)? {
        match parse(&entry) {
            Some(Name::Generation(number)) => highest = highest.max(Some(number)),
            Some(Name::Unfinished | Name::Other) => {}
            None => foreign = Some(entry),
        }
    }
    match (highest, foreign) {
        (None, Some(found)) => Err(StoreError::NotAStore {
            dir: root.to_path_buf(),
            found,
        }),
        // Files beside a store are none of our business.
        (highest, _) => Ok(highest),
    }
}

enum Name {
    Generation(u64),
    Unfinished,
    Other,
}

/// What one of our names means; `None` for a foreign one.
fn parse(entry: &str) -> Option<Name> {
    if entry == LOCK || entry == LOST_AND_FOUND {
        return Some(Name::Other);
    }
    let (number, unfinished) = match entry.strip_suffix(".tmp") {
        Some(rest) => (rest, true),
        None => (entry, false),
    };
    let number: u64 = number.strip_prefix("gen-")?.parse().ok()?;
    if entry.trim_end_matches(".tmp") != name(number) {
        return None;
    }
    Some(if unfinished {
        Name::Unfinished
    } else {
        Name::Generation(number)
    })
}

fn name(generation: u64) -> String {
    format!("gen-{generation:06}")
}

/// The names in a directory; none when it does not exist.
fn entries(root: &Path) -> Result<Vec<String>, StoreError> {
    let listed = match fs::read_dir(root) {
        Ok(listed) => listed,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", root)(error)),
    };
    listed
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(StoreError::io("list", root))
}

fn remove_dir(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("remove", path)(error)),
    }
}

/// Creates a directory with its parents, so that a power cut cannot take the names away again.
fn create_durably(root: &Path) -> Result<(), StoreError> {
    let missing: Vec<&Path> = root
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .collect();
    fs::create_dir_all(root).map_err(StoreError::io("create", root))?;
    for created in missing {
        match created.parent() {
            Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new("."))?,
            Some(parent) => sync_dir(parent)?,
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_around_the_rename_leaves_one_store() {
        let dir = tempfile::tempdir().unwrap();
        for leftover in ["gen-000001", "gen-000002", "gen-000003.tmp"] {
            fs::create_dir(dir.path().join(leftover)).unwrap();
        }
        let locked = DataDir::lock(dir.path(), false).unwrap();
        assert_eq!(locked.current(), Some(dir.path().join("gen-000002")));
        let mut left = entries(dir.path()).unwrap();
        left.sort();
        assert_eq!(left, ["gen-000002", "lock"]);
    }

    #[test]
    fn a_directory_with_other_files_is_refused_and_left_alone() {
        let names = [
            "notes.txt",
            "gen-1",
            "gen-000001.tmp.tmp",
            "gen-0000001",
            "db",
        ];
        for name in names {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(name), b"mine").unwrap();
            let refused = DataDir::lock(dir.path(), true).unwrap_err();
            assert!(
                matches!(&refused, StoreError::NotAStore { found, .. } if found == name),
                "{name}: {refused}"
            );
            assert_eq!(entries(dir.path()).unwrap(), [name]);
        }
    }

    #[test]
    fn an_unfinished_creation_is_no_store() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("gen-000001.tmp")).unwrap();
        fs::create_dir(dir.path().join(LOST_AND_FOUND)).unwrap();
        let missing = DataDir::lock(dir.path(), false).unwrap_err();
        assert!(matches!(missing, StoreError::Missing { .. }));
        assert_eq!(DataDir::lock(dir.path(), true).unwrap().current(), None);
    }

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::lock(dir.path(), true).unwrap();
        let second = DataDir::lock(dir.path(), true).unwrap_err();
        assert!(matches!(second, StoreError::Locked { .. }));
        drop(first);
        DataDir::lock(dir.path(), true).unwrap();
    }
}
