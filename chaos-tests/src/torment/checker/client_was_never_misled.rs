//! No client was given a signature that does not hold, and nothing was signed that a client had been told is over.

use super::{Evidence, Finding};

pub(super) fn check(evidence: &Evidence) -> Finding {
    let said = &evidence.said;
    Finding { looked_at: (said.requests.len() + said.stopped.len()) as u64, violations: said.broken.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torment::checker::testing::evidence;

    #[test]
    fn what_a_client_saw_is_told() {
        let mut evidence = evidence();
        assert!(check(&evidence).violations.is_empty());
        evidence.said.broken.push("signed after its end".to_owned());
        assert_eq!(check(&evidence).violations.len(), 1);
    }
}
