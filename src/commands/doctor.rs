//! `onenipd doctor`: the box: libraries, devices, permissions, limits, clock, disk, GPU, CPU, and
//! the engine against the bundle's golden scores.

mod cpu;
mod golden;
mod gpu;
mod machine;

use super::configuration::ConfigurationArguments;
use super::failure::{Code, Failure};
use super::findings::{Findings, Level};
use super::libraries::{self, Found};
use crate::camera;
use crate::config::{Configuration, EngineDevice};
use crate::daemon::assemble;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A tool that does not answer for so long is not waited for: a lost GPU hangs its tools.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Args)]
#[command(after_help = "Example: onenipd doctor --bundle engines/demo")]
pub struct Arguments {
    /// One JSON document instead of lines
    #[arg(long)]
    json: bool,
    /// Engine bundle instead of the configured one
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut configuration = arguments.configuration.load_without_bundle()?;
    if let Some(bundle) = &arguments.bundle {
        configuration.engine.bundle.clone_from(bundle);
    }
    let mut findings = Findings::default();
    look_at_libraries(&configuration, &mut findings);
    let root = Path::new("/");
    machine::look_at_devices(&configuration, root, &mut findings);
    machine::look_at_user(&mut findings);
    machine::look_at_limits(&configuration, &mut findings);
    machine::look_at_clock(&mut findings);
    machine::look_at_disk(&configuration, &mut findings);
    cpu::look_at_cpu(root, &mut findings);
    machine::look_for_virtualisation(root, &mut findings);
    gpu::look_at_gpu(root, &mut findings);
    golden::look_at_engine(&configuration, &mut findings);
    findings.print(arguments.json)?;
    match findings.any(Level::Error) {
        true => Err(Failure::say(Code::Unavailable, "this box needs what is marked as an error")),
        false => Ok(()),
    }
}

fn look_at_libraries(configuration: &Configuration, findings: &mut Findings) {
    let features =
        format!("onenipd {}, features: {}", env!("CARGO_PKG_VERSION"), libraries::features());
    findings.add(Level::Ok, "program", features, "");
    let gstreamer = libraries::gstreamer();
    let starts = gstreamer.is_ok();
    let remedy = "install libgstreamer1.0-0 and gstreamer1.0-plugins-base";
    library(findings, Level::Error, "GStreamer", gstreamer, remedy);
    if starts {
        let missing = camera::missing_elements();
        for (element, package) in &missing {
            let remedy = format!("install {package}");
            findings.add(Level::Error, "GStreamer", format!("no element {element}"), &remedy);
        }
        if missing.is_empty() {
            findings.add(Level::Ok, "GStreamer", "has every element the cameras need", "");
        }
    }
    let own = assemble::library(configuration);
    let remedy = "run `make setup`, or set engine.library";
    library(findings, Level::Error, "ONNX Runtime", libraries::onnxruntime(own), remedy);
    // Without a GPU nothing of this is needed: only who asks for it by name lacks it.
    let level = match configuration.engine.device {
        EngineDevice::Tensorrt => Level::Error,
        EngineDevice::Auto | EngineDevice::Cpu => Level::Ok,
    };
    let remedy = match level {
        Level::Error => "install it, or choose engine.device = \"auto\"",
        _ => "",
    };
    library(findings, level, "CUDA", libraries::cuda(), remedy);
    #[cfg(feature = "cuda")]
    library(findings, level, "CUDA compiler", libraries::cuda_compiler(), remedy);
    library(findings, level, "TensorRT", libraries::tensorrt(), remedy);
}

fn library(findings: &mut Findings, missing: Level, name: &str, found: Found, remedy: &str) {
    match found {
        Ok(version) => findings.add(Level::Ok, name, version, ""),
        Err(reason) => findings.add(missing, name, reason, remedy),
    }
}

/// What a tool of the system says; `None` if it is not there, fails, or does not end in time.
fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    let command = command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn().ok()?;
    let step = Duration::from_millis(20);
    let mut waited = Duration::ZERO;
    // What these tools say fits a pipe: nobody has to read before they end.
    let status = loop {
        match child.try_wait().ok()? {
            Some(status) => break status,
            None if waited >= PATIENCE => {
                let _ = child.kill();
                return None;
            }
            None => std::thread::sleep(step),
        }
        waited += step;
    };
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take()?, &mut text).ok()?;
    status.success().then(|| text.trim().to_owned())
}

/// A file's one line, if it is there.
fn line_of(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

fn number_of(path: &Path) -> Option<u64> {
    line_of(path)?.parse().ok()
}

/// Entries of a folder by name; none where it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
