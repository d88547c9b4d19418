//! Public keys of nodes, coordinators, officers, terminals and sessions, and how their signatures are checked.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, UnparsedPublicKey, VerificationAlgorithm};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A public key with its algorithm; written `ed25519:HEX`, `p256:HEX` or `p384:HEX` (curve points uncompressed, SEC 1).
///
/// A value has passed the checks of its curve, so a stored key can always be used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PublicKey {
    /// Ed25519 (RFC 8032), verified strictly.
    Ed25519([u8; 32]),
    /// ECDSA on P-256 with SHA-256; signatures are r ‖ s, 64 bytes.
    EcdsaP256([u8; 65]),
    /// ECDSA on P-384 with SHA-384; signatures are r ‖ s, 96 bytes.
    EcdsaP384([u8; 97]),
}

/// Ed25519 keys that have passed their check. The record of the cluster, with the keys of all nodes and officers, is decoded for every log entry and
/// every batch of requests; checking each key anew took longer than all else in decoding it.
static KNOWN: RwLock<BTreeSet<[u8; 32]>> = RwLock::new(BTreeSet::new());
/// Keys in [`KNOWN`]: a cluster's own, and those of thousands of open sessions, in a megabyte. When it is full it begins anew.
const KNOWN_MAX: usize = 16_384;

/// A text or bytes that are no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a public key is `ed25519:`, `p256:` or `p384:` and the hexadecimal of a valid point")]
pub struct ParsePublicKeyError;

/// A signature that does not verify under the key that it is claimed for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify under {key}")]
pub struct SignatureInvalid {
    /// The key that was tried.
    pub key: PublicKey,
}

impl PublicKey {
    /// Takes an Ed25519 key.
    ///
    /// # Errors
    /// When the bytes are not a point of the curve, or a point of small order.
    pub fn ed25519(bytes: [u8; 32]) -> Result<Self, ParsePublicKeyError> {
        if KNOWN.read().unwrap_or_else(PoisonError::into_inner).contains(&bytes) {
            return Ok(Self::Ed25519(bytes));
        }
        let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes).map_err(|_| ParsePublicKeyError)?;
        if key.is_weak() {
            return Err(ParsePublicKeyError);
        }
        let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(bytes);
        Ok(Self::Ed25519(bytes))
    }

    /// Takes an uncompressed P-256 point.
    ///
    /// # Errors
    /// When the bytes are not an uncompressed point of the curve.
    pub fn ecdsa_p256(bytes: &[u8]) -> Result<Self, ParsePublicKeyError> {
        let point = bytes.try_into().map_err(|_| ParsePublicKeyError)?;
        aws_lc_rs::signature::ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes).map_err(|_| ParsePublicKeyError)?;
        Ok(Self::EcdsaP256(point))
    }

    /// Takes an uncompressed P-384 point.
    ///
    /// # Errors
    /// When the bytes are not an uncompressed point of the curve.
    pub fn ecdsa_p384(bytes: &[u8]) -> Result<Self, ParsePublicKeyError> {
        let point = bytes.try_into().map_err(|_| ParsePublicKeyError)?;
        aws_lc_rs::signature::ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, bytes).map_err(|_| ParsePublicKeyError)?;
        Ok(Self::EcdsaP384(point))
    }

    /// Checks a signature over `message`.
    ///
    /// # Errors
    /// When the signature has another length or does not verify.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        let invalid = SignatureInvalid { key: *self };
        match self {
            Self::Ed25519(bytes) => {
                let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| invalid.clone())?;
                let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| invalid.clone())?;
                key.verify_strict(message, &signature).map_err(|_| invalid)
            }
            Self::EcdsaP256(point) => verify_ecdsa(&ECDSA_P256_SHA256_FIXED, point, message, signature).ok_or(invalid),
            Self::EcdsaP384(point) => verify_ecdsa(&ECDSA_P384_SHA384_FIXED, point, message, signature).ok_or(invalid),
        }
    }

    const fn name_and_bytes(&self) -> (&'static str, &[u8]) {
        match self {
            Self::Ed25519(bytes) => ("ed25519", bytes),
            Self::EcdsaP256(bytes) => ("p256", bytes),
            Self::EcdsaP384(bytes) => ("p384", bytes),
        }
    }
}

fn verify_ecdsa(algorithm: &'static dyn VerificationAlgorithm, point: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    UnparsedPublicKey::new(algorithm, point).verify(message, signature).ok()
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, bytes) = self.name_and_bytes();
        write!(f, "{name}:{}", hex::encode(bytes))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, bytes) = self.name_and_bytes();
        write!(f, "{name}:{}…", hex::encode(bytes.iter().take(6).copied().collect::<Vec<_>>()))
    }
}

impl FromStr for PublicKey {
    type Err = ParsePublicKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, digits) = text.split_once(':').ok_or(ParsePublicKeyError)?;
        if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ParsePublicKeyError);
        }
        let bytes = hex::decode(digits).map_err(|_| ParsePublicKeyError)?;
        match name {
            "ed25519" => Self::ed25519(bytes.as_slice().try_into().map_err(|_| ParsePublicKeyError)?),
            "p256" => Self::ecdsa_p256(&bytes),
            "p384" => Self::ecdsa_p384(&bytes),
            _ => Err(ParsePublicKeyError),
        }
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_seen_before_is_taken_again_and_what_is_none_is_refused_each_time() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes();
        let mut identity = [0; 32];
        identity[0] = 1;
        for _ in 0..2 {
            assert_eq!(PublicKey::ed25519(key), Ok(PublicKey::Ed25519(key)));
            assert_eq!(PublicKey::ed25519(identity), Err(ParsePublicKeyError), "of small order");
            assert_eq!(PublicKey::ed25519([2; 32]), Err(ParsePublicKeyError), "no point");
        }
    }
}
