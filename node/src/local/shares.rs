//! Key shares, sealed.

use std::collections::BTreeSet;

use frost_ed25519::keys::KeyPackage;
use redb::{ReadableTable as _, ReadableTableMetadata as _, TableDefinition, WriteTransaction};
use warifu_core::signer::ShareRecord;
use warifu_protocol::{AuditEntry, AuditEvent, CredentialId, Epoch};

use super::destroyed::is_destroyed;
use super::{LocalStore, LocalStoreError, audit};
use crate::clock;
use crate::sealing::SealError;
use crate::store::{Database, StoreError};

/// Sealed shares by credential and epoch. A ceremony that is run again overwrites: only its last attempt can have ended well.
pub(super) const SHARES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("shares");
/// Keys of shares that did not open, until a whole one is stored in their place.
pub(super) const DAMAGED: TableDefinition<'static, &[u8], ()> = TableDefinition::new("damaged_shares");

/// How often a share is read again because a rotation ended between reading and opening it. Two rotations do not end within one read.
const READS_MAX: u32 = 3;

pub(super) fn create_tables(database: &Database) -> Result<(), LocalStoreError> {
    Ok(database.write_blocking(|transaction| {
        transaction.open_table(SHARES)?;
        transaction.open_table(DAMAGED)?;
        Ok(())
    })?)
}

impl LocalStore {
    /// Seals shares and stores them durably. They count once the log says that all participants confirmed. A share that was damaged is sound again.
    ///
    /// # Errors
    /// [`LocalStoreError::Locked`] while the KEK has not been reached; when sealing or the store fails.
    pub async fn store_shares(&self, shares: &[ShareRecord]) -> Result<(), LocalStoreError> {
        let _sealing = self.vault.switching.read().await;
        let sealer = self.vault.unlocked()?.sealer;
        let mut sealed = Vec::with_capacity(shares.len());
        for record in shares {
            let aad = ShareRecord::aad(self.cluster, self.node, record.credential, record.epoch);
            sealed.push((share_key(record.credential, record.epoch), sealer.seal(&aad, &record.encode())?));
        }
        self.database
            .write(move |transaction| {
                let mut table = transaction.open_table(SHARES)?;
                let mut damaged = transaction.open_table(DAMAGED)?;
                for (key, bytes) in &sealed {
                    if is_destroyed(transaction, key.get(..CredentialId::LEN).unwrap_or_default())? {
                        continue;
                    }
                    table.insert(key.as_slice(), bytes.as_slice())?;
                    damaged.remove(key.as_slice())?;
                }
                Ok(())
            })
            .await?;
        for record in shares {
            self.suspects.lock().remove(&(record.credential, record.epoch));
        }
        Ok(())
    }

    /// Opens this node's share of a credential, if it has one.
    ///
    /// # Errors
    /// [`LocalStoreError::Locked`] while the KEK has not been reached; [`LocalStoreError::Share`] if the record is damaged or another node's, which is
    /// remembered: see [`Self::damaged_shares`]; when the store fails.
    pub fn share(&self, credential: CredentialId, epoch: Epoch) -> Result<Option<KeyPackage>, LocalStoreError> {
        let sealer = self.vault.unlocked()?.sealer;
        let aad = ShareRecord::aad(self.cluster, self.node, credential, epoch);
        let mut reads = 0;
        let opened = loop {
            let Some(sealed) = self.sealed_share(credential, epoch)? else { return Ok(None) };
            reads += 1;
            match sealer.unseal(&aad, &sealed) {
                // A rotation has ended in between.
                Err(SealError::UnknownGeneration { .. }) if reads < READS_MAX => {}
                opened => break opened,
            }
        };
        let opened = opened.map_err(|error| error.to_string()).and_then(|plaintext| {
            let record = ShareRecord::decode(&plaintext).map_err(|error| error.to_string())?;
            record.key_package().map_err(|error| error.to_string())
        });
        opened.map(Some).map_err(|reason| {
            self.suspects.lock().insert((credential, epoch));
            LocalStoreError::Share { credential, reason }
        })
    }

    /// Number of sealed shares.
    ///
    /// # Errors
    /// When the store fails.
    pub fn share_count(&self) -> Result<u64, LocalStoreError> {
        Ok(self.database.read(|transaction| Ok::<_, StoreError>(transaction.open_table(SHARES)?.len()?))?)
    }

    /// Shares that are there but do not open: they count as missing until [`Self::store_shares`] puts whole ones in their place.
    ///
    /// # Errors
    /// When the store fails.
    pub fn damaged_shares(&self) -> Result<BTreeSet<(CredentialId, Epoch)>, LocalStoreError> {
        let mut damaged = self.suspects.lock().clone();
        damaged.extend(self.database.read(|transaction| {
            let mut noted = BTreeSet::new();
            let shares = transaction.open_table(SHARES)?;
            for pair in transaction.open_table(DAMAGED)?.iter()? {
                let key = pair?.0;
                // One of an ended epoch was deleted since.
                if shares.get(key.value())?.is_some() {
                    noted.extend(parse_share_key(key.value()));
                }
            }
            Ok(noted)
        })?);
        Ok(damaged)
    }

    /// Notes durably, with an audit entry each, the shares that did not open since the last call. Returns how many there were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_damaged_shares(&self) -> Result<usize, LocalStoreError> {
        let suspects = self.suspects.lock().clone();
        if suspects.is_empty() {
            return Ok(0);
        }
        let keys: Vec<_> = suspects.iter().map(|(credential, epoch)| share_key(*credential, *epoch)).collect();
        self.database.write(move |transaction| note_damaged(transaction, &keys)).await?;
        self.suspects.lock().retain(|suspect| !suspects.contains(suspect));
        Ok(suspects.len())
    }

    fn sealed_share(&self, credential: CredentialId, epoch: Epoch) -> Result<Option<Vec<u8>>, LocalStoreError> {
        Ok(self.database.read(|transaction| {
            let table = transaction.open_table(SHARES)?;
            Ok(table.get(share_key(credential, epoch).as_slice())?.map(|value| value.value().to_vec()))
        })?)
    }
}

/// Notes shares that do not open, each with an audit entry the first time.
pub(super) fn note_damaged(transaction: &WriteTransaction, keys: &[Vec<u8>]) -> Result<(), StoreError> {
    let mut found = Vec::new();
    {
        let shares = transaction.open_table(SHARES)?;
        let mut damaged = transaction.open_table(DAMAGED)?;
        for key in keys {
            // One that was destroyed in between is nobody's loss.
            if shares.get(key.as_slice())?.is_some() && damaged.insert(key.as_slice(), ())?.is_none() {
                found.extend(parse_share_key(key));
            }
        }
    }
    for (credential, epoch) in found {
        audit::append_plain(transaction, &AuditEntry::new(clock::now(), AuditEvent::ShareDamaged { credential, epoch }))?;
    }
    Ok(())
}

/// Deletes the shares of a credential, of every epoch.
pub(super) fn delete_shares(transaction: &WriteTransaction, credential: CredentialId) -> Result<(), StoreError> {
    let (from, to) = (share_key(credential, Epoch(0)), share_key(credential, Epoch(u32::MAX)));
    let range = from.as_slice()..=to.as_slice();
    transaction.open_table(SHARES)?.retain_in::<&[u8], _>(range.clone(), |_, _| false)?;
    transaction.open_table(DAMAGED)?.retain_in::<&[u8], _>(range, |_, _| false)?;
    Ok(())
}

pub(super) fn share_key(credential: CredentialId, epoch: Epoch) -> Vec<u8> {
    [credential.as_ref(), &epoch.0.to_be_bytes()].concat()
}

pub(super) fn parse_share_key(key: &[u8]) -> Option<(CredentialId, Epoch)> {
    let (credential, epoch) = key.split_first_chunk::<{ CredentialId::LEN }>()?;
    Some((CredentialId::new(*credential), Epoch(u32::from_be_bytes(epoch.try_into().ok()?))))
}
