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
#[test]
fn a_flipped_byte_on_disk_is_noticed_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let chunks = vec![vec![3; 30_000], vec![4; 100]];
    let mut store = create(dir.path());
    for first in (1..=200).step_by(10) {
        store.commit(&records(first, &[300; 10])).unwrap();
    }
    write_snapshot(&mut store, 60, &chunks);
    maintain_all(&mut store);
    for first in (201..=240).step_by(2) {
        store.commit(&records(first, &[300, 2_000])).unwrap();
    }
    drop(store);
    let expected = create(dir.path()).load_all().unwrap();
    assert_eq!(expected.records.len(), 180);

    let source = generation(dir.path());
    let db = fs::read(source.join("db")).unwrap();
    let written: Vec<usize> = (0..db.len()).filter(|&at| db[at] != 0).collect();
    let (mut noticed, mut harmless) = (0, 0);
    for flip in 0..300_usize {
        let at = written[flip * written.len() / 300];
        let copy = tempfile::tempdir().unwrap();
        let target = copy.path().join("gen-000001");
        copy_generation(&source, &target);
        let mut damaged = db.clone();
        damaged[at] ^= 1 << (flip % 8);
        fs::write(target.join("db"), &damaged).unwrap();
        match SledStore::open(copy.path()).and_then(|mut store| store.load_all()) {
            Ok(contents) => {
                assert_eq!(contents, expected, "byte {at}");
                harmless += 1;
            }
            Err(_) => noticed += 1,
        }
    }
    println!("{noticed} noticed, {harmless} harmless");
    assert!(noticed > 50);
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
