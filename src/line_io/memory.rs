//! Lines in memory: what the simulator pulls and what replay and tests read.

use super::channel::Sender;
use super::{LineIoError, OutputLines};
use crate::line::{InputLine, LineEvent, OutputLevels, TriggerSource};
use crate::part::LineTime;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Output changes kept; the oldest go first.
const HISTORY: usize = 4096;

/// Output wires in memory, with the history of their levels.
#[derive(Clone, Default)]
pub struct MemoryLines {
    history: Arc<Mutex<VecDeque<(LineTime, OutputLevels)>>>,
}

impl MemoryLines {
    /// Levels as last written; all zero before the first write.
    pub fn levels(&self) -> OutputLevels {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.back().map(|entry| entry.1).unwrap_or_default()
    }

    /// Every change kept, oldest first.
    pub fn history(&self) -> Vec<(LineTime, OutputLevels)> {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.iter().copied().collect()
    }
}

impl OutputLines for MemoryLines {
    fn write(&mut self, levels: OutputLevels) -> Result<(), LineIoError> {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back((LineTime::now(), levels));
        Ok(())
    }
}

/// Input wires in memory: what simulator and replay pull, with times of their own.
#[derive(Clone)]
pub struct MemoryInputs {
    events: Sender<LineEvent>,
}

impl MemoryInputs {
    /// Wires into the line behind `events`.
    pub fn new(events: Sender<LineEvent>) -> Self {
        Self { events }
    }

    /// A leading edge of the trigger at `time`; `false` when the line has ended.
    pub fn trigger(&self, time: LineTime) -> bool {
        self.send(LineEvent::Trigger { time, source: TriggerSource::Wire })
    }

    /// Another wire goes to `level` at `time`; `false` when the line has ended.
    pub fn input(&self, input: InputLine, level: bool, time: LineTime) -> bool {
        if input == InputLine::Trigger {
            return !level || self.trigger(time);
        }
        self.send(LineEvent::Input { input, level, time })
    }

    /// The encoder's net count at `time`; `false` when the line has ended.
    pub fn encoder(&self, count: i64, time: LineTime) -> bool {
        self.send(LineEvent::Encoder { count, time })
    }

    /// Waits while the channel is full: a simulated wire loses no edge.
    fn send(&self, event: LineEvent) -> bool {
        self.events.send(event).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_wires_reach_the_line_as_real_ones_do() {
        let (sender, line) = crate::line_io::channel::bounded(8);
        let inputs = MemoryInputs::new(sender);
        let time = LineTime::from_millis(3);
        assert!(inputs.trigger(time) && inputs.input(InputLine::Trigger, false, time));
        assert!(inputs.input(InputLine::AirOk, true, time) && inputs.encoder(-5, time));
        let sent: Vec<LineEvent> = line.try_iter().collect();
        let expected = [
            LineEvent::Trigger { time, source: TriggerSource::Wire },
            LineEvent::Input { input: InputLine::AirOk, level: true, time },
            LineEvent::Encoder { count: -5, time },
        ];
        assert_eq!(sent, expected);
        drop(line);
        assert!(!inputs.trigger(time));
    }

    #[test]
    fn outputs_are_kept_with_their_history() {
        let lines = MemoryLines::default();
        let mut line_thread = lines.clone();
        let rejecting = OutputLevels { reject: true, ..OutputLevels::default() };
        line_thread.write(rejecting).unwrap();
        assert_eq!(lines.levels(), rejecting);
        for _ in 0..HISTORY {
            line_thread.write(OutputLevels::default()).unwrap();
        }
        assert_eq!(lines.history().len(), HISTORY);
        assert_eq!(lines.levels(), OutputLevels::default());
    }
}
