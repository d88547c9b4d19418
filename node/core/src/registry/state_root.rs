//! The state root: a hash over all of the registry that is updated with each entry.
//!
//! Keys fall into 65,536 buckets by their hash; a bucket's hash covers its keys and the hashes of their values in key order; four levels
//! of sixteen children each lead from the buckets to the root. An absent bucket or subtree counts as 32 zero bytes.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256 as Hasher};
use warifu_protocol::Sha256;
use warifu_protocol::canonical::{TAG_STATE_TREE, sha256};

use super::reader::{key, prefix_end, table};
use super::store::{Changes, Overlay, StateStore, StateStoreError};

/// Children of an inner node.
const FANOUT: usize = 16;
/// Levels of inner nodes; the root is at level 0 and the parents of the buckets at level 3.
const LEVELS: u8 = 4;
/// An absent subtree.
const EMPTY: [u8; 32] = [0; 32];

/// Carries `changes` (of hashed tables; others are skipped), which are in `state` already, into the tree and returns the new root.
///
/// # Errors
/// When the store fails.
pub fn update<S: StateStore>(state: &mut Overlay<'_, S>, changes: &Changes) -> Result<Sha256, StateStoreError> {
    let mut buckets = BTreeSet::new();
    for (changed, value) in changes {
        if changed.first().is_none_or(|table| *table < table::HASHED_FROM) {
            continue;
        }
        let bucket = bucket_of(changed);
        let entry = key(table::BUCKET, &[&bucket.to_be_bytes(), changed]);
        match value {
            Some(value) => state.put(entry, sha256(value).to_vec()),
            None => state.delete(entry),
        }
        buckets.insert(bucket);
    }
    let mut children = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        children.push((u32::from(bucket), hash_bucket(state, bucket)?));
    }
    for level in (0..LEVELS).rev() {
        children = update_level(state, level, &children)?;
    }
    root(state)
}

/// The root as it stands.
///
/// # Errors
/// When the store fails.
pub fn root<S: StateStore>(state: &S) -> Result<Sha256, StateStoreError> {
    let node = state.get(&node_key(0, 0))?.unwrap_or_default();
    Ok(Sha256::new(hash_node(0, &node)))
}

/// Takes pairs of a snapshot into `state`, whose tree is built from them alone, and returns the root so far.
///
/// # Errors
/// When the store fails, or a key is of a table that a snapshot does not carry.
pub fn load<S: StateStore>(state: &mut Overlay<'_, S>, pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Sha256, StateStoreError> {
    let mut changes = Changes::new();
    for (key, value) in pairs {
        if key.first().is_none_or(|table| *table < table::HASHED_FROM) {
            return Err(StateStoreError { reason: "a snapshot carries a table that only a node itself may make".to_owned() });
        }
        state.put(key.clone(), value.clone());
        changes.insert(key, Some(value));
    }
    update(state, &changes)
}

fn update_level<S: StateStore>(
    state: &mut Overlay<'_, S>,
    level: u8,
    children: &[(u32, [u8; 32])],
) -> Result<Vec<(u32, [u8; 32])>, StateStoreError> {
    let mut parents: Vec<(u32, Vec<u8>)> = Vec::new();
    for (index, hash) in children {
        let parent = index / FANOUT as u32;
        if parents.last().is_none_or(|(last, _)| *last != parent) {
            let node = state.get(&node_key(level, parent))?.filter(|node| node.len() == FANOUT * EMPTY.len());
            parents.push((parent, node.unwrap_or_else(|| vec![0; FANOUT * EMPTY.len()])));
        }
        let start = (*index as usize % FANOUT) * EMPTY.len();
        if let Some(slot) = parents.last_mut().and_then(|(_, node)| node.get_mut(start..start + EMPTY.len())) {
            slot.copy_from_slice(hash);
        }
    }
    let mut hashes = Vec::with_capacity(parents.len());
    for (index, node) in parents {
        hashes.push((index, hash_node(level, &node)));
        if node.iter().all(|byte| *byte == 0) {
            state.delete(node_key(level, index));
        } else {
            state.put(node_key(level, index), node);
        }
    }
    Ok(hashes)
}

fn hash_bucket<S: StateStore>(state: &S, bucket: u16) -> Result<[u8; 32], StateStoreError> {
    let prefix = key(table::BUCKET, &[&bucket.to_be_bytes()]);
    let entries = state.scan(&prefix, &prefix_end(&prefix), usize::MAX)?;
    if entries.is_empty() {
        return Ok(EMPTY);
    }
    let mut hasher = tagged(LEVELS);
    for (entry, value_hash) in &entries {
        let key = entry.get(prefix.len()..).unwrap_or_default();
        hasher.update((key.len() as u64).to_be_bytes());
        hasher.update(key);
        hasher.update(value_hash);
    }
    Ok(hasher.finalize().into())
}

fn hash_node(level: u8, node: &[u8]) -> [u8; 32] {
    if node.iter().all(|byte| *byte == 0) {
        return EMPTY;
    }
    let mut hasher = tagged(level);
    hasher.update(node);
    hasher.finalize().into()
}

fn tagged(level: u8) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(TAG_STATE_TREE.as_bytes());
    hasher.update([b'\n', level]);
    hasher
}

fn bucket_of(key: &[u8]) -> u16 {
    let [first, second, ..] = sha256(key);
    u16::from_be_bytes([first, second])
}

fn node_key(level: u8, index: u32) -> Vec<u8> {
    key(table::TREE, &[&[level], &index.to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::MemoryStore;

    fn put(store: &mut MemoryStore, pairs: &[(u8, Option<&[u8]>)]) -> Sha256 {
        let changes: Changes = pairs.iter().map(|(id, value)| (vec![table::FACILITY, *id], value.map(<[u8]>::to_vec))).collect();
        let mut overlay = Overlay::new(store);
        overlay.absorb(changes.clone());
        let root = update(&mut overlay, &changes).expect("a memory store does not fail");
        let all = overlay.into_changes();
        store.write(&all);
        root
    }

    #[test]
    fn the_root_depends_on_the_content_and_not_on_the_way_there() {
        let mut one = MemoryStore::default();
        for id in 0..50 {
            put(&mut one, &[(id, Some(&[id; 3]))]);
        }
        put(&mut one, &[(7, None), (9, Some(b"other"))]);
        let mut two = MemoryStore::default();
        let pairs: Vec<(u8, Option<&[u8]>)> = (0..50).rev().filter(|id| *id != 7).map(|id| (id, Some(b"x".as_slice()))).collect();
        put(&mut two, &pairs);
        for id in (0..50).filter(|id| *id != 7) {
            let value = if id == 9 { b"other".to_vec() } else { vec![id; 3] };
            put(&mut two, &[(id, Some(&value))]);
        }
        assert_eq!(root(&one), root(&two));
        assert_eq!(one.0, two.0);
    }

    #[test]
    fn one_changed_added_or_removed_value_changes_the_root() {
        let mut store = MemoryStore::default();
        let first = put(&mut store, &[(1, Some(b"a")), (2, Some(b"b"))]);
        let changed = put(&mut store, &[(2, Some(b"c"))]);
        let added = put(&mut store, &[(3, Some(b"d"))]);
        let removed = put(&mut store, &[(3, None), (1, None)]);
        assert_eq!(BTreeSet::from([first, changed, added, removed]).len(), 4);
        assert_eq!(put(&mut store, &[(2, None)]), Sha256::new(EMPTY));
    }

    #[test]
    fn a_loaded_snapshot_gets_a_tree_of_its_own_content() {
        let mut store = MemoryStore::default();
        let honest = put(&mut store, &[(1, Some(b"a")), (2, Some(b"b"))]);
        let pairs: Vec<_> = store.0.iter().filter(|(key, _)| key[0] >= table::HASHED_FROM).map(|(k, v)| (k.clone(), v.clone())).collect();
        let empty = MemoryStore::default();
        assert_eq!(load(&mut Overlay::new(&empty), pairs.clone()).expect("loads"), honest);
        let mut forged = pairs;
        forged.push((vec![table::FACILITY, 3], b"one binding more".to_vec()));
        assert_ne!(load(&mut Overlay::new(&empty), forged).expect("loads"), honest);
        let shipped_tree = vec![(vec![table::TREE, 0, 0, 0, 0, 0], vec![1; 512])];
        load(&mut Overlay::new(&empty), shipped_tree).expect_err("a snapshot may not bring its own tree");
    }
}
