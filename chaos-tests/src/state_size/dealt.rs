//! Threshold keys made by a dealer: the registry and the share store cannot tell them from generated ones.

use anyhow::Context as _;
use frost_ed25519::keys::{IdentifierList, KeyPackage, split};
use frost_ed25519::{Identifier, SigningKey};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use warifu_protocol::Blob;
use warifu_protocol::limits::CEREMONY_CREDENTIALS_MAX;

/// n
pub(super) const NODES: u8 = 5;
/// t
pub(super) const THRESHOLD: u8 = 3;
/// The processes that make and hold the log derive the same keys from it.
const SEED: u64 = 0x5ba1;

/// As many keys as a ceremony has credentials, so that no two of one ceremony share a key; all ceremonies have the same keys. Nothing in the
/// stores depends on keys being distinct: their sizes are equal, and every share is sealed under a nonce of its own.
pub struct DealtKeys {
    keys: Vec<DealtKey>,
}

/// One key, whole, as only a dealer has it.
pub(super) struct DealtKey {
    /// The public half.
    pub(super) group_key: [u8; 32],
    /// Serialized `PublicKeyPackage`.
    pub(super) public_key_package: Blob,
    /// The share of the node that is measured.
    pub(super) share: KeyPackage,
    secret: SigningKey,
}

impl DealtKeys {
    /// Deals for the node with this FROST identifier.
    ///
    /// # Errors
    /// When the dealer's arithmetic fails, which it does not.
    pub fn deal(node: Identifier) -> anyhow::Result<Self> {
        let mut rng = ChaCha20Rng::seed_from_u64(SEED);
        let keys = (0..CEREMONY_CREDENTIALS_MAX).map(|_| DealtKey::deal(node, &mut rng)).collect::<anyhow::Result<_>>()?;
        Ok(Self { keys })
    }

    /// The key of the credential with this number.
    pub(super) fn of(&self, credential: u64) -> &DealtKey {
        let place = credential % self.keys.len() as u64;
        &self.keys[usize::try_from(place).expect("below the number of keys")]
    }
}

impl DealtKey {
    fn deal(node: Identifier, rng: &mut ChaCha20Rng) -> anyhow::Result<Self> {
        let secret = SigningKey::new(rng);
        let (mut shares, public) = split(&secret, NODES.into(), THRESHOLD.into(), IdentifierList::Default, rng)?;
        let share = shares.remove(&node).context("no share for that node")?;
        let group_key = public.verifying_key().serialize()?.try_into().ok().context("a group key has 32 bytes")?;
        Ok(Self { group_key, public_key_package: Blob(public.serialize()?), share: KeyPackage::try_from(share)?, secret })
    }

    /// What the threshold would sign.
    pub(super) fn sign(&self, rng: &mut ChaCha20Rng, message: &[u8]) -> anyhow::Result<[u8; 64]> {
        self.secret.sign(rng, message).serialize()?.try_into().ok().context("a signature has 64 bytes")
    }
}
