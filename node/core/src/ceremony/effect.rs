//! What a ceremony asks of the shell, and how it fails.

use warifu_protocol::wire::{RepairScalars, Round2};
use warifu_protocol::{CeremonyId, Command, NodeId, NodeSigned};

use crate::registry::StateStoreError;
use crate::signer::ShareRecord;

/// Something for the shell to do.
///
/// Effects are carried out in order, and when one fails the rest of its list is dropped: the next steps ask for them again. None needs
/// to be carried out exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CeremonyEffect {
    /// Brings a command into the log. Asked for again until it is there, so its verdict needs no handling.
    Propose(Command),
    /// Sends round-2 packages to their recipient; [`super::Dkg::round2_acknowledged`] is called when it answers that they are taken.
    ///
    /// # Security
    /// The message holds parts of the recipient's shares: it goes over a confidential, mutually authenticated channel and nowhere else.
    SendRound2 {
        /// To whom.
        to: NodeId,
        /// What.
        message: NodeSigned<Round2>,
    },
    /// Sends parts of a repair to their recipient; [`super::repair::Repairs::acknowledged`] is called when it answers that they are taken.
    ///
    /// # Security
    /// As for [`Self::SendRound2`].
    SendRepair {
        /// To whom.
        to: NodeId,
        /// What.
        message: RepairScalars,
    },
    /// Seals these shares and makes them durable as pending, in place of what this ceremony had pending before.
    ///
    /// The confirmation that follows in the list tells the others that it was done. Pending shares come into use when the registry says
    /// that the ceremony is done: for a repair, that this node holds them.
    StorePending {
        /// Of which ceremony.
        ceremony: CeremonyId,
        /// Of which attempt.
        attempt: u32,
        /// One for each credential, in the order of the enrolments.
        shares: Vec<ShareRecord>,
    },
}

/// A ceremony cannot go on at this node; no other node is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CeremonyError {
    /// The state store failed.
    #[error(transparent)]
    Store(#[from] StateStoreError),
    /// The registry says that a message is in the log, but does not have it.
    #[error("the registry of ceremony {ceremony} lacks a message of node {node} that it counts; the state is damaged")]
    MessageMissing {
        /// Which ceremony.
        ceremony: CeremonyId,
        /// Whose message.
        node: NodeId,
    },
    /// Whose outcome this node's own arithmetic contradicts although every part was checked: the state is damaged.
    #[error("the parts of repair {ceremony} fit their commitments but not the verifying share of this node; the state is damaged")]
    SharesUnfit {
        /// Which.
        ceremony: CeremonyId,
    },
    /// FROST refuses the numbers of participants or this node's own packages.
    #[error("ceremony {ceremony} cannot be run at this node")]
    Own {
        /// Which ceremony.
        ceremony: CeremonyId,
        /// What it found.
        #[source]
        source: frost_ed25519::Error,
    },
}
