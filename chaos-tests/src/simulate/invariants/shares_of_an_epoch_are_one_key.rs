//! Whichever way sites came to their shares of an epoch (key generation, refresh, repair, import), these are the values of one polynomial at the
//! sites' own identifiers, and its value at zero is the key that the log names (design.md G1, G9, sections 6 and 7).

use std::collections::BTreeMap;

use warifu_protocol::{CredentialId, Epoch, NodeId};

use super::evaluations::ScalarBytes;
use super::polynomial::Values;
use super::{Ground, Invariant};
use crate::simulate::fact::Fact;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SharesOfAnEpochAreOneKey {
    stored: BTreeMap<(CredentialId, Epoch), BTreeMap<NodeId, ScalarBytes>>,
}

impl Invariant for SharesOfAnEpochAreOneKey {
    fn name(&self) -> &'static str {
        "shares_of_an_epoch_are_one_key"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::SharesStored { site, shares, scalars, .. } => {
                for (key, scalar) in shares.iter().zip(&scalars.0) {
                    self.stored.entry(*key).or_default().insert(*site, *scalar);
                }
                Ok(())
            }
            Fact::SharesLeft { shares } => {
                ground.credentials.iter().filter(|(_, record)| record.needs_shares()).try_for_each(|(id, record)| {
                    let is_there = |site: &NodeId| shares.contains(&(*site, *id, record.epoch)) && !ground.suspects.contains(site);
                    let stored = self.stored.get(&(*id, record.epoch)).into_iter().flatten();
                    let values = Values::read(stored.filter(|(site, _)| is_there(site)).map(|(site, scalar)| (*site, scalar)));
                    let values = values.ok_or_else(|| format!("a share of {id} is no scalar"))?;
                    let (count, needed) = (values.count(), values.coefficients());
                    if count < usize::from(ground.threshold) {
                        return Ok(());
                    }
                    if needed > usize::from(ground.threshold) {
                        return Err(format!("{count} shares of epoch {} of {id} are on no polynomial with t coefficients", record.epoch.0));
                    }
                    match &record.key {
                        Some(key) if key.group_key != values.public_key() => {
                            Err(format!("the shares of epoch {} of {id} are of another key", record.epoch.0))
                        }
                        Some(_) | None => Ok(()),
                    }
                })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::simulate::fact::Unshown;
    use curve25519_dalek::{EdwardsPoint, Scalar};
    use warifu_core::registry::CredentialKey;
    use warifu_protocol::{Blob, StoreId};

    fn key(constant: u8) -> [u8; 32] {
        EdwardsPoint::mul_base(&Scalar::from(constant)).compress().to_bytes()
    }

    /// Sites store values of 5 + 7x + 11x², but the last, which stores that of `last`.
    fn check(count: u8, last: u8, group_key: [u8; 32]) -> Result<(), String> {
        let truth = with_credential(|record| record.key = Some(CredentialKey { group_key, public_key_package: Blob::default() }));
        let mut invariant = SharesOfAnEpochAreOneKey::default();
        for site in 1..=count {
            let x = Scalar::from(if site == count { last } else { site });
            let scalar = Scalar::from(5_u8) + Scalar::from(7_u8) * x + Scalar::from(11_u8) * x * x;
            let (shares, scalars) = (vec![(CREDENTIAL, Epoch(1))], Unshown(vec![scalar.to_bytes()]));
            invariant.check(&Fact::SharesStored { site: node(site), store: StoreId::new([1; 16]), shares, scalars }, &ground(&truth))?;
        }
        let shares = (1..=count).map(|site| (node(site), CREDENTIAL, Epoch(1))).collect();
        invariant.check(&Fact::SharesLeft { shares }, &ground(&truth))
    }

    #[test]
    fn a_share_that_is_another_sites_and_shares_of_another_key_are_breaches() {
        assert_eq!(check(5, 5, key(5)), Ok(()));
        assert!(check(5, 6, key(5)).is_err());
        assert!(check(5, 5, key(6)).is_err());
        assert!(check(3, 4, key(5)).is_err(), "of three no other sees it but the key");
        assert_eq!(check(2, 7, key(5)), Ok(()), "fewer than t say nothing");
    }
}
