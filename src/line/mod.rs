//! The line, pure: events with times in, output changes with times out. No thread, clock or I/O.
//!
//! | file | decides |
//! |---|---|
//! | `machine` | order of time; a part's way (`flow`), requests, states, what is shown |
//! | `settings`, `travel` | what the line is told; delay or distance mode; what is impossible |
//! | `schedule` | the armed rejects, one per part |
//! | `tracker` | windows and deadlines; whether the belt runs |
//! | `encoder` | position and speed of the belt, and whether the count can be believed |
//! | `gate` | the level of the actuating line |
//! | `purge` | the reject of parts nobody knows |
//! | `confirm` | the barrier in the reject chute |
//! | `alarms`, `history` | alarms, and the last parts they look at |
//! | `plc` | heartbeat and levels of the PLC |
//!
//! **Places.** Both modes of line-io 1.3 follow a part by a number that grows on its way: the time,
//! or the encoder's count (`tracker::Place`). Windows, merging and deadlines know only places; what
//! the contract gives in ms is turned into counts at the largest speed. A count is never
//! interpolated: the lead of a window makes up for what the belt moves between two of them.
//!
//! **Way lost after the start.** `WayReady { ready: false }` before the first Ready keeps the line
//! in Starting. Later it changes no state (line-io 1.5 knows no way back to Starting): parts are
//! announced as before, the way answers with what it lacks, and INSPECTION_LOST stops the line
//! after five; only TRIGGER_READY falls at once, and that alarm cannot be cleared while it lasts.

mod alarm;
mod alarms;
mod confirm;
mod encoder;
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
mod travel;

pub use alarm::{Alarm, AlarmSet};
pub use event::{InputLine, LineEvent, LineOutput, OutputLevels, TriggerSource};
pub use machine::Line;
pub use settings::{
    AlarmLimits, FaultGate, HISTORY_PARTS, LineSettings, RunSignal, SCHEDULE_CAPACITY, Share,
    Strobe, Wiring,
};
pub use snapshot::{Awaits, Counters, LineSnapshot, LineState, NamurStatus};
pub use travel::{EncoderTravel, Travel};

#[cfg(test)]
mod tests;
