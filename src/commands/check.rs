//! `onenipd check`: every problem of configuration, bundle, products and devices; starts nothing.

use super::configuration::ConfigurationArguments;
use super::failure::{Code, Failure};
use super::findings::{Findings, Level};
use crate::camera::FolderStream;
use crate::config::{CameraSource, Configuration};
use crate::daemon::assemble::{self, EngineRoom};
use crate::daemon::persistence::Survivors;
use crate::daemon::{REHEARSED_RUNS, Rehearsal, arithmetic};
use crate::part::Duration;
use crate::product::{ProductInfo, ProductStore};
use clap::Args;

mod devices;

#[derive(Args)]
#[command(after_help = "Example: onenipd check --config config/demo.toml")]
pub struct Arguments {
    /// One JSON document instead of lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let configuration = arguments.configuration.load()?;
    let mut findings = Findings::default();
    findings.add(Level::Ok, "configuration", "every key and value is valid", "");
    let geometry = check_geometry(&configuration, &mut findings);
    let in_time = check_engine(&configuration, &mut findings);
    devices::check_camera(&configuration, &mut findings);
    devices::check_wires(&configuration, &mut findings);
    devices::check_modbus(&configuration, &mut findings);
    devices::check_fieldbus(&configuration, &mut findings);
    devices::check_disk(&configuration, &mut findings);
    devices::check_clock(&mut findings);
    findings.print(arguments.json)?;
    if !geometry {
        return Err(Failure::say(Code::Configuration, "the line's geometry is impossible"));
    }
    if !in_time {
        return Err(Failure::say(Code::Configuration, "verdicts would come too late"));
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
    check_spacing(configuration, findings);
    problems.is_empty()
}

/// How close parts may come before a frame is of two of them; the configuration's rules have
/// refused a configured spacing that is too close.
fn check_spacing(configuration: &Configuration, findings: &mut Findings) {
    let Some(span) = configuration.frame_span() else { return };
    let (camera, millis) = (&configuration.camera, span.as_secs_f64() * 1e3);
    let sum = format!(
        "camera.match_before {} ms + match_after {} ms",
        camera.match_before.as_secs_f64() * 1e3,
        camera.match_after.as_secs_f64() * 1e3
    );
    let what = match configuration.line.part_spacing_time() {
        Some(spacing) => {
            let spacing = spacing.as_secs_f64() * 1e3;
            format!("parts {spacing} ms apart leave room for one frame each: {sum} = {millis} ms")
        }
        None => format!("parts closer than {millis} ms get no decision: {sum}"),
    };
    findings.add(Level::Ok, "line", what, "");
    check_frame_interval(configuration, span, findings);
}

/// A camera that keeps its own time must show a frame while one can be the part's.
fn check_frame_interval(configuration: &Configuration, span: Duration, findings: &mut Findings) {
    let Some(interval) = frame_interval(configuration) else { return };
    if interval > span {
        let (interval, span) = (interval.as_secs_f64() * 1e3, span.as_secs_f64() * 1e3);
        let share = 100.0 * (1.0 - span / interval);
        let what = format!(
            "a frame comes every {interval:.0} ms, but is a part's only within {span} ms: {share:.0} % \
             of the parts get none (201)"
        );
        let remedy =
            format!("set camera.match_before to \"0 ms\", match_after to \"{interval:.0} ms\"");
        findings.add(Level::Warning, "camera", what, &remedy);
    }
}

/// Between two frames of a camera that takes no trigger; `None` where nobody can know it.
fn frame_interval(configuration: &Configuration) -> Option<Duration> {
    let camera = &configuration.camera;
    let rate = match camera.source {
        CameraSource::Simulated => return None,
        CameraSource::Folder if camera.rate.0 <= 0.0 => FolderStream::DEFAULT_RATE,
        CameraSource::Folder => camera.rate.0,
        _ if camera.triggered => return None,
        _ => camera.rate.0,
    };
    Duration::try_from_secs_f64(1.0 / rate).ok()
}

/// Bundle, products, and whether verdicts come in time; `false` only when they do not.
fn check_engine(configuration: &Configuration, findings: &mut Findings) -> bool {
    let room = match EngineRoom::open(configuration, &mut || true) {
        Ok(room) => room,
        Err(error) => {
            let place = configuration.engine.bundle.display().to_string();
            findings.add(Level::Error, &place, error.to_string(), "");
            return true;
        }
    };
    let version = room.runtime.version();
    findings.add(Level::Ok, "engine", format!("ONNX Runtime {version}, bundle and graphs"), "");
    let (level, remedy) = match room.choice().fell_back() {
        true => (Level::Warning, "mend the GPU, or set engine.device to \"cpu\""),
        false => (Level::Ok, ""),
    };
    findings.add(level, "engine", room.choice().to_string(), remedy);
    let store = ProductStore::open(&configuration.state.directory);
    match check_products(configuration, &store, room.bundle.hash(), findings) {
        Some(product) => check_time(configuration, &room, &store, &product.name, findings),
        None => true,
    }
}

/// Every product; gives the one to rehearse with.
fn check_products(
    configuration: &Configuration,
    store: &ProductStore,
    bundle_hash: &str,
    findings: &mut Findings,
) -> Option<ProductInfo> {
    let listing = match store.list() {
        Ok(listing) => listing,
        Err(error) => {
            findings.add(Level::Error, "products", error.to_string(), "");
            return None;
        }
    };
    for error in &listing.damaged {
        findings.add(Level::Error, "products", error.to_string(), "");
    }
    let mut usable = Vec::new();
    for info in listing.products {
        match store.load(&info.name, bundle_hash) {
            Err(error) => findings.add(Level::Warning, "products", error.to_string(), ""),
            Ok(_) => {
                if !info.calibrated {
                    let name = &info.name;
                    let what = format!("`{name}` is uncalibrated: its thresholds are not its own");
                    let remedy = "onenipd product calibrate NAME GOOD_DIR";
                    findings.add(Level::Warning, "products", what, remedy);
                }
                usable.push(info);
            }
        }
    }
    let simulated = configuration.camera.source == CameraSource::Simulated;
    match &configuration.products.active {
        Some(active) => {
            let index = usable.iter().position(|info| info.name == *active);
            if index.is_none() {
                let what = format!("products.active `{active}` cannot be used on this box");
                let remedy = "onenipd product add NAME --prompt IMAGE";
                findings.add(Level::Error, "products", what, remedy);
            }
            index.map(|index| usable.swap_remove(index))
        }
        None => {
            if !simulated {
                let what = "no product is active at the start: every part is rejected (212)";
                let remedy = "set products.active, or let the PLC choose one";
                findings.add(Level::Warning, "products", what, remedy);
            }
            usable.into_iter().next()
        }
    }
}

/// The deadline against the engine's measured time, with the sum.
fn check_time(
    configuration: &Configuration,
    room: &EngineRoom,
    store: &ProductStore,
    name: &str,
    findings: &mut Findings,
) -> bool {
    let rehearsal = Rehearsal {
        runs: REHEARSED_RUNS,
        picture_size: assemble::picture_size(configuration),
        normalisation: room.bundle.manifest().normalisation,
    };
    let measured = measure(configuration, room, store, name, &rehearsal);
    let times = match measured {
        Ok(times) => times,
        Err(error) => {
            findings.add(Level::Error, "engine", format!("{error:#}"), "");
            return true;
        }
    };
    let line = assemble::line_settings(configuration, Survivors::default());
    let measured = times.quantile(0.999);
    let what = format!("{} ({REHEARSED_RUNS} runs as `{name}`)", arithmetic(&line, measured));
    let fits = line.verdicts_fit(measured);
    let (level, remedy) = match fits {
        true => (Level::Ok, ""),
        false => (Level::Error, "lengthen line.delay, or use a faster engine or more threads"),
    };
    findings.add(level, "line", what, remedy);
    fits
}

fn measure(
    configuration: &Configuration,
    room: &EngineRoom,
    store: &ProductStore,
    name: &str,
    rehearsal: &Rehearsal,
) -> anyhow::Result<crate::daemon::VerdictTimes> {
    let product = assemble::active(store.load(name, room.bundle.hash())?);
    let mut engine = room.inspector(configuration.engine.threads)()?;
    engine.set_product(&product.tensors)?;
    Ok(rehearsal.measure(&mut *engine, &product)?)
}
