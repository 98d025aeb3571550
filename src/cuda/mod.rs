//! The GPU: its device, its streams, and kernels compiled at the start.
//!
//! Every library is opened at run time, so one program serves boxes with and without a GPU; what
//! is missing is an error that names it. `unsafe` here and in `preprocess/cuda.rs` only.

mod compile;
mod device;

pub use compile::{Kernels, compile, compiler};
pub use device::{Architecture, Device, driver_version};

use thiserror::Error;

/// Why the GPU cannot be used.
#[derive(Debug, Error)]
pub enum CudaError {
    /// The driver's library is missing.
    #[error(
        "no NVIDIA driver: {library} cannot be opened; install the driver (on a Jetson it comes \
         with JetPack) or choose engine.device = \"cpu\""
    )]
    NoDriver {
        /// The library looked for.
        library: &'static str,
    },
    /// The library that compiles kernels is missing.
    #[error(
        "CUDA's run-time compiler is missing: {library} cannot be opened; install the package \
         cuda-nvrtc of CUDA {major}, or a program built for the CUDA that is installed"
    )]
    NoCompiler {
        /// The library looked for.
        library: &'static str,
        /// The major version of CUDA this program was built for.
        major: u32,
    },
    /// The driver finds no device, or not this one.
    #[error("the driver finds no GPU {ordinal}: {reason}; `nvidia-smi` lists them")]
    NoDevice {
        /// Which.
        ordinal: usize,
        /// What the driver said.
        reason: String,
    },
    /// A kernel does not compile: a fault of this program.
    #[error("the kernels do not compile for {architecture}: {log}")]
    Compile {
        /// For which GPU.
        architecture: String,
        /// What the compiler said.
        log: String,
    },
    /// The driver refused, or the GPU was lost.
    #[error("the GPU failed: {0}; the kernel's log (`dmesg | grep Xid`) says why")]
    Driver(String),
}
