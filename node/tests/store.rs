//! The store under good and bad disks.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use redb::backends::InMemoryBackend;
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend, TableDefinition};
use warifu_node::store::{Database, DatabaseOptions, StoreError, StoreHealth};

const NUMBERS: TableDefinition<'_, u64, u64> = TableDefinition::new("numbers");

const OPTIONS: DatabaseOptions = DatabaseOptions { cache_bytes: 1024 * 1024 };

async fn must_insert(database: &Database, key: u64) {
    database.write(move |tx| Ok(tx.open_table(NUMBERS)?.insert(key, key).map(|_| ())?)).await.unwrap();
}

fn keys(database: &Database) -> Vec<u64> {
    database.read(|tx| Ok(tx.open_table(NUMBERS)?.iter()?.map(|row| row.unwrap().0.value()).collect())).unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.redb");
    {
        let database = Database::open(&path, OPTIONS).unwrap();
        let writes = (0..200).map(|key| {
            let database = database.clone();
            tokio::spawn(async move { must_insert(&database, key).await })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.unwrap();
        }
    }
    assert_eq!(keys(&Database::open(&path, OPTIONS).unwrap()), (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_writer_steps_back_as_far_as_it_is_told_and_only_it() {
    let dir = tempfile::tempdir().unwrap();
    let priority = || rustix::process::getpriority_process(None).unwrap();
    let own = priority();
    for (name, niceness) in [("first.redb", 0), ("later.redb", 5)] {
        let database = Database::open_nice(&dir.path().join(name), OPTIONS, niceness).unwrap();
        assert_eq!(database.write(move |_| Ok(priority())).await.unwrap(), (own + niceness).min(19), "{name}");
        assert_eq!(priority(), own, "the process keeps its own");
    }
}

#[tokio::test]
async fn a_job_that_declines_leaves_nothing_and_takes_no_other_job_with_it() {
    let database = Database::open_backend(InMemoryBackend::new(), OPTIONS).unwrap();
    // The first job holds the writer until all the others wait, so that they share a commit.
    let (release, hold) = std::sync::mpsc::channel::<()>();
    let mut others = Vec::new();
    let runs = Arc::new(AtomicU32::new(0));
    let first = {
        let database = database.clone();
        tokio::spawn(async move {
            database
                .write(move |_| {
                    let _ = hold.recv();
                    Ok(())
                })
                .await
        })
    };
    for key in 0..20_u64 {
        let (database, runs) = (database.clone(), Arc::clone(&runs));
        others.push(tokio::spawn(async move {
            database
                .write(move |tx| {
                    runs.fetch_add(1, Ordering::SeqCst);
                    tx.open_table(NUMBERS)?.insert(key, key)?;
                    if key % 7 == 3 { Err(StoreError::declined("not this one")) } else { Ok(()) }
                })
                .await
        }));
    }
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    drop(release);
    first.await.unwrap().unwrap();
    for (key, other) in others.into_iter().enumerate() {
        let outcome = other.await.unwrap();
        assert_eq!(matches!(outcome, Err(StoreError::Declined { .. })), key % 7 == 3, "{key}: {outcome:?}");
    }
    assert!(runs.load(Ordering::SeqCst) > 20, "the jobs shared a commit");
    assert_eq!(keys(&database), (0..20).filter(|key| key % 7 != 3).collect::<Vec<_>>());
    assert_eq!(database.health(), StoreHealth::Sound);
}

const WORKS: u8 = 0;
const FULL: u8 = 1;
const BROKEN: u8 = 2;

/// Memory that turns into a full or a broken disk when told to.
#[derive(Debug, Clone)]
struct Failing {
    memory: Arc<InMemoryBackend>,
    mode: Arc<AtomicU8>,
}

impl Failing {
    fn check(&self) -> io::Result<()> {
        match self.mode.load(Ordering::SeqCst) {
            FULL => Err(io::Error::from_raw_os_error(28)),
            BROKEN => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.memory.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.memory.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.memory.write(offset, data)
    }
}

#[tokio::test]
async fn every_waiter_hears_of_a_failed_commit_and_the_store_never_writes_again() {
    for (mode, code) in [(FULL, 28), (BROKEN, 5)] {
        let backend = Failing { memory: Arc::new(InMemoryBackend::new()), mode: Arc::new(AtomicU8::new(WORKS)) };
        let database = Database::open_backend(backend.clone(), OPTIONS).unwrap();
        must_insert(&database, 1).await;
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let first = {
            let database = database.clone();
            tokio::spawn(async move {
                database
                    .write(move |_| {
                        let _ = hold.recv();
                        Ok(())
                    })
                    .await
            })
        };
        let waiters: Vec<_> = (10..30)
            .map(|key| {
                let database = database.clone();
                tokio::spawn(async move { database.write(move |tx| Ok(tx.open_table(NUMBERS)?.insert(key, key).map(|_| ())?)).await })
            })
            .collect();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        backend.mode.store(mode, Ordering::SeqCst);
        drop(release);
        let mut outcomes = vec![first.await.unwrap()];
        for waiter in waiters {
            outcomes.push(waiter.await.unwrap());
        }
        for outcome in outcomes {
            assert!(outcome.as_ref().is_err_and(StoreError::is_engine_failure), "{outcome:?}");
        }
        let StoreHealth::Failed { reason } = database.health() else { panic!("the failure is visible") };
        assert!(reason.contains(&format!("os error {code}")), "{reason}");
        // The disk recovers, but what it lost in between is unknown.
        backend.mode.store(WORKS, Ordering::SeqCst);
        let later = database.write(|tx| Ok(tx.open_table(NUMBERS)?.insert(99, 99).map(|_| ())?)).await;
        assert!(matches!(later, Err(StoreError::Latched { .. })), "{later:?}");
        drop(database);
        if mode == FULL {
            let reopened = redb::Builder::new().create_with_backend(Failing { mode: Arc::new(AtomicU8::new(WORKS)), ..backend }).unwrap();
            let table = reopened.begin_read().unwrap().open_table(NUMBERS).unwrap();
            assert!(table.get(1).unwrap().is_some());
            assert!(table.get(99).unwrap().is_none());
            assert!(table.len().unwrap() >= 1);
        }
    }
}

/// A disk whose cache is lost when the power is cut: what is on it is what was there at the last sync.
#[derive(Debug, Clone, Default)]
struct Volatile {
    cache: Arc<Mutex<Vec<u8>>>,
    disk: Arc<Mutex<Vec<u8>>>,
}

impl Volatile {
    /// What another process finds after the power came back.
    fn after_a_power_cut(&self) -> Self {
        let disk = self.disk.lock().unwrap().clone();
        Self { cache: Arc::new(Mutex::new(disk.clone())), disk: Arc::new(Mutex::new(disk)) }
    }
}

impl StorageBackend for Volatile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.cache.lock().unwrap().len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (cache, from) = (self.cache.lock().unwrap(), offset as usize);
        out.copy_from_slice(&cache[from..from + out.len()]);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.cache.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        self.disk.lock().unwrap().clone_from(&self.cache.lock().unwrap());
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let from = offset as usize;
        self.cache.lock().unwrap()[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_power_cut() {
    let backend = Volatile::default();
    let database = Database::open_backend(backend.clone(), OPTIONS).unwrap();
    for key in 0..20 {
        must_insert(&database, key).await;
        let found = Database::open_backend(backend.after_a_power_cut(), OPTIONS).unwrap();
        assert_eq!(keys(&found), (0..=key).collect::<Vec<_>>());
    }
}
