//! One step of every backbone's width and every published size: shapes only, on made-up features.

use super::*;
use crate::bundle::rule;
use crate::model::initialise::initial_weights;
use burn::tensor::Device;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Neck channels of Lite0 and Lite1, Lite2, B4 (specification 1), each with one of the sizes.
const CASES: [(usize, usize); 4] = [(192, 224), (192, 256), (208, 320), (272, 224)];

#[test]
fn every_backbone_and_size_takes_a_step() {
    for (channels, side) in CASES {
        let (grid, mut random) = (side / 16, Pcg64Mcg::seed_from_u64(1));
        let mut block = |count: usize| (0..count).map(|_| random.random()).collect::<Vec<f32>>();
        let tokens = grid * grid;
        let [good, pseudo, prompt] = [0; 3].map(|_| block(tokens * channels));
        let masks = (0..side * side).map(|i| f32::from(i < 4000)).collect();
        let batch = Batch { size: 1, good, pseudo, prompt, masks };
        let noise = block(3 * tokens * channels);
        let shapes = rule::head_shapes(channels, grid);
        let device = Device::flex().autodiff();
        let weights = Weights::new(&initial_weights(&shapes, 1), &shapes, &device).unwrap();
        let step = step(&weights, &batch, &noise, &mut Dropouts::off(), Objective::Full).unwrap();
        assert!(step.loss.is_finite() && step.dice_loss > 0.0, "{channels} {side}");
        let trained = shapes.iter().filter(|(name, _)| !name.contains(".running_"));
        for (name, shape) in trained {
            let gradient = &step.gradients[name];
            assert_eq!(gradient.shape(), shape, "{name}");
            assert!(gradient.values().iter().all(|value| value.is_finite()), "{name}");
        }
    }
}
