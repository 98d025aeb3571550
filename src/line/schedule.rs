//! The armed rejects: one entry per part from its trigger until its window is over and its result
//! is published. Bounded and allocated once.

use super::settings::SCHEDULE_CAPACITY;
use super::tracker::{Place, Window};
use crate::part::{Decision, PartResult, SequenceNumber};
use std::collections::VecDeque;

/// A part between trigger and ejector. It is rejected unless its decision is a pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// What is known so far; `decision` is pending until the one commit.
    pub result: PartResult,
    /// When the ejector must treat it.
    pub window: Window,
    /// The way was asked to inspect it.
    pub announced: bool,
    /// The way has its frame.
    pub captured: bool,
    /// The way has answered.
    pub answered: bool,
    /// Triggered with `ready` = 1: it counts for the alarms.
    pub ready_at_trigger: bool,
    /// Its result is out.
    pub published: bool,
    /// Its window was seen opening.
    pub opened: bool,
    /// Its reject came later than the jitter allows.
    pub late: bool,
    /// Its window is over.
    pub closed: bool,
    /// The gate rejected at some moment of its window.
    pub met_reject: bool,
}

impl Entry {
    /// A part of which nothing is known.
    pub fn armed(result: PartResult, window: Window, ready_at_trigger: bool) -> Self {
        Self {
            result,
            window,
            announced: false,
            captured: false,
            answered: false,
            ready_at_trigger,
            published: false,
            opened: false,
            late: false,
            closed: false,
            met_reject: false,
        }
    }

    /// Nothing is decided yet.
    pub fn is_pending(&self) -> bool {
        self.result.decision == Decision::Pending
    }

    /// Only a pass disarms (R2); pending, failed and undecided parts stay armed.
    pub fn is_armed(&self) -> bool {
        self.result.decision != Decision::Pass
    }
}

/// All entries, in order of sequence.
#[derive(Debug)]
pub(super) struct Schedule {
    entries: VecDeque<Entry>,
}

impl Schedule {
    pub fn new() -> Self {
        Self { entries: VecDeque::with_capacity(SCHEDULE_CAPACITY) }
    }

    pub fn is_full(&self) -> bool {
        self.entries.len() >= SCHEDULE_CAPACITY
    }

    /// Adds the newest part; the caller has made room.
    pub fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut Entry> {
        self.entries.get_mut(index)
    }

    pub fn newest_mut(&mut self) -> Option<&mut Entry> {
        self.entries.back_mut()
    }

    /// Place of a part, if it is still followed.
    pub fn position(&self, sequence: SequenceNumber) -> Option<usize> {
        self.entries.iter().position(|entry| entry.result.sequence == sequence)
    }

    /// Place of the first part for which `wanted` holds.
    pub fn first(&self, wanted: impl Fn(&Entry) -> bool) -> Option<usize> {
        self.entries.iter().position(wanted)
    }

    pub fn pending(&self) -> usize {
        self.iter().filter(|entry| entry.is_pending()).count()
    }

    /// Parts the way still works on.
    pub fn in_inspection(&self) -> usize {
        self.iter().filter(|entry| entry.announced && entry.is_pending()).count()
    }

    /// A part the way works on waits for its frame.
    pub fn awaits_frame(&self) -> bool {
        let mut parts = self.iter();
        parts.any(|entry| {
            entry.announced && entry.is_pending() && !entry.captured && !entry.answered
        })
    }

    /// Armed rejects whose window is not over.
    pub fn armed(&self) -> usize {
        self.iter().filter(|entry| entry.is_armed() && !entry.closed).count()
    }

    /// Lets go of the oldest parts that are published and whose window closed before `behind`.
    pub fn retire(&mut self, behind: Place) {
        let done = |entry: &Entry| entry.published && entry.closed && entry.window.close < behind;
        while self.entries.front().is_some_and(done) {
            self.entries.pop_front();
        }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// A window to be rejected covers `here`.
    pub fn rejects(&self, rejected: Rejected, here: Place) -> bool {
        self.iter().any(|entry| entry.window.covers(here) && rejected.includes(entry))
    }

    /// A passed part's window covers `here`.
    pub fn passes(&self, here: Place) -> bool {
        self.iter().any(|entry| !entry.is_armed() && entry.window.covers(here))
    }

    /// The first window to be rejected that opens after `here`.
    pub fn next_reject(&self, rejected: Rejected, here: Place) -> Option<Place> {
        let rejected = self.iter().filter(|entry| rejected.includes(entry));
        rejected.map(|entry| entry.window.open).filter(|open| *open > here).min()
    }

    /// Where such a window can open at the earliest, were the belt to speed up; not before `here`.
    pub fn earliest_reject(&self, rejected: Rejected, here: Place) -> Option<Place> {
        let ahead = self.iter().filter(|entry| entry.window.open > here);
        let rejected = ahead.filter(|entry| rejected.includes(entry));
        rejected.map(|entry| entry.window.earliest.max(here)).min()
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.entries.capacity()
    }
}

/// Whose windows are to be rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// Parts that have not passed.
    Armed,
    /// Every part (Fault, with a gate that rejects part by part).
    All,
}

impl Rejected {
    fn includes(self, entry: &Entry) -> bool {
        self == Self::All || entry.is_armed()
    }
}
