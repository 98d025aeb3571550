//! What the way tells its observers. The channel is bounded and lossy; the way never waits.

use crate::line::{Alarm, LineState};
use crate::part::{PartResult, Region, RegionOfInterest, SequenceNumber, StageTimes, Verdict};
use crate::records::PooledPicture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One thing worth showing, logging or keeping.
#[derive(Debug)]
pub enum Observation {
    /// A part is decided, for good.
    Decided(PartResult),
    /// A verdict that came after its part's deadline and changes nothing.
    Late(Verdict),
    /// The engine and the judge are done with a part; comes before or after its decision.
    Judged {
        /// The part.
        sequence: SequenceNumber,
        /// Its way so far.
        times: StageTimes,
    },
    /// What the engine saw, for the part with the same sequence number; comes before or after its
    /// decision.
    Inspected(Box<InspectedPart>),
    /// An alarm was raised or ended.
    AlarmChanged {
        /// Which.
        alarm: Alarm,
        /// Raised, or ended.
        active: bool,
    },
    /// The state machine moved.
    StateChanged {
        /// From.
        from: LineState,
        /// To.
        to: LineState,
    },
    /// The way said something in words: a camera lost or found, a product loaded.
    Said {
        /// Severity.
        level: log::Level,
        /// A sentence.
        message: String,
    },
    /// Stopping is over.
    Stopped,
}

/// Picture and map of a part that is not passed.
#[derive(Debug)]
pub struct InspectedPart {
    /// The part.
    pub sequence: SequenceNumber,
    /// Name of its product.
    pub product_name: Arc<str>,
    /// The frame.
    pub picture: PooledPicture,
    /// S*S values.
    pub anomaly_map: Vec<f32>,
    /// Input side S.
    pub side: usize,
    /// The part of the frame the map covers.
    pub inspected: RegionOfInterest,
    /// Pixel threshold.
    pub pixel_threshold: f32,
    /// Regions above the pixel threshold, largest first.
    pub regions: Vec<Region>,
}

/// Counted drops, each with its cause.
#[derive(Debug, Default)]
pub struct Drops {
    /// Observations nobody had room for.
    pub observations: AtomicU64,
    /// Results the Modbus server had no room for.
    pub results: AtomicU64,
    /// Pictures for observers that found no free slot.
    pub pictures: AtomicU64,
    /// Frames without a trigger.
    pub frames_without_trigger: AtomicU64,
}

impl Drops {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
