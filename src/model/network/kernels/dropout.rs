//! Dropout without a stored mask: whether an element stays follows from seed and index.

use rand::RngCore;
use rand_pcg::Pcg64Mcg;

/// One dropout of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    seed: u64,
    probability: f32,
}

impl Dropout {
    /// Drops each element with `probability`, as `seed` decides.
    pub const fn new(seed: u64, probability: f32) -> Self {
        Self { seed, probability }
    }

    /// What a kept element is multiplied by.
    #[inline(always)]
    pub fn scale(self) -> f32 {
        1.0 / (1.0 - self.probability)
    }

    /// `scale` for a kept element, 0 for a dropped one.
    #[inline(always)]
    pub fn factor(self, index: u32) -> f32 {
        // Finaliser of MurmurHash3 with the seed mixed in twice.
        let mut hash = index.wrapping_mul(0x9e37_79b1) ^ (self.seed as u32);
        hash ^= hash >> 16;
        hash = hash.wrapping_mul(0x85eb_ca6b);
        hash ^= hash >> 13;
        hash = hash.wrapping_add((self.seed >> 32) as u32).wrapping_mul(0xc2b2_ae35);
        hash ^= hash >> 16;
        // 24 bits against the probability: both exact in f32.
        if ((hash >> 8) as f32) < self.probability * 16_777_216.0 { 0.0 } else { self.scale() }
    }
}

/// Hands out the dropouts of a forward pass, one after the other.
#[derive(Debug)]
pub struct Dropouts {
    probability: f32,
    random: Option<Pcg64Mcg>,
}

impl Dropouts {
    /// No dropout at all: evaluation, and the golden training step.
    pub const fn off() -> Self {
        Self { probability: 0.0, random: None }
    }

    /// Dropout with `probability`, drawn from `random`.
    pub const fn new(probability: f32, random: Pcg64Mcg) -> Self {
        Self { probability, random: Some(random) }
    }

    /// The next dropout.
    pub fn draw(&mut self) -> Option<Dropout> {
        let probability = self.probability;
        self.random.as_mut().map(|random| Dropout::new(random.next_u64(), probability))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_dropped_and_the_mean_stays() {
        for seed in [0, 1, u64::MAX / 3] {
            let dropout = Dropout::new(seed, 0.1);
            let mean = (0..200_000).map(|i| f64::from(dropout.factor(i))).sum::<f64>() / 200_000.0;
            assert!((mean - 1.0).abs() < 5e-3, "{mean}");
        }
        let (a, b) = (Dropout::new(1, 0.1), Dropout::new(2, 0.1));
        let both = (0..100_000).filter(|i| a.factor(*i) == 0.0 && b.factor(*i) == 0.0).count();
        assert!((800..1200).contains(&both), "{both}");
    }
}
