//! What the keys about the belt mean together.

use super::units::{BeltLength, BeltSpeed, PartSpacing};
use super::words::{LineMode, RunSignal};
use super::{Configuration, Line};
use std::time::Duration;

impl Line {
    /// A length in counts; `None` when it is in millimetres and nothing says how many counts
    /// that is.
    pub fn counts(&self, length: BeltLength) -> Option<f64> {
        match length {
            BeltLength::Counts(counts) => Some(counts),
            BeltLength::Millimetres(length) => Some(length * self.counts_per_mm?.0),
        }
    }

    /// The least time between two parts, where it is configured: at the largest speed.
    pub fn part_spacing_time(&self) -> Option<Duration> {
        match self.part_spacing? {
            PartSpacing::Time(time) => Some(time),
            PartSpacing::Length(length) => {
                let seconds = self.counts(length)? / self.counts_per_s(self.speed_max?)?;
                Duration::try_from_secs_f64(seconds).ok()
            }
        }
    }

    /// A speed in counts per second, as [`Line::counts`].
    pub fn counts_per_s(&self, speed: BeltSpeed) -> Option<f64> {
        match speed {
            BeltSpeed::CountsPerSecond(speed) => Some(speed),
            BeltSpeed::MillimetresPerSecond(speed) => Some(speed * self.counts_per_mm?.0),
        }
    }
}

impl Configuration {
    /// Whether parts are followed by the encoder: distance mode.
    pub fn is_by_distance(&self) -> bool {
        match self.line.mode {
            LineMode::Delay => false,
            LineMode::Distance => true,
            LineMode::Auto => self.gpio.encoder_a.is_some() || self.gpio.encoder_b.is_some(),
        }
    }

    /// How long frames are a part's, where parts and frames are paired by time: a frame of two parts
    /// belongs to neither. `None` in free run, where the frame is the part.
    pub fn frame_span(&self) -> Option<Duration> {
        let span = self.camera.match_before.saturating_add(self.camera.match_after);
        (!self.line.free_run).then_some(span)
    }

    /// How the line knows that the belt runs; never [`RunSignal::Auto`].
    pub fn run_signal(&self) -> RunSignal {
        match self.line.run_signal {
            RunSignal::Auto if self.gpio.run.is_some() => RunSignal::Line,
            RunSignal::Auto => RunSignal::None,
            chosen => chosen,
        }
    }
}
