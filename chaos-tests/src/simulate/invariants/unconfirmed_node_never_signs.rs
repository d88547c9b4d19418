//! A site signs nothing and makes no receipt between a start and its confirmation (design.md section 6). A receipt that was made in an earlier start is said
//! again by a site that is not confirmed: it still holds the object.

use std::collections::BTreeSet;

use warifu_protocol::{BootId, NodeId};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct UnconfirmedNodeNeverSigns {
    confirmed: BTreeSet<(NodeId, BootId)>,
    /// Starts that are not over; a site that was copied has two.
    current: BTreeSet<(NodeId, BootId)>,
}

impl Invariant for UnconfirmedNodeNeverSigns {
    fn name(&self) -> &'static str {
        "unconfirmed_node_never_signs"
    }

    fn check(&mut self, fact: &Fact, _: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::Started { site, boot, .. } => {
                self.current.insert((*site, *boot));
            }
            Fact::Unconfirmed { site, before, boot } => {
                self.current.remove(&(*site, *before));
                self.current.insert((*site, *boot));
            }
            Fact::Confirmed { site, boot, .. } => {
                self.confirmed.insert((*site, *boot));
            }
            Fact::Crashed { site, boot } | Fact::Alarmed { site, boot, .. } => {
                self.current.remove(&(*site, *boot));
            }
            Fact::ShareGiven(given) => {
                let is_current = self.current.contains(&(given.site, given.boot));
                if !is_current || !self.confirmed.contains(&(given.site, given.boot)) {
                    return Err(format!("site {} gave a share while it was not confirmed", given.site));
                }
            }
            Fact::ReceiptGiven { site, boot, stop, .. } if !self.confirmed.contains(&(*site, *boot)) => {
                return Err(format!("site {site} made its receipt for stop {stop} while it was not confirmed"));
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
    fn a_receipt_that_is_made_before_the_confirmation_is_a_breach_and_one_that_is_said_again_is_not() {
        let credential = warifu_protocol::StopObject::Credential(CREDENTIAL);
        let receipt = receipted(1, warifu_protocol::StopId::new([1; 32]), credential, warifu_protocol::StopKind::Suspend);
        let started = |byte| Fact::Started { site: node(1), store: store(1), boot: BootId::new([byte; 16]) };
        let confirmed =
            |site, byte| Fact::Confirmed { site: node(site), store: store(1), boot: BootId::new([byte; 16]), index: 1, by: vec![] };
        let invariant = UnconfirmedNodeNeverSigns::default;
        assert_eq!(check_all(invariant(), &[started(1), confirmed(1, 1), receipt.clone()]), Ok(()));
        assert_eq!(check_all(invariant(), &[started(1), confirmed(1, 1), started(2), receipt.clone()]), Ok(()), "of the start before");
        assert!(check_all(invariant(), &[started(1), receipt.clone()]).is_err());
        assert!(check_all(invariant(), &[started(1), confirmed(1, 2), receipt.clone()]).is_err(), "another start was confirmed");
        assert!(check_all(invariant(), &[started(1), confirmed(2, 1), receipt]).is_err(), "another site was confirmed");
    }

    #[test]
    fn a_share_before_the_confirmation_or_after_the_next_start_is_a_breach() {
        let boot = |byte| BootId::new([byte; 16]);
        let store = warifu_protocol::StoreId::new([1; 16]);
        let started = |byte| Fact::Started { site: node(1), store, boot: boot(byte) };
        let confirmed = |byte| Fact::Confirmed { site: node(1), store, boot: boot(byte), index: 1, by: vec![] };
        let share = |byte| given(1, byte, |given| given.boot = boot(byte));
        let invariant = UnconfirmedNodeNeverSigns::default;
        assert_eq!(check_all(invariant(), &[started(1), confirmed(1), share(1)]), Ok(()));
        assert!(check_all(invariant(), &[started(1), share(1)]).is_err());
        let crashed = Fact::Crashed { site: node(1), boot: boot(1) };
        let again = Fact::Unconfirmed { site: node(1), before: boot(1), boot: boot(2) };
        assert!(check_all(invariant(), &[started(1), confirmed(1), crashed, share(1)]).is_err());
        assert!(check_all(invariant(), &[started(1), confirmed(1), again, share(1)]).is_err());
        assert!(check_all(invariant(), &[started(1), confirmed(1), started(2), share(2)]).is_err());
        assert_eq!(check_all(invariant(), &[started(1), confirmed(1), started(2), share(1)]), Ok(()), "a copy was started");
    }
}
