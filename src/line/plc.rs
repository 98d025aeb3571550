//! The PLC's heartbeat and the levels that are worth only as much as the heartbeat.

use crate::part::{Duration, LineTime};

/// The PLC as far as it is heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plc {
    timeout: Duration,
    heartbeat: u16,
    /// The moment it will be lost without a change; `None` while lost.
    alive_until: Option<LineTime>,
    seen: bool,
    /// INHIBIT as last written.
    pub inhibit: bool,
    /// BELT_RUN as last written.
    pub belt_run: bool,
}

impl Plc {
    /// Lost before the first change.
    pub fn new(timeout: Duration) -> Self {
        let (heartbeat, alive_until, seen) = (0, None, false);
        Self { timeout, heartbeat, alive_until, seen, inhibit: false, belt_run: false }
    }

    /// The heartbeat register holds `value`; only a change is a sign of life.
    pub fn heartbeat(&mut self, value: u16, now: LineTime) {
        if value != self.heartbeat {
            self.heartbeat = value;
            self.alive_until = Some(now + self.timeout);
            self.seen = true;
        }
    }

    /// Alive -> lost when nothing changed for the time-out.
    pub fn expire(&mut self, now: LineTime) {
        if self.alive_until.is_some_and(|until| now >= until) {
            self.alive_until = None;
        }
    }

    /// When it will be lost.
    pub fn due(&self) -> Option<LineTime> {
        self.alive_until
    }

    /// Not alive; also before the first change.
    pub fn is_lost(&self) -> bool {
        self.alive_until.is_none()
    }

    /// Lost after it was once alive: the alarm's condition.
    pub fn went_silent(&self) -> bool {
        self.seen && self.is_lost()
    }

    /// INHIBIT; 0 while lost.
    pub fn inhibits(&self) -> bool {
        self.inhibit && !self.is_lost()
    }

    /// BELT_RUN; 0 while lost.
    pub fn runs_belt(&self) -> bool {
        self.belt_run && !self.is_lost()
    }
}
