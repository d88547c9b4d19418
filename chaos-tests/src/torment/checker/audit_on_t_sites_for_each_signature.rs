//! Each signature is on record on the disks of t sites (design: nothing leaves unaudited). Lost disks count: they were there when it was made.

use std::collections::{BTreeMap, BTreeSet};

use warifu_protocol::{AuditEvent, NodeId, RequestHash};

use super::{Evidence, Finding};
use crate::torment::oracle::Outcome;

pub(super) fn check(evidence: &Evidence) -> Finding {
    let mut sites: BTreeMap<RequestHash, BTreeSet<NodeId>> = BTreeMap::new();
    for log in &evidence.logs {
        for entry in &log.entries {
            if let AuditEvent::DocumentShare { request, .. } = &entry.event {
                sites.entry(request.request.hash()).or_default().insert(log.node);
            }
        }
    }
    let mut finding = Finding::default();
    for asked in evidence.said.requests.iter().filter(|asked| matches!(asked.outcome, Outcome::Signed(_))) {
        let at = sites.get(&asked.request.hash()).cloned().unwrap_or_default();
        finding.look(at.len() >= evidence.threshold, || {
            format!("document {} was released, and only {at:?} have it on record", asked.request.document_id)
        });
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torment::checker::testing::{evidence, must_node, must_signed, share};

    #[test]
    fn a_signature_with_too_few_entries_is_seen() {
        let mut evidence = evidence();
        evidence.said.requests = vec![must_signed(1, 1)];
        for node in 1..=3 {
            evidence.logs[node - 1].entries.push(share(1, 1, 1, node as u8));
        }
        assert!(check(&evidence).violations.is_empty());
        evidence.logs[2].node = must_node(1);
        assert_eq!(check(&evidence).violations.len(), 1, "a site counts once");
        evidence.logs[2].entries.clear();
        assert_eq!(check(&evidence).violations.len(), 1);
    }
}
