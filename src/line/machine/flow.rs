//! A part's way through the line: triggered, armed, announced, decided once, published in order.

use super::super::schedule::Entry;
use super::super::settings::Wiring;
use super::super::{Alarm, LineOutput, LineState, TriggerSource};
use super::{IDLE_AFTER, INDICATOR_PULSE, Line};
use crate::part::{
    Decision, LineTime, PartAnnouncement, PartResult, Reason, ResultFlags, SequenceNumber, Verdict,
};

/// cmd_result "not allowed".
const NOT_ALLOWED: u16 = 4;

impl Line {
    /// A leading edge: bounce, or a part. The reject is armed before anything else (R1).
    pub(super) fn trigger(
        &mut self,
        time: LineTime,
        source: TriggerSource,
        out: &mut Vec<LineOutput>,
    ) {
        if source == TriggerSource::Modbus && !self.settings.soft_trigger {
            self.command_result = NOT_ALLOWED;
            return;
        }
        let distance = self.last_trigger.map(|last| time.since(last).max(last.since(time)));
        let closer_than = |limit| distance.is_some_and(|distance| distance < limit);
        if source == TriggerSource::Wire && closer_than(self.settings.lockout) {
            self.counters.bounce = self.counters.bounce.wrapping_add(1);
            return;
        }
        let overtrigger = closer_than(self.settings.min_part);
        let count = self.tracker.encoder.count_at(time);
        if count.is_none() && self.tracker.is_by_distance() {
            self.alarms.happened(Alarm::TrackingLost, self.now); // told too late to be placed
        }
        let may_run = self.tracker.belt_runs(&self.plc);
        if self.tracker.encoder.is_dead_at_trigger(may_run) {
            self.alarms.happened(Alarm::Encoder, self.now);
        }
        if self.schedule.is_full() {
            self.alarms.happened(Alarm::ScheduleFull, self.now);
            self.sweep(out);
        }
        self.arm(time, source, count.unwrap_or_else(|| self.tracker.encoder.count()));
        self.last_trigger = self.last_trigger.max(Some(time));
        self.running_until = self.now + IDLE_AFTER;
        self.purge.trigger(&self.settings, time);
        self.announce(overtrigger, out);
    }

    fn arm(&mut self, time: LineTime, source: TriggerSource, count: i64) {
        let sequence = self.last_triggered.map_or(SequenceNumber::FIRST, SequenceNumber::next);
        let window = self.tracker.window(&self.settings, time, count);
        let result = PartResult {
            sequence,
            decision: Decision::Pending,
            reason: Reason::Deadline,
            flags: ResultFlags {
                soft_trigger: source == TriggerSource::Modbus,
                ..ResultFlags::default()
            },
            product: if self.product.busy { 0 } else { self.product.active },
            score: f32::NAN,
            threshold: f32::NAN,
            regions: 0,
            largest: None,
            triggered: time,
            committed: time,
            deadline: self.tracker.deadline(&window, self.now),
            encoder_count: count,
            tag: self.tag,
        };
        self.schedule.push(Entry::armed(result, window, self.is_ready()));
        self.last_triggered = Some(sequence);
        self.counters.parts = self.counters.parts.wrapping_add(1);
        self.counters.life_parts = self.counters.life_parts.wrapping_add(1);
    }

    /// Asks the way for the newest part, or decides it at once where nothing can be known.
    fn announce(&mut self, overtrigger: bool, out: &mut Vec<LineOutput>) {
        let newest = self.last_triggered;
        if let Some(reason) = self.reason_at_trigger(overtrigger) {
            self.decide_pending(reason, |entry| Some(entry.result.sequence) == newest);
            return;
        }
        let (here, now) = (self.tracker.here(self.now), self.now);
        let Some(entry) = self.schedule.newest_mut() else { return };
        if entry.window.is_overdue(here, now) {
            return; // told too late: the deadline decides it before anybody looks
        }
        entry.announced = true;
        out.push(LineOutput::Armed(PartAnnouncement {
            sequence: entry.result.sequence,
            triggered: entry.result.triggered,
            deadline: entry.result.deadline,
            product: entry.result.product,
        }));
    }

    /// Why a part triggered now is not inspected; `None` when it is.
    fn reason_at_trigger(&mut self, overtrigger: bool) -> Option<Reason> {
        if self.stopping.is_some() {
            return Some(Reason::Stopping);
        }
        if let Some(reason) = self.reason_of_fault() {
            return Some(reason);
        }
        if self.state == LineState::Starting {
            return Some(Reason::NotReady);
        }
        if self.product.busy {
            return Some(Reason::ProductChange);
        }
        if self.product.active == 0 {
            return Some(Reason::ModelMissing);
        }
        if overtrigger {
            return Some(Reason::Overtrigger);
        }
        std::mem::take(&mut self.force_next).then_some(Reason::Forced)
    }

    /// In Fault nothing passes: the reason of every decision there.
    pub(super) fn reason_of_fault(&self) -> Option<Reason> {
        let lost = self.alarms.active().contains(Alarm::TrackingLost);
        let reason = if lost { Reason::TrackingLost } else { Reason::NotReady };
        self.alarms.stopped().then_some(reason)
    }

    /// The way has the part's frame.
    pub(super) fn captured(&mut self, sequence: SequenceNumber) {
        let index = self.schedule.position(sequence);
        if let Some(entry) = index.and_then(|index| self.schedule.get_mut(index)) {
            entry.captured = true;
        }
    }

    /// The way's answer. In time it decides; late it is told and changes nothing.
    pub(super) fn verdict(&mut self, verdict: &Verdict, out: &mut Vec<LineOutput>) {
        let (here, now) = (self.tracker.here(self.now), self.now);
        let Some(index) = self.schedule.position(verdict.sequence) else {
            if self.was_triggered(verdict.sequence) {
                self.late(verdict, out);
            }
            return;
        };
        let Some(entry) = self.schedule.get_mut(index) else { return };
        if entry.answered || !entry.announced {
            return;
        }
        entry.answered = true;
        let in_time = !entry.window.is_overdue(here, now);
        if entry.is_pending() && in_time {
            let reason = self.reason_of_fault().unwrap_or_else(|| reason_of(verdict));
            self.commit(index, reason, Some(verdict));
        } else if !in_time || entry.result.reason == Reason::Deadline {
            if !entry.published {
                entry.result.flags.late = true;
                keep_numbers(&mut entry.result, verdict);
            }
            self.late(verdict, out);
        }
    }

    fn late(&mut self, verdict: &Verdict, out: &mut Vec<LineOutput>) {
        self.counters.late = self.counters.late.wrapping_add(1);
        out.push(LineOutput::Late(*verdict));
    }

    fn was_triggered(&self, sequence: SequenceNumber) -> bool {
        let behind = |last: SequenceNumber| last.get().wrapping_sub(sequence.get());
        self.last_triggered.is_some_and(|last| behind(last) < u32::MAX / 2)
    }

    /// The one commit of a part; the only place where a decision is set.
    pub(super) fn commit(&mut self, index: usize, reason: Reason, verdict: Option<&Verdict>) {
        let now = self.now;
        let inhibited = self.state == LineState::Inhibited;
        let Some(entry) = self.schedule.get_mut(index).filter(|entry| entry.is_pending()) else {
            return;
        };
        let result = &mut entry.result;
        result.reason = reason;
        result.decision = reason.decision();
        result.committed = now;
        result.deadline = self.tracker.deadline(&entry.window, now);
        result.flags.inhibited = inhibited;
        result.flags.forced = reason == Reason::Forced;
        result.flags.reject_left_armed = result.decision != Decision::Pass;
        if let Some(verdict) = verdict {
            keep_numbers(result, verdict);
        }
        let passed = result.decision == Decision::Pass;
        if passed == (self.settings.wiring == Wiring::EnergiseToReject) {
            self.indicator_until = now + INDICATOR_PULSE;
        }
        self.count(reason);
    }

    fn count(&mut self, reason: Reason) {
        let counters = &mut self.counters;
        let counter = match reason.decision() {
            Decision::Pass => &mut counters.pass,
            Decision::Fail => &mut counters.fail,
            Decision::NoDecision | Decision::Pending => &mut counters.no_decision,
        };
        *counter = counter.wrapping_add(1);
        if reason.decision() != Decision::Pass {
            counters.life_rejects = counters.life_rejects.wrapping_add(1);
        }
        if matches!(reason, Reason::Overrun | Reason::Overtrigger) {
            counters.overrun = counters.overrun.wrapping_add(1);
            self.alarms.happened(Alarm::Overrun, self.now);
        }
        self.missed |= matches!(
            reason,
            Reason::NoFrame | Reason::Overrun | Reason::FrameTriggerMismatch | Reason::Overtrigger
        );
    }

    /// Pending parts whose deadline has come stay rejected, for good.
    pub(super) fn decide_overdue(&mut self) {
        let (here, now) = (self.tracker.here(self.now), self.now);
        let reason = self.reason_of_fault().unwrap_or(Reason::Deadline);
        self.decide_pending(reason, |entry| entry.window.is_overdue(here, now));
    }

    /// Decides every pending part for which `wanted` holds.
    pub(super) fn decide_pending(&mut self, reason: Reason, wanted: impl Fn(&Entry) -> bool) {
        while let Some(index) = self.schedule.first(|entry| entry.is_pending() && wanted(entry)) {
            self.commit(index, reason, None);
        }
    }

    /// Publishes what is decided, in order of sequence, and lets the alarms judge it.
    pub(super) fn publish(&mut self, out: &mut Vec<LineOutput>) {
        for entry in self.schedule.iter_mut().filter(|entry| !entry.published) {
            if entry.is_pending() {
                break;
            }
            entry.published = true;
            out.push(LineOutput::Decided(entry.result));
            if entry.ready_at_trigger {
                self.history.add(entry.result.reason);
            }
        }
        self.judge_history();
    }

    pub(super) fn judge_history(&mut self) {
        for (alarm, present) in self.history.causes() {
            self.alarms.cause(alarm, present);
        }
    }

    /// Empties the schedule: its parts fall under the reject of Fault and the purge that follows.
    pub(super) fn sweep(&mut self, out: &mut Vec<LineOutput>) {
        let reason = self.reason_of_fault().unwrap_or(Reason::NotReady);
        self.decide_pending(reason, |_| true);
        self.publish(out);
        let swept = self.schedule.iter().filter(|entry| !entry.is_armed() && !entry.closed);
        let swept = u32::try_from(swept.count()).unwrap_or(u32::MAX);
        self.counters.collateral = self.counters.collateral.wrapping_add(swept);
        self.schedule.clear();
        self.tracker.forget(self.now);
        self.gate.forget();
    }
}

/// What a verdict in time says, held against its own numbers: a pass needs finite ones.
fn reason_of(verdict: &Verdict) -> Reason {
    let finite = verdict.score.is_finite() && verdict.threshold.is_finite();
    match verdict.reason {
        Reason::Good if !finite => Reason::ScoreNotFinite,
        Reason::Good if verdict.score >= verdict.threshold => Reason::ScoreAtOrAboveThreshold,
        reason => reason,
    }
}

fn keep_numbers(result: &mut PartResult, verdict: &Verdict) {
    result.score = verdict.score;
    result.threshold = verdict.threshold;
    result.regions = verdict.regions;
    result.largest = verdict.largest;
}
