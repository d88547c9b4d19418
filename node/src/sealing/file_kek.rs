//! A KEK in files: one per generation, readable by the node's user only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use zeroize::Zeroizing;

use super::kek::{KekError, KekGeneration, KekProvider, RECORD_KEY_LEN, WrappedKey};
use super::sealer::{Cipher, NONCE_LEN};

/// KEK generations in a directory, as files `kek-00000001` and so on of 32 random bytes.
///
/// # Security
/// Whoever reads the directory opens every share of this node. Deleting a file is no proof that no copy is left, and
/// [`KekProvider::proves_destruction`] says so.
pub struct FileKek {
    directory: PathBuf,
    generations: RwLock<BTreeMap<KekGeneration, Cipher>>,
}

impl FileKek {
    /// Makes the first generation in a directory that has none, and the directory if it is missing.
    ///
    /// # Errors
    /// [`KekError::File`], also if there is a key already.
    pub fn init(directory: &Path) -> Result<Self, KekError> {
        fs::create_dir_all(directory).map_err(|source| file(directory, source))?;
        if !list(directory)?.is_empty() {
            return Err(file(directory, ErrorKind::AlreadyExists.into()));
        }
        create(directory, KekGeneration(1))?;
        Self::open(directory)
    }

    /// Reads every generation of a directory.
    ///
    /// # Errors
    /// [`KekError::Missing`], [`KekError::Exposed`], [`KekError::Malformed`], [`KekError::File`].
    pub fn open(directory: &Path) -> Result<Self, KekError> {
        let mut generations = BTreeMap::new();
        for generation in list(directory)? {
            generations.insert(generation, read(&path(directory, generation))?);
        }
        if generations.is_empty() {
            return Err(KekError::Missing { path: directory.to_owned() });
        }
        Ok(Self { directory: directory.to_owned(), generations: RwLock::new(generations) })
    }
}

impl KekProvider for FileKek {
    fn generations(&self) -> Result<BTreeSet<KekGeneration>, KekError> {
        Ok(self.generations.read().keys().copied().collect())
    }

    fn create(&self, above: KekGeneration) -> Result<KekGeneration, KekError> {
        let mut generations = self.generations.write();
        let next = KekGeneration(newest(&generations).max(above).0.checked_add(1).ok_or(KekError::Library)?);
        create(&self.directory, next)?;
        generations.insert(next, read(&path(&self.directory, next))?);
        Ok(next)
    }

    fn wrap(&self, generation: KekGeneration, key: &[u8; RECORD_KEY_LEN], context: &[u8]) -> Result<WrappedKey, KekError> {
        let generations = self.generations.read();
        let cipher = generations.get(&generation).ok_or(KekError::UnknownGeneration { generation })?;
        let nonce = random::<NONCE_LEN>()?;
        let mut bytes = nonce.to_vec();
        bytes.extend(cipher.encrypt(*nonce, context, key).map_err(|_| KekError::Library)?);
        Ok(WrappedKey(bytes))
    }

    fn unwrap(&self, generation: KekGeneration, wrapped: &WrappedKey, context: &[u8]) -> Result<Zeroizing<[u8; RECORD_KEY_LEN]>, KekError> {
        let generations = self.generations.read();
        let cipher = generations.get(&generation).ok_or(KekError::UnknownGeneration { generation })?;
        let unwrap = || {
            let (nonce, ciphertext) = wrapped.0.split_first_chunk::<NONCE_LEN>()?;
            let plain = cipher.decrypt(*nonce, context, ciphertext)?;
            Some(Zeroizing::new(plain.as_slice().try_into().ok()?))
        };
        unwrap().ok_or(KekError::Unwrap { generation })
    }

    fn proves_destruction(&self) -> bool {
        false
    }

    fn destroy(&self, generation: KekGeneration) -> Result<(), KekError> {
        let mut generations = self.generations.write();
        if newest(&generations) == generation {
            return Err(KekError::Current { generation });
        }
        if !generations.contains_key(&generation) {
            return Err(KekError::UnknownGeneration { generation });
        }
        let path = path(&self.directory, generation);
        // Overwritten first: it helps on file systems that write in place and harms nowhere.
        let shred = || {
            let mut key = OpenOptions::new().write(true).open(&path)?;
            key.write_all(&[0; RECORD_KEY_LEN])?;
            key.sync_all()?;
            fs::remove_file(&path)?;
            File::open(&self.directory)?.sync_all()
        };
        shred().map_err(|source| file(&path, source))?;
        generations.remove(&generation);
        Ok(())
    }
}

impl fmt::Debug for FileKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKek").field("directory", &self.directory).field("keys", &"<redacted>").finish_non_exhaustive()
    }
}

const PREFIX: &str = "kek-";
/// Name of a key file that is being written.
const UNFINISHED: &str = "unfinished";

fn newest(generations: &BTreeMap<KekGeneration, Cipher>) -> KekGeneration {
    *generations.last_key_value().expect("opened with at least one, and the newest is never removed").0
}

fn path(directory: &Path, generation: KekGeneration) -> PathBuf {
    directory.join(format!("{PREFIX}{:08}", generation.0))
}

fn file(path: &Path, source: std::io::Error) -> KekError {
    KekError::File { path: path.to_owned(), source }
}

fn list(directory: &Path) -> Result<Vec<KekGeneration>, KekError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(KekError::Missing { path: directory.to_owned() }),
        Err(source) => return Err(file(directory, source)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(|source| file(directory, source))?.file_name();
        if let Some(number) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|digits| digits.parse().ok()) {
            found.push(KekGeneration(number));
        }
    }
    Ok(found)
}

fn create(directory: &Path, generation: KekGeneration) -> Result<(), KekError> {
    let path = path(directory, generation);
    let key = random::<RECORD_KEY_LEN>()?;
    // Under another name until it is whole: half a key must never pass for one.
    let unfinished = directory.join(UNFINISHED);
    let write = || {
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        created.write_all(key.as_ref())?;
        created.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| file(&path, source))
}

fn read(path: &Path) -> Result<Cipher, KekError> {
    let mode = fs::metadata(path).map_err(|source| file(path, source))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KekError::Exposed { path: path.to_owned(), mode });
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(|source| file(path, source))?);
    let key = Zeroizing::new(
        <[u8; RECORD_KEY_LEN]>::try_from(bytes.as_slice()).map_err(|_| KekError::Malformed { path: path.to_owned(), len: bytes.len() })?,
    );
    Cipher::new(&key).map_err(|_| KekError::Library)
}

pub(super) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, KekError> {
    let mut bytes = Zeroizing::new([0; N]);
    aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| KekError::Library)?;
    Ok(bytes)
}
