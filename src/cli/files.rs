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
    let mut fresh = Fresh::create(path)?;
    fresh.write_all(bytes).map_err(failed("write", path))?;
    fresh.finish()
}

/// A file on the way: it takes its name, and the place of one that had it, with [`Fresh::finish`]; dropped before, it
/// leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Fresh {
    file: io::BufWriter<tempfile::NamedTempFile>,
    path: PathBuf,
}

impl Fresh {
    /// Begins a file.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let file = tempfile::Builder::new()
            .permissions(permissions())
            .tempfile_in(dir_of(path))
            .map_err(failed("create", path))?;
        Ok(Self {
            file: io::BufWriter::new(file),
            path: path.to_owned(),
        })
    }

    /// Gives it its name once all of it is on disk.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let Self { file, path } = self;
        let file = file
            .into_inner()
            .map_err(|error| failed("write", &path)(error.into_error()))?;
        file.as_file().sync_all().map_err(failed("sync", &path))?;
        file.persist(&path)
            .map_err(|error| failed("rename", &path)(error.error))?;
        Ok(())
    }
}

impl io::Write for Fresh {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
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
