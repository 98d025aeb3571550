//! ONNX Runtime on the processor. The only module that names the crate `ort`.

mod binding;
mod inspector;
mod library;
mod prompt_encoder;

pub use inspector::Inspector;
pub use library::OnnxRuntime;
pub use prompt_encoder::{Encoding, PromptEncoder};

use super::EngineError;
use crate::part::{NamedTensors, Tensor};
use binding::BoundSession;
use std::path::Path;

/// Runs a graph once and returns all of its outputs, for checks of the graphs themselves.
/// `inputs` are those of the graph, by name and of its static shapes.
pub fn run_named(graph: &Path, inputs: &NamedTensors) -> Result<NamedTensors, EngineError> {
    let runtime = OnnxRuntime::open(None)?;
    let mut session = BoundSession::open(&runtime, graph, 1)?;
    let names: Vec<String> = session.inputs().map(|(name, _)| name.to_owned()).collect();
    for name in &names {
        let given = inputs.get(name).ok_or_else(|| {
            EngineError::Run(format!("{} takes `{name}`, which was not given", graph.display()))
        })?;
        session.set(name, given.shape(), given.values()).map_err(EngineError::Run)?;
    }
    if let Some(name) = inputs.keys().find(|name| !names.contains(name)) {
        return Err(EngineError::Run(format!("{} takes no `{name}`", graph.display())));
    }
    session.run()?;
    let outputs: Vec<(String, Vec<usize>)> =
        session.outputs().map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
    let mut results = NamedTensors::new();
    for (name, shape) in outputs {
        let tensor = Tensor::new(shape, session.output(&name)?.to_vec())
            .map_err(|error| EngineError::Run(error.to_string()))?;
        results.insert(name, tensor);
    }
    Ok(results)
}
