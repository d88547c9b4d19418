//! t−1 sites learn nothing of a key: a site has its own share of each epoch and nothing that is worth another's (design.md G4, section 7).
//!
//! Seen by value: no scalar that an honest site sends is a share; none is sent in two attempts or to two sites, since what is drawn for one
//! recipient hides the share only from the others; and no disk keeps an epoch that is over, which with the next one of other sites would be
//! as good as t shares of it.

use std::collections::{BTreeMap, BTreeSet};

use warifu_core::registry::Registry as _;
use warifu_protocol::{CeremonyId, NodeId};

use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct TMinusOneLearnNothing {
    shares: BTreeSet<[u8; 32]>,
    sent: BTreeMap<[u8; 32], (NodeId, NodeId, CeremonyId, u32)>,
}

impl Invariant for TMinusOneLearnNothing {
    fn name(&self) -> &'static str {
        "t_minus_one_learn_nothing"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::SharesStored { site, scalars, .. } => {
                for scalar in &scalars.0 {
                    self.shares.insert(*scalar);
                    if let Some((from, to, ..)) = self.sent.get(scalar) {
                        return Err(format!("site {from} sent site {to} what site {site} has as its share"));
                    }
                }
            }
            Fact::ScalarsSent { from, to, ceremony, attempt, scalars } => {
                for scalar in &scalars.0 {
                    if self.shares.contains(scalar) {
                        return Err(format!("site {from} sent site {to} a share"));
                    }
                    let now = (*from, *to, *ceremony, *attempt);
                    if self.sent.insert(*scalar, now).is_some_and(|before| before != now) {
                        return Err(format!(
                            "site {from} sent site {to} a scalar that was sent before in another attempt or to another site"
                        ));
                    }
                }
            }
            Fact::SharesLeft { shares } => {
                for (site, credential, epoch) in shares {
                    let record = ground.truth.credential(*credential).map_err(|error| error.to_string())?;
                    let is_over = record.is_some_and(|record| *epoch < record.epoch && record.holders_of(*epoch).is_none());
                    if is_over && !ground.suspects.contains(site) {
                        return Err(format!("site {site} keeps its share of the ended epoch {} of {credential}", epoch.0));
                    }
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
    use crate::simulate::fact::Unshown;
    use warifu_protocol::{Epoch, StoreId};

    fn sent(to: u8, attempt: u32, byte: u8) -> Fact {
        Fact::ScalarsSent { from: node(1), to: node(to), ceremony: CeremonyId::new([1; 16]), attempt, scalars: Unshown(vec![[byte; 32]]) }
    }

    fn stored(site: u8, byte: u8) -> Fact {
        let shares = vec![(CREDENTIAL, Epoch(1))];
        Fact::SharesStored { site: node(site), store: StoreId::new([1; 16]), shares, scalars: Unshown(vec![[byte; 32]]) }
    }

    #[test]
    fn a_share_that_is_sent_is_a_breach_whichever_is_seen_first() {
        assert_eq!(check_all(TMinusOneLearnNothing::default(), &[stored(1, 1), sent(2, 1, 9), sent(2, 1, 9)]), Ok(()), "said again");
        assert!(check_all(TMinusOneLearnNothing::default(), &[stored(1, 1), sent(2, 1, 1)]).is_err());
        assert!(check_all(TMinusOneLearnNothing::default(), &[sent(2, 1, 1), stored(1, 1)]).is_err());
    }

    #[test]
    fn a_scalar_that_is_used_for_two_attempts_or_two_sites_is_a_breach() {
        assert!(check_all(TMinusOneLearnNothing::default(), &[sent(2, 1, 9), sent(2, 2, 9)]).is_err());
        assert!(check_all(TMinusOneLearnNothing::default(), &[sent(2, 1, 9), sent(3, 1, 9)]).is_err());
    }

    #[test]
    fn an_ended_epoch_that_is_kept_is_a_breach() {
        let truth = with_credential(|record| record.epoch = Epoch(3));
        let left = |epoch| Fact::SharesLeft { shares: vec![(node(1), CREDENTIAL, Epoch(epoch))] };
        assert_eq!(TMinusOneLearnNothing::default().check(&left(3), &ground(&truth)), Ok(()));
        assert!(TMinusOneLearnNothing::default().check(&left(2), &ground(&truth)).is_err());
    }
}
