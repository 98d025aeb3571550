//! GPIO lines by the kernel's character device, uAPI v2 (line-io 1.6).
//!
//! All outputs are one request that carries their initial values, all inputs another, so their
//! edges come as one ordered stream with kernel time stamps on `CLOCK_MONOTONIC`.

mod inputs;
mod outputs;

pub use inputs::GpioInputs;
pub use outputs::{GpioOutputs, OutputLine};

use super::LineIoError;
use gpiocdev::chip::Chip;
use gpiocdev::line::Offset;
use std::fmt;
use std::path::{Path, PathBuf};

/// Name under which the kernel shows our lines.
const CONSUMER: &str = "onenipd";

/// Which line of a chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineAddress {
    /// By its number on the chip.
    Offset(u32),
    /// By its name on the chip, as `gpioinfo` shows it.
    Name(String),
}

impl fmt::Display for LineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => write!(f, "line {offset}"),
            Self::Name(name) => write!(f, "line \"{name}\""),
        }
    }
}

/// A wire: a line and its polarity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpioLine {
    /// Which line.
    pub address: LineAddress,
    /// A low level is logical 1.
    pub active_low: bool,
}

/// Lines of one chip, each with its meaning `L`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpioSettings<L> {
    /// The chip, such as `/dev/gpiochip0`.
    pub chip: PathBuf,
    /// Its lines.
    pub lines: Vec<(L, GpioLine)>,
}

/// A line found on the chip.
struct FoundLine<L> {
    meaning: L,
    offset: Offset,
    active_low: bool,
}

impl<L: Copy> GpioSettings<L> {
    /// Opens the chip and finds every line, none of them twice.
    fn find(&self) -> Result<(Chip, Vec<FoundLine<L>>), LineIoError> {
        let chip = Chip::from_path(&self.chip).map_err(|error| self.refusal(None, &error))?;
        if self.lines.is_empty() {
            let reason = "no line is configured on this chip: name one, or take the chip out";
            return Err(gpio_error(&self.chip, None, reason.into()));
        }
        let info = chip.info().map_err(|error| self.refusal(None, &error))?;
        let mut found: Vec<FoundLine<L>> = Vec::new();
        for (meaning, line) in &self.lines {
            let missing = |reason: String| gpio_error(&self.chip, Some(&line.address), reason);
            let offset = match &line.address {
                LineAddress::Offset(offset) if *offset < info.num_lines => *offset,
                LineAddress::Offset(_) => {
                    return Err(missing(format!("the chip has {} lines", info.num_lines)));
                }
                LineAddress::Name(name) => {
                    let named = chip.find_line_info(name).map(|line| line.offset);
                    let remedy = "no such name on this chip: `gpioinfo` lists them";
                    named.ok_or_else(|| missing(remedy.into()))?
                }
            };
            if found.iter().any(|other| other.offset == offset) {
                return Err(missing("configured twice: every wire needs a line of its own".into()));
            }
            found.push(FoundLine { meaning: *meaning, offset, active_low: line.active_low });
        }
        Ok((chip, found))
    }

    /// Why a request of found lines failed; a busy line is named with its holder.
    fn request_refusal(
        &self,
        chip: &Chip,
        found: &[FoundLine<L>],
        error: &gpiocdev::Error,
    ) -> LineIoError {
        for (line, (_, configured)) in found.iter().zip(&self.lines) {
            if let Ok(info) = chip.line_info(line.offset)
                && info.used
            {
                let reason = format!(
                    "held by \"{}\": stop that program or take another line",
                    info.consumer
                );
                return gpio_error(&self.chip, Some(&configured.address), reason);
            }
        }
        self.refusal(None, error)
    }

    fn refusal(&self, line: Option<&LineAddress>, error: &gpiocdev::Error) -> LineIoError {
        let remedy = match system_error(error) {
            Some(2) => "no such chip: `gpiodetect` lists them",
            Some(1 | 13) => "not permitted: the service's user needs the group that owns the chip",
            Some(16) => "busy: `gpioinfo` names the program that holds a line",
            Some(22) => "the chip refuses this configuration of its lines",
            _ if matches!(error, gpiocdev::Error::GpioChip(..)) => {
                "not a GPIO chip: `gpiodetect` lists them"
            }
            _ => "see the kernel's log (`dmesg`)",
        };
        gpio_error(&self.chip, line, format!("{error}; {remedy}"))
    }
}

fn gpio_error(chip: &Path, line: Option<&LineAddress>, reason: String) -> LineIoError {
    let what = match line {
        Some(line) => format!("{} {line}", chip.display()),
        None => chip.display().to_string(),
    };
    LineIoError::Gpio { what, reason }
}

/// Number of the system's error EINTR: a signal came, nothing is wrong.
const INTERRUPTED: i32 = 4;

/// The system's error number; `gpiocdev` keeps its type private but not its text.
fn system_error(error: &gpiocdev::Error) -> Option<i32> {
    let text = error.to_string();
    let (_, rest) = text.rsplit_once("(os error ")?;
    rest.split(')').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::InputLine;

    fn settings(chip: &str) -> GpioSettings<InputLine> {
        let line = GpioLine { address: LineAddress::Name("trigger".into()), active_low: false };
        GpioSettings { chip: chip.into(), lines: vec![(InputLine::Trigger, line)] }
    }

    fn reason(chip: &str) -> String {
        settings(chip).find().err().unwrap().to_string()
    }

    #[test]
    fn a_chip_that_cannot_be_used_is_named_with_the_remedy() {
        let missing = reason("/dev/gpiochip-none");
        assert!(missing.contains("/dev/gpiochip-none"), "{missing}");
        assert!(missing.contains("no such chip: `gpiodetect` lists them"), "{missing}");
        for other in ["/dev/null", "/etc/passwd"] {
            let text = reason(other);
            assert!(text.contains(other) && text.contains("not a GPIO chip"), "{text}");
        }
    }

    #[test]
    fn refusals_of_the_kernel_have_remedies() {
        let settings = settings("/dev/gpiochip0");
        for (number, remedy) in [(13, "not permitted"), (16, "busy"), (22, "refuses"), (5, "dmesg")]
        {
            let error = gpiocdev::Error::from(std::io::Error::from_raw_os_error(number));
            let text = settings.refusal(Some(&LineAddress::Offset(7)), &error).to_string();
            assert!(text.contains("/dev/gpiochip0 line 7") && text.contains(remedy), "{text}");
        }
        let interrupted = gpiocdev::Error::from(std::io::Error::from_raw_os_error(4));
        assert_eq!(system_error(&interrupted), Some(INTERRUPTED));
        assert_eq!(system_error(&gpiocdev::Error::NoGpioChips()), None);
    }
}
