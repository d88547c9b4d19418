//! Whether an item may be signed, decided by this node alone from applied state.

use frost_ed25519::round1::SigningCommitments;
use warifu_prescription::{SignatureFields, render};
use warifu_protocol::canonical::sha256;
use warifu_protocol::limits::SIGNATURE_BYTES_MAX;
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::{CredentialState, NotYet, SignAnswer, SignItem, SignWork, SignerCommitments};
use warifu_protocol::{
    AuditEvent, CertificateHash, CredentialId, Epoch, Name, NodeId, NonceId, Policy, Refusal, RequestHash, SessionId, Sha256,
    SignedRequest, StopObject, Threshold, UnixMillis,
};

use crate::pki::render_csr;
use crate::registry::{CertificateRecord, CredentialRecord, Registry, SessionRecord, StateStore, StateStoreError, StoreNumbers};

/// After how many milliseconds a coordinator asks again when this node's state is behind: a log entry reaches a follower in less.
pub const RETRY_BEHIND_MILLIS: u32 = 100;
/// After how many milliseconds a coordinator asks again when the nonce is gone: at once, with commitments of the reply.
pub const RETRY_NONCE_MILLIS: u32 = 0;
/// Serialized commitments: a header of 5 bytes and two points.
const COMMITMENTS_BYTES: usize = 69;

/// What is the same for all items of a batch: read once, from the view of the state that the items are checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckContext {
    node: NodeId,
    now: UnixMillis,
    threshold: Threshold,
    policy: Policy,
    entry_time: UnixMillis,
    stores: StoreNumbers,
}

/// What a share uses up: this number of this session, for this request and no other.
pub type SpendKey = (SessionId, u32, RequestHash);

/// Why an item gives no signature share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Not refused, but not possible now.
    #[error("not possible yet ({reason:?}); ask again in {retry_after_millis} ms")]
    NotYet {
        /// Why.
        reason: NotYet,
        /// When to ask again.
        retry_after_millis: u32,
    },
    /// Refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This node's state store failed; nothing is wrong with the item.
    #[error(transparent)]
    Store(#[from] StateStoreError),
}

/// An item that this node will sign, with the message that it rendered itself. Only [`check`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedWork {
    pub(super) node: NodeId,
    pub(super) kind: CheckedKind,
    pub(super) credential: CredentialId,
    pub(super) epoch: Epoch,
    pub(super) threshold: Threshold,
    pub(super) group_key: [u8; 32],
    pub(super) message: Vec<u8>,
    pub(super) rendered: Sha256,
    pub(super) own_nonce: NonceId,
    pub(super) own_commitments: Vec<u8>,
    pub(super) signers: Vec<(NodeId, SigningCommitments)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CheckedKind {
    Document { request: SignedRequest, hash: RequestHash, certificate: CertificateHash, card: CertificateHash },
    Csr,
}

impl CheckContext {
    /// Reads the cluster's part. `now` is the node's own wall clock.
    ///
    /// # Errors
    /// When the store fails or has no genesis.
    pub fn read<S: StateStore>(state: &S, node: NodeId, now: UnixMillis) -> Result<Self, StateStoreError> {
        let cluster = state.cluster()?;
        Ok(Self {
            node,
            now,
            threshold: cluster.threshold,
            entry_time: state.time()?,
            stores: StoreNumbers::of(&cluster),
            policy: cluster.policy,
        })
    }
}

/// Checks one item and renders what it signs.
///
/// Nothing that the coordinator says is taken on trust: the request is verified under the session's key, everything else is looked up in
/// applied state and compared. What remains for the shell is the durable record of [`CheckedWork::spend_key`].
///
/// # Errors
/// [`CheckError::NotYet`] where this node's state may be behind, otherwise the first reason to refuse.
pub fn check<S: StateStore>(state: &S, context: &CheckContext, item: &SignItem) -> Result<CheckedWork, CheckError> {
    if context.now < context.entry_time && !is_on(Mutant::SkipClockBehind) {
        return Err(Refusal::ClockBehind.into());
    }
    match &item.work {
        SignWork::Document { request, certificate } => check_document(state, context, item, request, *certificate),
        SignWork::Csr { credential } => check_csr(state, context, item, *credential),
    }
}

/// The audit event for an item that was refused.
///
/// Refusals are cheap to provoke; the shell bounds how many of them it records in a second.
#[must_use]
pub fn refused_event(item: &SignItem, refusal: Refusal, coordinator: &Name) -> AuditEvent {
    let (request, credential) = match &item.work {
        // An oversized signature would let a coordinator fill the audit log with bytes of its choice.
        SignWork::Document { request, .. } => ((request.signature.len() <= SIGNATURE_BYTES_MAX).then(|| request.clone()), None),
        SignWork::Csr { credential } => (None, Some(*credential)),
    };
    AuditEvent::ShareRefused { request, credential, refusal, coordinator: coordinator.clone() }
}

impl CheckError {
    /// The nonce that the item names is not in the coordinator's pool.
    #[must_use]
    pub const fn nonce_unknown() -> Self {
        Self::NotYet { reason: NotYet::NonceUnknown, retry_after_millis: RETRY_NONCE_MILLIS }
    }

    const fn behind() -> Self {
        Self::NotYet { reason: NotYet::StateBehind, retry_after_millis: RETRY_BEHIND_MILLIS }
    }
}

impl From<CheckError> for SignAnswer {
    /// The answer to the coordinator; a failed store shows as a busy node.
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::NotYet { reason, retry_after_millis } => Self::NotYet { reason, retry_after_millis },
            CheckError::Refused(refusal) => Self::Refused(refusal),
            CheckError::Store(_) => Self::NotYet { reason: NotYet::Busy, retry_after_millis: RETRY_BEHIND_MILLIS },
        }
    }
}

impl CheckedWork {
    /// The nonce pair of this node that the item names, to be taken from the coordinator's pool.
    #[must_use]
    pub const fn own_nonce(&self) -> NonceId {
        self.own_nonce
    }

    /// What a share of it uses up; a CSR uses up nothing. Another request under the same session and number must be refused
    /// ([`Refusal::SeqUsed`]), the same request again is allowed.
    #[must_use]
    pub const fn spend_key(&self) -> Option<SpendKey> {
        match &self.kind {
            CheckedKind::Document { request, hash, .. } => Some((request.request.session, request.request.seq, *hash)),
            CheckedKind::Csr => None,
        }
    }

    /// All that must not have been stopped when a share of it is made: the credential and, for a document, its session and the card that
    /// opened it.
    #[must_use]
    pub fn objects(&self) -> Vec<StopObject> {
        let credential = self.credential;
        let mut objects = vec![StopObject::Credential(credential)];
        if let CheckedKind::Document { request, card, .. } = &self.kind {
            objects.extend([StopObject::Session(request.request.session), StopObject::Card { credential, card: *card }]);
        }
        objects
    }

    /// Whose key signs.
    #[must_use]
    pub const fn credential(&self) -> CredentialId {
        self.credential
    }

    /// Which generation of its shares signs.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The message, rendered here.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }
}

fn check_document<S: StateStore>(
    state: &S,
    context: &CheckContext,
    item: &SignItem,
    signed: &SignedRequest,
    named: CertificateHash,
) -> Result<CheckedWork, CheckError> {
    let request = &signed.request;
    let session = state.session(request.session)?.ok_or_else(CheckError::behind)?;
    // Verified before anything in it is judged, so that a refusal in the audit log is about what the holder's terminal asked for.
    let key = &session.statement.session_key;
    if key.verify(&request.message(), signed.signature.as_slice()).is_err() && !is_on(Mutant::SkipRequestSignature) {
        return Err(Refusal::RequestSignatureInvalid.into());
    }
    check_session(state, context, &session)?;
    check_request(context, &session, signed)?;

    let credential = session.statement.credential;
    let record = state.credential(credential)?.ok_or_else(CheckError::behind)?;
    if record.state != CredentialState::Active && !is_on(Mutant::SkipCredentialState) {
        return Err(wrong_state(&record, "active"));
    }
    let certificate = record.certificate.as_ref().ok_or_else(|| wrong_state(&record, "a certificate"))?;
    check_certificate(context, certificate, named)?;
    check_authorities(state, context, &session, &record, certificate)?;
    let has_role = request.kind.roles().iter().any(|role| certificate.roles.iter().any(|has| has == role));
    if !has_role && !is_on(Mutant::SkipRole) {
        return Err(Refusal::RoleMissing { kind: request.kind }.into());
    }

    let hash = request.hash();
    let fields = SignatureFields {
        kind: request.kind,
        request: hash,
        document: request.digest,
        signing_time: request.signing_time,
        certificate: certificate.der.as_slice(),
    };
    let rendered = render(&fields).map_err(|error| Refusal::Malformed { what: "request".to_owned(), reason: error.to_string() })?;
    let kind = CheckedKind::Document { request: signed.clone(), hash, certificate: named, card: session.card };
    check_signers(context, item, kind, credential, &record, rendered.signed_info)
}

fn check_csr<S: StateStore>(
    state: &S,
    context: &CheckContext,
    item: &SignItem,
    credential: CredentialId,
) -> Result<CheckedWork, CheckError> {
    let record = state.credential(credential)?.ok_or_else(CheckError::behind)?;
    match record.state {
        CredentialState::Generated if record.certificate.is_none() => {}
        // Its last confirmation may not have been applied here.
        CredentialState::Generating => return Err(CheckError::behind()),
        CredentialState::Generated
        | CredentialState::Certified
        | CredentialState::Active
        | CredentialState::Suspended
        | CredentialState::Revoked
        | CredentialState::Destroyed => return Err(wrong_state(&record, "generated and without a certificate")),
    }
    let key = record.key.as_ref().ok_or_else(|| wrong_state(&record, "a generated key"))?;
    let message = render_csr(&record.subject, &key.group_key).info;
    check_signers(context, item, CheckedKind::Csr, credential, &record, message)
}

fn check_session<S: StateStore>(state: &S, context: &CheckContext, session: &SessionRecord) -> Result<(), CheckError> {
    // A terminal may have been retired because it was stolen, with a session's key on it.
    let retired = state.terminal(session.statement.terminal)?.is_none_or(|terminal| terminal.retired);
    if (session.closed && !is_on(Mutant::SkipSessionClosed)) || (retired && !is_on(Mutant::SkipTerminalRetired)) {
        return Err(Refusal::SessionClosed.into());
    }
    // The terminal sets not-before by its own clock, which may be ahead of this node's within the skew; the end is not stretched.
    let statement = &session.statement;
    let is_its_time = context.now.plus(context.policy.clock_skew_millis_max) >= statement.not_before && context.now <= statement.not_after;
    if !is_its_time && !is_on(Mutant::SkipSessionTimes) {
        return Err(Refusal::SessionNotValid.into());
    }
    Ok(())
}

/// A CA between a pinned one and the card or the certificate may have been revoked since the session was opened. The lists that say so must be
/// fresh by this node's own clock: a corrupt leader can hold back the log's time, by which the session was opened, and new lists with it.
fn check_authorities<S: StateStore>(
    state: &S,
    context: &CheckContext,
    session: &SessionRecord,
    record: &CredentialRecord,
    certificate: &CertificateRecord,
) -> Result<(), CheckError> {
    let card = record.authenticators.iter().find(|bound| bound.card == session.card);
    let authorities = card.map(|card| (card.issuer, Refusal::CardRevoked));
    for (issuer, revoked) in authorities.into_iter().chain([(certificate.issuer, Refusal::CertificateRevoked)]) {
        if state.authority_revoked(issuer)? && !is_on(Mutant::SkipAuthorityRevoked) {
            return Err(revoked.into());
        }
        let missing = || Refusal::CrlMissing { issuer: format!("the CA with key {issuer}") };
        let list = state.list_to_rely_on(issuer, &context.policy)?.ok_or_else(missing)?;
        if context.now > list.fresh_until(&context.policy) && !is_on(Mutant::AcceptStaleCrl) {
            return Err(Refusal::CrlStale { issuer: list.issuer }.into());
        }
    }
    Ok(())
}

fn check_request(context: &CheckContext, session: &SessionRecord, signed: &SignedRequest) -> Result<(), Refusal> {
    let request = &signed.request;
    let limit = session.statement.max_signatures;
    if (request.seq == 0 || request.seq > limit) && !is_on(Mutant::SkipSequenceLimit) {
        return Err(Refusal::SeqOutOfRange { limit });
    }
    if !request.signing_time.0.is_multiple_of(1000) {
        return Err(Refusal::SigningTimeFraction);
    }
    if request.signing_time.distance(context.now) > context.policy.clock_skew_millis_max && !is_on(Mutant::SkipSigningTime) {
        return Err(Refusal::SigningTimeSkew { limit_millis: context.policy.clock_skew_millis_max });
    }
    Ok(())
}

fn check_certificate(context: &CheckContext, certificate: &CertificateRecord, named: CertificateHash) -> Result<(), Refusal> {
    if named != certificate.hash {
        return Err(Refusal::CertificateMoved);
    }
    if !certificate.is_valid_at(context.now) && !is_on(Mutant::SkipCertificateExpiry) {
        return Err(Refusal::CertificateNotValid);
    }
    Ok(())
}

/// Checks epoch, holders and commitments, and puts the checked work together.
fn check_signers(
    context: &CheckContext,
    item: &SignItem,
    kind: CheckedKind,
    credential: CredentialId,
    record: &CredentialRecord,
    message: Vec<u8>,
) -> Result<CheckedWork, CheckError> {
    if item.epoch > record.epoch {
        return Err(CheckError::behind());
    }
    // During a refresh shares of both epochs sign, but never one of each: they would not fit together.
    let holders = record.holders_of(item.epoch).filter(|holders| context.stores.holds(holders, context.node));
    let holders_given = holders.ok_or(Refusal::ShareMissing)?;
    let key = record.key.as_ref().ok_or_else(|| wrong_state(record, "a generated key"))?;

    let threshold = context.threshold;
    let refused = || Refusal::SignerSet { threshold: threshold.0 };
    let ascending = item.signers.is_sorted_by(|left, right| left.node < right.node);
    let holders = item.signers.iter().all(|signer| context.stores.holds(holders_given, signer.node));
    let are_signers = item.signers.len() == usize::from(threshold.0) && ascending && holders;
    if !are_signers && !is_on(Mutant::SkipSignerSet) {
        return Err(refused().into());
    }
    let own = item.signers.iter().find(|signer| signer.node == context.node).ok_or_else(refused)?;
    let signers = item.signers.iter().map(parse_commitments).collect::<Result<_, _>>()?;

    Ok(CheckedWork {
        node: context.node,
        kind,
        credential,
        epoch: item.epoch,
        threshold,
        group_key: key.group_key,
        rendered: Sha256::new(sha256(&message)),
        message,
        own_nonce: own.nonce,
        own_commitments: own.commitments.0.clone(),
        signers,
    })
}

fn parse_commitments(signer: &SignerCommitments) -> Result<(NodeId, SigningCommitments), Refusal> {
    let invalid = |reason: &str| Refusal::CommitmentsInvalid { reason: format!("those of node {} {reason}", signer.node) };
    if signer.commitments.len() != COMMITMENTS_BYTES {
        return Err(invalid("have the wrong length"));
    }
    let commitments = SigningCommitments::deserialize(signer.commitments.as_slice()).map_err(|_| invalid("are not two points"))?;
    Ok((signer.node, commitments))
}

fn wrong_state(record: &CredentialRecord, needs: &str) -> CheckError {
    Refusal::CredentialState { state: record.state.to_string(), needs: needs.to_owned() }.into()
}
