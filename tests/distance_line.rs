//! The running daemon in distance mode: where the belt is decides, not when.
//!
//! The belt moves count by count and waits for the line each time, so what the gate does at which
//! count is exact on any machine.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use onenipd::config::{Layers, load_without_bundle};
use onenipd::daemon::{WayEnds, assemble, persistence::Survivors};
use onenipd::line::{Alarm, EncoderTravel, LineState, Travel};
use onenipd::part::{Decision, Duration, LineTime};
use support::{Act, Bench};

/// From sensor to ejector, in counts.
const DISTANCE: i64 = 60;
/// Of a part.
const LENGTH: i64 = 8;
/// Counts per second at most; the belt here does half of it.
const SPEED_MAX: u32 = 200;
/// Actuation 15 ms + jitter 30 ms at half of the largest speed, and at rest.
const LEAD: std::ops::RangeInclusive<i64> = 0..=5;

struct Belt {
    bench: Bench,
    count: i64,
    /// The gate at every count told.
    seen: Vec<(i64, bool)>,
}

impl Belt {
    /// Runs until the purge of the start is over.
    fn start(script: impl FnMut() -> Act + Send + 'static) -> Self {
        let mut bench = Bench::open(script, WayEnds::new(), false, |parts| {
            parts.line.travel =
                Travel::Distance(EncoderTravel::new(DISTANCE as u32, LENGTH as u32, SPEED_MAX));
        });
        bench.until_ready();
        let mut belt = Self { bench, count: 0, seen: Vec::new() };
        belt.go_to(2 * (DISTANCE + LENGTH));
        belt.bench.until(|bench| !bench.way.snapshot.load().gate_rejects);
        belt
    }

    /// One count after the other; each is handled before the next comes.
    fn go_to(&mut self, to: i64) {
        while self.count != to {
            self.bench.wait(Duration::from_millis(10));
            self.count += (to - self.count).signum();
            assert!(self.bench.inputs.encoder(self.count, LineTime::now()));
            let count = self.count;
            self.bench.until(|bench| bench.way.snapshot.load().encoder_count == count);
            self.seen.push((count, self.bench.lines.levels().reject));
        }
    }

    /// A part at this count, judged before the belt goes on.
    fn part(&mut self) -> (i64, Decision) {
        self.bench.results.clear();
        self.bench.part();
        let result = self.bench.results(1)[0];
        assert_eq!(result.encoder_count, self.count);
        (self.count, result.decision)
    }

    /// Counts at which the gate rejected since the last question.
    fn rejected(&mut self) -> Vec<i64> {
        let rejected = self.seen.iter().filter(|(_, rejects)| *rejects).map(|(count, _)| *count);
        let rejected = rejected.collect();
        self.seen.clear();
        rejected
    }
}

/// The gate rejected the window of the part seen at `e0`, began at its lead and ended with the part,
/// or with its shortest pulse (5 counts).
fn assert_treated(rejected: &[i64], e0: i64) {
    let (first, last) = (rejected[0], *rejected.last().unwrap());
    assert!(LEAD.contains(&(e0 + DISTANCE - first)), "begins at {first}, part at {e0}");
    assert!(
        (e0 + DISTANCE + LENGTH - 1..=e0 + DISTANCE + LENGTH + 8).contains(&last),
        "{rejected:?}"
    );
    assert_eq!(rejected.len() as i64, last - first + 1, "with a gap: {rejected:?}");
}

#[test]
fn rejects_begin_at_their_count_and_passes_are_spared() {
    let mut scores = [0.9, 0.1, 0.9].into_iter();
    let mut belt = Belt::start(move || Act::Score(scores.next().unwrap_or(0.9)));
    belt.rejected();
    let (first, decision) = belt.part();
    assert_eq!(decision, Decision::Fail);
    belt.go_to(first + 40);
    let (second, decision) = belt.part();
    assert_eq!(decision, Decision::Pass);
    belt.go_to(second + 40);
    assert_treated(&belt.rejected(), first);
    let (third, _) = belt.part();
    belt.go_to(second + DISTANCE + LENGTH + 5);
    assert_eq!(belt.rejected(), [] as [i64; 0], "a passed part was rejected");
    belt.go_to(third + DISTANCE + LENGTH + 20);
    assert_treated(&belt.rejected(), third);
    assert_eq!(belt.bench.alarms, []);
    let lines = belt.bench.stop();
    assert!(lines.levels().reject && !lines.levels().ready);
}

#[test]
fn a_belt_that_stands_holds_everything_where_it_is() {
    let mut belt = Belt::start(|| Act::Score(0.9));
    belt.rejected();
    let (part, _) = belt.part();
    belt.go_to(part + DISTANCE - 10);
    // Longer than pulse, gap and the time a part may wait for its verdict.
    belt.bench.wait(Duration::from_millis(1200));
    assert!(!belt.bench.lines.levels().reject, "time alone moved the gate");
    belt.go_to(part + DISTANCE + 2);
    assert!(belt.bench.lines.levels().reject);
    belt.bench.wait(Duration::from_millis(300));
    assert!(belt.bench.lines.levels().reject, "the part is still before the ejector");
    belt.go_to(part + DISTANCE + LENGTH + 20);
    assert_treated(&belt.rejected(), part);
    assert_eq!(belt.bench.alarms, []);
    belt.bench.stop();
}

#[test]
fn a_belt_that_goes_back_rejects_the_same_part_again_and_too_far_back_stops() {
    let mut belt = Belt::start(|| Act::Score(0.9));
    belt.rejected();
    let (part, _) = belt.part();
    let ejector = part + DISTANCE;
    belt.go_to(ejector + 12);
    belt.bench.until(|bench| !bench.lines.levels().reject);
    belt.rejected();
    belt.go_to(ejector - 17);
    let backwards = belt.rejected();
    assert!((ejector..ejector + LENGTH).all(|count| backwards.contains(&count)), "{backwards:?}");
    belt.bench.until(|bench| !bench.lines.levels().reject);
    belt.go_to(ejector + LENGTH + 20);
    assert_treated(&belt.rejected(), part);
    assert_eq!(belt.bench.alarms, []);
    // Half of the distance is as far as parts are known.
    belt.go_to(belt.count - DISTANCE / 2 - 1);
    belt.bench.until(|bench| bench.way.snapshot.load().state == LineState::Fault);
    belt.bench.until(|bench| bench.alarms == [Alarm::TrackingLost]);
    let levels = belt.bench.lines.levels();
    assert!(levels.reject && levels.fault && !levels.ready, "{levels:?}");
    belt.bench.stop();
}

/// The examples of docs/guide/wiring.md: right, and possible.
#[test]
fn the_example_configurations_are_right() {
    for (name, by_distance) in [("gpio", false), ("modbus", false), ("distance", true)] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
        let file = folder.join(format!("{name}.toml"));
        let layers = Layers { files: vec![file], ..Layers::default() };
        let configuration = load_without_bundle(&layers).unwrap_or_else(|e| panic!("{name}: {e}"));
        let settings = assemble::line_settings(&configuration, Survivors::default());
        assert_eq!(settings.check(), [] as [String; 0], "{name}");
        assert_eq!(matches!(settings.travel, Travel::Distance(_)), by_distance, "{name}");
        assert_eq!(assemble::has_gpio(&configuration), name != "modbus", "{name}");
    }
}
