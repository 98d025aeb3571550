//! Output lines as a file: whoever has it open keeps them driven, so two processes can share them.

use super::{CONSUMER, FoundLine, GpioSettings, OutputLine};
use crate::line_io::LineIoError;
use gpiocdev::Request;
use gpiocdev::line::Value;
use gpiocdev_uapi::v2::{LineValues, set_line_values};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// One request of output lines, held as long as any process has its file open.
pub struct LineFile {
    file: File,
    /// What the lines are, to be compared: chip, then offset, meaning and polarity of each.
    wires: String,
    /// The levels at which nothing passes and nobody trusts the box, one bit a line.
    safe: u64,
    count: usize,
}

impl LineFile {
    /// Takes every line in one request that carries the safe levels.
    ///
    /// # Errors
    /// Chip or line is missing, busy or not permitted; named, with the remedy.
    pub fn request(
        settings: &GpioSettings<OutputLine>,
        energise_to_pass: bool,
    ) -> Result<Self, LineIoError> {
        let (chip, found) = settings.find()?;
        let plan = Plan::new(&settings.chip, &found, energise_to_pass);
        let mut request = Request::builder();
        request.on_chip(&settings.chip).with_consumer(CONSUMER);
        for (index, line) in plan.lines.iter().enumerate() {
            request.with_line(line.offset).as_output(Value::from(plan.safe >> index & 1 == 1));
            if line.active_low {
                request.as_active_low();
            } else {
                request.as_active_high();
            }
        }
        let request = request.request();
        let request = request.map_err(|error| settings.request_refusal(&chip, &found, &error))?;
        let file = request.as_fd().try_clone_to_owned().map_err(|error| LineIoError::Gpio {
            what: settings.chip.display().to_string(),
            reason: format!("the request's file cannot be kept: {error}; look at LimitNOFILE"),
        })?;
        Ok(Self { file: file.into(), wires: plan.wires, safe: plan.safe, count: plan.lines.len() })
    }

    /// Lines that another process holds too.
    pub fn shared(file: OwnedFd, wires: String, safe: u64, count: usize) -> Self {
        Self { file: file.into(), wires, safe, count }
    }

    /// Its own handle of the same lines.
    pub fn share(&self) -> io::Result<Self> {
        let wires = self.wires.clone();
        Ok(Self { file: self.file.try_clone()?, wires, safe: self.safe, count: self.count })
    }

    /// What the lines are.
    pub fn wires(&self) -> &str {
        &self.wires
    }

    /// The safe levels, one bit a line.
    pub fn safe(&self) -> u64 {
        self.safe
    }

    /// How many lines.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Writes every line, one bit each, by one call of the kernel.
    pub fn write(&self, bits: u64) -> Result<(), gpiocdev_uapi::Error> {
        let mask = u64::MAX >> (64 - self.count.clamp(1, 64));
        set_line_values(&self.file, &LineValues { bits, mask })
    }

    /// Writes the safe levels.
    pub fn write_safe(&self) -> Result<(), gpiocdev_uapi::Error> {
        self.write(self.safe)
    }
}

impl AsFd for LineFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The lines of a request in the order of their offsets: so the kernel numbers them, since
/// `gpiocdev` sorts the offsets it requests.
pub struct Plan {
    /// The lines.
    pub lines: Vec<FoundLine<OutputLine>>,
    /// As [`LineFile::wires`].
    pub wires: String,
    /// As [`LineFile::safe`]: the gate rejects, all else is 0.
    pub safe: u64,
}

impl Plan {
    /// Of the lines found on a chip.
    pub fn new(chip: &Path, found: &[FoundLine<OutputLine>], energise_to_pass: bool) -> Self {
        let mut lines = found.to_vec();
        lines.sort_unstable_by_key(|line| line.offset);
        let mut wires = chip.display().to_string();
        let mut safe = 0;
        for (index, line) in lines.iter().enumerate() {
            let polarity = if line.active_low { "low" } else { "high" };
            let _ = write!(wires, " {} {:?} {polarity}", line.offset, line.meaning);
            let rejects = !energise_to_pass && line.meaning == OutputLine::Reject;
            safe |= u64::from(rejects) << index;
        }
        Self { lines, wires, safe }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_in_the_order_of_offsets_whatever_the_configuration_says_first() {
        let found = |meaning, offset, active_low| FoundLine { meaning, offset, active_low };
        let lines = [
            found(OutputLine::Ready, 12, false),
            found(OutputLine::Reject, 8, true),
            found(OutputLine::Alive, 3, false),
        ];
        let plan = Plan::new(Path::new("c"), &lines, false);
        let order: Vec<_> = plan.lines.iter().map(|line| line.meaning).collect();
        assert_eq!(order, [OutputLine::Alive, OutputLine::Reject, OutputLine::Ready]);
        assert_eq!(
            (plan.safe, plan.wires.as_str()),
            (2, "c 3 Alive high 8 Reject low 12 Ready high")
        );
        assert_eq!(Plan::new(Path::new("c"), &lines, true).safe, 0);
        let mut request = Request::builder();
        for line in &plan.lines {
            request.with_line(line.offset);
        }
        assert_eq!(*request.config().lines(), [3, 8, 12], "the library keeps this order");
    }
}
