//! Roots and proofs.

use tlog_tiles::tlog::{
    self, Hash, HashReader, check_record, check_tree, prove_record, prove_tree, record_hash, stored_hash_index, stored_hashes, tree_hash,
};
use warifu_protocol::Sha256;

/// That an entry stands at an index of a tree: the hashes beside its path, from the leaf up.
pub type InclusionProof = Vec<Sha256>;

/// Why a tree or a proof cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditTreeError {
    /// The stored hashes cannot be read: the store failed or is damaged.
    #[error("the hashes of the audit log cannot be read")]
    Read {
        /// What the reader says.
        #[source]
        source: tlog::Error,
    },
    /// No such entry or tree.
    #[error("{what} {number} does not exist in an audit log of {size} entries")]
    OutOfRange {
        /// `entry` or `tree`.
        what: &'static str,
        /// Its number.
        number: u64,
        /// Entries in the log.
        size: u64,
    },
    /// The proof does not prove it: the entry, the root or the proof was changed.
    #[error("the proof does not hold; do not rely on this log")]
    ProofInvalid,
}

/// The hashes to store, with their indexes, when `entry` becomes number `size` (from 0) of the log.
///
/// There is one for the entry and one for each subtree that it completes, with ascending indexes that follow on those of the entries
/// before; they are stored in one transaction with the entry.
///
/// # Errors
/// When the hashes of the log so far cannot be read.
pub fn append<R: HashReader>(size: u64, entry: &[u8], reader: &R) -> Result<Vec<(u64, Sha256)>, AuditTreeError> {
    let hashes = stored_hashes(size, entry, reader).map_err(read)?;
    Ok((stored_hash_index(0, size)..).zip(hashes.into_iter().map(from_hash)).collect())
}

/// The root of the first `size` entries; for none it is the hash of nothing.
///
/// # Errors
/// When the hashes cannot be read.
pub fn root<R: HashReader>(size: u64, reader: &R) -> Result<Sha256, AuditTreeError> {
    tree_hash(size, reader).map(from_hash).map_err(read)
}

/// Proves that entry `index` is in the tree of the first `size` entries.
///
/// # Errors
/// When there is no such entry or the hashes cannot be read.
pub fn inclusion_proof<R: HashReader>(size: u64, index: u64, reader: &R) -> Result<InclusionProof, AuditTreeError> {
    if index >= size {
        return Err(AuditTreeError::OutOfRange { what: "entry", number: index, size });
    }
    Ok(prove_record(size, index, reader).map_err(read)?.into_iter().map(from_hash).collect())
}

/// Checks that `entry` is number `index` of the tree with this size and root.
///
/// # Errors
/// [`AuditTreeError::OutOfRange`] or [`AuditTreeError::ProofInvalid`].
pub fn verify_inclusion(proof: &[Sha256], size: u64, root: Sha256, index: u64, entry: &[u8]) -> Result<(), AuditTreeError> {
    if index >= size {
        return Err(AuditTreeError::OutOfRange { what: "entry", number: index, size });
    }
    check_record(&to_hashes(proof), size, to_hash(root), index, record_hash(entry)).map_err(|_| AuditTreeError::ProofInvalid)
}

/// Proves that the tree of the first `old` entries is the beginning of that of the first `size`.
///
/// # Errors
/// When `old` is not 1 to `size` or the hashes cannot be read.
pub fn consistency_proof<R: HashReader>(size: u64, old: u64, reader: &R) -> Result<Vec<Sha256>, AuditTreeError> {
    if old == 0 || old > size {
        return Err(AuditTreeError::OutOfRange { what: "tree", number: old, size });
    }
    Ok(prove_tree(size, old, reader).map_err(read)?.into_iter().map(from_hash).collect())
}

/// Checks that nothing of the tree with size `old` and root `old_root` was changed or taken away in that with `size` and `root`.
///
/// # Errors
/// [`AuditTreeError::OutOfRange`] or [`AuditTreeError::ProofInvalid`].
pub fn verify_consistency(proof: &[Sha256], size: u64, root: Sha256, old: u64, old_root: Sha256) -> Result<(), AuditTreeError> {
    if old == 0 || old > size {
        return Err(AuditTreeError::OutOfRange { what: "tree", number: old, size });
    }
    check_tree(&to_hashes(proof), size, to_hash(root), old, to_hash(old_root)).map_err(|_| AuditTreeError::ProofInvalid)
}

fn to_hashes(proof: &[Sha256]) -> Vec<Hash> {
    proof.iter().copied().map(to_hash).collect()
}

const fn read(source: tlog::Error) -> AuditTreeError {
    AuditTreeError::Read { source }
}

const fn from_hash(hash: Hash) -> Sha256 {
    Sha256::new(hash.0)
}

const fn to_hash(hash: Sha256) -> Hash {
    Hash(*hash.as_bytes())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[derive(Default)]
    struct Stored(Vec<Hash>);

    impl HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog::Error> {
            let at = |index: &u64| usize::try_from(*index).ok().and_then(|index| self.0.get(index).copied());
            indexes.iter().map(|index| at(index).ok_or(tlog::Error::IndexesNotInTree)).collect()
        }
    }

    fn entry(number: u64) -> Vec<u8> {
        format!("entry {number}").into_bytes()
    }

    /// A log and its roots by size.
    fn must_log(entries: u64) -> (Stored, Vec<Sha256>) {
        let mut stored = Stored::default();
        let mut roots = vec![root(0, &stored).unwrap()];
        for number in 0..entries {
            for (index, hash) in append(number, &entry(number), &stored).unwrap() {
                assert_eq!(index, stored.0.len() as u64, "the hashes are not consecutive");
                stored.0.push(to_hash(hash));
            }
            roots.push(root(number + 1, &stored).unwrap());
        }
        (stored, roots)
    }

    /// RFC 6962 section 2.1, written down as it stands there.
    fn tree_head(entries: &[Vec<u8>]) -> [u8; 32] {
        use warifu_protocol::canonical::sha256;
        match entries {
            [] => sha256(&[]),
            [entry] => sha256(&[&[0], entry.as_slice()].concat()),
            entries => {
                let (left, right) = entries.split_at(entries.len().next_power_of_two() / 2);
                sha256(&[&[1], tree_head(left).as_slice(), tree_head(right).as_slice()].concat())
            }
        }
    }

    #[test]
    fn roots_are_those_of_rfc_6962() {
        let (_, roots) = must_log(20);
        let entries: Vec<_> = (0..20).map(entry).collect();
        for (size, root) in roots.iter().enumerate() {
            assert_eq!(*root.as_bytes(), tree_head(&entries[..size]), "{size} entries");
        }
    }

    #[test]
    fn every_entry_is_proved_and_no_other() {
        let (stored, roots) = must_log(13);
        for size in 1..=13 {
            let root = roots[usize::try_from(size).unwrap()];
            for index in 0..size {
                let proof = inclusion_proof(size, index, &stored).unwrap();
                verify_inclusion(&proof, size, root, index, &entry(index)).unwrap();
                assert!(verify_inclusion(&proof, size, root, index, b"another").is_err());
                assert!(verify_inclusion(&proof, size, roots[0], index, &entry(index)).is_err());
                if size > 1 {
                    assert!(verify_inclusion(&proof, size, root, (index + 1) % size, &entry(index)).is_err());
                    let mut changed = proof.clone();
                    changed[0] = Sha256::new([7; 32]);
                    assert!(verify_inclusion(&changed, size, root, index, &entry(index)).is_err());
                    assert!(verify_inclusion(&proof[1..], size, root, index, &entry(index)).is_err());
                }
                let longer = [proof.as_slice(), &[root]].concat();
                assert!(verify_inclusion(&longer, size, root, index, &entry(index)).is_err());
            }
        }
    }

    #[test]
    fn a_log_that_was_rewritten_is_not_consistent() {
        let (stored, roots) = must_log(11);
        for size in 1..=11_u64 {
            for old in 1..=size {
                let proof = consistency_proof(size, old, &stored).unwrap();
                let at = |size: u64| roots[usize::try_from(size).unwrap()];
                verify_consistency(&proof, size, at(size), old, at(old)).unwrap();
                assert!(verify_consistency(&proof, size, at(size), old, at(0)).is_err());
                assert!(verify_consistency(&proof, size, at(0), old, at(old)).is_err());
                let longer = [proof.as_slice(), &[at(old)]].concat();
                assert!(verify_consistency(&longer, size, at(size), old, at(old)).is_err());
            }
        }
    }

    #[test]
    fn entries_and_trees_that_do_not_exist_are_named() {
        let (stored, roots) = must_log(3);
        let out_of_range = |error: AuditTreeError| matches!(error, AuditTreeError::OutOfRange { size: 3, .. });
        assert!(out_of_range(inclusion_proof(3, 3, &stored).unwrap_err()));
        assert!(out_of_range(verify_inclusion(&[], 3, roots[3], 3, b"").unwrap_err()));
        assert!(out_of_range(consistency_proof(3, 0, &stored).unwrap_err()));
        assert!(out_of_range(consistency_proof(3, 4, &stored).unwrap_err()));
        assert!(out_of_range(verify_consistency(&[], 3, roots[3], 0, roots[0]).unwrap_err()));
        assert!(out_of_range(verify_consistency(&[], 3, roots[3], 4, roots[3]).unwrap_err()));
    }

    #[test]
    fn lost_hashes_are_the_stores_fault() {
        let (stored, _) = must_log(4);
        let short = Stored(stored.0[..2].to_vec());
        assert!(matches!(root(4, &short), Err(AuditTreeError::Read { .. })));
        assert!(matches!(append(3, b"", &short), Err(AuditTreeError::Read { .. })));
        assert!(matches!(inclusion_proof(4, 0, &short), Err(AuditTreeError::Read { .. })));
        assert!(matches!(consistency_proof(4, 2, &short), Err(AuditTreeError::Read { .. })));
    }
}
