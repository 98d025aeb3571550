//! The head: encoder, bidirectional decoder, reconstruction, refiner (specification 3).

use super::attention::{
    Attention, Positions, Projection, WIDTH, add_norm, feed_forward, linear, neighbour_mask,
};
use super::neck;
use super::resampling::Matrix;
use super::weights::Weights;
use crate::bundle::onnx::{Convolution, GraphBuilder, Padding, Value};
use crate::bundle::{BundleError, Geometry};
use crate::part::NamedTensors;

const LAYERS: usize = 4;
const REFINER_WIDTH: usize = 128;
const REFINER_NORM_EPSILON: f64 = 1e-5;

/// The head's weights and what all of its attentions share.
pub(super) struct Head<'a> {
    weights: Weights<'a>,
    positions: Positions<'a>,
    mask: Value,
    geometry: Geometry,
}

/// What the network makes of a picture, both [1, 1, S, S].
pub(super) struct NetworkMaps {
    pub(super) reconstruction: Value,
    pub(super) refined: Value,
}

impl<'a> Head<'a> {
    pub(super) fn new(
        graph: &mut GraphBuilder,
        tensors: &'a NamedTensors,
        geometry: Geometry,
    ) -> Result<Self, BundleError> {
        let weights = Weights::new(tensors, "reconstruction.");
        let positions = Positions::new(&weights, geometry.grid)?;
        let mask = neighbour_mask(graph, geometry.grid);
        Ok(Self { weights, positions, mask, geometry })
    }

    fn attention(&self, weights: &Weights) -> Result<Attention, BundleError> {
        Attention::new(weights, &self.positions)
    }

    /// The positions [L, 256] as a tensor named `name`, for checks.
    pub(super) fn show_positions(&self, graph: &mut GraphBuilder, name: &str) {
        let shape = [self.geometry.tokens, WIDTH];
        let table = graph.constant(&format!("{name}.table"), &shape, &self.positions.table());
        graph.unary("Identity", name, &table);
    }

    /// Encoder memory [L, 256] of feature tokens [L, C], named `memory` (3.3).
    pub(super) fn encode(
        &self,
        graph: &mut GraphBuilder,
        features: &Value,
        stream: &str,
        memory: &str,
    ) -> Result<Value, BundleError> {
        let input = self.weights.under("input_proj.");
        let mut x = linear(graph, &input, &format!("input.{stream}"), features, WIDTH)?;
        for layer in 0..LAYERS {
            let weights = self.weights.under(&format!("transformer.encoder.layers.{layer}."));
            let name = match layer {
                last if last + 1 == LAYERS => memory.to_owned(),
                _ => format!("encoder{layer}.{stream}"),
            };
            let own = self.attention(&weights.under("self_attn."))?;
            let merged = Projection::merged(&[&own.query, &own.key, &own.value]);
            let parts = merged.heads(graph, &format!("{name}.merged"), &x);
            let update = own.attend(
                graph,
                &format!("{name}.attention"),
                [&parts[0], &parts[1], &parts[2]],
                Some(&self.mask),
            );
            let middle = format!("{name}.middle");
            let middle = add_norm(graph, &weights.under("norm1."), &middle, &x, &update)?;
            let update =
                feed_forward(graph, &weights.under("linear"), &format!("{name}.forward"), &middle)?;
            x = add_norm(graph, &weights.under("norm2."), &name, &middle, &update)?;
        }
        Ok(x)
    }

    /// Decoder output [L, 256] (3.4, 3.5): products of the same stream are merged (8.3).
    pub(super) fn decode(
        &self,
        graph: &mut GraphBuilder,
        prompt: &Value,
        target: &Value,
    ) -> Result<Value, BundleError> {
        let decoder = self.weights.under("transformer.decoder.");
        let last = self.attention(&decoder.under("final_attn_token_to_image."))?;
        let mut to_image = Vec::with_capacity(LAYERS);
        for layer in 0..LAYERS {
            let name = format!("layers.{layer}.cross_attn_prompt_to_image.");
            to_image.push(self.attention(&decoder.under(&name))?);
        }
        let (mut p, mut t) = (prompt.clone(), target.clone());
        let mut query = to_image[0].query.heads(graph, "decoder0.query", &p).remove(0);
        for layer in 0..LAYERS {
            let weights = decoder.under(&format!("layers.{layer}."));
            let name = format!("decoder{layer}");
            let own = &to_image[layer];
            let back = self.attention(&weights.under("cross_attn_image_to_prompt."))?;

            let merged = Projection::merged(&[&own.key, &own.value, &back.query]);
            let of_target = merged.heads(graph, &format!("{name}.of_target"), &t);
            let parts = [&query, &of_target[0], &of_target[1]];
            let update = own.attend(graph, &format!("{name}.to_image"), parts, Some(&self.mask));
            let middle = format!("{name}.middle");
            let middle = add_norm(graph, &weights.under("norm1."), &middle, &p, &update)?;
            let forward = format!("{name}.forward");
            let update = feed_forward(graph, &weights.under("mlp.lin"), &forward, &middle)?;
            let prompt_name = format!("{name}.prompt");
            p = add_norm(graph, &weights.under("norm2."), &prompt_name, &middle, &update)?;

            let next = to_image.get(layer + 1).unwrap_or(&last);
            let merged = Projection::merged(&[&back.key, &back.value, &next.query]);
            let mut of_prompt = merged.heads(graph, &format!("{name}.of_prompt"), &p);
            query = of_prompt.remove(2);
            let parts = [&of_target[2], &of_prompt[0], &of_prompt[1]];
            let update = back.attend(graph, &format!("{name}.to_prompt"), parts, Some(&self.mask));
            let target_name = format!("{name}.target");
            t = add_norm(graph, &weights.under("norm3."), &target_name, &t, &update)?;
        }
        let merged = Projection::merged(&[&last.key, &last.value]);
        let of_target = merged.heads(graph, "decoder.of_target", &t);
        let parts = [&query, &of_target[0], &of_target[1]];
        let update = last.attend(graph, "decoder.attention", parts, None);
        add_norm(graph, &decoder.under("norm."), "decoder", &p, &update)
    }

    /// Maps of the decoder's output against the features f [1, C, G, G] (3.5 to 3.7).
    pub(super) fn maps(
        &self,
        graph: &mut GraphBuilder,
        decoder: &Value,
        neck: &Value,
    ) -> Result<NetworkMaps, BundleError> {
        let Geometry { grid, side, channels, .. } = self.geometry;
        let output = self.weights.under("output_proj.");
        let tokens = linear(graph, &output, "rec_tokens", decoder, channels)?;
        let reconstruction = neck::maps(graph, "rec_feat", &tokens, grid);
        let difference = graph.binary("Sub", "difference", &reconstruction, neck);
        let distance = graph.reduce("ReduceL2", "rec_grid", &difference, &[1], true);
        let up = Matrix::bilinear(side, grid);
        let reconstruction = up.apply(graph, "reconstruction_map", &distance);
        let logits = self.refine(graph, &difference)?;
        let up = Matrix::bilinear(side, 4 * grid);
        let logits = up.apply(graph, "ref_logits", &logits);
        let refined = graph.unary("Sigmoid", "refined_map", &logits);
        Ok(NetworkMaps { reconstruction, refined })
    }

    /// Refiner of the difference, [1, C, G, G] to logits [1, 1, 4G, 4G] (3.6). The predictor is
    /// folded into the transposed convolution before it: nothing lies between them.
    fn refine(&self, graph: &mut GraphBuilder, difference: &Value) -> Result<Value, BundleError> {
        let weights = self.weights.under("seghead.");
        let one = Padding { before: 1, after: 1 };
        let none = Padding { before: 0, after: 0 };
        let mut x = graph.unary("Abs", "refiner.input", difference);
        let predictor = weights.under("predictor.");
        let own = (0..REFINER_WIDTH).map(|row| {
            let unit = (0..REFINER_WIDTH).map(move |column| f32::from(u8::from(row == column)));
            (unit.collect(), 0.0)
        });
        let folded = (predictor.values("weight")?.to_vec(), predictor.values("bias")?[0]);
        for (stage, mixer) in [(1, own.collect()), (2, vec![folded])] {
            let weights = weights.under(&format!("upconv{stage}."));
            let convolution = weights.folded("0.weight", "1.", REFINER_NORM_EPSILON)?;
            let name = format!("refiner{stage}");
            x = graph.convolution(&format!("{name}.linear"), &x, &convolution, 1, one);
            x = graph.unary("Relu", &format!("{name}.positive"), &x);
            let up = upsampling(&weights.under("3."), &mixer)?;
            x = graph.convolution(&format!("{name}.up"), &x, &up, 1, none);
            let name = if stage == 2 { "ref_logit_grid" } else { &name };
            x = graph.depth_to_space(name, &x, 2);
        }
        Ok(x)
    }
}

/// A transposed convolution 2x2 of stride 2, then a mixing of its outputs (one row of weights and
/// a bias per mixed output), as a 1x1 convolution to channels (y, x, mixed output).
fn upsampling(weights: &Weights, mixer: &[(Vec<f32>, f32)]) -> Result<Convolution, BundleError> {
    // [inputs, outputs, 2, 2]
    let kernel = weights.values("weight")?;
    let bias = weights.values("bias")?;
    let (inputs, outputs) = (REFINER_WIDTH, REFINER_WIDTH);
    let mut folded = Vec::with_capacity(4 * mixer.len() * inputs);
    let mut biases = Vec::with_capacity(4 * mixer.len());
    for position in 0..4 {
        for (mix, own) in mixer {
            let mixed = |value: &dyn Fn(usize) -> f32| -> f64 {
                let terms = mix.iter().enumerate().filter(|(_, factor)| **factor != 0.0);
                terms.map(|(output, &factor)| f64::from(factor) * f64::from(value(output))).sum()
            };
            for input in 0..inputs {
                let weight = mixed(&|output| kernel[(input * outputs + output) * 4 + position]);
                folded.push(weight as f32);
            }
            biases.push((mixed(&|output| bias[output]) + f64::from(*own)) as f32);
        }
    }
    Ok(Convolution { shape: [4 * mixer.len(), inputs, 1, 1], weights: folded, biases })
}
