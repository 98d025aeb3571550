//! Wires in and out: GPIO, Modbus, and lines in memory for simulation.

pub mod channel;
pub mod gpio;
pub mod memory;
pub mod modbus;
pub mod realtime;

use crate::line::OutputLevels;
use thiserror::Error;

/// The output wires. Dropping a real one leaves the pads to hardware (line-io 1.2).
pub trait OutputLines: Send {
    /// Writes every line's logical level; called by the line thread only, must not block.
    fn write(&mut self, levels: OutputLevels) -> Result<(), LineIoError>;
}

/// Why a wire cannot be used.
#[derive(Debug, Error)]
pub enum LineIoError {
    /// GPIO chip or line.
    #[error("GPIO {what}: {reason}")]
    Gpio {
        /// Chip or line.
        what: String,
        /// What the kernel said, with the remedy.
        reason: String,
    },
    /// Modbus server.
    #[error("Modbus {what}: {reason}")]
    Modbus {
        /// Address.
        what: String,
        /// What happened, with the remedy.
        reason: String,
    },
}
