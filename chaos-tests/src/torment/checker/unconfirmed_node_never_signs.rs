//! A node signs nothing between its start and its confirmation (design: confirmed).

use warifu_protocol::AuditEvent;

use super::{Evidence, Finding};

pub(super) fn check(evidence: &Evidence) -> Finding {
    let mut finding = Finding::default();
    for log in &evidence.logs {
        let mut confirmed = false;
        for (position, entry) in log.entries.iter().enumerate() {
            match &entry.event {
                AuditEvent::Started { .. } => confirmed = false,
                AuditEvent::Confirmed { .. } => confirmed = true,
                AuditEvent::DocumentShare { .. } | AuditEvent::CsrShare { .. } => {
                    finding.look(confirmed, || {
                        format!("{}: entry {position} of node {} is a share before its confirmation", log.disk, log.node)
                    });
                }
                _ => {}
            }
        }
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torment::checker::testing::{confirmed, evidence, share, started};

    #[test]
    fn a_share_between_a_start_and_its_confirmation_is_seen() {
        let mut evidence = evidence();
        evidence.logs[0].entries = vec![started(), confirmed(), share(1, 1, 1, 1), started(), confirmed(), share(1, 2, 2, 1)];
        let finding = check(&evidence);
        assert_eq!((finding.looked_at, finding.violations.len()), (2, 0));
        evidence.logs[0].entries = vec![started(), confirmed(), started(), share(1, 1, 1, 1)];
        assert_eq!(check(&evidence).violations.len(), 1);
    }
}
