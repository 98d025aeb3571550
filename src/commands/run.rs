//! `onenipd run`: the daemon in the foreground, systemd's view and a person's alike.

use super::configuration::ConfigurationArguments;
use super::demonstration::Demonstration;
use super::failure::{Code, Failure, WithCode};
use super::screen::Screen;
use crate::camera;
use crate::config::{CameraSource, Configuration};
use crate::daemon::assemble::{self, EngineRoom, EngineRoomError};
use crate::daemon::persistence::Persistence;
use crate::daemon::service::{self, Watchdog};
use crate::daemon::{CameraFactory, Observation, Observer, Way, WayEnds, WayError, WayParts};
use crate::line::LineState;
use crate::line_io::OutputLines;
use crate::line_io::gpio::{GpioInputs, GpioOutputs};
use crate::line_io::modbus::{CouplerOutputs, ModbusServer};
use crate::part::{Duration, LineTime};
use crate::product::{ProductStore, StoreError};
use crate::records::{Archive, ArchiveSettings, Journal};
use clap::Args;
use crossbeam_channel::RecvTimeoutError;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Life counters are saved this often.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);

/// What is missing is told this often.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Args)]
#[command(after_help = "Example: onenipd run --config config/demo.toml")]
pub struct Arguments {
    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub fn run(arguments: Arguments) -> Result<(), Failure> {
    let configuration = arguments.configuration.load()?;
    start_logging(&configuration);
    let stop = stop_on_signals()?;
    let (persistence, damaged) =
        Persistence::begin(&configuration.life_counters_file()).code(Code::Io)?;
    if damaged {
        log::warn!("line.toml was damaged: the life counters begin anew");
    }
    let survivors = persistence.survivors();
    let mut settings = assemble::line_settings(&configuration, survivors);
    settings.actuator_awaited = assemble::has_coupler(&configuration);
    let problems = settings.check();
    if !problems.is_empty() {
        return Err(Failure::say(Code::Configuration, problems.join("\n")));
    }
    // Wires first: from here on the gate is at its rejecting value.
    let mut wires = open_wires(&configuration)?;
    let ends = WayEnds::new();
    wires.extend(open_coupler(&configuration, &ends)?);
    let room = match open_engine_room(&configuration, &stop) {
        Err(_) if stop.load(Ordering::Relaxed) => return Ok(()),
        room => room?,
    };
    let (mut demonstration, camera, first_product) =
        if configuration.camera.source == CameraSource::Simulated {
            let demo = Demonstration::prepare(&configuration, &room, &stop)?;
            let first = demo.first_product();
            (Some(demo), assemble::external_camera(), first)
        } else {
            (None, configured_camera(&configuration)?, first_product(&configuration)?)
        };
    if stop.load(Ordering::Relaxed) {
        return Ok(());
    }
    let modbus = start_modbus(&configuration, &ends)?;
    let inputs = start_inputs(&configuration, &ends)?;
    let archive = without(open_archive(&configuration, "rejects", survivors.boot_id));
    let mut parts =
        assemble::way_parts(&configuration, &room, settings, wires, camera, first_product);
    parts.watchdog = Watchdog::from_environment();
    let way = start_way(parts, ends, modbus.is_some())?;
    if let Some(demo) = &mut demonstration {
        demo.start_belt(&way)?;
    }
    let tcp = modbus.as_ref().filter(|_| configuration.modbus.enabled);
    let screen = Screen::new(&configuration, tcp, demonstration.as_ref());
    let journal = without(open_journal(&configuration, survivors.boot_id));
    let observer = Observer::new(archive).with_journal(journal);
    let running =
        Running { way, persistence, observer, screen, stop, demonstration, waits_for: None };
    running.until_stopped()?;
    drop((inputs, modbus));
    Ok(())
}

/// The daemon at work, seen from outside the way.
struct Running {
    way: Way,
    persistence: Persistence,
    observer: Observer,
    screen: Screen,
    stop: Arc<AtomicBool>,
    demonstration: Option<Demonstration>,
    /// What was missing, as last told.
    waits_for: Option<String>,
}

impl Running {
    fn until_stopped(mut self) -> Result<(), Failure> {
        let mut told_ready = false;
        let mut asked_to_stop = false;
        let mut told_dead_stage = false;
        let mut saved = LineTime::now();
        let mut told = saved;
        loop {
            let line_lives = self.way.line_lives();
            let observation = match self.way.observations.recv_timeout(Duration::from_millis(100)) {
                Ok(observation) => self.observer.observe(observation),
                Err(RecvTimeoutError::Timeout) if !line_lives => {
                    let message = "the line's thread has ended by itself; nothing drives the gate";
                    return Err(Failure::say(Code::Internal, message));
                }
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if !told_dead_stage && !asked_to_stop && line_lives && !self.way.stages_live() {
                told_dead_stage = true;
                log::error!("engine or preprocessing has ended: every part is rejected; restart");
            }
            if let Some(observation) = observation {
                self.screen.show(&observation, self.demonstration.as_ref());
                if matches!(observation, Observation::Stopped) {
                    break;
                }
            }
            if !told_ready && self.is_up() {
                told_ready = true;
                service::notify_ready("inspecting");
            } else if LineTime::now().since(told) >= TELL_INTERVAL {
                told = LineTime::now();
                self.tell_status(told_ready);
            }
            let finished = self.demonstration.as_ref().is_some_and(Demonstration::is_finished)
                && self.way.snapshot.load().armed == 0;
            if !asked_to_stop && (finished || self.stop.load(Ordering::Relaxed)) {
                asked_to_stop = true;
                service::notify_stopping("parts in flight get their decision or their reject");
                self.way.request_stop();
            }
            if LineTime::now().since(saved) >= SAVE_INTERVAL {
                saved = LineTime::now();
                self.save_counters();
            }
        }
        self.save_counters();
        self.screen.finish(self.observer.dropped(), &self.way.drops);
        drop(self.demonstration.take());
        self.way.join();
        Ok(())
    }

    /// The camera streams, the outputs are safe, and the first product's prompt is in the engine.
    /// Without a first product the box waits for the PLC's choice, which is no failure to start.
    fn is_up(&self) -> bool {
        let line = self.way.snapshot.load();
        line.state != LineState::Starting && !line.product_busy
    }

    /// What is missing, for `systemctl status`. A camera is waited for as long as it takes: systemd
    /// is asked for more time, or a box without one would be restarted for ever.
    fn tell_status(&mut self, told_ready: bool) {
        let waits_for = self.way.waits_for();
        if !told_ready {
            service::notify_waiting(TELL_INTERVAL * 10);
        }
        if waits_for != self.waits_for {
            let status = waits_for.as_ref().map(|what| format!("waits: {what}"));
            let status = status.as_deref().unwrap_or("inspecting");
            service::notify_status(status);
            log::info!("{status}");
            self.waits_for = waits_for;
        }
    }

    fn save_counters(&mut self) {
        let counters = self.way.snapshot.load().counters;
        if let Err(error) = self.persistence.save(&counters) {
            log::error!("life counters are not saved: {error}");
        }
    }
}

/// Starts a way; a missing engine is a missing device.
pub fn start_way(parts: WayParts, ends: WayEnds, with_results: bool) -> Result<Way, Failure> {
    Way::start(parts, ends, with_results).map_err(|error| {
        let code = match &error {
            WayError::Engine(_) => Code::Unavailable,
            WayError::Thread { .. } => Code::Internal,
        };
        Failure::new(code, error)
    })
}

/// The log, at the configured level.
pub fn start_logging(configuration: &Configuration) {
    use crate::config::LogLevel;
    let level = match configuration.log.level {
        LogLevel::Error => log::LevelFilter::Error,
        LogLevel::Warn => log::LevelFilter::Warn,
        LogLevel::Info => log::LevelFilter::Info,
        LogLevel::Debug => log::LevelFilter::Debug,
        LogLevel::Trace => log::LevelFilter::Trace,
    };
    if let Err(error) = service::install_log(level) {
        eprintln!("onenipd: {error}");
    }
}

/// A flag that SIGINT and SIGTERM raise.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).code(Code::Internal)?;
    }
    Ok(stop)
}

fn open_wires(configuration: &Configuration) -> Result<Vec<Box<dyn OutputLines>>, Failure> {
    if !assemble::has_gpio(configuration) {
        return Ok(Vec::new());
    }
    let settings = assemble::gpio_outputs(configuration);
    let outputs = GpioOutputs::open(&settings).code(Code::Unavailable)?;
    Ok(vec![Box::new(outputs)])
}

/// The coupler's coils as wires. It is connected from here on; until its output watchdog is
/// verified the line does not become ready.
fn open_coupler(
    configuration: &Configuration,
    ends: &WayEnds,
) -> Result<Option<Box<dyn OutputLines>>, Failure> {
    let Some(settings) = assemble::coupler_settings(configuration) else { return Ok(None) };
    let outputs = CouplerOutputs::start(settings, ends.events.clone()).code(Code::Unavailable)?;
    Ok(Some(Box::new(outputs)))
}

fn start_modbus(
    configuration: &Configuration,
    ends: &WayEnds,
) -> Result<Option<ModbusServer>, Failure> {
    let Some(settings) = assemble::modbus_settings(configuration) else { return Ok(None) };
    let (snapshot, results) = (Arc::clone(&ends.snapshot), ends.results_receiver.clone());
    let (fieldbus, commands) = (assemble::fieldbus(configuration), ends.events.clone());
    let server = ModbusServer::start_with(settings, fieldbus, snapshot, results, commands);
    server.map(Some).code(Code::Unavailable)
}

fn start_inputs(
    configuration: &Configuration,
    ends: &WayEnds,
) -> Result<Option<GpioInputs>, Failure> {
    let settings = assemble::gpio_inputs(configuration);
    if !assemble::has_gpio(configuration) || settings.wires.lines.is_empty() {
        return Ok(None);
    }
    GpioInputs::start(&settings, ends.events.clone()).map(Some).code(Code::Unavailable)
}

/// Opens library, bundle, graphs and engine as configured; `stop` ends the building of a plan.
pub fn open_engine_room(
    configuration: &Configuration,
    stop: &AtomicBool,
) -> Result<EngineRoom, Failure> {
    let mut go_on = || !stop.load(Ordering::Relaxed);
    EngineRoom::open(configuration, &mut go_on).map_err(|error| {
        let code = match &error {
            EngineRoomError::Engine(_) => Code::Unavailable,
            EngineRoomError::Bundle(_) if !configuration.engine.bundle.exists() => Code::NoInput,
            EngineRoomError::Bundle(_) => Code::Data,
        };
        Failure::new(code, error)
    })
}

fn configured_camera(configuration: &Configuration) -> Result<CameraFactory, Failure> {
    let settings = assemble::camera_settings(configuration)
        .ok_or_else(|| Failure::say(Code::Configuration, "camera.source is not set"))?;
    Ok(Box::new(move |sink| camera::start(&settings, sink)))
}

/// Number of the configured product; 0 when none is named.
pub fn active_product(configuration: &Configuration) -> Result<u16, Failure> {
    let Some(name) = &configuration.products.active else { return Ok(0) };
    let store = ProductStore::open(&configuration.state.directory);
    Ok(store.info(name).code(Code::NoInput)?.number)
}

/// As [`active_product`]. A damaged product does not keep the box from starting: it rejects
/// everything until another is chosen.
fn first_product(configuration: &Configuration) -> Result<u16, Failure> {
    let store = ProductStore::open(&configuration.state.directory);
    let damaged = configuration.products.active.as_ref().and_then(|name| store.info(name).err());
    match damaged {
        Some(error @ (StoreError::Damaged { .. } | StoreError::Disk { .. })) => {
            log::error!("{error}; every part is rejected until another product is chosen");
            Ok(0)
        }
        _ => active_product(configuration),
    }
}

/// Opens the archive; `folder` is its place under the state directory unless it has its own.
pub fn open_archive(
    configuration: &Configuration,
    folder: &str,
    boot_id: u16,
) -> Result<Option<Archive>, Failure> {
    let records = &configuration.records;
    if !records.enabled {
        return Ok(None);
    }
    let directory = records_directory(configuration, folder);
    let settings = ArchiveSettings {
        directory,
        size_limit_bytes: records.size_limit.0,
        queue: records.queue,
        boot_id,
    };
    Archive::start(settings).map(Some).code(Code::Io)
}

/// Where records lie: their own place, or `folder` in the state directory.
pub fn records_directory(configuration: &Configuration, folder: &str) -> PathBuf {
    let given = configuration.records.directory.clone();
    given.unwrap_or_else(|| configuration.state.directory.join(folder))
}

/// Records that cannot be kept do not hold the line up.
fn without<T>(opened: Result<Option<T>, Failure>) -> Option<T> {
    opened.unwrap_or_else(|failure| {
        log::error!("{failure}; parts are inspected all the same");
        None
    })
}

fn open_journal(configuration: &Configuration, boot_id: u16) -> Result<Option<Journal>, Failure> {
    if !configuration.records.enabled {
        return Ok(None);
    }
    let directory = records_directory(configuration, "rejects");
    Journal::start(&directory, boot_id).map(Some).code(Code::Io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_product_does_not_keep_the_box_from_starting_but_a_missing_one_does() {
        let state = tempfile::tempdir().unwrap();
        let mut configuration = Configuration::default();
        configuration.state.directory = state.path().into();
        assert_eq!(first_product(&configuration).ok(), Some(0));
        configuration.products.active = Some("bolt".into());
        assert!(first_product(&configuration).is_err());
        let folder = state.path().join("products/bolt");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("product.toml"), "[product").unwrap();
        assert_eq!(first_product(&configuration).ok(), Some(0));
        assert!(active_product(&configuration).is_err());
    }
}
