//! Small files that are whole or absent, whatever happens to the machine.
//!
//! Everything is readable by the agent's user only.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

/// What a file of the agent came to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is there and makes no sense.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Another agent works in the directory.
    #[error("another agent uses {}", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory belongs to another site.
    #[error("{} belongs to the site {site}; give each site a directory of its own", dir.display())]
    OtherSite {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        site: String,
    },
}

/// Makes an error of what the system said.
pub fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_path_buf();
    move |source| FileError::Io {
        action,
        path,
        source,
    }
}

/// Makes a directory and its parents, if they are not there.
///
/// # Errors
/// When the system refuses.
pub fn make_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("create", path))
}

/// Opens a file for writing, for the agent's user only.
#[must_use]
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// What a directory takes with all that is in it, bytes, counted until it is more than some limit: what each file has on
/// disk, and at least `file_min`. Links count as themselves; what cannot be looked at does not count.
#[must_use]
pub fn bytes_of(dir: &Path, file_min: u64, limit: u64) -> u64 {
    let mut sum = 0_u64;
    let mut left = vec![dir.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(about) = entry.metadata() else {
                continue;
            };
            // The kernel counts blocks of 512 bytes, whatever those of the disk are.
            let on_disk = about.blocks().saturating_mul(512);
            sum = sum.saturating_add(on_disk.max(file_min));
            if limit < sum {
                return sum;
            }
            if about.is_dir() {
                left.push(entry.path());
            }
        }
    }
    sum
}

/// Makes the names in a directory durable.
///
/// # Errors
/// When the system refuses.
pub fn sync_dir(dir: &Path) -> Result<(), FileError> {
    let sync = || File::open(dir)?.sync_all();
    sync().map_err(io_error("sync", dir))
}

/// How sure a write must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It survives a power cut.
    Durable,
    /// It is whole or absent for every process; a power cut may lose it.
    Visible,
}

/// Writes a file under a second name and renames it.
///
/// # Errors
/// When the system refuses.
pub fn replace(path: &Path, bytes: &[u8], durability: Durability) -> Result<(), FileError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let write = || {
        let mut file = private().create(true).truncate(true).open(&beside)?;
        file.write_all(bytes)?;
        if durability == Durability::Durable {
            file.sync_all()?;
        }
        fs::rename(&beside, path)
    };
    write().map_err(io_error("write", path))?;
    match (durability, path.parent()) {
        (Durability::Durable, Some(dir)) => sync_dir(dir),
        _ => Ok(()),
    }
}

/// Writes a value as JSON.
///
/// # Errors
/// When the system refuses.
pub fn write_json<T: Serialize>(
    path: &Path,
    value: &T,
    durability: Durability,
) -> Result<(), FileError> {
    let bytes = serde_json::to_vec(value)
        .map_err(io::Error::from)
        .map_err(io_error("write", path))?;
    replace(path, &bytes, durability)
}

/// Reads what [`write_json`] wrote; `None` when there is no such file.
///
/// # Errors
/// When the system refuses or the file makes no sense.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path)(error)),
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(FileError::Damaged {
            path: path.to_path_buf(),
            what: error.to_string(),
        }),
    }
}
