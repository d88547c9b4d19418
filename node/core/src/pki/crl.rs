//! Certificate revocation lists.

use std::fmt;

use const_oid::db::rfc5280;
use der::asn1::Uint;
use der::{Decode, Header, Reader, SliceReader, Tag};
use sha2::{Digest, Sha256 as Sha256Hasher};
use spki::AlgorithmIdentifierRef;
use warifu_protocol::{Sha256, UnixMillis, limits};
use x509_cert::Version;
use x509_cert::crl::RevokedCert;
use x509_cert::ext::pkix::crl::{CrlReason, IssuingDistributionPoint};
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::Name;
use x509_cert::time::Time;

use super::certificate::{Certificate, Signed, instant};
use super::certificate_key::{CertificateKeyError, SignatureAlgorithm, SignatureError};
use super::crl_scope::CrlScope;
use super::extensions::{self, ExtensionError, KeyUsage};
use super::name::DistinguishedName;
use super::serial::{self, CertificateSerial, SerialError};

/// A complete revocation list of one issuer, version 2, parsed and not yet verified.
///
/// Delta and indirect lists are refused, as are lists for some reasons only.
#[derive(Clone, PartialEq, Eq)]
pub struct Crl {
    signed: Vec<u8>,
    algorithm: SignatureAlgorithm,
    signature: Vec<u8>,
    hash: Sha256,
    issuer: DistinguishedName,
    authority_key_id: Vec<u8>,
    number: u64,
    this_update: UnixMillis,
    next_update: UnixMillis,
    scope: CrlScope,
    series: Sha256,
    /// In order of serial, each once.
    revoked: Vec<RevokedEntry>,
}

/// One revoked certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RevokedEntry {
    /// Which one.
    pub serial: CertificateSerial,
    /// When its issuer revoked it.
    pub since: UnixMillis,
    /// Why, where the issuer says so.
    pub reason: Option<RevocationReason>,
}

/// Why a certificate was revoked (RFC 5280 section 5.3.1). A certificate on hold counts as revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RevocationReason {
    /// No reason given.
    Unspecified,
    /// The private key may be known to others.
    KeyCompromise,
    /// The issuer's key may be known to others.
    CaCompromise,
    /// The holder's name or affiliation changed.
    AffiliationChanged,
    /// Another certificate took its place.
    Superseded,
    /// It is no longer needed.
    CessationOfOperation,
    /// Suspended.
    CertificateHold,
    /// The licence was withdrawn.
    PrivilegeWithdrawn,
    /// An attribute authority's key may be known to others.
    AaCompromise,
}

/// Why a revocation list is refused, does not apply, or says that a certificate is revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Longer than a list may be.
    #[error("the revocation list has {len} bytes, accepted are 1 to {}", Crl::DER_LEN_MAX)]
    Length {
        /// How many bytes were given.
        len: usize,
    },
    /// Not one DER list, whole and without trailing bytes.
    #[error("the revocation list is not valid DER")]
    Malformed {
        /// What the decoder found.
        #[source]
        source: der::Error,
    },
    /// Not version 2.
    #[error("the revocation list is not of version 2")]
    Version,
    /// The algorithm that is signed is not the one outside.
    #[error("the revocation list names two different signature algorithms")]
    AlgorithmMismatch,
    /// Signature algorithm outside the profile.
    #[error("the revocation list's signature algorithm is not accepted")]
    Algorithm {
        /// Which and why.
        #[source]
        source: CertificateKeyError,
    },
    /// Extension outside the profile.
    #[error("an extension of the revocation list is not accepted")]
    Extension {
        /// Which and why.
        #[source]
        source: ExtensionError,
    },
    /// A serial number outside RFC 5280.
    #[error("a serial number in the revocation list is not accepted")]
    Serial {
        /// Why.
        #[source]
        source: SerialError,
    },
    /// Something mandatory is missing.
    #[error("the revocation list has no {part}")]
    Missing {
        /// What.
        part: &'static str,
    },
    /// CRLNumber of more than 64 bits, which no issuer that counts its lists reaches.
    #[error("the revocation list's number does not fit in 64 bits")]
    NumberTooLarge,
    /// A delta list, an indirect one, or one for some reasons only.
    #[error("the revocation list is {kind}; only complete lists of the issuer itself are accepted")]
    NotComplete {
        /// What it is.
        kind: &'static str,
    },
    /// Names no issuer's certificate that was given.
    #[error("the revocation list of `{list}` is not one of issuer `{issuer}` or not of this key of it")]
    WrongIssuer {
        /// Who issued the list.
        list: String,
        /// Who should have.
        issuer: String,
    },
    /// An issuer whose certificate does not allow revocation lists.
    #[error("the issuer's certificate has no keyUsage cRLSign")]
    IssuerMayNotSign,
    /// The issuer's signature does not hold.
    #[error("the revocation list's signature does not hold")]
    Signature {
        /// Why.
        #[source]
        source: SignatureError,
    },
    /// A list for other certificates of the same issuer.
    #[error("the revocation list does not cover this certificate: {why}")]
    OutOfScope {
        /// What it covers.
        why: &'static str,
    },
    /// Issued after now.
    #[error("the revocation list is dated {this_update}, it is {now}")]
    FromTheFuture {
        /// Its date.
        this_update: UnixMillis,
        /// The instant of the check.
        now: UnixMillis,
    },
    /// Its successor is due, or it is older than the policy allows. Fetch a new one.
    #[error("the revocation list was usable until {until}, it is {now}; fetch a new one")]
    Stale {
        /// The end of its use: nextUpdate or the policy's age, whichever is sooner.
        until: UnixMillis,
        /// The instant of the check.
        now: UnixMillis,
    },
    /// The certificate is on the list.
    #[error("the certificate was revoked at {since}")]
    Revoked {
        /// Since when.
        since: UnixMillis,
        /// Why, where the issuer says so.
        reason: Option<RevocationReason>,
    },
}

impl Crl {
    /// Largest list in bytes: about a million entries, which take some 48 MiB once parsed.
    pub const DER_LEN_MAX: usize = limits::CRL_BYTES_MAX as usize;

    /// Reads a DER list; trailing bytes are refused. Nothing is verified yet: see [`Crl::verify`].
    ///
    /// # Errors
    ///
    /// [`CrlError`] says what is outside the profile.
    pub fn parse(der: &[u8]) -> Result<Self, CrlError> {
        if der.is_empty() || der.len() > Self::DER_LEN_MAX {
            return Err(CrlError::Length { len: der.len() });
        }
        let signed = Signed::parse(der).map_err(malformed)?;
        let algorithm = SignatureAlgorithm::from_identifier(signed.algorithm).map_err(|source| CrlError::Algorithm { source })?;
        let body = Body::parse(signed.body)?;
        if body.algorithm != signed.algorithm {
            return Err(CrlError::AlgorithmMismatch);
        }
        let list = ListExtensions::parse(body.extensions.as_deref().unwrap_or_default())?;
        let issuer = DistinguishedName::from_name(&body.issuer).map_err(malformed)?;
        Ok(Self {
            series: list.scope.series(&issuer, &list.authority_key_id),
            hash: Sha256::new(Sha256Hasher::digest(der).into()),
            issuer,
            authority_key_id: list.authority_key_id,
            number: list.number,
            this_update: instant(body.this_update),
            next_update: instant(body.next_update),
            scope: list.scope,
            revoked: body.revoked,
            signed: signed.body.to_vec(),
            signature: signed.signature,
            algorithm,
        })
    }

    /// SHA-256 of the DER.
    #[must_use]
    pub const fn hash(&self) -> Sha256 {
        self.hash
    }

    /// DER of the issuer's name.
    #[must_use]
    pub fn issuer_der(&self) -> &[u8] {
        self.issuer.der()
    }

    /// The issuer's name.
    #[must_use]
    pub const fn issuer(&self) -> &DistinguishedName {
        &self.issuer
    }

    /// keyIdentifier of the issuer's key, which tells generations of one name apart.
    #[must_use]
    pub fn authority_key_id(&self) -> &[u8] {
        &self.authority_key_id
    }

    /// CRLNumber: grows with every list of one series.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// When it was issued.
    #[must_use]
    pub const fn this_update(&self) -> UnixMillis {
        self.this_update
    }

    /// When the next one is due.
    #[must_use]
    pub const fn next_update(&self) -> UnixMillis {
        self.next_update
    }

    /// Which certificates of its issuer it covers.
    #[must_use]
    pub const fn scope(&self) -> &CrlScope {
        &self.scope
    }

    /// Names the series that this list belongs to: one issuer name, key and distribution point. Of each series only the list with the
    /// highest number counts.
    #[must_use]
    pub const fn series(&self) -> Sha256 {
        self.series
    }

    /// The entry of this serial, when it is on the list.
    #[must_use]
    pub fn is_revoked(&self, serial: &CertificateSerial) -> Option<&RevokedEntry> {
        let found = self.revoked.binary_search_by(|entry| entry.serial.cmp(serial)).ok()?;
        self.revoked.get(found)
    }

    /// All entries in order of serial.
    #[must_use]
    pub fn revoked(&self) -> impl ExactSizeIterator<Item = &RevokedEntry> {
        self.revoked.iter()
    }

    /// Verifies that this issuer's key signed the list and that its certificate allows that. Whether the issuer is trusted and valid is
    /// the path's matter.
    ///
    /// # Errors
    ///
    /// [`CrlError::WrongIssuer`], [`CrlError::IssuerMayNotSign`] or [`CrlError::Signature`].
    pub fn verify(&self, issuer: &Certificate) -> Result<(), CrlError> {
        let same_key = issuer.subject_key_id().is_none_or(|own| own == self.authority_key_id);
        if !same_key || self.issuer != *issuer.subject() {
            return Err(CrlError::WrongIssuer { list: self.issuer.to_string(), issuer: issuer.subject().to_string() });
        }
        if !issuer.key_usage().is_some_and(|usage| usage.contains(KeyUsage::CRL_SIGN)) {
            return Err(CrlError::IssuerMayNotSign);
        }
        issuer.key().verify(self.algorithm, &self.signed, &self.signature).map_err(|source| CrlError::Signature { source })
    }

    /// Checks that the list may be used at `now`: not issued in the future (beyond `skew_ms`), not past nextUpdate, not older than
    /// `max_age_ms`. Fails closed: no allowance is made for a successor that is late.
    ///
    /// # Errors
    ///
    /// [`CrlError::FromTheFuture`] or [`CrlError::Stale`].
    pub fn freshness(&self, now: UnixMillis, max_age_ms: u64, skew_ms: u64) -> Result<(), CrlError> {
        if self.this_update > now.plus(skew_ms) {
            return Err(CrlError::FromTheFuture { this_update: self.this_update, now });
        }
        let until = self.next_update.min(self.this_update.plus(max_age_ms));
        if now > until {
            return Err(CrlError::Stale { until, now });
        }
        Ok(())
    }

    /// Checks that the list speaks of this certificate: same issuer, and inside the distribution point's limits.
    ///
    /// # Errors
    ///
    /// [`CrlError::WrongIssuer`] or [`CrlError::OutOfScope`].
    pub fn covers(&self, certificate: &Certificate) -> Result<(), CrlError> {
        let same_key = certificate.authority_key_id().is_none_or(|named| named == self.authority_key_id);
        if !same_key || self.issuer != *certificate.issuer() {
            return Err(CrlError::WrongIssuer { list: self.issuer.to_string(), issuer: certificate.issuer().to_string() });
        }
        self.scope.covers(certificate)
    }

    /// The whole revocation check of one certificate: the list covers it, `issuer` signed the list, it is fresh, and the serial is not on
    /// it.
    ///
    /// # Errors
    ///
    /// [`CrlError`]; every reason that leaves the question open is an error too.
    pub fn check_not_revoked(
        &self,
        certificate: &Certificate,
        issuer: &Certificate,
        now: UnixMillis,
        max_age_ms: u64,
        skew_ms: u64,
    ) -> Result<(), CrlError> {
        self.covers(certificate)?;
        self.verify(issuer)?;
        self.freshness(now, max_age_ms, skew_ms)?;
        match self.is_revoked(certificate.serial()) {
            Some(entry) => Err(CrlError::Revoked { since: entry.since, reason: entry.reason }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crl(number {}, {} entries, {})", self.number, self.revoked.len(), self.hash)
    }
}

/// `TBSCertList` with its entries taken in one by one, so that a large list is never held as a tree of its own.
struct Body<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    issuer: Name,
    this_update: Time,
    next_update: Time,
    revoked: Vec<RevokedEntry>,
    extensions: Option<Extensions>,
}

impl<'a> Body<'a> {
    fn parse(der: &'a [u8]) -> Result<Self, CrlError> {
        let mut reader = SliceReader::new(der).map_err(malformed)?;
        let header = Header::decode(&mut reader).map_err(malformed)?;
        header.tag.assert_eq(Tag::Sequence).map_err(malformed)?;
        if reader.peek_tag().map_err(malformed)? != Tag::Integer || Version::decode(&mut reader).map_err(malformed)? != Version::V2 {
            return Err(CrlError::Version);
        }
        let algorithm = AlgorithmIdentifierRef::decode(&mut reader).map_err(malformed)?;
        let issuer = Name::decode(&mut reader).map_err(malformed)?;
        let this_update = Time::decode(&mut reader).map_err(malformed)?;
        let next_update = Option::<Time>::decode(&mut reader).map_err(malformed)?.ok_or(CrlError::Missing { part: "nextUpdate" })?;
        let mut revoked = Vec::new();
        if reader.peek_byte() == Some(u8::from(Tag::Sequence)) {
            let entries = Header::decode(&mut reader).map_err(malformed)?;
            let entries = reader.read_slice(entries.length).map_err(malformed)?;
            revoked = parse_entries(entries)?;
        }
        let extensions = reader.context_specific::<Extensions>(der::TagNumber::N0, der::TagMode::Explicit).map_err(malformed)?;
        reader.finish(()).map_err(malformed)?;
        Ok(Self { algorithm, issuer, this_update, next_update, revoked, extensions })
    }
}

struct ListExtensions {
    authority_key_id: Vec<u8>,
    number: u64,
    scope: CrlScope,
}

impl ListExtensions {
    fn parse(list: &[Extension]) -> Result<Self, CrlError> {
        let refused = |source| CrlError::Extension { source };
        extensions::check_unique(list).map_err(refused)?;
        let (mut authority_key_id, mut number, mut scope) = (None, None, CrlScope::default());
        for extension in list {
            match extension.extn_id {
                rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER => {
                    authority_key_id = extensions::authority_key_id(extension).map_err(refused)?;
                }
                rfc5280::ID_CE_CRL_NUMBER => {
                    let value: Uint = extensions::decode(extension).map_err(refused)?;
                    let bytes = value.as_bytes();
                    if bytes.len() > size_of::<u64>() {
                        return Err(CrlError::NumberTooLarge);
                    }
                    number = Some(bytes.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)));
                }
                rfc5280::ID_CE_ISSUING_DISTRIBUTION_POINT => {
                    let point: IssuingDistributionPoint = extensions::decode(extension).map_err(refused)?;
                    scope = CrlScope::new(&point)?;
                }
                // Critical by its own rule; a list that forgot the mark is no less a delta.
                rfc5280::ID_CE_DELTA_CRL_INDICATOR => return Err(CrlError::NotComplete { kind: "a delta list" }),
                extension_id => extensions::refuse_critical(extension, extension_id).map_err(refused)?,
            }
        }
        Ok(Self {
            authority_key_id: authority_key_id.ok_or(CrlError::Missing { part: "authorityKeyIdentifier with a keyIdentifier" })?,
            number: number.ok_or(CrlError::Missing { part: "CRLNumber" })?,
            scope,
        })
    }
}

fn parse_entries(der: &[u8]) -> Result<Vec<RevokedEntry>, CrlError> {
    let mut reader = SliceReader::new(der).map_err(malformed)?;
    let mut entries = Vec::new();
    while !reader.is_finished() {
        let entry = RevokedCert::decode(&mut reader).map_err(malformed)?;
        entries.push(RevokedEntry {
            serial: serial::from_integer(entry.serial_number.as_bytes()).map_err(|source| CrlError::Serial { source })?,
            since: instant(entry.revocation_date),
            reason: parse_entry_extensions(entry.crl_entry_extensions.as_deref().unwrap_or_default())?,
        });
    }
    entries.sort_unstable_by_key(|entry: &RevokedEntry| (entry.serial, entry.since));
    entries.dedup_by_key(|entry| entry.serial);
    Ok(entries)
}

fn parse_entry_extensions(list: &[Extension]) -> Result<Option<RevocationReason>, CrlError> {
    let refused = |source| CrlError::Extension { source };
    extensions::check_unique(list).map_err(refused)?;
    let mut reason = None;
    for extension in list {
        match extension.extn_id {
            rfc5280::ID_CE_CRL_REASONS => {
                let code: CrlReason = extensions::decode(extension).map_err(refused)?;
                reason = Some(match code {
                    CrlReason::Unspecified => RevocationReason::Unspecified,
                    CrlReason::KeyCompromise => RevocationReason::KeyCompromise,
                    CrlReason::CaCompromise => RevocationReason::CaCompromise,
                    CrlReason::AffiliationChanged => RevocationReason::AffiliationChanged,
                    CrlReason::Superseded => RevocationReason::Superseded,
                    CrlReason::CessationOfOperation => RevocationReason::CessationOfOperation,
                    CrlReason::CertificateHold => RevocationReason::CertificateHold,
                    CrlReason::RemoveFromCRL => return Err(CrlError::NotComplete { kind: "a delta list (removeFromCRL)" }),
                    CrlReason::PrivilegeWithdrawn => RevocationReason::PrivilegeWithdrawn,
                    CrlReason::AaCompromise => RevocationReason::AaCompromise,
                });
            }
            rfc5280::ID_CE_CERTIFICATE_ISSUER => return Err(CrlError::NotComplete { kind: "an indirect list (certificateIssuer)" }),
            extension_id => extensions::refuse_critical(extension, extension_id).map_err(refused)?,
        }
    }
    Ok(reason)
}

fn malformed(source: der::Error) -> CrlError {
    CrlError::Malformed { source }
}
