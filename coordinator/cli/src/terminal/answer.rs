//! Whether an answer is the signed document that was asked for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use warifu_coordinator::document::{SignaturePlace, XmlDocument, embed};
use warifu_core::pki::{Certificate, CertificateKey, TrustAnchor, verify_path};
use warifu_prescription::{SignatureFields, render, uri};
use warifu_protocol::{AnchorKind, PublicKey, Request};

use super::error::TerminalError;

/// Builds the signed document again from the terminal's own document and request, the certificate in the answer and the signature value,
/// and demands that it is the answer byte for byte; that the signature holds under the certificate's key; and that the certificate chains
/// to a pinned CA at the signing time, over one of `intermediates` if not directly. A document carries no certificate but the holder's.
///
/// Returns the holder's certificate.
///
/// # Errors
/// [`TerminalError::Answer`], [`TerminalError::Certificate`] or [`TerminalError::Path`]: the coordinator is at fault.
pub fn check_answer(
    document: &str,
    request: &Request,
    signed: &str,
    signature: &[u8],
    anchors: &[TrustAnchor],
    intermediates: &[Certificate],
) -> Result<Certificate, TerminalError> {
    let refused = |reason: &str| TerminalError::Answer { reason: reason.to_owned() };
    let signature: [u8; 64] = signature.try_into().map_err(|_| refused("the signature is not of 64 bytes"))?;
    let certificate = Certificate::parse(&certificate_of(signed, request)?)?;
    let fields = SignatureFields {
        kind: request.kind,
        request: request.hash(),
        document: request.digest,
        signing_time: request.signing_time,
        certificate: certificate.der(),
    };
    let rendered = render(&fields).map_err(|error| refused(&error.to_string()))?;
    let CertificateKey::Ed25519(key) = certificate.key() else { return Err(refused("its certificate is not of an Ed25519 key")) };
    PublicKey::Ed25519(*key)
        .verify(&rendered.signed_info, &signature)
        .map_err(|_| refused("the signature does not hold under its certificate"))?;
    let expected = embed(document.as_bytes(), request.kind, &rendered.signature_element(&signature))?;
    if expected != signed {
        return Err(refused("it is not the document that was sent, with the signature added"));
    }
    verify_path(&certificate, intermediates, anchors, AnchorKind::HpkiSigning, request.signing_time)?;
    Ok(certificate)
}

/// The certificate that the answer's signature carries.
fn certificate_of(signed: &str, request: &Request) -> Result<Vec<u8>, TerminalError> {
    let refused = |reason: &str| TerminalError::Answer { reason: reason.to_owned() };
    let document = XmlDocument::parse(signed.as_bytes()).map_err(|error| refused(&error.to_string()))?;
    let holder = document.element_at(SignaturePlace::of(request.kind).holder_path()).map_err(|error| refused(&error.to_string()))?;
    let step = |parent, name| document.children_named(parent, Some(uri::XMLDSIG), name).next();
    let element = ["Signature", "KeyInfo", "X509Data", "X509Certificate"]
        .iter()
        .try_fold(holder, |parent, name| step(parent, name))
        .ok_or_else(|| refused("it has no certificate"))?;
    BASE64.decode(document.tree().text_content_deep(element).trim()).map_err(|_| refused("its certificate is not base64"))
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};
    use warifu_coordinator::document::{DocumentError, sample};
    use warifu_core::pki::{assemble_csr, render_csr};
    use warifu_protocol::{AnchorEntry, Blob, DocumentKind, SessionId, SubjectFields, UnixMillis};

    use super::*;
    use crate::clock::now;
    use crate::keys::{KeyKind, LocalKey};
    use crate::terminal::Prepared;
    use crate::trial_command::signing_validity;
    use crate::trial_pki::TrialHpki;

    /// A holder whose key is whole, for want of a cluster.
    struct Signer {
        key: SigningKey,
        certificate: Vec<u8>,
        ca: TrialHpki,
    }

    impl Signer {
        fn new(seed: u8) -> Self {
            let key = SigningKey::from_bytes(&[seed; 32]);
            let subject = SubjectFields::new("JP", None, "TRIAL Ishi", "1").expect("a subject");
            let info = render_csr(&subject, key.verifying_key().as_bytes()).info;
            let csr = assemble_csr(&info, &key.sign(&info).to_bytes()).expect("a request");
            let ca = TrialHpki::new(now()).expect("a CA");
            let certificate = ca.issue_signing_certificate(&csr, &["Medical Doctor"], signing_validity(now())).expect("a certificate");
            Self { key, certificate, ca }
        }

        /// The answer of a coordinator to `request`, for the document `xml`.
        fn answer(&self, xml: &str, request: &Request) -> (String, [u8; 64]) {
            let fields = SignatureFields {
                kind: request.kind,
                request: request.hash(),
                document: request.digest,
                signing_time: request.signing_time,
                certificate: &self.certificate,
            };
            let rendered = render(&fields).expect("renders");
            let signature = self.key.sign(&rendered.signed_info).to_bytes();
            (embed(xml.as_bytes(), request.kind, &rendered.signature_element(&signature)).expect("embeds"), signature)
        }

        fn anchors(&self) -> Vec<TrustAnchor> {
            vec![TrustAnchor::from_entry(&self.ca.anchor()).expect("an anchor")]
        }
    }

    fn must_prepare(document_id: &str, at: UnixMillis) -> Prepared {
        let key = LocalKey::generate(KeyKind::Ed25519).expect("a key");
        let session = SessionId::new([7; 32]);
        Prepared::new(sample::prescription(document_id), DocumentKind::Prescription, session, 1, &key, at).expect("a sample")
    }

    #[test]
    fn an_answer_counts_only_if_it_is_this_document_signed_by_a_holder_under_a_pinned_ca() {
        let (doctor, stranger) = (Signer::new(1), Signer::new(2));
        let prepared = must_prepare("mine", now());
        let (xml, request) = (&prepared.xml, &prepared.request.request);
        let anchors = doctor.anchors();
        let check = |signed: &str, signature: &[u8]| check_answer(xml, request, signed, signature, &anchors, &[]);
        let (signed, signature) = doctor.answer(xml, request);
        let certificate = check(&signed, &signature).expect("an honest answer");
        assert_eq!(certificate.der(), doctor.certificate);

        let answer = |outcome: Result<Certificate, TerminalError>| matches!(outcome, Err(TerminalError::Answer { .. }));
        let other = must_prepare("other", now());
        let (other_signed, other_signature) = doctor.answer(&other.xml, &other.request.request);
        assert!(answer(check(&other_signed, &other_signature)), "another document, signed for another request");
        assert!(answer(check(&other_signed, &signature)), "another document with this one's signature value");
        let (swapped, swapped_signature) = doctor.answer(&other.xml, request);
        assert!(answer(check(&swapped, &swapped_signature)), "this request's signature in another document");
        assert!(answer(check(&signed.replace("EP.xsd", "EQ.xsd"), &signature)), "an unsigned part was changed");
        assert!(answer(check(xml, &signature)), "not signed at all");
        assert!(answer(check("<html/>", &signature)), "not a document");
        assert!(answer(check(&signed, &signature[..63])), "a short value");
        let mut flipped = signature;
        flipped[10] ^= 1;
        assert!(answer(check(&signed, &flipped)), "another value");
        let (foreign, foreign_signature) = stranger.answer(xml, request);
        assert!(matches!(check(&foreign, &foreign_signature), Err(TerminalError::Path(_))), "a holder under a CA that is not pinned");
    }

    #[test]
    fn a_certificate_under_a_pinned_root_counts_with_the_ca_between_them() {
        let (doctor, stranger) = (Signer::new(1), Signer::new(2));
        let prepared = must_prepare("mine", now());
        let (xml, request) = (&prepared.xml, &prepared.request.request);
        let (signed, signature) = doctor.answer(xml, request);
        let root = Blob::from(doctor.ca.root_der().expect("a CA of two tiers"));
        let root = TrustAnchor::from_entry(&AnchorEntry { certificate: root, ..doctor.ca.anchor() }).expect("an anchor");
        let check =
            |intermediates: &[Certificate]| check_answer(xml, request, &signed, &signature, std::slice::from_ref(&root), intermediates);
        let [own, foreign] = [&doctor, &stranger].map(|signer| Certificate::parse(signer.ca.certificate_der()).expect("a CA"));
        assert!(check(&[foreign.clone(), own]).is_ok());
        assert!(matches!(check(&[]), Err(TerminalError::Path(_))), "nothing leads to the root");
        assert!(matches!(check(&[foreign]), Err(TerminalError::Path(_))), "a CA of the same name under another root");
    }

    #[test]
    fn a_document_of_the_other_kind_is_refused_before_it_is_sent() {
        let key = LocalKey::generate(KeyKind::Ed25519).expect("a key");
        let prepare = |xml: &str| Prepared::new(xml.to_owned(), DocumentKind::Dispensing, SessionId::new([7; 32]), 1, &key, now());
        assert!(matches!(prepare(&sample::prescription("mine")), Err(TerminalError::Document(DocumentError::WrongKind { .. }))));
        assert!(matches!(prepare("<!DOCTYPE x><x/>"), Err(TerminalError::Document(_))));
        let at = must_prepare("mine", UnixMillis(1_234_567)).request.request.signing_time;
        assert_eq!(at, UnixMillis(1_234_000), "whole seconds");
    }
}
