//! Sealed records.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use parking_lot::RwLock;
use warifu_protocol::mutants::{Mutant, is_on};
use zeroize::Zeroizing;

use super::file_kek::random;
use super::kek::{KekError, KekGeneration, KekProvider, RECORD_KEY_LEN, WrappedKey};

/// Length of an AES-GCM-SIV nonce in bytes, RFC 8452 section 4.
pub(super) const NONCE_LEN: usize = 12;

/// First byte of every record.
const VERSION: u8 = 1;

/// Version, generation, nonce.
const HEADER_LEN: usize = 1 + 4 + NONCE_LEN;

/// Seals and opens records with the record keys of all generations, unwrapped in memory.
///
/// A record is `version (1) | KEK generation (4, big endian) | nonce (12) | ciphertext and tag`, AES-256-GCM-SIV (RFC 8452). The caller's associated data
/// binds it to its place: a record moved to another credential, epoch or node does not open. Version and generation are bound too.
pub struct RecordSealer {
    keys: RwLock<Keys>,
}

struct Keys {
    current: KekGeneration,
    by_generation: BTreeMap<KekGeneration, Cipher>,
}

/// A record that cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Too short, or of another version.
    #[error("not a sealed record of version {VERSION}: {detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
    /// No record key was stored.
    #[error("there is no record key")]
    NoKeys,
    /// Sealed under a generation whose record key is not here: shredded, or of another store.
    #[error("the record is sealed under KEK generation {generation}, which is not here")]
    UnknownGeneration {
        /// Which one.
        generation: KekGeneration,
    },
    /// Another key, other associated data, or changed bytes; which of them cannot be told.
    #[error("the sealed record does not open: it was changed, moved, or sealed elsewhere")]
    Rejected,
    /// The KEK failed.
    #[error("key-encryption key")]
    Kek(#[from] KekError),
}

impl RecordSealer {
    /// Unwraps the stored record keys. The highest generation is the current one.
    ///
    /// # Errors
    /// [`SealError::Kek`], [`SealError::NoKeys`].
    pub fn open(kek: &dyn KekProvider, stored: &BTreeMap<KekGeneration, WrappedKey>, context: &[u8]) -> Result<Self, SealError> {
        let mut by_generation = BTreeMap::new();
        for (&generation, wrapped) in stored {
            by_generation.insert(generation, Cipher::new(&*kek.unwrap(generation, wrapped, context)?)?);
        }
        let current = *stored.last_key_value().ok_or(SealError::NoKeys)?.0;
        Ok(Self { keys: RwLock::new(Keys { current, by_generation }) })
    }

    /// The generation under which is sealed.
    #[must_use]
    pub fn current(&self) -> KekGeneration {
        self.keys.read().current
    }

    /// Seals under the current generation.
    ///
    /// # Errors
    /// [`SealError::Kek`] if there is no randomness.
    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let keys = self.keys.read();
        let nonce = random::<NONCE_LEN>()?;
        let mut record = Vec::with_capacity(HEADER_LEN + plaintext.len() + AES_256_GCM_SIV.tag_len());
        record.push(VERSION);
        record.extend(keys.current.0.to_be_bytes());
        record.extend(*nonce);
        record.extend(keys.by_generation[&keys.current].encrypt(*nonce, &bound(keys.current, aad), plaintext)?);
        Ok(record)
    }

    /// Opens a record that was sealed with the same associated data, under any generation that is here.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn unseal(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let generation = Self::generation(sealed)?;
        let (header, ciphertext) = sealed.split_at(HEADER_LEN);
        let nonce = header.last_chunk::<NONCE_LEN>().expect("the header ends with the nonce");
        let keys = self.keys.read();
        let cipher = keys.by_generation.get(&generation).ok_or(SealError::UnknownGeneration { generation })?;
        cipher.decrypt(*nonce, &bound(generation, aad), ciphertext).ok_or(SealError::Rejected)
    }

    /// The generation under which a record is sealed, which tells whether it must be sealed again after a rotation.
    ///
    /// # Errors
    /// [`SealError::Malformed`].
    pub fn generation(sealed: &[u8]) -> Result<KekGeneration, SealError> {
        let malformed = |detail: String| SealError::Malformed { detail };
        if sealed.len() < HEADER_LEN + AES_256_GCM_SIV.tag_len() {
            return Err(malformed(format!("{} bytes", sealed.len())));
        }
        if sealed[0] != VERSION {
            return Err(malformed(format!("version {}", sealed[0])));
        }
        let number = sealed[1..].first_chunk::<4>().expect("longer than its header");
        Ok(KekGeneration(u32::from_be_bytes(*number)))
    }

    /// Takes up a new generation, under which is sealed from now on. Its wrapped key must be stored durably already.
    pub fn advance(&self, fresh: FreshKey) {
        let mut keys = self.keys.write();
        keys.current = fresh.generation;
        keys.by_generation.insert(fresh.generation, fresh.cipher);
    }

    /// Forgets a generation; its records do not open any more. The current one is kept.
    pub fn forget(&self, generation: KekGeneration) {
        let mut keys = self.keys.write();
        if keys.current != generation {
            keys.by_generation.remove(&generation);
        }
    }
}

/// A record key that nothing is sealed under yet.
pub struct FreshKey {
    generation: KekGeneration,
    wrapped: WrappedKey,
    cipher: Cipher,
}

impl FreshKey {
    /// Draws a record key and wraps it under a generation. It is unwrapped again at once: a key that the KEK does not give back is found out before
    /// anything is sealed under it.
    ///
    /// # Errors
    /// [`KekError`].
    pub fn make(kek: &dyn KekProvider, generation: KekGeneration, context: &[u8]) -> Result<Self, KekError> {
        let key = random::<RECORD_KEY_LEN>()?;
        let wrapped = kek.wrap(generation, &key, context)?;
        let unwrapped = kek.unwrap(generation, &wrapped, context)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(key.as_slice(), unwrapped.as_slice())
            .map_err(|_| KekError::Unwrap { generation })?;
        Ok(Self { generation, wrapped, cipher: Cipher::new(&key)? })
    }

    /// Under which generation it is wrapped.
    #[must_use]
    pub const fn generation(&self) -> KekGeneration {
        self.generation
    }

    /// What to store before anything is sealed under the key.
    #[must_use]
    pub const fn wrapped(&self) -> &WrappedKey {
        &self.wrapped
    }
}

impl fmt::Debug for FreshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreshKey").field("generation", &self.generation).field("key", &"<redacted>").finish_non_exhaustive()
    }
}

impl fmt::Debug for RecordSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordSealer").field("current", &self.keys.read().current).field("keys", &"<redacted>").finish_non_exhaustive()
    }
}

/// The caller's associated data with the fields of the header that are not in the nonce.
fn bound(generation: KekGeneration, aad: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5 + aad.len());
    bytes.push(VERSION);
    bytes.extend(generation.0.to_be_bytes());
    if !is_on(Mutant::SealWithoutPlace) {
        bytes.extend(aad);
    }
    bytes
}

/// AES-256-GCM-SIV under one key, which the library wipes when it is dropped.
pub(super) struct Cipher(LessSafeKey);

impl Cipher {
    pub(super) fn new(key: &[u8; RECORD_KEY_LEN]) -> Result<Self, KekError> {
        UnboundKey::new(&AES_256_GCM_SIV, key).map(LessSafeKey::new).map(Self).map_err(|_| KekError::Library)
    }

    pub(super) fn encrypt(&self, nonce: [u8; NONCE_LEN], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, KekError> {
        // With room for the tag, so that no grown buffer leaves a copy of the plaintext behind.
        let mut buffer = Vec::with_capacity(plaintext.len() + AES_256_GCM_SIV.tag_len());
        buffer.extend_from_slice(plaintext);
        self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut buffer).map_err(|_| KekError::Library)?;
        Ok(buffer)
    }

    pub(super) fn decrypt(&self, nonce: [u8; NONCE_LEN], aad: &[u8], ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let len = self.0.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut buffer).ok()?.len();
        buffer.truncate(len);
        Some(buffer)
    }
}
