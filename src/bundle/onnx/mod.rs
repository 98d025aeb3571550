//! A small writer of ONNX files: opset 17, IR version 8, static shapes, f32.
//!
//! The builder knows the shape of every tensor, so any of them can be made an output.

mod half;
mod messages;
mod operators;

pub use half::to_half;
use messages::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto,
    ValueInfoProto, attribute, element,
};
pub use operators::{Convolution, Padding};
use prost::Message;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Operators as of opset 17.
const OPSET_VERSION: i64 = 17;
/// Format of the file.
const IR_VERSION: i64 = 8;
/// Metadata key of the SHA-256 of the encoded graph.
const GRAPH_HASH_KEY: &str = "graph_sha256";

/// A tensor of the graph: its name and static shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    name: String,
    shape: Vec<usize>,
}

impl Value {
    /// Its static shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
}

/// Builds one graph, node by node in topological order. A node is named after its output.
pub struct GraphBuilder {
    graph: GraphProto,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        let graph = GraphProto { name: Some(name.to_owned()), ..GraphProto::default() };
        Self { graph, shapes: BTreeMap::new() }
    }

    /// Declares an f32 input.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Value {
        self.graph.input.push(value_info(name, shape));
        self.value(name, shape)
    }

    /// Adds an f32 constant; `values` are row-major and fill `shape`.
    pub fn constant(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name, shape, element::FLOAT, bytes)
    }

    /// Adds a one-dimensional integer constant (shapes, axes, sizes).
    fn integers(&mut self, name: &str, values: &[i64]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name, &[values.len()], element::INT64, bytes)
    }

    fn initializer(&mut self, name: &str, shape: &[usize], kind: i32, bytes: Vec<u8>) -> Value {
        self.graph.initializer.push(TensorProto {
            dims: signed(shape),
            data_type: Some(kind),
            name: Some(name.to_owned()),
            raw_data: Some(bytes),
        });
        self.value(name, shape)
    }

    fn value(&mut self, name: &str, shape: &[usize]) -> Value {
        self.shapes.insert(name.to_owned(), shape.to_vec());
        Value { name: name.to_owned(), shape: shape.to_vec() }
    }

    /// Adds a node with one output of the same name.
    fn node(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&Value],
        attributes: Vec<AttributeProto>,
        shape: &[usize],
    ) -> Value {
        self.push_node(operator, name, inputs, vec![name.to_owned()], attributes);
        self.value(name, shape)
    }

    fn push_node(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&Value],
        outputs: Vec<String>,
        attributes: Vec<AttributeProto>,
    ) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| input.name.clone()).collect(),
            output: outputs,
            name: Some(name.to_owned()),
            op_type: Some(operator.to_owned()),
            attribute: attributes,
        });
    }

    /// The tensor of that name, if some input, constant or node makes one.
    pub fn find(&self, name: &str) -> Option<Value> {
        let shape = self.shapes.get(name)?;
        Some(Value { name: name.to_owned(), shape: shape.clone() })
    }

    /// Makes a tensor an output, once.
    pub fn output(&mut self, value: &Value) {
        let known = self.graph.output.iter().any(|output| output.name() == value.name);
        if !known {
            self.graph.output.push(value_info(&value.name, &value.shape));
        }
    }

    /// The file's bytes, with `metadata` and the hash by which [`check`] knows it is whole.
    pub fn finish(self, metadata: &[(&str, &str)]) -> Vec<u8> {
        encode(&self.graph, metadata)
    }
}

fn encode(graph: &GraphProto, metadata: &[(&str, &str)]) -> Vec<u8> {
    let graph = graph.encode_to_vec();
    let hash = hexadecimal(&Sha256::digest(&graph));
    let entries = metadata.iter().copied().chain([(GRAPH_HASH_KEY, hash.as_str())]);
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(OPSET_VERSION),
        }],
        metadata_props: entries
            .map(|(key, value)| StringStringEntryProto {
                key: Some(key.to_owned()),
                value: Some(value.to_owned()),
            })
            .collect(),
    };
    model.encode_to_vec()
}

/// Whether `bytes` are a whole file of this writer that carries all of `metadata`.
pub fn check(bytes: &[u8], metadata: &[(&str, &str)]) -> bool {
    let Ok(model) = ModelProto::decode(bytes) else { return false };
    let carries = |key: &str, value: &str| {
        model.metadata_props.iter().any(|entry| entry.key() == key && entry.value() == value)
    };
    let hash = hexadecimal(&Sha256::digest(model.graph()));
    carries(GRAPH_HASH_KEY, &hash) && metadata.iter().all(|(key, value)| carries(key, value))
}

/// Lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn signed(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&size| size as i64).collect()
}

fn value_info(name: &str, shape: &[usize]) -> ValueInfoProto {
    let dimensions = shape.iter().map(|&size| DimensionProto { dim_value: Some(size as i64) });
    let tensor_type = TensorTypeProto {
        elem_type: Some(element::FLOAT),
        shape: Some(TensorShapeProto { dim: dimensions.collect() }),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { tensor_type: Some(tensor_type) }),
    }
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        i: Some(value),
        kind: Some(attribute::INT),
        ..AttributeProto::default()
    }
}

fn integer_list(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        ints: values.to_vec(),
        kind: Some(attribute::INTS),
        ..AttributeProto::default()
    }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        f: Some(value),
        kind: Some(attribute::FLOAT),
        ..AttributeProto::default()
    }
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        s: Some(value.as_bytes().to_vec()),
        kind: Some(attribute::STRING),
        ..AttributeProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<u8> {
        let mut graph = GraphBuilder::new("example");
        let x = graph.input("x", &[2, 3]);
        let bias = graph.constant("bias", &[3], &[1.0, 2.0, 3.0]);
        let y = graph.binary("Add", "y", &x, &bias);
        graph.output(&y);
        graph.output(&y);
        graph.finish(&[("bundle", "abc")])
    }

    #[test]
    fn a_file_of_ours_is_recognised_only_whole_and_with_its_metadata() {
        let bytes = example();
        assert!(check(&bytes, &[("bundle", "abc")]));
        assert!(!check(&bytes, &[("bundle", "abd")]));
        assert!(!check(&bytes, &[("writer", "1")]));
        assert!(!check(&bytes[..bytes.len() - 1], &[("bundle", "abc")]));
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            // Damage outside graph and metadata (producer, versions) is for the runtime to judge.
            if check(&damaged, &[("bundle", "abc")]) {
                let model = ModelProto::decode(&damaged[..]).unwrap();
                let whole = ModelProto::decode(&bytes[..]).unwrap();
                assert_eq!(model.graph, whole.graph);
            }
        }
    }

    #[test]
    fn an_output_is_listed_once_with_its_shape() {
        let model = ModelProto::decode(&example()[..]).unwrap();
        let graph = GraphProto::decode(model.graph()).unwrap();
        assert_eq!(graph.output, vec![value_info("y", &[2, 3])]);
        assert_eq!(graph.initializer[0].raw_data().len(), 12);
    }
}
