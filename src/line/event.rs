//! What goes into the line and what comes out of it.

use crate::part::{
    Command, Duration, LineTime, PartAnnouncement, PartResult, SequenceNumber, Verdict,
};

/// Where a trigger came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerSource {
    /// The trigger line.
    Wire,
    /// Coil TRIGGER over Modbus.
    Modbus,
    /// No trigger: every frame is a part.
    FreeRun,
}

/// Wires into the box (line-io 1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputLine {
    /// A part passes the sensor.
    Trigger,
    /// Clears a fault.
    Reset,
    /// Barrier in the reject chute.
    Confirm,
    /// The belt runs.
    Run,
    /// Compressed air is there.
    AirOk,
}

/// One thing that happened, with its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LineEvent {
    /// A leading edge of the trigger.
    Trigger {
        /// The edge's kernel time stamp.
        time: LineTime,
        /// Where it came from.
        source: TriggerSource,
    },
    /// Another input line changed (logical level).
    Input {
        /// Which.
        input: InputLine,
        /// Its new level.
        level: bool,
        /// The edge's kernel time stamp.
        time: LineTime,
    },
    /// The encoder's net count.
    Encoder {
        /// Counts, never wrapped.
        count: i64,
        /// The edge's kernel time stamp. Triggers told later may be stamped earlier: they are
        /// placed by what was told of the encoder, up to half a second back.
        time: LineTime,
    },
    /// The way says what it knows about a part; also "nothing known" with its reason.
    Verdict {
        /// The verdict.
        verdict: Verdict,
        /// When the way had it.
        time: LineTime,
    },
    /// The frame of an armed part has been captured and found.
    Captured {
        /// The part.
        sequence: SequenceNumber,
        /// When the way had it.
        time: LineTime,
    },
    /// A request by PLC, page or signal.
    Command {
        /// What is asked.
        command: Command,
        /// When.
        time: LineTime,
    },
    /// The way is able to inspect (prompt encoded, camera streams), or no longer.
    WayReady {
        /// Able or not.
        ready: bool,
        /// When.
        time: LineTime,
    },
    /// How long verdicts take, measured from trigger to verdict: told after the self-test and
    /// again whenever it changes. What does not fit keeps the line in Starting; later it warns
    /// (THERMAL).
    VerdictTime {
        /// 99.9th percentile.
        p999: Duration,
        /// When.
        time: LineTime,
    },
    /// A product change has ended: the product now active, or 0 and why.
    ProductChanged {
        /// The product now active; 0 none.
        product: u16,
        /// cmd_result of line-io 1.4: 0 ok, 2 unknown product, 5 load failed.
        result: u16,
        /// When.
        time: LineTime,
    },
    /// Something happened once that is noticed outside: an output line could not be written, edge
    /// events or results were lost.
    WireFault {
        /// The alarm it raises (ACTUATOR, ENCODER, TRACKING_LOST, RESULTS_OVERRUN).
        alarm: super::Alarm,
        /// When.
        time: LineTime,
    },
    /// The lasting cause of an alarm that is watched outside (THERMAL, CAMERA, CLOCK) is there, or
    /// has gone.
    Cause {
        /// The alarm it raises.
        alarm: super::Alarm,
        /// There, or gone.
        present: bool,
        /// When.
        time: LineTime,
    },
    /// SIGTERM: drain, then safe.
    Stop {
        /// When.
        time: LineTime,
    },
}

impl LineEvent {
    /// When it happened.
    pub fn time(&self) -> LineTime {
        match *self {
            Self::Trigger { time, .. }
            | Self::Input { time, .. }
            | Self::Encoder { time, .. }
            | Self::Verdict { time, .. }
            | Self::Captured { time, .. }
            | Self::Command { time, .. }
            | Self::WayReady { time, .. }
            | Self::VerdictTime { time, .. }
            | Self::ProductChanged { time, .. }
            | Self::WireFault { time, .. }
            | Self::Cause { time, .. }
            | Self::Stop { time } => time,
        }
    }
}

/// Logical levels of every output line; the wires are written whenever they change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLevels {
    /// The box may be trusted.
    pub ready: bool,
    /// The engine works on a part.
    pub busy: bool,
    /// Gate when energise_to_pass; else a 20 ms pulse at a pass.
    pub pass: bool,
    /// Gate when energise_to_reject; else a 20 ms pulse at a fail.
    pub reject: bool,
    /// State is Fault.
    pub fault: bool,
    /// Flash.
    pub strobe: bool,
    /// 5 Hz square wave of the line thread.
    pub alive: bool,
}

/// One thing the line wants done now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LineOutput {
    /// Write the wires.
    Outputs(OutputLevels),
    /// A part is armed: the way may ask for its frame.
    Armed(PartAnnouncement),
    /// A part is decided, for good. Published in order of sequence.
    Decided(PartResult),
    /// A verdict came after the deadline of its part: to be recorded, it changes nothing.
    Late(Verdict),
    /// A product change was asked for and no part is between: load it.
    LoadProduct(u16),
    /// An alarm was raised or ended.
    AlarmChanged {
        /// Which.
        alarm: super::Alarm,
        /// Raised, or ended.
        active: bool,
    },
    /// The state machine moved.
    StateChanged {
        /// From.
        from: super::LineState,
        /// To.
        to: super::LineState,
    },
    /// Stopping is over: outputs are safe, the process may end.
    Stopped,
}
