//! The life of a credential as the log has seen it.

use serde::{Deserialize, Serialize};

use crate::wire::CredentialState;
use crate::{AuthenticatorKind, CeremonyId, CertificateHash, Epoch, Name, NodeId, OrderId, UnixMillis};

/// Something that changed a credential.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CredentialEvent {
    /// Log index of the entry that did it.
    pub index: u64,
    /// Time of that entry.
    pub at: UnixMillis,
    /// What changed.
    pub change: CredentialChange,
    /// The order behind it, if it was one.
    pub order: Option<OrderId>,
    /// The officers who approved that order.
    pub officers: Vec<Name>,
}

/// What changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialChange {
    /// It was enrolled.
    Enrolled,
    /// It got its key.
    KeyMade {
        /// The ceremony that made it.
        ceremony: CeremonyId,
        /// Nodes that confirmed and hold a share.
        holders: Vec<NodeId>,
    },
    /// A certificate was installed.
    Certified {
        /// Which.
        certificate: CertificateHash,
    },
    /// A card was bound.
    Bound {
        /// Its certificate.
        card: CertificateHash,
        /// How it is recognised.
        kind: AuthenticatorKind,
    },
    /// A card's binding ended.
    Unbound {
        /// Its certificate.
        card: CertificateHash,
    },
    /// It came into another state by other means than the above.
    State {
        /// The new state.
        state: CredentialState,
    },
    /// Its shares are of a new epoch.
    Refreshed {
        /// The new epoch.
        epoch: Epoch,
        /// Nodes that hold a share of it.
        holders: Vec<NodeId>,
    },
    /// Nodes came to hold a share, or hold one no more.
    Holders {
        /// Nodes that hold one now.
        holders: Vec<NodeId>,
    },
    /// It got a key that existed whole before.
    KeyImported {
        /// The order that imported it; the ceremony has the same identifier.
        order: OrderId,
        /// The officers who approved that order.
        officers: Vec<Name>,
        /// Nodes that confirmed and hold a share.
        holders: Vec<NodeId>,
    },
}
