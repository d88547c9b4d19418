//! X.509 certificates as read from outside.

use std::fmt;

use const_oid::ObjectIdentifier;
use der::asn1::BitStringRef;
use der::referenced::OwnedToRef;
use der::{Decode, Encode, Reader, SliceReader};
use sha2::{Digest, Sha256};
use spki::AlgorithmIdentifierRef;
use warifu_protocol::{CertificateHash, SpkiHash, UnixMillis, limits};
use x509_cert::TbsCertificate;
use x509_cert::certificate::Version;
use x509_cert::time::Time;

use super::certificate_key::{CertificateKey, CertificateKeyError, SignatureAlgorithm, SignatureError, signature_bytes};
use super::extensions::{ExtensionError, Extensions, KeyUsage};
use super::hc_role::{self, HcRoleError};
use super::name::DistinguishedName;
use super::serial::{self, CertificateSerial, SerialError};

/// A parsed X.509 v3 certificate inside the profile: at most [`Certificate::DER_LEN_MAX`] bytes, a key and a signature algorithm of
/// [`CertificateKey`] and [`SignatureAlgorithm`], no critical extension that is not understood.
///
/// Parsing proves nothing about who issued it: that is `verify_path`'s.
///
/// # Security
///
/// `Debug` shows the hash only, since subjects and serials of cards are personal data.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    signed: Vec<u8>,
    algorithm: SignatureAlgorithm,
    signature: Vec<u8>,
    hash: CertificateHash,
    spki_hash: SpkiHash,
    serial: CertificateSerial,
    issuer: DistinguishedName,
    subject: DistinguishedName,
    not_before: UnixMillis,
    not_after: UnixMillis,
    key: CertificateKey,
    extensions: Extensions,
}

/// Why bytes are not an acceptable certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Longer than a certificate of the profile can be.
    #[error("the certificate has {len} bytes, accepted are 1 to {}", Certificate::DER_LEN_MAX)]
    Length {
        /// How many bytes were given.
        len: usize,
    },
    /// Not one DER certificate, whole and without trailing bytes.
    #[error("the certificate is not valid DER")]
    Malformed {
        /// What the decoder found.
        #[source]
        source: der::Error,
    },
    /// Not version 3.
    #[error("the certificate is not of version 3")]
    Version,
    /// The algorithm that is signed is not the one outside.
    #[error("the certificate names two different signature algorithms")]
    AlgorithmMismatch,
    /// Key or signature algorithm outside the profile.
    #[error("the certificate's key or signature algorithm is not accepted")]
    Key {
        /// Which and why.
        #[source]
        source: CertificateKeyError,
    },
    /// Extension outside the profile.
    #[error("an extension of the certificate is not accepted")]
    Extension {
        /// Which and why.
        #[source]
        source: ExtensionError,
    },
    /// Serial number outside RFC 5280.
    #[error("the certificate's serial number is not accepted")]
    Serial {
        /// Why.
        #[source]
        source: SerialError,
    },
}

impl Certificate {
    /// Largest certificate in bytes. Real ones of HPKI and JPKI have 1.3 to 1.7 KiB.
    pub const DER_LEN_MAX: usize = limits::CERTIFICATE_BYTES_MAX;

    /// Reads a DER certificate; trailing bytes are refused.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] says what is outside the profile.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        if der.is_empty() || der.len() > Self::DER_LEN_MAX {
            return Err(CertificateError::Length { len: der.len() });
        }
        let signed = Signed::parse(der).map_err(malformed)?;
        let tbs = TbsCertificate::from_der(signed.body).map_err(malformed)?;
        if tbs.version != Version::V3 {
            return Err(CertificateError::Version);
        }
        let algorithm = SignatureAlgorithm::from_identifier(signed.algorithm).map_err(|source| CertificateError::Key { source })?;
        if tbs.signature.owned_to_ref() != signed.algorithm {
            return Err(CertificateError::AlgorithmMismatch);
        }
        let spki = tbs.subject_public_key_info.to_der().map_err(malformed)?;
        Ok(Self {
            signature: signed.signature,
            hash: CertificateHash::new(Sha256::digest(der).into()),
            spki_hash: SpkiHash::new(Sha256::digest(&spki).into()),
            serial: serial::from_integer(tbs.serial_number.as_bytes()).map_err(|source| CertificateError::Serial { source })?,
            issuer: DistinguishedName::from_name(&tbs.issuer).map_err(malformed)?,
            subject: DistinguishedName::from_name(&tbs.subject).map_err(malformed)?,
            not_before: instant(tbs.validity.not_before),
            not_after: instant(tbs.validity.not_after),
            key: CertificateKey::parse_spki(&spki).map_err(|source| CertificateError::Key { source })?,
            extensions: Extensions::parse(tbs.extensions.as_deref().unwrap_or_default())
                .map_err(|source| CertificateError::Extension { source })?,
            algorithm,
            signed: signed.body.to_vec(),
            der: der.to_vec(),
        })
    }

    /// The certificate as it was read.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the DER.
    #[must_use]
    pub const fn hash(&self) -> CertificateHash {
        self.hash
    }

    /// SHA-256 of the DER SubjectPublicKeyInfo.
    #[must_use]
    pub const fn spki_hash(&self) -> SpkiHash {
        self.spki_hash
    }

    /// The serial number. Restricted data for a card's certificate.
    #[must_use]
    pub const fn serial(&self) -> &CertificateSerial {
        &self.serial
    }

    /// Who issued it, as it claims.
    #[must_use]
    pub const fn issuer(&self) -> &DistinguishedName {
        &self.issuer
    }

    /// Whom it names.
    #[must_use]
    pub const fn subject(&self) -> &DistinguishedName {
        &self.subject
    }

    /// First instant of validity, a whole second.
    #[must_use]
    pub const fn not_before(&self) -> UnixMillis {
        self.not_before
    }

    /// Last second of validity, which is still inside.
    #[must_use]
    pub const fn not_after(&self) -> UnixMillis {
        self.not_after
    }

    /// The public key that it certifies.
    #[must_use]
    pub const fn key(&self) -> &CertificateKey {
        &self.key
    }

    /// keyUsage, when there is one.
    #[must_use]
    pub const fn key_usage(&self) -> Option<KeyUsage> {
        self.extensions.key_usage
    }

    /// Whether keyUsage is marked critical.
    #[must_use]
    pub const fn key_usage_is_critical(&self) -> bool {
        self.extensions.key_usage_critical
    }

    /// Whether basicConstraints say that it may issue certificates.
    #[must_use]
    pub const fn is_ca(&self) -> bool {
        self.extensions.is_ca
    }

    /// How many CA certificates may follow it in a path, when it limits that.
    #[must_use]
    pub const fn path_len(&self) -> Option<u8> {
        self.extensions.path_len
    }

    /// Object identifiers of its policies; empty when it names none.
    #[must_use]
    pub fn policies(&self) -> &[ObjectIdentifier] {
        &self.extensions.policies
    }

    /// Purposes of extKeyUsage, when there is one.
    #[must_use]
    pub fn extended_key_usage(&self) -> Option<&[ObjectIdentifier]> {
        self.extensions.extended_key_usage.as_deref()
    }

    /// subjectKeyIdentifier, when there is one.
    #[must_use]
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.extensions.subject_key_id.as_deref()
    }

    /// keyIdentifier of the authorityKeyIdentifier, when there is one.
    #[must_use]
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.extensions.authority_key_id.as_deref()
    }

    /// The holder's licences by their exact English names, `Medical Doctor` among them; empty for a certificate without hcRole.
    ///
    /// # Errors
    ///
    /// [`HcRoleError`] when there is an hcRole and it is not of the HPKI profile.
    pub fn hc_roles(&self) -> Result<Vec<String>, HcRoleError> {
        self.extensions.subject_directory_attributes.as_deref().map_or_else(|| Ok(Vec::new()), hc_role::parse_hc_roles)
    }

    /// Whether `now` lies in the validity, both ends included, to the second (RFC 5280 section 4.1.2.5).
    #[must_use]
    pub const fn is_valid_at(&self, now: UnixMillis) -> bool {
        self.not_before.as_secs() <= now.as_secs() && now.as_secs() <= self.not_after.as_secs()
    }

    /// Verifies this certificate's own signature under its issuer's key; says nothing about whether that issuer may issue.
    ///
    /// # Errors
    ///
    /// [`SignatureError`] when it does not hold.
    pub fn verify_signature(&self, issuer: &CertificateKey) -> Result<(), SignatureError> {
        issuer.verify(self.algorithm, &self.signed, &self.signature)
    }

    /// DER of the names under which revocation lists for this certificate are published.
    pub(super) fn distribution_points(&self) -> &[Vec<u8>] {
        &self.extensions.distribution_points
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.hash)
    }
}

/// The outer structure that certificates and revocation lists share: what is signed, with what, and the signature.
pub(super) struct Signed<'a> {
    /// The signed bytes exactly as they were given.
    pub(super) body: &'a [u8],
    pub(super) algorithm: AlgorithmIdentifierRef<'a>,
    pub(super) signature: Vec<u8>,
}

impl<'a> Signed<'a> {
    pub(super) fn parse(der: &'a [u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(der)?;
        let parsed = reader.sequence(|inner| {
            let body = inner.tlv_bytes()?;
            let algorithm = AlgorithmIdentifierRef::decode(inner)?;
            let signature = BitStringRef::decode(inner)?;
            let signature = signature_bytes(signature).ok_or_else(|| der::Tag::BitString.value_error())?;
            Ok(Self { body, algorithm, signature })
        })?;
        reader.finish(parsed)
    }
}

/// A time of a certificate or revocation list; its types begin in 1970 and end in 9999.
pub(super) fn instant(time: Time) -> UnixMillis {
    UnixMillis(time.to_unix_duration().as_secs().saturating_mul(1000))
}

fn malformed(source: der::Error) -> CertificateError {
    CertificateError::Malformed { source }
}
