//! A snapshot that says anything else than the log comes to is never installed, whoever sends it, while no more sites lie than may (design.md G3,
//! section 6).

use std::collections::BTreeMap;

use warifu_protocol::Sha256;

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ForgedSnapshotYieldsNothing {
    roots: BTreeMap<u64, Sha256>,
}

impl Invariant for ForgedSnapshotYieldsNothing {
    fn name(&self) -> &'static str {
        "forged_snapshot_yields_nothing"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::Committed { index, root, .. } => {
                self.roots.insert(*index, *root);
            }
            Fact::SnapshotInstalled { site, index, root, forged }
                if ground.suspects.len() <= usize::from(ground.liars)
                    && (*forged || self.roots.get(index).is_some_and(|known| known != root)) =>
            {
                return Err(format!("site {site} installed a snapshot of entry {index} that is not what the log comes to"));
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
    fn a_snapshot_with_another_content_than_the_log_comes_to_is_a_breach() {
        let installed = |byte, forged| Fact::SnapshotInstalled { site: node(1), index: 1, root: Sha256::new([byte; 32]), forged };
        let check = |fact| check_all(ForgedSnapshotYieldsNothing::default(), &[committed(1, "", None, None, Vec::new()), fact]);
        assert_eq!(check(installed(0, false)), Ok(()));
        assert!(check(installed(1, false)).is_err());
        assert!(check(installed(0, true)).is_err());
    }
}
