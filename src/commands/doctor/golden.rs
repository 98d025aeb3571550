//! The chosen engine on the bundle's golden rule images.

use crate::bundle::rule;
use crate::commands::findings::{Findings, Level};
use crate::config::Configuration;
use crate::daemon::assemble::EngineRoom;
use crate::engine::Engine;
use crate::part::{LineTime, NamedTensors};
use crate::product::{BundleTeacher, golden_product};

const PLACE: &str = "engine";
/// Runs that are timed, after as many as there are golden images.
const TIMED_RUNS: usize = 20;

/// Chooses the engine as the daemon would and holds it against the stored scores.
pub fn look_at_engine(configuration: &Configuration, findings: &mut Findings) {
    if configuration.engine.bundle.as_os_str().is_empty() {
        let what = "no bundle is configured: its golden images were not run";
        let remedy = "name one with --bundle, or set engine.bundle";
        return findings.add(Level::Warning, PLACE, what, remedy);
    }
    let room = match EngineRoom::open(configuration, &mut || true) {
        Ok(room) => room,
        Err(error) => return findings.add(Level::Error, PLACE, error.to_string(), ""),
    };
    let remedy = "mend the GPU, or set engine.device to \"cpu\"";
    let (choice, fell_back) = (room.choice().to_string(), room.choice().fell_back());
    findings.add_if(fell_back, Level::Warning, PLACE, choice, remedy);
    match run(&room, configuration.engine.threads) {
        Ok(run) => {
            let tolerance = room.choice().taken.golden_tolerance();
            let what = format!(
                "{} golden images: largest difference {:.1e}, allowed {tolerance:.0e}",
                run.images, run.largest_difference
            );
            let remedy = "do not inspect with it: update its libraries, or choose another engine";
            let difference = run.largest_difference;
            let wrong = run.images == 0 || difference.is_nan() || difference > tolerance;
            findings.add_if(wrong, Level::Error, PLACE, what, remedy);
            let (median, slowest) = (run.median_ms, run.slowest_ms);
            let what = format!("an inspection takes {median:.1} ms, the slowest {slowest:.1} ms");
            findings.add(Level::Ok, PLACE, what, "");
        }
        Err(error) => findings.add(Level::Error, PLACE, format!("{error:#}"), ""),
    }
}

struct GoldenRun {
    images: usize,
    /// Relative.
    largest_difference: f64,
    median_ms: f64,
    slowest_ms: f64,
}

fn run(room: &EngineRoom, threads: usize) -> anyhow::Result<GoldenRun> {
    let manifest = room.bundle.manifest();
    let product = product(room, threads)?;
    let mut engine = room.inspector(threads)()?;
    engine.set_product(&product)?;
    let mut largest_difference: f64 = 0.0;
    for (name, stored) in &manifest.golden_scores {
        let image = rule::rule_image(name, manifest.side);
        engine.input().copy_from_slice(image.values());
        let score = engine.run()?.score;
        let difference = f64::from((score - stored).abs()) / f64::from(stored.abs().max(1e-6));
        let worse = difference.is_nan() || difference > largest_difference;
        largest_difference = if worse { difference } else { largest_difference };
    }
    let mut times = times(&mut *engine)?;
    times.sort_by(f64::total_cmp);
    Ok(GoldenRun {
        images: manifest.golden_scores.len(),
        largest_difference,
        median_ms: times[times.len() / 2],
        slowest_ms: times[times.len() - 1],
    })
}

/// The product the stored scores were made with.
fn product(room: &EngineRoom, threads: usize) -> anyhow::Result<NamedTensors> {
    let manifest = room.bundle.manifest();
    let mut teacher = BundleTeacher::open(&room.runtime, &room.graphs, manifest, threads)?;
    let prompt = rule::rule_image("prompt", manifest.side);
    Ok(golden_product(&mut teacher, prompt.values())?)
}

/// Milliseconds of runs one after the other.
fn times(engine: &mut dyn Engine) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::new();
    for _ in 0..TIMED_RUNS {
        let started = LineTime::now();
        engine.run()?;
        times.push(LineTime::now().since(started).as_secs_f64() * 1000.0);
    }
    Ok(times)
}
