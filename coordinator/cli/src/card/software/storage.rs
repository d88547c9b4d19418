//! The card's file: read whole, replaced durably and at once, used by one try at a time.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::envelope::{ENVELOPE_SIZE_MAX, Envelope};
use crate::card::error::CardError;

/// Where a card is.
#[derive(Debug)]
pub(super) struct Storage {
    path: PathBuf,
}

impl Storage {
    /// Writes a new file with mode 0600; durable when it returns. Refuses to overwrite.
    pub(super) fn create(path: &Path, envelope: &Envelope) -> Result<(), CardError> {
        let storage = Self { path: path.to_owned() };
        let file = storage.write_beside(envelope)?;
        file.persist_noclobber(path).map_err(|e| storage.error("created", e.error))?;
        storage.sync_directory()
    }

    /// Follows symbolic links once, so that the file is replaced where it really is.
    pub(super) fn open(path: &Path) -> Result<Self, CardError> {
        let real = fs::canonicalize(path).map_err(|source| CardError::File { path: path.to_owned(), doing: "found", source })?;
        Ok(Self { path: real })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the card as it stands, without the lock: for what needs no PIN.
    pub(super) fn read(&self) -> Result<Envelope, CardError> {
        let file = File::open(&self.path).map_err(|e| self.error("opened", e))?;
        let mode = file.metadata().map_err(|e| self.error("opened", e))?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(CardError::Exposed { path: self.path.clone(), mode });
        }
        let mut bytes = Vec::new();
        let limit = ENVELOPE_SIZE_MAX as u64 + 1;
        file.take(limit).read_to_end(&mut bytes).map_err(|e| self.error("read", e))?;
        Envelope::parse(&bytes).map_err(|problem| CardError::NotACard { path: self.path.clone(), problem })
    }

    /// Keeps every other process and thread off the card, waiting for at most [`LOCK_WAIT`].
    pub(super) fn lock(&self) -> Result<Locked<'_>, CardError> {
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            if let Some(locked) = self.try_lock()? {
                return Ok(locked);
            }
            if Instant::now() >= deadline {
                return Err(CardError::Busy { path: self.path.clone() });
            }
            thread::sleep(LOCK_POLL);
        }
    }

    /// Locks the card, or returns `None` while another has it.
    pub(super) fn try_lock(&self) -> Result<Option<Locked<'_>>, CardError> {
        // The directory and not the file: replacing the file would leave the lock on one that has no name any more.
        let directory = File::open(self.directory()).map_err(|e| self.error("locked", e))?;
        match directory.try_lock() {
            Ok(()) => Ok(Some(Locked { storage: self, _directory: directory })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(self.error("locked", e)),
        }
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        }
    }

    /// A temporary file has mode 0600 from its start and is removed if it does not become the card.
    fn write_beside(&self, envelope: &Envelope) -> Result<NamedTempFile, CardError> {
        let mut file = NamedTempFile::new_in(self.directory()).map_err(|e| self.error("written", e))?;
        file.write_all(&envelope.to_bytes()).and_then(|()| file.as_file().sync_all()).map_err(|e| self.error("written", e))?;
        Ok(file)
    }

    fn sync_directory(&self) -> Result<(), CardError> {
        File::open(self.directory()).and_then(|directory| directory.sync_all()).map_err(|e| self.error("made durable", e))
    }

    fn error(&self, doing: &'static str, source: io::Error) -> CardError {
        CardError::File { path: self.path.clone(), doing, source }
    }
}

/// The card while no other process or thread may change it; unlocked on drop.
pub(super) struct Locked<'a> {
    storage: &'a Storage,
    _directory: File,
}

impl Locked<'_> {
    pub(super) fn read(&self) -> Result<Envelope, CardError> {
        self.storage.read()
    }

    /// Replaces the card; when it returns, a crash or power cut shows the new content.
    pub(super) fn replace(&self, envelope: &Envelope) -> Result<(), CardError> {
        let file = self.storage.write_beside(envelope)?;
        file.persist(self.storage.path()).map_err(|e| self.storage.error("replaced", e.error))?;
        self.storage.sync_directory()
    }
}

/// How long a try waits for others, which take well under a second each; then the person is told.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// How often it looks; short beside the time a person takes to type.
const LOCK_POLL: Duration = Duration::from_millis(20);
