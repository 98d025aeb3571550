//! Client mode of line-io 1.4: this box is the master of a PLC or of a remote I/O coupler.

mod codec;
mod coupler;
mod gate_cell;
mod link;
pub(super) mod plc;

pub use codec::{Answer, BadAnswer, MasterRequest, decode_response};
pub use coupler::{CouplerOutputs, CouplerSettings, OutputWatchdog};
pub use plc::PlcSettings;

use crate::part::Duration;

/// An answer is waited for this long, twice (line-io 1.4).
pub const TIMEOUT: Duration = Duration::from_millis(100);
/// A connection is waited for this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// First and longest pause before the next try to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The pause after one of `pause`.
fn longer(pause: Duration) -> Duration {
    (pause * 2).min(BACKOFF.1)
}
