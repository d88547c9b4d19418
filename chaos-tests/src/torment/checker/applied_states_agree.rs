//! All sites applied the same entries with the same outcome and had the same state after each of them (raft: state machine safety).

use std::collections::BTreeMap;

use warifu_protocol::{AuditEvent, NodeId, Sha256};

use super::{Evidence, Finding};

pub(super) fn check(evidence: &Evidence) -> Finding {
    let mut finding = Finding::default();
    let mut entries: BTreeMap<u64, (NodeId, Sha256, String)> = BTreeMap::new();
    for log in &evidence.logs {
        for entry in &log.entries {
            // Under index 0 a node records what it refused and did not bring into the log.
            if let AuditEvent::EntryApplied { index: index @ 1.., entry, refusal, .. } = &entry.event {
                let (first, bytes, outcome) = entries.entry(*index).or_insert_with(|| (log.node, *entry, format!("{refusal:?}")));
                finding.look(bytes == entry && *outcome == format!("{refusal:?}"), || {
                    format!("nodes {first} and {} applied different entries at {index}, or with different outcomes", log.node)
                });
            }
        }
    }
    let mut marks: BTreeMap<u64, (NodeId, Sha256)> = BTreeMap::new();
    let mut roots: BTreeMap<&[u8], (NodeId, Sha256)> = BTreeMap::new();
    for state in &evidence.states {
        for (index, mark) in &state.marks {
            let (first, known) = *marks.entry(*index).or_insert((state.node, *mark));
            finding.look(known == *mark, || format!("nodes {first} and {} had different states after entry {index}", state.node));
        }
        let (first, known) = *roots.entry(&state.position).or_insert((state.node, state.root));
        finding.look(known == state.root, || format!("nodes {first} and {} ended at one position with different roots", state.node));
    }
    let last = evidence.states.iter().map(|state| state.marks.keys().next_back()).collect::<Vec<_>>();
    finding.look(last.windows(2).all(|pair| pair[0] == pair[1]), || format!("the sites did not end at one entry: {last:?}"));
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torment::checker::testing::{applied, evidence};

    #[test]
    fn sites_that_applied_different_entries_or_had_different_states_are_seen() {
        let mut evidence = evidence();
        evidence.logs[0].entries = vec![applied(1, 1), applied(2, 2)];
        evidence.logs[1].entries = vec![applied(2, 2)];
        assert!(check(&evidence).violations.is_empty());
        evidence.logs[1].entries = vec![applied(2, 3)];
        assert_eq!(check(&evidence).violations.len(), 1);
        evidence.logs[1].entries.clear();
        evidence.logs[2].entries = vec![applied(0, 1)];
        evidence.logs[3].entries = vec![applied(0, 2)];
        assert!(check(&evidence).violations.is_empty(), "neither is an entry of the log");

        evidence.states[0].marks = [(1, Sha256::new([1; 32]))].into();
        evidence.states[1].marks = [(1, Sha256::new([2; 32]))].into();
        assert_eq!(check(&evidence).violations.len(), 2, "and the others are behind");
        evidence.states.iter_mut().for_each(|state| state.marks.clear());

        evidence.states[1].root = Sha256::new([9; 32]);
        assert_eq!(check(&evidence).violations.len(), 1);
    }
}
