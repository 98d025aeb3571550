//! Modbus of line-io 1.4: transport-free station and codec; TCP server, serial line, client mode.

mod client;
mod control;
mod fieldbus;
mod frame;
mod lock;
pub mod map;
#[cfg(test)]
mod properties;
mod results;
mod rtu;
mod server;
mod station;
#[cfg(test)]
mod tests;
mod traffic;

pub use client::{
    Answer, BadAnswer, CouplerOutputs, CouplerSettings, MasterRequest, OutputWatchdog, PlcSettings,
    decode_response,
};
pub use fieldbus::Fieldbus;
pub use frame::{Exception, HEADER_BYTES, Header, answer};
pub use results::{PublishedResult, ResultBoard, ResultsMode};
pub use rtu::{Parity, RtuFrame, RtuSettings, crc, frames, seal};
pub use server::{ModbusServer, ModbusSettings};
pub use station::{Caller, Station};
pub use traffic::Traffic;
