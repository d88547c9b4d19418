//! The bytes under each released signature are those that its t signers recorded before they gave their shares (design: nothing leaves unaudited): one set
//! of t sites has, each on its disk, an entry with this request, this set and the hash of the document's SignedInfo.

use std::collections::{BTreeMap, BTreeSet};

use warifu_coordinator::document::{Canonicalization, XmlDocument};
use warifu_prescription::uri;
use warifu_protocol::canonical::sha256;
use warifu_protocol::{AuditEvent, NodeId, RequestHash, Sha256};

use super::{Evidence, Finding};
use crate::torment::oracle::Outcome;

pub(super) fn check(evidence: &Evidence) -> Finding {
    let mut recorded: BTreeMap<(RequestHash, Sha256, &[NodeId]), BTreeSet<NodeId>> = BTreeMap::new();
    for log in &evidence.logs {
        for entry in &log.entries {
            if let AuditEvent::DocumentShare { request, rendered, signers, .. } = &entry.event {
                recorded.entry((request.request.hash(), *rendered, signers)).or_default().insert(log.node);
            }
        }
    }
    let mut whole: BTreeSet<(RequestHash, Sha256)> = BTreeSet::new();
    for ((request, rendered, signers), at) in recorded {
        if signers.len() >= evidence.threshold && signers.iter().all(|signer| at.contains(signer)) {
            whole.insert((request, rendered));
        }
    }
    let mut finding = Finding::default();
    for asked in &evidence.said.requests {
        if let Outcome::Signed(xml) = &asked.outcome {
            let signed = signed_bytes(xml);
            finding.look(signed.is_some_and(|signed| whole.contains(&(asked.request.hash(), signed))), || {
                format!("document {}: no t signers have what was signed ({signed:?}) on record", asked.request.document_id)
            });
        }
    }
    finding
}

/// The hash of the SignedInfo of a document with one signature, as it is signed.
fn signed_bytes(xml: &str) -> Option<Sha256> {
    let document = XmlDocument::parse(xml.as_bytes()).ok()?;
    let mut found = document.nodes().filter(|node| document.is_named(*node, Some(uri::XMLDSIG), "SignedInfo"));
    let (Some(signed_info), None) = (found.next(), found.next()) else { return None };
    Some(Sha256::new(sha256(&document.canonicalize(signed_info, Canonicalization::Exclusive).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torment::checker::testing::{evidence, must_node, must_signed, share_of_bytes};

    fn document(content: &str) -> (String, Sha256) {
        let xmldsig = uri::XMLDSIG;
        let canonical = format!("<xs:SignedInfo xmlns:xs=\"{xmldsig}\">{content}</xs:SignedInfo>");
        let xml = format!(
            "<Prescription xmlns:xs=\"{xmldsig}\"><xs:Signature><xs:SignedInfo>{content}</xs:SignedInfo></xs:Signature></Prescription>"
        );
        (xml, Sha256::new(sha256(canonical.as_bytes())))
    }

    #[test]
    fn a_released_signature_of_other_bytes_than_its_signers_recorded_is_seen() {
        let (xml, rendered) = document("these bytes");
        let signers: Vec<NodeId> = (1..=3).map(must_node).collect();
        let mut evidence = evidence();
        for node in 0..3 {
            evidence.logs[node].entries = vec![share_of_bytes(rendered, &signers)];
        }
        let signed = |xml: &str| {
            let mut asked = must_signed(1, 1);
            asked.outcome = Outcome::Signed(xml.to_owned());
            vec![asked]
        };
        evidence.said.requests = signed(&xml);
        let finding = check(&evidence);
        assert_eq!((finding.looked_at, finding.violations.len()), (1, 0), "{finding:?}");
        evidence.said.requests = signed(&document("other bytes").0);
        assert_eq!(check(&evidence).violations.len(), 1);
        evidence.said.requests = signed("<Prescription/>");
        assert_eq!(check(&evidence).violations.len(), 1, "nothing is signed in it");
    }

    #[test]
    fn signers_of_two_sets_make_no_set() {
        let (xml, rendered) = document("these bytes");
        let (one, other): (Vec<NodeId>, Vec<NodeId>) = ((1..=3).map(must_node).collect(), (3..=5).map(must_node).collect());
        let mut evidence = evidence();
        evidence.logs[0].entries = vec![share_of_bytes(rendered, &one)];
        evidence.logs[1].entries = vec![share_of_bytes(rendered, &one)];
        evidence.logs[2].entries = vec![share_of_bytes(rendered, &other)];
        let mut asked = must_signed(1, 1);
        asked.outcome = Outcome::Signed(xml);
        evidence.said.requests = vec![asked];
        assert_eq!(check(&evidence).violations.len(), 1);
        evidence.logs[2].entries.push(share_of_bytes(rendered, &one));
        assert!(check(&evidence).violations.is_empty());
    }
}
