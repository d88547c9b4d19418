//! Checked work and a nonce, bound to each other until they become a signature share.

use std::fmt;

use frost_ed25519::keys::KeyPackage;
use frost_ed25519::{SigningPackage, round2};
use warifu_protocol::limits::NONCE_LIFE_MILLIS;
use warifu_protocol::wire::SignAnswer;
use warifu_protocol::{AuditEvent, Name, NodeId, Refusal};

use super::check::{CheckError, CheckedKind, CheckedWork, SpendKey};
use super::identifier::identifier;
use super::nonces::{MonotonicMillis, UnusedNonces};

/// Checked work with the nonce pair that will be used for it and for nothing else.
///
/// # Security
/// The pair is gone whether or not a share comes of it: the value cannot be copied, and neither dropping nor signing gives it back.
pub struct Prepared {
    work: CheckedWork,
    nonces: UnusedNonces,
}

/// The node's own part failed; the coordinator is not at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The share that the store gave is another one.
    #[error("the share given is not this node's share of the credential's key; have the node's shares repaired")]
    WrongShare,
    /// The nonce pair's life ended while the work waited.
    #[error("the nonces were made more than {NONCE_LIFE_MILLIS} ms ago")]
    NonceExpired,
    /// FROST refuses the commitments as a whole.
    #[error("the commitments of the signers cannot be signed with")]
    Commitments {
        /// What it found.
        #[source]
        source: frost_ed25519::Error,
    },
}

impl CheckedWork {
    /// Binds the nonce pair to this work.
    ///
    /// # Errors
    /// [`Refusal::CommitmentsChanged`] when the item names other commitments for this node than those of the pair. The pair is wiped
    /// then too: it must not be possible to try a pair out.
    pub fn take(self, nonces: UnusedNonces) -> Result<Prepared, Refusal> {
        if nonces.commitments() != self.own_commitments.as_slice() {
            return Err(Refusal::CommitmentsChanged);
        }
        Ok(Prepared { work: self, nonces })
    }
}

impl Prepared {
    /// What was checked.
    #[must_use]
    pub const fn work(&self) -> &CheckedWork {
        &self.work
    }

    /// As [`CheckedWork::spend_key`].
    #[must_use]
    pub const fn spend_key(&self) -> Option<SpendKey> {
        self.work.spend_key()
    }

    /// What must be in the audit log, durably, before [`Self::sign`] is called.
    #[must_use]
    pub fn audit_event(&self, coordinator: &Name) -> AuditEvent {
        let work = &self.work;
        let nonce = self.nonces.id();
        let signers: Vec<NodeId> = work.signers.iter().map(|(node, _)| *node).collect();
        let coordinator = coordinator.clone();
        let (credential, epoch, rendered) = (work.credential, work.epoch, work.rendered);
        match &work.kind {
            CheckedKind::Document { request, certificate, .. } => AuditEvent::DocumentShare {
                request: request.clone(),
                credential,
                epoch,
                certificate: *certificate,
                rendered,
                nonce,
                signers,
                coordinator,
            },
            CheckedKind::Csr => AuditEvent::CsrShare { credential, epoch, rendered, nonce, signers, coordinator },
        }
    }

    /// Makes the signature share (RFC 9591 section 5.2) and uses the nonce pair up. `now` is of the clock that the pair was made by.
    ///
    /// # Errors
    /// [`SignError::NonceExpired`] when the pair is older than [`NONCE_LIFE_MILLIS`] by now: after a stop, no share of it may come late.
    /// [`SignError::WrongShare`] when `key_package` is not this node's for the credential's group key and threshold. Whether it is of
    /// the current epoch shows only when the shares are put together.
    ///
    /// # Panics
    /// Never: a signature share has 32 bytes.
    pub fn sign(self, now: MonotonicMillis, key_package: &KeyPackage) -> Result<SignAnswer, SignError> {
        let Self { work, nonces } = self;
        if !nonces.is_alive(now) {
            return Err(SignError::NonceExpired);
        }
        let group_key = key_package.verifying_key().serialize().map_err(|source| SignError::Commitments { source })?;
        if *key_package.identifier() != identifier(work.node)
            || group_key != work.group_key
            || *key_package.min_signers() != u16::from(work.threshold.0)
        {
            return Err(SignError::WrongShare);
        }
        let commitments = work.signers.into_iter().map(|(node, commitments)| (identifier(node), commitments)).collect();
        let package = SigningPackage::new(commitments, &work.message);
        let share =
            round2::sign(&package, &nonces.into_nonces(), key_package).map_err(|source| SignError::Commitments { source })?.serialize();
        Ok(SignAnswer::Share(share.try_into().expect("a signature share is one scalar of 32 bytes")))
    }
}

impl From<SignError> for SignAnswer {
    fn from(error: SignError) -> Self {
        match error {
            SignError::WrongShare => Self::Refused(Refusal::ShareMissing),
            SignError::NonceExpired => CheckError::nonce_unknown().into(),
            SignError::Commitments { source } => Self::Refused(Refusal::CommitmentsInvalid { reason: source.to_string() }),
        }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prepared({:?} of {}, <redacted>)", self.nonces.id(), self.work.credential)
    }
}
