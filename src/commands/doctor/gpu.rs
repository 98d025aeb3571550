//! The GPU: name, memory, architecture; temperature, clocks and power mode as the box's own tools
//! tell them.

use super::{entries, line_of, number_of, said_by};
use crate::commands::findings::{Findings, Level};
use std::path::Path;

const PLACE: &str = "GPU";
/// Columns asked of nvidia-smi, and what each is.
const COLUMNS: [(&str, &str); 9] = [
    ("name", "name"),
    ("driver_version", "driver"),
    ("memory.total", "memory"),
    ("temperature.gpu", "temperature °C"),
    ("clocks.sm", "clock"),
    ("clocks.max.sm", "highest clock"),
    ("power.draw", "power"),
    ("power.limit", "power limit"),
    ("pstate", "performance state"),
];

/// `root`: where /sys and /etc are.
pub fn look_at_gpu(root: &Path, findings: &mut Findings) {
    let opened = look_at_device(findings);
    let jetson = root.join("etc/nv_tegra_release").exists();
    let smi = if jetson { None } else { smi() };
    if let Some(told) = &smi {
        findings.add(Level::Ok, PLACE, format!("nvidia-smi: {told}"), "");
    }
    if jetson {
        look_at_jetson(root, findings);
    }
    if !opened && smi.is_none() && !jetson {
        findings.add(Level::Ok, PLACE, "none is found: the processor inspects", "");
    } else if !opened && cfg!(not(feature = "cuda")) {
        let what = "this program cannot use it: it was built without the feature `tensorrt`";
        let remedy = "build it with `--features tensorrt,cuda-12`, see docs/guide/jetson.md";
        findings.add(Level::Warning, PLACE, what, remedy);
    }
}

/// What CUDA tells; whether there is a GPU it can open.
#[cfg(feature = "cuda")]
fn look_at_device(findings: &mut Findings) -> bool {
    use crate::cuda::{CudaError, Device};
    let told = Device::open(0).and_then(|device| {
        let (free, total) = device.memory_bytes()?;
        let (free, total) = (free / 1_000_000, total / 1_000_000);
        let (name, architecture) = (device.name()?, device.architecture()?);
        Ok(format!("{name}, {architecture}, {total} MB of memory, {free} MB free"))
    });
    match told {
        Ok(what) => {
            findings.add(Level::Ok, PLACE, what, "");
            true
        }
        Err(CudaError::NoDriver { .. }) => false,
        Err(error) => {
            let remedy = "`nvidia-smi` and `dmesg | grep -e NVRM -e Xid` tell more";
            findings.add(Level::Warning, PLACE, error.to_string(), remedy);
            false
        }
    }
}

#[cfg(not(feature = "cuda"))]
const fn look_at_device(_: &mut Findings) -> bool {
    false
}

fn smi() -> Option<String> {
    let columns = COLUMNS.map(|(column, _)| column).join(",");
    let query = format!("--query-gpu={columns}");
    let text = said_by("nvidia-smi", &[&query, "--format=csv,noheader"])?;
    let values = text.lines().next()?.split(',');
    let pairs =
        COLUMNS.iter().zip(values).map(|((_, name), value)| format!("{name} {}", value.trim()));
    Some(pairs.collect::<Vec<_>>().join(", "))
}

/// Power mode, clocks and temperature of a Jetson.
fn look_at_jetson(root: &Path, findings: &mut Findings) {
    let release = line_of(&root.join("etc/nv_tegra_release"));
    if let Some(release) = release.and_then(|text| text.lines().next().map(str::to_owned)) {
        findings.add(Level::Ok, PLACE, format!("Jetson Linux {release}"), "");
    }
    if let Some(mode) = said_by("nvpmodel", &["-q"]) {
        let mode: Vec<&str> = mode.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let full = mode.last() == Some(&"0");
        let what = format!("power mode: {}", mode.join(", "));
        let remedy = "`sudo nvpmodel -m 0` gives full power where supply and cooling allow it";
        findings.add_if(!full, Level::Warning, PLACE, what, remedy);
    } else {
        let remedy = "run doctor as root, or `sudo nvpmodel -q`";
        findings.add(Level::Warning, PLACE, "the power mode cannot be read", remedy);
    }
    for device in entries(&root.join("sys/class/devfreq")) {
        let name = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let now = number_of(&device.join("cur_freq"));
        let highest = number_of(&device.join("max_freq"));
        if let (true, Some(now), Some(highest)) = (name.contains("gpu"), now, highest) {
            let (now, highest) = (now / 1_000_000, highest / 1_000_000);
            let remedy = "`sudo jetson_clocks` holds it there: a GPU that sleeps is slow to wake";
            let what = format!("clock {now} of {highest} MHz");
            findings.add_if(now < highest, Level::Warning, PLACE, what, remedy);
        }
    }
    for zone in entries(&root.join("sys/class/thermal")) {
        let name = line_of(&zone.join("type")).unwrap_or_default();
        if let (true, Some(heat)) = (name.starts_with("gpu"), number_of(&zone.join("temp"))) {
            findings.add(Level::Ok, PLACE, format!("{name}: {} °C", heat / 1000), "");
        }
    }
}
