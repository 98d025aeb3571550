//! GPIO lines by the kernel's character device, uAPI v2 (line-io 1.6).
//!
//! All outputs are one request that carries their initial values, all inputs another, so their
//! edges come as one ordered stream with kernel time stamps on `CLOCK_MONOTONIC`. The outputs'
//! request is shared with the holder, so that it outlives the daemon.

mod edges;
mod holder;
mod inputs;
mod line_file;
mod lockout;
mod outputs;
mod quadrature;
mod steady;

pub use holder::Holder;
pub use inputs::{GpioInputSettings, GpioInputs, InputWire, Pull};
pub use outputs::{GpioOutputSettings, GpioOutputs, OutputLine, ReadyMode};

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
#[derive(Clone, Debug)]
struct FoundLine<L> {
    meaning: L,
    offset: Offset,
    active_low: bool,
}

impl<L: Copy> GpioSettings<L> {
    fn check(&self) -> Vec<LineIoError> {
        let (chip, found) = match self.find() {
            Ok(found) => found,
            Err(error) => return vec![error],
        };
        let lines = found.iter().zip(&self.lines);
        let problems = lines.filter_map(|(line, (_, configured))| {
            let info = chip.line_info(line.offset);
            match info.map_err(|error| self.refusal(Some(&configured.address), &error)) {
                Ok(info) if info.used && info.consumer != CONSUMER => {
                    Some(self.held_by(&configured.address, &info.consumer))
                }
                Ok(_) => None,
                Err(error) => Some(error),
            }
        });
        problems.collect()
    }

    fn held_by(&self, line: &LineAddress, consumer: &str) -> LineIoError {
        let what = match consumer {
            "" => {
                "the kernel itself (`cat /sys/kernel/debug/gpio` as root may say for what)".into()
            }
            CONSUMER => format!("\"{CONSUMER}\": another daemon, or its holder"),
            other => format!("\"{other}\""),
        };
        let reason = format!("held by {what}: stop that program or take another line");
        gpio_error(&self.chip, Some(line), reason)
    }

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
                return self.held_by(&configured.address, &info.consumer);
            }
        }
        self.refusal(None, error)
    }

    fn refusal(&self, line: Option<&LineAddress>, error: &gpiocdev::Error) -> LineIoError {
        let remedy = match system_error(error) {
            Some(2) => "no such chip: `gpiodetect` lists them",
            Some(1 | 13) => {
                "not permitted: the service's user needs the group that owns the chip (docs/guide/wiring.md)"
            }
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

/// Looks every wire up without taking one: each that is missing, has two meanings or is held by
/// another program, with the remedy. What a daemon or holder of this box has is no problem.
pub fn check(
    outputs: &GpioSettings<OutputLine>,
    inputs: &GpioSettings<InputWire>,
) -> Vec<LineIoError> {
    let mut problems = outputs.check();
    if inputs.lines.is_empty() {
        return problems;
    }
    problems.extend(inputs.check());
    if let (true, Ok((_, driven)), Ok((_, read))) =
        (outputs.chip == inputs.chip, outputs.find(), inputs.find())
    {
        for (line, (_, configured)) in read.iter().zip(&inputs.lines) {
            if driven.iter().any(|other| other.offset == line.offset) {
                let reason = "an output is configured on it too: every wire needs its own line";
                problems.push(gpio_error(&inputs.chip, Some(&configured.address), reason.into()));
            }
        }
    }
    problems
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

    fn settings(chip: &str) -> GpioSettings<OutputLine> {
        let line = GpioLine { address: LineAddress::Name("reject".into()), active_low: false };
        GpioSettings { chip: chip.into(), lines: vec![(OutputLine::Reject, line)] }
    }

    fn reason(chip: &str) -> String {
        let problems = settings(chip).check();
        assert_eq!(problems.len(), 1);
        problems[0].to_string()
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
    fn the_holder_of_a_line_is_named() {
        let settings = settings("/dev/gpiochip0");
        let line = LineAddress::Name("reject".into());
        let named = |consumer| settings.held_by(&line, consumer).to_string();
        for (consumer, words) in [
            ("led-blink", "line \"reject\": held by \"led-blink\": stop that program"),
            ("", "held by the kernel itself"),
            (CONSUMER, "another daemon, or its holder"),
        ] {
            assert!(named(consumer).contains(words), "{}", named(consumer));
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
