//! Runs before the first part: how long preprocessing, engine and judge take on this box.

use super::ActiveProduct;
use super::verdict_times::VerdictTimes;
use crate::bundle::Normalisation;
use crate::engine::{Engine, EngineError};
use crate::judge::Judge;
use crate::part::{Frame, LineTime, RegionOfInterest, SequenceNumber};
use crate::preprocess::{CpuPreprocessor, PreprocessError, check_region};

/// Runs of one rehearsal; of so few the 99.9th percentile is the slowest.
pub const REHEARSED_RUNS: usize = 50;
/// Runs before them, in which caches and the engine's arenas fill.
const WARM_UP: usize = 5;
/// Picture size where neither camera nor product say one.
const USUAL_SIZE: (u32, u32) = (1280, 1024);

/// What a rehearsal is made of.
pub struct Rehearsal {
    /// Measured runs; 0: no rehearsal, the line does not wait for one.
    pub runs: usize,
    /// The camera's picture size, if it is known.
    pub picture_size: Option<(u32, u32)>,
    /// Pixel normalisation of the engine's input.
    pub normalisation: Normalisation,
}

/// Why there is no measure.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The engine does not run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The product's region does not fit the camera's picture.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The camera's size is empty.
    #[error("the camera's picture has no pixels")]
    NoPicture,
}

impl Rehearsal {
    /// Sends drawn pictures through everything between frame and verdict. The product is set.
    pub fn measure(
        &self,
        engine: &mut dyn Engine,
        product: &ActiveProduct,
    ) -> Result<VerdictTimes, RehearsalError> {
        let roi = product.region_of_interest;
        let (width, height) = self.picture_size.unwrap_or_else(|| least_size(roi));
        let noise = image::RgbImage::from_fn(width, height, |x, y| {
            let v = (x * 31 + y * 17).wrapping_mul(2_654_435_761) >> 24;
            image::Rgb([v as u8, (v / 2) as u8, 128])
        });
        let frame = Frame::from_picture(noise, 0, LineTime::ZERO);
        let frame = frame.ok_or(RehearsalError::NoPicture)?;
        check_region(&frame, roi)?;
        let inspected = roi.unwrap_or(RegionOfInterest { x: 0, y: 0, width, height });
        let mut preprocessor = CpuPreprocessor::new(engine.side(), &self.normalisation);
        let mut judge = Judge::new(engine.side());
        let mut tensor = vec![0.0; engine.input().len()];
        let mut times = VerdictTimes::new();
        for run in 0..WARM_UP + self.runs {
            let started = LineTime::now();
            if let Some(slot) = engine.frames() {
                slot.fill(&frame, roi)?;
            } else {
                preprocessor.run(&frame, roi, &mut tensor)?;
                engine.input().copy_from_slice(&tensor);
            }
            let seen = engine.run()?;
            let (score, map) = (seen.score, seen.anomaly_map);
            let sequence = SequenceNumber::FIRST;
            judge.judge(sequence, score, map, inspected, &product.thresholds, None);
            if run >= WARM_UP {
                times.record(LineTime::now().since(started));
            }
        }
        Ok(times)
    }
}

/// A picture that holds the region.
fn least_size(roi: Option<RegionOfInterest>) -> (u32, u32) {
    let (width, height) =
        roi.map_or((0, 0), |r| (r.x.saturating_add(r.width), r.y.saturating_add(r.height)));
    (width.max(USUAL_SIZE.0), height.max(USUAL_SIZE.1))
}
