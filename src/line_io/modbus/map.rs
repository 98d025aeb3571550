//! The register map of line-io 1.4: one table, from which register images and reference come.

#[cfg(test)]
mod fixtures;
mod reference;
mod rows;

pub use reference::{MapFormat, render};

use super::results::{PublishedResult, RING};
use super::station::Station;
use crate::line::LineState;
use crate::part::Decision;
use rows::{REGISTERS, RESULT, RING_ENTRY};

/// Registers 0..SIZE are served.
pub(super) const SIZE: usize = 768;
/// Coils and discrete inputs 0..BITS are served.
pub(super) const BITS: usize = 16;
/// First register of the head result, of the latest result, and of the ring.
const HEAD: usize = 32;
const LATEST: usize = 64;
const RING_START: usize = 256;
/// Words of a ring entry.
const RING_WORDS: usize = 8;

/// How a value lies in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    U16,
    Bits,
    U32,
    I32,
    U64,
}

impl Kind {
    const fn words(self) -> usize {
        match self {
            Self::U16 | Self::Bits => 1,
            Self::U32 | Self::I32 => 2,
            Self::U64 => 4,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::U16 => "u16",
            Self::Bits => "bits",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::U64 => "u64",
        }
    }
}

/// One row of the table: `T` is what its value is taken from.
struct Row<T> {
    /// Zero-based address; within a block: offset.
    address: usize,
    name: &'static str,
    kind: Kind,
    meaning: &'static str,
    writable: bool,
    value: fn(&T) -> u64,
}

/// A bit with a name.
struct Bit {
    name: &'static str,
    meaning: &'static str,
}

/// A 32-bit value of two registers as they came.
pub(super) fn join(first: u16, second: u16, low_word_first: bool) -> u32 {
    let (high, low) = if low_word_first { (second, first) } else { (first, second) };
    u32::from(high) << 16 | u32::from(low)
}

/// Every register, a = 0..SIZE, of one moment.
pub(super) fn image(station: &Station) -> Vec<u16> {
    let mut image = vec![0; SIZE];
    let (board, low_first) = (&station.board, station.low_word_first);
    fill(&mut image, 0, REGISTERS, station, low_first);
    if let Some(head) = board.head() {
        fill(&mut image, HEAD, RESULT, head, low_first);
    }
    if let Some(newest) = board.newest() {
        fill(&mut image, LATEST, RESULT, newest, low_first);
    }
    for index in 0..RING {
        if let Some(entry) = board.ring(index) {
            fill(&mut image, RING_START + index * RING_WORDS, RING_ENTRY, entry, low_first);
        }
    }
    image
}

fn fill<T>(image: &mut [u16], start: usize, rows: &[Row<T>], from: &T, low_first: bool) {
    for row in rows {
        let (value, words) = ((row.value)(from), row.kind.words());
        let target = image.iter_mut().skip(start + row.address).take(words);
        for (place, register) in target.enumerate() {
            let shift = if low_first { place } else { words - 1 - place };
            *register = (value >> (16 * shift)) as u16;
        }
    }
}

/// Status bits: register 4 and the discrete inputs.
pub(super) fn status(station: &Station) -> u16 {
    let (line, board) = (&station.snapshot, &station.board);
    let serves = matches!(line.state, LineState::Ready | LineState::Running | LineState::Degraded);
    let passed = |head: &PublishedResult| head.result.decision == Decision::Pass;
    let bits: [bool; BITS] = [
        serves && !line.product_busy && line.active_product > 0,
        line.busy,
        line.trigger_ready,
        station.control.trigger_taken(),
        line.acquiring,
        board.completed(),
        board.head().is_some(),
        board.overrun(),
        board.head().is_some_and(passed),
        line.gate_rejects,
        line.missed,
        !line.alarms.is_empty(),
        line.state == LineState::Fault,
        line.state == LineState::Inhibited,
        line.product_busy,
        line.plc_lost,
    ];
    bits.iter().rev().fold(0, |word, &bit| word << 1 | u16::from(bit))
}

fn modes(station: &Station) -> u16 {
    let results = (station.board.mode() as u16) << 1;
    let gate = u16::from(station.snapshot.energise_to_pass);
    gate | results | u16::from(station.low_word_first) << 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_neither_overlap_nor_leave_their_block() {
        let ends = |rows: &[(usize, usize)], size: usize| {
            let mut free = 0;
            for &(address, words) in rows {
                assert!(address >= free, "register {address} is taken");
                free = address + words;
            }
            assert!(free <= size);
        };
        fn span<T>(rows: &[Row<T>]) -> Vec<(usize, usize)> {
            rows.iter().map(|row| (row.address, row.kind.words())).collect()
        }
        ends(&span(REGISTERS), RING_START);
        ends(&span(RESULT), LATEST - HEAD);
        ends(&span(RING_ENTRY), RING_WORDS);
        for row in REGISTERS {
            assert!(!(HEAD..LATEST + 32).contains(&row.address), "{} hides a result", row.name);
            assert_eq!(row.writable, (200..=231).contains(&row.address), "{}", row.name);
        }
        assert_eq!(RING_START + RING * RING_WORDS, SIZE);
    }
}
