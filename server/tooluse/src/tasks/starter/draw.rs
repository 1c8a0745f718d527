//! Station *problem*, helper: random draws by address. In: (seed, split, index); out: numbers that never change between
//! versions, because only the raw ChaCha8 stream is used and the reduction to a range stands here.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The draws of one problem.
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream of one problem.
    pub(super) fn at(held_out: bool, seed: u64, index: u64) -> Self {
        Self::of(b"starter1", held_out, seed, index)
    }

    /// The stream of one problem of another set.
    pub(super) fn of(set: &[u8; 8], held_out: bool, seed: u64, index: u64) -> Self {
        let mut key = [0_u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&index.to_le_bytes());
        key[16] = u8::from(held_out);
        key[24..].copy_from_slice(set);
        Self(ChaCha8Rng::from_seed(key))
    }

    /// The stream of one problem of the wide set.
    pub(super) fn wide(held_out: bool, seed: u64, index: u64) -> Self {
        let mut key = [0_u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&index.to_le_bytes());
        key[16] = u8::from(held_out);
        key[24..].copy_from_slice(b"starterw");
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A number below `n`, or 0 when `n` is 0. The bias of the multiply-shift is below 2^-32 for the sizes here.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// True in `percent` of 100 draws.
    pub(super) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of the given things; none when there are none.
    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    /// A random order (Fisher-Yates).
    pub(super) fn shuffle<T>(&mut self, of: &mut [T]) {
        for i in (1..of.len()).rev() {
            of.swap(i, self.below(i + 1));
        }
    }
}
