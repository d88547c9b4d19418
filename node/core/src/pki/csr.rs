//! Certificate signing requests for threshold keys (PKCS#10, RFC 2986).

use const_oid::db::rfc8410::ID_ED_25519;
use der::asn1::{BitString, SetOfVec};
use der::{Decode, Encode};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use warifu_protocol::SubjectFields;
use x509_cert::request::{CertReq, CertReqInfo, Version};

use super::certificate_key::{CertificateKey, CertificateKeyError, SignatureAlgorithm, SignatureError};
use super::name::{DistinguishedName, SubjectMismatch, encode_subject};

/// Largest request in bytes: key, signature and four fields of at most 64 bytes need under 500.
pub const CSR_DER_LEN_MAX: usize = 2 * 1024;

/// A rendered request that lacks its signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CsrParts {
    /// DER of the CertificationRequestInfo: exactly the message that the threshold key signs.
    pub info: Vec<u8>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Longer than a request may be.
    #[error("the request has {len} bytes, accepted are 1 to {CSR_DER_LEN_MAX}")]
    Length {
        /// How many bytes were given.
        len: usize,
    },
    /// Not one DER request, whole and without trailing bytes.
    #[error("the request is not valid DER")]
    Malformed {
        /// What the decoder found.
        #[source]
        source: der::Error,
    },
    /// A key that cannot be read.
    #[error("the request's key is not accepted")]
    Key {
        /// Why.
        #[source]
        source: CertificateKeyError,
    },
    /// A key or signature that is not Ed25519.
    #[error("the request's key or signature is not Ed25519 without parameters")]
    NotEd25519,
    /// A subject outside the profile.
    #[error("the request's subject is not a holder's")]
    Subject {
        /// Why.
        #[source]
        source: SubjectMismatch,
    },
    /// Attributes, another order of names, other string types: not what [`render_csr`] gives.
    #[error("the request is not in the one form that Warifu renders")]
    NotCanonical,
    /// The signature does not hold.
    #[error("the request's signature does not hold under its own key")]
    Signature {
        /// Why.
        #[source]
        source: SignatureError,
    },
}

/// Renders the request for this subject and key: the same input gives the same bytes on every node.
///
/// # Panics
///
/// Never: the fields of a [`SubjectFields`] always fit their string types.
#[must_use]
pub fn render_csr(subject: &SubjectFields, group_key: &[u8; 32]) -> CsrParts {
    let encode = || -> der::Result<Vec<u8>> {
        CertReqInfo {
            version: Version::V1,
            subject: encode_subject(subject)?,
            public_key: SubjectPublicKeyInfoOwned { algorithm: ed25519(), subject_public_key: BitString::from_bytes(group_key)? },
            attributes: SetOfVec::new(),
        }
        .to_der()
    };
    CsrParts { info: encode().expect("subject fields are checked when they are made") }
}

/// Puts the signature to rendered bytes. The result is a PKCS#10 request; it is not checked: see [`verify_csr`].
///
/// # Errors
///
/// [`CsrError::Malformed`] when `info` is no CertificationRequestInfo.
pub fn assemble_csr(info: &[u8], signature: &[u8; 64]) -> Result<Vec<u8>, CsrError> {
    let encode = || -> der::Result<Vec<u8>> {
        let info = CertReqInfo::from_der(info)?;
        CertReq { info, algorithm: ed25519(), signature: BitString::from_bytes(signature)? }.to_der()
    };
    encode().map_err(malformed)
}

/// Verifies a request as a CA of the trial kind does: one DER request in exactly the form of [`render_csr`], signed by its own key.
///
/// # Errors
///
/// [`CsrError`] says what is wrong.
pub fn verify_csr(der: &[u8]) -> Result<(SubjectFields, [u8; 32]), CsrError> {
    if der.is_empty() || der.len() > CSR_DER_LEN_MAX {
        return Err(CsrError::Length { len: der.len() });
    }
    let request = CertReq::from_der(der).map_err(malformed)?;
    if request.algorithm != ed25519() {
        return Err(CsrError::NotEd25519);
    }
    let spki = request.info.public_key.to_der().map_err(malformed)?;
    let key = CertificateKey::parse_spki(&spki).map_err(|source| CsrError::Key { source })?;
    let CertificateKey::Ed25519(group_key) = key else { return Err(CsrError::NotEd25519) };
    let subject = DistinguishedName::from_name(&request.info.subject)
        .map_err(malformed)?
        .to_subject_fields()
        .map_err(|source| CsrError::Subject { source })?;
    let rendered = render_csr(&subject, &group_key).info;
    let signature: [u8; 64] = request.signature.raw_bytes().try_into().map_err(|_| CsrError::NotCanonical)?;
    // The whole is compared, since the decoder is laxer than DER about what stands around the values.
    if assemble_csr(&rendered, &signature)? != der {
        return Err(CsrError::NotCanonical);
    }
    key.verify(SignatureAlgorithm::Ed25519, &rendered, &signature).map_err(|source| CsrError::Signature { source })?;
    Ok((subject, group_key))
}

/// AlgorithmIdentifier of Ed25519, whose parameters must be absent (RFC 8410 section 3).
fn ed25519() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: ID_ED_25519, parameters: None }
}

fn malformed(source: der::Error) -> CsrError {
    CsrError::Malformed { source }
}
