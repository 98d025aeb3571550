//! Bounce of a level that counts only once it stands still (line-io 1.6: run, reset, air_ok). Pure.
//!
//! Not the kernel's debounce: that reads a line's first level before it listens to its edges, so a
//! change between the two would be unknown for good, and a belt that stopped would go on running
//! here. This one is also told the level now and then, so that no loss lasts.

use crate::part::{Duration, LineTime};

/// The level of one line behind a time of rest.
#[derive(Clone, Copy, Debug)]
pub struct SteadyLevel {
    period: Duration,
    /// As last told.
    told: bool,
    /// The line has been at the other level since then.
    since: Option<LineTime>,
}

impl SteadyLevel {
    /// A line at level 0.
    pub const fn new(period: Duration) -> Self {
        Self { period, told: false, since: None }
    }

    /// Takes a level that is told as it is.
    pub fn resynchronise(&mut self, level: bool) {
        (self.told, self.since) = (level, None);
    }

    /// The level at `time`, by an edge or by a look at it. Call [`Self::settle`] first.
    pub fn see(&mut self, level: bool, time: LineTime) {
        self.since = (level != self.told).then(|| self.since.unwrap_or(time));
    }

    /// When [`Self::settle`] has something to say.
    pub fn due(&self) -> Option<LineTime> {
        self.since.map(|since| since + self.period)
    }

    /// The level and time to be told at `now`, where the line has stood still long enough.
    pub fn settle(&mut self, now: LineTime) -> Option<(bool, LineTime)> {
        let due = self.due().filter(|due| *due <= now)?;
        self.resynchronise(!self.told);
        Some((self.told, due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PERIOD: Duration = Duration::from_millis(20);

    fn at(millis: u64) -> LineTime {
        LineTime::from_millis(millis)
    }

    #[test]
    fn a_level_is_told_once_it_stands_still_and_a_pulse_is_not() {
        let mut line = SteadyLevel::new(PERIOD);
        for (level, millis) in [(true, 100), (false, 105), (true, 110)] {
            assert_eq!(line.settle(at(millis)), None);
            line.see(level, at(millis));
        }
        assert_eq!(line.due(), Some(at(130)));
        assert_eq!(line.settle(at(129)), None);
        assert_eq!(line.settle(at(300)), Some((true, at(130))));
        assert_eq!(line.settle(at(300)), None);
        line.see(false, at(400));
        line.see(true, at(419));
        assert_eq!((line.due(), line.settle(at(500))), (None, None));
    }

    #[test]
    fn a_change_nobody_told_is_found_by_the_next_look() {
        let mut line = SteadyLevel::new(PERIOD);
        line.resynchronise(true);
        line.see(false, at(250));
        assert_eq!(line.settle(at(270)), Some((false, at(270))));
    }

    proptest! {
        /// Whatever edges are lost: after a look and the time of rest the level told is the line's.
        #[test]
        fn the_last_look_wins(
            changes in prop::collection::vec((0_u64..40, any::<bool>(), any::<bool>()), 0..60)
        ) {
            let mut line = SteadyLevel::new(PERIOD);
            let (mut now, mut level, mut told) = (1000, false, false);
            for (gap, next, lost) in changes {
                now += gap;
                if let Some((found, time)) = line.settle(at(now)) {
                    prop_assert!(found != told && time <= at(now));
                    told = found;
                }
                level = next;
                if !lost {
                    line.see(level, at(now));
                }
            }
            now += 100;
            told = line.settle(at(now)).map_or(told, |found| found.0);
            line.see(level, at(now));
            told = line.settle(at(now + 20)).map_or(told, |found| found.0);
            prop_assert_eq!(told, level);
        }
    }
}
