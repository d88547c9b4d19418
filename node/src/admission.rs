//! Before a node joins consensus it asks the others what they remember of it: a wiped, foreign or outdated store must not even vote.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use warifu_protocol::transport::{CallError, PeerClient, Role};
use warifu_protocol::wire::{CeremonyCall, CeremonyReply};
use warifu_protocol::{BootId, ClusterRecord, NodeId};

use crate::local::StartRecord;

/// Time for the others to answer. Those that are down say nothing; if all are, the whole cluster is starting, and every start is
/// checked again when it is logged.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// What is remembered as the latest start of a store that an order admitted and that has not started yet.
const NEVER_STARTED: BootId = BootId::new([0; BootId::LEN]);

/// Why a store may not join.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// The cluster knows another store of this node.
    #[error(
        "nodes {said:?} remember another store of this node: this one is new or another's. Do not run it; the site must be admitted and repaired by order"
    )]
    OtherStore {
        /// Who says so.
        said: Vec<NodeId>,
    },
    /// The cluster knows a later start of this store.
    #[error(
        "nodes {said:?} remember a later start of this store: it is older than the cluster remembers, a restored copy. Do not run it; the site must be repaired by order"
    )]
    Outdated {
        /// Who says so.
        said: Vec<NodeId>,
    },
}

/// Asks all others. f+1 of them must agree before this store is turned away, since f may lie.
///
/// Returns those that do not let this node call them at all, if they are so many. That does not turn the store away: nodes that have not
/// heard yet of an order which takes this node in do so too.
///
/// # Errors
/// See [`AdmissionError`].
pub async fn check(node: NodeId, cluster: &ClusterRecord, starts: &StartRecord, peers: &PeerClient) -> Result<Vec<NodeId>, AdmissionError> {
    let request = postcard::to_stdvec(&CeremonyCall::Remembered).expect("a call without fields serializes");
    let mut answers: FuturesUnordered<_> = cluster
        .nodes
        .iter()
        .filter(|other| other.id != node)
        .map(|other| {
            let request = &request;
            async move { (other.id, peers.call(other.id, Role::Ceremony, request, ANSWER_DEADLINE).await) }
        })
        .collect();
    let needed = usize::from(cluster.liars) + 1;
    let (mut other_store, mut outdated, mut closed) = (Vec::new(), Vec::new(), Vec::new());
    while let Some((from, answer)) = answers.next().await {
        match &answer {
            Err(error) if shuts_out(error) => closed.push(from),
            Err(error @ CallError::OtherCluster { .. }) => tracing::warn!("{error}"),
            _ => {}
        }
        let Ok(Ok(CeremonyReply::Remembered(Some(remembered)))) = answer.map(|reply| postcard::from_bytes(&reply)) else { continue };
        if remembered.store != starts.store {
            other_store.push(from);
        } else if remembered.boot != NEVER_STARTED && !starts.boots.contains(&remembered.boot) {
            outdated.push(from);
        }
    }
    if other_store.len() >= needed {
        return Err(AdmissionError::OtherStore { said: other_store });
    }
    if outdated.len() >= needed {
        return Err(AdmissionError::Outdated { said: outdated });
    }
    closed.sort_unstable();
    Ok(if closed.len() >= needed { closed } else { Vec::new() })
}

/// Whether the answer comes from a node that knows its cluster's roster and does not have this node's keys in it. The word of another cluster
/// is none: it means another genesis file, can be made up by anybody on the way, and must not have an operator erase a disk.
const fn shuts_out(error: &CallError) -> bool {
    matches!(error, CallError::NotAdmitted { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_turned_away_by_its_own_cluster_is_shut_out() {
        let node = NodeId::new(2).expect("a node id");
        assert!(shuts_out(&CallError::NotAdmitted { node, role: Role::Ceremony, reason: "certificate unknown".to_owned() }));
        let elsewhere = CallError::OtherCluster { node };
        assert!(!shuts_out(&elsewhere));
        assert!(elsewhere.to_string().contains("genesis"), "{elsewhere}");
        assert!(!shuts_out(&CallError::Unreachable { node, reason: "it is down".to_owned() }));
    }
}
