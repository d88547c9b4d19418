//! An open session in a file: its key, its bounds, and the next number.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use warifu_protocol::{AnchorEntry, SessionId, Statement, UnixMillis};

use super::error::TerminalError;
use crate::files::{self, FileError, MODE_SECRET};
use crate::keys::{LocalKey, danger_plain};

/// A session with the key that signs its requests.
///
/// # Security
/// Whoever has it signs as the holder within the session's bounds; the file has mode 0600 and is removed at logout.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSecret {
    format: Format,
    /// What the card signed.
    pub statement: Statement,
    /// The session's key.
    #[serde(with = "danger_plain")]
    pub key: LocalKey,
    /// The number that no request has used yet; 1 at first.
    pub next_seq: u32,
    /// The CAs that holders' certificates must chain to, as the genesis pins them.
    pub anchors: Vec<AnchorEntry>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "warifu-session-v1")]
    V1,
}

impl SessionSecret {
    /// A session whose first request is number 1.
    #[must_use]
    pub const fn new(statement: Statement, key: LocalKey, anchors: Vec<AnchorEntry>) -> Self {
        Self { format: Format::V1, statement, key, next_seq: 1, anchors }
    }

    /// The session's identifier.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.statement.session()
    }

    /// Takes the next `count` numbers.
    ///
    /// # Errors
    /// [`TerminalError::SessionEnded`] past the session's end, [`TerminalError::SessionSpent`] past its last number; then none is taken.
    pub fn take_seqs(&mut self, count: u32, now: UnixMillis) -> Result<u32, TerminalError> {
        let Statement { not_after, max_signatures, .. } = self.statement;
        if now > not_after {
            return Err(TerminalError::SessionEnded { session: self.session(), not_after });
        }
        let spent = TerminalError::SessionSpent { session: self.session(), max: max_signatures };
        let Some(next) = self.next_seq.checked_add(count).filter(|next| next - 1 <= max_signatures) else { return Err(spent) };
        Ok(std::mem::replace(&mut self.next_seq, next))
    }
}

/// A session's file, held against other processes, so that no number is ever used for two documents.
#[derive(Debug)]
pub struct SessionFile {
    path: PathBuf,
    /// The session.
    pub secret: SessionSecret,
    _lock: File,
}

impl SessionFile {
    /// Writes the file of a new session.
    ///
    /// # Errors
    /// [`FileError::System`], also when the file exists.
    pub fn create(path: &Path, secret: &SessionSecret) -> Result<(), FileError> {
        files::write_new(path, &files::json_bytes(secret), MODE_SECRET)
    }

    /// Reads a session and holds its file.
    ///
    /// # Errors
    /// [`TerminalError::SessionBusy`] while another process holds it, or [`TerminalError::File`].
    pub fn open(path: &Path) -> Result<Self, TerminalError> {
        let lock = files::try_lock_beside(path)?.ok_or(TerminalError::SessionBusy)?;
        let bytes = files::read_secret(path, WHAT, SESSION_FILE_BYTES_MAX)?;
        let secret = serde_json::from_slice(&bytes).map_err(|error| files::malformed(path, WHAT, &error.to_string()))?;
        Ok(Self { path: path.to_owned(), secret, _lock: lock })
    }

    /// Takes the next `count` numbers, durably: after a crash they are not used again, for what was sent under them is not known.
    ///
    /// # Errors
    /// As [`SessionSecret::take_seqs`], or [`TerminalError::File`].
    pub fn take_seqs(&mut self, count: u32, now: UnixMillis) -> Result<u32, TerminalError> {
        let first = self.secret.take_seqs(count, now)?;
        files::replace(&self.path, &files::json_bytes(&self.secret), MODE_SECRET)?;
        Ok(first)
    }

    /// Removes the file of a closed session.
    ///
    /// # Errors
    /// [`FileError::System`].
    pub fn remove(self) -> Result<(), FileError> {
        files::remove(&self.path)
    }
}

/// What the file holds, in messages.
const WHAT: &str = "session file";

/// Largest session file: some pinned CA certificates of 8 KiB each.
const SESSION_FILE_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use warifu_protocol::{Challenge, ClusterId, CredentialId, Purpose, TerminalId};

    use super::*;
    use crate::keys::KeyKind;

    fn must_secret(max_signatures: u32) -> SessionSecret {
        let key = LocalKey::generate(KeyKind::P256).expect("keys can be made");
        let statement = Statement {
            cluster: ClusterId::new([1; 32]),
            credential: CredentialId::new([2; 16]),
            session_key: key.public(),
            facility: "1310000001".parse().expect("a name"),
            terminal: TerminalId::new([3; 16]),
            purpose: Purpose::EPrescription,
            not_before: UnixMillis(1000),
            not_after: UnixMillis(2000),
            max_signatures,
            nonce: Challenge::new([4; 32]),
        };
        SessionSecret::new(statement, key, Vec::new())
    }

    #[test]
    fn numbers_are_taken_once_and_stay_taken_after_a_crash() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("session.json");
        let secret = must_secret(5);
        SessionFile::create(&path, &secret).expect("writes");
        let mut file = SessionFile::open(&path).expect("reads");
        assert!(matches!(SessionFile::open(&path), Err(TerminalError::SessionBusy)), "one process at a time");
        assert_eq!(file.take_seqs(1, UnixMillis(1500)).expect("within the bounds"), 1);
        assert_eq!(file.take_seqs(2, UnixMillis(1500)).expect("within the bounds"), 2);
        drop(file);
        let mut file = SessionFile::open(&path).expect("reads again");
        assert_eq!(file.secret.key.public(), secret.key.public());
        assert!(matches!(file.take_seqs(3, UnixMillis(1500)), Err(TerminalError::SessionSpent { max: 5, .. })), "not partly");
        assert!(matches!(file.take_seqs(1, UnixMillis(2001)), Err(TerminalError::SessionEnded { .. })));
        assert_eq!(file.take_seqs(2, UnixMillis(2000)).expect("the last two"), 4);
        assert!(matches!(file.take_seqs(1, UnixMillis(1500)), Err(TerminalError::SessionSpent { .. })));
        file.remove().expect("removes");
        assert!(!path.exists());
    }
}
