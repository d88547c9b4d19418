//! Bringing a command into the log, from any node.

use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::{ClientWriteError, RaftError};
use tokio::time::{Instant, sleep, timeout};
use warifu_protocol::NodeId;
use warifu_protocol::transport::{CallError, PeerClient, Role, RpcRefusal};

use super::config::ENTRY_BYTES_MAX;
use super::inspect::InspectEntries;
use super::messages::{self, ProposeReply, RaftRequest};
use super::state::{LogPosition, ReplicatedState, node_id};
use super::state_machine::StateMachine;
use super::types::{LogPayload, TypeConfig};

/// Time for one leader to carry a proposal out. After it another attempt is made, perhaps at another leader.
pub(super) const ATTEMPT_DEADLINE: Duration = Duration::from_secs(3);

/// Pause between attempts while there is no leader: a fraction of an election.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A command that is in the log and applied at the leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposed {
    /// Its place. This node may apply it a little later, see [`RaftHandle::wait_applied`](super::RaftHandle::wait_applied).
    pub position: LogPosition,
    /// What applying it gave.
    pub response: Vec<u8>,
    /// An earlier attempt ended without a word of what became of it: it may be the one that counts, and this the repetition.
    pub after_unknown: bool,
}

/// A command that is not known to be in the log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// It is larger than an entry may be.
    #[error("a command of {size} bytes; at most {ENTRY_BYTES_MAX} fit into an entry")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// The leader will not log it: the proposer or the command is at fault.
    #[error("the leader refuses the command: {reason}")]
    Refused {
        /// Its reason.
        reason: String,
    },
    /// No answer in time. The command may be in the log or still come into it.
    #[error("no leader carried the command out within {deadline:?} (last: {last}); it may still be")]
    Deadline {
        /// How long was tried.
        deadline: Duration,
        /// What the last attempt met.
        last: String,
    },
}

/// One attempt at this node, for a proposal of `from`.
pub(super) async fn at_leader<S: ReplicatedState, I: InspectEntries>(
    raft: &Raft<TypeConfig, StateMachine<S>>,
    inspector: &I,
    from: NodeId,
    command: Vec<u8>,
) -> ProposeReply {
    if command.len() > ENTRY_BYTES_MAX {
        return ProposeReply::Refused { reason: ProposeError::TooLarge { size: command.len() }.to_string() };
    }
    let leader = raft.metrics().borrow_watched().current_leader;
    if leader != Some(*raft.node_id()) {
        return ProposeReply::NotLeader { leader };
    }
    let command = match inspector.admit(from, command) {
        Ok(command) if command.len() <= ENTRY_BYTES_MAX => command,
        Ok(command) => return ProposeReply::Refused { reason: ProposeError::TooLarge { size: command.len() }.to_string() },
        Err(refusal) => return ProposeReply::Refused { reason: refusal.reason },
    };
    match timeout(ATTEMPT_DEADLINE, raft.client_write(LogPayload(command))).await {
        Ok(Ok(written)) => ProposeReply::Done { position: LogPosition::of(&written.log_id), response: written.data },
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => ProposeReply::NotLeader { leader: forward.leader_id },
        Ok(Err(_)) | Err(_) => ProposeReply::NotLeader { leader: None },
    }
}

/// Tries until a leader carries it out.
pub(super) async fn anywhere<S: ReplicatedState, I: InspectEntries>(
    raft: &Raft<TypeConfig, StateMachine<S>>,
    inspector: &I,
    client: &PeerClient,
    me: NodeId,
    command: Vec<u8>,
    deadline: Duration,
) -> Result<Proposed, ProposeError> {
    if command.len() > ENTRY_BYTES_MAX {
        return Err(ProposeError::TooLarge { size: command.len() });
    }
    let end = Instant::now() + deadline;
    let (mut last, mut after_unknown) = ("no leader".to_owned(), false);
    loop {
        let remaining = end.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Err(ProposeError::Deadline { deadline, last });
        }
        // Whoever does not lead when it is asked did nothing; one that did may have.
        let mut may_be_done = raft.metrics().borrow_watched().current_leader == Some(u64::from(me.get()));
        let here = timeout(remaining, at_leader(raft, inspector, me, command.clone())).await;
        let reply = match here {
            Ok(ProposeReply::NotLeader { leader: Some(leader) }) if leader != u64::from(me.get()) => {
                let remaining = end.saturating_duration_since(Instant::now());
                after_unknown |= std::mem::replace(&mut may_be_done, true);
                tokio::select! {
                    reply = forward(client, leader, &command, remaining.min(ATTEMPT_DEADLINE)) => reply,
                    // One that has lost the others says nothing, and would be waited for.
                    () = led_by_another_than(raft, leader) => Err(Failure::Passing(format!("node {leader} leads no more"))),
                }
            }
            Ok(reply) => Ok(reply),
            Err(_) => Err(Failure::Passing("this node leads but cannot commit".to_owned())),
        };
        match reply {
            Ok(ProposeReply::Done { position, response }) => return Ok(Proposed { position, response, after_unknown }),
            Ok(ProposeReply::Refused { reason }) | Err(Failure::Final(reason)) => return Err(ProposeError::Refused { reason }),
            Ok(ProposeReply::NotLeader { .. }) => "no leader".clone_into(&mut last),
            Err(Failure::Passing(reason)) => last = reason,
        }
        after_unknown |= may_be_done;
        sleep(RETRY_PAUSE.min(end.saturating_duration_since(Instant::now()))).await;
    }
}

/// Waits until this node knows of another leader.
async fn led_by_another_than<S: ReplicatedState>(raft: &Raft<TypeConfig, StateMachine<S>>, leader: u64) {
    let mut metrics = raft.metrics();
    loop {
        if metrics.borrow_watched().current_leader.is_some_and(|now| now != leader) {
            return;
        }
        if metrics.changed().await.is_err() {
            // Raft has stopped; the call's deadline says so.
            return std::future::pending().await;
        }
    }
}

enum Failure {
    Passing(String),
    Final(String),
}

async fn forward(client: &PeerClient, leader: u64, command: &[u8], deadline: Duration) -> Result<ProposeReply, Failure> {
    let leader = node_id(leader).ok_or_else(|| Failure::Passing(format!("leader {leader} is no node's number")))?;
    let request = messages::encode(&RaftRequest::Propose(LogPayload(command.to_vec())));
    match client.call(leader, Role::Raft, &request, deadline).await {
        Ok(reply) => messages::decode(&reply).map_err(|error| Failure::Passing(format!("node {leader} answered nonsense: {error}"))),
        Err(CallError::Refused { refusal: refusal @ RpcRefusal::Malformed { .. }, .. }) => Err(Failure::Final(refusal.to_string())),
        Err(error) => Err(Failure::Passing(error.to_string())),
    }
}
