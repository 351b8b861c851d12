//! What every store must do, whatever is under it; `crashes` tears it at every call, `on_sled` is about the real one.

mod crashes;
mod on_sled;

use uuid::Uuid;

use crate::store::{
    COMMIT_BYTES_MAX, Contents, MemoryStore, Record, SCHEMA_VERSION, SledStore, Store, StoreError,
    StoreInfo, TRIM_KEYS_MAX, VerifyReport,
};

const SLOT_SECONDS: u32 = 900;

fn store_id() -> Uuid {
    Uuid::from_u128(0x1234)
}

/// Records of the given lengths from `first` on, each with its own bytes.
fn records(first: u64, lengths: &[usize]) -> Vec<Record> {
    (first..)
        .zip(lengths)
        .map(|(revision, &length)| Record {
            revision,
            payload: revision
                .to_be_bytes()
                .into_iter()
                .cycle()
                .take(length)
                .collect(),
        })
        .collect()
}

fn write_snapshot(store: &mut dyn Store, revision: u64, chunks: &[Vec<u8>]) {
    store.begin_snapshot(revision).unwrap();
    store.put_snapshot_chunks(chunks).unwrap();
    store.finish_snapshot().unwrap();
}

fn maintain_all(store: &mut dyn Store) {
    while store.maintain().unwrap() {}
}

/// Runs `fill` on a new store of each kind, closes and opens it, and runs `check`.
fn on_every_store(fill: impl Fn(&mut dyn Store), check: impl Fn(&mut dyn Store)) {
    let mut store = MemoryStore::new(SLOT_SECONDS, store_id());
    fill(&mut store);
    let disk = store.disk();
    drop(store);
    check(&mut MemoryStore::open_or_create(&disk, SLOT_SECONDS, store_id()).unwrap());

    let dir = tempfile::tempdir().unwrap();
    let mut store = SledStore::open_or_create(dir.path(), SLOT_SECONDS, store_id()).unwrap();
    fill(&mut store);
    drop(store);
    check(&mut SledStore::open_or_create(dir.path(), SLOT_SECONDS, Uuid::nil()).unwrap());
}

#[track_caller]
fn check_holds(store: &mut dyn Store, snapshot: Option<(u64, Vec<Vec<u8>>)>, records: &[Record]) {
    let contents = store.load_all().unwrap();
    assert_eq!(contents.snapshot, snapshot);
    assert_eq!(contents.records, records);
    assert_eq!(store.verify().unwrap().problems, Vec::<String>::new());
}

#[test]
fn an_empty_store_stays_empty_and_keeps_its_identity() {
    on_every_store(
        |_| {},
        |store| {
            assert_eq!(store.load_all().unwrap(), Contents::default());
            let expected = StoreInfo {
                store_id: store_id(),
                slot_seconds: SLOT_SECONDS,
                schema_version: SCHEMA_VERSION,
                last_revision: 0,
                snapshot_revision: None,
                bytes_on_disk: store.info().bytes_on_disk,
            };
            assert_eq!(store.info(), expected);
        },
    );
}

#[test]
fn committed_records_come_back_in_order() {
    let all = records(1, &[1, 300, 0, 9_000, 20, 8_167, 8_168]);
    on_every_store(
        |store| {
            store.commit(&all[..1]).unwrap();
            store.commit(&[]).unwrap();
            store.commit(&all[1..6]).unwrap();
            store.commit(&all[6..]).unwrap();
            assert_eq!(store.last_revision(), 7);
            check_holds(store, None, &all);
        },
        |store| {
            assert_eq!(store.last_revision(), 7);
            check_holds(store, None, &all);
            store.commit(&records(8, &[5])).unwrap();
        },
    );
}

#[test]
fn a_record_of_two_mebibytes_comes_back() {
    let all = records(1, &[10, 2 * 1024 * 1024, 10]);
    on_every_store(
        |store| store.commit(&all).unwrap(),
        |store| check_holds(store, None, &all),
    );
}

#[test]
fn a_snapshot_replaces_the_records_it_covers() {
    let all = records(1, &[300; 40]);
    let chunks = vec![vec![1; 20_000], Vec::new(), vec![2; 5]];
    on_every_store(
        |store| {
            store.commit(&all[..10]).unwrap();
            store.commit(&all[10..30]).unwrap();
            // In the middle of a commit, with commits between the slices.
            store.begin_snapshot(15).unwrap();
            store.put_snapshot_chunks(&chunks[..1]).unwrap();
            store.commit(&all[30..35]).unwrap();
            store.put_snapshot_chunks(&chunks[1..]).unwrap();
            store.commit(&all[35..]).unwrap();
            store.finish_snapshot().unwrap();
            check_holds(store, Some((15, chunks.clone())), &all[15..]);
            maintain_all(store);
            check_holds(store, Some((15, chunks.clone())), &all[15..]);
            // Of four commits, each of one frame, only the first one is covered as a whole.
            assert_eq!(store.verify().unwrap().frames, 3);
        },
        |store| {
            assert_eq!(store.info().snapshot_revision, Some(15));
            check_holds(store, Some((15, chunks.clone())), &all[15..]);
            // A snapshot of everything leaves an empty journal, from which numbering goes on.
            write_snapshot(store, 40, &[]);
            maintain_all(store);
            check_holds(store, Some((40, Vec::new())), &[]);
            assert_eq!(store.verify().unwrap().frames, 0);
            store.commit(&records(41, &[5])).unwrap();
        },
    );
}

#[test]
fn an_unfinished_snapshot_is_ignored_and_removed() {
    let chunks = vec![vec![1; 100_000]];
    on_every_store(
        |store| {
            store.commit(&records(1, &[300; 5])).unwrap();
            write_snapshot(store, 3, &chunks);
            store.begin_snapshot(5).unwrap();
            store.put_snapshot_chunks(&[vec![2; 100_000]]).unwrap();
            // What is being written survives trimming, what was given up does not.
            maintain_all(store);
            store.begin_snapshot(5).unwrap();
            store.put_snapshot_chunks(&[vec![3; 100_000]]).unwrap();
            store.commit(&records(6, &[300])).unwrap();
        },
        |store| {
            check_holds(store, Some((3, chunks.clone())), &records(4, &[300; 3]));
            maintain_all(store);
            check_holds(store, Some((3, chunks.clone())), &records(4, &[300; 3]));
        },
    );
}

#[test]
fn a_snapshot_given_up_takes_no_room() {
    let mut store = MemoryStore::new(SLOT_SECONDS, store_id());
    store.commit(&records(1, &[300])).unwrap();
    write_snapshot(&mut store, 1, &[vec![1; 50_000]]);
    maintain_all(&mut store);
    let bytes = store.info().bytes_on_disk;
    for _ in 0..3 {
        store.begin_snapshot(1).unwrap();
        store.put_snapshot_chunks(&[vec![2; 100_000]]).unwrap();
    }
    store.begin_snapshot(1).unwrap();
    assert!(store.info().bytes_on_disk > bytes + 200_000);
    maintain_all(&mut store);
    assert_eq!(store.info().bytes_on_disk, bytes);
}

#[test]
fn trimming_goes_in_slices() {
    let commits = u64::try_from(2 * TRIM_KEYS_MAX + 10).unwrap();
    let mut store = MemoryStore::new(SLOT_SECONDS, store_id());
    for revision in 1..=commits {
        store.commit(&records(revision, &[10])).unwrap();
    }
    write_snapshot(&mut store, commits, &[vec![1]]);
    assert!(store.maintain().unwrap());
    assert_eq!(store.verify().unwrap().frames, commits - 500);
    assert!(store.maintain().unwrap());
    assert!(!store.maintain().unwrap());
    check_holds(&mut store, Some((commits, vec![vec![1]])), &[]);
}

#[test]
fn a_call_that_fails_poisons_the_store() {
    type Step = fn(&mut MemoryStore) -> Result<(), StoreError>;
    type IsExpected = fn(&StoreError) -> bool;
    let steps: [(Step, IsExpected); 6] = [
        (
            |store| store.commit(&records(3, &[1])),
            |error| {
                matches!(
                    error,
                    StoreError::NotContiguous {
                        expected: 2,
                        found: 3
                    }
                )
            },
        ),
        (
            |store| store.commit(&[records(2, &[1]), records(4, &[1])].concat()),
            |error| {
                matches!(
                    error,
                    StoreError::NotContiguous {
                        expected: 3,
                        found: 4
                    }
                )
            },
        ),
        (
            |store| store.commit(&records(2, &[COMMIT_BYTES_MAX])),
            |error| matches!(error, StoreError::TooLarge { .. }),
        ),
        (
            |store| store.begin_snapshot(2),
            |error| matches!(error, StoreError::SnapshotOrder { revision: 2, .. }),
        ),
        (
            |store| store.put_snapshot_chunks(&[]),
            |error| matches!(error, StoreError::NoSnapshot),
        ),
        (
            |store| store.finish_snapshot(),
            |error| matches!(error, StoreError::NoSnapshot),
        ),
    ];
    for (step, is_expected) in steps {
        let mut store = MemoryStore::new(SLOT_SECONDS, store_id());
        store.commit(&records(1, &[1])).unwrap();
        let error = step(&mut store).unwrap_err();
        assert!(is_expected(&error), "{error}");
        check_poisoned(&mut store);
        let mut store =
            MemoryStore::open_or_create(&store.disk(), SLOT_SECONDS, store_id()).unwrap();
        check_holds(&mut store, None, &records(1, &[1]));
    }
}

fn check_poisoned(store: &mut dyn Store) {
    let results = [
        store.commit(&records(2, &[1])),
        store.commit(&[]),
        store.begin_snapshot(1),
        store.put_snapshot_chunks(&[]),
        store.finish_snapshot(),
        store.maintain().map(|_| ()),
        store.load_all().map(|_| ()),
        store.verify().map(|_: VerifyReport| ()),
    ];
    for result in results {
        assert!(matches!(result, Err(StoreError::Poisoned)));
    }
}
