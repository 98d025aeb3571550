//! A million parts in simulated time, with seeded mischief: weeks of production.

use super::checks::Checker;
use super::distance_checks::DistanceChecker;
use super::support::*;
use crate::line::*;
use crate::part::*;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// In each of four runs: both modes, both wirings.
const PARTS: u32 = 250_000;

fn way(seed: u64) -> Way {
    let mut chance = Pcg64Mcg::seed_from_u64(seed);
    Box::new(move |_: &PartAnnouncement| match chance.random_range(0..1000) {
        0..900 => Answer::good(ms(chance.random_range(20..200))),
        900..950 => Answer::bad(ms(chance.random_range(20..200))),
        950..980 => Answer::good(ms(chance.random_range(200..600))),
        980..990 => Answer::nothing(ms(100), Reason::NoFrame),
        _ => None,
    })
}

/// What happens beside the parts.
fn mischief(line: &mut Simulation, chance: &mut Pcg64Mcg, part: u32, time: LineTime) {
    if part.is_multiple_of(3) {
        line.command(Command::PlcHeartbeat((part / 3) as u16), time);
    }
    match chance.random_range(0..2000) {
        0 => line.push(LineEvent::WireFault { alarm: Alarm::Actuator, time }),
        1..20 => line.command(Command::ForceReject, time),
        20..25 => line.command(Command::ChangeProduct((part % 5) as u16 + 1), time),
        25..30 => line.trigger(time + ms(2)),
        30..33 => line.push(LineEvent::Cause {
            alarm: Alarm::Clock,
            present: part.is_multiple_of(2),
            time,
        }),
        33..36 => {
            line.push(LineEvent::VerdictTime { p999: ms(chance.random_range(100..900)), time })
        }
        _ => {}
    }
    if part.is_multiple_of(20) {
        line.command(Command::ClearFault, time);
    }
}

fn counted(line: &Simulation) {
    let counters = line.line.snapshot().counters;
    assert_eq!(line.trace.results.len(), PARTS as usize);
    assert_eq!(counters.parts, PARTS);
    assert_eq!(counters.life_parts, u64::from(PARTS));
    assert_eq!(counters.life_rejects, u64::from(counters.fail + counters.no_decision));
    assert!(counters.pass > PARTS / 2 && counters.late > 10, "{counters:?}");
    assert!(line.trace.states.iter().any(|change| change.2 == LineState::Fault));
    line.assert_memory_is_flat();
}

fn by_time(wiring: Wiring, seed: u64) {
    let mut settings = LineSettings::with_delay(wiring, ms(300));
    settings.alarm_limits.fails_in_a_row = 8;
    let mut line = Simulation::new(settings.clone(), way(seed));
    line.make_ready(at(1));
    let mut chance = Pcg64Mcg::seed_from_u64(seed + 1);
    let mut time = at(10);
    for part in 0..PARTS {
        time = time + Duration::from_micros(chance.random_range(30_000..200_000));
        line.trigger(time);
        mischief(&mut line, &mut chance, part, time);
        line.run_until(time);
    }
    line.run_until(time + ms(6000));
    let checker = Checker::new(&settings, &line.trace);
    checker.all();
    counted(&line);
    assert_eq!(line.line.snapshot().counters.collateral, checker.collateral());
    assert!(line.line.snapshot().counters.bounce > 100);
}

fn by_distance(wiring: Wiring, seed: u64) {
    let way_length = EncoderTravel::new(1000, 100, 2000);
    let mut settings = LineSettings::with_distance(wiring, way_length);
    settings.alarm_limits.fails_in_a_row = 8;
    let mut line = Simulation::new(settings.clone(), way(seed));
    line.make_ready(at(1));
    let mut chance = Pcg64Mcg::seed_from_u64(seed + 1);
    let mut belt = Belt { step: 25, ..Belt::new(at(10), -5_000) };
    belt.tell(&mut line);
    for part in 0..PARTS {
        let speed = chance.random_range(500..=2000);
        belt.travel(&mut line, chance.random_range(50..350), speed);
        match chance.random_range(0..1000) {
            0 => {
                let back = chance.random_range(1..400);
                belt.travel(&mut line, -back, speed);
                belt.travel(&mut line, back + 1, speed);
            }
            1 => belt.wait(&mut line, ms(chance.random_range(1..20_000))),
            _ => {}
        }
        line.trigger(belt.time);
        mischief(&mut line, &mut chance, part, belt.time);
        line.run_until(belt.time);
    }
    belt.travel(&mut line, 2000, 1000);
    belt.wait(&mut line, ms(2000));
    DistanceChecker::new(&settings, &line.trace).all();
    counted(&line);
}

#[test]
fn a_quarter_of_a_million_parts_by_time_energise_to_reject() {
    by_time(Wiring::EnergiseToReject, 1);
}

#[test]
fn a_quarter_of_a_million_parts_by_time_energise_to_pass() {
    by_time(Wiring::EnergiseToPass, 2);
}

#[test]
fn a_quarter_of_a_million_parts_by_distance_energise_to_reject() {
    by_distance(Wiring::EnergiseToReject, 3);
}

#[test]
fn a_quarter_of_a_million_parts_by_distance_energise_to_pass() {
    by_distance(Wiring::EnergiseToPass, 4);
}
