//! What a certificate must be before it is installed for a threshold key.

use warifu_protocol::{AnchorKind, SubjectFields, UnixMillis};

use super::certificate::Certificate;
use super::certificate_key::CertificateKey;
use super::hc_role::HcRoleError;
use super::name::SubjectMismatch;
use super::path::{PathError, TrustAnchor, VerifiedPath, verify_path};

/// A signing certificate that may be installed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedSigningCertificate<'a> {
    /// How it chains to its anchor; whose revocation list counts.
    pub path: VerifiedPath<'a>,
    /// Its hcRoles, at least one.
    pub roles: Vec<String>,
}

/// Why a certificate may not be installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningCertificateError {
    /// The key is not Ed25519.
    #[error("the certificate has a {kind} key, the credential's is Ed25519")]
    KeyKind {
        /// Kind of its key.
        kind: &'static str,
    },
    /// Another Ed25519 key.
    #[error("the certificate is for another key than the credential's")]
    OtherKey,
    /// No valid path.
    #[error("the certificate does not chain to a pinned HPKI signing anchor")]
    Path {
        /// Why.
        #[source]
        source: PathError,
    },
    /// An hcRole that cannot be read.
    #[error("the certificate's hcRole is not accepted")]
    HcRole {
        /// Why.
        #[source]
        source: HcRoleError,
    },
    /// No hcRole, without which it may sign nothing.
    #[error("the certificate has no hcRole")]
    NoHcRole,
    /// A subject outside the profile.
    #[error("the certificate's subject is not a holder's")]
    Subject {
        /// Why.
        #[source]
        source: SubjectMismatch,
    },
    /// Another person's name or number.
    #[error("the certificate's subject is not the one that the enrolment order names")]
    OtherSubject,
}

/// Checks a certificate for installation at `now`: its key is exactly `group_key`, it chains to a pinned HPKI signing anchor (with critical
/// keyUsage of exactly nonRepudiation, and one of the anchor's policies), it has at least one hcRole, and its subject is the order's.
///
/// Revocation is the caller's to check with the issuer of the returned path.
///
/// # Errors
///
/// [`SigningCertificateError`] for the first of these that fails.
pub fn check_signing_certificate<'a>(
    certificate: &Certificate,
    group_key: &[u8; 32],
    subject: &SubjectFields,
    intermediates: &'a [Certificate],
    anchors: &'a [TrustAnchor],
    now: UnixMillis,
) -> Result<CheckedSigningCertificate<'a>, SigningCertificateError> {
    let CertificateKey::Ed25519(key) = certificate.key() else {
        return Err(SigningCertificateError::KeyKind { kind: certificate.key().kind() });
    };
    if key != group_key {
        return Err(SigningCertificateError::OtherKey);
    }
    let path = verify_path(certificate, intermediates, anchors, AnchorKind::HpkiSigning, now)
        .map_err(|source| SigningCertificateError::Path { source })?;
    let roles = certificate.hc_roles().map_err(|source| SigningCertificateError::HcRole { source })?;
    if roles.is_empty() {
        return Err(SigningCertificateError::NoHcRole);
    }
    let named = certificate.subject().to_subject_fields().map_err(|source| SigningCertificateError::Subject { source })?;
    if named != *subject {
        return Err(SigningCertificateError::OtherSubject);
    }
    Ok(CheckedSigningCertificate { path, roles })
}
