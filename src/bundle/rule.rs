//! The rule of the golden files: weights and images from their names alone
//! (tests/golden/README.md, section 1).

use super::Backbone;
use crate::part::Tensor;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// FNV-1a of the key's UTF-8 bytes.
fn hash(key: &str) -> u64 {
    key.bytes().fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

/// The endless sequence of f in [-1, 1) of a key: splitmix64, top 24 bits.
fn uniform(key: &str) -> impl Iterator<Item = f32> + use<> {
    let mut state = hash(key);
    std::iter::repeat_with(move || {
        state = state.wrapping_add(GOLDEN_GAMMA);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // 24 bits: exact in f32.
        (z >> 40) as f32 / 8_388_608.0 - 1.0
    })
}

fn build(shape: &[usize], values: impl Iterator<Item = f32>) -> Tensor {
    let mut tensor = Tensor::zeros(shape);
    for (slot, value) in tensor.values_mut().iter_mut().zip(values) {
        *slot = value;
    }
    tensor
}

/// The weight of that name by the rule; `key` is the official one without `module.`.
pub fn rule_tensor(key: &str, shape: &[usize]) -> Tensor {
    if key.ends_with("num_batches_tracked") {
        return Tensor::zeros(shape);
    }
    let f = uniform(key);
    if key.ends_with("running_var") {
        return build(shape, f.map(|f| 1.0 + 0.5 * f));
    }
    if key.ends_with("running_mean") || key.ends_with("bias") {
        return build(shape, f.map(|f| 0.1 * f));
    }
    if key.contains("row_embed") || key.contains("col_embed") {
        return build(shape, f.map(|f| 0.5 * f));
    }
    if shape.len() == 1 {
        return build(shape, f.map(|f| 1.0 + 0.25 * f));
    }
    let scale = weight_scale(key, shape);
    build(shape, f.map(|f| scale * f))
}

fn weight_scale(key: &str, shape: &[usize]) -> f32 {
    let transposed = key.contains(".upconv") && key.ends_with(".3.weight");
    let fan_in: usize =
        if transposed { shape[0] } else { shape.iter().skip(1).product::<usize>().max(1) };
    let gain = match key {
        _ if !key.starts_with("backbone.") => 1.0,
        _ if key.contains("._se_") => 0.7,
        _ if key.contains("._project_conv.") => 0.8,
        _ => 1.7,
    };
    (gain * (3.0 / fan_in as f64).sqrt()) as f32
}

/// The image of that name by the rule, already normalised: [3, `side`, `side`]; `side` is a
/// multiple of 8. Names: `image` (target) and `prompt`.
pub fn rule_image(name: &str, side: usize) -> Tensor {
    let blocks = side / 8;
    let coarse: Vec<f32> =
        uniform(&format!("{name}.coarse")).take(3 * blocks * blocks).map(|f| 1.5 * f).collect();
    let fine = uniform(&format!("{name}.fine"));
    let values = fine.enumerate().map(|(index, f)| {
        let (channel, y, x) = (index / (side * side), index / side % side, index % side);
        coarse[(channel * blocks + y / 8) * blocks + x / 8] + 0.5 * f
    });
    build(&[3, side, side], values)
}

/// Names and shapes of the head's f32 tensors, in the official order (specification 7).
pub fn head_shapes(channels: usize, grid: usize) -> Vec<(String, Vec<usize>)> {
    let mut list = ShapeList::new("reconstruction.");
    list.add("pos_embed.row_embed.weight", &[grid, 128]);
    list.add("pos_embed.col_embed.weight", &[grid, 128]);
    for layer in 0..4 {
        let prefix = format!("transformer.encoder.layers.{layer}.");
        list.attention(&format!("{prefix}self_attn."));
        list.feed_forward(&format!("{prefix}linear"));
        list.norm(&format!("{prefix}norm1."));
        list.norm(&format!("{prefix}norm2."));
    }
    for layer in 0..4 {
        let prefix = format!("transformer.decoder.layers.{layer}.");
        list.attention(&format!("{prefix}cross_attn_prompt_to_image."));
        list.attention(&format!("{prefix}cross_attn_image_to_prompt."));
        list.feed_forward(&format!("{prefix}mlp.lin"));
        list.norm(&format!("{prefix}norm1."));
        list.norm(&format!("{prefix}norm2."));
        list.norm(&format!("{prefix}norm3."));
    }
    list.norm("transformer.decoder.norm.");
    list.attention("transformer.decoder.final_attn_token_to_image.");
    list.add("input_proj.weight", &[256, channels]);
    list.add("input_proj.bias", &[256]);
    list.add("output_proj.weight", &[channels, 256]);
    list.add("output_proj.bias", &[channels]);
    for (stage, inputs) in [(1, channels), (2, 128)] {
        let prefix = format!("seghead.upconv{stage}.");
        list.add(&format!("{prefix}0.weight"), &[128, inputs, 3, 3]);
        list.batch_norm(&format!("{prefix}1."), 128);
        list.add(&format!("{prefix}3.weight"), &[128, 128, 2, 2]);
        list.add(&format!("{prefix}3.bias"), &[128]);
    }
    list.add("seghead.predictor.weight", &[1, 128, 1, 1]);
    list.add("seghead.predictor.bias", &[1]);
    list.shapes
}

/// Names and shapes of the backbone's f32 tensors up to the last tap, in the official order
/// (specification 2.4).
pub fn backbone_shapes(backbone: Backbone) -> Vec<(String, Vec<usize>)> {
    let mut list = ShapeList::new("backbone.");
    list.add("_conv_stem.weight", &[32, 3, 3, 3]);
    list.batch_norm("_bn0.", 32);
    let Backbone::Lite0 = backbone;
    // (input channels, output channels, kernel) per block; the first does not expand.
    let blocks = [
        (32, 16, 3),
        (16, 24, 3),
        (24, 24, 3),
        (24, 40, 5),
        (40, 40, 5),
        (40, 80, 3),
        (80, 80, 3),
        (80, 80, 3),
        (80, 112, 5),
        (112, 112, 5),
        (112, 112, 5),
    ];
    for (index, (inputs, outputs, kernel)) in blocks.into_iter().enumerate() {
        let prefix = format!("_blocks.{index}.");
        let mut middle = inputs;
        if index > 0 {
            middle = 6 * inputs;
            list.add(&format!("{prefix}_expand_conv.weight"), &[middle, inputs, 1, 1]);
            list.batch_norm(&format!("{prefix}_bn0."), middle);
        }
        list.add(&format!("{prefix}_depthwise_conv.weight"), &[middle, 1, kernel, kernel]);
        list.batch_norm(&format!("{prefix}_bn1."), middle);
        list.add(&format!("{prefix}_project_conv.weight"), &[outputs, middle, 1, 1]);
        list.batch_norm(&format!("{prefix}_bn2."), outputs);
    }
    list.shapes
}

/// Collects names and shapes under one prefix.
struct ShapeList {
    prefix: &'static str,
    shapes: Vec<(String, Vec<usize>)>,
}

impl ShapeList {
    const fn new(prefix: &'static str) -> Self {
        Self { prefix, shapes: Vec::new() }
    }

    fn add(&mut self, name: &str, shape: &[usize]) {
        self.shapes.push((format!("{}{name}", self.prefix), shape.to_vec()));
    }

    fn attention(&mut self, prefix: &str) {
        self.add(&format!("{prefix}in_proj_weight"), &[768, 256]);
        self.add(&format!("{prefix}in_proj_bias"), &[768]);
        self.add(&format!("{prefix}out_proj.weight"), &[256, 256]);
        self.add(&format!("{prefix}out_proj.bias"), &[256]);
    }

    fn feed_forward(&mut self, prefix: &str) {
        self.add(&format!("{prefix}1.weight"), &[1024, 256]);
        self.add(&format!("{prefix}1.bias"), &[1024]);
        self.add(&format!("{prefix}2.weight"), &[256, 1024]);
        self.add(&format!("{prefix}2.bias"), &[256]);
    }

    fn norm(&mut self, prefix: &str) {
        self.add(&format!("{prefix}weight"), &[256]);
        self.add(&format!("{prefix}bias"), &[256]);
    }

    fn batch_norm(&mut self, prefix: &str, channels: usize) {
        for name in ["weight", "bias", "running_mean", "running_var"] {
            self.add(&format!("{prefix}{name}"), &[channels]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_examples_of_the_golden_readme() {
        let key = "reconstruction.input_proj.weight";
        assert_eq!(hash(key), 0x04aa_d419_6fde_1063);
        assert_eq!(uniform(key).next().unwrap().to_bits(), 0xbee9_dbe8);
        let values = rule_tensor(key, &[256, 192]).into_values();
        assert_eq!(values[0].to_bits(), 0xbd69_dbe8);
        assert_eq!(values[12345], -0.011_847_973);

        let values = rule_tensor("backbone._bn0.running_var", &[32]).into_values();
        assert_eq!(values[5].to_bits(), 0x3f63_14b9);

        let values =
            rule_tensor("backbone._blocks.1._project_conv.weight", &[24, 96, 1, 1]).into_values();
        assert_eq!(values[7].to_bits(), 0xbdd2_6f08);

        let image = rule_image("image", 224);
        assert_eq!(image.shape(), [3, 224, 224]);
        assert_eq!(image.values()[(224 + 3) * 224 + 5].to_bits(), 0x3fd8_c724);
    }

    /// Elements that are trained, that is without running statistics.
    fn trained(shapes: &[(String, Vec<usize>)]) -> usize {
        let trained = shapes.iter().filter(|(name, _)| !name.contains("running_"));
        trained.map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    #[test]
    fn parameter_counts_of_the_specification() {
        assert_eq!(trained(&backbone_shapes(Backbone::Lite0)), 700_768);
        assert_eq!(trained(&head_shapes(192, 14)), 8_239_425);
        // 150 official keys of the head, two of them counters.
        assert_eq!(head_shapes(192, 14).len(), 148);
    }

    #[test]
    fn counters_are_zero() {
        assert_eq!(rule_tensor("backbone._bn0.num_batches_tracked", &[]).values(), [0.0]);
    }
}
