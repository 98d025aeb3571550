//! The shim's functions, made safe: one owner for each thing it hands out.
#![allow(unsafe_code)] // Calls of C functions; each block says why it is sound.

use super::TensorRtError;
use crate::cuda::Device;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// Room for what the library says of an error.
const ERROR_BYTES: usize = 2200;
/// Failures of the shim, as in `shim.cpp`.
const VERSION: i32 = 2;
const STOPPED: i32 = 4;
const MISSING: i32 = 1;

#[repr(C)]
struct RawRuntime {
    _private: [u8; 0],
}

#[repr(C)]
struct RawPlan {
    _private: [u8; 0],
}

type Report = extern "C" fn(*mut c_void, *const c_char, i32, i32) -> bool;
type Take = extern "C" fn(*mut c_void, *const c_void, usize);

unsafe extern "C" {
    fn onenipd_tensorrt_header_major() -> i32;
    fn onenipd_tensorrt_open(
        path: *const c_char,
        out: *mut *mut RawRuntime,
        version: *mut i32,
        error: *mut c_char,
        size: usize,
    ) -> i32;
    fn onenipd_tensorrt_close(runtime: *mut RawRuntime);
    fn onenipd_tensorrt_build(
        runtime: *mut RawRuntime,
        parser: *const c_char,
        graph: *const c_char,
        workspace_bytes: usize,
        report: Report,
        user: *mut c_void,
        take: Take,
        error: *mut c_char,
        size: usize,
    ) -> i32;
    fn onenipd_tensorrt_load(
        runtime: *mut RawRuntime,
        bytes: *const c_void,
        count: usize,
        out: *mut *mut RawPlan,
        error: *mut c_char,
        size: usize,
    ) -> i32;
    fn onenipd_tensorrt_unload(plan: *mut RawPlan);
    fn onenipd_tensorrt_tensor(
        plan: *const RawPlan,
        index: i32,
        name: *mut *const c_char,
        is_input: *mut bool,
        dimensions: *mut i64,
        count: *mut i32,
        kind: *mut i32,
    ) -> bool;
    fn onenipd_tensorrt_bind(plan: *mut RawPlan, name: *const c_char, memory: *mut c_void) -> bool;
    fn onenipd_tensorrt_enqueue(plan: *mut RawPlan, stream: *mut c_void) -> bool;
}

/// Where TensorRT's libraries are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Libraries {
    /// `libnvinfer`, or TensorRT-RTX's library.
    pub runtime: PathBuf,
    /// Its ONNX parser.
    pub parser: PathBuf,
}

impl Libraries {
    /// The system's libraries of the version this program was built for.
    pub fn of_system() -> Self {
        let major = header_major();
        Self {
            runtime: format!("libnvinfer.so.{major}").into(),
            parser: format!("libnvonnxparser.so.{major}").into(),
        }
    }
}

/// Major version of the headers this program was built with.
pub fn header_major() -> i32 {
    // SAFETY: returns a constant.
    unsafe { onenipd_tensorrt_header_major() }
}

/// An opened TensorRT.
pub struct TensorRt {
    raw: NonNull<RawRuntime>,
    libraries: Libraries,
    version: i32,
}

// SAFETY: TensorRT's runtime may be used from any thread, plans are loaded by several at once, and
// the shim's log has a lock.
unsafe impl Send for TensorRt {}
// SAFETY: as above; what builds takes it mutably.
unsafe impl Sync for TensorRt {}

impl TensorRt {
    /// Opens the libraries; the major version is checked before anything is created.
    ///
    /// # Errors
    /// Missing, not TensorRT, or of another major version.
    pub fn open(libraries: Libraries) -> Result<Self, TensorRtError> {
        let path = path_text(&libraries.runtime)?;
        let (mut raw, mut version) = (ptr::null_mut(), 0);
        let mut error = [0; ERROR_BYTES];
        // SAFETY: every pointer is to a local that outlives the call; the size is the buffer's.
        let failure = unsafe {
            onenipd_tensorrt_open(
                path.as_ptr(),
                &mut raw,
                &mut version,
                error.as_mut_ptr(),
                error.len(),
            )
        };
        let shown = libraries.runtime.display().to_string();
        match (failure, NonNull::new(raw)) {
            (0, Some(raw)) => Ok(Self { raw, libraries, version }),
            (VERSION, _) => {
                let (path, found) = (shown, version_text(version));
                Err(TensorRtError::Version { path, found, built: header_major() })
            }
            _ => {
                let (path, reason) = (shown, text(&error));
                Err(TensorRtError::Library { path, reason, major: header_major() })
            }
        }
    }

    /// The library's version, such as `10.3.0`.
    pub fn version(&self) -> String {
        version_text(self.version)
    }

    /// Builds a plan from an ONNX graph; takes minutes. `progress` is told the phase, its step and
    /// its steps, and stops the build by `false`.
    ///
    /// # Errors
    /// The graph is not understood, or the library cannot build it; needs no GPU with
    /// TensorRT-RTX only.
    pub fn build(
        &mut self,
        graph: &Path,
        workspace_bytes: usize,
        progress: &mut dyn FnMut(&str, i32, i32) -> bool,
    ) -> Result<Vec<u8>, TensorRtError> {
        let parser = path_text(&self.libraries.parser)?;
        let graph_path = path_text(graph)?;
        let mut user = BuildUser { progress, plan: Vec::new() };
        let mut error = [0; ERROR_BYTES];
        // SAFETY: the runtime is open; strings, buffer and `user` outlive the call, which is the
        // only one that uses them; the callbacks get `user` back and nothing else.
        let failure = unsafe {
            onenipd_tensorrt_build(
                self.raw.as_ptr(),
                parser.as_ptr(),
                graph_path.as_ptr(),
                workspace_bytes,
                report,
                (&raw mut user).cast(),
                take,
                error.as_mut_ptr(),
                error.len(),
            )
        };
        let (graph, reason) = (graph.display().to_string(), text(&error));
        match failure {
            0 => Ok(user.plan),
            STOPPED => Err(TensorRtError::Stopped { graph }),
            MISSING => {
                let path = self.libraries.parser.display().to_string();
                Err(TensorRtError::Library { path, reason, major: header_major() })
            }
            _ => Err(TensorRtError::Build { graph, reason }),
        }
    }

    /// Makes a plan runnable on `device`.
    ///
    /// # Errors
    /// The plan is damaged, of another version or of another GPU.
    pub fn load(self: &Arc<Self>, device: &Device, plan: &[u8]) -> Result<Plan, TensorRtError> {
        device.make_current()?;
        let mut raw = ptr::null_mut();
        let mut error = [0; ERROR_BYTES];
        // SAFETY: the runtime is open; the plan's bytes, buffer and result outlive the call.
        let failure = unsafe {
            onenipd_tensorrt_load(
                self.raw.as_ptr(),
                plan.as_ptr().cast(),
                plan.len(),
                &mut raw,
                error.as_mut_ptr(),
                error.len(),
            )
        };
        match (failure, NonNull::new(raw)) {
            (0, Some(raw)) => Ok(Plan { raw, _runtime: Arc::clone(self) }),
            _ => Err(TensorRtError::Load { reason: text(&error) }),
        }
    }
}

impl Drop for TensorRt {
    fn drop(&mut self) {
        // SAFETY: made by `open`, and closed once; plans hold the runtime, so none is left.
        unsafe { onenipd_tensorrt_close(self.raw.as_ptr()) };
    }
}

/// What a tensor of a plan is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorKind {
    /// 32 bits.
    Float32,
    /// 16 bits.
    Float16,
    /// Something this house makes no use of, by TensorRT's number.
    Other(i32),
}

/// One input or output of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanTensor {
    /// Its name.
    pub name: String,
    /// An input, or an output.
    pub is_input: bool,
    /// Its static shape.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub kind: TensorKind,
}

/// A plan that can run.
pub struct Plan {
    raw: NonNull<RawPlan>,
    _runtime: Arc<TensorRt>,
}

// SAFETY: an execution context may be used from any thread, by one at a time; every use of it
// takes `self` mutably.
unsafe impl Send for Plan {}

impl Plan {
    /// Every input and output.
    pub fn tensors(&self) -> Vec<PlanTensor> {
        (0..).map_while(|index| self.tensor(index)).collect()
    }

    fn tensor(&self, index: i32) -> Option<PlanTensor> {
        let (mut name, mut is_input) = (ptr::null(), false);
        let (mut dimensions, mut count, mut kind) = ([0; 8], 0, 0);
        // SAFETY: the plan is loaded; every pointer is to a local; `dimensions` has room for 8.
        let found = unsafe {
            onenipd_tensorrt_tensor(
                self.raw.as_ptr(),
                index,
                &mut name,
                &mut is_input,
                dimensions.as_mut_ptr(),
                &mut count,
                &mut kind,
            )
        };
        if !found || name.is_null() {
            return None;
        }
        // SAFETY: the engine owns the name for as long as it lives; it is copied here.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
        let axes = usize::try_from(count).unwrap_or(0).min(dimensions.len());
        let shape = dimensions[..axes].iter().map(|size| usize::try_from(*size).unwrap_or(0));
        let kind = match kind {
            0 => TensorKind::Float32,
            1 => TensorKind::Float16,
            other => TensorKind::Other(other),
        };
        Some(PlanTensor { name, is_input, shape: shape.collect(), kind })
    }

    /// Tells where a tensor's numbers lie on the device.
    ///
    /// # Safety
    /// `memory` is device memory large enough for the tensor, and stays so for every run to come.
    pub(super) unsafe fn bind(&mut self, name: &str, memory: u64) -> bool {
        let Ok(name) = CString::new(name) else { return false };
        // SAFETY: the plan is loaded; the caller vouches for the memory.
        unsafe { onenipd_tensorrt_bind(self.raw.as_ptr(), name.as_ptr(), memory as *mut c_void) }
    }

    /// Queues one run on `stream`.
    ///
    /// # Safety
    /// Every tensor is bound, and `stream` is of the device the plan was loaded for.
    pub(super) unsafe fn enqueue(&mut self, stream: *mut c_void) -> bool {
        // SAFETY: the plan is loaded; the caller vouches for the rest.
        unsafe { onenipd_tensorrt_enqueue(self.raw.as_ptr(), stream) }
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: made by `load`, and unloaded once, before its runtime.
        unsafe { onenipd_tensorrt_unload(self.raw.as_ptr()) };
    }
}

/// What the build's callbacks need.
struct BuildUser<'a> {
    progress: &'a mut dyn FnMut(&str, i32, i32) -> bool,
    plan: Vec<u8>,
}

extern "C" fn report(user: *mut c_void, phase: *const c_char, step: i32, steps: i32) -> bool {
    // SAFETY: `build` passes its `BuildUser`, alive and used by nobody else during the call; the
    // phase is a string of the shim's.
    let (user, phase) = unsafe { (&mut *user.cast::<BuildUser<'_>>(), CStr::from_ptr(phase)) };
    (user.progress)(&phase.to_string_lossy(), step, steps)
}

extern "C" fn take(user: *mut c_void, bytes: *const c_void, count: usize) {
    // SAFETY: as in `report`; the shim vouches for `count` bytes.
    unsafe {
        let user = &mut *user.cast::<BuildUser<'_>>();
        user.plan = std::slice::from_raw_parts(bytes.cast::<u8>(), count).to_vec();
    }
}

fn path_text(path: &Path) -> Result<CString, TensorRtError> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| TensorRtError::Library {
        path: path.display().to_string(),
        reason: "has a zero in its name".to_owned(),
        major: header_major(),
    })
}

fn text(error: &[c_char]) -> String {
    let bytes: Vec<u8> =
        error.iter().take_while(|c| **c != 0).map(|c| c.to_ne_bytes()[0]).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// From 10 on: major * 10000 + minor * 100 + patch; before: major * 1000 + minor * 100 + patch.
fn version_text(version: i32) -> String {
    let unit = if version >= 10_000 { 10_000 } else { 1_000 };
    format!("{}.{}.{}", version / unit, version % unit / 100, version % 100)
}
