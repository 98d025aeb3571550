//! The barrier in the reject chute: every reject must be seen there, and nothing else (line-io
//! 1.8, alarms 5 to 7). A merged reject window is one reject.
//!
//! Waiting is reckoned in the belt's motion: on a belt that stands nothing falls into the chute.

use crate::part::{Duration, LineTime};
use std::collections::VecDeque;

/// Motion after which a reject must have been seen, and until which one may be.
const PATIENCE: Duration = Duration::from_millis(500);
/// Covered for so long is a full bin or a jam.
const STUCK_AFTER: Duration = Duration::from_secs(4);
/// Edges closer to an accepted one are bounce.
const LOCKOUT: Duration = Duration::from_millis(10);
/// Edges nobody expected that raise the alarm.
const UNEXPECTED: u32 = 3;
/// Rejects waited for at a time; more cannot fall within [`PATIENCE`].
const WAITING: usize = 256;

/// What an edge of the barrier means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Bounce, or one more part of a reject already seen.
    Nothing,
    /// The oldest reject waited for.
    Confirmed,
    /// So many parts that nobody rejected that it is an alarm.
    Unexpected,
}

/// The rejects waited for, and the barrier's level.
#[derive(Debug)]
pub(super) struct Confirm {
    /// Motion at which each is missing; `None` while its window is open. Oldest first.
    waiting: VecDeque<Option<Duration>>,
    /// Motion until which edges are nobody's fault.
    expected_until: Duration,
    covered_since: Option<LineTime>,
    last_edge: Option<LineTime>,
    unexpected: u32,
}

impl Confirm {
    pub fn new() -> Self {
        Self {
            waiting: VecDeque::with_capacity(WAITING),
            expected_until: Duration::ZERO,
            covered_since: None,
            last_edge: None,
            unexpected: 0,
        }
    }

    /// A merged reject window has begun to fire. True when there is no room to wait for it.
    pub fn fired(&mut self) -> bool {
        let full = self.waiting.len() == WAITING;
        if full {
            self.waiting.pop_front();
        }
        self.waiting.push_back(None);
        full
    }

    /// The merged reject window is over.
    pub fn closed(&mut self, motion: Duration) {
        if let Some(newest @ None) = self.waiting.back_mut() {
            *newest = Some(motion + PATIENCE);
        }
    }

    /// Parts fall into the chute now, by a window, purge or Fault.
    pub fn expect(&mut self, motion: Duration) {
        self.expected_until = motion + PATIENCE;
    }

    /// Fault, purge or Inhibited: nothing is waited for.
    pub fn forget(&mut self) {
        self.waiting.clear();
    }

    /// CLEAR_FAULT: what nobody expected counts from 0.
    pub fn restart(&mut self) {
        self.unexpected = 0;
    }

    /// The barrier is covered, or free again.
    pub fn level(&mut self, covered: bool, now: LineTime, motion: Duration) -> Seen {
        let rises = covered && self.covered_since.is_none();
        self.covered_since = covered.then(|| self.covered_since.unwrap_or(now));
        if !rises || self.last_edge.is_some_and(|last| now < last + LOCKOUT) {
            return Seen::Nothing;
        }
        self.last_edge = Some(now);
        if self.waiting.pop_front().is_some() {
            return Seen::Confirmed;
        }
        if motion < self.expected_until {
            return Seen::Nothing;
        }
        self.unexpected += 1;
        if self.unexpected < UNEXPECTED {
            return Seen::Nothing;
        }
        self.unexpected = 0;
        Seen::Unexpected
    }

    /// Takes one reject that should have been seen by now; true when there is one.
    pub fn take_missing(&mut self, motion: Duration) -> bool {
        let missing = matches!(self.waiting.front(), Some(Some(until)) if *until <= motion);
        if missing {
            self.waiting.pop_front();
        }
        missing
    }

    /// Motion at which the oldest will be missing.
    pub fn due_motion(&self) -> Option<Duration> {
        self.waiting.front().copied().flatten()
    }

    /// Bin full or jam.
    pub fn is_stuck(&self, now: LineTime) -> bool {
        self.stuck_due().is_some_and(|due| due <= now)
    }

    /// When it will be stuck.
    pub fn stuck_due(&self) -> Option<LineTime> {
        self.covered_since.map(|since| since + STUCK_AFTER)
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.waiting.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }
    const fn at(millis: u64) -> LineTime {
        LineTime::from_millis(millis)
    }

    #[test]
    fn one_edge_confirms_the_oldest_reject_and_silence_is_missing() {
        let mut confirm = Confirm::new();
        assert!(!confirm.fired());
        confirm.closed(ms(100));
        assert!(!confirm.fired());
        assert_eq!(confirm.level(true, at(150), ms(150)), Seen::Confirmed);
        assert_eq!(confirm.due_motion(), None, "the other is still open");
        confirm.closed(ms(300));
        assert!(!confirm.take_missing(ms(799)));
        assert!(confirm.take_missing(ms(800)) && !confirm.take_missing(ms(800)));
    }

    #[test]
    fn edges_that_nobody_expects_are_counted_and_bounce_is_not() {
        let mut confirm = Confirm::new();
        confirm.expect(ms(1000));
        let mut seen = Vec::new();
        for time in [1499, 1500, 1505, 1520, 1540] {
            seen.push(confirm.level(true, at(time), ms(time)));
            assert_eq!(confirm.level(false, at(time + 2), ms(time + 2)), Seen::Nothing);
        }
        use Seen::{Nothing, Unexpected};
        // 1499 is expected still; 1500 and 1505 are its bounce.
        assert_eq!(seen, [Nothing, Nothing, Nothing, Nothing, Nothing]);
        assert_eq!(confirm.level(true, at(1600), ms(1600)), Unexpected);
    }

    #[test]
    fn covered_for_four_seconds_is_stuck() {
        let mut confirm = Confirm::new();
        confirm.level(true, at(1000), ms(0));
        confirm.level(true, at(2000), ms(0));
        assert!(!confirm.is_stuck(at(4999)) && confirm.is_stuck(at(5000)));
        confirm.level(false, at(6000), ms(0));
        assert_eq!(confirm.stuck_due(), None);
    }
}
