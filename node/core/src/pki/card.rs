//! Signatures that a holder's card makes.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use der::asn1::UintRef;
use der::{Decode, Sequence};

use super::certificate_key::{CertificateKey, SignatureAlgorithm, SignatureError};

/// The two signature algorithms of cards. The key decides which of them a card uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CardAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 and a key of 2048 to 4096 bits: the cards of today.
    RsaPkcs1Sha256,
    /// ECDSA on P-384 with SHA-384: the next generation of My Number Cards.
    EcdsaP384Sha384,
}

/// Bytes of one P-384 coordinate or scalar.
const P384_SCALAR_LEN: usize = 48;
/// Bytes of a P-384 signature in the wire form `r || s`, as PKCS#11 tokens give it.
pub const ECDSA_P384_RAW_LEN: usize = 2 * P384_SCALAR_LEN;

/// Why a card's signature is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardSignatureError {
    /// A key that cards do not have.
    #[error("the card's certificate has a {kind} key; cards have RSA or P-384 keys")]
    KeyKind {
        /// Kind of the key.
        kind: &'static str,
    },
    /// The wrong number of bytes for the key.
    #[error("the card's signature has {len} bytes, its key makes signatures of {expected}")]
    Length {
        /// How many there are.
        len: usize,
        /// How many there should be.
        expected: usize,
    },
    /// Wrong key, changed statement, or another padding or hash.
    #[error("the card's signature does not verify")]
    Invalid,
    /// Not DER of two integers of the curve.
    #[error("the ECDSA signature is not DER of two P-384 scalars")]
    NotEcdsaDer,
}

/// `ECDSA-Sig-Value`, RFC 5480 appendix A.
#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

impl CardAlgorithm {
    /// The algorithm that a card with this key signs with.
    ///
    /// # Errors
    ///
    /// [`CardSignatureError::KeyKind`] for keys that no card has.
    pub const fn of(key: &CertificateKey) -> Result<Self, CardSignatureError> {
        match key {
            CertificateKey::Rsa { .. } => Ok(Self::RsaPkcs1Sha256),
            CertificateKey::EcdsaP384(_) => Ok(Self::EcdsaP384Sha384),
            CertificateKey::EcdsaP256(_) | CertificateKey::EcdsaP521(_) | CertificateKey::Ed25519(_) => {
                Err(CardSignatureError::KeyKind { kind: key.kind() })
            }
        }
    }
}

/// Verifies a card's signature over `message` (not over a digest of it) under its certificate's key.
///
/// RSA signatures are as long as the modulus and their padding is compared whole, so no trailing garbage or other hash passes; P-384
/// signatures are [`ECDSA_P384_RAW_LEN`] bytes `r || s`.
///
/// # Errors
///
/// [`CardSignatureError`] says whether key, length or signature is wrong.
///
/// # Security
///
/// ECDSA signatures are malleable (`s` and `n − s` both verify): the caller must recognise a used statement by the statement, never by
/// its signature.
pub fn verify_card_signature(key: &CertificateKey, message: &[u8], signature: &[u8]) -> Result<(), CardSignatureError> {
    CardAlgorithm::of(key)?;
    match key {
        CertificateKey::Rsa { bits, .. } => {
            let expected = bits.div_ceil(8);
            if signature.len() != expected {
                return Err(CardSignatureError::Length { len: signature.len(), expected });
            }
            key.verify(SignatureAlgorithm::RsaPkcs1Sha256, message, signature).map_err(|error| match error {
                SignatureError::Invalid { .. } => CardSignatureError::Invalid,
                SignatureError::WrongKeyKind { key, .. } => CardSignatureError::KeyKind { kind: key },
            })
        }
        CertificateKey::EcdsaP384(point) => {
            if signature.len() != ECDSA_P384_RAW_LEN {
                return Err(CardSignatureError::Length { len: signature.len(), expected: ECDSA_P384_RAW_LEN });
            }
            UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature).map_err(|_| CardSignatureError::Invalid)
        }
        CertificateKey::EcdsaP256(_) | CertificateKey::EcdsaP521(_) | CertificateKey::Ed25519(_) => {
            Err(CardSignatureError::KeyKind { kind: key.kind() })
        }
    }
}

/// Turns a DER `ECDSA-Sig-Value` of a P-384 signer into the wire form, for tokens and libraries that give DER.
///
/// # Errors
///
/// [`CardSignatureError::NotEcdsaDer`] when it is not DER of two integers of at most 48 bytes.
pub fn ecdsa_p384_raw_from_der(der: &[u8]) -> Result<[u8; ECDSA_P384_RAW_LEN], CardSignatureError> {
    let signature = EcdsaSignature::from_der(der).map_err(|_| CardSignatureError::NotEcdsaDer)?;
    let mut raw = [0; ECDSA_P384_RAW_LEN];
    let (r, s) = raw.split_at_mut(P384_SCALAR_LEN);
    for (slot, scalar) in [(r, signature.r.as_bytes()), (s, signature.s.as_bytes())] {
        let start = P384_SCALAR_LEN.checked_sub(scalar.len()).ok_or(CardSignatureError::NotEcdsaDer)?;
        slot.get_mut(start..).ok_or(CardSignatureError::NotEcdsaDer)?.copy_from_slice(scalar);
    }
    Ok(raw)
}
