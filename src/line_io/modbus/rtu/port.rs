//! The serial port: raw mode, speed and parity by termios, readiness by the runtime.

use super::{Parity, RtuSettings};
use rustix::fs::OFlags;
use rustix::termios::{self, ControlModes, OptionalActions};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};

/// An open port, for this process alone. The runtime waits for it as for a pipe, in each direction:
/// its type for any other file is unsafe to make.
pub(super) struct Port {
    input: Receiver,
    output: Sender,
}

impl Port {
    /// Opens and sets up the device; a modem's lines are not waited for.
    pub(super) fn open(settings: &RtuSettings) -> io::Result<Self> {
        let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flags.bits().cast_signed());
        let file = options.open(&settings.device)?;
        let mut modes = termios::tcgetattr(&file)?;
        modes.make_raw();
        modes.set_speed(settings.baud)?;
        let wanted = control_modes(settings);
        let touched = ControlModes::CSIZE
            | ControlModes::PARENB
            | ControlModes::PARODD
            | ControlModes::CSTOPB
            | ControlModes::CRTSCTS;
        modes.control_modes = modes.control_modes & !touched | wanted;
        termios::tcsetattr(&file, OptionalActions::Flush, &modes)?;
        // The kernel takes what the device can do and is silent about the rest.
        let taken = termios::tcgetattr(&file)?;
        let (device, baud) = (settings.device.display(), settings.baud);
        if taken.output_speed() != baud {
            log::warn!("{device} runs at {} baud, not at {baud}", taken.output_speed());
        }
        if taken.control_modes & touched != wanted & touched {
            log::warn!("{device} does not do parity and stop bits as configured");
        }
        termios::ioctl_tiocexcl(&file)?;
        let output = Sender::from_file_unchecked(file.try_clone()?)?;
        Ok(Self { input: Receiver::from_file_unchecked(file)?, output })
    }

    /// Waits for bytes; 0 or an error: the device is gone.
    pub(super) async fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.input.read(bytes).await
    }

    /// Hands everything to the kernel.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes).await
    }
}

fn control_modes(settings: &RtuSettings) -> ControlModes {
    let parity = match settings.parity {
        Parity::Even => ControlModes::PARENB,
        Parity::Odd => ControlModes::PARENB | ControlModes::PARODD,
        Parity::None => ControlModes::empty(),
    };
    let stop = if settings.stop_bits == 2 { ControlModes::CSTOPB } else { ControlModes::empty() };
    ControlModes::CREAD | ControlModes::CLOCAL | ControlModes::CS8 | parity | stop
}
