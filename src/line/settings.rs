//! What the line must know about the belt, the valve and the PLC, and whether it can work at all.

use super::travel::{EncoderTravel, Travel, ms};
use super::{Alarm, AlarmSet};
use crate::part::Duration;

/// Parts between trigger and ejector that can be followed (line-io 1.3).
pub const SCHEDULE_CAPACITY: usize = 256;
/// Longest window the alarms 1, 2 and 17 can look back on, in parts.
pub const HISTORY_PARTS: u32 = 128;
/// No duration of the settings may be longer: beyond it is a slip of the pen.
pub(super) const LONGEST: Duration = Duration::from_secs(3600);
/// Longest drain after SIGTERM (line-io 1.5).
const LONGEST_DRAIN: Duration = Duration::from_secs(5);
/// A PLC may change its heartbeat as slowly as this (line-io 1.4, a = 201).
const SLOWEST_HEARTBEAT: Duration = Duration::from_millis(500);

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

/// What the gate does in Fault (line-io 1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultGate {
    /// It rejects all the time.
    Reject,
    /// It rejects the window of every part, passed or not, while trigger and encoder can be
    /// trusted: for a valve that is not rated for continuous duty.
    PerPart,
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
    /// How a part is followed to the ejector.
    pub travel: Travel,
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
    /// What the gate does in Fault.
    pub fault_gate: FaultGate,
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
    /// Input `confirm` is wired: every reject must be seen in the chute.
    pub confirm_wired: bool,
    /// The gate hangs on a coupler: Ready waits until its output watchdog is verified, which
    /// `LineEvent::Cause { ACTUATOR, present: false }` says (line-io 1.4, client mode).
    pub actuator_awaited: bool,
    /// Triggers over Modbus are parts.
    pub soft_trigger: bool,
    /// INHIBIT is obeyed.
    pub allow_inhibit: bool,
    /// The PLC's heartbeat is lost after so long without a change.
    pub plc_timeout: Duration,
    /// After SIGTERM, parts under way are treated for this long at most.
    pub drain: Duration,
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
    /// The defaults of the contract for a belt of fixed speed.
    pub fn with_delay(wiring: Wiring, delay: Duration) -> Self {
        Self::with_travel(wiring, Travel::Delay { delay, part_spacing: None })
    }

    /// The defaults of the contract for a belt with an encoder.
    pub fn with_distance(wiring: Wiring, way: EncoderTravel) -> Self {
        Self::with_travel(wiring, Travel::Distance(way))
    }

    fn with_travel(wiring: Wiring, travel: Travel) -> Self {
        let mut stop_alarms = AlarmSet::default();
        for &alarm in Alarm::ALL {
            stop_alarms.set(alarm, alarm.stops_by_default());
        }
        let ms = Duration::from_millis;
        Self {
            wiring,
            travel,
            actuation_time: ms(15),
            jitter: ms(2),
            guard: ms(5),
            pulse: ms(50),
            min_gap: ms(20),
            fault_gate: FaultGate::Reject,
            decide_max: ms(1000),
            lockout: ms(5),
            min_part: ms(5),
            strobe: None,
            run_signal: RunSignal::AlwaysRuns,
            air_ok_wired: false,
            confirm_wired: false,
            actuator_awaited: false,
            soft_trigger: false,
            allow_inhibit: false,
            plc_timeout: ms(1000),
            drain: LONGEST_DRAIN,
            inspections_max: 3,
            alarm_limits: AlarmLimits::default(),
            stop_alarms,
            boot_id: 0,
            life_parts: 0,
            life_rejects: 0,
        }
    }

    /// Everything that makes the geometry impossible, each with its arithmetic and its remedy;
    /// empty when it is fine. A line made of settings with problems never becomes Ready.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut demand = |holds: bool, problem: &dyn Fn() -> String| {
            if !holds {
                problems.push(problem());
            }
        };
        self.check_travel(&mut demand);
        self.check_times(&mut demand);
        self.check_alarms(&mut demand);
        problems
    }

    fn check_times(&self, demand: &mut impl FnMut(bool, &dyn Fn() -> String)) {
        let named = [
            ("actuation time", self.actuation_time),
            ("jitter", self.jitter),
            ("guard", self.guard),
            ("pulse", self.pulse),
            ("min_gap", self.min_gap),
            ("decide_max", self.decide_max),
            ("lockout", self.lockout),
            ("min_part", self.min_part),
            ("heartbeat time-out", self.plc_timeout),
        ];
        for (name, time) in named {
            demand(time <= LONGEST, &|| {
                format!("{name} is {} ms, more than an hour: check its unit", ms(time))
            });
        }
        let (pulse, lockout, min_part) = (ms(self.pulse), ms(self.lockout), ms(self.min_part));
        demand(!self.decide_max.is_zero(), &|| {
            "decide_max is 0 ms: no part could be decided; write at least 1 ms".into()
        });
        demand(!self.pulse.is_zero(), &|| {
            format!("pulse is {pulse} ms: the valve needs time to act; write at least 1 ms")
        });
        demand(self.min_part >= self.lockout, &|| {
            format!(
                "min_part {min_part} ms is shorter than lockout {lockout} ms: such parts are taken \
                 for bounce; raise min_part or lower lockout"
            )
        });
        demand(self.plc_timeout > SLOWEST_HEARTBEAT, &|| {
            format!(
                "the heartbeat's time-out is {} ms, but a heartbeat may come every {} ms; raise it",
                ms(self.plc_timeout),
                ms(SLOWEST_HEARTBEAT)
            )
        });
        demand(self.drain <= LONGEST_DRAIN, &|| {
            let (drain, longest) = (ms(self.drain), ms(LONGEST_DRAIN));
            format!("drain is {drain} ms, but a stop may take {longest} ms at most; lower it")
        });
        demand(self.inspections_max > 0, &|| {
            "the way holds 0 parts at once: it must hold at least one".into()
        });
        let per_part = self.fault_gate == FaultGate::PerPart;
        demand(!per_part || self.wiring == Wiring::EnergiseToReject, &|| {
            "fault_gate per part needs a gate that is energised to reject; with energise to pass, \
             rejecting is the gate at rest"
                .into()
        });
        if let Some(strobe) = self.strobe {
            let end = strobe.offset.saturating_add(strobe.width);
            let limit = self.decision_time();
            demand(!strobe.width.is_zero(), &|| {
                "the strobe's width is 0 ms: write how long it flashes".into()
            });
            demand(end <= limit, &|| {
                format!(
                    "the strobe ends {} + {} = {} ms after the trigger, but the deadline is after \
                     {} ms: no picture could be judged in time",
                    ms(strobe.offset),
                    ms(strobe.width),
                    ms(end),
                    ms(limit)
                )
            });
        }
    }

    fn check_alarms(&self, demand: &mut impl FnMut(bool, &dyn Fn() -> String)) {
        let limits = &self.alarm_limits;
        for row in [limits.fails_in_a_row, limits.no_decisions_in_a_row] {
            demand(row > 0, &|| format!("an alarm's limit is {row} in a row: use at least 1"));
        }
        for Share { count, parts } in [limits.fails, limits.no_decisions, limits.frame_errors] {
            demand(count > 0 && count <= parts && parts <= HISTORY_PARTS, &|| {
                format!(
                    "an alarm's limit is {count} in {parts} parts: 1 <= count <= parts <= \
                     {HISTORY_PARTS} is needed"
                )
            });
        }
        for alarm in Alarm::ALL {
            demand(!alarm.always_stops() || self.stop_alarms.contains(*alarm), &|| {
                format!("alarm {} must stop the line: it may not be a warning", alarm.word())
            });
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
        assert!(settings.verdicts_fit(Duration::from_millis(273)));
        assert!(!settings.verdicts_fit(Duration::from_millis(274)));
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_numbers() {
        let mut settings =
            LineSettings::with_delay(Wiring::EnergiseToPass, Duration::from_millis(22));
        settings.pulse = Duration::ZERO;
        settings.min_part = Duration::from_millis(1);
        settings.plc_timeout = Duration::from_millis(500);
        settings.inspections_max = 0;
        settings.fault_gate = FaultGate::PerPart;
        settings.drain = Duration::from_secs(6);
        settings.strobe = Some(Strobe { offset: Duration::ZERO, width: Duration::ZERO });
        settings.alarm_limits.no_decisions_in_a_row = 0;
        settings.alarm_limits.fails = Share { count: 10, parts: 129 };
        settings.stop_alarms.set(Alarm::LateFire, false);
        let problems = settings.check();
        assert_eq!(problems.len(), 11, "{problems:#?}");
        let sum = "actuation 15 + jitter 2 + guard 5 = 22 ms, but the part is at the ejector 22 ms";
        assert!(problems[0].contains(sum), "{problems:#?}");
        for said in ["min_part 1 ms is shorter than lockout 5 ms", "10 in 129 parts", "6000 ms"] {
            assert!(problems.iter().any(|problem| problem.contains(said)), "{said}: {problems:#?}");
        }
        settings.guard = Duration::from_secs(3601);
        assert_eq!(settings.check().len(), 12);
    }
}
