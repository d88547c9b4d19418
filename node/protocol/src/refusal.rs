//! Why something is refused: one closed list for orders, log entries, sessions, requests and signature shares.

use serde::{Deserialize, Serialize};

use crate::{
    CeremonyId, ClusterId, CredentialId, DocumentKind, Name, NodeId, ObjectVersion, OfficerRole, StopObject, TerminalId, UnixMillis,
};

/// Whose move it is after a refusal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Whoever made the request at the terminal: the platform's software or the holder.
    Request,
    /// The holder's card, its binding or its CA's lists.
    Card,
    /// The officers or their order.
    Order,
    /// The coordinator.
    Coordinator,
    /// A node.
    Node,
    /// The cluster as a whole, for now: try again.
    Cluster,
}

/// A typed refusal. Its `code` is stable; its text is for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// For another cluster.
    #[error("this is for cluster {found}")]
    WrongCluster {
        /// Cluster named.
        found: ClusterId,
    },
    /// Cannot be read.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// Which part.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// More bytes or items than allowed.
    #[error("{what} exceeds {limit}")]
    TooLarge {
        /// Which part.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// A signature does not verify.
    #[error("the signature of {signer} does not verify")]
    SignatureInvalid {
        /// Whose signature.
        signer: String,
    },

    /// Past its not-after.
    #[error("the order was valid until {not_after}; write it again")]
    OrderExpired {
        /// Its end.
        not_after: UnixMillis,
    },
    /// Its not-after lies further ahead than policy allows.
    #[error("an order may live {limit_millis} ms at most")]
    OrderLifeTooLong {
        /// Policy's bound.
        limit_millis: u64,
    },
    /// Its id was used.
    #[error("an order with this id was applied before")]
    OrderReplayed,
    /// The object has changed since the order was written.
    #[error("the order was written for version {written} of its object, which is at {current}; look again and write it anew")]
    ObjectVersionMoved {
        /// Version in the order.
        written: ObjectVersion,
        /// Version in the registry.
        current: ObjectVersion,
    },
    /// Nobody of that name is an officer.
    #[error("{officer} is no officer of this cluster")]
    OfficerUnknown {
        /// The name.
        officer: Name,
    },
    /// An officer with another role approved.
    #[error("{officer} may not approve this: it needs the role {needs}")]
    OfficerRole {
        /// Who.
        officer: Name,
        /// Role asked for.
        needs: OfficerRole,
    },
    /// One officer approved twice.
    #[error("{officer} approved twice")]
    ApprovalDuplicate {
        /// Who.
        officer: Name,
    },
    /// Too few approvals.
    #[error("{present} of {needed} approvals by officers of the role {role}")]
    ApprovalsMissing {
        /// Role asked for.
        role: OfficerRole,
        /// Number asked for.
        needed: u8,
        /// Number found.
        present: u8,
    },

    /// No such credential.
    #[error("credential {credential} is unknown")]
    CredentialUnknown {
        /// Which.
        credential: CredentialId,
    },
    /// The identifier is taken.
    #[error("credential {credential} exists already")]
    CredentialExists {
        /// Which.
        credential: CredentialId,
    },
    /// Not possible in its state.
    #[error("the credential is {state}; this needs {needs}")]
    CredentialState {
        /// Its state.
        state: String,
        /// State needed.
        needs: String,
    },
    /// The holder has one already.
    #[error("holder {holder} has a credential that is not destroyed")]
    HolderHasCredential {
        /// Who.
        holder: Name,
    },
    /// No such facility.
    #[error("facility {facility} is not enrolled")]
    FacilityUnknown {
        /// Which.
        facility: Name,
    },
    /// The facility exists.
    #[error("facility {facility} is enrolled already")]
    FacilityExists {
        /// Which.
        facility: Name,
    },
    /// No such terminal, or retired.
    #[error("terminal {terminal} is not enrolled at that facility")]
    TerminalUnknown {
        /// Which.
        terminal: TerminalId,
    },
    /// The terminal exists.
    #[error("terminal {terminal} exists already")]
    TerminalExists {
        /// Which.
        terminal: TerminalId,
    },
    /// A key of an algorithm that is not allowed there.
    #[error("{what} must be an Ed25519 or ECDSA P-256 key")]
    KeyAlgorithm {
        /// Which key.
        what: String,
    },

    /// The holder's certificate fails a check.
    #[error("the certificate is refused: {reason}")]
    CertificateRefused {
        /// Which check.
        reason: String,
    },
    /// The certificate is on its CA's CRL.
    #[error("the holder's certificate is revoked")]
    CertificateRevoked,
    /// The certificate is past its end or not yet valid.
    #[error("the holder's certificate is not valid now")]
    CertificateNotValid,
    /// The card's certificate fails a check.
    #[error("the card is refused: {reason}")]
    CardRefused {
        /// Which check.
        reason: String,
    },
    /// The card's certificate is on its CA's CRL.
    #[error("the card is revoked")]
    CardRevoked,
    /// The card's signature does not verify.
    #[error("the card's signature does not verify")]
    CardSignatureInvalid,
    /// Bound to this or another credential.
    #[error("the card is bound already")]
    CardBoundAlready,
    /// Not bound to this credential.
    #[error("the card is not bound to this credential")]
    CardUnbound,
    /// The credential has had a card: a further one needs a bound card's word, or notice.
    #[error("the credential has had a card: a further one needs the signature of a card that is bound, or is bound with notice")]
    BoundCardNeeded,
    /// An HPKI card that names someone else.
    #[error("the card's subject is not the credential's subject")]
    CardSubjectMismatch,

    /// No CRL of that CA.
    #[error("no CRL of {issuer} has been loaded; signing with its certificates waits for one")]
    CrlMissing {
        /// The CA.
        issuer: String,
    },
    /// The CRL of that CA is too old.
    #[error("the CRL of {issuer} is stale; load a newer one")]
    CrlStale {
        /// The CA.
        issuer: String,
    },
    /// The CRL fails a check.
    #[error("the CRL is refused: {reason}")]
    CrlRefused {
        /// Which check.
        reason: String,
    },
    /// Not newer than the active one.
    #[error("the CRL's number is not above the active one's")]
    CrlOlder,
    /// A piece that was not expected.
    #[error("piece {index} of a CRL was not expected")]
    CrlChunkUnexpected {
        /// Its number.
        index: u32,
    },

    /// Not-before, not-after and now do not fit.
    #[error("the statement's times are refused: {reason}")]
    StatementTimes {
        /// Which rule.
        reason: String,
    },
    /// More signatures than policy allows.
    #[error("a session may ask for {limit} signatures at most")]
    SessionSignatures {
        /// Policy's bound.
        limit: u32,
    },
    /// The statement opened a session before.
    #[error("this statement has been used")]
    StatementUsed,
    /// Too many open sessions.
    #[error("the credential has {limit} open sessions; close one")]
    SessionsTooMany {
        /// The bound.
        limit: u64,
    },
    /// A reserved field is used.
    #[error("stapled OCSP responses are not supported")]
    OcspUnsupported,
    /// No such session.
    #[error("the session is unknown; log in again")]
    SessionUnknown,
    /// Closed, or its credential or card ended.
    #[error("the session is closed; log in again")]
    SessionClosed,
    /// Before its not-before or past its not-after.
    #[error("the session is not valid now; log in again")]
    SessionNotValid,

    /// Above max signatures, or 0.
    #[error("the request number must be 1 to {limit}")]
    SeqOutOfRange {
        /// The session's max signatures.
        limit: u32,
    },
    /// Another document has this number.
    #[error("this number of the session was used for another request")]
    SeqUsed,
    /// Too far from the node's clock.
    #[error("the signing time is more than {limit_millis} ms from now")]
    SigningTimeSkew {
        /// Policy's bound.
        limit_millis: u64,
    },
    /// Not in whole seconds.
    #[error("the signing time must be in whole seconds")]
    SigningTimeFraction,
    /// Not signed by the session's key.
    #[error("the session key's signature does not verify")]
    RequestSignatureInvalid,
    /// The certificate has no role for the kind.
    #[error("the certificate has no role that may sign a {kind}")]
    RoleMissing {
        /// What was to be signed.
        kind: DocumentKind,
    },

    /// The item names another certificate than the credential has.
    #[error("the certificate named is not the credential's")]
    CertificateMoved,
    /// The signer set is not t different known nodes with this one among them.
    #[error("the signers named are not {threshold} different holders of shares with this node among them")]
    SignerSet {
        /// t
        threshold: u8,
    },
    /// Its own commitments were changed.
    #[error("the commitments given for this node are not those it made")]
    CommitmentsChanged,
    /// The commitments cannot be used for signing.
    #[error("the commitments cannot be used: {reason}")]
    CommitmentsInvalid {
        /// What is wrong.
        reason: String,
    },
    /// The node is not confirmed.
    #[error("this node is not confirmed")]
    NodeUnconfirmed,
    /// The node's clock is behind the log.
    #[error("this node's clock is behind the log")]
    ClockBehind,
    /// The node cannot write its audit log.
    #[error("this node cannot write its audit log")]
    AuditUnavailable,
    /// The node holds no share of the credential in its current epoch.
    #[error("this node holds no share of the credential")]
    ShareMissing,

    /// No such ceremony or attempt.
    #[error("ceremony {ceremony} is not at this attempt")]
    CeremonyUnknown {
        /// Which.
        ceremony: CeremonyId,
    },
    /// Not in that step.
    #[error("the ceremony is not at that step")]
    CeremonyStep,
    /// Not one of the participants.
    #[error("node {node} does not take part in this ceremony")]
    CeremonyParticipant {
        /// Which.
        node: NodeId,
    },
    /// Said before.
    #[error("node {node} has said this already")]
    CeremonyDuplicate {
        /// Which.
        node: NodeId,
    },
    /// The wrong number of packages.
    #[error("the ceremony has {expected} credentials")]
    CeremonyPackages {
        /// Number expected.
        expected: u64,
    },

    /// Not in the roster.
    #[error("node {node} is not in the roster")]
    NodeUnknown {
        /// Which.
        node: NodeId,
    },
    /// The store is not the one that the cluster remembers.
    #[error("node {node} has another store than before; it must be admitted and repaired by order")]
    NodeStoreChanged {
        /// Which.
        node: NodeId,
    },
    /// The store has less than the cluster remembers of it.
    #[error("the store of node {node} is older than the cluster remembers; do not run it, repair the node")]
    NodeRolledBack {
        /// Which.
        node: NodeId,
    },

    /// The attempt's deadline is still to come by the log's time.
    #[error("the ceremony's attempt has until {deadline}; this node's clock may be fast")]
    CeremonyNotOverdue {
        /// Its deadline.
        deadline: UnixMillis,
    },
    /// A consent on an order that needs none.
    #[error("this order needs no consent of sites; submit it without")]
    ConsentUnneeded,
    /// One site consented twice.
    #[error("node {node} consented twice")]
    ConsentDuplicate {
        /// Which.
        node: NodeId,
    },
    /// A consent to something else.
    #[error("the consent of node {node} is for another order")]
    ConsentForeign {
        /// Which.
        node: NodeId,
    },
    /// Too few consents.
    #[error("{present} of {needed} consents of sites; each is given at the site's own node (`warifu-node admin consent`)")]
    ConsentsMissing {
        /// t
        needed: u8,
        /// Number found.
        present: u8,
    },
    /// A roster that no cluster may run with, or that this one may not pass to.
    #[error("the roster is refused: {reason}")]
    RosterRefused {
        /// Which rule.
        reason: String,
    },
    /// A policy that no cluster may run under.
    #[error("the policy is refused: {reason}")]
    PolicyRefused {
        /// Which rule.
        reason: String,
    },
    /// Pinned CAs that cannot be used.
    #[error("the anchors are refused: {reason}")]
    AnchorsRefused {
        /// Which rule.
        reason: String,
    },
    /// Consensus would be left to too few nodes.
    #[error("{voters} voters would be left of {nodes} nodes, which is no majority; wait until the node that comes back votes again")]
    QuorumLost {
        /// Voters that would be left.
        voters: u8,
        /// Nodes of the roster.
        nodes: u8,
    },
    /// A key would be lost.
    #[error("credential {credential} would be left with {remaining} shares, and {needed} sign; repair or destroy it first")]
    SharesLost {
        /// Whose.
        credential: CredentialId,
        /// Shares that would be left.
        remaining: u8,
        /// t
        needed: u8,
    },
    /// An earlier change of the members is still being carried out.
    #[error("consensus has not followed the last change of the members yet; try again in a moment")]
    MembershipPending,
    /// This node's share does not open: its store is damaged.
    #[error("this node's share of the credential is damaged; it counts as missing until it is repaired")]
    ShareDamaged,
    /// Officers suspended the card's binding.
    #[error("this card is suspended; use another card of the holder, or have it resumed or replaced")]
    CardSuspended,
    /// The card's binding has not taken effect yet.
    #[error("this card's binding takes effect at {at}")]
    CardPending {
        /// When it may be used.
        at: UnixMillis,
    },
    /// A stop is obeyed here.
    #[error("{object} may not sign: it was stopped, and this node obeys")]
    Stopped {
        /// What was stopped.
        object: StopObject,
    },
    /// Sent as a stop, but stops nothing.
    #[error("this order stops nothing; it takes effect through the log only")]
    NotStopping,
    /// The node holds as many objects that it does not know as it may.
    #[error("this node holds {limit} stops of objects that it does not know, and takes no more")]
    HoldsTooMany {
        /// The bound.
        limit: u64,
    },
    /// Repair of a share that is not missing, or of a credential that needs none.
    #[error("node {node} lacks no share of credential {credential}")]
    ShareNotMissing {
        /// Who asks.
        node: NodeId,
        /// Of which.
        credential: CredentialId,
    },
    /// Another ceremony is changing who holds its shares.
    #[error("credential {credential} is in another ceremony; ask again when that has ended")]
    CredentialInCeremony {
        /// Which.
        credential: CredentialId,
    },
    /// Too few nodes hold shares of all the credentials.
    #[error("fewer than {needed} nodes hold shares of all these credentials")]
    HoldersTooFew {
        /// How many it takes.
        needed: u64,
    },
    /// The scalar that was shown is right.
    #[error("what node {node} sent is what it committed to")]
    AccusationUnfounded {
        /// The accused.
        node: NodeId,
    },
    /// A node says that it lost shares of which the log does not say that it has them.
    #[error("node {node} holds none of these shares by the log's word")]
    ShareNotHeld {
        /// Who.
        node: NodeId,
    },
    /// A refresh without an order, of shares that are not due for one.
    #[error("the shares of credential {credential} are not due for a refresh")]
    RefreshNotDue {
        /// Whose.
        credential: CredentialId,
    },
    /// A removed node's identifier cannot come back yet.
    #[error("the shares that the removed node {node} had of credential {credential} still count; wait until all its keys are refreshed")]
    RefreshPending {
        /// The identifier.
        node: NodeId,
        /// A key that is not refreshed yet.
        credential: CredentialId,
    },
    /// A key that must not be imported.
    #[error("the key is refused: {reason}")]
    KeyRefused {
        /// What is wrong with it.
        reason: String,
    },
    /// The key is, or was once, another credential's.
    #[error("this is the key of credential {credential}, or was before that was destroyed; a key belongs to one credential for ever")]
    KeyUsed {
        /// Whose.
        credential: CredentialId,
    },
    /// An import that does not fit the cluster.
    #[error("the import is refused: {reason}; make it anew for the cluster as it stands")]
    ImportRefused {
        /// Which rule.
        reason: String,
    },
    /// A packet that is not what the order says, or does not hold what it should.
    #[error("the packet for node {node} is refused: {reason}")]
    PacketRefused {
        /// For whom.
        node: NodeId,
        /// What is wrong with it.
        reason: String,
    },
    /// The entry is of a version that the cluster does not use.
    #[error("the entry has version {found}; the cluster uses 1 to {active} until every node's program knows more")]
    LogVersionUnused {
        /// Of the entry.
        found: u16,
        /// The newest in use.
        active: u16,
    },
    /// The node's program is too old for the log.
    #[error(
        "the program of node {node} knows version {knows} of log entries and the cluster uses {needs}; install the one that the others run"
    )]
    ProgramOutdated {
        /// The node.
        node: NodeId,
        /// What its program knows.
        knows: u16,
        /// What is in use.
        needs: u16,
    },
    /// A node says that it has shares of which the log already says so, or that no log could count.
    #[error(
        "none of the shares that node {node} says it has is one that it lacks by the log's word, of a key that is in use and in no ceremony"
    )]
    SharesNotWanted {
        /// Who.
        node: NodeId,
    },
    /// What a node says of its shares is not its next word about them.
    #[error(
        "what node {node} says of its shares has number {found}, where {expected} is next: it took effect before, or another word did since; the node \
         says it anew if it is so still"
    )]
    SharesWordNumber {
        /// Who.
        node: NodeId,
        /// The word's number.
        found: u64,
        /// The next one's.
        expected: u64,
    },
}

impl Refusal {
    /// The stable code, in kebab-case.
    ///
    /// # Panics
    /// Never: every variant serializes.
    #[must_use]
    pub fn code(&self) -> String {
        match serde_json::to_value(self).expect("refusals serialize to JSON") {
            serde_json::Value::String(code) => code,
            serde_json::Value::Object(fields) => fields.keys().next().cloned().unwrap_or_default(),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) | serde_json::Value::Array(_) => {
                String::new()
            }
        }
    }

    /// Whose move it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::WrongCluster { .. }
            | Self::Malformed { .. }
            | Self::TooLarge { .. }
            | Self::SignatureInvalid { .. }
            | Self::FacilityUnknown { .. }
            | Self::TerminalUnknown { .. }
            | Self::KeyAlgorithm { .. }
            | Self::StatementTimes { .. }
            | Self::SessionSignatures { .. }
            | Self::StatementUsed
            | Self::SessionsTooMany { .. }
            | Self::OcspUnsupported
            | Self::SessionUnknown
            | Self::SessionClosed
            | Self::SessionNotValid
            | Self::SeqOutOfRange { .. }
            | Self::SeqUsed
            | Self::SigningTimeSkew { .. }
            | Self::SigningTimeFraction
            | Self::RequestSignatureInvalid
            | Self::RoleMissing { .. }
            | Self::CredentialUnknown { .. }
            | Self::CredentialState { .. }
            | Self::Stopped { .. } => Fault::Request,
            Self::CardRefused { .. }
            | Self::CardRevoked
            | Self::CardSignatureInvalid
            | Self::CardBoundAlready
            | Self::CardUnbound
            | Self::CardSuspended
            | Self::CardPending { .. }
            | Self::CardSubjectMismatch
            | Self::CertificateRevoked
            | Self::CertificateNotValid => Fault::Card,
            Self::OrderExpired { .. }
            | Self::OrderLifeTooLong { .. }
            | Self::OrderReplayed
            | Self::ObjectVersionMoved { .. }
            | Self::OfficerUnknown { .. }
            | Self::OfficerRole { .. }
            | Self::ApprovalDuplicate { .. }
            | Self::ApprovalsMissing { .. }
            | Self::CredentialExists { .. }
            | Self::HolderHasCredential { .. }
            | Self::FacilityExists { .. }
            | Self::TerminalExists { .. }
            | Self::CertificateRefused { .. }
            | Self::BoundCardNeeded
            | Self::CrlRefused { .. }
            | Self::CrlOlder
            | Self::CrlChunkUnexpected { .. }
            | Self::ConsentUnneeded
            | Self::ConsentDuplicate { .. }
            | Self::ConsentForeign { .. }
            | Self::ConsentsMissing { .. }
            | Self::RosterRefused { .. }
            | Self::PolicyRefused { .. }
            | Self::AnchorsRefused { .. }
            | Self::QuorumLost { .. }
            | Self::SharesLost { .. }
            | Self::RefreshPending { .. }
            | Self::KeyRefused { .. }
            | Self::KeyUsed { .. }
            | Self::ImportRefused { .. }
            | Self::PacketRefused { .. }
            | Self::NotStopping => Fault::Order,
            Self::CertificateMoved | Self::SignerSet { .. } | Self::CommitmentsChanged | Self::CommitmentsInvalid { .. } => {
                Fault::Coordinator
            }
            Self::NodeUnconfirmed
            | Self::ClockBehind
            | Self::AuditUnavailable
            | Self::ShareMissing
            | Self::ShareDamaged
            | Self::CeremonyUnknown { .. }
            | Self::CeremonyStep
            | Self::CeremonyParticipant { .. }
            | Self::CeremonyDuplicate { .. }
            | Self::CeremonyPackages { .. }
            | Self::NodeUnknown { .. }
            | Self::NodeStoreChanged { .. }
            | Self::NodeRolledBack { .. }
            | Self::LogVersionUnused { .. }
            | Self::ProgramOutdated { .. }
            | Self::CeremonyNotOverdue { .. }
            | Self::HoldsTooMany { .. }
            | Self::ShareNotMissing { .. }
            | Self::ShareNotHeld { .. }
            | Self::SharesNotWanted { .. }
            | Self::SharesWordNumber { .. }
            | Self::RefreshNotDue { .. }
            | Self::AccusationUnfounded { .. } => Fault::Node,
            Self::CrlMissing { .. }
            | Self::CrlStale { .. }
            | Self::MembershipPending
            | Self::CredentialInCeremony { .. }
            | Self::HoldersTooFew { .. } => Fault::Cluster,
        }
    }
}
