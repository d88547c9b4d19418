//! Trial CAs whose certificates and lists can be made wrong in every part.

use std::time::Duration;

use const_oid::ObjectIdentifier;
use der::asn1::BitString;
use der::{Decode, Encode};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName, DnType, DnValue, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, RevocationReason,
    RevokedCertParams, SerialNumber, SigningKey,
};
use warifu_core::pki::{Certificate, encode_hc_roles};
use warifu_protocol::{AnchorEntry, AnchorKind, Blob, SpkiHash, SubjectFields, UnixMillis};
use x509_cert::ext::pkix::CertificatePolicies;
use x509_cert::ext::pkix::certpolicy::PolicyInformation;

use super::keys::RawKey;

/// 2026-01-01T00:00:00Z, when the trial clusters are founded.
pub(crate) const NOW: UnixMillis = UnixMillis(1_767_225_600_000);
pub(crate) const HOUR: u64 = 60 * 60 * 1000;
pub(crate) const DAY: u64 = 24 * HOUR;
const SUBJECT_DIRECTORY_ATTRIBUTES: [u64; 4] = [2, 5, 29, 9];
const CERTIFICATE_POLICIES: [u64; 4] = [2, 5, 29, 32];

/// rcgen does not re-export the type of its instants, so that no function can return one.
macro_rules! instant {
    ($at:expr) => {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis($at.0)
    };
}

pub(crate) struct Ca {
    pub(crate) kind: AnchorKind,
    pub(crate) der: Blob,
    params: CertificateParams,
    key: KeyPair,
}

impl Ca {
    pub(crate) fn new(kind: AnchorKind, common_name: &str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = base_params();
        params.distinguished_name.push(DnType::CountryName, "JP");
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.use_authority_key_identifier_extension = false;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let der = Blob(params.self_signed(&key).unwrap().der().to_vec());
        Self { kind, der, params, key }
    }

    /// A CA that this one issued.
    pub(crate) fn under(&self, serial: u64, common_name: &str, edit: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = base_params();
        params.distinguished_name.push(DnType::CountryName, "JP");
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.custom_extensions = vec![policies(self.policy())];
        edit(&mut params);
        let der = self.issue(&params, &key);
        Self { kind: self.kind, der, params, key }
    }

    /// The policy that its certificates name and its anchor accepts.
    pub(crate) const fn policy(&self) -> &'static str {
        match self.kind {
            AnchorKind::HpkiSigning => "1.2.392.100495.1.5.1.1.0.1",
            AnchorKind::HpkiAuthentication => "1.2.392.100495.1.5.1.2.0.1",
            AnchorKind::JpkiUserAuthentication => "1.2.392.200149.8.5.1.3.30",
        }
    }

    pub(crate) fn anchor(&self) -> AnchorEntry {
        AnchorEntry { kind: self.kind, certificate: self.der.clone(), policies: vec![self.policy().to_owned()] }
    }

    pub(crate) fn spki(&self) -> SpkiHash {
        Certificate::parse(self.der.as_slice()).unwrap().spki_hash()
    }

    pub(crate) fn issue(&self, params: &CertificateParams, key: &impl PublicKeyData) -> Blob {
        Blob(params.signed_by(key, &self.issuer()).unwrap().der().to_vec())
    }

    /// A card's authentication certificate.
    pub(super) fn issue_card(&self, serial: u64, key: &impl PublicKeyData, edit: impl FnOnce(&mut CertificateParams)) -> Blob {
        let mut params = base_params();
        params.distinguished_name.push(DnType::CountryName, "JP");
        params.distinguished_name.push(DnType::CommonName, format!("{serial:032}"));
        params.serial_number = Some(SerialNumber::from(serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.custom_extensions = vec![policies(self.policy())];
        edit(&mut params);
        self.issue(&params, key)
    }

    /// A holder's signing certificate over the group key.
    pub(crate) fn certify(
        &self,
        serial: u64,
        group_key: &[u8; 32],
        subject: &SubjectFields,
        role: &str,
        edit: impl FnOnce(&mut CertificateParams),
    ) -> Blob {
        let mut params = signing_params(subject, role, self.policy());
        params.serial_number = Some(SerialNumber::from(serial));
        edit(&mut params);
        self.issue(&params, &RawKey(&PKCS_ED25519, group_key.to_vec()))
    }

    /// A revocation list of that instant.
    pub(crate) fn crl(&self, number: u64, at: UnixMillis, revoked: &[u64]) -> Vec<u8> {
        self.crl_with(number, at, revoked, |_| {})
    }

    pub(crate) fn crl_with(
        &self,
        number: u64,
        at: UnixMillis,
        revoked: &[u64],
        edit: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> Vec<u8> {
        let entry = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: instant!(at.minus(HOUR)),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let mut params = CertificateRevocationListParams {
            this_update: instant!(at),
            next_update: instant!(at.plus(4 * DAY)),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        edit(&mut params);
        params.signed_by(&self.issuer()).unwrap().der().to_vec()
    }

    /// Takes a revocation list apart, changes it and signs it again.
    pub(crate) fn resign_crl(&self, der: &[u8], edit: impl FnOnce(&mut x509_cert::crl::CertificateList)) -> Vec<u8> {
        let mut list = x509_cert::crl::CertificateList::from_der(der).unwrap();
        edit(&mut list);
        let signature = self.key.sign(&list.tbs_cert_list.to_der().unwrap()).unwrap();
        list.signature = BitString::from_bytes(&signature).unwrap();
        list.to_der().unwrap()
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

pub(crate) fn signing_params(subject: &SubjectFields, role: &str, policy: &str) -> CertificateParams {
    let printable = |text: &str| DnValue::PrintableString(text.try_into().unwrap());
    let mut params = base_params();
    params.distinguished_name.push(DnType::CountryName, printable(subject.country()));
    if let Some(organization) = subject.organization() {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, printable(subject.common_name()));
    params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), printable(subject.serial_number()));
    params.key_usages = vec![KeyUsagePurpose::ContentCommitment];
    params.custom_extensions = vec![policies(policy), hc_roles(role)];
    params
}

fn hc_roles(role: &str) -> CustomExtension {
    CustomExtension::from_oid_content(&SUBJECT_DIRECTORY_ATTRIBUTES, encode_hc_roles(&[role]).unwrap())
}

pub(crate) fn policies(policy: &str) -> CustomExtension {
    let information = PolicyInformation { policy_identifier: ObjectIdentifier::new(policy).unwrap(), policy_qualifiers: None };
    let value = CertificatePolicies(vec![information]).to_der().unwrap();
    let mut extension = CustomExtension::from_oid_content(&CERTIFICATE_POLICIES, value);
    extension.set_criticality(true);
    extension
}

pub(crate) fn set_validity(params: &mut CertificateParams, from: UnixMillis, to: UnixMillis) {
    params.not_before = instant!(from);
    params.not_after = instant!(to);
}

fn base_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    set_validity(&mut params, NOW.minus(30 * DAY), NOW.plus(365 * DAY));
    params.distinguished_name = DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    params
}
