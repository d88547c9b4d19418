//! Shares of epochs that are over.

use warifu_protocol::{CredentialId, Epoch};

use super::shares::{SHARES, parse_share_key};
use super::{LocalStore, LocalStoreError};

/// Shares that one look compares with the registry: some milliseconds of work.
const PAGE: usize = 512;

/// Where the search for shares of ended epochs is.
#[derive(Debug, Default)]
pub struct SupersededCursor(Option<Vec<u8>>);

impl LocalStore {
    /// Deletes the shares among the next page of all that `is_over` says are of an ended epoch. Returns how many, and whether that page was the
    /// last: the next call then begins anew.
    ///
    /// Deleting is not shredding: what the disk remembers goes with the next rotation of the key-encryption key.
    ///
    /// # Errors
    /// When the store fails, or with the first error of `is_over`.
    pub fn drop_superseded<E: From<LocalStoreError>>(
        &self,
        cursor: &mut SupersededCursor,
        is_over: impl Fn(CredentialId, Epoch) -> Result<bool, E>,
    ) -> Result<(usize, bool), E> {
        let from = cursor.0.clone().unwrap_or_default();
        let page = self.database.read(|transaction| {
            let table = transaction.open_table(SHARES)?;
            let mut keys = Vec::with_capacity(PAGE);
            for pair in table.range(from.as_slice()..)?.take(PAGE) {
                keys.push(pair?.0.value().to_vec());
            }
            Ok::<_, crate::store::StoreError>(keys)
        });
        let page = page.map_err(LocalStoreError::from)?;
        let is_last = page.len() < PAGE;
        // The smallest key above the last one.
        cursor.0 = page.last().filter(|_| !is_last).map(|last| [last.as_slice(), &[0]].concat());
        let mut over = Vec::new();
        for key in page {
            if let Some((credential, epoch)) = parse_share_key(&key)
                && is_over(credential, epoch)?
            {
                over.push(key);
            }
        }
        let count = over.len();
        if count > 0 {
            let deleted = self.database.write_blocking(move |transaction| {
                let mut table = transaction.open_table(SHARES)?;
                for key in &over {
                    table.remove(key.as_slice())?;
                }
                Ok(())
            });
            deleted.map_err(LocalStoreError::from)?;
        }
        Ok((count, is_last))
    }
}
