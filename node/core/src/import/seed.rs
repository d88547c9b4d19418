//! The seed of a key that exists already.

use std::fmt;

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, SecretDocument};
use zeroize::Zeroizing;

use super::weak::{is_published_key, pattern};

/// Length of a seed (RFC 8032, section 5.1.5).
const SEED_BYTES: usize = 32;
/// First byte of PKCS#8 in DER.
const DER_SEQUENCE: u8 = 0x30;
/// Begins a PEM file.
const PEM_BEGIN: &[u8] = b"-----BEGIN ";
/// Label of an unencrypted PKCS#8 key in PEM.
const PEM_LABEL: &str = "PRIVATE KEY";

/// The private key of RFC 8032: 32 bytes from which everything else follows.
///
/// # Security
/// Wiped when dropped, not printed, not serializable.
pub struct ImportSeed(Zeroizing<[u8; SEED_BYTES]>);

/// Why bytes are not taken as a seed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeedError {
    /// Another number of bytes or digits.
    #[error("a seed is 32 bytes, 64 hexadecimal digits or PKCS#8 (RFC 8410) in PEM or DER; this has {found} bytes")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// A key in a form that holds more, or other, than the seed.
    #[error("this has 64 bytes, as a seed with its public key or an expanded key has: give the 32 bytes of the seed")]
    Expanded,
    /// PEM of something else.
    #[error("the PEM holds a {label}; an unencrypted PKCS#8 `PRIVATE KEY` is needed")]
    Label {
        /// What it says that it holds.
        label: String,
    },
    /// PEM or PKCS#8 that cannot be read as an Ed25519 key.
    #[error("the PKCS#8 is not that of an Ed25519 key, or its public key is not that of its private one")]
    Pkcs8,
    /// Never drawn by chance.
    #[error("the seed is weak: {reason}; whoever guesses it has the key")]
    Weak {
        /// What shows it.
        reason: &'static str,
    },
}

impl ImportSeed {
    /// Reads 32 raw bytes, 64 hexadecimal digits, or PKCS#8 in PEM or DER; white space around text does not count.
    ///
    /// # Errors
    /// See [`SeedError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SeedError> {
        if let Ok(raw) = <[u8; SEED_BYTES]>::try_from(bytes) {
            return Self::checked(Zeroizing::new(raw));
        }
        let text = bytes.trim_ascii();
        if text.starts_with(PEM_BEGIN) {
            return Self::from_pem(text);
        }
        if text.len() == 2 * SEED_BYTES && text.iter().all(u8::is_ascii_hexdigit) {
            let mut seed = Zeroizing::new([0; SEED_BYTES]);
            hex::decode_to_slice(text, seed.as_mut_slice()).map_err(|_| SeedError::Length { found: text.len() })?;
            return Self::checked(seed);
        }
        if bytes.len() == 2 * SEED_BYTES || (text.len() == 4 * SEED_BYTES && text.iter().all(u8::is_ascii_hexdigit)) {
            return Err(SeedError::Expanded);
        }
        if bytes.first() == Some(&DER_SEQUENCE) && bytes.len() > SEED_BYTES {
            return Self::from_der(bytes);
        }
        Err(SeedError::Length { found: bytes.len() })
    }

    /// The public key that belongs to it.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.key().verifying_key().to_bytes()
    }

    /// The key pair, which wipes itself.
    pub(super) fn key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.0)
    }

    fn from_pem(text: &[u8]) -> Result<Self, SeedError> {
        let text = std::str::from_utf8(text).map_err(|_| SeedError::Pkcs8)?;
        let (label, document) = SecretDocument::from_pem(text).map_err(|_| SeedError::Pkcs8)?;
        if label != PEM_LABEL {
            return Err(SeedError::Label { label: label.to_owned() });
        }
        Self::from_der(document.as_bytes())
    }

    fn from_der(der: &[u8]) -> Result<Self, SeedError> {
        let key = SigningKey::from_pkcs8_der(der).map_err(|_| SeedError::Pkcs8)?;
        Self::checked(Zeroizing::new(key.to_bytes()))
    }

    fn checked(seed: Zeroizing<[u8; SEED_BYTES]>) -> Result<Self, SeedError> {
        if let Some(reason) = pattern(&seed) {
            return Err(SeedError::Weak { reason });
        }
        let seed = Self(seed);
        if is_published_key(&seed.public_key()) {
            return Err(SeedError::Weak { reason: "it stands in RFC 8032 as a test vector" });
        }
        Ok(seed)
    }
}

impl fmt::Debug for ImportSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImportSeed(<redacted>)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of "warifu import"; drawn by nobody, known to everybody, and as irregular as any.
    const SEED: &str = "5c0a9f0b1f4f2e1c8d3b7a6958473625140312f0e1d2c3b4a59687786950413a";

    fn seed() -> [u8; 32] {
        hex::decode(SEED).expect("hexadecimal").try_into().expect("32 bytes")
    }

    fn pkcs8(seed: &[u8]) -> Vec<u8> {
        [&hex::decode("302e020100300506032b657004220420").expect("hexadecimal"), seed].concat()
    }

    fn pem(label: &str, der: &[u8]) -> String {
        use base64::Engine as _;
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    #[test]
    fn every_form_of_a_seed_gives_the_same_key() {
        let expected = SigningKey::from_bytes(&seed()).verifying_key().to_bytes();
        let der = pkcs8(&seed());
        let forms = [
            seed().to_vec(),
            SEED.as_bytes().to_vec(),
            format!("\n {}\r\n", SEED.to_uppercase()).into_bytes(),
            der.clone(),
            pem("PRIVATE KEY", &der).into_bytes(),
        ];
        for form in forms {
            assert_eq!(ImportSeed::parse(&form).expect("a seed").public_key(), expected, "{} bytes", form.len());
        }
    }

    #[test]
    fn what_is_no_seed_or_a_weak_one_is_refused_and_said_why() {
        type Is = fn(&SeedError) -> bool;
        let (length, weak, pkcs8_wrong): (Is, Is, Is) = (
            |error| matches!(error, SeedError::Length { .. }),
            |error| matches!(error, SeedError::Weak { .. }),
            |error| matches!(error, SeedError::Pkcs8),
        );
        let published = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let rsa = hex::decode("3030020100300d06092a864886f70d01010105000420").expect("hexadecimal");
        let counting: Vec<u8> = (0..32).collect();
        let down: Vec<u8> = (0..32_u8).map(|place| 200 - 3 * place).collect();
        let pattern: Vec<u8> = [1, 2, 3].into_iter().cycle().take(32).collect();
        let doubled = [&seed()[..16], &seed()[..16]].concat();
        let cases: Vec<(&str, Vec<u8>, Is)> = vec![
            ("nothing", Vec::new(), length),
            ("31 bytes", seed()[1..].to_vec(), length),
            ("33 bytes", [&seed()[..], &[1]].concat(), length),
            ("63 digits", SEED.as_bytes()[1..].to_vec(), length),
            ("no digit", SEED.replace('a', "g").into_bytes(), |error| matches!(error, SeedError::Expanded | SeedError::Length { .. })),
            ("with its public key", [seed(), seed()].concat(), |error| matches!(error, SeedError::Expanded)),
            ("expanded, as text", SEED.repeat(2).into_bytes(), |error| matches!(error, SeedError::Expanded)),
            ("zeros", vec![0; 32], weak),
            ("ones", vec![0xff; 32], weak),
            ("zeros as text", vec![b'0'; 64], weak),
            ("counting", counting, weak),
            ("counting down", down, weak),
            ("a short pattern", pattern, weak),
            ("sixteen bytes twice", doubled, weak),
            ("a passphrase", b"correct horse battery staple 123".to_vec(), weak),
            ("a test vector", hex::decode(published).expect("hexadecimal"), weak),
            ("a test vector as text", published.as_bytes().to_vec(), weak),
            ("zeros in PKCS#8", pkcs8(&[0; 32]), weak),
            ("PKCS#8 of another algorithm", [rsa, seed().to_vec()].concat(), pkcs8_wrong),
            ("cut PKCS#8", pkcs8(&seed()[1..]), pkcs8_wrong),
            ("PEM of nothing", b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n".to_vec(), pkcs8_wrong),
            ("PEM of another kind", pem("EC PRIVATE KEY", &pkcs8(&seed())).into_bytes(), |error| matches!(error, SeedError::Label { .. })),
        ];
        for (what, bytes, expected) in cases {
            let Err(error) = ImportSeed::parse(&bytes) else { panic!("{what} was taken") };
            assert!(expected(&error), "{what}: {error}");
            let said = format!("{error} {error:?}");
            assert!(!said.contains(SEED) && !said.contains(&SEED[..16]), "{what}: the seed is in the error");
        }
    }

    #[test]
    fn a_seed_does_not_print_itself() {
        assert_eq!(format!("{:?}", ImportSeed::parse(&seed()).expect("a seed")), "ImportSeed(<redacted>)");
    }
}
