//! Packets sealed offline for one node: hybrid of X25519 and ML-KEM-768, so that whoever keeps a packet must break both to open it.
//!
//! A packet is `version (1) | ephemeral X25519 key (32) | ML-KEM-768 ciphertext (1088) | ciphertext and tag`. Its AES-256-GCM-SIV key is
//! HKDF-SHA512 over both shared secrets, bound to the recipient's whole public key, the ephemeral key, the KEM ciphertext and the caller's
//! context, and is used once, with a nonce of zeros.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use aws_lc_rs::hkdf::{HKDF_SHA512, Salt};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::Blob;

const VERSION: u8 = 1;
const X25519_BYTES: usize = 32;
/// FIPS 203, table 3.
const KEM_PUBLIC_BYTES: usize = 1184;
const KEM_CIPHERTEXT_BYTES: usize = 1088;
/// Where an expanded decapsulation key holds the encapsulation key: after the key of K-PKE (FIPS 203, algorithm 16).
const KEM_PUBLIC_OFFSET: usize = 1152;
const HEADER_BYTES: usize = 1 + X25519_BYTES + KEM_CIPHERTEXT_BYTES;
/// The salt of the key derivation.
const TAG_PACKET_KEY: &[u8] = b"warifu-packet-key-v1\n";

/// Why a packet cannot be sealed or opened, or a key not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Not a public sealing key.
    #[error("this is no sealing key: an X25519 and an ML-KEM-768 public key are {} bytes", X25519_BYTES + KEM_PUBLIC_BYTES)]
    PublicKey,
    /// Not the private half of a sealing key.
    #[error("this is no private sealing key as `init` writes it")]
    PrivateKey,
    /// Not a packet of this version.
    #[error("this is no sealed packet of version {VERSION}")]
    Malformed,
    /// Sealed for another key or context, or changed; which of them cannot be told.
    #[error("the packet does not open: it was changed, or sealed for something else")]
    Rejected,
    /// The cryptographic library failed on sound input.
    #[error("the cryptographic library failed while {doing}")]
    Library {
        /// What was tried.
        doing: &'static str,
    },
}

/// The private half of a node's sealing key.
///
/// # Security
/// Not printed and not serializable but by [`Self::secret`]; the library wipes both parts when the value is dropped.
pub struct SealingKey {
    x25519: PrivateKey,
    ml_kem: DecapsulationKey,
    public: Blob,
}

impl SealingKey {
    /// Makes a key from the system's random numbers.
    ///
    /// # Errors
    /// [`PacketError::Library`].
    pub fn generate() -> Result<Self, PacketError> {
        let failed = |_| PacketError::Library { doing: "making a sealing key" };
        let (x25519, ml_kem) = (PrivateKey::generate(&X25519).map_err(failed)?, DecapsulationKey::generate(&ML_KEM_768).map_err(failed)?);
        let kem_secret = ml_kem.key_bytes().map_err(failed)?;
        Self::with_public(x25519, ml_kem, kem_secret.as_ref())
    }

    /// Takes a key out of [`Self::secret`].
    ///
    /// # Errors
    /// [`PacketError::PrivateKey`].
    pub fn from_secret(x25519: &[u8], ml_kem: &[u8]) -> Result<Self, PacketError> {
        let agreement = PrivateKey::from_private_key(&X25519, x25519).map_err(|_| PacketError::PrivateKey)?;
        let kem = DecapsulationKey::new(&ML_KEM_768, ml_kem).map_err(|_| PacketError::PrivateKey)?;
        Self::with_public(agreement, kem, ml_kem)
    }

    fn with_public(x25519: PrivateKey, ml_kem: DecapsulationKey, kem_secret: &[u8]) -> Result<Self, PacketError> {
        let kem_public = kem_secret.get(KEM_PUBLIC_OFFSET..KEM_PUBLIC_OFFSET + KEM_PUBLIC_BYTES).ok_or(PacketError::PrivateKey)?;
        let own = x25519.compute_public_key().map_err(|_| PacketError::PrivateKey)?;
        let public = Blob([own.as_ref(), kem_public].concat());
        Ok(Self { x25519, ml_kem, public })
    }

    /// The public half, as the roster names it: X25519, then ML-KEM-768.
    #[must_use]
    pub const fn public(&self) -> &Blob {
        &self.public
    }

    /// Both private parts, to be written into a file that only the node can read.
    ///
    /// # Errors
    /// [`PacketError::Library`].
    pub fn secret(&self) -> Result<[Zeroizing<Vec<u8>>; 2], PacketError> {
        let failed = |_| PacketError::Library { doing: "reading a sealing key" };
        let x25519: Curve25519SeedBin<'_> = self.x25519.as_be_bytes().map_err(failed)?;
        let ml_kem = self.ml_kem.key_bytes().map_err(failed)?;
        Ok([Zeroizing::new(x25519.as_ref().to_vec()), Zeroizing::new(ml_kem.as_ref().to_vec())])
    }

    /// Opens a packet that was sealed for this key with the same context.
    ///
    /// # Errors
    /// [`PacketError::Malformed`] or [`PacketError::Rejected`].
    pub fn open(&self, context: &[u8], packet: &[u8]) -> Result<Zeroizing<Vec<u8>>, PacketError> {
        let tag = AES_256_GCM_SIV.tag_len();
        let (header, sealed) = packet.split_at_checked(HEADER_BYTES).ok_or(PacketError::Malformed)?;
        let (version, keys) = header.split_first().ok_or(PacketError::Malformed)?;
        if *version != VERSION || sealed.len() < tag {
            return Err(PacketError::Malformed);
        }
        let (ephemeral, ciphertext) = keys.split_at(X25519_BYTES);
        let kem_secret = self.ml_kem.decapsulate(Ciphertext::from(ciphertext)).map_err(|_| PacketError::Rejected)?;
        let binding = binding(self.public.as_slice(), ephemeral, ciphertext, context);
        let peer = UnparsedPublicKey::new(&X25519, ephemeral);
        let key = agreement::agree(&self.x25519, peer, PacketError::Rejected, |secret| packet_key(secret, kem_secret.as_ref(), &binding))?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let length = key.open_in_place(zero_nonce(), Aad::from(binding), &mut opened).map_err(|_| PacketError::Rejected)?.len();
        opened.truncate(length);
        Ok(opened)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(<redacted>)")
    }
}

/// Seals a packet for the node with this public sealing key. Draws from the system's random numbers, inside the cryptographic library.
///
/// # Errors
/// [`PacketError::PublicKey`] or [`PacketError::Library`].
pub fn seal_packet(recipient: &[u8], context: &[u8], plaintext: &[u8]) -> Result<Blob, PacketError> {
    let failed = |_| PacketError::Library { doing: "sealing a packet" };
    if recipient.len() != X25519_BYTES + KEM_PUBLIC_BYTES {
        return Err(PacketError::PublicKey);
    }
    let (x25519, ml_kem) = recipient.split_at(X25519_BYTES);
    let ml_kem = EncapsulationKey::new(&ML_KEM_768, ml_kem).map_err(|_| PacketError::PublicKey)?;
    let (ciphertext, kem_secret) = ml_kem.encapsulate().map_err(|_| PacketError::PublicKey)?;
    let own = PrivateKey::generate(&X25519).map_err(failed)?;
    let ephemeral = own.compute_public_key().map_err(failed)?;
    let binding = binding(recipient, ephemeral.as_ref(), ciphertext.as_ref(), context);
    let peer = UnparsedPublicKey::new(&X25519, x25519);
    // Fails for a public key of small order, with which there would be no secret.
    let key = agreement::agree(&own, peer, PacketError::PublicKey, |secret| packet_key(secret, kem_secret.as_ref(), &binding))?;
    // Reserved in full, so that no part of the plaintext is left behind in a buffer that was outgrown.
    let mut sealed = Zeroizing::new(Vec::with_capacity(plaintext.len() + AES_256_GCM_SIV.tag_len()));
    sealed.extend_from_slice(plaintext);
    key.seal_in_place_append_tag(zero_nonce(), Aad::from(binding), &mut *sealed).map_err(failed)?;
    Ok(Blob([&[VERSION], ephemeral.as_ref(), ciphertext.as_ref(), &sealed].concat()))
}

/// All parts before the context have one length, so that no two inputs read the same.
fn binding(recipient: &[u8], ephemeral: &[u8], ciphertext: &[u8], context: &[u8]) -> [u8; 32] {
    let parts: [&[u8]; 5] = [&[VERSION], recipient, ephemeral, ciphertext, context];
    parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into()
}

fn packet_key(x25519: &[u8], ml_kem: &[u8], binding: &[u8; 32]) -> Result<LessSafeKey, PacketError> {
    let both = Zeroizing::new([x25519, ml_kem].concat());
    let secret = Salt::new(HKDF_SHA512, TAG_PACKET_KEY).extract(&both);
    let info: [&[u8]; 1] = [binding];
    let key = secret.expand(&info, &AES_256_GCM_SIV).map_err(|_| PacketError::Library { doing: "deriving a packet's key" })?;
    Ok(LessSafeKey::new(UnboundKey::from(key)))
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_opens_for_its_recipient_and_context_alone() {
        let (key, other) = (SealingKey::generate().expect("a key"), SealingKey::generate().expect("a key"));
        let packet = seal_packet(key.public().as_slice(), b"context", b"thirty-two bytes of a share ....").expect("seals");
        assert_eq!(key.open(b"context", packet.as_slice()).expect("opens").as_slice(), b"thirty-two bytes of a share ....");
        assert_eq!(key.open(b"another", packet.as_slice()), Err(PacketError::Rejected));
        assert_eq!(other.open(b"context", packet.as_slice()), Err(PacketError::Rejected));
        let again = seal_packet(key.public().as_slice(), b"context", b"thirty-two bytes of a share ....").expect("seals");
        assert_ne!(packet, again, "each packet has a key of its own");
    }

    #[test]
    fn every_changed_or_missing_byte_keeps_a_packet_shut() {
        let key = SealingKey::generate().expect("a key");
        let packet = seal_packet(key.public().as_slice(), b"context", &[7; 33]).expect("seals");
        assert_eq!(packet.len(), HEADER_BYTES + 33 + 16);
        for place in (0..packet.len()).step_by(13).chain([0, 1, 33, packet.len() - 1]) {
            let mut changed = packet.clone();
            changed.0[place] ^= 1;
            let refused = key.open(b"context", changed.as_slice());
            assert!(matches!(refused, Err(PacketError::Rejected | PacketError::Malformed)), "byte {place}");
        }
        for length in [0, 1, HEADER_BYTES, HEADER_BYTES + 15, packet.len() - 1] {
            let cut = packet.as_slice().get(..length).expect("shorter");
            assert!(key.open(b"context", cut).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn both_halves_of_the_hybrid_are_needed() {
        let (key, other) = (SealingKey::generate().expect("a key"), SealingKey::generate().expect("a key"));
        let packet = seal_packet(key.public().as_slice(), b"context", b"share").expect("seals");
        let ([own_x, own_kem], [other_x, other_kem]) = (key.secret().expect("secret"), other.secret().expect("secret"));
        for (x25519, ml_kem) in [(&own_x, &other_kem), (&other_x, &own_kem)] {
            let mut half = SealingKey::from_secret(x25519, ml_kem).expect("a key");
            // Even with the right public key named.
            half.public = key.public.clone();
            assert_eq!(half.open(b"context", packet.as_slice()), Err(PacketError::Rejected));
        }
        let whole = SealingKey::from_secret(&own_x, &own_kem).expect("a key");
        assert_eq!(whole.public(), key.public());
        assert!(whole.open(b"context", packet.as_slice()).is_ok());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let key = SealingKey::generate().expect("a key");
        let public = key.public().as_slice();
        let low_order = [&[0; X25519_BYTES], &public[X25519_BYTES..]].concat();
        for bad in [&[][..], &public[1..], &low_order] {
            assert_eq!(seal_packet(bad, b"", b"x"), Err(PacketError::PublicKey), "{} bytes", bad.len());
        }
        assert!(matches!(SealingKey::from_secret(&[1; 31], &[1; 2400]), Err(PacketError::PrivateKey)));
        assert!(matches!(SealingKey::from_secret(&[1; 32], &[1; 2399]), Err(PacketError::PrivateKey)));
        assert!(!format!("{key:?}").contains(|digit: char| digit.is_ascii_digit()));
    }
}
