//! Entries of a node's audit log. They hold digests and ids, never a patient's data, a secret, or a card's serial.

use serde::{Deserialize, Serialize};

use crate::{
    BootId, CertificateHash, Command, CredentialId, Epoch, Gone, NodeId, NonceId, OrderCommand, OrderId, Receipt, Refusal, Sha256,
    SignedRequest, StopId, StopObject, StoreId, UnixMillis,
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
        /// Its index.
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

impl Command {
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
