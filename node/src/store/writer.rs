//! The writer thread: many jobs, one commit.

use std::sync::{Arc, Mutex, PoisonError};

use redb::{Database, Durability, WriteTransaction};
use tokio::sync::mpsc;
use warifu_protocol::mutants::{Mutant, is_on};

use super::error::StoreError;

/// Jobs that may wait for the writer. A full queue makes callers wait, which is the back-pressure of a slow disk.
pub const JOBS_WAITING_MAX: usize = 1024;

/// Jobs in one commit. More would lengthen the wait of the first without saving a noticeable part of an fsync each.
pub const JOBS_PER_COMMIT_MAX: usize = 512;

/// What a caller is promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteDurability {
    /// On disk before the answer.
    Fsync,
    /// In the file's order, but on disk only with the next [`WriteDurability::Fsync`] job; lost in a crash before it. For what can be worked out again.
    Later,
}

/// Whether a store still takes writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreHealth {
    /// It does.
    Sound,
    /// A commit failed, and for good: only a restart on a sound disk helps.
    Failed {
        /// What failed.
        reason: String,
    },
}

/// One job and the caller that waits for it.
pub(super) trait Job: Send {
    /// Writes into the transaction. Called again, in a new transaction, if another job of the batch declined.
    fn run(&mut self, transaction: &WriteTransaction) -> Result<(), StoreError>;

    /// Answers the caller: with what the last run gave, or with the error that kept it from being committed.
    fn finish(self: Box<Self>, outcome: Result<(), StoreError>);
}

pub(super) struct Queued {
    pub(super) job: Box<dyn Job>,
    pub(super) durability: WriteDurability,
}

/// Shared with readers of the health.
#[derive(Debug)]
pub(super) struct Latch(Mutex<StoreHealth>);

impl Latch {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(StoreHealth::Sound))
    }

    pub(super) fn health(&self) -> StoreHealth {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, error: &StoreError) {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *health == StoreHealth::Sound {
            let reason = describe(error);
            tracing::error!(reason, "the store failed; it takes no more writes");
            *health = StoreHealth::Failed { reason };
        }
    }
}

/// The error with its causes in one line.
fn describe(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// Takes jobs until every sender is gone.
pub(super) fn run(database: &Database, latch: &Arc<Latch>, queue: &mut mpsc::Receiver<Queued>) {
    while let Some(first) = queue.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < JOBS_PER_COMMIT_MAX
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        if let StoreHealth::Failed { reason } = latch.health() {
            for queued in batch {
                queued.job.finish(Err(StoreError::Latched { reason: reason.clone() }));
            }
            continue;
        }
        commit(database, latch, batch);
    }
}

/// Commits what does not decline: all of it, or nothing.
fn commit(database: &Database, latch: &Latch, mut batch: Vec<Queued>) {
    while !batch.is_empty() {
        match attempt(database, &mut batch) {
            Ok(()) => {
                for queued in batch {
                    queued.job.finish(Ok(()));
                }
                return;
            }
            // The transaction was given up with what the others wrote into it, so they run again without it.
            Err(Failed { job: Some(index), error }) if !error.is_engine_failure() => batch.remove(index).job.finish(Err(error)),
            Err(Failed { error, .. }) => {
                latch.fail(&error);
                for queued in batch {
                    queued.job.finish(Err(error.clone()));
                }
                return;
            }
        }
    }
}

struct Failed {
    /// The job that failed, unless it was the transaction itself.
    job: Option<usize>,
    error: StoreError,
}

fn attempt(database: &Database, batch: &mut [Queued]) -> Result<(), Failed> {
    let engine = |error: StoreError| Failed { job: None, error };
    let mut transaction = database.begin_write().map_err(|error| engine(error.into()))?;
    let is_awaited = batch.iter().any(|queued| queued.durability == WriteDurability::Fsync);
    let durability = if is_awaited && !is_on(Mutant::ReplyBeforeFsync) { Durability::Immediate } else { Durability::None };
    transaction.set_durability(durability).map_err(|error| engine(error.into()))?;
    for (index, queued) in batch.iter_mut().enumerate() {
        if let Err(error) = queued.job.run(&transaction) {
            // If giving up fails too the disk is bad, and the next transaction says so.
            let _ = transaction.abort();
            return Err(Failed { job: Some(index), error });
        }
    }
    transaction.commit().map_err(|error| engine(error.into()))
}
