//! Shares that are nobody's any more: of epochs that are over, and of credentials that were destroyed without this store's noticing.

use std::collections::BTreeSet;

use warifu_protocol::{CredentialId, Epoch, UnixMillis};

use super::destroyed::bury;
use super::shares::{SHARES, parse_share_key};
use super::sweep::SweepCursor;
use super::{LocalStore, LocalStoreError};

/// What the registry says of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareStanding {
    /// It signs, may sign again, or is of an epoch that is still to come.
    Lives,
    /// Its epoch is over, or no key ever came of it.
    Over,
    /// Its credential is destroyed.
    Destroyed,
}

/// What a look at a page of shares came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Shares that were over and deleted.
    pub superseded: usize,
    /// Destroyed credentials whose shares were found and deleted; they are shredded as those of an order are.
    pub destroyed: usize,
    /// Whether that page was the last: the next call begins anew.
    pub is_last: bool,
}

impl LocalStore {
    /// Deletes the shares among the next page of all that `standing` says are over.
    ///
    /// Deleting is not shredding: what the disk remembers of an ended epoch goes with the next rotation of the key-encryption key; for a
    /// destroyed credential such a rotation follows.
    ///
    /// # Errors
    /// When the store fails, or with the first error of `standing`.
    pub fn sweep_shares<E: From<LocalStoreError>>(
        &self,
        cursor: &mut SweepCursor,
        now: UnixMillis,
        standing: impl Fn(CredentialId, Epoch) -> Result<ShareStanding, E>,
    ) -> Result<Swept, E> {
        let (page, is_last) = self.next_page(SHARES, cursor)?;
        let (mut over, mut destroyed) = (Vec::new(), BTreeSet::new());
        for key in page {
            let Some((credential, epoch)) = parse_share_key(&key) else { continue };
            match standing(credential, epoch)? {
                ShareStanding::Lives => {}
                ShareStanding::Over => over.push(key),
                ShareStanding::Destroyed => {
                    destroyed.insert(credential);
                }
            }
        }
        let swept = Swept { superseded: over.len(), destroyed: destroyed.len(), is_last };
        if swept.superseded + swept.destroyed > 0 {
            let deleted = self.database.write_blocking(move |transaction| {
                {
                    let mut table = transaction.open_table(SHARES)?;
                    for key in &over {
                        table.remove(key.as_slice())?;
                    }
                }
                destroyed.iter().try_for_each(|credential| bury(transaction, *credential, now))
            });
            deleted.map_err(LocalStoreError::from)?;
        }
        Ok(swept)
    }
}
