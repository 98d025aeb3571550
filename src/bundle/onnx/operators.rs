//! Operators of opset 17 with their static shapes. Inputs are assumed to fit: a graph that is
//! wrong does not load, and the tests load every graph.

use super::{GraphBuilder, Value, float, integer, integer_list, signed, text};

/// Padding of a convolution: rows before and after, the same for columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// Top and left.
    pub before: usize,
    /// Bottom and right.
    pub after: usize,
}

/// Weights of a convolution, batch normalisation folded in.
pub struct Convolution {
    /// Shape of the weights: [outputs, inputs per group, kernel, kernel].
    pub shape: [usize; 4],
    /// Weights.
    pub weights: Vec<f32>,
    /// One per output.
    pub biases: Vec<f32>,
}

impl GraphBuilder {
    /// An operator of one input that keeps the shape: Relu, Sigmoid, Abs, Sqrt.
    pub fn unary(&mut self, operator: &str, name: &str, x: &Value) -> Value {
        self.node(operator, name, &[x], vec![], &x.shape)
    }

    /// An operator of two inputs with broadcasting: Add, Sub, Mul, Div.
    pub fn binary(&mut self, operator: &str, name: &str, a: &Value, b: &Value) -> Value {
        let shape = broadcast(&a.shape, &b.shape);
        self.node(operator, name, &[a, b], vec![], &shape)
    }

    /// Values limited to `minimum` and, where given, `maximum`.
    pub fn clip(&mut self, name: &str, x: &Value, minimum: f32, maximum: Option<f32>) -> Value {
        let minimum = self.constant(&format!("{name}.minimum"), &[], &[minimum]);
        let maximum =
            maximum.map(|maximum| self.constant(&format!("{name}.maximum"), &[], &[maximum]));
        let inputs: Vec<&Value> = [x, &minimum].into_iter().chain(maximum.as_ref()).collect();
        self.node("Clip", name, &inputs, vec![], &x.shape)
    }

    /// Convolution of [1, inputs, H, W]; depthwise where a group has one input of several.
    pub fn convolution(
        &mut self,
        name: &str,
        x: &Value,
        convolution: &Convolution,
        stride: usize,
        padding: Padding,
    ) -> Value {
        let [outputs, inputs, kernel, _] = convolution.shape;
        let weights =
            self.constant(&format!("{name}.weight"), &convolution.shape, &convolution.weights);
        let biases = self.constant(&format!("{name}.bias"), &[outputs], &convolution.biases);
        let side = |size: usize| (size + padding.before + padding.after - kernel) / stride + 1;
        let (before, after) = (padding.before as i64, padding.after as i64);
        let attributes = vec![
            integer("group", (x.shape[1] / inputs) as i64),
            integer_list("kernel_shape", &[kernel as i64; 2]),
            integer_list("strides", &[stride as i64; 2]),
            integer_list("pads", &[before, before, after, after]),
        ];
        let shape = [1, outputs, side(x.shape[2]), side(x.shape[3])];
        self.node("Conv", name, &[x, &weights, &biases], attributes, &shape)
    }

    /// Channels to space: [1, b*b*C, H, W] to [1, C, b*H, b*W], channels in the order (y, x, c).
    pub fn depth_to_space(&mut self, name: &str, x: &Value, block: usize) -> Value {
        let attributes = vec![integer("blocksize", block as i64), text("mode", "DCR")];
        let [_, channels, height, width] = [0, 1, 2, 3].map(|axis| x.shape[axis]);
        let shape = [1, channels / (block * block), block * height, block * width];
        self.node("DepthToSpace", name, &[x], attributes, &shape)
    }

    /// Matrix product over the last two axes, broadcasting over the others.
    pub fn matmul(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        let (rows, columns) = (a.shape[a.shape.len() - 2], b.shape[b.shape.len() - 1]);
        let mut shape = broadcast(&a.shape[..a.shape.len() - 2], &b.shape[..b.shape.len() - 2]);
        shape.extend([rows, columns]);
        self.node("MatMul", name, &[a, b], vec![], &shape)
    }

    /// x [L, inputs] times `weights` [inputs, outputs] plus `bias`, [outputs] or [L, outputs].
    pub fn gemm(&mut self, name: &str, x: &Value, weights: &Value, bias: &Value) -> Value {
        let shape = [x.shape[0], weights.shape[1]];
        self.node("Gemm", name, &[x, weights, bias], vec![], &shape)
    }

    /// a [L, E] times the transpose of b [N, E].
    pub fn gemm_transposed(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        let shape = [a.shape[0], b.shape[0]];
        self.node("Gemm", name, &[a, b], vec![integer("transB", 1)], &shape)
    }

    /// The same values in another shape.
    pub fn reshape(&mut self, name: &str, x: &Value, shape: &[usize]) -> Value {
        let target = self.integers(&format!("{name}.shape"), &signed(shape));
        self.node("Reshape", name, &[x, &target], vec![], shape)
    }

    /// Axes in the order `order`.
    pub fn transpose(&mut self, name: &str, x: &Value, order: &[usize]) -> Value {
        let shape: Vec<usize> = order.iter().map(|&axis| x.shape[axis]).collect();
        self.node("Transpose", name, &[x], vec![integer_list("perm", &signed(order))], &shape)
    }

    /// Pieces of the first axis of the given sizes, named `NAME.0`, `NAME.1`, ...
    pub fn split(&mut self, name: &str, x: &Value, sizes: &[usize]) -> Vec<Value> {
        let split = self.integers(&format!("{name}.sizes"), &signed(sizes));
        let names: Vec<String> = (0..sizes.len()).map(|piece| format!("{name}.{piece}")).collect();
        self.push_node("Split", name, &[x, &split], names.clone(), vec![integer("axis", 0)]);
        let mut pieces = Vec::with_capacity(sizes.len());
        for (name, &size) in names.iter().zip(sizes) {
            let mut shape = x.shape.clone();
            shape[0] = size;
            pieces.push(self.value(name, &shape));
        }
        pieces
    }

    /// Joined along `axis`.
    pub fn concatenate(&mut self, name: &str, parts: &[&Value], axis: usize) -> Value {
        let mut shape = parts[0].shape.clone();
        shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
        self.node("Concat", name, parts, vec![integer("axis", axis as i64)], &shape)
    }

    /// Maximum or length (`ReduceMax`, `ReduceL2`) over `axes`, which disappear or become 1.
    pub fn reduce(
        &mut self,
        operator: &str,
        name: &str,
        x: &Value,
        axes: &[usize],
        keep_axes: bool,
    ) -> Value {
        let attributes =
            vec![integer_list("axes", &signed(axes)), integer("keepdims", i64::from(keep_axes))];
        let shape = reduced(&x.shape, axes, keep_axes);
        self.node(operator, name, &[x], attributes, &shape)
    }

    /// Sum over `axes`, which disappear. (Its axes are an input since opset 13.)
    pub fn reduce_sum(&mut self, name: &str, x: &Value, axes: &[usize]) -> Value {
        let input = self.integers(&format!("{name}.axes"), &signed(axes));
        let shape = reduced(&x.shape, axes, false);
        self.node("ReduceSum", name, &[x, &input], vec![integer("keepdims", 0)], &shape)
    }

    /// Softmax over the last axis.
    pub fn softmax(&mut self, name: &str, x: &Value) -> Value {
        self.node("Softmax", name, &[x], vec![integer("axis", -1)], &x.shape)
    }

    /// Layer normalisation over the last axis.
    pub fn layer_norm(
        &mut self,
        name: &str,
        x: &Value,
        weight: &Value,
        bias: &Value,
        epsilon: f32,
    ) -> Value {
        let attributes = vec![integer("axis", -1), float("epsilon", epsilon)];
        self.node("LayerNormalization", name, &[x, weight, bias], attributes, &x.shape)
    }
}

/// Common shape of two shapes, the shorter filled with ones on the left.
fn broadcast(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], axis: usize| {
        (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis])
    };
    (0..rank).map(|axis| size(a, axis).max(size(b, axis))).collect()
}

fn reduced(shape: &[usize], axes: &[usize], keep_axes: bool) -> Vec<usize> {
    let sizes = shape.iter().enumerate();
    let kept = sizes.filter_map(|(axis, &size)| match (axes.contains(&axis), keep_axes) {
        (false, _) => Some(size),
        (true, true) => Some(1),
        (true, false) => None,
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_fills_on_the_left() {
        assert_eq!(broadcast(&[8, 4, 4], &[4, 4]), [8, 4, 4]);
        assert_eq!(broadcast(&[3], &[2, 1, 3]), [2, 1, 3]);
        assert_eq!(broadcast(&[], &[2, 3]), [2, 3]);
    }

    #[test]
    fn reduced_axes_disappear_or_become_one() {
        assert_eq!(reduced(&[2, 3, 4], &[1], false), [2, 4]);
        assert_eq!(reduced(&[2, 3, 4], &[0, 2], true), [1, 3, 1]);
    }
}
