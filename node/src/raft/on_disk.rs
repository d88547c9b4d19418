//! The log of a node that does not run.

use std::path::Path;

use super::log_store::RaftLog;
use super::state::AppliedEntry;
use super::state_machine::applied_entry;
use crate::store::{StoreError, open_unchanged};

/// Reads every entry in the log of a node that does not run, in order, and changes nothing. Those at the end may never have been committed; those at the
/// beginning are gone where a snapshot took their place.
///
/// # Errors
/// [`StoreError`].
pub fn entries_on_disk(path: &Path) -> Result<Vec<AppliedEntry>, StoreError> {
    let log = RaftLog::with(open_unchanged(path)?)?;
    Ok(log.entries(0, u64::MAX, usize::MAX)?.into_iter().map(applied_entry).collect())
}
