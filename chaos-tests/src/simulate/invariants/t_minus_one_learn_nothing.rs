//! t−1 sites learn nothing of a key: all that any t−1 of them received or stored is never worth t values of an epoch's polynomial (design.md G4, section 7).
//!
//! Seen at once, by value: no scalar that an honest site sends is a share; none is sent in two attempts or to two sites, since what is drawn for one
//! recipient hides the share only from the others; packets of an import hold each site's own share and nothing else. Seen when a run ends, by rank: what
//! each honest site dealt in a key generation or a refresh is worth t values of one polynomial; and for each epoch that was repaired or that is over and
//! still on a disk, what each t−1 sites [know](super::evaluations) of its polynomial.

use std::collections::{BTreeMap, BTreeSet};

use warifu_core::registry::Registry as _;
use warifu_protocol::{CeremonyId, CredentialId, Epoch, NodeId};

use super::evaluations::{self, Attempt, Part, ScalarBytes};
use super::polynomial::Values;
use super::{Ground, Invariant};
use crate::simulate::fact::{Fact, RepairOf, Sent};

/// Sets of sites that are looked at for one epoch: all of them where up to nine sites ever were in the roster, and as many of more.
const SETS_MAX: usize = 126;
/// Attempts of repairs of one epoch that are kept.
const ATTEMPTS_MAX: usize = 6;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct TMinusOneLearnNothing {
    shares: BTreeSet<ScalarBytes>,
    sent: BTreeMap<ScalarBytes, (NodeId, NodeId, CeremonyId, u32)>,
    epochs: BTreeMap<(CredentialId, Epoch), evaluations::Epoch>,
    /// What each site dealt the others for one key, in an attempt at a key generation or a refresh.
    dealt: BTreeMap<(CeremonyId, u32, NodeId, usize), BTreeMap<NodeId, ScalarBytes>>,
    packets: BTreeMap<ScalarBytes, (CredentialId, NodeId)>,
}

impl Invariant for TMinusOneLearnNothing {
    fn name(&self) -> &'static str {
        "t_minus_one_learn_nothing"
    }

    fn check(&mut self, fact: &Fact, ground: &Ground<'_>) -> Result<(), String> {
        match fact {
            Fact::SharesStored { site, shares, scalars, .. } => {
                for (key, scalar) in shares.iter().zip(&scalars.0) {
                    self.shares.insert(*scalar);
                    self.epochs.entry(*key).or_default().shares.insert(*site, *scalar);
                    if let Some((credential, to)) = self.packets.get(scalar).filter(|packet| **packet != (key.0, *site)) {
                        return Err(format!("site {to} was sent, in a packet for {credential}, what site {site} has as its share"));
                    }
                    if let Some((from, to, ..)) = self.sent.get(scalar) {
                        return Err(format!("site {from} sent site {to} what site {site} has as its share"));
                    }
                }
            }
            Fact::ScalarsSent { from, to, ceremony, attempt, what, scalars } => {
                match what {
                    // Of a copied site two processes deal.
                    Sent::Round2 if ground.suspects.contains(from) => {}
                    Sent::Round2 => {
                        for (place, scalar) in scalars.0.iter().enumerate() {
                            self.dealt.entry((*ceremony, *attempt, *from, place)).or_default().insert(*to, *scalar);
                        }
                    }
                    Sent::Delta(of) => self.note((Part::Delta, *from, *to), (*ceremony, *attempt), of, &scalars.0),
                    Sent::Sigma(of) => self.note((Part::Sigma, *from, *to), (*ceremony, *attempt), of, &scalars.0),
                }
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
            Fact::SharesDealt { credential, sites, scalars, group_key } => {
                for (site, scalar) in sites.iter().zip(&scalars.0) {
                    let now = (*credential, *site);
                    if self.packets.insert(*scalar, now).is_some_and(|before| before != now) {
                        return Err(format!("the packet of site {site} for {credential} holds what another packet holds"));
                    }
                    if self.shares.contains(scalar) || self.sent.contains_key(scalar) {
                        return Err(format!("the packet of site {site} for {credential} holds what was used before"));
                    }
                }
                let values = Values::read(sites.iter().copied().zip(&scalars.0)).ok_or("a packet holds no scalar")?;
                if values.count() != sites.len() || values.coefficients() != usize::from(ground.threshold) {
                    return Err(format!("the packets for {credential} are worth {} values of one polynomial", values.coefficients()));
                }
                if group_key.is_some_and(|key| key != values.public_key()) {
                    return Err(format!("the packets for {credential} are of another key"));
                }
            }
            Fact::SharesLeft { shares } => {
                for (site, credential, epoch) in shares {
                    let record = ground.truth.credential(*credential).map_err(|error| error.to_string())?;
                    let is_over = record.is_some_and(|record| *epoch < record.epoch && record.holders_of(*epoch).is_none());
                    if is_over && !ground.suspects.contains(site) {
                        self.epochs.entry((*credential, *epoch)).or_default().survivors.insert(*site);
                    }
                }
                return self.count(ground);
            }
            _ => {}
        }
        Ok(())
    }
}

impl TMinusOneLearnNothing {
    fn note(&mut self, key: (Part, NodeId, NodeId), (ceremony, number): (CeremonyId, u32), of: &RepairOf, scalars: &[ScalarBytes]) {
        for (credential, scalar) in of.keys.iter().zip(scalars) {
            let attempts = &mut self.epochs.entry(*credential).or_default().attempts;
            let place = attempts.iter().position(|attempt| attempt.ceremony == ceremony && attempt.number == number);
            let place = place.unwrap_or_else(|| {
                if attempts.len() == ATTEMPTS_MAX {
                    attempts.remove(0);
                }
                let (helpers, receiver) = (of.helpers.clone(), of.receiver);
                attempts.push(Attempt { ceremony, number, helpers, receiver, sent: BTreeMap::new() });
                attempts.len() - 1
            });
            if let Some(attempt) = attempts.get_mut(place) {
                attempt.sent.insert(key, *scalar);
            }
        }
    }

    /// What an honest site deals are the values of one polynomial with t coefficients, each at its recipient's identifier. So t−1 others
    /// lack one value of it, and with that, one of what all have dealt together.
    fn count_dealt(&self, threshold: usize) -> Result<(), String> {
        self.dealt.iter().try_for_each(|((ceremony, attempt, from, _), values)| {
            let values = Values::read(values.iter().map(|(site, scalar)| (*site, scalar))).ok_or("what was dealt is no scalar")?;
            let (count, needed) = (values.count(), values.coefficients());
            if needed == threshold.min(count) {
                return Ok(());
            }
            Err(format!("what site {from} dealt to {count} sites in attempt {attempt} of {ceremony} is known by {needed} values"))
        })
    }

    fn count(&self, ground: &Ground<'_>) -> Result<(), String> {
        let threshold = usize::from(ground.threshold);
        self.count_dealt(threshold)?;
        let sites: Vec<NodeId> = ground.sites.iter().copied().collect();
        let sets = subsets(&sites, threshold - 1);
        for ((credential, epoch), known) in &self.epochs {
            if known.attempts.is_empty() && known.survivors.is_empty() {
                continue;
            }
            for set in &sets {
                let rank = known.known_to(set, threshold);
                if rank >= threshold {
                    return Err(format!("sites {set:?} know {rank} independent values of epoch {} of {credential}", epoch.0));
                }
            }
        }
        Ok(())
    }
}

/// Subsets of this size, at most [`SETS_MAX`], spread over all of them.
fn subsets(sites: &[NodeId], size: usize) -> Vec<BTreeSet<NodeId>> {
    let masks: Vec<u32> = (0..1_u32 << sites.len()).filter(|mask| mask.count_ones() as usize == size).collect();
    let step = masks.len().div_ceil(SETS_MAX).max(1);
    let chosen = |mask: &u32| sites.iter().enumerate().filter(|(place, _)| mask >> place & 1 == 1).map(|(_, site)| *site).collect();
    masks.iter().step_by(step).map(chosen).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::simulate::fact::Unshown;
    use curve25519_dalek::Scalar;
    use warifu_protocol::StoreId;

    const T: u8 = 3;

    fn sent(to: u8, attempt: u32, byte: u8) -> Fact {
        let (ceremony, scalars) = (CeremonyId::new([1; 16]), Unshown(vec![[byte; 32]]));
        Fact::ScalarsSent { from: node(1), to: node(to), ceremony, attempt, what: Sent::Round2, scalars }
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

    /// The share of a site: of a polynomial with coefficients 5, 7 and 11.
    fn share(site: u8) -> Scalar {
        let x = Scalar::from(site);
        Scalar::from(5_u8) + Scalar::from(7_u8) * x + Scalar::from(11_u8) * x * x
    }

    fn weight(helpers: [u8; 3], of: u8, at: u8) -> Scalar {
        let others = || helpers.into_iter().filter(move |other| *other != of).map(Scalar::from);
        let numerator: Scalar = others().map(|other| Scalar::from(at) - other).product();
        let denominator: Scalar = others().map(|other| Scalar::from(of) - other).product();
        numerator * denominator.invert()
    }

    /// A repair of site `receiver` by three helpers. `delta` gives the part of the first helper for the second, of the third and so on; the last
    /// part of each helper is what is left, its own.
    fn attempt(number: u32, helpers: [u8; 3], receiver: u8, delta: impl Fn(u8, u8) -> Scalar) -> Attempt {
        let mut sent = BTreeMap::new();
        let mut sigma: BTreeMap<u8, Scalar> = helpers.into_iter().map(|helper| (helper, Scalar::ZERO)).collect();
        for from in helpers {
            let mut rest = weight(helpers, from, receiver) * share(from);
            for to in helpers.into_iter().filter(|to| *to != from) {
                let part = delta(from, to);
                rest -= part;
                sent.insert((Part::Delta, node(from), node(to)), part.to_bytes());
                *sigma.entry(to).or_insert(Scalar::ZERO) += part;
            }
            *sigma.entry(from).or_insert(Scalar::ZERO) += rest;
        }
        for (from, sigma) in sigma {
            sent.insert((Part::Sigma, node(from), node(receiver)), sigma.to_bytes());
        }
        let helpers = helpers.map(node).into();
        Attempt { ceremony: CeremonyId::new([1; 16]), number, helpers, receiver: node(receiver), sent }
    }

    fn fresh(attempt: u8, from: u8, to: u8) -> Scalar {
        // Not linear in its numbers: sums of parts must not happen to be equal.
        let number = Scalar::from(1_000_u32 * u32::from(attempt) + 37 * u32::from(from) + u32::from(to) + 400);
        number * number * number
    }

    /// The most that any t−1 of five sites know.
    fn most_known(attempts: Vec<Attempt>, survivors: &[u8]) -> usize {
        let shares = (1..=5).map(|site| (node(site), share(site).to_bytes())).collect();
        let epoch = evaluations::Epoch { shares, attempts, survivors: survivors.iter().map(|site| node(*site)).collect() };
        let sites: Vec<NodeId> = (1..=5).map(node).collect();
        subsets(&sites, usize::from(T) - 1).iter().map(|set| epoch.known_to(set, T.into())).max().unwrap_or_default()
    }

    #[test]
    fn repairs_as_they_should_be_tell_any_two_of_five_sites_no_more_than_their_own_shares() {
        assert_eq!(most_known(Vec::new(), &[]), 2);
        let attempts = vec![
            attempt(1, [1, 2, 3], 4, |from, to| fresh(1, from, to)),
            attempt(2, [1, 2, 5], 4, |from, to| fresh(2, from, to)),
            attempt(3, [2, 3, 5], 4, |from, to| fresh(3, from, to)),
        ];
        assert_eq!(most_known(attempts, &[]), 2);
    }

    #[test]
    fn a_helper_that_sends_its_raw_share_tells_two_sites_a_third_value() {
        let raw = attempt(1, [1, 2, 3], 4, |from, to| if (from, to) == (1, 2) { share(1) } else { fresh(1, from, to) });
        assert_eq!(most_known(vec![raw], &[]), 3);
        let weighted = |from, to| if (from, to) == (1, 2) { weight([1, 2, 3], 1, 4) * share(1) } else { fresh(1, from, to) };
        assert_eq!(most_known(vec![attempt(1, [1, 2, 3], 4, weighted)], &[]), 3);
    }

    #[test]
    fn a_delta_that_is_used_again_tells_two_sites_a_third_value() {
        // Helper 1 keeps for itself what it sends to helper 2: then helpers 2 and 3 know all of its parts.
        let own = weight([1, 2, 3], 1, 4) * share(1);
        let half = (own - fresh(1, 1, 3)) * Scalar::from(2_u8).invert();
        let again = attempt(1, [1, 2, 3], 4, |from, to| if (from, to) == (1, 2) { half } else { fresh(1, from, to) });
        assert_eq!(most_known(vec![again], &[]), 3);
        // Helper 1 gives its parts of the first attempt to others in the second.
        let first = attempt(1, [1, 2, 3], 4, |from, to| fresh(1, from, to));
        let second = attempt(2, [1, 2, 5], 4, |from, to| match (from, to) {
            (1, 2) => fresh(1, 1, 3),
            (1, 5) => weight([1, 2, 3], 1, 4) * share(1) - fresh(1, 1, 2) - fresh(1, 1, 3),
            _ => fresh(2, from, to),
        });
        assert_eq!(most_known(vec![first, second], &[]), 3);
    }

    #[test]
    fn an_old_epoch_that_survives_on_one_disk_gives_whoever_had_two_shares_a_third() {
        assert_eq!(most_known(Vec::new(), &[5]), 3);
    }
}
