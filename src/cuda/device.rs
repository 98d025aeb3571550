//! A GPU, its context and one stream.
#![allow(unsafe_code)] // The driver's library: looked for, and opened, by `cudarc`.

use super::CudaError;
use cudarc::driver::{CudaContext, CudaStream, DriverError, sys};
use std::fmt;
use std::sync::Arc;

/// Compute capability, such as 8.7 (Orin) or 11.0 (Thor).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Before the point.
    pub major: u32,
    /// Behind it.
    pub minor: u32,
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "compute_{}{}", self.major, self.minor)
    }
}

fn check_driver() -> Result<(), CudaError> {
    // SAFETY: only opens the library and closes it again. Without it `cudarc` would panic.
    match unsafe { sys::is_culib_present() } {
        true => Ok(()),
        false => Err(CudaError::NoDriver { library: "libcuda.so.1" }),
    }
}

/// The newest CUDA the driver serves, such as `12.6`.
///
/// # Errors
/// No driver.
pub fn driver_version() -> Result<String, CudaError> {
    check_driver()?;
    let mut version = 0;
    // SAFETY: the library is there; it writes one number to a local.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result()?;
    Ok(format!("{}.{}", version / 1000, version % 1000 / 10))
}

/// One GPU. Dropping it gives its context back.
#[derive(Clone, Debug)]
pub struct Device {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
}

impl Device {
    /// Opens GPU `ordinal` with a stream of its own.
    ///
    /// # Errors
    /// No driver, no such device, or it refuses.
    pub fn open(ordinal: usize) -> Result<Self, CudaError> {
        check_driver()?;
        let context = CudaContext::new(ordinal)
            .map_err(|error| CudaError::NoDevice { ordinal, reason: reason(&error) })?;
        let stream = context.new_stream()?;
        Ok(Self { context, stream })
    }

    /// Its name, as the driver tells it.
    pub fn name(&self) -> Result<String, CudaError> {
        Ok(self.context.name()?)
    }

    /// What kernels must be compiled for.
    pub fn architecture(&self) -> Result<Architecture, CudaError> {
        let (major, minor) = self.context.compute_capability()?;
        let number = |value: i32| u32::try_from(value).unwrap_or_default();
        Ok(Architecture { major: number(major), minor: number(minor) })
    }

    /// Bytes of its memory: free, and in all.
    pub fn memory_bytes(&self) -> Result<(usize, usize), CudaError> {
        Ok(self.context.mem_get_info()?)
    }

    /// Makes its context the calling thread's, for libraries that ask for the current one.
    pub fn make_current(&self) -> Result<(), CudaError> {
        Ok(self.context.bind_to_thread()?)
    }

    /// Its context.
    pub fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    /// The stream everything of the way is ordered on.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }
}

fn reason(error: &DriverError) -> String {
    let name = error.error_name().ok().map(|name| name.to_string_lossy().into_owned());
    let text = error.error_string().ok().map(|text| text.to_string_lossy().into_owned());
    match (name, text) {
        (Some(name), Some(text)) => format!("{text} ({name})"),
        _ => format!("{error:?}"),
    }
}

impl From<DriverError> for CudaError {
    fn from(error: DriverError) -> Self {
        Self::Driver(reason(&error))
    }
}
