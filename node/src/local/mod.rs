//! What belongs to this node alone and never leaves it: its identity as a store, its audit log, the requests that it has signed, the stops that it obeys, its shares.

mod audit;
mod backup;
mod check;
mod destroyed;
mod holds;
mod meta;
mod rotation;
mod shares;
mod spent;
mod superseded;
mod sweep;
mod vault;

pub use audit::{AuditWrite, SpendOutcome};
pub use backup::{BackupError, BackupHeader, BackupSummary, RestoredShares};
pub use check::LocalDamage;
pub use holds::{HoldEnd, HoldRecord};
pub use meta::{BOOTS_KEPT_MAX, StartRecord, StoreMeta, draw_boot};
pub use rotation::Shredded;
pub use superseded::{ShareStanding, Swept};
pub use sweep::SweepCursor;
pub use vault::{KEK_DEADLINE, KekStatus};

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use warifu_protocol::{BootId, ClusterId, CredentialId, Epoch, NodeId};

use crate::sealing::KekProvider;
use crate::store::{Database, DatabaseOptions, StoreHealth};

/// The node's local store.
pub struct LocalStore {
    database: Database,
    vault: vault::Vault,
    /// Shares that did not open and are not noted on disk yet.
    suspects: Mutex<BTreeSet<(CredentialId, Epoch)>>,
    node: NodeId,
    cluster: ClusterId,
    meta: StoreMeta,
    incarnation: std::sync::atomic::AtomicU64,
}

impl LocalStore {
    /// Opens the store, or founds it on an empty disk, counts this start, and unlocks it.
    ///
    /// # Errors
    /// When the file cannot be opened, belongs to another node or cluster, or its keys cannot be unwrapped.
    pub fn open(
        path: &Path,
        options: DatabaseOptions,
        kek: Arc<dyn KekProvider>,
        node: NodeId,
        cluster: ClusterId,
    ) -> Result<Self, LocalStoreError> {
        Self::open_on(Database::open(path, options)?, kek, node, cluster)
    }

    /// As [`Self::open`], on a store that is open already.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(database: Database, kek: Arc<dyn KekProvider>, node: NodeId, cluster: ClusterId) -> Result<Self, LocalStoreError> {
        let store = Self::open_locked(database, node, cluster)?;
        store.unlock(kek)?;
        Ok(store)
    }

    /// As [`Self::open_on`], without the KEK: everything works but what seals or opens shares, until [`Self::unlock`].
    ///
    /// # Errors
    /// When the file belongs to another node or cluster, or the store fails.
    pub fn open_locked(database: Database, node: NodeId, cluster: ClusterId) -> Result<Self, LocalStoreError> {
        let meta = meta::start(&database, node, cluster)?;
        vault::create_tables(&database)?;
        shares::create_tables(&database)?;
        let incarnation = meta.incarnation.into();
        Ok(Self { database, vault: vault::Vault::default(), suspects: Mutex::default(), node, cluster, meta, incarnation })
    }

    /// What is known of this store and this start.
    #[must_use]
    pub const fn meta(&self) -> &StoreMeta {
        &self.meta
    }

    /// Starts of this store, this one counted.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Counts another start under a boot id of its own, for a confirmation that begins anew in a running process.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn begin_again(&self, boot: BootId) -> Result<(), LocalStoreError> {
        let record = meta::begin(&self.database, boot).await?;
        self.incarnation.store(record.incarnation, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    /// Notes that the latest start was confirmed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_confirmed(&self) -> Result<(), LocalStoreError> {
        meta::change(&self.database, |_, record| {
            record.unconfirmed = 0;
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// What the disk knows of its starts.
    ///
    /// # Errors
    /// When the store fails.
    pub fn starts(&self) -> Result<StartRecord, LocalStoreError> {
        Ok(meta::read(&self.database)?)
    }

    /// Whether the store takes writes.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        self.database.health()
    }
}

/// Why the local store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocalStoreError {
    /// The disk or file.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The key-encryption key.
    #[error("the key-encryption key")]
    Kek(#[from] crate::sealing::KekError),
    /// The KEK has not been reached since the start.
    #[error("the shares are locked: the key-encryption key has not been reached since the start")]
    Locked,
    /// The KEK does not answer.
    #[error("the key-encryption key did not answer within {seconds} s")]
    KekSilent {
        /// How long was waited.
        seconds: u64,
    },
    /// A sealed record.
    #[error("a sealed record")]
    Seal(#[from] crate::sealing::SealError),
    /// The store is another node's.
    #[error("the store belongs to node {found_node} of cluster {found_cluster}; give each node its own data directory")]
    OtherNode {
        /// Node found.
        found_node: NodeId,
        /// Cluster found.
        found_cluster: ClusterId,
    },
    /// A record of the audit log cannot be put into its tree.
    #[error("the audit log is damaged: {reason}")]
    Audit {
        /// What is wrong.
        reason: String,
    },
    /// A share cannot be read.
    #[error("the share of {credential} is damaged: {reason}")]
    Share {
        /// Whose.
        credential: CredentialId,
        /// What is wrong.
        reason: String,
    },
}
