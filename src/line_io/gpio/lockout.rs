//! Bounce of a contact that keeps its first stamp: the edge counts at once, then the line is deaf
//! for a while, then its level counts (line-io 1.6, confirm). Pure.

use crate::part::{Duration, LineTime};

/// The level of one line behind a lockout.
#[derive(Clone, Copy, Debug)]
pub struct Lockout {
    period: Duration,
    /// As last told.
    told: bool,
    /// As last seen, bounce included.
    seen: bool,
    /// Deaf until then.
    until: Option<LineTime>,
}

impl Lockout {
    /// A line at level 0.
    pub const fn new(period: Duration) -> Self {
        Self { period, told: false, seen: false, until: None }
    }

    /// Takes a level that was read: it is told as it is.
    pub fn resynchronise(&mut self, level: bool) {
        (self.told, self.seen, self.until) = (level, level, None);
    }

    /// An edge at `time`; true when it is to be told now. Call [`Self::settle`] first.
    pub fn edge(&mut self, level: bool, time: LineTime) -> bool {
        self.seen = level;
        let tell = self.until.is_none() && level != self.told;
        if tell {
            self.told = level;
            self.until = Some(time + self.period);
        }
        tell
    }

    /// When [`Self::settle`] has something to say, if it has.
    pub fn due(&self) -> Option<LineTime> {
        self.until
    }

    /// Ends the lockout where it is over at `now`: the level and time to be told, if the line is
    /// not where its last told edge left it.
    pub fn settle(&mut self, now: LineTime) -> Option<(bool, LineTime)> {
        let until = self.until.filter(|until| *until <= now)?;
        self.until = None;
        if self.seen == self.told {
            return None;
        }
        self.told = self.seen;
        self.until = Some(until + self.period);
        Some((self.told, until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PERIOD: Duration = Duration::from_millis(10);

    fn at(millis: u64) -> LineTime {
        LineTime::from_millis(millis)
    }

    #[test]
    fn bounce_is_one_edge_with_the_first_stamp() {
        let mut line = Lockout::new(PERIOD);
        assert!(line.edge(true, at(100)));
        for (level, millis) in [(false, 101), (true, 102), (false, 103), (true, 104)] {
            assert_eq!(line.settle(at(millis)), None);
            assert!(!line.edge(level, at(millis)));
        }
        assert_eq!(line.due(), Some(at(110)));
        assert_eq!(line.settle(at(110)), None);
        assert_eq!(line.due(), None);
        assert!(line.edge(false, at(130)), "the part leaves the barrier");
    }

    #[test]
    fn a_pulse_shorter_than_the_lockout_still_ends() {
        let mut line = Lockout::new(PERIOD);
        assert!(line.edge(true, at(100)));
        assert!(!line.edge(false, at(103)));
        assert_eq!(line.settle(at(109)), None);
        assert_eq!(line.settle(at(250)), Some((false, at(110))));
        assert_eq!(line.settle(at(250)), None);
    }

    proptest! {
        /// Whatever the contact does: what is told alternates, is never closer than the lockout,
        /// never goes back in time, and ends at the line's own level.
        #[test]
        fn what_is_told_alternates_and_ends_at_the_true_level(
            gaps in prop::collection::vec(0_u64..25, 0..100)
        ) {
            let mut line = Lockout::new(PERIOD);
            let (mut now, mut level) = (1000, false);
            let mut told: Vec<(bool, LineTime)> = Vec::new();
            for gap in gaps {
                now += gap;
                level = !level;
                while let Some(settled) = line.settle(at(now)) {
                    told.push(settled);
                }
                if line.edge(level, at(now)) {
                    told.push((level, at(now)));
                }
            }
            while let Some(settled) = line.settle(at(now + 1000)) {
                told.push(settled);
            }
            for (index, (told_level, time)) in told.iter().enumerate() {
                prop_assert_eq!(*told_level, index % 2 == 0);
                if index > 0 {
                    prop_assert!(time.since(told[index - 1].1) >= PERIOD);
                }
            }
            prop_assert_eq!(told.last().is_some_and(|last| last.0), level);
        }
    }
}
