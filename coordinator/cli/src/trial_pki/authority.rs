//! The key and certificate that every trial CA is made of.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256,
    PublicKeyData, RevocationReason, RevokedCertParams, RsaKeySize, SerialNumber, SignatureAlgorithm,
};
use warifu_core::pki::{CertificateKey, CertificateSerial};
use warifu_protocol::{AnchorEntry, AnchorKind, Blob, UnixMillis};

use super::error::TrialPkiError;
use super::profile;

/// An issuing CA of one kind, RSA-2048 with SHA-256 as the real ones.
pub(super) struct Authority {
    pub(super) kind: AnchorKind,
    pub(super) key: KeyPair,
    /// DER of its own certificate.
    pub(super) certificate: Vec<u8>,
    /// DER of the root's above it, for the two-tier kinds.
    pub(super) root: Option<Vec<u8>>,
    params: CertificateParams,
}

impl Authority {
    /// Makes a CA: self-signed for JPKI, under a fresh root for HPKI. The root's key is forgotten at once.
    pub(super) fn new(kind: AnchorKind, now: UnixMillis) -> Result<Self, TrialPkiError> {
        let what = "CA certificate";
        let make = |source| TrialPkiError::Make { what, source };
        let (key, params) = (rsa_key()?, profile::authority(kind, now)?);
        let (certificate, root) = match kind {
            AnchorKind::JpkiUserAuthentication => (params.self_signed(&key).map_err(make)?, None),
            AnchorKind::HpkiSigning | AnchorKind::HpkiAuthentication => {
                let (root_key, root_params) = (rsa_key()?, profile::hpki_root(now)?);
                let root = root_params.self_signed(&root_key).map_err(make)?;
                let issuer = Issuer::new(root_params, root_key);
                (params.signed_by(&key, &issuer).map_err(make)?, Some(root.der().to_vec()))
            }
        };
        Ok(Self { kind, key, certificate: certificate.der().to_vec(), root, params })
    }

    /// Puts together what was kept in files, which has been checked to belong together.
    pub(super) fn from_parts(kind: AnchorKind, key: KeyPair, certificate: Vec<u8>, root: Option<Vec<u8>>) -> Result<Self, TrialPkiError> {
        // Only name, usages and key identifiers of the parameters matter to what it issues, and these depend on the kind alone.
        let params = profile::authority(kind, UnixMillis(0))?;
        Ok(Self { kind, key, certificate, root, params })
    }

    pub(super) fn anchor(&self) -> AnchorEntry {
        AnchorEntry {
            kind: self.kind,
            certificate: Blob::from(self.certificate.as_slice()),
            policies: vec![profile::policy(self.kind).to_owned()],
        }
    }

    pub(super) fn issue(&self, params: &CertificateParams, key: &impl PublicKeyData) -> Result<Vec<u8>, TrialPkiError> {
        let certificate = params.signed_by(key, &self.issuer());
        certificate.map(|made| made.der().to_vec()).map_err(|source| TrialPkiError::Make { what: "certificate", source })
    }

    pub(super) fn crl(
        &self,
        number: u64,
        revoked: &[CertificateSerial],
        this_update: UnixMillis,
        next_update: UnixMillis,
    ) -> Result<Vec<u8>, TrialPkiError> {
        let instant = |at: UnixMillis| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(at.as_secs());
        let entry = |serial: &CertificateSerial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial.as_bytes()),
            revocation_time: instant(this_update),
            reason_code: Some(RevocationReason::CessationOfOperation),
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: instant(this_update),
            next_update: instant(next_update),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = list.signed_by(&self.issuer());
        signed.map(|made| made.der().to_vec()).map_err(|source| TrialPkiError::Make { what: "revocation list", source })
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({:?}, key <redacted>)", self.kind)
    }
}

/// What the three public CAs have in common.
macro_rules! authority_methods {
    ($name:ident, $kind:expr) => {
        impl $name {
            /// What this CA may vouch for.
            pub const KIND: warifu_protocol::AnchorKind = $kind;

            /// Makes the CA with new RSA-2048 keys; it is valid for ten years from a day before `now`.
            ///
            /// # Errors
            ///
            /// [`TrialPkiError`] when keys or certificates cannot be made.
            pub fn new(now: UnixMillis) -> Result<Self, TrialPkiError> {
                Authority::new(Self::KIND, now).map(Self)
            }

            /// Writes key (mode 0600) and certificates into a directory, which is made when it is absent.
            ///
            /// # Errors
            ///
            /// [`TrialPkiError::File`] when a file exists already or cannot be written.
            pub fn save(&self, directory: &Path) -> Result<(), TrialPkiError> {
                files::save(&self.0, directory)
            }

            /// Reads what [`Self::save`] wrote.
            ///
            /// # Errors
            ///
            /// [`TrialPkiError`] when files are missing, exposed, or not those of such a CA.
            pub fn load(directory: &Path) -> Result<Self, TrialPkiError> {
                files::load(Self::KIND, directory).map(Self)
            }

            /// What a genesis pins: the CA itself, with the policy under which it issues.
            #[must_use]
            pub fn anchor(&self) -> warifu_protocol::AnchorEntry {
                self.0.anchor()
            }

            /// DER of the CA's certificate.
            #[must_use]
            pub fn certificate_der(&self) -> &[u8] {
                &self.0.certificate
            }

            /// DER of the root's certificate above it, for a CA of two tiers.
            #[must_use]
            pub fn root_der(&self) -> Option<&[u8]> {
                self.0.root.as_deref()
            }

            /// Issues a revocation list: all of these serials, revoked at `this_update`. Times are cut to the second.
            ///
            /// # Errors
            ///
            /// [`TrialPkiError::Make`] when `next_update` is not after `this_update`.
            pub fn crl(
                &self,
                number: u64,
                revoked: &[CertificateSerial],
                this_update: UnixMillis,
                next_update: UnixMillis,
            ) -> Result<Vec<u8>, TrialPkiError> {
                self.0.crl(number, revoked, this_update, next_update)
            }
        }
    };
}
pub(super) use authority_methods;

/// A public key that a certificate is issued for.
pub(super) struct SubjectKey {
    pub(super) algorithm: &'static SignatureAlgorithm,
    pub(super) bytes: Vec<u8>,
}

impl SubjectKey {
    /// Reads the DER SubjectPublicKeyInfo of a card.
    pub(super) fn of_card(spki: &[u8]) -> Result<Self, TrialPkiError> {
        match CertificateKey::parse_spki(spki).map_err(|source| TrialPkiError::CardKey { source })? {
            CertificateKey::Rsa { pkcs1, .. } => Ok(Self { algorithm: &PKCS_RSA_SHA256, bytes: pkcs1 }),
            CertificateKey::EcdsaP384(point) => Ok(Self { algorithm: &PKCS_ECDSA_P384_SHA384, bytes: point }),
            other @ (CertificateKey::EcdsaP256(_) | CertificateKey::EcdsaP521(_) | CertificateKey::Ed25519(_)) => {
                Err(TrialPkiError::CardKeyKind { kind: other.kind() })
            }
        }
    }
}

impl PublicKeyData for SubjectKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// A random serial number of 16 bytes.
pub(super) fn random_serial() -> Result<CertificateSerial, TrialPkiError> {
    let mut bytes = random()?;
    // Keeps the number positive and its length fixed.
    bytes[0] = bytes[0] & 0x3f | 0x40;
    CertificateSerial::new(&bytes).map_err(|_| TrialPkiError::Random)
}

/// 16 bytes from the operating system.
pub(super) fn random() -> Result<[u8; 16], TrialPkiError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| TrialPkiError::Random)?;
    Ok(bytes)
}

fn rsa_key() -> Result<KeyPair, TrialPkiError> {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(|source| TrialPkiError::Make { what: "CA key", source })
}
