//! A log that never grows past its bound: when it is full it becomes the older of two files, with its number from 1.
//!
//! What a full disk does not take is lost; the program is never held up for its log. A byte's place in the whole output
//! is known from its place in a file and the number of full files before.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::PathBuf,
};

use crate::agent::files;

/// The log of one output of a program.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    bytes_max: u64,
    /// Files that have become full.
    n_full: u64,
}

impl LogFile {
    /// A log at this path; nothing is there until something is written.
    pub(super) fn new(path: PathBuf, bytes_max: u64) -> Self {
        Self {
            path,
            file: None,
            bytes: 0,
            bytes_max,
            n_full: 0,
        }
    }

    /// Adds to the log.
    pub(super) fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(self.bytes_max - self.bytes).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            bytes = later;
            // A disk without room takes nothing of this and perhaps something of the next.
            let _full = self.append(now);
            self.bytes += now.len() as u64;
            if self.bytes == self.bytes_max {
                self.rotate();
            }
        }
    }

    fn rotate(&mut self) {
        let full = |number: u64| self.path.with_added_extension(number.to_string());
        let _never_made = fs::rename(&self.path, full(self.n_full + 1));
        let _never_made = fs::remove_file(full(self.n_full));
        self.n_full += 1;
        self.file = None;
        self.bytes = 0;
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = files::private()
                    .create(true)
                    .truncate(true)
                    .open(&self.path)?;
                self.file.insert(file)
            }
        };
        file.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_kept_within_twice_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout.log");
        let mut log = LogFile::new(path.clone(), 10);
        for chunk in ["abc", "defghij", "klmnopqrstuvw", "xyz"] {
            log.write(chunk.as_bytes());
        }
        let older = fs::read_to_string(dir.path().join("stdout.log.2")).unwrap();
        assert_eq!(
            older + &fs::read_to_string(&path).unwrap(),
            "klmnopqrstuvwxyz"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
