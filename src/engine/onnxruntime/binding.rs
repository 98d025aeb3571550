//! A session whose inputs and outputs are allocated and bound once.

use super::{EngineError, OnnxRuntime};
use ort::ep;
use ort::memory::Allocator;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{IoBinding, Session};
use ort::value::{Outlet, Tensor, TensorElementType, ValueType};
use std::path::Path;

struct BoundTensor {
    name: String,
    shape: Vec<usize>,
    tensor: Tensor<f32>,
}

/// A session with its tensors; a run only reads and writes what is bound.
pub(super) struct BoundSession {
    session: Session,
    binding: IoBinding,
    inputs: Vec<BoundTensor>,
    outputs: Vec<BoundTensor>,
}

impl BoundSession {
    /// Loads `graph` and binds a tensor of zeros to each of its inputs and outputs. `threads`
    /// counts the calling one.
    pub(super) fn open(
        runtime: &OnnxRuntime,
        graph: &Path,
        threads: usize,
    ) -> Result<Self, EngineError> {
        let wrong =
            |reason: String| EngineError::Graph { path: graph.display().to_string(), reason };
        if !graph.is_file() {
            return Err(wrong("is missing".to_owned()));
        }
        let session = load(runtime, graph, threads).map_err(wrong)?;
        let allocate = |outlets: &[Outlet]| {
            outlets.iter().map(allocate).collect::<Result<Vec<_>, String>>().map_err(wrong)
        };
        let inputs = allocate(session.inputs())?;
        let mut outputs = allocate(session.outputs())?;
        let wrong = |error: ort::Error| wrong(error.to_string());
        let mut binding = session.create_binding().map_err(wrong)?;
        for input in &inputs {
            binding.bind_input(input.name.as_str(), &input.tensor).map_err(wrong)?;
        }
        for output in &mut outputs {
            binding.bind_output(output.name.as_str(), &mut output.tensor).map_err(wrong)?;
        }
        Ok(Self { session, binding, inputs, outputs })
    }

    /// Names and shapes of the inputs.
    pub(super) fn inputs(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.inputs.iter().map(|input| (input.name.as_str(), input.shape.as_slice()))
    }

    /// Names and shapes of the outputs.
    pub(super) fn outputs(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.outputs.iter().map(|output| (output.name.as_str(), output.shape.as_slice()))
    }

    /// Copies `values` into an input.
    pub(super) fn set(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[f32],
    ) -> Result<(), String> {
        let input = self.inputs.iter_mut().find(|input| input.name == name);
        let input = input.ok_or_else(|| format!("the graph has no input `{name}`"))?;
        if input.shape != shape {
            return Err(format!("has shape {shape:?}, the graph takes {:?}", input.shape));
        }
        if !values.iter().all(|value| value.is_finite()) {
            return Err("holds a value that is not finite".to_owned());
        }
        input.tensor.extract_tensor_mut().1.copy_from_slice(values);
        Ok(())
    }

    /// The slot of an input, to be written in place.
    pub(super) fn input(&mut self, index: usize) -> &mut [f32] {
        self.inputs[index].tensor.extract_tensor_mut().1
    }

    /// Place of an input in the graph's order.
    pub(super) fn input_index(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|input| input.name == name)
    }

    /// Place of an output in the graph's order.
    pub(super) fn output_index(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|output| output.name == name)
    }

    /// Values of an output after the last run.
    pub(super) fn output_at(&self, index: usize) -> &[f32] {
        self.outputs[index].tensor.extract_tensor().1
    }

    /// Values of the output of that name after the last run.
    pub(super) fn output(&self, name: &str) -> Result<&[f32], EngineError> {
        let index = self.output_index(name);
        let index =
            index.ok_or_else(|| EngineError::Run(format!("the graph has no output `{name}`")))?;
        Ok(self.output_at(index))
    }

    /// One run on what is bound.
    pub(super) fn run(&mut self) -> Result<(), EngineError> {
        match self.session.run_binding(&self.binding) {
            Ok(outputs) => {
                // The outputs are the bound tensors themselves.
                drop(outputs);
                Ok(())
            }
            Err(error) => Err(EngineError::Run(error.to_string())),
        }
    }
}

/// A session on the processor that never spins: the box has other work while it waits.
fn load(runtime: &OnnxRuntime, graph: &Path, threads: usize) -> Result<Session, String> {
    // The builder's errors carry the builder, which cannot leave this thread.
    Session::builder(runtime.environment())
        .map_err(|error| error.to_string())?
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(|error| error.to_string())?
        .with_intra_threads(threads.max(1))
        .map_err(|error| error.to_string())?
        .with_inter_threads(1)
        .map_err(|error| error.to_string())?
        .with_memory_pattern(true)
        .map_err(|error| error.to_string())?
        .with_config_entry("session.intra_op.allow_spinning", "0")
        .map_err(|error| error.to_string())?
        .with_execution_providers([ep::CPU::default().with_arena_allocator(true).build()])
        .map_err(|error| error.to_string())?
        .commit_from_file(graph)
        .map_err(|error| error.to_string())
}

/// Zeros for an input or output, which must be f32 and static.
fn allocate(outlet: &Outlet) -> Result<BoundTensor, String> {
    let name = outlet.name().to_owned();
    let ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } = outlet.dtype() else {
        return Err(format!("`{name}` is no f32 tensor"));
    };
    let sizes = shape.iter().map(|&size| usize::try_from(size));
    let shape = sizes
        .collect::<Result<Vec<usize>, _>>()
        .map_err(|_| format!("`{name}` has no static shape"))?;
    let tensor = Tensor::new(&Allocator::default(), shape.as_slice())
        .map_err(|error| format!("`{name}` of shape {shape:?} cannot be allocated ({error})"))?;
    Ok(BoundTensor { name, shape, tensor })
}
