//! Who this store is, and how often it was started: what tells a store from an older copy of itself.

use rand_core::{OsRng, RngCore as _};
use redb::{ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize};
use warifu_protocol::{BootId, ClusterId, NodeId, StoreId};

use super::LocalStoreError;
use crate::store::{Database, StoreError};

const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
const START: &str = "start";

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
}

/// What is known of this store and this start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreMeta {
    /// Drawn when the store was founded.
    pub store: StoreId,
    /// This start's number, from 1.
    pub incarnation: u64,
    /// Drawn for this start; never on disk.
    pub boot: BootId,
}

pub(super) fn start(database: &Database, node: NodeId, cluster: ClusterId) -> Result<StoreMeta, LocalStoreError> {
    let mut fresh = [0; StoreId::LEN];
    OsRng.fill_bytes(&mut fresh);
    let record = database.write_blocking(move |transaction| {
        let mut table = transaction.open_table(META)?;
        let found = table.get(START)?.map(|bytes| postcard::from_bytes::<StartRecord>(bytes.value()));
        let mut record = match found {
            Some(Ok(record)) => record,
            Some(Err(error)) => return Err(StoreError::Corrupt { what: "the start record", detail: error.to_string() }),
            None => StartRecord { node, cluster, store: StoreId::new(fresh), incarnation: 0 },
        };
        if record.node == node && record.cluster == cluster {
            record.incarnation += 1;
            let bytes = postcard::to_stdvec(&record).expect("a start record serializes");
            table.insert(START, bytes.as_slice())?;
        }
        Ok(record)
    })?;
    if record.node != node || record.cluster != cluster {
        return Err(LocalStoreError::OtherNode { found_node: record.node, found_cluster: record.cluster });
    }
    let mut boot = [0; BootId::LEN];
    OsRng.fill_bytes(&mut boot);
    Ok(StoreMeta { store: record.store, incarnation: record.incarnation, boot: BootId::new(boot) })
}

pub(super) async fn count_start(database: &Database) -> Result<u64, StoreError> {
    database
        .write(|transaction| {
            let mut table = transaction.open_table(META)?;
            let missing = || StoreError::Corrupt { what: "the start record", detail: "it is missing".to_owned() };
            let bytes = table.get(START)?.map(|bytes| bytes.value().to_vec()).ok_or_else(missing)?;
            let mut record: StartRecord = postcard::from_bytes(&bytes).map_err(|_| missing())?;
            record.incarnation += 1;
            let bytes = postcard::to_stdvec(&record).expect("a start record serializes");
            table.insert(START, bytes.as_slice())?;
            Ok(record.incarnation)
        })
        .await
}
