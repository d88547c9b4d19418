//! Files of the command: read within bounds, secrets kept from others, replaced durably.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

/// Mode of files that hold a secret.
pub const MODE_SECRET: u32 = 0o600;
/// Mode of files that anybody may read.
pub const MODE_PUBLIC: u32 = 0o644;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {action} `{}`", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// More bytes than such a file may have.
    #[error("`{}` has more than the {limit} bytes allowed for a file of this kind ({what})", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// Others on this machine could have read the secret.
    #[error("`{}` has mode {mode:04o}: others can read it; `chmod 600` it, or replace the {what} if somebody may have", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// What it holds.
        what: &'static str,
        /// Its permission bits.
        mode: u32,
    },
    /// Not what it should be.
    #[error("`{}` does not hold the expected {what}: {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong, with the place where it is.
        reason: String,
    },
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// [`FileError::System`] or [`FileError::TooLarge`].
pub fn read(path: &Path, what: &'static str, limit: usize) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).map_err(|source| system("read", path, source))?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|source| system("read", path, source))?;
    if bytes.len() > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), what, limit });
    }
    Ok(bytes)
}

/// Reads UTF-8 text of at most `limit` bytes.
///
/// # Errors
/// As [`read`], and [`FileError::Malformed`] for other text.
pub fn read_text(path: &Path, what: &'static str, limit: usize) -> Result<String, FileError> {
    String::from_utf8(read(path, what, limit)?).map_err(|_| malformed(path, what, "it is not UTF-8 text"))
}

/// Reads a secret of at most `limit` bytes from a file that only its owner can read.
///
/// # Errors
/// As [`read`], and [`FileError::Exposed`].
pub fn read_secret(path: &Path, what: &'static str, limit: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let file = File::open(path).map_err(|source| system("read", path, source))?;
    let mode = file.metadata().map_err(|source| system("read", path, source))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::Exposed { path: path.to_owned(), what, mode });
    }
    // Full capacity from the start: growing would leave copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|source| system("read", path, source))?;
    if bytes.len() > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), what, limit });
    }
    Ok(bytes)
}

/// Reads a JSON object of at most `limit` bytes.
///
/// # Errors
/// As [`read`], and [`FileError::Malformed`] with line and reason.
pub fn read_json<T: DeserializeOwned>(path: &Path, what: &'static str, limit: usize) -> Result<T, FileError> {
    serde_json::from_slice(&read(path, what, limit)?).map_err(|error| malformed(path, what, &error.to_string()))
}

/// Writes a new file, durable when this returns. An existing file is never overwritten.
///
/// # Errors
/// [`FileError::System`].
pub fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(content)?;
        file.sync_all()?;
        sync_directory(path)
    };
    write().map_err(|source| system("create", path, source))
}

/// Puts a file in place of the one that may be there, whole or not at all and durable when this returns.
///
/// # Errors
/// [`FileError::System`].
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let write = || -> io::Result<()> {
        // Mode 0600 from its start.
        let mut file = NamedTempFile::new_in(directory(path))?;
        file.write_all(content)?;
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        sync_directory(path)
    };
    write().map_err(|source| system("write", path, source))
}

/// Pretty JSON with a final line end.
///
/// # Panics
/// Never for this program's types: they hold no map with keys that are no text.
pub fn json_bytes<T: Serialize>(value: &T) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(serde_json::to_vec_pretty(value).expect("the program's types serialize to JSON"));
    bytes.push(b'\n');
    bytes
}

/// Reads one certificate, PEM or DER.
///
/// # Errors
/// As [`read`], and [`FileError::Malformed`] when it is a PEM file of something else.
pub fn read_certificate(path: &Path) -> Result<Vec<u8>, FileError> {
    read_der(path, "certificate", "CERTIFICATE", CERTIFICATE_FILE_BYTES_MAX)
}

/// Reads one DER object, bare or as PEM with this label.
///
/// # Errors
/// As [`read`], and [`FileError::Malformed`] when it is neither.
pub fn read_der(path: &Path, what: &'static str, label: &str, limit: usize) -> Result<Vec<u8>, FileError> {
    let bytes = read(path, what, limit)?;
    if bytes.first() == Some(&DER_SEQUENCE) {
        return Ok(bytes);
    }
    match pem::parse(&bytes) {
        Ok(found) if found.tag() == label => Ok(found.into_contents()),
        Ok(found) => Err(malformed(path, what, &format!("it holds a PEM {}", found.tag()))),
        Err(error) => Err(malformed(path, what, &format!("neither DER nor PEM ({error})"))),
    }
}

/// Takes the lock that goes with a file, or returns `None` while another process or handle has it. Dropping the result unlocks.
///
/// The lock is on a file of its own, `.NAME.lock`, since the file itself is replaced as a whole.
///
/// # Errors
/// [`FileError::System`].
pub fn try_lock_beside(path: &Path) -> Result<Option<File>, FileError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let lock_path = directory(path).join(format!(".{name}.lock"));
    let failed = |source| system("lock", path, source);
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(MODE_SECRET).open(&lock_path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// The file exists already and is not overwritten.
#[must_use]
pub fn exists(path: &Path) -> FileError {
    system("create", path, io::Error::from(io::ErrorKind::AlreadyExists))
}

/// Removes a file.
///
/// # Errors
/// [`FileError::System`].
pub fn remove(path: &Path) -> Result<(), FileError> {
    fs::remove_file(path).map_err(|source| system("remove", path, source))
}

/// Whether a directory holds nothing.
///
/// # Errors
/// [`FileError::System`].
pub fn is_empty_directory(path: &Path) -> Result<bool, FileError> {
    fs::read_dir(path).map(|mut entries| entries.next().is_none()).map_err(|source| system("list", path, source))
}

/// The path from the root.
///
/// # Errors
/// [`FileError::System`].
pub fn absolute(path: &Path) -> Result<PathBuf, FileError> {
    fs::canonicalize(path).map_err(|source| system("find", path, source))
}

/// Makes a directory for its owner alone, with those above it.
///
/// # Errors
/// [`FileError::System`].
pub fn make_directory(path: &Path) -> Result<(), FileError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| system("create the directory", path, source))
}

/// The file is not what it should be.
#[must_use]
pub fn malformed(path: &Path, what: &'static str, reason: &str) -> FileError {
    FileError::Malformed { path: path.to_owned(), what, reason: reason.to_owned() }
}

fn system(action: &'static str, path: &Path, source: io::Error) -> FileError {
    FileError::System { action, path: path.to_owned(), source }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

/// First byte of a DER SEQUENCE, which every certificate, list and request is.
const DER_SEQUENCE: u8 = 0x30;

/// Largest certificate file: 8 KiB of DER are 11 KiB of PEM, and some files carry a text form beside.
const CERTIFICATE_FILE_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_bounded_and_secrets_must_be_the_owners_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("file");
        assert!(matches!(read(&path, "thing", 4), Err(FileError::System { .. })));
        write_new(&path, b"12345", MODE_SECRET).expect("writes");
        assert!(matches!(read(&path, "thing", 4), Err(FileError::TooLarge { .. })));
        assert!(matches!(read_secret(&path, "thing", 4), Err(FileError::TooLarge { .. })));
        assert_eq!(read_secret(&path, "thing", 5).expect("fits").as_slice(), b"12345");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("changes the mode");
        assert!(matches!(read_secret(&path, "thing", 5), Err(FileError::Exposed { mode: 0o640, .. })));
        assert!(matches!(write_new(&path, b"", MODE_PUBLIC), Err(FileError::System { .. })), "nothing is overwritten");
    }

    #[test]
    fn a_replaced_file_is_whole_and_secret() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("file");
        for content in [&b"one"[..], b"two"] {
            replace(&path, content, MODE_SECRET).expect("replaces");
            assert_eq!(read_secret(&path, "thing", 5).expect("owner only").as_slice(), content);
        }
        assert_eq!(fs::read_dir(directory.path()).expect("lists").count(), 1, "no temporary file stays");
    }

    #[test]
    fn certificates_are_read_from_der_and_from_pem_of_the_right_label() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let put = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            write_new(&path, content, MODE_PUBLIC).expect("writes");
            path
        };
        let der = [0x30, 1, 0];
        assert_eq!(read_certificate(&put("der", &der)).expect("DER"), der);
        let text = pem::encode(&pem::Pem::new("CERTIFICATE", der));
        assert_eq!(read_certificate(&put("pem", text.as_bytes())).expect("PEM"), der);
        let other = pem::encode(&pem::Pem::new("PRIVATE KEY", der));
        for (name, content) in [("key", other.as_bytes()), ("empty", b""), ("text", b"hello")] {
            assert!(matches!(read_certificate(&put(name, content)), Err(FileError::Malformed { .. })), "{name}");
        }
    }
}
