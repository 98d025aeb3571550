//! Engines: something that turns a preprocessed picture into maps and a score.
//!
//! An engine lends its input slot, takes product tensors by name, and knows neither camera nor line.

mod onnxruntime;
#[cfg(feature = "tensorrt")]
pub mod tensorrt;

pub use onnxruntime::{Encoding, Inspector, OnnxRuntime, PromptEncoder, run_named};

use crate::part::{Frame, NamedTensors, RegionOfInterest};
use thiserror::Error;

/// What an engine says of one picture. The slices live until the next run.
#[derive(Clone, Copy, Debug)]
pub struct Inspection<'a> {
    /// Image score: maximum of the 16x16 mean of `anomaly_map` (specification 5.3).
    pub score: f32,
    /// Fused map, S*S.
    pub anomaly_map: &'a [f32],
    /// Reconstruction distance map, S*S; zeros for a bundle without a network.
    pub reconstruction_map: &'a [f32],
    /// Refined map, S*S; zeros for a bundle without a network.
    pub refined_map: &'a [f32],
    /// Unscaled maxima of the network, search and cell maps.
    pub map_peaks: [f32; 3],
}

/// Inspector: one picture at a time, for the product last set.
pub trait Engine: Send {
    /// Input side S: the slot holds [3, S, S], normalised.
    fn side(&self) -> usize;

    /// Binds a product's tensors; no rebuild, no reload. On an error the engine has no product and
    /// `run` fails until one is set.
    fn set_product(&mut self, tensors: &NamedTensors) -> Result<(), EngineError>;

    /// The input slot, [3, S, S] row-major, to be written before `run`.
    fn input(&mut self) -> &mut [f32];

    /// Where frames go in as the camera gives them; `None`: only [`Self::input`] takes pictures.
    fn frames(&mut self) -> Option<&mut dyn FrameInput> {
        None
    }

    /// Inspects what lies in the slot.
    fn run(&mut self) -> Result<Inspection<'_>, EngineError>;
}

/// The slot of an engine that brings frames into it by itself: region, resize, normalisation.
pub trait FrameInput {
    /// Writes `frame`, or the part of it in `roi`, to the slot for the next run, in place of
    /// [`Engine::input`]. The frame may be dropped when this returns.
    ///
    /// # Errors
    /// A region outside the frame, or the engine fails; nothing lies in the slot then.
    fn fill(&mut self, frame: &Frame, roi: Option<RegionOfInterest>) -> Result<(), EngineError>;
}

/// Why an engine cannot be opened or cannot answer.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The runtime library is missing or too old.
    #[error(
        "ONNX Runtime library {path}: {reason}; `make setup` fetches it, or set engine.library"
    )]
    Library {
        /// Where it was looked for.
        path: String,
        /// What the loader said.
        reason: String,
    },
    /// The graph file is missing, corrupt or not as the manifest says.
    #[error("graph {path}: {reason}; delete it and it is written again from the weights")]
    Graph {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A product tensor is missing or misshapen.
    #[error("product tensor `{name}`: {reason}; teach the product again under this bundle")]
    ProductTensor {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A GPU or its library cannot be used.
    #[error("{0}")]
    Accelerator(String),
    /// There is no engine: it was lost and could not be opened again.
    #[error("there is no engine: it was lost and could not be opened again")]
    None,
    /// A run failed.
    #[error("inference failed: {0}")]
    Run(String),
}

impl EngineError {
    /// Whether only a new engine helps: its GPU is lost, or there is no engine any more.
    pub const fn is_engine_lost(&self) -> bool {
        matches!(self, Self::Accelerator(_) | Self::None)
    }
}

/// Stands where an engine was lost, until one is opened: it answers nothing.
pub struct LostEngine {
    side: usize,
    input: Vec<f32>,
}

impl LostEngine {
    /// In place of an engine of this input side.
    pub fn new(side: usize) -> Self {
        Self { side, input: vec![0.0; 3 * side * side] }
    }
}

impl Engine for LostEngine {
    fn side(&self) -> usize {
        self.side
    }

    fn set_product(&mut self, _: &NamedTensors) -> Result<(), EngineError> {
        Err(EngineError::None)
    }

    fn input(&mut self) -> &mut [f32] {
        &mut self.input
    }

    fn run(&mut self) -> Result<Inspection<'_>, EngineError> {
        Err(EngineError::None)
    }
}
