//! CAs, certificates and lists for tests, with every part open to be made wrong.

use std::time::Duration;

use const_oid::ObjectIdentifier;
use der::asn1::BitString;
use der::{Decode, Encode};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName, DnType, DnValue, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, RevocationReason, RevokedCertParams,
    SerialNumber, SignatureAlgorithm, SigningKey,
};
use warifu_protocol::{AnchorKind, SubjectFields, UnixMillis};
use x509_cert::ext::pkix::CertificatePolicies;
use x509_cert::ext::pkix::certpolicy::PolicyInformation;

use crate::pki::{Certificate, TrustAnchor, encode_hc_roles};

/// 2026-01-01T00:00:00Z, the instant at which the tests play.
pub(super) const NOW: UnixMillis = UnixMillis(1_767_225_600_000);
pub(super) const DAY: u64 = 24 * 60 * 60 * 1000;
/// The policy of JPKI user-authentication certificates.
pub(super) const CARD_POLICY: &str = "1.2.392.200149.8.5.1.3.30";
/// The policy of HPKI signing test certificates.
pub(super) const SIGNING_POLICY: &str = "1.2.392.100495.1.5.1.1.0.1";

const SUBJECT_DIRECTORY_ATTRIBUTES: [u64; 4] = [2, 5, 29, 9];
const CERTIFICATE_POLICIES: [u64; 4] = [2, 5, 29, 32];

/// A row of a table of bad input: its name, the input, and what the error must be.
pub(super) type Case<Input, Error> = (&'static str, Input, fn(&Error) -> bool);

pub(super) struct TestCa {
    pub(super) params: CertificateParams,
    pub(super) key: KeyPair,
    pub(super) der: Vec<u8>,
}

impl TestCa {
    pub(super) fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    pub(super) fn root_with(name: &str, edit: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = ca_params(name);
        edit(&mut params);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { params, key, der }
    }

    pub(super) fn under(&self, name: &str, edit: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = ca_params(name);
        params.use_authority_key_identifier_extension = true;
        edit(&mut params);
        let der = self.issue(&params, &key);
        Self { params, key, der }
    }

    pub(super) fn issue(&self, params: &CertificateParams, key: &impl PublicKeyData) -> Vec<u8> {
        params.signed_by(key, &self.issuer()).unwrap().der().to_vec()
    }

    pub(super) fn certificate(&self) -> Certificate {
        Certificate::parse(&self.der).unwrap()
    }

    pub(super) fn anchor(&self, kind: AnchorKind, policies: &[&str]) -> TrustAnchor {
        let policies = policies.iter().map(|policy| ObjectIdentifier::new(policy).unwrap()).collect();
        TrustAnchor { certificate: self.certificate(), kind, policies }
    }

    pub(super) fn crl(&self, revoked: &[&[u8]]) -> Vec<u8> {
        self.crl_with(revoked, |_| {})
    }

    pub(super) fn crl_with(&self, revoked: &[&[u8]], edit: impl FnOnce(&mut CertificateRevocationListParams)) -> Vec<u8> {
        let instant = |at: UnixMillis| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(at.0);
        let entry = |serial: &&[u8]| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: instant(NOW.minus(DAY)),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let mut params = CertificateRevocationListParams {
            this_update: instant(NOW),
            next_update: instant(NOW.plus(4 * DAY)),
            crl_number: SerialNumber::from(7),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        edit(&mut params);
        params.signed_by(&self.issuer()).unwrap().der().to_vec()
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

/// A public key as the issuer sees it.
pub(super) struct RawKey(pub(super) &'static SignatureAlgorithm, pub(super) Vec<u8>);

impl PublicKeyData for RawKey {
    fn der_bytes(&self) -> &[u8] {
        &self.1
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0
    }
}

pub(super) fn set_validity(params: &mut CertificateParams, from: UnixMillis, to: UnixMillis) {
    let instant = |at: UnixMillis| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(at.0);
    params.not_before = instant(from);
    params.not_after = instant(to);
}

/// A My Number Card's authentication certificate as it should be.
pub(super) fn card_params() -> CertificateParams {
    let mut params = base_params("00000000000000000000000000000000JP");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.custom_extensions = vec![policies(&[CARD_POLICY], true)];
    params
}

pub(super) fn subject() -> SubjectFields {
    SubjectFields::new("JP", Some("Trial Clinic".to_owned()), "Hanako Iryo", "TRIAL-0001").unwrap()
}

/// An HPKI signing certificate as it should be.
pub(super) fn signing_params() -> CertificateParams {
    let mut params = base_params("");
    let printable = |text: &str| DnValue::PrintableString(text.try_into().unwrap());
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, printable("JP"));
    params.distinguished_name.push(DnType::OrganizationName, "Trial Clinic");
    params.distinguished_name.push(DnType::CommonName, printable("Hanako Iryo"));
    params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), printable("TRIAL-0001"));
    params.key_usages = vec![KeyUsagePurpose::ContentCommitment];
    params.custom_extensions = vec![policies(&[SIGNING_POLICY], true), hc_roles(encode_hc_roles(&["Medical Doctor"]).unwrap())];
    params
}

pub(super) fn hc_roles(value: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(&SUBJECT_DIRECTORY_ATTRIBUTES, value)
}

pub(super) fn policies(policies: &[&str], critical: bool) -> CustomExtension {
    let information =
        |policy: &&str| PolicyInformation { policy_identifier: ObjectIdentifier::new(policy).unwrap(), policy_qualifiers: None };
    let value = CertificatePolicies(policies.iter().map(information).collect()).to_der().unwrap();
    let mut extension = CustomExtension::from_oid_content(&CERTIFICATE_POLICIES, value);
    extension.set_criticality(critical);
    extension
}

/// Takes a certificate apart, changes it and signs it again.
pub(super) fn remake(der: &[u8], key: &KeyPair, edit: impl FnOnce(&mut x509_cert::Certificate)) -> Vec<u8> {
    let mut certificate = x509_cert::Certificate::from_der(der).unwrap();
    edit(&mut certificate);
    let signature = key.sign(&certificate.tbs_certificate.to_der().unwrap()).unwrap();
    certificate.signature = BitString::from_bytes(&signature).unwrap();
    certificate.to_der().unwrap()
}

/// Takes a revocation list apart, changes it and signs it again.
pub(super) fn remake_crl(der: &[u8], key: &KeyPair, edit: impl FnOnce(&mut x509_cert::crl::CertificateList)) -> Vec<u8> {
    let mut list = x509_cert::crl::CertificateList::from_der(der).unwrap();
    edit(&mut list);
    let signature = key.sign(&list.tbs_cert_list.to_der().unwrap()).unwrap();
    list.signature = BitString::from_bytes(&signature).unwrap();
    list.to_der().unwrap()
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = base_params(name);
    params.use_authority_key_identifier_extension = false;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn base_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    set_validity(&mut params, NOW.minus(30 * DAY), NOW.plus(365 * DAY));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "JP");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.use_authority_key_identifier_extension = true;
    params
}
