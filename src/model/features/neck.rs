//! The neck: four maps to one (specification 2.5).

use crate::model::interpolation::resize;
use burn::tensor::Tensor;

/// Taps of strides 2, 4, 8, 16 → features f [B, C, G, G], finest first.
pub fn neck(taps: [Tensor<4>; 4]) -> Tensor<4> {
    let grid = taps[3].dims()[3];
    Tensor::cat(taps.map(|tap| resize(tap, grid)).to_vec(), 1)
}
