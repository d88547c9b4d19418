//! A terminal's key: the machine's own, used without a person.

use std::path::Path;

use serde::{Deserialize, Serialize};
use warifu_protocol::{PublicKey, TerminalId};

use super::local::{KeyKind, LocalKey, LocalKeyError, danger_plain};
use crate::files::{self, FileError, MODE_SECRET};

/// The terminal's identifier and key, in a file that its owner alone can read.
///
/// # Security
/// The file is not encrypted, since the machine uses it unattended: it proves which machine a session is at, and opens nothing without a
/// card. A TPM-held key takes its place where there is one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalKey {
    format: Format,
    /// The terminal's identifier.
    pub terminal: TerminalId,
    /// Its key.
    #[serde(with = "danger_plain")]
    pub key: LocalKey,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "warifu-terminal-key-v1")]
    V1,
}

impl TerminalKey {
    /// Draws an identifier and makes a key.
    ///
    /// # Errors
    /// [`LocalKeyError::Crypto`].
    pub fn generate(kind: KeyKind) -> Result<Self, LocalKeyError> {
        Ok(Self { format: Format::V1, terminal: TerminalId::new(rand::random()), key: LocalKey::generate(kind)? })
    }

    /// Writes a new file (mode 0600).
    ///
    /// # Errors
    /// [`FileError::System`], also when the file exists.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        files::write_new(path, &files::json_bytes(self), MODE_SECRET)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn load(path: &Path) -> Result<Self, FileError> {
        let bytes = files::read_secret(path, WHAT, KEY_FILE_BYTES_MAX)?;
        serde_json::from_slice(&bytes).map_err(|error| files::malformed(path, WHAT, &error.to_string()))
    }

    /// What an officer enrols.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }
}

/// What the file holds, in messages.
const WHAT: &str = "terminal's key file";

/// Largest key file read; real ones have under 1 KiB.
const KEY_FILE_BYTES_MAX: usize = 16 * 1024;
