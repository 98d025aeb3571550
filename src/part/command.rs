//! What page, PLC and signals may ask of the line.

/// A request; whoever asks, it goes through one queue into the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A part announced over Modbus (coil 0) instead of the trigger line.
    SoftTrigger,
    /// Change to the product with this number, between two parts.
    ChangeProduct(u16),
    /// Leave Fault, if its cause is gone.
    ClearFault,
    /// Counters (not the life counters) to zero.
    ResetCounters,
    /// The next part is decided fail 102.
    ForceReject,
    /// The operator has emptied the transit: the purge ends.
    PurgeDone,
    /// Level: do not act on the gate (only where the configuration allows it).
    Inhibit(bool),
    /// Level: the belt runs (where no `run` line is wired).
    BeltRun(bool),
    /// The PLC's heartbeat register changed.
    PlcHeartbeat(u16),
    /// The tag copied into the next parts.
    Tag(u32),
}
