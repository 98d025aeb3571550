//! Many hours of production in simulated time, with seeded mischief.

use super::checks::Checker;
use super::support::*;
use crate::line::*;
use crate::part::*;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

const PARTS: u32 = 100_000;

fn hours(wiring: Wiring, seed: u64) {
    let mut settings = LineSettings::with_delay(wiring, ms(300));
    settings.alarm_limits.fails_in_a_row = 8;
    let mut chance = Pcg64Mcg::seed_from_u64(seed);
    let way = move |_: &PartAnnouncement| match chance.random_range(0..1000) {
        0..900 => Answer::good(ms(chance.random_range(20..200))),
        900..950 => Answer::bad(ms(chance.random_range(20..200))),
        950..980 => Answer::good(ms(chance.random_range(200..400))),
        980..990 => Answer::nothing(ms(100), Reason::NoFrame),
        _ => None,
    };
    let mut simulation = Simulation::new(settings.clone(), Box::new(way));
    simulation.make_ready(at(1));
    let mut chance = Pcg64Mcg::seed_from_u64(seed + 1);
    let mut time = at(10);
    let mut beat = 2_u16;
    for part in 0..PARTS {
        time = time + Duration::from_micros(chance.random_range(30_000..200_000));
        simulation.trigger(time);
        if part % 3 == 0 {
            beat = beat.wrapping_add(1);
            simulation.command(Command::PlcHeartbeat(beat), time);
        }
        match chance.random_range(0..2000) {
            0 => simulation.push(LineEvent::WireFault { alarm: Alarm::Encoder, time }),
            1..20 => simulation.command(Command::ForceReject, time),
            20..25 => simulation.command(Command::ChangeProduct(beat % 5 + 1), time),
            25..30 => simulation.trigger(time + ms(2)),
            _ => {}
        }
        if part % 20 == 0 {
            simulation.command(Command::ClearFault, time);
        }
        simulation.run_until(time);
    }
    simulation.run_until(time + ms(6000));
    let checker = Checker::new(&settings, &simulation.trace);
    checker.all();
    let counters = simulation.line.snapshot().counters;
    assert_eq!(simulation.trace.results.len(), PARTS as usize);
    assert_eq!(counters.parts, PARTS);
    assert_eq!(counters.life_parts, u64::from(PARTS));
    assert_eq!(counters.life_rejects, u64::from(counters.fail + counters.no_decision));
    assert_eq!(counters.collateral, checker.collateral());
    assert!(counters.pass > PARTS / 2 && counters.bounce > 100 && counters.late > 100);
    assert!(simulation.trace.states.iter().any(|change| change.2 == LineState::Fault));
}

#[test]
fn a_hundred_thousand_parts_energise_to_reject() {
    hours(Wiring::EnergiseToReject, 1);
}

#[test]
fn a_hundred_thousand_parts_energise_to_pass() {
    hours(Wiring::EnergiseToPass, 2);
}
