//! How a part is followed from trigger to ejector, and what must be true for it to be possible.

use super::settings::{LONGEST, LineSettings, RunSignal, Wiring};
use crate::part::Duration;

/// No length of the settings may be longer, in counts: beyond it is a slip of the pen.
const MOST_COUNTS: u32 = 100_000_000;

/// How a part is followed to the ejector (line-io 1.3): delay or distance mode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Travel {
    /// By time, at the fixed speed of the belt.
    Delay {
        /// From the trigger until the part is before the ejector.
        delay: Duration,
        /// Parts come no closer than this, if known: no window may be longer.
        part_spacing: Option<Duration>,
    },
    /// By the counts of an encoder on the belt.
    Distance(EncoderTravel),
}

/// The way from trigger to ejector in counts of the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderTravel {
    /// From the sensor to the ejector.
    pub distance_counts: u32,
    /// How long the ejector must treat a part: its length along the belt.
    pub length_counts: u32,
    /// No belt runs faster; a faster count is a broken encoder.
    pub speed_max_counts_per_s: u32,
    /// The belt may be this far behind where it was before, and the parts are still known.
    pub reverse_max_counts: u32,
    /// A count that does not move for so long while the belt is said to run is stuck.
    pub stall_time: Duration,
    /// Parts come no closer than this, if known: no window may be longer.
    pub part_spacing_counts: Option<u32>,
}

impl EncoderTravel {
    /// The defaults of the contract around what only the site knows.
    pub fn new(distance_counts: u32, length_counts: u32, speed_max_counts_per_s: u32) -> Self {
        Self {
            distance_counts,
            length_counts,
            speed_max_counts_per_s,
            reverse_max_counts: distance_counts / 2,
            stall_time: Duration::from_millis(200),
            part_spacing_counts: None,
        }
    }

    /// Counts that pass in `time` at the largest speed, rounded up.
    pub fn counts_in(&self, time: Duration) -> i64 {
        let counts = time.as_nanos().saturating_mul(u128::from(self.speed_max_counts_per_s));
        i64::try_from(counts.div_ceil(1_000_000_000)).unwrap_or(i64::MAX)
    }

    /// Time that `counts` take at the largest speed, rounded down.
    pub(super) fn time_for(&self, counts: i64) -> Duration {
        let nanos = u128::from(counts.max(0).unsigned_abs()) * 1_000_000_000;
        let nanos = nanos / u128::from(self.speed_max_counts_per_s.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl LineSettings {
    /// From gate edge to effect at its latest.
    pub(super) fn lead(&self) -> Duration {
        self.actuation_time.saturating_add(self.jitter)
    }

    /// From trigger to deadline: what camera, engine and judge may take together (D - t0); in
    /// distance mode at the largest speed.
    pub fn decision_time(&self) -> Duration {
        let ahead = self.lead().saturating_add(self.guard);
        let time = match &self.travel {
            Travel::Delay { delay, .. } => delay.saturating_sub(ahead),
            Travel::Distance(way) => {
                way.time_for(i64::from(way.distance_counts).saturating_sub(way.counts_in(ahead)))
            }
        };
        time.min(self.decide_max)
    }

    /// Whether verdicts that take `measured` (99.9th percentile) come in time; if not, the line
    /// does not become ready (line-io 1.3).
    pub fn verdicts_fit(&self, measured: Duration) -> bool {
        self.decision_time() >= measured.saturating_add(Duration::from_millis(5))
    }

    /// Follows parts by time with the time to decide that they have now and `slack` more for the
    /// edges: for trials without belt, wires and PLC.
    pub fn follow_by_time(&mut self, slack: Duration) {
        let ahead = self.lead().saturating_add(self.guard);
        let delay = match self.travel {
            Travel::Delay { delay, .. } => delay,
            Travel::Distance(_) => self.decision_time().saturating_add(ahead),
        };
        self.jitter = self.jitter.saturating_add(slack);
        self.travel = Travel::Delay { delay: delay.saturating_add(slack), part_spacing: None };
        self.run_signal = RunSignal::AlwaysRuns;
        (self.air_ok_wired, self.confirm_wired) = (false, false);
    }

    /// What makes following a part impossible, with the arithmetic.
    pub(super) fn check_travel(&self, demand: &mut impl FnMut(bool, &dyn Fn() -> String)) {
        match &self.travel {
            Travel::Delay { delay, part_spacing } => {
                self.check_delay(*delay, *part_spacing, demand);
            }
            Travel::Distance(way) => self.check_distance(way, demand),
        }
    }

    fn check_delay(
        &self,
        delay: Duration,
        part_spacing: Option<Duration>,
        demand: &mut impl FnMut(bool, &dyn Fn() -> String),
    ) {
        let (actuation, jitter, guard) = (ms(self.actuation_time), ms(self.jitter), ms(self.guard));
        let pulse = ms(self.pulse);
        let ahead = self.lead().saturating_add(self.guard);
        demand(delay <= LONGEST, &|| {
            format!("the delay is {} ms, more than an hour: check its unit", ms(delay))
        });
        demand(delay > ahead, &|| {
            format!(
                "no time to decide: actuation {actuation} + jitter {jitter} + guard {guard} = {} \
                 ms, but the part is at the ejector {} ms after its trigger; move the camera \
                 upstream or slow the belt",
                ms(ahead),
                ms(delay)
            )
        });
        let window = self.lead().saturating_add(self.pulse).saturating_add(self.jitter);
        demand(part_spacing.is_none_or(|spacing| window <= spacing), &|| {
            format!(
                "window = actuation {actuation} + pulse {pulse} + 2 x jitter {jitter} = {} ms, but \
                 parts come every {} ms: a reject takes its neighbours along; space the parts, \
                 shorten the pulse or use a faster valve",
                ms(window),
                ms(part_spacing.unwrap_or_default())
            )
        });
    }

    fn check_distance(
        &self,
        way: &EncoderTravel,
        demand: &mut impl FnMut(bool, &dyn Fn() -> String),
    ) {
        let speed = way.speed_max_counts_per_s;
        let (distance, length) = (way.distance_counts, way.length_counts);
        let (actuation, jitter, guard) = (ms(self.actuation_time), ms(self.jitter), ms(self.guard));
        let counts = [distance, length, speed, way.reverse_max_counts];
        demand(counts.iter().all(|count| *count <= MOST_COUNTS), &|| {
            format!("a length of {} counts is beyond reason: check its unit", counts_max(&counts))
        });
        demand(speed > 0 && length > 0, &|| {
            format!(
                "the part is {length} counts long and the belt does {speed} counts/s: give both"
            )
        });
        let ahead = way.counts_in(self.lead().saturating_add(self.guard));
        demand(i64::from(distance) > ahead, &|| {
            format!(
                "no time to decide: (actuation {actuation} + jitter {jitter} + guard {guard} ms) x \
                 {speed} counts/s = {ahead} counts, but the ejector is {distance} counts behind \
                 the sensor; move the camera upstream or slow the belt"
            )
        });
        let lead = way.counts_in(self.lead());
        let window = lead.saturating_add(i64::from(length));
        let spacing = way.part_spacing_counts;
        demand(spacing.is_none_or(|spacing| window <= i64::from(spacing)), &|| {
            format!(
                "window = length {length} + (actuation {actuation} + jitter {jitter} ms) x {speed} \
                 counts/s = {window} counts, but parts come every {} counts: a reject takes its \
                 neighbours along; space the parts or use a faster valve",
                spacing.unwrap_or_default()
            )
        });
        let pulse = way.counts_in(self.pulse);
        let opens = self.wiring == Wiring::EnergiseToReject || i64::from(length) >= pulse;
        demand(opens, &|| {
            format!(
                "the gate could never open for a part: pulse {} ms x {speed} counts/s = {pulse} \
                 counts, but a part is {length} counts long; shorten the pulse or slow the belt",
                ms(self.pulse)
            )
        });
        demand(!way.stall_time.is_zero() && way.stall_time <= LONGEST, &|| {
            format!("the encoder's stall time is {} ms: write about 200 ms", ms(way.stall_time))
        });
    }
}

fn counts_max(counts: &[u32]) -> u32 {
    counts.iter().copied().max().unwrap_or_default()
}

/// Milliseconds, for people.
pub(super) fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_largest_speed_turns_times_into_counts() {
        let way = EncoderTravel::new(1000, 120, 2000);
        assert_eq!(way.counts_in(millis(22)), 44);
        assert_eq!(way.counts_in(Duration::from_nanos(1)), 1);
        assert_eq!(way.time_for(956), millis(478));
        let settings = LineSettings::with_distance(Wiring::EnergiseToPass, way);
        assert_eq!(settings.check(), [] as [String; 0]);
        assert_eq!(settings.decision_time(), millis(478));
        assert!(settings.verdicts_fit(millis(473)) && !settings.verdicts_fit(millis(474)));
    }

    #[test]
    fn a_window_longer_than_the_spacing_is_refused_with_the_arithmetic() {
        let mut settings = LineSettings::with_delay(Wiring::EnergiseToReject, millis(300));
        settings.travel = Travel::Delay { delay: millis(300), part_spacing: Some(millis(50)) };
        let said = settings.check().join("");
        let sum =
            "window = actuation 15 + pulse 50 + 2 x jitter 2 = 69 ms, but parts come every 50 ms";
        assert!(said.contains(sum), "{said}");
        settings.travel = Travel::Delay { delay: millis(300), part_spacing: Some(millis(69)) };
        assert_eq!(settings.check(), [] as [String; 0]);

        let way =
            EncoderTravel { part_spacing_counts: Some(130), ..EncoderTravel::new(1000, 100, 2000) };
        let settings = LineSettings::with_distance(Wiring::EnergiseToReject, way);
        let said = settings.check().join("");
        let sum = "length 100 + (actuation 15 + jitter 2 ms) x 2000 counts/s = 134 counts, but parts \
                   come every 130 counts";
        assert!(said.contains(sum), "{said}");
    }

    #[test]
    fn impossible_distances_are_said_with_numbers() {
        let way = EncoderTravel::new(44, 99, 2000);
        let said = LineSettings::with_distance(Wiring::EnergiseToPass, way).check();
        assert_eq!(said.len(), 2, "{said:#?}");
        assert!(said[0].contains("= 44 counts, but the ejector is 44 counts behind"), "{said:#?}");
        assert!(said[1].contains("pulse 50 ms x 2000 counts/s = 100 counts"), "{said:#?}");
        let way = EncoderTravel { stall_time: Duration::ZERO, ..EncoderTravel::new(900, 0, 0) };
        assert_eq!(LineSettings::with_distance(Wiring::EnergiseToPass, way).check().len(), 2);
    }

    #[test]
    fn a_trial_without_belt_keeps_its_time_to_decide() {
        let way = EncoderTravel::new(1000, 120, 2000);
        let mut settings = LineSettings::with_distance(Wiring::EnergiseToPass, way);
        let before = settings.decision_time();
        settings.follow_by_time(millis(500));
        assert_eq!((settings.decision_time(), settings.jitter), (before, millis(502)));
        assert_eq!(settings.check(), [] as [String; 0]);
    }
}
