//! A signing key held by this process.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signer, SigningKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use warifu_protocol::{Blob, PublicKey};
use zeroize::Zeroizing;

/// Which signature algorithm a new key is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// Ed25519.
    Ed25519,
    /// ECDSA on P-256 with SHA-256, as WebCrypto and TPMs have it.
    P256,
}

/// A private key; wiped on drop, unprintable, written only as part of a file that its owner alone can read.
pub enum LocalKey {
    /// Ed25519.
    Ed25519(Box<SigningKey>),
    /// ECDSA on P-256.
    P256 {
        /// The key in use.
        pair: Box<EcdsaKeyPair>,
        /// Its PKCS#8 form.
        pkcs8: Zeroizing<Vec<u8>>,
    },
}

/// Why a key cannot be made, read or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocalKeyError {
    /// Not the private key that its kind names.
    #[error("the private key is not a valid {kind:?} key")]
    Malformed {
        /// What it should be.
        kind: KeyKind,
    },
    /// The cryptographic library failed on sound input.
    #[error("the cryptographic library failed while {doing}")]
    Crypto {
        /// What was tried.
        doing: &'static str,
    },
}

impl LocalKey {
    /// Makes a key from the system's random numbers.
    ///
    /// # Errors
    /// [`LocalKeyError::Crypto`].
    pub fn generate(kind: KeyKind) -> Result<Self, LocalKeyError> {
        match kind {
            KeyKind::Ed25519 => Ok(Self::Ed25519(Box::new(SigningKey::generate(&mut rand_core::OsRng)))),
            KeyKind::P256 => {
                let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                    .map_err(|_| LocalKeyError::Crypto { doing: "making a P-256 key" })?;
                Self::from_secret(kind, document.as_ref())
            }
        }
    }

    /// Takes a key out of [`LocalKey::secret`].
    ///
    /// # Errors
    /// [`LocalKeyError::Malformed`].
    pub fn from_secret(kind: KeyKind, secret: &[u8]) -> Result<Self, LocalKeyError> {
        let malformed = LocalKeyError::Malformed { kind };
        match kind {
            KeyKind::Ed25519 => {
                let seed = Zeroizing::new(<[u8; 32]>::try_from(secret).map_err(|_| malformed)?);
                Ok(Self::Ed25519(Box::new(SigningKey::from_bytes(&seed))))
            }
            KeyKind::P256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, secret).map_err(|_| malformed)?;
                Ok(Self::P256 { pair: Box::new(pair), pkcs8: Zeroizing::new(secret.to_vec()) })
            }
        }
    }

    /// Which algorithm it is for.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        match self {
            Self::Ed25519(_) => KeyKind::Ed25519,
            Self::P256 { .. } => KeyKind::P256,
        }
    }

    /// The public half.
    ///
    /// # Panics
    /// Never: the point of a P-256 pair is a point of the curve.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        match self {
            Self::Ed25519(key) => PublicKey::Ed25519(key.verifying_key().to_bytes()),
            Self::P256 { pair, .. } => PublicKey::ecdsa_p256(pair.public_key().as_ref()).expect("a key pair's own point is valid"),
        }
    }

    /// Signs `message`: Ed25519, or ECDSA as r ‖ s.
    ///
    /// # Errors
    /// [`LocalKeyError::Crypto`] when the system gives no random numbers for ECDSA.
    pub fn sign(&self, message: &[u8]) -> Result<Blob, LocalKeyError> {
        match self {
            Self::Ed25519(key) => Ok(Blob(key.sign(message).to_bytes().to_vec())),
            Self::P256 { pair, .. } => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| Blob(signature.as_ref().to_vec()))
                .map_err(|_| LocalKeyError::Crypto { doing: "signing" }),
        }
    }

    /// The private key: a 32-byte seed, or PKCS#8.
    #[must_use]
    pub fn secret(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Ed25519(key) => Zeroizing::new(key.as_bytes().to_vec()),
            Self::P256 { pkcs8, .. } => pkcs8.clone(),
        }
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalKey({}, private key <redacted>)", self.public())
    }
}

/// The form of a key inside a secret file, for the types of this program that are such files.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    kind: KeyKind,
    secret: SecretText,
}

/// Base64 of a secret, wiped on drop.
struct SecretText(Zeroizing<String>);

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// For `#[serde(with)]` in files of mode 0600 only: writes the private key in plain.
pub(crate) mod danger_plain {
    use base64::Engine as _;

    use super::{BASE64, Deserialize, Deserializer, LocalKey, SecretText, Serialize, Serializer, Stored, Zeroizing, de};

    pub(crate) fn serialize<S: Serializer>(key: &LocalKey, serializer: S) -> Result<S::Ok, S::Error> {
        let secret = SecretText(Zeroizing::new(BASE64.encode(key.secret())));
        Stored { kind: key.kind(), secret }.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LocalKey, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        let secret = Zeroizing::new(BASE64.decode(stored.secret.0.as_bytes()).map_err(de::Error::custom)?);
        LocalKey::from_secret(stored.kind, &secret).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    #[test]
    fn keys_of_both_kinds_sign_and_come_back_from_their_secret_form() {
        for kind in [KeyKind::Ed25519, KeyKind::P256] {
            let key = LocalKey::generate(kind).expect("keys can be made");
            let back = LocalKey::from_secret(kind, &key.secret()).expect("its own secret");
            assert_eq!(back.public(), key.public());
            let signature = back.sign(b"message").expect("signs");
            key.public().verify(b"message", signature.as_slice()).expect("holds");
            key.public().verify(b"messagE", signature.as_slice()).expect_err("covers the message");
            assert!(!format!("{key:?}").contains(&BASE64.encode(key.secret())));
            assert!(matches!(LocalKey::from_secret(kind, &key.secret()[1..]), Err(LocalKeyError::Malformed { .. })));
        }
    }
}
