//! EfficientNet up to the last tap (specification 2.2 to 2.4).

use super::weights::Weights;
use crate::bundle::efficientnet::{Activation, Block, EfficientNet, NORM_EPSILON};
use crate::bundle::onnx::{Convolution, GraphBuilder, Padding, Value};
use crate::bundle::{Backbone, BundleError};
use crate::part::NamedTensors;

const NONE: [usize; 2] = [0, 0];

/// The taps at strides 2, 4, 8, 16, named `tap0` to `tap3`.
pub(super) fn taps(
    graph: &mut GraphBuilder,
    tensors: &NamedTensors,
    backbone: Backbone,
    image: &Value,
) -> Result<Vec<Value>, BundleError> {
    let net = EfficientNet::new(backbone);
    let weights = Weights::new(tensors, "backbone.");
    let stem = weights.folded("_conv_stem.weight", "_bn0.", f64::from(NORM_EPSILON))?;
    let mut layers = Layers { graph, activation: net.activation };
    let mut x = layers.activated("stem", image, &stem, 2, net.stem_padding);
    let mut taps = Vec::with_capacity(net.taps.len());
    for (index, block) in net.used_blocks().iter().enumerate() {
        let tap = net.taps.iter().position(|&tap| tap == index);
        let name = tap.map_or_else(|| format!("block{index}"), |tap| format!("tap{tap}"));
        let weights = weights.under(&format!("_blocks.{index}."));
        x = layers.block(&weights, block, &name, &x)?;
        if tap.is_some() {
            taps.push(x.clone());
        }
    }
    Ok(taps)
}

struct Layers<'a> {
    graph: &'a mut GraphBuilder,
    activation: Activation,
}

impl Layers<'_> {
    /// Expand, depthwise, squeeze and excite, project, and the input added where the shape is kept.
    fn block(
        &mut self,
        weights: &Weights,
        block: &Block,
        name: &str,
        input: &Value,
    ) -> Result<Value, BundleError> {
        let epsilon = f64::from(NORM_EPSILON);
        let mut x = input.clone();
        if block.expands() {
            let expand = weights.folded("_expand_conv.weight", "_bn0.", epsilon)?;
            x = self.activated(&format!("{name}.expand"), &x, &expand, 1, NONE);
        }
        let depthwise = weights.folded("_depthwise_conv.weight", "_bn1.", epsilon)?;
        let (stride, padding) = (block.stride, block.padding);
        x = self.activated(&format!("{name}.depthwise"), &x, &depthwise, stride, padding);
        if block.squeezed.is_some() {
            x = self.excited(weights, &format!("{name}.excited"), &x)?;
        }
        let project = weights.folded("_project_conv.weight", "_bn2.", epsilon)?;
        if block.is_residual() {
            x = self.convolution(&format!("{name}.project"), &x, &project, 1, NONE);
            Ok(self.graph.binary("Add", name, &x, input))
        } else {
            Ok(self.convolution(name, &x, &project, 1, NONE))
        }
    }

    /// Squeeze and excitation (2.3).
    fn excited(&mut self, weights: &Weights, name: &str, x: &Value) -> Result<Value, BundleError> {
        let mean = self.graph.reduce("ReduceMean", &format!("{name}.mean"), x, &[2, 3], true);
        let reduce = weights.with_bias("_se_reduce")?;
        let squeezed = self.activated(&format!("{name}.reduce"), &mean, &reduce, 1, NONE);
        let expand = weights.with_bias("_se_expand")?;
        let logits = self.convolution(&format!("{name}.expand"), &squeezed, &expand, 1, NONE);
        let gate = self.graph.unary("Sigmoid", &format!("{name}.gate"), &logits);
        Ok(self.graph.binary("Mul", name, x, &gate))
    }

    fn activated(
        &mut self,
        name: &str,
        x: &Value,
        convolution: &Convolution,
        stride: usize,
        padding: [usize; 2],
    ) -> Value {
        let linear = self.convolution(&format!("{name}.linear"), x, convolution, stride, padding);
        match self.activation {
            Activation::Relu6 => self.graph.clip(name, &linear, 0.0, Some(6.0)),
            Activation::Swish => {
                let gate = self.graph.unary("Sigmoid", &format!("{name}.gate"), &linear);
                self.graph.binary("Mul", name, &linear, &gate)
            }
        }
    }

    fn convolution(
        &mut self,
        name: &str,
        x: &Value,
        convolution: &Convolution,
        stride: usize,
        [before, after]: [usize; 2],
    ) -> Value {
        self.graph.convolution(name, x, convolution, stride, Padding { before, after })
    }
}
