//! TensorRT from its libraries, its plan and a GPU.

use super::{EngineChoiceError, Obstacle};
use crate::bundle::{Bundle, GraphFiles, Manifest};
use crate::config::Configuration;
use crate::cuda::{CudaError, Device};
use crate::daemon::service;
use crate::engine::tensorrt::{
    Libraries, PlanKey, Plans, TensorRt, TensorRtError, TensorRtInspector,
};
use crate::engine::{Engine, EngineError, FrameInput, Inspection};
use crate::part::{Duration, Frame, LineTime, NamedTensors, RegionOfInterest};
use crate::preprocess::{CudaPreprocessError, CudaPreprocessor};
use std::path::PathBuf;
use std::sync::Arc;

/// The only GPU of an edge box.
const ORDINAL: usize = 0;
/// The build says how far it is this often.
const TELL_INTERVAL: Duration = Duration::from_secs(5);

/// What a TensorRT engine is made of.
#[derive(Clone)]
pub(super) struct TensorRtMaker {
    plans: Plans,
    /// The inspector in FP16.
    graph: PathBuf,
    manifest: Manifest,
    bundle_hash: String,
    /// It was opened before: what the GPU still holds of it may be lost.
    opened: bool,
}

impl TensorRtMaker {
    /// Writes the FP16 graph where it is missing.
    pub fn new(
        configuration: &Configuration,
        bundle: &Bundle,
        graphs: &GraphFiles,
    ) -> Result<Self, EngineChoiceError> {
        Ok(Self {
            plans: Plans::new(&configuration.state.directory),
            graph: bundle.half_inspector(graphs)?,
            manifest: bundle.manifest().clone(),
            bundle_hash: bundle.hash().to_owned(),
            opened: false,
        })
    }

    /// A new context with a new engine; the plan is built where it is missing, and once again where
    /// it does not load.
    pub fn open(&mut self, go_on: &mut dyn FnMut() -> bool) -> Result<GpuEngine, Obstacle> {
        let device = self.device()?;
        let unusable = |error: TensorRtError| Obstacle::Unusable(error.to_string());
        let engine = match self.load(&device, go_on) {
            Err(TensorRtError::Load { reason }) => {
                log::warn!("the plan does not load ({reason}): it is built again");
                self.plans.forget(&self.key(&device).map_err(unusable)?);
                self.load(&device, go_on).map_err(unusable)?
            }
            other => other.map_err(unusable)?,
        };
        self.opened = true;
        let (side, normalisation) = (self.manifest.side, &self.manifest.normalisation);
        let preprocessor = CudaPreprocessor::new(&device, side, normalisation)
            .inspect_err(|error| log::warn!("pictures are resized on the processor: {error}"))
            .ok();
        Ok(GpuEngine { preprocessor, inspector: engine })
    }

    /// The GPU. One that fails after it has worked once is there, so it is no box without a GPU.
    fn device(&self) -> Result<Device, Obstacle> {
        let opened = Device::open(ORDINAL);
        opened.map_err(|error| match error {
            CudaError::NoDriver { .. } | CudaError::NoDevice { .. } if !self.opened => {
                Obstacle::NoGpu(error.to_string())
            }
            other => Obstacle::Unusable(other.to_string()),
        })
    }

    fn key(&self, device: &Device) -> Result<PlanKey, TensorRtError> {
        let version = TensorRt::open(Libraries::of_system())?.version();
        self.key_of(device, version)
    }

    fn key_of(&self, device: &Device, version: String) -> Result<PlanKey, TensorRtError> {
        Ok(PlanKey {
            device: format!("{} {}", device.name()?, device.architecture()?),
            version,
            precision: "fp16",
            bundle_hash: self.bundle_hash.clone(),
        })
    }

    fn load(
        &self,
        device: &Device,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<TensorRtInspector, TensorRtError> {
        let mut runtime = TensorRt::open(Libraries::of_system())?;
        let key = self.key_of(device, runtime.version())?;
        device.make_current()?;
        let path = self.plans.path(&key);
        if !path.exists() {
            log::info!("building the plan {}: this takes minutes, once", path.display());
        }
        let mut told = LineTime::now();
        let mut progress = |phase: &str, step: i32, steps: i32| {
            if LineTime::now().since(told) >= TELL_INTERVAL {
                told = LineTime::now();
                service::notify_waiting(TELL_INTERVAL * 24);
                log::info!("building the plan: {phase}, {step} of {steps}");
            }
            go_on()
        };
        let plan = self.plans.get(&key, &mut runtime, &self.graph, &mut progress)?;
        TensorRtInspector::open(&Arc::new(runtime), device.clone(), &plan, &self.manifest)
    }
}

/// TensorRT behind the kernels that bring frames into its input.
pub(super) struct GpuEngine {
    /// `None`: the kernels cannot be compiled here.
    preprocessor: Option<CudaPreprocessor>,
    inspector: TensorRtInspector,
}

impl Engine for GpuEngine {
    fn side(&self) -> usize {
        self.inspector.side()
    }

    fn set_product(&mut self, tensors: &NamedTensors) -> Result<(), EngineError> {
        self.inspector.set_product(tensors)
    }

    fn input(&mut self) -> &mut [f32] {
        self.inspector.input()
    }

    fn frames(&mut self) -> Option<&mut dyn FrameInput> {
        self.preprocessor.is_some().then_some(self)
    }

    fn run(&mut self) -> Result<Inspection<'_>, EngineError> {
        self.inspector.run()
    }
}

impl FrameInput for GpuEngine {
    fn fill(&mut self, frame: &Frame, roi: Option<RegionOfInterest>) -> Result<(), EngineError> {
        let Some(preprocessor) = &mut self.preprocessor else {
            return Err(EngineError::Run("it has no kernels for frames".to_owned()));
        };
        let filled = preprocessor.run(frame, roi, self.inspector.device_input());
        if filled.is_err() {
            // A run that came all the same is refused, instead of seeing the picture before.
            self.inspector.input().fill(f32::NAN);
        }
        filled.map_err(|error| match error {
            CudaPreprocessError::Frame(error) => EngineError::Run(error.to_string()),
            CudaPreprocessError::Cuda(error) => EngineError::Accelerator(error.to_string()),
        })
    }
}
