//! All randomness of a run, from one number.

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use warifu_protocol::canonical::sha256;

/// Gives every part of a run a generator of its own, so that a draw more in one place changes no other.
#[derive(Clone, Copy, Debug)]
pub struct SeedTree(u64);

impl SeedTree {
    /// The tree of one run.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The generator of the `number`th part of this name.
    #[must_use]
    pub fn rng(&self, part: &str, number: u64) -> Dice {
        let seed = sha256(&[&self.0.to_be_bytes()[..], part.as_bytes(), &number.to_be_bytes()].concat());
        Dice(ChaCha20Rng::from_seed(seed))
    }
}

/// A generator with the draws that faults and workload are made of.
#[derive(Clone, Debug)]
pub struct Dice(pub ChaCha20Rng);

impl Dice {
    /// Whether something happens that happens in so many of a thousand cases.
    pub fn permille(&mut self, chance: u32) -> bool {
        chance > 0 && self.0.next_u32() % 1000 < chance
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound.max(1)
    }

    /// A number from `from` to `to`, both possible.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// One of several, if there is one.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(self.below(of.len() as u64) as usize) }
    }

    /// So many random bytes.
    pub fn bytes<const LEN: usize>(&mut self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}
