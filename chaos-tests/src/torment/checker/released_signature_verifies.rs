//! Every document that a client has verifies, by other code than that which checked it when it came (RFC 8032 and XML-DSig; see `warifu verify`).

use warifu::verify::{VerifyOptions, verify};

use super::{Evidence, Finding};
use crate::torment::oracle::Outcome;

pub(super) fn check(evidence: &Evidence) -> Finding {
    let options = VerifyOptions { anchors: evidence.anchors.clone(), at: None };
    let mut finding = Finding::default();
    for asked in &evidence.said.requests {
        if let Outcome::Signed(xml) = &asked.outcome {
            let report = verify(xml.as_bytes(), &options);
            finding.look(report.valid && report.document_id.as_deref() == Some(asked.request.document_id.as_str()), || {
                format!("document {}: {:?}", asked.request.document_id, report.problem)
            });
        }
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torment::checker::testing::{evidence, must_signed};

    #[test]
    fn a_document_without_a_signature_is_seen() {
        let mut evidence = evidence();
        evidence.said.requests = vec![must_signed(1, 1)];
        let finding = check(&evidence);
        assert_eq!((finding.looked_at, finding.violations.len()), (1, 1));
    }
}
