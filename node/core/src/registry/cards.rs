//! Checks of certificates against the pinned anchors and the active CRLs in the state.

use sha2::{Digest, Sha256 as Hasher};
use warifu_protocol::limits::{INTERMEDIATES_MAX, SIGNATURE_BYTES_MAX};
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::{AnchorKind, AuthenticatorKind, Blob, Refusal, Sha256, SpkiHash};

use super::apply::{Context, Stop};
use super::reader::Registry;
use super::store::StateStore;
use crate::pki::{Certificate, CertificateSerial, TrustAnchor, VerifiedPath, verify_card_signature, verify_path};

/// A card's signature with all that is needed to check it.
pub(super) struct Evidence<'a> {
    pub(super) kind: AuthenticatorKind,
    pub(super) certificate: &'a [u8],
    pub(super) intermediates: &'a [Blob],
    pub(super) message: &'a [u8],
    pub(super) signature: &'a [u8],
}

/// A card that passed every check.
pub(super) struct CheckedCard {
    pub(super) certificate: Certificate,
    pub(super) serial_digest: Sha256,
    pub(super) issuer: SpkiHash,
}

/// Chain, validity, profile, revocation and signature; whether the card is bound is the caller's matter.
pub(super) fn check<S: StateStore>(state: &S, context: &Context<'_>, evidence: &Evidence<'_>) -> Result<CheckedCard, Stop> {
    let refused = |error: &dyn std::error::Error| Refusal::CardRefused { reason: chain(error) };
    if evidence.signature.len() > SIGNATURE_BYTES_MAX {
        return Err(Refusal::TooLarge { what: "the card's signature".to_owned(), limit: SIGNATURE_BYTES_MAX as u64 }.into());
    }
    let certificate = Certificate::parse(evidence.certificate).map_err(|error| refused(&error))?;
    let intermediates = parse_all(evidence.intermediates, |error| refused(error))?;
    let kind = evidence.kind.anchor_kind();
    let anchors = anchors(context, kind)?;
    let path = verify_path(&certificate, &intermediates, &anchors, kind, context.now).map_err(|error| refused(&error))?;
    if intermediate_revoked(state, context, &path)? {
        return Err(Refusal::CardRefused { reason: "its CA's certificate is revoked".to_owned() }.into());
    }
    let issuer = path.issuer();
    let serial_digest = serial_digest(issuer.spki_hash(), certificate.serial());
    if is_revoked(state, context, &certificate, issuer, serial_digest)? && !is_on(Mutant::SkipCardCrl) {
        return Err(Refusal::CardRevoked.into());
    }
    if verify_card_signature(certificate.key(), evidence.message, evidence.signature).is_err() && !is_on(Mutant::SkipCardSignature) {
        return Err(Refusal::CardSignatureInvalid.into());
    }
    Ok(CheckedCard { issuer: issuer.spki_hash(), certificate, serial_digest })
}

/// Whether the CA between end entity and anchor, where there is one, is on a list of the anchor. Fails closed, like [`is_revoked`].
pub(super) fn intermediate_revoked<S: StateStore>(state: &S, context: &Context<'_>, path: &VerifiedPath<'_>) -> Result<bool, Stop> {
    match path.intermediate() {
        Some(intermediate) => authority_revoked(state, context, intermediate, &path.anchor().certificate),
        None => Ok(false),
    }
}

/// Whether an intermediate CA's certificate is on a list of the anchor that issued it.
pub(super) fn authority_revoked<S: StateStore>(
    state: &S,
    context: &Context<'_>,
    intermediate: &Certificate,
    anchor: &Certificate,
) -> Result<bool, Stop> {
    let digest = serial_digest(anchor.spki_hash(), intermediate.serial());
    is_revoked(state, context, intermediate, anchor, digest)
}

/// Whether the certificate is on any of its issuer's lists that cover it. Fails closed: no fresh list among them is a refusal.
pub(super) fn is_revoked<S: StateStore>(
    state: &S,
    context: &Context<'_>,
    certificate: &Certificate,
    issuer: &Certificate,
    serial_digest: Sha256,
) -> Result<bool, Stop> {
    let mut answer = Err(Refusal::CrlMissing { issuer: issuer.subject().to_string() });
    for (series, record) in state.crls_of(issuer.spki_hash())? {
        if record.scope.covers(certificate).is_err() {
            continue;
        }
        if state.is_revoked(series, serial_digest)? {
            return Ok(true);
        }
        if context.now <= record.fresh_until(&context.cluster.policy) || is_on(Mutant::AcceptStaleCrl) {
            answer = Ok(false);
        } else if answer.is_err() {
            answer = Err(Refusal::CrlStale { issuer: issuer.subject().to_string() });
        }
    }
    Ok(answer?)
}

/// Names a certificate without saying its serial in plain.
pub(super) fn serial_digest(issuer: SpkiHash, serial: &CertificateSerial) -> Sha256 {
    let mut hasher = Hasher::new();
    hasher.update(issuer.as_bytes());
    hasher.update(serial.as_bytes());
    Sha256::new(hasher.finalize().into())
}

/// The pinned anchors of one kind.
pub(super) fn anchors(context: &Context<'_>, kind: AnchorKind) -> Result<Vec<TrustAnchor>, Refusal> {
    context
        .cluster
        .anchors
        .iter()
        .filter(|entry| entry.kind == kind)
        .map(|entry| {
            TrustAnchor::from_entry(entry).map_err(|error| Refusal::Malformed { what: "a pinned anchor".to_owned(), reason: chain(&error) })
        })
        .collect()
}

pub(super) fn parse_all(ders: &[Blob], refused: impl Fn(&dyn std::error::Error) -> Refusal) -> Result<Vec<Certificate>, Refusal> {
    if ders.len() > INTERMEDIATES_MAX {
        return Err(Refusal::TooLarge { what: "intermediate certificates".to_owned(), limit: INTERMEDIATES_MAX as u64 });
    }
    ders.iter().map(|der| Certificate::parse(der.as_slice()).map_err(|error| refused(&error))).collect()
}

/// An error with its causes, since refusals carry text.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
