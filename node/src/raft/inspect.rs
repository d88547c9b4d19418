//! What a follower checks of entries before they reach raft.

use std::time::Duration;

use openraft::EntryPayload;
use warifu_protocol::NodeId;

use super::config::{ENTRIES_PER_APPEND_MAX, ENTRY_BYTES_MAX};
use super::state::{LogPosition, MembershipView};
use super::types::{Entry, LeaderId, LogId};

/// The node's own judgement of entries and proposals, beyond what raft asks for.
pub trait InspectEntries: Send + Sync + 'static {
    /// Whether these entries of a leader may be appended. If not, those before a membership entry are tried alone, since they may hold the order
    /// that explains it, as are those before an entry that the refusal calls unexplained. Called again when the leader sends the rest again.
    ///
    /// # Errors
    /// [`InspectRefusal`]; the leader is told, and tries again later.
    fn inspect(&self, from: NodeId, entries: &[InspectedEntry<'_>]) -> Result<(), InspectRefusal>;

    /// Whether a snapshot that names these members may be received. Before its content is known this is about what can be told without it;
    /// [`ReplicatedState::judge`](super::ReplicatedState::judge) has the last word.
    ///
    /// # Errors
    /// [`InspectRefusal`]; the sender is told, and tries again later.
    fn receive(&self, from: NodeId, position: LogPosition, members: MembershipView) -> Result<(), InspectRefusal> {
        self.inspect(
            from,
            &[InspectedEntry { position, payload: InspectedPayload::Membership(members), claimed_committed: true, inherited: false }],
        )
    }

    /// Whether this node may vote. One that has lost its memory of earlier votes must not.
    fn may_vote(&self) -> bool;

    /// Called at the leader before [`Self::admit`], for a command of another node: whether that node may bring it into the log now.
    ///
    /// # Errors
    /// How long it is to wait.
    fn weigh(&self, from: NodeId, command: &[u8]) -> impl Future<Output = Result<(), Duration>> + Send {
        let _ = (from, command);
        async { Ok(()) }
    }

    /// Called at the leader with what applying a command of another node gave.
    fn weighed(&self, from: NodeId, response: &[u8]) {
        let _ = (from, response);
    }

    /// Called at the leader for a command that `from` (perhaps this node) wants in the log. Gives the bytes that are logged, with the entry's time put in.
    ///
    /// # Errors
    /// [`InspectRefusal`]; the proposer is told.
    fn admit(&self, from: NodeId, command: Vec<u8>) -> Result<Vec<u8>, InspectRefusal>;
}

/// An entry that came from a leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InspectedEntry<'a> {
    /// Its place.
    pub position: LogPosition,
    /// What it says.
    pub payload: InspectedPayload<'a>,
    /// The leader says that it is committed already: the follower is catching up, and the entry may be old.
    pub claimed_committed: bool,
    /// It was proposed in an earlier term than the one in which it is sent: a leader inherited it, and it may be old.
    pub inherited: bool,
}

/// What such an entry says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InspectedPayload<'a> {
    /// Nothing.
    Blank,
    /// A command.
    Command(&'a [u8]),
    /// New members.
    Membership(MembershipView),
}

/// Why entries or a command are not let in.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct InspectRefusal {
    /// For the other side and the log.
    pub reason: String,
    /// An entry that those before it may explain once they are applied: they are tried alone.
    pub unexplained: Option<u64>,
}

impl InspectRefusal {
    /// A refusal for this reason.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), unexplained: None }
    }

    /// The same, for the sake of the entry at this index, which those before it may explain.
    #[must_use]
    pub fn at(self, index: u64) -> Self {
        Self { unexplained: Some(index), ..self }
    }
}

/// Checks what raft takes for granted of its peers, because entries that break it would stop the node or spoil its log, and translates.
pub(super) fn examine<'a>(
    leader: &LeaderId,
    previous: Option<&LogId>,
    entries: &'a [Entry],
    committed: Option<&LogId>,
) -> Result<Vec<InspectedEntry<'a>>, InspectRefusal> {
    let refuse = |index: u64, what: &str| InspectRefusal::new(format!("entry {index}: {what}"));
    if entries.len() > ENTRIES_PER_APPEND_MAX {
        return Err(InspectRefusal::new(format!("{} entries at once", entries.len())));
    }
    let mut before = previous.copied();
    if before.is_some_and(|id| id.leader_id > *leader) {
        return Err(InspectRefusal::new("the previous entry is of a later leader than the sender"));
    }
    let mut inspected = Vec::with_capacity(entries.len());
    for entry in entries {
        let id = entry.log_id;
        if Some(id.index) != before.map_or(Some(0), |id| id.index.checked_add(1)) {
            return Err(refuse(id.index, "does not follow the one before"));
        }
        if before.is_some_and(|before| before.leader_id > id.leader_id) || id.leader_id > *leader {
            return Err(refuse(id.index, "is of a leader out of order"));
        }
        let payload = match &entry.payload {
            EntryPayload::Blank => InspectedPayload::Blank,
            EntryPayload::Normal(payload) if payload.0.len() > ENTRY_BYTES_MAX => return Err(refuse(id.index, "is too large")),
            EntryPayload::Normal(payload) => InspectedPayload::Command(&payload.0),
            EntryPayload::Membership(membership) => match MembershipView::of(membership) {
                Some(view) if !view.voters.is_empty() => InspectedPayload::Membership(view),
                _ => return Err(refuse(id.index, "names members that cannot be")),
            },
        };
        let claimed_committed = committed.is_some_and(|committed| committed.index >= id.index);
        let inherited = id.leader_id.term < leader.term;
        inspected.push(InspectedEntry { position: LogPosition::of(&id), payload, claimed_committed, inherited });
        before = Some(id);
    }
    Ok(inspected)
}
