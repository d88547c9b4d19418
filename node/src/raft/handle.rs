//! Running raft.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::{InitializeError, RaftError};
use openraft::{ChangeMembers, Raft};
use warifu_protocol::NodeId;
use warifu_protocol::transport::PeerClient;

use super::config::RaftConfig;
use super::inspect::InspectEntries;
use super::log_store::RaftLog;
use super::network::Network;
use super::propose::{self, ProposeError, Proposed};
use super::service::RaftService;
use super::snapshot::SnapshotDirectory;
use super::state::{LogPosition, MembershipView, ReplicatedState, node_id};
use super::state_machine::StateMachine;
use super::types::{RosterNode, TypeConfig};
use crate::store::{StoreError, StoreHealth};

/// A running raft node. Cheap to clone; runs until [`RaftHandle::shutdown`].
pub struct RaftHandle<S: ReplicatedState, I> {
    inner: Arc<Inner<S, I>>,
}

struct Inner<S: ReplicatedState, I> {
    me: NodeId,
    raft: Raft<TypeConfig, StateMachine<S>>,
    log: RaftLog,
    inspector: Arc<I>,
    client: PeerClient,
    snapshots: Arc<SnapshotDirectory>,
    state: Arc<S>,
}

/// A raft that does not start.
#[derive(Debug, thiserror::Error)]
pub enum RaftStartError {
    /// The settings contradict each other.
    #[error("raft settings: {detail}")]
    Config {
        /// How.
        detail: String,
    },
    /// The data directory cannot be used.
    #[error("raft's data directory")]
    Directory {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The log store cannot be opened.
    #[error("raft's log store")]
    Store(#[from] StoreError),
    /// Log and state do not fit together, or the first members were refused.
    #[error("raft cannot start: {detail}")]
    Raft {
        /// Why.
        detail: String,
    },
}

/// What raft knows at this moment, for readiness and metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RaftStatus {
    /// The leader, as far as this node knows.
    pub leader: Option<NodeId>,
    /// Whether this node is it.
    pub is_leader: bool,
    /// Current term.
    pub term: u64,
    /// Index of the last entry here, committed or not.
    pub last_log_index: Option<u64>,
    /// Last entry that is known here to be committed.
    pub committed: Option<LogPosition>,
    /// Last entry applied here.
    pub applied: Option<LogPosition>,
    /// Last entry in the kept snapshot.
    pub snapshot: Option<LogPosition>,
    /// Members by the last membership entry here.
    pub members: Option<MembershipView>,
    /// Why raft has stopped, if it has. Only a restart helps.
    pub failed: Option<String>,
    /// Whether the log store takes writes.
    pub store: StoreHealth,
}

impl<S: ReplicatedState, I: InspectEntries> RaftHandle<S, I> {
    /// Opens the log and runs raft over `state`. If the log is new and first members are configured, makes them members.
    ///
    /// # Errors
    /// [`RaftStartError`].
    pub async fn start(config: RaftConfig, client: PeerClient, state: Arc<S>, inspector: Arc<I>) -> Result<Self, RaftStartError> {
        let settings = config.openraft().map_err(|error| RaftStartError::Config { detail: error.to_string() })?;
        let (directory, cache_bytes) = (config.directory.clone(), config.cache_bytes);
        let open = move || {
            std::fs::create_dir_all(&directory).map_err(|source| RaftStartError::Directory { source })?;
            let snapshots = SnapshotDirectory::open(directory.join("snapshots")).map_err(|source| RaftStartError::Directory { source })?;
            Ok::<_, RaftStartError>((RaftLog::open(&directory.join("raft.redb"), cache_bytes)?, Arc::new(snapshots)))
        };
        let (log, snapshots) = crate::blocking::run(open).await.map_err(|error| raft_error(&error))??;
        let machine = StateMachine { state: Arc::clone(&state), snapshots: Arc::clone(&snapshots) };
        let network = Network { me: config.node, client: client.clone() };
        let me = u64::from(config.node.get());
        let raft = Raft::new(me, Arc::new(settings), network, log.clone(), machine).await.map_err(|error| raft_error(&error))?;
        let handle = Self { inner: Arc::new(Inner { me: config.node, raft, log, inspector, client, snapshots, state }) };
        if let Some(members) = config.bootstrap {
            handle.initialize(members).await?;
        }
        Ok(handle)
    }

    async fn initialize(&self, members: BTreeMap<NodeId, RosterNode>) -> Result<(), RaftStartError> {
        let members: BTreeMap<u64, RosterNode> = members.into_iter().map(|(id, node)| (u64::from(id.get()), node)).collect();
        match self.inner.raft.initialize(members).await {
            // The log has entries already: this is not the first start, or another node was quicker.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(raft_error(&error)),
        }
    }

    /// What answers the other nodes.
    #[must_use]
    pub fn service(&self) -> RaftService<S, I> {
        RaftService {
            me: self.inner.me,
            raft: self.inner.raft.clone(),
            inspector: Arc::clone(&self.inner.inspector),
            snapshots: Arc::clone(&self.inner.snapshots),
            state: Arc::clone(&self.inner.state),
        }
    }

    /// Has a command logged, committed and applied, by whichever node leads. Tries again through elections, so a command may come into the log more than
    /// once: applying it a second time must change nothing.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn propose(&self, command: Vec<u8>, deadline: Duration) -> Result<Proposed, ProposeError> {
        let Inner { raft, inspector, client, me, .. } = &*self.inner;
        propose::anywhere(raft, inspector.as_ref(), client, *me, command, deadline).await
    }

    /// Waits until this node has applied the entry with this index. False if it has not by the deadline.
    pub async fn wait_applied(&self, index: u64, deadline: Duration) -> bool {
        self.inner.raft.wait(Some(deadline)).applied_index_at_least(Some(index), "applied").await.is_ok()
    }

    /// Makes `voters` the members of the cluster, at the leader. New ones are first brought up to date as learners. Every node's [`InspectEntries`] judges
    /// the entries that say so.
    ///
    /// # Errors
    /// [`ProposeError::Refused`] with raft's reason, also if this node does not lead; [`ProposeError::Deadline`].
    pub async fn change_members(&self, voters: BTreeMap<NodeId, RosterNode>, deadline: Duration) -> Result<(), ProposeError> {
        let refused = |error: &dyn std::fmt::Display| ProposeError::Refused { reason: error.to_string() };
        let change = async {
            let known: BTreeSet<u64> = self.inner.raft.metrics().borrow_watched().membership_config.nodes().map(|(&id, _)| id).collect();
            for (id, node) in &voters {
                let id = u64::from(id.get());
                if !known.contains(&id) {
                    self.inner.raft.add_learner(id, node.clone(), true).await.map_err(|error| refused(&error))?;
                }
            }
            let ids: BTreeSet<u64> = voters.keys().map(|id| u64::from(id.get())).collect();
            self.inner.raft.change_membership(ids, false).await.map(drop).map_err(|error| refused(&error))
        };
        let late = || ProposeError::Deadline { deadline, last: "members are still changing".to_owned() };
        tokio::time::timeout(deadline, change).await.unwrap_or_else(|_| Err(late()))
    }

    /// Moves the members towards these, at the leader: voters first, then members, one committed entry after the other. A node that is given
    /// other data than before must not be a voter meanwhile. Safe to repeat: it goes on from wherever the members are.
    ///
    /// # Errors
    /// [`ProposeError::Refused`] with raft's reason, also if this node does not lead; [`ProposeError::Deadline`].
    pub async fn approach(
        &self,
        voters: &BTreeSet<NodeId>,
        nodes: &BTreeMap<NodeId, RosterNode>,
        deadline: Duration,
    ) -> Result<(), ProposeError> {
        let raft = &self.inner.raft;
        let refused = |error: &dyn std::fmt::Display| ProposeError::Refused { reason: error.to_string() };
        let number = |id: &NodeId| u64::from(id.get());
        let members = || MembershipView::of(raft.metrics().borrow_watched().membership_config.membership());
        let change = async {
            let found = members().ok_or_else(|| refused(&"members that cannot be"))?;
            if found.voters.as_slice() != std::slice::from_ref(voters) {
                let ids: BTreeSet<u64> = voters.iter().map(number).collect();
                raft.change_membership(ids, false).await.map_err(|error| refused(&error))?;
            }
            let found = members().ok_or_else(|| refused(&"members that cannot be"))?;
            let extra: BTreeSet<u64> = found.nodes.keys().filter(|id| !nodes.contains_key(id)).map(number).collect();
            if !extra.is_empty() {
                raft.change_membership(ChangeMembers::RemoveNodes(extra), true).await.map_err(|error| refused(&error))?;
            }
            let differing = |(id, node): &(&NodeId, &RosterNode)| found.nodes.get(id) != Some(node);
            let set: BTreeMap<u64, RosterNode> = nodes.iter().filter(differing).map(|(id, node)| (number(id), node.clone())).collect();
            if !set.is_empty() {
                raft.change_membership(ChangeMembers::SetNodes(set), true).await.map_err(|error| refused(&error))?;
            }
            Ok(())
        };
        let late = || ProposeError::Deadline { deadline, last: "members are still changing".to_owned() };
        tokio::time::timeout(deadline, change).await.unwrap_or_else(|_| Err(late()))
    }

    /// Hands leadership to another node, before a planned stop. Returns when asked, not when done.
    pub async fn transfer_leadership(&self, to: NodeId) {
        // If raft has stopped there is nothing to hand over.
        let _ = self.inner.raft.trigger().transfer_leader(u64::from(to.get())).await;
    }

    /// Has the cluster elect another leader, whether or not the present one agrees: this node begins a new term, in which it does not follow
    /// it any more. Returns when begun, not when done.
    pub async fn replace_leader(&self) {
        // If raft has stopped there is nobody to replace.
        let _ = self.inner.raft.trigger().elect(false).await;
    }

    /// Makes a snapshot in the background now.
    pub async fn snapshot_now(&self) {
        // If raft has stopped there is nothing to make one of.
        let _ = self.inner.raft.trigger().snapshot().await;
    }

    /// Purges the log up to this index, as far as a snapshot has it.
    pub async fn purge_to(&self, index: u64) {
        // If raft has stopped there is nothing to purge.
        let _ = self.inner.raft.trigger().purge_log(index).await;
    }

    /// What raft knows at this moment.
    #[must_use]
    pub fn status(&self) -> RaftStatus {
        let metrics = self.inner.raft.metrics().borrow_watched().clone();
        RaftStatus {
            leader: metrics.current_leader.and_then(node_id),
            is_leader: metrics.current_leader == Some(metrics.id),
            term: metrics.current_term,
            last_log_index: metrics.last_log_index,
            committed: metrics.local_committed.as_ref().map(LogPosition::of),
            applied: metrics.last_applied.as_ref().map(LogPosition::of),
            snapshot: metrics.snapshot.as_ref().map(LogPosition::of),
            members: MembershipView::of(metrics.membership_config.membership()),
            failed: metrics.running_state.err().map(|error| error.to_string()),
            store: self.inner.log.database().health(),
        }
    }

    /// Stops raft. What was acknowledged is on disk.
    pub async fn shutdown(&self) {
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::error!(%error, "raft did not stop in order");
        }
    }
}

impl<S: ReplicatedState, I> Clone for RaftHandle<S, I> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S: ReplicatedState, I> std::fmt::Debug for RaftHandle<S, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftHandle").field("me", &self.inner.me).finish_non_exhaustive()
    }
}

fn raft_error(error: &dyn std::fmt::Display) -> RaftStartError {
    RaftStartError::Raft { detail: error.to_string() }
}
