//! Losses (specification 4.2).

use super::interpolation::resize;
use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

/// Weight of the Dice loss in the total.
pub const DICE_WEIGHT: f32 = 0.5;

/// Which losses a step takes: the paper's, or without some of them, to measure what each gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Good pictures are reconstructed, pseudo-anomalies restored to the good picture they were
    /// made from, the refiner marks them (specification 4.2).
    #[default]
    Full,
    /// Good pictures are reconstructed and the refiner marks pseudo-anomalies; none is restored.
    WithoutRestoration,
    /// Good pictures are reconstructed; the refiner learns nothing and its map counts nothing.
    Reconstruction,
}

impl Objective {
    /// Whether pseudo-anomalies are restored.
    pub const fn restores(self) -> bool {
        matches!(self, Self::Full)
    }

    /// Weight of the Dice loss.
    pub const fn dice_weight(self) -> f32 {
        match self {
            Self::Full | Self::WithoutRestoration => DICE_WEIGHT,
            Self::Reconstruction => 0.0,
        }
    }
}

/// Mean square of r - f, both [n, C].
pub fn reconstruction_loss(reconstruction: Tensor<2>, features: Tensor<2>) -> Tensor<1> {
    let [rows, channels] = features.dims();
    sum((reconstruction - features).square()) / (rows * channels) as f32
}

/// Dice loss of logits [B, 4G, 4G] against masks [B, S·S] of 0 and 1, without the factor 2 in the
/// numerator (9.11); mean over the B pictures.
pub fn dice_loss(logits: Tensor<3>, masks: Tensor<2>) -> Tensor<1> {
    let [batch, pixels] = masks.dims();
    let side = pixels.isqrt();
    let refined = activation::sigmoid(resize(logits, side)).reshape([batch, pixels]);
    let hit = (refined.clone() * masks.clone()).sum_dim(1);
    let sizes = refined.square().sum_dim(1) + masks.square().sum_dim(1);
    let overlap = (hit + 1.0) / (sizes + 1.0);
    1.0 - sum(overlap) / batch as f32
}

/// Sum of all elements in an order that does not depend on threads, so that training repeats
/// exactly.
fn sum(matrix: Tensor<2>) -> Tensor<1> {
    matrix.sum_dim(1).sum_dim(0).reshape([1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn a_clean_picture_with_an_empty_answer_costs_nothing() {
        let logits = Tensor::full([2, 4, 4], -60.0, &Device::flex());
        let masks = Tensor::zeros([2, 16], &Device::flex());
        assert!(dice_loss(logits, masks).into_scalar::<f32>() < 1e-6);
    }

    #[test]
    fn a_perfect_answer_costs_a_half_without_the_factor_two() {
        let mask: Vec<f32> = (0..16).map(|i| f32::from(i < 8)).collect();
        let logits = mask.iter().map(|m| 120.0 * m - 60.0).collect::<Vec<f32>>();
        let logits = Tensor::from_data(TensorData::new(logits, [1, 4, 4]), &Device::flex());
        let masks = Tensor::from_data(TensorData::new(mask, [1, 16]), &Device::flex());
        let loss: f32 = dice_loss(logits, masks).into_scalar();
        assert!((loss - (1.0 - 9.0 / 17.0)).abs() < 1e-6, "{loss}");
    }
}
