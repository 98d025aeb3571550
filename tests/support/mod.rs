//! Scripted engines and cameras around the real daemon: delays, errors, hangs, nonsense.

// Each test file uses its part of this one.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use onenipd::bundle::Normalisation;
use onenipd::daemon::{ActiveProduct, FrameWindow, Observation, Way, WayEnds, WayParts, assemble};
use onenipd::engine::{Engine, EngineError, Inspection};
use onenipd::judge::Thresholds;
use onenipd::line::{AlarmSet, Line, LineSettings, Wiring};
use onenipd::line_io::OutputLines;
use onenipd::line_io::memory::{MemoryInputs, MemoryLines};
use onenipd::part::{Duration, Frame, LineTime, NamedTensors, PartResult};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Input side of the scripted engine.
pub const SIDE: usize = 32;

/// What the scripted engine does with the next picture.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Answers with this score.
    Score(f32),
    /// Fails.
    Error,
    /// Answers only when released.
    Hang,
}

/// Decides for each run what the engine does.
pub type Script = Arc<Mutex<Box<dyn FnMut() -> Act + Send>>>;

pub struct ScriptedEngine {
    script: Script,
    input: Vec<f32>,
    map: Vec<f32>,
    release: Arc<AtomicBool>,
}

impl Engine for ScriptedEngine {
    fn side(&self) -> usize {
        SIDE
    }

    fn set_product(&mut self, _: &NamedTensors) -> Result<(), EngineError> {
        Ok(())
    }

    fn input(&mut self) -> &mut [f32] {
        &mut self.input
    }

    fn run(&mut self) -> Result<Inspection<'_>, EngineError> {
        let act = (self.script.lock().unwrap())();
        let score = match act {
            Act::Score(score) => score,
            Act::Error => return Err(EngineError::Run("scripted".into())),
            Act::Hang => {
                while !self.release.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                0.0
            }
        };
        Ok(Inspection {
            score,
            anomaly_map: &self.map,
            reconstruction_map: &self.map,
            refined_map: &self.map,
            map_peaks: [0.0; 3],
        })
    }
}

/// A real way around a scripted engine, with lines in memory.
pub struct Bench {
    pub way: Way,
    pub lines: MemoryLines,
    pub inputs: MemoryInputs,
    pub release: Arc<AtomicBool>,
    pub results: Vec<PartResult>,
    picture: u8,
}

impl Bench {
    pub fn start(script: impl FnMut() -> Act + Send + 'static) -> Self {
        Self::start_with(script, WayEnds::new(), false)
    }

    pub fn start_with(
        script: impl FnMut() -> Act + Send + 'static,
        ends: WayEnds,
        with_results: bool,
    ) -> Self {
        let release = Arc::new(AtomicBool::new(false));
        let engine = ScriptedEngine {
            script: Arc::new(Mutex::new(Box::new(script))),
            input: vec![0.0; 3 * SIDE * SIDE],
            map: vec![0.0; SIDE * SIDE],
            release: Arc::clone(&release),
        };
        let ms = Duration::from_millis;
        let mut settings = LineSettings::with_delay(Wiring::EnergiseToReject, ms(300));
        settings.stop_alarms = AlarmSet::always_stopping();
        settings.boot_id = 7;
        let lines = MemoryLines::default();
        let parts = WayParts {
            line: Line::new(settings, LineTime::now()),
            wires: vec![Box::new(lines.clone()) as Box<dyn OutputLines>],
            engine: Box::new(engine),
            engine_queue: 2,
            normalisation: Normalisation::LITE,
            camera: assemble::external_camera(),
            reconnect_interval: ms(50),
            window: FrameWindow { before: ms(20), after: ms(60), timeout: ms(80) },
            free_run: false,
            loader: Box::new(|number| {
                Ok(ActiveProduct {
                    number,
                    name: Arc::from("scripted"),
                    region_of_interest: None,
                    thresholds: Thresholds { image: 0.5, pixel: 0.5 },
                    tensors: NamedTensors::new(),
                })
            }),
            first_product: 1,
            region_rule: None,
            pictures: true,
            watchdog: None,
        };
        let inputs = MemoryInputs::new(ends.events.clone());
        let way = Way::start(parts, ends, with_results).unwrap();
        let mut bench = Self { way, lines, inputs, release, results: Vec::new(), picture: 0 };
        bench.until(|bench| bench.way.snapshot.load().outputs.ready);
        bench
    }

    /// A part with its picture.
    pub fn part(&mut self) -> LineTime {
        let time = self.trigger();
        self.frame(time);
        time
    }

    pub fn trigger(&mut self) -> LineTime {
        let time = LineTime::now();
        assert!(self.inputs.trigger(time));
        time
    }

    /// A frame that shows something, another each time.
    pub fn frame(&mut self, captured: LineTime) {
        self.picture = self.picture.wrapping_add(1);
        let shade = self.picture;
        let picture = image::RgbImage::from_fn(64, 48, |x, y| {
            image::Rgb([(x * 3) as u8 ^ shade, (y * 5) as u8, shade.wrapping_mul(7)])
        });
        self.way.sink.push(Frame::from_picture(picture, u64::from(shade), captured).unwrap());
    }

    /// Collects results until `count` of them have come.
    pub fn results(&mut self, count: usize) -> &[PartResult] {
        self.until(|bench| bench.results.len() >= count);
        &self.results
    }

    /// Waits, collecting results; a line that does not come there fails the test.
    pub fn until(&mut self, holds: impl Fn(&Self) -> bool) {
        let patience = LineTime::now() + Duration::from_secs(20);
        while !holds(self) {
            let line = self.way.snapshot.load();
            assert!(LineTime::now() < patience, "the daemon does not come there: {line:?}");
            let wait = Duration::from_millis(5);
            if let Ok(Observation::Decided(result)) = self.way.observations.recv_timeout(wait) {
                self.results.push(result);
            }
        }
    }

    /// Whether the gate was at its rejecting level at some moment of `from..to`.
    pub fn rejected_within(&self, from: LineTime, to: LineTime) -> bool {
        let history = self.lines.history();
        let before = history.iter().rfind(|(time, _)| *time <= from);
        before.is_some_and(|(_, levels)| levels.reject)
            || history.iter().any(|(time, levels)| levels.reject && *time > from && *time < to)
    }

    /// Stops and waits; the outputs must be safe then.
    pub fn stop(self) -> MemoryLines {
        self.release.store(true, Ordering::Relaxed);
        self.way.request_stop();
        self.way.join();
        self.lines
    }
}
