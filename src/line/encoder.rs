//! The encoder: where the belt is, how fast it goes, and whether the count can be believed.
//!
//! Everything is reckoned from the stamps of the counts, so that a late telling changes nothing.

use super::Alarm;
use super::travel::EncoderTravel;
use crate::part::{Duration, LineTime};
use std::collections::VecDeque;

/// Counts kept to look back on: half a second at 4000 counts/s. Triggers are told within it.
const SAMPLES: usize = 2048;
/// Time over which the speed is smoothed.
const SMOOTHING_S: f64 = 0.02;
/// A step this large is no travel: the reach of a 32-bit counter (line-io 1.3, rollover).
const STEP_MAX: u64 = 1 << 30;
/// Between two counts this far apart in time the belt stood.
const MOTION_GAP: Duration = Duration::from_millis(100);

/// The encoder as far as it was told.
#[derive(Debug)]
pub(super) struct Encoder {
    /// What it is judged by; `None` in delay mode, where it is shown and nothing else.
    limits: Option<EncoderTravel>,
    samples: VecDeque<(LineTime, i64)>,
    told: bool,
    count: i64,
    stamp: LineTime,
    /// Highest count since the parts are known.
    furthest: i64,
    /// Counts per second, smoothed.
    speed: f64,
    /// Time in which the belt has moved.
    motion: Duration,
    counted_since_trigger: bool,
    /// Counts of the last telling.
    step: u64,
    /// The belt is said to run, and since then the count has stayed within one of this.
    still: Option<(LineTime, i64)>,
}

impl Encoder {
    pub fn new(limits: Option<EncoderTravel>) -> Self {
        let mut samples = VecDeque::with_capacity(SAMPLES);
        samples.push_back((LineTime::ZERO, 0));
        Self {
            limits,
            samples,
            told: false,
            count: 0,
            stamp: LineTime::ZERO,
            furthest: 0,
            speed: 0.0,
            motion: Duration::ZERO,
            counted_since_trigger: true,
            step: 0,
            still: None,
        }
    }

    /// Net count as last told.
    pub fn count(&self) -> i64 {
        self.count
    }

    /// Stands where it has been before: the belt went back.
    pub fn is_behind(&self) -> bool {
        self.count < self.furthest
    }

    pub fn furthest(&self) -> i64 {
        self.furthest
    }

    pub fn motion(&self) -> Duration {
        self.motion
    }

    /// No count was ever told.
    pub fn is_new(&self) -> bool {
        !self.told
    }

    /// The counter begins at `count`: no travel.
    pub fn begin(&mut self, count: i64) {
        self.samples.clear();
        self.samples.push_back((LineTime::ZERO, count));
        (self.count, self.furthest, self.told) = (count, count, true);
        self.still = self.still.map(|(since, _)| (since, count));
    }

    /// One more count with its stamp; the alarm it raises.
    pub fn tell(&mut self, count: i64, stamp: LineTime) -> Option<Alarm> {
        let step = count.saturating_sub(self.count);
        let time = stamp.since(self.stamp);
        self.told = true;
        (self.count, self.stamp) = (count, self.stamp.max(stamp));
        self.step = step.unsigned_abs();
        self.remember();
        if step.unsigned_abs() >= STEP_MAX {
            (self.furthest, self.speed) = (count, 0.0);
            return self.limits.map(|_| Alarm::Encoder);
        }
        self.furthest = self.furthest.max(count);
        let counts = self.speed * SMOOTHING_S + step as f64;
        self.speed = counts / (SMOOTHING_S + time.as_secs_f64());
        if step != 0 {
            self.motion = self.motion.saturating_add(time.min(MOTION_GAP));
            self.counted_since_trigger = true;
        }
        if self.still.is_some_and(|(_, still)| count.abs_diff(still) > 1) {
            self.still = Some((self.stamp, count));
        }
        self.limits.and_then(|limits| self.judge(&limits))
    }

    fn remember(&mut self) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((self.stamp, self.count));
    }

    fn judge(&self, limits: &EncoderTravel) -> Option<Alarm> {
        let fastest = f64::from(limits.speed_max_counts_per_s) + 1.0 / SMOOTHING_S;
        if self.speed.abs() > fastest {
            return Some(Alarm::Encoder);
        }
        let back = self.furthest.abs_diff(self.count);
        (back > u64::from(limits.reverse_max_counts)).then_some(Alarm::TrackingLost)
    }

    /// The count at `time`; `None` when that is too long ago to be known.
    pub fn count_at(&self, time: LineTime) -> Option<i64> {
        let known = self.samples.iter().rev().find(|sample| sample.0 <= time);
        known.map(|sample| sample.1)
    }

    /// How far the belt may be beyond the last count, not told yet: nearly one step more.
    pub fn untold(&self, now: LineTime) -> i64 {
        let step = i64::try_from(self.step).unwrap_or(i64::MAX);
        if self.stamp < now { step } else { 0 }
    }

    /// Since when the count has been at `place` or beyond.
    pub fn beyond_since(&self, place: i64) -> LineTime {
        let beyond = self.samples.iter().rev().take_while(|sample| sample.1 >= place);
        beyond.last().map_or(self.stamp, |sample| sample.0)
    }

    /// Counts that pass in `time` at the present speed, rounded up.
    pub fn counts_in(&self, time: Duration) -> i64 {
        let Some(limits) = &self.limits else { return 0 };
        let speed = self.speed.clamp(0.0, f64::from(limits.speed_max_counts_per_s));
        (speed * time.as_secs_f64()).ceil() as i64
    }

    /// Counts per second at `now`: a count that has been missing for long shows in it.
    pub fn speed_at(&self, now: LineTime) -> f64 {
        let silent = now.since(self.stamp).as_secs_f64();
        let most = 1.0 / silent.max(1e-9);
        if silent * self.speed.abs() > 2.0 { most.copysign(self.speed) } else { self.speed }
    }

    /// A part was triggered while the belt is said to run, or nobody says: true when no count
    /// came since the part before.
    pub fn is_dead_at_trigger(&mut self, may_run: bool) -> bool {
        let dead = !self.counted_since_trigger && may_run && self.limits.is_some();
        self.counted_since_trigger = false;
        dead
    }

    /// Whether the belt is said to run; `None` when nobody says.
    pub fn follow(&mut self, runs: Option<bool>, now: LineTime) {
        let watched = runs == Some(true) && self.limits.is_some();
        self.still = watched.then(|| self.still.unwrap_or((now, self.count)));
    }

    /// True once per stall time in which the belt was said to run and the count stood.
    pub fn is_stuck(&mut self, now: LineTime) -> bool {
        let stuck = self.due().is_some_and(|due| due <= now);
        if stuck {
            self.still = Some((now, self.count));
        }
        stuck
    }

    /// When it will be stuck without a count.
    pub fn due(&self) -> Option<LineTime> {
        let limits = self.limits?;
        self.still.map(|(since, _)| since + limits.stall_time)
    }

    /// The parts before this moment fall under the purge.
    pub fn forget(&mut self, now: LineTime) {
        self.furthest = self.count;
        self.counted_since_trigger = true;
        self.still = self.still.map(|_| (now, self.count));
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.samples.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder() -> Encoder {
        Encoder::new(Some(EncoderTravel::new(1000, 100, 2000)))
    }

    /// One count every `micros`, from where it stands.
    fn run(encoder: &mut Encoder, counts: i64, micros: u64) -> Option<Alarm> {
        let mut alarm = None;
        for _ in 0..counts.abs() {
            let stamp = encoder.stamp + Duration::from_micros(micros);
            let count = encoder.count() + counts.signum();
            alarm = alarm.or(encoder.tell(count, stamp));
        }
        alarm
    }

    #[test]
    fn the_speed_is_that_of_the_belt_and_never_leads_backwards() {
        let mut encoder = encoder();
        assert_eq!(run(&mut encoder, 400, 1000), None);
        assert!((encoder.speed_at(encoder.stamp) - 1000.0).abs() < 1.0);
        assert_eq!(encoder.counts_in(Duration::from_millis(17)), 17);
        assert_eq!(run(&mut encoder, -400, 1000), None);
        assert!((encoder.speed_at(encoder.stamp) + 1000.0).abs() < 1.0);
        assert_eq!(encoder.counts_in(Duration::from_millis(17)), 0);
        let later = encoder.stamp + Duration::from_secs(2);
        assert!((encoder.speed_at(later) + 0.5).abs() < 1e-6);
    }

    #[test]
    fn what_no_belt_does_raises_the_alarm() {
        assert_eq!(run(&mut encoder(), 400, 500), None, "the largest speed");
        assert_eq!(run(&mut encoder(), 400, 450), Some(Alarm::Encoder));
        let mut encoder = encoder();
        assert_eq!(encoder.tell(1 << 30, LineTime::from_millis(1)), Some(Alarm::Encoder));
        assert_eq!(run(&mut encoder, -500, 1000), None);
        assert_eq!(run(&mut encoder, -1, 1000), Some(Alarm::TrackingLost), "reverse_max is 500");
        assert_eq!(Encoder::new(None).tell(1 << 40, LineTime::ZERO), None, "delay mode");
    }

    #[test]
    fn a_count_that_stands_while_the_belt_runs_is_stuck() {
        let ms = LineTime::from_millis;
        let mut encoder = encoder();
        encoder.follow(None, ms(0));
        assert_eq!(encoder.due(), None);
        encoder.follow(Some(true), ms(100));
        encoder.tell(1, ms(150)); // one count is none: a broken channel shakes so
        encoder.tell(0, ms(160));
        assert!(!encoder.is_stuck(ms(299)));
        assert!(encoder.is_stuck(ms(300)) && !encoder.is_stuck(ms(301)));
        encoder.tell(2, ms(310));
        assert_eq!(encoder.due(), Some(ms(510)));
        encoder.follow(Some(false), ms(400));
        assert!(!encoder.is_stuck(ms(1000)));
    }

    #[test]
    fn the_count_at_a_trigger_told_late_is_the_one_of_then() {
        let mut encoder = encoder();
        for count in 1..=3000_i64 {
            encoder.tell(count, LineTime::from_millis(count.unsigned_abs()));
        }
        assert_eq!(encoder.count_at(LineTime::from_millis(2500)), Some(2500));
        assert_eq!(encoder.count_at(LineTime::from_millis(9000)), Some(3000));
        assert_eq!(encoder.count_at(LineTime::from_millis(900)), None);
        assert_eq!(encoder.beyond_since(2999), LineTime::from_millis(2999));
        assert_eq!(encoder.capacity(), SAMPLES);
    }
}
