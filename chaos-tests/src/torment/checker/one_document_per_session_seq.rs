//! A number of a session is used for one document only, at all sites and for all clients.

use std::collections::BTreeMap;

use warifu_protocol::{AuditEvent, Request, RequestHash, SessionId};

use super::{Evidence, Finding};
use crate::torment::oracle::Outcome;

pub(super) fn check(evidence: &Evidence) -> Finding {
    let shares = evidence.logs.iter().flat_map(|log| &log.entries).filter_map(|entry| match &entry.event {
        AuditEvent::DocumentShare { request, .. } => Some(&request.request),
        _ => None,
    });
    let asked = evidence.said.requests.iter().filter(|asked| matches!(asked.outcome, Outcome::Signed(_))).map(|asked| &asked.request);
    let mut used: BTreeMap<(SessionId, u32), RequestHash> = BTreeMap::new();
    let mut finding = Finding::default();
    let mut look = |request: &Request| {
        let hash = request.hash();
        let first = *used.entry((request.session, request.seq)).or_insert(hash);
        finding.look(first == hash, || format!("number {} of session {} stands for two documents", request.seq, request.session));
    };
    shares.for_each(&mut look);
    asked.for_each(&mut look);
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torment::checker::testing::{evidence, share, share_of};

    #[test]
    fn a_number_that_two_sites_used_for_two_documents_is_seen() {
        let mut evidence = evidence();
        evidence.logs[0].entries = vec![share(1, 1, 1, 1)];
        evidence.logs[1].entries = vec![share(1, 1, 2, 2)];
        assert!(check(&evidence).violations.is_empty());
        evidence.logs[2].entries = vec![share_of("another document", 1, 1, 3, 3)];
        assert_eq!(check(&evidence).violations.len(), 1);
    }
}
