//! Devices, the user, limits, clock, disk, and whether this is a real machine.

use super::{entries, line_of, said_by};
use crate::commands::findings::{Findings, Level};
use crate::config::{CameraSource, Configuration};
use crate::daemon::conditions;
use rustix::fs::Access;
use rustix::process::{Resource, getrlimit};
use std::path::{Path, PathBuf};

/// Less free space than this is soon none.
const FREE_BYTES: u64 = 200_000_000;

/// Kinds of devices, how their names in /dev start, and the group that may use them.
const KINDS: [(&str, &[&str], &str); 3] = [
    ("video devices", &["video"], "video"),
    ("GPIO chips", &["gpiochip"], "gpio"),
    ("serial ports", &["ttyUSB", "ttyACM", "ttyTHS", "ttyAMA"], "dialout"),
];

/// `root`: where /dev is.
pub fn look_at_devices(configuration: &Configuration, root: &Path, findings: &mut Findings) {
    let wanted = [
        configuration.camera.source == CameraSource::Device,
        configuration.gpio.chip.is_some(),
        configuration.modbus_rtu.device.is_some(),
    ];
    for ((kind, starts, group), wanted) in KINDS.into_iter().zip(wanted) {
        let found: Vec<PathBuf> = entries(&root.join("dev"))
            .into_iter()
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let rest = starts.iter().find_map(|start| name.strip_prefix(start));
                rest.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()))
            })
            .collect();
        if found.is_empty() {
            let remedy = "plug it in, and look at `dmesg`; in a container, pass the device in";
            findings.add_if(wanted, Level::Warning, kind, "none", remedy);
        }
        for path in found {
            let allowed = rustix::fs::access(&path, Access::READ_OK | Access::WRITE_OK);
            let shown = path.display();
            let what = match allowed {
                Ok(()) => format!("{shown} may be used"),
                Err(error) => format!("{shown} may not be used: {error}"),
            };
            let remedy = format!(
                "as another user: sudo usermod -aG {group} USER, and log in again; the service has \
                 the group (systemd/onenipd.service, systemd/70-onenipd.rules)"
            );
            findings.add_if(allowed.is_err(), Level::Warning, kind, what, &remedy);
        }
    }
}

/// Who looks: what a person may differs from what the service may.
pub fn look_at_user(findings: &mut Findings) {
    let user = rustix::process::geteuid().as_raw();
    let named = said_by("id", &["-nG"]).unwrap_or_else(|| "unknown".to_owned());
    let what = format!("user {user}, groups: {named}");
    findings.add(Level::Ok, "user", what, "");
}

/// Limits against what `[realtime]` asks for.
pub fn look_at_limits(configuration: &Configuration, findings: &mut Findings) {
    let realtime = &configuration.realtime;
    let is_root = rustix::process::geteuid().is_root();
    let show = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    let priority = getrlimit(Resource::Rtprio).current;
    let low = !is_root && priority.is_some_and(|limit| limit < u64::from(realtime.priority));
    let what = format!(
        "SCHED_FIFO up to {}; realtime.priority asks for {}",
        show(priority),
        realtime.priority
    );
    let remedy = "the service has LimitRTPRIO=60; a person: /etc/security/limits.d, `rtprio`";
    findings.add_if(low, Level::Warning, "limits", what, remedy);
    let locked = getrlimit(Resource::Memlock).current;
    let low = !is_root && realtime.lock_memory && locked.is_some();
    let asks = if realtime.lock_memory { "wants all" } else { "wants none" };
    let what = format!("locked memory up to {} bytes; realtime.lock_memory {asks}", show(locked));
    let remedy = "the service has LimitMEMLOCK=infinity; a person: limits.d, `memlock`";
    findings.add_if(low, Level::Warning, "limits", what, remedy);
}

pub fn look_at_clock(findings: &mut Findings) {
    match conditions::is_clock_synchronised() {
        Some(true) => findings.add(Level::Ok, "clock", "synchronised", ""),
        Some(false) => {
            let remedy = "enable systemd-timesyncd or chrony; the line works without (CLOCK warns)";
            findings.add(Level::Warning, "clock", "UTC is not synchronised", remedy);
        }
        None => findings.add(Level::Ok, "clock", "nobody here tells whether UTC is right", ""),
    }
}

pub fn look_at_disk(configuration: &Configuration, findings: &mut Findings) {
    let directory = &configuration.state.directory;
    let place = directory.display().to_string();
    // The directory may be made only by the service's first start.
    let there = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(there) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let what = format!("{} MB are free", free / 1_000_000);
            let remedy = "make room, or lower records.size_limit";
            findings.add_if(free < FREE_BYTES, Level::Warning, &place, what, remedy);
        }
        Err(error) => findings.add(Level::Warning, &place, error.to_string(), ""),
    }
    if directory.exists() {
        let allowed = rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK);
        let what =
            if allowed.is_ok() { "may be written" } else { "may not be written by this user" };
        let remedy = "it must belong to the daemon's user (StateDirectory=)";
        findings.add_if(allowed.is_err(), Level::Warning, &place, what, remedy);
    }
}

/// `root`: where /proc and the containers' marks are.
pub fn look_for_virtualisation(root: &Path, findings: &mut Findings) {
    let told = said_by("systemd-detect-virt", &[]);
    let marks = [(".dockerenv", "docker"), ("run/.containerenv", "podman")];
    let mark = marks.iter().find(|(path, _)| root.join(path).exists());
    let cpu = std::fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let flags = cpu.lines().find(|line| line.starts_with("flags"));
    let guest =
        flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"));
    let kind = mark.map(|(_, kind)| (*kind).to_owned());
    let kind = kind.or(told.filter(|kind| kind != "none"));
    let kind = kind.or_else(|| guest.then(|| "a virtual machine".to_owned()));
    let kernel = line_of(&root.join("proc/sys/kernel/osrelease")).unwrap_or_default();
    let what = match &kind {
        Some(kind) => format!("Linux {kernel}, inside {kind}"),
        None => format!("Linux {kernel} on a machine of its own"),
    };
    let remedy = "times measured here are not those of a box of its own; a container needs its \
                  devices and limits passed in";
    findings.add_if(kind.is_some(), Level::Warning, "machine", what, remedy);
}
