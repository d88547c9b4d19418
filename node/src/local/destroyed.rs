//! Destroyed credentials: their shares are deleted, none is taken any more, and what became of them is remembered.

use redb::{ReadableTable as _, TableDefinition, WriteTransaction};
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::{AuditEntry, AuditEvent, CredentialId, Gone, NodeSigned, UnixMillis};

use super::audit::append_plain;
use super::shares::delete_shares;
use super::{LocalStore, LocalStoreError};
use crate::store::StoreError;

/// Credentials of which no share is stored any more.
const TOMBSTONES: TableDefinition<'static, &[u8], ()> = TableDefinition::new("destroyed");
/// Log index up to which destroyed credentials were dealt with.
const THROUGH: TableDefinition<'static, (), u64> = TableDefinition::new("destroyed_through");
/// Credentials whose shares are deleted, but may still be readable in old pages and backups.
const UNSHREDDED: TableDefinition<'static, &[u8], ()> = TableDefinition::new("destroyed_unshredded");
/// What this node says of those that are gone.
const GONE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("destroyed_gone");

impl LocalStore {
    /// The log index up to which destroyed credentials were dealt with here.
    ///
    /// # Errors
    /// When the store fails.
    pub fn destroyed_through(&self) -> Result<u64, LocalStoreError> {
        Ok(self.database.read(|transaction| match transaction.open_table(THROUGH) {
            Ok(table) => Ok(table.get(())?.map_or(0, |index| index.value())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
            Err(error) => Err(error.into()),
        })?)
    }

    /// Deletes all shares of these credentials, of every epoch, with their audit entries, and takes none of them any more.
    ///
    /// # Errors
    /// When the store fails: then nothing is deleted.
    pub async fn destroy_shares(&self, credentials: Vec<CredentialId>, through: u64, now: UnixMillis) -> Result<(), LocalStoreError> {
        let destroy = move |transaction: &WriteTransaction| {
            credentials.iter().try_for_each(|credential| bury(transaction, *credential, now))?;
            transaction.open_table(THROUGH)?.insert((), through)?;
            Ok(())
        };
        Ok(self.database.write(destroy).await?)
    }

    /// Credentials whose deleted shares the next [`LocalStore::shred`] puts out of reach.
    ///
    /// # Errors
    /// When the store fails.
    pub fn unshredded(&self, limit: usize) -> Result<Vec<CredentialId>, LocalStoreError> {
        Ok(self.database.read(|transaction| {
            let table = match transaction.open_table(UNSHREDDED) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let mut found = Vec::new();
            for pair in table.iter()?.take(limit) {
                let id = <[u8; CredentialId::LEN]>::try_from(pair?.0.value());
                found.push(CredentialId::new(id.map_err(|_| corrupt("its key has another length"))?));
            }
            Ok(found)
        })?)
    }

    /// Records that shares are gone, before it is said.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn record_gone(&self, gone: Vec<NodeSigned<Gone>>) -> Result<(), LocalStoreError> {
        let record = move |transaction: &WriteTransaction| {
            for signed in &gone {
                let bytes = postcard::to_stdvec(signed).expect("a statement serializes");
                transaction.open_table(GONE)?.insert(signed.body.credential.as_ref(), bytes.as_slice())?;
                transaction.open_table(UNSHREDDED)?.remove(signed.body.credential.as_ref())?;
                append_plain(transaction, &AuditEntry::new(signed.body.at, AuditEvent::GoneGiven { gone: signed.body.clone() }))?;
            }
            Ok(())
        };
        Ok(self.database.write(record).await?)
    }

    /// What this node says of a credential that is gone.
    ///
    /// # Errors
    /// When the store fails or the record is damaged.
    pub fn gone(&self, credential: CredentialId) -> Result<Option<NodeSigned<Gone>>, LocalStoreError> {
        Ok(self.database.read(|transaction| {
            let table = match transaction.open_table(GONE) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let found = table.get(credential.as_ref())?.map(|bytes| postcard::from_bytes(bytes.value()));
            found.transpose().map_err(|error| corrupt(&error.to_string()))
        })?)
    }
}

/// Deletes all shares of a credential and takes none of them any more; they are to be shredded.
pub(super) fn bury(transaction: &WriteTransaction, credential: CredentialId, now: UnixMillis) -> Result<(), StoreError> {
    if !is_on(Mutant::KeepDestroyedShares) {
        delete_shares(transaction, credential)?;
    }
    transaction.open_table(TOMBSTONES)?.insert(credential.as_ref(), ())?;
    transaction.open_table(UNSHREDDED)?.insert(credential.as_ref(), ())?;
    append_plain(transaction, &AuditEntry::new(now, AuditEvent::SharesDeleted { credential }))
}

/// Whether no share of this credential is to be stored.
pub(super) fn is_destroyed(transaction: &WriteTransaction, credential: &[u8]) -> Result<bool, StoreError> {
    Ok(transaction.open_table(TOMBSTONES)?.get(credential)?.is_some())
}

fn corrupt(detail: &str) -> StoreError {
    StoreError::Corrupt { what: "the record of a destroyed credential", detail: detail.to_owned() }
}
