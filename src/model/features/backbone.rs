//! EfficientNet up to its last tap, frozen (specification 2.2 to 2.4).

use crate::bundle::Backbone;
use crate::bundle::efficientnet::{self, Activation, EfficientNet, NORM_EPSILON};
use crate::model::network::weights::{NetworkError, import};
use crate::part::NamedTensors;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, activation};

/// A convolution; a normalisation after it is folded in.
#[derive(Clone, Debug)]
struct Convolution {
    weight: Tensor<4>,
    bias: Tensor<1>,
    options: ConvOptions<2>,
}

impl Convolution {
    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(x, self.weight.clone(), Some(self.bias.clone()), self.options.clone())
    }
}

/// Weights under a common prefix.
struct Source<'a> {
    tensors: &'a NamedTensors,
    prefix: String,
}

impl Source<'_> {
    fn get<const D: usize>(&self, name: &str) -> Result<Tensor<D>, NetworkError> {
        let name = format!("{}{name}", self.prefix);
        let tensor = self.tensors.get(&name).ok_or(NetworkError::Missing(name.clone()))?;
        import(&name, tensor)
    }

    /// One number per output channel.
    fn per_channel(&self, name: &str, channels: usize) -> Result<Tensor<1>, NetworkError> {
        let values: Tensor<1> = self.get(name)?;
        if values.dims() == [channels] {
            return Ok(values);
        }
        let (name, found) = (format!("{}{name}", self.prefix), values.dims().to_vec());
        Err(NetworkError::Shape { name, expected: vec![channels], found })
    }

    /// A convolution without bias and the batch normalisation after it.
    fn folded(
        &self,
        [convolution, norm]: [&str; 2],
        options: ConvOptions<2>,
    ) -> Result<Convolution, NetworkError> {
        let weight: Tensor<4> = self.get(&format!("{convolution}.weight"))?;
        let [outputs, ..] = weight.dims();
        let statistic = |part: &str| self.per_channel(&format!("{norm}.{part}"), outputs);
        let factor = statistic("weight")? / (statistic("running_var")? + NORM_EPSILON).sqrt();
        let bias = statistic("bias")? - statistic("running_mean")? * factor.clone();
        let weight = weight * factor.reshape([outputs, 1, 1, 1]);
        Ok(Convolution { weight, bias, options })
    }

    /// A 1x1 convolution with its own bias.
    fn with_bias(&self, name: &str) -> Result<Convolution, NetworkError> {
        let weight: Tensor<4> = self.get(&format!("{name}.weight"))?;
        let bias = self.per_channel(&format!("{name}.bias"), weight.dims()[0])?;
        Ok(Convolution { weight, bias, options: pointwise() })
    }
}

fn pointwise() -> ConvOptions<2> {
    ConvOptions::new([1; 2], [0; 2], [1; 2], 1)
}

fn padded(stride: usize, [before, after]: [usize; 2], groups: usize) -> ConvOptions<2> {
    ConvOptions::new_with_padding([stride; 2], [(before, after); 2], [1; 2], groups)
}

#[derive(Clone, Debug)]
struct Block {
    expand: Option<Convolution>,
    depthwise: Convolution,
    /// Squeeze and excite.
    gate: Option<[Convolution; 2]>,
    project: Convolution,
    residual: bool,
}

impl Block {
    fn new(source: &Source, block: &efficientnet::Block) -> Result<Self, NetworkError> {
        let expand = if block.expands() {
            Some(source.folded(["_expand_conv", "_bn0"], pointwise())?)
        } else {
            None
        };
        let options = padded(block.stride, block.padding, block.middle);
        let gate = match block.squeezed {
            Some(_) => Some([source.with_bias("_se_reduce")?, source.with_bias("_se_expand")?]),
            None => None,
        };
        Ok(Self {
            expand,
            depthwise: source.folded(["_depthwise_conv", "_bn1"], options)?,
            gate,
            project: source.folded(["_project_conv", "_bn2"], pointwise())?,
            residual: block.is_residual(),
        })
    }

    fn apply(&self, x: Tensor<4>, activated: fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
        let mut y = x.clone();
        if let Some(expand) = &self.expand {
            y = activated(expand.apply(y));
        }
        y = activated(self.depthwise.apply(y));
        if let Some([reduce, expand]) = &self.gate {
            let mean = y.clone().mean_dim(2).mean_dim(3);
            y = y * activation::sigmoid(expand.apply(activated(reduce.apply(mean))));
        }
        y = self.project.apply(y);
        if self.residual { x + y } else { y }
    }
}

/// A backbone without its unused tail; never trained.
#[derive(Clone, Debug)]
pub struct FrozenBackbone {
    stem: Convolution,
    blocks: Vec<Block>,
    taps: [usize; 4],
    activated: fn(Tensor<4>) -> Tensor<4>,
}

impl FrozenBackbone {
    /// `backbone` with the weights `backbone.…` of `tensors`, named as in the published file.
    ///
    /// # Errors
    /// A weight that is missing or of another shape.
    pub fn new(backbone: Backbone, tensors: &NamedTensors) -> Result<Self, NetworkError> {
        let net = EfficientNet::new(backbone);
        let source = Source { tensors, prefix: "backbone.".into() };
        let stem = source.folded(["_conv_stem", "_bn0"], padded(2, net.stem_padding, 1))?;
        let mut blocks = Vec::new();
        for (index, block) in net.used_blocks().iter().enumerate() {
            let source = Source { tensors, prefix: format!("backbone._blocks.{index}.") };
            blocks.push(Block::new(&source, block)?);
        }
        let activated = match net.activation {
            Activation::Relu6 => activation::relu6,
            Activation::Swish => swish,
        };
        Ok(Self { stem, blocks, taps: net.taps, activated })
    }

    /// Normalised images [B, 3, S, S] → taps of strides 2, 4, 8, 16.
    pub fn taps(&self, images: Tensor<4>) -> [Tensor<4>; 4] {
        let mut x = (self.activated)(self.stem.apply(images));
        let mut first = 0;
        self.taps.map(|last| {
            for block in &self.blocks[first..=last] {
                x = block.apply(x.clone(), self.activated);
            }
            first = last + 1;
            x.clone()
        })
    }
}

/// x·sigmoid(x).
fn swish(x: Tensor<4>) -> Tensor<4> {
    x.clone() * activation::sigmoid(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::rule::{backbone_shapes, rule_tensor};
    use crate::model::network::weights::constant;

    #[test]
    fn every_backbone_gives_its_taps_at_their_strides() {
        for backbone in Backbone::ALL {
            let shapes = backbone_shapes(backbone).into_iter();
            let weights = shapes.map(|(name, shape)| (name.clone(), rule_tensor(&name, &shape)));
            let frozen = FrozenBackbone::new(backbone, &weights.collect()).unwrap();
            let taps = frozen.taps(constant([1, 3, 32, 32], vec![0.5; 3 * 32 * 32]));
            for ((tap, channels), stride) in
                taps.iter().zip(backbone.tap_channels()).zip([2, 4, 8, 16])
            {
                assert_eq!(tap.dims(), [1, channels, 32 / stride, 32 / stride], "{backbone:?}");
            }
        }
    }

    #[test]
    fn a_weight_of_another_backbone_is_named() {
        let shapes = backbone_shapes(Backbone::Lite0).into_iter();
        let weights: NamedTensors =
            shapes.map(|(name, shape)| (name.clone(), rule_tensor(&name, &shape))).collect();
        let said = FrozenBackbone::new(Backbone::B4, &weights).unwrap_err().to_string();
        assert!(said.contains("backbone._blocks.0._se_reduce.weight"), "{said}");
    }
}
