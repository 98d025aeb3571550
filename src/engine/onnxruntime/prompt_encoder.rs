//! The prompt encoder: a picture of a good part to what a product remembers of it.

use super::binding::BoundSession;
use super::{EngineError, OnnxRuntime};
use crate::bundle::Manifest;
use crate::part::Tensor;
use std::path::Path;

/// What the prompt encoder says of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoding {
    /// Encoder memory [L, 256] of the picture as prompt; absent without a network.
    pub prompt_memory: Option<Tensor>,
    /// Neck features f as tokens [L, C] (specification 2.5).
    pub features: Tensor,
}

/// `prompt_encoder.onnx` in ONNX Runtime.
pub struct PromptEncoder {
    session: BoundSession,
    image_shape: [usize; 4],
    memory_shape: Option<[usize; 2]>,
    feature_shape: [usize; 2],
}

impl PromptEncoder {
    /// Loads `graph` and checks it against `manifest`. `threads` counts the calling one.
    pub fn open(
        runtime: &OnnxRuntime,
        graph: &Path,
        manifest: &Manifest,
        threads: usize,
    ) -> Result<Self, EngineError> {
        let session = BoundSession::open(runtime, graph, threads)?;
        let geometry = manifest.geometry();
        let encoder = Self {
            session,
            image_shape: [1, 3, geometry.side, geometry.side],
            memory_shape: manifest.has_network().then_some([geometry.tokens, 256]),
            feature_shape: [geometry.tokens, geometry.channels],
        };
        encoder.check().map_err(|reason| EngineError::Graph {
            path: graph.display().to_string(),
            reason: format!("{reason}: it is not of this bundle"),
        })?;
        Ok(encoder)
    }

    fn check(&self) -> Result<(), String> {
        let inputs: Vec<_> = self.session.inputs().collect();
        if inputs != [("image", self.image_shape.as_slice())] {
            return Err(format!("its inputs are {inputs:?}"));
        }
        let memory = self.memory_shape.iter().map(|shape| ("prompt_memory", shape.as_slice()));
        let features = [("features", self.feature_shape.as_slice())];
        let expected: Vec<_> = memory.chain(features).collect();
        let outputs: Vec<_> = self.session.outputs().collect();
        if outputs == expected { Ok(()) } else { Err(format!("its outputs are {outputs:?}")) }
    }

    /// Encodes a preprocessed picture, [3, S, S] row-major.
    pub fn encode(&mut self, image: &[f32]) -> Result<Encoding, EngineError> {
        let expected: usize = self.image_shape.iter().product();
        if image.len() != expected {
            let found = image.len();
            let reason = format!("the picture has {found} values, the graph takes {expected}");
            return Err(EngineError::Run(reason));
        }
        self.session
            .set("image", &self.image_shape, image)
            .map_err(|reason| EngineError::Run(format!("the picture {reason}")))?;
        self.session.run()?;
        let prompt_memory =
            self.memory_shape.map(|shape| self.output("prompt_memory", shape)).transpose()?;
        let features = self.output("features", self.feature_shape)?;
        Ok(Encoding { prompt_memory, features })
    }

    fn output(&self, name: &str, shape: [usize; 2]) -> Result<Tensor, EngineError> {
        let values = self.session.output(name)?;
        if !values.iter().all(|value| value.is_finite()) {
            return Err(EngineError::Run(format!("`{name}` of the picture is not finite")));
        }
        Tensor::new(shape, values.to_vec()).map_err(|error| EngineError::Run(error.to_string()))
    }
}
