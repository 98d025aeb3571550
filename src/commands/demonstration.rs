//! The demonstration: a simulated line around the real daemon, with its three products taught.

use super::failure::{Code, Failure, WithCode};
use super::progress;
use crate::camera::SimulatedCamera;
use crate::config::Configuration;
use crate::daemon::assemble::EngineRoom;
use crate::daemon::{SimulatedLine, SimulatedLineEnds, SimulatedLineSettings, Way};
use crate::line_io::memory::MemoryInputs;
use crate::part::{Duration, LineTime};
use crate::product::{
    BundleTeacher, CalibrationRequest, ProductStore, Prompt, StoreError, calibrate,
};
use crate::simulator::{Belt, BeltSettings, ProductKind, Truth, TruthLog, draw, products};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Good parts a product of the demonstration is calibrated on.
const GOOD_PARTS: usize = 160;
/// Seed of those parts; the belt never shows them (simulator, part ranges).
const TEACHING_SEED: u64 = 2026;
/// False rejects asked for.
const FALSE_REJECT_SHARE: f64 = 0.005;
/// Truths kept until their result comes.
const TRUTHS: usize = 512;

/// Everything around the daemon that a real line would bring.
pub struct Demonstration {
    kinds: Vec<(u16, ProductKind)>,
    belt: BeltSettings,
    product_change: Duration,
    parts: u64,
    camera: Option<SimulatedCamera>,
    truth: Arc<Mutex<TruthLog>>,
    line: Option<SimulatedLine>,
}

impl Demonstration {
    /// Teaches what is not taught yet.
    pub fn prepare(
        configuration: &Configuration,
        room: &EngineRoom,
        stop: &AtomicBool,
    ) -> Result<Self, Failure> {
        let simulation = &configuration.simulation;
        let wanted = simulation.products.clamp(1, products().len());
        let mut kinds = Vec::new();
        let mut teacher = None;
        for &kind in &products()[..wanted] {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let number = teach(kind, room, &configuration.state.directory, &mut teacher)?;
            kinds.push((number, kind));
        }
        let first = kinds.first().map_or(products()[0], |(_, kind)| *kind);
        let mut belt = BeltSettings::new(first, simulation.seed);
        belt.rate_per_s = simulation.rate.0;
        belt.defect_share = simulation.defect_rate.0;
        Ok(Self {
            kinds,
            belt,
            product_change: simulation.product_change,
            parts: simulation.parts,
            camera: None,
            truth: Arc::new(Mutex::new(TruthLog::new(TRUTHS, Duration::from_millis(20)))),
            line: None,
        })
    }

    /// Number of the product the belt begins with.
    pub fn first_product(&self) -> u16 {
        self.kinds.first().map_or(0, |(number, _)| *number)
    }

    /// Starts camera and belt; the first trigger waits until the box is ready.
    pub fn start_belt(&mut self, way: &Way) -> Result<(), Failure> {
        let (width, height) = draw(self.belt.product, 0, 0, None).picture.dimensions();
        let camera = SimulatedCamera::start(width, height, way.sink.clone());
        let (camera, feed) = camera.code(Code::Unavailable)?;
        self.camera = Some(camera);
        let settings = SimulatedLineSettings {
            belt: Belt::new(self.belt.clone()),
            seed: self.belt.seed,
            products: self.kinds.clone(),
            product_change: self.product_change,
            parts: self.parts,
        };
        let ends = SimulatedLineEnds {
            inputs: MemoryInputs::new(way.events.clone()),
            feed,
            events: way.events.clone(),
            snapshot: Arc::clone(&way.snapshot),
            truth: Arc::clone(&self.truth),
        };
        self.line = Some(SimulatedLine::start(settings, ends)?);
        Ok(())
    }

    /// What really was before the camera at a trigger.
    pub fn truth(&self, triggered: LineTime) -> Option<Truth> {
        self.truth.lock().unwrap_or_else(PoisonError::into_inner).take_nearest(triggered)
    }

    /// Name of a product by its number.
    pub fn product_name(&self, number: u16) -> Option<&'static str> {
        self.kinds.iter().find(|(n, _)| *n == number).map(|(_, kind)| kind.name())
    }

    /// Whether the last part has gone by.
    pub fn is_finished(&self) -> bool {
        self.line.as_ref().is_some_and(SimulatedLine::is_finished)
    }
}

/// Calibrates one product on drawn good parts, unless that is done already; gives its number, which
/// need not be the simulator's: products of the user's own may lie in the same store.
fn teach(
    kind: ProductKind,
    room: &EngineRoom,
    state: &Path,
    teacher: &mut Option<BundleTeacher>,
) -> Result<u16, Failure> {
    let (name, hash) = (kind.name(), room.bundle.hash());
    let store = ProductStore::open(state);
    match store.load(name, hash) {
        Ok(product) => return Ok(product.info.number),
        Err(StoreError::Unknown(_) | StoreError::OtherBundle { .. }) => {}
        Err(error) => return Err(Failure::new(Code::Data, error)),
    }
    let teacher = match teacher {
        Some(teacher) => teacher,
        None => {
            let manifest = room.bundle.manifest();
            let threads = super::engine::threads();
            let opened = BundleTeacher::open(&room.runtime, &room.graphs, manifest, threads);
            teacher.insert(opened.code(Code::Unavailable)?)
        }
    };
    eprintln!("teaching {name} by {GOOD_PARTS} drawn good parts (once) ...");
    let started = LineTime::now();
    let identity = store.identity(name, None, None, hash).code(Code::Data)?;
    let number = identity.number;
    let paths = good_parts(kind, &state.join("good-parts").join(name))?;
    let request = CalibrationRequest {
        prompt: Prompt::First,
        good_parts: &paths,
        region_of_interest: None,
        false_reject_share: FALSE_REJECT_SHARE,
    };
    let bar = progress::bar(1, name);
    let taught = calibrate(teacher, &request, &mut |step| {
        bar.set_length(step.total as u64);
        bar.set_position(step.done as u64);
    })
    .code(Code::Data)?;
    bar.finish_and_clear();
    let prompt = draw(kind, TEACHING_SEED, 0, None).picture;
    store.save(&taught.into_product(identity), &prompt).code(Code::Io)?;
    let seconds = LineTime::now().since(started).as_secs_f64();
    eprintln!("taught {name} in {seconds:.1} s");
    Ok(number)
}

/// Draws good parts as files, which a user may teach by as well.
fn good_parts(kind: ProductKind, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    std::fs::create_dir_all(folder)?;
    let mut paths = Vec::with_capacity(GOOD_PARTS);
    for part in 0..GOOD_PARTS {
        let path = folder.join(format!("{part:04}.png"));
        draw(kind, TEACHING_SEED, part as u64, None).picture.save(&path).code(Code::Io)?;
        paths.push(path);
    }
    Ok(paths)
}
