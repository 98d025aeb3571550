//! From a frame to the engine's input slot: resize as Pillow does, then normalise.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(any(test, feature = "cuda"))]
mod kernels;
mod normalise;
mod resize;

pub use cpu::{CpuPreprocessor, PreprocessError, check_region};
#[cfg(feature = "cuda")]
pub use cuda::{CudaPreprocessError, CudaPreprocessor};
#[cfg(feature = "cuda")]
pub use kernels::SOURCE as KERNELS_SOURCE;
pub use normalise::normalise_picture;
pub use resize::resize_picture;
