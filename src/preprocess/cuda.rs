//! The preprocessor of the GPU: the camera's bytes into page-locked memory, one copy from there to
//! the device, one launch.
#![allow(unsafe_code)] // Kernels are launched with arguments the compiler cannot check.

use super::cpu::{PreprocessError, checked_region, normalised_values};
use super::kernels::SOURCE;
use super::resize::Axis;
use crate::bundle::Normalisation;
use crate::cuda::{CudaError, Device, Kernels};
use crate::part::{ColourConversion, ColourMatrix, Frame, PixelFormat, RegionOfInterest};
use cudarc::driver::{
    CudaFunction, CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig, PinnedHostSlice,
    PushKernelArg,
};
use std::sync::Arc;
use thiserror::Error;

/// Pictures of one launch, as `kernels.cu` has it.
const PICTURES_PER_LAUNCH: usize = 8;
/// Threads of a block, across and down.
const TILE: u32 = 16;

/// Why a frame could not be brought into the GPU's input slot.
#[derive(Debug, Error)]
pub enum CudaPreprocessError {
    /// The frame or its region.
    #[error(transparent)]
    Frame(#[from] PreprocessError),
    /// The GPU.
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

impl From<cudarc::driver::DriverError> for CudaPreprocessError {
    fn from(error: cudarc::driver::DriverError) -> Self {
        Self::Cuda(error.into())
    }
}

/// As `Picture` in `arithmetic.h`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Picture {
    planes: [u64; 3],
    stride_bytes: i32,
    chroma_stride_bytes: i32,
    format: i32,
    region_x: i32,
    region_y: i32,
    colour: ColourConversion,
}

/// As `Batch` in `kernels.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Batch {
    pictures: [Picture; PICTURES_PER_LAUNCH],
}

// SAFETY: plain numbers, laid out as the kernel's own struct is.
unsafe impl DeviceRepr for Batch {}

/// As `Axis` in `arithmetic.h`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct AxisPointers {
    starts: u64,
    weights: u64,
    taps: i32,
}

// SAFETY: plain numbers, laid out as the kernel's own struct is.
unsafe impl DeviceRepr for AxisPointers {}

/// One axis of the resize, on the device.
struct DeviceAxis {
    source: usize,
    starts: CudaSlice<i32>,
    weights: CudaSlice<u32>,
    taps: i32,
}

impl DeviceAxis {
    fn new(stream: &Arc<CudaStream>, source: usize, side: usize) -> Result<Self, CudaError> {
        let axis = Axis::new(source, side);
        let starts: Vec<i32> = axis.starts.iter().map(|start| *start as i32).collect();
        Ok(Self {
            source,
            starts: stream.clone_htod(&starts)?,
            weights: stream.clone_htod(&axis.weights)?,
            taps: axis.taps as i32,
        })
    }

    fn pointers(&self, stream: &Arc<CudaStream>) -> AxisPointers {
        let (starts, _) = self.starts.device_ptr(stream);
        let (weights, _) = self.weights.device_ptr(stream);
        AxisPointers { starts, weights, taps: self.taps }
    }
}

/// One plane of the frame: where the device reads it from, and where it has it.
struct StagedPlane {
    /// Page-locked: the GPU copies from it by itself.
    host: PinnedHostSlice<u8>,
    device: CudaSlice<u8>,
}

impl StagedPlane {
    fn new(stream: &Arc<CudaStream>, length: usize) -> Result<Self, CudaError> {
        // SAFETY: nothing is read from it before `upload` has written all of it.
        let host = unsafe { stream.context().alloc_pinned(length) }?;
        Ok(Self { host, device: stream.alloc_zeros(length)? })
    }

    /// Queues the copy of `bytes`, of the length it was made for; waits for the copy before.
    fn upload(&mut self, stream: &Arc<CudaStream>, bytes: &[u8]) -> Result<u64, CudaError> {
        self.host.as_mut_slice()?.copy_from_slice(bytes);
        stream.memcpy_htod(&self.host, &mut self.device)?;
        Ok(self.device.device_ptr(stream).0)
    }
}

/// Frames of any size and format to normalised planes `[3, side, side]` on the GPU, equal to
/// [`super::CpuPreprocessor`]'s bit for bit.
pub struct CudaPreprocessor {
    side: usize,
    stream: Arc<CudaStream>,
    kernel: CudaFunction,
    /// 256 values per channel.
    normalised: CudaSlice<f32>,
    axes: Option<[DeviceAxis; 2]>,
    planes: [Option<StagedPlane>; 3],
}

impl CudaPreprocessor {
    /// Compiles the kernels for `device`; `side`: the engine's input side S.
    ///
    /// # Errors
    /// No compiler, or the GPU refuses.
    pub fn new(
        device: &Device,
        side: usize,
        normalisation: &Normalisation,
    ) -> Result<Self, CudaError> {
        let kernel = Kernels::load(device, SOURCE)?.get("preprocess_f32")?;
        let stream = Arc::clone(device.stream());
        let values: Vec<f32> = normalised_values(normalisation).into_iter().flatten().collect();
        let normalised = stream.clone_htod(&values)?;
        Ok(Self { side, stream, kernel, normalised, axes: None, planes: [None, None, None] })
    }

    /// Writes `frame`, or the part of it in `roi`, to `out` (`[3, side, side]`, red plane first).
    /// Returns when the work is queued on the device's stream; `frame` may be dropped then.
    ///
    /// # Errors
    /// A region outside the frame, a slot of another size, or the GPU fails.
    pub fn run(
        &mut self,
        frame: &Frame,
        roi: Option<RegionOfInterest>,
        out: &mut CudaSlice<f32>,
    ) -> Result<(), CudaPreprocessError> {
        let expected = 3 * self.side * self.side;
        let region = checked_region(frame, roi, expected, out.len())?;
        let picture = self.upload(frame, region)?;
        let source = [region.width as usize, region.height as usize];
        let fits = |axes: &[DeviceAxis; 2]| [axes[0].source, axes[1].source] == source;
        let axes = match self.axes.take() {
            Some(axes) if fits(&axes) => axes,
            _ => [
                DeviceAxis::new(&self.stream, source[0], self.side)?,
                DeviceAxis::new(&self.stream, source[1], self.side)?,
            ],
        };
        let [across, down] = self.axes.insert(axes);
        let (across, down) = (across.pointers(&self.stream), down.pointers(&self.stream));
        let batch = Batch { pictures: [picture; PICTURES_PER_LAUNCH] };
        let side = self.side as i32;
        let tiles = (self.side as u32).div_ceil(TILE);
        let shape = LaunchConfig {
            grid_dim: (tiles, tiles, 1),
            block_dim: (TILE, TILE, 1),
            shared_mem_bytes: 0,
        };
        let mut launch = self.stream.launch_builder(&self.kernel);
        launch.arg(&batch).arg(&across).arg(&down).arg(&self.normalised).arg(&side).arg(out);
        // SAFETY: the arguments are those of `preprocess_f32`, in its order; the axes and planes
        // live as long as `self` and are only replaced on the same stream, which keeps order; the
        // region lies inside the frame, whose planes were copied whole.
        unsafe { launch.launch(shape) }?;
        Ok(())
    }

    /// Copies the planes of a frame to the device.
    fn upload(
        &mut self,
        frame: &Frame,
        region: RegionOfInterest,
    ) -> Result<Picture, CudaPreprocessError> {
        let mut pointers = [0; 3];
        for (index, (place, pointer)) in self.planes.iter_mut().zip(&mut pointers).enumerate() {
            let bytes = frame.plane(index);
            if bytes.is_empty() {
                continue;
            }
            let plane = match place.take() {
                Some(plane) if plane.host.len() == bytes.len() => plane,
                _ => StagedPlane::new(&self.stream, bytes.len())?,
            };
            *pointer = place.insert(plane).upload(&self.stream, bytes)?;
        }
        let none = ColourConversion::new(ColourMatrix::Bt601, true);
        let (format, colour) = match frame.format {
            PixelFormat::Rgb8 => (0, none),
            PixelFormat::Gray8 => (1, none),
            PixelFormat::Bgrx8 => (2, none),
            PixelFormat::Nv12(colour) => (3, colour),
            PixelFormat::I420(colour) => (4, colour),
        };
        Ok(Picture {
            planes: pointers,
            stride_bytes: frame.stride_bytes as i32,
            chroma_stride_bytes: frame.chroma_stride_bytes as i32,
            format,
            region_x: region.x as i32,
            region_y: region.y as i32,
            colour,
        })
    }
}
