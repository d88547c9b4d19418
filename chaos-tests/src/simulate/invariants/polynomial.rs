//! Polynomials over the scalars of Ed25519 by their values at sites.

use std::sync::OnceLock;

use curve25519_dalek::{EdwardsPoint, Scalar};
use warifu_protocol::NodeId;

use super::evaluations::ScalarBytes;

/// Values of a polynomial, at most one for a site.
pub(super) struct Values(Vec<(NodeId, Scalar)>);

impl Values {
    /// `None` if one of them is no scalar.
    pub(super) fn read<'a>(values: impl IntoIterator<Item = (NodeId, &'a ScalarBytes)>) -> Option<Self> {
        let read = |(site, bytes): (NodeId, &ScalarBytes)| Some((site, Option::from(Scalar::from_canonical_bytes(*bytes))?));
        values.into_iter().map(read).collect::<Option<_>>().map(Self)
    }

    pub(super) const fn count(&self) -> usize {
        self.0.len()
    }

    /// How many coefficients a polynomial needs to have all of these values.
    pub(super) fn coefficients(&self) -> usize {
        // Newton's: the last difference that is not zero.
        let mut differences: Vec<Scalar> = self.0.iter().map(|(_, value)| *value).collect();
        let mut needed = 0;
        for order in 0..self.0.len() {
            needed = if differences.first().is_some_and(|difference| *difference != Scalar::ZERO) { order + 1 } else { needed };
            let sites = self.0.iter().zip(self.0.iter().skip(order + 1));
            let next = differences.windows(2).zip(sites).map(|(pair, ((from, _), (to, _)))| match pair {
                [low, high] => (high - low) * inverse_distance(*from, *to),
                _ => Scalar::ZERO,
            });
            differences = next.collect();
        }
        needed
    }

    /// The public key whose private half is the polynomial's value at zero, of the least polynomial with these values.
    pub(super) fn public_key(&self) -> [u8; 32] {
        let zero: Scalar = self.0.iter().map(|(site, value)| value * self.weight(*site)).sum();
        EdwardsPoint::mul_base(&zero).compress().to_bytes()
    }

    fn weight(&self, of: NodeId) -> Scalar {
        let others = self.0.iter().map(|(site, _)| *site).filter(|site| *site != of);
        // x / (x - of) for each other x.
        others.map(|site| Scalar::from(site.get()) * inverse_distance(of, site)).product()
    }
}

/// 1 / (to - from). Sites have small numbers, so that there are few of these.
fn inverse_distance(from: NodeId, to: NodeId) -> Scalar {
    static INVERSES: OnceLock<Vec<Scalar>> = OnceLock::new();
    let inverses = INVERSES.get_or_init(|| (0..=NodeId::MAX).map(|distance| Scalar::from(distance).invert()).collect());
    let inverse = inverses.get(usize::from(to.get().abs_diff(from.get()))).copied().unwrap_or_default();
    if to > from { inverse } else { -inverse }
}

#[cfg(test)]
mod tests {
    use super::super::testing::node;
    use super::*;

    /// Of a polynomial with coefficients 5, 7 and 11.
    fn value(site: u8) -> ScalarBytes {
        let x = Scalar::from(site);
        (Scalar::from(5_u8) + Scalar::from(7_u8) * x + Scalar::from(11_u8) * x * x).to_bytes()
    }

    fn values(sites: &[u8]) -> Vec<(NodeId, ScalarBytes)> {
        sites.iter().map(|site| (node(*site), value(*site))).collect()
    }

    fn read(values: &[(NodeId, ScalarBytes)]) -> Values {
        Values::read(values.iter().map(|(site, value)| (*site, value))).expect("scalars")
    }

    #[test]
    fn a_polynomial_is_known_by_as_many_values_as_it_has_coefficients_whichever_they_are() {
        for sites in [&[1, 2, 3][..], &[2, 7, 9, 15], &[4, 1, 5, 2, 9, 3]] {
            assert_eq!(read(&values(sites)).coefficients(), 3, "{sites:?}");
            let key = EdwardsPoint::mul_base(&Scalar::from(5_u8)).compress().to_bytes();
            assert_eq!(read(&values(sites)).public_key(), key, "{sites:?}");
        }
        assert_eq!(read(&[(node(1), [0; 32]), (node(2), [0; 32])]).coefficients(), 0);
        assert_eq!(read(&[(node(1), value(1)), (node(4), value(1)), (node(5), value(1))]).coefficients(), 1);
    }

    #[test]
    fn one_value_that_is_another_sites_is_seen() {
        let mut values = values(&[1, 2, 3, 4, 5]);
        values[2].1 = value(6);
        assert_eq!(read(&values).coefficients(), 5);
        assert!(Values::read([(node(1), &[0xff; 32])]).is_none());
    }
}
