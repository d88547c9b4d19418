//! Who belongs to the cluster now: what every part of this process asks instead of the genesis.
//!
//! It follows applied state. A roster file stands in for the state of a node that is new or was away, until the state has come as far.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use warifu_core::registry::{self, MembershipPlans, ProgramOutdated, Registry as _, StateStore, StateStoreError};
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::transport::{PeerEntry, PeerId, PeerRoster};
use warifu_protocol::{ClusterRecord, NodeEntry, NodeId, SpkiHash, StoreId, log_entry_version};

use crate::gate::Gate;

/// This node's own keys and store, to be found again in the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnKeys {
    /// This node.
    pub node: NodeId,
    /// Its TLS identity.
    pub tls_spki: SpkiHash,
    /// Its identity key.
    pub identity: warifu_protocol::PublicKey,
    /// Its store.
    pub store: StoreId,
}

impl OwnKeys {
    /// Whether an entry of the roster is this node's.
    #[must_use]
    pub fn are_of(&self, entry: &NodeEntry) -> bool {
        entry.id == self.node && entry.tls_spki == self.tls_spki && entry.identity == self.identity
    }
}

/// The cluster as this node knows it.
pub struct Standing {
    own: OwnKeys,
    /// Whether the node stands in the genesis as it is and was given no roster file: it votes from the first entry on.
    founder: bool,
    overrides: BTreeMap<NodeId, String>,
    peers: Arc<PeerRoster>,
    gate: Arc<Gate>,
    known: RwLock<Known>,
}

struct Known {
    cluster: Arc<ClusterRecord>,
    plans: Arc<MembershipPlans>,
    /// The store under which applied state knows this node.
    store: Option<StoreId>,
    /// The newest version of log entries that is in use.
    log_version: u16,
}

impl Standing {
    /// Reads applied state. `file` is what a roster file leads to, if there is one.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn open<S: StateStore>(
        state: &S,
        file: Option<ClusterRecord>,
        own: OwnKeys,
        founder: bool,
        overrides: BTreeMap<NodeId, String>,
        gate: Arc<Gate>,
    ) -> Result<Self, StateStoreError> {
        let applied = state.cluster()?;
        let cluster = Arc::new(file.filter(|file| file.revision() > applied.revision()).unwrap_or(applied));
        let store = state.node(own.node)?.map(|record| record.store);
        let log_version = registry::log_version(state)?;
        let known = Known { cluster, plans: Arc::new(state.membership_plans()?), store, log_version };
        let peers = Arc::new(PeerRoster::new(known.cluster.cluster, directory(&known.cluster, &overrides)));
        let standing = Self { own, founder, overrides, peers, gate, known: RwLock::new(known) };
        standing.judge_self();
        Ok(standing)
    }

    /// The transport's directory; it changes with the roster.
    #[must_use]
    pub fn peers(&self) -> Arc<PeerRoster> {
        Arc::clone(&self.peers)
    }

    /// The newest cluster that is known.
    #[must_use]
    pub fn cluster(&self) -> Arc<ClusterRecord> {
        Arc::clone(&self.known.read().cluster)
    }

    /// The membership that applied state asks of consensus.
    #[must_use]
    pub fn plans(&self) -> Arc<MembershipPlans> {
        Arc::clone(&self.known.read().plans)
    }

    /// The version that entries are written in: the newest that every node of the roster reads, this one too.
    #[must_use]
    pub fn log_version(&self) -> u16 {
        if is_on(Mutant::WriteUnreadVersion) { log_entry_version() } else { self.known.read().log_version.min(log_entry_version()) }
    }

    /// Whether this node may vote. One that came later, or on a new store, has no memory of earlier votes: it must not vote before the
    /// log that it has applied names it a voter on this very store.
    #[must_use]
    pub fn may_vote(&self) -> bool {
        let known = self.known.read();
        self.founder || (known.plans.current.voters.contains(&self.own.node) && known.store == Some(self.own.store))
    }

    /// Takes over what was applied. Removed peers can neither call nor be called from here on.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn refresh<S: StateStore>(&self, state: &S) -> Result<(), StateStoreError> {
        let (applied, plans) = (state.cluster()?, Arc::new(state.membership_plans()?));
        let store = state.node(self.own.node)?.map(|record| record.store);
        let log_version = registry::log_version(state)?;
        if let Some(outdated) = ProgramOutdated::look(state)? {
            self.gate.outdate(outdated);
        }
        {
            let mut known = self.known.write();
            (known.plans, known.store, known.log_version) = (plans, store, log_version);
            if applied.revision() < known.cluster.revision() || applied == *known.cluster {
                return Ok(());
            }
            self.peers.replace(directory(&applied, &self.overrides));
            known.cluster = Arc::new(applied);
        }
        self.judge_self();
        Ok(())
    }

    fn judge_self(&self) {
        let node = self.own.node;
        match self.cluster().node(node) {
            None => self.gate.retire(format!("node {node} was removed from the roster by order: stop it and erase its disk and keys")),
            Some(entry) if !self.own.are_of(entry) => {
                self.gate.retire(format!("node {node} was replaced by order on a new store: stop this one and erase its disk and keys"));
            }
            Some(_) => {}
        }
    }
}

fn directory(cluster: &ClusterRecord, overrides: &BTreeMap<NodeId, String>) -> BTreeMap<PeerId, PeerEntry> {
    let nodes = cluster.nodes.iter().map(|node| {
        let address = overrides.get(&node.id).unwrap_or(&node.address).clone();
        (PeerId::Node(node.id), PeerEntry { spki: node.tls_spki, address })
    });
    // Coordinators call; they are never called.
    let coordinators = cluster
        .coordinators
        .iter()
        .map(|coordinator| (PeerId::Coordinator(coordinator.id.clone()), PeerEntry { spki: coordinator.tls_spki, address: String::new() }));
    nodes.chain(coordinators).collect()
}
