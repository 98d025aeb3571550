//! The refiner (specification 3.6) with batch normalisation as the reference trains it.

use super::kernels;
use super::weights::{NetworkError, Weights};
use burn::tensor::Tensor;

const EPSILON: f32 = 1e-5;
/// Share of a batch in the running statistics (4.4).
const MOMENTUM: f32 = 0.1;

/// What a training batch adds to the running statistics of one normalisation.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    name: String,
    mean: Tensor<1>,
    /// Unbiased.
    variance: Tensor<1>,
}

impl BatchStatistics {
    /// Moves the running statistics a tenth of the way to the batch's.
    pub fn update(self, weights: &mut Weights) -> Result<(), NetworkError> {
        for (which, batch) in [("running_mean", self.mean), ("running_var", self.variance)] {
            let batch = super::weights::read(batch)?;
            weights.update(&format!("{}.{which}", self.name), |running| {
                for (running, batch) in running.iter_mut().zip(batch) {
                    *running = (1.0 - MOMENTUM) * *running + MOMENTUM * batch;
                }
            })?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct BatchNorm {
    name: String,
    weight: Tensor<2>,
    bias: Tensor<2>,
    running_mean: Tensor<2>,
    running_variance: Tensor<2>,
}

impl BatchNorm {
    fn new(weights: &Weights, name: &str) -> Result<Self, NetworkError> {
        let get = |part: &str| -> Result<Tensor<2>, NetworkError> {
            Ok(weights.tensor::<1>(&format!("{name}.{part}"))?.unsqueeze())
        };
        Ok(Self {
            name: name.to_owned(),
            weight: get("weight")?,
            bias: get("bias")?,
            running_mean: get("running_mean")?,
            running_variance: get("running_var")?,
        })
    }

    /// By the running statistics; x is [n, channels].
    fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        let factor = self.weight.clone() / (self.running_variance.clone() + EPSILON).sqrt();
        let offset = self.bias.clone() - self.running_mean.clone() * factor.clone();
        x * factor + offset
    }

    /// By the batch's own statistics.
    fn train(&self, x: Tensor<2>, statistics: &mut Vec<BatchStatistics>) -> Tensor<2> {
        let [count, channels] = x.dims();
        let mean = x.clone().mean_dim(0);
        let centred = x - mean.clone();
        let variance = centred.clone().square().mean_dim(0);
        let unbiased = count as f32 / (count as f32 - 1.0);
        statistics.push(BatchStatistics {
            name: self.name.clone(),
            mean: mean.inner().reshape([channels]),
            variance: variance.clone().inner().reshape([channels]) * unbiased,
        });
        let factor = self.weight.clone() / (variance + EPSILON).sqrt();
        centred * factor + self.bias.clone()
    }
}

/// 3x3 convolution, batch normalisation, ReLU.
#[derive(Clone, Debug)]
struct Stage {
    /// [outputs, 9·inputs].
    convolution: Tensor<2>,
    norm: BatchNorm,
}

impl Stage {
    fn new(weights: &Weights, name: &str) -> Result<Self, NetworkError> {
        let weight: Tensor<4> = weights.tensor(&format!("{name}.0.weight"))?;
        let [outputs, inputs, ..] = weight.dims();
        let convolution = weight.permute([0, 2, 3, 1]).reshape([outputs, 9 * inputs]);
        Ok(Self { convolution, norm: BatchNorm::new(weights, &format!("{name}.1"))? })
    }

    fn apply(
        &self,
        x: Tensor<2>,
        side: usize,
        training: Option<&mut Vec<BatchStatistics>>,
    ) -> Tensor<2> {
        let x = kernels::convolution(x, self.convolution.clone(), side);
        let x = match training {
            Some(statistics) => self.norm.train(x, statistics),
            None => self.norm.apply(x),
        };
        kernels::relu_dropout(x, None)
    }
}

/// Transposed 2x2 convolution of stride 2 as a product: [4·outputs, inputs], rows by (ky, kx, o).
#[derive(Clone, Debug)]
struct Doubling {
    weight: Tensor<2>,
    bias: Tensor<1>,
}

impl Doubling {
    fn new(weights: &Weights, name: &str) -> Result<Self, NetworkError> {
        let weight: Tensor<4> = weights.tensor(&format!("{name}.weight"))?;
        let [inputs, outputs, ..] = weight.dims();
        let weight = weight.permute([2, 3, 1, 0]).reshape([4 * outputs, inputs]);
        Ok(Self { weight, bias: weights.tensor(&format!("{name}.bias"))? })
    }

    /// [B·side², inputs] → [B·(2·side)², outputs].
    fn apply(&self, x: Tensor<2>, side: usize) -> Tensor<2> {
        spread(kernels::linear(x, self.weight.clone(), self.bias.clone().repeat(&[4])), side)
    }

    /// This doubling and a pointwise convolution to one channel behind it. Nothing lies between
    /// the two, so they are one linear map, computed at a 128th of the cost.
    fn apply_to_one(&self, x: Tensor<2>, side: usize, point: [Tensor<1>; 2]) -> Tensor<2> {
        let [point_weight, point_bias] = point;
        let [outputs] = point_weight.dims();
        let [rows, inputs] = self.weight.dims();
        let column = point_weight.clone().reshape([outputs, 1]);
        let by_tap = self.weight.clone().reshape([rows / outputs, outputs, inputs]);
        let weight: Tensor<3> = column.transpose().unsqueeze::<3>().matmul(by_tap);
        let bias = (point_weight * self.bias.clone()).sum() + point_bias;
        spread(kernels::linear(x, weight.squeeze_dim(1), bias.repeat(&[4])), side)
    }
}

/// [B·side², 4·c], four taps a pixel, → [B·(2·side)², c].
fn spread(taps: Tensor<2>, side: usize) -> Tensor<2> {
    let [rows, columns] = taps.dims();
    let batch = rows / (side * side);
    let taps: Tensor<6> = taps.reshape([batch, side, side, 2, 2, columns / 4]);
    taps.permute([0, 1, 3, 2, 4, 5]).reshape([4 * rows, columns / 4])
}

/// |r - f| → logits at four times the grid; everything channels last.
#[derive(Clone, Debug)]
pub struct Refiner {
    stages: [Stage; 2],
    doublings: [Doubling; 2],
    predictor: [Tensor<1>; 2],
}

impl Refiner {
    /// The refiner under `name`.
    pub fn new(weights: &Weights, name: &str) -> Result<Self, NetworkError> {
        let predictor: Tensor<4> = weights.tensor(&format!("{name}.predictor.weight"))?;
        let [_, inputs, ..] = predictor.dims();
        Ok(Self {
            stages: [
                Stage::new(weights, &format!("{name}.upconv1"))?,
                Stage::new(weights, &format!("{name}.upconv2"))?,
            ],
            doublings: [
                Doubling::new(weights, &format!("{name}.upconv1.3"))?,
                Doubling::new(weights, &format!("{name}.upconv2.3"))?,
            ],
            predictor: [
                predictor.reshape([inputs]),
                weights.tensor(&format!("{name}.predictor.bias"))?,
            ],
        })
    }

    /// Differences [B·G², C] → logits [B, 4G, 4G]; `training` collects the batch's statistics and
    /// normalises by them.
    pub fn apply(
        &self,
        difference: Tensor<2>,
        grid: usize,
        mut training: Option<&mut Vec<BatchStatistics>>,
    ) -> Tensor<3> {
        let batch = difference.dims()[0] / (grid * grid);
        let x = self.stages[0].apply(difference, grid, training.as_deref_mut());
        let x = self.doublings[0].apply(x, grid);
        let x = self.stages[1].apply(x, 2 * grid, training);
        let x = self.doublings[1].apply_to_one(x, 2 * grid, self.predictor.clone());
        x.reshape([batch, 4 * grid, 4 * grid])
    }
}
