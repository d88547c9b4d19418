//! An officer's key in a passphrase-protected file.

use std::num::NonZeroU32;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA256, derive};
use serde::{Deserialize, Serialize};
use warifu_protocol::{Approval, Blob, GenesisBody, GenesisSignature, Name, OfficerEntry, OfficerRole, OrderBody};
use zeroize::Zeroizing;

use super::local::{KeyKind, LocalKey, LocalKeyError};
use super::passphrase::Passphrase;
use crate::files::{self, FileError, MODE_SECRET};

/// What an officer's key file shows without its passphrase.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfficerKeyFile {
    format: Format,
    /// Who the officer is, as the genesis names them.
    pub officer: OfficerEntry,
    kdf: Kdf,
    salt: Blob,
    nonce: Blob,
    sealed_key: Blob,
}

/// An officer's opened key: approves orders and founds clusters.
#[derive(Debug)]
pub struct OfficerKey {
    officer: OfficerEntry,
    key: LocalKey,
}

/// Why an officer's key cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum OfficerKeyError {
    /// Its file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The passphrase is wrong, or the file was changed.
    #[error("the passphrase does not open the key of officer {officer}, or its file was changed")]
    Passphrase {
        /// Whose key.
        officer: Name,
    },
    /// The key itself.
    #[error(transparent)]
    Key(#[from] LocalKeyError),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "warifu-officer-key-v1")]
    V1,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Kdf {
    #[serde(rename = "pbkdf2-hmac-sha256-600000")]
    Pbkdf2,
}

impl OfficerKeyFile {
    /// Makes a new Ed25519 key and its file (mode 0600). An existing file is never overwritten.
    ///
    /// # Errors
    /// See [`OfficerKeyError`].
    pub fn create(path: &Path, id: Name, role: OfficerRole, passphrase: &Passphrase) -> Result<Self, OfficerKeyError> {
        let key = LocalKey::generate(KeyKind::Ed25519)?;
        let failed = |doing| OfficerKeyError::Key(LocalKeyError::Crypto { doing });
        let mut salt = vec![0; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| failed("drawing random bytes"))?;
        let mut file = Self {
            format: Format::V1,
            officer: OfficerEntry { id, role, key: key.public() },
            kdf: Kdf::Pbkdf2,
            salt: Blob(salt),
            nonce: Blob::default(),
            sealed_key: Blob::default(),
        };
        let secret = key.secret();
        // Full capacity from the start: appending the tag must not leave a copy of the key behind.
        let mut buffer = Zeroizing::new(Vec::with_capacity(secret.len() + TAG_BYTES));
        buffer.extend_from_slice(&secret);
        let sealing = file.sealing_key(passphrase).ok_or_else(|| failed("deriving a key from the passphrase"))?;
        let nonce = sealing.seal_in_place_append_tag(file.aad(), &mut *buffer).map_err(|_| failed("encrypting the key"))?;
        file.nonce = Blob(nonce.as_ref().to_vec());
        file.sealed_key = Blob(buffer.to_vec());
        files::write_new(path, &files::json_bytes(&file), MODE_SECRET)?;
        Ok(file)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`OfficerKeyError::File`].
    pub fn read(path: &Path) -> Result<Self, OfficerKeyError> {
        let bytes = files::read_secret(path, WHAT, KEY_FILE_BYTES_MAX)?;
        let file: Self = serde_json::from_slice(&bytes).map_err(|error| files::malformed(path, WHAT, &error.to_string()))?;
        if file.salt.len() != SALT_BYTES || file.nonce.len() != NONCE_LEN {
            return Err(files::malformed(path, WHAT, "salt or nonce has the wrong length").into());
        }
        Ok(file)
    }

    /// Opens the key. Takes about a third of a second, as every guess of the passphrase does.
    ///
    /// # Errors
    /// [`OfficerKeyError::Passphrase`].
    pub fn open(&self, passphrase: &Passphrase) -> Result<OfficerKey, OfficerKeyError> {
        self.unseal(passphrase)
            .filter(|key| key.public() == self.officer.key)
            .map(|key| OfficerKey { officer: self.officer.clone(), key })
            .ok_or_else(|| OfficerKeyError::Passphrase { officer: self.officer.id.clone() })
    }

    fn unseal(&self, passphrase: &Passphrase) -> Option<LocalKey> {
        let nonce = Nonce::try_assume_unique_for_key(self.nonce.as_slice()).ok()?;
        let mut buffer = Zeroizing::new(self.sealed_key.0.clone());
        let secret = self.sealing_key(passphrase)?.open_in_place(nonce, self.aad(), &mut buffer).ok()?;
        LocalKey::from_secret(KeyKind::Ed25519, secret).ok()
    }

    fn sealing_key(&self, passphrase: &Passphrase) -> Option<RandomizedNonceKey> {
        let mut key = Zeroizing::new([0; 32]);
        derive(PBKDF2_HMAC_SHA256, PBKDF2_ITERATIONS, self.salt.as_slice(), passphrase.as_bytes(), &mut *key);
        RandomizedNonceKey::new(&AES_256_GCM_SIV, &*key).ok()
    }

    /// Binds name, role and public key to the private key, so that editing the file does not make another officer.
    fn aad(&self) -> Aad<Vec<u8>> {
        Aad::from(serde_json::to_vec(&(AAD_DOMAIN, &self.officer)).expect("an officer entry serializes to JSON"))
    }
}

impl OfficerKey {
    /// Who the officer is.
    #[must_use]
    pub const fn officer(&self) -> &OfficerEntry {
        &self.officer
    }

    /// Approves an order. The officer must have been shown [`OrderBody::describe`] first.
    ///
    /// # Errors
    /// [`LocalKeyError`].
    pub fn approve(&self, body: &OrderBody) -> Result<Approval, LocalKeyError> {
        Ok(Approval { officer: self.officer.id.clone(), signature: self.key.sign(&body.message())? })
    }

    /// Signs a genesis. The officer must have been shown it first.
    ///
    /// # Errors
    /// [`LocalKeyError`].
    pub fn sign_genesis(&self, body: &GenesisBody) -> Result<GenesisSignature, LocalKeyError> {
        Ok(GenesisSignature { officer: self.officer.id.clone(), signature: self.key.sign(&body.message())? })
    }
}

/// What the file holds, in messages.
const WHAT: &str = "officer's key file";

/// Largest key file read; real ones have under 1 KiB.
const KEY_FILE_BYTES_MAX: usize = 16 * 1024;

/// Iterations of PBKDF2-HMAC-SHA256, as OWASP advises for it.
const PBKDF2_ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");

/// Salt, in bytes (NIST SP 800-132 section 5.1 asks for 16 at least).
const SALT_BYTES: usize = 16;

/// Authentication tag of AES-GCM-SIV, in bytes (RFC 8452).
const TAG_BYTES: usize = 16;

/// Separates this encryption from every other.
const AAD_DOMAIN: &str = "warifu-officer-key-v1";

#[cfg(test)]
mod tests {
    use super::*;

    fn must_passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned()).expect("long enough")
    }

    #[test]
    fn only_the_passphrase_opens_the_key_and_only_the_unchanged_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("o1.key");
        let right = must_passphrase("correct horse");
        let id: Name = "o1".parse().expect("a name");
        OfficerKeyFile::create(&path, id, OfficerRole::Operator, &right).expect("makes a key");
        let file = OfficerKeyFile::read(&path).expect("reads");
        let key = file.open(&right).expect("opens");
        assert_eq!(key.officer(), &file.officer);
        assert!(matches!(file.open(&must_passphrase("wrong horse")), Err(OfficerKeyError::Passphrase { .. })));

        let promoted = OfficerKeyFile { officer: OfficerEntry { role: OfficerRole::SecurityOfficer, ..file.officer.clone() }, ..file };
        assert!(matches!(promoted.open(&right), Err(OfficerKeyError::Passphrase { .. })), "the role is bound to the key");
        assert!(matches!(
            OfficerKeyFile::create(&path, "o2".parse().expect("a name"), OfficerRole::Auditor, &right),
            Err(OfficerKeyError::File(_))
        ));
    }
}
