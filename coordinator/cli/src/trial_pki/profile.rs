//! What the certificates of trial CAs look like.

use std::time::Duration;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{ID_CE_CERTIFICATE_POLICIES, ID_CE_SUBJECT_KEY_IDENTIFIER};
use const_oid::db::rfc5912::ID_CE_SUBJECT_DIRECTORY_ATTRIBUTES;
use der::Encode;
use der::asn1::OctetString;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, IsCa, KeyUsagePurpose, PublicKeyData,
    SerialNumber,
};
use warifu_core::pki::{CertificateSerial, encode_hc_roles};
use warifu_protocol::{AnchorKind, SubjectFields, UnixMillis};
use x509_cert::ext::pkix::CertificatePolicies;
use x509_cert::ext::pkix::certpolicy::PolicyInformation;

use super::error::TrialPkiError;

/// From when until when a certificate is valid, both to the second and inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    /// First second.
    pub not_before: UnixMillis,
    /// Last second.
    pub not_after: UnixMillis,
}

/// id-at-serialNumber.
const SERIAL_NUMBER: [u64; 4] = [2, 5, 4, 5];
const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;
/// A CA's certificate begins this much before it was made, so that machines whose clocks are behind take it at once.
const CA_BACKDATING_MILLIS: u64 = DAY_MILLIS;
/// How long a CA's certificate is valid: as long as those of JPKI.
const CA_LIFE_MILLIS: u64 = 3652 * DAY_MILLIS;

/// The policy under which a CA of this kind issues: the test policy of HPKI signing certificates, the ones of the real cards otherwise,
/// which have no test policy of their own.
pub(super) const fn policy(kind: AnchorKind) -> &'static str {
    match kind {
        AnchorKind::HpkiSigning => "1.2.392.100495.1.5.1.1.0.1",
        AnchorKind::HpkiAuthentication => "1.2.392.100495.1.5.1.2.3.1",
        AnchorKind::JpkiUserAuthentication => "1.2.392.200149.8.5.1.3.30",
    }
}

/// Parameters of a CA's own certificate, from which also its name is taken when it issues.
pub(super) fn authority(kind: AnchorKind, now: UnixMillis) -> Result<CertificateParams, TrialPkiError> {
    let name = match kind {
        AnchorKind::HpkiSigning => hpki_name("TRIAL HPKI-01 SignCA-forNonRepudiation"),
        AnchorKind::HpkiAuthentication => hpki_name("TRIAL HPKI-01 AuthCA-forAuthentication"),
        AnchorKind::JpkiUserAuthentication => {
            let mut name = named_in("TRIAL JPKI");
            name.push(DnType::OrganizationalUnitName, "TRIAL JPKI for user authentication");
            name
        }
    };
    let mut params = ca(name, BasicConstraints::Constrained(0), now)?;
    params.custom_extensions.push(policies(policy(kind))?);
    Ok(params)
}

/// Parameters of the root above the two HPKI CAs.
pub(super) fn hpki_root(now: UnixMillis) -> Result<CertificateParams, TrialPkiError> {
    ca(hpki_name("TRIAL HPKI Root CA"), BasicConstraints::Unconstrained, now)
}

/// Parameters of an end entity's certificate: critical keyUsage of one bit, critical policy, key identifiers, no basicConstraints.
pub(super) fn end_entity(
    kind: AnchorKind,
    subject: DistinguishedName,
    serial: &CertificateSerial,
    validity: Validity,
    key: &impl PublicKeyData,
) -> Result<CertificateParams, TrialPkiError> {
    let mut params = base(subject, validity)?;
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params.key_usages = vec![match kind {
        AnchorKind::HpkiSigning => KeyUsagePurpose::ContentCommitment,
        AnchorKind::HpkiAuthentication | AnchorKind::JpkiUserAuthentication => KeyUsagePurpose::DigitalSignature,
    }];
    let key_id = OctetString::new(params.key_identifier(key)).and_then(|key_id| key_id.to_der()).map_err(encoding)?;
    params.custom_extensions.push(extension(ID_CE_SUBJECT_KEY_IDENTIFIER, false, key_id));
    params.custom_extensions.push(policies(policy(kind))?);
    Ok(params)
}

/// The hcRole of a holder, as an extension.
pub(super) fn roles(roles: &[&str]) -> Result<CustomExtension, TrialPkiError> {
    let value = encode_hc_roles(roles).map_err(|source| TrialPkiError::Roles { source })?;
    Ok(extension(ID_CE_SUBJECT_DIRECTORY_ATTRIBUTES, false, value))
}

/// A holder's subject as HPKI writes it: everything that can be is a PrintableString.
pub(super) fn holder(subject: &SubjectFields) -> Result<DistinguishedName, TrialPkiError> {
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, printable(subject.country())?);
    if let Some(organization) = subject.organization() {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, subject.common_name());
    name.push(DnType::CustomDnType(SERIAL_NUMBER.to_vec()), printable(subject.serial_number())?);
    Ok(name)
}

/// The subject of a My Number Card's authentication certificate: a number that says nothing about the person.
pub(super) fn anonymous(number: &str) -> Result<DistinguishedName, TrialPkiError> {
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, printable("JP")?);
    name.push(DnType::CommonName, number);
    Ok(name)
}

fn hpki_name(common_name: &str) -> DistinguishedName {
    let mut name = named_in("TRIAL Warifu");
    name.push(DnType::OrganizationalUnitName, "TRIAL HPKI CA");
    name.push(DnType::CommonName, common_name);
    name
}

fn named_in(organization: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, printable("JP").expect("JP is printable"));
    name.push(DnType::OrganizationName, organization);
    name
}

fn ca(name: DistinguishedName, constraints: BasicConstraints, now: UnixMillis) -> Result<CertificateParams, TrialPkiError> {
    let validity = Validity { not_before: now.minus(CA_BACKDATING_MILLIS), not_after: now.plus(CA_LIFE_MILLIS) };
    let mut params = base(name, validity)?;
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn base(name: DistinguishedName, validity: Validity) -> Result<CertificateParams, TrialPkiError> {
    if validity.not_after < validity.not_before {
        return Err(TrialPkiError::Validity);
    }
    let instant = |at: UnixMillis| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(at.as_secs());
    let mut params = CertificateParams::default();
    params.not_before = instant(validity.not_before);
    params.not_after = instant(validity.not_after);
    params.distinguished_name = name;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn policies(policy: &str) -> Result<CustomExtension, TrialPkiError> {
    let policy_identifier = ObjectIdentifier::new(policy).map_err(|_| encoding(der::Tag::ObjectIdentifier.value_error()))?;
    let policies = CertificatePolicies(vec![PolicyInformation { policy_identifier, policy_qualifiers: None }]);
    Ok(extension(ID_CE_CERTIFICATE_POLICIES, true, policies.to_der().map_err(encoding)?))
}

fn extension(id: ObjectIdentifier, critical: bool, value: Vec<u8>) -> CustomExtension {
    let arcs: Vec<u64> = id.arcs().map(u64::from).collect();
    let mut extension = CustomExtension::from_oid_content(&arcs, value);
    extension.set_criticality(critical);
    extension
}

fn printable(text: &str) -> Result<DnValue, TrialPkiError> {
    text.try_into().map(DnValue::PrintableString).map_err(|source| TrialPkiError::Make { what: "subject", source })
}

fn encoding(_: der::Error) -> TrialPkiError {
    TrialPkiError::Make { what: "certificate extension", source: rcgen::Error::CouldNotParseCertificate }
}
