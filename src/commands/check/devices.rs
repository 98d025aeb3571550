//! Camera, wires, port and disk: opened for a moment, as the daemon would.

use super::{Findings, Level};
use crate::camera::{self, FrameSink};
use crate::config::{CameraSource, Configuration};
use crate::daemon::assemble;
use crate::daemon::conditions;
use crate::line_io::gpio;
use crate::part::Duration;
use crossbeam_channel::{bounded, select};
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::path::Path;

/// A camera that runs freely shows a picture within this time.
const FIRST_PICTURE: Duration = Duration::from_secs(3);
/// Less free space than this is soon none.
const FREE_BYTES: u64 = 200_000_000;

pub fn check_camera(configuration: &Configuration, findings: &mut Findings) {
    let Some(settings) = assemble::camera_settings(configuration) else {
        return findings.add(Level::Ok, "camera", "simulated", "");
    };
    let (frames, pictures) = bounded(3);
    let (troubles, trouble) = bounded(1);
    let mut camera = match camera::start(&settings, FrameSink::new(frames, troubles)) {
        Ok(camera) => camera,
        Err(error) => {
            let remedy = "look at cable and power, or at [camera]; the daemon goes on trying";
            return findings.add(Level::Error, "camera", error.to_string(), remedy);
        }
    };
    select! {
        recv(pictures) -> frame => if let Ok(frame) = frame {
            let what = format!("gives pictures of {}x{}", frame.width, frame.height);
            findings.add(Level::Ok, "camera", what, "");
        },
        recv(trouble) -> error => if let Ok(error) = error {
            findings.add(Level::Error, "camera", error.to_string(), "look at cable and power");
        },
        default(FIRST_PICTURE) => {
            let what = "opens, but gave no picture within 3 s";
            let remedy = "normal for a camera that waits for its trigger";
            findings.add(Level::Warning, "camera", what, remedy);
        }
    }
    camera.stop();
}

pub fn check_wires(configuration: &Configuration, findings: &mut Findings) {
    if assemble::has_gpio(configuration) {
        let outputs = assemble::gpio_outputs(configuration).wires;
        let problems = gpio::check(&outputs, &assemble::gpio_inputs(configuration).wires);
        let mut told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        // A chip that is missing is missing for inputs and outputs.
        told.dedup();
        for problem in told {
            findings.add(Level::Error, "gpio", problem, "");
        }
        if problems.is_empty() {
            findings.add(Level::Ok, "gpio", "every line is there and free", "");
        }
    } else if configuration.camera.source != CameraSource::Simulated
        && !assemble::has_coupler(configuration)
    {
        let what = "no output is wired: only a PLC can act on the results";
        findings.add(Level::Warning, "gpio", what, "set gpio.chip and the lines");
    }
}

pub fn check_modbus(configuration: &Configuration, findings: &mut Findings) {
    let modbus = &configuration.modbus;
    if !modbus.enabled {
        return;
    }
    match TcpListener::bind(modbus.listen) {
        Ok(_) => findings.add(Level::Ok, "modbus", format!("{} can be served", modbus.listen), ""),
        Err(error) => {
            let remedy = match error.kind() {
                ErrorKind::AddrInUse => "stop the program that serves it: `ss -ltnp` names it",
                ErrorKind::PermissionDenied => {
                    "ports below 1024 need CAP_NET_BIND_SERVICE, as systemd/onenipd.service gives"
                }
                _ => "set modbus.listen to an address of this box",
            };
            findings.add(Level::Error, "modbus", format!("{}: {error}", modbus.listen), remedy);
        }
    }
    if !modbus.listen.ip().is_loopback() && modbus.allow.is_empty() {
        let what = format!("{} may be reached by anybody on that network", modbus.listen);
        findings.add(Level::Warning, "modbus", what, "name the PLC in modbus.allow");
    }
}

pub fn check_fieldbus(configuration: &Configuration, findings: &mut Findings) {
    if let Some(device) = &configuration.modbus_rtu.device {
        match std::fs::metadata(device) {
            Ok(_) => {
                findings.add(Level::Ok, "modbus_rtu", format!("{} is there", device.display()), "")
            }
            Err(error) => {
                let what = format!("{}: {error}", device.display());
                let remedy = "plug the adapter in; the daemon opens it as soon as it is there";
                findings.add(Level::Warning, "modbus_rtu", what, remedy);
            }
        }
    }
    let to_reject = configuration.line.wiring == crate::config::Wiring::EnergiseToReject;
    if to_reject && assemble::has_coupler(configuration) {
        let what = "a coupler without its master has its gate at 0, which passes every part";
        let remedy = "wire energise_to_pass; else the PLC must stop the belt on loss of alive";
        findings.add(Level::Warning, "modbus_client", what, remedy);
    }
}

pub fn check_disk(configuration: &Configuration, findings: &mut Findings) {
    let directory = &configuration.state.directory;
    let place = directory.display().to_string();
    if let Err(error) = try_writing(directory) {
        let remedy = "it must exist and belong to the daemon's user (StateDirectory=)";
        return findings.add(Level::Error, &place, error.to_string(), remedy);
    }
    match rustix::fs::statvfs(directory) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let what = format!("writable, {} MB are free", free / 1_000_000);
            let (level, remedy) = match free < FREE_BYTES {
                true => (Level::Warning, "make room, or lower records.size_limit"),
                false => (Level::Ok, ""),
            };
            findings.add(level, &place, what, remedy);
        }
        Err(error) => findings.add(Level::Warning, &place, error.to_string(), ""),
    }
}

fn try_writing(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join(".onenipd-check");
    std::fs::File::create(&path)?.write_all(b"can be written\n")?;
    std::fs::remove_file(path)
}

pub fn check_clock(findings: &mut Findings) {
    match conditions::is_clock_synchronised() {
        Some(true) => findings.add(Level::Ok, "clock", "synchronised", ""),
        Some(false) => {
            let remedy = "enable systemd-timesyncd or chrony; the line works without (CLOCK warns)";
            findings.add(Level::Warning, "clock", "UTC is not synchronised", remedy);
        }
        None => {}
    }
}
