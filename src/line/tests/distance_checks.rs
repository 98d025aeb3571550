//! The invariants of line-io 1.9 in distance mode, checked on a finished trace by places.

use super::support::*;
use crate::line::*;
use crate::part::*;
use std::collections::BTreeMap;

const END: LineTime = LineTime::from_nanos(u64::MAX);

/// The belt at `count` and the gate at `rejects`, from `from` to `to`.
#[derive(Clone, Copy, Debug)]
pub struct Stay {
    pub from: LineTime,
    pub to: LineTime,
    pub count: i64,
    pub rejects: bool,
}

pub struct DistanceChecker<'a> {
    settings: &'a LineSettings,
    trace: &'a Trace,
    way: EncoderTravel,
    pub stays: Vec<Stay>,
}

impl<'a> DistanceChecker<'a> {
    pub fn new(settings: &'a LineSettings, trace: &'a Trace) -> Self {
        let stays = stays(&gate_of(settings, trace), &trace.counts);
        Self { settings, trace, way: way_of(settings), stays }
    }

    pub fn all(&self) {
        self.sequence_without_gaps();
        self.passes_come_before_their_deadline();
        self.rejects_cover_the_part();
        self.pulses_and_dips_are_long_enough();
        self.purges_reject();
    }

    fn front(&self, part: &PartResult) -> i64 {
        part.encoder_count + i64::from(self.way.distance_counts)
    }

    /// The part's own length before the ejector: in the window at any speed.
    fn body(&self, part: &PartResult) -> std::ops::Range<i64> {
        self.front(part)..self.front(part) + i64::from(self.way.length_counts)
    }

    fn deadline(&self, part: &PartResult) -> i64 {
        let ahead = self.settings.actuation_time + self.settings.jitter + self.settings.guard;
        self.front(part) - self.way.counts_in(ahead)
    }

    fn count_at(&self, time: LineTime) -> i64 {
        let after = self.trace.counts.partition_point(|told| told.0 <= time);
        after.checked_sub(1).map_or(0, |last| self.trace.counts[last].1)
    }

    /// Where the belt was when a fault was cleared; a count of that very instant may have come
    /// before or after.
    fn count_cleared_at(&self, time: LineTime) -> i64 {
        self.count_at(time).min(self.count_at(time - Duration::from_nanos(1)))
    }

    fn state_at(&self, time: LineTime) -> LineState {
        let states = &self.trace.states;
        let after = states.partition_point(|change| change.0 <= time);
        after.checked_sub(1).map_or(LineState::Starting, |last| states[last].2)
    }

    /// Invariants 2, 13 and 14.
    pub fn sequence_without_gaps(&self) {
        for (index, result) in self.trace.results.iter().enumerate() {
            assert_eq!(result.sequence.get() as usize, index + 1);
            assert_ne!(result.decision, Decision::Pending);
            assert_eq!(result.decision, result.reason.decision());
        }
        // A count told in the same instant after the trigger is not the part's.
        for result in &self.trace.results {
            let here = self.count_at(result.triggered);
            assert_eq!(result.encoder_count, here, "{result:?}");
        }
    }

    /// Invariants 3 and 6: D once reached stays reached.
    pub fn passes_come_before_their_deadline(&self) {
        let passed = |result: &&PartResult| result.decision == Decision::Pass;
        for result in self.trace.results.iter().filter(passed) {
            assert!(result.score.is_finite() && result.score < result.threshold, "{result:?}");
            assert!(result.committed < result.triggered + self.settings.decide_max, "{result:?}");
            // In the instant of the commit itself either may come first.
            let told = |time| self.trace.counts.partition_point(|count| count.0 < time);
            let between = &self.trace.counts[told(result.triggered)..told(result.committed)];
            let furthest = between.iter().map(|count| count.1).max();
            assert!(furthest.is_none_or(|count| count < self.deadline(result)), "{result:?}");
            assert!(result.committed < result.deadline, "{result:?}");
        }
    }

    /// Invariants 4, 8 and 11: wherever a part that has not passed is before the ejector, however
    /// often, the gate rejects. Not while Inhibited, not after PURGE_DONE, and not a part that
    /// went back behind the sensor before its fault was cleared: it comes by again.
    pub fn rejects_cover_the_part(&self) {
        let not_passed = |result: &&PartResult| result.decision != Decision::Pass;
        for part in self.trace.results.iter().filter(not_passed) {
            let body = self.body(part);
            let known_until = self.known_until(part);
            let first = self.stays.partition_point(|stay| stay.to <= part.triggered);
            // Further on, the belt cannot bring it back without a fault and its purge.
            let gone = body.end + 2 * i64::from(self.way.reverse_max_counts) + 1000;
            let stays = self.stays[first..].iter();
            let stays = stays.take_while(|stay| stay.from < known_until && stay.count < gone);
            for stay in stays.filter(|stay| body.contains(&stay.count) && !stay.rejects) {
                if stay.to > part.triggered && self.state_at(stay.from) != LineState::Inhibited {
                    panic!("gate free at {stay:?}: {part:?} before the ejector at {body:?}");
                }
            }
        }
    }

    fn known_until(&self, part: &PartResult) -> LineTime {
        let cleared = self.trace.states.iter().filter(|c| c.1 == LineState::Fault).map(|c| c.0);
        let mut known_until = END;
        for time in cleared.filter(|time| *time >= part.triggered) {
            if self.count_cleared_at(time) < part.encoder_count {
                return known_until.min(time); // it comes by again
            }
            let done = self.trace.purge_done.iter().find(|done| **done >= time);
            known_until = known_until.min(done.copied().unwrap_or(END));
        }
        known_until
    }

    /// Invariant 9, in time, at no more than the largest speed.
    pub fn pulses_and_dips_are_long_enough(&self) {
        let etr = self.settings.wiring == Wiring::EnergiseToReject;
        let gate = gate_of(self.settings, self.trace);
        for pair in gate.windows(2) {
            let ((from, rejects), (to, _)) = (pair[0], pair[1]);
            let shortest = if rejects == etr { self.settings.pulse } else { self.settings.min_gap };
            if to.since(from) >= shortest || self.is_exception(from) || self.is_exception(to) {
                continue;
            }
            let between = |time: &LineTime| from < *time && *time < to;
            let changes = self.trace.states.iter().map(|change| change.0).filter(between);
            if changes.into_iter().any(|time| self.is_exception(time)) {
                continue;
            }
            let newer = |part: &PartResult| from <= part.triggered && part.triggered <= to;
            if !rejects && self.trace.results.iter().any(newer) {
                continue;
            }
            panic!("{rejects} for {:?} from {from}, {shortest:?} needed", to.since(from));
        }
    }

    /// A state with a rule of its own, PURGE_DONE, or a belt that is behind where it was.
    fn is_exception(&self, edge: LineTime) -> bool {
        use LineState::{Fault, Inhibited, Starting, Stopping};
        let own_rule = |state: &LineState| [Fault, Inhibited, Starting, Stopping].contains(state);
        let changes = self.trace.states.iter().filter(|change| change.0 == edge);
        let changed = changes.into_iter().any(|c| own_rule(&c.1) || own_rule(&c.2));
        let stops =
            |alarm: Alarm| alarm.always_stops() || self.settings.stop_alarms.contains(alarm);
        let stop = self.trace.alarms.iter().any(|alarm| alarm.0 == edge && stops(alarm.1));
        let ended = self.trace.stopped == Some(edge);
        let first = edge == self.trace.begun;
        changed
            || stop
            || ended
            || first
            || self.trace.purge_done.contains(&edge)
            || self.is_behind(edge)
    }

    /// The belt is behind where it was, or was so until now.
    fn is_behind(&self, time: LineTime) -> bool {
        let told = self.trace.counts.partition_point(|count| count.0 <= time);
        let behind = |counts: &[(LineTime, i64)]| {
            counts.last().map(|last| last.1) < counts.iter().map(|count| count.1).max()
        };
        behind(&self.trace.counts[..told]) || behind(&self.trace.counts[..told.saturating_sub(1)])
    }

    /// R6 and invariant 20: from the start and from each cleared fault, one way net forward.
    pub fn purges_reject(&self) {
        let transit = i64::from(self.way.distance_counts) + i64::from(self.way.length_counts);
        let cleared = self.trace.states.iter().filter(|c| c.1 == LineState::Fault).map(|c| c.0);
        let begins: Vec<_> = std::iter::once(self.trace.begun).chain(cleared).collect();
        for (index, begin) in begins.iter().copied().enumerate() {
            let next = begins.get(index + 1).copied().unwrap_or(END);
            let first = self.trace.counts.first().map_or(0, |told| told.1);
            let from = if begin == self.trace.begun { first } else { self.count_cleared_at(begin) };
            let done = self.trace.purge_done.iter().find(|done| **done >= begin);
            let done = done.copied().unwrap_or(END).min(next);
            let since = self.stays.partition_point(|stay| stay.to <= begin);
            let under = self.stays[since..].iter();
            let under = under.take_while(|stay| stay.count < from + transit && stay.from < done);
            for stay in under.filter(|stay| !stay.rejects && stay.to > begin) {
                let excused = self.state_at(stay.from.max(begin)) == LineState::Inhibited;
                assert!(excused, "gate free at {stay:?}, purge from {begin} at {from}");
            }
        }
    }

    /// Parts that met a rejecting gate on their last way past the ejector.
    pub fn rejected_last(&self) -> Vec<u32> {
        let mut rejected = Vec::new();
        for part in &self.trace.results {
            let body = self.body(part);
            let last_ahead = self.stays.iter().rposition(|stay| stay.count < body.start);
            let last_way = &self.stays[last_ahead.map_or(0, |before| before + 1)..];
            if last_way.iter().any(|stay| body.contains(&stay.count) && stay.rejects) {
                rejected.push(part.sequence.get());
            }
        }
        rejected
    }

    /// The gate's level at each place, as the belt left it last.
    pub fn gate_by_place(&self) -> BTreeMap<i64, bool> {
        self.stays.iter().map(|stay| (stay.count, stay.rejects)).collect()
    }
}

/// Gate and belt over time, in one row; what lasted no time is left out.
fn stays(gate: &[(LineTime, bool)], counts: &[(LineTime, i64)]) -> Vec<Stay> {
    let mut times: Vec<LineTime> = gate.iter().map(|edge| edge.0).collect();
    times.extend(counts.iter().map(|told| told.0));
    times.sort_unstable();
    times.dedup();
    let mut row: Vec<Stay> = Vec::new();
    let (mut edge, mut told) = (0, 0);
    for (index, from) in times.iter().enumerate() {
        edge += gate[edge..].iter().take_while(|e| e.0 <= *from).count();
        told += counts[told..].iter().take_while(|c| c.0 <= *from).count();
        let rejects = edge.checked_sub(1).is_none_or(|last| gate[last].1);
        let count = told.checked_sub(1).map_or(0, |last| counts[last].1);
        let to = times.get(index + 1).copied().unwrap_or(END);
        row.push(Stay { from: *from, to, count, rejects });
    }
    row
}
