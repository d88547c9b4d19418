//! Every site reaches the same state at the same entry (design.md section 6: apply is deterministic).

use std::collections::BTreeMap;

use warifu_protocol::Sha256;

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AppliedStatesAgree {
    roots: BTreeMap<u64, Sha256>,
}

impl Invariant for AppliedStatesAgree {
    fn name(&self) -> &'static str {
        "applied_states_agree"
    }

    fn check(&mut self, fact: &Fact, _: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::Committed { index, root, .. } => {
                self.roots.insert(*index, *root);
            }
            Fact::Applied { site, index, root } if self.roots.get(index) != Some(root) => {
                return Err(format!("site {site} has another state than the log comes to at entry {index}"));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn another_state_at_the_same_entry_is_a_breach() {
        let entry = committed(1, "", None, None, Vec::new());
        let applied = |byte| Fact::Applied { site: node(1), index: 1, root: Sha256::new([byte; 32]) };
        assert_eq!(check_all(AppliedStatesAgree::default(), &[entry.clone(), applied(0)]), Ok(()));
        assert!(check_all(AppliedStatesAgree::default(), &[entry, applied(1)]).is_err());
    }
}
