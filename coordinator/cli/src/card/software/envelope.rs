//! What stands in a trial card's file, and the encryption of the key in it.

use std::num::NonZeroU32;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA256, derive};
use serde::{Deserialize, Serialize};
use warifu_protocol::AuthenticatorKind;
use zeroize::Zeroizing;

use super::card::PIN_TRIES;
use crate::card::algorithm::{CardAlgorithm, CardPublicKey};
use crate::card::error::CardError;
use crate::card::interface::CERTIFICATE_SIZE_MAX;
use crate::card::pin::Pin;

/// The file's content. The counter is plain: whoever may write the file owns the card anyway, which is why it is for trials only.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Envelope {
    notice: String,
    format: Format,
    pub(super) kind: AuthenticatorKind,
    algorithm: AlgorithmName,
    pub(super) tries_left: u32,
    #[serde(with = "base64_text")]
    spki: Vec<u8>,
    #[serde(with = "base64_text")]
    certificate: Vec<u8>,
    #[serde(with = "base64_text")]
    salt: Vec<u8>,
    #[serde(with = "base64_text")]
    nonce: Vec<u8>,
    #[serde(with = "base64_text")]
    sealed_private_key: Vec<u8>,
}

impl Envelope {
    /// Encrypts the PKCS#8 private key under the PIN.
    pub(super) fn seal(
        kind: AuthenticatorKind,
        algorithm: CardAlgorithm,
        spki: &[u8],
        private_key: &[u8],
        pin: &Pin,
    ) -> Result<Self, CardError> {
        let mut salt = vec![0; SALT_SIZE];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| CardError::Crypto { doing: "drawing random bytes" })?;
        let mut envelope = Self {
            notice: NOTICE.to_owned(),
            format: Format::V1,
            kind,
            algorithm: algorithm.into(),
            tries_left: PIN_TRIES,
            spki: spki.to_vec(),
            certificate: Vec::new(),
            salt,
            nonce: Vec::new(),
            sealed_private_key: Vec::new(),
        };
        // Full capacity from the start: appending the tag must not leave a copy of the key behind.
        let mut buffer = Zeroizing::new(Vec::with_capacity(private_key.len() + TAG_SIZE));
        buffer.extend_from_slice(private_key);
        let nonce = envelope
            .key(pin)
            .and_then(|key| key.seal_in_place_append_tag(envelope.aad(), &mut *buffer).ok())
            .ok_or(CardError::Crypto { doing: "encrypting the card's key" })?;
        envelope.nonce = nonce.as_ref().to_vec();
        envelope.sealed_private_key = buffer.to_vec();
        Ok(envelope)
    }

    /// Decrypts the private key; `None` for a wrong PIN, or when anything that the encryption binds was changed.
    pub(super) fn unseal(&self, pin: &Pin) -> Option<Zeroizing<Vec<u8>>> {
        let nonce = Nonce::try_assume_unique_for_key(&self.nonce).ok()?;
        let mut buffer = Zeroizing::new(self.sealed_private_key.clone());
        let size = self.key(pin)?.open_in_place(nonce, self.aad(), &mut buffer).ok()?.len();
        buffer.truncate(size);
        Some(buffer)
    }

    /// Reads a file's bytes; the error says what is wrong with them.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > ENVELOPE_SIZE_MAX {
            return Err(format!("larger than {ENVELOPE_SIZE_MAX} bytes"));
        }
        let envelope: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let key = CardPublicKey::from_spki(&envelope.spki).map_err(|e| e.to_string())?;
        if key.algorithm() != envelope.algorithm() {
            return Err("its key is not of the algorithm it names".into());
        }
        if envelope.tries_left > PIN_TRIES {
            return Err(format!("more than {PIN_TRIES} tries left"));
        }
        if envelope.salt.len() != SALT_SIZE || envelope.nonce.len() != NONCE_LEN {
            return Err("salt or nonce of the wrong length".into());
        }
        if envelope.certificate.len() > CERTIFICATE_SIZE_MAX {
            return Err(format!("a certificate larger than {CERTIFICATE_SIZE_MAX} bytes"));
        }
        Ok(envelope)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("strings and numbers always encode");
        bytes.push(b'\n');
        bytes
    }

    pub(super) fn algorithm(&self) -> CardAlgorithm {
        self.algorithm.into()
    }

    pub(super) fn spki(&self) -> &[u8] {
        &self.spki
    }

    pub(super) fn certificate(self) -> Option<Vec<u8>> {
        Some(self.certificate).filter(|certificate| !certificate.is_empty())
    }

    pub(super) fn set_certificate(&mut self, certificate: &[u8]) {
        self.certificate = certificate.to_vec();
    }

    fn key(&self, pin: &Pin) -> Option<RandomizedNonceKey> {
        let mut key = Zeroizing::new([0; 32]);
        derive(PBKDF2_HMAC_SHA256, PBKDF2_ITERATIONS, &self.salt, pin.as_str().as_bytes(), &mut *key);
        RandomizedNonceKey::new(&AES_256_GCM_SIV, &*key).ok()
    }

    /// Binds what the card is to its key: a `mnc` cannot be turned into a `hpki_card` by editing the file.
    fn aad(&self) -> Aad<Vec<u8>> {
        let bound = (AAD_DOMAIN, self.kind, self.algorithm, &self.spki);
        Aad::from(serde_json::to_vec(&bound).expect("strings and numbers always encode"))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "warifu-trial-card-v1")]
    V1,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum AlgorithmName {
    #[serde(rename = "rsa-2048-sha256")]
    Rsa,
    #[serde(rename = "ecdsa-p384-sha384")]
    Ecdsa,
}

impl From<CardAlgorithm> for AlgorithmName {
    fn from(algorithm: CardAlgorithm) -> Self {
        match algorithm {
            CardAlgorithm::RsaSha256 => Self::Rsa,
            CardAlgorithm::EcdsaP384Sha384 => Self::Ecdsa,
        }
    }
}

impl From<AlgorithmName> for CardAlgorithm {
    fn from(name: AlgorithmName) -> Self {
        match name {
            AlgorithmName::Rsa => Self::RsaSha256,
            AlgorithmName::Ecdsa => Self::EcdsaP384Sha384,
        }
    }
}

mod base64_text {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(d)?).map_err(D::Error::custom)
    }
}

/// Largest card file read, in bytes: the largest certificate and an RSA key in base64, and room to spare.
pub(super) const ENVELOPE_SIZE_MAX: usize = 32 * 1024;

/// What the first line of the file tells whoever opens it.
const NOTICE: &str = "TRIAL CARD: for trials only. It stands in for a real card and is no more secure than this file.";

/// Iterations of PBKDF2-HMAC-SHA256, as OWASP advises for it; they make a guess dear, but four digits stay guessable.
const PBKDF2_ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");

/// Salt, in bytes (NIST SP 800-132 section 5.1 asks for 16 at least).
const SALT_SIZE: usize = 16;

/// Authentication tag of AES-GCM-SIV, in bytes (RFC 8452).
const TAG_SIZE: usize = 16;

/// Separates this encryption from every other.
const AAD_DOMAIN: &str = "warifu-trial-card-key-v1";
