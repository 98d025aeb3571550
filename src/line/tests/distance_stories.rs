//! Distance mode, step by step (line-io 1.3, right column).
//!
//! Distance 1000, length 100, largest speed 2000 counts/s, actuation 15, jitter 2, guard 5, pulse
//! 50, gap 20: at 1000 counts/s a part triggered at count c has its window in [c + 983, c + 1100)
//! and its deadline at c + 956; windows merge over 40 counts.

use super::distance_checks::DistanceChecker;
use super::support::*;
use crate::line::*;
use crate::part::*;

fn settings(wiring: Wiring) -> LineSettings {
    LineSettings::with_distance(wiring, EncoderTravel::new(1000, 100, 2000))
}

fn good() -> Way {
    Box::new(|_| Answer::good(ms(50)))
}

fn silent() -> Way {
    Box::new(|_| None)
}

/// Part n gets the n-th answer; later ones are good.
fn script(answers: &'static [fn() -> Option<Answer>]) -> Way {
    Box::new(|part| match answers.get(part.sequence.get() as usize - 1) {
        Some(answer) => answer(),
        None => Answer::good(ms(50)),
    })
}

/// Ready, its purge over, the belt at `count`, running.
fn ready(settings: LineSettings, way: Way, count: i64) -> (Simulation, Belt) {
    let mut line = Simulation::new(settings, way);
    line.push(LineEvent::Encoder { count, time: at(1) });
    line.make_ready(at(1));
    line.command(Command::PurgeDone, at(60));
    line.run_until(at(60));
    (line, Belt::new(at(60), count))
}

/// Counts at which the gate changed, since the purge.
fn edges(line: &Simulation) -> Vec<(i64, bool)> {
    let checker = DistanceChecker::new(&line.settings, &line.trace);
    let stays = checker.stays.iter().filter(|stay| stay.from > at(60));
    let mut edges: Vec<(i64, bool)> = Vec::new();
    for stay in stays {
        if edges.last().is_none_or(|last| last.1 != stay.rejects) {
            edges.push((stay.count, stay.rejects));
        }
    }
    edges
}

#[test]
fn a_window_opens_early_by_what_the_belt_moves_until_the_valve_acts() {
    for wiring in [Wiring::EnergiseToReject, Wiring::EnergiseToPass] {
        let answers = script(&[|| Answer::good(ms(50)), || Answer::bad(ms(50))]);
        let (mut line, mut belt) = ready(settings(wiring), answers, 0);
        belt.travel_to(&mut line, 500, 1000);
        belt.part(&mut line);
        let (_, part) = line.trace.armed[0];
        assert_eq!(part.deadline, belt.time + ms(956), "as known at the present speed");
        belt.travel_to(&mut line, 1000, 1000);
        belt.part(&mut line);
        assert_eq!(line.line.snapshot().encoder_counts_per_s, 1000);
        belt.travel_to(&mut line, 4000, 1000);
        assert_eq!((line.result(1).reason, line.result(2).reason.code()), (Reason::Good, 100));
        assert_eq!((line.result(1).encoder_count, line.result(2).encoder_count), (500, 1000));
        let expected = match wiring {
            Wiring::EnergiseToReject => vec![(1, false), (1983, true), (2100, false)],
            Wiring::EnergiseToPass => vec![(1, true), (1483, false), (1600, true)],
        };
        assert_eq!(edges(&line), expected);
        DistanceChecker::new(&line.settings, &line.trace).all();
    }
}

#[test]
fn the_deadline_is_a_place_and_once_reached_stays_reached() {
    let mut line_settings = settings(Wiring::EnergiseToReject);
    line_settings.decide_max = ms(5000);
    let (mut line, mut belt) = ready(line_settings, Box::new(|_| Answer::good(ms(1200))), 0);
    belt.part(&mut line);
    belt.travel_to(&mut line, 955, 1000);
    assert_eq!(line.line.pending(), 1, "one count before the deadline");
    belt.travel_to(&mut line, 956, 1000);
    assert_eq!(line.result(1).reason, Reason::Deadline);
    belt.travel_to(&mut line, 900, 1000);
    belt.wait(&mut line, ms(1000));
    assert_eq!(line.trace.late.len(), 1, "the belt went back, the deadline did not");
    belt.travel_to(&mut line, 1100, 1000);
    assert_eq!(line.line.snapshot().counters.rejects_fired, 1);
    // The cap counts time: a belt that stands does not stretch it.
    belt.part(&mut line);
    belt.wait(&mut line, ms(1199));
    assert_eq!(line.line.pending(), 1);
    let capped = LineSettings { decide_max: ms(500), ..settings(Wiring::EnergiseToReject) };
    let (mut line, mut belt) = ready(capped, silent(), 0);
    belt.part(&mut line);
    belt.wait(&mut line, ms(500));
    assert_eq!(line.result(1).reason, Reason::Deadline);
}

#[test]
fn a_stop_holds_the_gate_and_a_stop_outside_fires_nothing() {
    let (mut line, mut belt) = ready(settings(Wiring::EnergiseToReject), silent(), 0);
    belt.part(&mut line);
    belt.travel_to(&mut line, 970, 1000);
    belt.wait(&mut line, ms(60_000));
    assert!(!line.line.snapshot().gate_rejects);
    belt.travel_to(&mut line, 1050, 1000);
    belt.wait(&mut line, ms(60_000));
    assert!(line.line.snapshot().gate_rejects);
    belt.travel_to(&mut line, 1100, 1000);
    assert!(!line.line.snapshot().gate_rejects);
    assert_ne!(line.state(), LineState::Fault);
    // After a stop the belt has no speed yet: the window opens where the part arrives.
    assert!(edges(&line)[1].0 >= 983 && edges(&line)[1].0 <= 1000, "{:?}", edges(&line));
}

/// close: pos >= e0 + dist + len AND pulse_ms since the gate edge.
#[test]
fn a_short_part_still_gets_a_whole_pulse() {
    let mut short = settings(Wiring::EnergiseToReject);
    short.travel = Travel::Distance(EncoderTravel::new(1000, 5, 2000));
    let (mut line, mut belt) = ready(short, silent(), 0);
    belt.part(&mut line);
    belt.travel_to(&mut line, 2000, 1000);
    assert_eq!(edges(&line), [(1, false), (983, true), (1033, false)]);
}

#[test]
fn reverse_reopens_the_same_windows_and_too_far_loses_the_parts() {
    for wiring in [Wiring::EnergiseToReject, Wiring::EnergiseToPass] {
        let answers = script(&[|| Answer::bad(ms(50)), || Answer::good(ms(50)), || None]);
        let (mut line, mut belt) = ready(settings(wiring), answers, 0);
        for part in [0, 130, 400] {
            belt.travel_to(&mut line, part, 1000);
            belt.part(&mut line);
        }
        belt.travel_to(&mut line, 1350, 1000);
        let forward = edges(&line);
        belt.travel_to(&mut line, 850, 1000);
        assert_ne!(line.state(), LineState::Fault, "reverse_max is 500");
        belt.travel_to(&mut line, 1600, 1000);
        let again: Vec<_> = edges(&line).into_iter().skip(forward.len()).collect();
        DistanceChecker::new(&line.settings, &line.trace).all();
        let gate: Vec<bool> = (850..1350)
            .map(|count| again.iter().rev().find(|edge| edge.0 <= count).is_some_and(|e| e.1))
            .collect();
        let before: Vec<bool> = (850..1350)
            .map(|count| forward.iter().rev().find(|edge| edge.0 <= count).unwrap().1)
            .collect();
        let rejected = |level: &[bool]| level.iter().filter(|rejects| **rejects).count();
        assert!(rejected(&gate) > 0 || rejected(&before) == 0);
        belt.travel_to(&mut line, 1100, 1000);
        belt.part(&mut line);
        belt.travel(&mut line, -1, 1000);
        assert_eq!(line.state(), LineState::Fault);
        assert!(line.line.snapshot().alarms.contains(Alarm::TrackingLost));
        belt.wait(&mut line, ms(50));
        assert_eq!(line.result(4).reason, Reason::TrackingLost);
    }
}

/// R6: one way net forward, from the first count told; Ready does not wait for it.
#[test]
fn the_purge_lasts_one_way_net_forward() {
    let mut line = Simulation::new(settings(Wiring::EnergiseToReject), good());
    line.make_ready(at(1));
    let mut belt = Belt::new(at(5), 7_000_000_000);
    belt.tell(&mut line);
    assert!(line.line.snapshot().outputs.ready);
    belt.travel(&mut line, 600, 1000);
    belt.travel(&mut line, -300, 1000);
    belt.wait(&mut line, ms(10_000));
    belt.travel(&mut line, 799, 1000);
    assert!(line.line.snapshot().gate_rejects);
    belt.travel(&mut line, 1, 1000);
    assert!(!line.line.snapshot().gate_rejects);
}

#[test]
fn an_encoder_that_cannot_be_believed_stops_the_line() {
    // Too fast.
    let (mut line, mut belt) = ready(settings(Wiring::EnergiseToReject), good(), 0);
    belt.travel(&mut line, 200, 2000);
    assert_ne!(line.state(), LineState::Fault);
    belt.travel(&mut line, 200, 2200);
    assert_eq!(line.line.snapshot().fault_code, 1 + u16::from(Alarm::Encoder.bit()));
    // No count between two parts, and nobody says that the belt stands.
    let (mut line, mut belt) = ready(settings(Wiring::EnergiseToReject), good(), 0);
    belt.part(&mut line);
    belt.wait(&mut line, ms(100));
    assert_ne!(line.state(), LineState::Fault);
    belt.part(&mut line);
    assert_eq!(line.state(), LineState::Fault);
    assert!(line.rejects_at(belt.time));
    // The same, with `run` = 0: fine. Then run = 1 and no count for 200 ms.
    let stopped =
        LineSettings { run_signal: RunSignal::RunLine, ..settings(Wiring::EnergiseToPass) };
    let (mut line, mut belt) = ready(stopped, good(), 0);
    line.input(InputLine::Run, false, at(60));
    belt.wait(&mut line, ms(100));
    belt.part(&mut line);
    belt.wait(&mut line, ms(100));
    belt.part(&mut line);
    assert_ne!(line.state(), LineState::Fault);
    line.input(InputLine::Run, true, at(1000));
    line.run_until(at(1199));
    assert_ne!(line.state(), LineState::Fault);
    line.run_until(at(1200));
    assert_eq!(line.line.snapshot().fault_code, 1 + u16::from(Alarm::Encoder.bit()));
    // Cleared at rest it stays clear, cleared with run = 1 it comes again.
    line.command(Command::ClearFault, at(1250));
    line.run_until(at(1449));
    assert_ne!(line.state(), LineState::Fault);
    line.run_until(at(1450));
    assert_eq!(line.state(), LineState::Fault);
    line.input(InputLine::Run, false, at(1500));
    line.command(Command::ClearFault, at(1501));
    line.run_until(at(9000));
    assert_ne!(line.state(), LineState::Fault);
}

/// A trigger told late (free run: stamped by the camera) is placed where the belt was then.
#[test]
fn a_trigger_told_late_is_placed_by_its_stamp() {
    let (mut line, mut belt) = ready(settings(Wiring::EnergiseToReject), silent(), 0);
    belt.travel_to(&mut line, 100, 1000);
    let then = belt.time;
    belt.travel_to(&mut line, 160, 1000);
    line.push_late(LineEvent::Trigger { time: then, source: TriggerSource::FreeRun }, ms(60));
    belt.travel_to(&mut line, 1300, 1000);
    assert_eq!(line.result(1).encoder_count, 100);
    assert_eq!(edges(&line), [(1, false), (1083, true), (1200, false)]);
    // Too long ago to be placed.
    let (mut line, mut belt) = ready(settings(Wiring::EnergiseToReject), silent(), 0);
    belt.travel_to(&mut line, 3000, 1000);
    let event = LineEvent::Trigger { time: at(63), source: TriggerSource::FreeRun };
    line.line.handle(event, &mut Vec::new());
    assert!(line.line.snapshot().alarms.contains(Alarm::TrackingLost));
}

/// A thread that slept while the belt went on says LATE_FIRE, unless the chute is watched and the
/// window was not skipped.
#[test]
fn counts_handled_late_are_late_fire() {
    for (confirm, slept, late, stops) in [
        (false, 2, false, false),
        (false, 3, true, true),
        (true, 3, true, false),
        (true, 200, true, true),
    ] {
        let watched = settings(Wiring::EnergiseToReject);
        let watched = LineSettings { confirm_wired: confirm, ..watched };
        let (mut line, mut belt) = ready(watched, silent(), 0);
        belt.part(&mut line);
        belt.travel_to(&mut line, 982, 1000);
        let woken = belt.time + ms(1 + slept);
        for count in 983..1300_u64 {
            let time = belt.time + ms(count - 982);
            let event = LineEvent::Encoder { count: count as i64, time };
            line.push_late(event, woken.since(time));
        }
        line.run_until(woken + ms(150));
        let told = line.trace.alarms.iter().any(|alarm| alarm.1 == Alarm::LateFire);
        assert_eq!(told, late, "{confirm} {slept}");
        assert_eq!(line.state() == LineState::Fault, stops, "{confirm} {slept}");
    }
}

/// A valve not rated for continuous duty: in Fault each part's window, passed or not, while the
/// parts can be followed.
#[test]
fn a_fault_may_reject_part_by_part() {
    let mut per_part = settings(Wiring::EnergiseToReject);
    per_part.fault_gate = FaultGate::PerPart;
    let (mut line, mut belt) = ready(per_part, good(), 0);
    belt.part(&mut line); // passes
    belt.travel_to(&mut line, 200, 1000);
    line.push(LineEvent::WireFault { alarm: Alarm::Actuator, time: belt.time });
    belt.travel_to(&mut line, 500, 1000);
    belt.part(&mut line);
    assert_eq!(line.state(), LineState::Fault);
    assert!(!line.line.snapshot().gate_rejects);
    belt.travel_to(&mut line, 2000, 1000);
    let windows = [(983, true), (1100, false), (1483, true), (1600, false)];
    assert_eq!(edges(&line)[1..], windows);
    line.push(LineEvent::WireFault { alarm: Alarm::TrackingLost, time: belt.time });
    belt.travel(&mut line, 10, 1000);
    assert!(line.line.snapshot().gate_rejects, "the parts cannot be followed any more");
    line.command(Command::ClearFault, belt.time);
    belt.travel(&mut line, 1099, 1000);
    assert!(line.line.snapshot().gate_rejects, "purge");
    belt.travel(&mut line, 2, 1000);
    assert!(!line.line.snapshot().gate_rejects);
}

/// Inhibited lets a part by; when it comes back afterwards, it is rejected.
#[test]
fn what_inhibited_let_by_is_rejected_when_it_comes_back() {
    for wiring in [Wiring::EnergiseToReject, Wiring::EnergiseToPass] {
        let allowed = LineSettings { allow_inhibit: true, ..settings(wiring) };
        let (mut line, mut belt) = ready(allowed, silent(), 0);
        // The purge, not a window, is what lies behind the belt here.
        line.push(LineEvent::WireFault { alarm: Alarm::Actuator, time: belt.time });
        line.command(Command::ClearFault, belt.time);
        line.command(Command::PlcHeartbeat(9), belt.time);
        line.command(Command::Inhibit(true), belt.time);
        belt.travel_to(&mut line, 300, 2000);
        assert!(!line.line.snapshot().gate_rejects);
        line.command(Command::PurgeDone, belt.time);
        belt.travel_to(&mut line, 310, 2000);
        line.command(Command::Inhibit(false), belt.time);
        belt.travel_to(&mut line, 250, 2000);
        assert_eq!(line.line.snapshot().state, LineState::Ready);
        assert!(line.line.snapshot().gate_rejects);
    }
}

/// A pulse that ends between two counts: the belt may be nearly one count further than told, so
/// the gap to the next reject is taken that much shorter.
#[test]
fn a_gap_between_two_counts_is_not_overrated() {
    let mut short = settings(Wiring::EnergiseToReject);
    short.travel = Travel::Distance(EncoderTravel::new(1000, 5, 2000));
    let (mut line, mut belt) = ready(short, silent(), 0);
    belt.step = 20;
    belt.part(&mut line);
    belt.travel_to(&mut line, 120, 1000);
    belt.part(&mut line);
    belt.travel_to(&mut line, 1300, 1000);
    // The pulse ends at 1050, told is 1040; the next reject can open at 1086, 40 are needed.
    assert_eq!(edges(&line)[1..], [(1000, true), (1140, false)]);
}
