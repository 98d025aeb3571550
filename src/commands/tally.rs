//! Verdicts against truth; the only place where both meet.

use crate::part::{Decision, PartResult};
use hdrhistogram::Histogram;
use std::fmt;

/// Counts of a run whose truth is known, at least in part.
pub struct Tally {
    pub parts: u64,
    pub passed: u64,
    pub failed: u64,
    pub no_decision: u64,
    pub true_rejects: u64,
    pub escapes: u64,
    pub false_rejects: u64,
    good_decided: u64,
    no_decision_defects: u64,
    time_to_verdict_us: Option<Histogram<u64>>,
}

impl Tally {
    pub fn new() -> Self {
        Self {
            parts: 0,
            passed: 0,
            failed: 0,
            no_decision: 0,
            true_rejects: 0,
            escapes: 0,
            false_rejects: 0,
            good_decided: 0,
            no_decision_defects: 0,
            // One microsecond to one minute, three digits: always a valid range.
            time_to_verdict_us: Histogram::new_with_bounds(1, 60_000_000, 3).ok(),
        }
    }

    /// `defective`: the truth, where it is known.
    pub fn count(&mut self, result: &PartResult, defective: Option<bool>) {
        self.parts += 1;
        match (result.decision, defective) {
            (Decision::Pass, _) => self.passed += 1,
            (Decision::Fail, _) => self.failed += 1,
            _ => self.no_decision += 1,
        }
        match (result.decision, defective) {
            (Decision::Pass, Some(true)) => self.escapes += 1,
            (Decision::Fail, Some(true)) => self.true_rejects += 1,
            (Decision::Fail, Some(false)) => self.false_rejects += 1,
            (Decision::NoDecision, Some(true)) => self.no_decision_defects += 1,
            _ => {}
        }
        if defective == Some(false) && result.decision != Decision::NoDecision {
            self.good_decided += 1;
        }
        if result.decision != Decision::NoDecision
            && let Some(histogram) = &mut self.time_to_verdict_us
        {
            let micros = result.committed.since(result.triggered).as_micros();
            histogram.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
        }
    }

    /// Time from trigger to verdict at a quantile, in milliseconds.
    pub fn time_to_verdict_ms(&self, quantile: f64) -> f64 {
        let micros = self.time_to_verdict_us.as_ref().map_or(0, |h| h.value_at_quantile(quantile));
        micros as f64 / 1000.0
    }

    fn defects_decided(&self) -> u64 {
        self.true_rejects + self.escapes
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, passed, failed) = (self.parts, self.passed, self.failed);
        write!(f, "{parts} parts: {passed} pass, {failed} fail, {} no-decision", self.no_decision)?;
        let (defects, good) = (self.defects_decided(), self.good_decided);
        if defects + good > 0 {
            let share = |part: u64, all: u64| 100.0 * part as f64 / all.max(1) as f64;
            let rejected = self.true_rejects;
            write!(f, " | defects rejected {rejected} of {defects}")?;
            if defects > 0 {
                write!(f, " ({:.1} %)", share(rejected, defects))?;
            }
            let falsely = self.false_rejects;
            write!(f, " | good rejected {falsely} of {good} ({:.1} %)", share(falsely, good))?;
        }
        if self.no_decision_defects > 0 {
            write!(f, " | {} defects rejected undecided", self.no_decision_defects)?;
        }
        let (p50, p99) = (self.time_to_verdict_ms(0.5), self.time_to_verdict_ms(0.99));
        write!(f, " | verdict after {p50:.0} ms (p99 {p99:.0})")
    }
}
