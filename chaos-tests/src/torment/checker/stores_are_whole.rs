//! No disk is damaged: every page has its checksum, every share opens, every audit entry is in its tree.

use super::{Evidence, Finding};

pub(super) fn check(evidence: &Evidence) -> Finding {
    Finding { looked_at: evidence.disks, violations: evidence.damage.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torment::checker::testing::evidence;

    #[test]
    fn damage_is_told() {
        let mut evidence = evidence();
        assert!(check(&evidence).violations.is_empty());
        evidence.damage.push("node 1: a page does not have its checksum".to_owned());
        assert_eq!(check(&evidence).violations.len(), 1);
    }
}
