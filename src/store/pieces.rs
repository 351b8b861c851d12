//! Cuts the chunks of a snapshot into pieces that fit one value, and joins them again.
//!
//! Invariant: a snapshot is read back exactly as its meta entry describes it (pieces, chunks, bytes, checksum) or refused.
//!
//! Key: number of the snapshot (u64), index of the piece (u32). Value: version (u8), CRC-32 of key and rest (u32), a part
//! of the snapshot's bytes, which are for each chunk its length (u32) and its bytes. All numbers big-endian.

use crate::store::{
    COMMIT_BYTES_MAX, StoreError, VALUE_BYTES_MAX,
    frame::{crc_of, key, parse_key, put_prefixed, take_u32},
    kv::Change,
    meta::SnapshotMeta,
};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;
const PART_BYTES_MAX: usize = VALUE_BYTES_MAX - HEADER_BYTES;

/// Turns chunks into pieces, keeping what does not fill a piece yet.
pub(super) struct PieceWriter {
    id: u64,
    revision: u64,
    pieces: u32,
    chunks: u64,
    bytes: u64,
    hasher: crc32fast::Hasher,
    pending: Vec<u8>,
}

impl PieceWriter {
    pub(super) fn new(id: u64, revision: u64) -> Self {
        Self {
            id,
            revision,
            pieces: 0,
            chunks: 0,
            bytes: 0,
            hasher: crc32fast::Hasher::new(),
            pending: Vec::new(),
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The pieces that the chunks complete.
    pub(super) fn put(&mut self, chunks: &[Vec<u8>]) -> Result<Vec<Change>, StoreError> {
        let mut changes = Vec::new();
        for chunk in chunks {
            if chunk.len() > COMMIT_BYTES_MAX {
                return Err(StoreError::TooLarge {
                    bytes: chunk.len(),
                    limit: COMMIT_BYTES_MAX,
                });
            }
            self.chunks += 1;
            put_prefixed(&mut self.pending, chunk);
            let whole = self.pending.len() - self.pending.len() % PART_BYTES_MAX;
            let rest = self.pending.split_off(whole);
            let filled = std::mem::replace(&mut self.pending, rest);
            for part in filled.chunks(PART_BYTES_MAX) {
                changes.push(self.piece(part)?);
            }
        }
        Ok(changes)
    }

    /// The last piece, if any, and the description of the whole.
    pub(super) fn finish(mut self) -> Result<(Vec<Change>, SnapshotMeta), StoreError> {
        let mut changes = Vec::new();
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            changes.push(self.piece(&pending)?);
        }
        let meta = SnapshotMeta {
            id: self.id,
            revision: self.revision,
            pieces: self.pieces,
            chunks: self.chunks,
            bytes: self.bytes,
            crc: self.hasher.finalize(),
        };
        Ok((changes, meta))
    }

    fn piece(&mut self, part: &[u8]) -> Result<Change, StoreError> {
        let key = key(self.id, self.pieces);
        self.pieces = self.pieces.checked_add(1).ok_or(StoreError::TooLarge {
            bytes: usize::MAX,
            limit: COMMIT_BYTES_MAX,
        })?;
        self.bytes += length_u64(part);
        self.hasher.update(part);
        let mut value = Vec::with_capacity(HEADER_BYTES + part.len());
        value.push(VERSION);
        value.extend_from_slice(&crc_of(&key, part).to_be_bytes());
        value.extend_from_slice(part);
        Ok((key.to_vec(), Some(value)))
    }
}

/// Turns pieces back into chunks.
pub(super) struct PieceReader {
    meta: SnapshotMeta,
    pieces: u32,
    chunks: u64,
    bytes: u64,
    hasher: crc32fast::Hasher,
    pending: Vec<u8>,
}

impl PieceReader {
    pub(super) fn new(meta: SnapshotMeta) -> Self {
        Self {
            meta,
            pieces: 0,
            chunks: 0,
            bytes: 0,
            hasher: crc32fast::Hasher::new(),
            pending: Vec::new(),
        }
    }

    /// The chunks that the next piece completes.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
        let part = decode(key, value)?;
        let (id, index) = parse_key("snapshot", key)?;
        if id != self.meta.id || index != self.pieces {
            return Err(self.corrupt(format!("piece {} is missing", self.pieces)));
        }
        self.pieces += 1;
        self.bytes += length_u64(part);
        self.hasher.update(part);
        self.pending.extend_from_slice(part);
        let mut chunks = Vec::new();
        let mut rest = self.pending.as_slice();
        loop {
            let mut ahead = rest;
            let length = take_u32(&mut ahead).and_then(|length| usize::try_from(length).ok());
            let Some(length) = length else { break };
            if length > COMMIT_BYTES_MAX {
                return Err(self.corrupt("a chunk is too large".to_owned()));
            }
            let Some(chunk) = ahead.split_off(..length) else {
                break;
            };
            chunks.push(chunk.to_vec());
            rest = ahead;
        }
        let used = self.pending.len() - rest.len();
        self.pending.drain(..used);
        self.chunks += u64::try_from(chunks.len()).unwrap_or(u64::MAX);
        Ok(chunks)
    }

    /// Checks that all is there.
    pub(super) fn finish(self) -> Result<(), StoreError> {
        let meta = self.meta;
        if self.pieces != meta.pieces {
            return Err(self.corrupt(format!("{} of {} pieces found", self.pieces, meta.pieces)));
        }
        if self.chunks != meta.chunks || self.bytes != meta.bytes || !self.pending.is_empty() {
            return Err(self.corrupt("chunks or bytes are missing".to_owned()));
        }
        if self.hasher.clone().finalize() != meta.crc {
            return Err(self.corrupt("the checksum does not match".to_owned()));
        }
        Ok(())
    }

    fn corrupt(&self, what: String) -> StoreError {
        StoreError::corrupt(
            format!("the snapshot of revision {}", self.meta.revision),
            what,
        )
    }
}

/// The part of the snapshot's bytes in one piece whose checksum holds.
pub(super) fn decode<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let (id, index) = parse_key("snapshot", key)?;
    let at = || format!("piece {index} of snapshot {id}");
    let mut rest = value;
    let version = rest.split_off_first().copied();
    if let Some(version) = version
        && version != VERSION
    {
        return Err(StoreError::UnknownVersion {
            at: at(),
            found: u32::from(version),
        });
    }
    let Some(crc) = take_u32(&mut rest) else {
        return Err(StoreError::corrupt(at(), "the value is too short"));
    };
    if crc != crc_of(key, rest) {
        return Err(StoreError::corrupt(at(), "the checksum does not match"));
    }
    Ok(rest)
}

fn length_u64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(chunks: &[Vec<u8>], slice: usize) -> (Vec<Change>, SnapshotMeta) {
        let mut writer = PieceWriter::new(4, 99);
        let mut changes = Vec::new();
        for chunks in chunks.chunks(slice) {
            changes.extend(writer.put(chunks).unwrap());
        }
        let (last, meta) = writer.finish().unwrap();
        changes.extend(last);
        (changes, meta)
    }

    fn read(changes: &[Change], meta: SnapshotMeta) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut reader = PieceReader::new(meta);
        let mut chunks = Vec::new();
        for (key, value) in changes {
            chunks.extend(reader.push(key, value.as_ref().unwrap())?);
        }
        reader.finish()?;
        Ok(chunks)
    }

    #[track_caller]
    fn check_round_trip(lengths: &[usize]) {
        let chunks: Vec<Vec<u8>> = lengths.iter().map(|&length| vec![7; length]).collect();
        for slice in [1, 3, 1000] {
            let (changes, meta) = write(&chunks, slice);
            for (_, value) in &changes {
                assert!(value.as_ref().unwrap().len() <= VALUE_BYTES_MAX);
            }
            assert_eq!(read(&changes, meta).unwrap(), chunks);
        }
    }

    #[test]
    fn chunks_come_back_as_they_were() {
        check_round_trip(&[]);
        check_round_trip(&[0]);
        check_round_trip(&[0, 0, 1]);
        check_round_trip(&[PART_BYTES_MAX - 4]);
        check_round_trip(&[PART_BYTES_MAX - 6, 3, 20]);
        check_round_trip(&[100_000, 5, 0, 2 * 1024 * 1024]);
        check_round_trip(&[40; 1000]);
    }

    #[test]
    fn a_missing_or_damaged_piece_is_noticed() {
        let chunks = vec![vec![1; 30_000]];
        let (changes, meta) = write(&chunks, 1);
        for index in 0..changes.len() {
            let mut torn = changes.clone();
            torn.remove(index);
            assert!(read(&torn, meta).is_err());
            let mut flipped = changes.clone();
            let value = flipped[index].1.as_mut().unwrap();
            let last = value.len() - 1;
            value[last] ^= 1;
            assert!(read(&flipped, meta).is_err());
        }
    }
}
