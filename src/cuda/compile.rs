//! Kernels from their text, by CUDA's run-time compiler.
#![allow(unsafe_code)] // The compiler's library: looked for, and opened, by `cudarc`.

use super::{Architecture, CudaError, Device};
use cudarc::driver::{CudaFunction, CudaModule};
use cudarc::nvrtc::{CompileError, CompileOptions, Ptx, compile_ptx_with_opts, sys};
use std::sync::Arc;

/// The CUDA this program was built for.
const MAJOR: u32 = if cfg!(feature = "cuda-13") { 13 } else { 12 };
const LIBRARY: &str = if cfg!(feature = "cuda-13") { "libnvrtc.so.13" } else { "libnvrtc.so.12" };

/// The run-time compiler's library, if it can be opened.
///
/// # Errors
/// It is missing.
pub fn compiler() -> Result<&'static str, CudaError> {
    // SAFETY: only opens the library and closes it again. Without it `cudarc` would panic.
    match unsafe { sys::is_culib_present() } {
        true => Ok(LIBRARY),
        false => Err(CudaError::NoCompiler { library: LIBRARY, major: MAJOR }),
    }
}

/// Compiles `source` for `architecture`. Needs no GPU and no driver.
///
/// # Errors
/// No compiler, or the text does not compile; the compiler's log is in the error.
pub fn compile(source: &str, architecture: Architecture) -> Result<Ptx, CudaError> {
    compiler()?;
    let options = CompileOptions {
        // Products and sums are not fused: the CPU does not fuse them either.
        fmad: Some(false),
        options: vec![format!("--gpu-architecture={architecture}"), "--std=c++17".into()],
        ..CompileOptions::default()
    };
    compile_ptx_with_opts(source, options).map_err(|error| {
        let log = match &error {
            CompileError::CompileError { log, .. } => log.to_string_lossy().into_owned(),
            other => format!("{other:?}"),
        };
        CudaError::Compile { architecture: architecture.to_string(), log }
    })
}

/// A compiled text on its GPU.
#[derive(Clone, Debug)]
pub struct Kernels(Arc<CudaModule>);

impl Kernels {
    /// Compiles `source` for `device` and loads it there.
    ///
    /// # Errors
    /// As [`compile`], or the driver refuses.
    pub fn load(device: &Device, source: &str) -> Result<Self, CudaError> {
        let compiled = compile(source, device.architecture()?)?;
        Ok(Self(device.context().load_module(compiled)?))
    }

    /// The kernel of this name.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn get(&self, name: &str) -> Result<CudaFunction, CudaError> {
        Ok(self.0.load_function(name)?)
    }
}
