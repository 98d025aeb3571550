//! Modbus server of line-io 1.4: transport-free station and codec, and its TCP server.

mod control;
mod frame;
mod lock;
pub mod map;
mod results;
mod server;
mod station;
#[cfg(test)]
mod tests;

pub use frame::{Exception, HEADER_BYTES, Header, answer};
pub use results::{PublishedResult, ResultBoard, ResultsMode};
pub use server::{ModbusServer, ModbusSettings};
pub use station::{Caller, Station};
