//! Keys of officers, terminals, sessions and cards.

use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RsaEncoding, RsaKeyPair,
};
use der::asn1::{AnyRef, OctetStringRef, UintRef};
use der::{Decode, Sequence};
use ed25519_dalek::{Signer as _, SigningKey};
use num_bigint::BigUint;
use rcgen::{CertificateParams, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm};
use warifu_protocol::canonical::sha256;
use warifu_protocol::{AuthenticatorKind, Blob, CertificateHash, PublicKey};

use super::pki::Ca;

/// A key that signs as officers, terminals and sessions do.
pub(crate) enum Signer {
    Ed25519(SigningKey),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
}

impl Signer {
    pub(crate) fn ed25519(seed: u8) -> Self {
        Self::Ed25519(SigningKey::from_bytes(&[seed; 32]))
    }

    pub(crate) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn p384() -> Self {
        Self::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn public(&self) -> PublicKey {
        match self {
            Self::Ed25519(key) => PublicKey::ed25519(key.verifying_key().to_bytes()).unwrap(),
            Self::P256(key) => PublicKey::ecdsa_p256(key.public_key().as_ref()).unwrap(),
            Self::P384(key) => PublicKey::ecdsa_p384(key.public_key().as_ref()).unwrap(),
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Blob {
        match self {
            Self::Ed25519(key) => Blob(key.sign(message).to_bytes().to_vec()),
            Self::P256(key) | Self::P384(key) => Blob(key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()),
        }
    }
}

/// A card with its certificate.
pub(crate) struct Card {
    pub(crate) kind: AuthenticatorKind,
    pub(crate) der: Blob,
    pub(crate) serial: u64,
    key: CardKey,
}

enum CardKey {
    Rsa(RsaKeyPair),
    P384(EcdsaKeyPair),
}

impl Card {
    /// A My Number Card of today.
    pub(crate) fn rsa(ca: &Ca, serial: u64, edit: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = RsaKeyPair::from_pkcs8(rsa_pkcs8()).unwrap();
        let public = RawKey(&PKCS_RSA_SHA256, key.public_key().as_ref().to_vec());
        let der = ca.issue_card(serial, &public, edit);
        Self { kind: AuthenticatorKind::MyNumberCard, der, serial, key: CardKey::Rsa(key) }
    }

    /// A card of the next generation.
    pub(crate) fn p384(ca: &Ca, serial: u64, edit: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let public = RawKey(&PKCS_ECDSA_P384_SHA384, key.public_key().as_ref().to_vec());
        let der = ca.issue_card(serial, &public, edit);
        Self { kind: AuthenticatorKind::MyNumberCard, der, serial, key: CardKey::P384(key) }
    }

    /// The same card, said to be of another kind.
    pub(crate) fn of_kind(mut self, kind: AuthenticatorKind) -> Self {
        self.kind = kind;
        self
    }

    pub(crate) fn hash(&self) -> CertificateHash {
        CertificateHash::new(sha256(self.der.as_slice()))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Blob {
        match &self.key {
            CardKey::Rsa(key) => rsa_sign(key, &RSA_PKCS1_SHA256, message),
            CardKey::P384(key) => Blob(key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()),
        }
    }

    /// As an RSA card would with SHA-384, which cards are not asked for.
    pub(crate) fn sign_sha384(&self, message: &[u8]) -> Blob {
        match &self.key {
            CardKey::Rsa(key) => rsa_sign(key, &RSA_PKCS1_SHA384, message),
            CardKey::P384(_) => panic!("an RSA card is needed"),
        }
    }

    /// A valid RSASSA-PKCS1-v1_5 signature with SHA-1. No library makes one any more, so the padding and the power are computed here.
    pub(crate) fn sign_sha1(&self, message: &[u8]) -> Blob {
        const SHA1_DIGEST_INFO: [u8; 15] = [0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14];
        let info = PrivateKeyInfo::from_der(rsa_pkcs8()).unwrap();
        let key = RsaPrivateKey::from_der(info.private_key.as_bytes()).unwrap();
        let (modulus, exponent) = (BigUint::from_bytes_be(key.modulus.as_bytes()), BigUint::from_bytes_be(key.private_exponent.as_bytes()));
        let len = key.modulus.as_bytes().len();
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, message);
        let filling = len - 3 - SHA1_DIGEST_INFO.len() - hash.as_ref().len();
        let padded = [&[0, 1][..], &vec![0xff; filling], &[0], &SHA1_DIGEST_INFO, hash.as_ref()].concat();
        let power = BigUint::from_bytes_be(&padded).modpow(&exponent, &modulus).to_bytes_be();
        Blob([vec![0; len - power.len()], power].concat())
    }

    /// The public key as PKCS#1, for checks of the tests themselves.
    pub(crate) fn rsa_public(&self) -> Vec<u8> {
        match &self.key {
            CardKey::Rsa(key) => key.public_key().as_ref().to_vec(),
            CardKey::P384(_) => panic!("an RSA card is needed"),
        }
    }
}

/// A public key as an issuer sees it.
pub(crate) struct RawKey(pub(crate) &'static SignatureAlgorithm, pub(crate) Vec<u8>);

impl PublicKeyData for RawKey {
    fn der_bytes(&self) -> &[u8] {
        &self.1
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0
    }
}

#[derive(Sequence)]
struct PrivateKeyInfo<'a> {
    version: u8,
    algorithm: AnyRef<'a>,
    private_key: OctetStringRef<'a>,
}

#[derive(Sequence)]
struct RsaPrivateKey<'a> {
    version: u8,
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
    private_exponent: UintRef<'a>,
    prime1: UintRef<'a>,
    prime2: UintRef<'a>,
    exponent1: UintRef<'a>,
    exponent2: UintRef<'a>,
    coefficient: UintRef<'a>,
}

fn rsa_sign(key: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Blob {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
    Blob(signature)
}

/// Making an RSA key takes longer than most tests, so all RSA cards of a test process have one key.
fn rsa_pkcs8() -> &'static [u8] {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    KEY.get_or_init(|| AsDer::<Pkcs8V1Der<'_>>::as_der(&RsaKeyPair::generate(KeySize::Rsa2048).unwrap()).unwrap().as_ref().to_vec())
}
