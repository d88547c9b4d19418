//! The log store and the adapter against openraft's own suite, and the checks on what peers send.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod forged;
mod frames;
mod harness;
mod production;

use std::io::{Read, Write};
use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::inspect::{InspectRefusal, examine};
use super::log_store::RaftLog;
use super::snapshot::SnapshotDirectory;
use super::state::{AppliedEntry, AppliedPayload, AppliedState, ReplicatedState, StateError, StateSnapshot};
use super::state_machine::StateMachine;
use super::types::{Entry, LeaderId, LogId, LogPayload, Membership, TypeConfig};

/// Counts entries.
#[derive(Default)]
struct Counter(Mutex<(AppliedState, u64)>);

struct Frozen(AppliedState, u64);

impl StateSnapshot for Frozen {
    fn applied(&self) -> AppliedState {
        self.0.clone()
    }
    fn write_to(&self, out: &mut dyn Write) -> Result<(), StateError> {
        out.write_all(&self.1.to_be_bytes()).map_err(|error| StateError::new("writing", error))
    }
}

impl ReplicatedState for Counter {
    type Snapshot = Frozen;

    fn applied(&self) -> Result<AppliedState, StateError> {
        Ok(self.0.lock().0.clone())
    }

    async fn apply(&self, entries: Vec<AppliedEntry>) -> Result<Vec<Vec<u8>>, StateError> {
        let mut state = self.0.lock();
        Ok(entries
            .into_iter()
            .map(|entry| {
                state.0.position = Some(entry.position);
                state.1 += 1;
                if let AppliedPayload::Membership(members) = entry.payload {
                    state.0.membership = members;
                }
                Vec::new()
            })
            .collect())
    }

    fn snapshot(&self) -> Result<Frozen, StateError> {
        let state = self.0.lock();
        Ok(Frozen(state.0.clone(), state.1))
    }

    async fn judge(&self, _: warifu_protocol::NodeId, _: AppliedState, _: Box<dyn Read + Send>) -> Result<(), InspectRefusal> {
        Ok(())
    }

    async fn install(&self, applied: AppliedState, mut content: Box<dyn Read + Send>) -> Result<(), StateError> {
        let mut count = [0; 8];
        content.read_exact(&mut count).map_err(|error| StateError::new("reading", error))?;
        *self.0.lock() = (applied, u64::from_be_bytes(count));
        Ok(())
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, RaftLog, StateMachine<Counter>, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, RaftLog, StateMachine<Counter>), StorageError<TypeConfig>> {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("raft.redb");
        let log = crate::blocking::run(move || RaftLog::open(&path, 1024 * 1024).unwrap()).await.unwrap();
        let snapshots = Arc::new(SnapshotDirectory::open(dir.path().join("snapshots")).unwrap());
        Ok((dir, log, StateMachine { state: Arc::new(Counter::default()), snapshots }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_store_and_the_adapter_pass_the_suite_of_openraft() {
    Suite::<TypeConfig, RaftLog, StateMachine<Counter>, Builder, TempDir>::test_all(Builder).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reopened_log_has_the_vote_the_entries_and_the_positions() {
    use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("raft.redb");
    let open = || {
        let path = path.clone();
        async move { crate::blocking::run(move || RaftLog::open(&path, 1024 * 1024).unwrap()).await.unwrap() }
    };
    let vote = openraft::Vote::new_committed(3, 2);
    {
        let mut log = open().await;
        log.save_vote(&vote).await.unwrap();
        log.blocking_append((0..3000).map(|index| normal(1, index, 10))).await.unwrap();
        log.truncate_after(Some(id(1, 2500))).await.unwrap();
        log.blocking_append((2501..2600).map(|index| normal(2, index, 20))).await.unwrap();
        log.purge(id(1, 99)).await.unwrap();
        log.save_committed(Some(id(1, 2000))).await.unwrap();
        assert_eq!(
            log.try_get_log_entries(2499..2503).await.unwrap().iter().map(|entry| entry.log_id.leader_id.term).collect::<Vec<_>>(),
            [1, 1, 2, 2]
        );
        // Something durable after it takes the committed position to disk.
        log.save_vote(&vote).await.unwrap();
    }
    let mut log = open().await;
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(1, 99)), Some(id(2, 2599))));
    assert_eq!(log.read_vote().await.unwrap(), Some(vote));
    assert_eq!(log.read_committed().await.unwrap(), Some(id(1, 2000)));
    let entries = log.try_get_log_entries(..).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>(), (100..2600).collect::<Vec<_>>());
    assert!(entries.iter().all(|entry| entry.log_id.leader_id.term == if entry.log_id.index > 2500 { 2 } else { 1 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_for_replication_is_bounded_in_bytes_but_never_empty() {
    use openraft::storage::{RaftLogReader, RaftLogStorageExt};
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("raft.redb");
    let mut log = crate::blocking::run(move || RaftLog::open(&path, 1024 * 1024).unwrap()).await.unwrap();
    log.blocking_append((0..8).map(|index| normal(1, index, 1024 * 1024))).await.unwrap();
    assert_eq!(log.limited_get_log_entries(0, 8).await.unwrap().len(), 3);
    log.blocking_append([normal(1, 8, super::config::APPEND_BYTES_MAX * 2)]).await.unwrap();
    assert_eq!(log.limited_get_log_entries(8, 9).await.unwrap().len(), 1);
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId { term, node_id: 1 }, index)
}

fn normal(term: u64, index: u64, bytes: usize) -> Entry {
    Entry { log_id: id(term, index), payload: openraft::EntryPayload::Normal(LogPayload(vec![7; bytes])) }
}

#[test]
fn entries_that_would_spoil_the_log_are_refused_before_raft_sees_them() {
    let members = |ids: &[u64]| {
        let nodes = ids.iter().map(|&id| (id, super::RosterNode::default())).collect();
        openraft::EntryPayload::Membership(
            Membership::new(vec![ids.iter().copied().collect()], std::collections::BTreeMap::clone(&nodes)).unwrap(),
        )
    };
    let with = |index, payload| Entry { log_id: id(2, index), payload };
    let leader = LeaderId { term: 2, node_id: 1 };
    let good = [normal(1, 6, 1), normal(2, 7, 1), with(8, members(&[1, 2, 3]))];
    let inspected = examine(&leader, Some(&id(1, 5)), &good, Some(&id(1, 6))).unwrap();
    assert_eq!(inspected.iter().map(|entry| entry.claimed_committed).collect::<Vec<_>>(), [true, false, false]);
    assert!(examine(&leader, None, &[normal(1, 0, 1)], None).is_ok());

    let table: Vec<(&str, Option<LogId>, Vec<Entry>)> = vec![
        ("a gap after the previous entry", Some(id(1, 5)), vec![normal(1, 7, 1)]),
        ("a gap within", Some(id(1, 5)), vec![normal(1, 6, 1), normal(1, 8, 1)]),
        ("the same index twice", Some(id(1, 5)), vec![normal(1, 6, 1), normal(1, 6, 1)]),
        ("a first entry that is not the first", None, vec![normal(1, 1, 1)]),
        ("a term that falls", Some(id(2, 5)), vec![normal(1, 6, 1)]),
        ("a term after the sender's", Some(id(1, 5)), vec![normal(3, 6, 1)]),
        ("a previous entry after the sender's term", Some(id(3, 5)), vec![]),
        ("the last possible index", Some(id(1, u64::MAX)), vec![normal(1, 0, 1)]),
        ("a command that is too large", Some(id(1, 5)), vec![normal(1, 6, super::ENTRY_BYTES_MAX + 1)]),
        ("too many entries", Some(id(1, 5)), (6..6 + 257).map(|index| normal(1, index, 1)).collect()),
        ("a member that cannot be", Some(id(1, 5)), vec![with(6, members(&[1, 16]))]),
        ("no members", Some(id(1, 5)), vec![with(6, openraft::EntryPayload::Membership(Membership::default()))]),
    ];
    for (what, previous, entries) in table {
        assert!(examine(&leader, previous.as_ref(), &entries, None).is_err(), "{what}");
    }
}
