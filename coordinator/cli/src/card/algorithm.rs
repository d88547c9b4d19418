//! The two algorithms that cards have, and the public key that a certificate shows.

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{ID_EC_PUBLIC_KEY, RSA_ENCRYPTION, SECP_384_R_1};
use der::{Decode, Encode};
use spki::SubjectPublicKeyInfoOwned;
use x509_cert::Certificate;

use super::error::CardError;
use super::interface::CERTIFICATE_SIZE_MAX;

/// How a card signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CardAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 and a modulus of 2048 to 4096 bits: today's cards.
    RsaSha256,
    /// ECDSA over P-384 with SHA-384: the next generation of the My Number Card.
    EcdsaP384Sha384,
}

impl CardAlgorithm {
    /// Returns what the card's bare private-key operation takes for `message`: a DigestInfo, or a digest.
    pub(super) fn card_input(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::RsaSha256 => [&DIGEST_INFO_SHA256[..], digest(&SHA256, message).as_ref()].concat(),
            Self::EcdsaP384Sha384 => digest(&SHA384, message).as_ref().to_vec(),
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::RsaSha256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::EcdsaP384Sha384 => &ECDSA_P384_SHA384_FIXED,
        }
    }
}

/// A card's public key, of one of the two algorithms that are accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CardPublicKey {
    algorithm: CardAlgorithm,
    spki: Vec<u8>,
    key: Vec<u8>,
}

impl CardPublicKey {
    /// Takes the key out of a certificate's DER (at most [`CERTIFICATE_SIZE_MAX`] bytes); checks nothing else of the certificate.
    ///
    /// # Errors
    /// [`CardError::BadCertificate`] or [`CardError::UnsupportedKey`].
    pub fn from_certificate(certificate: &[u8]) -> Result<Self, CardError> {
        if certificate.len() > CERTIFICATE_SIZE_MAX {
            return Err(CardError::BadCertificate { problem: format!("{} bytes, more than {CERTIFICATE_SIZE_MAX}", certificate.len()) });
        }
        let parsed = Certificate::from_der(certificate).map_err(|e| CardError::BadCertificate { problem: e.to_string() })?;
        Self::from_parsed(&parsed.tbs_certificate.subject_public_key_info)
    }

    /// Takes the key out of the DER of a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`CardError::UnsupportedKey`] for anything but RSA of 2048 to 4096 bits and P-384.
    pub fn from_spki(spki: &[u8]) -> Result<Self, CardError> {
        let parsed = SubjectPublicKeyInfoOwned::from_der(spki).map_err(|e| CardError::UnsupportedKey { problem: e.to_string() })?;
        Self::from_parsed(&parsed)
    }

    /// How this key signs.
    #[must_use]
    pub const fn algorithm(&self) -> CardAlgorithm {
        self.algorithm
    }

    /// DER of the SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Tells whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm.verification(), &self.key).verify(message, signature).is_ok()
    }

    fn from_parsed(parsed: &SubjectPublicKeyInfoOwned) -> Result<Self, CardError> {
        let unsupported = |problem: String| CardError::UnsupportedKey { problem };
        let key = parsed.subject_public_key.as_bytes().ok_or_else(|| unsupported("a public key that is not whole bytes".into()))?.to_vec();
        let spki = parsed.to_der().map_err(|e| unsupported(e.to_string()))?;
        let algorithm = match parsed.algorithm.oid {
            RSA_ENCRYPTION => {
                let rsa = PublicEncryptingKey::from_der(&spki).map_err(|e| unsupported(format!("RSA key: {e}")))?;
                let bits = rsa.key_size_bits();
                if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
                    return Err(unsupported(format!("RSA of {bits} bits")));
                }
                CardAlgorithm::RsaSha256
            }
            ID_EC_PUBLIC_KEY => {
                let curve = parsed.algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
                if curve != Some(SECP_384_R_1) {
                    return Err(unsupported("an elliptic curve other than P-384".into()));
                }
                CardAlgorithm::EcdsaP384Sha384
            }
            other => return Err(unsupported(format!("algorithm {other}"))),
        };
        Ok(Self { algorithm, spki, key })
    }
}

/// Smallest RSA modulus accepted (CRYPTREC: 2048 bits, 112-bit security).
const RSA_BITS_MIN: usize = 2048;

/// Largest RSA modulus accepted; larger ones only cost the verifier time.
const RSA_BITS_MAX: usize = 4096;

/// DER of the DigestInfo header for SHA-256 (RFC 8017 section 9.2, note 1); the 32 bytes of the digest follow.
const DIGEST_INFO_SHA256: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

#[cfg(test)]
mod tests {
    use der::asn1::{BitString, UintRef};

    use super::*;

    #[test]
    fn an_rsa_card_is_given_a_whole_digest_info() {
        let input = CardAlgorithm::RsaSha256.card_input(b"statement");
        assert_eq!(input.len(), 51);
        assert_eq!(input[0], 0x30, "a SEQUENCE");
        assert_eq!(usize::from(input[1]), input.len() - 2, "whose length covers the digest");
        assert_eq!(&input[19..], digest(&SHA256, b"statement").as_ref());
    }

    #[test]
    fn an_ec_card_is_given_a_sha_384_digest() {
        assert_eq!(CardAlgorithm::EcdsaP384Sha384.card_input(b"statement"), digest(&SHA384, b"statement").as_ref());
    }

    #[test]
    fn keys_of_other_algorithms_are_refused_by_name() {
        use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
        let der = |key: &dyn AsDer<PublicKeyX509Der<'static>>| key.as_der().expect("a fresh key encodes").as_ref().to_vec();
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("keys can be made");
        let ed25519 = Ed25519KeyPair::generate().expect("keys can be made");
        let p256 = der(p256.public_key());
        for (spki, what) in
            [(p256.clone(), "P-256"), (der(ed25519.public_key()), "Ed25519"), (Vec::new(), "empty"), (p256[..40].to_vec(), "truncated")]
        {
            let refused = CardPublicKey::from_spki(&spki);
            assert!(matches!(refused, Err(CardError::UnsupportedKey { .. })), "{what}: {refused:?}");
        }
    }

    #[test]
    fn rsa_keys_outside_the_bounds_are_refused() {
        for (bits, accepted) in [(1024, false), (2047, false), (2048, true), (4096, true), (4104, false), (8192, false)] {
            let outcome = CardPublicKey::from_spki(&rsa_spki(bits));
            assert_eq!(outcome.is_ok(), accepted, "{bits} bits: {outcome:?}");
        }
    }

    #[test]
    fn malformed_and_oversized_certificates_are_refused() {
        for (certificate, reason) in [(vec![], "DER"), (vec![0x30; 40], "DER"), (vec![0; CERTIFICATE_SIZE_MAX + 1], "more than 8192")] {
            let refused = CardPublicKey::from_certificate(&certificate);
            let Err(CardError::BadCertificate { problem }) = refused else { panic!("{reason}: {refused:?}") };
            assert!(problem.contains(reason), "{reason}: {problem}");
        }
    }

    /// A public key of so many bits; nobody has its private key, as it need not even be a product of two primes.
    fn rsa_spki(bits: usize) -> Vec<u8> {
        let mut modulus = vec![0xff; bits.div_ceil(8)];
        modulus[0] >>= modulus.len() * 8 - bits;
        let integers = [&modulus[..], &[1, 0, 1]].map(|bytes| UintRef::new(bytes).expect("short enough"));
        let key = integers.to_vec().to_der().expect("integers encode");
        let subject_public_key = BitString::from_bytes(&key).expect("whole bytes");
        let algorithm = spki::AlgorithmIdentifierOwned { oid: RSA_ENCRYPTION, parameters: Some(der::Any::null()) };
        SubjectPublicKeyInfoOwned { algorithm, subject_public_key }.to_der().expect("a key encodes")
    }
}
