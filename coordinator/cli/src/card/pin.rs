//! A PIN: typed by a person, read from a file, never on a command line and never printed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// A card's PIN; wiped on drop, unprintable, neither `Clone` nor serializable.
pub struct Pin(Zeroizing<String>);

/// Why something is no PIN, or none could be had.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Empty, too long, or with control characters.
    #[error("the PIN must be 1 to {PIN_LENGTH_MAX} bytes of UTF-8 without control characters")]
    Malformed,
    /// Others on this machine could read the file.
    #[error("PIN file `{}` has mode {mode:04o}: others can read it; `chmod 600` it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file could not be read.
    #[error("PIN file `{}` cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nobody is there to type it.
    #[error("no PIN: standard input is not a terminal; give `--pin-file FILE`")]
    NoTerminal,
    /// The person typed two different PINs for a new card.
    #[error("the two PINs differ: nothing was made")]
    Different,
    /// The terminal failed, or the person gave up.
    #[error("the PIN could not be read from the terminal")]
    Prompt(#[source] io::Error),
}

impl Pin {
    /// Takes a PIN of 1 to [`PIN_LENGTH_MAX`] bytes without control characters. What a given card accepts is narrower, and its own to say.
    ///
    /// # Errors
    /// [`PinError::Malformed`].
    pub fn new(pin: String) -> Result<Self, PinError> {
        let pin = Zeroizing::new(pin);
        if pin.is_empty() || pin.len() > PIN_LENGTH_MAX || pin.chars().any(char::is_control) {
            return Err(PinError::Malformed);
        }
        Ok(Self(pin))
    }

    /// Asks the person at the terminal, without echo.
    ///
    /// # Errors
    /// [`PinError::NoTerminal`], [`PinError::Prompt`] or [`PinError::Malformed`].
    pub fn prompt(question: &str) -> Result<Self, PinError> {
        if !io::IsTerminal::is_terminal(&io::stdin()) {
            return Err(PinError::NoTerminal);
        }
        Self::new(rpassword::prompt_password(question).map_err(PinError::Prompt)?)
    }

    /// Reads it from a file that only its owner can read; one final line end does not count.
    ///
    /// # Errors
    /// [`PinError::Exposed`], [`PinError::File`] or [`PinError::Malformed`].
    pub fn from_file(path: &Path) -> Result<Self, PinError> {
        let file_error = |source| PinError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(file_error)?;
        let mode = file.metadata().map_err(file_error)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(PinError::Exposed { path: path.to_owned(), mode });
        }
        // Full capacity from the start: growing would leave copies of the PIN behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(PIN_FILE_SIZE_MAX + 1));
        file.take(PIN_FILE_SIZE_MAX as u64 + 1).read_to_end(&mut bytes).map_err(file_error)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| PinError::Malformed)?;
        let line = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
        Self::new(line.to_owned())
    }

    /// Asks for the PIN of a new card, twice: a PIN mistyped once would make a card that nobody can use.
    ///
    /// # Errors
    /// As [`Pin::prompt`], and [`PinError::Different`].
    pub fn prompt_new() -> Result<Self, PinError> {
        Self::typed_twice(Self::prompt)
    }

    fn typed_twice(mut prompt: impl FnMut(&str) -> Result<Self, PinError>) -> Result<Self, PinError> {
        let first = prompt("PIN for the new card: ")?;
        let second = prompt("the same PIN again: ")?;
        if first.as_str() != second.as_str() {
            return Err(PinError::Different);
        }
        Ok(first)
    }

    /// Stands for a PIN that the person types on the reader itself; no other card accepts it.
    pub(super) fn on_reader() -> Self {
        Self(Zeroizing::new(String::new()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(<redacted>)")
    }
}

/// Longest PIN taken, in bytes; real cards take 16 at most, tokens seldom more than this.
pub const PIN_LENGTH_MAX: usize = 64;

/// Longest PIN file: the longest PIN and a line end of two bytes.
const PIN_FILE_SIZE_MAX: usize = PIN_LENGTH_MAX + 2;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn must_write(directory: &Path, content: &[u8], mode: u32) -> PathBuf {
        let path = directory.join("pin");
        std::fs::write(&path, content).expect("a temporary file can be written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("its mode can be set");
        path
    }

    #[test]
    fn a_pin_is_never_printed() {
        let pin = Pin::new("4711".into()).expect("well-formed");
        assert_eq!(format!("{pin:?}"), "Pin(<redacted>)");
    }

    #[test]
    fn a_new_cards_pin_is_typed_twice_alike() {
        let typed = |first: &str, second: &str| {
            let mut answers = vec![second.to_owned(), first.to_owned()];
            Pin::typed_twice(move |_| Pin::new(answers.pop().expect("asked twice only")))
        };
        assert_eq!(typed("4711", "4711").expect("alike").as_str(), "4711");
        assert!(matches!(typed("4711", "4712"), Err(PinError::Different)));
    }

    #[test]
    fn a_pin_file_may_end_in_one_line_end() {
        let directory = tempfile::tempdir().expect("temporary directory");
        for content in [&b"4711"[..], b"4711\n", b"4711\r\n"] {
            let path = must_write(directory.path(), content, 0o600);
            assert_eq!(Pin::from_file(&path).expect("readable").as_str(), "4711");
        }
    }

    #[test]
    fn a_pin_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().expect("temporary directory");
        for mode in [0o644, 0o640, 0o604] {
            let path = must_write(directory.path(), b"4711", mode);
            assert!(matches!(Pin::from_file(&path), Err(PinError::Exposed { mode: seen, .. }) if seen == mode));
        }
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let long = [b'1'; PIN_LENGTH_MAX + 1];
        for (content, what) in [
            (&b""[..], "empty"),
            (b"\n", "only a line end"),
            (b"47\n11", "two lines"),
            (b"\xff\xfe", "not UTF-8"),
            (&long, "too long"),
            (&[b'1'; 4096], "oversized"),
        ] {
            let path = must_write(directory.path(), content, 0o600);
            assert!(matches!(Pin::from_file(&path), Err(PinError::Malformed)), "{what}");
        }
        assert!(matches!(Pin::from_file(&directory.path().join("absent")), Err(PinError::File { .. })), "absent");
    }
}
