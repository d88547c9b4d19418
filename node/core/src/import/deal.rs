//! The officer's tool as dealer: one seed in, one share for each node out.

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, VerifyingKey};
use frost_ed25519::keys::{IdentifierList, KeyPackage, PublicKeyPackage, SecretShare, split};
use frost_ed25519::{Identifier, SigningKey, SigningPackage, aggregate, round1, round2};
use rand_core::CryptoRngCore;
use warifu_protocol::{EncodedPoint, NodeId, Threshold};
use zeroize::Zeroizing;

use super::seed::ImportSeed;
use crate::signer::identifier;

/// What the trial signatures are over: nothing that anything else could take for a signature of its own.
const TRIAL: &[u8] = b"warifu-import-trial-v1\n";

/// A key in shares.
///
/// # Security
/// The shares are wiped when it is dropped, and not printed.
pub struct DealtKey {
    /// The public key.
    pub group_key: EncodedPoint,
    /// Commitments to the t coefficients, the public key first.
    pub commitment: Vec<EncodedPoint>,
    shares: BTreeMap<NodeId, Zeroizing<[u8; 32]>>,
}

/// Why a key cannot be split. Each is the arithmetic's failure and not the seed's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DealError {
    /// The numbers of sites and of signers, or a value on the way.
    #[error("the key cannot be split")]
    Split(#[source] frost_ed25519::Error),
    /// The split key has another public key than the seed.
    #[error("the shares are not those of the seed's key; nothing was written")]
    KeyMismatch,
    /// A signature by t shares does not verify under the seed's public key.
    #[error("a trial signature by the shares of sites {signers:?} does not verify under the seed's public key; nothing was written")]
    Trial {
        /// Whose shares.
        signers: Vec<NodeId>,
    },
}

/// Splits the key of a seed for these nodes, `threshold` of which will sign together, and proves each share by a trial signature that
/// another library verifies under the public key that it makes of the seed itself.
///
/// The secret scalar is the first half of the seed's SHA-512, clamped (RFC 8032, section 5.1.5), and reduced modulo the group's order: a
/// share is of the scalar alone, so that signatures are no longer those that the seed would give, but verify under the same key.
///
/// # Errors
/// See [`DealError`].
pub fn deal(seed: &ImportSeed, threshold: Threshold, nodes: &[NodeId], rng: &mut impl CryptoRngCore) -> Result<DealtKey, DealError> {
    let whole = seed.key();
    let scalar = Zeroizing::new(whole.to_scalar().to_bytes());
    let key = SigningKey::deserialize(scalar.as_slice()).map_err(DealError::Split)?;
    let identifiers: Vec<Identifier> = nodes.iter().map(|node| identifier(*node)).collect();
    let count = u16::try_from(nodes.len()).map_err(|_| DealError::Split(frost_ed25519::Error::InvalidMaxSigners))?;
    let (shares, public) =
        split(&key, count, u16::from(threshold.0), IdentifierList::Custom(&identifiers), rng).map_err(DealError::Split)?;
    let group_key = public.verifying_key().serialize().map_err(DealError::Split)?;
    if group_key != whole.verifying_key().as_bytes() {
        return Err(DealError::KeyMismatch);
    }
    prove(&shares, &public, &whole.verifying_key(), threshold, nodes, rng)?;
    let first = shares.values().next().ok_or(DealError::KeyMismatch)?;
    let commitment = first.commitment().serialize().map_err(DealError::Split)?;
    let commitment = commitment.iter().map(|point| encoded(point)).collect::<Result<_, _>>()?;
    let mut dealt = DealtKey { group_key: encoded(&group_key)?, commitment, shares: BTreeMap::new() };
    for node in nodes {
        let share = shares.get(&identifier(*node)).ok_or(DealError::KeyMismatch)?;
        let bytes = Zeroizing::new(share.signing_share().serialize());
        let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| DealError::KeyMismatch)?;
        dealt.shares.insert(*node, Zeroizing::new(bytes));
    }
    Ok(dealt)
}

impl DealtKey {
    /// A node's share, to be sealed for it.
    #[must_use]
    pub fn share(&self, node: NodeId) -> Option<&[u8; 32]> {
        self.shares.get(&node).map(|share| &**share)
    }
}

impl std::fmt::Debug for DealtKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DealtKey({}, {} shares, <redacted>)", self.group_key, self.shares.len())
    }
}

/// Signs with as many sets of t shares as there are nodes, so that each share is in t of them.
fn prove(
    shares: &BTreeMap<Identifier, SecretShare>,
    public: &PublicKeyPackage,
    expected: &VerifyingKey,
    threshold: Threshold,
    nodes: &[NodeId],
    rng: &mut impl CryptoRngCore,
) -> Result<(), DealError> {
    let mut packages = BTreeMap::new();
    for (identifier, share) in shares {
        packages.insert(*identifier, KeyPackage::try_from(share.clone()).map_err(DealError::Split)?);
    }
    for start in 0..nodes.len() {
        let signers: Vec<NodeId> = nodes.iter().cycle().skip(start).take(usize::from(threshold.0)).copied().collect();
        let chosen: Vec<&KeyPackage> = signers.iter().filter_map(|node| packages.get(&identifier(*node))).collect();
        let signature = sign(&chosen, public, rng).map_err(DealError::Split)?;
        let verified = Signature::from_slice(&signature).and_then(|signature| expected.verify_strict(TRIAL, &signature));
        if verified.is_err() {
            return Err(DealError::Trial { signers });
        }
    }
    Ok(())
}

fn sign(packages: &[&KeyPackage], public: &PublicKeyPackage, rng: &mut impl CryptoRngCore) -> Result<Vec<u8>, frost_ed25519::Error> {
    let mut nonces = BTreeMap::new();
    let mut commitments = BTreeMap::new();
    for package in packages {
        let (own, commitment) = round1::commit(package.signing_share(), rng);
        nonces.insert(*package.identifier(), own);
        commitments.insert(*package.identifier(), commitment);
    }
    let signing = SigningPackage::new(commitments, TRIAL);
    let mut signature_shares = BTreeMap::new();
    for package in packages {
        if let Some(own) = nonces.get(package.identifier()) {
            signature_shares.insert(*package.identifier(), round2::sign(&signing, own, package)?);
        }
    }
    aggregate(&signing, &signature_shares, public)?.serialize()
}

fn encoded(bytes: &[u8]) -> Result<EncodedPoint, DealError> {
    bytes.try_into().map(EncodedPoint::new).map_err(|_| DealError::KeyMismatch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::{RngCore as _, SeedableRng as _};

    fn nodes(numbers: &[u8]) -> Vec<NodeId> {
        numbers.iter().map(|number| NodeId::new(*number).expect("a node id")).collect()
    }

    #[test]
    fn shares_of_any_seed_sign_under_its_public_key_whatever_the_nodes_are_called() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for (numbers, threshold) in [(&[1, 2, 3][..], 2), (&[1, 2, 3, 4, 5], 3), (&[2, 7, 15], 2)] {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            let seed = ImportSeed::parse(&bytes).expect("a seed");
            let dealt = deal(&seed, Threshold(threshold), &nodes(numbers), &mut rng).expect("deals and proves the shares");
            assert_eq!(dealt.group_key, EncodedPoint::new(seed.public_key()));
            assert_eq!(dealt.commitment.len(), usize::from(threshold));
            assert_eq!(dealt.commitment.first(), Some(&dealt.group_key));
            assert!(nodes(numbers).iter().all(|node| dealt.share(*node).is_some()));
            assert!(dealt.share(NodeId::new(9).expect("a node id")).is_none());
        }
    }

    #[test]
    fn a_trial_signature_under_another_public_key_stops_everything() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let (one, other) = (ImportSeed::parse(&[&[7; 31][..], &[8]].concat()), ImportSeed::parse(&[&[8; 31][..], &[7]].concat()));
        let (one, other) = (one.expect("a seed"), other.expect("a seed"));
        let scalar = one.key().to_scalar().to_bytes();
        let nodes = nodes(&[1, 2, 3]);
        let identifiers: Vec<Identifier> = nodes.iter().map(|node| identifier(*node)).collect();
        let key = SigningKey::deserialize(&scalar).expect("a scalar");
        let (shares, public) = split(&key, 3, 2, IdentifierList::Custom(&identifiers), &mut rng).expect("splits");
        let proved = |key: &VerifyingKey, rng: &mut ChaCha20Rng| prove(&shares, &public, key, Threshold(2), &nodes, rng);
        assert_eq!(proved(&one.key().verifying_key(), &mut rng), Ok(()));
        assert!(matches!(proved(&other.key().verifying_key(), &mut rng), Err(DealError::Trial { .. })));
    }

    #[test]
    fn numbers_that_make_no_threshold_scheme_are_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let seed = ImportSeed::parse(&[&[7; 31][..], &[8]].concat()).expect("a seed");
        for (numbers, threshold) in [(&[1, 2, 3][..], 1), (&[1, 2, 3], 4), (&[1], 2), (&[], 2), (&[1, 1, 2], 2)] {
            let refused = deal(&seed, Threshold(threshold), &nodes(numbers), &mut rng);
            assert!(refused.is_err(), "{threshold} of {numbers:?}");
        }
        let dealt = deal(&seed, Threshold(2), &nodes(&[1, 2, 3]), &mut rng).expect("deals");
        let shown = format!("{dealt:?}");
        assert!(shown.contains("<redacted>") && !shown.contains(&hex::encode(dealt.share(nodes(&[1])[0]).expect("a share"))));
    }
}
