//! Snapshots written in slices between commits, so that no caller waits for a whole one.
//!
//! A snapshot is of an immutable state; the journal it replaces is trimmed only once it is durable.

use crate::{
    state::State,
    store::{Store, StoreError, snapshot},
};

/// Chunks written in one slice: about a MiB, a few milliseconds.
const CHUNKS_PER_SLICE: usize = 32;

/// Where the work on snapshots stands.
#[derive(Default)]
pub(super) struct Snapshots {
    n_records_since: u64,
    running: Option<Box<dyn Iterator<Item = Vec<u8>> + Send>>,
    trimming: bool,
}

impl Snapshots {
    /// Begins counting after a start that replayed `n_records`.
    pub(super) fn after(n_records: u64) -> Self {
        Self {
            n_records_since: n_records,
            // Leftovers of a snapshot that a crash interrupted are removed first.
            trimming: true,
            running: None,
        }
    }

    /// Whether there is work for an idle moment.
    pub(super) fn is_busy(&self) -> bool {
        self.running.is_some() || self.trimming
    }

    /// Counts records and does the next slice of work; call after a commit, with the state it made durable.
    pub(super) fn step(
        &mut self,
        store: &mut dyn Store,
        state: &State,
        n_records: u64,
        every_records: u64,
    ) -> Result<(), StoreError> {
        self.n_records_since += n_records;
        if let Some(chunks) = &mut self.running {
            let slice: Vec<Vec<u8>> = chunks.by_ref().take(CHUNKS_PER_SLICE).collect();
            if slice.is_empty() {
                store.finish_snapshot()?;
                self.running = None;
                self.trimming = true;
                return Ok(());
            }
            return store.put_snapshot_chunks(&slice);
        }
        if self.trimming {
            self.trimming = store.maintain()?;
            return Ok(());
        }
        if self.n_records_since >= every_records {
            store.begin_snapshot(state.revision().0)?;
            self.running = Some(Box::new(snapshot::encode(state)));
            self.n_records_since = 0;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots")
            .field("n_records_since", &self.n_records_since)
            .field("running", &self.running.is_some())
            .field("trimming", &self.trimming)
            .finish()
    }
}
