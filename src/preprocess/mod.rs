//! From a frame to the engine's input slot: resize as Pillow does, then normalise.

mod cpu;
mod normalise;
mod resize;

pub use cpu::{CpuPreprocessor, PreprocessError};
pub use normalise::normalise_picture;
pub use resize::resize_picture;
