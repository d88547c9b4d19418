//! The registry on disk: redb under the core's storage trait.

use std::cell::RefCell;
use std::ops::Bound;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};
use warifu_core::registry::{Changes, Pairs, StateStore, StateStoreError};

use crate::store::{Database, StoreError};

/// All tables of the registry, distinguished by the first byte of the key.
pub(super) const REGISTRY: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("registry");

/// A consistent view for reading. Open one per request or batch: it keeps old pages alive.
pub struct StateView {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl StateView {
    /// Opens a view of what is applied.
    ///
    /// # Errors
    /// When the store fails or has not been founded.
    pub fn open(database: &Database) -> Result<Self, StoreError> {
        Self::of(&database.begin_read()?)
    }

    pub(super) fn of(transaction: &ReadTransaction) -> Result<Self, StoreError> {
        Ok(Self { table: transaction.open_table(REGISTRY)? })
    }
}

impl StateStore for StateView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateStoreError> {
        get(&self.table, key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Pairs, StateStoreError> {
        scan(&self.table, from, to, limit)
    }
}

/// The state inside a write transaction.
pub(super) struct WriteView<'txn> {
    table: RefCell<Table<'txn, &'static [u8], &'static [u8]>>,
}

impl<'txn> WriteView<'txn> {
    pub(super) fn open(transaction: &'txn WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self { table: RefCell::new(transaction.open_table(REGISTRY)?) })
    }

    pub(super) fn write(&self, changes: &Changes) -> Result<(), StoreError> {
        let mut table = self.table.borrow_mut();
        for (key, value) in changes {
            match value {
                Some(value) => drop(table.insert(key.as_slice(), value.as_slice())?),
                None => drop(table.remove(key.as_slice())?),
            }
        }
        Ok(())
    }
}

impl StateStore for WriteView<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateStoreError> {
        get(&*self.table.borrow(), key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Pairs, StateStoreError> {
        scan(&*self.table.borrow(), from, to, limit)
    }
}

fn get(table: &impl ReadableTable<&'static [u8], &'static [u8]>, key: &[u8]) -> Result<Option<Vec<u8>>, StateStoreError> {
    Ok(table.get(key).map_err(failed)?.map(|value| value.value().to_vec()))
}

fn scan(table: &impl ReadableTable<&'static [u8], &'static [u8]>, from: &[u8], to: &[u8], limit: usize) -> Result<Pairs, StateStoreError> {
    if from >= to {
        return Ok(Vec::new());
    }
    let range = table.range::<&[u8]>((Bound::Included(from), Bound::Excluded(to))).map_err(failed)?;
    let mut pairs = Vec::new();
    for pair in range.take(limit) {
        let (key, value) = pair.map_err(failed)?;
        pairs.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(pairs)
}

fn failed(error: impl std::fmt::Display) -> StateStoreError {
    StateStoreError { reason: error.to_string() }
}
