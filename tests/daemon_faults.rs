//! Faults injected into the running daemon: whatever happens to a part, only an in-time pass spares
//! it from its reject.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use onenipd::part::{Decision, Duration, LineTime, Reason};
use support::{Act, Bench};

/// Where the ejector meets a part: delay 300 ms, within the pulse of 50 ms.
fn at_ejector(triggered: LineTime) -> (LineTime, LineTime) {
    (triggered + Duration::from_millis(286), triggered + Duration::from_millis(340))
}

/// Sends two parts through (the first part after a start meets the purge) and gives the second.
fn purged(bench: &mut Bench) {
    bench.part();
    let last = bench.results(1)[0].triggered;
    let (_, after) = at_ejector(last);
    let over = after + Duration::from_millis(120);
    bench.until(|_| LineTime::now() > over);
    bench.results.clear();
}

#[test]
fn a_good_part_is_spared_and_a_bad_one_is_not() {
    let mut scores = [0.1, 0.1, 0.9].into_iter();
    let mut bench = Bench::start(move || Act::Score(scores.next().unwrap_or(0.9)));
    purged(&mut bench);
    let good = bench.part();
    assert_eq!(bench.results(1)[0].decision, Decision::Pass);
    let (_, after) = at_ejector(good);
    bench.until(|_| LineTime::now() > after + Duration::from_millis(60));
    let bad = bench.part();
    assert_eq!(bench.results(2)[1].reason, Reason::ScoreAtOrAboveThreshold);
    let (_, gone) = at_ejector(bad);
    bench.until(|_| LineTime::now() > gone + Duration::from_millis(60));
    let (from, to) = at_ejector(good);
    assert!(!bench.rejected_within(from, to), "a passed part was rejected");
    let (from, to) = at_ejector(bad);
    assert!(bench.rejected_within(from, to), "a failed part was not rejected");
    let lines = bench.stop();
    assert!(lines.levels().reject && !lines.levels().ready, "not safe after the stop");
}

#[test]
fn an_engine_that_fails_hangs_or_says_nonsense_never_passes() {
    for (act, reason) in [
        (Act::Error, Reason::EngineError),
        (Act::Score(f32::NAN), Reason::ScoreNotFinite),
        (Act::Score(f32::NEG_INFINITY), Reason::ScoreNotFinite),
        (Act::Hang, Reason::Deadline),
    ] {
        let mut first = true;
        let mut bench =
            Bench::start(move || if std::mem::take(&mut first) { Act::Score(0.0) } else { act });
        purged(&mut bench);
        let triggered = bench.part();
        let result = bench.results(1)[0];
        assert_eq!((result.decision, result.reason), (Decision::NoDecision, reason), "{act:?}");
        let (from, to) = at_ejector(triggered);
        bench.until(|_| LineTime::now() > to);
        assert!(bench.rejected_within(from, to), "{act:?} left a part unrejected");
        bench.stop();
    }
}

#[test]
fn a_silent_camera_rejects_and_does_not_shift_the_row() {
    let mut bench = Bench::start(|| Act::Score(0.0));
    purged(&mut bench);
    bench.trigger();
    assert_eq!(bench.results(1)[0].reason, Reason::NoFrame);
    let triggered = bench.part();
    let second = bench.results(2)[1];
    assert_eq!((second.triggered, second.decision), (triggered, Decision::Pass));
    bench.stop();
}

#[test]
fn two_frames_for_one_part_decide_nothing() {
    let mut bench = Bench::start(|| {
        std::thread::sleep(Duration::from_millis(60));
        Act::Score(0.0)
    });
    purged(&mut bench);
    let triggered = bench.part();
    bench.frame(triggered + Duration::from_millis(5));
    assert_eq!(bench.results(1)[0].reason, Reason::FrameTriggerMismatch);
    bench.stop();
}

#[test]
fn more_parts_than_the_engine_can_take_are_overruns_not_passes() {
    let mut bench = Bench::start(|| {
        std::thread::sleep(Duration::from_millis(150));
        Act::Score(0.0)
    });
    purged(&mut bench);
    for _ in 0..8 {
        let next = LineTime::now() + Duration::from_millis(90);
        bench.part();
        bench.until(|_| LineTime::now() >= next);
    }
    let results = bench.results(8).to_vec();
    let undecided = results.iter().filter(|r| r.decision == Decision::NoDecision).count();
    assert!(undecided > 0, "{results:?}");
    for pair in results.windows(2) {
        assert!(pair[0].sequence < pair[1].sequence, "published out of order");
    }
    bench.stop();
}

#[test]
fn a_stop_decides_every_part_and_leaves_the_gate_rejecting() {
    let mut bench = Bench::start(|| Act::Score(0.0));
    purged(&mut bench);
    bench.part();
    bench.way.request_stop();
    let result = bench.results(1)[0];
    assert_eq!(result.decision, Decision::Pass);
    let lines = bench.stop();
    assert!(lines.levels().reject && !lines.levels().ready && !lines.levels().alive);
}
