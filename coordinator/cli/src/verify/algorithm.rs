//! The algorithms that a signature may use, by their names in XML Signature (RFC 9231).

use aws_lc_rs::digest;
use der::asn1::UintRef;
use der::{Encode, Sequence};
use warifu_coordinator::document::Canonicalization;
use warifu_core::pki::{CertificateKey, SignatureAlgorithm, SignatureError};
use warifu_prescription::uri;

use super::problem::SignatureProblem;

/// The canonical form with this name.
pub(super) fn canonicalization(name: &str, part: &'static str) -> Result<Canonicalization, SignatureProblem> {
    match name {
        uri::EXCLUSIVE_C14N => Ok(Canonicalization::Exclusive),
        uri::INCLUSIVE_C14N => Ok(Canonicalization::Inclusive),
        other => Err(refuse(other, part)),
    }
}

/// A hash that digests may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DigestMethod(&'static digest::Algorithm);

impl DigestMethod {
    pub(super) fn from_uri(name: &str, part: &'static str) -> Result<Self, SignatureProblem> {
        match name {
            uri::SHA256 => Ok(Self(&digest::SHA256)),
            "http://www.w3.org/2001/04/xmldsig-more#sha384" => Ok(Self(&digest::SHA384)),
            "http://www.w3.org/2001/04/xmlenc#sha512" => Ok(Self(&digest::SHA512)),
            other => Err(refuse(other, part)),
        }
    }

    pub(super) fn matches(self, message: &[u8], expected: &[u8]) -> bool {
        digest::digest(self.0, message).as_ref() == expected
    }
}

/// How the value of a signature was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SignatureMethod(SignatureAlgorithm);

impl SignatureMethod {
    pub(super) fn from_uri(name: &str) -> Result<Self, SignatureProblem> {
        use SignatureAlgorithm as A;
        let algorithm = match name {
            uri::ED25519 => A::Ed25519,
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256" => A::RsaPkcs1Sha256,
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384" => A::RsaPkcs1Sha384,
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512" => A::RsaPkcs1Sha512,
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256" => A::EcdsaSha256,
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384" => A::EcdsaSha384,
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512" => A::EcdsaSha512,
            other => return Err(refuse(other, "SignatureMethod")),
        };
        Ok(Self(algorithm))
    }

    /// The name for people.
    pub(super) const fn name(self) -> &'static str {
        match self.0 {
            SignatureAlgorithm::Ed25519 => "Ed25519",
            SignatureAlgorithm::RsaPkcs1Sha256 => "RSA PKCS#1 v1.5 with SHA-256",
            SignatureAlgorithm::RsaPkcs1Sha384 => "RSA PKCS#1 v1.5 with SHA-384",
            SignatureAlgorithm::RsaPkcs1Sha512 => "RSA PKCS#1 v1.5 with SHA-512",
            SignatureAlgorithm::EcdsaSha256 => "ECDSA with SHA-256",
            SignatureAlgorithm::EcdsaSha384 => "ECDSA with SHA-384",
            SignatureAlgorithm::EcdsaSha512 => "ECDSA with SHA-512",
        }
    }

    /// Verifies a signature value in the form of XML Signature: of ECDSA the two numbers, each as long as the curve's order.
    pub(super) fn verify(self, key: &CertificateKey, message: &[u8], value: &[u8]) -> Result<(), SignatureProblem> {
        let number_len = match key {
            CertificateKey::EcdsaP256(_) => 32,
            CertificateKey::EcdsaP384(_) => 48,
            CertificateKey::EcdsaP521(_) => 66,
            CertificateKey::Rsa { .. } | CertificateKey::Ed25519(_) => {
                return key.verify(self.0, message, value).map_err(|source| SignatureProblem::Value { source });
            }
        };
        ecdsa_der(value, number_len)
            .ok_or(SignatureError::Invalid { algorithm: self.0 })
            .and_then(|value| key.verify(self.0, message, &value))
            .map_err(|source| SignatureProblem::Value { source })
    }
}

/// `ECDSA-Sig-Value` of RFC 3279 section 2.2.3.
#[derive(Sequence)]
struct EcdsaSigValue<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

fn ecdsa_der(value: &[u8], number_len: usize) -> Option<Vec<u8>> {
    if value.len() != 2 * number_len {
        return None;
    }
    let (r, s) = value.split_at(number_len);
    EcdsaSigValue { r: UintRef::new(r).ok()?, s: UintRef::new(s).ok()? }.to_der().ok()
}

/// Tells broken hashes apart from what is merely unknown, so that people see what to ask the signer for.
fn refuse(name: &str, part: &'static str) -> SignatureProblem {
    let uri = name.to_owned();
    if ["sha1", "md5", "md2"].iter().any(|hash| name.to_ascii_lowercase().contains(hash)) {
        SignatureProblem::BrokenHash { part, uri }
    } else {
        SignatureProblem::Algorithm { part, uri }
    }
}
