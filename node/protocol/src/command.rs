//! What stands in the replicated log. No variant can name a secret that is still worth anything; see [`CeremonyAccusation`].

use serde::{Deserialize, Serialize};

use crate::canonical::{
    TAG_CEREMONY_ABORT, TAG_CEREMONY_ACCUSATION, TAG_CEREMONY_CONFIRM, TAG_CEREMONY_OVERDUE, TAG_CHECKPOINT, TAG_NODE_STARTED, TAG_ROUND1,
    TAG_ROUND2_HASH, TAG_STATE_MARK, TAG_STATE_ROOT, postcard_message,
};
use crate::limits::LOG_ENTRY_BYTES_MAX;
use crate::versions::{LOG_ENTRY_VERSION_FIRST, log_entry_version};
use crate::wire::Round2;
use crate::{
    Blob, BootId, CeremonyId, ClusterId, CredentialId, EpochReceipt, EpochRetired, ImportAbort, ImportConfirm, NodeId, Order, OrderId,
    PublicKey, RefreshStart, RepairAbort, RepairAccusation, RepairCommitments, RepairConfirm, RepairStart, SessionClosing, SessionOpening,
    Sha256, SharesFound, SharesLost, SignatureInvalid, StoreId, UnixMillis,
};

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogEntry {
    /// One of those that the cluster uses.
    pub version: u16,
    /// The proposer's clock. Time in the state machine is the largest of these so far.
    pub at: UnixMillis,
    /// What happens.
    pub command: Command,
}

/// Bytes that are no log entry of a version that this program knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogEntryError {
    /// More than [`LOG_ENTRY_BYTES_MAX`].
    #[error("a log entry of {size} bytes is larger than {LOG_ENTRY_BYTES_MAX}")]
    TooLarge {
        /// Bytes found.
        size: usize,
    },
    /// Not decodable, or bytes left over.
    #[error("the log entry cannot be decoded")]
    Malformed,
    /// Made by a newer version of the program.
    #[error("log entry version {version} is unknown to this program, which knows {LOG_ENTRY_VERSION_FIRST} to {knows}; upgrade this node")]
    UnknownVersion {
        /// Version found.
        version: u16,
        /// Newest version that this program knows.
        knows: u16,
    },
}

impl LogEntry {
    /// Wraps a command, in the oldest version: every program of a cluster reads it.
    #[must_use]
    pub const fn new(at: UnixMillis, command: Command) -> Self {
        Self { version: LOG_ENTRY_VERSION_FIRST, at, command }
    }

    /// The same in another version.
    #[must_use]
    pub fn in_version(self, version: u16) -> Self {
        Self { version, ..self }
    }

    /// Encodes.
    ///
    /// # Errors
    /// When the result would be larger than [`LOG_ENTRY_BYTES_MAX`].
    ///
    /// # Panics
    /// Never: the types have no unsized sequences.
    pub fn encode(&self) -> Result<Vec<u8>, LogEntryError> {
        let bytes = postcard::to_stdvec(self).expect("log entries serialize to postcard");
        if bytes.len() > LOG_ENTRY_BYTES_MAX { Err(LogEntryError::TooLarge { size: bytes.len() }) } else { Ok(bytes) }
    }

    /// The version that stands before all else, whatever follows it.
    ///
    /// # Errors
    /// When there is no number.
    pub fn version_of(bytes: &[u8]) -> Result<u16, LogEntryError> {
        postcard::take_from_bytes::<u16>(bytes).map(|(version, _)| version).map_err(|_| LogEntryError::Malformed)
    }

    /// Decodes exactly one entry.
    ///
    /// # Errors
    /// See [`LogEntryError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, LogEntryError> {
        if bytes.len() > LOG_ENTRY_BYTES_MAX {
            return Err(LogEntryError::TooLarge { size: bytes.len() });
        }
        let version = Self::version_of(bytes)?;
        let knows = log_entry_version();
        if !(LOG_ENTRY_VERSION_FIRST..=knows).contains(&version) {
            return Err(LogEntryError::UnknownVersion { version, knows });
        }
        match postcard::take_from_bytes::<Self>(bytes) {
            Ok((entry, [])) => Ok(entry),
            Ok(_) | Err(_) => Err(LogEntryError::Malformed),
        }
    }
}

/// A command, each with its own signatures: the log orders, it authorizes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// A node says that it has started.
    NodeStarted(NodeSigned<NodeStarted>),
    /// Officers order something.
    Order(Order),
    /// One piece of the CRL that an applied order announced.
    CrlChunk {
        /// The order that announced it.
        order: OrderId,
        /// Pieces come in order, from 0.
        index: u32,
        /// [`crate::limits::CRL_CHUNK_BYTES`] bytes; the last piece may be shorter.
        bytes: Blob,
    },
    /// A card opens a session.
    SessionOpened(SessionOpening),
    /// A session key closes its session.
    SessionClosed(SessionClosing),
    /// A participant's DKG round-1 packages.
    CeremonyRound1(NodeSigned<Round1>),
    /// The hashes of a participant's round-2 packages.
    CeremonyRound2Hash(NodeSigned<Round2Hashes>),
    /// A participant confirms the outcome.
    CeremonyConfirm(NodeSigned<CeremonyConfirm>),
    /// A participant says that an attempt cannot end well.
    CeremonyAbort(NodeSigned<CeremonyAbort>),
    /// A node's audit checkpoint, for the others to remember.
    CheckpointWitnessed(NodeSigned<Checkpoint>),
    /// A participant accuses another of a wrong package, with what proves it.
    CeremonyAccused(NodeSigned<CeremonyAccusation>),
    /// A participant asks to go on without those that an attempt has waited for until its deadline.
    CeremonyOverdue(NodeSigned<CeremonyOverdue>),
    /// A node asks for shares that it lacks.
    RepairStarted(NodeSigned<RepairStart>),
    /// A helper's commitments.
    RepairCommitted(NodeSigned<RepairCommitments>),
    /// A node shows that a helper lied to it.
    RepairAccused(NodeSigned<RepairAccusation>),
    /// A receiver has its shares.
    RepairConfirmed(NodeSigned<RepairConfirm>),
    /// A participant says that an attempt cannot end well.
    RepairAborted(NodeSigned<RepairAbort>),
    /// A participant of a refresh signs in the new epoch.
    EpochReceived(NodeSigned<EpochReceipt>),
    /// The epoch before a refresh ends.
    EpochRetired(NodeSigned<EpochRetired>),
    /// A node opens a refresh that is due.
    RefreshStarted(NodeSigned<RefreshStart>),
    /// A node has shares no more.
    SharesLost(NodeSigned<SharesLost>),
    /// A participant has its share of an imported key.
    ImportConfirmed(NodeSigned<ImportConfirm>),
    /// A participant says that an import has come to nothing.
    ImportAborted(NodeSigned<ImportAbort>),
    /// A node has shares again.
    SharesFound(NodeSigned<SharesFound>),
}

/// Something that only nodes say; it has one tag.
pub trait NodeStatement: Serialize {
    /// Domain tag of the signature.
    const TAG: &'static str;
}

/// A node's signed statement.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeSigned<T> {
    /// Who says it.
    pub node: NodeId,
    /// What.
    pub body: T,
    /// Ed25519 by the node's identity key over tag, cluster, node and body.
    pub signature: Blob,
}

impl<T: NodeStatement> NodeSigned<T> {
    /// The bytes that are signed.
    #[must_use]
    pub fn message(cluster: ClusterId, node: NodeId, body: &T) -> Vec<u8> {
        postcard_message(T::TAG, &(cluster, node, body))
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// When it does not verify under `identity`.
    pub fn verify(&self, cluster: ClusterId, identity: &PublicKey) -> Result<(), SignatureInvalid> {
        identity.verify(&Self::message(cluster, self.node, &self.body), self.signature.as_slice())
    }
}

/// Where a node stood when it started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeStarted {
    /// Its store.
    pub store: StoreId,
    /// How often this store has been started, from 1.
    pub incarnation: u64,
    /// Drawn for this start.
    pub boot: BootId,
    /// Entries that its audit log had when the first start since the last confirmed one began.
    pub audit_size: u64,
    /// Index of the last entry of the cluster's log whose outcome its audit log had then.
    pub raft_index: u64,
    /// Boot ids of its earlier starts, from the last confirmed one on, at most [`crate::limits::EARLIER_BOOTS_MAX`]. A copy of an older
    /// store lacks the one that the cluster remembers.
    pub earlier: Vec<BootId>,
    /// The newest version of log entries that its program knows, see [`crate::LOG_ENTRY_VERSION`].
    pub log_version: u16,
}

impl NodeStatement for NodeStarted {
    const TAG: &'static str = TAG_NODE_STARTED;
}

/// The state root that a node has at an index. Not a log command: asked for, node to node, by one that wants to be confirmed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StateRoot {
    /// Boot id of the node that asked; makes the answer fresh.
    pub boot: BootId,
    /// Log index of that node's `NodeStarted`.
    pub index: u64,
    /// Root after applying that index.
    pub root: Sha256,
}

impl NodeStatement for StateRoot {
    const TAG: &'static str = TAG_STATE_ROOT;
}

/// What a node's state was right after an entry, for a node that was sent a snapshot of that position and does not take its sender's word.
/// Not a log command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StateMark {
    /// Log index.
    pub index: u64,
    /// SHA-256 over the entry's position, the membership and the state root there.
    pub mark: Sha256,
}

impl NodeStatement for StateMark {
    const TAG: &'static str = TAG_STATE_MARK;
}

/// DKG round-1 packages of all credentials of a ceremony, in the order of its enrolments.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Round1 {
    /// Which ceremony.
    pub ceremony: CeremonyId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Serialized `dkg::round1::Package`s.
    pub packages: Vec<Blob>,
}

impl NodeStatement for Round1 {
    const TAG: &'static str = TAG_ROUND1;
}

/// The hash of the round-2 message to each other participant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Round2Hashes {
    /// Which ceremony.
    pub ceremony: CeremonyId,
    /// Which attempt.
    pub attempt: u32,
    /// SHA-256 of each message's packages, by recipient in ascending order.
    pub hashes: Vec<(NodeId, Sha256)>,
}

impl NodeStatement for Round2Hashes {
    const TAG: &'static str = TAG_ROUND2_HASH;
}

/// What a participant ended with, its share being sealed and durable.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CeremonyConfirm {
    /// Which ceremony.
    pub ceremony: CeremonyId,
    /// Which attempt.
    pub attempt: u32,
    /// Hash of every round-1 package and round-2 hash in the log for this attempt.
    pub transcript: Sha256,
    /// Serialized `PublicKeyPackage`s, in the order of the enrolments.
    pub public_key_packages: Vec<Blob>,
}

impl NodeStatement for CeremonyConfirm {
    const TAG: &'static str = TAG_CEREMONY_CONFIRM;
}

/// Why a participant gives an attempt up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CeremonyAbort {
    /// Which ceremony.
    pub ceremony: CeremonyId,
    /// Which attempt.
    pub attempt: u32,
    /// Whom it accuses, if anyone.
    pub culprit: Option<NodeId>,
    /// The credential that failed, if one.
    pub credential: Option<CredentialId>,
}

impl NodeStatement for CeremonyAbort {
    const TAG: &'static str = TAG_CEREMONY_ABORT;
}

/// What proves that a participant sent a wrong package: every node judges it when it applies the entry, and either the culprit or, if
/// the package is right, the accuser is left out of the next attempt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CeremonyAccusation {
    /// Which ceremony.
    pub ceremony: CeremonyId,
    /// Which attempt.
    pub attempt: u32,
    /// Whom it accuses.
    pub culprit: NodeId,
    /// The credential whose package is wrong.
    pub credential: CredentialId,
    /// The round-2 message that the culprit signed for the accuser; `None` accuses the culprit's round-1 package, which is in the log.
    ///
    /// # Security
    /// Its packages were secret. The entry ends the attempt in any case, and with it everything that they are worth.
    pub round2: Option<Box<NodeSigned<Round2>>>,
}

impl NodeStatement for CeremonyAccusation {
    const TAG: &'static str = TAG_CEREMONY_ACCUSATION;
}

/// That an attempt's deadline has passed. Counts only when it has by the log's time, so that a fast clock does no harm.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CeremonyOverdue {
    /// Which ceremony.
    pub ceremony: CeremonyId,
    /// Which attempt.
    pub attempt: u32,
}

impl NodeStatement for CeremonyOverdue {
    const TAG: &'static str = TAG_CEREMONY_OVERDUE;
}

/// The size and root of a node's audit log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Number of entries.
    pub size: u64,
    /// RFC 6962 root hash.
    pub root: Sha256,
}

impl NodeStatement for Checkpoint {
    const TAG: &'static str = TAG_CHECKPOINT;
}
