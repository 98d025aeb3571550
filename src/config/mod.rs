//! Typed configuration: layers, defaults, every error at once with file, line and nearest key.
//!
//! One table ([`keys`]) says every key, its type, default, bounds and reason; the structs, the
//! reader and `config/onenipd.toml` come from it.

mod belt;
mod keys;
mod layers;
mod problem;
mod reference;
mod rules;
mod setting;
mod source;
mod units;
mod words;

pub use keys::{
    Camera, Configuration, Engine, Gpio, Line, Log, Modbus, ModbusClient, ModbusRtu, Products,
    Realtime, Records, Simulation, State,
};
pub use layers::{Layers, load, load_without_bundle};
pub use problem::{ConfigurationErrors, Problem};
pub use reference::reference_toml;
pub use units::{
    BeltLength, BeltSpeed, Bytes, CountsPerMillimetre, Fraction, PartSpacing, PerSecond,
};
pub use words::{
    AlarmAction, Bias, CameraSource, ClientTarget, EngineDevice, FaultGate, GpioLine, Library,
    LineMode, LogLevel, Parity, ReadyMode, RegisterValue, ResultsMode, RunSignal, SoftTrigger,
    Wiring, WordOrder,
};

use std::path::PathBuf;

impl Configuration {
    /// Where records and pictures lie.
    pub fn records_directory(&self) -> PathBuf {
        let given = self.records.directory.clone();
        given.unwrap_or_else(|| self.state.directory.join("records"))
    }

    /// The file of the counters that survive a restart.
    pub fn life_counters_file(&self) -> PathBuf {
        let given = self.line.life_counters.clone();
        given.unwrap_or_else(|| self.state.directory.join("life-counters.toml"))
    }
}

#[cfg(test)]
mod tests;
