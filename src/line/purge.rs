//! R6: after a start or a cleared fault the parts between trigger and ejector are unknown. One
//! synthetic reject window covers them for one transit.

use super::settings::{LineSettings, RunSignal};
use super::tracker::Place;
use super::travel::Travel;
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
    /// Rejects until the belt, net forward, has come here (distance mode).
    Travels {
        /// The first place of which every part is known.
        until: Place,
    },
}

impl Purge {
    /// Begins at `now` and `here`; call [`Purge::follow`] afterwards with the belt's state.
    pub fn begin(settings: &LineSettings, now: LineTime, here: Place) -> Self {
        match (&settings.travel, settings.run_signal) {
            (Travel::Distance(way), _) => {
                let transit = i64::from(way.distance_counts) + i64::from(way.length_counts);
                Self::Travels { until: here.ahead(transit) }
            }
            (Travel::Delay { .. }, RunSignal::AlwaysRuns) => Self::AwaitsTrigger { begun: now },
            (Travel::Delay { delay, .. }, RunSignal::RunLine | RunSignal::BeltRun) => {
                Self::Counts { remaining: transit(settings, *delay), since: None }
            }
        }
    }

    /// A part was triggered. AwaitsTrigger -> Counts.
    pub fn trigger(&mut self, settings: &LineSettings, triggered: LineTime) {
        if let (Self::AwaitsTrigger { begun }, Travel::Delay { delay, .. }) =
            (*self, &settings.travel)
        {
            let remaining = transit(settings, *delay);
            *self = Self::Counts { remaining, since: Some(triggered.max(begun)) };
        }
    }

    /// The belt has come `here`. Travels -> Over.
    pub fn travel(&mut self, here: Place) {
        if matches!(*self, Self::Travels { until } if until <= here) {
            *self = Self::Over;
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

/// How long an unknown part can be between trigger and ejector.
fn transit(settings: &LineSettings, delay: Duration) -> Duration {
    let margins = settings.jitter.saturating_mul(2);
    let window = settings.actuation_time.saturating_add(settings.pulse).saturating_add(margins);
    delay.saturating_add(window)
}

#[cfg(test)]
mod tests {
    use super::super::settings::Wiring;
    use super::super::travel::EncoderTravel;
    use super::*;

    /// A transit of 100 ms.
    fn settings(run_signal: RunSignal) -> LineSettings {
        let delay = Duration::from_millis(31);
        let settings = LineSettings::with_delay(Wiring::EnergiseToPass, delay);
        LineSettings { run_signal, ..settings }
    }
    const HERE: Place = Place::of_count(0);
    const fn at(millis: u64) -> LineTime {
        LineTime::from_millis(millis)
    }

    #[test]
    fn counts_only_time_in_which_the_belt_runs() {
        let settings = settings(RunSignal::RunLine);
        let mut purge = Purge::begin(&settings, at(0), HERE);
        purge.follow(false, at(50));
        assert_eq!(purge.due(), None);
        purge.follow(true, at(200));
        assert_eq!(purge.due(), Some(at(300)));
        purge.follow(false, at(260));
        purge.follow(true, at(1000));
        purge.trigger(&settings, at(1010));
        assert_eq!(purge.due(), Some(at(1040)));
        purge.follow(true, at(1039));
        assert!(purge.is_active());
        purge.follow(true, at(1040));
        assert_eq!(purge, Purge::Over);
    }

    #[test]
    fn without_a_run_signal_it_lasts_one_transit_from_the_first_trigger() {
        let settings = settings(RunSignal::AlwaysRuns);
        let mut purge = Purge::begin(&settings, at(10), HERE);
        purge.follow(true, at(5000));
        assert!(purge.is_active());
        purge.trigger(&settings, at(5001));
        purge.trigger(&settings, at(5050));
        assert_eq!(purge.due(), Some(at(5101)));
        let mut purge = Purge::begin(&settings, at(10), HERE);
        purge.trigger(&settings, at(5)); // told late: counted from the begin, not before
        assert_eq!(purge.due(), Some(at(110)));
    }

    #[test]
    fn with_an_encoder_it_lasts_one_way_net_forward() {
        let way = EncoderTravel::new(1000, 100, 2000);
        let settings = LineSettings::with_distance(Wiring::EnergiseToPass, way);
        let mut purge = Purge::begin(&settings, at(0), Place::of_count(-50));
        purge.follow(true, at(5000));
        purge.trigger(&settings, at(5001));
        purge.travel(Place::of_count(1049));
        purge.travel(Place::of_count(900));
        assert!(purge.is_active() && purge.due().is_none());
        purge.travel(Place::of_count(1050));
        assert_eq!(purge, Purge::Over);
    }
}
