//! What a store says of itself when its node starts on it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use warifu_node::local::{AuditWrite, LocalStore, StartRecord};
use warifu_node::store::{Database, DatabaseOptions};
use warifu_protocol::{AuditEntry, AuditEvent, BootId, ClusterId, NodeId, UnixMillis};

/// Starts on the store, and ends again when the store is dropped.
async fn start(path: &Path) -> LocalStore {
    let path = PathBuf::from(path);
    let open = move || {
        let database = Database::open(&path, DatabaseOptions { cache_bytes: 1 << 20 }).unwrap();
        LocalStore::open_locked(database, NodeId::new(1).unwrap(), ClusterId::new([7; 32])).unwrap()
    };
    tokio::task::spawn_blocking(open).await.unwrap()
}

async fn record(store: &LocalStore, entries: usize) {
    let write = || AuditWrite::plain(AuditEntry::new(UnixMillis(0), AuditEvent::Stopped));
    store.record((0..entries).map(|_| write()).collect()).await.unwrap();
}

async fn end(store: LocalStore) -> StartRecord {
    tokio::task::spawn_blocking(move || store.starts().unwrap()).await.unwrap()
}

#[tokio::test]
async fn what_came_in_since_an_unconfirmed_start_does_not_count_as_what_the_store_had() {
    let directory = tempfile::tempdir().unwrap();
    let (path, image) = (directory.path().join("local.redb"), directory.path().join("image.redb"));
    let first = start(&path).await;
    record(&first, 3).await;
    first.note_confirmed().await.unwrap();
    record(&first, 2).await;
    assert_eq!(end(first).await.audit_size, 0, "as when it was opened");
    std::fs::copy(&path, &image).unwrap();
    let second = start(&path).await;
    record(&second, 100).await;
    assert_eq!(end(second).await.audit_size, 5);

    // The image is started, catches up, is turned away, and is started again.
    for (caught_up, unconfirmed) in [(200, 1), (0, 2)] {
        let image = start(&image).await;
        record(&image, caught_up).await;
        let starts = end(image).await;
        assert_eq!((starts.audit_size, starts.unconfirmed), (5, unconfirmed));
    }
    let again = start(&image).await;
    again.begin_again(BootId::new([1; 16])).await.unwrap();
    assert_eq!(again.starts().unwrap().audit_size, 5, "nor does a snapshot make it count");
    again.note_confirmed().await.unwrap();
    record(&again, 10).await;
    again.begin_again(BootId::new([2; 16])).await.unwrap();
    assert_eq!(end(again).await.audit_size, 215, "a confirmed node has what it recorded itself");
}
