//! The whole new roster or list of CAs that an order names, made from the present one.

use warifu_protocol::canonical::sha256;
use warifu_protocol::{AnchorEntry, ClusterRecord, CoordinatorEntry, Name, NodeEntry, NodeId, OfficerEntry, OrderCommand, Sha256};

use crate::orders::OrderError;

/// One change of the roster.
pub(super) enum Change {
    /// A site comes.
    AddNode(NodeEntry),
    /// A site goes.
    RemoveNode(NodeId),
    /// A coordinator comes, or gets new keys.
    PutCoordinator(CoordinatorEntry),
    /// A coordinator goes.
    RemoveCoordinator(Name),
    /// An officer comes, or gets another role or key.
    PutOfficer(OfficerEntry),
    /// An officer goes.
    RemoveOfficer(Name),
}

/// The order for a change, if it changes anything.
pub(super) fn roster(cluster: &ClusterRecord, change: Change) -> Result<OrderCommand, OrderError> {
    let (mut nodes, mut coordinators, mut officers) = (cluster.nodes.clone(), cluster.coordinators.clone(), cluster.officers.clone());
    match change {
        Change::AddNode(entry) => {
            if cluster.node(entry.id).is_some() {
                return Err(unfit(format!(
                    "node {} is in the roster; a site that lost its disk is replaced: `warifu roster replace-store`",
                    entry.id
                )));
            }
            nodes.push(entry);
        }
        Change::RemoveNode(id) => remove(&mut nodes, |node| node.id == id, &format!("node {id}"))?,
        Change::PutCoordinator(entry) => {
            coordinators.retain(|other| other.id != entry.id);
            coordinators.push(entry);
        }
        Change::RemoveCoordinator(id) => remove(&mut coordinators, |entry| entry.id == id, &format!("coordinator {id}"))?,
        Change::PutOfficer(entry) => {
            officers.retain(|other| other.id != entry.id);
            officers.push(entry);
        }
        Change::RemoveOfficer(id) => remove(&mut officers, |entry| entry.id == id, &format!("officer {id}"))?,
    }
    Ok(OrderCommand::UpdateRoster { nodes, coordinators, officers })
}

/// The order that pins further CAs and drops others, by the hash of their certificate.
pub(super) fn anchors(cluster: &ClusterRecord, add: Vec<AnchorEntry>, drop: &[Sha256]) -> Result<OrderCommand, OrderError> {
    let mut anchors = cluster.anchors.clone();
    for hash in drop {
        let is_it = |anchor: &AnchorEntry| Sha256::new(sha256(anchor.certificate.as_slice())) == *hash;
        remove(&mut anchors, is_it, &format!("CA {hash}"))?;
    }
    anchors.extend(add);
    Ok(OrderCommand::UpdateAnchors { anchors })
}

fn remove<T>(entries: &mut Vec<T>, is_it: impl Fn(&T) -> bool, what: &str) -> Result<(), OrderError> {
    let before = entries.len();
    entries.retain(|entry| !is_it(entry));
    if entries.len() == before { Err(unfit(format!("there is no {what}; `warifu roster show` lists all"))) } else { Ok(()) }
}

pub(super) fn unfit(reason: String) -> OrderError {
    OrderError::Unfit { reason }
}
