//! A share fits the bytes that follow from the request and applied state, and no others (design.md G2).
//!
//! The bytes are rendered here once more, and the share is checked against the site's public share.

use frost_ed25519::keys::PublicKeyPackage;
use frost_ed25519::round1::SigningCommitments;
use frost_ed25519::round2::SignatureShare;
use frost_ed25519::{Ed25519Sha512, SigningPackage};
use warifu_core::pki::render_csr;
use warifu_core::registry::{CredentialRecord, Registry as _};
use warifu_core::signer::identifier;
use warifu_prescription::{SignatureFields, render};
use warifu_protocol::Blob;
use warifu_protocol::wire::SignWork;

use super::{Ground, Invariant};
use crate::simulate::cost::{self, Of};
use crate::simulate::fact::{Fact, ShareGiven};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ShareOnlyForRenderedBytes;

impl Invariant for ShareOnlyForRenderedBytes {
    fn name(&self) -> &'static str {
        "share_only_for_rendered_bytes"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        let Fact::ShareGiven(given) = fact else { return Ok(()) };
        if ground.suspects.contains(&given.site) {
            return Ok(());
        }
        let found = fits(given, ground);
        found.map_err(|reason| format!("site {} gave a share that it must not give: {reason}", given.site))
    }
}

fn fits(given: &ShareGiven, ground: &Ground<'_>) -> Result<(), String> {
    let state = ground.truth;
    let unreadable = |error: warifu_core::registry::StateStoreError| error.to_string();
    let (record, message): (CredentialRecord, Vec<u8>) = match &given.item.work {
        SignWork::Csr { credential } => {
            let record = state.credential(*credential).map_err(unreadable)?.ok_or("of an unknown credential")?;
            let key = record.key.as_ref().ok_or("of a credential without a key")?.group_key;
            let message = render_csr(&record.subject, &key).info;
            (record, message)
        }
        SignWork::Document { request, certificate } => {
            let body = &request.request;
            let session = state.session(body.session).map_err(unreadable)?.ok_or("of an unknown session")?;
            let key = &session.statement.session_key;
            cost::of(Of::Signatures, || key.verify(&body.message(), request.signature.as_slice()))
                .map_err(|_| "of a request that the session key has not signed")?;
            let record = state.credential(session.statement.credential).map_err(unreadable)?.ok_or("of an unknown credential")?;
            let der = record.certificate.as_ref().filter(|known| known.hash == *certificate).ok_or("with another certificate")?.der.clone();
            let fields = SignatureFields {
                kind: body.kind,
                request: body.hash(),
                document: body.digest,
                signing_time: body.signing_time,
                certificate: der.as_slice(),
            };
            (record, render(&fields).map_err(|error| error.to_string())?.signed_info)
        }
    };
    if given.item.epoch != record.epoch {
        // Of the epoch before, whose public shares are not kept.
        return Ok(());
    }
    let package = record.key.as_ref().ok_or("of a credential without a key")?;
    cost::of(Of::Frost, || verify(given, &package.public_key_package, &message))
}

/// Whether the share is one of the site for this message.
fn verify(given: &ShareGiven, package: &Blob, message: &[u8]) -> Result<(), String> {
    let package = PublicKeyPackage::deserialize(package.as_slice()).map_err(|error| error.to_string())?;
    let commitments = given
        .item
        .signers
        .iter()
        .map(|signer| Ok((identifier(signer.node), SigningCommitments::deserialize(signer.commitments.as_slice())?)))
        .collect::<Result<_, frost_ed25519::Error>>()
        .map_err(|error| error.to_string())?;
    let own = identifier(given.site);
    let verifying = package.verifying_shares().get(&own).ok_or("of a key of which it has no public share")?;
    let share = SignatureShare::deserialize(&given.share).map_err(|error| error.to_string())?;
    let signing = SigningPackage::new(commitments, message);
    frost_core::verify_signature_share::<Ed25519Sha512>(own, verifying, &share, &signing, package.verifying_key())
        .map_err(|_| "for other bytes than those that follow from the request".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_share_for_bytes_that_do_not_follow_from_the_state_is_a_breach() {
        assert!(check_all(ShareOnlyForRenderedBytes, &[given(1, 1, |_| {})]).is_err(), "the state knows no such credential");
        assert_eq!(check_all(ShareOnlyForRenderedBytes, &[given(SUSPECT, 1, |_| {})]), Ok(()), "a liar's is checked by others");
    }
}
