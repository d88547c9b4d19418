//! The extensions of certificates that are understood, and the refusal of critical ones that are not.

use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc5912};
use der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::CrlDistributionPoints;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::DistributionPointName;
use x509_cert::ext::pkix::{self, AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies, SubjectKeyIdentifier};

/// The keyUsage of a certificate as the set of its bits, bit 0 being digitalSignature (RFC 5280 section 4.2.1.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyUsage(u16);

impl KeyUsage {
    /// digitalSignature and nothing else: authentication certificates of cards.
    pub const DIGITAL_SIGNATURE: Self = Self(1);
    /// nonRepudiation and nothing else: HPKI signing certificates.
    pub const NON_REPUDIATION: Self = Self(1 << 1);
    /// keyCertSign: issuers of certificates.
    pub const KEY_CERT_SIGN: Self = Self(1 << 5);
    /// cRLSign: issuers of revocation lists.
    pub const CRL_SIGN: Self = Self(1 << 6);

    /// Whether all bits of the other set are in this one.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::fmt::Display for KeyUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const NAMES: [&str; 9] = [
            "digitalSignature",
            "nonRepudiation",
            "keyEncipherment",
            "dataEncipherment",
            "keyAgreement",
            "keyCertSign",
            "cRLSign",
            "encipherOnly",
            "decipherOnly",
        ];
        let set: Vec<&str> = NAMES.into_iter().enumerate().filter(|(bit, _)| self.0 >> bit & 1 == 1).map(|(_, name)| name).collect();
        f.write_str(if set.is_empty() { "nothing" } else { "" })?;
        f.write_str(&set.join(" and "))
    }
}

/// Why the extensions of a certificate or revocation list are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// Critical, and nothing here honours it.
    #[error("critical extension {extension} is not understood")]
    UnknownCritical {
        /// Its object identifier.
        extension: ObjectIdentifier,
    },
    /// The same extension twice.
    #[error("extension {extension} occurs twice")]
    Duplicate {
        /// Its object identifier.
        extension: ObjectIdentifier,
    },
    /// Value that does not decode.
    #[error("extension {extension} is malformed")]
    Malformed {
        /// Its object identifier.
        extension: ObjectIdentifier,
        /// What the decoder found.
        #[source]
        source: der::Error,
    },
}

/// What the extensions of a certificate say.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Extensions {
    pub(super) key_usage: Option<KeyUsage>,
    pub(super) key_usage_critical: bool,
    pub(super) is_ca: bool,
    pub(super) path_len: Option<u8>,
    pub(super) policies: Vec<ObjectIdentifier>,
    pub(super) extended_key_usage: Option<Vec<ObjectIdentifier>>,
    pub(super) subject_key_id: Option<Vec<u8>>,
    pub(super) authority_key_id: Option<Vec<u8>>,
    pub(super) subject_directory_attributes: Option<Vec<u8>>,
    /// DER of each GeneralName under which a complete list for this certificate is published.
    pub(super) distribution_points: Vec<Vec<u8>>,
}

impl Extensions {
    /// Reads the extensions of a certificate.
    pub(super) fn parse(extensions: &[Extension]) -> Result<Self, ExtensionError> {
        check_unique(extensions)?;
        let mut parsed = Self::default();
        for extension in extensions {
            match extension.extn_id {
                rfc5280::ID_CE_KEY_USAGE => {
                    let usage: pkix::KeyUsage = decode(extension)?;
                    parsed.key_usage = Some(KeyUsage(usage.0.bits()));
                    parsed.key_usage_critical = extension.critical;
                }
                rfc5280::ID_CE_BASIC_CONSTRAINTS => {
                    let constraints: BasicConstraints = decode(extension)?;
                    parsed.is_ca = constraints.ca;
                    parsed.path_len = constraints.path_len_constraint;
                }
                rfc5280::ID_CE_CERTIFICATE_POLICIES => {
                    let policies: CertificatePolicies = decode(extension)?;
                    parsed.policies = policies.0.into_iter().map(|policy| policy.policy_identifier).collect();
                }
                rfc5280::ID_CE_EXT_KEY_USAGE => {
                    let purposes: pkix::ExtendedKeyUsage = decode(extension)?;
                    parsed.extended_key_usage = Some(purposes.0);
                }
                rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER => {
                    let identifier: SubjectKeyIdentifier = decode(extension)?;
                    parsed.subject_key_id = Some(identifier.0.as_bytes().to_vec());
                }
                rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER => parsed.authority_key_id = authority_key_id(extension)?,
                rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS => {
                    let points: CrlDistributionPoints = decode(extension)?;
                    parsed.distribution_points = complete_points(&points.0).map_err(|source| malformed(extension, source))?;
                }
                // A path is valid here only under an explicitly accepted policy and mappings are never followed, which is all that
                // this extension can demand.
                rfc5280::ID_CE_POLICY_CONSTRAINTS => {
                    let _: pkix::PolicyConstraints = decode(extension)?;
                }
                // Read when roles are asked for: only signing certificates need them.
                rfc5912::ID_CE_SUBJECT_DIRECTORY_ATTRIBUTES if !extension.critical => {
                    parsed.subject_directory_attributes = Some(extension.extn_value.as_bytes().to_vec());
                }
                extension_id => refuse_critical(extension, extension_id)?,
            }
        }
        Ok(parsed)
    }
}

/// The keyIdentifier of an authorityKeyIdentifier, in a certificate or a revocation list.
pub(super) fn authority_key_id(extension: &Extension) -> Result<Option<Vec<u8>>, ExtensionError> {
    let identifier: AuthorityKeyIdentifier = decode(extension)?;
    Ok(identifier.key_identifier.map(|identifier| identifier.as_bytes().to_vec()))
}

/// Refuses lists in which an extension occurs twice (RFC 5280 section 4.2).
pub(super) fn check_unique(extensions: &[Extension]) -> Result<(), ExtensionError> {
    for (index, extension) in extensions.iter().enumerate() {
        if extensions.iter().take(index).any(|earlier| earlier.extn_id == extension.extn_id) {
            return Err(ExtensionError::Duplicate { extension: extension.extn_id });
        }
    }
    Ok(())
}

/// Decodes the value of an extension; trailing bytes are refused.
pub(super) fn decode<'a, T: Decode<'a>>(extension: &'a Extension) -> Result<T, ExtensionError> {
    T::from_der(extension.extn_value.as_bytes()).map_err(|source| malformed(extension, source))
}

/// Passes an extension that nothing here reads, unless it is critical.
pub(super) fn refuse_critical(extension: &Extension, extension_id: ObjectIdentifier) -> Result<(), ExtensionError> {
    if extension.critical {
        return Err(ExtensionError::UnknownCritical { extension: extension_id });
    }
    Ok(())
}

pub(super) fn malformed(extension: &Extension, source: der::Error) -> ExtensionError {
    ExtensionError::Malformed { extension: extension.extn_id, source }
}

/// DER of the full names of a distribution point; a name relative to the issuer gives none, since nobody here publishes so.
pub(super) fn full_names(name: Option<&DistributionPointName>) -> der::Result<Vec<Vec<u8>>> {
    match name {
        Some(DistributionPointName::FullName(names)) => names.iter().map(Encode::to_der).collect(),
        Some(DistributionPointName::NameRelativeToCRLIssuer(_)) | None => Ok(Vec::new()),
    }
}

/// Names of the points that give a list for all reasons, issued by the certificate's own issuer.
fn complete_points(points: &[DistributionPoint]) -> der::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for point in points.iter().filter(|point| point.reasons.is_none() && point.crl_issuer.is_none()) {
        names.extend(full_names(point.distribution_point.as_ref())?);
    }
    Ok(names)
}
