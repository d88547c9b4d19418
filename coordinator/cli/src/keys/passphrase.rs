//! A passphrase: typed by a person, read from a file, never on a command line and never printed.

use std::env;
use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::files::{self, FileError};

/// Environment variable that may hold the passphrase. For tests only: other processes of the same user can read it.
pub const PASSPHRASE_ENVIRONMENT: &str = "WARIFU_PASSPHRASE";

/// Shortest passphrase of a new key, in characters. With the iterations of the key file a shorter one could be tried out.
pub(super) const PASSPHRASE_CHARS_MIN: usize = 8;
/// Longest passphrase, in bytes.
const PASSPHRASE_BYTES_MAX: usize = 1024;

/// A passphrase; wiped on drop, unprintable.
pub struct Passphrase(Zeroizing<String>);

/// Where a passphrase comes from.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct PassphraseArgs {
    /// File with the passphrase of the officer's key, readable by its owner only; without it the passphrase is asked for
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// Too short, too long, or with control characters.
    #[error("a passphrase has {PASSPHRASE_CHARS_MIN} characters or more, at most {PASSPHRASE_BYTES_MAX} bytes, and no control characters")]
    Malformed,
    /// Its file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nobody is there to type it.
    #[error("no passphrase: standard input is not a terminal; give `--passphrase-file FILE`")]
    NoTerminal,
    /// Two different ones were typed for a new key.
    #[error("the two passphrases differ: nothing was made")]
    Different,
    /// The terminal failed, or the person gave up.
    #[error("the passphrase could not be read from the terminal")]
    Prompt(#[source] io::Error),
}

impl Passphrase {
    /// Takes a passphrase.
    ///
    /// # Errors
    /// [`PassphraseError::Malformed`].
    pub fn new(text: String) -> Result<Self, PassphraseError> {
        let text = Zeroizing::new(text);
        let fits = text.chars().count() >= PASSPHRASE_CHARS_MIN && text.len() <= PASSPHRASE_BYTES_MAX;
        if !fits || text.chars().any(char::is_control) {
            return Err(PassphraseError::Malformed);
        }
        Ok(Self(text))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl PassphraseArgs {
    /// Gets the passphrase of an existing key: from the file, else from the environment, else from the person.
    ///
    /// # Errors
    /// See [`PassphraseError`].
    pub fn existing(&self, whose: &str) -> Result<Passphrase, PassphraseError> {
        match self.given()? {
            Some(passphrase) => Ok(passphrase),
            None => prompt(&format!("Passphrase of {whose}: ")),
        }
    }

    /// Gets the passphrase of a key that is being made; a person types it twice.
    ///
    /// # Errors
    /// See [`PassphraseError`].
    pub fn new_one(&self, whose: &str) -> Result<Passphrase, PassphraseError> {
        if let Some(passphrase) = self.given()? {
            return Ok(passphrase);
        }
        let first = prompt(&format!("Passphrase for {whose}: "))?;
        let second = prompt("the same passphrase again: ")?;
        if first.0 == second.0 { Ok(first) } else { Err(PassphraseError::Different) }
    }

    fn given(&self) -> Result<Option<Passphrase>, PassphraseError> {
        if let Some(path) = &self.passphrase_file {
            let bytes = files::read_secret(path, "passphrase file", PASSPHRASE_BYTES_MAX)?;
            let text = std::str::from_utf8(&bytes).map_err(|_| PassphraseError::Malformed)?;
            let line = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
            return Passphrase::new(line.to_owned()).map(Some);
        }
        match env::var(PASSPHRASE_ENVIRONMENT) {
            Ok(text) => Passphrase::new(text).map(Some),
            Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => Err(PassphraseError::Malformed),
        }
    }
}

fn prompt(question: &str) -> Result<Passphrase, PassphraseError> {
    if !io::stdin().is_terminal() {
        return Err(PassphraseError::NoTerminal);
    }
    Passphrase::new(rpassword::prompt_password(question).map_err(PassphraseError::Prompt)?)
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(<redacted>)")
    }
}
