//! Which version of log entries the cluster uses: the newest that the program of every node in the roster knows.
//!
//! A program that meets an entry which it cannot read must neither skip it, since others may apply it, nor stop for any number that somebody
//! wrote in front of one. So the state says which versions are in use: an entry of another is refused by all programs alike, and one that is in
//! use but unknown here stops this node and no other.

use warifu_protocol::{LOG_ENTRY_VERSION_FIRST, NodeId, Refusal, log_entry_version};

use super::apply::Stop;
use super::reader::{Registry, encode, key, read, table};
use super::store::{Overlay, StateStore, StateStoreError};

/// The newest version that entries may have. It never falls.
///
/// # Errors
/// When the store fails.
pub fn log_version<S: StateStore>(state: &S) -> Result<u16, StateStoreError> {
    Ok(read(state, &key(table::LOG_VERSION, &[]))?.unwrap_or(LOG_ENTRY_VERSION_FIRST))
}

/// Entries that are in use need a newer program than this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cluster uses version {needs} of log entries and this program knows {knows}; install the program that the other nodes run")]
pub struct ProgramOutdated {
    /// What the cluster uses.
    pub needs: u16,
    /// What this program knows.
    pub knows: u16,
}

impl ProgramOutdated {
    /// Whether this program can follow the cluster in this state.
    ///
    /// # Errors
    /// When the store fails.
    pub fn look<S: StateStore>(state: &S) -> Result<Option<Self>, StateStoreError> {
        let (needs, knows) = (log_version(state)?, log_entry_version());
        Ok((needs > knows).then_some(Self { needs, knows }))
    }
}

/// What becomes of an entry by its version alone.
pub(super) enum ByVersion {
    /// It can be decoded.
    Readable,
    /// All programs refuse it.
    Refused(Refusal),
    /// Others apply it.
    Outdated(ProgramOutdated),
}

pub(super) fn judge<S: StateStore>(state: &S, version: u16) -> Result<ByVersion, StateStoreError> {
    let (active, knows) = (log_version(state)?, log_entry_version());
    Ok(if !(LOG_ENTRY_VERSION_FIRST..=active).contains(&version) {
        ByVersion::Refused(Refusal::LogVersionUnused { found: version, active })
    } else if version > knows {
        ByVersion::Outdated(ProgramOutdated { needs: version, knows })
    } else {
        ByVersion::Readable
    })
}

/// Takes down what the program of a node that starts knows, and goes over to a newer version if it was the last to know it.
pub(super) fn started<S: StateStore>(state: &mut Overlay<'_, S>, node: NodeId, knows: u16) -> Result<(), Stop> {
    let active = log_version(state)?;
    if knows < active {
        return Err(Refusal::ProgramOutdated { node, knows, needs: active }.into());
    }
    state.put(key(table::LOG_VERSION, &[&[node.get()]]), encode(&knows));
    Ok(settle(state)?)
}

/// A node that left the roster holds nothing back any more.
pub(super) fn forget<S: StateStore>(state: &mut Overlay<'_, S>, node: NodeId) {
    state.delete(key(table::LOG_VERSION, &[&[node.get()]]));
}

/// A node of the roster that has never started is taken to know the first version: else the first to start could claim what it likes.
pub(super) fn settle<S: StateStore>(state: &mut Overlay<'_, S>) -> Result<(), StateStoreError> {
    let mut least = u16::MAX;
    for node in state.cluster()?.nodes {
        let knows = read(state, &key(table::LOG_VERSION, &[&[node.id.get()]]))?;
        least = least.min(knows.unwrap_or(LOG_ENTRY_VERSION_FIRST));
    }
    if least > log_version(state)? {
        state.put(key(table::LOG_VERSION, &[]), encode(&least));
    }
    Ok(())
}
