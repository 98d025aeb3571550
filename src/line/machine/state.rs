//! The state machine of line-io 1.5: the first state that holds, and how stopping ends.

use super::super::{Alarm, AlarmSet, Awaits, LineOutput, LineState, NamurStatus};
use super::Line;
use crate::part::{LineTime, Reason};

/// Stopping: parts on their way are still treated, for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    /// Ends at the latest.
    pub until: LineTime,
    /// Stopped from Starting or Fault: the gate rejects at once.
    at_once: bool,
}

impl Line {
    /// SIGTERM. Any state -> Stopping; a second one changes nothing.
    pub(super) fn stop(&mut self) {
        let at_once = matches!(self.state, LineState::Starting | LineState::Fault);
        self.stopping.get_or_insert(Drain { until: self.now + self.settings.drain, at_once });
    }

    /// Stopping without draining: stopped from Starting or Fault, or a stop alarm came.
    pub(super) fn stops_at_once(&self) -> bool {
        self.alarms.stopped() || self.stopping.is_some_and(|drain| drain.at_once)
    }

    /// What keeps the line in Starting; `None` once it has left it.
    pub(super) fn awaits(&self) -> Option<Awaits> {
        let plc_stops = self.settings.stop_alarms.contains(Alarm::PlcLost);
        let hurdles = [
            (!self.geometry_sound, Awaits::PossibleGeometry),
            (!self.way_ready, Awaits::Way),
            (self.verdicts_fit == Some(false), Awaits::FasterVerdicts),
            (self.settings.air_ok_wired && self.air_ok != Some(true), Awaits::Air),
            (!self.actuator_known, Awaits::Actuator),
            (plc_stops && self.plc.is_lost(), Awaits::PlcHeartbeat),
        ];
        hurdles.into_iter().find(|hurdle| hurdle.0 && !self.started).map(|hurdle| hurdle.1)
    }

    pub(super) fn change_state(&mut self, out: &mut Vec<LineOutput>) {
        self.started = self.awaits().is_none();
        let to = self.first_that_holds();
        if to != self.state {
            out.push(LineOutput::StateChanged { from: self.state, to });
            self.state = to;
        }
    }

    fn first_that_holds(&self) -> LineState {
        if self.stopping.is_some() {
            LineState::Stopping
        } else if self.alarms.stopped() {
            LineState::Fault
        } else if !self.started {
            LineState::Starting
        } else if self.is_inhibited() {
            LineState::Inhibited
        } else if self.alarms.warns() {
            LineState::Degraded
        } else if self.now < self.running_until {
            LineState::Running
        } else {
            LineState::Ready
        }
    }

    /// Stopping -> stopped: every part from before is decided and treated, or time is up.
    pub(super) fn end_drain(&mut self, out: &mut Vec<LineOutput>) {
        let Some(drain) = self.stopping else { return };
        let from_before =
            |entry: &super::super::schedule::Entry| entry.result.reason != Reason::Stopping;
        let open = self.schedule.first(|entry| from_before(entry) && !entry.closed).is_some();
        let decided = self.schedule.pending() == 0;
        let drained = decided && (self.stops_at_once() || !open);
        if drained || self.now >= drain.until {
            let reason = self.reason_of_fault().unwrap_or(Reason::Stopping);
            self.decide_pending(reason, |_| true);
            self.publish(out);
            self.stopped = true;
            self.set_gate();
        }
    }

    pub(super) fn namur(&self) -> NamurStatus {
        match self.state {
            LineState::Fault => NamurStatus::Failure,
            LineState::Starting | LineState::Inhibited | LineState::Stopping => NamurStatus::Check,
            LineState::Degraded => namur_of_warnings(self.alarms.active()),
            LineState::Ready | LineState::Running => NamurStatus::Good,
        }
    }
}

/// Degraded: what hands can mend is maintenance; what lies in process or load is out of
/// specification, and goes first.
fn namur_of_warnings(active: AlarmSet) -> NamurStatus {
    let mendable = [Alarm::ConfirmUnexpected, Alarm::Thermal, Alarm::Camera, Alarm::Clock];
    let other = |alarm: &&Alarm| active.contains(**alarm) && !mendable.contains(alarm);
    if Alarm::ALL.iter().any(|alarm| other(&alarm)) {
        NamurStatus::OutOfSpecification
    } else {
        NamurStatus::Maintenance
    }
}
