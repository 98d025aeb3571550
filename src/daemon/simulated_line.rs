//! A simulated line around the real daemon: parts on a belt, their trigger and their picture.
//!
//! It plays the world outside the box: it pulls the trigger line in memory, exposes through the
//! simulated camera and asks for product changes as a PLC would, holding the infeed meanwhile. The
//! truth goes to whoever asked for it and never into the way.

use crate::camera::PictureFeed;
use crate::line::{LineEvent, LineSnapshot};
use crate::line_io::channel::Sender;
use crate::line_io::memory::MemoryInputs;
use crate::part::{Command, Duration, LineTime};
use crate::simulator::{Belt, ProductKind, Truth, TruthLog, draw};
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What the simulated line does.
pub struct SimulatedLineSettings {
    /// The belt with its parts.
    pub belt: Belt,
    /// Seed of the drawn parts.
    pub seed: u64,
    /// Products in turn, with the number the box knows them by.
    pub products: Vec<(u16, ProductKind)>,
    /// Time between product changes; zero: never.
    pub product_change: Duration,
    /// Parts until it ends; 0: endless.
    pub parts: u64,
}

/// Wires and ends of the simulated line.
pub struct SimulatedLineEnds {
    /// The trigger line.
    pub inputs: MemoryInputs,
    /// The camera's light path.
    pub feed: PictureFeed,
    /// Commands, as a PLC would send them.
    pub events: Sender<LineEvent>,
    /// The line as it is.
    pub snapshot: Arc<ArcSwap<LineSnapshot>>,
    /// The truth, by trigger time.
    pub truth: Arc<Mutex<TruthLog>>,
}

/// The running simulated line. Dropping it stops the belt.
pub struct SimulatedLine {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SimulatedLine {
    /// Starts the belt as soon as the box is ready.
    pub fn start(
        settings: SimulatedLineSettings,
        ends: SimulatedLineEnds,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut world = World { settings, ends, stop: Arc::clone(&stop), current: 0 };
        let thread =
            std::thread::Builder::new().name("simulated-line".into()).spawn(move || world.run())?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Whether the last part has gone by.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for SimulatedLine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct World {
    settings: SimulatedLineSettings,
    ends: SimulatedLineEnds,
    stop: Arc<AtomicBool>,
    current: usize,
}

impl World {
    fn run(&mut self) {
        if !self.wait_until(|line| line.outputs.ready) {
            return;
        }
        let mut started = LineTime::now();
        let mut changed = started;
        let mut parts = 0u64;
        while !self.stopping() && (self.settings.parts == 0 || parts < self.settings.parts) {
            let before = LineTime::now();
            if self.wants_change(before.since(changed)) {
                if !self.change_product() {
                    return;
                }
                // The infeed was held: the belt's schedule goes on where it stopped.
                changed = LineTime::now();
                started = started + changed.since(before);
            }
            self.next_part(started);
            parts += 1;
        }
    }

    fn wants_change(&self, since_last: Duration) -> bool {
        let change = self.settings.product_change;
        !change.is_zero() && since_last >= change && self.settings.products.len() > 1
    }

    /// Draws the part while it travels, pulls the trigger, exposes.
    fn next_part(&mut self, started: LineTime) {
        let part = self.settings.belt.next_part();
        let picture = draw(part.product, self.settings.seed, part.part, part.defect).picture;
        let planned = started + part.trigger_after;
        self.sleep_until(planned);
        if self.stopping() {
            return;
        }
        let triggered = LineTime::now();
        let truth = Truth { product: part.product, index: part.index, defect: part.defect };
        self.ends.truth.lock().unwrap_or_else(PoisonError::into_inner).record(triggered, truth);
        self.ends.inputs.trigger(triggered);
        let exposed = triggered + part.exposure_after_trigger;
        self.sleep_until(exposed);
        self.ends.feed.push(picture, exposed);
    }

    /// As in line-io 1.7 C: hold the infeed until the last result, ask, wait, go on.
    fn change_product(&mut self) -> bool {
        if !self.wait_until(|line| line.armed == 0) {
            return false;
        }
        self.current = (self.current + 1) % self.settings.products.len();
        let (number, kind) = self.settings.products[self.current];
        let time = LineTime::now();
        let command = Command::ChangeProduct(number);
        if self.ends.events.send(LineEvent::Command { command, time }).is_err() {
            return false;
        }
        self.settings.belt.set_product(kind);
        self.wait_until(|line| line.active_product == number && !line.product_busy)
    }

    /// `false` when stopped meanwhile.
    fn wait_until(&self, holds: impl Fn(&LineSnapshot) -> bool) -> bool {
        while !self.stopping() {
            if holds(&self.ends.snapshot.load()) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    fn sleep_until(&self, time: LineTime) {
        while !self.stopping() {
            let left = time.since(LineTime::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
