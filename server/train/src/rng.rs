//! Randomness by address: what is drawn depends on where it is used, never on what was drawn before.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a generator is for; keeps streams of different uses apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Use {
    /// Order of the problems in one pass over the pool.
    Order = 1,
    /// Sampling one rollout.
    Rollout = 2,
}

/// ChaCha8, whose stream does not change between versions, seeded from (use, seed, step, problem, sample).
pub fn at(purpose: Use, seed: u64, step: u64, problem: u32, sample: u32) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    key[0] = purpose as u8;
    key[8..16].copy_from_slice(&seed.to_le_bytes());
    key[16..24].copy_from_slice(&step.to_le_bytes());
    key[24..28].copy_from_slice(&problem.to_le_bytes());
    key[28..32].copy_from_slice(&sample.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn every_part_of_the_address_matters_and_the_stream_is_pinned() {
        let first = |mut r: ChaCha8Rng| r.random::<u64>();
        let base = first(at(Use::Rollout, 1, 2, 3, 4));
        for other in [
            at(Use::Order, 1, 2, 3, 4),
            at(Use::Rollout, 9, 2, 3, 4),
            at(Use::Rollout, 1, 9, 3, 4),
            at(Use::Rollout, 1, 2, 9, 4),
            at(Use::Rollout, 1, 2, 3, 9),
        ] {
            assert_ne!(base, first(other));
        }
        assert_eq!(base, first(at(Use::Rollout, 1, 2, 3, 4)));
    }
}
