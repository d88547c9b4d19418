//! The record keys in memory, and the KEK that they are wrapped by. Until the KEK has been reached the vault is locked: nothing is sealed or opened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::RwLock;
use redb::{ReadableTable as _, TableDefinition};
use warifu_protocol::{ClusterId, NodeId, UnixMillis};

use super::{LocalStore, LocalStoreError};
use crate::clock;
use crate::sealing::{FreshKey, KekError, KekGeneration, KekProvider, RecordSealer, WrappedKey};
use crate::store::{Database, StoreError};

/// Record keys wrapped by the KEK, by generation. The highest is the current one; those below are there while a rotation is not done.
pub(super) const WRAPPED: TableDefinition<'static, u32, &[u8]> = TableDefinition::new("wrapped_keys");
/// Generations under which nothing is sealed any more: false while the KEK has not destroyed them, true once it has.
pub(super) const RETIRED: TableDefinition<'static, u32, bool> = TableDefinition::new("retired_generations");

/// When the record key of a generation was made, in milliseconds since 1970.
const MADE_AT: TableDefinition<'static, u32, u64> = TableDefinition::new("generations_made_at");

/// Time for one call of the KEK. A token on the network that takes longer is as good as away; what it does later is found at the next look.
pub const KEK_DEADLINE: Duration = Duration::from_secs(30);

/// How the store stands with its KEK.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KekStatus {
    /// Whether shares can be opened.
    pub unlocked: bool,
    /// The generation under which new record keys are wrapped; none while locked.
    pub current: Option<KekGeneration>,
    /// Whether a rotation is going on.
    pub rotating: bool,
    /// Records that it has not sealed again yet.
    pub records_left: u64,
    /// Generations that are retired but not destroyed yet.
    pub retired: BTreeSet<KekGeneration>,
    /// Generations that were destroyed.
    pub destroyed: BTreeSet<KekGeneration>,
}

#[derive(Clone)]
pub(super) struct Unlocked {
    pub(super) kek: Arc<dyn KekProvider>,
    pub(super) sealer: Arc<RecordSealer>,
}

#[derive(Default)]
pub(super) struct Vault {
    unlocked: RwLock<Option<Unlocked>>,
    /// Held in common from sealing until the record is queued for the disk; alone by the switch to a new generation. So no record that was sealed under an
    /// old generation is stored after the switch.
    pub(super) switching: Arc<tokio::sync::RwLock<()>>,
    /// One rotation at a time.
    pub(super) rotating: tokio::sync::Mutex<()>,
    pub(super) records_left: AtomicU64,
}

impl Vault {
    pub(super) fn unlocked(&self) -> Result<Unlocked, LocalStoreError> {
        self.unlocked.read().clone().ok_or(LocalStoreError::Locked)
    }
}

/// Asks the KEK off the async runtime, within [`KEK_DEADLINE`].
pub(super) async fn ask<T: Send + 'static>(
    kek: &Arc<dyn KekProvider>,
    question: impl FnOnce(&dyn KekProvider) -> Result<T, KekError> + Send + 'static,
) -> Result<T, LocalStoreError> {
    let kek = Arc::clone(kek);
    let answer = crate::blocking::run(move || question(&*kek));
    match tokio::time::timeout(KEK_DEADLINE, answer).await {
        Ok(Ok(answer)) => Ok(answer?),
        Ok(Err(_)) | Err(_) => Err(LocalStoreError::KekSilent { seconds: KEK_DEADLINE.as_secs() }),
    }
}

/// What record keys are wrapped with: another node's or cluster's do not unwrap.
pub(super) fn context(cluster: ClusterId, node: NodeId) -> Vec<u8> {
    [b"warifu-record-key-v1".as_slice(), cluster.as_ref(), &[node.get()]].concat()
}

pub(super) fn create_tables(database: &Database) -> Result<(), LocalStoreError> {
    Ok(database.write_blocking(|transaction| {
        transaction.open_table(WRAPPED)?;
        transaction.open_table(RETIRED)?;
        transaction.open_table(MADE_AT)?;
        Ok(())
    })?)
}

/// Stores a record key's wrapped form: from then on it is the current one.
pub(super) fn store_wrapped(
    transaction: &redb::WriteTransaction,
    generation: KekGeneration,
    wrapped: &WrappedKey,
    made_at: UnixMillis,
) -> Result<(), StoreError> {
    transaction.open_table(WRAPPED)?.insert(generation.0, wrapped.0.as_slice())?;
    transaction.open_table(MADE_AT)?.insert(generation.0, made_at.0)?;
    Ok(())
}

impl LocalStore {
    /// Takes the KEK and unwraps the record keys with it; makes the first one in a new store. Blocks, as the KEK does.
    ///
    /// # Errors
    /// When the KEK does not give back a record key of this store: it is another's, or the generation is destroyed. The store stays as it was.
    pub fn unlock(&self, kek: Arc<dyn KekProvider>) -> Result<(), LocalStoreError> {
        let context = context(self.cluster, self.node);
        let mut stored = wrapped_keys(&self.database)?;
        if stored.is_empty() {
            let newest = kek.generations()?.last().copied();
            let generation = newest.map_or_else(|| kek.create(KekGeneration(0)), Ok)?;
            let fresh = FreshKey::make(&*kek, generation, &context)?;
            let (wrapped, now) = (fresh.wrapped().clone(), clock::now());
            self.database.write_blocking(move |transaction| store_wrapped(transaction, generation, &wrapped, now))?;
            stored.insert(generation, fresh.wrapped().clone());
        }
        let sealer = Arc::new(RecordSealer::open(&*kek, &stored, &context)?);
        *self.vault.unlocked.write() = Some(Unlocked { kek, sealer });
        Ok(())
    }

    /// Whether shares can be sealed and opened.
    #[must_use]
    pub fn is_unlocked(&self) -> bool {
        self.vault.unlocked.read().is_some()
    }

    /// When the current generation was taken into use; the beginning of time if that is not known, none while locked.
    ///
    /// # Errors
    /// When the store fails.
    pub fn generation_made_at(&self) -> Result<Option<UnixMillis>, LocalStoreError> {
        let Ok(unlocked) = self.vault.unlocked() else { return Ok(None) };
        let current = unlocked.sealer.current().0;
        let made_at =
            self.database.read(|transaction| Ok(transaction.open_table(MADE_AT)?.get(current)?.map(|made_at| made_at.value())))?;
        Ok(Some(UnixMillis(made_at.unwrap_or(0))))
    }

    /// How the store stands with its KEK.
    ///
    /// # Errors
    /// When the store fails.
    pub fn kek_status(&self) -> Result<KekStatus, LocalStoreError> {
        let retired = retired(&self.database)?;
        let of = |done: bool| retired.iter().filter(|(_, destroyed)| **destroyed == done).map(|(generation, _)| *generation).collect();
        let unlocked = self.vault.unlocked().ok();
        Ok(KekStatus {
            unlocked: unlocked.is_some(),
            current: unlocked.map(|unlocked| unlocked.sealer.current()),
            rotating: self.vault.rotating.try_lock().is_err(),
            records_left: self.vault.records_left.load(std::sync::atomic::Ordering::Relaxed),
            retired: of(false),
            destroyed: of(true),
        })
    }
}

pub(super) fn wrapped_keys(database: &Database) -> Result<BTreeMap<KekGeneration, WrappedKey>, LocalStoreError> {
    Ok(database.read(|transaction| {
        let table = transaction.open_table(WRAPPED)?;
        let mut stored = BTreeMap::new();
        for pair in table.iter()? {
            let (generation, wrapped) = pair?;
            stored.insert(KekGeneration(generation.value()), WrappedKey(wrapped.value().to_vec()));
        }
        Ok(stored)
    })?)
}

/// Generations that are in use no more, and whether each is destroyed.
pub(super) fn retired(database: &Database) -> Result<BTreeMap<KekGeneration, bool>, LocalStoreError> {
    Ok(database.read(|transaction| {
        let table = transaction.open_table(RETIRED)?;
        let mut retired = BTreeMap::new();
        for pair in table.iter()? {
            let (generation, destroyed) = pair?;
            retired.insert(KekGeneration(generation.value()), destroyed.value());
        }
        Ok(retired)
    })?)
}
