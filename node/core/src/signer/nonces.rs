//! Nonces: made ahead, kept in memory only, moved out once.

use std::collections::BTreeMap;
use std::fmt;

use frost_ed25519::SigningKey;
use frost_ed25519::keys::SigningShare;
use frost_ed25519::round1::{self, SigningNonces};
use rand_core::CryptoRngCore;
use warifu_protocol::limits::{COMMITMENTS_PER_REPLY_MAX, NONCE_LIFE_MILLIS, NONCE_POOL_MAX};
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::FreshCommitments;
use warifu_protocol::{Blob, Name, NonceId, weaken};
use zeroize::Zeroizing;

/// Milliseconds of a clock that never goes back while the process lives. It has no relation to wall-clock time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct MonotonicMillis(pub u64);

/// One nonce pair that no signature share has been made with.
///
/// # Security
/// A pair that is used for two messages gives the key share away (RFC 9591 section 7.3). The type can be neither copied nor serialized,
/// and whatever makes a signature share takes it by value; dropping it wipes it.
pub struct UnusedNonces {
    id: NonceId,
    nonces: SigningNonces,
    commitments: Vec<u8>,
    /// When it was told to a coordinator; the end of all time before that.
    made: MonotonicMillis,
}

/// Makes nonce pairs; a copy of it can work outside of whatever guards the pools.
///
/// # Security
/// RFC 9591 section 4.1 hashes 32 random bytes with the signing share into each nonce, so that a weak random source alone does not make
/// nonces guessable. A pool serves every credential of the node and so has no one share to hash: a scalar drawn when the process starts
/// takes its place. What is lost is the case in which the random source was already weak at that moment.
#[derive(Clone)]
pub struct NonceMaker {
    hedge: Zeroizing<SigningShare>,
}

/// The unused nonces of a node, in one pool for each coordinator, so that no coordinator can name or exhaust another's.
///
/// A pool holds at most [`NONCE_POOL_MAX`] pairs; at the bound the oldest is dropped. Names come from the roster, which bounds the number
/// of pools. Nothing here is ever written to a disk: a node that restarts has no nonce of before.
pub struct NoncePools {
    maker: NonceMaker,
    pools: BTreeMap<Name, Pool>,
}

#[derive(Default)]
struct Pool {
    /// Grows by one with each pair, so that the first in `pairs` is the oldest.
    next: u64,
    pairs: BTreeMap<u64, UnusedNonces>,
    by_id: BTreeMap<NonceId, u64>,
}

impl NonceMaker {
    /// Draws the scalar that takes the signing share's place.
    ///
    /// # Panics
    /// Never: a signing key is a scalar, as a signing share is.
    #[must_use]
    pub fn new(rng: &mut impl CryptoRngCore) -> Self {
        let scalar = Zeroizing::new(SigningKey::new(&mut *rng).serialize());
        Self { hedge: Zeroizing::new(SigningShare::deserialize(&scalar).expect("a signing key is a canonical scalar")) }
    }

    /// Makes `count` pairs, at most [`COMMITMENTS_PER_REPLY_MAX`].
    ///
    /// # Panics
    /// Never: commitments to nonces serialize.
    #[must_use]
    pub fn make(&self, count: usize, rng: &mut impl CryptoRngCore) -> Vec<UnusedNonces> {
        (0..count.min(COMMITMENTS_PER_REPLY_MAX))
            .map(|_| {
                let mut id = [0; NonceId::LEN];
                rng.fill_bytes(&mut id);
                let (nonces, commitments) = round1::commit(&self.hedge, rng);
                let commitments = commitments.serialize().expect("commitments to fresh nonces are not the identity");
                UnusedNonces { id: NonceId::new(id), nonces, commitments, made: MonotonicMillis(u64::MAX) }
            })
            .collect()
    }
}

impl NoncePools {
    /// Starts with empty pools.
    #[must_use]
    pub fn new(rng: &mut impl CryptoRngCore) -> Self {
        Self { maker: NonceMaker::new(rng), pools: BTreeMap::new() }
    }

    /// A maker of pairs for [`Self::admit`].
    #[must_use]
    pub fn maker(&self) -> NonceMaker {
        self.maker.clone()
    }

    /// Makes and admits `count` pairs, at most [`COMMITMENTS_PER_REPLY_MAX`]: [`NonceMaker::make`] and [`Self::admit`] in one.
    pub fn make(&mut self, now: MonotonicMillis, coordinator: &Name, count: usize, rng: &mut impl CryptoRngCore) -> Vec<FreshCommitments> {
        let pairs = self.maker.make(count, rng);
        self.admit(now, coordinator, pairs)
    }

    /// Puts pairs into a coordinator's pool and tells their commitments, oldest first. Each lives [`NONCE_LIFE_MILLIS`] from `now`.
    pub fn admit(&mut self, now: MonotonicMillis, coordinator: &Name, pairs: Vec<UnusedNonces>) -> Vec<FreshCommitments> {
        let pool = self.pools.entry(coordinator.clone()).or_default();
        pool.drop_expired(now);
        let fresh = pairs.iter().map(UnusedNonces::fresh).collect();
        for pair in pairs {
            pool.push(now, pair);
        }
        fresh
    }

    /// Moves a pair out: the same name gives it only once, and only to the coordinator that it was made for.
    ///
    /// `None` when there is no such pair or it is older than [`NONCE_LIFE_MILLIS`]; either way it is not there any more.
    pub fn take(&mut self, now: MonotonicMillis, coordinator: &Name, nonce: NonceId) -> Option<UnusedNonces> {
        weaken!(ForeignNonce, {
            let owner = self.pools.values_mut().find(|pool| pool.by_id.contains_key(&nonce))?;
            return owner.by_id.remove(&nonce).and_then(|place| owner.pairs.remove(&place));
        });
        let pool = self.pools.get_mut(coordinator)?;
        weaken!(KeepNonce, {
            let pair = pool.pairs.get(pool.by_id.get(&nonce)?).filter(|pair| pair.is_alive(now))?;
            let (nonces, commitments) = (pair.nonces.clone(), pair.commitments.clone());
            return Some(UnusedNonces { id: pair.id, nonces, commitments, made: pair.made });
        });
        let place = pool.by_id.remove(&nonce)?;
        pool.pairs.remove(&place).filter(|pair| pair.is_alive(now))
    }

    /// Wipes the pairs whose life has ended; to be called about once a second, so that an idle coordinator's do not stay in memory.
    pub fn drop_expired(&mut self, now: MonotonicMillis) {
        self.pools.values_mut().for_each(|pool| pool.drop_expired(now));
        self.pools.retain(|_, pool| !pool.pairs.is_empty());
    }

    /// Wipes all pairs: on a sign that memory or clocks were set back, and at shutdown.
    pub fn drop_all(&mut self) {
        self.pools.clear();
    }

    /// Unused pairs in all pools, for the metrics.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pools.values().map(|pool| pool.pairs.len()).sum()
    }

    /// Whether there is no unused pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pools.values().all(|pool| pool.pairs.is_empty())
    }
}

impl Pool {
    fn push(&mut self, now: MonotonicMillis, mut pair: UnusedNonces) {
        pair.made = now;
        if self.pairs.len() >= NONCE_POOL_MAX {
            self.drop_oldest();
        }
        let place = self.next;
        self.next += 1;
        self.by_id.insert(pair.id, place);
        self.pairs.insert(place, pair);
    }

    fn drop_expired(&mut self, now: MonotonicMillis) {
        while self.pairs.first_key_value().is_some_and(|(_, pair)| !pair.is_alive(now)) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, pair)) = self.pairs.pop_first() {
            self.by_id.remove(&pair.id);
        }
    }
}

impl UnusedNonces {
    /// Its name.
    #[must_use]
    pub const fn id(&self) -> NonceId {
        self.id
    }

    /// The serialized commitments that the coordinator was told.
    #[must_use]
    pub fn commitments(&self) -> &[u8] {
        &self.commitments
    }

    /// A pair from the future was made before the clock was set back, and counts as expired.
    pub(super) fn is_alive(&self, now: MonotonicMillis) -> bool {
        now.0.checked_sub(self.made.0).is_some_and(|age| age <= NONCE_LIFE_MILLIS || is_on(Mutant::OutdatedNonce))
    }

    /// Ends the pair's unused life.
    pub(super) fn into_nonces(self) -> SigningNonces {
        self.nonces
    }

    fn fresh(&self) -> FreshCommitments {
        FreshCommitments { nonce: self.id, commitments: Blob(self.commitments.clone()) }
    }
}

impl fmt::Debug for UnusedNonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnusedNonces({}, <redacted>)", self.id)
    }
}

impl fmt::Debug for NonceMaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceMaker(<redacted>)")
    }
}

impl fmt::Debug for NoncePools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoncePools({} pairs, <redacted>)", self.len())
    }
}

/// Does not compile once [`UnusedNonces`] can be copied or serialized: the name below would then have two meanings.
const _: fn() = || {
    trait Absent<Marker> {
        fn holds() {}
    }
    struct Copied;
    struct Serialized;
    impl<T: ?Sized> Absent<()> for T {}
    impl<T: Clone> Absent<Copied> for T {}
    impl<T: ?Sized + serde::Serialize> Absent<Serialized> for T {}
    <UnusedNonces as Absent<_>>::holds();
};

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    const T0: MonotonicMillis = MonotonicMillis(1_000);

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn after(millis: u64) -> MonotonicMillis {
        MonotonicMillis(T0.0 + millis)
    }

    #[test]
    fn a_pair_is_given_once_and_only_to_its_coordinator() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut pools = NoncePools::new(&mut rng);
        let made = pools.make(T0, &name("c1"), 2, &mut rng);
        assert_eq!(made.len(), 2);
        assert_ne!(made[0].nonce, made[1].nonce);
        assert!(pools.take(T0, &name("c2"), made[0].nonce).is_none());
        let pair = pools.take(T0, &name("c1"), made[0].nonce).expect("an unused pair");
        assert_eq!(pair.commitments(), made[0].commitments.as_slice());
        assert!(pools.take(T0, &name("c1"), made[0].nonce).is_none());
        assert!(pools.take(T0, &name("c1"), made[1].nonce).is_some());
    }

    #[test]
    fn a_pair_lives_thirty_seconds() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut pools = NoncePools::new(&mut rng);
        let made = pools.make(T0, &name("c1"), 3, &mut rng);
        assert!(pools.take(after(NONCE_LIFE_MILLIS), &name("c1"), made[0].nonce).is_some());
        assert!(pools.take(after(NONCE_LIFE_MILLIS + 1), &name("c1"), made[1].nonce).is_none());
        assert!(pools.take(T0, &name("c1"), made[1].nonce).is_none(), "an expired pair came back");
        assert!(pools.take(MonotonicMillis(T0.0 - 1), &name("c1"), made[2].nonce).is_none(), "the clock went back");
    }

    #[test]
    fn expired_pairs_are_wiped_without_being_asked_for() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let mut pools = NoncePools::new(&mut rng);
        pools.make(T0, &name("c1"), 4, &mut rng);
        pools.make(after(10), &name("c2"), 1, &mut rng);
        pools.drop_expired(after(NONCE_LIFE_MILLIS + 1));
        assert_eq!(pools.len(), 1);
        pools.drop_all();
        assert!(pools.is_empty());
    }

    #[test]
    fn a_full_pool_drops_its_oldest_pair() {
        let mut rng = ChaCha20Rng::seed_from_u64(4);
        let mut pools = NoncePools::new(&mut rng);
        let first = pools.make(T0, &name("c1"), COMMITMENTS_PER_REPLY_MAX + 1, &mut rng);
        assert_eq!(first.len(), COMMITMENTS_PER_REPLY_MAX, "one reply is bounded");
        while pools.len() < NONCE_POOL_MAX {
            pools.make(T0, &name("c1"), COMMITMENTS_PER_REPLY_MAX, &mut rng);
        }
        let last = pools.make(T0, &name("c1"), 1, &mut rng);
        assert_eq!(pools.len(), NONCE_POOL_MAX);
        assert!(pools.take(T0, &name("c1"), first[0].nonce).is_none());
        assert!(pools.take(T0, &name("c1"), first[1].nonce).is_some());
        assert!(pools.take(T0, &name("c1"), last[0].nonce).is_some());
    }

    #[test]
    fn pairs_do_not_print_themselves() {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let maker = NonceMaker::new(&mut rng);
        let pairs = maker.make(1, &mut rng);
        assert!(format!("{:?} {maker:?}", pairs[0]).matches("<redacted>").count() == 2);
    }
}
