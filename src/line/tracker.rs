//! Where parts are: the window and deadline of a part, where the belt is and whether it runs.
//!
//! Both modes of line-io 1.3 follow a part by a number that grows on its way to the ejector, the
//! [`Place`]: in delay mode the time itself, in distance mode the encoder's count. What is decided
//! by places is the same in both.

use super::encoder::Encoder;
use super::plc::Plc;
use super::settings::{LineSettings, RunSignal};
use super::travel::Travel;
use crate::part::{Duration, LineTime};

/// A reject window may have been missed when the belt stops so shortly after its close.
const STOP_DOUBT: Duration = Duration::from_millis(100);

/// Nanoseconds on the clock (delay mode) or counts of the encoder (distance mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(i64);

impl Place {
    /// Never reached.
    pub const END: Self = Self(i64::MAX);

    pub fn of_time(time: LineTime) -> Self {
        Self(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
    }

    pub const fn of_count(count: i64) -> Self {
        Self(count)
    }

    /// The place `way` further; back where it is negative.
    pub const fn ahead(self, way: i64) -> Self {
        Self(self.0.saturating_add(way))
    }

    /// The way from `other` to here.
    pub const fn beyond(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }

    fn as_time(self) -> LineTime {
        LineTime::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

/// Where the ejector must treat a part, and until where and when a pass counts (line-io 1.3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    /// First place of the window.
    pub open: Place,
    /// Where it can open at the largest speed.
    pub earliest: Place,
    /// First place after it.
    pub close: Place,
    /// First place too late for a pass.
    pub deadline: Place,
    /// First moment too late for a pass, wherever the part is.
    pub latest: LineTime,
    /// Where the part's front is at the ejector.
    arrival: Place,
}

impl Window {
    /// Whether the ejector must treat the part at `here`.
    pub fn covers(&self, here: Place) -> bool {
        self.open <= here && here < self.close
    }

    /// Whether a pass comes too late.
    pub fn is_overdue(&self, here: Place, now: LineTime) -> bool {
        self.deadline <= here || self.latest <= now
    }

    /// Whether some place from `from` to before `to` (at least `from` itself) lies in it.
    pub fn meets(&self, from: Place, to: Place) -> bool {
        self.open < to.max(from.ahead(1)) && from < self.close
    }

    /// Opens `lead` before the part arrives; one that has `opened` only moves earlier.
    pub fn aim(&mut self, lead: i64, opened: bool) {
        let open = self.arrival.ahead(-lead);
        self.open = if opened { open.min(self.open) } else { open };
    }
}

/// Belt and encoder.
#[derive(Debug)]
pub(super) struct Tracker {
    signal: RunSignal,
    stop_doubt: Duration,
    by_distance: bool,
    pub encoder: Encoder,
    /// Level of input `run`.
    pub run_line: bool,
    /// End of the latest reject window that is over (delay mode).
    last_reject_close: Option<LineTime>,
    /// Time in which the belt ran, up to `runs_since` (delay mode).
    run_time: Duration,
    runs_since: Option<LineTime>,
}

impl Tracker {
    pub fn new(settings: &LineSettings) -> Self {
        // A PLC that vanished is noticed only after its time-out: the belt may stand since then.
        let stop_doubt = match settings.run_signal {
            RunSignal::BeltRun => settings.plc_timeout,
            RunSignal::AlwaysRuns | RunSignal::RunLine => STOP_DOUBT,
        };
        let limits = match settings.travel {
            Travel::Delay { .. } => None,
            Travel::Distance(way) => Some(way),
        };
        Self {
            signal: settings.run_signal,
            stop_doubt,
            by_distance: limits.is_some(),
            encoder: Encoder::new(limits),
            run_line: false,
            last_reject_close: None,
            run_time: Duration::ZERO,
            runs_since: None,
        }
    }

    /// Distance mode.
    pub fn is_by_distance(&self) -> bool {
        self.by_distance
    }

    /// Where the belt is at `now`.
    pub fn here(&self, now: LineTime) -> Place {
        if self.by_distance { Place::of_count(self.encoder.count()) } else { Place::of_time(now) }
    }

    /// Where the belt was furthest.
    pub fn furthest(&self, now: LineTime) -> Place {
        let count = self.encoder.furthest();
        if self.by_distance { Place::of_count(count) } else { Place::of_time(now) }
    }

    /// How far the belt may be beyond [`Tracker::here`]; nothing in delay mode.
    pub fn untold(&self, now: LineTime) -> i64 {
        if self.by_distance { self.encoder.untold(now) } else { 0 }
    }

    /// The belt went back and is where it has been before.
    pub fn is_behind(&self) -> bool {
        self.by_distance && self.encoder.is_behind()
    }

    /// When `place` is reached, where that is known beforehand.
    pub fn due(&self, place: Place) -> Option<LineTime> {
        (!self.by_distance).then(|| place.as_time())
    }

    /// Since when the belt has been at `place` or beyond.
    pub fn beyond_since(&self, place: Place) -> LineTime {
        if self.by_distance { self.encoder.beyond_since(place.0) } else { place.as_time() }
    }

    /// How far before its part a window opens, at the present speed.
    pub fn lead(&self, settings: &LineSettings) -> i64 {
        let lead = settings.lead();
        if self.by_distance { self.encoder.counts_in(lead) } else { way_of(lead) }
    }

    /// The window of a part triggered at `triggered`, when the count was `count`.
    pub fn window(&self, settings: &LineSettings, triggered: LineTime, count: i64) -> Window {
        let ahead = settings.lead().saturating_add(settings.guard);
        let (arrival, length, most_lead, to_deadline) = match &settings.travel {
            Travel::Delay { delay, .. } => {
                let treated = settings.pulse.saturating_add(settings.jitter);
                let arrival = Place::of_time(triggered).ahead(way_of(*delay));
                (arrival, way_of(treated), way_of(settings.lead()), way_of(ahead))
            }
            Travel::Distance(way) => {
                let arrival = Place::of_count(count).ahead(i64::from(way.distance_counts));
                let most_lead = way.counts_in(settings.lead());
                (arrival, i64::from(way.length_counts), most_lead, way.counts_in(ahead))
            }
        };
        Window {
            open: arrival.ahead(-self.lead(settings)),
            earliest: arrival.ahead(-most_lead),
            close: arrival.ahead(length),
            deadline: arrival.ahead(-to_deadline),
            latest: triggered + settings.decide_max,
            arrival,
        }
    }

    /// When a pass will be too late, as far as is known at `now`: at the present speed.
    pub fn deadline(&self, window: &Window, now: LineTime) -> LineTime {
        if let Some(due) = self.due(window.deadline) {
            return due.min(window.latest);
        }
        let counts = window.deadline.beyond(self.here(now));
        let speed = self.encoder.speed_at(now);
        if counts <= 0 {
            return now.min(window.latest);
        }
        if speed <= 0.0 {
            return window.latest;
        }
        let time = Duration::try_from_secs_f64(counts as f64 / speed).unwrap_or(Duration::MAX);
        (now + time.max(Duration::from_nanos(1))).min(window.latest)
    }

    /// Whether the belt runs, as far as known; unknown is "stands".
    pub fn belt_runs(&self, plc: &Plc) -> bool {
        self.said_to_run(plc).unwrap_or(true)
    }

    /// Whether the belt is said to run; `None` where nobody says.
    pub fn said_to_run(&self, plc: &Plc) -> Option<bool> {
        match self.signal {
            RunSignal::AlwaysRuns => None,
            RunSignal::RunLine => Some(self.run_line),
            RunSignal::BeltRun => Some(plc.runs_belt()),
        }
    }

    /// Follows the run signal up to `now`.
    pub fn follow(&mut self, plc: &Plc, now: LineTime) {
        let said = self.said_to_run(plc);
        self.encoder.follow(said, now);
        let ran = self.runs_since.map_or(Duration::ZERO, |since| now.since(since));
        self.run_time = self.run_time.saturating_add(ran);
        self.runs_since = said.unwrap_or(true).then_some(now);
    }

    /// Time in which the belt has moved, as of the last [`Tracker::follow`].
    pub fn motion(&self) -> Duration {
        if self.by_distance { self.encoder.motion() } else { self.run_time }
    }

    /// When the belt will have moved for `motion`, as far as known.
    pub fn motion_due(&self, motion: Duration) -> Option<LineTime> {
        let since = self.runs_since.filter(|_| !self.by_distance)?;
        Some(since + motion.saturating_sub(self.run_time))
    }

    /// A reject window is over.
    pub fn reject_closed(&mut self, close: Place) {
        self.last_reject_close = self.last_reject_close.max(self.due(close));
    }

    /// The parts before this moment fall under the purge.
    pub fn forget(&mut self, now: LineTime) {
        self.last_reject_close = None;
        self.encoder.forget(now);
    }

    /// Whether a part rejected just now may still be before the ejector if the belt stands.
    pub fn doubts_last_reject(&self, now: LineTime) -> bool {
        self.last_reject_close.is_some_and(|close| now < close + self.stop_doubt)
    }
}

/// A span of time as a way, in delay mode.
pub(super) fn way_of(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::settings::Wiring;
    use super::super::travel::EncoderTravel;
    use super::*;

    #[test]
    fn windows_are_those_of_the_contract() {
        let ms = LineTime::from_millis;
        let place = |millis| Place::of_time(ms(millis));
        let mut settings =
            LineSettings::with_delay(Wiring::EnergiseToReject, Duration::from_millis(300));
        let tracker = Tracker::new(&settings);
        let window = tracker.window(&settings, ms(1000), 77);
        assert_eq!((window.open, window.close), (place(1283), place(1352)));
        assert_eq!(tracker.deadline(&window, ms(1000)), ms(1000 + 300 - 15 - 2 - 5));
        settings.decide_max = Duration::from_millis(200);
        let window = tracker.window(&settings, ms(1000), 77);
        assert_eq!(tracker.deadline(&window, ms(1000)), ms(1200));
        let covers = |millis| window.covers(place(millis));
        assert!(covers(1283) && !covers(1352) && !covers(1282));
    }

    #[test]
    fn a_window_in_counts_opens_earlier_the_faster_the_belt() {
        let way = EncoderTravel::new(1000, 100, 2000);
        let settings = LineSettings::with_distance(Wiring::EnergiseToReject, way);
        let mut tracker = Tracker::new(&settings);
        let at = |count| Place::of_count(count);
        let mut window = tracker.window(&settings, LineTime::ZERO, 5000);
        assert_eq!((window.open, window.close, window.deadline), (at(6000), at(6100), at(5956)));
        for count in 1..=1000_i64 {
            tracker.encoder.tell(count, LineTime::from_millis(count.unsigned_abs()));
        }
        assert_eq!(tracker.lead(&settings), 17);
        window.aim(17, false);
        assert_eq!(window.open, at(5983));
        window.aim(4, true);
        assert_eq!(window.open, at(5983), "once open it only moves earlier");
        window.aim(20, true);
        window.aim(0, false);
        assert_eq!(window.open, at(6000));
        let early = tracker.window(&settings, LineTime::ZERO, 0);
        assert_eq!(
            tracker.deadline(&early, LineTime::from_millis(1000)),
            LineTime::from_millis(1000)
        );
    }
}
