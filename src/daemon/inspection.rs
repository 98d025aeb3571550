//! The `engine` thread: owns the session, judges what it sees, loads products between two parts.

use super::ActiveProduct;
use super::conditions::Vitals;
use super::observation::{Drops, InspectedPart, Observation};
use super::readiness::Readiness;
use super::rehearsal::{Rehearsal, RehearsalError};
use super::verdict_times::arithmetic;
use crate::engine::{Engine, EngineError, Inspection, LostEngine};
use crate::judge::{Judge, RegionRule};
use crate::line::{LineEvent, LineSettings};
use crate::line_io::channel;
use crate::part::{
    Decision, Duration, Frame, LineTime, PartAnnouncement, Reason, RegionOfInterest, StageTimes,
    Verdict,
};
use crate::records::PooledPicture;
use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, Sender, select_biased};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// What the engine is given of a part.
pub enum Input {
    /// Tensor [3, S, S] from the pool.
    Tensor(Vec<f32>),
    /// The frame itself, for an engine that takes frames; the camera gets its memory back before
    /// the network runs.
    Frame(Frame),
}

/// One part, ready for the engine.
pub struct Work {
    /// The part.
    pub part: PartAnnouncement,
    /// What is inspected; `None` once the engine has it.
    pub input: Option<Input>,
    /// The revision of the product it is judged by.
    pub product: Arc<ActiveProduct>,
    /// The part of the frame that is inspected.
    pub inspected: RegionOfInterest,
    /// A copy for observers, if a slot was free.
    pub picture: Option<PooledPicture>,
    /// Its way so far.
    pub times: StageTimes,
}

/// Opens the engine; called again after it has panicked or lost its GPU.
pub type EngineFactory = Box<dyn FnMut() -> Result<Box<dyn Engine>, EngineError> + Send>;

/// A product whose verdicts came too late is rehearsed again after this long.
const REHEARSE_AGAIN: Duration = Duration::from_secs(5);

/// Looks a product up by its number.
pub type ProductLoader = Box<dyn FnMut(u16) -> Result<ActiveProduct, ProductLoadError> + Send>;

/// Why a product cannot become active.
#[derive(Debug, thiserror::Error)]
pub enum ProductLoadError {
    /// No product has this number.
    #[error("no product has number {0}; `onenipd product list` shows what there is")]
    Unknown(u16),
    /// It exists but cannot be used.
    #[error("product {number}: {reason}")]
    Unusable {
        /// Its number.
        number: u16,
        /// What is wrong, with the remedy.
        reason: String,
    },
}

/// Everything the thread owns or is handed.
pub struct EngineStage {
    /// The engine.
    pub engine: Box<dyn Engine>,
    /// Opens it again.
    pub reopen: EngineFactory,
    /// Runs before the first part.
    pub rehearsal: Rehearsal,
    /// What the rehearsal is held against.
    pub line: LineSettings,
    /// Told what the rehearsal found.
    pub readiness: Arc<Readiness>,
    /// What the thread shows of itself.
    pub vitals: Arc<Vitals>,
    /// Parts to inspect, in order of sequence.
    pub work: Receiver<Work>,
    /// Product numbers to load.
    pub loads: Receiver<u16>,
    /// Looks products up.
    pub loader: ProductLoader,
    /// Region rule, if one is configured.
    pub region_rule: Option<RegionRule>,
    /// The product parts are judged as.
    pub product: Arc<ArcSwapOption<ActiveProduct>>,
    /// Told whether the engine takes frames.
    pub takes_frames: Arc<AtomicBool>,
    /// Tensors go back here.
    pub return_tensors: Sender<Vec<f32>>,
    /// To the line.
    pub events: channel::Sender<LineEvent>,
    /// To the observers.
    pub observations: channel::Sender<Observation>,
    /// Counted drops.
    pub drops: Arc<Drops>,
}

impl EngineStage {
    /// Starts the thread; it ends when line and preprocessing are gone.
    pub fn spawn(mut self) -> std::io::Result<JoinHandle<()>> {
        self.takes_frames.store(self.engine.frames().is_some(), Ordering::Relaxed);
        let judge = Judge::new(self.engine.side());
        let rehearsed = self.rehearsal.runs == 0;
        let mut thread = EngineThread { stage: self, judge, rehearsed, again: None, lost: false };
        std::thread::Builder::new().name("engine".into()).spawn(move || thread.run())
    }
}

struct EngineThread {
    stage: EngineStage,
    judge: Judge,
    /// Verdicts are known to come in time.
    rehearsed: bool,
    /// A product to be rehearsed again, and when.
    again: Option<(u16, LineTime)>,
    /// The product could not be made ready because the engine's GPU is lost.
    lost: bool,
}

/// What became of a picture in the engine.
enum Seen {
    /// Judged; the map, if somebody wants to see it.
    Judged(Option<Vec<f32>>),
    Failed(EngineError),
}

impl EngineThread {
    fn run(&mut self) {
        let (loads, work) = (self.stage.loads.clone(), self.stage.work.clone());
        loop {
            let due = self.again.map(|(_, due)| due.since(LineTime::now()));
            let timer = due.map_or_else(crossbeam_channel::never, crossbeam_channel::after);
            // Parts first: a product change waits until no earlier part is left.
            select_biased! {
                recv(work) -> part => match part {
                    Ok(part) => self.inspect(part),
                    Err(_) => return,
                },
                recv(loads) -> number => match number {
                    Ok(number) => self.load(number),
                    Err(_) => return,
                },
                recv(timer) -> _ => {
                    if let Some((number, _)) = self.again.take() {
                        self.load(number);
                    }
                }
            }
        }
    }

    fn inspect(&mut self, mut work: Work) {
        let sequence = work.part.sequence;
        // What cannot be decided in time is not started.
        if LineTime::now() >= work.part.deadline {
            self.give_back(&mut work);
            return self.send(Verdict::nothing_known(sequence, Reason::Deadline));
        }
        self.stage.vitals.begins();
        let seen = catch_unwind(AssertUnwindSafe(|| self.look(&mut work)));
        self.stage.vitals.ends();
        match seen {
            Ok(Seen::Judged(anomaly_map)) => {
                let times = work.times;
                self.observe(Observation::Judged { sequence, times });
                if let Some(anomaly_map) = anomaly_map {
                    self.show(work, anomaly_map);
                }
            }
            Ok(Seen::Failed(error)) => {
                let number = work.product.number;
                self.failed(&error.to_string(), work);
                if error.is_engine_lost() {
                    self.reopen(number);
                }
            }
            Err(panic) => {
                let number = work.product.number;
                self.failed(&format!("the engine panicked: {}", words_of(&*panic)), work);
                self.reopen(number);
            }
        }
    }

    /// The verdict leaves before anything is copied for people.
    fn look(&mut self, work: &mut Work) -> Seen {
        work.times.started = LineTime::now();
        if let Err(error) = fill(&mut *self.stage.engine, work) {
            return Seen::Failed(error);
        }
        self.give_back(work);
        let Work { part, product, inspected, picture, times, .. } = work;
        let Inspection { score, anomaly_map, .. } = match self.stage.engine.run() {
            Ok(inspection) => inspection,
            Err(error) => return Seen::Failed(error),
        };
        times.inferred = LineTime::now();
        let (thresholds, rule) = (&product.thresholds, self.stage.region_rule.as_ref());
        let sequence = part.sequence;
        let verdict = self.judge.judge(sequence, score, anomaly_map, *inspected, thresholds, rule);
        times.judged = LineTime::now();
        send(&self.stage.events, verdict);
        self.stage.vitals.verdict_took(times.judged.since(part.triggered));
        let keep = verdict.decision() != Decision::Pass && picture.is_some();
        Seen::Judged(keep.then(|| anomaly_map.to_vec()))
    }

    fn failed(&self, error: &str, mut work: Work) {
        let sequence = work.part.sequence;
        self.send(Verdict::nothing_known(sequence, Reason::EngineError));
        self.say(log::Level::Error, format!("part {sequence}: {error}"));
        self.give_back(&mut work);
    }

    /// A new engine in place of one that panicked or lost its GPU, with the same product; without
    /// one nothing passes. To the line it is no product change, so that its alarms go on counting.
    fn reopen(&mut self, number: u16) {
        match self.open_anew(number) {
            Ok(product) => {
                self.stage.product.store(Some(Arc::new(product)));
                self.say(log::Level::Warn, "the engine was opened again".into());
            }
            Err(error) => self.loaded(Err(error)),
        }
    }

    fn open_anew(&mut self, number: u16) -> Result<ActiveProduct, ProductLoadError> {
        // The old one goes first: a GPU's context ends only with the last that uses it.
        self.stage.engine = Box::new(LostEngine::new(self.stage.engine.side()));
        self.stage.takes_frames.store(false, Ordering::Relaxed);
        self.lost = false;
        let opened = catch_unwind(AssertUnwindSafe(|| (self.stage.reopen)()));
        let why = match opened {
            Ok(Ok(engine)) => {
                self.stage.engine = engine;
                let takes_frames = self.stage.engine.frames().is_some();
                self.stage.takes_frames.store(takes_frames, Ordering::Relaxed);
                self.judge = Judge::new(self.stage.engine.side());
                return self.make_ready_or_say(number);
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("it panicked: {}", words_of(&*panic)),
        };
        let reason = format!("the engine cannot be opened again: {why}");
        Err(ProductLoadError::Unusable { number, reason })
    }

    fn show(&self, work: Work, anomaly_map: Vec<f32>) {
        let Work { part, product, inspected, picture, .. } = work;
        let Some(picture) = picture else { return };
        let inspected_part = InspectedPart {
            sequence: part.sequence,
            product_name: Arc::clone(&product.name),
            picture,
            anomaly_map,
            side: self.stage.engine.side(),
            inspected,
            pixel_threshold: product.thresholds.pixel,
            regions: self.judge.regions().to_vec(),
        };
        self.observe(Observation::Inspected(Box::new(inspected_part)));
    }

    fn load(&mut self, number: u16) {
        self.again = None;
        let mut loaded = self.make_ready_or_say(number);
        if let (true, Err(error)) = (self.lost, &loaded) {
            self.say(log::Level::Error, error.to_string());
            loaded = self.open_anew(number);
        }
        self.loaded(loaded);
    }

    /// As [`Self::make_ready`]; a panic on the way is an error.
    fn make_ready_or_say(&mut self, number: u16) -> Result<ActiveProduct, ProductLoadError> {
        let ready = catch_unwind(AssertUnwindSafe(|| self.make_ready(number)));
        ready.unwrap_or_else(|panic| {
            let reason = format!("the engine panicked: {}", words_of(&*panic));
            Err(ProductLoadError::Unusable { number, reason })
        })
    }

    /// Looks the product up, gives it to the engine, and sees whether verdicts come in time.
    fn make_ready(&mut self, number: u16) -> Result<ActiveProduct, ProductLoadError> {
        let unusable = |reason: String| ProductLoadError::Unusable { number, reason };
        let product = (self.stage.loader)(number)?;
        let engine = &mut *self.stage.engine;
        if let Err(error) = engine.set_product(&product.tensors) {
            self.lost = error.is_engine_lost();
            return Err(unusable(error.to_string()));
        }
        if self.rehearsed {
            return Ok(product);
        }
        let times = self.stage.rehearsal.measure(engine, &product);
        if let Err(RehearsalError::Engine(error)) = &times {
            self.lost = error.is_engine_lost();
        }
        let measured = times.map_err(|error| unusable(error.to_string()))?.quantile(0.999);
        let sum = arithmetic(&self.stage.line, measured);
        // Should the line be gone, its outputs are safe already.
        let told = LineEvent::VerdictTime { p999: measured, time: LineTime::now() };
        let _ = self.stage.events.send(told);
        if self.stage.line.verdicts_fit(measured) {
            self.say(log::Level::Info, format!("verdicts: {sum}"));
            self.rehearsed = true;
            self.stage.readiness.verdicts(None);
            return Ok(product);
        }
        self.again = Some((number, LineTime::now() + REHEARSE_AGAIN));
        Err(unusable(format!(
            "not ready: {sum}; lengthen line.delay (move the ejector, slow the belt), use a faster \
             engine, or give it more threads"
        )))
    }

    fn loaded(&mut self, loaded: Result<ActiveProduct, ProductLoadError>) {
        let (product, result) = match loaded {
            Ok(product) => {
                let (number, name) = (product.number, Arc::clone(&product.name));
                self.say(log::Level::Info, format!("product {number} ({name}) is active"));
                self.stage.product.store(Some(Arc::new(product)));
                (number, 0)
            }
            Err(error) => {
                self.stage.product.store(None);
                self.say(log::Level::Error, error.to_string());
                if !self.rehearsed {
                    self.stage.readiness.verdicts(Some(error.to_string()));
                }
                (0, if matches!(error, ProductLoadError::Unknown(_)) { 2 } else { 5 })
            }
        };
        let time = LineTime::now();
        let _ = self.stage.events.send(LineEvent::ProductChanged { product, result, time });
    }

    /// The tensor to the pool, the frame to the camera.
    fn give_back(&self, work: &mut Work) {
        if let Some(Input::Tensor(tensor)) = work.input.take() {
            // The pool holds as many places as there are tensors.
            let _ = self.stage.return_tensors.try_send(tensor);
        }
    }

    fn send(&self, verdict: Verdict) {
        send(&self.stage.events, verdict);
    }

    fn say(&self, level: log::Level, message: String) {
        self.observe(Observation::Said { level, message });
    }

    fn observe(&self, observation: Observation) {
        if self.stage.observations.try_send(observation).is_err() {
            Drops::count(&self.stage.drops.observations);
        }
    }
}

/// Brings what is inspected into the engine's slot.
fn fill(engine: &mut dyn Engine, work: &Work) -> Result<(), EngineError> {
    let no = |reason: String| Err(EngineError::Run(reason));
    match &work.input {
        Some(Input::Frame(frame)) => match engine.frames() {
            Some(slot) => slot.fill(frame, Some(work.inspected)),
            // It waited while an engine was opened that takes none.
            None => no("a frame waited for an engine that is no more".to_owned()),
        },
        Some(Input::Tensor(tensor)) => {
            let slot = engine.input();
            if slot.len() != tensor.len() {
                let (expected, found) = (slot.len(), tensor.len());
                return no(format!("its slot holds {expected} values, the picture has {found}"));
            }
            slot.copy_from_slice(tensor);
            Ok(())
        }
        None => no("there is no picture".to_owned()),
    }
}

/// What a panic said.
fn words_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

fn send(events: &channel::Sender<LineEvent>, verdict: Verdict) {
    // Should the line be gone, its outputs are safe already.
    let _ = events.send(LineEvent::Verdict { verdict, time: LineTime::now() });
}
