//! A backup: the sealed shares and their wrapped record keys, and nothing else. No raft state, no audit log, no key.
//!
//! `warifu-backup-v1\n` | header length (4) | header (postcard) | shares: key (20), length (2), sealed bytes | SHA-256 of everything before it. Numbers are big
//! endian. Shares stand in the order of their keys.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{ReadableTable as _, ReadableTableMetadata as _, WriteTransaction};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256 as Hasher};
use warifu_core::signer::ShareRecord;
use warifu_protocol::{AuditEntry, AuditEvent, ClusterId, CredentialId, NodeId, Sha256, StoreId, UnixMillis};

use super::destroyed::is_destroyed;
use super::shares::{DAMAGED, SHARES, parse_share_key};
use super::vault::{WRAPPED, context, store_wrapped};
use super::{LocalStore, LocalStoreError, audit};
use crate::clock;
use crate::sealing::{KekError, KekGeneration, KekProvider, RecordSealer, SealError, WrappedKey};
use crate::store::StoreError;

const MAGIC: &[u8] = b"warifu-backup-v1\n";
/// A header has some record keys of 60 bytes.
const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// A sealed share has less than 300 bytes.
const SEALED_BYTES_MAX: u16 = 1024;
const KEY_BYTES: usize = CredentialId::LEN + 4;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHeader {
    /// Whose node.
    pub node: NodeId,
    /// Which cluster.
    pub cluster: ClusterId,
    /// Which store it was made from.
    pub store: StoreId,
    /// When, by the node's clock.
    pub made_at: UnixMillis,
    /// Record keys, wrapped by the KEK generation that each names. They die with it.
    pub record_keys: Vec<(KekGeneration, WrappedKey)>,
    /// Number of shares.
    pub shares: u64,
}

/// What was backed up or restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSummary {
    /// Store that the backup was made from.
    pub store: StoreId,
    /// When it was made.
    pub made_at: UnixMillis,
    /// KEK generations that it rests on: when one of them is destroyed, it is noise.
    pub generations: Vec<KekGeneration>,
    /// Shares in it.
    pub shares: u64,
    /// SHA-256 at its end.
    pub digest: Sha256,
}

/// What came back from a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoredShares {
    /// The backup.
    pub backup: BackupSummary,
    /// Shares in it of credentials that were destroyed: they stay away.
    pub destroyed: u64,
}

/// Why a backup is not made or not taken. Nothing is half done.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file cannot be read or written.
    #[error("the backup {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a backup, cut off, or changed.
    #[error("the backup is damaged or none: {reason}")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// Of another node or cluster.
    #[error("the backup is of node {node} of cluster {cluster}; a node takes its own only")]
    Foreign {
        /// Node found.
        node: NodeId,
        /// Cluster found.
        cluster: ClusterId,
    },
    /// Sealed under a destroyed generation.
    #[error("the backup rests on KEK generation {generation}, which is not here: it was destroyed, and the backup with it")]
    Shredded {
        /// Which one.
        generation: KekGeneration,
    },
    /// There is something to lose.
    #[error("the store has {shares} shares; a backup is restored onto an empty, replaced store only")]
    NotEmpty {
        /// How many.
        shares: u64,
    },
    /// This node's own store or KEK.
    #[error(transparent)]
    Store(#[from] LocalStoreError),
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

impl LocalStore {
    /// Writes a backup of one instant into a new file that only its owner can read. Blocks; the node goes on meanwhile.
    ///
    /// # Errors
    /// [`BackupError::File`], also if there is a file already; [`BackupError::Store`]. The file is removed then.
    pub fn backup(&self, path: &Path) -> Result<BackupSummary, BackupError> {
        let failed = |source| BackupError::File { path: path.to_owned(), source };
        let file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let written = self.write_backup(&file, path);
        if written.is_err() {
            // What is left of it is no backup, and says so when it is read.
            let _ = std::fs::remove_file(path);
        }
        let summary = written?;
        let event = AuditEvent::BackedUp { shares: summary.shares, digest: summary.digest };
        let entry = AuditEntry::new(clock::now(), event);
        self.database.write_blocking(move |transaction| audit::append_plain(transaction, &entry))?;
        Ok(summary)
    }

    fn write_backup(&self, file: &File, path: &Path) -> Result<BackupSummary, BackupError> {
        let failed = |source| BackupError::File { path: path.to_owned(), source };
        let view = self.database.begin_read()?;
        let engine = |error: redb::Error| BackupError::from(StoreError::from(error));
        let wrapped = view.open_table(WRAPPED).map_err(|error| engine(error.into()))?;
        let shares = view.open_table(SHARES).map_err(|error| engine(error.into()))?;
        let mut record_keys = Vec::new();
        for pair in wrapped.iter().map_err(|error| engine(error.into()))? {
            let (generation, key) = pair.map_err(|error| engine(error.into()))?;
            record_keys.push((KekGeneration(generation.value()), WrappedKey(key.value().to_vec())));
        }
        let header = BackupHeader {
            node: self.node,
            cluster: self.cluster,
            store: self.meta.store,
            made_at: clock::now(),
            record_keys,
            shares: shares.len().map_err(|error| engine(error.into()))?,
        };
        let mut out = Hashing { inner: BufWriter::new(file), hasher: Hasher::new() };
        let bytes = postcard::to_stdvec(&header).expect("a header serializes");
        out.write_all(MAGIC).map_err(failed)?;
        out.write_all(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()).map_err(failed)?;
        out.write_all(&bytes).map_err(failed)?;
        for pair in shares.iter().map_err(|error| engine(error.into()))? {
            let (key, sealed) = pair.map_err(|error| engine(error.into()))?;
            let length = u16::try_from(sealed.value().len()).ok().filter(|length| *length <= SEALED_BYTES_MAX);
            let length = length.ok_or_else(|| BackupError::Damaged { reason: "a share of this store has no share's size".to_owned() })?;
            out.write_all(key.value()).map_err(failed)?;
            out.write_all(&length.to_be_bytes()).map_err(failed)?;
            out.write_all(sealed.value()).map_err(failed)?;
        }
        let digest = Sha256::new(out.hasher.clone().finalize().into());
        out.inner.write_all(digest.as_bytes()).map_err(failed)?;
        out.inner.flush().map_err(failed)?;
        drop(out);
        file.sync_all().map_err(failed)?;
        Ok(summary(&header, digest))
    }

    /// Puts a backup's shares and record keys into this store, which must be locked and without shares. Everything is checked first, each share opened
    /// once, and then written in one transaction, but for those of credentials that this store knows to be destroyed. Blocks.
    ///
    /// What was destroyed without this store's knowledge is deleted and shredded once the node is confirmed. Whether the cluster counts the
    /// shares is another matter: a store that is new to it must be admitted by order.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub fn restore(&self, path: &Path, kek: &Arc<dyn KekProvider>) -> Result<RestoredShares, BackupError> {
        let failed = |source| BackupError::File { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let held = self.share_count()?;
        if held > 0 {
            return Err(BackupError::NotEmpty { shares: held });
        }
        let (header, digest) = self.check_backup(&file, kek)?;
        let found = summary(&header, digest);
        let now = clock::now();
        let destroyed = self
            .database
            .write_blocking(move |transaction| {
                let declined = |error: BackupError| StoreError::declined(error.to_string());
                if transaction.open_table(SHARES)?.len()? > 0 {
                    return Err(StoreError::declined("shares were stored meanwhile"));
                }
                // No share is sealed under what is there.
                transaction.open_table(WRAPPED)?.retain(|_, _| false)?;
                transaction.open_table(DAMAGED)?.retain(|_, ()| false)?;
                for (generation, wrapped) in &header.record_keys {
                    store_wrapped(transaction, *generation, wrapped, now)?;
                }
                file.rewind().map_err(|error| StoreError::declined(error.to_string()))?;
                let (mut refused, mut destroyed) = (None, 0);
                let (_, again) = read_backup(&file, |key, sealed| {
                    if refused.is_none() {
                        match put_back(transaction, key, sealed) {
                            Ok(put_back) => destroyed += u64::from(!put_back),
                            Err(error) => refused = Some(error),
                        }
                    }
                    Ok(())
                })
                .map_err(declined)?;
                if let Some(error) = refused {
                    return Err(error);
                }
                if again != digest {
                    return Err(StoreError::declined("the backup was changed while it was read"));
                }
                let event = AuditEvent::Restored { shares: header.shares - destroyed, digest };
                audit::append_plain(transaction, &AuditEntry::new(now, event))?;
                Ok(destroyed)
            })
            .map_err(|error| BackupError::Store(error.into()))?;
        Ok(RestoredShares { backup: found, destroyed })
    }

    /// Reads all of it: whose it is, that no byte was changed, and that every share opens under the KEK that is here.
    fn check_backup(&self, file: &File, kek: &Arc<dyn KekProvider>) -> Result<(BackupHeader, Sha256), BackupError> {
        // All of it once for the digest alone: what is damaged is not judged by what it says.
        let (header, digest) = read_backup(file, |_, _| Ok(()))?;
        if header.node != self.node || header.cluster != self.cluster {
            return Err(BackupError::Foreign { node: header.node, cluster: header.cluster });
        }
        let stored = header.record_keys.iter().cloned().collect();
        let sealer = match RecordSealer::open(&**kek, &stored, &context(self.cluster, self.node)) {
            Ok(sealer) => sealer,
            Err(SealError::Kek(KekError::UnknownGeneration { generation })) => return Err(BackupError::Shredded { generation }),
            Err(error) => return Err(LocalStoreError::from(error).into()),
        };
        let mut again = file;
        again.rewind().map_err(|source| BackupError::File { path: PathBuf::new(), source })?;
        read_backup(file, |key, sealed| {
            let unfit = || BackupError::Damaged { reason: "a share in it does not open".to_owned() };
            let (credential, epoch) = parse_share_key(key).ok_or_else(unfit)?;
            let aad = ShareRecord::aad(self.cluster, self.node, credential, epoch);
            sealer.unseal(&aad, sealed).map_err(|_| unfit())?;
            Ok(())
        })?;
        Ok((header, digest))
    }
}

/// Says whether the share is back; one of a destroyed credential is not.
fn put_back(transaction: &WriteTransaction, key: &[u8], sealed: &[u8]) -> Result<bool, StoreError> {
    if is_destroyed(transaction, key.get(..CredentialId::LEN).unwrap_or_default())? {
        return Ok(false);
    }
    transaction.open_table(SHARES)?.insert(key, sealed)?;
    Ok(true)
}

fn summary(header: &BackupHeader, digest: Sha256) -> BackupSummary {
    let generations = header.record_keys.iter().map(|(generation, _)| *generation).collect();
    BackupSummary { store: header.store, made_at: header.made_at, generations, shares: header.shares, digest }
}

/// Reads a backup from the file's position to its end, and compares its digest.
fn read_backup(file: &File, mut each: impl FnMut(&[u8], &[u8]) -> Result<(), BackupError>) -> Result<(BackupHeader, Sha256), BackupError> {
    let damaged = |reason: &str| BackupError::Damaged { reason: reason.to_owned() };
    let short =
        |error: io::Error| damaged(if error.kind() == io::ErrorKind::UnexpectedEof { "it is cut off" } else { "it cannot be read" });
    let mut input = Hashing { inner: BufReader::new(file), hasher: Hasher::new() };
    let mut magic = [0; MAGIC.len()];
    input.read_exact(&mut magic).map_err(short)?;
    if magic != *MAGIC {
        return Err(damaged("it does not begin as one"));
    }
    let mut length = [0; 4];
    input.read_exact(&mut length).map_err(short)?;
    let length = u32::from_be_bytes(length);
    if length > HEADER_BYTES_MAX {
        return Err(damaged("its header is too long"));
    }
    let mut bytes = vec![0; length as usize];
    input.read_exact(&mut bytes).map_err(short)?;
    let header: BackupHeader = postcard::from_bytes(&bytes).map_err(|_| damaged("its header cannot be read"))?;
    for _ in 0..header.shares {
        let (mut key, mut length) = ([0; KEY_BYTES], [0; 2]);
        input.read_exact(&mut key).map_err(short)?;
        input.read_exact(&mut length).map_err(short)?;
        let length = u16::from_be_bytes(length);
        if length > SEALED_BYTES_MAX {
            return Err(damaged("a share in it is too long"));
        }
        let mut sealed = vec![0; usize::from(length)];
        input.read_exact(&mut sealed).map_err(short)?;
        each(&key, &sealed)?;
    }
    let digest: [u8; 32] = input.hasher.clone().finalize().into();
    let mut stated = [0; 32];
    input.inner.read_exact(&mut stated).map_err(short)?;
    if stated != digest {
        return Err(damaged("its digest is not that of its content"));
    }
    if input.inner.read(&mut [0]).map_err(short)? != 0 {
        return Err(damaged("something follows its end"));
    }
    Ok((header, Sha256::new(digest)))
}

/// Hashes what passes.
struct Hashing<T> {
    inner: T,
    hasher: Hasher,
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let taken = self.inner.read(bytes)?;
        self.hasher.update(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }
}
