//! Alarms of line-io 1.8: one table for bits, words and default action.

macro_rules! alarms {
    ($($name:ident = $bit:literal, $word:literal, $stops:literal, $fixed:literal, $remedy:literal;)*) => {
        /// An alarm; its number is its bit (line-io 1.8).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Alarm { $(#[doc = $remedy] $name = $bit,)* }

        impl Alarm {
            /// Every alarm, in order of its bit.
            pub const ALL: &'static [Alarm] = &[$(Alarm::$name,)*];
            /// Its name in the contract.
            pub const fn word(self) -> &'static str { match self { $(Self::$name => $word,)* } }
            /// Stops the line (Fault) unless configured otherwise.
            pub const fn stops_by_default(self) -> bool { match self { $(Self::$name => $stops,)* } }
            /// May never be lowered to a warning.
            pub const fn always_stops(self) -> bool { match self { $(Self::$name => $fixed,)* } }
            /// What it means and what to do.
            pub const fn remedy(self) -> &'static str { match self { $(Self::$name => $remedy,)* } }
        }
    };
}

alarms! {
    ConsecutiveReject = 0, "CONSECUTIVE_REJECT", true, false, "Too many fails in a row: look at the parts, then at the product taught.";
    MOfN = 1, "M_OF_N", false, false, "Many fails among the last parts: look at the process.";
    NoDecisionRate = 2, "NO_DECISION_RATE", false, false, "Parts without a decision: look at camera, engine and load.";
    InspectionLost = 3, "INSPECTION_LOST", true, true, "Several parts in a row without a decision: nothing is inspected.";
    PlcLost = 4, "PLC_LOST", false, false, "The PLC's heartbeat has stopped: look at network and PLC program.";
    ConfirmMissing = 5, "CONFIRM_MISSING", true, true, "A reject was not seen in the chute: look at valve, air and wiring.";
    ConfirmStuck = 6, "CONFIRM_STUCK", true, true, "The chute's barrier stays covered: bin full or jam.";
    ConfirmUnexpected = 7, "CONFIRM_UNEXPECTED", false, false, "Parts in the chute that were not rejected.";
    AirLost = 8, "AIR_LOST", true, true, "Compressed air is missing.";
    Encoder = 9, "ENCODER", true, true, "The encoder is lost, stuck or too fast.";
    TrackingLost = 10, "TRACKING_LOST", true, true, "The parts' positions are unknown.";
    ScheduleFull = 11, "SCHEDULE_FULL", true, true, "More parts between camera and ejector than can be followed.";
    LateFire = 12, "LATE_FIRE", true, true, "A reject came too late: look at load and scheduling.";
    Actuator = 13, "ACTUATOR", true, true, "An output could not be written.";
    Overrun = 14, "OVERRUN", false, false, "Parts come faster than they can be inspected.";
    ResultsOverrun = 15, "RESULTS_OVERRUN", false, false, "The PLC does not read its results.";
    Thermal = 16, "THERMAL", false, false, "Verdicts come close to the deadline: look at cooling and load.";
    Camera = 17, "CAMERA", false, false, "Frames are missing or broken: look at cable and light.";
    Clock = 18, "CLOCK", false, false, "Wall time is not synchronised.";
}

impl Alarm {
    /// Its bit.
    pub const fn bit(self) -> u8 {
        self as u8
    }
}

/// A set of alarms, as the bits of registers 10-11.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlarmSet(u32);

impl AlarmSet {
    /// The alarms that may never be lowered to a warning: the fewest that stop a line.
    pub fn always_stopping() -> Self {
        let mut set = Self::default();
        for &alarm in Alarm::ALL {
            set.set(alarm, alarm.always_stops());
        }
        set
    }

    /// The bits on the wire.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Adds or removes an alarm.
    pub fn set(&mut self, alarm: Alarm, active: bool) {
        if active {
            self.0 |= 1 << alarm.bit();
        } else {
            self.0 &= !(1 << alarm.bit());
        }
    }

    /// Both sets together.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it is in the set.
    pub const fn contains(self, alarm: Alarm) -> bool {
        self.0 & (1 << alarm.bit()) != 0
    }

    /// Whether none is.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}
