//! Joins what was seen of a part with what was decided about it, for the archive of rejects.

use super::observation::{InspectedPart, Observation};
use crate::part::{AnomalyMap, Decision, PartResult};
use crate::records::{Archive, RejectRecord};
use std::collections::VecDeque;
use std::time::SystemTime;

/// Halves of records waiting for their other half; a part's halves come within milliseconds.
const WAITING: usize = 32;

/// Feeds the archive.
pub struct Observer {
    archive: Option<Archive>,
    inspected: VecDeque<Box<InspectedPart>>,
    decided: VecDeque<PartResult>,
}

impl Observer {
    /// `archive`: where rejects are kept, if they are.
    pub fn new(archive: Option<Archive>) -> Self {
        Self { archive, inspected: VecDeque::new(), decided: VecDeque::new() }
    }

    /// Takes one observation; gives back what others still want to see.
    pub fn observe(&mut self, observation: Observation) -> Option<Observation> {
        match observation {
            Observation::Inspected(part) => {
                let index = self.decided.iter().position(|r| r.sequence == part.sequence);
                match index.and_then(|i| self.decided.remove(i)) {
                    Some(result) => self.keep(result, *part),
                    None => push(&mut self.inspected, part),
                }
                None
            }
            Observation::Decided(result) => {
                if result.decision != Decision::Pass {
                    let index = self.inspected.iter().position(|p| p.sequence == result.sequence);
                    match index.and_then(|i| self.inspected.remove(i)) {
                        Some(part) => self.keep(result, *part),
                        None => push(&mut self.decided, result),
                    }
                }
                Some(Observation::Decided(result))
            }
            other => Some(other),
        }
    }

    /// Rejects the archive had no room for.
    pub fn dropped(&self) -> u64 {
        self.archive.as_ref().map_or(0, Archive::dropped)
    }

    fn keep(&self, result: PartResult, part: InspectedPart) {
        let Some(archive) = &self.archive else { return };
        // A full archive queue is a counted drop.
        let _ = archive.offer(RejectRecord {
            result,
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

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == WAITING {
        queue.pop_front();
    }
    queue.push_back(item);
}
