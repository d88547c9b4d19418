//! Key shares, sealed.

use std::collections::BTreeMap;

use frost_ed25519::keys::KeyPackage;
use redb::{ReadableTable as _, ReadableTableMetadata as _, TableDefinition};
use warifu_core::signer::ShareRecord;
use warifu_protocol::{ClusterId, CredentialId, Epoch, NodeId};

use super::{LocalStore, LocalStoreError};
use crate::sealing::{KekGeneration, KekProvider, RecordSealer, WrappedKey};
use crate::store::{Database, StoreError};

/// Record keys wrapped by the KEK, by generation.
const WRAPPED: TableDefinition<'static, u32, &[u8]> = TableDefinition::new("wrapped_keys");
/// Sealed shares by credential and epoch. A ceremony that is run again overwrites: only its last attempt can have ended well.
const SHARES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("shares");

pub(super) fn open_sealer(
    database: &Database,
    kek: &dyn KekProvider,
    node: NodeId,
    cluster: ClusterId,
) -> Result<RecordSealer, LocalStoreError> {
    let context = [b"warifu-record-key-v1".as_slice(), cluster.as_ref(), &[node.get()]].concat();
    database.write_blocking(|transaction| {
        transaction.open_table(WRAPPED)?;
        transaction.open_table(SHARES)?;
        Ok(())
    })?;
    let mut stored: BTreeMap<KekGeneration, WrappedKey> = database.read(|transaction| {
        let table = transaction.open_table(WRAPPED)?;
        let mut stored = BTreeMap::new();
        for pair in table.iter()? {
            let (generation, wrapped) = pair?;
            stored.insert(KekGeneration(generation.value()), WrappedKey(wrapped.value().to_vec()));
        }
        Ok(stored)
    })?;
    if stored.is_empty() {
        let (generation, wrapped) = RecordSealer::new_key(kek, &context)?;
        let bytes = wrapped.0.clone();
        database.write_blocking(move |transaction| {
            transaction.open_table(WRAPPED)?.insert(generation.0, bytes.as_slice())?;
            Ok(())
        })?;
        stored.insert(generation, wrapped);
    }
    Ok(RecordSealer::open(kek, &stored, &context)?)
}

impl LocalStore {
    /// Seals shares and stores them durably. They count once the log says that all participants confirmed.
    ///
    /// # Errors
    /// When sealing or the store fails.
    pub async fn store_shares(&self, shares: &[ShareRecord]) -> Result<(), LocalStoreError> {
        let mut sealed = Vec::with_capacity(shares.len());
        for record in shares {
            let aad = ShareRecord::aad(self.cluster, self.node, record.credential, record.epoch);
            sealed.push((share_key(record.credential, record.epoch), self.sealer.seal(&aad, &record.encode())?));
        }
        self.database
            .write(move |transaction| {
                let mut table = transaction.open_table(SHARES)?;
                for (key, bytes) in &sealed {
                    table.insert(key.as_slice(), bytes.as_slice())?;
                }
                Ok(())
            })
            .await?;
        Ok(())
    }

    /// Opens this node's share of a credential, if it has one.
    ///
    /// # Errors
    /// When the store fails or the record is damaged or another node's.
    pub fn share(&self, credential: CredentialId, epoch: Epoch) -> Result<Option<KeyPackage>, LocalStoreError> {
        let sealed = self.database.read(|transaction| {
            let table = transaction.open_table(SHARES)?;
            Ok(table.get(share_key(credential, epoch).as_slice())?.map(|value| value.value().to_vec()))
        })?;
        let Some(sealed) = sealed else { return Ok(None) };
        let plaintext = self.sealer.unseal(&ShareRecord::aad(self.cluster, self.node, credential, epoch), &sealed)?;
        let damaged = |reason: String| LocalStoreError::Share { credential, reason };
        let record = ShareRecord::decode(&plaintext).map_err(|error| damaged(error.to_string()))?;
        record.key_package().map(Some).map_err(|error| damaged(error.to_string()))
    }

    /// Number of sealed shares.
    ///
    /// # Errors
    /// When the store fails.
    pub fn share_count(&self) -> Result<u64, LocalStoreError> {
        Ok(self.database.read(|transaction| Ok::<_, StoreError>(transaction.open_table(SHARES)?.len()?))?)
    }
}

fn share_key(credential: CredentialId, epoch: Epoch) -> Vec<u8> {
    [credential.as_ref(), &epoch.0.to_be_bytes()].concat()
}
