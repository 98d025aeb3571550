//! Joins what was seen of a part with what was decided about it, for archive and journal.

use super::observation::{InspectedPart, Observation};
use crate::part::{AnomalyMap, Decision, PartResult, Reason, SequenceNumber, StageTimes};
use crate::records::{Archive, Journal, PartRecord, RejectRecord};
use std::collections::VecDeque;
use std::time::SystemTime;

/// Halves of records waiting for their other half; a part's halves come within milliseconds.
const WAITING: usize = 32;

/// Feeds archive and journal.
pub struct Observer {
    archive: Option<Archive>,
    journal: Option<Journal>,
    inspected: VecDeque<Box<InspectedPart>>,
    decided: VecDeque<PartResult>,
    times: VecDeque<(SequenceNumber, StageTimes)>,
    /// Decided, and their way is still to be told.
    untimed: VecDeque<PartResult>,
}

impl Observer {
    /// `archive`: where rejects are kept, if they are.
    pub fn new(archive: Option<Archive>) -> Self {
        Self {
            archive,
            journal: None,
            inspected: VecDeque::new(),
            decided: VecDeque::new(),
            times: VecDeque::new(),
            untimed: VecDeque::new(),
        }
    }

    /// Keeps a line per part as well.
    pub fn with_journal(mut self, journal: Option<Journal>) -> Self {
        self.journal = journal;
        self
    }

    /// Takes one observation; gives back what others still want to see.
    pub fn observe(&mut self, observation: Observation) -> Option<Observation> {
        match &observation {
            Observation::Judged { sequence, times } => self.judged(*sequence, *times),
            Observation::Decided(result) => self.decided(result),
            _ => {}
        }
        match observation {
            Observation::Inspected(part) => {
                let index = self.decided.iter().position(|r| r.sequence == part.sequence);
                match index.and_then(|i| self.decided.remove(i)) {
                    Some(result) => self.keep(result, *part),
                    None => push(&mut self.inspected, part),
                }
                None
            }
            other => Some(other),
        }
    }

    fn judged(&mut self, sequence: SequenceNumber, times: StageTimes) {
        push(&mut self.times, (sequence, times));
        if let Some(index) = self.untimed.iter().position(|r| r.sequence == sequence)
            && let Some(result) = self.untimed.remove(index)
        {
            self.note(result, Some(times));
        }
    }

    fn decided(&mut self, result: &PartResult) {
        let times = self.times_of(result.sequence);
        let reaches_judge = matches!(
            result.reason,
            Reason::Good
                | Reason::ScoreAtOrAboveThreshold
                | Reason::RegionRule
                | Reason::ScoreNotFinite
                | Reason::Deadline
        );
        if times.is_none() && reaches_judge {
            if self.untimed.len() == WAITING
                && let Some(oldest) = self.untimed.pop_front()
            {
                self.note(oldest, None);
            }
            self.untimed.push_back(*result);
        } else {
            self.note(*result, times);
        }
        if result.decision != Decision::Pass {
            let index = self.inspected.iter().position(|p| p.sequence == result.sequence);
            match index.and_then(|i| self.inspected.remove(i)) {
                Some(part) => self.keep(*result, *part),
                None => push(&mut self.decided, *result),
            }
        }
    }

    /// Rejects the archive had no room for, and lines the journal lost.
    pub fn dropped(&self) -> u64 {
        self.archive.as_ref().map_or(0, Archive::dropped)
            + self.journal.as_ref().map_or(0, Journal::lost)
    }

    fn times_of(&self, sequence: SequenceNumber) -> Option<StageTimes> {
        self.times.iter().rfind(|(of, _)| *of == sequence).map(|(_, times)| *times)
    }

    fn note(&self, result: PartResult, times: Option<StageTimes>) {
        if let Some(journal) = &self.journal {
            journal.offer(PartRecord { result, times, wall_time: SystemTime::now() });
        }
    }

    fn keep(&self, result: PartResult, part: InspectedPart) {
        let Some(archive) = &self.archive else { return };
        // A full archive queue is a counted drop.
        let _ = archive.offer(RejectRecord {
            result,
            times: self.times_of(result.sequence),
            product_name: part.product_name.to_string(),
            regions: part.regions,
            picture: part.picture,
            anomaly_map: AnomalyMap { side: part.side, values: part.anomaly_map },
            inspected: part.inspected,
            pixel_threshold: part.pixel_threshold,
            wall_time: SystemTime::now(),
        });
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        for result in std::mem::take(&mut self.untimed) {
            self.note(result, None);
        }
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == WAITING {
        queue.pop_front();
    }
    queue.push_back(item);
}
