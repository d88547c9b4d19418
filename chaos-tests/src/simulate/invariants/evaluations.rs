//! What sites that put together all that they were ever told know of one epoch of a key, as linear algebra over the scalars of Ed25519.
//!
//! The shares of an epoch are the values of one polynomial of degree t - 1. Whatever a site has or was sent is a linear functional of its
//! coefficients and of the random parts that helpers of repairs drew: a part is one unknown for each value that was seen, so that a part that is
//! used again is the same unknown again. That the parts of a helper add up to what its share contributes, everybody knows. What is left when the
//! unknown parts are eliminated is what is known of the polynomial: t independent functionals are the key.

use std::collections::{BTreeMap, BTreeSet};

use curve25519_dalek::Scalar;
use warifu_protocol::{CeremonyId, NodeId};

/// A scalar as it is sent.
pub(super) type ScalarBytes = [u8; 32];

/// What a message of a repair holds for one key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Part {
    /// From a helper to another.
    Delta,
    /// From a helper to the site that lacks a share.
    Sigma,
}

/// One attempt of a repair of one key, as far as it was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Attempt {
    pub(super) ceremony: CeremonyId,
    pub(super) number: u32,
    pub(super) helpers: Vec<NodeId>,
    pub(super) receiver: NodeId,
    pub(super) sent: BTreeMap<(Part, NodeId, NodeId), ScalarBytes>,
}

/// All that is known of one epoch of a key.
#[derive(Clone, Default, Debug)]
pub(super) struct Epoch {
    /// Shares that sites stored.
    pub(super) shares: BTreeMap<NodeId, ScalarBytes>,
    pub(super) attempts: Vec<Attempt>,
    /// Sites on whose disk the share is though the epoch is over.
    pub(super) survivors: BTreeSet<NodeId>,
}

impl Epoch {
    /// The number of independent functionals of the polynomial that these sites know, where `threshold` is the number of its coefficients.
    pub(super) fn known_to(&self, sites: &BTreeSet<NodeId>, threshold: usize) -> usize {
        let mut system = System { threshold, parts: BTreeMap::new(), rows: Vec::new() };
        for site in sites.iter().chain(&self.survivors) {
            system.know(Vec::new(), [(Scalar::ONE, *site)]);
        }
        for attempt in &self.attempts {
            self.add(&mut system, attempt, sites);
        }
        system.rank_of_polynomial()
    }

    fn add(&self, system: &mut System, attempt: &Attempt, sites: &BTreeSet<NodeId>) {
        let Attempt { helpers, receiver, sent, .. } = attempt;
        let share = |site: &NodeId| self.shares.get(site).and_then(value_of);
        let mut by_recipient: BTreeMap<NodeId, Vec<(usize, Option<Scalar>)>> = BTreeMap::new();
        for helper in helpers {
            let weight = coefficient(helpers, *helper, *receiver);
            let mut parts = Vec::with_capacity(helpers.len());
            let mut rest = share(helper).map(|share| weight * share);
            for to in helpers.iter().filter(|to| *to != helper) {
                let value = sent.get(&(Part::Delta, *helper, *to)).and_then(value_of);
                rest = rest.zip(value).map(|(rest, value)| rest - value);
                parts.push((*to, value));
            }
            // Its own part is sent to nobody; it follows from the others.
            parts.push((*helper, rest));
            let mut sum = Vec::with_capacity(parts.len());
            for (to, value) in parts {
                let part = system.part(value);
                sum.push((Scalar::ONE, part));
                by_recipient.entry(to).or_default().push((part, value));
                if sites.contains(&to) || sites.contains(helper) {
                    system.know(vec![(Scalar::ONE, part)], []);
                    // Where it is a share, whatever else it should have been.
                    system.know_if_share(value, &self.shares, weight);
                }
            }
            system.know(sum, [(-weight, *helper)]);
        }
        if !sites.contains(receiver) {
            return;
        }
        for helper in helpers {
            let Some(value) = sent.get(&(Part::Sigma, *helper, *receiver)).and_then(value_of) else { continue };
            let parts = by_recipient.get(helper).cloned().unwrap_or_default();
            let sum = parts.iter().try_fold(Scalar::ZERO, |sum, (_, part)| part.map(|part| sum + part));
            if sum == Some(value) {
                system.know(parts.iter().map(|(part, _)| (Scalar::ONE, *part)).collect(), []);
            } else {
                let part = system.part(Some(value));
                system.know(vec![(Scalar::ONE, part)], []);
            }
            system.know_if_share(Some(value), &self.shares, coefficient(helpers, *helper, *receiver));
        }
    }
}

/// Linear functionals that are known, over unknown parts first and the coefficients of the polynomial after them.
struct System {
    threshold: usize,
    /// Unknowns by their value; those whose value nobody saw have none.
    parts: BTreeMap<Result<ScalarBytes, usize>, usize>,
    rows: Vec<(BTreeMap<usize, Scalar>, Vec<Scalar>)>,
}

impl System {
    /// The unknown of this value.
    fn part(&mut self, value: Option<Scalar>) -> usize {
        let next = self.parts.len();
        let key = value.map_or(Err(next), |value| Ok(value.to_bytes()));
        *self.parts.entry(key).or_insert(next)
    }

    fn know<const N: usize>(&mut self, parts: Vec<(Scalar, usize)>, values: [(Scalar, NodeId); N]) {
        let mut row: BTreeMap<usize, Scalar> = BTreeMap::new();
        for (weight, part) in parts {
            *row.entry(part).or_insert(Scalar::ZERO) += weight;
        }
        let mut polynomial = vec![Scalar::ZERO; self.threshold];
        for (weight, site) in values {
            let mut power = weight;
            for coefficient in &mut polynomial {
                *coefficient += power;
                power *= Scalar::from(site.get());
            }
        }
        row.retain(|_, weight| *weight != Scalar::ZERO);
        self.rows.push((row, polynomial));
    }

    fn know_if_share(&mut self, value: Option<Scalar>, shares: &BTreeMap<NodeId, ScalarBytes>, weight: Scalar) {
        let Some(value) = value else { return };
        for (site, share) in shares {
            if value_of(share).is_some_and(|share| value == share || value == weight * share) {
                self.know(Vec::new(), [(Scalar::ONE, *site)]);
            }
        }
    }

    /// Eliminates the parts, and gives the rank of what is left.
    fn rank_of_polynomial(mut self) -> usize {
        let mut left: Vec<Vec<Scalar>> = Vec::new();
        while let Some((row, polynomial)) = self.rows.pop() {
            let Some((part, weight)) = row.first_key_value().map(|(part, weight)| (*part, *weight)) else {
                left.push(polynomial);
                continue;
            };
            let inverse = weight.invert();
            for (other, other_polynomial) in &mut self.rows {
                let Some(factor) = other.get(&part).map(|weight| *weight * inverse) else { continue };
                for (part, weight) in &row {
                    *other.entry(*part).or_insert(Scalar::ZERO) -= factor * weight;
                }
                other.retain(|_, weight| *weight != Scalar::ZERO);
                other_polynomial.iter_mut().zip(&polynomial).for_each(|(to, from)| *to -= factor * from);
            }
        }
        rank(left)
    }
}

fn rank(mut rows: Vec<Vec<Scalar>>) -> usize {
    let mut rank = 0;
    while let Some(row) = rows.pop() {
        let Some(place) = row.iter().position(|value| *value != Scalar::ZERO) else { continue };
        rank += 1;
        let Some(inverse) = row.get(place).map(Scalar::invert) else { continue };
        for other in &mut rows {
            let Some(factor) = other.get(place).map(|value| value * inverse) else { continue };
            other.iter_mut().zip(&row).for_each(|(to, from)| *to -= factor * from);
        }
    }
    rank
}

/// The Lagrange coefficient at `at` of the share of `of`, among the helpers.
fn coefficient(helpers: &[NodeId], of: NodeId, at: NodeId) -> Scalar {
    let scalar = |node: NodeId| Scalar::from(node.get());
    let others = || helpers.iter().copied().filter(|node| *node != of);
    let numerator: Scalar = others().map(|other| scalar(at) - scalar(other)).product();
    let denominator: Scalar = others().map(|other| scalar(of) - scalar(other)).product();
    numerator * denominator.invert()
}

fn value_of(bytes: &ScalarBytes) -> Option<Scalar> {
    Scalar::from_canonical_bytes(*bytes).into()
}
