//! A node on an old disk gives no signature share (design: a store that is older than the cluster remembers is refused): its audit log, in which every
//! share is before it leaves, has none beyond what it had when the disk was copied.

use warifu_protocol::AuditEvent;

use super::evidence::TriedLog;
use super::{Evidence, Finding};

pub(super) fn check(evidence: &Evidence) -> Finding {
    let mut finding = Finding::default();
    for TriedLog { log, copied } in &evidence.tried {
        finding.look(log.entries.len() as u64 >= *copied, || {
            format!("{}: {} entries are there of {copied} that were copied", log.disk, log.entries.len())
        });
        for (position, entry) in (0_u64..).zip(&log.entries).filter(|(position, _)| position >= copied) {
            let is_share = matches!(entry.event, AuditEvent::DocumentShare { .. } | AuditEvent::CsrShare { .. });
            finding.look(!is_share, || {
                format!("{}: entry {position} of node {} is a share that it gave on this old disk", log.disk, log.node)
            });
        }
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torment::checker::testing::{confirmed, evidence, share, started};
    use crate::torment::checker::{check_all, nonce_used_at_most_once};

    #[test]
    fn a_share_on_an_old_disk_is_seen_and_those_that_were_copied_with_it_count_once() {
        let mut evidence = evidence();
        assert!(check_all(&evidence).iter().all(|checked| checked.invariant != "old_disk_gave_no_share"), "there is no old disk");
        let before = vec![started(), confirmed(), share(1, 1, 1, 1)];
        evidence.logs[0].entries.clone_from(&before);
        let mut log = evidence.logs[0].clone();
        log.entries.push(started());
        evidence.tried.push(TriedLog { log, copied: before.len() as u64 });
        let finding = check(&evidence);
        assert_eq!((finding.looked_at, finding.violations.len()), (2, 0), "{:?}", finding.violations);
        assert!(nonce_used_at_most_once::check(&evidence).violations.is_empty());
        assert!(check_all(&evidence).iter().any(|checked| checked.invariant == "old_disk_gave_no_share"));
        evidence.tried[0].log.entries.push(share(1, 2, 2, 1));
        assert_eq!(check(&evidence).violations.len(), 1);
        evidence.tried[0].log.entries.truncate(2);
        assert_eq!(check(&evidence).violations.len(), 1, "entries that were copied are gone");
    }
}
