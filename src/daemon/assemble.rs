//! From a configuration to rooms that can run; `run` and `check` alike.

use super::ActiveProduct;
use super::engine_choice::{EngineChoice, EngineChoiceError, EngineMaker};
use super::inspection::{EngineFactory, ProductLoadError, ProductLoader};
use super::pairing::FrameWindow;
use super::persistence::Survivors;
use super::rehearsal::REHEARSED_RUNS;
use super::supervisor::CameraFactory;
use super::way::WayParts;
use crate::bundle::{Bundle, BundleError, GraphFiles};
use crate::camera::{Camera, CameraSettings, CameraSource};
use crate::config::{self, Configuration};
use crate::engine::{EngineError, OnnxRuntime};
use crate::judge::{RegionRule, Thresholds};
use crate::line::{
    Alarm, AlarmSet, EncoderTravel, FaultGate, InputLine, LineSettings, RunSignal, Strobe, Travel,
    Wiring,
};
use crate::line_io::OutputLines;
use crate::line_io::gpio::{
    GpioInputSettings, GpioLine, GpioOutputSettings, GpioSettings, InputWire, LineAddress,
    OutputLine, Pull, ReadyMode,
};
use crate::line_io::modbus::{
    CouplerSettings, Fieldbus, ModbusSettings, OutputWatchdog, Parity, PlcSettings, ResultsMode,
    RtuSettings,
};
use crate::line_io::realtime::RealtimeSettings;
use crate::part::Duration;
use crate::product::{Product, ProductStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Engine library, bundle and graphs, opened.
pub struct EngineRoom {
    /// The library.
    pub runtime: OnnxRuntime,
    /// The bundle.
    pub bundle: Bundle,
    /// Its graphs, written where they were missing.
    pub graphs: GraphFiles,
    maker: EngineMaker,
}

/// Why the engine room cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EngineRoomError {
    /// Library or session.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Bundle or graphs.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

impl From<EngineChoiceError> for EngineRoomError {
    fn from(error: EngineChoiceError) -> Self {
        match error {
            EngineChoiceError::Engine(error) => Self::Engine(error),
            EngineChoiceError::Bundle(error) => Self::Bundle(error),
        }
    }
}

impl EngineRoom {
    /// Opens library and bundle and chooses the engine; where a plan must be built first this takes
    /// minutes, until `go_on` says no.
    pub fn open(
        configuration: &Configuration,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Self, EngineRoomError> {
        let runtime = OnnxRuntime::open(library(configuration))?;
        let bundle = Bundle::open(&configuration.engine.bundle)?;
        let graphs = bundle.graphs(&configuration.state.directory.join("graphs"))?;
        let maker = EngineMaker::choose(configuration, &runtime, &bundle, &graphs, go_on)?;
        let level = if maker.choice.fell_back() { log::Level::Warn } else { log::Level::Info };
        log::log!(level, "engine: {}", maker.choice);
        Ok(Self { runtime, bundle, graphs, maker })
    }

    /// Which engine was taken, and why not a better one.
    pub const fn choice(&self) -> &EngineChoice {
        &self.maker.choice
    }

    /// Opens the chosen inspector, as often as it is asked to.
    pub fn inspector(&self, threads: usize) -> EngineFactory {
        self.maker.factory(threads)
    }
}

/// The configured ONNX Runtime library; `None`: the usual places.
pub fn library(configuration: &Configuration) -> Option<&Path> {
    match &configuration.engine.library {
        config::Library::Auto => None,
        config::Library::Path(path) => Some(path),
    }
}

/// The line's settings. Which of its inputs are wired follows from `[gpio]`.
pub fn line_settings(configuration: &Configuration, survivors: Survivors) -> LineSettings {
    let line = &configuration.line;
    let wiring = match line.wiring {
        config::Wiring::EnergiseToReject => Wiring::EnergiseToReject,
        config::Wiring::EnergiseToPass => Wiring::EnergiseToPass,
    };
    let mut settings = LineSettings::with_delay(wiring, line.delay);
    settings.travel = travel(configuration);
    settings.actuation_time = line.actuation_time + network_time(configuration);
    settings.jitter = line.jitter;
    settings.guard = line.guard;
    settings.pulse = line.pulse;
    settings.min_gap = line.min_gap;
    settings.decide_max = line.decide_max;
    settings.lockout = line.lockout;
    settings.min_part = line.min_part;
    settings.fault_gate = match line.fault_gate {
        config::FaultGate::Reject => FaultGate::Reject,
        config::FaultGate::PerPart => FaultGate::PerPart,
    };
    let flash = Strobe { offset: line.strobe_offset, width: line.strobe_width };
    settings.strobe = configuration.gpio.strobe.is_some().then_some(flash);
    settings.run_signal = match configuration.run_signal() {
        config::RunSignal::Line => RunSignal::RunLine,
        config::RunSignal::Plc => RunSignal::BeltRun,
        config::RunSignal::None | config::RunSignal::Auto => RunSignal::AlwaysRuns,
    };
    settings.air_ok_wired = configuration.gpio.air_ok.is_some();
    settings.confirm_wired = configuration.gpio.confirm.is_some();
    settings.drain = line.drain;
    settings.allow_inhibit = line.allow_inhibit;
    settings.soft_trigger = soft_trigger(configuration);
    settings.plc_timeout = configuration.modbus.heartbeat_timeout;
    settings.inspections_max = configuration.engine.queue.saturating_add(1) as u16;
    settings.alarm_limits.fails_in_a_row = line.consecutive_rejects;
    settings.alarm_limits.fails.count = line.m_of_n_rejects;
    settings.alarm_limits.fails.parts = line.m_of_n_parts;
    let choices = [
        (Alarm::ConsecutiveReject, line.consecutive_reject_action),
        (Alarm::MOfN, line.m_of_n_action),
        (Alarm::NoDecisionRate, line.no_decision_action),
        (Alarm::PlcLost, line.plc_lost_action),
    ];
    for (alarm, action) in choices {
        set_action(&mut settings.stop_alarms, alarm, action);
    }
    settings.boot_id = survivors.boot_id;
    settings.life_parts = survivors.life_parts;
    settings.life_rejects = survivors.life_rejects;
    settings
}

/// How parts are followed. The configuration is checked: what distance mode needs is there.
fn travel(configuration: &Configuration) -> Travel {
    let line = &configuration.line;
    if !configuration.is_by_distance() {
        let part_spacing = line.part_spacing.and_then(|spacing| match spacing {
            config::PartSpacing::Time(time) => Some(time),
            config::PartSpacing::Length(_) => None,
        });
        return Travel::Delay { delay: line.delay, part_spacing };
    }
    // What nobody gave is 0, and refused by LineSettings::check.
    let counts = |length: Option<config::BeltLength>| {
        length.and_then(|length| line.counts(length)).map(|counts| counts.round() as u32)
    };
    let speed = line.speed_max.and_then(|speed| line.counts_per_s(speed)).unwrap_or(0.0);
    let distance = counts(line.distance).unwrap_or(0);
    let length = counts(line.length).unwrap_or(0);
    let mut way = EncoderTravel::new(distance, length, (speed - 1e-6).ceil() as u32);
    way.reverse_max_counts = counts(line.reverse_max).unwrap_or(way.reverse_max_counts);
    way.stall_time = line.encoder_stall;
    way.part_spacing_counts = line.part_spacing.and_then(|spacing| match spacing {
        config::PartSpacing::Time(time) => Some((speed * time.as_secs_f64()).round() as u32),
        config::PartSpacing::Length(length) => counts(Some(length)),
    });
    Travel::Distance(way)
}

fn set_action(alarms: &mut AlarmSet, alarm: Alarm, action: config::AlarmAction) {
    alarms.set(alarm, action == config::AlarmAction::Stop);
}

/// Parts announced over Modbus: by default only where no trigger line is wired (line-io 1.1).
fn soft_trigger(configuration: &Configuration) -> bool {
    match configuration.line.soft_trigger {
        config::SoftTrigger::On => true,
        config::SoftTrigger::Off => false,
        config::SoftTrigger::Auto => {
            let wired = has_gpio(configuration) && configuration.gpio.trigger.is_some();
            let simulated = configuration.camera.source == config::CameraSource::Simulated;
            !wired && !simulated && !configuration.line.free_run
        }
    }
}

/// When a frame belongs to a trigger.
pub fn frame_window(configuration: &Configuration) -> FrameWindow {
    let camera = &configuration.camera;
    let timeout = camera.frame_timeout.max(camera.match_after);
    if configuration.line.free_run {
        return FrameWindow::exact(timeout);
    }
    FrameWindow {
        before: camera.match_before,
        after: camera.match_after,
        timeout,
        // A folder is shown at a rate of its own.
        one_per_trigger: camera.triggered && camera.source != config::CameraSource::Folder,
    }
}

/// The region rule, if one is configured.
pub fn region_rule(configuration: &Configuration) -> Option<RegionRule> {
    let min_area_pixels = configuration.products.region_rule_area;
    (min_area_pixels > 0).then_some(RegionRule { min_area_pixels })
}

/// The camera as configured; `None` for the simulated one, which the demonstration brings.
pub fn camera_settings(configuration: &Configuration) -> Option<CameraSettings> {
    let camera = &configuration.camera;
    // The configuration is checked: the chosen source's key is set.
    let source = match camera.source {
        config::CameraSource::Gstreamer => CameraSource::Pipeline(camera.pipeline.clone()?),
        config::CameraSource::Uri => CameraSource::Uri(camera.uri.clone()?),
        config::CameraSource::Device => CameraSource::Device(camera.device.clone()?.into()),
        config::CameraSource::Folder => CameraSource::Folder(camera.folder.clone()?),
        config::CameraSource::Simulated => return None,
    };
    let size = picture_size(configuration);
    let rate = camera.rate.0;
    Some(CameraSettings { source, size, frames_per_second: (rate > 0.0).then_some(rate) })
}

/// Whether any wire is configured.
pub fn has_gpio(configuration: &Configuration) -> bool {
    configuration.gpio.chip.is_some()
}

/// Output wires of `[gpio]`.
pub fn gpio_outputs(configuration: &Configuration) -> GpioOutputSettings {
    use config::GpioLine::{Alive, Busy, Fault, Pass, Ready, Reject, Strobe};
    let gpio = &configuration.gpio;
    let wires = [
        (OutputLine::Ready, Ready, &gpio.ready),
        (OutputLine::Busy, Busy, &gpio.busy),
        (OutputLine::Pass, Pass, &gpio.pass),
        (OutputLine::Reject, Reject, &gpio.reject),
        (OutputLine::Fault, Fault, &gpio.fault),
        (OutputLine::Strobe, Strobe, &gpio.strobe),
        (OutputLine::Alive, Alive, &gpio.alive),
    ];
    GpioOutputSettings {
        wires: GpioSettings { chip: chip(configuration), lines: wired(configuration, &wires) },
        energise_to_pass: configuration.line.wiring == config::Wiring::EnergiseToPass,
        ready_mode: match gpio.ready_mode {
            config::ReadyMode::Level => ReadyMode::Level,
            config::ReadyMode::Toggle => ReadyMode::Toggle,
        },
        hold_socket: gpio.hold_socket.clone(),
    }
}

/// Input wires of `[gpio]`.
pub fn gpio_inputs(configuration: &Configuration) -> GpioInputSettings {
    use config::GpioLine::{AirOk, Confirm, EncoderA, EncoderB, Reset, Run, Trigger};
    let gpio = &configuration.gpio;
    let wires = [
        (InputWire::Line(InputLine::Trigger), Trigger, &gpio.trigger),
        (InputWire::EncoderA, EncoderA, &gpio.encoder_a),
        (InputWire::EncoderB, EncoderB, &gpio.encoder_b),
        (InputWire::Line(InputLine::Reset), Reset, &gpio.reset),
        (InputWire::Line(InputLine::Confirm), Confirm, &gpio.confirm),
        (InputWire::Line(InputLine::Run), Run, &gpio.run),
        (InputWire::Line(InputLine::AirOk), AirOk, &gpio.air_ok),
    ];
    GpioInputSettings {
        wires: GpioSettings { chip: chip(configuration), lines: wired(configuration, &wires) },
        pull: match gpio.bias {
            config::Bias::Inactive => Pull::Inactive,
            config::Bias::Disabled => Pull::Disabled,
        },
        realtime: realtime_settings(configuration),
    }
}

/// Scheduling of the threads `line`, `gpio-in` and `coupler`; `modbus` comes behind them.
pub fn realtime_settings(configuration: &Configuration) -> RealtimeSettings {
    let realtime = &configuration.realtime;
    RealtimeSettings {
        priority: u8::try_from(realtime.priority).unwrap_or(u8::MAX),
        lock_memory: realtime.lock_memory,
        cpus: realtime.cpus.clone(),
    }
}

fn chip(configuration: &Configuration) -> PathBuf {
    configuration.gpio.chip.clone().unwrap_or_default()
}

fn wired<L: Copy>(
    configuration: &Configuration,
    wires: &[(L, config::GpioLine, &Option<String>)],
) -> Vec<(L, GpioLine)> {
    let active_low = &configuration.gpio.active_low;
    let lines = wires.iter().filter_map(|(meaning, key, name)| {
        let name = name.as_ref()?;
        let address = match name.parse() {
            Ok(offset) => LineAddress::Offset(offset),
            Err(_) => LineAddress::Name(name.clone()),
        };
        Some((*meaning, GpioLine { address, active_low: active_low.contains(key) }))
    });
    lines.collect()
}

/// Serial line and PLC of `[modbus_rtu]` and `[modbus_client]`.
pub fn fieldbus(configuration: &Configuration) -> Fieldbus {
    let (rtu, client) = (&configuration.modbus_rtu, &configuration.modbus_client);
    let serial = rtu.device.as_ref().map(|device| RtuSettings {
        unit: rtu.unit as u8,
        baud: rtu.baud,
        parity: match rtu.parity {
            config::Parity::Even => Parity::Even,
            config::Parity::Odd => Parity::Odd,
            config::Parity::None => Parity::None,
        },
        stop_bits: rtu.stop_bits as u8,
        frame_gap: (!rtu.frame_gap.is_zero()).then_some(rtu.frame_gap),
        ..RtuSettings::new(device)
    });
    let plc = client.address.filter(|_| client.target == config::ClientTarget::Plc);
    let plc = plc.map(|address| PlcSettings {
        unit: client.unit as u8,
        register: client.register,
        status_registers: client.status_registers,
        cycle: client.cycle,
        ..PlcSettings::new(address)
    });
    Fieldbus { without_tcp: !configuration.modbus.enabled, rtu: serial, plc }
}

/// The coupler whose coil is the gate, if there is one.
pub fn coupler_settings(configuration: &Configuration) -> Option<CouplerSettings> {
    let client = &configuration.modbus_client;
    let address = client.address.filter(|_| client.target == config::ClientTarget::Coupler)?;
    let pairs = |list: &[config::RegisterValue]| {
        list.iter().map(|pair| (pair.register, pair.value)).collect()
    };
    let watchdog = OutputWatchdog {
        register: client.watchdog_register?,
        value: client.watchdog_value,
        prepare: pairs(&client.watchdog_prepare),
        start: pairs(&client.watchdog_start),
        verify: pairs(&client.watchdog_verify),
    };
    let energise_to_pass = configuration.line.wiring == config::Wiring::EnergiseToPass;
    Some(CouplerSettings {
        unit: client.unit as u8,
        gate_coil: client.gate_coil,
        ready_coil: client.ready_coil,
        alive_coil: client.alive_coil,
        net_time: client.net_time,
        jitter: configuration.line.jitter,
        realtime: realtime_settings(configuration),
        ..CouplerSettings::new(address, energise_to_pass, watchdog)
    })
}

/// Whether the gate hangs on a coupler.
pub fn has_coupler(configuration: &Configuration) -> bool {
    configuration.modbus_client.target == config::ClientTarget::Coupler
}

/// How much later the gate acts because it hangs on a coupler (net_ms of line-io 1.4).
fn network_time(configuration: &Configuration) -> Duration {
    let client = &configuration.modbus_client;
    if has_coupler(configuration) { client.net_time } else { Duration::ZERO }
}

/// The settings of the Modbus station; `None` when neither TCP, serial line nor PLC has one.
pub fn modbus_settings(configuration: &Configuration) -> Option<ModbusSettings> {
    let modbus = &configuration.modbus;
    let fieldbus = fieldbus(configuration);
    let serves = modbus.enabled || fieldbus.rtu.is_some() || fieldbus.plc.is_some();
    serves.then(|| ModbusSettings {
        listen: modbus.listen,
        results: match modbus.results {
            config::ResultsMode::Latest => ResultsMode::Latest,
            config::ResultsMode::Handshake => ResultsMode::Handshake,
            config::ResultsMode::Index => ResultsMode::Index,
        },
        low_word_first: modbus.word_order == config::WordOrder::LowFirst,
        connections: modbus.connections,
        idle_timeout: modbus.idle_timeout,
        writer_timeout: modbus.writer_timeout,
        writer: modbus.writer,
        allow: modbus.allow.clone(),
        read_only: modbus.read_only,
        allow_inhibit: configuration.line.allow_inhibit,
        soft_trigger: soft_trigger(configuration),
        realtime: realtime_settings(configuration),
    })
}

/// Looks products up in the store, under the bundle of `bundle_hash`.
pub fn product_loader(state: &Path, bundle_hash: &str) -> ProductLoader {
    let store = ProductStore::open(state);
    let bundle_hash = bundle_hash.to_owned();
    Box::new(move |number| {
        let unusable = |error: crate::product::StoreError| ProductLoadError::Unusable {
            number,
            reason: error.to_string(),
        };
        let info = store.by_number(number).map_err(unusable)?;
        let info = info.ok_or(ProductLoadError::Unknown(number))?;
        store.load(&info.name, &bundle_hash).map(active).map_err(unusable)
    })
}

/// One revision of a product, as the way uses it.
pub fn active(product: Product) -> ActiveProduct {
    let Product { info, tensors } = product;
    ActiveProduct {
        number: info.number,
        name: Arc::from(info.name.as_str()),
        region_of_interest: info.region_of_interest,
        thresholds: Thresholds { image: info.thresholds.image, pixel: info.thresholds.pixel },
        tensors,
    }
}

/// Everything a way is made of, as configured; `line`, `wires` and `camera` are the caller's.
pub fn way_parts(
    configuration: &Configuration,
    room: &EngineRoom,
    line: LineSettings,
    wires: Vec<Box<dyn OutputLines>>,
    camera: CameraFactory,
    first_product: u16,
) -> WayParts {
    WayParts {
        line,
        wires,
        engine: room.inspector(configuration.engine.threads),
        engine_fell_back: Arc::clone(&room.maker.fell_back),
        rehearsed_runs: REHEARSED_RUNS,
        picture_size: picture_size(configuration),
        engine_queue: configuration.engine.queue,
        normalisation: room.bundle.manifest().normalisation,
        camera,
        reconnect_interval: configuration.camera.reconnect_interval,
        window: frame_window(configuration),
        free_run: configuration.line.free_run,
        loader: product_loader(&configuration.state.directory, room.bundle.hash()),
        first_product,
        region_rule: region_rule(configuration),
        pictures: configuration.records.enabled,
        watchdog: None,
        realtime: realtime_settings(configuration),
    }
}

/// The camera's picture size, where it is configured.
pub fn picture_size(configuration: &Configuration) -> Option<(u32, u32)> {
    let camera = &configuration.camera;
    (camera.width > 0 && camera.height > 0).then_some((camera.width, camera.height))
}

/// A camera that somebody outside the way feeds through [`super::Way::sink`].
pub fn external_camera() -> CameraFactory {
    Box::new(|_| Ok(Box::new(ExternalCamera)))
}

struct ExternalCamera;

impl Camera for ExternalCamera {
    fn stop(&mut self) {}
}

#[cfg(test)]
mod line_settings_tests {
    use super::*;
    use crate::part::Duration;

    #[test]
    fn a_wired_encoder_makes_distance_mode_in_counts() {
        let mut configuration = Configuration::default();
        let settings = line_settings(&configuration, Survivors::default());
        let delay = Duration::from_millis(400);
        assert_eq!(settings.travel, Travel::Delay { delay, part_spacing: None });
        assert!(settings.strobe.is_none() && !settings.confirm_wired && !settings.air_ok_wired);
        assert_eq!(settings.run_signal, RunSignal::AlwaysRuns);

        let gpio = &mut configuration.gpio;
        for wire in [&mut gpio.encoder_a, &mut gpio.encoder_b, &mut gpio.run, &mut gpio.strobe] {
            *wire = Some("line".into());
        }
        gpio.confirm = Some("confirm".into());
        gpio.air_ok = Some("air".into());
        let line = &mut configuration.line;
        line.counts_per_mm = Some(config::CountsPerMillimetre(4.0));
        line.distance = Some(config::BeltLength::Millimetres(350.0));
        line.length = Some(config::BeltLength::Counts(160.0));
        line.speed_max = Some(config::BeltSpeed::MillimetresPerSecond(500.0));
        line.part_spacing = Some(config::PartSpacing::Time(Duration::from_millis(100)));
        let settings = line_settings(&configuration, Survivors::default());
        let way =
            EncoderTravel { part_spacing_counts: Some(200), ..EncoderTravel::new(1400, 160, 2000) };
        assert_eq!(settings.travel, Travel::Distance(way));
        assert_eq!(settings.run_signal, RunSignal::RunLine);
        assert!(settings.strobe.is_some() && settings.confirm_wired && settings.air_ok_wired);
        assert_eq!(settings.check(), [] as [String; 0]);
    }
}
