//! What the line must know about the belt, the valve and the PLC, and whether it can work at all.

use super::{Alarm, AlarmSet};
use crate::part::Duration;

/// Parts between trigger and ejector that can be followed (line-io 1.3).
pub const SCHEDULE_CAPACITY: usize = 256;
/// Longest window the alarms 1, 2 and 17 can look back on, in parts.
pub const HISTORY_PARTS: u32 = 128;
/// No duration of the settings may be longer: beyond it is a slip of the pen.
const LONGEST: Duration = Duration::from_secs(3600);

/// What an energised gate does to a part (line-io 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// The gate is line `reject`; it rejects at 1.
    EnergiseToReject,
    /// The gate is line `pass`; it rejects at 0.
    EnergiseToPass,
}

/// How the line knows that the belt runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunSignal {
    /// Not wired: the belt never stops (line-io 1.3 demands a signal otherwise).
    AlwaysRuns,
    /// Input line `run`; 0 until its first level is told.
    RunLine,
    /// The PLC's BELT_RUN; 0 while the PLC is lost.
    BeltRun,
}

/// Flash for the camera, where the camera has no output of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strobe {
    /// From trigger to flash.
    pub offset: Duration,
    /// Length of the flash.
    pub width: Duration,
}

/// So many of the last so many parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Parts that raise the alarm.
    pub count: u32,
    /// Parts looked back on, at most [`HISTORY_PARTS`].
    pub parts: u32,
}

/// Limits of the alarms that judge the last parts (line-io 1.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlarmLimits {
    /// CONSECUTIVE_REJECT: fails in a row.
    pub fails_in_a_row: u32,
    /// M_OF_N: fails.
    pub fails: Share,
    /// NO_DECISION_RATE: parts without a decision.
    pub no_decisions: Share,
    /// INSPECTION_LOST: parts without a decision in a row.
    pub no_decisions_in_a_row: u32,
    /// CAMERA: parts with reason 201, 202 or 205.
    pub frame_errors: Share,
}

impl Default for AlarmLimits {
    fn default() -> Self {
        Self {
            fails_in_a_row: 5,
            fails: Share { count: 10, parts: 50 },
            no_decisions: Share { count: 3, parts: 100 },
            no_decisions_in_a_row: 5,
            frame_errors: Share { count: 3, parts: 100 },
        }
    }
}

/// Everything the line is told once, at the start. All times are those of line-io 1.3.
#[derive(Clone, Debug, PartialEq)]
pub struct LineSettings {
    /// Which line is the gate, and its rejecting level.
    pub wiring: Wiring,
    /// From the trigger until the part is before the ejector, at the fixed speed of the belt.
    pub delay: Duration,
    /// Valve latency: gate edge to effect.
    pub actuation_time: Duration,
    /// How far a part or an edge may be off plan.
    pub jitter: Duration,
    /// Between the deadline and the opening of the window.
    pub guard: Duration,
    /// Shortest gate pulse.
    pub pulse: Duration,
    /// Shortest dip between two gate pulses.
    pub min_gap: Duration,
    /// A part pending for so long is a no-decision (200).
    pub decide_max: Duration,
    /// Wire edges closer to an accepted one are bounce.
    pub lockout: Duration,
    /// Parts closer to the part before are overtriggers (210).
    pub min_part: Duration,
    /// Flash, if the box makes it.
    pub strobe: Option<Strobe>,
    /// How the line knows that the belt runs.
    pub run_signal: RunSignal,
    /// Input `air_ok` is wired: Ready waits for its first level to be 1.
    pub air_ok_wired: bool,
    /// Triggers over Modbus are parts.
    pub soft_trigger: bool,
    /// INHIBIT is obeyed.
    pub allow_inhibit: bool,
    /// The PLC's heartbeat is lost after so long without a change.
    pub plc_timeout: Duration,
    /// Parts the way can hold at once (engine queue + 1); for TRIGGER_READY only.
    pub inspections_max: u16,
    /// Limits of the alarms that judge the last parts.
    pub alarm_limits: AlarmLimits,
    /// Alarms that stop the line; those that always stop do so even when missing here.
    pub stop_alarms: AlarmSet,
    /// Differs per start.
    pub boot_id: u16,
    /// Parts ever, before this start.
    pub life_parts: u64,
    /// Parts ever not passed, before this start.
    pub life_rejects: u64,
}

impl LineSettings {
    /// The defaults of the contract around the two things only the site knows.
    pub fn with_delay(wiring: Wiring, delay: Duration) -> Self {
        let mut stop_alarms = AlarmSet::default();
        for &alarm in Alarm::ALL {
            stop_alarms.set(alarm, alarm.stops_by_default());
        }
        let ms = Duration::from_millis;
        Self {
            wiring,
            delay,
            actuation_time: ms(15),
            jitter: ms(2),
            guard: ms(5),
            pulse: ms(50),
            min_gap: ms(20),
            decide_max: ms(1000),
            lockout: ms(5),
            min_part: ms(5),
            strobe: None,
            run_signal: RunSignal::AlwaysRuns,
            air_ok_wired: false,
            soft_trigger: false,
            allow_inhibit: false,
            plc_timeout: ms(1000),
            inspections_max: 3,
            alarm_limits: AlarmLimits::default(),
            stop_alarms,
            boot_id: 0,
            life_parts: 0,
            life_rejects: 0,
        }
    }

    /// From trigger to deadline: what camera, engine and judge may take together (D - t0).
    pub fn decision_time(&self) -> Duration {
        let ahead = self.actuation_time.saturating_add(self.jitter).saturating_add(self.guard);
        self.delay.saturating_sub(ahead).min(self.decide_max)
    }

    /// How long an unknown part can be between trigger and ejector: the length of the purge (R6).
    pub fn transit(&self) -> Duration {
        let margins = self.jitter.saturating_mul(2);
        let window = self.actuation_time.saturating_add(self.pulse).saturating_add(margins);
        self.delay.saturating_add(window)
    }

    /// Whether verdicts that take `measured` (99.9th percentile) come in time; if not, the way
    /// must not be called ready (line-io 1.3).
    pub fn verdicts_fit(&self, measured: Duration) -> bool {
        self.decision_time() >= measured.saturating_add(Duration::from_millis(5))
    }

    /// Everything that makes the geometry impossible, each with its remedy; empty when it is fine.
    /// A line made of settings with problems never becomes Ready.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut demand = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        let named = [
            self.delay,
            self.actuation_time,
            self.jitter,
            self.guard,
            self.pulse,
            self.min_gap,
            self.decide_max,
            self.lockout,
            self.min_part,
            self.plc_timeout,
        ];
        demand(
            named.iter().all(|d| *d <= LONGEST),
            "a time is longer than an hour: check its unit",
        );
        demand(
            !self.decision_time().is_zero(),
            "no time to decide: delay must exceed actuation time + jitter + guard, \
             and decide_max must not be 0; move the camera upstream or slow the belt",
        );
        demand(!self.pulse.is_zero(), "pulse is 0: the valve needs time to act");
        demand(self.min_part >= self.lockout, "min_part must not be shorter than lockout");
        demand(
            self.plc_timeout > Duration::from_millis(500),
            "plc_timeout must exceed 500 ms, the slowest heartbeat allowed",
        );
        demand(self.inspections_max > 0, "the way must hold at least one part");
        if let Some(strobe) = self.strobe {
            let end = strobe.offset.saturating_add(strobe.width);
            demand(!strobe.width.is_zero(), "the strobe's width is 0");
            demand(end <= self.decision_time(), "the strobe ends after the deadline");
        }
        self.check_alarms(&mut demand);
        problems
    }

    fn check_alarms(&self, demand: &mut impl FnMut(bool, &str)) {
        let limits = &self.alarm_limits;
        let rows = [limits.fails_in_a_row, limits.no_decisions_in_a_row];
        demand(rows.iter().all(|row| *row > 0), "an alarm limit in a row is 0: use at least 1");
        for share in [limits.fails, limits.no_decisions, limits.frame_errors] {
            let sound = share.count > 0 && share.count <= share.parts;
            demand(
                sound && share.parts <= HISTORY_PARTS,
                "an alarm limit needs 1 <= count <= parts <= 128",
            );
        }
        for alarm in Alarm::ALL {
            if alarm.always_stops() && !self.stop_alarms.contains(*alarm) {
                demand(false, &format!("alarm {} must stop the line", alarm.word()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_leave_the_time_of_the_contract() {
        let settings = LineSettings::with_delay(Wiring::EnergiseToPass, Duration::from_millis(300));
        assert_eq!(settings.check(), [] as [String; 0]);
        assert_eq!(settings.decision_time(), Duration::from_millis(300 - 15 - 2 - 5));
        assert_eq!(settings.transit(), Duration::from_millis(300 + 15 + 50 + 4));
        assert!(settings.verdicts_fit(Duration::from_millis(273)));
        assert!(!settings.verdicts_fit(Duration::from_millis(274)));
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let mut settings =
            LineSettings::with_delay(Wiring::EnergiseToReject, Duration::from_millis(22));
        settings.pulse = Duration::ZERO;
        settings.min_part = Duration::from_millis(1);
        settings.plc_timeout = Duration::from_millis(500);
        settings.inspections_max = 0;
        settings.strobe = Some(Strobe { offset: Duration::ZERO, width: Duration::ZERO });
        settings.alarm_limits.no_decisions_in_a_row = 0;
        settings.alarm_limits.fails = Share { count: 10, parts: 129 };
        settings.stop_alarms.set(Alarm::LateFire, false);
        settings.guard = Duration::from_secs(3601);
        let problems = settings.check();
        assert_eq!(problems.len(), 10, "{problems:#?}");
    }
}
