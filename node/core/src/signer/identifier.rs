//! Nodes as FROST participants.

use frost_ed25519::Identifier;
use warifu_protocol::NodeId;

/// The FROST identifier of a node's shares: its number as a scalar.
///
/// # Panics
/// Never: a node id is not zero.
#[must_use]
pub fn identifier(node: NodeId) -> Identifier {
    Identifier::try_from(u16::from(node.get())).expect("a node id is not zero")
}

/// The node among `nodes` that has this identifier.
#[must_use]
pub fn node_of(nodes: &[NodeId], wanted: Identifier) -> Option<NodeId> {
    nodes.iter().copied().find(|node| identifier(*node) == wanted)
}
