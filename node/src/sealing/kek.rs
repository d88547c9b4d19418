//! Where the key-encryption key lives.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Length of a record key in bytes: AES-256.
pub const RECORD_KEY_LEN: usize = 32;

/// Which KEK sealed a record. The first is 1; a rotation makes the next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KekGeneration(pub u32);

impl fmt::Display for KekGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A record key as it is stored: encrypted by the KEK, useless without it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WrappedKey(pub Vec<u8>);

/// Wraps and unwraps record keys. Used at start and at rotation only, never per record, so it may be slow and may block.
pub trait KekProvider: Send + Sync {
    /// The generations that are here and not destroyed.
    ///
    /// # Errors
    /// [`KekError`].
    fn generations(&self) -> Result<BTreeSet<KekGeneration>, KekError>;

    /// Makes the next generation, with a number above `above` and above every one that is here: no number is given twice.
    ///
    /// # Errors
    /// [`KekError`].
    fn create(&self, above: KekGeneration) -> Result<KekGeneration, KekError>;

    /// Encrypts a record key under a generation. `context` must be given again to unwrap.
    ///
    /// # Errors
    /// [`KekError::UnknownGeneration`] and others.
    fn wrap(&self, generation: KekGeneration, key: &[u8; RECORD_KEY_LEN], context: &[u8]) -> Result<WrappedKey, KekError>;

    /// Decrypts a record key that was wrapped under `generation` with the same context.
    ///
    /// # Errors
    /// [`KekError::UnknownGeneration`] if it is destroyed or was never here, [`KekError::Unwrap`] if key, context or bytes are not the ones.
    fn unwrap(&self, generation: KekGeneration, wrapped: &WrappedKey, context: &[u8]) -> Result<Zeroizing<[u8; RECORD_KEY_LEN]>, KekError>;

    /// Whether [`KekProvider::destroy`] provably leaves no copy. False for anything on a file system.
    fn proves_destruction(&self) -> bool;

    /// Destroys a generation. The newest one that is here stays.
    ///
    /// # Errors
    /// [`KekError::Current`] for the newest, [`KekError::UnknownGeneration`] if it is not here.
    fn destroy(&self, generation: KekGeneration) -> Result<(), KekError>;
}

/// A key-encryption key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KekError {
    /// A key file cannot be read or written.
    #[error("KEK file {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others can read the file, so the key may be known.
    #[error("{} has mode {mode:03o}; it must be 0600: if others may have read it, change the key or PIN", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key file is not 32 bytes, or a PIN file is no such thing.
    #[error("{} has {len} bytes, which is not its size; restore it from its backup", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Its length in bytes.
        len: usize,
    },
    /// There is no key at all.
    #[error("no KEK in {}; run the node's `init` once", path.display())]
    Missing {
        /// Which directory.
        path: PathBuf,
    },
    /// The generation is not here.
    #[error("KEK generation {generation} is not here: destroyed, or of another machine")]
    UnknownGeneration {
        /// Which one.
        generation: KekGeneration,
    },
    /// The newest generation is in use.
    #[error("KEK generation {generation} is the newest one; rotate before destroying it")]
    Current {
        /// Which one.
        generation: KekGeneration,
    },
    /// The wrapped key was not made by this KEK for this purpose, or was changed.
    #[error("the record key cannot be unwrapped by KEK generation {generation}")]
    Unwrap {
        /// Which one.
        generation: KekGeneration,
    },
    /// The PKCS#11 module is not there or is none.
    #[error("the PKCS#11 module {} cannot be loaded", path.display())]
    Module {
        /// Which file.
        path: PathBuf,
        /// What the loader said.
        source: Box<cryptoki::error::Error>,
    },
    /// No token of that label.
    #[error("no token `{token}` is there: attach it, or correct kek.token")]
    TokenAbsent {
        /// Its label.
        token: String,
    },
    /// An earlier call has not come back.
    #[error("the token `{token}` has not answered an earlier call yet")]
    TokenBusy {
        /// Its label.
        token: String,
    },
    /// The token refused the PIN.
    #[error("the token refused the PIN in {}; it is not tried again until the file is changed, so that the token does not lock", path.display())]
    PinRefused {
        /// Which file.
        path: PathBuf,
    },
    /// The token or its module failed.
    #[error("{doing} failed")]
    Token {
        /// What was tried.
        doing: &'static str,
        /// What the module said.
        source: Box<cryptoki::error::Error>,
    },
    /// A key in the token must not be used.
    #[error("KEK generation {generation} is not fit: {reason}")]
    Unfit {
        /// Which one.
        generation: KekGeneration,
        /// Why.
        reason: &'static str,
    },
    /// The cryptographic library or its random generator failed.
    #[error("the cryptographic library failed")]
    Library,
}
