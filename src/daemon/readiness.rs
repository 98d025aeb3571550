//! What the way still lacks before the line may trust it: the camera, and verdicts in time.

use crate::line::LineEvent;
use crate::line_io::channel::Sender;
use crate::part::LineTime;
use std::sync::{Mutex, PoisonError};

/// Tells the line when the way becomes able to inspect, and when it no longer is.
pub struct Readiness {
    missing: Mutex<Missing>,
    events: Sender<LineEvent>,
}

struct Missing {
    camera: Option<String>,
    verdicts: Option<String>,
}

impl Readiness {
    /// No camera yet; `rehearsed`: whether verdicts need no rehearsal before the first Ready.
    pub fn new(events: Sender<LineEvent>, rehearsed: bool) -> Self {
        let camera = Some("the camera is being opened".to_owned());
        let verdicts = (!rehearsed).then(|| "the first product is being rehearsed".to_owned());
        Self { missing: Mutex::new(Missing { camera, verdicts }), events }
    }

    /// The camera streams (`None`), or why it does not.
    pub fn camera(&self, missing: Option<String>) {
        self.update(|all| all.camera = missing);
    }

    /// Verdicts come in time (`None`), or why they do not.
    pub fn verdicts(&self, missing: Option<String>) {
        self.update(|all| all.verdicts = missing);
    }

    fn update(&self, change: impl FnOnce(&mut Missing)) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ready = |m: &Missing| m.camera.is_none() && m.verdicts.is_none();
        let before = is_ready(&missing);
        change(&mut missing);
        let ready = is_ready(&missing);
        if ready != before {
            // Sent under the lock: the line must hear of changes in their order.
            let _ = self.events.send(LineEvent::WayReady { ready, time: LineTime::now() });
        }
    }

    /// Whether the camera streams.
    pub fn has_camera(&self) -> bool {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).camera.is_none()
    }

    /// Everything that is missing, for people; `None` when nothing is.
    pub fn waits_for(&self) -> Option<String> {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<&str> = [&missing.camera, &missing.verdicts]
            .into_iter()
            .filter_map(|what| what.as_deref())
            .collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_hears_of_each_change_once() {
        let (events, line) = crate::line_io::channel::bounded(8);
        let readiness = Readiness::new(events, false);
        readiness.camera(None);
        assert!(line.is_empty() && readiness.has_camera());
        assert_eq!(readiness.waits_for().unwrap(), "the first product is being rehearsed");
        readiness.verdicts(None);
        readiness.verdicts(None);
        readiness.camera(Some("unplugged".into()));
        let told: Vec<bool> = line
            .try_iter()
            .filter_map(|event| match event {
                LineEvent::WayReady { ready, .. } => Some(ready),
                _ => None,
            })
            .collect();
        assert_eq!(told, [true, false]);
    }
}
