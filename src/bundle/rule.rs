//! The rule of the golden files: weights and images from their names alone
//! (tests/golden/README.md, section 1).

use super::Backbone;
use super::efficientnet::{Block, EfficientNet};
use crate::part::Tensor;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
/// What a batch normalisation calls the number of batches it has seen.
pub const COUNTER: &str = "num_batches_tracked";
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
    if key.ends_with(COUNTER) {
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
/// (specification 2.3, 2.4).
pub fn backbone_shapes(backbone: Backbone) -> Vec<(String, Vec<usize>)> {
    let net = EfficientNet::new(backbone);
    let mut list = ShapeList::new("backbone.");
    list.backbone(&net, net.used_blocks());
    list.shapes
}

/// Names and shapes of all tensors of a published backbone, in its order: also the blocks after the
/// last tap, the classifier and the counters, which nothing here uses.
pub fn published_backbone_shapes(backbone: Backbone) -> Vec<(String, Vec<usize>)> {
    let net = EfficientNet::new(backbone);
    let mut list = ShapeList::new("backbone.");
    list.counters = true;
    list.backbone(&net, &net.blocks);
    let last = net.blocks.last().map_or(0, |block| block.outputs);
    list.add("_conv_head.weight", &[net.head_channels, last, 1, 1]);
    list.batch_norm("_bn1.", net.head_channels);
    list.add("_fc.weight", &[1000, net.head_channels]);
    list.add("_fc.bias", &[1000]);
    list.shapes
}

/// Names and shapes of all 856 tensors of an official checkpoint without `module.`, in its order
/// (specification 7); those of another backbone for another backbone.
pub fn official_shapes(backbone: Backbone, grid: usize) -> Vec<(String, Vec<usize>)> {
    let channels: usize = backbone.tap_channels().iter().sum();
    let mut shapes = published_backbone_shapes(backbone);
    for (name, shape) in head_shapes(channels, grid) {
        let counter = name.strip_suffix("running_var").map(|norm| format!("{norm}{COUNTER}"));
        shapes.push((name, shape));
        shapes.extend(counter.map(|counter| (counter, Vec::new())));
    }
    shapes
}

/// Collects names and shapes under one prefix.
struct ShapeList {
    prefix: &'static str,
    /// Whether batch normalisations count their batches.
    counters: bool,
    shapes: Vec<(String, Vec<usize>)>,
}

impl ShapeList {
    const fn new(prefix: &'static str) -> Self {
        Self { prefix, counters: false, shapes: Vec::new() }
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
        if self.counters {
            self.add(&format!("{prefix}{COUNTER}"), &[]);
        }
    }

    fn backbone(&mut self, net: &EfficientNet, blocks: &[Block]) {
        self.add("_conv_stem.weight", &[net.stem_channels, 3, 3, 3]);
        self.batch_norm("_bn0.", net.stem_channels);
        for (index, block) in blocks.iter().enumerate() {
            let Block { kernel, inputs, middle, outputs, .. } = *block;
            let prefix = format!("_blocks.{index}.");
            if block.expands() {
                self.add(&format!("{prefix}_expand_conv.weight"), &[middle, inputs, 1, 1]);
                self.batch_norm(&format!("{prefix}_bn0."), middle);
            }
            self.add(&format!("{prefix}_depthwise_conv.weight"), &[middle, 1, kernel, kernel]);
            self.batch_norm(&format!("{prefix}_bn1."), middle);
            if let Some(squeezed) = block.squeezed {
                self.add(&format!("{prefix}_se_reduce.weight"), &[squeezed, middle, 1, 1]);
                self.add(&format!("{prefix}_se_reduce.bias"), &[squeezed]);
                self.add(&format!("{prefix}_se_expand.weight"), &[middle, squeezed, 1, 1]);
                self.add(&format!("{prefix}_se_expand.bias"), &[middle]);
            }
            self.add(&format!("{prefix}_project_conv.weight"), &[outputs, middle, 1, 1]);
            self.batch_norm(&format!("{prefix}_bn2."), outputs);
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
        let counts = [
            (Backbone::Lite0, 700_768, 4_652_008, 8_239_425),
            (Backbone::Lite1, 989_280, 5_416_680, 8_239_425),
            (Backbone::Lite2, 1_161_584, 6_092_072, 8_266_065),
            (Backbone::B4, 3_635_984, 19_341_616, 8_372_625),
        ];
        for (backbone, used, whole, head) in counts {
            assert_eq!(trained(&backbone_shapes(backbone)), used, "{backbone:?}");
            let published: Vec<_> = published_backbone_shapes(backbone)
                .into_iter()
                .filter(|(name, _)| !name.ends_with(COUNTER))
                .collect();
            assert_eq!(trained(&published), whole, "{backbone:?}");
            let channels = backbone.tap_channels().iter().sum();
            assert_eq!(trained(&head_shapes(channels, 14)), head, "{backbone:?}");
        }
        // 150 official keys of the head, two of them counters.
        assert_eq!(head_shapes(192, 14).len(), 148);
    }

    #[test]
    fn key_counts_of_the_specification() {
        let counts = [
            (Backbone::Lite0, 296),
            (Backbone::Lite1, 386),
            (Backbone::Lite2, 386),
            (Backbone::B4, 706),
        ];
        for (backbone, count) in counts {
            assert_eq!(published_backbone_shapes(backbone).len(), count, "{backbone:?}");
        }
    }

    #[test]
    fn the_official_layout_is_that_of_a_real_checkpoint() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden/official-layout-224.keys.json");
        let text = std::fs::read_to_string(path).unwrap();
        let real: Vec<(String, Vec<usize>, String)> = serde_json::from_str(&text).unwrap();
        let ours = official_shapes(Backbone::B4, 14);
        assert_eq!(ours.len(), real.len());
        for ((name, shape), (key, real_shape, _)) in ours.iter().zip(&real) {
            assert_eq!((format!("module.{name}"), shape), (key.clone(), real_shape));
        }
    }

    #[test]
    fn counters_are_zero() {
        assert_eq!(rule_tensor("backbone._bn0.num_batches_tracked", &[]).values(), [0.0]);
    }
}
