//! The table of keys: section, key, type, default, bounds, reason.

use super::setting::{Setting, read_within};
use super::source::Raw;
use super::units::{
    BeltLength, BeltSpeed, Bytes, CountsPerMillimetre, Fraction, PartSpacing, PerSecond,
};
use super::words::{
    AlarmAction, Bias, CameraSource, ClientTarget, EngineDevice, FaultGate, GpioLine, Library,
    LineMode, LogLevel, Parity, ReadyMode, RegisterValue, ResultsMode, RunSignal, SoftTrigger,
    Wiring, WordOrder,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// A section of the reference.
pub(super) struct SectionTable {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) keys: Vec<KeyTable>,
}

/// A key of the reference.
pub(super) struct KeyTable {
    pub(super) name: &'static str,
    pub(super) reason: &'static str,
    /// As TOML.
    pub(super) default: String,
}

/// Why a key could not be set.
pub(super) enum SetError {
    UnknownKey,
    Value(String),
}

macro_rules! sections {
    ($(#[doc = $about:literal] $section:ident: $Section:ident {
        $(#[doc = $reason:literal] $key:ident: $Kind:ty = $default:expr $(, $bounds:expr)?;)*
    })*) => {
        $(
            #[doc = $about]
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section { $(#[doc = $reason] pub $key: $Kind,)* }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $($key: $default,)* }
                }
            }
        )*

        /// The whole configuration.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Configuration { $(#[doc = $about] pub $section: $Section,)* }

        impl Configuration {
            /// Sets one key.
            pub(super) fn set(
                &mut self,
                section: &str,
                key: &str,
                raw: &Raw,
            ) -> Result<(), SetError> {
                match (section, key) {
                    $($((stringify!($section), stringify!($key)) => {
                        let bounds = None::<RangeInclusive<$Kind>>$(.or(Some($bounds)))?;
                        self.$section.$key = read_within(raw, bounds).map_err(SetError::Value)?;
                    })*)*
                    _ => return Err(SetError::UnknownKey),
                }
                Ok(())
            }
        }

        /// Every section, in the order of the reference.
        pub(super) fn sections() -> Vec<SectionTable> {
            let all = Configuration::default();
            vec![$(SectionTable {
                name: stringify!($section),
                about: $about,
                keys: vec![$(KeyTable {
                    name: stringify!($key),
                    reason: $reason,
                    default: all.$section.$key.show(),
                },)*],
            },)*]
        }
    };
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const DAY: Duration = s(86_400);
const GB: u64 = 1_000_000_000;

sections! {
    /// The network that judges.
    engine: Engine {
        /// Folder of the engine bundle, as `onenipd train` or `import` makes it.
        bundle: PathBuf = PathBuf::new();
        /// "cpu", "tensorrt" on an NVIDIA GPU, or "auto": the best that works, and it says why no better.
        device: EngineDevice = EngineDevice::Auto;
        /// ONNX Runtime's library: its path, or "auto" to look beside the program and in the system.
        library: Library = Library::Auto;
        /// Threads of one inference; leave a core for the line.
        threads: usize = 2, 1..=64;
        /// Parts that may wait for the engine; one more gets no decision and is rejected.
        queue: usize = 2, 1..=64;
    }
    /// Where frames come from.
    camera: Camera {
        /// "gstreamer", "uri", "device", "folder" or "simulated"; the key of that name says which.
        source: CameraSource = CameraSource::Device;
        /// GStreamer pipeline as gst-launch-1.0 takes it, up to but without its sink.
        pipeline: Option<String> = None;
        /// Address of a network camera or file: rtsp://…, http://…, file://…
        uri: Option<String> = None;
        /// Video device of this machine.
        device: Option<String> = Some("/dev/video0".into());
        /// Folder of pictures, shown in the order of their names, again from the start at the end.
        folder: Option<PathBuf> = None;
        /// Pixels across; 0 takes what the camera gives.
        width: u32 = 0, 0..=16_384;
        /// Pixels down; 0 takes what the camera gives.
        height: u32 = 0, 0..=16_384;
        /// Frames asked of the camera; "0 /s" takes what it gives, of a folder 10 /s.
        rate: PerSecond = PerSecond(0.0), PerSecond(0.0)..=PerSecond(10_000.0);
        /// One picture per trigger, counted as the parts are; false: the camera runs freely.
        triggered: bool = true;
        /// A part without a frame after this long gets no decision.
        frame_timeout: Duration = ms(100), ms(1)..=s(60);
        /// A frame stamped up to this long before the trigger may be the part's: for clocks only.
        match_before: Duration = ms(10), ms(0)..=s(10);
        /// And up to this long after it: exposure, or a free camera's interval. Parts closer than both: 205.
        match_after: Duration = ms(50), ms(1)..=s(10);
        /// Pause before a lost camera is opened again.
        reconnect_interval: Duration = s(1), ms(10)..=s(600);
    }
    /// From trigger to ejector, and when to stop (line-io 1.3, 1.8).
    line: Line {
        /// "energise_to_reject", or "energise_to_pass": then a loss of power rejects (recommended).
        wiring: Wiring = Wiring::EnergiseToReject;
        /// "delay": by time, at a fixed speed; "distance": by encoder; "auto": distance if it is wired.
        mode: LineMode = LineMode::Auto;
        /// Delay mode: from the trigger to the part's arrival at the ejector.
        delay: Duration = ms(400), ms(1)..=s(3600);
        /// Distance mode: from the sensor to the ejector, like "350 mm" or "4200 counts".
        distance: Option<BeltLength> = None;
        /// Distance mode: how long the ejector treats a part: its length along the belt.
        length: Option<BeltLength> = None;
        /// Distance mode: no belt runs faster, like "0.5 m/s" or "2000 counts/s".
        speed_max: Option<BeltSpeed> = None;
        /// Counts of the encoder (4 per line of its disc) per millimetre of the belt.
        counts_per_mm: Option<CountsPerMillimetre> = None;
        /// Distance mode: further back, parts are no longer known; empty: half of the distance.
        reverse_max: Option<BeltLength> = None;
        /// Distance mode: an encoder that stands for so long while the belt runs is broken.
        encoder_stall: Duration = ms(200), ms(10)..=s(60);
        /// "line": gpio.run, "plc": BELT_RUN, "none", or "auto": gpio.run if wired; a belt that can stop needs one.
        run_signal: RunSignal = RunSignal::Auto;
        /// Parts come no closer, like "80 ms" or "60 mm"; then a window that is longer is refused.
        part_spacing: Option<PartSpacing> = None;
        /// From the output's edge until the ejector acts: valve and mechanics.
        actuation_time: Duration = ms(15), ms(0)..=s(60);
        /// Largest error of trigger and output together; every window is wider by it on both sides.
        jitter: Duration = ms(2), ms(0)..=s(1);
        /// A pass must be known this long before the window opens.
        guard: Duration = ms(5), ms(0)..=s(10);
        /// How long the ejector acts on a part.
        pulse: Duration = ms(50), ms(1)..=s(60);
        /// Shortest pause between two rejects; closer ones become one.
        min_gap: Duration = ms(20), ms(0)..=s(60);
        /// In Fault, "reject" always, or "per_part": each part's window, for a valve not rated for longer.
        fault_gate: FaultGate = FaultGate::Reject;
        /// A part that is not decided after this long gets no decision, however long its way is.
        decide_max: Duration = s(1), ms(1)..=s(3600);
        /// Edges within this time of an accepted trigger are bounce.
        lockout: Duration = ms(5), ms(0)..=s(10);
        /// A trigger within this time of the part before is a part without a decision.
        min_part: Duration = ms(5), ms(0)..=s(10);
        /// From the trigger to the flash, where gpio.strobe is wired.
        strobe_offset: Duration = ms(0), ms(0)..=s(10);
        /// How long it flashes.
        strobe_width: Duration = ms(1), Duration::from_micros(100)..=s(1);
        /// Fails in a row that raise the alarm.
        consecutive_rejects: u32 = 5, 1..=1000;
        /// "stop" or "warn": that many parts are rarely bad by chance.
        consecutive_reject_action: AlarmAction = AlarmAction::Stop;
        /// Fails among the last m_of_n_parts that raise the alarm.
        m_of_n_rejects: u32 = 10, 1..=1000;
        /// How many parts m_of_n_rejects looks back on.
        m_of_n_parts: u32 = 50, 1..=1000;
        /// "stop" or "warn".
        m_of_n_action: AlarmAction = AlarmAction::Warn;
        /// "stop" or "warn": what three parts without a decision in a hundred do.
        no_decision_action: AlarmAction = AlarmAction::Warn;
        /// "stop" where the PLC moves the ejector, "warn" where this box does.
        plc_lost_action: AlarmAction = AlarmAction::Warn;
        /// Whether the PLC may switch rejecting off: the only exception to the rule above all.
        allow_inhibit: bool = false;
        /// "on", "off" or "auto": parts announced over Modbus; auto: only without a trigger line.
        soft_trigger: SoftTrigger = SoftTrigger::Auto;
        /// Every frame is a part: for a camera with its own trigger, and for trials.
        free_run: bool = false;
        /// File of the counters that survive a restart; empty: in the state directory.
        life_counters: Option<PathBuf> = None;
        /// At the end, parts under way are treated for this long at most.
        drain: Duration = s(5), ms(0)..=s(5);
    }
    /// Wires of this box: names or offsets of the chip's lines; empty is not wired (line-io 1.6).
    gpio: Gpio {
        /// The chip, such as /dev/gpiochip0; empty: no wires, Modbus only.
        chip: Option<PathBuf> = None;
        /// In: rising edge, a part is there.
        trigger: Option<String> = None;
        /// In: channel A of the encoder's quadrature, at most 4000 edges a second.
        encoder_a: Option<String> = None;
        /// In: channel B of the encoder.
        encoder_b: Option<String> = None;
        /// In: a button that clears a fault when it is held for 100 ms.
        reset: Option<String> = None;
        /// In: the light barrier in the reject chute.
        confirm: Option<String> = None;
        /// In: 1 while the belt runs.
        run: Option<String> = None;
        /// In: 1 while there is compressed air.
        air_ok: Option<String> = None;
        /// Out: 1 while parts are inspected; the PLC stops the belt at 0.
        ready: Option<String> = None;
        /// Out: the gate when wired energise_to_pass, else a pulse per pass.
        pass: Option<String> = None;
        /// Out: the gate when wired energise_to_reject, else a pulse per reject.
        reject: Option<String> = None;
        /// Out: 1 in Fault.
        fault: Option<String> = None;
        /// Out: 1 while the engine works.
        busy: Option<String> = None;
        /// Out: 5 Hz from the thread that moves the gate; must be supervised.
        alive: Option<String> = None;
        /// Out: the flash, where the camera has no output of its own.
        strobe: Option<String> = None;
        /// Keys of this section whose lines are active at low level.
        active_low: Vec<GpioLine> = Vec::new();
        /// Pull of the inputs: "inactive" makes a broken wire no signal; "disabled" leaves it open.
        bias: Bias = Bias::Inactive;
        /// "level", or "toggle": `ready` is 5 Hz while ready, and `alive` needs no wire of its own.
        ready_mode: ReadyMode = ReadyMode::Level;
        /// Where `onenipd hold` keeps the outputs for a dead daemon; empty: the hardware has them.
        hold_socket: Option<PathBuf> = Some("/run/onenipd/hold.sock".into());
    }
    /// Scheduling of the threads that keep time with the line; a refusal is a warning.
    realtime: Realtime {
        /// SCHED_FIFO of line and wires, below 50, the interrupts'; Modbus: nice -5 then; 0: ordinary.
        priority: u32 = 0, 0..=99;
        /// Pages once used stay in memory: no page fault between a verdict and its edge.
        lock_memory: bool = false;
        /// The only CPUs for line and wires, such as [3]; empty: all.
        cpus: Vec<usize> = Vec::new();
    }
    /// The Modbus server for the PLC (line-io 1.4).
    modbus: Modbus {
        /// Whether it runs.
        enabled: bool = true;
        /// Address and port; this machine only, until you open it to the PLC's network.
        listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 502);
        /// "latest": newest without acknowledgement; "handshake": by coil; "index": by number.
        results: ResultsMode = ResultsMode::Latest;
        /// "high_first", or "low_first" for a master that swaps words.
        word_order: WordOrder = WordOrder::HighFirst;
        /// Clients at a time.
        connections: usize = 8, 1..=64;
        /// A silent client is cut off after this long.
        idle_timeout: Duration = s(60), s(1)..=s(3600);
        /// The right to write is free again after this long without a write.
        writer_timeout: Duration = s(10), s(1)..=s(3600);
        /// The only address that may write; empty: whoever writes first.
        writer: Option<IpAddr> = None;
        /// Addresses that may connect; empty: all.
        allow: Vec<IpAddr> = Vec::new();
        /// Nobody may write: results only.
        read_only: bool = false;
        /// The PLC counts as lost after this long without a new heartbeat.
        heartbeat_timeout: Duration = s(1), ms(100)..=s(60);
    }
    /// The same Modbus station on a serial line: results only, never the gate (line-io 1.4).
    modbus_rtu: ModbusRtu {
        /// The serial port, best by /dev/serial/by-id/…; empty: no serial line.
        device: Option<PathBuf> = None;
        /// This box among the units of the line.
        unit: u16 = 1, 1..=247;
        /// Bits per second.
        baud: u32 = 19_200, 1200..=1_000_000;
        /// "even" as the standard says, "odd" or "none".
        parity: Parity = Parity::Even;
        /// Stop bits; the standard wants 2 without parity.
        stop_bits: u16 = 1, 1..=2;
        /// Silence that ends a frame; "0 s": 3.5 characters. A USB adapter may need "20 ms".
        frame_gap: Duration = s(0), s(0)..=s(1);
    }
    /// This box as the Modbus master of a PLC, or of the coupler that moves the gate (line-io 1.4).
    modbus_client: ModbusClient {
        /// "off"; "plc": results go to its registers; "coupler": one of its coils is the gate.
        target: ClientTarget = ClientTarget::Off;
        /// Address and port of PLC or coupler.
        address: Option<SocketAddr> = None;
        /// Its unit behind that address.
        unit: u16 = 255, 0..=255;
        /// PLC: base register B; result at B, status at B + 32, command block at B + 64.
        register: u16 = 0, 0..=65_464;
        /// PLC: words of status from a = 4 on; 12 adds product, ne107, ctrl_echo and cmd_result.
        status_registers: u16 = 8, 8..=24;
        /// PLC: results are written and commands read this often.
        cycle: Duration = ms(20), ms(5)..=s(1);
        /// Coupler: the coil that is the gate.
        gate_coil: u16 = 0;
        /// Coupler: the coil of output ready; empty is not wired.
        ready_coil: Option<u16> = None;
        /// Coupler: the coil of output alive; empty is not wired.
        alive_coil: Option<u16> = None;
        /// Coupler: an edge takes this long at most, acknowledged; added to line.actuation_time.
        net_time: Duration = ms(20), ms(1)..=s(1);
        /// Coupler: register of its output watchdog's time; without a watchdog it must not be used.
        watchdog_register: Option<u16> = None;
        /// Coupler: the time, as that register counts it; 200 ms at most.
        watchdog_value: u16 = 2;
        /// Coupler: what the register counts.
        watchdog_unit: Duration = ms(100), ms(1)..=s(1);
        /// Coupler: registers written before, such as ["0x1008=0x55AA"].
        watchdog_prepare: Vec<RegisterValue> = Vec::new();
        /// Coupler: registers written after, such as ["0x100A=1"].
        watchdog_start: Vec<RegisterValue> = Vec::new();
        /// Coupler: registers that must then read so, such as ["0x1006=1"].
        watchdog_verify: Vec<RegisterValue> = Vec::new();
    }
    /// What is inspected.
    products: Products {
        /// The product at start; empty: none until page or PLC ask for one, and all is rejected.
        active: Option<String> = None;
        /// A rejected region of this many camera pixels fails a part by itself; 0 is off.
        region_rule_area: u32 = 0;
    }
    /// What the daemon keeps.
    state: State {
        /// Products, counters and records lie here.
        directory: PathBuf = PathBuf::from("/var/lib/onenipd");
    }
    /// Verdicts and pictures on disk; never waited for.
    records: Records {
        /// Whether they are kept.
        enabled: bool = true;
        /// Where; empty: in the state directory.
        directory: Option<PathBuf> = None;
        /// The oldest pictures go when there are more than this.
        size_limit: Bytes = Bytes(2 * GB), Bytes(1_000_000)..=Bytes(1_000_000 * GB);
        /// Parts that may wait for the disk; more are counted and dropped.
        queue: usize = 32, 1..=4096;
    }
    /// Messages.
    log: Log {
        /// "error", "warn", "info", "debug" or "trace": the least important that is written.
        level: LogLevel = LogLevel::Info;
    }
    /// The simulated camera: parts on a belt, for trials and the demo.
    simulation: Simulation {
        /// Parts per time.
        rate: PerSecond = PerSecond(5.0), PerSecond(0.001)..=PerSecond(10_000.0);
        /// Share of bad parts.
        defect_rate: Fraction = Fraction(0.1), Fraction(0.0)..=Fraction(1.0);
        /// Equal seeds draw equal parts.
        seed: u64 = 1;
        /// The belt changes to the next product after this long; "0 s" never.
        product_change: Duration = s(30), s(0)..=DAY;
        /// Different products.
        products: usize = 3, 1..=64;
        /// The belt stops after this many; 0 is endless.
        parts: u64 = 0;
    }
}
