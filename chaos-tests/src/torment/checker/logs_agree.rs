//! The raft logs of all sites have the same entries in the same places, as far as each site applied them (raft: log matching).

use std::collections::BTreeMap;

use warifu_node::raft::LogPosition;
use warifu_protocol::{NodeId, Sha256};

use super::{Evidence, Finding};

pub(super) fn check(evidence: &Evidence) -> Finding {
    let applied: BTreeMap<NodeId, u64> =
        evidence.states.iter().filter_map(|state| Some((state.node, *state.marks.keys().next_back()?))).collect();
    let mut finding = Finding::default();
    let mut first: BTreeMap<u64, (NodeId, (LogPosition, Sha256))> = BTreeMap::new();
    for (node, entries) in &evidence.raft {
        let end = applied.get(node).copied().unwrap_or_default();
        for (index, entry) in entries.range(..=end) {
            let (other, known) = *first.entry(*index).or_insert((*node, *entry));
            finding.look(known == *entry, || format!("nodes {other} and {node} have different entries at {index}"));
        }
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torment::checker::testing::{evidence, must_node};

    #[test]
    fn different_entries_in_one_place_are_seen_and_one_that_was_never_applied_is_not() {
        let entry = |term, content| (LogPosition { term, leader: 1, index: 5 }, Sha256::new([content; 32]));
        let mut evidence = evidence();
        evidence.states.iter_mut().for_each(|state| state.marks = [(5, Sha256::new([0; 32]))].into());
        evidence.raft = [(must_node(1), [(5, entry(1, 1))].into()), (must_node(2), [(5, entry(1, 1))].into())].into();
        let finding = check(&evidence);
        assert_eq!((finding.looked_at, finding.violations.len()), (2, 0));
        for other in [entry(1, 2), entry(2, 1)] {
            evidence.raft.insert(must_node(2), [(5, other)].into());
            assert_eq!(check(&evidence).violations.len(), 1);
        }
        evidence.states[1].marks.clear();
        assert!(check(&evidence).violations.is_empty());
    }
}
