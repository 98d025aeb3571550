//! The result board of line-io 1.4: head result, acknowledgement, overrun, ring.

use crate::part::PartResult;
use std::collections::VecDeque;

/// Results kept until the PLC has read them.
pub const FIFO: usize = 64;
/// Entries of the ring.
pub const RING: usize = 64;

/// How the PLC reads results (configuration; bits 1-2 of register 23).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u16)]
pub enum ResultsMode {
    /// The head is the newest result: nothing waits, nothing is acknowledged or lost.
    #[default]
    Latest = 0,
    /// RESULTS_VALID and RESULTS_ACK take turns.
    Handshake = 1,
    /// The PLC writes the number of the last part it has read.
    Index = 2,
}

/// A result with the wall time of its trigger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PublishedResult {
    /// The result.
    pub result: PartResult,
    /// UTC of the trigger in microseconds; 0 while the clock is not synchronised.
    pub utc_micros: u64,
}

impl PublishedResult {
    pub(super) fn sequence(&self) -> u32 {
        self.result.sequence.get()
    }

    /// r.flags.
    pub(super) fn flags(&self) -> u16 {
        let f = self.result.flags;
        let bits = [f.late, f.inhibited, f.forced, f.reject_left_armed, f.soft_trigger];
        bits.iter().rev().fold(0, |word, &bit| word << 1 | u16::from(bit))
    }

    /// r.score_rel: 1000 score / threshold in 0..=65535; 65535 when either is missing or the
    /// threshold is not above 0, so that a part without a score never looks better than one with.
    pub(super) fn relative_score(&self) -> u16 {
        let (score, threshold) = (f64::from(self.result.score), f64::from(self.result.threshold));
        let relative = 1000.0 * score / threshold;
        if relative.is_nan() || threshold <= 0.0 { u16::MAX } else { relative.round() as u16 }
    }

    /// r.verdict_us, saturated.
    pub(super) fn verdict_micros(&self) -> u32 {
        let micros = self.result.committed.since(self.result.triggered).as_micros();
        u32::try_from(micros).unwrap_or(u32::MAX)
    }

    /// r.slack_us, saturated.
    pub(super) fn slack_micros(&self) -> i32 {
        self.result.deadline.signed_micros_since(self.result.committed)
    }
}

/// A score on the wire: x10000, saturated; 0x7FFFFFFF for what is no finite number.
pub(super) fn score_times_10000(score: f32) -> i32 {
    if score.is_finite() {
        ((f64::from(score) * 10_000.0).round() as i32).min(i32::MAX - 1)
    } else {
        i32::MAX
    }
}

/// Results on their way to the PLC. Never makes the line wait.
pub struct ResultBoard {
    mode: ResultsMode,
    /// Unacknowledged, oldest first; the front is the head once it is presented.
    fifo: VecDeque<PublishedResult>,
    /// Handshake: RESULTS_VALID, the front is frozen in the head registers.
    presented: bool,
    /// Handshake: level of RESULTS_ACK.
    acknowledge: bool,
    newest: Option<PublishedResult>,
    /// Sequence numbers have passed `u32::MAX`: older may be larger from now on.
    wrapped: bool,
    completed: bool,
    overrun: bool,
    lost: u16,
    ring: Vec<Option<PublishedResult>>,
}

impl ResultBoard {
    /// An empty board.
    pub fn new(mode: ResultsMode) -> Self {
        Self {
            mode,
            fifo: VecDeque::with_capacity(FIFO),
            presented: false,
            acknowledge: false,
            newest: None,
            wrapped: false,
            completed: false,
            overrun: false,
            lost: 0,
            ring: vec![None; RING],
        }
    }

    /// Takes the next result; returns whether one was lost: an older one dropped for it, or one
    /// that should have come before it.
    pub fn publish(&mut self, published: PublishedResult) -> bool {
        let skipped = self.skipped(published.sequence());
        self.completed = !self.completed;
        self.wrapped |= published.sequence() < self.newest_sequence();
        self.newest = Some(published);
        if let Some(entry) = self.ring.get_mut(published.sequence() as usize % RING) {
            *entry = Some(published);
        }
        if self.mode == ResultsMode::Latest {
            return false;
        }
        let full = self.fifo.len() == FIFO;
        if full {
            // What the PLC may be reading stays; the oldest behind it goes.
            self.fifo.remove(usize::from(self.head().is_some()));
            self.lost = self.lost.wrapping_add(1);
        }
        self.lost = self.lost.wrapping_add(skipped as u16);
        self.overrun |= full || skipped > 0;
        self.fifo.push_back(published);
        self.present_next();
        full || skipped > 0
    }

    /// Results that never came between the newest and `sequence`: the channel was full.
    fn skipped(&self, sequence: u32) -> u32 {
        let newest = self.newest_sequence();
        if newest == 0 || sequence == newest {
            return 0;
        }
        // 0 is no part: a step over it is one shorter.
        let step = sequence.wrapping_sub(newest) - u32::from(sequence < newest);
        step.saturating_sub(1)
    }

    fn present_next(&mut self) {
        let handshake = self.mode == ResultsMode::Handshake;
        self.presented |= handshake && !self.acknowledge && !self.fifo.is_empty();
    }

    /// Level of RESULTS_ACK (mode handshake only).
    pub fn set_acknowledge(&mut self, level: bool) {
        if level && self.presented {
            self.presented = false;
            self.fifo.pop_front();
        }
        self.acknowledge = level;
        self.present_next();
    }

    /// The PLC has read every result up to `read_index` (mode index only).
    pub fn acknowledge_up_to(&mut self, read_index: u32) {
        if self.mode == ResultsMode::Index {
            let oldest_kept = self.age(read_index);
            let read = |entry: &&PublishedResult| self.age(entry.sequence()) >= oldest_kept;
            let count = self.fifo.iter().take_while(read).count();
            self.fifo.drain(..count);
        }
    }

    /// How many parts ago `sequence` was the newest.
    pub(super) fn age(&self, sequence: u32) -> u32 {
        self.newest_sequence().wrapping_sub(sequence)
    }

    /// Whether `sequence` names a part that has no result yet.
    pub(super) fn is_ahead(&self, sequence: u32) -> bool {
        let newest = self.newest_sequence();
        if self.wrapped { self.age(sequence) > u32::MAX / 2 } else { sequence > newest }
    }

    /// Clears RESULTS_OVERRUN.
    pub fn clear_overrun(&mut self) {
        self.overrun = false;
    }

    /// The result in registers 32..=63; `None` shows as zeros.
    pub fn head(&self) -> Option<&PublishedResult> {
        match self.mode {
            ResultsMode::Latest => self.newest.as_ref(),
            ResultsMode::Handshake => self.fifo.front().filter(|_| self.presented),
            ResultsMode::Index => self.fifo.front(),
        }
    }

    /// The result in registers 64..=95.
    pub fn newest(&self) -> Option<&PublishedResult> {
        self.newest.as_ref()
    }

    /// Number of the newest result; 0 none.
    pub fn newest_sequence(&self) -> u32 {
        self.newest.map_or(0, |newest| newest.sequence())
    }

    /// Entry `index` of the ring.
    pub fn ring(&self, index: usize) -> Option<&PublishedResult> {
        self.ring.get(index)?.as_ref()
    }

    /// Its mode.
    pub fn mode(&self) -> ResultsMode {
        self.mode
    }

    /// COMPLETED: toggles per result.
    pub fn completed(&self) -> bool {
        self.completed
    }

    /// RESULTS_OVERRUN, latched.
    pub fn overrun(&self) -> bool {
        self.overrun
    }

    /// Results not acknowledged yet.
    pub fn waiting(&self) -> u16 {
        self.fifo.len() as u16
    }

    /// Results dropped, wraps.
    pub fn lost(&self) -> u16 {
        self.lost
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::part::{Decision, Duration, LineTime, Reason, Region, ResultFlags, SequenceNumber};
    use proptest::prelude::*;

    /// The part of the contract's byte example 1, as number `sequence`.
    pub(in super::super) fn example(sequence: u32) -> PublishedResult {
        let triggered = LineTime::from_millis(1_000);
        let committed = triggered + Duration::from_micros(48_350);
        let flags = ResultFlags { reject_left_armed: true, ..ResultFlags::default() };
        let region =
            Region { x: 412, y: 96, width: 38, height: 21, area_pixels: 517, ..Region::default() };
        let result = PartResult {
            sequence: SequenceNumber::new(sequence).unwrap(),
            decision: Decision::Fail,
            reason: Reason::ScoreAtOrAboveThreshold,
            flags,
            product: 7,
            score: 0.7312,
            threshold: 0.5,
            regions: 2,
            largest: Some(region),
            triggered,
            committed,
            deadline: committed + Duration::from_micros(71_650),
            encoder_count: 98_765,
            tag: 0,
        };
        PublishedResult { result, utc_micros: 1_767_225_600_250_000 }
    }

    fn board(mode: ResultsMode, sequences: std::ops::RangeInclusive<u32>) -> ResultBoard {
        let mut board = ResultBoard::new(mode);
        for sequence in sequences {
            board.publish(example(sequence));
        }
        board
    }

    fn head(board: &ResultBoard) -> u32 {
        board.head().map_or(0, PublishedResult::sequence)
    }

    #[test]
    fn latest_shows_the_newest_and_loses_nothing() {
        let mut board = board(ResultsMode::Latest, 1..=200);
        board.acknowledge_up_to(200);
        board.set_acknowledge(true);
        assert_eq!((head(&board), board.waiting(), board.lost()), (200, 0, 0));
        assert!(!board.overrun());
    }

    #[test]
    fn handshake_freezes_the_head_until_valid_and_ack_have_taken_turns() {
        let mut board = board(ResultsMode::Handshake, 1..=3);
        assert_eq!((head(&board), board.waiting()), (1, 3));
        board.acknowledge_up_to(3);
        assert_eq!(head(&board), 1, "the other style's acknowledgement is ignored");
        board.set_acknowledge(true);
        assert_eq!((head(&board), board.waiting()), (0, 2));
        board.set_acknowledge(true);
        assert_eq!(board.waiting(), 2, "the same level again acknowledges nothing");
        board.set_acknowledge(false);
        assert_eq!(head(&board), 2);
        let mut empty = ResultBoard::new(ResultsMode::Handshake);
        empty.set_acknowledge(true);
        empty.publish(example(1));
        assert_eq!(head(&empty), 0, "VALID rises only while ACK is 0");
    }

    #[test]
    fn index_frees_all_up_to_it() {
        let mut board = board(ResultsMode::Index, 1..=5);
        board.set_acknowledge(true);
        assert_eq!(head(&board), 1, "the other style's acknowledgement is ignored");
        board.acknowledge_up_to(3);
        assert_eq!((head(&board), board.waiting()), (4, 2));
        board.acknowledge_up_to(2);
        assert_eq!(head(&board), 4);
        board.acknowledge_up_to(5);
        assert_eq!((head(&board), board.waiting(), board.newest_sequence()), (0, 0, 5));
    }

    #[test]
    fn the_head_survives_an_overrun_and_what_is_dropped_is_counted() {
        let mut board = board(ResultsMode::Index, 1..=64);
        assert!(!board.overrun());
        assert!(board.publish(example(65)));
        assert!(board.overrun());
        assert_eq!((head(&board), board.waiting(), board.lost()), (1, 64, 1));
        board.acknowledge_up_to(1);
        assert_eq!(head(&board), 3);
        assert_eq!(board.ring(1).map(PublishedResult::sequence), Some(65));
        board.clear_overrun();
        assert!(!board.overrun());
    }

    #[test]
    fn numbers_that_wrap_are_still_in_order() {
        let mut board = board(ResultsMode::Index, u32::MAX - 1..=u32::MAX);
        assert!(!board.is_ahead(5) && !board.is_ahead(u32::MAX));
        board.publish(example(1));
        board.publish(example(2));
        board.acknowledge_up_to(1);
        assert_eq!(head(&board), 2);
        assert!(board.is_ahead(3) && !board.is_ahead(u32::MAX) && !board.is_ahead(2));
    }

    #[test]
    fn scores_that_are_no_numbers_never_look_good() {
        let mut published = example(1);
        published.result.score = f32::NAN;
        assert_eq!(published.relative_score(), u16::MAX);
        assert_eq!(score_times_10000(f32::NAN), 0x7FFF_FFFF);
        assert_eq!(score_times_10000(f32::INFINITY), 0x7FFF_FFFF);
        assert_eq!(score_times_10000(f32::NEG_INFINITY), 0x7FFF_FFFF);
        assert_eq!(score_times_10000(f32::MAX), 0x7FFF_FFFE);
        assert_eq!(score_times_10000(f32::MIN), i32::MIN);
        published.result.score = -1.0;
        assert_eq!(published.relative_score(), 0);
        published.result.score = 1e9;
        assert_eq!(published.relative_score(), u16::MAX);
        (published.result.score, published.result.threshold) = (0.2, -0.1);
        assert_eq!(published.relative_score(), u16::MAX, "no threshold to be relative to");
    }

    proptest! {
        // Invariant 14: what the PLC reads strictly rises and its gaps are fifo_lost.
        #[test]
        fn gaps_between_heads_read_are_the_results_lost(
            handshake: bool,
            steps in prop::collection::vec((0u8..100, any::<bool>()), 1..40),
        ) {
            let mode = if handshake { ResultsMode::Handshake } else { ResultsMode::Index };
            let mut board = ResultBoard::new(mode);
            let (mut published, mut read, mut count) = (0, 0, 0);
            let mut drain = |board: &mut ResultBoard, most: u32| {
                for _ in 0..most {
                    let Some(sequence) = board.head().map(PublishedResult::sequence) else { break };
                    assert!(sequence > read);
                    (read, count) = (sequence, count + 1);
                    if handshake {
                        board.set_acknowledge(true);
                        board.set_acknowledge(false);
                    } else {
                        board.acknowledge_up_to(sequence);
                    }
                }
            };
            for (burst, reads) in steps {
                for _ in 0..burst {
                    published += 1;
                    board.publish(example(published));
                }
                prop_assert!(board.waiting() as usize <= FIFO);
                drain(&mut board, if reads { 70 } else { 3 });
            }
            drain(&mut board, 70);
            prop_assert_eq!(published - count, u32::from(board.lost()));
            prop_assert_eq!(read, published);
        }
    }
}
