//! How long verdicts take, of the last parts. Pure.

use crate::line::LineSettings;
use crate::part::Duration;
use std::collections::VecDeque;

/// Parts looked back on: a 99.9th percentile needs a thousand.
const PARTS: usize = 1000;
/// Parts before a percentile of them means anything.
const FEWEST: usize = 100;
/// Share of the time to the deadline beyond which THERMAL warns (line-io 1.8).
const WARN_SHARE: f64 = 0.8;

/// Times from trigger to verdict of the last parts.
#[derive(Clone, Debug)]
pub struct VerdictTimes {
    micros: VecDeque<u32>,
}

impl VerdictTimes {
    /// None so far.
    pub fn new() -> Self {
        Self { micros: VecDeque::with_capacity(PARTS) }
    }

    /// One more; the oldest is forgotten.
    pub fn record(&mut self, time: Duration) {
        if self.micros.len() == PARTS {
            self.micros.pop_front();
        }
        self.micros.push_back(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// How many are remembered.
    pub fn count(&self) -> usize {
        self.micros.len()
    }

    /// The smallest time that a share of `quantile` does not exceed; of few times the largest.
    /// Zero when there are none.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let mut sorted: Vec<u32> = self.micros.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() as f64 * quantile).ceil() as usize;
        let index = rank.clamp(1, sorted.len().max(1)) - 1;
        Duration::from_micros(sorted.get(index).copied().unwrap_or(0).into())
    }

    /// Whether verdicts come close to the deadline.
    pub fn are_close_to(&self, decision_time: Duration) -> bool {
        self.count() >= FEWEST && self.quantile(0.99) > decision_time.mul_f64(WARN_SHARE)
    }
}

impl Default for VerdictTimes {
    fn default() -> Self {
        Self::new()
    }
}

/// The sum of line-io 1.3, for people: does what was measured fit before the deadline?
pub fn arithmetic(line: &LineSettings, measured: Duration) -> String {
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let (there, needed) = (millis(line.decision_time()), millis(measured) + 5.0);
    let sum = format!(
        "D − t0 = {there:.0} ms, measured p99.9 {:.0} ms + 5 ms = {needed:.0} ms",
        millis(measured)
    );
    if line.verdicts_fit(measured) {
        format!("{sum}: fits")
    } else {
        format!("{sum}: does not fit, {:.0} ms are missing", needed - there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Wiring;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn quantiles_are_of_the_last_thousand() {
        let mut times = VerdictTimes::new();
        assert_eq!(times.quantile(0.999), Duration::ZERO);
        (1..=50).for_each(|n| times.record(ms(n)));
        assert_eq!(times.quantile(0.999), ms(50));
        assert_eq!(times.quantile(0.5), ms(25));
        (1..=1000).for_each(|n| times.record(ms(n)));
        assert_eq!(times.count(), 1000);
        assert_eq!(times.quantile(0.999), ms(999));
        assert_eq!(times.quantile(0.99), ms(990));
    }

    #[test]
    fn a_warning_needs_enough_parts_and_more_than_four_fifths() {
        let mut times = VerdictTimes::new();
        (0..99).for_each(|_| times.record(ms(90)));
        assert!(!times.are_close_to(ms(100)));
        times.record(ms(90));
        assert!(times.are_close_to(ms(100)) && !times.are_close_to(ms(113)));
    }

    #[test]
    fn the_sum_is_shown_either_way() {
        let line = LineSettings::with_delay(Wiring::EnergiseToPass, ms(400));
        assert_eq!(
            arithmetic(&line, ms(61)),
            "D − t0 = 378 ms, measured p99.9 61 ms + 5 ms = 66 ms: fits"
        );
        assert_eq!(
            arithmetic(&line, ms(400)),
            "D − t0 = 378 ms, measured p99.9 400 ms + 5 ms = 405 ms: does not fit, 27 ms are missing"
        );
    }
}
