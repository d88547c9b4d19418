//! A new KEK generation, and the end of the old ones. The node goes on sealing and opening shares meanwhile.
//!
//! 1. The KEK makes a generation. *A crash leaves a generation that nobody uses; the next rotation retires it.*
//! 2. A record key, wrapped by it, is stored. From here on every new record is sealed under it.
//! 3. Old records are sealed again in batches, each replaced only if it is still the one that was read. *A crash leaves both; [`LocalStore::resume_rotation`]
//!    goes on.*
//! 4. In one transaction the old wrapped keys are deleted and their generations noted as retired. *A crash after it: the generations are still noted.*
//! 5. The KEK destroys them; that is noted with the audit entry.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::ReadableTable as _;
use warifu_core::signer::ShareRecord;
use warifu_protocol::{AuditEntry, AuditEvent, ClusterId, NodeId};

use super::shares::{DAMAGED, SHARES, parse_share_key};
use super::vault::{self, RETIRED, Unlocked, WRAPPED, context};
use super::{LocalStore, LocalStoreError, audit};
use crate::clock;
use crate::sealing::{FreshKey, KekError, KekGeneration, RecordSealer, SealError};
use crate::store::{Database, StoreError};

/// Records sealed again in one transaction: some milliseconds of the writer's time, which a signature that waits for its audit entry does not feel.
const RESEAL_BATCH: usize = 256;

/// Records looked at in one read, so that none holds old pages for long.
const SCAN_BATCH: usize = 8192;

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shredded {
    /// Generations destroyed by it: whatever was sealed under them, wherever copies of it are, is noise.
    pub destroyed: Vec<KekGeneration>,
    /// The generation under which everything that lives is sealed.
    pub current: KekGeneration,
    /// Whether the KEK provably kept no copy of the destroyed ones.
    pub proves_destruction: bool,
    /// Records sealed again.
    pub resealed: u64,
}

impl LocalStore {
    /// Makes a new KEK generation, seals every live share again under it, and destroys all older generations, so that what was deleted before this call is
    /// gone from this disk and from every backup. Shares that were damaged stay damaged.
    ///
    /// Calls wait for each other; each makes a generation of its own. May be given up at any point: what was begun is ended by the next call or by
    /// [`Self::resume_rotation`].
    ///
    /// # Errors
    /// [`LocalStoreError::Locked`], [`LocalStoreError::Kek`] and [`LocalStoreError::KekSilent`] if the KEK is not there or declines, or when the store fails.
    /// No share is lost by any of them.
    pub async fn shred(&self) -> Result<Shredded, LocalStoreError> {
        let _only = self.vault.rotating.lock().await;
        let unlocked = self.vault.unlocked()?;
        self.switch(&unlocked).await?;
        self.finish(&unlocked).await
    }

    /// Ends a rotation that was interrupted; does nothing if none was.
    ///
    /// # Errors
    /// As [`Self::shred`].
    pub async fn resume_rotation(&self) -> Result<Option<Shredded>, LocalStoreError> {
        let _only = self.vault.rotating.lock().await;
        let unlocked = self.vault.unlocked()?;
        let database = self.database.clone();
        let (retired, wrapped) = run_blocking(move || Ok((vault::retired(&database)?, vault::wrapped_keys(&database)?))).await?;
        if wrapped.len() <= 1 && retired.values().all(|destroyed| *destroyed) {
            return Ok(None);
        }
        self.finish(&unlocked).await.map(Some)
    }

    /// Steps 1 and 2.
    async fn switch(&self, unlocked: &Unlocked) -> Result<(), LocalStoreError> {
        let above = self.generations_seen(unlocked).await?;
        let context = context(self.cluster, self.node);
        let fresh = vault::ask(&unlocked.kek, move |kek| {
            let generation = kek.create(above)?;
            FreshKey::make(kek, generation, &context)
        })
        .await?;
        let (database, sealer, switching) = (self.database.clone(), Arc::clone(&unlocked.sealer), Arc::clone(&self.vault.switching));
        // A task of its own: once stored, the key must be taken up even if the caller has gone away.
        let switched = tokio::spawn(async move {
            let _alone = switching.write_owned().await;
            let (generation, wrapped) = (fresh.generation(), fresh.wrapped().clone());
            let now = clock::now();
            let entry = AuditEntry::new(now, AuditEvent::KekRotating { generation: generation.0 });
            database
                .write(move |transaction| {
                    vault::store_wrapped(transaction, generation, &wrapped, now)?;
                    audit::append_plain(transaction, &entry)
                })
                .await?;
            sealer.advance(fresh);
            Ok(())
        });
        switched.await.unwrap_or(Err(LocalStoreError::Store(StoreError::Closed)))
    }

    async fn retired(&self) -> Result<BTreeMap<KekGeneration, bool>, LocalStoreError> {
        let database = self.database.clone();
        run_blocking(move || vault::retired(&database)).await
    }

    async fn generations_seen(&self, unlocked: &Unlocked) -> Result<KekGeneration, LocalStoreError> {
        let current = unlocked.sealer.current();
        Ok(self.retired().await?.last_key_value().map_or(current, |(retired, _)| current.max(*retired)))
    }

    /// Steps 3 to 5.
    async fn finish(&self, unlocked: &Unlocked) -> Result<Shredded, LocalStoreError> {
        let current = unlocked.sealer.current();
        let resealed = self.reseal(&unlocked.sealer, current).await?;
        self.retire(unlocked, current).await?;
        let destroyed = self.destroy_retired(unlocked, current, resealed).await?;
        Ok(Shredded { destroyed, current, proves_destruction: unlocked.kek.proves_destruction(), resealed })
    }

    async fn reseal(&self, sealer: &Arc<RecordSealer>, current: KekGeneration) -> Result<u64, LocalStoreError> {
        let (database, count) = (self.database.clone(), self.database.clone());
        let left = run_blocking(move || count_stale(&count, current)).await?;
        self.vault.records_left.store(left, Ordering::Relaxed);
        let (mut after, mut resealed) = (None, 0);
        loop {
            let (reading, sealer, from) = (database.clone(), Arc::clone(sealer), after.take());
            let (cluster, node) = (self.cluster, self.node);
            let batch = run_blocking(move || Batch::read(&reading, &sealer, current, from, cluster, node)).await?;
            let (next, found) = (batch.next.clone(), batch.fresh.len() as u64);
            if found > 0 || !batch.damaged.is_empty() {
                self.database.write(move |transaction| batch.write(transaction)).await?;
            }
            resealed += found;
            self.vault.records_left.store(left.saturating_sub(resealed), Ordering::Relaxed);
            match next {
                Some(key) => after = Some(key),
                None => break,
            }
        }
        self.vault.records_left.store(0, Ordering::Relaxed);
        Ok(resealed)
    }

    async fn retire(&self, unlocked: &Unlocked, current: KekGeneration) -> Result<(), LocalStoreError> {
        let mut old: BTreeSet<KekGeneration> = vault::ask(&unlocked.kek, |kek| kek.generations()).await?;
        let database = self.database.clone();
        old.extend(run_blocking(move || vault::wrapped_keys(&database)).await?.into_keys());
        old.retain(|generation| *generation < current);
        let retiring = old.clone();
        self.database
            .write(move |transaction| {
                let mut wrapped = transaction.open_table(WRAPPED)?;
                let mut retired = transaction.open_table(RETIRED)?;
                for generation in &retiring {
                    wrapped.remove(generation.0)?;
                    retired.insert(generation.0, false)?;
                }
                Ok(())
            })
            .await?;
        for generation in old {
            unlocked.sealer.forget(generation);
        }
        Ok(())
    }

    async fn destroy_retired(
        &self,
        unlocked: &Unlocked,
        current: KekGeneration,
        resealed: u64,
    ) -> Result<Vec<KekGeneration>, LocalStoreError> {
        let waiting: Vec<KekGeneration> =
            self.retired().await?.into_iter().filter(|(_, destroyed)| !destroyed).map(|(generation, _)| generation).collect();
        for generation in waiting.clone() {
            vault::ask(&unlocked.kek, move |kek| match kek.destroy(generation) {
                // Destroyed just before a crash.
                Err(KekError::UnknownGeneration { .. }) => Ok(()),
                other => other,
            })
            .await?;
        }
        if waiting.is_empty() {
            return Ok(waiting);
        }
        let event = AuditEvent::KekDestroyed {
            generations: waiting.iter().map(|generation| generation.0).collect(),
            current: current.0,
            resealed,
            proved: unlocked.kek.proves_destruction(),
        };
        let (entry, gone) = (AuditEntry::new(clock::now(), event), waiting.clone());
        self.database
            .write(move |transaction| {
                let mut retired = transaction.open_table(RETIRED)?;
                for generation in &gone {
                    retired.insert(generation.0, true)?;
                }
                drop(retired);
                audit::append_plain(transaction, &entry)
            })
            .await?;
        Ok(waiting)
    }
}

/// Some records that were sealed under an old generation.
struct Batch {
    /// Key, what was read, what to put in its place.
    fresh: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>,
    /// Records that do not open.
    damaged: Vec<Vec<u8>>,
    /// Where to go on, unless the end was reached.
    next: Option<Vec<u8>>,
}

impl Batch {
    fn read(
        database: &Database,
        sealer: &RecordSealer,
        current: KekGeneration,
        after: Option<Vec<u8>>,
        cluster: ClusterId,
        node: NodeId,
    ) -> Result<Self, LocalStoreError> {
        let (stale, next) = database.read(|transaction| {
            let table = transaction.open_table(SHARES)?;
            let damaged = transaction.open_table(DAMAGED)?;
            let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let (mut stale, mut looked_at) = (Vec::new(), 0);
            for pair in table.range::<&[u8]>((from, Bound::Unbounded))? {
                let (key, value) = pair?;
                looked_at += 1;
                if !is_sealed_under(value.value(), current) && damaged.get(key.value())?.is_none() {
                    stale.push((key.value().to_vec(), value.value().to_vec()));
                }
                if stale.len() >= RESEAL_BATCH || looked_at >= SCAN_BATCH {
                    return Ok((stale, Some(key.value().to_vec())));
                }
            }
            Ok((stale, None))
        })?;
        let mut batch = Self { fresh: Vec::with_capacity(stale.len()), damaged: Vec::new(), next };
        for (key, old) in stale {
            let aad = parse_share_key(&key).map(|(credential, epoch)| ShareRecord::aad(cluster, node, credential, epoch));
            let Some(aad) = aad else {
                batch.damaged.push(key);
                continue;
            };
            match sealer.unseal(&aad, &old) {
                Ok(plaintext) => batch.fresh.push((key, old, sealer.seal(&aad, &plaintext)?)),
                Err(SealError::Kek(error)) => return Err(error.into()),
                Err(_) => batch.damaged.push(key),
            }
        }
        Ok(batch)
    }

    fn write(&self, transaction: &redb::WriteTransaction) -> Result<(), StoreError> {
        let mut table = transaction.open_table(SHARES)?;
        for (key, old, new) in &self.fresh {
            // Deleted or replaced since it was read: that stands.
            let unchanged = table.get(key.as_slice())?.is_some_and(|value| value.value() == old.as_slice());
            if unchanged {
                table.insert(key.as_slice(), new.as_slice())?;
            }
        }
        drop(table);
        super::shares::note_damaged(transaction, &self.damaged)
    }
}

fn is_sealed_under(sealed: &[u8], generation: KekGeneration) -> bool {
    RecordSealer::generation(sealed).is_ok_and(|found| found == generation)
}

fn count_stale(database: &Database, current: KekGeneration) -> Result<u64, LocalStoreError> {
    Ok(database.read(|transaction| {
        let mut count = 0;
        for pair in transaction.open_table(SHARES)?.iter()? {
            count += u64::from(!is_sealed_under(pair?.1.value(), current));
        }
        Ok(count)
    })?)
}

async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, LocalStoreError> + Send + 'static) -> Result<T, LocalStoreError> {
    crate::blocking::run(work).await.unwrap_or(Err(LocalStoreError::Store(StoreError::Closed)))
}

#[cfg(test)]
mod tests {
    use super::super::shares::create_tables;
    use super::*;
    use crate::sealing::FileKek;
    use crate::store::DatabaseOptions;

    #[test]
    fn what_was_deleted_or_stored_anew_since_a_batch_was_read_stands() {
        let directory = tempfile::tempdir().expect("a directory");
        let database = Database::open(&directory.path().join("local.redb"), DatabaseOptions::default()).expect("a store");
        create_tables(&database).expect("tables");
        let [kept, replaced, deleted] = [1, 2, 3].map(|number| vec![number; 20]);
        let batch = Batch {
            fresh: [&kept, &replaced, &deleted].map(|key| (key.clone(), b"old".to_vec(), b"resealed".to_vec())).to_vec(),
            damaged: Vec::new(),
            next: None,
        };
        let found = database.write_blocking(move |transaction| {
            let mut table = transaction.open_table(SHARES)?;
            table.insert(kept.as_slice(), b"old".as_slice())?;
            table.insert(replaced.as_slice(), b"of a refresh".as_slice())?;
            drop(table);
            batch.write(transaction)?;
            let table = transaction.open_table(SHARES)?;
            let read = |key: &Vec<u8>| Ok::<_, StoreError>(table.get(key.as_slice())?.map(|value| value.value().to_vec()));
            Ok([read(&kept)?, read(&replaced)?, read(&deleted)?])
        });
        assert_eq!(found.expect("written"), [Some(b"resealed".to_vec()), Some(b"of a refresh".to_vec()), None]);
    }

    /// A share that is sealed under the old key and stored after the last look for such shares would be noise once that key is destroyed.
    #[tokio::test(flavor = "multi_thread")]
    async fn no_key_takes_over_while_a_share_is_being_stored() {
        let directory = tempfile::tempdir().expect("a directory");
        let (node, cluster) = (NodeId::new(1).expect("a node id"), ClusterId::new([7; 32]));
        let database = Database::open(&directory.path().join("local.redb"), DatabaseOptions::default()).expect("a store");
        let kek = Arc::new(FileKek::init(&directory.path().join("kek")).expect("a key"));
        let opened = crate::blocking::run(move || LocalStore::open_on(database, kek, node, cluster)).await;
        let store = Arc::new(opened.expect("it does not panic").expect("a local store"));
        let before = store.vault.unlocked().expect("unlocked").sealer.current();
        let storing = store.vault.switching.read().await;
        let rotating = Arc::clone(&store);
        let rotation = tokio::spawn(async move { rotating.shred().await });
        for _ in 0..50 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            assert_eq!(store.vault.unlocked().expect("unlocked").sealer.current(), before);
        }
        drop(storing);
        let rotated = rotation.await.expect("it does not panic").expect("it ends");
        assert!(rotated.current > before && rotated.destroyed == [before], "{rotated:?}");
    }
}
