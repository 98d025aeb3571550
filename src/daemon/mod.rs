//! The way of a part at run time: assembly, threads, supervision, service.

pub mod assemble;
pub mod conditions;
mod engine_choice;
mod frames;
mod inspection;
mod line_thread;
mod observation;
mod observer;
mod pairing;
pub mod persistence;
mod readiness;
mod rehearsal;
pub mod service;
mod simulated_line;
mod supervisor;
mod throttling;
mod verdict_times;
mod way;

pub use engine_choice::{EngineChoice, EngineChoiceError, EngineKind, Obstacle, PassedOver};
pub use inspection::{EngineFactory, ProductLoadError, ProductLoader};
pub use observation::{Drops, InspectedPart, Observation};
pub use observer::Observer;
pub use pairing::FrameWindow;
pub use readiness::Readiness;
pub use rehearsal::{REHEARSED_RUNS, Rehearsal, RehearsalError};
pub use simulated_line::{SimulatedLine, SimulatedLineEnds, SimulatedLineSettings};
pub use supervisor::CameraFactory;
pub use throttling::Throttling;
pub use verdict_times::{VerdictTimes, arithmetic};
pub use way::{Way, WayEnds, WayError, WayParts};

use crate::judge::Thresholds;
use crate::part::{NamedTensors, RegionOfInterest};
use std::sync::Arc;

/// One revision of a product, as the way uses it.
pub struct ActiveProduct {
    /// What a PLC asks for.
    pub number: u16,
    /// What people call it.
    pub name: Arc<str>,
    /// The inspected part of the frame; `None` is all of it.
    pub region_of_interest: Option<RegionOfInterest>,
    /// Image and pixel threshold.
    pub thresholds: Thresholds,
    /// Inputs of the inspector.
    pub tensors: NamedTensors,
}
