//! The backup file: one snapshot in a self-checking container, written piece by piece and restored into a new store.
//!
//! Invariant: a reader that reaches the end has seen exactly the bytes that were written; a restore leaves a store only
//! when that is so.
//!
//! Layout, numbers big-endian: magic (8 bytes), container version (u32), schema version (u32), slot length in seconds
//! (u32), store id (16 bytes), revision (u64), CRC-32 of all that (u32); then for each chunk its length (u32), CRC-32 of
//! length and bytes (u32), its bytes; then `u32::MAX`, the number of chunks (u64), SHA-256 of all bytes before (32 bytes).

use std::{
    fmt,
    io::{self, Read},
    path::Path,
};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::store::{
    COMMIT_BYTES_MAX, SCHEMA_VERSION, SledStore, Store as _, StoreError,
    frame::{crc_of, take_u32, take_u64},
};

/// Most bytes in one piece of a [`BackupWriter`]: well below the gRPC message limit.
pub const PIECE_BYTES_MAX: usize = 64 * 1024;

const MAGIC: [u8; 8] = *b"LANCBKUP";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 48;
const END_OF_CHUNKS: u32 = u32::MAX;
/// Chunks written to the new store in one batch while restoring, in bytes.
const RESTORE_SLICE_BYTES: usize = 1024 * 1024;

/// What a backup is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupHeader {
    /// Version of the store's format; what the chunks mean goes with it.
    pub schema_version: u32,
    /// Length of a slot in seconds.
    pub slot_seconds: u32,
    /// Identity of the store.
    pub store_id: Uuid,
    /// Revision of the state in the chunks.
    pub revision: u64,
}

/// Turns a header and chunks into the bytes of a backup file, in pieces of at most [`PIECE_BYTES_MAX`].
pub struct BackupWriter<I> {
    chunks: Option<I>,
    count: u64,
    sha: Sha256,
    pending: Vec<u8>,
    taken: usize,
}

impl<I: Iterator<Item = Vec<u8>>> BackupWriter<I> {
    /// Begins a backup.
    pub fn new(header: &BackupHeader, chunks: impl IntoIterator<IntoIter = I>) -> Self {
        let mut writer = Self {
            chunks: Some(chunks.into_iter()),
            count: 0,
            sha: Sha256::new(),
            pending: Vec::new(),
            taken: 0,
        };
        writer.append(&encode_header(header));
        writer
    }

    fn append(&mut self, bytes: &[u8]) {
        self.sha.update(bytes);
        self.pending.extend_from_slice(bytes);
    }

    fn append_chunk(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        let too_large = || StoreError::TooLarge {
            bytes: chunk.len(),
            limit: COMMIT_BYTES_MAX,
        };
        if chunk.len() > COMMIT_BYTES_MAX {
            return Err(too_large());
        }
        let length = u32::try_from(chunk.len()).map_err(|_| too_large())?;
        let length = length.to_be_bytes();
        self.append(&length);
        self.append(&crc_of(&length, chunk).to_be_bytes());
        self.append(chunk);
        self.count += 1;
        Ok(())
    }

    fn append_trailer(&mut self) {
        self.append(&END_OF_CHUNKS.to_be_bytes());
        self.append(&self.count.to_be_bytes());
        let digest = self.sha.finalize_reset();
        self.pending.extend_from_slice(&digest);
    }
}

impl<I: Iterator<Item = Vec<u8>>> Iterator for BackupWriter<I> {
    type Item = Result<Vec<u8>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.pending.len() - self.taken < PIECE_BYTES_MAX
            && let Some(chunks) = &mut self.chunks
        {
            self.pending.drain(..self.taken);
            self.taken = 0;
            match chunks.next() {
                Some(chunk) => {
                    if let Err(error) = self.append_chunk(&chunk) {
                        self.chunks = None;
                        self.pending.clear();
                        return Some(Err(error));
                    }
                }
                None => {
                    self.chunks = None;
                    self.append_trailer();
                }
            }
        }
        let rest = self.pending.get(self.taken..).unwrap_or_default();
        let piece = rest.get(..PIECE_BYTES_MAX).unwrap_or(rest).to_vec();
        self.taken += piece.len();
        (!piece.is_empty()).then_some(Ok(piece))
    }
}

/// Reads a backup file and checks every byte of it.
pub struct BackupReader<R> {
    input: R,
    header: BackupHeader,
    offset: u64,
    count: u64,
    sha: Sha256,
    ended: bool,
}

impl<R: Read> BackupReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`StoreError::Backup`] when it is cut off, damaged or not a backup, [`StoreError::UnknownVersion`] and
    /// [`StoreError::NewerSchema`] when a newer program wrote it, [`StoreError::Io`].
    pub fn new(mut input: R) -> Result<Self, StoreError> {
        let mut bytes = [0; HEADER_BYTES];
        let read = read_up_to(&mut input, &mut bytes)?;
        if bytes[..MAGIC.len()] != MAGIC {
            return Err(fault(0, "it is not a backup of this program"));
        }
        if read < HEADER_BYTES {
            return Err(fault(length(read), "the file is cut off in the header"));
        }
        let header = decode_header(&bytes)?;
        let mut sha = Sha256::new();
        sha.update(bytes);
        Ok(Self {
            input,
            header,
            offset: length(HEADER_BYTES),
            count: 0,
            sha,
            ended: false,
        })
    }

    /// What the backup is of.
    pub fn header(&self) -> &BackupHeader {
        &self.header
    }

    /// The next chunk; `None` after the last one, when the trailer has proved that all came through.
    ///
    /// # Errors
    /// [`StoreError::Backup`] saying at which byte, [`StoreError::Io`].
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let start = self.offset;
        let mark: [u8; 4] = self.array("a chunk")?;
        if u32::from_be_bytes(mark) == END_OF_CHUNKS {
            self.check_trailer()?;
            self.ended = true;
            return Ok(None);
        }
        let bytes = usize::try_from(u32::from_be_bytes(mark)).unwrap_or(usize::MAX);
        if bytes > COMMIT_BYTES_MAX {
            return Err(fault(start, "the length of a chunk is damaged"));
        }
        let crc = u32::from_be_bytes(self.array("a chunk")?);
        // A damaged length must not make us reserve much: the vector grows with what is really there.
        let mut chunk = Vec::new();
        self.input
            .by_ref()
            .take(length(bytes))
            .read_to_end(&mut chunk)
            .map_err(read_failed)?;
        self.offset += length(chunk.len());
        if chunk.len() < bytes {
            return Err(fault(self.offset, "the file is cut off in a chunk"));
        }
        if crc != crc_of(&mark, &chunk) {
            return Err(fault(
                start,
                &format!("the checksum of chunk {} does not match", self.count),
            ));
        }
        self.sha.update(&chunk);
        self.count += 1;
        Ok(Some(chunk))
    }

    fn check_trailer(&mut self) -> Result<(), StoreError> {
        let start = self.offset;
        let count = u64::from_be_bytes(self.array("the trailer")?);
        if count != self.count {
            let found = self.count;
            return Err(fault(
                start,
                &format!("{found} of {count} chunks are there"),
            ));
        }
        let expected = self.sha.clone().finalize();
        let digest: [u8; 32] = self.array("the trailer")?;
        if digest[..] != expected[..] {
            return Err(fault(start, "the checksum of the file does not match"));
        }
        let mut beyond = [0; 1];
        if read_up_to(&mut self.input, &mut beyond)? != 0 {
            return Err(fault(self.offset, "bytes follow the end"));
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self, part: &str) -> Result<[u8; N], StoreError> {
        let mut bytes = [0; N];
        let read = read_up_to(&mut self.input, &mut bytes)?;
        self.offset += length(read);
        if read < N {
            return Err(fault(
                self.offset,
                &format!("the file is cut off in {part}"),
            ));
        }
        self.sha.update(bytes);
        Ok(bytes)
    }
}

impl<I> fmt::Debug for BackupWriter<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupWriter")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for BackupReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupReader")
            .field("header", &self.header)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// Makes a new store of a backup in an absent or empty directory.
///
/// # Errors
/// [`StoreError::AlreadyExists`] or [`StoreError::NotAStore`] when the directory is not empty; as [`BackupReader`] when
/// the backup is not whole. After an error or a crash there is no store in the directory.
pub fn restore(input: impl Read, dir: &Path) -> Result<BackupHeader, StoreError> {
    let mut backup = BackupReader::new(input)?;
    let header = *backup.header();
    let store = SledStore::create_filled(dir, header.slot_seconds, header.store_id, |store| {
        store.begin_import(header.revision)?;
        let mut slice = Vec::new();
        let mut slice_bytes = 0;
        while let Some(chunk) = backup.next_chunk()? {
            slice_bytes += chunk.len();
            slice.push(chunk);
            if slice_bytes >= RESTORE_SLICE_BYTES {
                store.put_snapshot_chunks(&slice)?;
                slice.clear();
                slice_bytes = 0;
            }
        }
        store.put_snapshot_chunks(&slice)?;
        store.finish_import()
    })?;
    drop(store);
    Ok(header)
}

fn encode_header(header: &BackupHeader) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&header.schema_version.to_be_bytes());
    bytes.extend_from_slice(&header.slot_seconds.to_be_bytes());
    bytes.extend_from_slice(header.store_id.as_bytes());
    bytes.extend_from_slice(&header.revision.to_be_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

fn decode_header(bytes: &[u8; HEADER_BYTES]) -> Result<BackupHeader, StoreError> {
    let mut rest = &bytes[MAGIC.len()..];
    let version = take_u32(&mut rest);
    let schema_version = take_u32(&mut rest);
    let slot_seconds = take_u32(&mut rest);
    let store_id = rest
        .split_off(..16)
        .and_then(|id| Uuid::from_slice(id).ok());
    let revision = take_u64(&mut rest);
    let crc = take_u32(&mut rest);
    let (
        Some(version),
        Some(schema_version),
        Some(slot_seconds),
        Some(store_id),
        Some(revision),
        Some(crc),
    ) = (
        version,
        schema_version,
        slot_seconds,
        store_id,
        revision,
        crc,
    )
    else {
        return Err(fault(0, "the header is too short"));
    };
    if crc != crc32fast::hash(&bytes[..HEADER_BYTES - 4]) {
        return Err(fault(0, "the checksum of the header does not match"));
    }
    if version != VERSION {
        return Err(StoreError::UnknownVersion {
            at: "the backup's header".to_owned(),
            found: version,
        });
    }
    if schema_version > SCHEMA_VERSION {
        return Err(StoreError::NewerSchema {
            found: schema_version,
            supported: SCHEMA_VERSION,
        });
    }
    Ok(BackupHeader {
        schema_version,
        slot_seconds,
        store_id,
        revision,
    })
}

/// Fills the buffer as far as the input reaches; answers how far.
fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, StoreError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read_failed(error)),
        }
    }
    Ok(filled)
}

fn read_failed(error: io::Error) -> StoreError {
    StoreError::io("read", "the backup")(error)
}

fn fault(offset: u64, what: &str) -> StoreError {
    StoreError::Backup {
        offset,
        what: what.to_owned(),
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::{Contents, Record};

    fn header() -> BackupHeader {
        BackupHeader {
            schema_version: SCHEMA_VERSION,
            slot_seconds: 900,
            store_id: Uuid::from_u128(77),
            revision: 41,
        }
    }

    fn file(header: &BackupHeader, chunks: &[Vec<u8>]) -> Vec<u8> {
        let mut file = Vec::new();
        for piece in BackupWriter::new(header, chunks.to_vec()) {
            let piece = piece.unwrap();
            assert!(!piece.is_empty() && piece.len() <= PIECE_BYTES_MAX);
            file.extend(piece);
        }
        file
    }

    fn read(file: &[u8]) -> Result<(BackupHeader, Vec<Vec<u8>>), StoreError> {
        let mut reader = BackupReader::new(file)?;
        let mut chunks = Vec::new();
        while let Some(chunk) = reader.next_chunk()? {
            chunks.push(chunk);
        }
        assert_eq!(reader.next_chunk()?, None);
        Ok((*reader.header(), chunks))
    }

    fn chunks(lengths: &[usize]) -> Vec<Vec<u8>> {
        lengths.iter().map(|&length| vec![5; length]).collect()
    }

    #[test]
    fn a_backup_comes_back_as_it_was() {
        for lengths in [
            &[][..],
            &[0],
            &[1, 0, 2],
            &[PIECE_BYTES_MAX, PIECE_BYTES_MAX - 1, 3],
            &[3 * 1024 * 1024, 10],
        ] {
            let chunks = chunks(lengths);
            let file = file(&header(), &chunks);
            assert_eq!(read(&file).unwrap(), (header(), chunks));
        }
    }

    #[test]
    fn a_backup_cut_off_anywhere_is_refused_where_it_ends() {
        let file = file(&header(), &chunks(&[10, 0, 3, 200]));
        for end in 0..file.len() {
            let error = read(&file[..end]).unwrap_err();
            let StoreError::Backup { offset, .. } = error else {
                unreachable!("cut at {end}: {error}")
            };
            let expected = if end < MAGIC.len() { 0 } else { end };
            assert_eq!(offset, length(expected), "cut at {end}");
        }
    }

    #[test]
    fn a_large_backup_cut_off_around_every_chunk_is_refused() {
        let lengths = [70_000, 1, 64 * 1024, 0, 8 * 1024];
        let file = file(&header(), &chunks(&lengths));
        let mut boundary = HEADER_BYTES;
        for bytes in lengths {
            for end in [boundary - 1, boundary, boundary + 1] {
                assert!(read(&file[..end]).is_err());
            }
            boundary += 8 + bytes;
        }
        for end in boundary - 1..file.len() {
            assert!(read(&file[..end]).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let file = file(&header(), &chunks(&[10, 0, 20]));
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn bytes_after_the_end_are_refused() {
        let mut file = file(&header(), &chunks(&[10]));
        let end = length(file.len());
        file.push(0);
        assert!(matches!(
            read(&file),
            Err(StoreError::Backup { offset, .. }) if offset == end
        ));
    }

    #[test]
    fn a_backup_of_a_newer_program_is_refused_as_such() {
        let newer = BackupHeader {
            schema_version: SCHEMA_VERSION + 1,
            ..header()
        };
        let found = SCHEMA_VERSION + 1;
        assert!(matches!(
            read(&file(&newer, &[])),
            Err(StoreError::NewerSchema { found: f, supported: SCHEMA_VERSION }) if f == found
        ));
    }

    #[test]
    fn a_restored_store_goes_on_after_the_backup() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("new");
        let chunks = chunks(&[3_000_000, 0, 17]);
        let restored = restore(file(&header(), &chunks).as_slice(), &target).unwrap();
        assert_eq!(restored, header());
        let mut store = SledStore::open(&target).unwrap();
        assert_eq!(store.info().store_id, header().store_id);
        assert_eq!(store.info().slot_seconds, 900);
        let record = Record {
            revision: 42,
            payload: vec![1],
        };
        store.commit(std::slice::from_ref(&record)).unwrap();
        drop(store);
        let mut store = SledStore::open(&target).unwrap();
        let expected = Contents {
            snapshot: Some((41, chunks)),
            records: vec![record],
        };
        assert_eq!(store.load_all().unwrap(), expected);
        assert!(store.verify().unwrap().is_ok());
    }

    #[test]
    fn a_damaged_backup_leaves_no_store() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(&header(), &chunks(&[100_000]));
        restore(&file[..file.len() - 1], dir.path()).unwrap_err();
        let missing = SledStore::open(dir.path()).unwrap_err();
        assert!(matches!(missing, StoreError::Missing { .. }));
        restore(file.as_slice(), dir.path()).unwrap();
        SledStore::open(dir.path()).unwrap();
    }

    #[test]
    fn a_restore_never_writes_over_anything() {
        let backup = file(&header(), &chunks(&[10]));
        let dir = tempfile::tempdir().unwrap();
        restore(backup.as_slice(), dir.path()).unwrap();
        let again = restore(backup.as_slice(), dir.path()).unwrap_err();
        assert!(matches!(again, StoreError::AlreadyExists { .. }));
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("notes"), b"mine").unwrap();
        let refused = restore(backup.as_slice(), other.path()).unwrap_err();
        assert!(matches!(refused, StoreError::NotAStore { .. }));
    }
}
