//! A site gives no share of an epoch whose shares it has deleted, and stores none of it again (design.md section 7).

use std::collections::BTreeSet;

use warifu_core::registry::Registry as _;
use warifu_protocol::wire::SignWork;
use warifu_protocol::{CredentialId, Epoch, NodeId, StoreId};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct OldEpochNeverSignsAfterShred {
    deleted: BTreeSet<(NodeId, StoreId, CredentialId, Epoch)>,
}

impl Invariant for OldEpochNeverSignsAfterShred {
    fn name(&self) -> &'static str {
        "old_epoch_never_signs_after_shred"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::SharesDeleted { site, store, credential, epoch: Some(epoch) } => {
                self.deleted.insert((*site, *store, *credential, *epoch));
            }
            Fact::SharesStored { site, store, shares, .. } if !ground.suspects.contains(site) => {
                let back = shares.iter().find(|(credential, epoch)| self.deleted.contains(&(*site, *store, *credential, *epoch)));
                if let Some((credential, epoch)) = back {
                    return Err(format!("site {site} stored a share of the ended epoch {} of {credential} again", epoch.0));
                }
            }
            Fact::ShareGiven(given) if !ground.suspects.contains(&given.site) => {
                let credential = match &given.item.work {
                    SignWork::Csr { credential } => Some(*credential),
                    SignWork::Document { request, .. } => {
                        ground.truth.session(request.request.session).ok().flatten().map(|session| session.statement.credential)
                    }
                };
                let Some(credential) = credential else { return Ok(()) };
                if self.deleted.contains(&(given.site, given.store, credential, given.item.epoch)) {
                    return Err(format!("site {} signed in the ended epoch {} of {credential}", given.site, given.item.epoch.0));
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
    fn a_share_of_an_epoch_that_was_deleted_is_a_breach() {
        let truth = with_session();
        let share = given(1, 1, |given| in_session(given, &|_| {}));
        let Fact::ShareGiven(body) = &share else { unreachable!() };
        let deleted = |epoch| Fact::SharesDeleted { site: node(1), store: body.store, credential: CREDENTIAL, epoch: Some(epoch) };
        let mut invariant = OldEpochNeverSignsAfterShred::default();
        assert_eq!(invariant.check(&deleted(Epoch(0)), &ground(&truth)), Ok(()));
        assert_eq!(invariant.check(&share, &ground(&truth)), Ok(()));
        assert_eq!(invariant.check(&deleted(body.item.epoch), &ground(&truth)), Ok(()));
        assert!(invariant.check(&share, &ground(&truth)).is_err());
    }
}
