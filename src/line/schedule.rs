//! The armed rejects: one entry per part from its trigger until its window is over and its result
//! is published. Bounded and allocated once.

use super::settings::SCHEDULE_CAPACITY;
use super::tracker::Window;
use crate::part::{Decision, LineTime, PartResult, SequenceNumber};
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
    /// The way has answered.
    pub answered: bool,
    /// Triggered with `ready` = 1: it counts for the alarms.
    pub ready_at_trigger: bool,
    /// Its result is out.
    pub published: bool,
    /// Its window was seen opening.
    pub opened: bool,
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
            answered: false,
            ready_at_trigger,
            published: false,
            opened: false,
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

    /// Armed rejects whose window is not over.
    pub fn armed(&self) -> usize {
        self.iter().filter(|entry| entry.is_armed() && !entry.closed).count()
    }

    /// Lets go of the oldest parts that are published and whose window is over.
    pub fn retire(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.published && entry.closed) {
            self.entries.pop_front();
        }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// An armed part's window covers `now`.
    pub fn rejects(&self, now: LineTime) -> bool {
        self.iter().any(|entry| entry.is_armed() && entry.window.covers(now))
    }

    /// A passed part's window covers `now`.
    pub fn passes(&self, now: LineTime) -> bool {
        self.iter().any(|entry| !entry.is_armed() && entry.window.covers(now))
    }

    /// The first armed window that opens after `now`.
    pub fn next_reject(&self, now: LineTime) -> Option<LineTime> {
        let armed = self.iter().filter(|entry| entry.is_armed());
        armed.map(|entry| entry.window.open).filter(|open| *open > now).min()
    }
}
