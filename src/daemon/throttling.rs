//! Whether the processor is slowed down for its heat, as far as the kernel tells (sysfs).

use crate::part::{Duration, LineTime};
use std::fs;
use std::path::{Path, PathBuf};

/// A throttling event counts for so long.
const LASTS: Duration = Duration::from_secs(10);

/// Looks at x86's throttle counters and at the cooling devices that slow processors down.
#[derive(Debug)]
pub struct Throttling {
    root: PathBuf,
    events: u64,
    until: LineTime,
}

impl Throttling {
    /// `root`: where sysfs is.
    pub fn new(root: &Path) -> Self {
        let root = root.to_owned();
        let events = count_events(&root);
        Self { root, events, until: LineTime::ZERO }
    }

    /// Slowed down now or within the last ten seconds.
    pub fn is_throttled(&mut self, now: LineTime) -> bool {
        let events = count_events(&self.root);
        if events > self.events || is_cooled(&self.root) {
            self.until = now + LASTS;
        }
        self.events = events;
        now < self.until
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn number(path: &Path) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn count_events(root: &Path) -> u64 {
    let counters = ["core_throttle_count", "package_throttle_count"];
    entries(&root.join("devices/system/cpu"))
        .map(|cpu| cpu.join("thermal_throttle"))
        .flat_map(|folder| counters.map(|counter| number(&folder.join(counter))))
        .sum()
}

/// A cooling device that slows the processor is at work; a fan is none.
fn is_cooled(root: &Path) -> bool {
    entries(&root.join("class/thermal")).any(|device| {
        let kind = fs::read_to_string(device.join("type")).unwrap_or_default().to_lowercase();
        let slows = kind.contains("cpufreq") || kind.starts_with("processor");
        slows && number(&device.join("cur_state")) > 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_move_and_cooling_devices_at_work_count_for_a_while() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let at = LineTime::from_millis;
        let counter = "devices/system/cpu/cpu1/thermal_throttle/core_throttle_count";
        write(counter, "7\n");
        write("class/thermal/cooling_device0/type", "pwm-fan\n");
        write("class/thermal/cooling_device0/cur_state", "3\n");
        let mut throttling = Throttling::new(root.path());
        assert!(!throttling.is_throttled(at(1000)));
        write(counter, "8\n");
        assert!(throttling.is_throttled(at(2000)));
        assert!(throttling.is_throttled(at(11_999)) && !throttling.is_throttled(at(12_000)));
        write("class/thermal/cooling_device1/type", "Processor\n");
        write("class/thermal/cooling_device1/cur_state", "1\n");
        assert!(throttling.is_throttled(at(20_000)));
        assert!(!Throttling::new(Path::new("/nowhere")).is_throttled(at(1)));
    }
}
