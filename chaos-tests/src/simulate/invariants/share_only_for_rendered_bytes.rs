//! A share fits the bytes that follow from the request and applied state, and no others (design.md G2).
//!
//! The bytes are rendered here once more, and the share is checked against the site's public share.

use std::collections::BTreeMap;

use frost_ed25519::keys::PublicKeyPackage;
use frost_ed25519::round1::SigningCommitments;
use frost_ed25519::round2::SignatureShare;
use frost_ed25519::{Ed25519Sha512, SigningPackage};
use warifu_core::pki::render_csr;
use warifu_core::registry::{CredentialRecord, Registry as _};
use warifu_core::signer::identifier;
use warifu_prescription::{SignatureFields, render};
use warifu_protocol::canonical::sha256;
use warifu_protocol::wire::SignWork;
use warifu_protocol::{Blob, CertificateHash, Command, CredentialId, LogEntry, OrderCommand};

use super::{Ground, Invariant};
use crate::simulate::cost::{self, Of};
use crate::simulate::fact::{Fact, ShareGiven};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ShareOnlyForRenderedBytes {
    /// The certificates of each credential, with the index of the entry that installed each, in order: a site may not have the latest yet.
    certificates: BTreeMap<CredentialId, Vec<(u64, Blob)>>,
}

impl Invariant for ShareOnlyForRenderedBytes {
    fn name(&self) -> &'static str {
        "share_only_for_rendered_bytes"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        if let Fact::Committed { index, refused: None, bytes, .. } = fact
            && let Ok(Command::Order(order)) = LogEntry::decode(&bytes.0).map(|entry| entry.command)
            && let OrderCommand::InstallCertificate { credential, certificate, .. } = order.body.order
        {
            self.certificates.entry(credential).or_default().push((*index, certificate));
        }
        let Fact::ShareGiven(given) = fact else { return Ok(()) };
        if ground.suspects.contains(&given.site) {
            return Ok(());
        }
        let found = self.fits(given, ground);
        found.map_err(|reason| format!("site {} gave a share that it must not give: {reason}", given.site))
    }
}

impl ShareOnlyForRenderedBytes {
    fn fits(&self, given: &ShareGiven, ground: &Ground<'_>) -> Result<(), String> {
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
                let der = self.certificate_at(session.statement.credential, given.checked.applied);
                let der =
                    der.filter(|der| CertificateHash::new(sha256(der.as_slice())) == *certificate).ok_or("with another certificate")?;
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

    /// The certificate that who has applied so much knows of the credential.
    fn certificate_at(&self, credential: CredentialId, applied: u64) -> Option<&Blob> {
        let installed = self.certificates.get(&credential)?;
        installed.iter().rev().find(|(index, _)| *index <= applied).map(|(_, der)| der)
    }
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
    use warifu_core::registry::{MemoryStore, SessionRecord, encode, key, table};

    fn check(truth: &MemoryStore, fact: &Fact) -> Result<(), String> {
        let installed = truth.credential(CREDENTIAL).expect("a map in memory").and_then(|record| record.certificate);
        let certificates = installed.map(|certificate| (CREDENTIAL, vec![(0, certificate.der)])).into_iter().collect();
        ShareOnlyForRenderedBytes { certificates }.check(fact, &ground(truth))
    }

    /// Of site 1, for a certificate request, when `message` was signed.
    fn csr_share(dealt: &Dealt, message: &[u8]) -> ShareGiven {
        let gathered = dealt.sign(message);
        let Fact::ShareGiven(share) = given(1, 1, |given| {
            given.item.work = SignWork::Csr { credential: CREDENTIAL };
            given.item.signers = gathered.signers;
            given.share = gathered.shares[&node(1)];
        }) else {
            unreachable!("that is what it makes")
        };
        *share
    }

    fn fact(share: ShareGiven) -> Fact {
        Fact::ShareGiven(Box::new(share))
    }

    #[test]
    fn a_share_for_bytes_that_do_not_follow_from_the_state_is_a_breach() {
        assert!(check_all(ShareOnlyForRenderedBytes::default(), &[given(1, 1, |_| {})]).is_err(), "the state knows no such credential");
        assert_eq!(check_all(ShareOnlyForRenderedBytes::default(), &[given(SUSPECT, 1, |_| {})]), Ok(()), "a liar's is checked by others");
    }

    #[test]
    fn a_site_knows_the_certificate_of_the_entries_that_it_has_applied() {
        let (first, second) = (Blob(vec![1]), Blob(vec![2]));
        let certificates = BTreeMap::from([(CREDENTIAL, vec![(5, first.clone()), (8, second.clone())])]);
        let invariant = ShareOnlyForRenderedBytes { certificates };
        let known = [4, 5, 7, 8, 9].map(|applied| invariant.certificate_at(CREDENTIAL, applied));
        assert_eq!(known, [None, Some(&first), Some(&first), Some(&second), Some(&second)]);
    }

    #[test]
    fn a_share_over_one_other_byte_than_the_rendered_request_for_a_certificate_or_one_that_was_changed_is_a_breach() {
        let dealt = Dealt::new();
        let truth = with_credential(|record| record.key = Some(dealt.key()));
        let record = truth.credential(CREDENTIAL).expect("a map in memory").expect("the credential");
        let mut message = render_csr(&record.subject, &dealt.key().group_key).info;
        let good = csr_share(&dealt, &message);
        assert_eq!(check(&truth, &fact(good.clone())), Ok(()));
        let mut changed = good.clone();
        changed.share[0] ^= 1;
        assert!(check(&truth, &fact(changed)).is_err(), "a bit of the share");
        let mut of_another = good;
        of_another.share = dealt.sign(&message).shares[&node(2)];
        assert!(check(&truth, &fact(of_another)).is_err(), "another site's");
        *message.last_mut().expect("bytes") ^= 1;
        assert!(check(&truth, &fact(csr_share(&dealt, &message))).is_err(), "a bit of the message");
    }

    #[test]
    fn a_share_of_a_document_is_good_for_the_bytes_of_its_own_request_alone() {
        let dealt = Dealt::new();
        let mut truth = with_session();
        let mut record = truth.credential(CREDENTIAL).expect("a map in memory").expect("the credential");
        record.key = Some(dealt.key());
        truth.0.insert(key(table::CREDENTIAL, &[CREDENTIAL.as_ref()]), encode(&record));
        let der = record.certificate.expect("it has one").der;
        let share = |change: &dyn Fn(&mut Vec<u8>)| {
            given(1, 1, |given| {
                in_session(given, &|given| {
                    let SignWork::Document { request, certificate } = &mut given.item.work else { return };
                    *certificate = CertificateHash::new(sha256(der.as_slice()));
                    let body = &request.request;
                    let (kind, document, signing_time) = (body.kind, body.digest, body.signing_time);
                    let fields = SignatureFields { kind, request: body.hash(), document, signing_time, certificate: der.as_slice() };
                    let mut message = render(&fields).expect("it can be rendered").signed_info;
                    change(&mut message);
                    let gathered = dealt.sign(&message);
                    given.item.signers = gathered.signers;
                    given.share = gathered.shares[&node(1)];
                });
            })
        };
        let good = share(&|_| {});
        assert_eq!(check(&truth, &good), Ok(()));
        assert!(check(&truth, &share(&|message| message[0] ^= 1)).is_err(), "other bytes");
        let Fact::ShareGiven(mut unsigned) = good.clone() else { unreachable!("that is what it makes") };
        let SignWork::Document { request, .. } = &mut unsigned.item.work else { unreachable!("that is what it makes") };
        request.signature.0[0] ^= 1;
        assert!(check(&truth, &fact(*unsigned)).is_err(), "the session key has not signed the request");
        let session = truth.session(session_id()).expect("a map in memory").expect("the session");
        let (mut other, credential) = (session.statement.clone(), CredentialId::new([0xdd; 16]));
        other.credential = credential;
        let record = SessionRecord { statement: other, ..session };
        truth.0.insert(key(table::SESSION, &[session_id().as_ref()]), encode(&record));
        assert!(check(&truth, &good).is_err(), "another credential's session");
    }
}
