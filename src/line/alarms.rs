//! Which alarms are active, and how they end (line-io 1.8).
//!
//! A warning ends with its cause; one raised by an event ends [`EVENT_LASTS`] after the last. A
//! stop alarm is latched until cleared, and cannot be cleared while its cause is there.

use super::{Alarm, AlarmSet, LineOutput};
use crate::part::{Duration, LineTime};

/// How long a warning without a lasting cause is shown.
const EVENT_LASTS: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Alarms {
    /// Those that stop the line.
    stopping: AlarmSet,
    warnings: AlarmSet,
    /// Stop alarms, until cleared.
    latched: AlarmSet,
    /// Causes that the line sees now.
    seen: AlarmSet,
    /// Causes that are watched outside and are there now.
    told: AlarmSet,
    /// The alarm that stopped the line; `None` while nothing does.
    first_stop: Option<Alarm>,
    /// Per bit: when a warning raised by an event ends.
    ends: [Option<LineTime>; Alarm::ALL.len()],
    /// As last told.
    shown: AlarmSet,
}

impl Alarms {
    pub fn new(stopping: AlarmSet) -> Self {
        let none = AlarmSet::default();
        Self {
            stopping,
            warnings: none,
            latched: none,
            seen: none,
            told: none,
            first_stop: None,
            ends: [None; Alarm::ALL.len()],
            shown: none,
        }
    }

    fn stops(&self, alarm: Alarm) -> bool {
        alarm.always_stops() || self.stopping.contains(alarm)
    }

    /// Something happened once.
    pub fn happened(&mut self, alarm: Alarm, now: LineTime) {
        if self.stops(alarm) {
            self.latch(alarm);
        } else {
            self.happened_harmlessly(alarm, now);
        }
    }

    /// Something happened once that warns, although its alarm stops the line.
    pub fn happened_harmlessly(&mut self, alarm: Alarm, now: LineTime) {
        self.warnings.set(alarm, true);
        self.ends[usize::from(alarm.bit())] = Some(now + EVENT_LASTS);
    }

    /// A lasting cause that the line sees is there, or not.
    pub fn cause(&mut self, alarm: Alarm, present: bool) {
        self.seen.set(alarm, present);
        self.apply(alarm);
    }

    /// A lasting cause that is watched outside is there, or not.
    pub fn told(&mut self, alarm: Alarm, present: bool) {
        self.told.set(alarm, present);
        self.apply(alarm);
    }

    fn is_caused(&self, alarm: Alarm) -> bool {
        self.seen.contains(alarm) || self.told.contains(alarm)
    }

    fn apply(&mut self, alarm: Alarm) {
        match (self.is_caused(alarm), self.stops(alarm)) {
            (true, true) => self.latch(alarm),
            (false, true) => {}
            (present, false) => {
                let lasts = self.ends[usize::from(alarm.bit())].is_some();
                self.warnings.set(alarm, present || lasts);
            }
        }
    }

    fn latch(&mut self, alarm: Alarm) {
        self.latched.set(alarm, true);
        self.first_stop.get_or_insert(alarm);
    }

    /// Ends warnings whose time is over.
    pub fn expire(&mut self, now: LineTime) {
        for &alarm in Alarm::ALL {
            let end = &mut self.ends[usize::from(alarm.bit())];
            if end.is_some_and(|end| end <= now) {
                *end = None;
                let lasts = self.is_caused(alarm) && !self.stops(alarm);
                self.warnings.set(alarm, lasts);
            }
        }
    }

    /// When the next warning ends.
    pub fn due(&self) -> Option<LineTime> {
        self.ends.iter().flatten().min().copied()
    }

    /// The alarm that stopped the line.
    pub fn first_stop(&self) -> Option<Alarm> {
        self.first_stop
    }

    /// A stop alarm is latched.
    pub fn stopped(&self) -> bool {
        self.first_stop.is_some()
    }

    /// This alarm stopped the line, first or not.
    pub fn stopped_by(&self, alarm: Alarm) -> bool {
        self.latched.contains(alarm)
    }

    /// A warning is active.
    pub fn warns(&self) -> bool {
        !self.warnings.is_empty()
    }

    pub fn active(&self) -> AlarmSet {
        self.warnings.with(self.latched)
    }

    /// Whether no stop alarm's cause is there any more.
    pub fn clearable(&self) -> bool {
        !Alarm::ALL.iter().any(|alarm| self.is_caused(*alarm) && self.stops(*alarm))
    }

    /// Lets go of the stop alarms; the caller has asked [`Alarms::clearable`].
    pub fn clear(&mut self) {
        self.first_stop = None;
        self.latched = AlarmSet::default();
    }

    /// Tells what changed since the last call.
    pub fn tell(&mut self, out: &mut Vec<LineOutput>) {
        let now_active = self.active();
        for &alarm in Alarm::ALL {
            let active = now_active.contains(alarm);
            if active != self.shown.contains(alarm) {
                out.push(LineOutput::AlarmChanged { alarm, active });
            }
        }
        self.shown = now_active;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> LineTime {
        LineTime::from_millis(seconds * 1000)
    }

    #[test]
    fn an_event_warns_for_ten_seconds_after_the_last() {
        let mut alarms = Alarms::new(AlarmSet::default());
        alarms.happened(Alarm::Overrun, at(0));
        alarms.happened(Alarm::Overrun, at(4));
        alarms.expire(at(13));
        assert!(alarms.warns() && !alarms.stopped());
        assert_eq!(alarms.due(), Some(at(14)));
        alarms.expire(at(14));
        assert!(!alarms.warns() && alarms.active().is_empty());
    }

    #[test]
    fn a_warning_ends_with_its_cause_and_a_stop_is_latched() {
        let mut stopping = AlarmSet::default();
        stopping.set(Alarm::MOfN, true);
        let mut alarms = Alarms::new(stopping);
        alarms.cause(Alarm::PlcLost, true);
        assert!(alarms.warns());
        alarms.cause(Alarm::PlcLost, false);
        assert!(alarms.active().is_empty());
        alarms.cause(Alarm::MOfN, true);
        alarms.happened(Alarm::LateFire, at(1)); // always stops, though not in the set
        assert_eq!(alarms.first_stop(), Some(Alarm::MOfN));
        assert!(!alarms.clearable() && !alarms.warns());
        alarms.cause(Alarm::MOfN, false);
        assert!(alarms.stopped() && alarms.active().contains(Alarm::MOfN) && alarms.clearable());
        alarms.clear();
        assert!(!alarms.stopped() && alarms.active().is_empty());
    }

    #[test]
    fn a_cause_told_from_outside_stands_beside_one_the_line_sees() {
        let mut alarms = Alarms::new(AlarmSet::default());
        alarms.told(Alarm::Camera, true);
        alarms.cause(Alarm::Camera, false);
        assert!(alarms.warns());
        alarms.cause(Alarm::Camera, true);
        alarms.told(Alarm::Camera, false);
        assert!(alarms.warns());
        alarms.cause(Alarm::Camera, false);
        assert!(!alarms.warns());
    }

    #[test]
    fn a_stop_alarm_may_warn_where_the_contract_says_so() {
        let mut alarms = Alarms::new(AlarmSet::always_stopping());
        alarms.happened_harmlessly(Alarm::LateFire, at(0));
        assert!(alarms.warns() && !alarms.stopped());
        alarms.happened(Alarm::LateFire, at(1));
        assert!(alarms.stopped());
        alarms.clear();
        assert!(alarms.active().contains(Alarm::LateFire), "the warning has its own end");
        alarms.expire(at(10));
        assert!(alarms.active().is_empty());
    }
}
