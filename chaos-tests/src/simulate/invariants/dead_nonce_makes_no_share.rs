//! A nonce pair makes a share only for the coordinator that it was offered to, in the start of the process that drew it, and within its life
//! (design.md G8, section 9).

use std::collections::BTreeMap;

use warifu_protocol::limits::NONCE_LIFE_MILLIS;
use warifu_protocol::{BootId, Name, NodeId, NonceId, UnixMillis};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct DeadNonceMakesNoShare {
    offered: BTreeMap<(NodeId, NonceId), (Name, BootId, UnixMillis)>,
}

impl Invariant for DeadNonceMakesNoShare {
    fn name(&self) -> &'static str {
        "dead_nonce_makes_no_share"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::NoncesOffered { site, boot, coordinator, nonces } => {
                let offer = |nonce: &NonceId| ((*site, *nonce), (coordinator.clone(), *boot, ground.now));
                self.offered.extend(nonces.iter().map(offer));
            }
            Fact::ShareGiven(given) if !ground.suspects.contains(&given.site) => {
                let Some(nonce) = given.nonce() else { return Ok(()) };
                let wrong = |what: &str| Err(format!("site {} gave a share with nonce {nonce}, {what}", given.site));
                let Some((coordinator, boot, at)) = self.offered.get(&(given.site, nonce)) else { return wrong("which it never offered") };
                if *boot != given.boot {
                    return wrong("which an earlier start of it drew");
                }
                if *coordinator != given.coordinator {
                    return wrong("which it offered to another coordinator");
                }
                if ground.now > at.plus(NONCE_LIFE_MILLIS) {
                    return wrong("which was past its life");
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
    use warifu_core::registry::MemoryStore;

    #[test]
    fn a_share_with_a_nonce_of_another_start_or_coordinator_or_past_its_life_is_a_breach() {
        let truth = MemoryStore::default();
        let check = |later: u64, change: &dyn Fn(&mut crate::simulate::fact::ShareGiven)| {
            let mut invariant = DeadNonceMakesNoShare::default();
            let boot = BootId::new([1; 16]);
            let offered = Fact::NoncesOffered { site: node(1), boot, coordinator: coordinator(), nonces: vec![nonce(1)] };
            invariant.check(&offered, &ground(&truth))?;
            let later = Ground { now: NOW.plus(later), ..ground(&truth) };
            invariant.check(&given(1, 1, |given| change(given)), &later)
        };
        assert_eq!(check(NONCE_LIFE_MILLIS, &|_| {}), Ok(()));
        assert!(check(NONCE_LIFE_MILLIS + 1, &|_| {}).is_err());
        assert!(check(0, &|given| given.boot = BootId::new([2; 16])).is_err());
        assert!(check(0, &|given| given.coordinator = "coordinator-2".parse().expect("a name")).is_err());
        assert!(check(0, &|given| given.item.signers[0].nonce = nonce(2)).is_err());
    }
}
