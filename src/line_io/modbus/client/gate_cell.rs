//! The latest levels for the coupler in one word: the line thread stores it, never waits for it.

use crate::part::LineTime;
use std::sync::atomic::{AtomicU64, Ordering};

/// Levels for the coupler's coils, with the gate's last edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub gate: bool,
    pub ready: bool,
    pub alive: bool,
    /// Edges of the gate ever, modulo [`EDGES`].
    pub edges: u16,
    /// Time of the last one, in whole microseconds.
    pub edge_micros: u64,
}

/// Edges are counted modulo this.
const EDGES: u16 = 1 << 13;
/// Microseconds of 8 years.
const MICROS: u64 = (1 << 48) - 1;

impl Wanted {
    /// Nothing but the gate's level, before its first edge.
    pub(super) fn start(gate: bool) -> Self {
        Self { gate, ready: false, alive: false, edges: 0, edge_micros: 0 }
    }

    /// The same with these levels, written at `now`.
    pub(super) fn next(self, gate: bool, ready: bool, alive: bool, now: LineTime) -> Self {
        let (edges, edge_micros) = if gate == self.gate {
            (self.edges, self.edge_micros)
        } else {
            ((self.edges + 1) % EDGES, (now.as_nanos() / 1000) & MICROS)
        };
        Self { gate, ready, alive, edges, edge_micros }
    }

    /// Edges of the gate since `before`.
    pub(super) fn edges_since(self, before: Self) -> u16 {
        (self.edges + EDGES - before.edges) % EDGES
    }

    /// Time of the gate's last edge.
    pub(super) fn edge_time(self) -> LineTime {
        LineTime::from_nanos(self.edge_micros * 1000)
    }

    fn pack(self) -> u64 {
        let levels = u64::from(self.gate) | u64::from(self.ready) << 1 | u64::from(self.alive) << 2;
        levels | u64::from(self.edges) << 3 | self.edge_micros << 16
    }

    fn unpack(word: u64) -> Self {
        let bit = |number: u32| word >> number & 1 == 1;
        let edges = (word >> 3) as u16 % EDGES;
        let edge_micros = word >> 16;
        Self { gate: bit(0), ready: bit(1), alive: bit(2), edges, edge_micros }
    }
}

/// One word between two threads.
pub(super) struct GateCell(AtomicU64);

impl GateCell {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self(AtomicU64::new(wanted.pack()))
    }

    pub(super) fn store(&self, wanted: Wanted) {
        self.0.store(wanted.pack(), Ordering::Release);
    }

    pub(super) fn load(&self) -> Wanted {
        Wanted::unpack(self.0.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_word_carries_levels_edges_and_time(
            gate: bool,
            ready: bool,
            alive: bool,
            edges in 0..EDGES,
            edge_micros in 0..=MICROS,
        ) {
            let wanted = Wanted { gate, ready, alive, edges, edge_micros };
            prop_assert_eq!(GateCell::new(wanted).load(), wanted);
        }

        #[test]
        fn every_edge_of_the_gate_is_counted_and_no_other(
            levels in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..200),
            start in 0..EDGES,
        ) {
            let before = Wanted { edges: start, ..Wanted::start(false) };
            let (mut wanted, mut edges, mut last) = (before, 0, LineTime::ZERO);
            for (at, &(gate, ready, alive)) in levels.iter().enumerate() {
                let now = LineTime::from_millis(1 + at as u64);
                if gate != wanted.gate {
                    (edges, last) = (edges + 1, now);
                }
                wanted = wanted.next(gate, ready, alive, now);
                prop_assert_eq!((wanted.gate, wanted.ready, wanted.alive), (gate, ready, alive));
            }
            prop_assert_eq!(wanted.edges_since(before), edges);
            prop_assert_eq!(wanted.edge_time(), last);
        }
    }
}
