//! The invariants of line-io 1.9, checked on a finished trace by arithmetic of their own.

use super::support::*;
use crate::line::*;
use crate::part::*;

const END: LineTime = LineTime::from_nanos(u64::MAX);

/// [from, to) in which something held.
type Span = (LineTime, LineTime);

pub struct Checker<'a> {
    settings: &'a LineSettings,
    trace: &'a Trace,
    gate: Vec<(LineTime, bool)>,
    /// Spans in which the gate does not reject.
    released: Vec<Span>,
    inhibited: Vec<Span>,
}

impl<'a> Checker<'a> {
    pub fn new(settings: &'a LineSettings, trace: &'a Trace) -> Self {
        let gate = gate_of(settings, trace);
        let released = spans(gate.iter().map(|(time, rejects)| (*time, !rejects)));
        let states = trace.states.iter();
        let inhibited = spans(states.map(|(time, _, to)| (*time, *to == LineState::Inhibited)));
        Self { settings, trace, gate, released, inhibited }
    }

    pub fn all(&self) {
        self.sequence_without_gaps();
        self.announced_at_the_trigger();
        self.passes_have_evidence_in_time();
        self.rejects_cover_their_windows();
        self.pulses_and_dips_are_long_enough();
        self.purges_reject();
        self.alive_is_regular();
    }

    fn open(&self, part: &PartResult) -> LineTime {
        let s = self.settings;
        part.triggered + delay_of(s) - s.actuation_time - s.jitter
    }

    fn close(&self, part: &PartResult) -> LineTime {
        let s = self.settings;
        part.triggered + delay_of(s) + s.pulse + s.jitter
    }

    fn deadline(&self, part: &PartResult) -> LineTime {
        let by_window = self.open(part) - self.settings.guard;
        by_window.min(part.triggered + self.settings.decide_max)
    }

    /// Every state in force at `time`, those left or entered in that instant included.
    fn states_at(&self, time: LineTime) -> Vec<LineState> {
        let states = &self.trace.states;
        let after = states.partition_point(|change| change.0 <= time);
        let mut found: Vec<_> =
            states[..after].iter().rev().take_while(|c| c.0 == time).map(|c| c.1).collect();
        found.push(states[..after].last().map_or(LineState::Starting, |change| change.2));
        found
    }

    /// Sequence numbers: 1, 2, 3 ... published in order, each once (2, 13, 14).
    pub fn sequence_without_gaps(&self) {
        for (index, result) in self.trace.results.iter().enumerate() {
            assert_eq!(result.sequence.get() as usize, index + 1);
            assert_ne!(result.decision, Decision::Pending);
            assert_eq!(result.decision, result.reason.decision());
            assert_eq!(result.deadline, self.deadline(result));
        }
    }

    /// Announced once, in order, with all that can be inspected and nothing else (1).
    pub fn announced_at_the_trigger(&self) {
        let armed = &self.trace.armed;
        assert!(armed.is_sorted_by(|a, b| a.1.sequence < b.1.sequence));
        let inspected: std::collections::HashSet<u32> =
            armed.iter().map(|part| part.1.sequence.get()).collect();
        for result in &self.trace.results {
            let announced = inspected.contains(&result.sequence.get());
            match result.reason {
                Reason::ProductChange | Reason::Forced | Reason::ModelMissing => {
                    assert!(!announced, "{result:?}");
                }
                Reason::NotReady | Reason::TrackingLost | Reason::Stopping | Reason::Deadline => {}
                _ => assert!(announced || result.reason == Reason::Overtrigger, "{result:?}"),
            }
        }
    }

    /// Invariants 3 and 6.
    pub fn passes_have_evidence_in_time(&self) {
        use LineState::{Degraded, Inhibited, Ready, Running, Stopping};
        let passed = |result: &&PartResult| result.decision == Decision::Pass;
        for result in self.trace.results.iter().filter(passed) {
            assert!(result.committed < self.deadline(result), "late pass {result:?}");
            assert!(result.score.is_finite() && result.threshold.is_finite(), "{result:?}");
            assert!(result.score < result.threshold, "{result:?}");
            let mut allowed = vec![Ready, Running, Degraded, Inhibited];
            let holds = |allowed: &[LineState], time| {
                self.states_at(time).iter().any(|state| allowed.contains(state))
            };
            assert!(holds(&allowed, result.triggered), "{result:?}");
            allowed.push(Stopping);
            assert!(holds(&allowed, result.committed), "{result:?}");
        }
    }

    /// Invariants 4 and 8: not passed -> the gate rejects over the whole window, within J when the
    /// event was late; except Inhibited and parts that fell under a purge ended by PURGE_DONE.
    pub fn rejects_cover_their_windows(&self) {
        self.rejects_cover_their_windows_within(Duration::ZERO);
    }

    pub fn rejects_cover_their_windows_within(&self, tolerance: Duration) {
        for result in self.trace.results.iter().filter(|r| r.decision != Decision::Pass) {
            let window = (self.open(result) + tolerance, self.close(result));
            if self.fell_under_ended_purge(result) {
                continue;
            }
            for free in overlaps(&self.released, window) {
                let excused = self.is_inhibited_throughout(free);
                assert!(excused, "gate free in {free:?} of {window:?}: {result:?}");
            }
        }
    }

    fn is_inhibited_throughout(&self, span: Span) -> bool {
        let covered = |reached: LineTime, part: Span| {
            if part.0 <= reached { part.1.max(reached) } else { reached }
        };
        overlaps(&self.inhibited, span).into_iter().fold(span.0, covered) >= span.1
    }

    fn fell_under_ended_purge(&self, part: &PartResult) -> bool {
        let cleared = self.trace.states.iter().filter(|c| c.1 == LineState::Fault).map(|c| c.0);
        let within = |time: &LineTime| part.triggered <= *time && *time < self.close(part);
        let mut cleared = cleared.filter(within);
        cleared.any(|cleared| {
            self.trace.purge_done.iter().any(|done| *done >= cleared && *done < self.close(part))
        })
    }

    /// Invariant 9.
    pub fn pulses_and_dips_are_long_enough(&self) {
        let etr = self.settings.wiring == Wiring::EnergiseToReject;
        for pair in self.gate.windows(2) {
            let ((from, rejects), (to, _)) = (pair[0], pair[1]);
            let shortest = if rejects == etr { self.settings.pulse } else { self.settings.min_gap };
            if to.since(from) >= shortest || self.is_exception(from) || self.is_exception(to) {
                continue;
            }
            let cut = !rejects && self.opened_by_newer_part(from, to);
            assert!(cut, "{rejects} for {:?} from {from}, {shortest:?} needed", to.since(from));
        }
    }

    /// An edge by a state that has its own rule for the gate, by a stop alarm (Stopping), by
    /// PURGE_DONE, or the first.
    fn is_exception(&self, edge: LineTime) -> bool {
        use LineState::{Fault, Inhibited, Starting, Stopping};
        let own_rule = |state: &LineState| [Fault, Inhibited, Starting, Stopping].contains(state);
        let states = &self.trace.states;
        let first = states.partition_point(|change| change.0 < edge);
        let here = states[first..].iter().take_while(|change| change.0 == edge);
        let changed = here.into_iter().any(|change| own_rule(&change.1) || own_rule(&change.2));
        let stops =
            |alarm: Alarm| alarm.always_stops() || self.settings.stop_alarms.contains(alarm);
        let stop_alarm = self.trace.alarms.iter().any(|alarm| alarm.0 == edge && stops(alarm.1));
        let stopped = self.trace.stopped == Some(edge) || stop_alarm;
        changed || stopped || edge == LineTime::ZERO || self.trace.purge_done.contains(&edge)
    }

    fn opened_by_newer_part(&self, from: LineTime, to: LineTime) -> bool {
        let results = &self.trace.results;
        let opens_at = |result: &&PartResult| self.open(result) == to;
        let armed = |result: &PartResult| result.decision != Decision::Pass;
        results.iter().filter(opens_at).any(|r| armed(r) && r.triggered >= from)
    }

    /// R6 and invariant 20, for belts that always run: from the start and from each cleared fault
    /// until one transit after the next trigger.
    pub fn purges_reject(&self) {
        if self.settings.run_signal != RunSignal::AlwaysRuns {
            return;
        }
        let left_fault = self.trace.states.iter().filter(|c| c.1 == LineState::Fault);
        let begins = std::iter::once(LineTime::ZERO).chain(left_fault.map(|change| change.0));
        for begin in begins {
            // A trigger in the very instant may have come before or after it.
            let mut triggers = self.trace.results.iter().map(|result| result.triggered);
            let first = triggers.find(|time| *time >= begin);
            let end = first.map_or(END, |time| time + transit_of(self.settings));
            let done = self.trace.purge_done.iter().find(|done| **done >= begin);
            let end = end.min(done.copied().unwrap_or(END));
            for free in overlaps(&self.released, (begin, end)) {
                let excused = self.is_inhibited_throughout(free);
                assert!(excused, "gate free in {free:?}, purge from {begin} to {end}");
            }
        }
    }

    /// Passed parts whose window met a rejecting gate.
    pub fn collateral(&self) -> u32 {
        let rejecting = spans(self.gate.iter().copied());
        let passed = self.trace.results.iter().filter(|r| r.decision == Decision::Pass);
        let met = passed
            .filter(|part| !overlaps(&rejecting, (self.open(part), self.close(part))).is_empty());
        met.count() as u32
    }

    /// 5 Hz in every state, until stopped.
    pub fn alive_is_regular(&self) {
        let mut last = (LineTime::ZERO, false);
        for (time, levels) in &self.trace.outputs {
            if levels.alive != last.1 && self.trace.stopped != Some(*time) {
                assert_eq!(time.since(last.0), ms(100));
                last = (*time, levels.alive);
            }
        }
    }
}

fn spans(edges: impl Iterator<Item = (LineTime, bool)>) -> Vec<Span> {
    let mut found = Vec::new();
    let mut since = None;
    for (time, level) in edges {
        match (since, level) {
            (None, true) => since = Some(time),
            (Some(from), false) => {
                found.push((from, time));
                since = None;
            }
            _ => {}
        }
    }
    found.extend(since.map(|from| (from, END)));
    found.retain(|span| span.0 < span.1);
    found
}

/// The parts of `spans` (sorted, apart) inside `window`.
fn overlaps(spans: &[Span], window: Span) -> Vec<Span> {
    let first = spans.partition_point(|span| span.1 <= window.0);
    let inside = spans[first..].iter().take_while(|span| span.0 < window.1);
    inside.map(|span| (span.0.max(window.0), span.1.min(window.1))).collect()
}
