//! Stops that this node obeys, with its receipts. Written before they are spoken of.

use redb::{ReadableTable as _, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use warifu_protocol::{AuditEntry, AuditEvent, NodeSigned, Receipt, StopCommand, StopId, StopObject, UnixMillis};

use super::audit::append_plain;
use super::{LocalStore, LocalStoreError};
use crate::store::StoreError;

/// Records by stop.
const HOLDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("holds");
/// Stops that the log does not have yet.
const OPEN: TableDefinition<'static, &[u8], ()> = TableDefinition::new("holds_open");
/// Stops of sessions by time, to be cleared away.
const SESSIONS: TableDefinition<'static, &[u8], ()> = TableDefinition::new("holds_of_sessions");

/// Receipts for sessions are kept for this long: every holder closes one each day. The audit log keeps what they say.
const SESSION_RECEIPT_MILLIS: u64 = 90 * 24 * 60 * 60 * 1000;
/// Old receipts that one stop clears away: more than one, so that they cannot pile up.
const CLEARED_PER_STOP: usize = 8;

/// What this node keeps of one stop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HoldRecord {
    /// The stop.
    pub stop: StopCommand,
    /// Since when it is obeyed.
    pub held_since: UnixMillis,
    /// Whether the state knew its object then.
    pub known: bool,
    /// The receipt, once one was given.
    pub receipt: Option<NodeSigned<Receipt>>,
    /// How the hold ended; `None` while the node obeys on its own.
    pub ended: Option<HoldEnd>,
}

/// How a hold ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum HoldEnd {
    /// The entry at this index stops the object.
    Logged(u64),
    /// The entry at this index was this stop, approved, and refused for the object's sake.
    Refused(u64),
    /// The stop can no longer be logged, and its object never came to be.
    Expired,
}

impl HoldRecord {
    /// What is kept of a stop of which `found` was kept before, and whether the receipt in `fresh` is one that was not given yet.
    #[must_use]
    pub fn keep(found: Option<Self>, fresh: &Self) -> (Self, bool) {
        match found {
            Some(mut kept) if !matches!(kept.ended, Some(HoldEnd::Refused(_) | HoldEnd::Expired)) => {
                let is_new = kept.receipt.is_none() && fresh.receipt.is_some();
                if is_new {
                    kept.receipt.clone_from(&fresh.receipt);
                }
                (kept, is_new)
            }
            Some(_) | None => (fresh.clone(), fresh.receipt.is_some()),
        }
    }
}

impl HoldEnd {
    const fn index(self) -> Option<u64> {
        match self {
            Self::Logged(index) | Self::Refused(index) => Some(index),
            Self::Expired => None,
        }
    }
}

impl LocalStore {
    /// Stops that this node obeys on its own, for the index in memory.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub fn open_holds(&self) -> Result<Vec<HoldRecord>, LocalStoreError> {
        Ok(self.database.read(|transaction| {
            let open = match transaction.open_table(OPEN) {
                Ok(open) => open,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let holds = transaction.open_table(HOLDS)?;
            let mut found = Vec::new();
            for pair in open.iter()? {
                let (id, ()) = pair.map(|(id, _)| (id, ()))?;
                if let Some(bytes) = holds.get(id.value())? {
                    found.push(decode(bytes.value())?);
                }
            }
            Ok(found)
        })?)
    }

    /// What is kept of a stop.
    ///
    /// # Errors
    /// When the store fails or the record is damaged.
    pub fn hold(&self, stop: StopId) -> Result<Option<HoldRecord>, LocalStoreError> {
        Ok(self.database.read(|transaction| {
            let holds = match transaction.open_table(HOLDS) {
                Ok(holds) => holds,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            holds.get(stop.as_ref())?.map(|bytes| decode(bytes.value())).transpose()
        })?)
    }

    /// Records a stop durably, with its audit entries, and returns what is kept of it: a receipt that was given before stays.
    ///
    /// # Errors
    /// When the store fails: then nothing may be said of the stop.
    pub async fn record_hold(&self, fresh: HoldRecord) -> Result<HoldRecord, LocalStoreError> {
        Ok(self.database.write(move |transaction| record(transaction, &fresh)).await?)
    }

    /// Ends holds, with their audit entries.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_holds(&self, ended: Vec<(StopId, HoldEnd)>, now: UnixMillis) -> Result<(), LocalStoreError> {
        Ok(self.database.write(move |transaction| end(transaction, &ended, now)).await?)
    }
}

fn record(transaction: &WriteTransaction, fresh: &HoldRecord) -> Result<HoldRecord, StoreError> {
    let id = fresh.stop.id();
    let mut holds = transaction.open_table(HOLDS)?;
    let mut open = transaction.open_table(OPEN)?;
    let found: Option<HoldRecord> = holds.get(id.as_ref())?.map(|bytes| decode(bytes.value())).transpose()?;
    let (kept, gives_receipt) = HoldRecord::keep(found, fresh);
    let object = fresh.stop.target().map(|(object, _)| object);
    let mut entries = Vec::new();
    if kept.ended.is_none()
        && open.insert(id.as_ref(), ())?.is_none()
        && let Some(object) = object
    {
        entries.push(AuditEvent::StopHeld { stop: id, object });
    }
    let given = fresh.receipt.as_ref().filter(|_| gives_receipt);
    entries.extend(given.map(|receipt| AuditEvent::ReceiptGiven { receipt: receipt.body.clone() }));
    holds.insert(id.as_ref(), encode(&kept).as_slice())?;
    if let Some(StopObject::Session(_)) = object {
        let mut sessions = transaction.open_table(SESSIONS)?;
        let key = [kept.held_since.0.to_be_bytes().as_slice(), id.as_bytes()].concat();
        sessions.insert(key.as_slice(), ())?;
        let old = fresh.held_since.minus(SESSION_RECEIPT_MILLIS).0.to_be_bytes();
        let mut cleared = Vec::new();
        for pair in sessions.range::<&[u8]>(..old.as_slice())?.take(CLEARED_PER_STOP) {
            cleared.push(pair?.0.value().to_vec());
        }
        for key in cleared {
            sessions.remove(key.as_slice())?;
            if let Some(stop) = key.get(size_of::<u64>()..) {
                holds.remove(stop)?;
                open.remove(stop)?;
            }
        }
    }
    let at = fresh.held_since;
    for event in entries {
        append_plain(transaction, &AuditEntry::new(at, event))?;
    }
    Ok(kept)
}

fn end(transaction: &WriteTransaction, ended: &[(StopId, HoldEnd)], now: UnixMillis) -> Result<(), StoreError> {
    let mut holds = transaction.open_table(HOLDS)?;
    let mut open = transaction.open_table(OPEN)?;
    let mut entries = Vec::new();
    for (stop, how) in ended {
        let found: Option<HoldRecord> = holds.get(stop.as_ref())?.map(|bytes| decode(bytes.value())).transpose()?;
        if let Some(mut record) = found.filter(|record| record.ended.is_none()) {
            record.ended = Some(*how);
            holds.insert(stop.as_ref(), encode(&record).as_slice())?;
            entries.push(AuditEntry::new(now, AuditEvent::HoldEnded { stop: *stop, index: how.index() }));
        }
        open.remove(stop.as_ref())?;
    }
    entries.iter().try_for_each(|entry| append_plain(transaction, entry))
}

fn encode(record: &HoldRecord) -> Vec<u8> {
    postcard::to_stdvec(record).expect("a hold's record serializes")
}

fn decode(bytes: &[u8]) -> Result<HoldRecord, StoreError> {
    postcard::from_bytes(bytes).map_err(|error| StoreError::Corrupt { what: "the record of a stop", detail: error.to_string() })
}
