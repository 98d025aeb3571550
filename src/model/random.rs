//! Independent random streams: what is drawn for a step or a picture follows from the seed, the
//! purpose and an index alone, so an interrupted training goes on exactly (specification 9.14).

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use sha2::{Digest, Sha256};

/// The generator of `purpose` number `index` under `seed`.
pub fn stream(seed: u64, purpose: &str, index: u64) -> Pcg64Mcg {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(index.to_le_bytes());
    hash.update(purpose.as_bytes());
    let digest = hash.finalize();
    let mut state = [0; 16];
    state.copy_from_slice(&digest[..16]);
    Pcg64Mcg::from_seed(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngCore;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, purpose, index| stream(seed, purpose, index).next_u64();
        assert_eq!(draw(1, "step", 2), draw(1, "step", 2));
        let others = [draw(2, "step", 2), draw(1, "epoch", 2), draw(1, "step", 3)];
        assert!(others.iter().all(|other| *other != draw(1, "step", 2)));
    }
}
