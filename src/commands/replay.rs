//! `onenipd replay`: a folder of pictures through the daemon's whole way, verdicts against truth.

use super::configuration::ConfigurationArguments;
use super::failure::{Code, Failure, WithCode};
use super::progress;
use super::run;
use super::tally::Tally;
use crate::camera::FolderCamera;
use crate::config::Configuration;
use crate::daemon::assemble;
use crate::daemon::persistence::Survivors;
use crate::daemon::{FrameWindow, Observation, Observer, Way, WayEnds};
use crate::dataset;
use crate::line::AlarmSet;
use crate::line_io::memory::{MemoryInputs, MemoryLines};
use crate::part::{Duration, LineTime, PartResult};
use crate::product::ProductStore;
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A part undecided for longer than this means that the line has died.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Args)]
#[command(after_help = "Example: onenipd replay data/bracket/test --product bracket")]
pub struct Arguments {
    /// Folder of pictures, or a product's `test/`; pictures in a folder `good` count as good
    folder: PathBuf,
    /// Product they are judged as
    #[arg(long, value_name = "NAME")]
    product: String,
    /// Parts per second (default: each part when the one before is decided)
    #[arg(long)]
    rate: Option<f64>,
    /// One JSON document instead of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub fn run(arguments: Arguments) -> Result<(), Failure> {
    let configuration = arguments.configuration.load()?;
    run::start_logging(&configuration);
    let stop = run::stop_on_signals()?;
    let files = pictures(&arguments.folder)?;
    let room = run::open_engine_room(&configuration, &stop)?;
    let store = ProductStore::open(&configuration.state.directory);
    let product = store.load(&arguments.product, room.bundle.hash()).code(Code::NoInput)?;
    let number = product.info.number;
    drop(product);
    let line = line_settings(&configuration);
    let shortest = line.lockout.max(line.min_part) + Duration::from_millis(1);
    let lines = MemoryLines::default();
    let wires: Vec<Box<dyn crate::line_io::OutputLines>> = vec![Box::new(lines.clone())];
    let camera = assemble::external_camera();
    let mut parts = assemble::way_parts(&configuration, &room, line, wires, camera, number);
    parts.rehearsed_runs = 0;
    // Pictures carry the stamp of their trigger.
    parts.window = FrameWindow::exact(parts.window.timeout);
    parts.free_run = false;
    let way = run::start_way(parts, WayEnds::new(), false)?;
    let archive = run::open_archive(&configuration, "replayed-rejects", 1)?;
    let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
    let camera = FolderCamera::start(paths, way.sink.clone()).code(Code::NoInput)?;
    let mut replay = Replay {
        inputs: MemoryInputs::new(way.events.clone()),
        way,
        observer: Observer::new(archive),
        files,
        shortest,
        shown: Vec::new(),
        results: Vec::new(),
        tally: Tally::new(),
        unreadable: 0,
        stop,
    };
    replay.wait_ready()?;
    replay
        .play(camera, arguments.rate.map(|rate| Duration::from_secs_f64(1.0 / rate.max(0.001))))?;
    replay.way.request_stop();
    replay.collect_until(|replay| replay.way.snapshot.load().armed == 0);
    replay.report(arguments.json)?;
    replay.way.join();
    Ok(())
}

/// More time for edges that drive nothing: a replay loads the machine as no line does.
const SLACK: Duration = Duration::from_millis(500);

/// As configured, but alarms do not stop a replay, no wire waits for an edge, and nothing of the
/// box's own counters moves.
fn line_settings(configuration: &Configuration) -> crate::line::LineSettings {
    let survivors = Survivors { boot_id: 1, ..Survivors::default() };
    let mut line = assemble::line_settings(configuration, survivors);
    line.stop_alarms = AlarmSet::always_stopping();
    line.follow_by_time(SLACK);
    line
}

struct File {
    path: PathBuf,
    /// `None` when the folder says nothing.
    defective: Option<bool>,
}

struct Replay {
    way: Way,
    inputs: MemoryInputs,
    observer: Observer,
    files: Vec<File>,
    /// Triggers closer than this would be bounce or overtriggers.
    shortest: Duration,
    /// Trigger time and index of the file shown.
    shown: Vec<(LineTime, usize)>,
    results: Vec<(usize, PartResult)>,
    tally: Tally,
    unreadable: usize,
    stop: Arc<AtomicBool>,
}

impl Replay {
    fn wait_ready(&mut self) -> Result<(), Failure> {
        let patience = LineTime::now() + PATIENCE;
        while !self.way.snapshot.load().outputs.ready {
            self.collect(Duration::from_millis(10));
            if LineTime::now() > patience {
                let state = self.way.snapshot.load().state;
                let message = format!("the line does not become ready (state {state:?})");
                return Err(Failure::say(Code::Internal, message));
            }
        }
        Ok(())
    }

    fn play(&mut self, mut camera: FolderCamera, spacing: Option<Duration>) -> Result<(), Failure> {
        let bar = progress::bar(self.files.len() as u64, "replay");
        let mut due = LineTime::now();
        while let Some(next) = camera.next_picture() {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            bar.inc(1);
            let picture = match next {
                Ok(picture) => picture,
                Err(error) => {
                    self.unreadable += 1;
                    log::warn!("skipped: {error}");
                    continue;
                }
            };
            while LineTime::now() < due {
                self.collect(due.since(LineTime::now()));
            }
            let time = LineTime::now();
            self.shown.push((time, picture.index));
            self.inputs.trigger(time);
            camera.shoot(picture, time);
            match spacing {
                Some(spacing) => due = due + spacing,
                None => {
                    let shown = self.shown.len();
                    if !self.collect_until(|replay| replay.results.len() >= shown) {
                        return Err(Failure::say(Code::Internal, "the line gives no decisions"));
                    }
                    due = time + self.shortest;
                }
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// `false` when nothing came for too long.
    fn collect_until(&mut self, holds: impl Fn(&Self) -> bool) -> bool {
        let mut patience = LineTime::now() + PATIENCE;
        while !holds(self) {
            if self.collect(Duration::from_millis(50)) {
                patience = LineTime::now() + PATIENCE;
            } else if LineTime::now() > patience {
                return false;
            }
        }
        true
    }

    /// Takes one observation; `false` when none came in `wait`.
    fn collect(&mut self, wait: Duration) -> bool {
        let Ok(observation) = self.way.observations.recv_timeout(wait) else { return false };
        match self.observer.observe(observation) {
            Some(Observation::Decided(result)) => {
                let index = self.shown.iter().find(|(time, _)| *time == result.triggered);
                log::debug!("part {} {} {}", result.sequence, result.decision, result.reason);
                if let Some((_, index)) = index {
                    self.tally.count(&result, self.files[*index].defective);
                    self.results.push((*index, result));
                }
            }
            Some(Observation::Said { level, message }) => log::log!(level, "{message}"),
            Some(Observation::AlarmChanged { alarm, active: true }) => {
                log::warn!("alarm {}: {}", alarm.word(), alarm.remedy());
            }
            Some(Observation::StateChanged { from, to }) => log::info!("state {from:?} -> {to:?}"),
            _ => {}
        }
        true
    }

    fn report(&self, json: bool) -> Result<(), Failure> {
        let word = |file: &File| match file.defective {
            Some(true) => "defective",
            Some(false) => "good",
            None => "unknown",
        };
        if json {
            let list: Vec<_> = self
                .results
                .iter()
                .map(|(index, result)| {
                    let file = &self.files[*index];
                    json!({"sequence": result.sequence.get(), "file": file.path,
                        "truth": word(file), "decision": result.decision.word(),
                        "score": result.score.is_finite().then_some(result.score)})
                })
                .collect();
            let t = &self.tally;
            let document = json!({"parts": t.parts, "passed": t.passed, "rejected": t.failed,
                "no_decision": t.no_decision, "true_rejects": t.true_rejects,
                "escapes": t.escapes, "false_rejects": t.false_rejects,
                "unreadable": self.unreadable,
                "time_to_verdict_ms": {"p50": t.time_to_verdict_ms(0.5),
                    "p99": t.time_to_verdict_ms(0.99)},
                "parts_list": list});
            println!("{}", serde_json::to_string_pretty(&document).code(Code::Internal)?);
            return Ok(());
        }
        for (index, result) in &self.results {
            let file = &self.files[*index];
            let wrong = match (result.decision, file.defective) {
                (crate::part::Decision::Pass, Some(true)) => "ESCAPE",
                (crate::part::Decision::Fail, Some(false)) => "false reject",
                (crate::part::Decision::NoDecision, _) => result.reason.word(),
                _ => continue,
            };
            let path = file.path.display();
            println!("{wrong:14} {path}  score {:.4} of {:.4}", result.score, result.threshold);
        }
        println!("{}", self.tally);
        if self.unreadable > 0 {
            eprintln!("{} unreadable pictures were skipped", self.unreadable);
        }
        Ok(())
    }
}

/// Pictures of a folder and of its folders; a folder's name tells the truth.
fn pictures(folder: &Path) -> Result<Vec<File>, Failure> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders[1..].sort();
    for (index, folder) in folders.iter().enumerate() {
        let Ok(listed) = dataset::list_pictures(folder) else { continue };
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        // The folder given says something only by the name `good`.
        let defective = match name.as_deref() {
            Some("good") => Some(false),
            _ if index == 0 => None,
            _ => Some(true),
        };
        files.extend(listed.into_iter().map(|path| File { path, defective }));
    }
    if files.is_empty() {
        let message = format!("no picture (png, jpg) in {} or its folders", folder.display());
        return Err(Failure::say(Code::NoInput, message));
    }
    Ok(files)
}
