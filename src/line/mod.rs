//! The line, pure: events with times in, output changes with times out. No thread, clock or I/O.

mod alarm;
mod event;
mod snapshot;

pub use alarm::{Alarm, AlarmSet};
pub use event::{InputLine, LineEvent, LineOutput, OutputLevels, TriggerSource};
pub use snapshot::{Counters, LineSnapshot, LineState, NamurStatus};
