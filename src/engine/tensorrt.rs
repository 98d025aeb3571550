//! TensorRT on an NVIDIA GPU: plans built on the box from the bundle's graph, kept, and run.
//!
//! `shim.cpp` holds the C++; `library` its functions; `plans` the cache; `inspector` the engine.

mod inspector;
mod library;
mod plans;

pub use inspector::TensorRtInspector;
pub use library::{Libraries, Plan, TensorKind, TensorRt};
pub use plans::{PlanKey, Plans};

use crate::cuda::CudaError;
use std::path::PathBuf;
use thiserror::Error;

/// Why TensorRT cannot be used.
#[derive(Debug, Error)]
pub enum TensorRtError {
    /// A library is missing or is something else.
    #[error(
        "TensorRT library {path} {reason}; install TensorRT {major}, or choose engine.device = \"cpu\""
    )]
    Library {
        /// What was opened.
        path: String,
        /// What the loader said.
        reason: String,
        /// The major version this program was built for.
        major: i32,
    },
    /// The library is of another major version.
    #[error(
        "TensorRT library {path} is version {found}, this program was built for {built}.x: \
         install that one, or build onenipd against the headers of {found}"
    )]
    Version {
        /// What was opened.
        path: String,
        /// Its version.
        found: String,
        /// The headers' major version.
        built: i32,
    },
    /// The graph cannot be made into a plan.
    #[error("no plan can be built from {graph}: {reason}")]
    Build {
        /// The graph.
        graph: String,
        /// What TensorRT said.
        reason: String,
    },
    /// Building was stopped by the caller.
    #[error("building the plan of {graph} was stopped")]
    Stopped {
        /// The graph.
        graph: String,
    },
    /// A plan does not run here.
    #[error(
        "the plan does not run here: {reason}; a plan belongs to one GPU and one version of \
         TensorRT: delete it and it is built again"
    )]
    Load {
        /// What TensorRT said.
        reason: String,
    },
    /// A plan could not be read or kept.
    #[error("plan {path}: {reason}; check the state directory's space and owner")]
    Keep {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The GPU.
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

impl From<TensorRtError> for super::EngineError {
    fn from(error: TensorRtError) -> Self {
        Self::Accelerator(error.to_string())
    }
}
