//! Which engine a box gets: the best one that works, and why not a better one.

use super::inspection::EngineFactory;
use crate::bundle::{Bundle, BundleError, GraphFiles, Manifest};
use crate::config::{Configuration, EngineDevice};
use crate::engine::{EngineError, Inspector, OnnxRuntime};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(feature = "tensorrt")]
mod accelerated;
#[cfg(feature = "tensorrt")]
use accelerated::TensorRtMaker;

/// What inspects, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// TensorRT on an NVIDIA GPU, in FP16 where the specification's 8.4 allows it.
    TensorRt,
    /// ONNX Runtime on the processor, in FP32.
    OnnxRuntimeCpu,
}

impl EngineKind {
    /// Largest relative difference from a bundle's golden scores: of FP16, and of FP32.
    pub const fn golden_tolerance(self) -> f64 {
        match self {
            Self::TensorRt => 1e-2,
            Self::OnnxRuntimeCpu => 1e-4,
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TensorRt => "TensorRT",
            Self::OnnxRuntimeCpu => "ONNX Runtime on the CPU",
        })
    }
}

/// Why a better engine was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The configuration wants another.
    #[error("engine.device = \"cpu\" does not ask for it")]
    NotAskedFor,
    /// It is not in this program.
    #[error("this program was built without the feature `tensorrt`")]
    NotBuilt,
    /// This box has no GPU that can be opened.
    #[error("{0}")]
    NoGpu(String),
    /// There is a GPU, but it cannot be used.
    #[error("there is a GPU, but {0}")]
    Unusable(String),
}

/// A better engine, and why it was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Which.
    pub engine: EngineKind,
    /// Why not.
    pub obstacle: Obstacle,
}

/// The engine that is taken, and the better ones that are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineChoice {
    /// What inspects.
    pub taken: EngineKind,
    /// Better ones, best first.
    pub passed_over: Vec<PassedOver>,
}

impl EngineChoice {
    /// Whether the box has something better that does not work: a lasting warning. A box without a
    /// GPU lacks nothing.
    pub fn fell_back(&self) -> bool {
        self.passed_over.iter().any(|over| matches!(over.obstacle, Obstacle::Unusable(_)))
    }

    #[cfg(feature = "tensorrt")]
    const fn best() -> Self {
        Self { taken: EngineKind::TensorRt, passed_over: Vec::new() }
    }

    fn processor(obstacle: Obstacle) -> Self {
        let over = PassedOver { engine: EngineKind::TensorRt, obstacle };
        Self { taken: EngineKind::OnnxRuntimeCpu, passed_over: vec![over] }
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.taken)?;
        self.passed_over
            .iter()
            .try_for_each(|over| write!(f, "; not {}: {}", over.engine, over.obstacle))
    }
}

/// What engines of one bundle are made of.
#[derive(Clone)]
pub(super) struct EngineMaker {
    pub choice: EngineChoice,
    /// The engine in use is not the one the box could have.
    pub fell_back: Arc<AtomicBool>,
    runtime: OnnxRuntime,
    graph: PathBuf,
    manifest: Manifest,
    #[cfg(feature = "tensorrt")]
    tensorrt: Option<TensorRtMaker>,
    #[cfg(feature = "tensorrt")]
    asked_for: EngineDevice,
}

impl EngineMaker {
    /// Chooses; where a plan has to be built this takes minutes, until `go_on` says no.
    ///
    /// # Errors
    /// The engine that is asked for by name does not work.
    pub fn choose(
        configuration: &Configuration,
        runtime: &OnnxRuntime,
        bundle: &Bundle,
        graphs: &GraphFiles,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Self, EngineChoiceError> {
        let asked_for = configuration.engine.device;
        let mut maker = Self {
            choice: EngineChoice::processor(Obstacle::NotAskedFor),
            fell_back: Arc::default(),
            runtime: runtime.clone(),
            graph: graphs.inspector.clone(),
            manifest: bundle.manifest().clone(),
            #[cfg(feature = "tensorrt")]
            tensorrt: None,
            #[cfg(feature = "tensorrt")]
            asked_for,
        };
        if asked_for == EngineDevice::Cpu {
            return Ok(maker);
        }
        #[cfg(feature = "tensorrt")]
        let found = {
            let mut made = TensorRtMaker::new(configuration, bundle, graphs)?;
            let opened = made.open(go_on).map(drop);
            maker.tensorrt = Some(made);
            opened.map(|()| EngineChoice::best())
        };
        #[cfg(not(feature = "tensorrt"))]
        let found = {
            let _ = (configuration, go_on);
            Err(Obstacle::NotBuilt)
        };
        maker.choice = match found {
            Ok(best) => best,
            Err(obstacle) if asked_for == EngineDevice::Tensorrt => {
                return Err(unmet(&obstacle).into());
            }
            Err(obstacle) => EngineChoice::processor(obstacle),
        };
        maker.fell_back.store(maker.choice.fell_back(), Ordering::Relaxed);
        Ok(maker)
    }

    /// Opens the chosen engine each time it is asked to, in a context of its own. A GPU that is
    /// lost for good leaves the processor where the configuration leaves the choice open.
    pub fn factory(&self, threads: usize) -> EngineFactory {
        let maker = self.clone();
        #[cfg(feature = "tensorrt")]
        let mut maker = maker;
        Box::new(move || {
            #[cfg(feature = "tensorrt")]
            if maker.choice.taken == EngineKind::TensorRt
                && let Some(tensorrt) = &mut maker.tensorrt
            {
                match tensorrt.open(&mut || true) {
                    Ok(engine) => {
                        maker.fell_back.store(false, Ordering::Relaxed);
                        return Ok(Box::new(engine));
                    }
                    Err(obstacle) if maker.asked_for == EngineDevice::Tensorrt => {
                        return Err(unmet(&obstacle));
                    }
                    Err(obstacle) => {
                        maker.fell_back.store(true, Ordering::Relaxed);
                        log::error!("{}", EngineChoice::processor(obstacle));
                    }
                }
            }
            let engine = Inspector::open(&maker.runtime, &maker.graph, &maker.manifest, threads)?;
            Ok(Box::new(engine))
        })
    }
}

fn unmet(obstacle: &Obstacle) -> EngineError {
    EngineError::Accelerator(format!(
        "engine.device = \"tensorrt\" cannot be had: {obstacle}; \"auto\" takes what works"
    ))
}

/// Why no engine can be chosen.
#[derive(Debug, thiserror::Error)]
pub enum EngineChoiceError {
    /// The engine that is asked for.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Its graph.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_gpu_that_is_there_and_fails_is_a_fallback() {
        let without = EngineChoice::processor(Obstacle::NoGpu("no NVIDIA driver".into()));
        let broken = EngineChoice::processor(Obstacle::Unusable("the plan fails".into()));
        assert!(!without.fell_back() && broken.fell_back());
        let told = broken.to_string();
        let expected = "ONNX Runtime on the CPU; not TensorRT: there is a GPU, but the plan fails";
        assert_eq!(told, expected);
        assert!(!EngineChoice::processor(Obstacle::NotBuilt).fell_back());
    }
}
