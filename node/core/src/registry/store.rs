//! The ordered key-value store under the registry, and the pending changes of entries that are being applied.

use std::collections::BTreeMap;

/// The disk or its stand-in failed; nothing about the request is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the state store failed: {reason}")]
pub struct StateStoreError {
    /// What the store says.
    pub reason: String,
}

/// Keys with their values, ascending.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// One consistent view of an ordered map from keys to values.
pub trait StateStore {
    /// The value under `key`.
    ///
    /// # Errors
    /// When the store fails.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateStoreError>;

    /// Up to `limit` pairs with `from <= key < to`, ascending.
    ///
    /// # Errors
    /// When the store fails.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Pairs, StateStoreError>;
}

impl<S: StateStore + ?Sized> StateStore for &S {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateStoreError> {
        (**self).get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Pairs, StateStoreError> {
        (**self).scan(from, to, limit)
    }
}

/// A map in memory: for the simulator and for tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStore(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl MemoryStore {
    /// Carries out changes as a shell's store does.
    pub fn write(&mut self, changes: &Changes) {
        for (key, value) in changes {
            match value {
                Some(value) => self.0.insert(key.clone(), value.clone()),
                None => self.0.remove(key),
            };
        }
    }
}

impl StateStore for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateStoreError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Pairs, StateStoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        Ok(self.0.range(from.to_vec()..to.to_vec()).take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

/// Keys with their new value, or `None` to delete; in key order.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A store with changes on top that are not written yet.
pub struct Overlay<'a, S> {
    base: &'a S,
    changes: Changes,
}

impl<'a, S: StateStore> Overlay<'a, S> {
    /// Starts without changes.
    pub const fn new(base: &'a S) -> Self {
        Self { base, changes: BTreeMap::new() }
    }

    /// Sets a value.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert(key, Some(value));
    }

    /// Deletes a value, if there is one.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.changes.insert(key, None);
    }

    /// The changes so far.
    #[must_use]
    pub const fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Ends with the changes.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        self.changes
    }

    /// Takes over changes made on an overlay on top of this one.
    pub fn absorb(&mut self, changes: Changes) {
        self.changes.extend(changes);
    }
}

impl<S: StateStore> StateStore for Overlay<'_, S> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateStoreError> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Pairs, StateStoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let changed: Vec<_> = self.changes.range(from.to_vec()..to.to_vec()).collect();
        // Deleted keys may hide up to that many of the base's pairs.
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = self.base.scan(from, to, limit.saturating_add(changed.len()))?.into_iter().collect();
        for (key, change) in changed {
            match change {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        Ok(merged.into_iter().take(limit).collect())
    }
}
