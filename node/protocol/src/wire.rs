//! Frames between coordinators and nodes, and between nodes. Each RPC is one postcard request and one postcard reply.

use serde::{Deserialize, Serialize};

use crate::canonical::TAG_ROUND2;
use crate::{
    Blob, BootId, CeremonyId, CertificateHash, Checkpoint, ClusterId, Command, CredentialId, Epoch, Gone, ImportPacket, NodeId, NodeSigned,
    NodeStatement, NonceId, ObjectVersion, OrderId, Origin, Receipt, Refusal, RepairPart, SessionId, SignedRequest, StateMark, StateRoot,
    StopCommand, StopId, UnixMillis,
};

/// What a coordinator asks on `warifu-sign/1`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SignCall {
    /// Fresh commitments for the coordinator's pool.
    Commitments {
        /// How many; the node gives at most [`crate::limits::COMMITMENTS_PER_REPLY_MAX`].
        count: u16,
    },
    /// Signature shares for up to [`crate::limits::SIGN_BATCH_MAX`] items.
    SignBatch {
        /// The items; answers come in the same order.
        items: Vec<SignItem>,
        /// Fresh commitments wanted with the reply.
        refill: u16,
    },
}

/// One signature share to make.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignItem {
    /// What is signed; the node renders the bytes itself.
    pub work: SignWork,
    /// The credential's share epoch.
    pub epoch: Epoch,
    /// The t signers with their commitments, ascending by node, this node among them.
    pub signers: Vec<SignerCommitments>,
}

/// What a cluster can sign. There is no variant with bytes to sign.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SignWork {
    /// A holder's document.
    Document {
        /// The holder's request.
        request: SignedRequest,
        /// The certificate that the coordinator will put into the document.
        certificate: CertificateHash,
    },
    /// The CSR of an enrolled credential, rendered from its order.
    Csr {
        /// Which.
        credential: CredentialId,
    },
}

/// One signer's commitments.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignerCommitments {
    /// Who made them.
    pub node: NodeId,
    /// Which nonce pair of that node.
    pub nonce: NonceId,
    /// Serialized `round1::SigningCommitments`.
    pub commitments: Blob,
}

/// A node's fresh commitments.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FreshCommitments {
    /// Names the nonce pair.
    pub nonce: NonceId,
    /// Serialized `round1::SigningCommitments`.
    pub commitments: Blob,
}

/// Reply to [`SignCall`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignReply {
    /// One answer for each item.
    pub answers: Vec<SignAnswer>,
    /// Fresh commitments, oldest first; each lives [`crate::limits::NONCE_LIFE_MILLIS`] from now.
    pub commitments: Vec<FreshCommitments>,
}

/// Three-valued answer to one item.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SignAnswer {
    /// The signature share.
    Share([u8; 32]),
    /// Not refused, but not possible now: state behind, nonce unknown.
    NotYet {
        /// Why.
        reason: NotYet,
        /// When to ask again.
        retry_after_millis: u32,
    },
    /// Refused.
    Refused(Refusal),
}

/// Why a node cannot answer yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum NotYet {
    /// The nonce is gone: used, expired, or made before a restart.
    NonceUnknown,
    /// The session or credential is not in this node's state, which may be behind.
    StateBehind,
    /// The node is not confirmed since its start.
    Unconfirmed,
    /// The node's queue is full.
    Busy,
}

/// What a coordinator (or another node) asks on `warifu-order/1`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OrderCall {
    /// Brings a command into the log and waits for its verdict.
    Propose(Box<Command>),
    /// Reads applied state.
    Read(Read),
    /// How the node is.
    Status,
    /// Has a stop obeyed at once, whatever becomes of it in the log.
    Stop(Box<StopCommand>),
    /// What the node keeps of a stop.
    Receipts(StopId),
    /// The node's share of a key that is imported, sealed for it.
    ImportPacket(Box<ImportPacket>),
}

/// Reads of applied state; the answer is the node's word, not a proof.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Read {
    /// One credential.
    Credential(CredentialId),
    /// One session.
    Session(SessionId),
    /// One ceremony.
    Ceremony(CeremonyId),
    /// Version of the object that an order would change.
    ObjectVersion(ObjectRef),
    /// Credentials in ascending order after a given one.
    Credentials {
        /// Start after this one.
        after: Option<CredentialId>,
        /// At most this many, 1 to 1000.
        limit: u16,
    },
    /// The active CRLs.
    Crls,
    /// The orders that changed the cluster record, for whoever follows them from the genesis.
    RosterOrders {
        /// Those after this revision; a reply holds as many as fit into [`crate::limits::ROSTER_ORDERS_PER_REPLY_MAX`].
        after: u64,
    },
    /// What happened to a credential.
    History(CredentialId),
    /// Whether an order was applied; it is remembered until it expires.
    OrderApplied(OrderId),
}

/// An object with a version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ObjectRef {
    /// A credential.
    Credential(CredentialId),
    /// A facility.
    Facility(crate::Name),
    /// A terminal.
    Terminal(crate::TerminalId),
    /// The nodes, coordinators and officers.
    Roster,
    /// The policy.
    Policy,
    /// The pinned CAs.
    Anchors,
}

/// Reply to [`OrderCall`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OrderReply {
    /// The command is in the log and was applied with this verdict.
    Verdict(Verdict),
    /// No leader took the command before the deadline; it may or may not be applied later. The same command may be sent again.
    Unknown {
        /// Why.
        reason: String,
    },
    /// Answer to a read; `None` when there is no such object.
    View(Option<View>),
    /// Answer to a status call.
    Status(Box<NodeStatus>),
    /// Answer to a stop.
    Stop(StopAnswer),
    /// Answer to a call for receipts; `None` when the node knows nothing of that stop.
    Receipts(Option<Box<StopReceipts>>),
    /// Answer to a packet.
    ImportPacket(PacketAnswer),
}

/// What a node makes of a packet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PacketAnswer {
    /// It holds its share. That it is on its disk, its confirmation in the log says; until then the packet may have to be sent again.
    Taken,
    /// Not yet: its state is behind the order, or not confirmed. Send it again.
    NotYet,
    /// It does not take it.
    Refused(Refusal),
}

/// What a node makes of a stop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StopAnswer {
    /// It obeys, durably.
    Obeyed(NodeSigned<Receipt>),
    /// It holds the object, but is not confirmed: it gives no receipt, and signs nothing either.
    Unconfirmed,
    /// It does not obey.
    Refused(Refusal),
    /// It could not tell or write; the same stop may be sent again.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What a node keeps of a stop that it has obeyed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StopReceipts {
    /// The stop itself, so that whoever knows its id can bring it to nodes that have not heard of it.
    pub stop: StopCommand,
    /// The receipt, if one was given.
    pub receipt: Option<NodeSigned<Receipt>>,
    /// Index of the log entry from which on the log itself says so; `None` while the node holds the object on its own.
    pub logged: Option<u64>,
    /// For what led to a destruction: that nothing is left, once that is so.
    pub gone: Option<NodeSigned<Gone>>,
}

/// How an entry was applied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// Its place in the log.
    pub index: u64,
    /// What came of it.
    pub outcome: Result<Applied, Refusal>,
}

/// What an applied command made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Applied {
    /// Nothing that the caller must know.
    Done,
    /// A key-generation ceremony.
    CeremonyStarted(CeremonyId),
    /// A session.
    SessionOpened(SessionId),
    /// More CRL pieces are expected.
    CrlExpected {
        /// The order that announced it.
        order: OrderId,
        /// Next piece.
        next: u32,
    },
    /// A CRL became active.
    CrlActive,
}

/// A view of one object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum View {
    /// A credential.
    Credential(Box<CredentialView>),
    /// Several credentials.
    Credentials(Vec<CredentialView>),
    /// A session.
    Session(Box<SessionView>),
    /// A ceremony.
    Ceremony(CeremonyView),
    /// A version.
    ObjectVersion(ObjectVersion),
    /// The active CRLs.
    Crls(Vec<CrlView>),
    /// Orders that changed the cluster record, in the order in which they were applied; empty when there are no more.
    RosterOrders(Vec<crate::Order>),
    /// What happened to a credential, in order.
    History(Vec<crate::CredentialEvent>),
    /// This order was applied.
    OrderApplied(OrderId),
}

/// States of a credential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialState {
    /// Its key is being generated.
    Generating,
    /// It has a key.
    Generated,
    /// It has a certificate.
    Certified,
    /// It has a card and may sign.
    Active,
    /// It may not sign for now.
    Suspended,
    /// It will never sign again.
    Revoked,
    /// Its key is destroyed; what is left says that it was there.
    Destroyed,
}

impl std::fmt::Display for CredentialState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Generating => "generating",
            Self::Generated => "generated",
            Self::Certified => "certified",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
            Self::Destroyed => "destroyed",
        })
    }
}

/// What a credential shows; no certificate of a card, no serial.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CredentialView {
    /// Identifier.
    pub credential: CredentialId,
    /// The CA's identifier of the holder.
    pub holder: crate::Name,
    /// Its subject.
    pub subject: crate::SubjectFields,
    /// Its state.
    pub state: CredentialState,
    /// Its version, for the next order.
    pub version: ObjectVersion,
    /// Generation of its shares.
    pub epoch: Epoch,
    /// Ceremony that made its key.
    pub ceremony: CeremonyId,
    /// Serialized `PublicKeyPackage`, once generated.
    pub public_key_package: Option<Blob>,
    /// DER of its certificate, once installed.
    pub certificate: Option<Blob>,
    /// Its bound cards.
    pub authenticators: Vec<AuthenticatorView>,
    /// Cards whose binding has not taken effect yet.
    pub pending: Vec<PendingView>,
    /// Nodes that hold a share of this epoch now, ascending: those that can sign.
    pub holders: Vec<NodeId>,
    /// Where its key comes from.
    pub origin: Origin,
    /// When it is destroyed by itself, being revoked.
    pub destroy_at: Option<UnixMillis>,
}

/// A bound card, without its serial.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuthenticatorView {
    /// SHA-256 of its certificate.
    pub card: CertificateHash,
    /// How it is recognised.
    pub kind: crate::AuthenticatorKind,
    /// Whether officers suspended it.
    pub suspended: bool,
}

/// A card whose binding takes effect by itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PendingView {
    /// SHA-256 of its certificate.
    pub card: CertificateHash,
    /// How it is recognised.
    pub kind: crate::AuthenticatorKind,
    /// When it takes effect unless it is ended before.
    pub effective_at: UnixMillis,
    /// The order that asked for it.
    pub order: OrderId,
}

/// What a session shows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionView {
    /// Identifier.
    pub session: SessionId,
    /// The statement's fields.
    pub statement: crate::Statement,
    /// Whether it was closed.
    pub closed: bool,
}

/// What a ceremony shows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CeremonyView {
    /// Identifier.
    pub ceremony: CeremonyId,
    /// Attempt, from 1.
    pub attempt: u32,
    /// Who takes part.
    pub participants: Vec<NodeId>,
    /// Participants whose round-1 packages are in the log.
    pub round1: Vec<NodeId>,
    /// Participants that confirmed.
    pub confirmed: Vec<NodeId>,
    /// Whether the keys are in use.
    pub done: bool,
    /// Whether it was given up.
    pub failed: bool,
}

/// What an active CRL shows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CrlView {
    /// The CA's subject.
    pub issuer: String,
    /// CRLNumber, decimal.
    pub number: String,
    /// thisUpdate.
    pub this_update: UnixMillis,
    /// nextUpdate.
    pub next_update: UnixMillis,
    /// Entries.
    pub revoked: u64,
}

/// How a node is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Which node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// This start.
    pub boot: BootId,
    /// Whether it may sign.
    pub confirmed: bool,
    /// Reasons why it is not ready; empty when it is.
    pub reasons: Vec<String>,
    /// The leader that it sees.
    pub leader: Option<NodeId>,
    /// Raft term.
    pub term: u64,
    /// Last applied index.
    pub applied: u64,
    /// Last index in its log.
    pub last_log: u64,
    /// Its clock.
    pub now: UnixMillis,
    /// Its audit log.
    pub audit: Checkpoint,
    /// Signature shares given since its start.
    pub shares_given: u64,
    /// Version of the program.
    pub version: String,
}

/// What a node asks another on `warifu-ceremony/1`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CeremonyCall {
    /// Round-2 packages. Secret: each lets its reader learn part of the recipient's share.
    Round2(Box<NodeSigned<Round2>>),
    /// The state root at the asker's `NodeStarted`.
    StateRoot {
        /// The asker's boot id.
        boot: BootId,
        /// Index of its `NodeStarted`.
        index: u64,
    },
    /// What this node's state remembers of the asker.
    Remembered,
    /// Parts of a repair. Secret, as round-2 packages are.
    Repair(Box<RepairScalars>),
    /// The mark of this node's state right after the entry with this index.
    StateMark {
        /// Log index.
        index: u64,
    },
}

/// What a node's state remembers of another's latest start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Remembered {
    /// Its store.
    pub store: crate::StoreId,
    /// Its boot id.
    pub boot: BootId,
}

/// Round-2 packages for one recipient.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round2 {
    /// Which ceremony.
    pub ceremony: CeremonyId,
    /// Which attempt.
    pub attempt: u32,
    /// For whom.
    pub to: NodeId,
    /// Serialized `dkg::round2::Package`s, in the order of the enrolments.
    pub packages: Vec<Blob>,
}

impl std::fmt::Debug for Round2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Round2({} attempt {} to {}, <redacted>)", self.ceremony, self.attempt, self.to)
    }
}

impl NodeStatement for Round2 {
    const TAG: &'static str = TAG_ROUND2;
}

impl Drop for Round2 {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        for package in &mut self.packages {
            package.0.zeroize();
        }
    }
}

/// The deltas or sigmas of one helper for one node.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairScalars {
    /// What the helper signs: for whom they are, and their hashes.
    pub part: NodeSigned<RepairPart>,
    /// Ed25519 scalars, in the order of the credentials.
    pub scalars: Vec<[u8; 32]>,
}

impl std::fmt::Debug for RepairScalars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let RepairPart { ceremony, attempt, to, kind, .. } = &self.part.body;
        write!(f, "RepairScalars({ceremony} attempt {attempt}, {kind:?} to {to}, <redacted>)")
    }
}

impl Drop for RepairScalars {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.scalars.zeroize();
    }
}

/// Reply to [`CeremonyCall`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CeremonyReply {
    /// The packages are taken, now or before.
    Taken,
    /// The state root.
    StateRoot(NodeSigned<StateRoot>),
    /// What is remembered of the asker; `None` before its first start.
    Remembered(Option<Remembered>),
    /// Not yet: this node has not applied that entry.
    NotYet,
    /// Refused.
    Refused(Refusal),
    /// The mark of the state.
    StateMark(NodeSigned<StateMark>),
}
