//! Keeps the camera alive: opens it, notices its end, opens it again, and tells the line.

use super::observation::{Drops, Observation};
use super::readiness::Readiness;
use crate::camera::{Camera, CameraError, FrameSink};
use crate::line::{Alarm, LineEvent};
use crate::line_io::channel;
use crate::part::{Duration, LineTime};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Opens the camera; called again after each failure.
pub type CameraFactory = Box<dyn FnMut(FrameSink) -> Result<Box<dyn Camera>, CameraError> + Send>;

/// What the supervisor needs.
pub struct Setup {
    /// Opens the camera.
    pub camera: CameraFactory,
    /// Where its frames go.
    pub sink: FrameSink,
    /// Where its troubles come from.
    pub troubles: Receiver<CameraError>,
    /// Told whether the camera streams.
    pub readiness: Arc<Readiness>,
    /// The camera is the part sensor as well.
    pub free_run: bool,
    /// To the line.
    pub events: channel::Sender<LineEvent>,
    /// To the observers.
    pub observations: channel::Sender<Observation>,
    /// Between two tries.
    pub interval: Duration,
    /// Counted drops.
    pub drops: Arc<Drops>,
}

/// The running supervisor.
pub struct Supervisor {
    end: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Starts the thread, which opens the camera at once.
    pub fn start(setup: Setup) -> std::io::Result<Self> {
        let (end, ended) = bounded(1);
        let thread = std::thread::Builder::new()
            .name("supervisor".into())
            .spawn(move || supervise(setup, &ended))?;
        Ok(Self { end, thread: Some(thread) })
    }

    /// Stops the camera and the thread.
    pub fn stop(&mut self) {
        let _ = self.end.try_send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn supervise(mut setup: Setup, ended: &Receiver<()>) {
    let mut failures = 0u64;
    loop {
        match (setup.camera)(setup.sink.clone()) {
            Ok(mut camera) => {
                if failures > 0 {
                    say(&setup, log::Level::Info, "the camera is back".into());
                }
                failures = 0;
                setup.readiness.camera(None);
                let trouble = crossbeam_channel::select! {
                    recv(setup.troubles) -> trouble => trouble.ok(),
                    recv(ended) -> _ => None,
                };
                camera.stop();
                let Some(trouble) = trouble else { return };
                lost(&setup, &trouble);
                say(&setup, log::Level::Error, format!("{trouble}; parts are rejected meanwhile"));
            }
            Err(error) => {
                failures += 1;
                setup.readiness.camera(Some(error.to_string()));
                // The first failure and then one a minute: a log that repeats hides the rest.
                let every = (60.0 / setup.interval.as_secs_f64().max(0.1)).ceil() as u64;
                if failures == 1 || failures.is_multiple_of(every.max(1)) {
                    say(&setup, log::Level::Error, format!("{error}; try {failures}, going on"));
                }
            }
        }
        match ended.recv_timeout(setup.interval) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        while setup.troubles.try_recv().is_ok() {}
    }
}

/// In free run nobody else sees parts: those on the belt now are unknown.
fn lost(setup: &Setup, trouble: &CameraError) {
    setup.readiness.camera(Some(trouble.to_string()));
    if setup.free_run {
        let (alarm, time) = (Alarm::TrackingLost, LineTime::now());
        let _ = setup.events.send(LineEvent::WireFault { alarm, time });
    }
}

fn say(setup: &Setup, level: log::Level, message: String) {
    let said = Observation::Said { level, message };
    if setup.observations.try_send(said).is_err() {
        Drops::count(&setup.drops.observations);
    }
}
