//! Who a node is to the other nodes.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use warifu_protocol::{Blob, ClusterId, NodeId, NodeSigned, NodeStatement, PublicKey};
use zeroize::Zeroizing;

/// A node's number, its cluster and its identity key. The key signs what the node says in the log and to its peers.
///
/// # Security
/// The key is wiped when the value is dropped and is not printed. It is no key share: whoever has it can speak as the node, but cannot
/// make a signature share.
#[derive(Clone)]
pub struct NodeIdentity {
    node: NodeId,
    cluster: ClusterId,
    key: SigningKey,
}

impl NodeIdentity {
    /// Puts the three together. That the roster names this key for this node is for the caller to check.
    #[must_use]
    pub const fn new(node: NodeId, cluster: ClusterId, key: SigningKey) -> Self {
        Self { node, cluster, key }
    }

    /// Its number.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Its cluster.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The public half, as the roster names it.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey::Ed25519(self.key.verifying_key().to_bytes())
    }

    /// Says `body` as this node.
    #[must_use]
    pub fn sign<T: NodeStatement>(&self, body: T) -> NodeSigned<T> {
        // The body may hold round-2 packages, so its encoding is wiped.
        let message = Zeroizing::new(NodeSigned::<T>::message(self.cluster, self.node, &body));
        let signature = Blob(self.key.sign(&message).to_bytes().to_vec());
        NodeSigned { node: self.node, body, signature }
    }

    /// The key itself, for the notes that checkpoints are signed in.
    pub(crate) const fn key(&self) -> &SigningKey {
        &self.key
    }
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeIdentity(node {} of {}, <redacted>)", self.node, self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warifu_protocol::{Checkpoint, Sha256};

    #[test]
    fn a_statement_verifies_for_its_cluster_node_and_body_only() {
        let cluster = ClusterId::new([7; 32]);
        let node = NodeId::new(3).expect("3 is a node id");
        let identity = NodeIdentity::new(node, cluster, SigningKey::from_bytes(&[9; 32]));
        let signed = identity.sign(Checkpoint { size: 5, root: Sha256::new([1; 32]) });
        let key = identity.public_key();
        assert!(signed.verify(cluster, &key).is_ok());
        assert!(signed.verify(ClusterId::new([8; 32]), &key).is_err());
        let mut other = signed.clone();
        other.node = NodeId::new(4).expect("4 is a node id");
        assert!(other.verify(cluster, &key).is_err());
        let mut other = signed;
        other.body.size = 6;
        assert!(other.verify(cluster, &key).is_err());
    }

    #[test]
    fn an_identity_does_not_print_its_key() {
        let identity =
            NodeIdentity::new(NodeId::new(1).expect("1 is a node id"), ClusterId::new([7; 32]), SigningKey::from_bytes(&[9; 32]));
        assert!(!format!("{identity:?}").contains("0909"));
    }
}
