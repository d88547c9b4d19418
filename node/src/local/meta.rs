//! Who this store is, and how often it was started: what tells a store from an older copy of itself.

use rand_core::{OsRng, RngCore as _};
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use warifu_protocol::limits::EARLIER_BOOTS_MAX;
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::{BootId, ClusterId, NodeId, StoreId};

use super::{LocalStoreError, audit};
use crate::store::{Database, StoreError};

const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
const START: &str = "start";
/// Index of the last applied entry whose outcome is in the audit log.
const RECORDED: TableDefinition<'static, &str, u64> = TableDefinition::new("recorded");
const THROUGH: &str = "through";

/// What the disk keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRecord {
    /// Node.
    pub node: NodeId,
    /// Cluster.
    pub cluster: ClusterId,
    /// Drawn when the store was founded.
    pub store: StoreId,
    /// Starts so far.
    pub incarnation: u64,
    /// Boot ids of the latest starts, oldest first, at most [`BOOTS_KEPT_MAX`].
    pub boots: Vec<BootId>,
    /// How many of the latest of them are not confirmed.
    pub unconfirmed: u32,
    /// Entries of the audit log when the first of these began. What came in later came from the log of the cluster, and says nothing about what the
    /// store had itself: an image that was put back would soon have caught up.
    pub audit_size: u64,
    /// Index of the last applied entry whose outcome was in the audit log then. Not that of the raft log's end, which consensus may cut back.
    pub raft_index: u64,
}

/// Boot ids that are kept: enough that a peer that is far behind still remembers one of them.
pub const BOOTS_KEPT_MAX: usize = 4096;

/// What is known of this store and this start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreMeta {
    /// Drawn when the store was founded.
    pub store: StoreId,
    /// This start's number, from 1.
    pub incarnation: u64,
    /// Drawn for this start.
    pub boot: BootId,
}

impl StartRecord {
    /// Of a store that has not been started yet.
    #[must_use]
    pub const fn founded(node: NodeId, cluster: ClusterId, store: StoreId) -> Self {
        Self { node, cluster, store, incarnation: 0, boots: Vec::new(), unconfirmed: 0, audit_size: 0, raft_index: 0 }
    }

    /// Counts a start, with the entries that the audit log has and the index that they reach to.
    pub fn begin(&mut self, boot: BootId, audit_size: u64, raft_index: u64) {
        if self.unconfirmed == 0 || is_on(Mutant::CountCaughtUpAudit) {
            (self.audit_size, self.raft_index) = (audit_size, raft_index);
        }
        self.incarnation += 1;
        self.boots.push(boot);
        if self.boots.len() > BOOTS_KEPT_MAX {
            self.boots.remove(0);
        }
        self.unconfirmed = self.unconfirmed.saturating_add(1);
    }

    /// Starts before the latest, from the last confirmed one on.
    #[must_use]
    pub fn earlier(&self) -> Vec<BootId> {
        let latest = self.boots.len().saturating_sub(1);
        let from = latest.saturating_sub((self.unconfirmed as usize).min(EARLIER_BOOTS_MAX));
        self.boots.get(from..latest).unwrap_or_default().to_vec()
    }
}

/// Draws a boot id.
#[must_use]
pub fn draw_boot() -> BootId {
    let mut boot = [0; BootId::LEN];
    OsRng.fill_bytes(&mut boot);
    BootId::new(boot)
}

pub(super) fn start(database: &Database, node: NodeId, cluster: ClusterId) -> Result<StoreMeta, LocalStoreError> {
    let mut fresh = [0; StoreId::LEN];
    OsRng.fill_bytes(&mut fresh);
    let boot = draw_boot();
    let record = database.write_blocking(move |transaction| {
        let mut table = transaction.open_table(META)?;
        let found = table.get(START)?.map(|bytes| postcard::from_bytes::<StartRecord>(bytes.value()));
        let mut record = match found {
            Some(Ok(record)) => record,
            Some(Err(error)) => return Err(StoreError::Corrupt { what: "the start record", detail: error.to_string() }),
            None => StartRecord::founded(node, cluster, StoreId::new(fresh)),
        };
        if record.node == node && record.cluster == cluster {
            record.begin(boot, audit::size(transaction)?, recorded(transaction)?);
            let bytes = postcard::to_stdvec(&record).expect("a start record serializes");
            table.insert(START, bytes.as_slice())?;
        }
        Ok(record)
    })?;
    if record.node != node || record.cluster != cluster {
        return Err(LocalStoreError::OtherNode { found_node: record.node, found_cluster: record.cluster });
    }
    Ok(StoreMeta { store: record.store, incarnation: record.incarnation, boot })
}

pub(super) fn read(database: &Database) -> Result<StartRecord, StoreError> {
    database.read(|transaction| decode(transaction.open_table(META)?.get(START)?.map(|bytes| bytes.value().to_vec())))
}

/// Changes the record durably and returns it.
pub(super) async fn change(
    database: &Database,
    change: impl Fn(&WriteTransaction, &mut StartRecord) -> Result<(), StoreError> + Send + 'static,
) -> Result<StartRecord, StoreError> {
    database
        .write(move |transaction| {
            let mut table = transaction.open_table(META)?;
            let mut record = decode(table.get(START)?.map(|bytes| bytes.value().to_vec()))?;
            change(transaction, &mut record)?;
            let bytes = postcard::to_stdvec(&record).expect("a start record serializes");
            table.insert(START, bytes.as_slice())?;
            Ok(record)
        })
        .await
}

pub(super) fn note_recorded(transaction: &WriteTransaction, through: u64) -> Result<(), StoreError> {
    transaction.open_table(RECORDED)?.insert(THROUGH, through)?;
    Ok(())
}

pub(super) fn recorded_through(database: &Database) -> Result<u64, StoreError> {
    database.read(|transaction| match transaction.open_table(RECORDED) {
        Ok(table) => through(&table),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
        Err(error) => Err(error.into()),
    })
}

fn recorded(transaction: &WriteTransaction) -> Result<u64, StoreError> {
    through(&transaction.open_table(RECORDED)?)
}

fn through(table: &impl ReadableTable<&'static str, u64>) -> Result<u64, StoreError> {
    Ok(table.get(THROUGH)?.map_or(0, |through| through.value()))
}

pub(super) async fn begin(database: &Database, boot: BootId) -> Result<StartRecord, StoreError> {
    change(database, move |transaction, record| {
        record.begin(boot, audit::size(transaction)?, recorded(transaction)?);
        Ok(())
    })
    .await
}

fn decode(bytes: Option<Vec<u8>>) -> Result<StartRecord, StoreError> {
    let corrupt = |detail: String| StoreError::Corrupt { what: "the start record", detail };
    postcard::from_bytes(&bytes.ok_or_else(|| corrupt("it is missing".to_owned()))?).map_err(|error| corrupt(error.to_string()))
}
