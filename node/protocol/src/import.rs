//! Import of a key that exists already: what officers order, what goes to each node beside the log, and what nodes tell the log.
//!
//! The officer's tool splits the key and seals one share for each node. Log and state hold public points and the hashes of the packets; the
//! packets themselves go to the nodes directly, for what lies in a log for years may one day be opened.

use serde::{Deserialize, Serialize};

use crate::canonical::{TAG_IMPORT_ABORT, TAG_IMPORT_CONFIRM, TAG_IMPORT_PACKET, TAG_IMPORT_TRANSCRIPT, postcard_message, sha256};
use crate::{Blob, CeremonyId, ClusterId, EncodedPoint, Enrolment, Name, NodeId, NodeStatement, OrderId, Sha256};

/// A key to import, without anything secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyImport {
    /// The credential that gets it.
    pub enrolment: Enrolment,
    /// Commitments to the t coefficients of the polynomial that the shares lie on, the constant first: that one is the public key.
    pub commitment: Vec<EncodedPoint>,
    /// SHA-256 of each node's sealed packet: all nodes of the roster, ascending.
    pub packets: Vec<(NodeId, Sha256)>,
}

impl KeyImport {
    /// The public key.
    #[must_use]
    pub fn group_key(&self) -> Option<EncodedPoint> {
        self.commitment.first().copied()
    }

    /// The hash of the packet for a node.
    #[must_use]
    pub fn packet(&self, node: NodeId) -> Option<Sha256> {
        self.packets.iter().find(|(recipient, _)| *recipient == node).map(|(_, hash)| *hash)
    }

    /// What the packet for a node is sealed for: a packet for another cluster, order, credential, node or polynomial does not open.
    #[must_use]
    pub fn packet_context(&self, cluster: ClusterId, order: OrderId, node: NodeId) -> Vec<u8> {
        postcard_message(TAG_IMPORT_PACKET, &(cluster, order, self.enrolment.credential, node, &self.commitment))
    }

    /// The hash of all that the participants must agree on.
    #[must_use]
    pub fn transcript(&self, cluster: ClusterId, ceremony: CeremonyId) -> Sha256 {
        Sha256::new(sha256(&postcard_message(TAG_IMPORT_TRANSCRIPT, &(cluster, ceremony, self))))
    }
}

/// One node's share of a key that is imported, sealed for that node: see [`crate::packet`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportPacket {
    /// The order that imports the key.
    pub order: OrderId,
    /// For whom.
    pub node: NodeId,
    /// At most [`crate::limits::IMPORT_PACKET_BYTES_MAX`] bytes.
    pub sealed: Blob,
}

/// Where a credential's key comes from. It never changes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Generated across the sites: it was never whole.
    Generated,
    /// It existed whole before.
    Imported {
        /// The order that imported it.
        order: OrderId,
        /// The officers who approved that.
        officers: Vec<Name>,
    },
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Generated => "generated",
            Self::Imported { .. } => "imported",
        })
    }
}

/// A participant has opened its packet, found its share to be the one of the commitment, sealed it anew and made it durable.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImportConfirm {
    /// Which import.
    pub ceremony: CeremonyId,
    /// [`KeyImport::transcript`].
    pub transcript: Sha256,
}

impl NodeStatement for ImportConfirm {
    const TAG: &'static str = TAG_IMPORT_CONFIRM;
}

/// An import has come to nothing: the credential is forgotten, and every share of it deleted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImportAbort {
    /// Which import.
    pub ceremony: CeremonyId,
    /// Why.
    pub cause: ImportFailure,
}

impl NodeStatement for ImportAbort {
    const TAG: &'static str = TAG_IMPORT_ABORT;
}

/// Why an import comes to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ImportFailure {
    /// Its deadline has passed by the log's time.
    Overdue,
    /// The speaker was sent the packet that was ordered, and cannot use it.
    PacketUnusable,
}
