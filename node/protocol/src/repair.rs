//! What nodes tell the log, and each other, while t of them give another node its shares (again).
//!
//! Each helper splits what its share contributes into one part, a *delta*, for each helper and logs the public image of every part; each
//! helper adds the deltas that it was sent up to a *sigma* for the receiver, whose share is the sum of all sigmas. Deltas and sigmas go
//! from node to node ([`crate::wire::RepairScalars`]); what is here holds none that is of use to anybody.

use serde::{Deserialize, Serialize};

use crate::canonical::{
    TAG_REPAIR_ABORT, TAG_REPAIR_ACCUSATION, TAG_REPAIR_COMMITMENTS, TAG_REPAIR_CONFIRM, TAG_REPAIR_PART, TAG_REPAIR_START,
    TAG_SHARES_FOUND, TAG_SHARES_LOST,
};
use crate::{CeremonyId, CredentialId, Epoch, NodeId, NodeSigned, NodeStatement, Sha256};

/// A node finds that shares which the log says it has are damaged or gone: from then on they count as missing and are repaired.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SharesLost {
    /// The next number of this node's words about its shares, as the log's state has it: a word counts once, and in its turn.
    pub number: u64,
    /// Whose shares, and of which epoch: 1 to [`crate::limits::CEREMONY_CREDENTIALS_MAX`], ascending.
    pub shares: Vec<(CredentialId, Epoch)>,
}

impl NodeStatement for SharesLost {
    const TAG: &'static str = TAG_SHARES_LOST;
}

/// A node has shares that the log says it lacks, since a backup was restored: they fit the public keys that the log has, and count from then on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SharesFound {
    /// The next number of this node's words about its shares, as the log's state has it: a word counts once, and in its turn.
    pub number: u64,
    /// Whose shares, and of which epoch: 1 to [`crate::limits::CEREMONY_CREDENTIALS_MAX`], ascending.
    pub shares: Vec<(CredentialId, Epoch)>,
}

impl NodeStatement for SharesFound {
    const TAG: &'static str = TAG_SHARES_FOUND;
}

/// A node asks for the shares that it lacks. The helpers follow from the state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RepairStart {
    /// Drawn for this repair.
    pub ceremony: CeremonyId,
    /// 1 to [`crate::limits::CEREMONY_CREDENTIALS_MAX`] credentials, ascending, all held by the same nodes.
    pub credentials: Vec<CredentialId>,
}

impl NodeStatement for RepairStart {
    const TAG: &'static str = TAG_REPAIR_START;
}

/// The public images of a helper's deltas.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RepairCommitments {
    /// Which repair.
    pub ceremony: CeremonyId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// For each credential, in the order of the start: one Ed25519 point for each helper, ascending, itself among them.
    pub commitments: Vec<Vec<[u8; 32]>>,
}

impl NodeStatement for RepairCommitments {
    const TAG: &'static str = TAG_REPAIR_COMMITMENTS;
}

/// Which part of a repair a message carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RepairPartKind {
    /// From helper to helper.
    Delta,
    /// From helper to receiver.
    Sigma,
}

/// What a helper signs of a message with deltas or sigmas: their hashes, so that one that is wrong can be shown without the others.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RepairPart {
    /// Which repair.
    pub ceremony: CeremonyId,
    /// Which attempt.
    pub attempt: u32,
    /// For whom.
    pub to: NodeId,
    /// Deltas or sigmas.
    pub kind: RepairPartKind,
    /// SHA-256 of each scalar, in the order of the credentials.
    pub hashes: Vec<Sha256>,
}

impl NodeStatement for RepairPart {
    const TAG: &'static str = TAG_REPAIR_PART;
}

/// A node shows that another sent it a scalar that is not the one of the commitments in the log.
///
/// # Security
/// The scalar that is shown is part of no share: one that is gets the accusation refused, and was known to the accuser anyway.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RepairAccusation {
    /// What the accused signed.
    pub part: NodeSigned<RepairPart>,
    /// Place of the wrong scalar.
    pub place: u32,
    /// The scalar.
    pub scalar: [u8; 32],
}

impl NodeStatement for RepairAccusation {
    const TAG: &'static str = TAG_REPAIR_ACCUSATION;
}

/// The receiver has checked its shares and sealed them durably.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RepairConfirm {
    /// Which repair.
    pub ceremony: CeremonyId,
    /// Which attempt.
    pub attempt: u32,
}

impl NodeStatement for RepairConfirm {
    const TAG: &'static str = TAG_REPAIR_CONFIRM;
}

/// An attempt cannot end well; the next one prefers other helpers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RepairAbort {
    /// Which repair.
    pub ceremony: CeremonyId,
    /// Which attempt.
    pub attempt: u32,
    /// Helpers whose parts the speaker waits for in vain.
    pub silent: Vec<NodeId>,
}

impl NodeStatement for RepairAbort {
    const TAG: &'static str = TAG_REPAIR_ABORT;
}
