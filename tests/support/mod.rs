//! Scripted engines and cameras around the real daemon: delays, errors, hangs, nonsense.

// Each test file uses its part of this one.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use onenipd::bundle::Normalisation;
use onenipd::daemon::{
    ActiveProduct, FrameWindow, Observation, Observer, Way, WayEnds, WayParts, assemble,
};
use onenipd::engine::{Engine, EngineError, Inspection};
use onenipd::judge::Thresholds;
use onenipd::line::{Alarm, AlarmSet, LineEvent, LineSettings, Wiring};
use onenipd::line_io::OutputLines;
use onenipd::line_io::memory::{MemoryInputs, MemoryLines};
use onenipd::part::{
    Command, Duration, Frame, LineTime, NamedTensors, PartResult, RegionOfInterest,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Input side of the scripted engine.
pub const SIDE: usize = 32;

/// What the scripted engine does with the next picture.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Answers with this score.
    Score(f32),
    /// Fails.
    Error,
    /// The engine's GPU is lost.
    Lost,
    /// Answers only when released.
    Hang,
    /// Panics.
    Panic,
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
        let act = (self.script.lock().unwrap_or_else(PoisonError::into_inner))();
        let score = match act {
            Act::Score(score) => score,
            Act::Panic => panic!("scripted"),
            Act::Lost => return Err(EngineError::Accelerator("scripted".into())),
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
    /// Alarms raised so far.
    pub alarms: Vec<Alarm>,
    /// Takes every observation first, if there is one.
    pub observer: Option<Observer>,
    /// Exposures of the camera, whether their frame arrives or not.
    exposures: u64,
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
        let mut bench = Self::open(script, ends, with_results, |_| {});
        bench.until_ready();
        bench
    }

    /// As `start`, with other parts.
    pub fn start_tuned(
        script: impl FnMut() -> Act + Send + 'static,
        tune: impl FnOnce(&mut WayParts),
    ) -> Self {
        let mut bench = Self::open(script, WayEnds::new(), false, tune);
        bench.until_ready();
        bench
    }

    /// Does not wait until it is ready.
    pub fn open(
        script: impl FnMut() -> Act + Send + 'static,
        ends: WayEnds,
        with_results: bool,
        tune: impl FnOnce(&mut WayParts),
    ) -> Self {
        let release = Arc::new(AtomicBool::new(false));
        let lines = MemoryLines::default();
        let wires = vec![Box::new(lines.clone()) as Box<dyn OutputLines>];
        let mut parts = parts(script, &release, wires);
        tune(&mut parts);
        let inputs = MemoryInputs::new(ends.events.clone());
        let way = Way::start(parts, ends, with_results).unwrap();
        let (results, alarms, observer) = (Vec::new(), Vec::new(), None);
        Self { way, lines, inputs, release, results, alarms, observer, exposures: 0 }
    }

    /// With more wires and another line; does not wait until it is ready.
    pub fn build(
        script: impl FnMut() -> Act + Send + 'static,
        ends: WayEnds,
        with_results: bool,
        wires: Vec<Box<dyn OutputLines>>,
        change: impl FnOnce(&mut LineSettings),
    ) -> Self {
        Self::open(script, ends, with_results, |parts| {
            parts.wires.extend(wires);
            change(&mut parts.line);
        })
    }

    pub fn until_ready(&mut self) {
        self.until(|bench| bench.way.snapshot.load().outputs.ready);
    }

    /// A part with its picture.
    pub fn part(&mut self) -> LineTime {
        let time = self.trigger();
        self.push(time, (64, 48));
        time
    }

    /// A part whose camera was triggered, but the frame does not arrive.
    pub fn trigger(&mut self) -> LineTime {
        let time = LineTime::now();
        assert!(self.inputs.trigger(time));
        self.exposures += 1;
        time
    }

    /// A frame nobody triggered.
    pub fn frame(&mut self, captured: LineTime) {
        self.exposures += 1;
        self.push(captured, (64, 48));
    }

    /// An exposure without a trigger, whose frame does not arrive.
    pub fn lose_frame(&mut self) {
        self.exposures += 1;
    }

    /// The frame of the last exposure: it shows something, another each time.
    pub fn push(&mut self, captured: LineTime, (width, height): (u32, u32)) {
        let shade = self.exposures as u8;
        let picture = image::RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 3) as u8 ^ shade, (y * 5) as u8, shade.wrapping_mul(7)])
        });
        self.way.sink.push(Frame::from_picture(picture, self.exposures, captured).unwrap());
    }

    /// Asks the line for something, as PLC or page would.
    pub fn command(&self, command: Command) {
        let time = LineTime::now();
        self.way.events.send(LineEvent::Command { command, time }).unwrap();
    }

    /// Lets time pass, collecting results.
    pub fn wait(&mut self, time: Duration) {
        let over = LineTime::now() + time;
        self.until(|_| LineTime::now() >= over);
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
            let Ok(observation) = self.way.observations.recv_timeout(wait) else { continue };
            let left = match &mut self.observer {
                Some(observer) => observer.observe(observation),
                None => Some(observation),
            };
            match left {
                Some(Observation::Decided(result)) => self.results.push(result),
                Some(Observation::AlarmChanged { alarm, active: true }) => self.alarms.push(alarm),
                _ => {}
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

/// What the way is made of: delay 300 ms, 250 ms to decide, a window of 20 ms before to 60 ms after for the frame.
fn parts(
    script: impl FnMut() -> Act + Send + 'static,
    release: &Arc<AtomicBool>,
    wires: Vec<Box<dyn OutputLines>>,
) -> WayParts {
    let script: Script = Arc::new(Mutex::new(Box::new(script)));
    let release = Arc::clone(release);
    let engine = move || {
        let (script, release) = (Arc::clone(&script), Arc::clone(&release));
        let (input, map) = (vec![0.0; 3 * SIDE * SIDE], vec![0.0; SIDE * SIDE]);
        Ok(Box::new(ScriptedEngine { script, input, map, release }) as Box<dyn Engine>)
    };
    let ms = Duration::from_millis;
    let mut settings = LineSettings::with_delay(Wiring::EnergiseToReject, ms(300));
    // A machine that runs tests is no real-time machine: edges may be this late.
    settings.jitter = ms(30);
    settings.stop_alarms = AlarmSet::always_stopping();
    settings.boot_id = 7;
    WayParts {
        line: settings,
        wires,
        engine: Box::new(engine),
        engine_fell_back: Arc::default(),
        rehearsed_runs: 0,
        picture_size: None,
        engine_queue: 2,
        normalisation: Normalisation::LITE,
        camera: assemble::external_camera(),
        reconnect_interval: ms(50),
        window: FrameWindow {
            before: ms(20),
            after: ms(60),
            timeout: ms(80),
            one_per_trigger: true,
        },
        free_run: false,
        loader: Box::new(|number| Ok(product(number, None))),
        first_product: 1,
        region_rule: None,
        pictures: true,
        watchdog: None,
        realtime: Default::default(),
    }
}

pub fn product(number: u16, region_of_interest: Option<RegionOfInterest>) -> ActiveProduct {
    ActiveProduct {
        number,
        name: Arc::from("scripted"),
        region_of_interest,
        thresholds: Thresholds { image: 0.5, pixel: 0.5 },
        tensors: NamedTensors::new(),
    }
}
