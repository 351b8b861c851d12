//! Reads and writes whole files.
//!
//! A file appears under its name when all of it is on disk, or not at all.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use crate::cli::failure::Failure;

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(failed("read", path))
}

/// Writes a file: to a temporary one beside it, renamed when it is on disk.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .permissions(permissions())
        .tempfile_in(dir)
        .map_err(failed("create", path))?;
    file.write_all(bytes).map_err(failed("write", path))?;
    file.as_file().sync_all().map_err(failed("sync", path))?;
    file.persist(path)
        .map_err(|error| failed("rename", path)(error.error))?;
    Ok(())
}

/// Readable by all, as any file that a command makes; the umask still counts.
fn permissions() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    fs::Permissions::from_mode(0o666)
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Failure + use<> {
    let path = PathBuf::from(path);
    move |source| Failure::File {
        action,
        path: path.clone(),
        source,
    }
}
