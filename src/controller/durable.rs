//! Records of a turn into the store.
//!
//! They are durable when [`write()`] returns, all of them and in order.

use crate::{
    controller::ControllerError,
    state::event,
    store::{COMMIT_BYTES_MAX, Record, Store, codec},
};

/// Makes records durable; answers how many there were.
pub(super) fn write(
    store: &mut dyn Store,
    records: &[event::Record],
) -> Result<u64, ControllerError> {
    let encoded: Vec<Record> = records
        .iter()
        .map(|record| Record {
            revision: record.revision.0,
            payload: codec::encode_record(record),
        })
        .collect();
    if !encoded.is_empty() {
        for part in parts_for_commit(&encoded) {
            store.commit(part)?;
        }
    }
    Ok(u64::try_from(encoded.len()).unwrap_or(u64::MAX))
}

/// Cuts records into commits that the store takes; nearly always it is one.
fn parts_for_commit(records: &[Record]) -> Vec<&[Record]> {
    const PART_BYTES_MAX: usize = COMMIT_BYTES_MAX / 2;
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (i, record) in records.iter().enumerate() {
        if i > start && bytes + record.payload.len() > PART_BYTES_MAX {
            parts.push(&records[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += record.payload.len();
    }
    parts.push(&records[start..]);
    parts
}
