//! From the store to a state: the newest snapshot, then every record after it.
//!
//! What cannot be read stops the start; nothing is skipped.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    controller::{
        Commit, ControllerError, Published, VerifyReport,
        batch::{commit_of, publish},
        replanning::Due,
    },
    domain::{ids::Revision, interner::Interner},
    limits,
    state::{Core, Settings, State, event::Record},
    store::{Loaded, Store, StoreError, codec, snapshot},
};

/// A state read back, with the job changes that led to it since the snapshot.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) core: Core,
    pub(super) published: Published,
    pub(super) n_records: u64,
    /// What may still have been due for re-planning when the last writer stopped.
    pub(super) recent: Vec<Due>,
}

/// Reads everything.
pub(super) fn open(store: &mut dyn Store, settings: Settings) -> Result<Opened, ControllerError> {
    let mut reading = Reading {
        settings,
        snapshot: None,
        core: None,
        base: Revision(0),
        commits: Vec::new(),
        n_records: 0,
        recent: VecDeque::new(),
        interner: Interner::new(),
        failed: None,
    };
    let loaded = store.load(&mut |item| reading.take(item));
    if let Some(error) = reading.failed.take() {
        return Err(error);
    }
    loaded?;
    reading.end_snapshot()?;
    let core = reading.core.unwrap_or_else(|| Core::new(settings));
    let slot = settings.grid.slot_at(core.state().changed_at());
    let base = Published {
        state: core.state().clone(),
        slot,
        history: imbl::Vector::new(),
        oldest_resumable: reading.base,
        n_events: 0,
    };
    Ok(Opened {
        published: publish(&base, &core, slot, reading.commits),
        core,
        n_records: reading.n_records,
        recent: reading.recent.into_iter().map(|(_, due)| due).collect(),
    })
}

/// Reads everything in the store again and says what is wrong, also against the state that is `held` in memory.
///
/// # Errors
/// When the store fails, as opposed to what it holds being wrong.
pub fn check(
    store: &mut dyn Store,
    settings: Settings,
    held: Option<&Core>,
) -> Result<VerifyReport, ControllerError> {
    let found = store.verify()?;
    let mut report = VerifyReport {
        problems: found.problems,
        n_records: found.records,
        snapshot_revision: Revision(store.info().snapshot_revision.unwrap_or(0)),
        ..VerifyReport::default()
    };
    if !report.problems.is_empty() {
        return Ok(report);
    }
    match open(store, settings) {
        Ok(read) => {
            let state = read.core.state();
            report.revision = state.revision();
            report.n_jobs = u64::try_from(state.jobs().len()).unwrap_or(u64::MAX);
            if held.is_some_and(|held| *held != read.core) {
                let problem = "the state in memory is not the one that the store gives back";
                report.problems.push(problem.into());
            }
        }
        Err(failure) => report.problems.push(failure.to_string()),
    }
    Ok(report)
}

struct Reading {
    settings: Settings,
    snapshot: Option<(u64, snapshot::Decoder)>,
    core: Option<Core>,
    base: Revision,
    commits: Vec<Arc<Commit>>,
    n_records: u64,
    recent: VecDeque<(Revision, Due)>,
    interner: Interner,
    failed: Option<ControllerError>,
}

impl Reading {
    /// Takes one item; a decoding failure is kept aside and ends the load.
    fn take(&mut self, item: Loaded) -> Result<(), StoreError> {
        self.read(item).map_err(|error| {
            self.failed = Some(error);
            StoreError::Poisoned
        })
    }

    fn read(&mut self, item: Loaded) -> Result<(), ControllerError> {
        match item {
            Loaded::Snapshot { revision } => {
                self.snapshot = Some((revision, snapshot::Decoder::new(self.settings)));
            }
            Loaded::Chunk(chunk) => {
                if let Some((revision, decoder)) = &mut self.snapshot {
                    let revision = *revision;
                    decoder
                        .feed(&chunk)
                        .map_err(|source| ControllerError::Decode { revision, source })?;
                }
            }
            Loaded::Record(stored) => {
                self.end_snapshot()?;
                let record = codec::decode_record_with(&stored.payload, &mut self.interner)
                    .map_err(|source| ControllerError::Decode {
                        revision: stored.revision,
                        source,
                    })?;
                let core = self.core.get_or_insert_with(|| Core::new(self.settings));
                let applied = core.apply(&record);
                self.n_records += 1;
                self.remember(&record);
                self.commits.extend(commit_of(&record, applied));
            }
        }
        Ok(())
    }

    /// Keeps what the last records may have left to be re-planned.
    fn remember(&mut self, record: &Record) {
        let dues = record.events.iter().filter_map(Due::after_restart);
        self.recent.extend(dues.map(|due| (record.revision, due)));
        while let Some((revision, _)) = self.recent.front()
            && revision.0 + limits::RECENT_RECORDS_MAX < record.revision.0
        {
            self.recent.pop_front();
        }
    }

    fn end_snapshot(&mut self) -> Result<(), ControllerError> {
        if let Some((revision, decoder)) = self.snapshot.take() {
            let state: State = decoder
                .finish()
                .map_err(|source| ControllerError::Decode { revision, source })?;
            self.base = state.revision();
            self.core = Some(Core::restore(state));
        }
        Ok(())
    }
}
