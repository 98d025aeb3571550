//! EfficientNet-Lite0 up to its last tap (specification 2.2, 2.4).

use crate::model::network::weights::{NetworkError, constant, import};
use crate::part::NamedTensors;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, activation};

const EPSILON: f32 = 1e-3;
/// Side the static paddings follow from.
const NATIVE_SIDE: usize = 224;
/// Kernel and stride of the blocks used.
const BLOCKS: [(usize, usize); 11] =
    [(3, 1), (3, 2), (3, 1), (5, 2), (5, 1), (3, 2), (3, 1), (3, 1), (5, 1), (5, 1), (5, 1)];
/// Blocks whose outputs are taps.
const TAPS: [usize; 4] = [0, 2, 4, 10];

/// A convolution with its normalisation folded in.
#[derive(Clone, Debug)]
struct Convolution {
    weight: Tensor<4>,
    bias: Tensor<1>,
    options: ConvOptions<2>,
}

impl Convolution {
    /// `source` holds the convolution and its `norm` under `prefix`.
    fn new(
        source: &NamedTensors,
        [convolution, norm]: [&str; 2],
        options: ConvOptions<2>,
    ) -> Result<Self, NetworkError> {
        let get = |name: &str| source.get(name).ok_or(NetworkError::Missing(name.to_owned()));
        let name = format!("{convolution}.weight");
        let weight: Tensor<4> = import(&name, get(&name)?)?;
        let [outputs, ..] = weight.dims();
        let statistic = |part: &str| -> Result<Tensor<1>, NetworkError> {
            let name = format!("{norm}.{part}");
            let values = get(&name)?;
            if values.shape() != [outputs] {
                let (expected, found) = (vec![outputs], values.shape().to_vec());
                return Err(NetworkError::Shape { name, expected, found });
            }
            Ok(constant([outputs], values.values().to_vec()))
        };
        let factor = statistic("weight")? / (statistic("running_var")? + EPSILON).sqrt();
        let bias = statistic("bias")? - statistic("running_mean")? * factor.clone();
        Ok(Self { weight: weight * factor.reshape([outputs, 1, 1, 1]), bias, options })
    }

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(x, self.weight.clone(), Some(self.bias.clone()), self.options.clone())
    }
}

#[derive(Clone, Debug)]
struct Block {
    expand: Option<Convolution>,
    depthwise: Convolution,
    project: Convolution,
    residual: bool,
}

impl Block {
    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let mut y = x.clone();
        if let Some(expand) = &self.expand {
            y = activation::relu6(expand.apply(y));
        }
        y = self.project.apply(activation::relu6(self.depthwise.apply(y)));
        if self.residual { x + y } else { y }
    }
}

/// EfficientNet-Lite0, frozen.
#[derive(Clone, Debug)]
pub struct Lite0 {
    stem: Convolution,
    blocks: Vec<Block>,
}

/// Options of a depthwise or stem convolution with the static padding of native side `side`.
fn options(kernel: usize, stride: usize, side: usize, groups: usize) -> ConvOptions<2> {
    let covered = (side.div_ceil(stride) - 1) * stride + kernel;
    let total = covered.saturating_sub(side);
    let padding = (total / 2, total - total / 2);
    ConvOptions::new_with_padding([stride; 2], [padding; 2], [1; 2], groups)
}

impl Lite0 {
    /// The backbone of `source`, names `backbone.…` as in the published file.
    pub fn new(source: &NamedTensors) -> Result<Self, NetworkError> {
        let pointwise = || ConvOptions::new([1; 2], [0; 2], [1; 2], 1);
        let names = ["backbone._conv_stem", "backbone._bn0"];
        let stem = Convolution::new(source, names, options(3, 2, NATIVE_SIDE, 1))?;
        let mut side = NATIVE_SIDE / 2;
        let mut blocks = Vec::new();
        for (index, (kernel, stride)) in BLOCKS.into_iter().enumerate() {
            let name = |part: &str| format!("backbone._blocks.{index}.{part}");
            let get = |convolution: &str, norm: &str, options| {
                Convolution::new(source, [&name(convolution), &name(norm)], options)
            };
            let expand = match index {
                0 => None,
                _ => Some(get("_expand_conv", "_bn0", pointwise())?),
            };
            let middle = source.get(&name("_depthwise_conv.weight")).map_or(1, |w| w.shape()[0]);
            let depthwise = get("_depthwise_conv", "_bn1", options(kernel, stride, side, middle))?;
            let project = get("_project_conv", "_bn2", pointwise())?;
            let inputs = expand.as_ref().map_or(middle, |expand| expand.weight.dims()[1]);
            let residual = stride == 1 && inputs == project.weight.dims()[0];
            blocks.push(Block { expand, depthwise, project, residual });
            side = side.div_ceil(stride);
        }
        Ok(Self { stem, blocks })
    }

    /// Normalised images [B, 3, S, S] → taps of strides 2, 4, 8, 16.
    pub fn taps(&self, images: Tensor<4>) -> [Tensor<4>; 4] {
        let mut x = activation::relu6(self.stem.apply(images));
        TAPS.map(|last| {
            let first = TAPS.iter().filter(|tap| **tap < last).max().map_or(0, |tap| tap + 1);
            for block in &self.blocks[first..=last] {
                x = block.apply(x.clone());
            }
            x.clone()
        })
    }
}
