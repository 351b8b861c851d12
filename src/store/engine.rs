//! Writes commits and snapshots on any storage engine, recovers them at open and trims what is not needed any more.
//!
//! Invariant: a commit is acknowledged after its sync; a snapshot counts after its pieces are synced; a journal frame is
//! removed after the snapshot that covers it counts. So a crash between any two steps leaves a store that loads.

use std::{fmt, ops::ControlFlow};

use uuid::Uuid;

use crate::store::{
    Record, SCHEMA_VERSION, Sink, Store, StoreError, StoreInfo, TRIM_KEYS_MAX, VerifyReport,
    frame::{self, CommitHeader, Frame},
    kv::{Change, Kv, Tree, VisitLive},
    load,
    meta::{self, Identity, SnapshotMeta},
    pieces::PieceWriter,
};

/// Most entries copied in one batch when a store is rewritten: 2 MiB.
const COPY_BATCH: usize = 256;

/// A [`Store`] on a storage engine.
pub struct KvStore<K> {
    kv: K,
    identity: Identity,
    snapshot: Option<SnapshotMeta>,
    writing: Option<PieceWriter>,
    snapshot_id_next: u64,
    last_revision: u64,
    poisoned: bool,
}

impl<K: Kv> KvStore<K> {
    /// Makes an empty engine a store.
    pub(super) fn initialise(
        mut kv: K,
        slot_seconds: u32,
        store_id: Uuid,
    ) -> Result<Self, StoreError> {
        let identity = Identity {
            slot_seconds,
            store_id,
        };
        kv.apply(Tree::Meta, meta::identity_changes(identity))?;
        kv.sync()?;
        Ok(Self {
            kv,
            identity,
            snapshot: None,
            writing: None,
            snapshot_id_next: 1,
            last_revision: 0,
            poisoned: false,
        })
    }

    /// Reads what the store is and how far it reaches, and removes a commit that a crash has torn.
    pub(super) fn recover(
        mut kv: K,
        identity: Identity,
        slot_seconds: Option<u32>,
    ) -> Result<Self, StoreError> {
        if let Some(asked) = slot_seconds
            && asked != identity.slot_seconds
        {
            return Err(StoreError::SlotSeconds {
                stored: identity.slot_seconds,
                asked,
            });
        }
        let snapshot = meta::read_snapshot(&kv)?;
        let snapshot_id_max = match kv.last_key(Tree::Snapshot)? {
            Some(key) => frame::parse_key("snapshot", &key)?.0,
            None => 0,
        };
        let snapshot_id = snapshot.map_or(0, |snapshot| snapshot.id);
        let last_revision =
            recover_tail(&mut kv, snapshot.map_or(0, |snapshot| snapshot.revision))?;
        // What a killed process has written but not synced must not be served before it is durable.
        kv.sync()?;
        let acknowledged = kv.acknowledged();
        if last_revision < acknowledged {
            return Err(StoreError::corrupt(
                "the end of the journal",
                format!("it ends at revision {last_revision} but {acknowledged} was acknowledged"),
            ));
        }
        kv.acknowledge(last_revision)?;
        Ok(Self {
            kv,
            identity,
            snapshot,
            writing: None,
            snapshot_id_next: snapshot_id.max(snapshot_id_max).saturating_add(1),
            last_revision,
            poisoned: false,
        })
    }

    /// Lets an empty store begin with a snapshot of `revision`, for restoring a backup.
    pub(super) fn begin_import(&mut self, revision: u64) -> Result<(), StoreError> {
        assert!(
            self.last_revision == 0 && self.snapshot.is_none(),
            "only an empty store can be restored into"
        );
        self.last_revision = revision;
        self.begin_snapshot(revision)
    }

    /// Notes that a finished import is durable.
    pub(super) fn finish_import(&mut self) -> Result<(), StoreError> {
        self.finish_snapshot()?;
        self.kv.acknowledge(self.last_revision)
    }

    pub(super) fn kv(&self) -> &K {
        &self.kv
    }

    pub(super) fn kv_mut(&mut self) -> &mut K {
        &mut self.kv
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    pub(super) fn snapshot(&self) -> Option<SnapshotMeta> {
        self.snapshot
    }

    pub(super) fn end(&self) -> u64 {
        self.last_revision
    }

    /// Bytes of keys and values that are needed.
    pub(super) fn live_bytes(&self) -> Result<u64, StoreError> {
        let mut bytes = 0_u64;
        self.visit_live(&mut |_, key, value| {
            bytes += u64::try_from(key.len() + value.len()).unwrap_or(u64::MAX);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Copies all that is needed into an empty engine and makes it durable there.
    pub(super) fn copy_live(&self, target: &mut impl Kv) -> Result<(), StoreError> {
        let mut batch: Vec<Change> = Vec::new();
        let mut batch_tree = Tree::Journal;
        self.visit_live(&mut |tree, key, value| {
            if batch.len() >= COPY_BATCH || tree != batch_tree {
                target.apply(batch_tree, std::mem::take(&mut batch))?;
            }
            batch_tree = tree;
            batch.push((key.to_vec(), Some(value.to_vec())));
            Ok(())
        })?;
        target.apply(batch_tree, batch)?;
        target.apply(Tree::Meta, meta::identity_changes(self.identity))?;
        if let Some(snapshot) = &self.snapshot {
            target.apply(Tree::Meta, vec![meta::snapshot_change(snapshot)])?;
        }
        target.sync()?;
        target.acknowledge(self.last_revision)
    }

    fn visit_live(&self, visit: &mut VisitLive<'_>) -> Result<(), StoreError> {
        let covered = self.snapshot.map_or(0, |snapshot| snapshot.revision);
        self.kv.scan(Tree::Journal, &[], &mut |key, value| {
            if Frame::decode(key, value)?.last > covered {
                visit(Tree::Journal, key, value)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let Some(snapshot) = self.snapshot else {
            return Ok(());
        };
        load::scan_pieces(&self.kv, snapshot.id, &mut |key, value| {
            visit(Tree::Snapshot, key, value)
        })
    }

    /// Runs a step whose failure makes the store unusable.
    fn fatal<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned);
        }
        let result = step(self);
        self.poisoned = result.is_err();
        result
    }

    fn commit_checked(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let mut last = self.last_revision;
        for record in records {
            if last.checked_add(1) != Some(record.revision) {
                return Err(StoreError::NotContiguous {
                    expected: last.saturating_add(1),
                    found: record.revision,
                });
            }
            last = record.revision;
        }
        let frames = frame::encode_commit(records)?;
        self.kv.apply(Tree::Journal, frames)?;
        self.kv.sync()?;
        self.kv.acknowledge(last)?;
        self.last_revision = last;
        Ok(())
    }

    fn begin_checked(&mut self, revision: u64) -> Result<(), StoreError> {
        let oldest = self.snapshot.map_or(0, |snapshot| snapshot.revision);
        if !(oldest <= revision && revision <= self.last_revision) {
            return Err(StoreError::SnapshotOrder {
                revision,
                oldest,
                newest: self.last_revision,
            });
        }
        self.writing = Some(PieceWriter::new(self.snapshot_id_next, revision));
        self.snapshot_id_next += 1;
        Ok(())
    }

    fn finish_checked(&mut self) -> Result<(), StoreError> {
        let writer = self.writing.take().ok_or(StoreError::NoSnapshot)?;
        let (pieces, snapshot) = writer.finish()?;
        self.kv.apply(Tree::Snapshot, pieces)?;
        self.kv.sync()?;
        self.kv
            .apply(Tree::Meta, vec![meta::snapshot_change(&snapshot)])?;
        self.kv.sync()?;
        self.snapshot = Some(snapshot);
        Ok(())
    }

    fn maintain_checked(&mut self) -> Result<bool, StoreError> {
        let pieces = self.superfluous_pieces()?;
        let frames = self.superfluous_frames(TRIM_KEYS_MAX - pieces.len())?;
        let removed = pieces.len() + frames.len();
        for (tree, keys) in [(Tree::Snapshot, pieces), (Tree::Journal, frames)] {
            if !keys.is_empty() {
                let changes = keys.into_iter().map(|key| (key, None)).collect();
                self.kv.apply(tree, changes)?;
            }
        }
        Ok(removed == TRIM_KEYS_MAX)
    }

    /// Keys of older, abandoned and half-written snapshots.
    fn superfluous_pieces(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let kept = [
            self.snapshot.map(|snapshot| snapshot.id),
            self.writing.as_ref().map(PieceWriter::id),
        ];
        let mut keys = Vec::new();
        let mut from = Some(0);
        // At most three rounds: a kept snapshot ends a scan, the next one starts behind it.
        while let Some(id_from) = from.take() {
            self.kv
                .scan(Tree::Snapshot, &frame::key(id_from, 0), &mut |key, _| {
                    let (id, _) = frame::parse_key("snapshot", key)?;
                    if kept.contains(&Some(id)) {
                        from = id.checked_add(1);
                        return Ok(ControlFlow::Break(()));
                    }
                    keys.push(key.to_vec());
                    Ok(continue_if(keys.len() < TRIM_KEYS_MAX))
                })?;
        }
        Ok(keys)
    }

    /// Keys of frames whose records the newest snapshot covers.
    fn superfluous_frames(&self, keys_max: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut keys = Vec::new();
        let Some(snapshot) = self.snapshot else {
            return Ok(keys);
        };
        if keys_max == 0 {
            return Ok(keys);
        }
        self.kv.scan(Tree::Journal, &[], &mut |key, value| {
            if Frame::decode(key, value)?.last > snapshot.revision {
                return Ok(ControlFlow::Break(()));
            }
            keys.push(key.to_vec());
            Ok(continue_if(keys.len() < keys_max))
        })?;
        Ok(keys)
    }
}

impl<K: Kv> Store for KvStore<K> {
    fn info(&self) -> StoreInfo {
        StoreInfo {
            store_id: self.identity.store_id,
            slot_seconds: self.identity.slot_seconds,
            schema_version: SCHEMA_VERSION,
            last_revision: self.last_revision,
            snapshot_revision: self.snapshot.map(|snapshot| snapshot.revision),
            bytes_on_disk: self.kv.bytes_on_disk(),
        }
    }

    fn last_revision(&self) -> u64 {
        self.last_revision
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        self.fatal(|store| {
            if records.is_empty() {
                return Ok(());
            }
            store.commit_checked(records)
        })
    }

    fn begin_snapshot(&mut self, revision: u64) -> Result<(), StoreError> {
        self.fatal(|store| store.begin_checked(revision))
    }

    fn put_snapshot_chunks(&mut self, chunks: &[Vec<u8>]) -> Result<(), StoreError> {
        self.fatal(|store| {
            let writer = store.writing.as_mut().ok_or(StoreError::NoSnapshot)?;
            let pieces = writer.put(chunks)?;
            store.kv.apply(Tree::Snapshot, pieces)
        })
    }

    fn finish_snapshot(&mut self) -> Result<(), StoreError> {
        self.fatal(Self::finish_checked)
    }

    fn maintain(&mut self) -> Result<bool, StoreError> {
        self.fatal(Self::maintain_checked)
    }

    fn load(&mut self, sink: &mut Sink<'_>) -> Result<(), StoreError> {
        self.fatal(|store| load::load(store, sink))
    }

    fn verify(&self) -> Result<VerifyReport, StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned);
        }
        Ok(load::verify(self))
    }
}

impl<K: Kv> fmt::Debug for KvStore<K> {
    /// Leaves out what is being written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvStore")
            .field("info", &self.info())
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

fn continue_if(go_on: bool) -> ControlFlow<()> {
    if go_on {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}

/// The last revision whose commit is whole; removes the one torn commit that a crash can leave at the end.
fn recover_tail(kv: &mut impl Kv, covered: u64) -> Result<u64, StoreError> {
    let Some(tail) = read_tail(kv)? else {
        return Ok(covered);
    };
    if tail.header.last <= covered {
        // Trimming had begun: what is left of the journal is covered by the snapshot.
        return Ok(covered);
    }
    if tail.is_whole() {
        return Ok(tail.header.last);
    }
    if kv.acknowledged() >= tail.header.first {
        return Err(tail.torn_error());
    }
    kv.apply(
        Tree::Journal,
        tail.keys.into_iter().map(|key| (key, None)).collect(),
    )?;
    kv.sync()?;
    match read_tail(kv)? {
        Some(tail) if tail.header.last > covered && !tail.is_whole() => Err(tail.torn_error()),
        Some(tail) => Ok(tail.header.last.max(covered)),
        None => Ok(covered),
    }
}

/// The frames found of the last commit.
struct Tail {
    header: CommitHeader,
    keys: Vec<Vec<u8>>,
}

impl Tail {
    fn is_whole(&self) -> bool {
        u32::try_from(self.keys.len()) == Ok(self.header.count)
    }

    fn torn_error(&self) -> StoreError {
        StoreError::corrupt(
            format!("the journal commit at revision {}", self.header.first),
            format!(
                "{} of {} frames found, but a later state was acknowledged",
                self.keys.len(),
                self.header.count
            ),
        )
    }
}

fn read_tail(kv: &impl Kv) -> Result<Option<Tail>, StoreError> {
    let Some(last_key) = kv.last_key(Tree::Journal)? else {
        return Ok(None);
    };
    let (first, _) = frame::parse_key("journal", &last_key)?;
    let mut tail: Option<Tail> = None;
    kv.scan(Tree::Journal, &frame::key(first, 0), &mut |key, value| {
        let frame = Frame::decode(key, value)?;
        let header = CommitHeader::of(&frame);
        let tail = tail.get_or_insert_with(|| Tail {
            header,
            keys: Vec::new(),
        });
        if tail.header != header {
            return Err(StoreError::corrupt(
                format!(
                    "journal frame {} of the commit at revision {first}",
                    frame.index
                ),
                "it belongs to another commit than the frame before it",
            ));
        }
        tail.keys.push(key.to_vec());
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(tail)
}

#[cfg(test)]
impl<K: Kv> KvStore<K> {
    /// Pretends that a newer program wrote this store.
    pub(super) fn write_newer_schema(&mut self) {
        let changes = meta::newer_schema_changes();
        self.kv
            .apply(Tree::Meta, changes)
            .expect("no fault is planned");
        self.kv.sync().expect("no fault is planned");
    }
}
