//! What can go wrong with a store.

use std::path::PathBuf;
use std::sync::Arc;

/// A failed read or write.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened: another process has it, the disk is bad, or it is no store.
    #[error("cannot open the store {}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the engine said.
        #[source]
        source: Arc<redb::Error>,
    },
    /// The file is not what was written to it.
    #[error("the store {} is damaged ({detail}): do not run this node on it, replace the disk and have the site repaired", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The disk failed (full, I/O error) or the file is damaged. Nothing of the commit is promised to be there, and the store takes no more writes.
    #[error("the store failed")]
    Engine {
        /// What the engine said.
        #[source]
        source: Arc<redb::Error>,
    },
    /// The store failed earlier and takes no writes until the process is restarted on a sound disk.
    #[error("the store has failed before ({reason}) and takes no writes; free or replace the disk and restart the node")]
    Latched {
        /// What failed first.
        reason: String,
    },
    /// The job itself declined; nothing that it wrote was kept.
    #[error("{reason}")]
    Declined {
        /// Why.
        reason: String,
    },
    /// What is stored cannot be understood: it was written by a newer version, or damaged.
    #[error("{what} in the store cannot be read: {detail}")]
    Corrupt {
        /// Which record.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// [`StoreError::Declined`] with this reason.
    #[must_use]
    pub fn declined(reason: impl Into<String>) -> Self {
        Self::Declined { reason: reason.into() }
    }

    /// Whether the disk or the file is at fault, so that no later write may succeed either.
    #[must_use]
    pub const fn is_engine_failure(&self) -> bool {
        matches!(self, Self::Engine { .. } | Self::Latched { .. })
    }
}

macro_rules! from_engine {
    ($($error:ty),+) => {
        $(impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self::Engine { source: Arc::new(error.into()) }
            }
        })+
    };
}

from_engine!(redb::Error, redb::StorageError, redb::TableError, redb::CommitError, redb::TransactionError, redb::SetDurabilityError);
