//! An acknowledged stop has as many receipts as it takes, each signed by its site and on that site's disk (design: only with durable, signed receipts).

use std::collections::BTreeSet;

use warifu_protocol::{AuditEvent, NodeId, StopId};

use super::{Evidence, Finding};

pub(super) fn check(evidence: &Evidence) -> Finding {
    let mut on_disk: BTreeSet<(NodeId, StopId)> = BTreeSet::new();
    for log in &evidence.logs {
        for entry in &log.entries {
            if let AuditEvent::ReceiptGiven { receipt } = &entry.event {
                on_disk.insert((log.node, receipt.stop));
            }
        }
    }
    let mut finding = Finding::default();
    for stop in &evidence.said.stopped {
        let mut good = BTreeSet::new();
        for receipt in stop.receipts.iter().filter(|receipt| receipt.body.stop == stop.stop && receipt.body.object == stop.object) {
            let is_signed = evidence.keys_of(receipt.node).any(|key| receipt.verify(evidence.cluster, key).is_ok());
            if is_signed && on_disk.contains(&(receipt.node, stop.stop)) {
                good.insert(receipt.node);
            }
        }
        finding.look(good.len() as u64 >= stop.needed, || {
            format!(
                "the stop of {} was acknowledged; of {} receipts that it takes, those of {good:?} are on disk",
                stop.object, stop.needed
            )
        });
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torment::checker::testing::{acknowledged, evidence};

    #[test]
    fn a_receipt_that_is_on_no_disk_is_seen() {
        let mut evidence = evidence();
        acknowledged(&mut evidence, 1, 4);
        let finding = check(&evidence);
        assert_eq!((finding.looked_at, finding.violations.len()), (1, 0), "{finding:?}");
        evidence.logs[3].entries.clear();
        assert_eq!(check(&evidence).violations.len(), 1);
    }

    #[test]
    fn a_receipt_under_another_key_is_seen() {
        let mut evidence = evidence();
        acknowledged(&mut evidence, 1, 4);
        evidence.identities.clear();
        assert_eq!(check(&evidence).violations.len(), 1);
    }
}
