//! The stories of line-io 1.7 and the failures the box alone answers for (1.2), step by step.
//!
//! Delay 300, actuation 15, jitter 2, guard 5, pulse 50: a part triggered at t has its window in
//! [t + 283, t + 352) and its deadline at t + 278.

use super::checks::Checker;
use super::support::*;
use crate::line::*;
use crate::part::*;

fn reject_line() -> LineSettings {
    LineSettings::with_delay(Wiring::EnergiseToReject, ms(300))
}

fn pass_line() -> LineSettings {
    LineSettings::with_delay(Wiring::EnergiseToPass, ms(300))
}

fn all_good() -> Way {
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

fn reasons(simulation: &Simulation) -> Vec<Reason> {
    simulation.trace.results.iter().map(|result| result.reason).collect()
}

/// 1.7 B: armed at the trigger, decided before the deadline, the gate fires unless passed.
#[test]
fn a_pass_in_time_disarms_and_a_fail_fires() {
    for settings in [reject_line(), pass_line()] {
        let answers = script(&[|| Answer::good(ms(50)), || Answer::bad(ms(50))]);
        let mut line = Simulation::ready(settings.clone(), answers);
        line.trigger(at(1000));
        line.trigger(at(1500));
        line.run_until(at(1000));
        let (armed_at, part) = line.trace.armed[0];
        assert_eq!((armed_at, part.sequence.get(), part.product), (at(1000), 1, ACTIVE_PRODUCT));
        assert_eq!((part.triggered, part.deadline), (at(1000), at(1278)));
        let snapshot = line.line.snapshot();
        assert_eq!((snapshot.armed, snapshot.busy, snapshot.state), (1, true, LineState::Running));
        line.run_until(at(1050));
        let snapshot = line.line.snapshot();
        assert_eq!((snapshot.armed, snapshot.busy), (0, false));
        line.run_until(at(3000));
        let (good, bad) = (line.result(1), line.result(2));
        assert_eq!((good.decision, good.committed), (Decision::Pass, at(1050)));
        assert_eq!((bad.decision, bad.reason.code()), (Decision::Fail, 100));
        assert!(bad.flags.reject_left_armed && !good.flags.reject_left_armed);
        let fired = match settings.wiring {
            Wiring::EnergiseToReject => (at(1783), true),
            Wiring::EnergiseToPass => (at(1352), true),
        };
        let edges: Vec<_> = line.gate().into_iter().filter(|edge| edge.0 > at(1000)).collect();
        match settings.wiring {
            Wiring::EnergiseToReject => assert_eq!(edges, [fired, (at(1852), false)]),
            Wiring::EnergiseToPass => assert_eq!(edges, [(at(1283), false), fired]),
        }
        assert_eq!(line.line.snapshot().counters.rejects_fired, 1);
        Checker::new(&settings, &line.trace).all();
    }
}

/// Row 1: the camera is silent; the way says so, or says nothing at all.
#[test]
fn a_part_without_a_frame_is_rejected() {
    let answers = script(&[|| Answer::nothing(ms(100), Reason::NoFrame), || None]);
    let mut line = Simulation::ready(reject_line(), answers);
    line.trigger(at(1000));
    line.trigger(at(2000));
    line.run_until(at(4000));
    assert_eq!(reasons(&line), [Reason::NoFrame, Reason::Deadline]);
    assert_eq!(line.result(1).committed, at(1100));
    assert_eq!(line.result(2).committed, at(2278));
    assert!(line.rejects_at(at(1283)) && line.rejects_at(at(2351)) && !line.rejects_at(at(2352)));
    assert!(line.line.snapshot().missed);
    line.command(Command::ClearFault, at(4100));
    assert_eq!(line.line.snapshot().clears, 0);
    line.run_until(at(4100));
    assert!(!line.line.snapshot().missed);
    assert_eq!(line.line.snapshot().clears, 1);
}

/// ACQUIRING (1.4): from the trigger until the part's frame is there, or its decision without one.
#[test]
fn a_part_is_acquiring_until_its_frame_is_there() {
    let answers = script(&[|| Answer::good(ms(50)), || Answer::nothing(ms(100), Reason::NoFrame)]);
    let mut line = Simulation::ready(reject_line(), answers);
    line.trigger(at(1000));
    let sequence = SequenceNumber::FIRST;
    line.push(LineEvent::Captured { sequence, time: at(1020) });
    line.trigger(at(2000));
    let mut shown = Vec::new();
    for moment in [999, 1019, 1021, 1051, 2001, 2099, 2101] {
        line.run_until(at(moment));
        let snapshot = line.line.snapshot();
        shown.push((snapshot.acquiring, snapshot.busy));
    }
    let (idle, waits, works) = ((false, false), (true, true), (false, true));
    assert_eq!(shown, [idle, waits, works, idle, waits, waits, idle]);
}

/// Row 2: the engine is late, then hangs: rejected at D, Fault after five in a row.
#[test]
fn a_late_engine_rejects_and_a_hung_one_stops_the_line() {
    let answers = script(&[
        || Answer::good(ms(278)),
        || Answer::good(ms(900)),
        || None,
        || None,
        || None,
        || None,
    ]);
    let mut line = Simulation::ready(reject_line(), answers);
    for part in 0..6 {
        line.trigger(at(1000 + 400 * part));
    }
    line.run_until(at(2878));
    assert_eq!(line.trace.late.len(), 2);
    assert_eq!(line.line.snapshot().counters.late, 2);
    assert_eq!(reasons(&line), [Reason::Deadline; 5]);
    assert_eq!(line.state(), LineState::Fault);
    assert_eq!(line.line.snapshot().fault_code, 1 + u16::from(Alarm::InspectionLost.bit()));
    assert!(line.rejects_at(at(2878)));
    line.run_until(at(5000));
    assert_eq!(line.result(6).reason, Reason::NotReady, "pending when Fault came");
    // Nobody looks at the parts: it cannot be cleared before the way is able again.
    line.push(LineEvent::WayReady { ready: false, time: at(5000) });
    line.command(Command::ClearFault, at(5010));
    line.run_until(at(5020));
    assert_eq!((line.state(), line.line.snapshot().command_result), (LineState::Fault, 1));
    line.push(LineEvent::WayReady { ready: true, time: at(5030) });
    line.command(Command::PlcHeartbeat(2), at(5035));
    line.command(Command::ClearFault, at(5040));
    line.run_until(at(5050));
    assert_eq!((line.state(), line.line.snapshot().command_result), (LineState::Running, 0));
    assert!(line.line.snapshot().outputs.ready && line.rejects_at(at(5050)), "purge");
}

/// Row 9: the PLC falls silent; by default the line goes on and warns.
#[test]
fn a_silent_plc_is_a_warning_or_a_stop() {
    let mut settings = reject_line();
    let mut line = Simulation::ready(settings.clone(), all_good());
    line.run_until(at(1000));
    assert!(!line.line.snapshot().plc_lost);
    line.run_until(at(1001)); // 1000 ms after the only change
    let snapshot = line.line.snapshot();
    assert!(snapshot.plc_lost && snapshot.outputs.ready);
    assert_eq!(
        (snapshot.state, snapshot.namur),
        (LineState::Degraded, NamurStatus::OutOfSpecification)
    );
    line.trigger(at(1100));
    line.run_until(at(1500));
    assert_eq!(line.result(1).decision, Decision::Pass);
    line.command(Command::PlcHeartbeat(1), at(1600)); // no change, no sign of life
    line.run_until(at(1650));
    assert_eq!(line.state(), LineState::Degraded);
    line.command(Command::PlcHeartbeat(2), at(1700));
    line.run_until(at(1700));
    assert_eq!(line.state(), LineState::Running);

    settings.stop_alarms.set(Alarm::PlcLost, true);
    let mut line = Simulation::ready(settings, all_good());
    line.trigger(at(900));
    line.run_until(at(1001));
    assert_eq!(line.state(), LineState::Fault);
    line.command(Command::ClearFault, at(1100));
    line.run_until(at(1100));
    assert_eq!(line.state(), LineState::Fault, "its cause is still there");
    line.command(Command::PlcHeartbeat(2), at(1200));
    line.command(Command::ClearFault, at(1210));
    line.run_until(at(1210));
    assert_eq!(line.state(), LineState::Running);
}

#[test]
fn with_plc_lost_stop_the_line_waits_for_the_first_heartbeat() {
    let mut settings = reject_line();
    settings.stop_alarms.set(Alarm::PlcLost, true);
    let mut line = Simulation::new(settings, all_good());
    line.push(LineEvent::ProductChanged { product: 3, result: 0, time: at(5) });
    line.push(LineEvent::WayReady { ready: true, time: at(5) });
    line.run_until(at(500));
    assert_eq!(line.state(), LineState::Starting);
    line.command(Command::PlcHeartbeat(9), at(600));
    line.run_until(at(600));
    assert_eq!(line.state(), LineState::Ready);
}

/// 1.7 C: the old product until the last old part, 207 meanwhile, then the new one.
#[test]
fn a_product_change_waits_for_the_old_parts() {
    let answers = script(&[|| Answer::good(ms(200))]);
    let mut line = Simulation::ready(reject_line(), answers);
    line.trigger(at(1000));
    line.command(Command::ChangeProduct(8), at(1050));
    line.trigger(at(1100));
    line.command(Command::ChangeProduct(9), at(1150));
    line.run_until(at(1199));
    let snapshot = line.line.snapshot();
    assert!(snapshot.product_busy && !snapshot.outputs.ready && line.trace.loads.is_empty());
    assert_eq!((snapshot.active_product, snapshot.command_result), (ACTIVE_PRODUCT, 3));
    line.run_until(at(1200));
    assert_eq!(line.trace.loads, [(at(1200), 8)]);
    line.trigger(at(1210));
    line.trigger(at(1300));
    line.run_until(at(1400));
    let of = |n| (line.result(n).reason, line.result(n).product);
    assert_eq!(of(1), (Reason::Good, ACTIVE_PRODUCT));
    assert_eq!([of(2), of(3)], [(Reason::ProductChange, 0); 2]);
    assert_eq!(of(4), (Reason::Good, 8));
    let snapshot = line.line.snapshot();
    assert!(snapshot.outputs.ready && !snapshot.product_busy);
    assert_eq!((snapshot.active_product, snapshot.command_result), (8, 0));
}

#[test]
fn a_failed_product_change_leaves_no_product() {
    let mut line = Simulation::ready(reject_line(), all_good());
    line.broken_product = 8;
    line.command(Command::ChangeProduct(8), at(1000));
    line.trigger(at(1100));
    line.run_until(at(1500));
    let snapshot = line.line.snapshot();
    assert_eq!((snapshot.active_product, snapshot.command_result), (0, 5));
    assert!(!snapshot.outputs.ready && !snapshot.product_busy);
    assert_eq!(reasons(&line), [Reason::ModelMissing]);
    assert!(line.trace.armed.is_empty() && line.rejects_at(at(1390)));
    // The end of an older load does not stand for the one asked for.
    line.command(Command::ChangeProduct(9), at(1600));
    line.push(LineEvent::ProductChanged { product: 7, result: 0, time: at(1610) });
    line.run_until(at(1615));
    assert!(line.line.snapshot().product_busy);
    line.run_until(at(1700));
    assert_eq!(line.line.snapshot().active_product, 9);
}

/// R6, delay mode, `run` not wired: one transit from the first trigger on; Ready does not wait.
#[test]
fn the_purge_after_a_start_lasts_one_transit_from_the_first_trigger() {
    let mut line = Simulation::new(reject_line(), all_good());
    assert!(line.trace.outputs[0].1.reject, "the first levels carry the rejecting gate");
    line.make_ready(at(10));
    line.trigger(at(5000));
    line.trigger(at(5100));
    line.run_until(at(5000));
    assert!(line.line.snapshot().outputs.ready);
    line.run_until(at(6000));
    assert_eq!(line.gate(), [(at(0), true), (at(5000 + 300 + 15 + 50 + 4), false)]);
    assert_eq!(reasons(&line), [Reason::Good; 2]);
    let counters = line.line.snapshot().counters;
    assert_eq!((counters.collateral, counters.rejects_fired), (1, 0));
}

/// R6 with `run`: only time in which the belt runs counts, and a stop pauses it.
#[test]
fn the_purge_counts_running_time() {
    let mut settings = pass_line();
    settings.run_signal = RunSignal::RunLine;
    let mut line = Simulation::new(settings, all_good());
    line.make_ready(at(100)); // run = 1
    line.input(InputLine::Run, false, at(200));
    line.input(InputLine::Run, true, at(3000));
    line.trigger(at(3100));
    line.run_until(at(4000));
    // 369 ms of running time: 100..200 and 3000..3269; then the passed part's window opens.
    assert_eq!(line.gate(), [(at(0), true), (at(3100 + 283), false), (at(3100 + 352), true)]);
    assert_eq!(line.line.snapshot().state, LineState::Degraded); // the PLC's heartbeat stopped
}

/// Delay mode cannot follow a part on a belt that stands.
#[test]
fn a_belt_that_stops_with_an_armed_part_loses_it() {
    let mut settings = reject_line();
    settings.run_signal = RunSignal::RunLine;
    let stop_after = |stop: u64, way: Way| {
        let mut line = Simulation::ready(settings.clone(), way);
        line.trigger(at(100));
        line.input(InputLine::Run, false, at(stop));
        line.run_until(at(1000));
        line
    };
    assert_eq!(stop_after(120, all_good()).state(), LineState::Fault, "pending");
    assert_ne!(stop_after(160, all_good()).state(), LineState::Fault, "passed");
    let line = stop_after(160, Box::new(|_| Answer::bad(ms(50))));
    assert_eq!((line.state(), line.result(1).reason.code()), (LineState::Fault, 100));
    assert_eq!(stop_after(551, silent()).state(), LineState::Fault, "closed 99 ms ago");
    assert_ne!(stop_after(552, silent()).state(), LineState::Fault);
    let line = stop_after(120, silent());
    assert_eq!(line.result(1).reason, Reason::TrackingLost);
    // Cleared at rest: its part falls under the purge, so the belt may start again.
    let mut line = line;
    line.command(Command::ClearFault, at(1100));
    line.input(InputLine::Run, true, at(2000));
    line.run_until(at(2368));
    assert_ne!(line.state(), LineState::Fault);
    assert!(line.rejects_at(at(2368)));
    line.run_until(at(2369));
    assert!(!line.rejects_at(at(2369)));
}

/// A lost PLC makes BELT_RUN 0; the belt may stand since the time-out began.
#[test]
fn a_lost_plc_stops_the_belt_it_spoke_for() {
    let mut settings = reject_line();
    settings.run_signal = RunSignal::BeltRun;
    let mut line = Simulation::ready(settings, silent());
    line.trigger(at(100)); // closed at 452, heartbeat lost at 1001
    line.run_until(at(1001));
    assert_eq!(line.state(), LineState::Fault);
    assert!(line.line.snapshot().alarms.contains(Alarm::TrackingLost));
}

#[test]
fn bounce_is_no_part_and_an_overtrigger_is_one() {
    let mut settings = reject_line();
    settings.min_part = ms(30);
    let mut line = Simulation::ready(settings, all_good());
    for stamp in [1000, 1004, 1005, 1020, 1100] {
        line.trigger(at(stamp));
    }
    line.run_until(at(1500));
    let counters = line.line.snapshot().counters;
    assert_eq!((counters.bounce, counters.parts, counters.overrun), (1, 4, 2));
    use Reason::{Good, Overtrigger};
    assert_eq!(reasons(&line), [Good, Overtrigger, Overtrigger, Good]);
    assert_eq!(line.state(), LineState::Degraded);
    assert_eq!(line.trace.armed.len(), 2);
    line.run_until(at(11_019));
    assert!(line.line.snapshot().alarms.contains(Alarm::Overrun));
    line.run_until(at(11_020));
    assert!(!line.line.snapshot().alarms.contains(Alarm::Overrun), "10 s after the last");
}

#[test]
fn close_rejects_merge_and_take_a_good_neighbour_along() {
    let answers =
        script(&[|| Answer::bad(ms(50)), || Answer::good(ms(50)), || Answer::bad(ms(50))]);
    let mut line = Simulation::ready(reject_line(), answers);
    line.trigger(at(1000));
    line.trigger(at(1044)); // inside both
    line.trigger(at(1088)); // 1000's window ends at 1352, this one opens at 1371: 19 ms < min_gap
    line.run_until(at(2000));
    let edges: Vec<_> = line.gate().into_iter().filter(|edge| edge.0 > at(1000)).collect();
    assert_eq!(edges, [(at(1283), true), (at(1440), false)]);
    let counters = line.line.snapshot().counters;
    assert_eq!((counters.rejects_fired, counters.collateral, counters.pass), (1, 1, 1));
}

#[test]
fn a_pass_gate_stays_open_between_good_parts_and_not_beside_a_bad_one() {
    let answers =
        script(&[|| Answer::good(ms(50)), || Answer::good(ms(50)), || Answer::bad(ms(50))]);
    let mut line = Simulation::ready(pass_line(), answers);
    line.trigger(at(1000)); // [1283, 1352)
    line.trigger(at(1080)); // [1363, 1432): 11 ms < min_gap, joined
    line.trigger(at(1140)); // [1423, 1492) bad: cuts
    line.trigger(at(1220)); // [1503, 1572)
    line.run_until(at(2000));
    let edges: Vec<_> = line.gate().into_iter().filter(|edge| edge.0 > at(1000)).collect();
    let opened_again = (at(1503), false);
    assert_eq!(edges, [(at(1283), false), (at(1423), true), opened_again, (at(1572), true)]);
    assert_eq!(line.line.snapshot().counters.collateral, 1);
}

/// "Queued events apply one by one in stamp order", and a stall that skips an edge is told.
#[test]
fn a_stalled_thread_says_late_fire() {
    for woken in [285, 286] {
        let mut line = Simulation::ready(reject_line(), silent());
        line.trigger(at(1000));
        line.run_until(at(1200));
        let mut out = Vec::new();
        line.line.wake(at(1000 + woken)); // planned at 1283
        line.line
            .handle(LineEvent::Trigger { time: at(1250), source: TriggerSource::Wire }, &mut out);
        line.line.advance(at(1000 + woken), &mut out);
        let late = LineOutput::AlarmChanged { alarm: Alarm::LateFire, active: true };
        assert_eq!(out.contains(&late), woken > 285);
        assert!(line.line.snapshot().gate_rejects);
    }
    // A whole window slept through.
    let mut line = Simulation::ready(reject_line(), silent());
    line.trigger(at(1000));
    line.run_until(at(1000));
    line.advance(at(1400));
    assert_eq!(line.state(), LineState::Fault);
    assert!(line.line.snapshot().alarms.contains(Alarm::LateFire));
}

/// No burst of edges after a stall: the gap in `alive` must be seen.
#[test]
fn alive_and_heartbeat_do_not_catch_up() {
    let mut line = Simulation::ready(reject_line(), silent());
    line.run_until(at(1000));
    let before = line.line.snapshot().heartbeat;
    line.advance(at(5550));
    assert_eq!(line.line.snapshot().heartbeat, before + 1);
    assert_eq!(line.line.next_due(), at(5600));
    let end = LineTime::from_nanos(u64::MAX);
    line.line.advance(end, &mut Vec::new()); // no stamp, however wrong, hangs it
}

#[test]
fn a_verdict_stamped_before_what_is_done_changes_nothing() {
    let mut line = Simulation::ready(reject_line(), silent());
    line.trigger(at(1000));
    line.run_until(at(1278));
    let sequence = SequenceNumber::FIRST;
    let good = Verdict {
        reason: Reason::Good,
        score: 0.1,
        threshold: 0.5,
        ..Verdict::nothing_known(sequence, Reason::Good)
    };
    let mut out = Vec::new();
    line.line.handle(LineEvent::Verdict { verdict: good, time: at(1200) }, &mut out);
    assert_eq!(out, [LineOutput::Late(good)]);
    assert_eq!(line.result(1).reason, Reason::Deadline);
    line.run_until(at(1283));
    assert!(line.rejects_at(at(1283)));
}

#[test]
fn results_are_published_in_order_of_sequence() {
    let answers = script(&[|| Answer::good(ms(200)), || Answer::bad(ms(20))]);
    let mut line = Simulation::ready(reject_line(), answers);
    line.trigger(at(1000));
    line.trigger(at(1050));
    line.run_until(at(1199));
    assert!(line.trace.results.is_empty());
    assert_eq!(line.line.snapshot().counters.fail, 1, "committed at once");
    line.run_until(at(1200));
    assert_eq!(reasons(&line), [Reason::Good, Reason::ScoreAtOrAboveThreshold]);
    assert_eq!(line.result(2).committed, at(1070));
}

#[test]
fn more_parts_than_can_be_followed_stop_the_line() {
    let mut settings = LineSettings::with_delay(Wiring::EnergiseToPass, ms(3000));
    settings.decide_max = ms(3000);
    let mut line = Simulation::ready(settings, silent());
    for part in 0..SCHEDULE_CAPACITY as u64 {
        line.trigger(at(1000 + part * 6));
    }
    line.run_until(at(2600));
    assert_eq!(line.state(), LineState::Degraded);
    assert_eq!(line.line.snapshot().armed as usize, SCHEDULE_CAPACITY);
    line.trigger(at(2700));
    line.run_until(at(2700));
    assert_eq!(line.state(), LineState::Fault);
    assert_eq!(line.line.snapshot().fault_code, 1 + u16::from(Alarm::ScheduleFull.bit()));
    assert_eq!(reasons(&line), [Reason::NotReady; SCHEDULE_CAPACITY + 1]);
}

#[test]
fn the_next_part_is_rejected_on_demand() {
    let mut line = Simulation::ready(reject_line(), all_good());
    line.command(Command::Tag(77), at(900));
    line.command(Command::ForceReject, at(900));
    line.trigger(at(1000));
    line.trigger(at(1500));
    line.run_until(at(2000));
    let forced = line.result(1);
    assert_eq!((forced.reason.code(), forced.flags.forced, forced.tag), (102, true, 77));
    assert!(line.rejects_at(at(1283)));
    assert_eq!((line.result(2).reason, line.trace.armed.len()), (Reason::Good, 1));
}

#[test]
fn inhibit_needs_permission_and_a_living_plc() {
    let mut settings = reject_line();
    let mut line = Simulation::ready(settings.clone(), all_good());
    line.command(Command::Inhibit(true), at(10));
    line.run_until(at(10));
    assert_eq!((line.state(), line.line.snapshot().command_result), (LineState::Ready, 4));
    settings.allow_inhibit = true;
    let mut line = Simulation::ready(settings, silent());
    line.command(Command::Inhibit(true), at(10));
    line.trigger(at(100)); // window [383, 452)
    line.trigger(at(660)); // window [943, 1012): the heartbeat is lost at 1001
    line.run_until(at(1000));
    assert_eq!((line.state(), line.rejects_at(at(400))), (LineState::Inhibited, false));
    assert!(!line.line.snapshot().outputs.ready && line.result(1).flags.inhibited);
    line.run_until(at(1001));
    assert!(line.rejects_at(at(1001)), "INHIBIT ends with the heartbeat, at once");
    line.run_until(at(1500));
    let last = *line.gate().last().unwrap();
    assert_eq!(last, (at(1001 + 50), false), "a pulse begun inside a window has its length");
}

#[test]
fn stopping_drains_and_leaves_the_outputs_safe() {
    let mut line = Simulation::ready(pass_line(), all_good());
    line.trigger(at(1000));
    line.push(LineEvent::Stop { time: at(1020) });
    line.trigger(at(1100));
    line.run_until(at(1351));
    assert_eq!((line.state(), line.trace.stopped), (LineState::Stopping, None));
    assert!(!line.rejects_at(at(1351)), "the part from before passes");
    line.run_until(at(9000));
    assert_eq!(line.trace.stopped, Some(at(1352)));
    assert_eq!(reasons(&line), [Reason::Good, Reason::Stopping]);
    assert_eq!(line.line.outputs(), OutputLevels::default());

    let mut line = Simulation::ready(reject_line(), all_good());
    line.push(LineEvent::WireFault { alarm: Alarm::Actuator, time: at(500) });
    line.push(LineEvent::Stop { time: at(600) });
    line.run_until(at(9000));
    assert_eq!(line.trace.stopped, Some(at(600)), "nothing to drain in Fault");
    assert_eq!(line.line.outputs(), OutputLevels { reject: true, ..OutputLevels::default() });
}

#[test]
fn stopping_lasts_five_seconds_at_most() {
    let mut settings = LineSettings::with_delay(Wiring::EnergiseToReject, ms(20_000));
    settings.decide_max = ms(19_000);
    let mut line = Simulation::ready(settings, silent());
    line.trigger(at(1000));
    line.push(LineEvent::Stop { time: at(1500) });
    line.run_until(at(9000));
    assert_eq!(line.trace.stopped, Some(at(6500)));
    assert_eq!(reasons(&line), [Reason::Stopping]);
}

#[test]
fn a_press_of_reset_clears_once_after_it_was_held() {
    let mut line = Simulation::ready(reject_line(), all_good());
    line.push(LineEvent::WireFault { alarm: Alarm::Actuator, time: at(500) });
    line.input(InputLine::Reset, true, at(600));
    line.input(InputLine::Reset, false, at(699));
    line.run_until(at(750));
    assert_eq!(line.state(), LineState::Fault, "too short");
    line.input(InputLine::Reset, true, at(800));
    line.push(LineEvent::WireFault { alarm: Alarm::Actuator, time: at(950) });
    line.run_until(at(899));
    assert_eq!(line.state(), LineState::Fault);
    line.run_until(at(900));
    assert_eq!(line.state(), LineState::Ready);
    assert!(line.rejects_at(at(900)), "purge");
    line.run_until(at(2000));
    assert_eq!(line.state(), LineState::Fault, "one press clears once");
}

#[test]
fn missing_air_stops_the_line_until_it_is_back_and_cleared() {
    let mut settings = pass_line();
    settings.air_ok_wired = true;
    let mut line = Simulation::ready(settings, all_good());
    line.trigger(at(100)); // passes at 150
    line.input(InputLine::AirOk, false, at(200));
    line.command(Command::ClearFault, at(210));
    line.input(InputLine::AirOk, true, at(300));
    line.run_until(at(400));
    assert_eq!(line.state(), LineState::Fault);
    assert!(line.rejects_at(at(390)), "in Fault a passed part is rejected too");
    assert_eq!(line.line.snapshot().namur, NamurStatus::Failure);
    line.command(Command::ClearFault, at(410));
    line.run_until(at(410));
    assert_eq!(line.state(), LineState::Running);
    assert_eq!(line.line.snapshot().counters.collateral, 1);
}

#[test]
fn pending_parts_keep_their_score_in_fault_but_not_their_pass() {
    let mut line = Simulation::ready(reject_line(), all_good());
    line.trigger(at(500));
    line.push(LineEvent::WireFault { alarm: Alarm::Encoder, time: at(510) });
    line.trigger(at(600));
    line.run_until(at(700));
    let kept = line.result(1);
    assert_eq!((kept.reason, kept.score, kept.committed), (Reason::NotReady, 0.1, at(550)));
    assert_eq!((line.result(2).reason, line.trace.armed.len()), (Reason::NotReady, 1));
    assert_eq!(line.trace.alarms, [(at(510), Alarm::Encoder, true)]);
}

#[test]
fn five_fails_in_a_row_stop_the_line() {
    let mut line = Simulation::ready(reject_line(), Box::new(|_| Answer::bad(ms(50))));
    for part in 0..5 {
        line.trigger(at(1000 + 400 * part));
    }
    line.run_until(at(2649));
    assert_ne!(line.state(), LineState::Fault);
    line.run_until(at(2650));
    assert_eq!(line.state(), LineState::Fault);
    assert_eq!(line.line.snapshot().fault_code, 1);
    // The windows restart: four more do not stop it again.
    line.command(Command::ClearFault, at(2700));
    for part in 0..4 {
        line.trigger(at(3000 + 400 * part));
    }
    line.run_until(at(4800));
    assert_ne!(line.state(), LineState::Fault);
}

#[test]
fn parts_before_the_first_readiness_are_rejected_and_do_not_count_for_alarms() {
    let mut line = Simulation::new(reject_line(), all_good());
    for part in 0..8 {
        line.trigger(at(100 + 50 * part));
    }
    line.run_until(at(1000));
    assert_eq!(reasons(&line), [Reason::NotReady; 8]);
    assert_eq!(
        (line.state(), line.line.snapshot().alarms),
        (LineState::Starting, AlarmSet::default())
    );
    assert!(line.trace.armed.is_empty());
}

#[test]
fn a_way_lost_after_the_start_stops_the_line_by_its_parts() {
    let way = Box::new(|_: &PartAnnouncement| Answer::nothing(ms(10), Reason::EngineError));
    let mut line = Simulation::ready(reject_line(), way);
    line.push(LineEvent::WayReady { ready: false, time: at(500) });
    line.run_until(at(500));
    let snapshot = line.line.snapshot();
    assert!(snapshot.outputs.ready && !snapshot.trigger_ready);
    for part in 0..5 {
        line.trigger(at(1000 + 100 * part));
    }
    line.run_until(at(2000));
    assert_eq!(line.state(), LineState::Fault);
    assert!(line.line.snapshot().alarms.contains(Alarm::InspectionLost));
}

#[test]
fn impossible_geometry_never_becomes_ready() {
    let mut line =
        Simulation::new(LineSettings::with_delay(Wiring::EnergiseToPass, ms(22)), all_good());
    line.make_ready(at(1));
    line.trigger(at(10));
    line.run_until(at(1000));
    assert_eq!(line.state(), LineState::Starting);
    assert_eq!(reasons(&line), [Reason::NotReady]);
}

#[test]
fn the_other_line_pulses_at_a_commit_and_the_strobe_flashes() {
    let mut settings = reject_line();
    settings.strobe = Some(Strobe { offset: ms(10), width: ms(1) });
    let mut line = Simulation::ready(settings, all_good());
    line.trigger(at(1000));
    line.run_until(at(1500));
    let when = |level: fn(&OutputLevels) -> bool| -> Vec<LineTime> {
        let outputs = line.trace.outputs.iter().filter(|o| o.0 >= at(1000));
        let levels: Vec<_> = outputs.map(|o| (o.0, level(&o.1))).collect();
        let edge = |pair: &[(LineTime, bool)]| (pair[0].1 != pair[1].1).then_some(pair[1].0);
        levels.windows(2).filter_map(edge).collect()
    };
    assert_eq!(when(|levels| levels.pass), [at(1050), at(1070)]);
    assert_eq!(when(|levels| levels.strobe), [at(1010), at(1011)]);
    assert_eq!(when(|levels| levels.busy), [at(1000), at(1050)]);
}

#[test]
fn counters_restart_with_what_is_pending_and_life_goes_on() {
    let mut settings = reject_line();
    (settings.life_parts, settings.life_rejects) = (1000, 10);
    let answers = script(&[|| Answer::bad(ms(10)), || Answer::good(ms(50))]);
    let mut line = Simulation::ready(settings, answers);
    line.trigger(at(1000));
    line.trigger(at(1020));
    line.command(Command::ResetCounters, at(1030));
    line.run_until(at(1030));
    let counters = line.line.snapshot().counters;
    assert_eq!((counters.parts, counters.fail), (1, 0));
    line.run_until(at(1500));
    let counters = line.line.snapshot().counters;
    assert_eq!((counters.parts, counters.pass), (1, 1));
    assert_eq!((counters.life_parts, counters.life_rejects), (1002, 11));
}

#[test]
fn modbus_triggers_are_parts_only_where_they_are_allowed() {
    let mut settings = reject_line();
    let mut line = Simulation::ready(settings.clone(), all_good());
    line.command(Command::SoftTrigger, at(1000));
    line.run_until(at(1000));
    assert_eq!((line.line.snapshot().counters.parts, line.line.snapshot().command_result), (0, 4));
    settings.soft_trigger = true;
    let mut line = Simulation::ready(settings, all_good());
    line.command(Command::SoftTrigger, at(1000));
    line.run_until(at(1100));
    assert!(line.result(1).flags.soft_trigger);
}

/// Verdicts that take too long keep the line out of Ready, and say so; later they only warn.
#[test]
fn verdicts_that_come_too_late_keep_the_line_in_starting() {
    let told = |p999, time| LineEvent::VerdictTime { p999: ms(p999), time: at(time) };
    let mut line = Simulation::new(reject_line(), all_good());
    line.push(told(274, 1)); // 278 ms until the deadline, 5 of them are kept
    line.make_ready(at(2));
    line.run_until(at(100));
    let snapshot = line.line.snapshot();
    assert_eq!(
        (snapshot.state, snapshot.awaits),
        (LineState::Starting, Some(Awaits::FasterVerdicts))
    );
    line.push(told(273, 200));
    line.run_until(at(200));
    assert_eq!((line.state(), line.line.snapshot().awaits), (LineState::Ready, None));
    line.push(told(274, 300));
    line.run_until(at(300));
    assert_eq!(line.state(), LineState::Degraded);
    let snapshot = line.line.snapshot();
    assert!(snapshot.alarms.contains(Alarm::Thermal) && snapshot.outputs.ready);
    line.push(told(200, 400));
    line.run_until(at(400));
    assert_eq!(line.state(), LineState::Ready);
    for alarm in [Alarm::Thermal, Alarm::Clock, Alarm::Camera] {
        line.push(LineEvent::Cause { alarm, present: true, time: at(500) });
        line.run_until(at(500));
        assert!(line.line.snapshot().alarms.contains(alarm));
        assert_eq!(line.state(), LineState::Degraded);
        line.push(LineEvent::Cause { alarm, present: false, time: at(500) });
        line.run_until(at(500));
        assert_eq!(line.state(), LineState::Ready);
    }
}

#[test]
fn the_drain_is_as_long_as_it_is_set() {
    let mut settings = LineSettings::with_delay(Wiring::EnergiseToReject, ms(3000));
    settings.decide_max = ms(3000);
    settings.drain = ms(1000);
    let mut line = Simulation::ready(settings, silent());
    line.trigger(at(1000));
    line.push(LineEvent::Stop { time: at(1500) });
    line.run_until(at(9000));
    assert_eq!(line.trace.stopped, Some(at(2500)));
}
