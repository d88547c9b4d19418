//! Every signature was begun, at t sites, before those sites were told to stop its session or credential (design: acknowledged means over). No clock
//! is looked at: the order is that of each site's own log.

use std::collections::{BTreeMap, BTreeSet};

use warifu_protocol::{AuditEvent, NodeId, RequestHash, StopObject};

use super::{Evidence, Finding};
use crate::torment::oracle::Outcome;

pub(super) fn check(evidence: &Evidence) -> Finding {
    let mut begun: BTreeMap<RequestHash, BTreeSet<NodeId>> = BTreeMap::new();
    for log in &evidence.logs {
        let mut stopped = BTreeSet::new();
        for entry in &log.entries {
            match &entry.event {
                AuditEvent::StopHeld { object, .. } => {
                    stopped.insert(*object);
                }
                AuditEvent::ReceiptGiven { receipt } => {
                    stopped.insert(receipt.object);
                }
                AuditEvent::DocumentShare { request, credential, .. } => {
                    let of_session = StopObject::Session(request.request.session);
                    if !stopped.contains(&of_session) && !stopped.contains(&StopObject::Credential(*credential)) {
                        begun.entry(request.request.hash()).or_default().insert(log.node);
                    }
                }
                _ => {}
            }
        }
    }
    let mut finding = Finding::default();
    for asked in evidence.said.requests.iter().filter(|asked| matches!(asked.outcome, Outcome::Signed(_))) {
        let at = begun.get(&asked.request.hash()).map_or(0, BTreeSet::len);
        finding.look(at >= evidence.threshold, || {
            format!(
                "document {} of session {}: only {at} sites began it before their stop",
                asked.request.document_id, asked.request.session
            )
        });
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torment::checker::testing::{evidence, held, must_signed, share};

    #[test]
    fn a_signature_that_a_site_began_after_its_stop_is_seen() {
        let mut evidence = evidence();
        evidence.said.requests = vec![must_signed(1, 1)];
        for node in 1..=3 {
            evidence.logs[node - 1].entries = vec![held(2), share(1, 1, 1, node as u8), held(1)];
        }
        assert!(check(&evidence).violations.is_empty());
        evidence.logs[1].entries = vec![held(1), share(1, 1, 1, 2)];
        assert_eq!(check(&evidence).violations.len(), 1);
    }
}
