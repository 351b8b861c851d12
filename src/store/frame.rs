//! Packs the records of one commit into frames that fit one value, and unpacks them.
//!
//! Invariant: every frame says which commit it belongs to and how many frames that has, so that a commit is complete or
//! recognisably torn, whatever subset of its frames a crash leaves.
//!
//! Key: first revision of the commit (u64), index of the frame (u32). Value: version (u8), CRC-32 of key and rest (u32),
//! last revision of the commit (u64), number of frames (u32), CRC-32 of the commit's bytes (u32), a part of the commit's
//! bytes. The commit's bytes: for each record its length (u32) and its payload. All numbers big-endian.

use crate::store::{COMMIT_BYTES_MAX, Record, StoreError, VALUE_BYTES_MAX, kv::Change};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 21;
const CRC_END: usize = 5;
const PART_BYTES_MAX: usize = VALUE_BYTES_MAX - HEADER_BYTES;
const KEY_BYTES: usize = 12;

/// Key of a frame or piece: a number and an index within it.
pub(super) fn key(number: u64, index: u32) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

/// The number and index in a key.
pub(super) fn parse_key(tree: &str, key: &[u8]) -> Result<(u64, u32), StoreError> {
    let mut rest = key;
    match (take_u64(&mut rest), take_u32(&mut rest), rest) {
        (Some(number), Some(index), []) => Ok((number, index)),
        _ => Err(StoreError::corrupt(
            format!("{tree} key {key:02x?}"),
            format!("a key has {KEY_BYTES} bytes"),
        )),
    }
}

/// Appends a length and the bytes.
///
/// # Panics
/// Never for lengths up to [`COMMIT_BYTES_MAX`], which callers check.
pub(super) fn put_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("callers refuse more than COMMIT_BYTES_MAX");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Takes four bytes off the front.
pub(super) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*head))
}

/// Takes eight bytes off the front.
pub(super) fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_be_bytes(*head))
}

/// CRC-32 of two byte strings joined.
pub(super) fn crc_of(head: &[u8], tail: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(tail);
    hasher.finalize()
}

/// The frames of a commit of `records`, which are contiguous and not empty.
pub(super) fn encode_commit(records: &[Record]) -> Result<Vec<Change>, StoreError> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else {
        return Ok(Vec::new());
    };
    // The sum cannot wrap: slices in memory are shorter than half the address space.
    let bytes_total: usize = records.iter().map(|record| 4 + record.payload.len()).sum();
    if bytes_total > COMMIT_BYTES_MAX {
        return Err(StoreError::TooLarge {
            bytes: bytes_total,
            limit: COMMIT_BYTES_MAX,
        });
    }
    let mut stream = Vec::with_capacity(bytes_total);
    for record in records {
        put_prefixed(&mut stream, &record.payload);
    }
    let count = u32::try_from(stream.len().div_ceil(PART_BYTES_MAX))
        .expect("COMMIT_BYTES_MAX makes far fewer than 2^32 frames");
    let commit_crc = crc32fast::hash(&stream);
    let frames = (0..count).zip(stream.chunks(PART_BYTES_MAX));
    Ok(frames
        .map(|(index, part)| {
            let key = key(first.revision, index);
            let value = encode_frame(&key, last.revision, count, commit_crc, part);
            (key.to_vec(), Some(value))
        })
        .collect())
}

fn encode_frame(key: &[u8], last: u64, count: u32, commit_crc: u32, part: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER_BYTES + part.len());
    value.push(VERSION);
    value.extend_from_slice(&[0; 4]);
    value.extend_from_slice(&last.to_be_bytes());
    value.extend_from_slice(&count.to_be_bytes());
    value.extend_from_slice(&commit_crc.to_be_bytes());
    value.extend_from_slice(part);
    let crc = crc_of(key, &value[CRC_END..]);
    value[1..CRC_END].copy_from_slice(&crc.to_be_bytes());
    value
}

/// A frame whose checksum holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// First revision of the commit.
    pub(super) first: u64,
    /// Position in the commit.
    pub(super) index: u32,
    /// Last revision of the commit.
    pub(super) last: u64,
    /// Number of frames of the commit.
    pub(super) count: u32,
    commit_crc: u32,
    part: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks and reads a frame.
    pub(super) fn decode(key: &[u8], value: &'a [u8]) -> Result<Self, StoreError> {
        let (first, index) = parse_key("journal", key)?;
        let at = || format!("journal frame {index} of the commit at revision {first}");
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
        let crc = take_u32(&mut rest);
        let crc_found = crc_of(key, rest);
        let (last, count, commit_crc) = (
            take_u64(&mut rest),
            take_u32(&mut rest),
            take_u32(&mut rest),
        );
        let (Some(crc), Some(last), Some(count), Some(commit_crc)) = (crc, last, count, commit_crc)
        else {
            return Err(StoreError::corrupt(at(), "the value is too short"));
        };
        if crc != crc_found {
            return Err(StoreError::corrupt(at(), "the checksum does not match"));
        }
        if last < first || index >= count {
            return Err(StoreError::corrupt(at(), "the header contradicts itself"));
        }
        Ok(Self {
            first,
            index,
            last,
            count,
            commit_crc,
            part: rest,
        })
    }

    /// Whether both frames claim the same commit.
    pub(super) fn same_commit(&self, header: &CommitHeader) -> bool {
        CommitHeader::of(self) == *header
    }
}

/// What all frames of one commit agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommitHeader {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) count: u32,
    commit_crc: u32,
}

impl CommitHeader {
    pub(super) fn of(frame: &Frame<'_>) -> Self {
        Self {
            first: frame.first,
            last: frame.last,
            count: frame.count,
            commit_crc: frame.commit_crc,
        }
    }
}

/// Joins the frames of one commit.
pub(super) struct CommitReader {
    header: CommitHeader,
    next_index: u32,
    stream: Vec<u8>,
}

impl CommitReader {
    /// Starts with the first frame of a commit.
    pub(super) fn new(frame: &Frame<'_>) -> Self {
        Self {
            header: CommitHeader::of(frame),
            next_index: 0,
            stream: Vec::new(),
        }
    }

    /// Adds the next frame; `true` when the commit is complete.
    pub(super) fn push(&mut self, frame: &Frame<'_>) -> Result<bool, StoreError> {
        if !frame.same_commit(&self.header) || frame.index != self.next_index {
            return Err(self.incomplete());
        }
        if self.stream.len() + frame.part.len() > COMMIT_BYTES_MAX {
            return Err(StoreError::corrupt(self.at(), "the commit is too large"));
        }
        self.stream.extend_from_slice(frame.part);
        self.next_index += 1;
        Ok(self.next_index == self.header.count)
    }

    /// The records of a complete commit.
    pub(super) fn records(self) -> Result<Vec<Record>, StoreError> {
        if crc32fast::hash(&self.stream) != self.header.commit_crc {
            return Err(StoreError::corrupt(
                self.at(),
                "the checksum of the commit does not match",
            ));
        }
        let mut rest = self.stream.as_slice();
        let mut records = Vec::new();
        for revision in self.header.first..=self.header.last {
            let payload = take_u32(&mut rest)
                .and_then(|length| usize::try_from(length).ok())
                .and_then(|length| rest.split_off(..length));
            let Some(payload) = payload else {
                return Err(StoreError::corrupt(
                    self.at(),
                    format!("record {revision} is cut off"),
                ));
            };
            records.push(Record {
                revision,
                payload: payload.to_vec(),
            });
        }
        if !rest.is_empty() {
            return Err(StoreError::corrupt(
                self.at(),
                "bytes follow the last record",
            ));
        }
        Ok(records)
    }

    /// The error for a commit of which a frame is missing.
    pub(super) fn incomplete(&self) -> StoreError {
        let CommitHeader { count, .. } = self.header;
        StoreError::corrupt(
            self.at(),
            format!("frame {} of {count} is missing", self.next_index),
        )
    }

    fn at(&self) -> String {
        format!("the journal commit at revision {}", self.header.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(first: u64, lengths: &[usize]) -> Vec<Record> {
        (first..)
            .zip(lengths)
            .map(|(revision, &length)| Record {
                revision,
                payload: vec![u8::try_from(revision % 251).unwrap(); length],
            })
            .collect()
    }

    fn decode(changes: &[Change]) -> Result<Vec<Record>, StoreError> {
        let mut reader: Option<CommitReader> = None;
        let mut complete = false;
        for (key, value) in changes {
            let frame = Frame::decode(key, value.as_ref().unwrap())?;
            let reader = reader.get_or_insert_with(|| CommitReader::new(&frame));
            complete = reader.push(&frame)?;
        }
        let reader = reader.unwrap();
        if complete {
            reader.records()
        } else {
            Err(reader.incomplete())
        }
    }

    #[track_caller]
    fn check_round_trip(lengths: &[usize], frames: usize) {
        let records = records(7, lengths);
        let changes = encode_commit(&records).unwrap();
        assert_eq!(changes.len(), frames);
        for (_, value) in &changes {
            assert!(value.as_ref().unwrap().len() <= VALUE_BYTES_MAX);
        }
        assert_eq!(decode(&changes).unwrap(), records);
    }

    #[test]
    fn a_commit_comes_back_as_it_was() {
        check_round_trip(&[0], 1);
        check_round_trip(&[1, 0, 300], 1);
        check_round_trip(&[PART_BYTES_MAX - 4], 1);
        check_round_trip(&[PART_BYTES_MAX - 3], 2);
        check_round_trip(&[PART_BYTES_MAX - 6, 5], 2);
        check_round_trip(&[10, 2 * 1024 * 1024, 10], 257);
    }

    #[test]
    fn a_missing_frame_is_noticed_wherever_it_is() {
        let changes = encode_commit(&records(1, &[20_000, 20_000])).unwrap();
        assert_eq!(changes.len(), 5);
        for missing in 0..changes.len() {
            let mut torn = changes.clone();
            torn.remove(missing);
            assert!(matches!(decode(&torn), Err(StoreError::Corrupt { .. })));
        }
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_noticed() {
        let changes = encode_commit(&records(3, &[5, 6])).unwrap();
        let (key, value) = &changes[0];
        let value = value.as_ref().unwrap();
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(key, &flipped).is_err(), "bit {bit}");
        }
        for length in 0..value.len() {
            assert!(Frame::decode(key, &value[..length]).is_err());
        }
    }

    #[test]
    fn a_frame_under_another_key_is_noticed() {
        let changes = encode_commit(&records(3, &[5])).unwrap();
        let value = changes[0].1.as_ref().unwrap();
        assert!(Frame::decode(&key(4, 0), value).is_err());
    }

    #[test]
    fn frames_of_two_commits_do_not_mix() {
        let one = encode_commit(&records(1, &[9_000])).unwrap();
        let mut other_records = records(1, &[9_000]);
        other_records[0].payload[8_999] ^= 1;
        let other = encode_commit(&other_records).unwrap();
        let mixed = [one[0].clone(), other[1].clone()];
        assert!(decode(&mixed).is_err());
    }

    #[test]
    fn a_commit_beyond_the_limit_is_refused() {
        let too_large = records(1, &[COMMIT_BYTES_MAX - 3]);
        assert!(matches!(
            encode_commit(&too_large),
            Err(StoreError::TooLarge { .. })
        ));
    }
}
