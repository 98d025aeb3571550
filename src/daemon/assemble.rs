//! From a configuration to rooms that can run; `run` and `check` alike.

use super::ActiveProduct;
use super::inspection::{ProductLoadError, ProductLoader};
use super::pairing::FrameWindow;
use super::persistence::Survivors;
use super::supervisor::CameraFactory;
use super::way::WayParts;
use crate::bundle::{Bundle, BundleError, GraphFiles};
use crate::camera::{Camera, CameraSettings, CameraSource};
use crate::config::{self, Configuration};
use crate::engine::{Engine, EngineError, Inspector, OnnxRuntime};
use crate::judge::{RegionRule, Thresholds};
use crate::line::{Alarm, AlarmSet, InputLine, Line, LineSettings, RunSignal, Wiring};
use crate::line_io::OutputLines;
use crate::line_io::gpio::{GpioLine, GpioSettings, LineAddress, OutputLine};
use crate::line_io::modbus::{ModbusSettings, ResultsMode};
use crate::part::LineTime;
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

impl EngineRoom {
    /// Opens library and bundle.
    pub fn open(configuration: &Configuration) -> Result<Self, EngineRoomError> {
        let runtime = OnnxRuntime::open(library(configuration))?;
        let bundle = Bundle::open(&configuration.engine.bundle)?;
        let graphs = bundle.graphs(&configuration.state.directory.join("graphs"))?;
        Ok(Self { runtime, bundle, graphs })
    }

    /// The inspector for the way.
    pub fn inspector(&self, threads: usize) -> Result<Box<dyn Engine>, EngineError> {
        let graph = &self.graphs.inspector;
        let inspector = Inspector::open(&self.runtime, graph, self.bundle.manifest(), threads)?;
        Ok(Box::new(inspector))
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
    settings.actuation_time = line.actuation_time;
    settings.jitter = line.jitter;
    settings.guard = line.guard;
    settings.pulse = line.pulse;
    settings.min_gap = line.min_gap;
    settings.decide_max = line.decide_max;
    settings.lockout = line.lockout;
    settings.min_part = line.min_part;
    settings.run_signal = RunSignal::AlwaysRuns;
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
    FrameWindow {
        before: camera.match_before,
        after: camera.match_after,
        timeout: camera.frame_timeout.max(camera.match_after),
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
    let size = (camera.width > 0 && camera.height > 0).then_some((camera.width, camera.height));
    let rate = camera.rate.0;
    Some(CameraSettings { source, size, frames_per_second: (rate > 0.0).then_some(rate) })
}

/// Whether any wire is configured.
pub fn has_gpio(configuration: &Configuration) -> bool {
    configuration.gpio.chip.is_some()
}

/// Output wires of `[gpio]`.
pub fn gpio_outputs(configuration: &Configuration) -> GpioSettings<OutputLine> {
    use config::GpioLine::{Alive, Busy, Fault, Pass, Ready, Reject};
    let gpio = &configuration.gpio;
    let wires = [
        (OutputLine::Ready, Ready, &gpio.ready),
        (OutputLine::Busy, Busy, &gpio.busy),
        (OutputLine::Pass, Pass, &gpio.pass),
        (OutputLine::Reject, Reject, &gpio.reject),
        (OutputLine::Fault, Fault, &gpio.fault),
        (OutputLine::Alive, Alive, &gpio.alive),
    ];
    GpioSettings { chip: chip(configuration), lines: wired(configuration, &wires) }
}

/// Input wires of `[gpio]`.
pub fn gpio_inputs(configuration: &Configuration) -> GpioSettings<InputLine> {
    let trigger = &configuration.gpio.trigger;
    let wires = [(InputLine::Trigger, config::GpioLine::Trigger, trigger)];
    GpioSettings { chip: chip(configuration), lines: wired(configuration, &wires) }
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

/// The Modbus server's settings; `None` when it is switched off.
pub fn modbus_settings(configuration: &Configuration) -> Option<ModbusSettings> {
    let modbus = &configuration.modbus;
    modbus.enabled.then(|| ModbusSettings {
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
) -> Result<WayParts, EngineError> {
    Ok(WayParts {
        line: Line::new(line, LineTime::now()),
        wires,
        engine: room.inspector(configuration.engine.threads)?,
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
    })
}

/// A camera that somebody outside the way feeds through [`super::Way::sink`].
pub fn external_camera() -> CameraFactory {
    Box::new(|_| Ok(Box::new(ExternalCamera)))
}

struct ExternalCamera;

impl Camera for ExternalCamera {
    fn stop(&mut self) {}
}
