//! Lines in memory: what the simulator pulls and what replay and tests read.

use super::{LineIoError, OutputLines};
use crate::line::OutputLevels;
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
