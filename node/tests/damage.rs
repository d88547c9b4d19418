//! A changed byte anywhere in a store's file is found before the store is used, and changes nothing that is read.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use redb::{ReadableTable as _, TableDefinition};
use warifu_node::store::{Database, DatabaseOptions, StoreError, verify};

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
const OPTIONS: DatabaseOptions = DatabaseOptions { cache_bytes: 1 << 20 };
const COUNT: u64 = 300;

fn content(key: u64) -> Vec<u8> {
    vec![u8::try_from(key % 251).unwrap(); 100]
}

fn read(database: &Database) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    database.read(|transaction| {
        let mut rows = Vec::new();
        for row in transaction.open_table(RECORDS)?.iter()? {
            let (key, value) = row?;
            rows.push((key.value(), value.value().to_vec()));
        }
        Ok(rows)
    })
}

#[test]
fn a_flipped_byte_is_found_or_was_never_part_of_what_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("store.redb"), directory.path().join("copy.redb"));
    {
        let database = Database::open(&path, OPTIONS).unwrap();
        for key in 0..COUNT {
            database.write_blocking(move |tx| Ok(tx.open_table(RECORDS)?.insert(key, content(key).as_slice()).map(|_| ())?)).unwrap();
        }
    }
    let expected: Vec<_> = (0..COUNT).map(|key| (key, content(key))).collect();
    let good = fs::read(&path).unwrap();
    verify(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), good, "looking changes nothing");
    let (mut found, mut missed) = (0, 0);
    // Where records lie, densely; elsewhere, sparsely.
    let records: Vec<usize> = (0..COUNT).filter_map(|key| good.windows(100).position(|window| window == content(key))).collect();
    for at in (0..good.len()).step_by(good.len() / 150).chain(records.into_iter().step_by(3).map(|start| start + 50)) {
        let mut changed = good.clone();
        changed[at] ^= 0x04;
        fs::write(&copy, &changed).unwrap();
        match Database::open(&copy, OPTIONS) {
            Ok(database) => {
                assert_eq!(read(&database).unwrap(), expected, "byte {at} was changed, not found, and read");
                missed += 1;
            }
            Err(StoreError::Damaged { path: named, .. }) => {
                assert_eq!(named, copy);
                assert_eq!(fs::read(&copy).unwrap(), changed, "what is damaged stays as it is");
                assert!(Database::open(&copy, OPTIONS).is_err(), "and is damaged the second time too");
                found += 1;
            }
            Err(other) => panic!("byte {at}: {other:?}"),
        }
    }
    assert!(found > 30, "{found} found, {missed} of no account");
}

#[test]
fn files_that_are_cut_off_or_no_store_are_refused_and_one_that_is_in_use_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    verify(&path).unwrap();
    let database = Database::open(&path, OPTIONS).unwrap();
    database.write_blocking(|tx| Ok(tx.open_table(RECORDS)?.insert(1, content(1).as_slice()).map(|_| ())?)).unwrap();
    assert!(matches!(verify(&path), Err(StoreError::Open { .. })));
    drop(database);
    let good = fs::read(&path).unwrap();
    for len in [1, 100, 4096, good.len() / 2] {
        fs::write(&path, &good[..len]).unwrap();
        assert!(matches!(verify(&path), Err(StoreError::Damaged { .. })), "{len} bytes");
    }
    fs::write(&path, vec![7; 10_000]).unwrap();
    assert!(matches!(verify(&path), Err(StoreError::Damaged { .. })));
}
