//! Reads all of a local store and names what is damaged.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable as _};
use warifu_core::audit as tree;
use warifu_core::signer::ShareRecord;
use warifu_protocol::{AuditEntry, ClusterId, NodeId};

use super::audit::{ENTRIES, HASHES, Reader};
use super::shares::{SHARES, parse_share_key};
use super::vault::{WRAPPED, context};
use crate::custodian::describe;
use crate::sealing::{KekGeneration, KekProvider, RecordSealer, WrappedKey};
use crate::store::{Database, StoreError};

/// Damages that are named one by one; more are only counted.
const NAMED_MAX: usize = 1000;

/// What is damaged in a local store.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LocalDamage {
    /// In words, at most 1000 and one that counts the rest.
    pub damage: Vec<String>,
    /// Shares that open.
    pub shares: u64,
    /// Audit entries that fit their tree.
    pub audit_entries: u64,
    /// Why shares could not be opened, if they could not.
    pub locked: Option<String>,
    unnamed: u64,
}

impl LocalDamage {
    /// Opens every share and compares every audit entry with the tree. Blocks, and changes nothing.
    #[must_use]
    pub fn look(database: &Database, node: NodeId, cluster: ClusterId, kek: Result<Arc<dyn KekProvider>, String>) -> Self {
        let mut found = Self::default();
        for (what, outcome) in [
            ("the shares", database.read(|transaction| found.look_at_shares(transaction, node, cluster, kek.clone()))),
            ("the audit log", database.read(|transaction| found.look_at_audit(transaction))),
        ] {
            if let Err(error) = outcome {
                found.name(format!("{what} cannot be read: {}", describe(&error)));
            }
        }
        if found.unnamed > 0 {
            found.damage.push(format!("and {} more", found.unnamed));
        }
        found
    }

    fn name(&mut self, text: String) {
        if self.damage.len() < NAMED_MAX {
            self.damage.push(text);
        } else {
            self.unnamed += 1;
        }
    }

    fn look_at_shares(
        &mut self,
        transaction: &ReadTransaction,
        node: NodeId,
        cluster: ClusterId,
        kek: Result<Arc<dyn KekProvider>, String>,
    ) -> Result<(), StoreError> {
        let mut stored = BTreeMap::new();
        for pair in transaction.open_table(WRAPPED)?.iter()? {
            let (generation, wrapped) = pair?;
            stored.insert(KekGeneration(generation.value()), WrappedKey(wrapped.value().to_vec()));
        }
        if stored.is_empty() {
            return Ok(());
        }
        let sealer = kek.and_then(|kek| RecordSealer::open(&*kek, &stored, &context(cluster, node)).map_err(|error| describe(&error)));
        let sealer = match sealer {
            Ok(sealer) => sealer,
            Err(reason) => {
                self.locked = Some(reason);
                return Ok(());
            }
        };
        for pair in transaction.open_table(SHARES)?.iter()? {
            let (key, sealed) = pair?;
            let Some((credential, epoch)) = parse_share_key(key.value()) else {
                self.name("a share has a key that is none".to_owned());
                continue;
            };
            let aad = ShareRecord::aad(cluster, node, credential, epoch);
            let whole = sealer.unseal(&aad, sealed.value()).ok().and_then(|plain| ShareRecord::decode(&plain).ok()?.key_package().ok());
            match whole {
                Some(_) => self.shares += 1,
                None => self.name(format!("the share of {credential} in epoch {} does not open", epoch.0)),
            }
        }
        Ok(())
    }

    fn look_at_audit(&mut self, transaction: &ReadTransaction) -> Result<(), StoreError> {
        let (entries, hashes) = match (transaction.open_table(ENTRIES), transaction.open_table(HASHES)) {
            (Err(redb::TableError::TableDoesNotExist(_)), _) => return Ok(()),
            (entries, hashes) => (entries?, hashes?),
        };
        let mut expected = 0;
        for pair in entries.iter()? {
            let (position, bytes) = pair?;
            let position = position.value();
            if position != expected {
                self.name(format!("audit entries {expected} to {} are missing", position.saturating_sub(1)));
            }
            expected = position + 1;
            let fits = postcard::from_bytes::<AuditEntry>(bytes.value()).is_ok()
                && tree::append(position, bytes.value(), &Reader(&hashes)).is_ok_and(|computed| {
                    computed.iter().all(|(index, hash)| {
                        hashes.get(*index).is_ok_and(|stored| stored.is_some_and(|stored| stored.value() == *hash.as_bytes()))
                    })
                });
            if fits {
                self.audit_entries += 1;
            } else {
                self.name(format!("audit entry {position} is not the one in the tree"));
            }
        }
        Ok(())
    }
}
