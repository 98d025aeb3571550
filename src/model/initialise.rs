//! The head's first weights (specification 4.6).

use super::random::stream;
use crate::part::{NamedTensors, Tensor};
use rand::Rng;

/// Weights of the given names and shapes, drawn from `seed`.
///
/// The packed attention projections start identical in all layers, as in the reference, whose
/// layers are copies.
pub fn initial_weights(shapes: &[(String, Vec<usize>)], seed: u64) -> NamedTensors {
    let weight = |(name, shape): &(String, Vec<usize>)| {
        let mut tensor = Tensor::zeros(shape.clone());
        fill(&mut tensor, name, seed);
        (name.clone(), tensor)
    };
    shapes.iter().map(weight).collect()
}

fn fill(tensor: &mut Tensor, name: &str, seed: u64) {
    if name.ends_with("bias") || name.ends_with("running_mean") {
        return;
    }
    if name.ends_with("running_var") || tensor.shape().len() == 1 {
        tensor.values_mut().fill(1.0);
        return;
    }
    let range = if name.contains("pos_embed") {
        0.0..1.0
    } else {
        let [outputs, inputs] = [tensor.shape()[0], tensor.shape()[1]];
        let taps: usize = tensor.shape()[2..].iter().product();
        let bound = (6.0 / ((outputs + inputs) * taps) as f64).sqrt() as f32;
        -bound..bound
    };
    let shared = name.ends_with("in_proj_weight").then(|| without_layer(name));
    let mut random = stream(seed, shared.as_deref().unwrap_or(name), 0);
    for value in tensor.values_mut() {
        *value = random.random_range(range.clone());
    }
}

/// `name` without the number of its layer.
fn without_layer(name: &str) -> String {
    name.split('.').filter(|part| part.parse::<usize>().is_err()).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::rule;

    #[test]
    fn bounds_and_constants_are_the_references() {
        let weights = initial_weights(&rule::head_shapes(192, 14), 5);
        let get = |name: &str| weights[&format!("reconstruction.{name}")].values().to_vec();
        let range = |values: &[f32]| {
            let low = values.iter().copied().fold(f32::INFINITY, f32::min);
            (low, values.iter().copied().fold(f32::NEG_INFINITY, f32::max))
        };
        let near = |values: &[f32], low: f32, high: f32| {
            let (found_low, found_high) = range(values);
            let slack = 0.01 * (high - low);
            (low..low + slack).contains(&found_low) && (high - slack..=high).contains(&found_high)
        };
        const LAYERS: &str = "transformer.encoder.layers";
        let packed = get(&format!("{LAYERS}.0.self_attn.in_proj_weight"));
        let bound = (6.0_f32 / 1024.0).sqrt();
        assert!(near(&packed, -bound, bound), "{:?}", range(&packed));
        assert_eq!(packed, get(&format!("{LAYERS}.3.self_attn.in_proj_weight")));
        assert_ne!(
            get(&format!("{LAYERS}.0.linear1.weight")),
            get(&format!("{LAYERS}.1.linear1.weight"))
        );
        let convolution = get("seghead.upconv1.0.weight");
        let bound = (6.0_f32 / (9.0 * (192.0 + 128.0))).sqrt();
        assert!(near(&convolution, -bound, bound), "{:?}", range(&convolution));
        assert!(near(&get("pos_embed.row_embed.weight"), 0.0, 1.0));
        assert_eq!(range(&get("seghead.upconv1.1.running_var")), (1.0, 1.0));
        assert_eq!(range(&get("transformer.decoder.norm.weight")), (1.0, 1.0));
        assert_eq!(range(&get(&format!("{LAYERS}.0.self_attn.in_proj_bias"))), (0.0, 0.0));
    }
}
