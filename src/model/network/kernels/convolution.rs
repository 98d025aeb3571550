//! 3x3 convolution with one pixel of zeros around, channels last, as products of matrices.

use super::{dims, simd, tensor, values};
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// Calls `visit` with the pixel, its neighbours' first column among the 9 taps, and the range of
/// picture pixels that these taps read: up to three side by side, one line at a time.
#[inline(always)]
fn neighbours(side: usize, mut visit: impl FnMut(usize, usize, std::ops::Range<usize>)) {
    for pixel in 0..side * side {
        let (y, x) = (pixel / side, pixel % side);
        let (first, last) = (x.saturating_sub(1), (x + 1).min(side - 1));
        for tap_line in 0..3 {
            let line = y + tap_line;
            if line >= 1 && line <= side {
                let start = (line - 1) * side;
                let tap = tap_line * 3 + (first + 1 - x);
                visit(pixel, tap, start + first..start + last + 1);
            }
        }
    }
}

/// A picture [side², I] as [side², 9·I], what each output pixel reads.
fn unfold(picture: &[f32], side: usize) -> FlexTensor {
    let channels = picture.len() / (side * side);
    let mut columns = vec![0.0; 9 * picture.len()];
    neighbours(side, |pixel, tap, range| {
        let source = &picture[range.start * channels..range.end * channels];
        let start = (pixel * 9 + tap) * channels;
        columns[start..start + source.len()].copy_from_slice(source);
    });
    tensor([side * side, 9 * channels], columns)
}

/// The reverse of `unfold`: adds up what every picture pixel was read for.
fn fold(columns: &[f32], side: usize, picture: &mut [f32]) {
    let channels = picture.len() / (side * side);
    neighbours(side, |pixel, tap, range| {
        let target = &mut picture[range.start * channels..range.end * channels];
        let start = (pixel * 9 + tap) * channels;
        for (slot, value) in target.iter_mut().zip(&columns[start..]) {
            *slot += value;
        }
    });
}

/// x [B·side², I], weight [O, 9·I] (taps by line, then column, then channel) → [B·side², O].
pub fn forward(x: &FlexTensor, weight: &FlexTensor, side: usize) -> FlexTensor {
    let (x, pixels) = (x.to_contiguous(), side * side);
    let [rows, channels] = dims(&x);
    let outputs = dims(weight)[0];
    let mut output = vec![0.0; rows * outputs];
    output.par_chunks_mut(pixels * outputs).zip(values(&x).par_chunks(pixels * channels)).for_each(
        |(output, picture)| {
            let product = Flex::float_matmul(unfold(picture, side), weight.transpose(0, 1));
            output.copy_from_slice(values(&product));
        },
    );
    tensor([rows, outputs], output)
}

#[derive(Debug)]
struct ConvolutionBackward;

impl Backward<Flex, 2> for ConvolutionBackward {
    /// x, weight and side.
    type State = (FlexTensor, FlexTensor, usize);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, weight, side) = ops.state;
        let (x, pixels) = (x.to_contiguous(), side * side);
        let ([rows, channels], [outputs, width]) = (dims(&x), dims(&weight));
        let [to_x, to_weight] = ops.parents;
        let mut x_gradient = vec![0.0; if to_x.is_some() { rows * channels } else { 0 }];
        if to_x.is_some() {
            x_gradient.par_chunks_mut(pixels * channels).enumerate().for_each(|(index, slots)| {
                let gradient = gradient.narrow(0, index * pixels, pixels);
                let columns = Flex::float_matmul(gradient, weight.clone());
                simd::vectorised(|| fold(values(&columns), side, slots));
            });
        }
        if let Some(node) = to_x {
            grads.register::<Flex>(node.id, tensor([rows, channels], x_gradient));
        }
        if let Some(node) = to_weight {
            let pictures = values(&x).par_chunks(pixels * channels).enumerate();
            let parts: Vec<FlexTensor> = pictures
                .map(|(index, picture)| {
                    let gradient = gradient.narrow(0, index * pixels, pixels);
                    Flex::float_matmul(gradient.transpose(0, 1), unfold(picture, side))
                })
                .collect();
            let parts: Vec<f32> = parts.iter().flat_map(values).copied().collect();
            let sums = simd::column_sums(&parts, outputs * width);
            grads.register::<Flex>(node.id, tensor([outputs, width], sums));
        }
    }
}

pub fn tracked<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    weight: FloatTensor<Autodiff<Flex, C>>,
    side: usize,
) -> FloatTensor<Autodiff<Flex, C>> {
    let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
    let output = forward(&x, &weight, side);
    match ConvolutionBackward.prepare::<C>([x_node, weight_node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((x, weight, side), output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
