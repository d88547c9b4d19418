//! The handle of a store.

use std::path::Path;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableDatabase, StorageBackend, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::error::StoreError;
use super::verify::verify;
use super::writer::{self, JOBS_WAITING_MAX, Job, Latch, Queued, StoreHealth, WriteDurability};

/// Settings of one store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DatabaseOptions {
    /// Memory for cached pages, in bytes.
    pub cache_bytes: usize,
}

impl Default for DatabaseOptions {
    /// 64 MiB: the inner pages of a store with a million records.
    fn default() -> Self {
        Self { cache_bytes: 64 * 1024 * 1024 }
    }
}

/// One redb file. Reads run on the caller's thread from a consistent view; writes go to a thread of the store's own, which commits everything that waits
/// in one transaction with one fsync. Cheap to clone; the file is closed when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Database {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Arc<redb::Database>,
    jobs: Option<mpsc::Sender<Queued>>,
    latch: Arc<Latch>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Database {
    /// Opens the file, or makes an empty one. All of it is read and compared with its checksums first; a file that was not closed properly is repaired.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Open`].
    pub fn open(path: &Path, options: DatabaseOptions) -> Result<Self, StoreError> {
        Self::open_nice(path, options, 0)
    }

    /// [`Database::open`] with a writer that leaves the processor to threads of normal priority as far as `niceness` says (`nice(2)`, 0 to 19): for what
    /// may wait for them.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_nice(path: &Path, options: DatabaseOptions, niceness: i32) -> Result<Self, StoreError> {
        verify(path)?;
        let open = |error: redb::Error| StoreError::Open { path: path.to_owned(), source: Arc::new(error) };
        let database = redb::Builder::new().set_cache_size(options.cache_bytes).create(path).map_err(|error| open(error.into()))?;
        Self::with(database, niceness).map_err(|error| open(redb::Error::Io(error)))
    }

    /// A store on any medium, such as memory or one that fails on purpose.
    ///
    /// # Errors
    /// [`StoreError::Open`], with a path that says so.
    pub fn open_backend(backend: impl StorageBackend, options: DatabaseOptions) -> Result<Self, StoreError> {
        let open = |error: redb::Error| StoreError::Open { path: "(custom backend)".into(), source: Arc::new(error) };
        let database =
            redb::Builder::new().set_cache_size(options.cache_bytes).create_with_backend(backend).map_err(|error| open(error.into()))?;
        Self::with(database, 0).map_err(|error| open(redb::Error::Io(error)))
    }

    fn with(database: redb::Database, niceness: i32) -> std::io::Result<Self> {
        let database = Arc::new(database);
        let latch = Arc::new(Latch::new());
        let (jobs, mut queue) = mpsc::channel(JOBS_WAITING_MAX);
        let writer = {
            let (database, latch) = (Arc::clone(&database), Arc::clone(&latch));
            std::thread::Builder::new().name("store-writer".into()).spawn(move || {
                // On Linux a thread's own priority, not the process's.
                if niceness > 0
                    && let Err(error) = rustix::process::nice(niceness)
                {
                    tracing::warn!(%error, "the priority of a store's writer cannot be lowered; signing may be slower while much is written");
                }
                writer::run(&database, &latch, &mut queue);
            })?
        };
        Ok(Self { inner: Arc::new(Inner { database, jobs: Some(jobs), latch, writer: Some(writer) }) })
    }

    /// Reads from a consistent view of everything committed, on the caller's thread: never one that runs async code, see [`crate::blocking`].
    ///
    /// # Errors
    /// What `f` returns, or [`StoreError::Engine`].
    pub fn read<T>(&self, f: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
        f(&self.begin_read()?)
    }

    /// A consistent view that can be kept while writing goes on, for a snapshot. It keeps the pages that it shows from being reused.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        crate::blocking::note_read();
        Ok(self.inner.database.begin_read()?)
    }

    /// Writes and waits until it is on disk.
    ///
    /// `f` runs on the writer's thread and must be quick. It may run more than once, each time from the state before it: if another job of the same commit
    /// declines, all others are run again without that one. A job that returns an error leaves nothing behind.
    ///
    /// # Errors
    /// What `f` returns; [`StoreError::Engine`] if the commit failed, for every job of it; [`StoreError::Latched`] ever after.
    pub async fn write<T, F>(&self, f: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, waiting) = oneshot::channel();
        self.submit(WriteDurability::Fsync, f, move |outcome| {
            // A caller that has gone away does not want it.
            let _ = answer.send(outcome);
        })
        .await?;
        waiting.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Queues a write and returns as soon as there is room; `done` is called on the writer's thread with the outcome and must be quick. Jobs of one
    /// caller are carried out in the order of these calls. See [`Database::write`].
    ///
    /// # Errors
    /// [`StoreError::Closed`]; `done` is not called then.
    pub async fn submit<T, F, D>(&self, durability: WriteDurability, f: F, done: D) -> Result<(), StoreError>
    where
        T: Send + 'static,
        F: FnMut(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
        D: FnOnce(Result<T, StoreError>) + Send + 'static,
    {
        let queued = Queued { job: Box::new(Closure { f, done, value: None }), durability };
        self.jobs().send(queued).await.map_err(|_| StoreError::Closed)
    }

    /// [`Database::write`] from a thread that may block.
    ///
    /// # Errors
    /// As [`Database::write`].
    ///
    /// # Panics
    /// On a thread of an async runtime.
    pub fn write_blocking<T, F>(&self, f: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, waiting) = oneshot::channel();
        let done = move |outcome| {
            // A caller that has gone away does not want it.
            let _ = answer.send(outcome);
        };
        let queued = Queued { job: Box::new(Closure { f, done, value: None }), durability: WriteDurability::Fsync };
        self.jobs().blocking_send(queued).map_err(|_| StoreError::Closed)?;
        waiting.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Whether the store takes writes. A failure stays until the process ends.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        self.inner.latch.health()
    }

    fn jobs(&self) -> &mpsc::Sender<Queued> {
        self.inner.jobs.as_ref().expect("taken only while dropping")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take()
            && writer.thread().id() != std::thread::current().id()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer had panicked");
        }
    }
}

struct Closure<T, F, D> {
    f: F,
    done: D,
    value: Option<T>,
}

impl<T, F, D> Job for Closure<T, F, D>
where
    T: Send,
    F: FnMut(&WriteTransaction) -> Result<T, StoreError> + Send,
    D: FnOnce(Result<T, StoreError>) + Send,
{
    fn run(&mut self, transaction: &WriteTransaction) -> Result<(), StoreError> {
        self.value = None;
        self.value = Some((self.f)(transaction)?);
        Ok(())
    }

    fn finish(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { done, value, .. } = *self;
        done(outcome.and_then(|()| value.ok_or(StoreError::Closed)));
    }
}
