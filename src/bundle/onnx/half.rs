//! A graph with its heavy products in 16 bits, for engines that take the precision from the graph.
//!
//! Convolutions, projections and attention's products are FP16, and what only passes their
//! numbers on. All that the specification's 8.4 asks for stays FP32: normalisation, softmax,
//! residual streams, the reconstructed features and everything behind them, distances, resizing,
//! fusion, score. A tensor `x` in 16 bits is called `x.half`; the border stays FP32.

use super::messages::{GraphProto, ModelProto, NodeProto, TensorProto, element};
use super::{encode, integer};
use half::f16;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// Products whose result is subtracted, compared or shown: they stay FP32.
const KEPT: [&str; 3] = ["search.products", "anomaly.flat", "rec_tokens"];

/// What passes numbers on, bounded by them: FP16 where its inputs are.
const PASSING: [&str; 10] = [
    "Add",
    "Clip",
    "Relu",
    "Sigmoid",
    "Mul",
    "Reshape",
    "Transpose",
    "Split",
    "DepthToSpace",
    "Identity",
];

/// The file of this writer `bytes` with its heavy products in FP16; `None` for other files.
pub fn to_half(bytes: &[u8], metadata: &[(&str, &str)]) -> Option<Vec<u8>> {
    let model = ModelProto::decode(bytes).ok()?;
    let graph = GraphProto::decode(model.graph()).ok()?;
    Some(encode(&Converter::new(&graph).convert(graph), metadata))
}

struct Converter {
    /// FP32 constants by name; integers are not among them.
    constants: BTreeMap<String, TensorProto>,
    integers: BTreeSet<String>,
    /// Tensors that exist in FP16, by their FP32 name.
    half: BTreeSet<String>,
    /// Tensors somebody needs in FP32.
    single: BTreeSet<String>,
}

impl Converter {
    fn new(graph: &GraphProto) -> Self {
        let (floats, others): (Vec<_>, Vec<_>) =
            graph.initializer.iter().partition(|t| t.data_type() == element::FLOAT);
        let name = |tensor: &TensorProto| tensor.name().to_owned();
        Self {
            constants: floats.into_iter().map(|t| (name(t), t.clone())).collect(),
            integers: others.into_iter().map(name).collect(),
            half: BTreeSet::new(),
            single: graph.output.iter().map(|output| output.name().to_owned()).collect(),
        }
    }

    fn is_constant(&self, name: &str) -> bool {
        self.constants.contains_key(name) || self.integers.contains(name)
    }

    /// Whether a node works in FP16, given its inputs.
    fn is_half(&self, node: &NodeProto) -> bool {
        let operator = node.op_type();
        match operator {
            "Conv" => true,
            "Gemm" => !KEPT.contains(&node.name()),
            // With a constant it is a resize.
            "MatMul" => {
                let resizes = node.input.iter().any(|input| self.is_constant(input));
                !resizes && !KEPT.contains(&node.name())
            }
            _ if PASSING.contains(&operator) => {
                let mut numbers = node.input.iter().filter(|input| !self.is_constant(input));
                numbers.all(|input| self.half.contains(input))
            }
            _ => false,
        }
    }

    fn convert(mut self, mut graph: GraphProto) -> GraphProto {
        let halves: Vec<bool> = graph
            .node
            .iter()
            .map(|node| {
                let half = self.is_half(node);
                if half {
                    self.half.extend(node.output.iter().cloned());
                }
                half
            })
            .collect();
        let mut wanted_half = BTreeSet::new();
        for (node, half) in graph.node.iter().zip(&halves) {
            let inputs = node.input.iter().filter(|input| !self.integers.contains(*input));
            if *half { &mut wanted_half } else { &mut self.single }.extend(inputs.cloned());
        }
        let mut nodes = Vec::new();
        for input in &graph.input {
            if wanted_half.contains(input.name()) {
                nodes.push(cast(input.name(), element::FLOAT16));
            }
        }
        for (mut node, half) in std::mem::take(&mut graph.node).into_iter().zip(halves) {
            let outputs = node.output.clone();
            if half {
                let in_half = node.input.iter_mut().filter(|i| !self.integers.contains(*i));
                in_half.chain(&mut node.output).for_each(|name| *name = half_name(name));
            }
            nodes.push(node);
            for output in &outputs {
                if half && self.single.contains(output) {
                    nodes.push(cast(output, element::FLOAT));
                } else if !half && wanted_half.contains(output) {
                    nodes.push(cast(output, element::FLOAT16));
                }
            }
        }
        graph.node = nodes;
        graph.initializer.retain(|tensor| {
            self.integers.contains(tensor.name()) || self.single.contains(tensor.name())
        });
        let constants = self.constants.iter().filter(|(name, _)| wanted_half.contains(*name));
        graph.initializer.extend(constants.map(|(_, tensor)| half_constant(tensor)));
        graph
    }
}

fn half_name(name: &str) -> String {
    format!("{name}.half")
}

/// `name` to or from its FP16 twin.
fn cast(name: &str, to: i32) -> NodeProto {
    let (single, half) = (name.to_owned(), half_name(name));
    let (input, output) = if to == element::FLOAT { (half, single) } else { (single, half) };
    NodeProto {
        input: vec![input],
        name: Some(format!("{output}.cast")),
        output: vec![output],
        op_type: Some("Cast".to_owned()),
        attribute: vec![integer("to", i64::from(to))],
    }
}

/// Values beyond the range become its ends: a mask's "minus infinity" must stay finite.
fn half_constant(tensor: &TensorProto) -> TensorProto {
    let values = tensor.raw_data().chunks_exact(4);
    let limit = f16::MAX.to_f32();
    let half = values.flat_map(|b| {
        let value = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        f16::from_f32(value.clamp(-limit, limit)).to_le_bytes()
    });
    TensorProto {
        dims: tensor.dims.clone(),
        data_type: Some(element::FLOAT16),
        name: Some(half_name(tensor.name())),
        raw_data: Some(half.collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{GraphBuilder, check};
    use super::*;

    #[test]
    fn products_are_half_what_is_behind_them_follows_and_the_border_stays() {
        let mut graph = GraphBuilder::new("example");
        let x = graph.input("x", &[2, 3]);
        let weights = graph.constant("weights", &[3, 4], &[1e6; 12]);
        let bias = graph.constant("bias", &[4], &[0.5; 4]);
        let product = graph.gemm("product", &x, &weights, &bias);
        let shared = graph.constant("shared", &[1], &[0.25]);
        let followed = graph.binary("Mul", "followed", &product, &shared);
        let kept = graph.softmax("kept", &followed);
        let sum = graph.binary("Add", "sum", &kept, &shared);
        graph.output(&product);
        graph.output(&sum);
        let bytes = to_half(&graph.finish(&[]), &[("precision", "half")]).unwrap();
        assert!(check(&bytes, &[("precision", "half")]));
        let model = ModelProto::decode(&bytes[..]).unwrap();
        let graph = GraphProto::decode(model.graph()).unwrap();
        let nodes: Vec<String> = graph
            .node
            .iter()
            .map(|n| format!("{} {} > {}", n.op_type(), n.input.join(" "), n.output.join(" ")))
            .collect();
        let expected = [
            "Cast x > x.half",
            "Gemm x.half weights.half bias.half > product.half",
            "Cast product.half > product",
            "Mul product.half shared.half > followed.half",
            "Cast followed.half > followed",
            "Softmax followed > kept",
            "Add kept shared > sum",
        ];
        assert_eq!(nodes, expected);
        let mut constants: Vec<_> =
            graph.initializer.iter().map(|t| (t.name(), t.data_type())).collect();
        constants.sort_unstable();
        let half = element::FLOAT16;
        let expected = [
            ("bias.half", half),
            ("shared", element::FLOAT),
            ("shared.half", half),
            ("weights.half", half),
        ];
        assert_eq!(constants, expected);
        let weights = graph.initializer.iter().find(|t| t.name() == "weights.half").unwrap();
        assert_eq!(weights.raw_data()[..2], f16::MAX.to_le_bytes());
    }
}
