//! The output wires, held by one request for the life of the process.

use super::{CONSUMER, GpioSettings};
use crate::line::OutputLevels;
use crate::line_io::{LineIoError, OutputLines};
use gpiocdev::Request;
use gpiocdev::line::{Offset, Value, Values};

/// Wires out of the box (line-io 1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputLine {
    /// The box may be trusted.
    Ready,
    /// The engine works.
    Busy,
    /// Gate when energise to pass, else a pulse.
    Pass,
    /// Gate when energise to reject, else a pulse.
    Reject,
    /// State is Fault.
    Fault,
    /// Flash.
    Strobe,
    /// 5 Hz of the line thread.
    Alive,
}

impl OutputLine {
    /// Its logical level among `levels`.
    fn level(self, levels: &OutputLevels) -> bool {
        match self {
            Self::Ready => levels.ready,
            Self::Busy => levels.busy,
            Self::Pass => levels.pass,
            Self::Reject => levels.reject,
            Self::Fault => levels.fault,
            Self::Strobe => levels.strobe,
            Self::Alive => levels.alive,
        }
    }
}

/// Levels carried by the request: the gate rejects, all else is 0.
fn initial_levels(energise_to_pass: bool) -> OutputLevels {
    OutputLevels { reject: !energise_to_pass, ..OutputLevels::default() }
}

/// The output lines of one chip. Dropping them leaves the pads to hardware (line-io 1.2).
pub struct GpioOutputs {
    request: Request,
    lines: Vec<(OutputLine, Offset)>,
    /// Rewritten in place: the line thread does not allocate.
    values: Values,
    chip: String,
}

impl GpioOutputs {
    /// Takes every line in one request that carries the rejecting value of the gate.
    ///
    /// # Errors
    /// Chip or line is missing, busy or not permitted; named, with the remedy.
    pub fn open(
        settings: &GpioSettings<OutputLine>,
        energise_to_pass: bool,
    ) -> Result<Self, LineIoError> {
        let (chip, found) = settings.find()?;
        let initial = initial_levels(energise_to_pass);
        let mut request = Request::builder();
        request.on_chip(&settings.chip).with_consumer(CONSUMER);
        let mut values = Values::default();
        let mut lines = Vec::with_capacity(found.len());
        for line in &found {
            let value = Value::from(line.meaning.level(&initial));
            request.with_line(line.offset).as_output(value);
            if line.active_low {
                request.as_active_low();
            } else {
                request.as_active_high();
            }
            values.set(line.offset, value);
            lines.push((line.meaning, line.offset));
        }
        let request = request.request();
        let request = request.map_err(|error| settings.request_refusal(&chip, &found, &error))?;
        Ok(Self { request, lines, values, chip: settings.chip.display().to_string() })
    }
}

impl OutputLines for GpioOutputs {
    fn write(&mut self, levels: OutputLevels) -> Result<(), LineIoError> {
        for &(line, offset) in &self.lines {
            self.values.set(offset, Value::from(line.level(&levels)));
        }
        self.request.set_values(&self.values).map_err(|error| LineIoError::Gpio {
            what: self.chip.clone(),
            reason: format!("outputs could not be written: {error}; see the kernel's log"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line_io::gpio::{GpioLine, LineAddress};

    #[test]
    fn every_line_carries_its_own_level() {
        use OutputLine::{Alive, Busy, Fault, Pass, Ready, Reject, Strobe};
        let zero = OutputLevels::default();
        for (line, levels) in [
            (Ready, OutputLevels { ready: true, ..zero }),
            (Busy, OutputLevels { busy: true, ..zero }),
            (Pass, OutputLevels { pass: true, ..zero }),
            (Reject, OutputLevels { reject: true, ..zero }),
            (Fault, OutputLevels { fault: true, ..zero }),
            (Strobe, OutputLevels { strobe: true, ..zero }),
            (Alive, OutputLevels { alive: true, ..zero }),
        ] {
            for other in [Ready, Busy, Pass, Reject, Fault, Strobe, Alive] {
                assert_eq!(other.level(&levels), other == line, "{other:?} of {levels:?}");
            }
        }
    }

    #[test]
    fn the_gate_rejects_from_the_request_on_in_either_wiring() {
        assert_eq!(initial_levels(true), OutputLevels::default());
        let energise_to_reject = OutputLevels { reject: true, ..OutputLevels::default() };
        assert_eq!(initial_levels(false), energise_to_reject);
    }

    #[test]
    fn a_missing_chip_is_an_error_not_a_panic() {
        let line = GpioLine { address: LineAddress::Offset(3), active_low: true };
        let settings = GpioSettings {
            chip: "/dev/gpiochip-none".into(),
            lines: vec![(OutputLine::Reject, line)],
        };
        let error = GpioOutputs::open(&settings, false).err().unwrap();
        assert!(error.to_string().contains("no such chip"), "{error}");
    }
}
