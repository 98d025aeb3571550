//! Faults injected into the running daemon: whatever happens to a part, only an in-time pass spares
//! it from its reject.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use onenipd::camera::CameraError;
use onenipd::daemon::{Observer, WayEnds, assemble};
use onenipd::line::{Alarm, InputLine, LineEvent, LineState};
use onenipd::line_io::modbus::{ModbusServer, ModbusSettings};
use onenipd::part::{
    Command, Decision, Duration, LineTime, NamedTensors, Reason, RegionOfInterest, Tensor,
};
use onenipd::product::{Product, ProductInfo, ProductStore, Thresholds};
use onenipd::records::{Archive, ArchiveSettings};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use support::{Act, Bench, product};

/// Where the ejector meets a part: delay 300 ms, within the pulse of 50 ms.
fn at_ejector(triggered: LineTime) -> (LineTime, LineTime) {
    (triggered + Duration::from_millis(286), triggered + Duration::from_millis(340))
}

/// Sends two parts through (the first part after a start meets the purge) and gives the second.
fn purged(bench: &mut Bench) {
    bench.part();
    let last = bench.results(1)[0].triggered;
    let (_, after) = at_ejector(last);
    let over = after + Duration::from_millis(160);
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

/// The gate rejected this part, whose window is over.
fn assert_rejected(bench: &mut Bench, triggered: LineTime) {
    let (from, to) = at_ejector(triggered);
    bench.until(|_| LineTime::now() > to);
    assert!(bench.rejected_within(from, to), "a part of which nothing is known was not rejected");
}

/// The line thread has been alive: an edge at least every 250 ms.
fn assert_alive_throughout(bench: &Bench, from: LineTime) {
    let mut last = from;
    let mut level = None;
    for (time, levels) in bench.lines.history().into_iter().filter(|(time, _)| *time >= from) {
        if level.replace(levels.alive) != Some(levels.alive) {
            assert!(time.since(last) <= Duration::from_millis(250), "alive stood still");
            last = time;
        }
    }
    assert!(LineTime::now().since(last) <= Duration::from_millis(250), "alive stands still");
}

#[test]
fn an_unplugged_camera_rejects_is_opened_again_and_is_ready_then() {
    let opened = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&opened);
    let unplugged = || CameraError::Ended { source_name: "scripted".into() };
    let mut bench = Bench::start_tuned(
        || Act::Score(0.0),
        move |parts| {
            let mut working = assemble::external_camera();
            parts.camera = Box::new(move |sink| match count.fetch_add(1, Ordering::Relaxed) {
                1 | 2 => Err(unplugged()),
                _ => working(sink),
            });
        },
    );
    purged(&mut bench);
    bench.way.sink.fail(unplugged());
    bench.until(|bench| !bench.way.snapshot.load().trigger_ready);
    let triggered = bench.trigger();
    assert_eq!(bench.results(1)[0].reason, Reason::NoFrame);
    assert_rejected(&mut bench, triggered);
    bench.until(|bench| bench.way.snapshot.load().trigger_ready);
    assert_eq!(opened.load(Ordering::Relaxed), 4);
    assert_eq!(bench.way.readiness.waits_for(), None);
    bench.part();
    assert_eq!(bench.results(2)[1].decision, Decision::Pass);
    bench.stop();
}

#[test]
fn a_camera_that_stays_silent_stops_the_line_until_it_is_cleared() {
    let mut bench = Bench::start(|| Act::Score(0.0));
    purged(&mut bench);
    for _ in 0..5 {
        bench.trigger();
        bench.wait(Duration::from_millis(90));
    }
    bench.until(|bench| bench.way.snapshot.load().state == LineState::Fault);
    assert!(bench.alarms.contains(&Alarm::InspectionLost), "{:?}", bench.alarms);
    let levels = bench.lines.levels();
    assert!(levels.reject && levels.fault && !levels.ready, "{levels:?}");
    bench.part();
    assert_eq!(bench.results(6)[5].reason, Reason::NotReady);
    bench.command(Command::ClearFault);
    bench.until_ready();
    assert!(bench.lines.levels().reject, "no purge after a fault");
    bench.wait(Duration::from_millis(100));
    bench.part();
    assert_eq!(bench.results(7)[6].decision, Decision::Pass);
    bench.stop();
}

#[test]
fn frames_of_garbage_sizes_are_bad_frames() {
    let roi = RegionOfInterest { x: 8, y: 8, width: 40, height: 40 };
    let mut bench = Bench::start_tuned(
        || Act::Score(0.0),
        move |parts| parts.loader = Box::new(move |number| Ok(product(number, Some(roi)))),
    );
    purged(&mut bench);
    for (index, size) in [(1, 1), (4000, 3), (48, 47)].into_iter().enumerate() {
        let triggered = bench.trigger();
        bench.push(triggered, size);
        assert_eq!(bench.results(index + 1)[index].reason, Reason::BadFrame, "{size:?}");
        assert_rejected(&mut bench, triggered);
    }
    bench.part();
    assert_eq!(bench.results(4)[3].decision, Decision::Pass);
    bench.stop();
}

#[test]
fn a_frame_nobody_triggered_and_one_lost_do_not_shift_the_row() {
    let mut bench = Bench::start(|| Act::Score(0.0));
    purged(&mut bench);
    let gap = Duration::from_millis(100);
    let mut expected = Vec::new();
    for number in 0..8 {
        match number {
            2 => {
                bench.trigger();
                expected.push(Reason::NoFrame);
            }
            5 => {
                bench.frame(LineTime::now() - Duration::from_millis(40));
                bench.part();
                // The counter has moved by two for one part.
                expected.push(Reason::FrameTriggerMismatch);
            }
            _ => {
                bench.part();
                expected.push(Reason::Good);
            }
        }
        bench.wait(gap);
    }
    let reasons: Vec<Reason> = bench.results(8).iter().map(|result| result.reason).collect();
    assert_eq!(reasons, expected);
    bench.until(|bench| bench.way.drops.frames_without_trigger.load(Ordering::Relaxed) == 1);
    bench.stop();
}

#[test]
fn in_free_run_every_frame_is_a_part_and_a_gap_of_the_counter_is_one_too() {
    let mut bench = Bench::start_tuned(
        || Act::Score(0.0),
        |parts| {
            parts.free_run = true;
            parts.window = onenipd::daemon::FrameWindow::exact(Duration::from_millis(80));
        },
    );
    bench.frame(LineTime::now());
    bench.results(1);
    bench.wait(Duration::from_millis(500));
    bench.results.clear();
    let first = LineTime::now();
    bench.frame(first);
    bench.wait(Duration::from_millis(40));
    // Two frames later; the one between was lost.
    bench.lose_frame();
    let third = LineTime::now();
    bench.frame(third);
    let results = bench.results(3).to_vec();
    let reasons: Vec<Reason> = results.iter().map(|result| result.reason).collect();
    assert_eq!(results[0].triggered, first);
    assert_eq!(reasons.iter().filter(|reason| **reason == Reason::NoFrame).count(), 1);
    assert_eq!(reasons.iter().filter(|reason| **reason == Reason::Good).count(), 2);
    let lost = results.iter().find(|result| result.reason == Reason::NoFrame).unwrap();
    assert!(lost.triggered > first && lost.triggered < third);
    let triggered = lost.triggered;
    assert_rejected(&mut bench, triggered);
    bench.stop();
}

#[test]
fn a_hung_engine_rejects_everything_and_the_line_goes_on() {
    let mut runs = 0;
    let mut bench = Bench::start(move || {
        runs += 1;
        if runs == 2 { Act::Hang } else { Act::Score(0.0) }
    });
    purged(&mut bench);
    let from = LineTime::now();
    let heartbeat = bench.way.snapshot.load().heartbeat;
    let mut triggered = Vec::new();
    for _ in 0..6 {
        triggered.push(bench.part());
        bench.wait(Duration::from_millis(100));
    }
    bench.until(|bench| bench.way.snapshot.load().state == LineState::Fault);
    for time in triggered {
        assert_rejected(&mut bench, time);
    }
    assert!(bench.results(6).iter().all(|result| result.decision == Decision::NoDecision));
    assert!(bench.alarms.contains(&Alarm::InspectionLost));
    assert_alive_throughout(&bench, from);
    assert!(bench.way.snapshot.load().heartbeat > heartbeat);
    assert!(bench.way.vitals.busy_for(LineTime::now()) > Duration::from_millis(500));
    bench.stop();
}

#[test]
fn an_engine_that_panics_costs_its_part_and_is_opened_again() {
    let mut runs = 0;
    let mut bench = Bench::start(move || {
        runs += 1;
        if runs == 2 { Act::Panic } else { Act::Score(0.0) }
    });
    purged(&mut bench);
    let triggered = bench.part();
    assert_eq!(bench.results(1)[0].reason, Reason::EngineError);
    assert_rejected(&mut bench, triggered);
    bench.part();
    assert_eq!(bench.results(2)[1].decision, Decision::Pass);
    assert!(bench.way.stages_live());
    bench.stop();
}

#[test]
fn an_engine_that_lost_its_gpu_costs_its_part_and_is_opened_again() {
    let mut runs = 0;
    let script = move || {
        runs += 1;
        if runs == 2 { Act::Lost } else { Act::Score(0.0) }
    };
    let opened = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&opened);
    let mut bench = Bench::open(script, WayEnds::new(), false, move |parts| {
        let mut factory = std::mem::replace(&mut parts.engine, Box::new(|| unreachable!()));
        parts.engine = Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            factory()
        });
    });
    bench.until_ready();
    purged(&mut bench);
    let triggered = bench.part();
    assert_eq!(bench.results(1)[0].reason, Reason::EngineError);
    assert_rejected(&mut bench, triggered);
    bench.part();
    assert_eq!(bench.results(2)[1].decision, Decision::Pass);
    assert_eq!(opened.load(Ordering::Relaxed), 2);
    bench.stop();
}

#[test]
fn a_box_that_fell_back_from_its_gpu_is_degraded() {
    let mut bench = Bench::open(
        || Act::Score(0.0),
        WayEnds::new(),
        false,
        |parts| parts.engine_fell_back.store(true, Ordering::Relaxed),
    );
    bench.until(|bench| {
        let line = bench.way.snapshot.load();
        line.state == LineState::Degraded && line.outputs.ready
    });
    bench.stop();
}

#[test]
fn an_engine_that_panics_always_stops_the_line() {
    let mut runs = 0;
    let mut bench = Bench::start(move || {
        runs += 1;
        if runs == 1 { Act::Score(0.0) } else { Act::Panic }
    });
    purged(&mut bench);
    for _ in 0..5 {
        bench.part();
        bench.wait(Duration::from_millis(90));
    }
    bench.until(|bench| bench.way.snapshot.load().state == LineState::Fault);
    assert!(bench.alarms.contains(&Alarm::InspectionLost));
    bench.stop();
}

#[test]
fn a_line_whose_verdicts_come_too_late_is_not_ready_until_they_fit() {
    let slow = Arc::new(AtomicBool::new(true));
    let is_slow = Arc::clone(&slow);
    let script = move || {
        if is_slow.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(280));
        }
        Act::Score(0.0)
    };
    let mut bench = Bench::open(script, WayEnds::new(), false, |parts| parts.rehearsed_runs = 1);
    bench.until(|b| b.way.readiness.waits_for().is_some_and(|what| what.contains("not fit")));
    let line = bench.way.snapshot.load();
    assert_eq!((line.state, line.active_product), (LineState::Starting, 0));
    assert!(line.gate_rejects && !line.outputs.ready);
    slow.store(false, Ordering::Relaxed);
    bench.until_ready();
    assert_eq!(bench.way.readiness.waits_for(), None);
    bench.stop();
}

#[test]
fn an_observer_that_reads_nothing_holds_nobody_up() {
    let mut bench = Bench::start(|| Act::Score(0.9));
    let mut triggered = Vec::new();
    for _ in 0..30 {
        triggered.push(bench.part());
        std::thread::sleep(Duration::from_millis(70));
    }
    let patience = LineTime::now() + Duration::from_secs(10);
    while bench.way.snapshot.load().counters.fail < 30 && LineTime::now() < patience {
        std::thread::sleep(Duration::from_millis(10));
    }
    let counters = bench.way.snapshot.load().counters;
    assert_eq!((counters.parts, counters.fail), (30, 30), "{counters:?}");
    assert!(bench.way.drops.pictures.load(Ordering::Relaxed) > 0);
    for time in triggered {
        assert_rejected(&mut bench, time);
    }
    bench.stop();
}

#[test]
fn a_full_disk_changes_no_decision() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("rejects");
    let settings = ArchiveSettings {
        directory: directory.clone(),
        size_limit_bytes: 1 << 20,
        queue: 4,
        boot_id: 1,
    };
    let archive = Archive::start(settings).unwrap();
    // Nothing can be written there any more.
    std::fs::remove_dir(&directory).unwrap();
    std::fs::write(&directory, b"in the way").unwrap();
    let mut part = 0;
    let mut bench = Bench::start(move || {
        part += 1;
        Act::Score(if part % 2 == 0 { 0.9 } else { 0.1 })
    });
    bench.observer = Some(Observer::new(Some(archive)));
    purged(&mut bench);
    for _ in 0..10 {
        bench.part();
        bench.wait(Duration::from_millis(80));
    }
    let results = bench.results(10).to_vec();
    let passed = results.iter().filter(|result| result.decision == Decision::Pass).count();
    let failed = results.iter().filter(|result| result.decision == Decision::Fail).count();
    assert_eq!((passed, failed), (5, 5));
    bench.stop();
    assert!(directory.is_file());
}

#[test]
fn parts_in_flight_keep_their_product_and_those_during_a_change_are_rejected() {
    let mut bench = Bench::start(|| {
        std::thread::sleep(Duration::from_millis(150));
        Act::Score(0.0)
    });
    purged(&mut bench);
    bench.part();
    bench.command(Command::ChangeProduct(2));
    // Its frame must not lie in the window of the part before.
    bench.wait(Duration::from_millis(70));
    let during = bench.part();
    let results = bench.results(2).to_vec();
    assert_eq!((results[0].decision, results[0].product), (Decision::Pass, 1));
    assert_eq!(results[1].reason, Reason::ProductChange);
    assert_rejected(&mut bench, during);
    bench.until(|bench| bench.way.snapshot.load().active_product == 2);
    bench.part();
    let third = bench.results(3)[2];
    assert_eq!((third.decision, third.product), (Decision::Pass, 2));
    bench.stop();
}

#[test]
fn a_boot_with_a_damaged_product_rejects_says_why_and_recovers_by_a_good_one() {
    let state = tempfile::tempdir().unwrap();
    let store = ProductStore::open(state.path());
    for (number, name) in [(1, "bolt"), (2, "nut")] {
        let mut tensors = NamedTensors::new();
        tensors.insert("good_tokens".into(), Tensor::new([4], vec![0.5; 4]).unwrap());
        let info = ProductInfo {
            number,
            name: name.into(),
            bundle_hash: "b1".into(),
            revision: 1,
            calibrated: true,
            good_pictures: 9,
            false_reject_share: 0.005,
            region_of_interest: None,
            thresholds: Thresholds { image: 0.5, pixel: 0.5 },
            notes: Vec::new(),
        };
        let prompt = image::RgbImage::from_pixel(8, 6, image::Rgb([1, 2, 3]));
        store.save(&Product { info, tensors }, &prompt).unwrap();
    }
    let tensors = state.path().join("products/bolt/tensors-1.safetensors");
    let whole = std::fs::read(&tensors).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&whole[..whole.len() / 2], &flipped] {
        std::fs::write(&tensors, damaged).unwrap();
        let mut bench = Bench::open(
            || Act::Score(0.0),
            WayEnds::new(),
            false,
            |parts| {
                parts.rehearsed_runs = 2;
                parts.loader = assemble::product_loader(state.path(), "b1");
            },
        );
        bench.until(|bench| {
            let said = bench.way.waits_for().unwrap_or_default();
            said.contains("tensors-1.safetensors") && said.contains("teach it again")
        });
        assert!(!bench.way.snapshot.load().outputs.ready);
        let rejected = bench.part();
        assert_eq!(bench.results(1)[0].decision, Decision::NoDecision);
        assert_rejected(&mut bench, rejected);
        bench.command(Command::ChangeProduct(2));
        bench.until_ready();
        assert_eq!(bench.way.waits_for(), None);
        bench.part();
        let good = bench.results(2)[1];
        assert_eq!((good.decision, good.product), (Decision::Pass, 2));
        bench.stop();
    }
}

#[test]
fn parts_triggered_while_stopping_are_rejected_and_those_before_are_decided() {
    let mut bench = Bench::start(|| {
        std::thread::sleep(Duration::from_millis(60));
        Act::Score(0.0)
    });
    purged(&mut bench);
    let good = bench.part();
    bench.way.request_stop();
    bench.wait(Duration::from_millis(10));
    let late = bench.trigger();
    let results = bench.results(2).to_vec();
    assert_eq!(results[0].decision, Decision::Pass);
    assert_eq!(results[1].reason, Reason::Stopping);
    bench.until(|bench| !bench.way.line_lives());
    let (_, to) = at_ejector(good);
    assert!(LineTime::now() > to && late > good, "not drained");
    let lines = bench.stop();
    assert!(lines.levels().reject && !lines.levels().ready, "not safe after the stop");
}

#[test]
fn a_silent_plc_warns_or_stops_as_configured() {
    for stops in [false, true] {
        let mut bench = Bench::open(
            || Act::Score(0.0),
            WayEnds::new(),
            false,
            |parts| {
                parts.line.plc_timeout = Duration::from_millis(600);
                parts.line.stop_alarms.set(Alarm::PlcLost, stops);
            },
        );
        bench.command(Command::PlcHeartbeat(1));
        bench.command(Command::PlcHeartbeat(2));
        bench.until_ready();
        bench.until(|bench| bench.way.snapshot.load().alarms.contains(Alarm::PlcLost));
        bench.part();
        let result = bench.results(1)[0];
        let line = **bench.way.snapshot.load();
        if stops {
            assert_eq!((line.state, result.reason), (LineState::Fault, Reason::NotReady));
            assert!(line.gate_rejects && !line.outputs.ready);
        } else {
            assert_eq!((line.state, result.decision), (LineState::Degraded, Decision::Pass));
            assert!(line.outputs.ready);
        }
        bench.stop();
    }
}

#[test]
fn causes_told_from_outside_degrade_the_line_and_end_with_it() {
    let mut bench = Bench::start(|| Act::Score(0.0));
    purged(&mut bench);
    for alarm in [Alarm::Thermal, Alarm::Camera, Alarm::Clock] {
        let tell = |bench: &Bench, present| {
            let time = LineTime::now();
            bench.way.events.send(LineEvent::Cause { alarm, present, time }).unwrap();
        };
        tell(&bench, true);
        bench.until(|bench| bench.way.snapshot.load().state == LineState::Degraded);
        let line = **bench.way.snapshot.load();
        assert!(line.alarms.contains(alarm) && line.outputs.ready, "{alarm:?}: {line:?}");
        bench.results.clear();
        bench.part();
        assert_eq!(bench.results(1)[0].decision, Decision::Pass, "{alarm:?}");
        tell(&bench, false);
        bench.until(|bench| bench.way.snapshot.load().state != LineState::Degraded);
        let line = **bench.way.snapshot.load();
        assert!(line.alarms.is_empty(), "{alarm:?}: {line:?}");
        assert!(matches!(line.state, LineState::Ready | LineState::Running), "{line:?}");
        bench.wait(Duration::from_millis(90));
    }
    assert_eq!(bench.alarms, [Alarm::Thermal, Alarm::Camera, Alarm::Clock]);
    bench.stop();
}

#[test]
fn what_keeps_the_line_from_being_ready_is_said() {
    let mut bench = Bench::open(
        || Act::Score(0.0),
        WayEnds::new(),
        false,
        |parts| {
            parts.line.air_ok_wired = true;
            parts.line.stop_alarms.set(Alarm::PlcLost, true);
        },
    );
    let says = |what: &'static str| {
        move |bench: &Bench| bench.way.waits_for().is_some_and(|said| said.contains(what))
    };
    bench.until(says("compressed air"));
    assert!(bench.inputs.input(InputLine::AirOk, true, LineTime::now()));
    bench.until(says("no heartbeat"));
    bench.command(Command::PlcHeartbeat(1));
    bench.command(Command::PlcHeartbeat(2));
    bench.until_ready();
    assert_eq!(bench.way.waits_for(), None);
    bench.stop();
}

#[test]
fn clients_that_flood_stall_or_babble_do_not_reach_the_gate() {
    let ends = WayEnds::new();
    let settings = ModbusSettings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..ModbusSettings::default()
    };
    let (snapshot, results) = (Arc::clone(&ends.snapshot), ends.results_receiver.clone());
    let server = ModbusServer::start(settings, snapshot, results, ends.events.clone()).unwrap();
    let address = server.local_address();
    let mut bench = Bench::start_with(|| Act::Score(0.0), ends, true);
    purged(&mut bench);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..5).map(|kind| spawn_client(kind, address, &stop)).collect();
    let half_open: Vec<_> = (0..3).filter_map(|_| TcpStream::connect(address).ok()).collect();
    let mut triggered = Vec::new();
    for _ in 0..20 {
        triggered.push(bench.part());
        bench.wait(Duration::from_millis(100));
    }
    let results = bench.results(20).to_vec();
    assert!(results.iter().all(|result| result.decision == Decision::Pass), "{results:?}");
    let (from, _) = at_ejector(triggered[0]);
    let (_, to) = at_ejector(triggered[19]);
    bench.until(|_| LineTime::now() > to);
    assert!(!bench.rejected_within(from, to), "the gate heard of the network");
    assert!(!bench.alarms.contains(&Alarm::LateFire));
    stop.store(true, Ordering::Relaxed);
    let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(answered > 100, "the flood was not served: {answered}");
    drop(half_open);
    bench.stop();
}

/// 0, 1, 2: as many requests as are answered; 3: garbage; 4: one byte at a time. Gives the number of
/// answers.
fn spawn_client(
    kind: usize,
    address: SocketAddr,
    stop: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<usize> {
    let stop = Arc::clone(stop);
    let read_head = [0, 1, 0, 0, 0, 6, 255, 3, 0, 32, 0, 32];
    std::thread::spawn(move || {
        let mut answers = 0;
        let mut stream: Option<TcpStream> = None;
        let mut byte = 0u8;
        while !stop.load(Ordering::Relaxed) {
            let Some(open) = &mut stream else {
                stream = TcpStream::connect(address).ok();
                std::thread::sleep(Duration::from_millis(2));
                continue;
            };
            let _ = open.set_read_timeout(Some(Duration::from_millis(200)));
            byte = byte.wrapping_mul(31).wrapping_add(7);
            let sent = match kind {
                3 => open.write_all(&[byte; 64]),
                4 => open.write_all(&read_head[usize::from(byte) % 12..][..1]),
                _ => open.write_all(&read_head),
            };
            let mut answer = [0; 73];
            match kind {
                3 | 4 => std::thread::sleep(Duration::from_millis(5)),
                _ => answers += usize::from(open.read_exact(&mut answer).is_ok()),
            }
            if sent.is_err() {
                stream = None;
            }
        }
        answers
    })
}
