//! What only the store on sled can get wrong: files, locks, versions, damage on disk.

use std::{fs, path::Path, path::PathBuf};

use super::*;
use crate::store::sled_store::open_and_rewrite_above;

fn create(dir: &Path) -> SledStore {
    SledStore::open_or_create(dir, SLOT_SECONDS, store_id()).unwrap()
}

fn generation(dir: &Path) -> PathBuf {
    let mut generations: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    assert_eq!(generations.len(), 1);
    generations.remove(0)
}

#[test]
fn a_store_in_use_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = create(dir.path());
    let locked = SledStore::open(dir.path()).unwrap_err();
    assert!(matches!(locked, StoreError::Locked { .. }));
    drop(store);
    SledStore::open(dir.path()).unwrap();
}

#[test]
fn there_is_no_store_where_none_was_made() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    for dir in [dir.path(), &absent] {
        let missing = SledStore::open(dir).unwrap_err();
        assert!(matches!(missing, StoreError::Missing { .. }));
    }
    assert!(!absent.exists());
    create(&absent.join("deeper"));
}

#[test]
fn another_slot_length_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(dir.path()));
    let refused = SledStore::open_or_create(dir.path(), 300, store_id()).unwrap_err();
    assert!(matches!(
        refused,
        StoreError::SlotSeconds {
            stored: SLOT_SECONDS,
            asked: 300
        }
    ));
}

#[test]
fn a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = create(dir.path());
    store.write_newer_schema();
    drop(store);
    let refused = SledStore::open(dir.path()).unwrap_err();
    let found = SCHEMA_VERSION + 1;
    assert!(matches!(
        refused,
        StoreError::NewerSchema { found: f, supported: SCHEMA_VERSION } if f == found
    ));
}

#[test]
fn a_torn_recovery_file_of_sled_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = create(dir.path());
    store.commit(&records(1, &[300; 50])).unwrap();
    drop(store);
    let torn = generation(dir.path()).join("snap.7FFFFFFFFFFFFFFF.generating");
    fs::write(&torn, b"half").unwrap();
    check_holds(&mut create(dir.path()), None, &records(1, &[300; 50]));
    assert!(!torn.exists());
}

#[test]
fn a_store_with_blobs_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(dir.path()));
    fs::write(generation(dir.path()).join("blobs/1"), b"x").unwrap();
    let refused = SledStore::open(dir.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }));
}

#[test]
fn full_leaves_of_the_largest_values_need_no_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = create(dir.path());
    for revision in 1..=100 {
        store.commit(&records(revision, &[8_100])).unwrap();
    }
    store.commit(&records(101, &[3 * 1024 * 1024])).unwrap();
    write_snapshot(&mut store, 101, &[vec![1; 1024 * 1024]]);
    maintain_all(&mut store);
    drop(store);
    let blobs = fs::read_dir(generation(dir.path()).join("blobs")).unwrap();
    assert_eq!(blobs.count(), 0);
    SledStore::open(dir.path()).unwrap();
}

#[test]
fn a_mostly_dead_store_is_rewritten_at_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = create(dir.path());
    store.commit(&records(1, &[1024 * 1024; 6])).unwrap();
    store.commit(&records(7, &[300; 20])).unwrap();
    let chunks = vec![vec![9; 50_000], vec![8; 3]];
    write_snapshot(&mut store, 10, &chunks);
    let bytes_before = store.info().bytes_on_disk;
    drop(store);
    let before = generation(dir.path());
    let mut store = open_and_rewrite_above(dir.path(), 1024 * 1024).unwrap();
    assert!(store.info().bytes_on_disk < bytes_before / 2);
    let after = generation(dir.path());
    assert_ne!(before, after);
    let left = records(11, &[300; 16]);
    check_holds(&mut store, Some((10, chunks.clone())), &left);
    assert_eq!(store.info().store_id, store_id());
    drop(store);
    let mut store = create(dir.path());
    check_holds(&mut store, Some((10, chunks)), &left);
    assert_eq!(generation(dir.path()), after);
    store.commit(&records(27, &[5])).unwrap();
}

#[test]
fn a_crash_in_a_rewrite_leaves_the_old_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = create(dir.path());
    store.commit(&records(1, &[300; 20])).unwrap();
    drop(store);
    let half = dir.path().join("gen-000002.tmp");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("db"), b"half").unwrap();
    check_holds(&mut create(dir.path()), None, &records(1, &[300; 20]));
    assert!(!half.exists());
}

/// A damaged disk may cost the store, never a wrong answer: what loads is exactly what was acknowledged.
#[track_caller]
fn check_flipped_bytes(dir: &Path, expected: &Contents, flips: usize) {
    let source = generation(dir);
    let db = fs::read(source.join("db")).unwrap();
    let written: Vec<usize> = (0..db.len()).filter(|&at| db[at] != 0).collect();
    let open_damaged = |damaged: &[u8]| {
        let copy = memory_dir();
        let target = copy.path().join("gen-000001");
        copy_generation(&source, &target);
        fs::write(target.join("db"), damaged).unwrap();
        SledStore::open(copy.path()).and_then(|mut store| store.load_all())
    };
    assert_eq!(&open_damaged(&db).unwrap(), expected);
    let mut noticed = 0;
    for flip in 0..flips {
        let at = written[flip * written.len() / flips];
        let mut damaged = db.clone();
        damaged[at] ^= 1 << (flip % 8);
        match open_damaged(&damaged) {
            Ok(contents) => assert_eq!(&contents, expected, "byte {at}"),
            Err(_) => noticed += 1,
        }
    }
    assert!(noticed > flips / 4, "{noticed} of {flips} flips noticed");
}

#[test]
fn a_flipped_byte_in_a_store_just_killed_is_noticed_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let chunks = vec![vec![3; 30_000], vec![4; 100]];
    let all = records(1, &[300; 240]);
    let mut store = create(dir.path());
    for batch in all[..200].chunks(10) {
        store.commit(batch).unwrap();
    }
    write_snapshot(&mut store, 60, &chunks);
    maintain_all(&mut store);
    for batch in all[200..].chunks(2) {
        store.commit(batch).unwrap();
    }
    drop(store);
    let expected = Contents {
        snapshot: Some((60, chunks)),
        records: all[60..].to_vec(),
    };
    check_flipped_bytes(dir.path(), &expected, 150);
    // sled has written a recovery file by now, and takes other ways through the same bytes.
    drop(create(dir.path()));
    check_flipped_bytes(dir.path(), &expected, 100);
}

#[test]
fn a_flipped_byte_in_a_store_of_several_segments_is_noticed_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let all = records(1, &[8_000; 150]);
    let mut store = create(dir.path());
    for batch in all.chunks(6) {
        store.commit(batch).unwrap();
    }
    drop(store);
    let expected = Contents {
        snapshot: None,
        records: all,
    };
    check_flipped_bytes(dir.path(), &expected, 50);
    drop(create(dir.path()));
    check_flipped_bytes(dir.path(), &expected, 50);
}

/// Opening a store syncs a dozen times; where files live in memory that costs nothing.
fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn copy_generation(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("blobs")).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}
