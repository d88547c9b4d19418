//! Request numbers: used once while their session can be signed for, forgotten long after it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use redb::backends::InMemoryBackend;
use warifu_node::local::{AuditWrite, LocalStore, LocalStoreError, SpendOutcome, SweepCursor};
use warifu_node::store::{Database, DatabaseOptions};
use warifu_protocol::{AuditEntry, AuditEvent, ClusterId, NodeId, RequestHash, SessionId, UnixMillis};

const OVER: SessionId = SessionId::new([0x0e; 32]);
const ONGOING: SessionId = SessionId::new([0x55; 32]);
/// More than two pages of a sweep.
const NUMBERS: u32 = 1200;

fn store() -> LocalStore {
    let database = Database::open_backend(InMemoryBackend::new(), DatabaseOptions { cache_bytes: 1 << 20 }).unwrap();
    LocalStore::open_locked(database, NodeId::new(1).unwrap(), ClusterId::new([7; 32])).unwrap()
}

fn write(session: SessionId, seq: u32, request: u8) -> AuditWrite {
    let entry = AuditEntry::new(UnixMillis(0), AuditEvent::Stopped);
    AuditWrite { entry, spend: Some((session, seq, RequestHash::new([request; 32]))), otherwise: None }
}

#[tokio::test]
async fn the_numbers_of_ended_sessions_are_forgotten_page_by_page_and_no_others() {
    let store = tokio::task::spawn_blocking(store).await.unwrap();
    let numbers = |request| [OVER, ONGOING].into_iter().flat_map(move |session| (1..=NUMBERS).map(move |seq| write(session, seq, request)));
    assert!(store.record(numbers(1).collect()).await.unwrap().iter().all(|outcome| *outcome == SpendOutcome::Recorded));
    assert!(store.record(numbers(2).collect()).await.unwrap().iter().all(|outcome| *outcome == SpendOutcome::UsedForAnother));

    let (mut cursor, mut forgotten, mut pages) = (SweepCursor::default(), 0, 0);
    let store = tokio::task::spawn_blocking(move || {
        loop {
            let (count, is_last) = store.drop_spent::<LocalStoreError>(&mut cursor, |session| Ok(session == OVER)).unwrap();
            (forgotten, pages) = (forgotten + count, pages + 1);
            if is_last {
                break;
            }
        }
        assert_eq!(forgotten, NUMBERS as usize);
        assert!(pages > 2, "{pages} pages");
        store
    });
    let store = store.await.unwrap();
    let outcomes = store.record(vec![write(OVER, 7, 2), write(ONGOING, 7, 2), write(ONGOING, NUMBERS, 1)]).await.unwrap();
    assert_eq!(outcomes, [SpendOutcome::Recorded, SpendOutcome::UsedForAnother, SpendOutcome::Recorded]);
}

#[tokio::test]
async fn a_used_number_is_kept_by_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("local.redb");
    let open = async || {
        let path = path.clone();
        let open = move || {
            let database = Database::open(&path, DatabaseOptions { cache_bytes: 1 << 20 }).unwrap();
            LocalStore::open_locked(database, NodeId::new(1).unwrap(), ClusterId::new([7; 32])).unwrap()
        };
        tokio::task::spawn_blocking(open).await.unwrap()
    };
    let store = open().await;
    assert_eq!(store.record(vec![write(ONGOING, 7, 1)]).await.unwrap(), [SpendOutcome::Recorded]);
    tokio::task::spawn_blocking(move || drop(store)).await.unwrap();

    let store = open().await;
    let asked = vec![write(ONGOING, 7, 2), write(ONGOING, 7, 1), write(ONGOING, 8, 2), write(OVER, 7, 2)];
    let outcomes = store.record(asked).await.unwrap();
    assert_eq!(outcomes, [SpendOutcome::UsedForAnother, SpendOutcome::Recorded, SpendOutcome::Recorded, SpendOutcome::Recorded]);
    tokio::task::spawn_blocking(move || drop(store)).await.unwrap();
}
