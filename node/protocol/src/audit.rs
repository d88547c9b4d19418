//! Entries of a node's audit log. They hold digests and ids, never a patient's data, a secret, or a card's serial.

use serde::{Deserialize, Serialize};

use crate::canonical::sha256;
use crate::wire::NotYet;
use crate::{
    BootId, CeremonyId, CertificateHash, Command, CredentialId, Epoch, Gone, NodeId, NodeSigned, NonceId, Order, OrderCommand, OrderId,
    PeerId, Receipt, Refusal, SessionId, Sha256, SignedRequest, StopCommand, StopId, StopObject, StoreId, UnixMillis,
};

/// Version of [`AuditEntry`]'s encoding.
pub const AUDIT_ENTRY_VERSION: u16 = 1;

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditEntry {
    /// [`AUDIT_ENTRY_VERSION`].
    pub version: u16,
    /// The node's clock.
    pub at: UnixMillis,
    /// What happened.
    pub event: AuditEvent,
}

/// What a node records.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AuditEvent {
    /// The node started.
    Started {
        /// Its store.
        store: StoreId,
        /// How often this store has been started.
        incarnation: u64,
        /// This start.
        boot: BootId,
        /// Version of the program.
        version: String,
    },
    /// The node was confirmed.
    Confirmed {
        /// Index of its `NodeStarted`.
        index: u64,
        /// The state root there.
        root: Sha256,
        /// Nodes that signed the same root.
        by: Vec<NodeId>,
    },
    /// A signature share of a document is about to leave.
    DocumentShare {
        /// The whole request.
        request: SignedRequest,
        /// Whose credential.
        credential: CredentialId,
        /// Share epoch.
        epoch: Epoch,
        /// Certificate rendered into the document.
        certificate: CertificateHash,
        /// SHA-256 of the SignedInfo that was rendered and signed.
        rendered: Sha256,
        /// The nonce pair used.
        nonce: NonceId,
        /// The t signers.
        signers: Vec<NodeId>,
        /// The coordinator that asked.
        coordinator: crate::Name,
    },
    /// A signature share of a CSR is about to leave.
    CsrShare {
        /// Whose.
        credential: CredentialId,
        /// Share epoch.
        epoch: Epoch,
        /// SHA-256 of the CertificationRequestInfo that was rendered and signed.
        rendered: Sha256,
        /// The nonce pair used.
        nonce: NonceId,
        /// The t signers.
        signers: Vec<NodeId>,
        /// The coordinator that asked.
        coordinator: crate::Name,
    },
    /// A signature share was refused.
    ShareRefused {
        /// The request, if it is one.
        request: Option<SignedRequest>,
        /// The credential of a CSR.
        credential: Option<CredentialId>,
        /// Why.
        refusal: Refusal,
        /// The coordinator that asked.
        coordinator: crate::Name,
    },
    /// A log entry was applied.
    EntryApplied {
        /// Its index, from 1.
        index: u64,
        /// SHA-256 of its bytes.
        entry: Sha256,
        /// Which kind of command.
        kind: String,
        /// Refused with.
        refusal: Option<Refusal>,
    },
    /// The node sees that a promise looks broken, and stops.
    Alarm {
        /// What it saw.
        text: String,
    },
    /// The node stops in good order.
    Stopped,
    /// A new KEK generation is used from here on, and shares of older ones are being sealed again.
    KekRotating {
        /// The new one.
        generation: u32,
    },
    /// KEK generations were destroyed after everything that lives was sealed under the current one.
    KekDestroyed {
        /// Those destroyed.
        generations: Vec<u32>,
        /// The one that is left.
        current: u32,
        /// Shares sealed again for it.
        resealed: u64,
        /// Whether the KEK provably kept no copy.
        proved: bool,
    },
    /// A sealed share does not open; it counts as missing.
    ShareDamaged {
        /// Whose.
        credential: CredentialId,
        /// Share epoch.
        epoch: Epoch,
    },
    /// The site's administrator consents to an order.
    Consented {
        /// Which.
        order: OrderId,
        /// What was consented to: [`crate::OrderBody::digest`].
        digest: Sha256,
        /// Kind of its command.
        kind: String,
    },
    /// The node obeys a stop from now on, whatever the log says.
    StopHeld {
        /// Which.
        stop: StopId,
        /// What may not sign.
        object: StopObject,
    },
    /// The node gives a receipt for a stop.
    ReceiptGiven {
        /// What it says.
        receipt: Receipt,
    },
    /// The log says by itself what the node has held.
    HoldEnded {
        /// Which stop.
        stop: StopId,
        /// Index of the entry that says so; `None` when the stop can no longer be logged and its object never came to be.
        index: Option<u64>,
    },
    /// The node deletes its shares of a destroyed credential, of all epochs, and takes none any more.
    SharesDeleted {
        /// Whose.
        credential: CredentialId,
    },
    /// The node says that nothing of a destroyed credential's shares can be read again.
    GoneGiven {
        /// What it says.
        gone: Gone,
    },
    /// Another node sent a snapshot of a state that others contradict; it was not installed.
    SnapshotForged {
        /// Who sent it.
        from: NodeId,
        /// Of which log index.
        index: u64,
        /// The mark that its content has.
        mark: Sha256,
        /// Nodes that signed another one.
        against: Vec<NodeId>,
    },
    /// A backup of the sealed shares was made.
    BackedUp {
        /// How many.
        shares: u64,
        /// SHA-256 at its end.
        digest: Sha256,
    },
    /// A backup was restored onto this store, which had no shares.
    Restored {
        /// How many.
        shares: u64,
        /// SHA-256 at its end.
        digest: Sha256,
    },
    /// This node refused a command, which is not in the log for it.
    CommandRefused {
        /// Who sent it; this node itself, if it is a command of its own.
        peer: PeerId,
        /// Which kind of command.
        kind: String,
        /// What it was about.
        subject: AuditSubject,
        /// [`Command::digest`].
        command: Sha256,
        /// Why.
        refusal: Refusal,
    },
    /// This node refused something else that a node or coordinator sent.
    CallRefused {
        /// Who sent it.
        peer: PeerId,
        /// What it was, or the role in which it came when it cannot be read.
        call: String,
        /// What it was about.
        subject: AuditSubject,
        /// SHA-256 of the request as it came; `None` when it was not read to its end, or was a stream.
        request: Option<Sha256>,
        /// Why.
        refusal: CallRefusal,
    },
    /// No signature share was given, though it is not refused: the node does not know the nonce or the session, or has used the nonce.
    ShareNotYet {
        /// The request, if it is one.
        request: Option<SignedRequest>,
        /// The credential of a CSR.
        credential: Option<CredentialId>,
        /// The nonce pair of this node that was to be used.
        nonce: Option<NonceId>,
        /// Why.
        reason: NotYet,
        /// The coordinator that asked.
        coordinator: crate::Name,
    },
}

/// What something that was refused was about, as it says itself.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct AuditSubject {
    /// The order that it is or belongs to.
    pub order: Option<OrderId>,
    /// The stop that it is.
    pub stop: Option<StopId>,
    /// The session that it opens or closes.
    pub session: Option<SessionId>,
    /// The credential that it changes.
    pub credential: Option<CredentialId>,
    /// The ceremony that it belongs to.
    pub ceremony: Option<CeremonyId>,
    /// The node that is said to have made it.
    pub node: Option<NodeId>,
}

/// Why a call was refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CallRefusal {
    /// It was looked at.
    Refused(Refusal),
    /// It cannot be read.
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
    /// It is larger than this many bytes.
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// It is of another version of the protocol, or of another suite.
    WrongVersion,
    /// It is not served in this form.
    Unsupported {
        /// What was asked for.
        detail: String,
    },
    /// The peer may not do this.
    Denied {
        /// Why.
        detail: String,
    },
}

impl AuditEntry {
    /// Wraps an event.
    #[must_use]
    pub const fn new(at: UnixMillis, event: AuditEvent) -> Self {
        Self { version: AUDIT_ENTRY_VERSION, at, event }
    }

    /// Encodes.
    ///
    /// # Panics
    /// Never: the types have no unsized sequences.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("audit entries serialize to postcard")
    }
}

impl AuditSubject {
    fn of_order(order: &Order) -> Self {
        let command = &order.body.order;
        let session = if let OrderCommand::CloseSession { session } = command { Some(*session) } else { None };
        let stop = command.is_stopping().then(|| StopCommand::Order(order.clone()).id());
        Self { order: Some(order.body.id), stop, session, credential: command.credential(), ..Self::default() }
    }

    fn of_statement<T>(signed: &NodeSigned<T>, ceremony: Option<CeremonyId>) -> Self {
        Self { ceremony, node: Some(signed.node), ..Self::default() }
    }
}

impl Command {
    /// SHA-256 of the command's encoding, in which it comes to a node. Whoever holds the command can compute it; no clock is in it.
    ///
    /// # Panics
    /// Never: the types have no unsized sequences.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        Sha256::new(sha256(&postcard::to_stdvec(self).expect("commands serialize to postcard")))
    }

    /// What the command is about, as it says itself.
    #[must_use]
    pub fn subject(&self) -> AuditSubject {
        match self {
            Self::NodeStarted(signed) => AuditSubject::of_statement(signed, None),
            Self::Order(order) => AuditSubject::of_order(order),
            Self::CrlChunk { order, .. } => AuditSubject { order: Some(*order), ..AuditSubject::default() },
            Self::SessionOpened(opening) => AuditSubject {
                session: Some(opening.statement.session()),
                credential: Some(opening.statement.credential),
                ..AuditSubject::default()
            },
            Self::SessionClosed(closing) => AuditSubject {
                session: Some(closing.session),
                stop: Some(StopCommand::SessionClosing(closing.clone()).id()),
                ..AuditSubject::default()
            },
            Self::CheckpointWitnessed(signed) => AuditSubject::of_statement(signed, None),
            Self::SharesLost(signed) => AuditSubject::of_statement(signed, None),
            Self::SharesFound(signed) => AuditSubject::of_statement(signed, None),
            Self::CeremonyRound1(signed) => AuditSubject::of_statement(signed, Some(signed.body.ceremony)),
            Self::CeremonyRound2Hash(signed) => AuditSubject::of_statement(signed, Some(signed.body.ceremony)),
            Self::CeremonyConfirm(signed) => AuditSubject::of_statement(signed, Some(signed.body.ceremony)),
            Self::CeremonyAbort(signed) => AuditSubject::of_statement(signed, Some(signed.body.ceremony)),
            Self::CeremonyAccused(signed) => AuditSubject::of_statement(signed, Some(signed.body.ceremony)),
            Self::CeremonyOverdue(signed) => AuditSubject::of_statement(signed, Some(signed.body.ceremony)),
            Self::RepairStarted(signed) => AuditSubject::of_statement(signed, Some(signed.body.ceremony)),
            Self::RepairCommitted(signed) => AuditSubject::of_statement(signed, Some(signed.body.ceremony)),
            Self::RepairAccused(signed) => AuditSubject::of_statement(signed, Some(signed.body.part.body.ceremony)),
            Self::RepairConfirmed(signed) => AuditSubject::of_statement(signed, Some(signed.body.ceremony)),
            Self::RepairAborted(signed) => AuditSubject::of_statement(signed, Some(signed.body.ceremony)),
            Self::EpochReceived(signed) => AuditSubject::of_statement(signed, Some(signed.body.ceremony)),
            Self::EpochRetired(signed) => AuditSubject::of_statement(signed, Some(signed.body.ceremony)),
            Self::RefreshStarted(signed) => AuditSubject::of_statement(signed, Some(signed.body.ceremony)),
            Self::ImportConfirmed(signed) => AuditSubject::of_statement(signed, Some(signed.body.ceremony)),
            Self::ImportAborted(signed) => AuditSubject::of_statement(signed, Some(signed.body.ceremony)),
        }
    }

    /// Name of the command's kind, as audit entries and metrics show it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NodeStarted(_) => "node-started",
            Self::Order(order) => order.body.order.kind(),
            Self::CrlChunk { .. } => "crl-chunk",
            Self::SessionOpened(_) => "session-opened",
            Self::SessionClosed(_) => "session-closed",
            Self::CeremonyRound1(_) => "ceremony-round1",
            Self::CeremonyRound2Hash(_) => "ceremony-round2-hash",
            Self::CeremonyConfirm(_) => "ceremony-confirm",
            Self::CeremonyAbort(_) => "ceremony-abort",
            Self::CheckpointWitnessed(_) => "checkpoint-witnessed",
            Self::CeremonyAccused(_) => "ceremony-accused",
            Self::CeremonyOverdue(_) => "ceremony-overdue",
            Self::RepairStarted(_) => "repair-started",
            Self::RepairCommitted(_) => "repair-committed",
            Self::RepairAccused(_) => "repair-accused",
            Self::RepairConfirmed(_) => "repair-confirmed",
            Self::RepairAborted(_) => "repair-aborted",
            Self::EpochReceived(_) => "epoch-received",
            Self::EpochRetired(_) => "epoch-retired",
            Self::RefreshStarted(_) => "refresh-started",
            Self::SharesLost(_) => "shares-lost",
            Self::ImportConfirmed(_) => "import-confirmed",
            Self::ImportAborted(_) => "import-aborted",
            Self::SharesFound(_) => "shares-found",
        }
    }
}

impl OrderCommand {
    /// Name of the order's kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Enrol { .. } => "enrol",
            Self::InstallCertificate { .. } => "certificate-installed",
            Self::BindAuthenticator { .. } => "authenticator-bound",
            Self::UnbindAuthenticator { .. } => "authenticator-unbound",
            Self::EnrolFacility { .. } => "facility-enrolled",
            Self::EnrolTerminal { .. } => "terminal-enrolled",
            Self::RetireTerminal { .. } => "terminal-retired",
            Self::Suspend { .. } => "credential-suspended",
            Self::Resume { .. } => "credential-resumed",
            Self::Revoke { .. } => "credential-revoked",
            Self::CloseSession { .. } => "session-closed-by-order",
            Self::UpdateCrl { .. } => "crl-announced",
            Self::UpdatePolicy { .. } => "policy-updated",
            Self::UpdateAnchors { .. } => "anchors-updated",
            Self::UpdateRoster { .. } => "roster-updated",
            Self::ReplaceStore { .. } => "store-replaced",
            Self::Refresh { .. } => "refresh-ordered",
            Self::BindWithNotice { .. } => "authenticator-pending",
            Self::SuspendBinding { .. } => "authenticator-suspended",
            Self::Destroy { .. } => "credential-destroyed",
            Self::ResumeBinding { .. } => "authenticator-resumed",
            Self::RefreshAll { .. } => "refresh-of-all-ordered",
            Self::Import { .. } => "import-ordered",
        }
    }
}
