//! Dropout of max(x, 0), in place where nobody else holds x.

use super::{Dropout, dims, simd, tensor, values};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn_flex::FlexTensor;
use rayon::prelude::*;

const VALUES_PER_TASK: usize = 1 << 16;

pub fn forward(x: FlexTensor, dropout: Option<Dropout>) -> FlexTensor {
    // `to_contiguous` hands out a second handle; dropping the first keeps the buffer ours alone.
    let mut y = x.to_contiguous();
    drop(x);
    let tasks = y.storage_mut::<f32>().par_chunks_mut(VALUES_PER_TASK).enumerate();
    tasks.for_each(|(task, chunk)| {
        let first = (task * VALUES_PER_TASK) as u32;
        simd::vectorised(|| match dropout {
            None => {
                for value in chunk {
                    *value = if *value > 0.0 { *value } else { 0.0 };
                }
            }
            Some(dropout) => {
                let mut index = first;
                for value in chunk {
                    let kept = dropout.factor(index) * *value;
                    *value = if kept > 0.0 { kept } else { 0.0 };
                    index = index.wrapping_add(1);
                }
            }
        });
    });
    y
}

#[derive(Debug)]
struct ReluDropoutBackward;

impl Backward<Flex, 1> for ReluDropoutBackward {
    /// The output, which is positive exactly where the gradient passes, and the factor there.
    type State = (FlexTensor, f32);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (output, factor) = ops.state;
        let [parent] = ops.parents;
        let Some(node) = parent else { return };
        let (incoming, output_values) = (values(&gradient), values(&output));
        let mut passed = vec![0.0; incoming.len()];
        passed
            .par_chunks_mut(VALUES_PER_TASK)
            .zip(incoming.par_chunks(VALUES_PER_TASK))
            .zip(output_values.par_chunks(VALUES_PER_TASK))
            .for_each(|((passed, incoming), output)| {
                simd::vectorised(|| {
                    for ((slot, gradient), y) in passed.iter_mut().zip(incoming).zip(output) {
                        *slot = if *y > 0.0 { gradient * factor } else { 0.0 };
                    }
                });
            });
        grads.register::<Flex>(node.id, tensor(dims(&gradient), passed));
    }
}

pub fn tracked<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    dropout: Option<Dropout>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let (x, node) = x.into_parts();
    let output = forward(x, dropout);
    match ReluDropoutBackward.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            prep.finish((output.clone(), dropout.map_or(1.0, Dropout::scale)), output)
        }
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
