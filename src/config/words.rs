//! Settings that are one of a few words.

use super::setting::Setting;
use super::source::Raw;
use std::path::PathBuf;

macro_rules! words {
    ($($(#[$about:meta])* $Name:ident { $($(#[$reason:meta])* $Variant:ident = $word:literal,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $Name { $($(#[$reason])* $Variant,)* }

        impl $Name {
            /// Every one, in the order of the reference.
            pub const ALL: &'static [Self] = &[$(Self::$Variant,)*];

            /// The word in the configuration.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$Variant => $word,)* }
            }
        }

        impl Setting for $Name {
            fn read(raw: &Raw) -> Result<Self, String> {
                let found = raw.text().and_then(|word| Self::ALL.iter().find(|w| w.word() == word));
                found.copied().ok_or_else(|| {
                    let words: Vec<String> = Self::ALL.iter().map(Setting::show).collect();
                    format!("is {}; write one of {}", raw.describe(), words.join(", "))
                })
            }

            fn show(&self) -> String {
                format!("{:?}", self.word())
            }
        }
    )*};
}

words! {
    /// What the network runs on.
    EngineDevice {
        /// The best that works.
        Auto = "auto",
        /// ONNX Runtime on the processor.
        Cpu = "cpu",
        /// TensorRT on an NVIDIA GPU.
        Tensorrt = "tensorrt",
    }
    /// Where frames come from.
    CameraSource {
        /// A GStreamer pipeline as `gst-launch-1.0` takes it.
        Gstreamer = "gstreamer",
        /// A network camera or file by its address.
        Uri = "uri",
        /// A camera of this machine.
        Device = "device",
        /// Pictures of a folder.
        Folder = "folder",
        /// Parts drawn by the simulator.
        Simulated = "simulated",
    }
    /// What the gate does when it has power (line-io 1.1).
    Wiring {
        /// Power rejects: the gate is the line `reject`.
        EnergiseToReject = "energise_to_reject",
        /// Power passes: the gate is the line `pass`, and a loss of power rejects.
        EnergiseToPass = "energise_to_pass",
    }
    /// How a part is followed to the ejector (line-io 1.3).
    LineMode {
        /// By distance where the encoder is wired, else by time.
        Auto = "auto",
        /// By time, at a fixed speed.
        Delay = "delay",
        /// By the encoder's counts.
        Distance = "distance",
    }
    /// How the line knows that the belt runs (line-io 1.3).
    RunSignal {
        /// By the wire `gpio.run` where it is wired, else not at all.
        Auto = "auto",
        /// It is not told: the belt never stops, or the encoder follows it.
        None = "none",
        /// By the wire `gpio.run`.
        Line = "line",
        /// By the PLC's BELT_RUN.
        Plc = "plc",
    }
    /// What the gate does in Fault (line-io 1.5).
    FaultGate {
        /// It rejects all the time.
        Reject = "reject",
        /// It rejects the window of every part: for a valve not rated for continuous duty.
        PerPart = "per_part",
    }
    /// What an alarm does (line-io 1.8).
    AlarmAction {
        /// The line goes on, degraded.
        Warn = "warn",
        /// Fault: everything is rejected, the PLC stops the belt.
        Stop = "stop",
    }
    /// Whether a part may be announced over Modbus (line-io 1.1).
    SoftTrigger {
        /// Only where no trigger line is wired.
        Auto = "auto",
        /// Yes.
        On = "on",
        /// No.
        Off = "off",
    }
    /// Pull of the input lines.
    Bias {
        /// Towards what counts as 0: a broken wire is no signal.
        Inactive = "inactive",
        /// None: the box has its own resistors.
        Disabled = "disabled",
    }
    /// What the line `ready` shows.
    ReadyMode {
        /// 1 while the box may be trusted.
        Level = "level",
        /// 5 Hz while the box may be trusted.
        Toggle = "toggle",
    }
    /// Lines of the GPIO section, by their keys.
    GpioLine {
        /// In: a part is there.
        Trigger = "trigger",
        /// In: channel A of the encoder.
        EncoderA = "encoder_a",
        /// In: channel B of the encoder.
        EncoderB = "encoder_b",
        /// In: clears a fault.
        Reset = "reset",
        /// In: barrier in the reject chute.
        Confirm = "confirm",
        /// In: the belt runs.
        Run = "run",
        /// In: compressed air is there.
        AirOk = "air_ok",
        /// Out: parts are inspected.
        Ready = "ready",
        /// Out: gate or pulse of a pass.
        Pass = "pass",
        /// Out: gate or pulse of a reject.
        Reject = "reject",
        /// Out: Fault.
        Fault = "fault",
        /// Out: the engine works.
        Busy = "busy",
        /// Out: 5 Hz while the line thread lives.
        Alive = "alive",
        /// Out: the flash.
        Strobe = "strobe",
    }
    /// How a PLC takes results (line-io 1.4).
    ResultsMode {
        /// The newest, without acknowledgement.
        Latest = "latest",
        /// One at a time, acknowledged by a coil.
        Handshake = "handshake",
        /// In order, acknowledged by number.
        Index = "index",
    }
    /// Order of the words of numbers of more than 16 bits.
    WordOrder {
        /// As Modbus masters usually expect.
        HighFirst = "high_first",
        /// Swapped.
        LowFirst = "low_first",
    }
    /// Parity bit of a serial line.
    Parity {
        /// As Modbus over serial line says.
        Even = "even",
        /// Odd.
        Odd = "odd",
        /// None.
        None = "none",
    }
    /// What this box is the Modbus master of.
    ClientTarget {
        /// Nothing.
        Off = "off",
        /// A PLC that takes results.
        Plc = "plc",
        /// A coupler that moves the gate.
        Coupler = "coupler",
    }
    /// Least important message written to the log.
    LogLevel {
        /// Errors.
        Error = "error",
        /// And warnings.
        Warn = "warn",
        /// And what happens.
        Info = "info",
        /// And why.
        Debug = "debug",
        /// And every step.
        Trace = "trace",
    }
}

/// Where ONNX Runtime's library is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Library {
    /// Looked for in the usual places.
    Auto,
    /// This file.
    Path(PathBuf),
}

impl Setting for Library {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw.text() {
            Some("auto") => Ok(Self::Auto),
            Some(path) if !path.is_empty() => Ok(Self::Path(path.into())),
            _ => Err(format!("is {}; write \"auto\" or the library's path", raw.describe())),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "\"auto\"".into(),
            Self::Path(path) => path.show(),
        }
    }
}

/// A register of another device and its value, written "0x1008=0x55AA".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegisterValue {
    /// The register, zero-based.
    pub register: u16,
    /// Its value.
    pub value: u16,
}

fn word(text: &str) -> Option<u16> {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

impl Setting for RegisterValue {
    fn read(raw: &Raw) -> Result<Self, String> {
        let pair = raw.text().and_then(|text| {
            let (register, value) = text.split_once('=')?;
            Some(Self { register: word(register)?, value: word(value)? })
        });
        pair.ok_or_else(|| format!("is {}; write one like \"0x1008=0x55AA\"", raw.describe()))
    }

    fn show(&self) -> String {
        format!("\"{:#06X}={:#X}\"", self.register, self.value)
    }
}
