//! What the line shows of itself, published whole.

use super::{AlarmSet, OutputLevels};
use crate::part::{LineTime, SequenceNumber};

/// States of line-io 1.5, with their codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u16)]
pub enum LineState {
    /// Process start.
    #[default]
    Starting = 0,
    /// Waits for parts.
    Ready = 1,
    /// Parts come.
    Running = 2,
    /// Works, with a warning.
    Degraded = 3,
    /// Decides but does not act on the gate.
    Inhibited = 4,
    /// Rejects everything, asks for help.
    Fault = 5,
    /// Drains, then ends.
    Stopping = 6,
}

/// What keeps the line in Starting (line-io 1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// The geometry is impossible: `onenipd check` says why.
    PossibleGeometry,
    /// Camera, engine and product are not ready to inspect.
    Way,
    /// Verdicts take longer than a part has until its deadline (line-io 1.3).
    FasterVerdicts,
    /// `air_ok` is 0, or was not told yet.
    Air,
    /// The coupler's output watchdog is not verified yet.
    Actuator,
    /// The PLC has shown no heartbeat, and the line stops without one.
    PlcHeartbeat,
}

impl Awaits {
    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::PossibleGeometry => "the line's geometry is impossible: see onenipd check",
            Self::Way => "camera, engine or product are not ready to inspect",
            Self::FasterVerdicts => {
                "verdicts take longer than a part has until its deadline: use a faster engine, \
                 move the camera upstream or slow the belt"
            }
            Self::Air => "air_ok is 0: is there compressed air?",
            Self::Actuator => "the coupler's output watchdog is not verified yet",
            Self::PlcHeartbeat => "the PLC has shown no heartbeat yet",
        }
    }
}

/// NAMUR NE 107 status (line-io 1.4, a = 13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u16)]
pub enum NamurStatus {
    /// All is well.
    Good = 0,
    /// Failure.
    Failure = 1,
    /// Function check.
    #[default]
    Check = 2,
    /// Out of specification.
    OutOfSpecification = 3,
    /// Maintenance required.
    Maintenance = 4,
}

/// Counters of line-io 1.4 (a = 96..125).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Triggers accepted; = pass + fail + no_decision + pending.
    pub parts: u32,
    /// Passed.
    pub pass: u32,
    /// Failed.
    pub fail: u32,
    /// No decision.
    pub no_decision: u32,
    /// Merged reject windows fired.
    pub rejects_fired: u32,
    /// Of these, confirmed in the chute.
    pub rejects_confirmed: u32,
    /// Of these, missing in the chute.
    pub rejects_missing: u32,
    /// Passed parts rejected with a neighbour or by a purge.
    pub collateral: u32,
    /// Trigger edges within the lockout.
    pub bounce: u32,
    /// Overruns and overtriggers.
    pub overrun: u32,
    /// Verdicts after the deadline.
    pub late: u32,
    /// Parts ever; survives a restart.
    pub life_parts: u64,
    /// Parts ever not passed; survives a restart.
    pub life_rejects: u64,
}

/// The line as Modbus, page and log see it: published whole by the line thread.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LineSnapshot {
    /// State machine.
    pub state: LineState,
    /// NE 107.
    pub namur: NamurStatus,
    /// What keeps the line in Starting; `None` once it has left it.
    pub awaits: Option<Awaits>,
    /// Wires as last written.
    pub outputs: OutputLevels,
    /// The gate is at its rejecting value.
    pub gate_rejects: bool,
    /// Active alarms.
    pub alarms: AlarmSet,
    /// Bit of the first stop alarm + 1; 0 none.
    pub fault_code: u16,
    /// +1 per 100 ms of the line thread.
    pub heartbeat: u16,
    /// Differs per start.
    pub boot_id: u16,
    /// 0 none.
    pub active_product: u16,
    /// A product change is under way.
    pub product_busy: bool,
    /// Result code of the last command (cmd_result).
    pub command_result: u16,
    /// Stamp of the latest command or Modbus trigger handled: one sent at `t` is done once this
    /// is `t` or later, and `command_result` is then its result.
    pub last_command: LineTime,
    /// The PLC's heartbeat is lost.
    pub plc_lost: bool,
    /// Last part triggered.
    pub last_triggered: Option<SequenceNumber>,
    /// Open schedule entries.
    pub armed: u16,
    /// A trigger now would be inspected.
    pub trigger_ready: bool,
    /// A part is being inspected.
    pub busy: bool,
    /// A part in inspection waits for its frame.
    pub acquiring: bool,
    /// CLEAR_FAULTs carried out, over Modbus and by `reset`; wraps. Latched bits elsewhere end
    /// with it.
    pub clears: u16,
    /// Latched: a part was missed (201, 204, 205, 210).
    pub missed: bool,
    /// Energise to pass.
    pub energise_to_pass: bool,
    /// Net encoder count.
    pub encoder_count: i64,
    /// Encoder counts per second, smoothed; negative backwards.
    pub encoder_counts_per_s: i32,
    /// Counters.
    pub counters: Counters,
}
