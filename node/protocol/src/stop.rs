//! Stops: what ends somebody's signing at once, and the receipts of the nodes that obey.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::canonical::{TAG_GONE, TAG_RECEIPT, sha256};
use crate::mutants::{Mutant, is_on};
use crate::{
    BootId, CertificateHash, ClusterId, Command, CredentialId, NodeEntry, NodeId, NodeSigned, NodeStatement, Order, OrderCommand,
    SessionClosing, SessionId, SignatureInvalid, StopId, StoreId, Threshold, UnixMillis, closing_message,
};

/// What goes to every node directly as well as to the log: it is obeyed by a node as soon as that node has checked it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopCommand {
    /// An officers' order for which [`OrderCommand::stops`] names an object.
    Order(Order),
    /// A session key closes its session.
    SessionClosing(SessionClosing),
}

/// What may not sign any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopObject {
    /// A credential, with all its sessions.
    Credential(CredentialId),
    /// One session.
    Session(SessionId),
    /// The sessions that one card opened.
    Card {
        /// Whose.
        credential: CredentialId,
        /// The card's certificate.
        card: CertificateHash,
    },
}

/// How it ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopKind {
    /// Until it is resumed.
    Suspend,
    /// For good.
    Revoke,
    /// A session, for good.
    CloseSession,
    /// A card, until its binding is resumed.
    SuspendBinding,
    /// For good, with the key.
    Destroy,
}

impl StopKind {
    /// Whether the key may be destroyed in consequence: by the stop itself, or by a policy that has revoked keys destroyed.
    #[must_use]
    pub const fn may_destroy(self) -> bool {
        match self {
            Self::Revoke | Self::Destroy => true,
            Self::Suspend | Self::CloseSession | Self::SuspendBinding => false,
        }
    }
}

impl fmt::Display for StopKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Suspend => "suspension",
            Self::Revoke => "revocation",
            Self::CloseSession => "end of a session",
            Self::SuspendBinding => "suspension of a card",
            Self::Destroy => "destruction",
        })
    }
}

impl fmt::Display for StopObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(credential) => write!(f, "credential {credential}"),
            Self::Session(session) => write!(f, "session {session}"),
            Self::Card { credential, card } => write!(f, "card {card} of credential {credential}"),
        }
    }
}

impl StopCommand {
    /// SHA-256 of what its authors signed, approvals left out: the same order with further approvals is the same stop.
    #[must_use]
    pub fn id(&self) -> StopId {
        let message = match self {
            Self::Order(order) => order.body.message(),
            Self::SessionClosing(closing) => closing_message(closing.session),
        };
        StopId::new(sha256(&message))
    }

    /// What it stops and how; `None` for an order that stops nothing.
    #[must_use]
    pub const fn target(&self) -> Option<(StopObject, StopKind)> {
        match self {
            Self::Order(order) => order.body.order.stops(),
            Self::SessionClosing(closing) => Some((StopObject::Session(closing.session), StopKind::CloseSession)),
        }
    }

    /// The same as a command for the log.
    #[must_use]
    pub fn into_command(self) -> Command {
        match self {
            Self::Order(order) => Command::Order(order),
            Self::SessionClosing(closing) => Command::SessionClosed(closing),
        }
    }
}

impl Command {
    /// The stop that this is, if it is one.
    #[must_use]
    pub fn as_stop(&self) -> Option<StopCommand> {
        match self {
            Self::Order(order) if order.body.order.stops().is_some() => Some(StopCommand::Order(order.clone())),
            Self::SessionClosed(closing) => Some(StopCommand::SessionClosing(closing.clone())),
            _ => None,
        }
    }
}

impl OrderCommand {
    /// What the order stops and how; `None` for all others.
    #[must_use]
    pub const fn stops(&self) -> Option<(StopObject, StopKind)> {
        match self {
            Self::Suspend { credential } => Some((StopObject::Credential(*credential), StopKind::Suspend)),
            Self::Revoke { credential } => Some((StopObject::Credential(*credential), StopKind::Revoke)),
            Self::Destroy { credential } => Some((StopObject::Credential(*credential), StopKind::Destroy)),
            Self::CloseSession { session } => Some((StopObject::Session(*session), StopKind::CloseSession)),
            Self::SuspendBinding { credential, card } => {
                Some((StopObject::Card { credential: *credential, card: *card }, StopKind::SuspendBinding))
            }
            Self::Enrol { .. }
            | Self::BindWithNotice { .. }
            | Self::ResumeBinding { .. }
            | Self::InstallCertificate { .. }
            | Self::BindAuthenticator { .. }
            | Self::UnbindAuthenticator { .. }
            | Self::EnrolFacility { .. }
            | Self::EnrolTerminal { .. }
            | Self::RetireTerminal { .. }
            | Self::Resume { .. }
            | Self::UpdateCrl { .. }
            | Self::UpdatePolicy { .. }
            | Self::UpdateAnchors { .. }
            | Self::UpdateRoster { .. }
            | Self::ReplaceStore { .. }
            | Self::Refresh { .. }
            | Self::RefreshAll { .. }
            | Self::Import { .. } => None,
        }
    }
}

/// A node says that it durably obeys a stop: from `held_since` on it starts no signature for the object until a later resume.
///
/// # Security
/// Shares that the node gave before may be put together with others for [`crate::limits::NONCE_LIFE_MILLIS`] more. Only a confirmed node
/// gives a receipt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// Which stop.
    pub stop: StopId,
    /// What may not sign.
    pub object: StopObject,
    /// How it ends.
    pub kind: StopKind,
    /// Since when, by the node's clock.
    pub held_since: UnixMillis,
    /// The store that remembers it.
    pub store: StoreId,
    /// The start that the node was confirmed in when it gave the receipt.
    pub boot: BootId,
}

impl NodeStatement for Receipt {
    const TAG: &'static str = TAG_RECEIPT;
}

/// A node says that no share of a destroyed credential is on its disk in a form that can be read: it was deleted, everything that lives was
/// sealed anew, and the key-encryption keys of before were destroyed. Backups that were sealed under them die with them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Gone {
    /// Whose shares.
    pub credential: CredentialId,
    /// The store that they were in.
    pub store: StoreId,
    /// KEK generations that were destroyed after the deletion.
    pub destroyed: Vec<u32>,
    /// Whether the KEK provably kept no copy of them; a KEK in a file cannot prove it.
    pub proves_destruction: bool,
    /// When, by the node's clock.
    pub at: UnixMillis,
}

impl NodeStatement for Gone {
    const TAG: &'static str = TAG_GONE;
}

/// Checks one node's word against the stop and the roster.
///
/// # Errors
/// See [`ReceiptError`].
pub fn check_gone(cluster: ClusterId, nodes: &[NodeEntry], stop: &StopCommand, gone: &NodeSigned<Gone>) -> Result<(), ReceiptError> {
    let node = gone.node;
    let entry = nodes.iter().find(|entry| entry.id == node).ok_or(ReceiptError::NodeUnknown { node })?;
    gone.verify(cluster, &entry.identity).map_err(|source| ReceiptError::Signature { node, source })?;
    match stop.target() {
        Some((object, kind)) if kind.may_destroy() && object == StopObject::Credential(gone.body.credential) => Ok(()),
        Some(_) | None => Err(ReceiptError::Other { node }),
    }
}

/// How many receipts it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReceiptQuorum {
    /// n
    pub nodes: usize,
    /// t
    pub threshold: Threshold,
    /// f: receipts that may be lies.
    pub liars: u8,
}

impl ReceiptQuorum {
    /// n−t+1+f: with f of them lies, n−t+1 nodes obey, and the others are fewer than t.
    #[must_use]
    pub fn needed(&self) -> usize {
        (self.nodes + 1).saturating_sub(usize::from(self.threshold.0)) + usize::from(self.liars)
            - usize::from(is_on(Mutant::OneReceiptTooFew))
    }
}

/// A receipt that does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// From nobody in the roster.
    #[error("node {node} is not in the roster")]
    NodeUnknown {
        /// Who.
        node: NodeId,
    },
    /// Not signed by that node.
    #[error("the receipt of node {node} is not signed by it")]
    Signature {
        /// Who.
        node: NodeId,
        /// What was found.
        #[source]
        source: SignatureInvalid,
    },
    /// For another stop or object.
    #[error("the receipt of node {node} is for something else")]
    Other {
        /// Who.
        node: NodeId,
    },
    /// The same node twice.
    #[error("node {node} is counted twice")]
    Duplicate {
        /// Who.
        node: NodeId,
    },
    /// The order stops nothing.
    #[error("this order stops nothing: there are no receipts of it")]
    NotStopping,
}

/// Checks one receipt against the stop and the roster.
///
/// # Errors
/// See [`ReceiptError`].
pub fn check_receipt(
    cluster: ClusterId,
    nodes: &[NodeEntry],
    stop: &StopCommand,
    receipt: &NodeSigned<Receipt>,
) -> Result<(), ReceiptError> {
    let node = receipt.node;
    let (object, kind) = stop.target().ok_or(ReceiptError::NotStopping)?;
    let entry = nodes.iter().find(|entry| entry.id == node).ok_or(ReceiptError::NodeUnknown { node })?;
    if let Err(source) = receipt.verify(cluster, &entry.identity)
        && !is_on(Mutant::SkipReceiptSignature)
    {
        return Err(ReceiptError::Signature { node, source });
    }
    let body = &receipt.body;
    let is_of_this = body.stop == stop.id() && body.object == object && body.kind == kind;
    if !is_of_this && !is_on(Mutant::AcceptForeignReceipt) {
        return Err(ReceiptError::Other { node });
    }
    Ok(())
}

/// The nodes that gave these receipts, each checked and counted once.
///
/// # Errors
/// The first receipt that does not count.
pub fn check_receipts(
    cluster: ClusterId,
    nodes: &[NodeEntry],
    stop: &StopCommand,
    receipts: &[NodeSigned<Receipt>],
) -> Result<BTreeSet<NodeId>, ReceiptError> {
    let mut seen = BTreeSet::new();
    for receipt in receipts {
        check_receipt(cluster, nodes, stop, receipt)?;
        if !seen.insert(receipt.node) {
            return Err(ReceiptError::Duplicate { node: receipt.node });
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_that_gave_no_receipt_and_those_that_lied_are_fewer_than_the_threshold() {
        for (nodes, threshold, liars, needed) in
            [(3_usize, 2, 0, 2), (5, 3, 1, 4), (5, 3, 0, 3), (5, 3, 2, 5), (7, 4, 1, 5), (15, 8, 7, 15)]
        {
            let quorum = ReceiptQuorum { nodes, threshold: Threshold(threshold), liars };
            assert_eq!(quorum.needed(), needed);
            assert!(quorum.nodes - quorum.needed() + usize::from(liars) < usize::from(threshold), "{quorum:?}");
        }
    }
}
