//! What differs a little from a valid input: nearer to the edges of a decoder than anything drawn at random.

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

/// Bytes that are often the edge of something.
const EDGES: [u8; 8] = [0x00, 0x01, 0x7f, 0x80, 0xff, b'"', b'<', 0x30];
/// Changes of one input.
const CHANGES_MAX: u64 = 4;
/// Longest piece that is cut, doubled or brought in from another input.
const PIECE_MAX: u64 = 64;

/// Draws inputs near those of one target.
pub(crate) struct Neighbours<'a> {
    inputs: &'a [Vec<u8>],
    rng: ChaCha20Rng,
}

impl<'a> Neighbours<'a> {
    /// The same seed gives the same inputs.
    pub(crate) fn new(inputs: &'a [Vec<u8>], seed: u64) -> Self {
        Self { inputs, rng: ChaCha20Rng::seed_from_u64(seed) }
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.rng.next_u64() % (end as u64).max(1)).expect("below a length")
    }

    fn piece(&mut self, of: &[u8]) -> std::ops::Range<usize> {
        let from = self.below(of.len());
        let length = self.below(usize::try_from(PIECE_MAX).expect("small"));
        from..(from + length).min(of.len())
    }

    pub(crate) fn draw(&mut self) -> Vec<u8> {
        let mut bytes = self.pick().to_vec();
        for _ in 0..=self.rng.next_u64() % CHANGES_MAX {
            let at = self.below(bytes.len());
            match self.rng.next_u64() % 7 {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << (self.rng.next_u64() % 8),
                1 if !bytes.is_empty() => bytes[at] = EDGES[self.below(EDGES.len())],
                2 => bytes.truncate(at),
                3 => drop(bytes.drain(self.piece(&bytes.clone()))),
                4 => {
                    let piece = bytes[self.piece(&bytes.clone())].to_vec();
                    bytes.splice(at..at, piece);
                }
                5 => {
                    let other = self.pick();
                    let piece = other[self.piece(other)].to_vec();
                    let end = (at + piece.len()).min(bytes.len());
                    bytes.splice(at..end, piece);
                }
                _ => bytes.insert(at, self.rng.next_u64().to_le_bytes()[0]),
            }
        }
        bytes
    }

    fn pick(&mut self) -> &'a [u8] {
        let place = self.below(self.inputs.len());
        &self.inputs[place]
    }
}
