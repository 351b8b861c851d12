//! Reads a store: the newest complete snapshot, then the records after it, or all of it again to find faults.
//!
//! Invariant: records handed over are contiguous, end at the last revision, and passed every checksum on the way.

use std::ops::ControlFlow;

use crate::store::{
    Loaded, Record, Sink, StoreError, VerifyReport,
    engine::KvStore,
    frame::{self, CommitReader, Frame},
    kv::{Kv, Tree, VisitPiece},
    meta::{self, SnapshotMeta},
    pieces::{self, PieceReader},
};

/// Hands everything that counts to `sink`.
pub(super) fn load<K: Kv>(store: &KvStore<K>, sink: &mut Sink<'_>) -> Result<(), StoreError> {
    let mut expected = 1;
    if let Some(snapshot) = store.snapshot() {
        load_snapshot(store.kv(), snapshot, sink)?;
        expected = snapshot.revision.saturating_add(1);
    }
    let next = load_journal(store.kv(), expected, sink)?;
    if next != store.end().saturating_add(1) {
        return Err(StoreError::Gap {
            expected: next,
            found: store.end(),
        });
    }
    Ok(())
}

/// Reads and checks everything, also what a snapshot has made superfluous.
pub(super) fn verify<K: Kv>(store: &KvStore<K>) -> VerifyReport {
    let mut report = VerifyReport::default();
    check_meta(store, &mut report);
    check_values(store.kv(), &mut report);
    let (mut records, mut chunks, mut bytes) = (0_u64, 0_u64, 0_u64);
    let loaded = load(store, &mut |loaded| {
        let payload = match &loaded {
            Loaded::Snapshot { .. } => return Ok(()),
            Loaded::Chunk(chunk) => {
                chunks += 1;
                chunk
            }
            Loaded::Record(Record { payload, .. }) => {
                records += 1;
                payload
            }
        };
        bytes += u64::try_from(payload.len()).unwrap_or(u64::MAX);
        Ok(())
    });
    (report.records, report.chunks, report.bytes) = (records, chunks, bytes);
    if let Err(error) = loaded {
        note(&mut report, &error);
    }
    report
}

/// Visits the pieces of one snapshot.
pub(super) fn scan_pieces(
    kv: &impl Kv,
    id: u64,
    visit: &mut VisitPiece<'_>,
) -> Result<(), StoreError> {
    kv.scan(Tree::Snapshot, &frame::key(id, 0), &mut |key, value| {
        if frame::parse_key("snapshot", key)?.0 != id {
            return Ok(ControlFlow::Break(()));
        }
        visit(key, value)?;
        Ok(ControlFlow::Continue(()))
    })
}

fn load_snapshot(
    kv: &impl Kv,
    snapshot: SnapshotMeta,
    sink: &mut Sink<'_>,
) -> Result<(), StoreError> {
    sink(Loaded::Snapshot {
        revision: snapshot.revision,
    })?;
    let mut reader = PieceReader::new(snapshot);
    scan_pieces(kv, snapshot.id, &mut |key, value| {
        for chunk in reader.push(key, value)? {
            sink(Loaded::Chunk(chunk))?;
        }
        Ok(())
    })?;
    reader.finish()
}

/// Hands over the records from `expected` on; answers the revision after the last one.
fn load_journal(kv: &impl Kv, mut expected: u64, sink: &mut Sink<'_>) -> Result<u64, StoreError> {
    let mut reader: Option<CommitReader> = None;
    let mut started = false;
    kv.scan(Tree::Journal, &[], &mut |key, value| {
        let frame = Frame::decode(key, value)?;
        if !started && frame.last < expected {
            // Covered by the snapshot; trimming may have taken any part of this commit.
            return Ok(ControlFlow::Continue(()));
        }
        let commit = reader.get_or_insert_with(|| CommitReader::new(&frame));
        // Only the first commit may begin before the expected record: a snapshot need not end where a commit does.
        let follows = frame.first == expected || (!started && frame.first < expected);
        if !follows {
            return Err(gap_or_overlap(expected, frame.first));
        }
        if commit.push(&frame)?
            && let Some(commit) = reader.take()
        {
            for record in commit.records()? {
                if record.revision < expected {
                    continue;
                }
                expected = record.revision.saturating_add(1);
                sink(Loaded::Record(record))?;
            }
            started = true;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    match reader {
        Some(commit) => Err(commit.incomplete()),
        None => Ok(expected),
    }
}

fn gap_or_overlap(expected: u64, found: u64) -> StoreError {
    if found > expected {
        return StoreError::Gap { expected, found };
    }
    StoreError::corrupt(
        format!("the journal commit at revision {found}"),
        format!("it overlaps the commit before it, which ends before {expected}"),
    )
}

fn check_meta<K: Kv>(store: &KvStore<K>, report: &mut VerifyReport) {
    match meta::read_identity(store.kv()) {
        Ok(Some(identity)) if identity == store.identity() => {}
        Ok(_) => push(
            report,
            "the identity is not the one read at open".to_owned(),
        ),
        Err(error) => note(report, &error),
    }
    match meta::read_snapshot(store.kv()) {
        Ok(snapshot) if snapshot == store.snapshot() => {}
        Ok(_) => push(
            report,
            "the snapshot entry is not the one last written".to_owned(),
        ),
        Err(error) => note(report, &error),
    }
    let acknowledged = store.kv().acknowledged();
    if store.end() < acknowledged {
        let end = store.end();
        push(
            report,
            format!("the journal ends at revision {end} but {acknowledged} was acknowledged"),
        );
    }
}

fn check_values(kv: &impl Kv, report: &mut VerifyReport) {
    let scanned = kv.scan(Tree::Journal, &[], &mut |key, value| {
        report.frames += 1;
        if let Err(error) = Frame::decode(key, value) {
            note(report, &error);
        }
        Ok(ControlFlow::Continue(()))
    });
    if let Err(error) = scanned {
        note(report, &error);
    }
    let scanned = kv.scan(Tree::Snapshot, &[], &mut |key, value| {
        if let Err(error) = pieces::decode(key, value) {
            note(report, &error);
        }
        Ok(ControlFlow::Continue(()))
    });
    if let Err(error) = scanned {
        note(report, &error);
    }
}

fn note(report: &mut VerifyReport, error: &StoreError) {
    push(report, error.to_string());
}

/// The same fault is met by several passes: it is listed once.
fn push(report: &mut VerifyReport, problem: String) {
    if report.problems.len() < VerifyReport::PROBLEMS_MAX && !report.problems.contains(&problem) {
        report.problems.push(problem);
    }
}
