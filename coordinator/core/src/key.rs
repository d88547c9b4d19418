//! The public half of a credential's threshold key.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::VerifyingKey;
use frost_ed25519::Identifier;
use frost_ed25519::keys::PublicKeyPackage;
use warifu_protocol::{NodeId, Threshold};

/// A credential's group key with the public shares of the nodes that hold it. Parsing costs a curve check for each node, so it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupKey {
    package: PublicKeyPackage,
    verifying: VerifyingKey,
    threshold: Threshold,
    holders: BTreeSet<NodeId>,
}

/// Bytes that are no group key of this cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupKeyError {
    /// Not decodable.
    #[error("the public key package cannot be read: {source}")]
    Malformed {
        /// What the decoder says.
        #[source]
        source: frost_ed25519::Error,
    },
    /// A holder that is no node, or fewer holders than the threshold.
    #[error("the nodes that hold shares of the key are not 1 to 15, or fewer than the threshold")]
    Holders,
    /// Made for another threshold.
    #[error("the key was made for {found:?} signers, the cluster's threshold is {threshold}")]
    Threshold {
        /// Number in the package.
        found: Option<u16>,
        /// The cluster's.
        threshold: u8,
    },
    /// The group key is no usable Ed25519 key.
    #[error("the group key is no usable Ed25519 key")]
    WeakKey,
}

impl GroupKey {
    /// Reads a serialized `PublicKeyPackage`.
    ///
    /// # Errors
    /// [`GroupKeyError`].
    pub fn parse(bytes: &[u8], threshold: Threshold) -> Result<Self, GroupKeyError> {
        let package = PublicKeyPackage::deserialize(bytes).map_err(|source| GroupKeyError::Malformed { source })?;
        if package.min_signers() != Some(u16::from(threshold.0)) {
            return Err(GroupKeyError::Threshold { found: package.min_signers(), threshold: threshold.0 });
        }
        let nodes: BTreeMap<Identifier, NodeId> = every_node().map(|node| (identifier(node), node)).collect();
        let holders = package
            .verifying_shares()
            .keys()
            .map(|holder| nodes.get(holder).copied())
            .collect::<Option<BTreeSet<_>>>()
            .filter(|holders| holders.len() >= usize::from(threshold.0))
            .ok_or(GroupKeyError::Holders)?;
        let encoded = package.verifying_key().serialize().map_err(|source| GroupKeyError::Malformed { source })?;
        let verifying = <[u8; 32]>::try_from(encoded)
            .ok()
            .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
            .filter(|key| !key.is_weak())
            .ok_or(GroupKeyError::WeakKey)?;
        Ok(Self { package, verifying, threshold, holders })
    }

    /// The group's public key, as it stands in the CSR and in the certificate.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.verifying.to_bytes()
    }

    /// t.
    #[must_use]
    pub const fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// The same key while only these of the nodes that the package names have their shares: the others are not asked.
    ///
    /// # Errors
    /// [`GroupKeyError::Holders`] when fewer than the threshold are left.
    pub fn held_by(mut self, nodes: &[NodeId]) -> Result<Self, GroupKeyError> {
        self.holders.retain(|holder| nodes.contains(holder));
        if self.holders.len() < usize::from(self.threshold.0) { Err(GroupKeyError::Holders) } else { Ok(self) }
    }

    /// The nodes that hold a share.
    #[must_use]
    pub const fn holders(&self) -> &BTreeSet<NodeId> {
        &self.holders
    }

    pub(crate) const fn package(&self) -> &PublicKeyPackage {
        &self.package
    }

    /// Whether this is a signature of the group over `message`, by the strict rules that every verifier should agree on.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.verifying.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

/// The FROST identifier of a node's shares: its number.
pub(crate) fn identifier(node: NodeId) -> Identifier {
    Identifier::try_from(u16::from(node.get())).expect("a node id is not zero")
}

/// The node with this FROST identifier, among `nodes`.
pub(crate) fn node_of(wanted: &Identifier, nodes: impl IntoIterator<Item = NodeId>) -> Option<NodeId> {
    nodes.into_iter().find(|node| identifier(*node) == *wanted)
}

fn every_node() -> impl Iterator<Item = NodeId> {
    (1..=NodeId::MAX).filter_map(NodeId::new)
}
