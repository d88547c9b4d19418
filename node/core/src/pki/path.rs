//! Certification paths from a card or signing certificate to a pinned anchor.

use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc5912};
use warifu_protocol::{AnchorEntry, AnchorKind, CertificateHash, UnixMillis, limits};

use super::certificate::{Certificate, CertificateError};
use super::certificate_key::SignatureError;
use super::extensions::KeyUsage;

/// Most certificates in a path, end entity and anchor included: HPKI has root, CA and end entity, JPKI one tier less.
pub const PATH_LEN_MAX: usize = 3;
/// Most intermediate certificates that come with an end entity, so that the search for a path stays small.
pub const INTERMEDIATES_MAX: usize = limits::INTERMEDIATES_MAX;

/// A CA certificate that the cluster trusts for one kind of end entity.
///
/// Anchors are trusted because they are pinned, so their own signature is not looked at; their validity, key usage and constraints are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustAnchor {
    /// The CA's certificate.
    pub certificate: Certificate,
    /// What it may vouch for.
    pub kind: AnchorKind,
    /// Policies of which every certificate below it must name one.
    pub policies: Vec<ObjectIdentifier>,
}

/// A path that was found valid at one instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerifiedPath<'a> {
    anchor: &'a TrustAnchor,
    intermediate: Option<&'a Certificate>,
}

/// Why a pinned entry is not an anchor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// Its certificate is outside the profile.
    #[error("the anchor's certificate is not accepted")]
    Certificate {
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// A policy that is no dotted object identifier.
    #[error("the anchor's policy `{policy}` is not a dotted object identifier")]
    Policy {
        /// The text.
        policy: String,
    },
    /// No policy at all, under which nothing could be accepted.
    #[error("the anchor names no accepted policy")]
    NoPolicy,
    /// It could issue nothing.
    #[error("the anchor's certificate is not that of a CA (basicConstraints and keyCertSign)")]
    NotACa,
}

/// Why no path from a certificate to an anchor is valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// More intermediates than a path could use.
    #[error("{given} intermediate certificates were given, at most {INTERMEDIATES_MAX} are read")]
    TooManyIntermediates {
        /// How many.
        given: usize,
    },
    /// No pinned anchor of this kind, nor an intermediate under one, has the issuer's name and key.
    #[error("no pinned {kind:?} anchor issued certificate {certificate}; its issuer is `{issuer}`")]
    NoAnchor {
        /// The end entity.
        certificate: CertificateHash,
        /// What kind was asked for.
        kind: AnchorKind,
        /// Who claims to have issued it.
        issuer: String,
    },
    /// No pinned anchor has the name and key of a CA's issuer.
    #[error("no pinned anchor issued the CA certificate {certificate}; its issuer is `{issuer}`")]
    NoIssuer {
        /// The CA's certificate.
        certificate: CertificateHash,
        /// Who claims to have issued it.
        issuer: String,
    },
    /// The end entity may issue certificates.
    #[error("certificate {certificate} is a CA's, not a holder's")]
    EndEntityIsCa {
        /// The end entity.
        certificate: CertificateHash,
    },
    /// Missing or other key usage of the end entity.
    #[error("certificate {certificate} must have a critical keyUsage of exactly {expected}")]
    EndEntityUsage {
        /// The end entity.
        certificate: CertificateHash,
        /// What it must be.
        expected: KeyUsage,
    },
    /// An extKeyUsage that leaves out what the certificate is used for.
    #[error("certificate {certificate} has an extKeyUsage that does not allow this use")]
    EndEntityPurpose {
        /// The end entity.
        certificate: CertificateHash,
    },
    /// Before its time.
    #[error("certificate {certificate} is valid only from {not_before}, it is {now}")]
    NotYetValid {
        /// Which one of the path.
        certificate: CertificateHash,
        /// Its first instant.
        not_before: UnixMillis,
        /// The instant of the check.
        now: UnixMillis,
    },
    /// After its time.
    #[error("certificate {certificate} ended at {not_after}, it is {now}")]
    Expired {
        /// Which one of the path.
        certificate: CertificateHash,
        /// Its last second.
        not_after: UnixMillis,
        /// The instant of the check.
        now: UnixMillis,
    },
    /// An issuer that may not issue.
    #[error("certificate {certificate} stands as an issuer but is not a CA's (basicConstraints and keyCertSign)")]
    NotACa {
        /// The issuer.
        certificate: CertificateHash,
    },
    /// An issuer that allows fewer CAs below it.
    #[error("certificate {certificate} allows {allowed} CAs below it, the path has {below}")]
    PathLength {
        /// The issuer.
        certificate: CertificateHash,
        /// Its pathLenConstraint.
        allowed: u8,
        /// How many there are.
        below: u8,
    },
    /// None of the accepted policies.
    #[error("certificate {certificate} names none of the policies that the anchor is pinned with")]
    Policy {
        /// Which one of the path.
        certificate: CertificateHash,
    },
    /// The issuer's signature does not hold.
    #[error("the signature of certificate {certificate} does not hold under its issuer's key")]
    Signature {
        /// Which one of the path.
        certificate: CertificateHash,
        /// Why.
        #[source]
        source: SignatureError,
    },
}

impl TrustAnchor {
    /// Reads an entry of the genesis or of a later anchor update.
    ///
    /// # Errors
    ///
    /// [`AnchorError`] when nothing could ever chain to it.
    pub fn from_entry(entry: &AnchorEntry) -> Result<Self, AnchorError> {
        let certificate = Certificate::parse(entry.certificate.as_ref()).map_err(|source| AnchorError::Certificate { source })?;
        let policies = entry
            .policies
            .iter()
            .map(|policy| ObjectIdentifier::new(policy).map_err(|_| AnchorError::Policy { policy: policy.clone() }))
            .collect::<Result<Vec<_>, _>>()?;
        if policies.is_empty() {
            return Err(AnchorError::NoPolicy);
        }
        if !may_issue(&certificate) {
            return Err(AnchorError::NotACa);
        }
        Ok(Self { certificate, kind: entry.kind, policies })
    }
}

impl<'a> VerifiedPath<'a> {
    /// The anchor at its end.
    #[must_use]
    pub const fn anchor(&self) -> &'a TrustAnchor {
        self.anchor
    }

    /// The certificate between end entity and anchor, when there is one. Its own revocation is the caller's to check.
    #[must_use]
    pub const fn intermediate(&self) -> Option<&'a Certificate> {
        self.intermediate
    }

    /// The end entity's direct issuer, whose revocation list counts.
    #[must_use]
    pub const fn issuer(&self) -> &'a Certificate {
        match self.intermediate {
            Some(certificate) => certificate,
            None => &self.anchor.certificate,
        }
    }
}

/// Finds a path of at most [`PATH_LEN_MAX`] certificates from `end_entity` to a pinned anchor of this kind that is valid at `now`.
///
/// Every certificate, the anchor included, must be valid at `now`; names must chain byte for byte, key identifiers where both are there;
/// issuers need basicConstraints and keyCertSign; the end entity must not be a CA and must have a critical keyUsage of exactly
/// nonRepudiation (signing) or digitalSignature (cards); every certificate below the anchor must name one of the anchor's policies (an
/// intermediate may name anyPolicy). Revocation is not looked at: see `Crl::check_not_revoked`.
///
/// # Errors
///
/// [`PathError`] of the candidate that came first, in the order of `anchors`.
pub fn verify_path<'a>(
    end_entity: &Certificate,
    intermediates: &'a [Certificate],
    anchors: &'a [TrustAnchor],
    kind: AnchorKind,
    now: UnixMillis,
) -> Result<VerifiedPath<'a>, PathError> {
    if intermediates.len() > INTERMEDIATES_MAX {
        return Err(PathError::TooManyIntermediates { given: intermediates.len() });
    }
    check_end_entity(end_entity, kind, now)?;
    let mut first_error = None;
    for anchor in anchors.iter().filter(|anchor| anchor.kind == kind) {
        let direct = names_issuer(end_entity, &anchor.certificate).then_some(None);
        let through = intermediates
            .iter()
            .filter(|intermediate| names_issuer(end_entity, intermediate) && names_issuer(intermediate, &anchor.certificate))
            .map(Some);
        for intermediate in direct.into_iter().chain(through) {
            match check_chain(end_entity, intermediate, anchor, now) {
                Ok(()) => return Ok(VerifiedPath { anchor, intermediate }),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
    }
    Err(first_error.unwrap_or_else(|| PathError::NoAnchor {
        certificate: end_entity.hash(),
        kind,
        issuer: end_entity.issuer().to_string(),
    }))
}

/// Finds the pinned anchor, of whatever kind, that issued this CA's certificate, by the rules that [`verify_path`] has for an intermediate
/// one. Revocation is not looked at.
///
/// # Errors
///
/// [`PathError`] of the candidate that came first, in the order of `anchors`.
pub fn verify_authority<'a>(authority: &Certificate, anchors: &'a [TrustAnchor], now: UnixMillis) -> Result<&'a TrustAnchor, PathError> {
    let certificate = authority.hash();
    check_validity(authority, now)?;
    if !may_issue(authority) {
        return Err(PathError::NotACa { certificate });
    }
    let mut first_error = None;
    for anchor in anchors.iter().filter(|anchor| names_issuer(authority, &anchor.certificate)) {
        match check_intermediate(authority, anchor, now) {
            Ok(()) => return Ok(anchor),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or_else(|| PathError::NoIssuer { certificate, issuer: authority.issuer().to_string() }))
}

/// The key usage that end entities of this kind have, and no other.
#[must_use]
pub const fn end_entity_usage(kind: AnchorKind) -> KeyUsage {
    match kind {
        AnchorKind::HpkiSigning => KeyUsage::NON_REPUDIATION,
        AnchorKind::HpkiAuthentication | AnchorKind::JpkiUserAuthentication => KeyUsage::DIGITAL_SIGNATURE,
    }
}

fn check_end_entity(certificate: &Certificate, kind: AnchorKind, now: UnixMillis) -> Result<(), PathError> {
    let hash = certificate.hash();
    check_validity(certificate, now)?;
    if certificate.is_ca() {
        return Err(PathError::EndEntityIsCa { certificate: hash });
    }
    let expected = end_entity_usage(kind);
    if certificate.key_usage() != Some(expected) || !certificate.key_usage_is_critical() {
        return Err(PathError::EndEntityUsage { certificate: hash, expected });
    }
    let purpose = match kind {
        AnchorKind::HpkiSigning => ID_KP_DOCUMENT_SIGNING,
        AnchorKind::HpkiAuthentication | AnchorKind::JpkiUserAuthentication => rfc5912::ID_KP_CLIENT_AUTH,
    };
    match certificate.extended_key_usage() {
        Some(purposes) if !purposes.iter().any(|found| [purpose, rfc5280::ANY_EXTENDED_KEY_USAGE].contains(found)) => {
            Err(PathError::EndEntityPurpose { certificate: hash })
        }
        Some(_) | None => Ok(()),
    }
}

fn check_chain(
    end_entity: &Certificate,
    intermediate: Option<&Certificate>,
    anchor: &TrustAnchor,
    now: UnixMillis,
) -> Result<(), PathError> {
    let accepted = |certificate: &Certificate| certificate.policies().iter().any(|policy| anchor.policies.contains(policy));
    if !accepted(end_entity) {
        return Err(PathError::Policy { certificate: end_entity.hash() });
    }
    let Some(intermediate) = intermediate else {
        return check_issuer(end_entity, &anchor.certificate, 0, now);
    };
    check_issuer(end_entity, intermediate, 0, now)?;
    check_intermediate(intermediate, anchor, now)
}

fn check_intermediate(intermediate: &Certificate, anchor: &TrustAnchor, now: UnixMillis) -> Result<(), PathError> {
    let accepted = |policy: &ObjectIdentifier| *policy == rfc5280::ANY_POLICY || anchor.policies.contains(policy);
    if !intermediate.policies().iter().any(accepted) {
        return Err(PathError::Policy { certificate: intermediate.hash() });
    }
    check_issuer(intermediate, &anchor.certificate, 1, now)
}

fn check_issuer(subject: &Certificate, issuer: &Certificate, below: u8, now: UnixMillis) -> Result<(), PathError> {
    check_validity(issuer, now)?;
    if !may_issue(issuer) {
        return Err(PathError::NotACa { certificate: issuer.hash() });
    }
    match issuer.path_len() {
        Some(allowed) if allowed < below => {
            return Err(PathError::PathLength { certificate: issuer.hash(), allowed, below });
        }
        Some(_) | None => {}
    }
    subject.verify_signature(issuer.key()).map_err(|source| PathError::Signature { certificate: subject.hash(), source })
}

fn check_validity(certificate: &Certificate, now: UnixMillis) -> Result<(), PathError> {
    let (certificate_hash, not_before, not_after) = (certificate.hash(), certificate.not_before(), certificate.not_after());
    if certificate.is_valid_at(now) {
        Ok(())
    } else if now < not_before {
        Err(PathError::NotYetValid { certificate: certificate_hash, not_before, now })
    } else {
        Err(PathError::Expired { certificate: certificate_hash, not_after, now })
    }
}

/// Whether the name, and the key identifiers where both are there, point at this issuer. Generations of a CA share one name.
fn names_issuer(subject: &Certificate, issuer: &Certificate) -> bool {
    let same_key = match (subject.authority_key_id(), issuer.subject_key_id()) {
        (Some(named), Some(own)) => named == own,
        (Some(_), None) | (None, Some(_)) | (None, None) => true,
    };
    same_key && subject.issuer() == issuer.subject()
}

fn may_issue(certificate: &Certificate) -> bool {
    certificate.is_ca() && certificate.key_usage().is_some_and(|usage| usage.contains(KeyUsage::KEY_CERT_SIGN))
}

/// id-kp-documentSigning, RFC 9336.
const ID_KP_DOCUMENT_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.36");
