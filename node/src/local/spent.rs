//! Request numbers that sessions have used up, and which request used them.

use redb::{ReadableTable as _, Table, TableDefinition};
use warifu_protocol::{RequestHash, SessionId};

use super::sweep::SweepCursor;
use super::{LocalStore, LocalStoreError, SpendOutcome};
use crate::store::StoreError;

/// Request hash by session and number.
pub(super) const SPENT: TableDefinition<'static, &[u8], [u8; 32]> = TableDefinition::new("spent");

impl LocalStore {
    /// Forgets the used numbers among the next page of all whose sessions `is_over` says can never be signed for again. Returns how many, and
    /// whether that page was the last: the next call then begins anew.
    ///
    /// # Errors
    /// When the store fails, or with the first error of `is_over`.
    pub fn drop_spent<E: From<LocalStoreError>>(
        &self,
        cursor: &mut SweepCursor,
        is_over: impl Fn(SessionId) -> Result<bool, E>,
    ) -> Result<(usize, bool), E> {
        self.sweep(SPENT, cursor, |key| session_of(key).map_or(Ok(false), &is_over))
    }
}

/// Uses a number up for a request, unless another has used it.
pub(super) fn spend(
    spent: &mut Table<'_, &'static [u8], [u8; 32]>,
    session: SessionId,
    seq: u32,
    request: RequestHash,
) -> Result<SpendOutcome, StoreError> {
    let key = [session.as_ref(), &seq.to_be_bytes()].concat();
    let used = spent.get(key.as_slice())?.map(|value| value.value());
    match used {
        Some(used) if used != *request.as_bytes() => Ok(SpendOutcome::UsedForAnother),
        Some(_) => Ok(SpendOutcome::Recorded),
        None => {
            spent.insert(key.as_slice(), *request.as_bytes())?;
            Ok(SpendOutcome::Recorded)
        }
    }
}

fn session_of(key: &[u8]) -> Option<SessionId> {
    key.first_chunk().copied().map(SessionId::new)
}
