//! The processor: model, cores, governor, heat; and the memory.

use super::{entries, line_of, number_of};
use crate::commands::findings::{Findings, Level};
use crate::daemon::Throttling;
use crate::part::LineTime;
use std::path::Path;

/// Hotter than this, most processors slow down, degrees Celsius.
const HOT: f64 = 85.0;

/// `root`: where /proc and /sys are.
pub fn look_at_cpu(root: &Path, findings: &mut Findings) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let model = model(root).unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = memory_mb(root).map_or(String::new(), |mb| format!(", {mb} MB of memory"));
    let what = format!("{model}, {cores} cores{memory}");
    let remedy = "the line needs a core beside the engine's: take a box with two at least";
    findings.add_if(cores < 2, Level::Warning, "CPU", what, remedy);

    let mut governors: Vec<String> = entries(&root.join("sys/devices/system/cpu"))
        .iter()
        .filter_map(|cpu| line_of(&cpu.join("cpufreq/scaling_governor")))
        .collect();
    governors.sort();
    governors.dedup();
    if !governors.is_empty() {
        let slow = governors.iter().any(|governor| governor != "performance");
        let remedy = "`cpupower frequency-set -g performance` (on a Jetson: jetson_clocks): a core \
                      that sleeps between two parts is slow on the next";
        let what = format!("frequency governor: {}", governors.join(", "));
        findings.add_if(slow, Level::Warning, "CPU", what, remedy);
    }
    let throttled = Throttling::new(&root.join("sys")).is_throttled(LineTime::now());
    let remedy = "look at fan, dust and cabinet: verdicts come later while it lasts";
    let what = if throttled { "slowed down for its heat" } else { "not slowed down for its heat" };
    findings.add_if(throttled, Level::Warning, "CPU", what, remedy);
    if let Some((zone, degrees)) = hottest(root) {
        let what = format!("hottest sensor: {zone}, {degrees:.0} °C");
        findings.add_if(degrees >= HOT, Level::Warning, "CPU", what, remedy);
    }
}

fn model(root: &Path) -> Option<String> {
    let text = std::fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let named = text.lines().find(|line| line.starts_with("model name"));
    let named = named.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().to_owned());
    // Boards name themselves in their device tree.
    named.or_else(|| line_of(&root.join("proc/device-tree/model")))
}

fn memory_mb(root: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1000)
}

fn hottest(root: &Path) -> Option<(String, f64)> {
    let zones = entries(&root.join("sys/class/thermal")).into_iter().filter_map(|zone| {
        let millidegrees = number_of(&zone.join("temp"))?;
        let name = line_of(&zone.join("type")).unwrap_or_default();
        Some((name, millidegrees as f64 / 1000.0))
    });
    zones.max_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hot_box_on_a_saving_governor_is_warned_about() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("proc/device-tree/model", "NVIDIA Jetson Orin Nano\0");
        write("proc/meminfo", "MemTotal:        8000000 kB\n");
        write("sys/class/thermal/thermal_zone1/type", "gpu-thermal\n");
        write("sys/class/thermal/thermal_zone1/temp", "91500\n");
        write("sys/class/thermal/thermal_zone2/temp", "40000\n");
        write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "schedutil\n");
        assert_eq!(model(root.path()).unwrap(), "NVIDIA Jetson Orin Nano");
        assert_eq!(memory_mb(root.path()), Some(8000));
        assert_eq!(hottest(root.path()), Some(("gpu-thermal".to_owned(), 91.5)));
        let mut findings = Findings::default();
        look_at_cpu(root.path(), &mut findings);
        assert!(findings.any(Level::Warning) && !findings.any(Level::Error));
    }
}
