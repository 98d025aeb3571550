//! EfficientNet up to the last tap (specification 2.2, 2.4).

use super::weights::Weights;
use crate::bundle::onnx::{Convolution, GraphBuilder, Padding, Value};
use crate::bundle::{Backbone, BundleError};
use crate::part::NamedTensors;

const NORM_EPSILON: f64 = 1e-3;

/// What the weights do not tell of a backbone.
struct Plan {
    /// Side for which the static padding was fixed (2.2).
    native_side: usize,
    /// Stride of each block up to the last tap.
    strides: &'static [usize],
    /// Blocks whose output is a tap.
    taps: [usize; 4],
}

const fn plan(backbone: Backbone) -> Plan {
    match backbone {
        Backbone::Lite0 => Plan {
            native_side: 224,
            strides: &[1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1],
            taps: [0, 2, 4, 10],
        },
    }
}

/// The taps at strides 2, 4, 8, 16, named `tap0` to `tap3`.
pub(super) fn taps(
    graph: &mut GraphBuilder,
    tensors: &NamedTensors,
    backbone: Backbone,
    image: &Value,
) -> Result<Vec<Value>, BundleError> {
    let plan = plan(backbone);
    let weights = Weights::new(tensors, "backbone.");
    let mut native = plan.native_side;
    let stem = weights.folded("_conv_stem.weight", "_bn0.", NORM_EPSILON)?;
    let mut x = activated(graph, "stem", image, &stem, 2, &mut native);
    let mut taps = Vec::with_capacity(plan.taps.len());
    for (index, &stride) in plan.strides.iter().enumerate() {
        let tap = plan.taps.iter().position(|&block| block == index);
        let name = tap.map_or_else(|| format!("block{index}"), |tap| format!("tap{tap}"));
        let block = weights.under(&format!("_blocks.{index}."));
        x = inverted_bottleneck(graph, &block, &name, &x, stride, &mut native)?;
        if tap.is_some() {
            taps.push(x.clone());
        }
    }
    Ok(taps)
}

/// Expand, depthwise, project, and the input added where the shape is kept.
fn inverted_bottleneck(
    graph: &mut GraphBuilder,
    weights: &Weights,
    name: &str,
    input: &Value,
    stride: usize,
    native: &mut usize,
) -> Result<Value, BundleError> {
    let mut x = input.clone();
    if weights.has("_expand_conv.weight") {
        let expand = weights.folded("_expand_conv.weight", "_bn0.", NORM_EPSILON)?;
        x = activated(graph, &format!("{name}.expand"), &x, &expand, 1, native);
    }
    let depthwise = weights.folded("_depthwise_conv.weight", "_bn1.", NORM_EPSILON)?;
    x = activated(graph, &format!("{name}.depthwise"), &x, &depthwise, stride, native);
    let project = weights.folded("_project_conv.weight", "_bn2.", NORM_EPSILON)?;
    let none = Padding { before: 0, after: 0 };
    if stride == 1 && project.shape[0] == input.shape()[1] {
        x = graph.convolution(&format!("{name}.project"), &x, &project, 1, none);
        Ok(graph.binary("Add", name, &x, input))
    } else {
        Ok(graph.convolution(name, &x, &project, 1, none))
    }
}

/// Convolution with the padding of the native side, then ReLU6.
fn activated(
    graph: &mut GraphBuilder,
    name: &str,
    x: &Value,
    convolution: &Convolution,
    stride: usize,
    native: &mut usize,
) -> Value {
    let padding = static_padding(*native, convolution.shape[2], stride);
    *native = native.div_ceil(stride);
    let linear = graph.convolution(&format!("{name}.linear"), x, convolution, stride, padding);
    graph.clip(name, &linear, 0.0, Some(6.0))
}

/// Zero padding fixed by the native side, not by the actual input (2.2).
fn static_padding(native: usize, kernel: usize, stride: usize) -> Padding {
    let total = ((native.div_ceil(stride) - 1) * stride + kernel).saturating_sub(native);
    Padding { before: total / 2, after: total - total / 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_of_the_specifications_table() {
        let pair = |native, kernel, stride| {
            let padding = static_padding(native, kernel, stride);
            (padding.before, padding.after)
        };
        // Lite0, then B4 and Lite2, whose chains have odd sides.
        assert_eq!(
            [pair(224, 3, 2), pair(112, 3, 2), pair(56, 5, 2), pair(28, 3, 2)],
            [(0, 1), (0, 1), (1, 2), (0, 1)]
        );
        assert_eq!([pair(95, 5, 2), pair(33, 3, 2)], [(2, 2), (1, 1)]);
        assert_eq!([pair(14, 5, 1), pair(112, 3, 1), pair(56, 1, 1)], [(2, 2), (1, 1), (0, 0)]);
    }
}
