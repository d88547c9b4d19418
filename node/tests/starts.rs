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

/// Entries of the audit log, with the outcomes of as many of the cluster's.
async fn record(store: &LocalStore, entries: u64) {
    let write = || AuditWrite::plain(AuditEntry::new(UnixMillis(0), AuditEvent::Stopped));
    let through = store.recorded_through().unwrap() + entries;
    store.record_applied((0..entries).map(|_| write()).collect(), through).await.unwrap();
}

/// How long the audit log was and how far it reached, as the next start says.
const fn had(starts: &StartRecord) -> (u64, u64) {
    (starts.audit_size, starts.raft_index)
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
    assert_eq!(had(&end(first).await), (0, 0), "as when it was opened");
    std::fs::copy(&path, &image).unwrap();
    let second = start(&path).await;
    record(&second, 100).await;
    assert_eq!(had(&end(second).await), (5, 5));

    // The image is started, catches up, is turned away, and is started again.
    for (caught_up, unconfirmed) in [(200, 1), (0, 2)] {
        let image = start(&image).await;
        record(&image, caught_up).await;
        let starts = end(image).await;
        assert_eq!((had(&starts), starts.unconfirmed), ((5, 5), unconfirmed));
    }
    let again = start(&image).await;
    again.begin_again(BootId::new([1; 16])).await.unwrap();
    assert_eq!(had(&again.starts().unwrap()), (5, 5), "nor does a snapshot make it count");
    again.note_confirmed().await.unwrap();
    record(&again, 10).await;
    again.begin_again(BootId::new([2; 16])).await.unwrap();
    assert_eq!(had(&end(again).await), (215, 215), "a confirmed node has what it recorded itself");
}
