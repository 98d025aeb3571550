//! Which frame belongs to which trigger (line-io 1.3, "frame to part"). Pure.
//!
//! Time decides: a frame belongs to a part when it was stamped within the window around the part's
//! trigger, and within no other part's. Where the camera takes one frame per trigger the frame
//! counter must agree: between two parts it must have moved as far as the sequence number. Nothing
//! is paired by order, so a lost frame or one too many never shifts the row; whoever a doubt
//! concerns gets no decision (205), and the counters are matched anew from the next frame on.

use crate::part::{Duration, LineTime, PartAnnouncement, Reason, SequenceNumber};
use std::collections::VecDeque;

/// Parts remembered after they stopped waiting, to notice a second frame.
const REMEMBERED_PARTS: usize = 32;
/// Parts that may wait for a frame; as many as the line's schedule holds.
const WAITING_PARTS: usize = 256;
/// Frames kept that came before their announcement; each holds one of the camera's buffers.
const EARLY_FRAMES: usize = 2;

/// When a frame belongs to a trigger.
#[derive(Clone, Copy, Debug)]
pub struct FrameWindow {
    /// How long before the trigger it may be stamped.
    pub before: Duration,
    /// How long after the trigger it may be stamped.
    pub after: Duration,
    /// From the trigger until a part without a frame is given up.
    pub timeout: Duration,
    /// The camera takes one frame per trigger: a second frame is a mismatch, and the frame counter
    /// must move as the sequence number does. Otherwise it runs freely, the first frame in the
    /// window is the part's, and those between parts mean nothing.
    pub one_per_trigger: bool,
}

impl FrameWindow {
    /// For frames that carry their trigger's own stamp: free run, replay.
    pub fn exact(timeout: Duration) -> Self {
        let zero = Duration::ZERO;
        Self { before: zero, after: zero, timeout, one_per_trigger: false }
    }

    fn holds(&self, part: &PartAnnouncement, captured: LineTime) -> bool {
        captured >= part.triggered - self.before && captured <= part.triggered + self.after
    }
}

/// A frame as the pairing sees it; `F` is the picture itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamped<F> {
    /// The camera's frame counter.
    pub number: u64,
    /// When it was taken.
    pub captured: LineTime,
    /// What it is about.
    pub frame: F,
}

/// What became of a part or of a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate<F> {
    /// The part's frame.
    Paired(PartAnnouncement, F),
    /// Nothing can be known of the part: 201, 204 or 205. May follow a pair: then it revokes it.
    Undecided(SequenceNumber, Reason),
    /// A frame of no part.
    Stray,
}

/// A part that no longer waits.
struct Known {
    part: PartAnnouncement,
    /// Stamp of the frame it got.
    captured: Option<LineTime>,
}

struct Early<F> {
    stamped: Stamped<F>,
    until: LineTime,
}

/// Parts that wait for their frame, and frames that wait for their part.
pub struct Pairing<F> {
    window: FrameWindow,
    waiting: VecDeque<PartAnnouncement>,
    known: VecDeque<Known>,
    early: VecDeque<Early<F>>,
    /// The last pair: frame counter and sequence number run in step from here.
    in_step: Option<(SequenceNumber, u64)>,
    fates: VecDeque<Fate<F>>,
}

impl<F> Pairing<F> {
    /// Nothing waits.
    pub fn new(window: FrameWindow) -> Self {
        Self {
            window,
            waiting: VecDeque::with_capacity(WAITING_PARTS),
            known: VecDeque::with_capacity(REMEMBERED_PARTS + 1),
            early: VecDeque::with_capacity(EARLY_FRAMES + 1),
            in_step: None,
            fates: VecDeque::with_capacity(2 * WAITING_PARTS),
        }
    }

    /// A part waits for its frame from now on, or finds it among those that came early.
    pub fn announce(&mut self, part: PartAnnouncement) {
        if self.waiting.len() == WAITING_PARTS {
            return self.fates.push_back(Fate::Undecided(part.sequence, Reason::Overrun));
        }
        // Its frame may have gone to the part before, whose own was lost: nobody can tell.
        let window = self.window;
        let claims = |known: &Known| known.captured.is_some_and(|time| window.holds(&part, time));
        let mut contested = false;
        for known in self.known.iter().filter(|known| claims(known)) {
            contested = true;
            self.fates.push_back(mismatch(known.part.sequence));
        }
        if contested {
            self.in_step = None;
            self.fates.push_back(mismatch(part.sequence));
            return self.remember(part, None);
        }
        self.waiting.push_back(part);
        for _ in 0..self.early.len() {
            let Some(early) = self.early.pop_front() else { break };
            if window.holds(&part, early.stamped.captured) {
                self.place(early.stamped);
            } else {
                self.early.push_back(early);
            }
        }
    }

    /// A frame is there.
    pub fn frame(&mut self, stamped: Stamped<F>) {
        self.place(stamped);
    }

    fn place(&mut self, stamped: Stamped<F>) {
        let (window, captured) = (self.window, stamped.captured);
        let fits = |part: &PartAnnouncement| window.holds(part, captured);
        let waiting = self.waiting.iter().filter(|part| fits(part)).count();
        let known = self.known.iter().filter(|known| fits(&known.part)).count();
        match (waiting, known) {
            (0, 0) => self.keep(stamped),
            (1, 0) => {
                let index = self.waiting.iter().position(fits);
                if let Some(part) = index.and_then(|index| self.waiting.remove(index)) {
                    self.pair(part, stamped);
                }
            }
            // Between two parts, or after the part's own.
            (0, _) if !window.one_per_trigger => self.fates.push_back(Fate::Stray),
            _ => self.doubt(captured),
        }
    }

    /// A frame that is nobody's yet: its announcement may be slower.
    fn keep(&mut self, stamped: Stamped<F>) {
        if self.early.len() == EARLY_FRAMES {
            self.early.pop_front();
            self.fates.push_back(Fate::Stray);
        }
        let until = stamped.captured + self.window.before + self.window.timeout;
        self.early.push_back(Early { stamped, until });
    }

    /// The frame fits this part alone; its number must say the same.
    fn pair(&mut self, part: PartAnnouncement, stamped: Stamped<F>) {
        let agrees = !self.window.one_per_trigger
            || self.in_step.is_none_or(|(sequence, number)| {
                stamped.number == number.wrapping_add(steps(sequence, part.sequence))
            });
        self.in_step = Some((part.sequence, stamped.number));
        if agrees {
            self.remember(part, Some(stamped.captured));
            self.fates.push_back(Fate::Paired(part, stamped.frame));
        } else {
            self.remember(part, None);
            self.fates.push_back(mismatch(part.sequence));
        }
    }

    /// The frame fits several parts, or one that has its frame already.
    fn doubt(&mut self, captured: LineTime) {
        let window = self.window;
        self.in_step = None;
        self.fates.push_back(Fate::Stray);
        if window.one_per_trigger {
            let involved = self.known.iter().filter(|known| window.holds(&known.part, captured));
            self.fates.extend(involved.map(|known| mismatch(known.part.sequence)));
        }
        while let Some(index) = self.waiting.iter().position(|part| window.holds(part, captured)) {
            let Some(part) = self.waiting.remove(index) else { break };
            self.fates.push_back(mismatch(part.sequence));
            self.remember(part, None);
        }
    }

    /// Gives up parts whose time for a frame is over, and frames whose part did not come.
    pub fn expire(&mut self, now: LineTime) {
        let timeout = self.window.timeout;
        while let Some(index) = self.waiting.iter().position(|p| now >= p.triggered + timeout) {
            let Some(part) = self.waiting.remove(index) else { break };
            self.fates.push_back(Fate::Undecided(part.sequence, Reason::NoFrame));
            self.remember(part, None);
        }
        while let Some(index) = self.early.iter().position(|early| now >= early.until) {
            self.early.remove(index);
            self.fates.push_back(Fate::Stray);
        }
    }

    /// When [`Self::expire`] is worth calling next.
    pub fn next_due(&self) -> Option<LineTime> {
        let parts = self.waiting.iter().map(|part| part.triggered + self.window.timeout);
        parts.chain(self.early.iter().map(|early| early.until)).min()
    }

    /// Takes the next thing found out, oldest first.
    pub fn next_fate(&mut self) -> Option<Fate<F>> {
        self.fates.pop_front()
    }

    fn remember(&mut self, part: PartAnnouncement, captured: Option<LineTime>) {
        if self.known.len() == REMEMBERED_PARTS {
            self.known.pop_front();
        }
        self.known.push_back(Known { part, captured });
    }
}

fn mismatch<F>(sequence: SequenceNumber) -> Fate<F> {
    Fate::Undecided(sequence, Reason::FrameTriggerMismatch)
}

/// Parts from `from` to `to`; the number wraps past none (line-io 1.1).
fn steps(from: SequenceNumber, to: SequenceNumber) -> u64 {
    let around = u32::from(to < from);
    u64::from(to.get().wrapping_sub(from.get()).wrapping_sub(around))
}

#[cfg(test)]
mod tests;
