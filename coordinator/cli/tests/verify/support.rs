//! A trial CA, signers of every kind of key, and documents that they signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use der::{Decode as _, Encode as _};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _,
    SigningKey as _,
};
use warifu::verify::{Report, VerifyOptions, verify};
use warifu_coordinator::document::{canonical_digest, embed, sample};
use warifu_core::pki::{Certificate, CertificateKey, encode_hc_roles};
use warifu_prescription::{SignatureFields, render, uri};
use warifu_protocol::{DocumentKind, RequestHash, UnixMillis};
use x509_cert::ext::pkix::CertificatePolicies;
use x509_cert::ext::pkix::certpolicy::PolicyInformation;

pub(crate) const PRESCRIPTION_ID: &str = "0b7a3c52-6f0e-4a5e-9f0d-3a1f5b2c4d6e";
pub(crate) const DISPENSING_ID: &str = "5d1c9f04-2b7e-4c38-8a61-7e0f9d2b6c13";
/// 2026-04-01T00:00:00Z, inside the validity of every trial certificate.
pub(crate) const SIGNING_TIME: UnixMillis = UnixMillis(1_775_001_600_000);

const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
const ECDSA: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-";

/// A CA that issues like the HPKI does.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) der: Vec<u8>,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let mut params = base_params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    pub(crate) fn certificate(&self) -> Certificate {
        Certificate::parse(&self.der).unwrap()
    }

    /// A CA under this one.
    pub(crate) fn subordinate(&self, name: &str) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = base_params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        params.custom_extensions = vec![policies()];
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    /// Certifies `key` for a holder with these licences.
    pub(crate) fn signer(&self, key: KeyPair, roles: &[&str]) -> Signer {
        self.signer_with(key, roles, &[KeyUsagePurpose::ContentCommitment])
    }

    pub(crate) fn signer_with(&self, key: KeyPair, roles: &[&str], usages: &[KeyUsagePurpose]) -> Signer {
        let mut params = base_params("Taro Shiken");
        params.key_usages = usages.to_vec();
        params.use_authority_key_identifier_extension = true;
        params.custom_extensions = vec![policies()];
        if !roles.is_empty() {
            let extension = CustomExtension::from_oid_content(&[2, 5, 29, 9], encode_hc_roles(roles).unwrap());
            params.custom_extensions.push(extension);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Signer { key, certificate, signing_time: SIGNING_TIME }
    }

    pub(crate) fn doctor(&self) -> Signer {
        self.signer(ed25519(), &["Medical Doctor"])
    }

    pub(crate) fn pharmacist(&self) -> Signer {
        self.signer(ed25519(), &["Pharmacist"])
    }
}

fn base_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "JP");
    params.distinguished_name.push(DnType::OrganizationName, "Warifu Trial");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2031, 1, 1);
    params
}

/// Critical, as in the HPKI.
fn policies() -> CustomExtension {
    let policy = PolicyInformation { policy_identifier: "1.2.392.100495.1.5.1.1.0.1".parse().unwrap(), policy_qualifiers: None };
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 32], CertificatePolicies(vec![policy]).to_der().unwrap());
    extension.set_criticality(true);
    extension
}

pub(crate) fn ed25519() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()
}

/// A holder with a whole key, as only a test may have.
pub(crate) struct Signer {
    key: KeyPair,
    pub(crate) certificate: Vec<u8>,
    pub(crate) signing_time: UnixMillis,
}

impl Signer {
    pub(crate) fn spki(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    /// Signs the document of this kind in the shape of the service.
    pub(crate) fn sign(&self, xml: &str, kind: DocumentKind) -> String {
        self.sign_altered(xml, kind, |_| ())
    }

    /// Signs it after `alter` has changed SignedInfo; the same change is made to the element.
    pub(crate) fn sign_replacing(&self, xml: &str, kind: DocumentKind, from: &str, to: &str) -> String {
        self.sign_altered(xml, kind, |text| {
            assert!(text.contains(from), "{from}");
            *text = text.replace(from, to);
        })
    }

    pub(crate) fn sign_altered(&self, xml: &str, kind: DocumentKind, alter: impl Fn(&mut String)) -> String {
        let fields = SignatureFields {
            kind,
            request: RequestHash::new([kind as u8; 32]),
            document: canonical_digest(xml.as_bytes(), kind).unwrap(),
            signing_time: self.signing_time,
            certificate: &self.certificate,
        };
        let rendered = render(&fields).unwrap();
        let mut signed_info = String::from_utf8(rendered.signed_info.clone()).unwrap().replace(uri::ED25519, &self.method());
        alter(&mut signed_info);
        let value = BASE64.encode(self.raw_signature(signed_info.as_bytes()));
        let placeholder = BASE64.encode([0; 64]);
        let mut element = rendered.signature_element(&[0; 64]).replace(uri::ED25519, &self.method());
        alter(&mut element);
        embed(xml.as_bytes(), kind, &element.replace(&placeholder, &value)).unwrap()
    }

    /// The signature in the form of XML Signature.
    fn raw_signature(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.key.sign(message).unwrap();
        let number_len = match self.key_kind() {
            "P-256" => 32,
            "P-384" => 48,
            "P-521" => 66,
            _ => return signature,
        };
        let numbers: Vec<der::asn1::Uint> = Vec::from_der(&signature).unwrap();
        let mut raw = Vec::new();
        for number in numbers {
            raw.extend(std::iter::repeat_n(0, number_len - number.as_bytes().len()));
            raw.extend(number.as_bytes());
        }
        raw
    }

    fn key_kind(&self) -> &'static str {
        CertificateKey::parse_spki(&self.spki()).unwrap().kind()
    }

    fn method(&self) -> String {
        match self.key_kind() {
            "RSA" => RSA_SHA256.to_owned(),
            "P-256" => format!("{ECDSA}sha256"),
            "P-384" => format!("{ECDSA}sha384"),
            "P-521" => format!("{ECDSA}sha512"),
            _ => uri::ED25519.to_owned(),
        }
    }
}

/// A doctor's prescription, signed.
pub(crate) fn signed_prescription(doctor: &Signer) -> String {
    doctor.sign(&sample::prescription(PRESCRIPTION_ID), DocumentKind::Prescription)
}

/// A pharmacist's dispensing of it, signed.
pub(crate) fn signed_dispensing(doctor: &Signer, pharmacist: &Signer) -> String {
    let dispensing = sample::dispensing(&signed_prescription(doctor), DISPENSING_ID).unwrap();
    pharmacist.sign(&dispensing, DocumentKind::Dispensing)
}

pub(crate) fn check(xml: &str) -> Report {
    verify(xml.as_bytes(), &VerifyOptions::default())
}

/// Everything that the report complains of.
pub(crate) fn problems(report: &Report) -> String {
    let signatures = report.signatures.iter().filter_map(|signature| signature.problem.as_deref());
    report.problem.as_deref().into_iter().chain(signatures).collect::<Vec<_>>().join("\n")
}
