//! What the line learns from belt, encoder and the barrier in the chute.

use super::super::alarms::Alarms;
use super::super::confirm::Seen;
use super::super::gate::{GateRule, Merged};
use super::super::purge::Purge;
use super::super::settings::FaultGate;
use super::super::{Alarm, LineState};
use super::Line;
use crate::part::LineTime;

impl Line {
    /// The encoder has counted: windows aim anew, and the purge has travelled.
    pub(super) fn encoder(&mut self, count: i64, stamp: LineTime) {
        let by_distance = self.tracker.is_by_distance();
        if self.tracker.encoder.is_new() && self.schedule.iter().next().is_none() {
            self.tracker.encoder.begin(count);
            if by_distance && self.purge.is_active() {
                self.begin_purge();
            }
            return;
        }
        if let Some(alarm) = self.tracker.encoder.tell(count, stamp) {
            self.alarms.happened(alarm, self.now);
        }
        if !by_distance {
            return;
        }
        let lead = self.tracker.lead(&self.settings);
        for entry in self.schedule.iter_mut() {
            entry.window.aim(lead, entry.opened);
        }
        self.purge.travel(self.tracker.here(self.now));
    }

    pub(super) fn begin_purge(&mut self) {
        let here = self.tracker.here(self.now);
        self.purge = Purge::begin(&self.settings, self.now, here);
        self.purge.follow(self.tracker.belt_runs(&self.plc), self.now);
    }

    /// A belt that is said to run and does not move, or has a part come by without a count.
    pub(super) fn watch_encoder(&mut self) {
        if self.tracker.encoder.is_stuck(self.now) {
            self.alarms.happened(Alarm::Encoder, self.now);
        }
    }

    /// Delay mode: a belt that stands with an armed part on it has lost that part. In Fault it
    /// does not matter where every part falls under the purge that follows.
    pub(super) fn watch_belt(&mut self) {
        let forgotten = self.alarms.stopped() && !self.rejects_per_part();
        if forgotten || self.tracker.is_by_distance() || self.tracker.belt_runs(&self.plc) {
            return;
        }
        if self.schedule.armed() > 0 || self.tracker.doubts_last_reject(self.now) {
            self.alarms.happened(Alarm::TrackingLost, self.now);
        }
    }

    /// LATE_FIRE: an armed window has opened and the wire follows later than the jitter allows.
    /// Late but not skipped, the barrier in the chute judges better.
    pub(super) fn watch_windows(&mut self) {
        let (now, real, jitter) = (self.now, self.clock.max(self.now), self.settings.jitter);
        let here = self.tracker.here(now);
        let acts = self.state != LineState::Inhibited;
        let (mut late, mut skipped) = (false, false);
        for entry in self.schedule.iter_mut().filter(|entry| !entry.opened) {
            if here < entry.window.open {
                continue;
            }
            entry.opened = true;
            let planned = self.tracker.beyond_since(entry.window.open) + jitter;
            let closed = match self.tracker.due(entry.window.close) {
                Some(close) => close <= real,
                None => entry.window.close <= here,
            };
            let in_time = self.gate.has_rejected_since(planned) || (real <= planned && !closed);
            if entry.is_armed() && acts && !in_time {
                entry.late = true;
                (late, skipped) = (true, skipped || closed);
            }
        }
        if late && !skipped && self.settings.confirm_wired {
            self.alarms.happened_harmlessly(Alarm::LateFire, now);
        } else if late {
            self.alarms.happened(Alarm::LateFire, now);
        }
    }

    /// In Fault the gate rejects part by part: so configured, and the parts can be followed.
    pub(super) fn rejects_per_part(&self) -> bool {
        self.settings.fault_gate == FaultGate::PerPart && can_follow_parts(&self.alarms)
    }

    /// The barrier in the chute: what fired must be seen there.
    pub(super) fn await_confirmation(&mut self, merged: Merged, rule: GateRule) {
        if merged == Merged::Fired {
            self.counters.rejects_fired = self.counters.rejects_fired.wrapping_add(1);
        }
        if !self.settings.confirm_wired {
            return;
        }
        let motion = self.tracker.motion();
        if rule != GateRule::Windows {
            self.confirm.forget();
        }
        match merged {
            Merged::Fired if self.confirm.fired() => self.missing(),
            Merged::Closed => self.confirm.closed(motion),
            Merged::Fired | Merged::Unchanged => {}
        }
        let falls = match rule {
            GateRule::Reject | GateRule::EveryWindow => true,
            GateRule::Release => false,
            GateRule::Windows => {
                let armed = super::super::schedule::Rejected::Armed;
                let here = self.tracker.here(self.now);
                self.gate.window_is_open() || self.schedule.rejects(armed, here)
            }
        };
        if falls {
            self.confirm.expect(motion);
        }
    }

    /// Rejects that were not seen in time, and a barrier that stays covered.
    pub(super) fn watch_chute(&mut self) {
        if !self.settings.confirm_wired {
            return;
        }
        while self.confirm.take_missing(self.tracker.motion()) {
            self.missing();
        }
        self.alarms.cause(Alarm::ConfirmStuck, self.confirm.is_stuck(self.now));
    }

    fn missing(&mut self) {
        self.counters.rejects_missing = self.counters.rejects_missing.wrapping_add(1);
        self.alarms.happened(Alarm::ConfirmMissing, self.now);
    }

    /// The barrier's level.
    pub(super) fn barrier(&mut self, covered: bool) {
        if !self.settings.confirm_wired {
            return;
        }
        match self.confirm.level(covered, self.now, self.tracker.motion()) {
            Seen::Nothing => {}
            Seen::Confirmed => {
                self.counters.rejects_confirmed = self.counters.rejects_confirmed.wrapping_add(1);
            }
            Seen::Unexpected => self.alarms.happened(Alarm::ConfirmUnexpected, self.now),
        }
    }
}

/// Trigger and encoder are healthy.
fn can_follow_parts(alarms: &Alarms) -> bool {
    let lost = [Alarm::Encoder, Alarm::TrackingLost, Alarm::ScheduleFull];
    !lost.iter().any(|alarm| alarms.stopped_by(*alarm))
}
