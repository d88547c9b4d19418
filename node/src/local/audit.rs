//! The audit log and the record of used request numbers, written in one transaction: a share leaves only after both are on disk.

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use tlog_tiles::{Hash, HashReader};
use warifu_core::audit;
use warifu_protocol::{AuditEntry, Checkpoint, RequestHash, SessionId, Sha256};

use super::spent::{SPENT, spend};
use super::{LocalStore, LocalStoreError, meta};
use crate::store::StoreError;

/// Encoded entries by position.
pub(super) const ENTRIES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("audit_entries");
/// Hashes of the Merkle tree by stored index.
pub(super) const HASHES: TableDefinition<'static, u64, [u8; 32]> = TableDefinition::new("audit_hashes");

/// One entry to append, with the request number that it uses up, if any, and the entry to append instead if that is used.
#[derive(Clone)]
pub struct AuditWrite {
    /// What to append.
    pub entry: AuditEntry,
    /// Session, number and hash of the request.
    pub spend: Option<(SessionId, u32, RequestHash)>,
    /// Appended in place of `entry` if the number was used for another request.
    pub otherwise: Option<AuditEntry>,
}

impl AuditWrite {
    /// An entry that uses no request number up.
    #[must_use]
    pub const fn plain(entry: AuditEntry) -> Self {
        Self { entry, spend: None, otherwise: None }
    }
}

/// Whether a request number was free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpendOutcome {
    /// Free, or used for the same request: the entry was appended.
    Recorded,
    /// Used for another request.
    UsedForAnother,
}

impl LocalStore {
    /// Appends entries durably, in order, with their request numbers. One fsync serves everything that waits.
    ///
    /// # Errors
    /// When the store fails: then none of it happened, and nothing may be said or signed on its strength.
    pub async fn record(&self, writes: Vec<AuditWrite>) -> Result<Vec<SpendOutcome>, LocalStoreError> {
        Ok(self.database.write(move |transaction| append(transaction, &writes)).await?)
    }

    /// Appends what applied entries came to, and notes that everything up to `through` is recorded, in one transaction.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub async fn record_applied(&self, writes: Vec<AuditWrite>, through: u64) -> Result<(), LocalStoreError> {
        let write = move |transaction: &WriteTransaction| {
            append(transaction, &writes)?;
            meta::note_recorded(transaction, through)
        };
        Ok(self.database.write(write).await?)
    }

    /// Index of the last applied entry that the audit log is known to have; 0 before the first.
    ///
    /// # Errors
    /// When the store fails.
    pub fn recorded_through(&self) -> Result<u64, LocalStoreError> {
        Ok(meta::recorded_through(&self.database)?)
    }

    /// Size and root of the log.
    ///
    /// # Errors
    /// When the store fails.
    pub fn checkpoint(&self) -> Result<Checkpoint, LocalStoreError> {
        let found = self.database.read(|transaction| {
            let entries = match transaction.open_table(ENTRIES) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let size = next_position(&entries)?;
            let hashes = transaction.open_table(HASHES)?;
            Ok(Some((size, audit::root(size, &Reader(&hashes)).map_err(|error| error.to_string()))))
        })?;
        match found {
            None => Ok(Checkpoint { size: 0, root: Sha256::new(warifu_protocol::canonical::sha256(&[])) }),
            Some((size, Ok(root))) => Ok(Checkpoint { size, root }),
            Some((_, Err(reason))) => Err(LocalStoreError::Audit { reason }),
        }
    }

    /// Entries from a position on.
    ///
    /// # Errors
    /// When the store fails or an entry is damaged.
    pub fn entries(&self, from: u64, limit: usize) -> Result<Vec<(u64, AuditEntry)>, LocalStoreError> {
        Ok(self.database.read(|transaction| {
            let entries = transaction.open_table(ENTRIES)?;
            let mut found = Vec::new();
            for pair in entries.range(from..)?.take(limit) {
                let (position, bytes) = pair?;
                let entry = postcard::from_bytes(bytes.value())
                    .map_err(|error| StoreError::Corrupt { what: "an audit entry", detail: error.to_string() })?;
                found.push((position.value(), entry));
            }
            Ok(found)
        })?)
    }
}

/// Appends one entry in a transaction that also does what it tells of.
pub(super) fn append_plain(transaction: &WriteTransaction, entry: &AuditEntry) -> Result<(), StoreError> {
    append_entry(&mut transaction.open_table(ENTRIES)?, &mut transaction.open_table(HASHES)?, entry)
}

fn append(transaction: &WriteTransaction, writes: &[AuditWrite]) -> Result<Vec<SpendOutcome>, StoreError> {
    let mut entries = transaction.open_table(ENTRIES)?;
    let mut hashes = transaction.open_table(HASHES)?;
    let mut spent = transaction.open_table(SPENT)?;
    let mut outcomes = Vec::with_capacity(writes.len());
    for write in writes {
        let outcome = match write.spend {
            Some((session, seq, request)) => spend(&mut spent, session, seq, request)?,
            None => SpendOutcome::Recorded,
        };
        let entry = match outcome {
            SpendOutcome::Recorded => Some(&write.entry),
            SpendOutcome::UsedForAnother => write.otherwise.as_ref(),
        };
        if let Some(entry) = entry {
            append_entry(&mut entries, &mut hashes, entry)?;
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn append_entry(
    entries: &mut Table<'_, u64, &'static [u8]>,
    hashes: &mut Table<'_, u64, [u8; 32]>,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let position = next_position(entries)?;
    let bytes = entry.encode();
    let damaged = |detail: String| StoreError::Corrupt { what: "the audit log's tree", detail };
    let new = audit::append(position, &bytes, &Reader(&*hashes)).map_err(|error| damaged(error.to_string()))?;
    for (index, hash) in new {
        hashes.insert(index, *hash.as_bytes())?;
    }
    entries.insert(position, bytes.as_slice())?;
    Ok(())
}

/// Entries that the log has.
pub(super) fn size(transaction: &WriteTransaction) -> Result<u64, StoreError> {
    next_position(&transaction.open_table(ENTRIES)?)
}

fn next_position(entries: &impl ReadableTable<u64, &'static [u8]>) -> Result<u64, StoreError> {
    Ok(entries.last()?.map_or(0, |(position, _)| position.value() + 1))
}

pub(super) struct Reader<'a, T>(pub(super) &'a T);

impl<T: ReadableTable<u64, [u8; 32]>> HashReader for Reader<'_, T> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        indexes
            .iter()
            .map(|index| match self.0.get(*index) {
                Ok(Some(hash)) => Ok(Hash(hash.value())),
                Ok(None) | Err(_) => Err(tlog_tiles::Error::IndexesNotInTree),
            })
            .collect()
    }
}
