//! A site's disk: three stores as a node has them, with what a crash makes of writes that are under way.
//!
//! As on the real store, what is read is what is durable, and a write is either there as a whole or not at all. What a write that was cut
//! off or reported as failed left behind shows only after the next start.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use frost_ed25519::keys::KeyPackage;
use warifu_core::ceremony::OpenShare;
use warifu_core::registry::{Changes, ClusterRecord, MemoryStore, NodeRecord, Registry as _, table};
use warifu_core::signer::ShareRecord;
use warifu_node::local::{AuditWrite, HoldEnd, HoldRecord, SpendOutcome, StartRecord};
use warifu_protocol::{
    AuditEntry, AuditEvent, BootId, ClusterId, CredentialId, Epoch, Gone, NodeId, NodeSigned, RequestHash, SessionId, Sha256, StopId,
    StoreId, UnixMillis,
};

/// What belongs to the site alone.
#[derive(Clone)]
pub(super) struct LocalData {
    /// Its starts.
    pub(super) starts: StartRecord,
    /// Audit log.
    pub(super) audit: Vec<AuditEntry>,
    /// Numbers of sessions that are used.
    pub(super) spent: BTreeMap<(SessionId, u32), RequestHash>,
    /// Shares.
    pub(super) shares: BTreeMap<(CredentialId, Epoch), ShareRecord>,
    /// Destroyed credentials.
    pub(super) tombstones: BTreeSet<CredentialId>,
    /// Log index up to which destroyed credentials were dealt with.
    pub(super) destroyed_through: u64,
    /// Destroyed, but not shredded.
    pub(super) unshredded: BTreeSet<CredentialId>,
    /// What was said of those that are gone.
    pub(super) gone: BTreeMap<CredentialId, NodeSigned<Gone>>,
    /// Stops.
    pub(super) holds: BTreeMap<StopId, HoldRecord>,
}

/// The registry and where consensus stands.
#[derive(Clone)]
pub(super) struct StateData {
    /// The registry.
    pub(super) registry: MemoryStore,
    /// The cluster as the registry has it: every message that arrives is judged by it.
    pub(super) cluster: Arc<ClusterRecord>,
    /// Last entry in it.
    pub(super) applied: u64,
    /// Root after each of the last entries.
    pub(super) marks: BTreeMap<u64, Sha256>,
}

/// One disk.
#[derive(Clone)]
pub(super) struct Disk {
    /// Local store.
    pub(super) local: LocalData,
    /// State store.
    pub(super) state: StateData,
    /// Last index in its raft log.
    pub(super) log_through: u64,
    /// What a write that nobody heard the end of left behind; it shows after the next start.
    left: Vec<Left>,
}

#[derive(Clone)]
enum Left {
    Local(LocalWrite),
    State(StateWrite),
}

/// A write to the local store.
#[derive(Clone)]
pub(super) enum LocalWrite {
    /// Audit entries with the numbers that they use up.
    Audit(Vec<AuditWrite>),
    /// The latest start was confirmed.
    Confirmed(AuditEntry),
    /// Shares.
    Shares(Vec<ShareRecord>),
    /// A stop that is obeyed.
    Hold(Box<HoldRecord>),
    /// Ends of holds.
    EndHolds(Vec<(StopId, HoldEnd)>, UnixMillis),
    /// Destroyed credentials, up to a log index.
    Destroy(Vec<CredentialId>, u64, UnixMillis),
    /// What is said of those that are gone.
    Gone(Vec<NodeSigned<Gone>>),
    /// Shares of epochs that are over.
    Drop(Vec<(CredentialId, Epoch)>),
}

/// A write to the state store.
#[derive(Clone)]
pub(super) struct StateWrite {
    /// What changes.
    pub(super) changes: Changes,
    /// Last entry in it.
    pub(super) applied: u64,
    /// The root after each entry.
    pub(super) roots: Vec<(u64, Sha256)>,
}

/// What came of a write to the local store.
#[derive(Clone, Debug, Default)]
pub(super) struct LocalOutcome {
    /// For audit entries: whether their numbers were free.
    pub(super) spends: Vec<SpendOutcome>,
    /// For a stop: what is kept of it.
    pub(super) hold: Option<Box<HoldRecord>>,
    /// Audit entries that were appended: positions.
    pub(super) appended: std::ops::Range<usize>,
    /// Shares that were stored.
    pub(super) stored: Vec<(CredentialId, Epoch)>,
}

/// How many writes to each store a crash left on the disk. The stores are files of their own, and one knows nothing of the other.
#[derive(Clone, Copy)]
pub(super) struct Survive {
    pub(super) local: usize,
    pub(super) state: usize,
}

impl OpenShare for LocalData {
    fn open_share(&self, credential: CredentialId, epoch: Epoch) -> Option<KeyPackage> {
        self.shares.get(&(credential, epoch)).and_then(|record| record.key_package().ok())
    }
}

impl Disk {
    /// An empty disk that a node has just founded its store on.
    #[must_use]
    pub(super) fn new(node: NodeId, cluster: ClusterId, store: StoreId, registry: MemoryStore) -> Self {
        let local = LocalData {
            starts: StartRecord::founded(node, cluster, store),
            audit: Vec::new(),
            spent: BTreeMap::new(),
            shares: BTreeMap::new(),
            tombstones: BTreeSet::new(),
            destroyed_through: 0,
            unshredded: BTreeSet::new(),
            gone: BTreeMap::new(),
            holds: BTreeMap::new(),
        };
        Self { local, state: StateData::new(registry, 0, BTreeMap::new()), log_through: 0, left: Vec::new() }
    }

    /// The process died: of the writes that were under way to each store, in order, the first so many got to the disk.
    pub(super) fn crash(&mut self, local: VecDeque<LocalWrite>, state: VecDeque<StateWrite>, survive: Survive) {
        self.left.extend(local.into_iter().take(survive.local).map(Left::Local));
        self.left.extend(state.into_iter().take(survive.state).map(Left::State));
    }

    /// A write was reported as failed and is there all the same.
    pub(super) fn failed_but_happened(&mut self, local: Option<LocalWrite>, state: Option<StateWrite>) {
        self.left.extend(local.map(Left::Local));
        self.left.extend(state.map(Left::State));
    }

    /// A process opens the disk: what was left is seen, and the start is counted. Gives the outcomes of what was left.
    pub(super) fn open(&mut self, boot: BootId) -> Vec<LocalOutcome> {
        let mut outcomes = Vec::new();
        for left in std::mem::take(&mut self.left) {
            match left {
                Left::Local(write) => outcomes.push(self.local.write(write)),
                Left::State(write) => self.state.write(&write),
            }
        }
        self.local.starts.begin(boot, self.local.audit.len() as u64, self.log_through);
        outcomes
    }

    /// Whether the cluster remembers more of this store than there is.
    #[must_use]
    pub(super) fn is_less_than(&self, remembered: &NodeRecord) -> bool {
        let starts = &self.local.starts;
        starts.store != remembered.store
            || (remembered.has_started() && !starts.boots.contains(&remembered.boot))
            || (self.local.audit.len() as u64) < remembered.audit_size
            || self.log_through < remembered.raft_index
    }
}

impl StateData {
    fn new(registry: MemoryStore, applied: u64, marks: BTreeMap<u64, Sha256>) -> Self {
        Self { cluster: read_cluster(&registry), registry, applied, marks }
    }

    /// Carries a write out.
    pub(super) fn write(&mut self, write: &StateWrite) {
        self.registry.write(&write.changes);
        if changes_cluster(&write.changes) {
            self.cluster = read_cluster(&self.registry);
        }
        self.applied = write.applied;
        self.marks.extend(write.roots.iter().copied());
    }

    /// Puts a snapshot in the place of everything.
    pub(super) fn install(&mut self, registry: MemoryStore, index: u64, root: Sha256) {
        *self = Self::new(registry, index, BTreeMap::from([(index, root)]));
    }
}

/// The cluster in a registry, which was founded.
pub(super) fn read_cluster(registry: &MemoryStore) -> Arc<ClusterRecord> {
    Arc::new(registry.cluster().expect("a registry that was founded has its cluster"))
}

/// Whether something else is to be read from then on.
pub(super) fn changes_cluster(changes: &Changes) -> bool {
    changes.keys().any(|key| key.first() == Some(&table::CLUSTER))
}

impl LocalData {
    /// Carries a write out.
    pub(super) fn write(&mut self, write: LocalWrite) -> LocalOutcome {
        let from = self.audit.len();
        let mut outcome = LocalOutcome::default();
        match write {
            LocalWrite::Audit(writes) => outcome.spends = writes.into_iter().map(|write| self.append(write)).collect(),
            LocalWrite::Confirmed(entry) => {
                self.audit.push(entry);
                self.starts.unconfirmed = 0;
            }
            LocalWrite::Shares(shares) => {
                for share in shares.into_iter().filter(|share| !self.tombstones.contains(&share.credential)) {
                    outcome.stored.push((share.credential, share.epoch));
                    self.shares.insert((share.credential, share.epoch), share);
                }
            }
            LocalWrite::Hold(fresh) => outcome.hold = Some(Box::new(self.hold(&fresh))),
            LocalWrite::EndHolds(ended, now) => {
                for (stop, how) in ended {
                    if let Some(record) = self.holds.get_mut(&stop).filter(|record| record.ended.is_none()) {
                        record.ended = Some(how);
                        let index = match how {
                            HoldEnd::Logged(index) | HoldEnd::Refused(index) => Some(index),
                            HoldEnd::Expired => None,
                        };
                        self.audit.push(AuditEntry::new(now, AuditEvent::HoldEnded { stop, index }));
                    }
                }
            }
            LocalWrite::Destroy(credentials, through, now) => {
                for credential in credentials {
                    self.shares.retain(|(owner, _), _| *owner != credential);
                    self.tombstones.insert(credential);
                    self.unshredded.insert(credential);
                    self.audit.push(AuditEntry::new(now, AuditEvent::SharesDeleted { credential }));
                }
                self.destroyed_through = through;
            }
            LocalWrite::Gone(gone) => {
                for signed in gone {
                    self.unshredded.remove(&signed.body.credential);
                    self.audit.push(AuditEntry::new(signed.body.at, AuditEvent::GoneGiven { gone: signed.body.clone() }));
                    self.gone.insert(signed.body.credential, signed);
                }
            }
            LocalWrite::Drop(over) => over.iter().for_each(|key| drop(self.shares.remove(key))),
        }
        outcome.appended = from..self.audit.len();
        outcome
    }

    fn append(&mut self, write: AuditWrite) -> SpendOutcome {
        let outcome = match write.spend {
            Some((session, seq, request)) if *self.spent.entry((session, seq)).or_insert(request) != request => {
                SpendOutcome::UsedForAnother
            }
            Some(_) | None => SpendOutcome::Recorded,
        };
        match outcome {
            SpendOutcome::Recorded => self.audit.push(write.entry),
            SpendOutcome::UsedForAnother => self.audit.extend(write.otherwise),
        }
        outcome
    }

    fn hold(&mut self, fresh: &HoldRecord) -> HoldRecord {
        let id = fresh.stop.id();
        let found = self.holds.get(&id).cloned();
        let is_open = found.as_ref().is_some_and(|record| record.ended.is_none());
        let (kept, gives_receipt) = HoldRecord::keep(found, fresh);
        let at = fresh.held_since;
        if let (None, false, Some((object, _))) = (kept.ended, is_open, fresh.stop.target()) {
            self.audit.push(AuditEntry::new(at, AuditEvent::StopHeld { stop: id, object }));
        }
        if let (true, Some(receipt)) = (gives_receipt, &fresh.receipt) {
            self.audit.push(AuditEntry::new(at, AuditEvent::ReceiptGiven { receipt: receipt.body.clone() }));
        }
        self.holds.insert(id, kept.clone());
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn must_disk() -> Disk {
        let node = NodeId::new(1).expect("a node id");
        let people = crate::simulate::people::People::found(&crate::simulate::plan::Plan::draw(1, 1_000, None)).expect("a genesis");
        let registry = crate::simulate::log::TheLog::found(&people).expect("founded").truth().clone();
        Disk::new(node, ClusterId::new([1; 32]), StoreId::new([2; 16]), registry)
    }

    fn entry(number: u64) -> AuditWrite {
        AuditWrite::plain(AuditEntry::new(UnixMillis(number), AuditEvent::Stopped))
    }

    #[test]
    fn what_was_under_way_at_a_crash_is_there_in_order_or_not_at_all_and_shows_after_the_next_start() {
        for survive in 0..=2 {
            let mut disk = must_disk();
            let writes = VecDeque::from([LocalWrite::Audit(vec![entry(1)]), LocalWrite::Audit(vec![entry(2)])]);
            disk.crash(writes, VecDeque::new(), Survive { local: survive, state: 0 });
            assert_eq!(disk.local.audit.len(), 0, "a process that is dead sees nothing");
            disk.open(BootId::new([3; 16]));
            let times: Vec<u64> = disk.local.audit.iter().map(|entry| entry.at.0).collect();
            assert_eq!(times, (1..=survive as u64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_crash_leaves_the_writes_to_one_store_on_the_disk_or_not_whatever_it_leaves_of_the_other() {
        for (local, state) in [(0, 1), (1, 0), (1, 1), (0, 0)] {
            let mut disk = must_disk();
            let write = StateWrite { changes: Changes::new(), applied: 7, roots: Vec::new() };
            disk.crash([LocalWrite::Audit(vec![entry(1)])].into(), [write].into(), Survive { local, state });
            disk.open(BootId::new([3; 16]));
            assert_eq!((disk.local.audit.len(), disk.state.applied), (local, 7 * state as u64));
        }
    }

    #[test]
    fn a_store_that_lacks_the_start_entries_or_log_that_the_cluster_remembers_has_less() {
        let mut disk = must_disk();
        disk.open(BootId::new([3; 16]));
        let mut record = NodeRecord {
            store: StoreId::new([2; 16]),
            store_number: 0,
            incarnation: 1,
            boot: BootId::new([3; 16]),
            started_at: 1,
            raft_index: 0,
            audit_size: 0,
            audit_root: None,
            shares_word: 0,
        };
        assert!(!disk.is_less_than(&record));
        record.audit_size = 1;
        assert!(disk.is_less_than(&record));
        record.audit_size = 0;
        record.raft_index = 1;
        assert!(disk.is_less_than(&record));
        record.raft_index = 0;
        record.boot = BootId::new([4; 16]);
        assert!(disk.is_less_than(&record));
    }
}
