//! What is replicated, as raft needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use serde::{Deserialize, Serialize};
use warifu_protocol::NodeId;

use super::types::{LeaderId, LogId, Membership, RosterNode, StoredMembership};

/// A place in the log. Ordered by term, leader, index, as raft orders them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LogPosition {
    /// Term in which the entry was proposed.
    pub term: u64,
    /// Number of the leader that proposed it; 0 for the first entry of all.
    pub leader: u64,
    /// Index of the entry; each is one more than the one before.
    pub index: u64,
}

impl LogPosition {
    pub(super) const fn of(id: &LogId) -> Self {
        Self { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
    }

    pub(super) fn log_id(self) -> LogId {
        LogId::new(LeaderId { term: self.term, node_id: self.leader }, self.index)
    }
}

/// How far a state has come. Stored with the state, in the same transaction.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct AppliedState {
    /// Last applied entry, if there was any.
    pub position: Option<LogPosition>,
    /// The last applied membership, to be kept as it is; empty before the first. [`MembershipView::decode`] reads it.
    pub membership: Vec<u8>,
}

/// One entry to apply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppliedEntry {
    /// Its place.
    pub position: LogPosition,
    /// What it says.
    pub payload: AppliedPayload,
}

/// What an entry says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AppliedPayload {
    /// Nothing; a new leader's first entry.
    Blank,
    /// A command, as it was proposed.
    Command(Vec<u8>),
    /// New members: becomes [`AppliedState::membership`].
    Membership(Vec<u8>),
}

/// Members of the cluster, as a membership entry gives them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MembershipView {
    /// Voters. Two sets while one membership passes into another: each of them must have a majority then.
    pub voters: Vec<BTreeSet<NodeId>>,
    /// Every member, voters and learners.
    pub nodes: BTreeMap<NodeId, RosterNode>,
}

/// The state failed: its disk, or its data. Raft stops, and the node with it.
#[derive(Debug, thiserror::Error)]
#[error("the replicated state failed while {action}")]
pub struct StateError {
    /// What was being done.
    pub action: &'static str,
    /// What happened.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl StateError {
    /// Wraps a cause.
    pub fn new(action: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { action, source: source.into() }
    }
}

/// A state that every node computes from the same entries.
pub trait ReplicatedState: Send + Sync + 'static {
    /// A frozen view for a snapshot.
    type Snapshot: StateSnapshot;

    /// How far this state has come, as it stands on disk.
    ///
    /// # Errors
    /// [`StateError`].
    fn applied(&self) -> Result<AppliedState, StateError>;

    /// Applies entries in order, with the position and membership of the last, in one transaction that is not lost later. Gives one response for each,
    /// also for blank and membership entries. A command that is rejected is an applied entry with a response that says so, never an error.
    fn apply(&self, entries: Vec<AppliedEntry>) -> impl Future<Output = Result<Vec<Vec<u8>>, StateError>> + Send;

    /// Freezes a consistent view, which later entries do not change. Quick: the view is written out on another thread.
    ///
    /// # Errors
    /// [`StateError`].
    fn snapshot(&self) -> Result<Self::Snapshot, StateError>;

    /// Whether a snapshot that `from` has sent may be installed. Its content is one peer's word: this is where the others are asked. Raft does not
    /// hear of a snapshot that is refused here, and the state stays as it is.
    ///
    /// # Errors
    /// [`InspectRefusal`](super::InspectRefusal); the sender is told, and may try again later.
    fn judge(
        &self,
        from: NodeId,
        applied: AppliedState,
        content: Box<dyn Read + Send>,
    ) -> impl Future<Output = Result<(), super::InspectRefusal>> + Send;

    /// Puts the snapshot's content in the place of everything, or nothing, and `applied` with it. The content came from a peer and was judged; nothing of
    /// it is trusted until the state is confirmed.
    fn install(&self, applied: AppliedState, content: Box<dyn Read + Send>) -> impl Future<Output = Result<(), StateError>> + Send;
}

/// A frozen view of a state.
pub trait StateSnapshot: Send + Sync + 'static {
    /// How far the state had come.
    fn applied(&self) -> AppliedState;

    /// Writes the content for [`ReplicatedState::install`] of another node. Runs on a thread that may block.
    ///
    /// # Errors
    /// [`StateError`].
    fn write_to(&self, out: &mut dyn Write) -> Result<(), StateError>;
}

impl MembershipView {
    /// Reads [`AppliedState::membership`] or [`AppliedPayload::Membership`].
    ///
    /// # Errors
    /// [`StateError`] if the bytes are something else or name a node that cannot be.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let stored = decode_membership(bytes)?;
        Self::of(stored.membership()).ok_or_else(|| StateError::new(READING, "a node number is out of range"))
    }

    /// Nothing if a number is not that of a node.
    pub(super) fn of(membership: &Membership) -> Option<Self> {
        let voters = membership.get_joint_config().iter().map(|set| set.iter().map(|&id| node_id(id)).collect()).collect::<Option<_>>()?;
        let nodes = membership.nodes().map(|(&id, node)| Some((node_id(id)?, node.clone()))).collect::<Option<_>>()?;
        Some(Self { voters, nodes })
    }
}

const READING: &str = "reading a membership";

pub(super) fn encode_membership(membership: &StoredMembership) -> Vec<u8> {
    postcard::to_stdvec(membership).expect("a membership has neither maps of unknown length nor floats")
}

pub(super) fn decode_membership(bytes: &[u8]) -> Result<StoredMembership, StateError> {
    if bytes.is_empty() {
        return Ok(StoredMembership::default());
    }
    postcard::from_bytes(bytes).map_err(|error| StateError::new(READING, error))
}

pub(super) fn node_id(number: u64) -> Option<NodeId> {
    u8::try_from(number).ok().and_then(NodeId::new)
}
