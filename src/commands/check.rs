//! `onenipd check`: every problem of configuration, bundle, products and devices; starts nothing.

use super::configuration::ConfigurationArguments;
use super::failure::{Code, Failure, WithCode};
use crate::config::{CameraSource, Configuration};
use crate::daemon::assemble::{self, EngineRoom};
use crate::daemon::persistence::Survivors;
use crate::product::ProductStore;
use clap::Args;
use serde::Serialize;
use std::path::Path;

#[derive(Args)]
#[command(after_help = "Example: onenipd check --config config/demo.toml")]
pub struct Arguments {
    /// One JSON document instead of lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: ConfigurationArguments,
}

#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Error,
}

#[derive(Serialize)]
struct Finding {
    level: Level,
    what: String,
    #[serde(rename = "where")]
    place: String,
    remedy: String,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, place: &str, what: impl Into<String>, remedy: &str) {
        let (what, place, remedy) = (what.into(), place.to_owned(), remedy.to_owned());
        self.0.push(Finding { level, what, place, remedy });
    }

    fn any(&self, level: Level) -> bool {
        self.0.iter().any(|finding| finding.level == level)
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let configuration = arguments.configuration.load()?;
    let mut findings = Findings::default();
    findings.add(Level::Ok, "configuration", "every key and value is valid", "");
    let geometry = check_geometry(&configuration, &mut findings);
    check_engine(&configuration, &mut findings);
    check_camera(&configuration, &mut findings);
    check_wires(&configuration, &mut findings);
    if arguments.json {
        let document = serde_json::json!({ "findings": findings.0 });
        println!("{}", serde_json::to_string_pretty(&document).code(Code::Internal)?);
    } else {
        for finding in &findings.0 {
            let word = match finding.level {
                Level::Ok => "ok     ",
                Level::Warning => "warning",
                Level::Error => "ERROR  ",
            };
            println!("{word}  {}: {}", finding.place, finding.what);
            if !finding.remedy.is_empty() {
                println!("         remedy: {}", finding.remedy);
            }
        }
    }
    if !geometry {
        return Err(Failure::say(Code::Configuration, "the line's geometry is impossible"));
    }
    if findings.any(Level::Error) {
        return Err(Failure::say(Code::Unavailable, "the daemon would not start like this"));
    }
    Ok(())
}

fn check_geometry(configuration: &Configuration, findings: &mut Findings) -> bool {
    let settings = assemble::line_settings(configuration, Survivors::default());
    let problems = settings.check();
    for problem in &problems {
        findings.add(Level::Error, "line", problem.clone(), "see docs/guide/wiring.md, Delay");
    }
    if problems.is_empty() {
        let time = settings.decision_time().as_millis();
        let what = format!("a verdict has {time} ms from the trigger to its deadline");
        findings.add(Level::Ok, "line", what, "");
    }
    problems.is_empty()
}

fn check_engine(configuration: &Configuration, findings: &mut Findings) {
    let room = match EngineRoom::open(configuration) {
        Ok(room) => room,
        Err(error) => {
            let place = configuration.engine.bundle.display().to_string();
            return findings.add(Level::Error, &place, error.to_string(), "");
        }
    };
    let version = room.runtime.version();
    findings.add(Level::Ok, "engine", format!("ONNX Runtime {version}, bundle and graphs"), "");
    let store = ProductStore::open(&configuration.state.directory);
    let listing = match store.list() {
        Ok(listing) => listing,
        Err(error) => return findings.add(Level::Error, "products", error.to_string(), ""),
    };
    for error in &listing.damaged {
        findings.add(Level::Error, "products", error.to_string(), "");
    }
    for info in &listing.products {
        if let Err(error) = store.load(&info.name, room.bundle.hash()) {
            findings.add(Level::Warning, "products", error.to_string(), "");
        } else if !info.calibrated {
            let what = format!("`{}` is uncalibrated: its thresholds are not its own", info.name);
            let remedy = "onenipd product calibrate NAME GOOD_DIR";
            findings.add(Level::Warning, "products", what, remedy);
        }
    }
    let simulated = configuration.camera.source == CameraSource::Simulated;
    let Some(active) = &configuration.products.active else {
        if simulated {
            return;
        }
        let what = "no product is active at the start: every part is rejected (212)";
        let remedy = "set products.active, or let the PLC choose one";
        return findings.add(Level::Warning, "products", what, remedy);
    };
    if !listing.products.iter().any(|p| p.name == *active) {
        let what = format!("products.active `{active}` is not taught on this box");
        let remedy = "onenipd product add NAME --prompt IMAGE";
        findings.add(Level::Error, "products", what, remedy);
    }
}

fn check_camera(configuration: &Configuration, findings: &mut Findings) {
    let camera = &configuration.camera;
    let path = match camera.source {
        CameraSource::Device => camera.device.as_ref().map(Path::new),
        CameraSource::Folder => camera.folder.as_deref(),
        CameraSource::Gstreamer | CameraSource::Uri | CameraSource::Simulated => None,
    };
    let Some(path) = path else { return };
    if path.exists() {
        return findings.add(Level::Ok, "camera", format!("{} is there", path.display()), "");
    }
    let what = format!("{} is missing", path.display());
    findings.add(Level::Error, "camera", what, "look at cable and power, or at [camera]");
}

fn check_wires(configuration: &Configuration, findings: &mut Findings) {
    if let Some(chip) = &configuration.gpio.chip {
        match std::fs::File::open(chip) {
            Ok(_) => findings.add(Level::Ok, "gpio", format!("{} opens", chip.display()), ""),
            Err(error) => {
                let what = format!("{}: {error}", chip.display());
                let remedy = "`gpiodetect` lists the chips; the daemon's user needs the group gpio";
                findings.add(Level::Error, "gpio", what, remedy);
            }
        }
    } else if configuration.camera.source != CameraSource::Simulated {
        let what = "no output is wired: only a PLC can act on the results";
        findings.add(Level::Warning, "gpio", what, "set gpio.chip and the lines");
    }
    let modbus = &configuration.modbus;
    if modbus.enabled && !modbus.listen.ip().is_loopback() && modbus.allow.is_empty() {
        let what = format!("{} may be reached by anybody on that network", modbus.listen);
        findings.add(Level::Warning, "modbus", what, "name the PLC in modbus.allow");
    }
}
