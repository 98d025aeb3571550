//! x·Wᵀ + b.

use super::{dims, simd, tensor, values};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn_flex::FlexTensor;
use rayon::prelude::*;

const ROWS_PER_TASK: usize = 128;

pub fn forward(x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor) -> FlexTensor {
    let mut y = Flex::float_matmul(x.clone(), weight.transpose(0, 1));
    let bias = bias.to_contiguous();
    let bias = values(&bias);
    y.storage_mut::<f32>().par_chunks_mut(ROWS_PER_TASK * bias.len()).for_each(|rows| {
        simd::vectorised(|| {
            for row in rows.chunks_exact_mut(bias.len()) {
                for (value, bias) in row.iter_mut().zip(bias) {
                    *value += bias;
                }
            }
        });
    });
    y
}

#[derive(Debug)]
struct LinearBackward;

impl Backward<Flex, 3> for LinearBackward {
    /// x and W.
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, weight) = ops.state;
        let [to_x, to_weight, to_bias] = ops.parents;
        if let Some(node) = to_bias {
            let columns = dims(&gradient)[1];
            let sums = simd::column_sums(values(&gradient), columns);
            grads.register::<Flex>(node.id, tensor([columns], sums));
        }
        if let Some(node) = to_weight {
            let product = Flex::float_matmul(gradient.transpose(0, 1), x);
            grads.register::<Flex>(node.id, product);
        }
        if let Some(node) = to_x {
            grads.register::<Flex>(node.id, Flex::float_matmul(gradient, weight));
        }
    }
}

pub fn tracked<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    weight: FloatTensor<Autodiff<Flex, C>>,
    bias: FloatTensor<Autodiff<Flex, C>>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
    let (bias, bias_node) = bias.into_parts();
    let output = forward(&x, &weight, &bias);
    let nodes = [x_node, weight_node, bias_node];
    match LinearBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((x, weight), output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
