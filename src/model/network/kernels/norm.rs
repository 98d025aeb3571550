//! Layer normalisation of x + dropout(branch), eps 1e-5 (specification 3.3).

use super::{Dropout, dims, simd, tensor, values};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn_flex::FlexTensor;
use rayon::prelude::*;

const EPSILON: f32 = 1e-5;
const ROWS_PER_TASK: usize = 64;

/// What the gradient needs: normalised rows, inverse deviations, the norm's weight, the dropout.
#[derive(Clone, Debug)]
pub struct Saved {
    normalised: FlexTensor,
    inverse_deviations: Vec<f32>,
    weight: FlexTensor,
    dropout: Option<Dropout>,
}

pub fn forward(
    x: &FlexTensor,
    branch: &FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
    dropout: Option<Dropout>,
) -> (FlexTensor, Saved) {
    let [rows, width] = dims(x);
    let (x, branch, weight) = (x.to_contiguous(), branch.to_contiguous(), weight.to_contiguous());
    let bias = bias.to_contiguous();
    let mut output = vec![0.0; rows * width];
    let mut normalised = vec![0.0; rows * width];
    let mut inverse_deviations = vec![0.0; rows];
    let block = ROWS_PER_TASK * width;
    let (gain, offset) = (values(&weight), values(&bias));
    output
        .par_chunks_mut(block)
        .zip(normalised.par_chunks_mut(block))
        .zip(inverse_deviations.par_chunks_mut(ROWS_PER_TASK))
        .zip(values(&x).par_chunks(block).zip(values(&branch).par_chunks(block)))
        .enumerate()
        .for_each(|(task, (((output, normalised), inverse), (x, branch)))| {
            simd::vectorised(|| {
                add(x, branch, dropout, (task * block) as u32, normalised);
                let rows = output.chunks_exact_mut(width).zip(normalised.chunks_exact_mut(width));
                for ((output, row), inverse) in rows.zip(inverse) {
                    *inverse = normalise(row);
                    for (((y, v), gain), offset) in
                        output.iter_mut().zip(&*row).zip(gain).zip(offset)
                    {
                        *y = v * gain + offset;
                    }
                }
            });
        });
    let normalised = tensor([rows, width], normalised);
    (tensor([rows, width], output), Saved { normalised, inverse_deviations, weight, dropout })
}

#[inline(always)]
fn add(x: &[f32], branch: &[f32], dropout: Option<Dropout>, first: u32, sum: &mut [f32]) {
    let values = sum.iter_mut().zip(x).zip(branch);
    match dropout {
        None => {
            for ((sum, x), branch) in values {
                *sum = x + branch;
            }
        }
        Some(dropout) => {
            let mut index = first;
            for ((sum, x), branch) in values {
                *sum = x + branch * dropout.factor(index);
                index = index.wrapping_add(1);
            }
        }
    }
}

/// Brings `row` to mean 0 and variance 1; returns the inverse deviation.
#[inline(always)]
fn normalise(row: &mut [f32]) -> f32 {
    let count = row.len() as f32;
    let mean = simd::sum(row) / count;
    for value in row.iter_mut() {
        *value -= mean;
    }
    let inverse = 1.0 / (simd::dot(row, row) / count + EPSILON).sqrt();
    for value in row.iter_mut() {
        *value *= inverse;
    }
    inverse
}

/// Gradients of x, branch, weight and bias.
fn gradients(gradient: &FlexTensor, saved: &Saved) -> [FlexTensor; 4] {
    let [rows, width] = dims(gradient);
    let block = ROWS_PER_TASK * width;
    let gain = values(&saved.weight);
    let mut to_x = vec![0.0; rows * width];
    let mut to_branch = vec![0.0; if saved.dropout.is_some() { rows * width } else { 0 }];
    let partial: Vec<[Vec<f32>; 2]> = to_x
        .par_chunks_mut(block)
        .zip(values(gradient).par_chunks(block))
        .zip(values(&saved.normalised).par_chunks(block))
        .zip(saved.inverse_deviations.par_chunks(ROWS_PER_TASK))
        .map(|(((to_x, gradient), normalised), inverse)| {
            simd::vectorised(|| row_gradients(to_x, [gradient, normalised, gain], inverse))
        })
        .collect();
    if let Some(dropout) = saved.dropout {
        let blocks = to_branch.par_chunks_mut(block).zip(to_x.par_chunks(block)).enumerate();
        blocks.for_each(|(task, (to_branch, to_x))| {
            simd::vectorised(|| {
                let mut index = (task * block) as u32;
                for (slot, value) in to_branch.iter_mut().zip(to_x) {
                    *slot = value * dropout.factor(index);
                    index = index.wrapping_add(1);
                }
            });
        });
    }
    let to_x = tensor([rows, width], to_x);
    let to_branch =
        if saved.dropout.is_some() { tensor([rows, width], to_branch) } else { to_x.clone() };
    let [to_weight, to_bias] = [0, 1].map(|which| {
        let parts: Vec<f32> = partial.iter().flat_map(|part| part[which].iter().copied()).collect();
        tensor([width], simd::column_sums(&parts, width))
    });
    [to_x, to_branch, to_weight, to_bias]
}

/// Writes the rows' gradients and returns what they add to weight and bias.
#[inline(always)]
fn row_gradients(to_x: &mut [f32], rows: [&[f32]; 3], inverse: &[f32]) -> [Vec<f32>; 2] {
    let [gradient, normalised, gain] = rows;
    let width = gain.len();
    let (mut to_weight, mut to_bias) = (vec![0.0; width], vec![0.0; width]);
    let rows = gradient.chunks_exact(width).zip(normalised.chunks_exact(width));
    for ((slots, (gradient, row)), inverse) in to_x.chunks_exact_mut(width).zip(rows).zip(inverse) {
        for ((weight, g), v) in to_weight.iter_mut().zip(gradient).zip(row) {
            *weight += g * v;
        }
        for (bias, g) in to_bias.iter_mut().zip(gradient) {
            *bias += g;
        }
        for ((slot, g), gain) in slots.iter_mut().zip(gradient).zip(gain) {
            *slot = g * gain;
        }
        let mean = simd::sum(slots) / width as f32;
        let projection = simd::dot(slots, row) / width as f32;
        for (slot, v) in slots.iter_mut().zip(row) {
            *slot = inverse * (*slot - mean - v * projection);
        }
    }
    [to_weight, to_bias]
}

#[derive(Debug)]
struct AddNormBackward;

impl Backward<Flex, 4> for AddNormBackward {
    type State = Saved;

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let found = gradients(&gradient, &ops.state);
        for (parent, value) in ops.parents.into_iter().zip(found) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, value);
            }
        }
    }
}

pub fn tracked<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    branch: FloatTensor<Autodiff<Flex, C>>,
    affine: [FloatTensor<Autodiff<Flex, C>>; 2],
    dropout: Option<Dropout>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let ((x, x_node), (branch, branch_node)) = (x.into_parts(), branch.into_parts());
    let [(weight, weight_node), (bias, bias_node)] = affine.map(|tensor| tensor.into_parts());
    let (output, saved) = forward(&x, &branch, &weight, &bias, dropout);
    let nodes = [x_node, branch_node, weight_node, bias_node];
    match AddNormBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(saved, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
