//! The output wires, held by one request for the life of the process.

use super::GpioSettings;
use super::holder::{HolderLink, take_lines};
use super::line_file::{LineFile, Plan};
use crate::line::OutputLevels;
use crate::line_io::{LineIoError, OutputLines};
use std::path::PathBuf;

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
    fn level(self, levels: &OutputLevels, ready_mode: ReadyMode) -> bool {
        match self {
            Self::Ready => match ready_mode {
                ReadyMode::Level => levels.ready,
                ReadyMode::Toggle => levels.ready && levels.alive,
            },
            Self::Busy => levels.busy,
            Self::Pass => levels.pass,
            Self::Reject => levels.reject,
            Self::Fault => levels.fault,
            Self::Strobe => levels.strobe,
            Self::Alive => levels.alive,
        }
    }
}

/// What the line `ready` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyMode {
    /// 1 while the box may be trusted.
    Level,
    /// 5 Hz while the box may be trusted, else 0: `alive` and `ready` on one wire.
    Toggle,
}

/// The output wires and how they are driven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpioOutputSettings {
    /// Chip and lines.
    pub wires: GpioSettings<OutputLine>,
    /// The gate is the line `pass`; else it is `reject`.
    pub energise_to_pass: bool,
    /// What the line `ready` shows.
    pub ready_mode: ReadyMode,
    /// Where the holder listens; `None`: there is none.
    pub hold_socket: Option<PathBuf>,
}

/// The output lines of one chip. Dropping them makes them safe, then leaves them to the holder, or,
/// without one, the pads to hardware (line-io 1.2).
pub struct GpioOutputs {
    lines: LineFile,
    meanings: Vec<OutputLine>,
    ready_mode: ReadyMode,
    /// As the wires are; unknown after a write that failed.
    written: Option<u64>,
    chip: String,
    _holder: HolderLink,
}

impl GpioOutputs {
    /// Takes every line at the rejecting value of the gate: from the holder, or in one request that
    /// carries these values.
    ///
    /// # Errors
    /// Chip or line is missing, busy or not permitted; named, with the remedy.
    pub fn open(settings: &GpioOutputSettings) -> Result<Self, LineIoError> {
        let (lines, link) = take_lines(settings)?;
        let (_, found) = settings.wires.find()?;
        let plan = Plan::new(&settings.wires.chip, &found, settings.energise_to_pass);
        Ok(Self {
            written: Some(lines.safe()),
            lines,
            meanings: plan.lines.iter().map(|line| line.meaning).collect(),
            ready_mode: settings.ready_mode,
            chip: settings.wires.chip.display().to_string(),
            _holder: link,
        })
    }
}

fn bits(meanings: &[OutputLine], levels: &OutputLevels, ready_mode: ReadyMode) -> u64 {
    let bit =
        |(index, line): (usize, &OutputLine)| u64::from(line.level(levels, ready_mode)) << index;
    meanings.iter().enumerate().map(bit).sum()
}

impl OutputLines for GpioOutputs {
    /// One call of the kernel for all lines, none where no line changes.
    fn write(&mut self, levels: OutputLevels) -> Result<(), LineIoError> {
        let bits = bits(&self.meanings, &levels, self.ready_mode);
        if self.written == Some(bits) {
            return Ok(());
        }
        self.written = None;
        self.lines.write(bits).map_err(|error| LineIoError::Gpio {
            what: self.chip.clone(),
            reason: format!("outputs could not be written: {error}; see the kernel's log"),
        })?;
        self.written = Some(bits);
        Ok(())
    }
}

impl Drop for GpioOutputs {
    fn drop(&mut self) {
        if let Err(error) = self.lines.write_safe() {
            log::error!("outputs could not be made safe: {error}; see the kernel's log");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line_io::gpio::{GpioLine, LineAddress};
    use OutputLine::{Alive, Busy, Fault, Pass, Ready, Reject, Strobe};

    const ALL: [OutputLine; 7] = [Ready, Busy, Pass, Reject, Fault, Strobe, Alive];

    #[test]
    fn every_line_carries_its_own_level() {
        let zero = OutputLevels::default();
        for (index, levels) in [
            OutputLevels { ready: true, ..zero },
            OutputLevels { busy: true, ..zero },
            OutputLevels { pass: true, ..zero },
            OutputLevels { reject: true, ..zero },
            OutputLevels { fault: true, ..zero },
            OutputLevels { strobe: true, ..zero },
            OutputLevels { alive: true, ..zero },
        ]
        .iter()
        .enumerate()
        {
            assert_eq!(bits(&ALL, levels, ReadyMode::Level), 1 << index, "{levels:?}");
        }
    }

    #[test]
    fn a_toggling_ready_moves_with_alive_and_only_while_ready() {
        let toggle = |ready, alive| {
            let levels = OutputLevels { ready, alive, ..OutputLevels::default() };
            bits(&[Ready], &levels, ReadyMode::Toggle) == 1
        };
        assert!(toggle(true, true));
        assert!(!toggle(true, false) && !toggle(false, true) && !toggle(false, false));
    }

    #[test]
    fn a_missing_chip_is_an_error_not_a_panic() {
        let line = GpioLine { address: LineAddress::Offset(3), active_low: true };
        let wires = GpioSettings { chip: "/dev/gpiochip-none".into(), lines: vec![(Reject, line)] };
        let settings = GpioOutputSettings {
            wires,
            energise_to_pass: false,
            ready_mode: ReadyMode::Level,
            hold_socket: None,
        };
        let error = GpioOutputs::open(&settings).err().unwrap();
        assert!(error.to_string().contains("no such chip"), "{error}");
    }
}
