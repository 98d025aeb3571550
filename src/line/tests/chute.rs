//! The barrier in the reject chute: alarms 5 to 7 of line-io 1.8.

use super::properties::{config, micros};
use super::support::*;
use crate::line::*;
use crate::part::*;
use proptest::prelude::*;

fn watched() -> LineSettings {
    let settings = LineSettings::with_delay(Wiring::EnergiseToReject, ms(300));
    LineSettings { confirm_wired: true, ..settings }
}

fn all_bad() -> Way {
    Box::new(|_| Answer::bad(ms(50)))
}

/// A reject that nobody saw: 500 ms of motion after its window, counted and a stop.
#[test]
fn a_reject_that_is_not_seen_stops_the_line() {
    let mut line = Simulation::ready(watched(), all_bad());
    line.chute = Some(vec![true, false]);
    line.trigger(at(1000)); // window [1283, 1352)
    line.trigger(at(2000)); // window [2283, 2352)
    line.run_until(at(2851));
    let counters = line.line.snapshot().counters;
    assert_eq!((counters.rejects_fired, counters.rejects_confirmed), (2, 1));
    assert_ne!(line.state(), LineState::Fault);
    line.run_until(at(2852));
    let snapshot = line.line.snapshot();
    assert_eq!(snapshot.fault_code, 1 + u16::from(Alarm::ConfirmMissing.bit()));
    assert_eq!(snapshot.counters.rejects_missing, 1);
}

#[test]
fn nothing_is_missed_while_the_belt_stands() {
    let mut settings = watched();
    settings.run_signal = RunSignal::RunLine;
    let mut line = Simulation::ready(settings, all_bad());
    line.trigger(at(1000));
    line.input(InputLine::Run, false, at(1500)); // 148 ms after the window
    line.input(InputLine::Run, true, at(9000));
    line.run_until(at(9351));
    assert_ne!(line.state(), LineState::Fault);
    line.run_until(at(9352));
    assert_eq!(line.state(), LineState::Fault);
}

#[test]
fn with_an_encoder_motion_is_what_it_counts() {
    let travel = Travel::Distance(EncoderTravel::new(1000, 100, 2000));
    let mut line = Simulation::new(LineSettings { travel, ..watched() }, all_bad());
    line.make_ready(at(1));
    let mut belt = Belt::new(at(1), 0);
    belt.tell(&mut line);
    line.command(Command::PurgeDone, at(60));
    belt.wait(&mut line, ms(59));
    belt.travel(&mut line, 1, 1000);
    belt.part(&mut line);
    belt.travel_to(&mut line, 1101 + 499, 1000);
    belt.wait(&mut line, ms(60_000));
    assert_ne!(line.state(), LineState::Fault);
    belt.travel(&mut line, 2, 1000);
    assert_eq!(line.line.snapshot().fault_code, 1 + u16::from(Alarm::ConfirmMissing.bit()));
}

/// Not in purge, Fault or Inhibited.
#[test]
fn nothing_is_waited_for_in_fault() {
    let mut line = Simulation::ready(watched(), all_bad());
    line.trigger(at(1000));
    line.run_until(at(1400));
    line.push(LineEvent::WireFault { alarm: Alarm::Actuator, time: at(1400) });
    line.command(Command::ClearFault, at(1500));
    line.run_until(at(5000));
    assert_ne!(line.state(), LineState::Fault);
    assert_eq!(line.line.snapshot().counters.rejects_missing, 0);
}

#[test]
fn parts_that_nobody_rejected_are_a_warning_at_the_third() {
    let mut line = Simulation::ready(watched(), Box::new(|_| Answer::good(ms(50))));
    for part in 1..=3_u64 {
        line.input(InputLine::Confirm, true, at(1000 * part));
        line.input(InputLine::Confirm, false, at(1000 * part + 30));
        line.run_until(at(1000 * part));
        let raised = line.line.snapshot().alarms.contains(Alarm::ConfirmUnexpected);
        assert_eq!(raised, part == 3);
    }
    assert_eq!(line.state(), LineState::Degraded);
    assert_eq!(line.line.snapshot().namur, NamurStatus::OutOfSpecification);
}

#[test]
fn a_full_bin_stops_the_line_until_it_is_empty_and_cleared() {
    let mut line = Simulation::ready(watched(), all_bad());
    line.input(InputLine::Confirm, true, at(1000));
    line.run_until(at(4999));
    assert_ne!(line.state(), LineState::Fault);
    line.command(Command::ClearFault, at(5100));
    line.run_until(at(5200));
    assert_eq!(line.line.snapshot().fault_code, 1 + u16::from(Alarm::ConfirmStuck.bit()));
    line.input(InputLine::Confirm, false, at(6000));
    line.command(Command::ClearFault, at(6100));
    line.run_until(at(6200));
    assert_ne!(line.state(), LineState::Fault);
}

proptest! {
    #![proptest_config(config(400))]

    /// A chute in which every reject is seen raises no alarm, however rejects merge; one that
    /// loses some stops the line.
    #[test]
    fn every_reject_is_confirmed_or_missing(
        gaps in proptest::collection::vec(micros(20_000..900_000), 1..40),
        good in proptest::collection::vec(any::<bool>(), 1..10),
        seen in proptest::collection::vec(prop_oneof![9 => Just(true), 1 => Just(false)], 1..20),
    ) {
        let way = move |part: &PartAnnouncement| {
            let good = good[part.sequence.get() as usize % good.len()];
            if good { Answer::good(ms(50)) } else { Answer::bad(ms(50)) }
        };
        let mut settings = watched();
        settings.stop_alarms.set(Alarm::ConsecutiveReject, false);
        let mut line = Simulation::ready(settings, Box::new(way));
        let all_seen = seen.iter().all(|seen| *seen);
        line.chute = Some(seen);
        let mut time = at(1000);
        for gap in gaps {
            time = time + gap;
            line.trigger(time);
        }
        line.run_until(time + ms(2000));
        let counters = line.line.snapshot().counters;
        let missing = line.line.snapshot().alarms.contains(Alarm::ConfirmMissing);
        prop_assert_eq!(missing, counters.rejects_missing > 0);
        prop_assert_eq!(line.state() == LineState::Fault, missing);
        if all_seen {
            prop_assert_eq!(counters.rejects_fired, counters.rejects_confirmed);
        }
        let settled = counters.rejects_confirmed + counters.rejects_missing;
        prop_assert!(settled <= counters.rejects_fired);
        prop_assert!(missing || settled == counters.rejects_fired);
    }
}
