//! Decisions and their reasons, with the codes of line-io 1.1.

use std::fmt;

/// What was decided about a part. Committed once, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Decision {
    /// Nothing is known yet.
    Pending = 0,
    /// The part is good and its reject was disarmed in time.
    Pass = 1,
    /// The part is bad.
    Fail = 2,
    /// Nothing is known: rejected.
    NoDecision = 3,
}

impl Decision {
    /// The code on the wire.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// A short word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NoDecision => "no-decision",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Why a part was decided so: one table for the codes, the words and the decision they belong to.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $decision:ident, $word:literal;)*) => {
        /// Why a part was decided so (line-io 1.1).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Reason { $($(#[$doc])* $name = $code,)* }

        impl Reason {
            /// Every reason, in order of its code.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The code on the wire.
            pub const fn code(self) -> u16 { self as u16 }

            /// The decision this reason belongs to.
            pub const fn decision(self) -> Decision {
                match self { $(Reason::$name => Decision::$decision,)* }
            }

            /// A short word for people.
            pub const fn word(self) -> &'static str {
                match self { $(Reason::$name => $word,)* }
            }
        }
    };
}

reasons! {
    /// Score below the threshold, in time.
    Good = 0, Pass, "good";
    /// Score at or above the threshold.
    ScoreAtOrAboveThreshold = 100, Fail, "score at or above threshold";
    /// A configured region rule.
    RegionRule = 101, Fail, "region rule";
    /// Forced by the PLC.
    Forced = 102, Fail, "forced";
    /// Nothing known before the deadline.
    Deadline = 200, NoDecision, "deadline passed";
    /// The camera gave no frame.
    NoFrame = 201, NoDecision, "no frame";
    /// The frame cannot be inspected.
    BadFrame = 202, NoDecision, "bad frame";
    /// The engine failed.
    EngineError = 203, NoDecision, "engine error";
    /// More parts than the engine can take.
    Overrun = 204, NoDecision, "overrun";
    /// No or more than one frame fits the trigger.
    FrameTriggerMismatch = 205, NoDecision, "frame does not match trigger";
    /// Triggered while the line was not ready.
    NotReady = 206, NoDecision, "not ready";
    /// Triggered during a product change.
    ProductChange = 207, NoDecision, "product change";
    /// The position of the part is unknown.
    TrackingLost = 208, NoDecision, "tracking lost";
    /// Triggered while stopping.
    Stopping = 209, NoDecision, "stopping";
    /// Triggered too soon after the part before.
    Overtrigger = 210, NoDecision, "overtrigger";
    /// The score is not a number.
    ScoreNotFinite = 211, NoDecision, "score is not a finite number";
    /// No usable product or bundle.
    ModelMissing = 212, NoDecision, "no usable product";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_zero_passes() {
        for reason in Reason::ALL {
            assert_eq!(reason.decision() == Decision::Pass, reason.code() == 0, "{reason:?}");
        }
    }
}
