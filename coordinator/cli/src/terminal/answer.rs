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
/// to a pinned CA at the signing time.
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
    verify_path(&certificate, &[], anchors, AnchorKind::HpkiSigning, request.signing_time)?;
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
