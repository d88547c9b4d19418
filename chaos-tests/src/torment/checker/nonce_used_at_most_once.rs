//! No nonce is on record twice (RFC 9591, section 5.2: a nonce that is used twice gives the key share away), not even across the disks of a site.

use std::collections::BTreeMap;

use warifu_protocol::{AuditEvent, NodeId, NonceId};

use super::{Evidence, Finding};

pub(super) fn check(evidence: &Evidence) -> Finding {
    let mut used: BTreeMap<(NodeId, NonceId), &str> = BTreeMap::new();
    let mut finding = Finding::default();
    for log in &evidence.logs {
        for entry in &log.entries {
            if let AuditEvent::DocumentShare { nonce, .. } | AuditEvent::CsrShare { nonce, .. } = &entry.event {
                let before = used.insert((log.node, *nonce), &log.disk);
                finding.look(before.is_none(), || format!("node {} used nonce {nonce:?} twice: {before:?}, {}", log.node, log.disk));
            }
        }
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torment::checker::testing::{evidence, must_node, share};

    #[test]
    fn a_nonce_that_is_used_again_is_seen_also_on_another_disk_of_the_site() {
        let mut evidence = evidence();
        evidence.logs[0].entries = vec![share(1, 1, 7, 1), share(1, 2, 8, 1)];
        evidence.logs[1].entries = vec![share(1, 1, 7, 2)];
        let finding = check(&evidence);
        assert_eq!((finding.looked_at, finding.violations.len()), (3, 0), "another site's nonces are others");
        evidence.logs[1].node = must_node(1);
        assert_eq!(check(&evidence).violations.len(), 1);
    }
}
