//! R6: after a start or a cleared fault the parts between trigger and ejector are unknown. One
//! synthetic reject window covers them for one transit.

use super::settings::RunSignal;
use crate::part::{Duration, LineTime};

/// The synthetic reject window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Purge {
    /// Every part between trigger and ejector is known.
    Over,
    /// Rejects; with no signal that the belt runs, the transit is counted from the first trigger.
    AwaitsTrigger {
        /// When it began.
        begun: LineTime,
    },
    /// Rejects until the belt has run for `remaining` more.
    Counts {
        /// Running time left at `since`.
        remaining: Duration,
        /// Runs since; `None` while the belt stands.
        since: Option<LineTime>,
    },
}

impl Purge {
    /// Begins at `now`; call [`Purge::follow`] afterwards with the belt's state.
    pub fn begin(signal: RunSignal, transit: Duration, now: LineTime) -> Self {
        match signal {
            RunSignal::AlwaysRuns => Self::AwaitsTrigger { begun: now },
            RunSignal::RunLine | RunSignal::BeltRun => {
                Self::Counts { remaining: transit, since: None }
            }
        }
    }

    /// A part was triggered. AwaitsTrigger -> Counts.
    pub fn trigger(&mut self, transit: Duration, triggered: LineTime) {
        if let Self::AwaitsTrigger { begun } = *self {
            *self = Self::Counts { remaining: transit, since: Some(triggered.max(begun)) };
        }
    }

    /// Counts up to `now`, then with the belt as it is now. Counts -> Over.
    pub fn follow(&mut self, belt_runs: bool, now: LineTime) {
        if let Self::Counts { remaining, since } = *self {
            let passed = since.map_or(Duration::ZERO, |since| now.since(since));
            *self = match remaining.checked_sub(passed) {
                Some(left) if !left.is_zero() => {
                    Self::Counts { remaining: left, since: belt_runs.then_some(now) }
                }
                _ => Self::Over,
            };
        }
    }

    /// When it will be over, as far as known.
    pub fn due(&self) -> Option<LineTime> {
        match *self {
            Self::Counts { remaining, since: Some(since) } => Some(since + remaining),
            _ => None,
        }
    }

    /// Whether the gate must reject for it.
    pub fn is_active(&self) -> bool {
        *self != Self::Over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSIT: Duration = Duration::from_millis(100);
    const fn at(millis: u64) -> LineTime {
        LineTime::from_millis(millis)
    }

    #[test]
    fn counts_only_time_in_which_the_belt_runs() {
        let mut purge = Purge::begin(RunSignal::RunLine, TRANSIT, at(0));
        purge.follow(false, at(50));
        assert_eq!(purge.due(), None);
        purge.follow(true, at(200));
        assert_eq!(purge.due(), Some(at(300)));
        purge.follow(false, at(260));
        purge.follow(true, at(1000));
        purge.trigger(TRANSIT, at(1010));
        assert_eq!(purge.due(), Some(at(1040)));
        purge.follow(true, at(1039));
        assert!(purge.is_active());
        purge.follow(true, at(1040));
        assert_eq!(purge, Purge::Over);
    }

    #[test]
    fn without_a_run_signal_it_lasts_one_transit_from_the_first_trigger() {
        let mut purge = Purge::begin(RunSignal::AlwaysRuns, TRANSIT, at(10));
        purge.follow(true, at(5000));
        assert!(purge.is_active());
        purge.trigger(TRANSIT, at(5001));
        purge.trigger(TRANSIT, at(5050));
        assert_eq!(purge.due(), Some(at(5101)));
        let mut purge = Purge::begin(RunSignal::AlwaysRuns, TRANSIT, at(10));
        purge.trigger(TRANSIT, at(5)); // told late: counted from the begin, not before
        assert_eq!(purge.due(), Some(at(110)));
    }
}
