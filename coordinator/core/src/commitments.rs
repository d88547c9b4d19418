//! Commitments that nodes gave ahead of use.

use std::collections::VecDeque;

use frost_ed25519::round1::SigningCommitments;
use warifu_protocol::limits::{COMMITMENTS_PER_REPLY_MAX, NONCE_LIFE_MILLIS};
use warifu_protocol::mutants::{Mutant, is_on};
use warifu_protocol::wire::{FreshCommitments, SignerCommitments};
use warifu_protocol::{Blob, NodeId, NonceId};

use crate::MonotonicMillis;
use crate::limits::{COMMITMENT_MARGIN_MILLIS, COMMITMENT_RENEW_MILLIS, DEMAND_WINDOW_MILLIS, POOL_FLOOR, POOL_MAX};

/// One node's commitments to one nonce pair, checked to be points of the right group. Not `Clone`: they go into one signing package.
#[derive(Debug, PartialEq, Eq)]
pub struct Commitments {
    nonce: NonceId,
    bytes: Blob,
    point: SigningCommitments,
}

/// Bytes that are no commitments; the node that sent them is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the commitments for nonce {nonce} cannot be read")]
pub struct CommitmentsMalformed {
    /// The nonce pair that they were sent for.
    pub nonce: NonceId,
}

impl Commitments {
    /// Reads what a node sent. Costs about 0.1 ms.
    ///
    /// # Errors
    /// [`CommitmentsMalformed`].
    pub fn parse(fresh: FreshCommitments) -> Result<Self, CommitmentsMalformed> {
        match SigningCommitments::deserialize(fresh.commitments.as_slice()) {
            Ok(point) => Ok(Self { nonce: fresh.nonce, bytes: fresh.commitments, point }),
            Err(_) => Err(CommitmentsMalformed { nonce: fresh.nonce }),
        }
    }

    pub(crate) fn into_parts(self, node: NodeId) -> (SignerCommitments, SigningCommitments) {
        (SignerCommitments { node, nonce: self.nonce, commitments: self.bytes }, self.point)
    }
}

/// One node's unused commitments. Each leaves once, by value.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    unused: VecDeque<Entry>,
    /// Asked for and not yet here.
    expected: usize,
    demand: Demand,
}

#[derive(Debug)]
struct Entry {
    commitments: Commitments,
    received: MonotonicMillis,
}

impl Pool {
    pub(crate) fn available(&self, now: MonotonicMillis) -> usize {
        self.unused.iter().filter(|entry| entry.is_alive(now)).count()
    }

    pub(crate) fn has_any(&self, now: MonotonicMillis) -> bool {
        self.unused.back().is_some_and(|entry| entry.is_alive(now))
    }

    /// The oldest that is still alive.
    pub(crate) fn take(&mut self, now: MonotonicMillis) -> Option<Commitments> {
        self.drop_expired(now);
        self.demand.count(now);
        self.unused.pop_front().map(|entry| entry.commitments)
    }

    /// `asked` is when the call that brought them was sent, which is before the nonces were made.
    pub(crate) fn add(&mut self, asked: MonotonicMillis, fresh: Vec<Commitments>) {
        let room = POOL_MAX.saturating_sub(self.unused.len());
        for commitments in fresh.into_iter().take(room) {
            let is_new = self.unused.iter().all(|entry| entry.commitments.nonce != commitments.nonce);
            if is_new || is_on(Mutant::ReuseCommitment) {
                self.unused.push_back(Entry { commitments, received: asked });
            }
        }
    }

    /// So many will be taken soon.
    pub(crate) fn announce(&mut self, count: usize, now: MonotonicMillis) {
        self.demand.announce(count, now);
    }

    pub(crate) fn clear(&mut self) {
        self.unused.clear();
    }

    /// How many to ask for; they count as expected until [`Pool::arrived`].
    pub(crate) fn ask(&mut self, now: MonotonicMillis) -> usize {
        self.drop_expired(now);
        let fresh = self.unused.iter().filter(|entry| now.since(entry.received) < COMMITMENT_RENEW_MILLIS).count();
        let wanted = self.target(now).saturating_sub(fresh + self.expected).min(COMMITMENTS_PER_REPLY_MAX);
        // Single commitments are not worth a call.
        let wanted = if wanted * 4 < self.target(now) { 0 } else { wanted };
        self.expected += wanted;
        wanted
    }

    pub(crate) fn arrived(&mut self, asked_for: usize) {
        self.expected = self.expected.saturating_sub(asked_for);
    }

    fn target(&self, now: MonotonicMillis) -> usize {
        (2 * self.demand.per_window(now)).clamp(POOL_FLOOR, POOL_MAX)
    }

    fn drop_expired(&mut self, now: MonotonicMillis) {
        while self.unused.front().is_some_and(|entry| !entry.is_alive(now)) {
            self.unused.pop_front();
        }
    }
}

impl Entry {
    const fn is_alive(&self, now: MonotonicMillis) -> bool {
        now.since(self.received) < NONCE_LIFE_MILLIS - COMMITMENT_MARGIN_MILLIS
    }
}

/// How many were taken in the current window of time and in the one before.
#[derive(Debug, Default)]
struct Demand {
    window: u64,
    current: usize,
    previous: usize,
}

impl Demand {
    fn count(&mut self, now: MonotonicMillis) {
        self.advance(now);
        self.current += 1;
    }

    fn announce(&mut self, count: usize, now: MonotonicMillis) {
        self.advance(now);
        // What is taken is counted again, so that half is enough for twice the demand.
        self.current = self.current.saturating_add(count.div_ceil(2));
    }

    fn per_window(&self, now: MonotonicMillis) -> usize {
        match (now.0 / DEMAND_WINDOW_MILLIS).saturating_sub(self.window) {
            0 => self.current.max(self.previous),
            1 => self.current,
            _ => 0,
        }
    }

    fn advance(&mut self, now: MonotonicMillis) {
        let window = now.0 / DEMAND_WINDOW_MILLIS;
        match window.saturating_sub(self.window) {
            0 => return,
            1 => self.previous = self.current,
            _ => self.previous = 0,
        }
        self.current = 0;
        self.window = window;
    }
}

#[cfg(test)]
mod tests {
    use frost_ed25519::keys::SigningShare;
    use rand_core::SeedableRng;

    use super::*;

    fn must_make(count: u8, first: u8) -> Vec<Commitments> {
        let mut rng = rand_chacha::ChaCha20Rng::from_seed([first; 32]);
        let share = SigningShare::deserialize(&[1; 32].map(|byte: u8| byte & 0x0f)).expect("a scalar below the order");
        (0..count)
            .map(|number| {
                let (_, point) = frost_ed25519::round1::commit(&share, &mut rng);
                let bytes = point.serialize().expect("commitments serialize").into();
                let nonce = NonceId::new([first.wrapping_add(number); 16]);
                Commitments::parse(FreshCommitments { nonce, commitments: bytes }).expect("well-formed")
            })
            .collect()
    }

    #[test]
    fn each_commitment_is_given_out_once_and_the_oldest_first() {
        let mut pool = Pool::default();
        pool.add(MonotonicMillis(0), must_make(3, 1));
        // A node that sends a nonce again cannot make it be used twice.
        pool.add(MonotonicMillis(1), must_make(3, 1));
        let taken: Vec<_> = std::iter::from_fn(|| pool.take(MonotonicMillis(2))).map(|one| one.nonce).collect();
        assert_eq!(taken, [1, 2, 3].map(|byte| NonceId::new([byte; 16])));
    }

    #[test]
    fn a_commitment_is_not_used_near_the_end_of_its_nonce() {
        let mut pool = Pool::default();
        pool.add(MonotonicMillis(0), must_make(1, 1));
        let last = NONCE_LIFE_MILLIS - COMMITMENT_MARGIN_MILLIS - 1;
        assert!(pool.has_any(MonotonicMillis(last)));
        assert!(!pool.has_any(MonotonicMillis(last + 1)));
        assert_eq!(pool.take(MonotonicMillis(last + 1)), None);
    }

    #[test]
    fn the_pool_grows_with_demand_and_shrinks_to_its_floor() {
        let mut pool = Pool::default();
        assert_eq!(pool.ask(MonotonicMillis(0)), POOL_FLOOR);
        assert_eq!(pool.ask(MonotonicMillis(0)), 0, "what is expected is not asked for twice");
        pool.arrived(POOL_FLOOR);
        for _ in 0..100 {
            pool.take(MonotonicMillis(10));
        }
        assert_eq!(pool.ask(MonotonicMillis(20)), 200);
        pool.arrived(200);
        assert_eq!(pool.ask(MonotonicMillis(5 * DEMAND_WINDOW_MILLIS)), POOL_FLOOR);
    }

    #[test]
    fn an_announced_batch_finds_a_full_pool() {
        let mut pool = Pool::default();
        pool.announce(100, MonotonicMillis(0));
        assert_eq!(pool.ask(MonotonicMillis(0)), 100);
    }

    #[test]
    fn an_idle_pool_is_renewed_before_it_expires() {
        let mut pool = Pool::default();
        let asked = pool.ask(MonotonicMillis(0));
        pool.arrived(asked);
        pool.add(MonotonicMillis(0), must_make(u8::try_from(asked).expect("small"), 1));
        assert_eq!(pool.ask(MonotonicMillis(COMMITMENT_RENEW_MILLIS - 1)), 0);
        assert_eq!(pool.ask(MonotonicMillis(COMMITMENT_RENEW_MILLIS)), POOL_FLOOR);
    }

    #[test]
    fn malformed_commitments_are_refused() {
        for bytes in [vec![], vec![0; 69], vec![0xff; 69], vec![1; 4096]] {
            let nonce = NonceId::new([7; 16]);
            let refused = Commitments::parse(FreshCommitments { nonce, commitments: bytes.into() });
            assert_eq!(refused, Err(CommitmentsMalformed { nonce }));
        }
    }

    #[test]
    fn a_flood_of_commitments_is_cut_at_the_bound() {
        let mut pool = Pool { unused: VecDeque::new(), expected: 0, demand: Demand::default() };
        for (number, commitments) in must_make(1, 1).into_iter().enumerate() {
            let mut entry = Some(commitments);
            for index in 0..POOL_MAX {
                let mut nonce = [0; 16];
                nonce[..8].copy_from_slice(&(number * POOL_MAX + index).to_be_bytes());
                let source = entry.take().expect("put back below");
                pool.unused.push_back(Entry {
                    commitments: Commitments { nonce: NonceId::new(nonce), bytes: source.bytes.clone(), point: source.point },
                    received: MonotonicMillis(0),
                });
                entry = Some(source);
            }
        }
        pool.add(MonotonicMillis(0), must_make(2, 200));
        assert_eq!(pool.unused.len(), POOL_MAX);
    }
}
