//! The way: stages and channels put together, and taken apart again.

use super::ActiveProduct;
use super::conditions::{Conditions, Vitals, Watched};
use super::frames::FrameStage;
use super::inspection::{EngineFactory, EngineStage, ProductLoader, Work};
use super::line_thread::{self, LineExits};
use super::observation::{Drops, Observation};
use super::pairing::FrameWindow;
use super::readiness::Readiness;
use super::rehearsal::Rehearsal;
use super::service::Watchdog;
use super::supervisor::{self, CameraFactory, Supervisor};
use crate::bundle::Normalisation;
use crate::camera::{CameraError, FrameSink};
use crate::engine::{Engine, EngineError};
use crate::judge::RegionRule;
use crate::line::{Awaits, Line, LineEvent, LineSettings, LineSnapshot};
use crate::line_io::OutputLines;
use crate::line_io::channel;
use crate::line_io::realtime::RealtimeSettings;
use crate::part::{Duration, Frame, LineTime, PartAnnouncement, PartResult};
use crate::preprocess::CpuPreprocessor;
use crate::records::PicturePool;
use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
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
    /// Pictures before an observer or on their way to it, each some megabytes: a burst of rejects.
    pub const PICTURES: usize = 16;
    /// Camera troubles: the supervisor acts on the first.
    pub const TROUBLES: usize = 4;
    /// Product loads under way: the line asks for one at a time.
    pub const LOADS: usize = 4;
}

/// What a way is made of.
pub struct WayParts {
    /// Settings of the line.
    pub line: LineSettings,
    /// Output wires; every one is written.
    pub wires: Vec<Box<dyn OutputLines>>,
    /// Opens the engine, again after a panic.
    pub engine: EngineFactory,
    /// The engine in use is not the one this box could have; the factory keeps it true.
    pub engine_fell_back: Arc<AtomicBool>,
    /// Runs of the engine before the first part, in which verdicts must come in time.
    pub rehearsed_runs: usize,
    /// The camera's picture size, where it is configured.
    pub picture_size: Option<(u32, u32)>,
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
    /// Scheduling of the line thread.
    pub realtime: RealtimeSettings,
}

/// The ends a way leaves open for those around it.
pub struct WayEnds {
    /// Into the line: wires, commands, signals.
    pub events: channel::Sender<LineEvent>,
    events_receiver: channel::Receiver<LineEvent>,
    /// The line as it is.
    pub snapshot: Arc<ArcSwap<LineSnapshot>>,
    results: Sender<PartResult>,
    /// Results for a Modbus server.
    pub results_receiver: Receiver<PartResult>,
}

impl WayEnds {
    /// Channels first: wires and servers take their ends before the way runs.
    pub fn new() -> Self {
        let (events, events_receiver) = channel::bounded(bounds::EVENTS);
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
    pub events: channel::Sender<LineEvent>,
    /// The line as it is.
    pub snapshot: Arc<ArcSwap<LineSnapshot>>,
    /// What happens, for log, terminal and archive.
    pub observations: channel::Receiver<Observation>,
    /// Counted drops.
    pub drops: Arc<Drops>,
    /// Where frames go in (overruns are counted there).
    pub sink: FrameSink,
    /// What keeps the line from being ready.
    pub readiness: Arc<Readiness>,
    /// How long verdicts take.
    pub vitals: Arc<Vitals>,
    line: Option<JoinHandle<()>>,
    stages: Vec<JoinHandle<()>>,
    supervisor: Supervisor,
    conditions: Conditions,
}

/// Why a way does not start.
#[derive(Debug, thiserror::Error)]
pub enum WayError {
    /// A thread.
    #[error(
        "thread {name} cannot be started: {source}; look at the limits of processes and memory"
    )]
    Thread {
        /// Its name.
        name: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

fn no_thread(name: &'static str) -> impl FnOnce(std::io::Error) -> WayError {
    move |source| WayError::Thread { name, source }
}

impl Way {
    /// Starts every thread, rejects first: the line runs before anything can go wrong elsewhere.
    /// With `with_results` somebody drains `ends.results_receiver`.
    pub fn start(parts: WayParts, ends: WayEnds, with_results: bool) -> Result<Self, WayError> {
        let drops = Arc::new(Drops::default());
        let (announcements, announced) =
            channel::bounded::<PartAnnouncement>(bounds::ANNOUNCEMENTS);
        let (observations, observations_receiver) = channel::bounded(bounds::OBSERVATIONS);
        let (loads, loads_receiver) = bounded(bounds::LOADS);
        let exits = LineExits {
            announcements,
            results: with_results.then_some(ends.results),
            observations: observations.clone(),
            loads,
            snapshot: Arc::clone(&ends.snapshot),
            drops: Arc::clone(&drops),
        };
        let rehearsed = parts.rehearsed_runs == 0 || parts.first_product == 0;
        let readiness = Arc::new(Readiness::new(ends.events.clone(), rehearsed));
        let vitals = Arc::new(Vitals::default());
        let line = Line::new(parts.line.clone(), LineTime::now());
        let (wires, watchdog) = (parts.wires, parts.watchdog);
        let line =
            line_thread::spawn(line, wires, ends.events_receiver, exits, watchdog, parts.realtime)
                .map_err(no_thread("line"))?;

        let (frames, frames_receiver) = bounded(bounds::FRAMES);
        let (troubles, troubles_receiver) = bounded(bounds::TROUBLES);
        let waker = announced.waker();
        let sink = FrameSink::new(frames, troubles).waking(Arc::new(move || waker.wake()));
        let (readiness_shown, vitals_shown) = (Arc::clone(&readiness), Arc::clone(&vitals));
        let drops_shown = Arc::clone(&drops);
        let shared = Shared { events: ends.events.clone(), observations, drops, readiness, vitals };
        let watched = shared.watched(parts.line.decision_time(), parts.engine_fell_back);
        let mut open_engine = parts.engine;
        let settings = StageSettings {
            engine: open_engine()?,
            reopen: open_engine,
            line: parts.line,
            rehearsal: Rehearsal {
                runs: parts.rehearsed_runs,
                picture_size: parts.picture_size,
                normalisation: parts.normalisation,
            },
            engine_queue: parts.engine_queue.max(1),
            window: parts.window,
            free_run: parts.free_run,
            loader: parts.loader,
            region_rule: parts.region_rule,
            pictures: parts.pictures.then(|| PicturePool::new(bounds::PICTURES)),
        };
        let inlets = (announced, frames_receiver, loads_receiver);
        let stages = start_stages(settings, inlets, &shared)?;
        if parts.first_product != 0 {
            let command = crate::part::Command::ChangeProduct(parts.first_product);
            let _ = ends.events.send(LineEvent::Command { command, time: LineTime::now() });
        }
        let camera = (parts.camera, parts.reconnect_interval, parts.free_run);
        let setup = shared.supervised(camera, sink.clone(), troubles_receiver);
        let supervisor = Supervisor::start(setup).map_err(no_thread("supervisor"))?;
        let conditions = Conditions::start(watched).map_err(no_thread("conditions"))?;
        Ok(Self {
            events: ends.events,
            snapshot: ends.snapshot,
            observations: observations_receiver,
            drops: drops_shown,
            sink,
            readiness: readiness_shown,
            vitals: vitals_shown,
            line: Some(line),
            stages,
            supervisor,
            conditions,
        })
    }

    /// What keeps the line from being ready, for people; `None` when nothing does.
    pub fn waits_for(&self) -> Option<String> {
        let way = self.readiness.waits_for();
        match self.snapshot.load().awaits {
            // The way itself knows it more exactly.
            None | Some(Awaits::Way | Awaits::FasterVerdicts) if way.is_some() => way,
            None => None,
            Some(awaits) => Some(awaits.text().to_owned()),
        }
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
        self.conditions.stop();
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
    events: channel::Sender<LineEvent>,
    observations: channel::Sender<Observation>,
    drops: Arc<Drops>,
    readiness: Arc<Readiness>,
    vitals: Arc<Vitals>,
}

impl Shared {
    fn watched(&self, decision_time: Duration, engine_fell_back: Arc<AtomicBool>) -> Watched {
        Watched {
            vitals: Arc::clone(&self.vitals),
            readiness: Arc::clone(&self.readiness),
            decision_time,
            engine_fell_back,
            events: self.events.clone(),
            observations: self.observations.clone(),
            drops: Arc::clone(&self.drops),
        }
    }

    fn supervised(
        self,
        (camera, interval, free_run): (CameraFactory, Duration, bool),
        sink: FrameSink,
        troubles: Receiver<CameraError>,
    ) -> supervisor::Setup {
        let Self { events, observations, drops, readiness, .. } = self;
        supervisor::Setup {
            camera,
            sink,
            troubles,
            readiness,
            free_run,
            events,
            observations,
            interval,
            drops,
        }
    }
}

struct StageSettings {
    engine: Box<dyn Engine>,
    reopen: EngineFactory,
    line: LineSettings,
    rehearsal: Rehearsal,
    engine_queue: usize,
    window: FrameWindow,
    free_run: bool,
    loader: ProductLoader,
    region_rule: Option<RegionRule>,
    pictures: Option<PicturePool>,
}

/// Parts, frames and product numbers on their way into the stages.
type Inlets = (channel::Receiver<PartAnnouncement>, Receiver<Frame>, Receiver<u16>);

/// Engine and preprocessing, with the queue and the pools between them.
fn start_stages(
    settings: StageSettings,
    (announcements, frames, loads): Inlets,
    shared: &Shared,
) -> Result<Vec<JoinHandle<()>>, WayError> {
    let side = settings.engine.side();
    let (work, work_receiver) = bounded::<Work>(settings.engine_queue);
    let (return_tensors, free_tensors) = tensor_pool(settings.engine_queue, side);
    let product = Arc::new(ArcSwapOption::<ActiveProduct>::empty());
    let preprocessor = CpuPreprocessor::new(side, &settings.rehearsal.normalisation);
    let takes_frames = Arc::new(AtomicBool::new(false));
    let engine = EngineStage {
        engine: settings.engine,
        reopen: settings.reopen,
        rehearsal: settings.rehearsal,
        line: settings.line,
        readiness: Arc::clone(&shared.readiness),
        vitals: Arc::clone(&shared.vitals),
        work: work_receiver,
        loads,
        loader: settings.loader,
        region_rule: settings.region_rule,
        product: Arc::clone(&product),
        takes_frames: Arc::clone(&takes_frames),
        return_tensors: return_tensors.clone(),
        events: shared.events.clone(),
        observations: shared.observations.clone(),
        drops: Arc::clone(&shared.drops),
    };
    let engine = engine.spawn().map_err(no_thread("engine"))?;
    let frames = FrameStage {
        announcements,
        frames,
        work,
        free_tensors,
        return_tensors,
        events: shared.events.clone(),
        observations: shared.observations.clone(),
        product,
        pictures: settings.pictures,
        takes_frames,
        preprocessor,
        window: settings.window,
        free_run: settings.free_run,
        drops: Arc::clone(&shared.drops),
    };
    let frames = frames.spawn().map_err(no_thread("preprocess-0"))?;
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
