//! What really was in front of the camera, found again by the time of the trigger.

use std::collections::VecDeque;
use std::time::Duration;

use super::{DefectKind, ProductKind};
use crate::part::LineTime;

/// The truth about one part of the belt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    /// What is wrong with it; `None`: a good part.
    pub defect: Option<DefectKind>,
    /// Which product it is.
    pub product: ProductKind,
    /// Its number on the belt.
    pub index: u64,
}

/// The truths of the last parts, oldest dropped first.
///
/// The way of a part never sees it; only who compares verdicts with truth does.
#[derive(Clone, Debug)]
pub struct TruthLog {
    entries: VecDeque<(LineTime, Truth)>,
    capacity: usize,
    tolerance: Duration,
}

impl TruthLog {
    /// A log of at most `capacity` parts; a trigger time fits a part when they are at most
    /// `tolerance` apart (well below half the spacing of the parts).
    pub fn new(capacity: usize, tolerance: Duration) -> Self {
        Self { entries: VecDeque::with_capacity(capacity), capacity, tolerance }
    }

    /// Notes the truth about the part triggered at `trigger`.
    pub fn record(&mut self, trigger: LineTime, truth: Truth) {
        if self.entries.len() >= self.capacity {
            self.entries.pop_front();
        }
        if self.capacity > 0 {
            self.entries.push_back((trigger, truth));
        }
    }

    /// Takes out the part triggered nearest to `trigger`; `None` when none is within the
    /// tolerance.
    pub fn take_nearest(&mut self, trigger: LineTime) -> Option<Truth> {
        let apart = |time: LineTime| time.since(trigger).max(trigger.since(time));
        let (index, distance) = self
            .entries
            .iter()
            .enumerate()
            .map(|(index, &(time, _))| (index, apart(time)))
            .min_by_key(|&(_, distance)| distance)?;
        if distance > self.tolerance {
            return None;
        }
        self.entries.remove(index).map(|(_, truth)| truth)
    }

    /// Parts not taken out yet.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// No part is left in the log.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(index: u64) -> Truth {
        Truth { defect: None, product: ProductKind::Blister, index }
    }

    #[test]
    fn the_nearest_part_is_taken_once() {
        let mut log = TruthLog::new(8, Duration::from_millis(20));
        for index in 0..4 {
            log.record(LineTime::from_millis(1000 + 100 * index), truth(index));
        }
        assert_eq!(log.take_nearest(LineTime::from_millis(1195)).unwrap().index, 2);
        assert_eq!(log.take_nearest(LineTime::from_millis(1205)), None, "taken already");
        assert_eq!(log.take_nearest(LineTime::from_millis(1050)), None, "between two parts");
        assert_eq!(log.take_nearest(LineTime::from_millis(1302)).unwrap().index, 3);
        assert_eq!(log.len(), 2);
    }

    #[test]
    fn the_log_is_bounded() {
        let mut log = TruthLog::new(3, Duration::from_millis(20));
        for index in 0..10 {
            log.record(LineTime::from_millis(100 * index), truth(index));
        }
        assert_eq!(log.len(), 3);
        assert_eq!(log.take_nearest(LineTime::from_millis(600)), None);
        assert_eq!(log.take_nearest(LineTime::from_millis(700)).unwrap().index, 7);
        let mut none = TruthLog::new(0, Duration::from_millis(20));
        none.record(LineTime::ZERO, truth(0));
        assert!(none.is_empty());
    }
}
