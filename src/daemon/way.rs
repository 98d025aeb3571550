//! The way: stages and channels put together, and taken apart again.

use super::ActiveProduct;
use super::frames::FrameStage;
use super::inspection::{EngineStage, ProductLoader, Work};
use super::line_thread::{self, LineExits};
use super::observation::{Drops, Observation};
use super::pairing::FrameWindow;
use super::service::Watchdog;
use super::supervisor::{self, CameraFactory, Supervisor};
use crate::bundle::Normalisation;
use crate::camera::FrameSink;
use crate::engine::Engine;
use crate::judge::RegionRule;
use crate::line::{Line, LineEvent, LineSnapshot};
use crate::line_io::OutputLines;
use crate::part::{Duration, Frame, LineTime, PartAnnouncement, PartResult};
use crate::preprocess::CpuPreprocessor;
use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Bounds of the channels, each with its reason.
pub mod bounds {
    /// Edges, verdicts and commands: a burst of a full schedule with its verdicts.
    pub const EVENTS: usize = 1024;
    /// Armed parts waiting for frames: as many as the line's schedule holds.
    pub const ANNOUNCEMENTS: usize = 256;
    /// Frames between camera and preprocessing: a third one is older than the next trigger.
    pub const FRAMES: usize = 3;
    /// Results for the Modbus server: twice its own FIFO.
    pub const RESULTS: usize = 128;
    /// Observations: some seconds of a fast line.
    pub const OBSERVATIONS: usize = 512;
    /// Pictures on their way to observers; each may be several megabytes.
    pub const PICTURES: usize = 8;
    /// Camera troubles: the supervisor acts on the first.
    pub const TROUBLES: usize = 4;
    /// Product loads under way: the line asks for one at a time.
    pub const LOADS: usize = 4;
}

/// What a way is made of.
pub struct WayParts {
    /// The line, with its settings.
    pub line: Line,
    /// Output wires; every one is written.
    pub wires: Vec<Box<dyn OutputLines>>,
    /// The engine.
    pub engine: Box<dyn Engine>,
    /// Parts the engine may have waiting.
    pub engine_queue: usize,
    /// Pixel normalisation of the engine's input.
    pub normalisation: Normalisation,
    /// Opens the camera, again after a failure.
    pub camera: CameraFactory,
    /// Between two tries to open the camera.
    pub reconnect_interval: Duration,
    /// When a frame belongs to a trigger.
    pub window: FrameWindow,
    /// Every frame is a part.
    pub free_run: bool,
    /// Looks products up.
    pub loader: ProductLoader,
    /// The product to start with; 0 none.
    pub first_product: u16,
    /// Region rule, if one is configured.
    pub region_rule: Option<RegionRule>,
    /// Pictures for observers are wanted.
    pub pictures: bool,
    /// systemd's watchdog, fed by the line thread alone.
    pub watchdog: Option<Watchdog>,
}

/// The ends a way leaves open for those around it.
pub struct WayEnds {
    /// Into the line: wires, commands, signals.
    pub events: Sender<LineEvent>,
    events_receiver: Receiver<LineEvent>,
    /// The line as it is.
    pub snapshot: Arc<ArcSwap<LineSnapshot>>,
    results: Sender<PartResult>,
    /// Results for a Modbus server.
    pub results_receiver: Receiver<PartResult>,
}

impl WayEnds {
    /// Channels first: wires and servers take their ends before the way runs.
    pub fn new() -> Self {
        let (events, events_receiver) = bounded(bounds::EVENTS);
        let (results, results_receiver) = bounded(bounds::RESULTS);
        let snapshot = Arc::new(ArcSwap::from_pointee(LineSnapshot::default()));
        Self { events, events_receiver, snapshot, results, results_receiver }
    }
}

impl Default for WayEnds {
    fn default() -> Self {
        Self::new()
    }
}

/// A running way.
pub struct Way {
    /// Into the line.
    pub events: Sender<LineEvent>,
    /// The line as it is.
    pub snapshot: Arc<ArcSwap<LineSnapshot>>,
    /// What happens, for log, terminal and archive.
    pub observations: Receiver<Observation>,
    /// Counted drops.
    pub drops: Arc<Drops>,
    /// Where frames go in (overruns are counted there).
    pub sink: FrameSink,
    line: Option<JoinHandle<()>>,
    stages: Vec<JoinHandle<()>>,
    supervisor: Supervisor,
}

/// Threads that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("thread {name} cannot be started: {source}; look at the limits of processes and memory")]
pub struct WayError {
    name: &'static str,
    source: std::io::Error,
}

impl Way {
    /// Starts every thread, rejects first: the line runs before anything can go wrong elsewhere.
    /// With `with_results` somebody drains `ends.results_receiver`.
    pub fn start(parts: WayParts, ends: WayEnds, with_results: bool) -> Result<Self, WayError> {
        let drops = Arc::new(Drops::default());
        let (announcements, announced) = bounded::<PartAnnouncement>(bounds::ANNOUNCEMENTS);
        let (observations, observations_receiver) = bounded(bounds::OBSERVATIONS);
        let (loads, loads_receiver) = bounded(bounds::LOADS);
        let exits = LineExits {
            announcements,
            results: with_results.then_some(ends.results),
            observations: observations.clone(),
            loads,
            snapshot: Arc::clone(&ends.snapshot),
            drops: Arc::clone(&drops),
        };
        let WayParts { line, wires, watchdog, .. } = parts;
        let line = line_thread::spawn(line, wires, ends.events_receiver, exits, watchdog)
            .map_err(|source| WayError { name: "line", source })?;

        let (frames, frames_receiver) = bounded(bounds::FRAMES);
        let (troubles, troubles_receiver) = bounded(bounds::TROUBLES);
        let sink = FrameSink::new(frames, troubles);
        let shared = Shared { events: ends.events.clone(), observations, drops };
        let settings = StageSettings {
            engine: parts.engine,
            engine_queue: parts.engine_queue.max(1),
            normalisation: parts.normalisation,
            window: parts.window,
            free_run: parts.free_run,
            loader: parts.loader,
            region_rule: parts.region_rule,
            picture_places: if parts.pictures { bounds::PICTURES } else { 0 },
        };
        let inlets = (announced, frames_receiver, loads_receiver);
        let stages = start_stages(settings, inlets, &shared)?;
        if parts.first_product != 0 {
            let command = crate::part::Command::ChangeProduct(parts.first_product);
            let _ = ends.events.send(LineEvent::Command { command, time: LineTime::now() });
        }
        let setup = supervisor::Setup {
            camera: parts.camera,
            sink: sink.clone(),
            troubles: troubles_receiver,
            events: shared.events,
            observations: shared.observations,
            interval: parts.reconnect_interval,
            drops: Arc::clone(&shared.drops),
        };
        let supervisor =
            Supervisor::start(setup).map_err(|source| WayError { name: "supervisor", source })?;
        Ok(Self {
            events: ends.events,
            snapshot: ends.snapshot,
            observations: observations_receiver,
            drops: shared.drops,
            sink,
            line: Some(line),
            stages,
            supervisor,
        })
    }

    /// Whether the line's thread lives. If it does not and nobody asked it to stop, the process
    /// must end: nothing drives the gate any more.
    pub fn line_lives(&self) -> bool {
        self.line.as_ref().is_some_and(|line| !line.is_finished())
    }

    /// Whether engine and preprocessing live. If not, every part is a no-decision and the line's
    /// alarms say so.
    pub fn stages_live(&self) -> bool {
        self.stages.iter().all(|stage| !stage.is_finished())
    }

    /// Asks the line to stop: parts in flight get their decision or their reject, then the outputs
    /// go to the safe state and [`Observation::Stopped`] follows.
    pub fn request_stop(&self) {
        let _ = self.events.send(LineEvent::Stop { time: LineTime::now() });
    }

    /// Waits until the line has stopped, then ends the camera and, unless it hangs, the engine.
    pub fn join(mut self) {
        if let Some(line) = self.line.take() {
            let _ = line.join();
        }
        self.supervisor.stop();
        // A hung engine must not keep the process: its thread is left to the end of the process.
        let patience = LineTime::now() + Duration::from_secs(2);
        for stage in self.stages.drain(..) {
            while !stage.is_finished() && LineTime::now() < patience {
                std::thread::sleep(Duration::from_millis(5));
            }
            if stage.is_finished() {
                let _ = stage.join();
            }
        }
    }
}

/// What every stage may reach: the line, the observers, the counters.
struct Shared {
    events: Sender<LineEvent>,
    observations: Sender<Observation>,
    drops: Arc<Drops>,
}

struct StageSettings {
    engine: Box<dyn Engine>,
    engine_queue: usize,
    normalisation: Normalisation,
    window: FrameWindow,
    free_run: bool,
    loader: ProductLoader,
    region_rule: Option<RegionRule>,
    picture_places: usize,
}

/// Parts, frames and product numbers on their way into the stages.
type Inlets = (Receiver<PartAnnouncement>, Receiver<Frame>, Receiver<u16>);

/// Engine and preprocessing, with the queue and the pools between them.
fn start_stages(
    settings: StageSettings,
    (announcements, frames, loads): Inlets,
    shared: &Shared,
) -> Result<Vec<JoinHandle<()>>, WayError> {
    let side = settings.engine.side();
    let (work, work_receiver) = bounded::<Work>(settings.engine_queue);
    let (return_tensors, free_tensors) = tensor_pool(settings.engine_queue, side);
    let (free_picture_slot, picture_slots) = picture_places(settings.picture_places);
    let product = Arc::new(ArcSwapOption::<ActiveProduct>::empty());
    let engine = EngineStage {
        engine: settings.engine,
        work: work_receiver,
        loads,
        loader: settings.loader,
        region_rule: settings.region_rule,
        product: Arc::clone(&product),
        return_tensors: return_tensors.clone(),
        free_picture_slot,
        events: shared.events.clone(),
        observations: shared.observations.clone(),
        drops: Arc::clone(&shared.drops),
    };
    let engine = engine.spawn().map_err(|source| WayError { name: "engine", source })?;
    let frames = FrameStage {
        announcements,
        frames,
        work,
        free_tensors,
        return_tensors,
        events: shared.events.clone(),
        observations: shared.observations.clone(),
        product,
        picture_slots,
        preprocessor: CpuPreprocessor::new(side, &settings.normalisation),
        window: settings.window,
        free_run: settings.free_run,
        drops: Arc::clone(&shared.drops),
    };
    let frames = frames.spawn().map_err(|source| WayError { name: "preprocess-0", source })?;
    Ok(vec![engine, frames])
}

/// One tensor in the engine's thread, one in preprocessing, the rest waiting.
fn tensor_pool(queue: usize, side: usize) -> (Sender<Vec<f32>>, Receiver<Vec<f32>>) {
    let count = queue + 2;
    let (sender, receiver) = bounded(count);
    for _ in 0..count {
        let _ = sender.try_send(vec![0.0; 3 * side * side]);
    }
    (sender, receiver)
}

fn picture_places(count: usize) -> (Sender<()>, Receiver<()>) {
    let (sender, receiver) = bounded(count.max(1));
    for _ in 0..count {
        let _ = sender.try_send(());
    }
    (sender, receiver)
}
