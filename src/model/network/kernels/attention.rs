//! Scaled, masked attention of all heads (specification 3.2), one picture after the other, so that
//! a picture's L·L tables stay in the cache.

use super::{Dropout, simd, tensor, values};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::Shape;
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// Sizes, mask and dropout of one attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionPlan {
    /// Pictures B.
    pub batch: usize,
    /// Token grid side G; L = G·G tokens a picture.
    pub grid: usize,
    /// Heads, side by side in the D columns.
    pub heads: usize,
    /// Half side of the neighbourhood a query may not attend to; none: everything is seen.
    pub hidden_reach: Option<usize>,
    /// Dropout of the attention weights.
    pub dropout: Option<Dropout>,
}

impl AttentionPlan {
    const fn tokens(&self) -> usize {
        self.grid * self.grid
    }
}

/// Output [B·L, D] and, per picture, the attention weights [heads, L, L] before dropout.
pub fn forward(
    query: &FlexTensor,
    key: &FlexTensor,
    value: &FlexTensor,
    plan: AttentionPlan,
) -> (FlexTensor, Vec<FlexTensor>) {
    let (query, key, value) = (query.to_contiguous(), key.to_contiguous(), value.to_contiguous());
    let (tokens, width) = (plan.tokens(), super::dims(&query)[1]);
    let mut output = vec![0.0; plan.batch * tokens * width];
    let weights = output
        .par_chunks_mut(tokens * width)
        .enumerate()
        .map(|(picture, output)| {
            let [query, key, value] =
                [&query, &key, &value].map(|tensor| split_heads(tensor, picture, plan));
            let mut weights = Flex::float_matmul(query, key.transpose(1, 2));
            let scale = 1.0 / ((width / plan.heads) as f32).sqrt();
            simd::vectorised(Softmax { table: weights.storage_mut(), plan, scale });
            let kept = drop_weights(&weights, picture, plan);
            merge_heads(&Flex::float_matmul(kept, value), plan, output);
            weights
        })
        .collect();
    (tensor([plan.batch * tokens, width], output), weights)
}

/// A picture's rows of `tensor` [B·L, D] as [heads, L, D/heads], without a copy.
fn split_heads(tensor: &FlexTensor, picture: usize, plan: AttentionPlan) -> FlexTensor {
    let (tokens, width) = (plan.tokens(), super::dims(tensor)[1]);
    let shape = Shape::from([tokens, plan.heads, width / plan.heads]);
    tensor.narrow(0, picture * tokens, tokens).reshape(shape).permute(&[1, 0, 2])
}

/// Writes [heads, L, D/heads] as [L, D].
fn merge_heads(heads: &FlexTensor, plan: AttentionPlan, output: &mut [f32]) {
    let (tokens, width) = (plan.tokens(), output.len() / plan.tokens());
    let slice = width / plan.heads;
    for (head, rows) in values(heads).chunks_exact(tokens * slice).enumerate() {
        for (row, target) in rows.chunks_exact(slice).zip(output.chunks_exact_mut(width)) {
            target[head * slice..(head + 1) * slice].copy_from_slice(row);
        }
    }
}

/// Softmax of every row of logits [heads, L, L], hidden neighbours at weight 0.
struct Softmax<'a> {
    table: &'a mut [f32],
    plan: AttentionPlan,
    scale: f32,
}

impl pulp::WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let (plan, scale) = (self.plan, self.scale);
        for (row_index, row) in self.table.chunks_exact_mut(plan.tokens()).enumerate() {
            let query = row_index % plan.tokens();
            fill_hidden(row, query, plan, f32::NEG_INFINITY);
            let largest = simd::maximum(row);
            for weight in row.iter_mut() {
                *weight = simd::exponential((*weight - largest) * scale);
            }
            fill_hidden(row, query, plan, 0.0);
            let inverse = 1.0 / simd::sum(row);
            for weight in row.iter_mut() {
                *weight *= inverse;
            }
        }
    }
}

/// Writes `filler` at the keys that lie in the neighbourhood of `query`.
#[inline(always)]
fn fill_hidden(row: &mut [f32], query: usize, plan: AttentionPlan, filler: f32) {
    let Some(reach) = plan.hidden_reach else { return };
    let (line, column) = (query / plan.grid, query % plan.grid);
    let last = plan.grid - 1;
    let columns = column.saturating_sub(reach)..=(column + reach).min(last);
    for hidden_line in line.saturating_sub(reach)..=(line + reach).min(last) {
        let start = hidden_line * plan.grid;
        row[start + columns.start()..=start + columns.end()].fill(filler);
    }
}

/// The weights of a picture after dropout.
fn drop_weights(weights: &FlexTensor, picture: usize, plan: AttentionPlan) -> FlexTensor {
    let Some(dropout) = plan.dropout else { return weights.clone() };
    let weights = values(weights);
    let mut kept = vec![0.0; weights.len()];
    simd::vectorised(|| {
        let mut index = first_index(picture, plan);
        for (slot, weight) in kept.iter_mut().zip(weights) {
            *slot = weight * dropout.factor(index);
            index = index.wrapping_add(1);
        }
    });
    tensor([plan.heads, plan.tokens(), plan.tokens()], kept)
}

/// Dropout index of a picture's first weight.
const fn first_index(picture: usize, plan: AttentionPlan) -> u32 {
    (picture * plan.heads * plan.tokens() * plan.tokens()) as u32
}

/// Turns the gradient of the kept weights into the gradient of the unscaled logits, in place.
struct SoftmaxGradient<'a> {
    gradient: &'a mut [f32],
    weights: &'a [f32],
    plan: AttentionPlan,
    first: u32,
    scale: f32,
}

impl pulp::WithSimd for SoftmaxGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let tokens = self.plan.tokens();
        let mut index = self.first;
        let rows = self.gradient.chunks_exact_mut(tokens).zip(self.weights.chunks_exact(tokens));
        for (gradient, weights) in rows {
            if let Some(dropout) = self.plan.dropout {
                for value in gradient.iter_mut() {
                    *value *= dropout.factor(index);
                    index = index.wrapping_add(1);
                }
            }
            let mean = simd::dot(gradient, weights);
            for (value, weight) in gradient.iter_mut().zip(weights) {
                *value = weight * (*value - mean) * self.scale;
            }
        }
    }
}

/// What the gradient needs.
#[derive(Clone, Debug)]
struct Saved {
    query: FlexTensor,
    key: FlexTensor,
    value: FlexTensor,
    weights: Vec<FlexTensor>,
    plan: AttentionPlan,
}

/// Gradients of query, key and value.
fn gradients(gradient: &FlexTensor, saved: &Saved) -> [FlexTensor; 3] {
    let plan = saved.plan;
    let [rows, width] = super::dims(gradient);
    let scale = 1.0 / ((width / plan.heads) as f32).sqrt();
    let picture_size = plan.tokens() * width;
    let mut outputs = [0; 3].map(|_| vec![0.0; rows * width]);
    let [to_query, to_key, to_value] = &mut outputs;
    to_query
        .par_chunks_mut(picture_size)
        .zip(to_key.par_chunks_mut(picture_size))
        .zip(to_value.par_chunks_mut(picture_size))
        .zip(&saved.weights)
        .enumerate()
        .for_each(|(picture, (((to_query, to_key), to_value), weights))| {
            let [query, key, value, incoming] = [&saved.query, &saved.key, &saved.value, gradient]
                .map(|tensor| split_heads(tensor, picture, plan));
            let kept = drop_weights(weights, picture, plan);
            let products = Flex::float_matmul(kept.transpose(1, 2), incoming.clone());
            merge_heads(&products, plan, to_value);
            drop(kept);
            let mut logits = Flex::float_matmul(incoming, value.transpose(1, 2));
            simd::vectorised(SoftmaxGradient {
                gradient: logits.storage_mut(),
                weights: values(weights),
                plan,
                first: first_index(picture, plan),
                scale,
            });
            merge_heads(&Flex::float_matmul(logits.clone(), key), plan, to_query);
            merge_heads(&Flex::float_matmul(logits.transpose(1, 2), query), plan, to_key);
        });
    outputs.map(|values| tensor([rows, width], values))
}

#[derive(Debug)]
struct AttentionBackward;

impl Backward<Flex, 3> for AttentionBackward {
    type State = Saved;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
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
    query: FloatTensor<Autodiff<Flex, C>>,
    key: FloatTensor<Autodiff<Flex, C>>,
    value: FloatTensor<Autodiff<Flex, C>>,
    plan: AttentionPlan,
) -> FloatTensor<Autodiff<Flex, C>> {
    let ((query, query_node), (key, key_node)) = (query.into_parts(), key.into_parts());
    let (value, value_node) = value.into_parts();
    let (output, weights) = forward(&query, &key, &value, plan);
    let nodes = [query_node, key_node, value_node];
    match AttentionBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(Saved { query, key, value, weights, plan }, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
