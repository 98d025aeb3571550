//! The line, pure: events with times in, output changes with times out. No thread, clock or I/O.
//!
//! | file | decides |
//! |---|---|
//! | `machine` | order of time; a part's way (`flow`), requests, states, what is shown |
//! | `schedule` | the armed rejects, one per part |
//! | `tracker` | windows and deadlines; whether the belt runs |
//! | `gate` | the level of the actuating line |
//! | `purge` | the reject of parts nobody knows |
//! | `alarms`, `history` | alarms, and the last parts they look at |
//! | `plc` | heartbeat and levels of the PLC |
//!
//! **Way lost after the start.** `WayReady { ready: false }` before the first Ready keeps the line
//! in Starting. Later it changes no state (line-io 1.5 knows no way back to Starting): parts are
//! announced as before, the way answers with what it lacks, and INSPECTION_LOST stops the line
//! after five; only TRIGGER_READY falls at once, and that alarm cannot be cleared while it lasts.

mod alarm;
mod alarms;
mod event;
mod gate;
mod history;
mod machine;
mod plc;
mod purge;
mod schedule;
mod settings;
mod snapshot;
mod tracker;

pub use alarm::{Alarm, AlarmSet};
pub use event::{InputLine, LineEvent, LineOutput, OutputLevels, TriggerSource};
pub use machine::Line;
pub use settings::{
    AlarmLimits, HISTORY_PARTS, LineSettings, RunSignal, SCHEDULE_CAPACITY, Share, Strobe, Wiring,
};
pub use snapshot::{Counters, LineSnapshot, LineState, NamurStatus};

#[cfg(test)]
mod tests;
