//! Whatever a node said of its audit log before all others is so on its disk: as many entries and, of a checkpoint, the root of their tree (RFC 6962
//! section 2.1, made anew here from the entries), under the node's signature. So no entry was changed or taken away that others witnessed.

use std::collections::BTreeMap;

use tlog_tiles::tlog::{self, Hash, HashReader};
use warifu_core::audit::{self, AuditTreeError};
use warifu_protocol::{AuditEntry, NodeId, Sha256, StoreId};

use super::evidence::{AuditLog, Spoken};
use super::{Evidence, Finding};

pub(super) fn check(evidence: &Evidence) -> Finding {
    let mut finding = Finding::default();
    let outcomes = evidence.outcomes();
    let trees: Vec<(&AuditLog, Result<Tree, AuditTreeError>)> = evidence.logs.iter().map(|log| (log, Tree::of(&log.entries))).collect();
    let has = |node: NodeId, store: Option<StoreId>, size: u64, root: Option<Sha256>| {
        let of_node = trees.iter().filter(|(log, _)| log.node == node && (store.is_none() || log.store() == store));
        of_node.into_iter().any(|(log, tree)| {
            size <= log.entries.len() as u64
                && root.is_none_or(|root| matches!(tree, Ok(tree) if tree.root(size).is_ok_and(|own| own == root)))
        })
    };
    let mut stores: BTreeMap<NodeId, StoreId> = BTreeMap::new();
    for (index, spoken) in evidence.spoken.iter().filter(|(index, _)| outcomes.get(index) != Some(&false)) {
        let (node, size, root, is_signed) = match spoken {
            Spoken::Started(signed) => {
                stores.insert(signed.node, signed.body.store);
                let is_signed = evidence.keys_of(signed.node).any(|key| signed.verify(evidence.cluster, key).is_ok());
                (signed.node, signed.body.audit_size, None, is_signed)
            }
            Spoken::Checkpoint(signed) => {
                let is_signed = evidence.keys_of(signed.node).any(|key| signed.verify(evidence.cluster, key).is_ok());
                (signed.node, signed.body.size, Some(signed.body.root), is_signed)
            }
        };
        finding.look(is_signed, || format!("entry {index} of the log is not signed by node {node}"));
        finding.look(has(node, stores.get(&node).copied(), size, root), || {
            format!("by entry {index} of the log node {node} had {size} audit entries with root {root:?}; no disk of its has them")
        });
    }
    for (node, record) in &evidence.remembered {
        finding.look(has(*node, Some(record.store), record.audit_size, record.audit_root), || {
            format!("the registry remembers {} audit entries of node {node}; no disk of its has them", record.audit_size)
        });
    }
    finding
}

/// The hashes of a log's tree.
#[derive(Default)]
struct Tree(Vec<Hash>);

impl Tree {
    fn of(entries: &[AuditEntry]) -> Result<Self, AuditTreeError> {
        let mut tree = Self::default();
        for (number, entry) in (0..).zip(entries) {
            let new = audit::append(number, &entry.encode(), &tree)?;
            tree.0.extend(new.into_iter().map(|(_, hash)| Hash(*hash.as_bytes())));
        }
        Ok(tree)
    }

    fn root(&self, size: u64) -> Result<Sha256, AuditTreeError> {
        audit::root(size, self)
    }
}

impl HashReader for Tree {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog::Error> {
        let at = |index: &u64| usize::try_from(*index).ok().and_then(|index| self.0.get(index).copied());
        indexes.iter().map(|index| at(index).ok_or(tlog::Error::IndexesNotInTree)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torment::checker::testing::{checkpoint, evidence, held, started, started_with};

    /// Node 1 has three entries, and said so of two of them.
    fn witnessed() -> Evidence {
        let mut evidence = evidence();
        evidence.logs[0].entries = vec![started(), held(1), held(2)];
        let root = Tree::of(&evidence.logs[0].entries).and_then(|tree| tree.root(2)).expect("a root");
        evidence.spoken = [(4, started_with(1, 1)), (9, checkpoint(1, 2, root))].into();
        evidence
    }

    #[test]
    fn a_witnessed_entry_that_was_changed_or_taken_away_is_seen() {
        let finding = check(&witnessed());
        assert_eq!((finding.looked_at, finding.violations.len()), (4, 0), "{finding:?}");
        let mut later = witnessed();
        later.logs[0].entries[2] = held(3);
        assert!(check(&later).violations.is_empty(), "nobody witnessed the third");
        let mut changed = witnessed();
        changed.logs[0].entries[1] = held(3);
        assert_eq!(check(&changed).violations.len(), 1);
        let mut cut = witnessed();
        cut.logs[0].entries.truncate(1);
        assert_eq!(check(&cut).violations.len(), 1);
        cut.logs[0].entries.clear();
        assert_eq!(check(&cut).violations.len(), 2);
    }

    #[test]
    fn a_statement_under_another_key_is_seen() {
        let mut evidence = witnessed();
        evidence.identities.clear();
        assert_eq!(check(&evidence).violations.len(), 2);
    }

    #[test]
    fn a_statement_that_was_refused_says_nothing() {
        let mut evidence = witnessed();
        evidence.spoken.insert(10, started_with(1, 99));
        assert_eq!(check(&evidence).violations.len(), 1);
        evidence.logs[1].entries = vec![crate::torment::checker::testing::refused(10)];
        assert!(check(&evidence).violations.is_empty());
    }
}
