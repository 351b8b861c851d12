//! The few entries that say what a store is and which snapshot counts.
//!
//! Invariant: every entry carries a checksum over its key and bytes; the schema version can be read whatever the schema.
//!
//! Value: CRC-32 of key and rest (u32), then the entry's numbers, big-endian.

use uuid::Uuid;

use crate::store::{
    SCHEMA_VERSION, StoreError,
    frame::{crc_of, take_u32, take_u64},
    kv::{Change, Kv, Tree},
};

const SCHEMA: &[u8] = b"schema";
const IDENTITY: &[u8] = b"identity";
const SNAPSHOT: &[u8] = b"snapshot";

/// What was given at creation and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) slot_seconds: u32,
    pub(super) store_id: Uuid,
}

/// Describes the newest complete snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SnapshotMeta {
    pub(super) id: u64,
    pub(super) revision: u64,
    pub(super) pieces: u32,
    pub(super) chunks: u64,
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

/// The entries of a new store.
pub(super) fn identity_changes(identity: Identity) -> Vec<Change> {
    identity_changes_of_schema(identity, SCHEMA_VERSION)
}

fn identity_changes_of_schema(identity: Identity, schema: u32) -> Vec<Change> {
    let mut bytes = identity.slot_seconds.to_be_bytes().to_vec();
    bytes.extend_from_slice(identity.store_id.as_bytes());
    vec![seal(IDENTITY, &bytes), seal(SCHEMA, &schema.to_be_bytes())]
}

/// The identity, after a check that the schema is one we read; `None` in a store that was never finished.
pub(super) fn read_identity(kv: &impl Kv) -> Result<Option<Identity>, StoreError> {
    let Some(schema) = read(kv, SCHEMA, take_u32)? else {
        return Ok(None);
    };
    if schema > SCHEMA_VERSION {
        return Err(StoreError::NewerSchema {
            found: schema,
            supported: SCHEMA_VERSION,
        });
    }
    if schema == 0 {
        return Err(StoreError::corrupt(
            "meta entry \"schema\"",
            "schema 0 never was",
        ));
    }
    read(kv, IDENTITY, |rest| {
        let slot_seconds = take_u32(rest)?;
        let (id, tail) = rest.split_first_chunk()?;
        *rest = tail;
        Some(Identity {
            slot_seconds,
            store_id: Uuid::from_bytes(*id),
        })
    })
}

/// The entry that makes a snapshot the newest one.
pub(super) fn snapshot_change(meta: &SnapshotMeta) -> Change {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&meta.id.to_be_bytes());
    bytes.extend_from_slice(&meta.revision.to_be_bytes());
    bytes.extend_from_slice(&meta.pieces.to_be_bytes());
    bytes.extend_from_slice(&meta.chunks.to_be_bytes());
    bytes.extend_from_slice(&meta.bytes.to_be_bytes());
    bytes.extend_from_slice(&meta.crc.to_be_bytes());
    seal(SNAPSHOT, &bytes)
}

/// The newest complete snapshot.
pub(super) fn read_snapshot(kv: &impl Kv) -> Result<Option<SnapshotMeta>, StoreError> {
    read(kv, SNAPSHOT, |rest| {
        Some(SnapshotMeta {
            id: take_u64(rest)?,
            revision: take_u64(rest)?,
            pieces: take_u32(rest)?,
            chunks: take_u64(rest)?,
            bytes: take_u64(rest)?,
            crc: take_u32(rest)?,
        })
    })
}

fn seal(key: &[u8], bytes: &[u8]) -> Change {
    let mut value = crc_of(key, bytes).to_be_bytes().to_vec();
    value.extend_from_slice(bytes);
    (key.to_vec(), Some(value))
}

fn read<T>(
    kv: &impl Kv,
    key: &[u8],
    parse: impl FnOnce(&mut &[u8]) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    let Some(value) = kv.value(Tree::Meta, key)? else {
        return Ok(None);
    };
    let at = || format!("meta entry {:?}", String::from_utf8_lossy(key));
    let mut rest = value.as_slice();
    let Some(crc) = take_u32(&mut rest) else {
        return Err(StoreError::corrupt(at(), "the value is too short"));
    };
    if crc != crc_of(key, rest) {
        return Err(StoreError::corrupt(at(), "the checksum does not match"));
    }
    match parse(&mut rest) {
        // Bytes may follow: a later program of the same schema may add to an entry.
        Some(entry) => Ok(Some(entry)),
        None => Err(StoreError::corrupt(at(), "the value is too short")),
    }
}

#[cfg(test)]
pub(super) fn newer_schema_changes() -> Vec<Change> {
    let identity = Identity {
        slot_seconds: 900,
        store_id: Uuid::nil(),
    };
    identity_changes_of_schema(identity, SCHEMA_VERSION + 1)
}
