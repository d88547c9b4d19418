//! The CAs that a trial cluster pins, with their keys: what they certify, and their lists.

use std::time::{Duration, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName, DnType, DnValue, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData, RevokedCertParams, SerialNumber,
    SignatureAlgorithm,
};
use warifu_core::pki::encode_hc_roles;
use warifu_protocol::{AnchorEntry, AnchorKind, Blob, SubjectFields};

/// The policy that every anchor is pinned with.
const POLICY: &str = "1.2.3.4";
/// DER of the extension's content that names [`POLICY`] alone.
const POLICIES: [u8; 9] = [0x30, 0x07, 0x30, 0x05, 0x06, 0x03, 0x2a, 0x03, 0x04];
const SUBJECT_DIRECTORY_ATTRIBUTES: [u64; 4] = [2, 5, 29, 9];
const CERTIFICATE_POLICIES: [u64; 4] = [2, 5, 29, 32];
const DAY: Duration = Duration::from_hours(24);

/// rcgen does not re-export the type of its instants, so that no function can return one.
macro_rules! now {
    () => {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(UNIX_EPOCH.elapsed()?.as_secs())
    };
}

/// A CA.
pub(crate) struct Authority {
    kind: AnchorKind,
    der: Blob,
    params: CertificateParams,
    key: KeyPair,
}

/// A public key as an issuer sees it.
struct RawKey(&'static SignatureAlgorithm, Vec<u8>);

impl PublicKeyData for RawKey {
    fn der_bytes(&self) -> &[u8] {
        &self.1
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0
    }
}

impl Authority {
    pub(crate) fn new(kind: AnchorKind) -> anyhow::Result<Self> {
        let mut params = params()?;
        params.distinguished_name.push(DnType::CommonName, format!("{kind:?} test CA"));
        params.use_authority_key_identifier_extension = false;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let der = Blob(params.self_signed(&key)?.der().to_vec());
        Ok(Self { kind, der, params, key })
    }

    /// What a genesis pins.
    pub(crate) fn anchor(&self) -> AnchorEntry {
        AnchorEntry { kind: self.kind, certificate: self.der.clone(), policies: vec![POLICY.to_owned()] }
    }

    /// A card's certificate over a P-384 key.
    pub(crate) fn certify_card(&self, serial: u64, key: &[u8]) -> anyhow::Result<Blob> {
        let mut params = params()?;
        params.distinguished_name.push(DnType::CommonName, format!("{serial:032}"));
        params.serial_number = Some(SerialNumber::from(serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.custom_extensions = vec![policies()];
        self.issue(&params, &RawKey(&PKCS_ECDSA_P384_SHA384, key.to_vec()))
    }

    /// A holder's certificate over a group key.
    pub(crate) fn certify_holder(&self, serial: u64, group_key: &[u8; 32], subject: &SubjectFields, role: &str) -> anyhow::Result<Blob> {
        let printable = |text: &str| anyhow::Ok(DnValue::PrintableString(text.try_into()?));
        let mut params = params()?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, printable(subject.country())?);
        params.distinguished_name.push(DnType::CommonName, printable(subject.common_name())?);
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), printable(subject.serial_number())?);
        params.serial_number = Some(SerialNumber::from(serial));
        params.key_usages = vec![KeyUsagePurpose::ContentCommitment];
        let roles = CustomExtension::from_oid_content(&SUBJECT_DIRECTORY_ATTRIBUTES, encode_hc_roles(&[role])?);
        params.custom_extensions = vec![policies(), roles];
        self.issue(&params, &RawKey(&PKCS_ED25519, group_key.to_vec()))
    }

    /// A list of some age that revokes these.
    pub(crate) fn list(&self, number: u64, age_millis: u64, revoked: &[u64]) -> anyhow::Result<Vec<u8>> {
        let this_update = now!() - Duration::from_millis(age_millis);
        let revoke = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update,
            next_update: now!() + 4 * DAY,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(revoke).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer())?.der().to_vec())
    }

    fn issue(&self, params: &CertificateParams, key: &RawKey) -> anyhow::Result<Blob> {
        Ok(Blob(params.signed_by(key, &self.issuer())?.der().to_vec()))
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

fn params() -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.not_before = now!() - DAY;
    params.not_after = now!() + 365 * DAY;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "JP");
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn policies() -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&CERTIFICATE_POLICIES, POLICIES.to_vec());
    extension.set_criticality(true);
    extension
}
