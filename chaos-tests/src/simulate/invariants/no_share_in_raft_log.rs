//! No signing share of any site stands in the log (design.md G1, section 6: a command cannot name a secret).

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct NoShareInRaftLog;

impl Invariant for NoShareInRaftLog {
    fn name(&self) -> &'static str {
        "no_share_in_raft_log"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        let Fact::Committed { index, bytes, kind, .. } = fact else { return Ok(()) };
        let found = bytes.0.windows(32).any(|window| <[u8; 32]>::try_from(window).is_ok_and(|window| ground.secrets.contains(&window)));
        if found { Err(format!("entry {index} ({kind}) holds a signing share")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn an_entry_with_a_share_in_it_is_a_breach() {
        let secrets = std::collections::BTreeSet::from([[5; 32]]);
        let truth = warifu_core::registry::MemoryStore::default();
        let mut ground = ground(&truth);
        ground.secrets = &secrets;
        let entry = |bytes: Vec<u8>| committed(1, "enrol", None, None, bytes);
        let mut invariant = NoShareInRaftLog;
        assert_eq!(invariant.check(&entry(vec![4; 100]), &ground), Ok(()));
        assert!(invariant.check(&entry([vec![1; 3], vec![5; 32], vec![2; 3]].concat()), &ground).is_err());
    }
}
