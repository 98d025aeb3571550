//! Which frame belongs to which trigger (line-io 1.3, "frame to part"). Pure.
//!
//! A frame belongs to a part when it was stamped within the part's window around its trigger. A
//! frame that fits two parts, or a second frame for a part, is a mismatch for all involved: no
//! decision, so a reject. A gap never shifts the row, because nothing is paired by order.

use crate::part::{Duration, LineTime, PartAnnouncement, SequenceNumber};
use std::collections::VecDeque;

/// Parts remembered after they got their frame, to notice a second one.
const REMEMBERED_PARTS: usize = 32;
/// Parts that may wait for a frame; as many as the line's schedule holds.
const WAITING_PARTS: usize = 256;

/// How much later than its frame an announcement may come: the trigger passes two threads.
const ANNOUNCEMENT_LAG: Duration = Duration::from_millis(10);

/// Window around a trigger within which its frame must be stamped.
#[derive(Clone, Copy, Debug)]
pub struct FrameWindow {
    /// Before the trigger.
    pub before: Duration,
    /// After the trigger.
    pub after: Duration,
    /// From the trigger until a part without a frame is given up.
    pub timeout: Duration,
}

impl FrameWindow {
    fn holds(&self, part: &PartAnnouncement, captured: LineTime) -> bool {
        captured >= part.triggered - self.before && captured <= part.triggered + self.after
    }
}

/// What a frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FrameFate {
    /// The frame of this part.
    Part(PartAnnouncement),
    /// Nobody's yet: its trigger may still come until then. Afterwards [`Pairing::given_up`].
    Early {
        /// How long to keep it.
        until: LineTime,
    },
    /// It fits several parts: those involved are in [`Pairing::mismatched`].
    Mismatch,
}

/// Parts that wait for their frame.
pub struct Pairing {
    window: FrameWindow,
    waiting: VecDeque<PartAnnouncement>,
    served: VecDeque<PartAnnouncement>,
    mismatched: Vec<SequenceNumber>,
}

impl Pairing {
    /// Nothing waits.
    pub fn new(window: FrameWindow) -> Self {
        Self {
            window,
            waiting: VecDeque::with_capacity(WAITING_PARTS),
            served: VecDeque::with_capacity(REMEMBERED_PARTS),
            mismatched: Vec::with_capacity(WAITING_PARTS),
        }
    }

    /// A part waits for its frame. `false` when too many wait already.
    #[must_use]
    pub fn announce(&mut self, part: PartAnnouncement) -> bool {
        let room = self.waiting.len() < WAITING_PARTS;
        if room {
            self.waiting.push_back(part);
        }
        room
    }

    /// A frame stamped `captured` is there at `now`.
    pub fn frame(&mut self, captured: LineTime, now: LineTime) -> FrameFate {
        self.mismatched.clear();
        let window = self.window;
        let fits = |part: &&PartAnnouncement| window.holds(part, captured);
        let waiting = self.waiting.iter().filter(fits).count();
        let served = self.served.iter().filter(fits).count();
        if waiting == 0 && served == 0 {
            return FrameFate::Early { until: captured + window.before + window.timeout };
        }
        if waiting == 0 {
            // A second frame of a served part, or the first of one whose announcement is slower
            // than its frame: a moment tells.
            return FrameFate::Early { until: now + ANNOUNCEMENT_LAG };
        }
        if waiting == 1 {
            // A part already served keeps its frame: windows of close parts may overlap, and the
            // frame of the earlier part has come before this one.
            let index = self.waiting.iter().position(|part| window.holds(part, captured));
            if let Some(part) = index.and_then(|i| self.waiting.remove(i)) {
                self.remember(part);
                return FrameFate::Part(part);
            }
        }
        self.mismatch(captured);
        FrameFate::Mismatch
    }

    /// A frame that was kept and found no part: whoever it fits had two.
    pub fn given_up(&mut self, captured: LineTime) {
        self.mismatched.clear();
        self.mismatch(captured);
    }

    fn mismatch(&mut self, captured: LineTime) {
        let window = self.window;
        let involved = self.waiting.iter().chain(self.served.iter());
        let involved = involved.filter(|part| window.holds(part, captured));
        self.mismatched.extend(involved.map(|part| part.sequence));
        self.waiting.retain(|part| !window.holds(part, captured));
    }

    /// The parts involved in the last mismatch.
    pub fn mismatched(&self) -> &[SequenceNumber] {
        &self.mismatched
    }

    /// Takes the next part whose time for a frame is over.
    pub fn expired(&mut self, now: LineTime) -> Option<SequenceNumber> {
        let timeout = self.window.timeout;
        let index = self.waiting.iter().position(|part| now >= part.triggered + timeout)?;
        self.waiting.remove(index).map(|part| part.sequence)
    }

    /// When [`Self::expired`] is worth asking next.
    pub fn next_due(&self) -> Option<LineTime> {
        self.waiting.iter().map(|part| part.triggered + self.window.timeout).min()
    }

    fn remember(&mut self, part: PartAnnouncement) {
        if self.served.len() == REMEMBERED_PARTS {
            self.served.pop_front();
        }
        self.served.push_back(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u32, ms: u64) -> PartAnnouncement {
        PartAnnouncement {
            sequence: SequenceNumber::new(number).unwrap(),
            triggered: LineTime::from_millis(ms),
            deadline: LineTime::from_millis(ms + 500),
            product: 1,
        }
    }

    fn at(ms: u64) -> LineTime {
        LineTime::from_millis(ms)
    }

    fn pairing() -> Pairing {
        let ms = Duration::from_millis;
        Pairing::new(FrameWindow { before: ms(5), after: ms(50), timeout: ms(100) })
    }

    #[test]
    fn a_lost_frame_does_not_shift_the_row() {
        let mut pairing = pairing();
        assert!(pairing.announce(part(1, 1000)));
        assert!(pairing.announce(part(2, 1200)));
        // The first part's frame is lost; the second's must not go to the first.
        assert_eq!(pairing.frame(at(1210), at(1210)), FrameFate::Part(part(2, 1200)));
        assert_eq!(pairing.expired(LineTime::from_millis(1099)), None);
        assert_eq!(pairing.expired(LineTime::from_millis(1100)), Some(part(1, 1000).sequence));
        assert_eq!(pairing.next_due(), None);
    }

    #[test]
    fn a_frame_for_two_parts_is_nobodys() {
        let mut pairing = pairing();
        assert!(pairing.announce(part(1, 1000)));
        assert!(pairing.announce(part(2, 1030)));
        assert_eq!(pairing.frame(at(1040), at(1040)), FrameFate::Mismatch);
        assert_eq!(pairing.mismatched().len(), 2);
        assert_eq!(pairing.next_due(), None);
    }

    #[test]
    fn a_second_frame_for_a_part_is_a_mismatch_after_a_moment() {
        let mut pairing = pairing();
        assert!(pairing.announce(part(1, 1000)));
        assert_eq!(pairing.frame(at(1010), at(1010)), FrameFate::Part(part(1, 1000)));
        let fate = pairing.frame(at(1020), at(1021));
        assert_eq!(fate, FrameFate::Early { until: at(1031) });
        pairing.given_up(at(1020));
        assert_eq!(pairing.mismatched(), [part(1, 1000).sequence]);
    }

    #[test]
    fn the_next_part_may_follow_within_the_window_and_be_announced_late() {
        let mut pairing = pairing();
        assert!(pairing.announce(part(1, 1000)));
        assert_eq!(pairing.frame(at(1000), at(1000)), FrameFate::Part(part(1, 1000)));
        // Its frame is there before its announcement, and fits the part before as well.
        assert_eq!(pairing.frame(at(1012), at(1012)), FrameFate::Early { until: at(1022) });
        assert!(pairing.announce(part(2, 1012)));
        assert_eq!(pairing.frame(at(1012), at(1013)), FrameFate::Part(part(2, 1012)));
    }

    #[test]
    fn a_frame_before_its_announcement_is_early_not_lost() {
        let mut pairing = pairing();
        let fate = pairing.frame(at(1010), at(1010));
        assert_eq!(fate, FrameFate::Early { until: at(1115) });
        assert!(pairing.announce(part(1, 1000)));
        assert_eq!(pairing.frame(at(1010), at(1012)), FrameFate::Part(part(1, 1000)));
        pairing.given_up(at(5000));
        assert!(pairing.mismatched().is_empty());
    }
}
