//! A part's stations: announced at the trigger, judged by the engine's room, decided by the line.

use super::{Decision, LineTime, Reason, Region, SequenceNumber};

/// What the line tells the way when a part was triggered: its reject is armed already.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PartAnnouncement {
    /// Its number.
    pub sequence: SequenceNumber,
    /// The trigger's edge.
    pub triggered: LineTime,
    /// The first moment too late for a pass, as far as it is known at the trigger.
    pub deadline: LineTime,
    /// Number of the product it is judged as.
    pub product: u16,
}

/// What is known about a part after inspection: the only thing that can make a pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The part.
    pub sequence: SequenceNumber,
    /// Pass only when `reason` is [`Reason::Good`].
    pub reason: Reason,
    /// Image score; NaN when there is none.
    pub score: f32,
    /// The product's threshold the score was held against; NaN when there is none.
    pub threshold: f32,
    /// Number of regions above the pixel threshold.
    pub regions: u16,
    /// The largest of them.
    pub largest: Option<Region>,
}

impl Verdict {
    /// A part about which nothing is known, for `reason`.
    pub fn nothing_known(sequence: SequenceNumber, reason: Reason) -> Self {
        let none = f32::NAN;
        Self { sequence, reason, score: none, threshold: none, regions: 0, largest: None }
    }

    /// The decision this verdict asks for; the line may still overrule a pass that is late.
    pub fn decision(&self) -> Decision {
        self.reason.decision()
    }
}

/// Flags of a result (line-io 1.4, r.flags).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResultFlags {
    /// The verdict came after the deadline.
    pub late: bool,
    /// Decided while inhibited.
    pub inhibited: bool,
    /// Reject forced by the PLC.
    pub forced: bool,
    /// The reject was left armed.
    pub reject_left_armed: bool,
    /// Triggered over Modbus.
    pub soft_trigger: bool,
}

/// The one, final result of a part, as published (line-io 1.4, result block).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PartResult {
    /// The part.
    pub sequence: SequenceNumber,
    /// Pass, fail or no-decision.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
    /// Flags.
    pub flags: ResultFlags,
    /// Number of the product it was judged as; 0 none.
    pub product: u16,
    /// Image score; NaN when there is none.
    pub score: f32,
    /// Threshold; NaN when there is none.
    pub threshold: f32,
    /// Number of regions.
    pub regions: u16,
    /// The largest region.
    pub largest: Option<Region>,
    /// The trigger's edge (t0).
    pub triggered: LineTime,
    /// When the decision was committed.
    pub committed: LineTime,
    /// The deadline it had.
    pub deadline: LineTime,
    /// Encoder count at the trigger (e0).
    pub encoder_count: i64,
    /// HR 206 at the trigger.
    pub tag: u32,
}
