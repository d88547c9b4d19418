//! The arithmetic alone: no network, no disk, no check of anything but the signature.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Context as _;
use ed25519_dalek::{Signature, VerifyingKey};
use frost_ed25519::keys::{IdentifierList, KeyPackage, generate_with_dealer};
use frost_ed25519::{SigningPackage, aggregate, round1, round2};
use rand_core::OsRng;
use serde::Serialize;

use crate::measure::{Latencies, Spread};

/// Signatures that are made before those that are measured.
const WARM_UP: u32 = 50;

/// What one signature of t signers costs on one core, one step after the other.
#[derive(Debug, Clone, Serialize)]
pub struct Bare {
    /// Bytes signed.
    pub message_bytes: usize,
    /// t
    pub signers: u8,
    /// One signer's share; nonces and commitments were made before.
    pub share: Spread,
    /// The coordinator's aggregation, which verifies the signature once.
    pub aggregate: Spread,
    /// The strict verification by another library that follows.
    pub verify: Spread,
    /// All together: the shares of t signers, aggregation, verification.
    pub total: Spread,
}

/// Measures `count` signatures of this message by `threshold` of `nodes` signers with a dealer's key.
///
/// # Errors
/// When a signature does not come out right.
pub fn bare(message: &[u8], nodes: u8, threshold: u8, count: u32) -> anyhow::Result<Bare> {
    let (shares, public) = generate_with_dealer(nodes.into(), threshold.into(), IdentifierList::Default, OsRng)?;
    let signers: BTreeMap<_, KeyPackage> = shares
        .into_iter()
        .take(threshold.into())
        .map(|(identifier, share)| Ok((identifier, KeyPackage::try_from(share)?)))
        .collect::<anyhow::Result<_>>()?;
    let key: [u8; 32] = public.verifying_key().serialize()?.try_into().ok().context("a group key has 32 bytes")?;
    let key = VerifyingKey::from_bytes(&key)?;
    let [mut share, mut aggregation, mut verification, mut total] = std::array::from_fn(|_| Latencies::default());
    for round in 0..WARM_UP + count {
        let (mut nonces, mut commitments) = (BTreeMap::new(), BTreeMap::new());
        for (identifier, package) in &signers {
            let (nonce, commitment) = round1::commit(package.signing_share(), &mut OsRng);
            nonces.insert(*identifier, nonce);
            commitments.insert(*identifier, commitment);
        }
        let package = SigningPackage::new(commitments, message);
        let mut made = BTreeMap::new();
        let mut times = Vec::with_capacity(signers.len());
        let start = Instant::now();
        for (identifier, key_package) in &signers {
            let since = Instant::now();
            made.insert(*identifier, round2::sign(&package, &nonces[identifier], key_package)?);
            times.push(since.elapsed());
        }
        let since = Instant::now();
        let signature: [u8; 64] = aggregate(&package, &made, &public)?.serialize()?.try_into().ok().context("a signature has 64 bytes")?;
        let aggregated = since.elapsed();
        let since = Instant::now();
        key.verify_strict(message, &Signature::from_bytes(&signature))?;
        let verified = since.elapsed();
        if round >= WARM_UP {
            times.into_iter().for_each(|time| share.record(time));
            aggregation.record(aggregated);
            verification.record(verified);
            total.record(start.elapsed());
        }
    }
    Ok(Bare {
        message_bytes: message.len(),
        signers: threshold,
        share: share.spread(),
        aggregate: aggregation.spread(),
        verify: verification.spread(),
        total: total.spread(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_is_counted_once_and_every_signer_by_itself() {
        let bare = bare(b"a message", 5, 3, 4).expect("signs");
        assert_eq!((bare.total.count, bare.share.count, bare.aggregate.count, bare.verify.count), (4, 12, 4, 4));
        assert!(bare.total.p50_us >= 2.0 * bare.share.p50_us, "the whole has the shares of three signers in it: {bare:?}");
    }
}
