//! The inspector as a plan on the GPU.
#![allow(unsafe_code)] // Device memory is bound to the plan, and the plan is queued.

use super::{Plan, TensorKind, TensorRt, TensorRtError};
use crate::bundle::Manifest;
use crate::cuda::{CudaError, Device};
use crate::engine::{Engine, EngineError, Inspection};
use crate::part::NamedTensors;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaGraph, CudaSlice, DevicePtr, DriverError, PinnedHostSlice};
use std::sync::Arc;

/// A tensor of the plan, in the GPU's memory.
struct DeviceTensor {
    name: String,
    shape: Vec<usize>,
    memory: CudaSlice<f32>,
}

/// An output, and its copy for the CPU.
struct Output {
    device: DeviceTensor,
    /// Page-locked: the GPU writes it by itself.
    host: PinnedHostSlice<f32>,
}

/// The plan's launches as one.
struct Captured(CudaGraph);

// SAFETY: CUDA wants the calls on one graph in order, from any thread; the inspector that owns it
// makes them through `&mut self` alone.
unsafe impl Send for Captured {}

/// Where the picture of the next run lies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Picture {
    /// In the slot of [`Engine::input`].
    Host,
    /// In the GPU's memory already.
    Device,
}

/// `inspector.onnx` as a plan of TensorRT. Numbers are FP32 at the border, whatever lies between.
pub struct TensorRtInspector {
    /// Before the plan, whose memory it uses; `None`: every launch is queued each time.
    captured: Option<Captured>,
    plan: Plan,
    device: Device,
    side: usize,
    picture: Vec<f32>,
    lies: Picture,
    image: DeviceTensor,
    product_inputs: Vec<DeviceTensor>,
    outputs: Vec<Output>,
    has_product: bool,
    zeros: Vec<f32>,
}

impl TensorRtInspector {
    /// Loads `plan`, checks it against `manifest`, allocates and binds everything.
    ///
    /// # Errors
    /// The plan is not of this GPU, version or bundle, or the GPU refuses.
    pub fn open(
        runtime: &Arc<TensorRt>,
        device: Device,
        plan: &[u8],
        manifest: &Manifest,
    ) -> Result<Self, TensorRtError> {
        let mut plan = runtime.load(&device, plan)?;
        let side = manifest.side;
        let mut expected = vec![("image".to_owned(), true, vec![1, 3, side, side])];
        let inputs = manifest.inputs.iter();
        expected.extend(inputs.map(|input| (input.name.clone(), true, input.shape.clone())));
        let map = vec![1, 1, side, side];
        let mut output = |name: &str, shape| expected.push((name.to_owned(), false, shape));
        output("score", vec![1]);
        output("anomaly_map", map.clone());
        output("map_peaks", vec![1, 3]);
        if manifest.has_network() {
            output("reconstruction_map", map.clone());
            output("refined_map", map);
        }
        let found = plan.tensors();
        if found.len() != expected.len() {
            let reason = format!("it has {} tensors, not {}", found.len(), expected.len());
            return Err(TensorRtError::Load { reason });
        }
        let mut tensors = Vec::new();
        for (name, is_input, shape) in expected {
            let same = found.iter().any(|t| {
                (&t.name, t.is_input, &t.shape) == (&name, is_input, &shape)
                    && t.kind == TensorKind::Float32
            });
            if !same {
                let reason = format!("it has no FP32 tensor `{name}` of shape {shape:?}");
                return Err(TensorRtError::Load { reason });
            }
            let count = shape.iter().product();
            let memory = device.stream().alloc_zeros(count).map_err(CudaError::from)?;
            let (pointer, _) = memory.device_ptr(device.stream());
            // SAFETY: the memory has the tensor's size and lives as long as the plan: both are
            // fields of this inspector, and neither is ever replaced.
            if !unsafe { plan.bind(&name, pointer) } {
                return Err(TensorRtError::Load { reason: format!("`{name}` cannot be bound") });
            }
            tensors.push((is_input, DeviceTensor { name, shape, memory }));
        }
        let outputs = tensors.extract_if(.., |(is_input, _)| !*is_input);
        let context = device.context();
        let outputs = outputs.map(|(_, device)| {
            // SAFETY: only read after a run, which writes all of it; ordinary cached memory.
            let host = unsafe { context.alloc_pinned_with_flags(device.memory.len(), 0) };
            Ok(Output { host: host?, device })
        });
        let outputs = outputs.collect::<Result<Vec<Output>, DriverError>>();
        let outputs = outputs.map_err(CudaError::from)?;
        let mut inputs = tensors.into_iter().map(|(_, tensor)| tensor);
        let Some(image) = inputs.next() else {
            return Err(TensorRtError::Load { reason: "it has no `image`".to_owned() });
        };
        let mut inspector = Self {
            captured: None,
            plan,
            device,
            side,
            picture: vec![0.0; 3 * side * side],
            lies: Picture::Host,
            image,
            product_inputs: inputs.collect(),
            outputs,
            has_product: false,
            zeros: vec![0.0; side * side],
        };
        match inspector.capture() {
            Ok(captured) => inspector.captured = Some(captured),
            Err(reason) => log::warn!("the plan runs without a CUDA graph: {reason}"),
        }
        Ok(inspector)
    }

    /// Where the GPU itself writes the picture of the next run, [3, S, S].
    pub fn device_input(&mut self) -> &mut CudaSlice<f32> {
        self.lies = Picture::Device;
        &mut self.image.memory
    }

    /// Records what the plan launches. Shapes and addresses never change, so it holds for every run.
    fn capture(&mut self) -> Result<Captured, CudaError> {
        // The first run sets up what must not be set up while recording.
        self.enqueue()?;
        let stream = Arc::clone(self.device.stream());
        stream.synchronize()?;
        stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
        let queued = self.enqueue();
        // Whatever came of it, the stream must stop recording.
        let graph = stream.end_capture(CUgraphInstantiate_flags(0));
        queued?;
        let nothing = || CudaError::Driver("nothing was recorded".to_owned());
        let graph = graph?.ok_or_else(nothing)?;
        graph.upload()?;
        stream.synchronize()?;
        Ok(Captured(graph))
    }

    fn enqueue(&mut self) -> Result<(), CudaError> {
        // SAFETY: every tensor was bound when the plan was opened; the stream is the device's.
        if unsafe { self.plan.enqueue(self.device.stream().cu_stream().cast()) } {
            return Ok(());
        }
        Err(CudaError::Driver("TensorRT does not queue the plan".to_owned()))
    }

    fn queue(&mut self, lies: Picture) -> Result<(), CudaError> {
        if lies == Picture::Host {
            self.device.stream().memcpy_htod(&self.picture, &mut self.image.memory)?;
        }
        match &self.captured {
            Some(Captured(graph)) => graph.launch()?,
            None => self.enqueue()?,
        }
        let stream = self.device.stream();
        for Output { device, host } in &mut self.outputs {
            stream.memcpy_dtoh(&device.memory, host)?;
        }
        Ok(stream.synchronize()?)
    }

    fn output(&self, name: &str) -> Option<&[f32]> {
        let output = self.outputs.iter().find(|output| output.device.name == name)?;
        output.host.as_slice().ok()
    }
}

impl Engine for TensorRtInspector {
    fn side(&self) -> usize {
        self.side
    }

    fn set_product(&mut self, tensors: &NamedTensors) -> Result<(), EngineError> {
        self.has_product = false;
        for input in &mut self.product_inputs {
            let name = &input.name;
            let wrong = |reason| EngineError::ProductTensor { name: name.clone(), reason };
            let tensor = tensors.get(name).ok_or_else(|| wrong("is missing".to_owned()))?;
            if tensor.shape() != input.shape {
                let (found, expected) = (tensor.shape(), &input.shape);
                return Err(wrong(format!("has shape {found:?}, not {expected:?}")));
            }
            let stream = self.device.stream();
            let copied = stream.memcpy_htod(tensor.values(), &mut input.memory);
            copied.map_err(|error: DriverError| {
                EngineError::Accelerator(CudaError::from(error).to_string())
            })?;
        }
        self.has_product = true;
        Ok(())
    }

    fn input(&mut self) -> &mut [f32] {
        self.lies = Picture::Host;
        &mut self.picture
    }

    fn run(&mut self) -> Result<Inspection<'_>, EngineError> {
        if !self.has_product {
            return Err(EngineError::Run("no product is set; choose one first".to_owned()));
        }
        // A picture on the device serves one run; should none be put there again, none is seen twice.
        let lies = std::mem::replace(&mut self.lies, Picture::Host);
        // Comparisons inside the graph would swallow a NaN and answer "good". What the GPU makes of
        // bytes is finite.
        if lies == Picture::Host && !self.picture.iter().all(|value| value.is_finite()) {
            let reason = "the picture holds a value that is not finite";
            return Err(EngineError::Run(reason.to_owned()));
        }
        self.queue(lies).map_err(|error| EngineError::Accelerator(error.to_string()))?;
        let missing = |name: &str| EngineError::Run(format!("the plan has no `{name}`"));
        let output = |name: &str| self.output(name).ok_or_else(|| missing(name));
        let [score] = *output("score")? else { return Err(missing("score")) };
        let [network, search, cell] = *output("map_peaks")? else {
            return Err(missing("map_peaks"));
        };
        Ok(Inspection {
            score,
            anomaly_map: output("anomaly_map")?,
            reconstruction_map: self.output("reconstruction_map").unwrap_or(&self.zeros),
            refined_map: self.output("refined_map").unwrap_or(&self.zeros),
            map_peaks: [network, search, cell],
        })
    }
}
