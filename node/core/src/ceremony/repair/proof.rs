//! What anybody can check of a repair from public points alone. frost-core checks none of it.
//!
//! Points may be equal up to a component of small order: a helper that adds one to its commitments changes nothing that a check or a share
//! depends on, and so cannot make another one's part look wrong.

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::{Identity as _, VartimeMultiscalarMul as _};
use curve25519_dalek::{EdwardsPoint, Scalar};
use warifu_protocol::NodeId;
use zeroize::Zeroizing;

/// An encoded Ed25519 point, as verifying shares and commitments have it.
pub type PointBytes = [u8; 32];

/// The Lagrange coefficient at `at` of the share of `of`, among the holders `among`.
///
/// # Panics
/// When `of` is there twice, which node sets exclude.
#[must_use]
fn coefficient(among: &[NodeId], of: NodeId, at: NodeId) -> Scalar {
    let scalar = |node: NodeId| Scalar::from(node.get());
    let others = || among.iter().copied().filter(|node| *node != of);
    let numerator: Scalar = others().map(|other| scalar(at) - scalar(other)).product();
    let denominator: Scalar = others().map(|other| scalar(of) - scalar(other)).product();
    numerator * denominator.invert()
}

/// The verifying share of `at`, from those of t others. `None` when one of them is no point.
#[must_use]
pub fn interpolate(shares: &[(NodeId, PointBytes)], at: NodeId) -> Option<PointBytes> {
    let among: Vec<NodeId> = shares.iter().map(|(node, _)| *node).collect();
    let coefficients = among.iter().map(|node| coefficient(&among, *node, at));
    let points = shares.iter().map(|(_, share)| point(share));
    EdwardsPoint::optional_multiscalar_mul(coefficients, points).map(|point| point.compress().0)
}

/// Whether a helper's commitments to its deltas add up to what its share contributes to the receiver's: Σ δ·B = λ·Y.
#[must_use]
pub fn commitments_fit(
    helpers: &[NodeId],
    helper: NodeId,
    receiver: NodeId,
    verifying_share: &PointBytes,
    commitments: &[PointBytes],
) -> bool {
    let (Some(share), Some(sum)) = (point(verifying_share), sum(commitments)) else { return false };
    let due = EdwardsPoint::vartime_double_scalar_mul_basepoint(&coefficient(helpers, helper, receiver), &share, &Scalar::ZERO);
    commitments.len() == helpers.len() && (sum - due).is_small_order()
}

/// Whether a scalar that was sent is the one of the sum of these commitments.
#[must_use]
pub fn scalar_fits(scalar: &[u8; 32], commitments: &[PointBytes]) -> bool {
    let Some(scalar) = Option::<Scalar>::from(Scalar::from_canonical_bytes(*scalar)).map(Zeroizing::new) else { return false };
    sum(commitments).is_some_and(|sum| (EdwardsPoint::mul_base(&scalar) - sum).is_small_order())
}

/// Whether a share of a polynomial without a constant, as a refresh adds them, is the one of the commitments to its coefficients.
pub(crate) fn zero_share_fits(share: &[u8], recipient: NodeId, coefficients: &[Vec<u8>]) -> bool {
    let Ok(share) = <[u8; 32]>::try_from(share).map(Zeroizing::new) else { return false };
    let at = Scalar::from(recipient.get());
    let points = coefficients.iter().map(|bytes| <PointBytes>::try_from(bytes.as_slice()).ok().as_ref().and_then(point));
    let powers = std::iter::successors(Some(at), |power| Some(power * at));
    // The multiplication needs to know how many there are of each.
    let powers: Vec<Scalar> = powers.take(coefficients.len()).collect();
    let due = EdwardsPoint::optional_multiscalar_mul(powers, points);
    due.is_some_and(|due| scalar_fits(&share, &[due.compress().0]))
}

/// The commitment to a delta.
pub(super) fn commitment(delta: &[u8; 32]) -> Option<PointBytes> {
    let scalar = Option::<Scalar>::from(Scalar::from_canonical_bytes(*delta)).map(Zeroizing::new)?;
    Some(EdwardsPoint::mul_base(&scalar).compress().0)
}

fn sum(points: &[PointBytes]) -> Option<EdwardsPoint> {
    points.iter().map(point).try_fold(EdwardsPoint::identity(), |sum, next| Some(sum + next?))
}

fn point(bytes: &PointBytes) -> Option<EdwardsPoint> {
    CompressedEdwardsY(*bytes).decompress()
}
