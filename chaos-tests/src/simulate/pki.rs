//! Trial CAs and cards with fixed keys: RSA PKCS#1 v1.5 signs without randomness, so that every run of a seed has the same bytes.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as CardKey;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use const_oid::ObjectIdentifier;
use der::Encode as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName, DnType, DnValue, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData, RevocationReason, RevokedCertParams,
    SerialNumber, SignatureAlgorithm,
};
use warifu_core::pki::encode_hc_roles;
use warifu_protocol::canonical::sha256;
use warifu_protocol::{AnchorEntry, AnchorKind, Blob, CertificateHash, SubjectFields, UnixMillis};
use x509_cert::ext::pkix::CertificatePolicies;
use x509_cert::ext::pkix::certpolicy::PolicyInformation;

use super::cost::{self, Of};

/// When every run begins: 2026-01-01T00:00:00Z.
pub(super) const EPOCH: UnixMillis = UnixMillis(1_767_225_600_000);
const DAY: u64 = 24 * 60 * 60 * 1000;
const SUBJECT_DIRECTORY_ATTRIBUTES: [u64; 4] = [2, 5, 29, 9];
const CERTIFICATE_POLICIES: [u64; 4] = [2, 5, 29, 32];

/// rcgen does not re-export the type of its instants, so that no function can return one.
macro_rules! instant {
    ($at:expr) => {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis($at.0)
    };
}

/// Whether it is the cards' list, its number, and the serials in it.
type ListKey = (bool, u64, Vec<u64>);

/// The CAs that every trial cluster pins, and the key that all trial cards have.
pub(super) struct TrialPki {
    signing: Ca,
    cards: Ca,
    card_key: CardKey,
    issued: Mutex<BTreeMap<(u64, UnixMillis), Blob>>,
    lists: Mutex<BTreeMap<ListKey, Blob>>,
}

struct Ca {
    kind: AnchorKind,
    der: Blob,
    params: CertificateParams,
    key: KeyPair,
}

/// A card with its certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Card {
    /// DER.
    pub(super) der: Blob,
    /// Its serial.
    pub(super) serial: u64,
    /// The end of its certificate, a whole second.
    pub(super) ends: UnixMillis,
}

impl Card {
    /// SHA-256 of the certificate.
    #[must_use]
    pub(super) fn hash(&self) -> CertificateHash {
        CertificateHash::new(sha256(self.der.as_slice()))
    }
}

impl TrialPki {
    /// The PKI of this process; its keys are in the program.
    ///
    /// # Panics
    /// When the keys beside this file are damaged.
    pub(super) fn get() -> &'static Self {
        static PKI: OnceLock<TrialPki> = OnceLock::new();
        PKI.get_or_init(|| Self::load().expect("the trial keys in the program are whole"))
    }

    fn load() -> anyhow::Result<Self> {
        let card = pem::parse(include_str!("keys/trial-card.pem"))?;
        Ok(Self {
            signing: Ca::new(AnchorKind::HpkiSigning, "TRIAL HPKI Signing CA", include_str!("keys/trial-signing-ca.pem"))?,
            cards: Ca::new(AnchorKind::JpkiUserAuthentication, "TRIAL JPKI CA", include_str!("keys/trial-card-ca.pem"))?,
            card_key: CardKey::from_pkcs8(card.contents()).context("the key of the trial cards")?,
            issued: Mutex::default(),
            lists: Mutex::default(),
        })
    }

    /// What a genesis pins.
    #[must_use]
    pub(super) fn anchors(&self) -> Vec<AnchorEntry> {
        [&self.signing, &self.cards]
            .map(|ca| AnchorEntry { kind: ca.kind, certificate: ca.der.clone(), policies: vec![ca.policy().to_owned()] })
            .into()
    }

    /// The card with this serial and this end of its certificate, a whole second.
    ///
    /// # Errors
    /// When rcgen fails.
    pub(super) fn card(&self, serial: u64, ends: UnixMillis) -> anyhow::Result<Card> {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(der) = issued.get(&(serial, ends)) {
            return Ok(Card { der: der.clone(), serial, ends });
        }
        let mut params = base_params();
        params.not_after = instant!(ends);
        params.distinguished_name.push(DnType::CountryName, DnValue::PrintableString("JP".try_into()?));
        params.distinguished_name.push(DnType::CommonName, format!("{serial:032}"));
        params.serial_number = Some(SerialNumber::from(serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.custom_extensions = vec![policies(self.cards.policy())?];
        let public = RawKey(&PKCS_RSA_SHA256, self.card_key.public_key().as_ref().to_vec());
        let der = self.cards.issue(&params, &public)?;
        issued.insert((serial, ends), der.clone());
        Ok(Card { der, serial, ends })
    }

    /// As every trial card signs.
    ///
    /// # Panics
    /// Never: the key is whole.
    #[must_use]
    pub(super) fn card_sign(&self, message: &[u8]) -> Blob {
        let mut signature = vec![0; self.card_key.public_modulus_len()];
        let sign = || self.card_key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature);
        cost::of(Of::Signatures, sign).expect("an RSA key signs");
        Blob(signature)
    }

    /// A holder's signing certificate over a group key.
    ///
    /// # Errors
    /// When rcgen fails.
    pub(super) fn certify(
        &self,
        serial: u64,
        group_key: &[u8; 32],
        subject: &SubjectFields,
        role: &str,
        ends: UnixMillis,
    ) -> anyhow::Result<Blob> {
        let printable = |text: &str| anyhow::Ok(DnValue::PrintableString(text.try_into()?));
        let mut params = base_params();
        params.not_after = instant!(ends);
        params.distinguished_name.push(DnType::CountryName, printable(subject.country())?);
        if let Some(organization) = subject.organization() {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        params.distinguished_name.push(DnType::CommonName, printable(subject.common_name())?);
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), printable(subject.serial_number())?);
        params.serial_number = Some(SerialNumber::from(serial));
        params.key_usages = vec![KeyUsagePurpose::ContentCommitment];
        let roles = CustomExtension::from_oid_content(&SUBJECT_DIRECTORY_ATTRIBUTES, encode_hc_roles(&[role])?);
        params.custom_extensions = vec![policies(self.signing.policy())?, roles];
        self.signing.issue(&params, &RawKey(&PKCS_ED25519, group_key.to_vec()))
    }

    /// The revocation list of that number, of the signing CA or of the cards' one, with these serials.
    ///
    /// # Errors
    /// When rcgen fails.
    pub(super) fn list(&self, of_cards: bool, number: u64, revoked: &[u64]) -> anyhow::Result<Blob> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (of_cards, number, revoked.to_vec());
        if let Some(der) = lists.get(&key) {
            return Ok(der.clone());
        }
        let entry = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: instant!(EPOCH),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: instant!(EPOCH),
            next_update: instant!(EPOCH.plus(4 * DAY)),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let ca = if of_cards { &self.cards } else { &self.signing };
        let der = Blob(cost::of(Of::Signatures, || params.signed_by(&ca.issuer()))?.der().to_vec());
        lists.insert(key, der.clone());
        Ok(der)
    }
}

impl Ca {
    fn new(kind: AnchorKind, common_name: &str, key: &str) -> anyhow::Result<Self> {
        let key = KeyPair::from_pem(key)?;
        let mut params = base_params();
        params.distinguished_name.push(DnType::CountryName, "JP");
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.use_authority_key_identifier_extension = false;
        params.serial_number = Some(SerialNumber::from(1));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let der = Blob(params.self_signed(&key)?.der().to_vec());
        Ok(Self { kind, der, params, key })
    }

    const fn policy(&self) -> &'static str {
        match self.kind {
            AnchorKind::HpkiSigning => "1.2.392.100495.1.5.1.1.0.1",
            AnchorKind::HpkiAuthentication => "1.2.392.100495.1.5.1.2.0.1",
            AnchorKind::JpkiUserAuthentication => "1.2.392.200149.8.5.1.3.30",
        }
    }

    fn issue(&self, params: &CertificateParams, key: &impl PublicKeyData) -> anyhow::Result<Blob> {
        Ok(Blob(cost::of(Of::Signatures, || params.signed_by(key, &self.issuer()))?.der().to_vec()))
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
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

fn policies(policy: &str) -> anyhow::Result<CustomExtension> {
    let information = PolicyInformation { policy_identifier: ObjectIdentifier::new(policy).context("a policy")?, policy_qualifiers: None };
    let value = CertificatePolicies(vec![information]).to_der().context("a policy")?;
    let mut extension = CustomExtension::from_oid_content(&CERTIFICATE_POLICIES, value);
    extension.set_criticality(true);
    Ok(extension)
}

fn base_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = instant!(EPOCH.minus(30 * DAY));
    params.not_after = instant!(EPOCH.plus(365 * DAY));
    params.distinguished_name = DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    params
}
