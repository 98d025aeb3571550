//! The `conditions` thread: once a second it looks at what the line cannot see, and tells it the
//! causes of THERMAL, CLOCK and CAMERA. It also says when the engine hangs.

use super::observation::{Drops, Observation};
use super::readiness::Readiness;
use super::throttling::Throttling;
use super::verdict_times::VerdictTimes;
use crate::line::{Alarm, LineEvent};
use crate::line_io::channel;
use crate::part::{Duration, LineTime};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

const PERIOD: Duration = Duration::from_secs(1);
/// Asking for the clock starts a process, so it is done rarely.
const CLOCK_PERIOD: Duration = Duration::from_secs(60);
/// An engine that works on one part for so long hangs.
const HANGING: Duration = Duration::from_secs(5);

/// What the engine's thread shows of itself.
#[derive(Debug, Default)]
pub struct Vitals {
    times: Mutex<VerdictTimes>,
    /// Since when it works on a part, nanoseconds of the line's clock; 0 is idle.
    busy_since: AtomicU64,
}

impl Vitals {
    /// The engine takes up a part.
    pub fn begins(&self) {
        self.busy_since.store(LineTime::now().as_nanos().max(1), Ordering::Relaxed);
    }

    /// It is done with it.
    pub fn ends(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }

    /// A verdict was there so long after its trigger.
    pub fn verdict_took(&self, time: Duration) {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).record(time);
    }

    /// Times from trigger to verdict of the last parts.
    pub fn times(&self) -> VerdictTimes {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long the engine has been working on its part.
    pub fn busy_for(&self, now: LineTime) -> Duration {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => now.since(LineTime::from_nanos(since)),
        }
    }
}

/// What is watched, and who is told.
pub struct Watched {
    /// The engine's thread.
    pub vitals: Arc<Vitals>,
    /// Camera and rehearsal.
    pub readiness: Arc<Readiness>,
    /// From trigger to deadline.
    pub decision_time: Duration,
    /// The engine is slower than what this box could have (docs/design/gpu.md).
    pub engine_fell_back: Arc<AtomicBool>,
    /// To the line.
    pub events: channel::Sender<LineEvent>,
    /// To the observers.
    pub observations: channel::Sender<Observation>,
    /// Counted drops.
    pub drops: Arc<Drops>,
}

/// The running thread.
pub struct Conditions {
    end: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Conditions {
    /// Starts watching.
    pub fn start(watched: Watched) -> std::io::Result<Self> {
        let (end, ended) = bounded(1);
        let mut watch = Watch { watched, told: [None; 3], hanging: false };
        let thread = std::thread::Builder::new()
            .name("conditions".into())
            .spawn(move || watch.run(&ended))?;
        Ok(Self { end, thread: Some(thread) })
    }

    /// Ends it.
    pub fn stop(&mut self) {
        let _ = self.end.try_send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Watch {
    watched: Watched,
    /// Whether each cause is there, as last told: THERMAL, CLOCK, CAMERA.
    told: [Option<bool>; 3],
    hanging: bool,
}

impl Watch {
    fn run(&mut self, ended: &Receiver<()>) {
        let mut throttling = Throttling::new(Path::new("/sys"));
        let mut clock_due = LineTime::now();
        let mut unsynchronised = false;
        let mut camera_seen = false;
        loop {
            let now = LineTime::now();
            if now >= clock_due {
                clock_due = now + CLOCK_PERIOD;
                unsynchronised = is_clock_synchronised() == Some(false);
            }
            let close = self.watched.vitals.times().are_close_to(self.watched.decision_time);
            let slower = self.watched.engine_fell_back.load(Ordering::Relaxed);
            self.tell(0, Alarm::Thermal, slower || close || throttling.is_throttled(now));
            self.tell(1, Alarm::Clock, unsynchronised);
            // Before the first Ready a missing camera is no alarm: nothing is promised yet.
            let camera = self.watched.readiness.has_camera();
            camera_seen |= camera;
            self.tell(2, Alarm::Camera, camera_seen && !camera);
            self.look_at_engine(now);
            match ended.recv_timeout(PERIOD) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn tell(&mut self, which: usize, alarm: Alarm, present: bool) {
        if self.told[which].unwrap_or(false) != present {
            self.told[which] = Some(present);
            let time = LineTime::now();
            let _ = self.watched.events.send(LineEvent::Cause { alarm, present, time });
        }
    }

    fn look_at_engine(&mut self, now: LineTime) {
        let busy = self.watched.vitals.busy_for(now);
        let hangs = busy >= HANGING;
        if hangs != std::mem::replace(&mut self.hanging, hangs) {
            let (level, message) = if hangs {
                let seconds = busy.as_secs();
                let what = format!(
                    "the engine has been working on one part for {seconds} s: it hangs, every part \
                     is rejected; restart the daemon"
                );
                (log::Level::Error, what)
            } else {
                (log::Level::Info, "the engine answers again".to_owned())
            };
            let said = Observation::Said { level, message };
            if self.watched.observations.try_send(said).is_err() {
                Drops::count(&self.watched.drops.observations);
            }
        }
    }
}

/// Whether something keeps the wall clock right; `None` where nobody can tell. systemd-timesyncd
/// leaves a file; for any other daemon systemd asks the kernel.
pub fn is_clock_synchronised() -> Option<bool> {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    // Not booted by systemd: nobody answers, and asking would wait for the bus.
    if !Path::new("/run/systemd/system").exists() {
        return None;
    }
    let mut asked = Command::new("timedatectl");
    asked.args(["show", "--property=NTPSynchronized", "--value"]).stderr(Stdio::null());
    match asked.output().ok()?.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}
