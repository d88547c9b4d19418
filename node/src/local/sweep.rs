//! Deleting what is over from a table of any size, a page at a time.

use redb::{TableDefinition, Value};

use super::{LocalStore, LocalStoreError};
use crate::store::StoreError;

/// Keys that one look considers: some milliseconds of work, for which no other write waits unless something is deleted.
const PAGE: usize = 512;

/// Where a sweep is.
#[derive(Debug, Default)]
pub struct SweepCursor(Option<Vec<u8>>);

impl LocalStore {
    /// Deletes the entries among the next page of the table whose keys `is_over` says so of. Returns how many, and whether that page was the
    /// last: the next call then begins anew.
    pub(super) fn sweep<V: Value + Send + 'static, E: From<LocalStoreError>>(
        &self,
        table: TableDefinition<'static, &'static [u8], V>,
        cursor: &mut SweepCursor,
        is_over: impl Fn(&[u8]) -> Result<bool, E>,
    ) -> Result<(usize, bool), E> {
        let (page, is_last) = self.next_page(table, cursor)?;
        let mut over = Vec::new();
        for key in page {
            if is_over(&key)? {
                over.push(key);
            }
        }
        let count = over.len();
        if count > 0 {
            let deleted = self.database.write_blocking(move |transaction| {
                let mut table = transaction.open_table(table)?;
                for key in &over {
                    table.remove(key.as_slice())?;
                }
                Ok(())
            });
            deleted.map_err(LocalStoreError::from)?;
        }
        Ok((count, is_last))
    }

    /// The next page of the table's keys, and whether it is the last.
    pub(super) fn next_page<V: Value + Send + 'static>(
        &self,
        table: TableDefinition<'static, &'static [u8], V>,
        cursor: &mut SweepCursor,
    ) -> Result<(Vec<Vec<u8>>, bool), LocalStoreError> {
        let from = cursor.0.clone().unwrap_or_default();
        let page = self.database.read(|transaction| {
            let table = match transaction.open_table(table) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let mut keys = Vec::with_capacity(PAGE);
            for pair in table.range(from.as_slice()..)?.take(PAGE) {
                keys.push(pair?.0.value().to_vec());
            }
            Ok::<_, StoreError>(keys)
        })?;
        let is_last = page.len() < PAGE;
        // The smallest key above the last one.
        cursor.0 = page.last().filter(|_| !is_last).map(|last| [last.as_slice(), &[0]].concat());
        Ok((page, is_last))
    }
}
