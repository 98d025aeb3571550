//! The gate: which level the actuating line has, by the armed rejects and the rules of line-io 1.3.
//!
//! To its rejecting level it goes at once. Away from it only when the valve had its time and no
//! armed part can want it back too soon. Where windows overlap, reject wins (R4).

use super::schedule::Schedule;
use super::settings::Wiring;
use crate::part::{Duration, LineTime};

/// What the state of the line makes of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GateRule {
    /// Rejecting level, whatever the windows say (Starting, Fault, purge, end of Stopping).
    Reject,
    /// Never the rejecting level (Inhibited).
    Release,
    /// As the windows say.
    Windows,
}

/// The gate's level and since when it has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    wiring: Wiring,
    pulse: Duration,
    min_gap: Duration,
    rejects: bool,
    since: LineTime,
    /// A merged reject window is open.
    window_open: bool,
}

impl Gate {
    /// A gate at its rejecting level, as the output request sets it.
    pub fn new(wiring: Wiring, pulse: Duration, min_gap: Duration, now: LineTime) -> Self {
        Self { wiring, pulse, min_gap, rejects: true, since: now, window_open: false }
    }

    /// The gate is at its rejecting level.
    pub fn rejects(&self) -> bool {
        self.rejects
    }

    /// The gate has been at its rejecting level from `moment` on.
    pub fn has_rejected_since(&self, moment: LineTime) -> bool {
        self.rejects && self.since <= moment
    }

    /// Sets the level for `now`; an edge is stamped `real`, when the wire is really written.
    /// True when a merged reject window has begun to fire.
    pub fn update(
        &mut self,
        rule: GateRule,
        schedule: &Schedule,
        now: LineTime,
        real: LineTime,
    ) -> bool {
        let rejects = match (rule, self.wiring) {
            (GateRule::Reject, _) => true,
            (GateRule::Release, _) => false,
            (GateRule::Windows, Wiring::EnergiseToReject) => self.must_reject(schedule, now),
            (GateRule::Windows, Wiring::EnergiseToPass) => !self.may_pass(schedule, now, real),
        };
        if rejects != self.rejects {
            self.rejects = rejects;
            self.since = real;
        }
        let joined = self.window_open && self.rejects && self.reject_within(schedule, now);
        let window_open = schedule.rejects(now) || joined;
        let fired = window_open && !self.window_open && rule == GateRule::Windows;
        self.window_open = window_open;
        fired
    }

    /// The next moment at which a hold ends.
    pub fn due(&self) -> LineTime {
        match self.wiring {
            Wiring::EnergiseToReject => self.since + self.pulse,
            Wiring::EnergiseToPass => self.since + self.min_gap,
        }
    }

    /// An armed part opens so soon that windows merge.
    fn reject_within(&self, schedule: &Schedule, now: LineTime) -> bool {
        schedule.next_reject(now).is_some_and(|open| open < now + self.min_gap)
    }

    /// Energise to reject: a window, or one that has begun and may not end yet.
    fn must_reject(&self, schedule: &Schedule, now: LineTime) -> bool {
        let held = now < self.since + self.pulse || self.reject_within(schedule, now);
        schedule.rejects(now) || (self.rejects && held)
    }

    /// Energise to pass: a passed part's window, no armed one, and a pulse long enough.
    fn may_pass(&self, schedule: &Schedule, now: LineTime, real: LineTime) -> bool {
        if schedule.rejects(now) {
            return false;
        }
        if !self.rejects {
            return self.passes_until(schedule, now) > now;
        }
        schedule.passes(now)
            && now >= self.since + self.min_gap
            && self.passes_until(schedule, now) >= real.max(now) + self.pulse
    }

    /// How long an open gate would stay open: windows of passed parts, those closer than
    /// `min_gap` joined unless an armed one opens before, cut at the first armed one.
    fn passes_until(&self, schedule: &Schedule, now: LineTime) -> LineTime {
        let cut = schedule.next_reject(now).unwrap_or(LineTime::from_nanos(u64::MAX));
        let mut end = now;
        loop {
            let further = schedule
                .iter()
                .filter(|entry| !entry.is_armed())
                .map(|entry| entry.window)
                .filter(|w| w.close > end && (w.open <= end || w.open < end + self.min_gap))
                .filter(|w| w.open <= cut)
                .map(|w| w.close)
                .max();
            match further {
                Some(close) if end < cut => end = close,
                _ => return end.min(cut),
            }
        }
    }
}
