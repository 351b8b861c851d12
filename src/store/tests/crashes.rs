//! Fails every write and sync of a scenario, in every way, crashes, reopens, and compares with what was acknowledged.

use super::*;
use crate::store::memory::{Fault, MemoryDisk, Survivors};

/// What the caller of the store knows.
#[derive(Debug, Default, Clone)]
struct Oracle {
    acknowledged: Vec<Record>,
    in_flight: Vec<Record>,
}

fn chunks_of(revision: u64) -> Vec<Vec<u8>> {
    let fill = u8::try_from(revision % 251).unwrap();
    vec![vec![fill; 9_000], Vec::new(), vec![fill; 20_000]]
}

impl Oracle {
    fn commit(
        &mut self,
        store: &mut dyn Store,
        salt: u8,
        lengths: &[usize],
    ) -> Result<(), StoreError> {
        let first = store.last_revision() + 1;
        let mut batch = records(first, lengths);
        // The same revision committed again after a torn commit has other bytes: frames of both must not mix.
        for record in &mut batch {
            record.payload.push(salt);
        }
        self.in_flight.clone_from(&batch);
        store.commit(&batch)?;
        self.acknowledged.append(&mut batch);
        self.in_flight.clear();
        Ok(())
    }

    /// Everything acknowledged is there; what was in flight is there as a whole or not at all.
    fn check(&mut self, store: &mut dyn Store) {
        let contents = store.load_all().unwrap();
        let covered = contents
            .snapshot
            .as_ref()
            .map_or(0, |(revision, _)| *revision);
        if let Some((revision, chunks)) = &contents.snapshot {
            assert_eq!(chunks, &chunks_of(*revision));
        }
        let acknowledged = u64::try_from(self.acknowledged.len()).unwrap();
        let last = store.last_revision();
        if last != acknowledged {
            self.acknowledged.append(&mut self.in_flight);
            assert_eq!(last, u64::try_from(self.acknowledged.len()).unwrap());
        }
        self.in_flight.clear();
        let after = usize::try_from(covered).unwrap();
        assert_eq!(contents.records, self.acknowledged[after..]);
        assert_eq!(store.verify().unwrap().problems, Vec::<String>::new());
    }
}

fn snapshot_with_commits_between(
    store: &mut dyn Store,
    oracle: &mut Oracle,
    salt: u8,
) -> Result<(), StoreError> {
    let revision = store.last_revision() - 1;
    store.begin_snapshot(revision)?;
    for chunk in chunks_of(revision) {
        store.put_snapshot_chunks(&[chunk])?;
        oracle.commit(store, salt, &[100, 100])?;
    }
    store.finish_snapshot()?;
    while store.maintain()? {}
    Ok(())
}

fn scenario(store: &mut dyn Store, oracle: &mut Oracle, salt: u8) -> Result<(), StoreError> {
    oracle.commit(store, salt, &[10])?;
    oracle.commit(store, salt, &[300, 0, 9_000])?;
    oracle.commit(store, salt, &[40_000])?;
    snapshot_with_commits_between(store, oracle, salt)?;
    oracle.commit(store, salt, &[20_000, 20_000])?;
    store.begin_snapshot(store.last_revision())?;
    store.put_snapshot_chunks(&[vec![0xee; 30_000]])?;
    snapshot_with_commits_between(store, oracle, salt)?;
    oracle.commit(store, salt, &[30_000])
}

fn open(disk: &MemoryDisk) -> Result<MemoryStore, StoreError> {
    MemoryStore::open_or_create(disk, SLOT_SECONDS, store_id())
}

/// Opens the store, failing the first write, then the second, .. of the recovery until it succeeds.
fn open_through_crashes(disk: &MemoryDisk, fault: Fault, survivors: Survivors) -> MemoryStore {
    for nth in 1..100 {
        disk.fail_call(disk.calls() + nth, fault);
        if let Ok(store) = open(disk) {
            disk.fail_call(0, fault);
            return store;
        }
        disk.crash(survivors);
    }
    unreachable!("recovery needs more than a hundred writes")
}

const ALL_SURVIVORS: [Survivors; 5] = [
    Survivors::None,
    Survivors::All,
    Survivors::Half(1),
    Survivors::Half(2),
    Survivors::Half(3),
];

#[track_caller]
fn check_every_call(fault: Fault) {
    let mut torn = 0;
    for survivors in ALL_SURVIVORS {
        for nth in 1.. {
            let disk = MemoryDisk::new();
            disk.fail_call(nth, fault);
            let mut oracle = Oracle::default();
            let finished = match open(&disk) {
                Ok(mut store) => scenario(&mut store, &mut oracle, 1).is_ok(),
                Err(_) => false,
            };
            if finished {
                assert!(nth > 30, "the scenario makes more calls than {nth}");
                break;
            }
            disk.crash(survivors);
            let in_flight = oracle.in_flight.len();
            let mut store = open_through_crashes(&disk, fault, survivors);
            let before = oracle.acknowledged.len();
            oracle.check(&mut store);
            torn += usize::from(in_flight > 0 && oracle.acknowledged.len() == before);
            // Life goes on, and the next restart still agrees.
            scenario(&mut store, &mut oracle, 2).unwrap();
            disk.crash(survivors);
            oracle.check(&mut open(&disk).unwrap());
        }
    }
    assert!(torn > 10, "commits were undone in {torn} cases only");
}

#[test]
fn a_failed_call_loses_nothing_acknowledged() {
    check_every_call(Fault::Error);
}

#[test]
fn a_torn_call_loses_nothing_acknowledged_and_shows_nothing_in_part() {
    check_every_call(Fault::Torn);
}

#[test]
fn a_handle_from_before_a_crash_can_do_nothing() {
    let mut store = MemoryStore::new(SLOT_SECONDS, store_id());
    store.commit(&records(1, &[1])).unwrap();
    store.disk().crash(Survivors::All);
    assert!(store.commit(&records(2, &[1])).is_err());
    check_holds(&mut open(&store.disk()).unwrap(), None, &records(1, &[1]));
}

#[test]
fn an_acknowledged_commit_found_torn_is_an_error_not_a_rollback() {
    let mut store = MemoryStore::new(SLOT_SECONDS, store_id());
    store.commit(&records(1, &[30_000])).unwrap();
    let disk = store.disk();
    disk.remove_journal_key(2);
    assert!(matches!(open(&disk), Err(StoreError::Corrupt { .. })));
    for _ in 0..3 {
        disk.remove_journal_key(0);
    }
    let lost = open(&disk).unwrap_err();
    assert!(lost.to_string().contains("end of the journal"), "{lost}");
}

#[test]
fn a_missing_commit_in_the_middle_is_named() {
    let mut store = MemoryStore::new(SLOT_SECONDS, store_id());
    for revision in 1..=5 {
        store.commit(&records(revision, &[10])).unwrap();
    }
    let disk = store.disk();
    disk.remove_journal_key(2);
    let mut store = open(&disk).unwrap();
    let problems = store.verify().unwrap().problems;
    assert_eq!(
        problems,
        ["read the journal: revision 3 is missing, the next one found is 4"]
    );
    let gap = store.load_all().unwrap_err();
    assert!(matches!(
        gap,
        StoreError::Gap {
            expected: 3,
            found: 4
        }
    ));
}
