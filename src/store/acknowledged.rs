//! A 32-byte file beside the engine's files that remembers the last acknowledged revision.
//!
//! Invariant: it is written after the sync of what it speaks of, so it is never ahead of the disk, only behind; a store
//! found shorter than it says has lost acknowledged records (sled takes damage at any place for the end of its log).
//!
//! Two slots of 16 bytes, written in turn: revision (u64), CRC-32 of it (u32), four zero bytes; big-endian. No sync: an
//! old slot is a weaker bound, never a wrong one. A missing file is made anew from what the store holds.

use std::{
    fs::{self, File},
    io::{ErrorKind, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use crate::store::{StoreError, frame::take_u32, frame::take_u64};

const SLOT_BYTES: usize = 16;

/// The open file.
#[derive(Debug)]
pub(super) struct AcknowledgedFile {
    file: File,
    path: PathBuf,
    revision: u64,
    second_slot_next: bool,
}

impl AcknowledgedFile {
    /// Opens the file in a directory; makes it, durably, when there is none.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("acknowledged");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let bytes = [slot(0), slot(0)].concat();
                fs::write(&path, &bytes).map_err(StoreError::io("write", &path))?;
                bytes
            }
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        let file = File::options()
            .write(true)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        file.sync_all().map_err(StoreError::io("sync", &path))?;
        let slots = [
            parse(bytes.get(..SLOT_BYTES)),
            parse(bytes.get(SLOT_BYTES..)),
        ];
        let Some(revision) = slots.into_iter().flatten().max() else {
            return Err(StoreError::corrupt(
                path.display().to_string(),
                "no slot of it is valid; remove the file to accept the store as it is",
            ));
        };
        Ok(Self {
            file,
            path,
            revision,
            second_slot_next: slots[0] == Some(revision),
        })
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Writes the slot that does not hold the newest revision.
    pub(super) fn write(&mut self, revision: u64) -> Result<(), StoreError> {
        let offset = if self.second_slot_next { 16 } else { 0 };
        self.file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| self.file.write_all(&slot(revision)))
            .map_err(StoreError::io("write", &self.path))?;
        self.second_slot_next = !self.second_slot_next;
        self.revision = revision;
        Ok(())
    }
}

fn slot(revision: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let bytes = revision.to_be_bytes();
    slot[..8].copy_from_slice(&bytes);
    slot[8..12].copy_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    slot
}

fn parse(slot: Option<&[u8]>) -> Option<u64> {
    let mut rest = slot?;
    let revision = take_u64(&mut rest)?;
    let crc = take_u32(&mut rest)?;
    (rest == [0; 4] && crc == crc32fast::hash(&revision.to_be_bytes())).then_some(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reread(dir: &Path) -> Option<u64> {
        AcknowledgedFile::open(dir).ok().map(|file| file.revision())
    }

    #[test]
    fn the_last_revision_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        for revision in [0, 1, 2, 300, u64::MAX] {
            AcknowledgedFile::open(dir.path())
                .unwrap()
                .write(revision)
                .unwrap();
            assert_eq!(reread(dir.path()), Some(revision));
        }
    }

    #[test]
    fn a_damaged_slot_leaves_the_other_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = AcknowledgedFile::open(dir.path()).unwrap();
        file.write(7).unwrap();
        file.write(8).unwrap();
        let path = dir.path().join("acknowledged");
        let good = fs::read(&path).unwrap();
        for byte in 0..good.len() {
            let mut bad = good.clone();
            bad[byte] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            assert!(matches!(reread(dir.path()), Some(7 | 8)));
        }
        fs::write(&path, [9; 32]).unwrap();
        assert_eq!(reread(dir.path()), None);
    }
}
