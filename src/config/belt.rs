//! What the keys about the belt mean together.

use super::units::{BeltLength, BeltSpeed};
use super::words::{LineMode, RunSignal};
use super::{Configuration, Line};

impl Line {
    /// A length in counts; `None` when it is in millimetres and nothing says how many counts
    /// that is.
    pub fn counts(&self, length: BeltLength) -> Option<f64> {
        match length {
            BeltLength::Counts(counts) => Some(counts),
            BeltLength::Millimetres(length) => Some(length * self.counts_per_mm?.0),
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

    /// How the line knows that the belt runs; never [`RunSignal::Auto`].
    pub fn run_signal(&self) -> RunSignal {
        match self.line.run_signal {
            RunSignal::Auto if self.gpio.run.is_some() => RunSignal::Line,
            RunSignal::Auto => RunSignal::None,
            chosen => chosen,
        }
    }
}
