//! A destroyed credential stays destroyed, and a site that deleted its shares takes none of it again (design.md section 7).

use std::collections::BTreeSet;

use warifu_protocol::wire::CredentialState;
use warifu_protocol::{CredentialId, NodeId, StoreId};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct DestroyedNeverReturns {
    destroyed: BTreeSet<CredentialId>,
    deleted: BTreeSet<(NodeId, StoreId, CredentialId)>,
}

impl Invariant for DestroyedNeverReturns {
    fn name(&self) -> &'static str {
        "destroyed_never_returns"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::Committed { .. } => {
                for (id, record) in ground.credentials {
                    if record.state == CredentialState::Destroyed {
                        self.destroyed.insert(*id);
                    } else if self.destroyed.contains(id) {
                        return Err(format!("credential {id} was destroyed and is {}", record.state));
                    }
                }
            }
            Fact::SharesDeleted { site, store, credential, epoch: None } => {
                self.deleted.insert((*site, *store, *credential));
            }
            Fact::SharesStored { site, store, shares, .. } if !ground.suspects.contains(site) => {
                if let Some((credential, _)) = shares.iter().find(|(credential, _)| self.deleted.contains(&(*site, *store, *credential))) {
                    return Err(format!("site {site} stored a share of {credential}, which it had deleted as destroyed"));
                }
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
    fn a_share_that_comes_back_after_a_destruction_is_a_breach() {
        let store = StoreId::new([3; 16]);
        let deleted = Fact::SharesDeleted { site: node(1), store, credential: CREDENTIAL, epoch: None };
        let stored = |site| Fact::SharesStored {
            site: node(site),
            store,
            shares: vec![(CREDENTIAL, warifu_protocol::Epoch(1))],
            scalars: crate::simulate::fact::Unshown::default(),
        };
        assert_eq!(check_all(DestroyedNeverReturns::default(), &[stored(1), deleted.clone(), stored(2)]), Ok(()));
        assert!(check_all(DestroyedNeverReturns::default(), &[deleted, stored(1)]).is_err());
    }

    #[test]
    fn a_destroyed_credential_in_another_state_is_a_breach() {
        let mut invariant = DestroyedNeverReturns::default();
        let (destroyed, active) = (with_credential(|record| record.state = CredentialState::Destroyed), with_credential(|_| {}));
        let entry = committed(1, "", None, None, Vec::new());
        assert_eq!(invariant.check(&entry, &ground(&destroyed)), Ok(()));
        assert!(invariant.check(&entry, &ground(&active)).is_err());
    }
}
