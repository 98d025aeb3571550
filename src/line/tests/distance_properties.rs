//! Random belts: speeds, stops and reverse, parts, verdicts, faults and commands.

use super::distance_checks::DistanceChecker;
use super::properties::{Action, action, answer, config, micros, push};
use super::support::*;
use crate::line::*;
use crate::part::*;
use proptest::prelude::*;

/// What the belt does before the next action.
#[derive(Clone, Copy, Debug)]
enum Move {
    Forward { counts: i64, permille: u32 },
    Back { counts: i64, permille: u32 },
    Wait(Duration),
}

#[derive(Clone, Debug)]
struct Scenario {
    settings: LineSettings,
    steps: Vec<(Move, Action)>,
    answers: Vec<Option<Answer>>,
    step: i64,
    stop: bool,
}

fn settings() -> impl Strategy<Value = LineSettings> {
    let wiring = prop_oneof![Just(Wiring::EnergiseToReject), Just(Wiring::EnergiseToPass)];
    let run = prop_oneof![
        2 => Just(RunSignal::AlwaysRuns),
        1 => Just(RunSignal::RunLine),
        1 => Just(RunSignal::BeltRun),
    ];
    let belt = (20_i64..2000, 5_u32..300, 500_u32..4000, 0_u32..1000);
    let valve = (micros(0..20_000), micros(0..3_000), micros(0..5_000));
    let gate = (micros(1_000..60_000), micros(0..40_000), micros(50_000..4_000_000));
    (wiring, run, belt, valve, gate, any::<[bool; 4]>()).prop_map(
        |(wiring, run_signal, (free, length, speed, reverse), valve, gate, choices)| {
            let [inhibit, air, per_part, stop_on_plc] = choices;
            let mut settings =
                LineSettings::with_distance(wiring, EncoderTravel::new(1, length, speed));
            (settings.actuation_time, settings.jitter, settings.guard) = valve;
            (settings.pulse, settings.min_gap, settings.decide_max) = gate;
            let mut way = way_of(&settings);
            let ahead = settings.actuation_time + settings.jitter + settings.guard;
            way.distance_counts = (way.counts_in(ahead) + free) as u32;
            way.reverse_max_counts = reverse;
            settings.travel = Travel::Distance(way);
            if wiring == Wiring::EnergiseToPass {
                let longest = Duration::from_secs_f64(f64::from(length) / f64::from(speed));
                settings.pulse = settings.pulse.min(longest - longest / 100);
            } else if per_part {
                settings.fault_gate = FaultGate::PerPart;
            }
            settings.run_signal = run_signal;
            settings.soft_trigger = true;
            settings.allow_inhibit = inhibit;
            settings.air_ok_wired = air;
            settings.stop_alarms.set(Alarm::PlcLost, stop_on_plc && inhibit);
            settings.alarm_limits.no_decisions_in_a_row = 9;
            settings.alarm_limits.fails_in_a_row = 9;
            assert_eq!(settings.check(), [] as [String; 0]);
            settings
        },
    )
}

fn movement() -> impl Strategy<Value = Move> {
    let speed = || prop_oneof![3 => 50_u32..=1000, 1 => Just(1000_u32)];
    prop_oneof![
        12 => (1_i64..160, speed())
            .prop_map(|(counts, permille)| Move::Forward { counts, permille }),
        1 => (1_i64..300, speed()).prop_map(|(counts, permille)| Move::Back { counts, permille }),
        1 => micros(0..400_000).prop_map(Move::Wait),
    ]
}

fn scenario() -> impl Strategy<Value = Scenario> {
    settings().prop_flat_map(|settings| {
        let steps = proptest::collection::vec((movement(), action()), 1..90);
        let answers = proptest::collection::vec(answer(settings.decision_time()), 1..20);
        (Just(settings), steps, answers, prop_oneof![1 => 1_i64..3, 3 => 3_i64..20], any::<bool>())
            .prop_map(|(settings, steps, answers, step, stop)| Scenario {
                settings,
                steps,
                answers,
                step,
                stop,
            })
    })
}

/// How a scenario is run.
#[derive(Clone, Default)]
struct Manner {
    /// Where the count begins.
    offset: i64,
    /// Parts whose answers never come.
    unanswered: Vec<u32>,
    called_more: bool,
    record: bool,
}

fn run(scenario: &Scenario, manner: &Manner) -> (Simulation, Belt) {
    let (answers, unanswered) = (scenario.answers.clone(), manner.unanswered.clone());
    let way = move |part: &PartAnnouncement| {
        let sequence = part.sequence.get();
        answers[sequence as usize % answers.len()].filter(|_| !unanswered.contains(&sequence))
    };
    let mut simulation = Simulation::new(scenario.settings.clone(), Box::new(way));
    simulation.trace.everything = manner.record.then(Vec::new);
    simulation.make_ready(at(1));
    let mut belt = Belt::new(at(2), manner.offset);
    (belt.step, belt.called_more) = (scenario.step, manner.called_more);
    belt.tell(&mut simulation);
    let speed_max = way_of(&scenario.settings).speed_max_counts_per_s;
    let speed = |permille: u32| (speed_max * permille / 1000).max(1);
    for (index, (movement, action)) in scenario.steps.iter().enumerate() {
        match *movement {
            Move::Forward { counts, permille } => {
                belt.travel(&mut simulation, counts, speed(permille));
            }
            Move::Back { counts, permille } => {
                belt.travel(&mut simulation, -counts, speed(permille));
            }
            Move::Wait(time) => belt.wait(&mut simulation, time),
        }
        push(&mut simulation, *action, index as u16, belt.time);
        simulation.run_until(belt.time);
    }
    if scenario.stop {
        simulation.push(LineEvent::Stop { time: belt.time });
    }
    let way = way_of(&scenario.settings);
    let rest = way.distance_counts + way.length_counts + way.reverse_max_counts + 200;
    belt.travel(&mut simulation, i64::from(rest), speed_max / 2);
    belt.wait(&mut simulation, scenario.settings.decide_max.max(ms(5000)));
    assert_eq!(simulation.line.pending(), 0);
    (simulation, belt)
}

fn decisions(simulation: &Simulation) -> Vec<(SequenceNumber, Reason, LineTime)> {
    simulation.trace.results.iter().map(|r| (r.sequence, r.reason, r.committed)).collect()
}

/// Nothing but parts and the belt; nothing stops the line.
fn parts_only(mut scenario: Scenario) -> Scenario {
    for step in &mut scenario.steps {
        if !matches!(step.1, Action::Trigger) {
            step.1 = Action::Nothing;
        }
    }
    let settings = &mut scenario.settings;
    settings.run_signal = RunSignal::AlwaysRuns;
    settings.stop_alarms = AlarmSet::always_stopping();
    settings.alarm_limits.no_decisions_in_a_row = 10_000;
    settings.air_ok_wired = false;
    scenario.stop = false;
    scenario
}

proptest! {
    #![proptest_config(config(300))]

    /// 1 to 4, 6, 8, 9, 11, 13, 19, 20, 22 with everything that can happen.
    #[test]
    fn the_invariants_hold_in_distance_mode(scenario in scenario()) {
        let (simulation, _) = run(&scenario, &Manner::default());
        DistanceChecker::new(&scenario.settings, &simulation.trace).all();
    }
}

proptest! {
    #![proptest_config(config(100))]

    /// 5: what comes after D is worth as much as nothing.
    #[test]
    fn a_late_verdict_is_worth_as_much_as_none_in_distance_mode(scenario in scenario()) {
        let (told, _) = run(&scenario, &Manner::default());
        let unanswered = told.trace.late.iter().map(|verdict| verdict.sequence.get()).collect();
        let (dropped, _) = run(&scenario, &Manner { unanswered, ..Manner::default() });
        prop_assert_eq!(told.gate(), dropped.gate());
        prop_assert_eq!(decisions(&told), decisions(&dropped));
    }

    /// 12: counts may begin anywhere.
    #[test]
    fn the_count_may_begin_anywhere(
        scenario in scenario(),
        offset in prop_oneof![Just(1_i64 << 31), Just(1_i64 << 32), Just(-(1_i64 << 31) - 7)],
    ) {
        let (zero, _) = run(&scenario, &Manner::default());
        let (shifted, _) = run(&scenario, &Manner { offset, ..Manner::default() });
        prop_assert_eq!(&zero.trace.alarms, &shifted.trace.alarms);
        prop_assert_eq!(&zero.trace.states, &shifted.trace.states);
        prop_assert_eq!(decisions(&zero), decisions(&shifted));
        prop_assert_eq!(zero.gate(), shifted.gate());
        for (ours, theirs) in zero.trace.results.iter().zip(&shifted.trace.results) {
            prop_assert_eq!(ours.encoder_count + offset, theirs.encoder_count);
            prop_assert_eq!(ours.deadline, theirs.deadline);
        }
    }

    #[test]
    fn calling_more_often_changes_nothing_in_distance_mode(scenario in scenario()) {
        let record = Manner { record: true, ..Manner::default() };
        let (once, _) = run(&scenario, &record);
        let (often, _) = run(&scenario, &Manner { called_more: true, ..record });
        prop_assert_eq!(once.trace.everything, often.trace.everything);
    }

    /// 7: with plc_lost=warn, BELT_RUN unused and no commands the PLC does not move the gate.
    #[test]
    fn the_gate_does_not_depend_on_the_plc_in_distance_mode(scenario in scenario()) {
        let silent = parts_only(scenario.clone());
        let mut spoken = silent.clone();
        for (step, before) in spoken.steps.iter_mut().zip(&scenario.steps) {
            if matches!(before.1, Action::Heartbeat) {
                step.1 = Action::Heartbeat;
            }
        }
        prop_assert_eq!(
            run(&silent, &Manner::default()).0.gate(),
            run(&spoken, &Manner::default()).0.gate()
        );
    }

    /// 4 and 20 over a kill: what a process that died left on the belt falls under the purge of
    /// the next.
    #[test]
    fn parts_of_a_killed_process_are_rejected_by_the_next(scenario in scenario()) {
        let mut killed = scenario.clone();
        killed.stop = false;
        let (before, belt) = run_until_kill(&killed);
        let way = Box::new(|_: &PartAnnouncement| Answer::good(ms(0)));
        let mut after = Simulation::start(scenario.settings.clone(), way, belt.time);
        let mut belt = Belt { time: belt.time + ms(1), ..belt };
        belt.tell(&mut after);
        after.make_ready(belt.time);
        let way = way_of(&scenario.settings);
        for _ in 0..4 {
            belt.part(&mut after);
            let quarter = (way.distance_counts + way.length_counts).div_ceil(4) + 1;
            belt.travel(&mut after, i64::from(quarter), way.speed_max_counts_per_s);
        }
        let checker = DistanceChecker::new(&scenario.settings, &after.trace);
        checker.all();
        for part in before.iter().filter(|part| part.encoder_count <= belt.count) {
            let front = part.encoder_count + i64::from(way.distance_counts);
            let body = front..front + i64::from(way.length_counts);
            let free = checker.stays.iter().find(|s| body.contains(&s.count) && !s.rejects);
            prop_assert!(free.is_none(), "{:?} in {:?} of {:?}", free, body, part);
        }
    }
}

/// The parts that have come by when the process dies in the middle of everything.
fn run_until_kill(scenario: &Scenario) -> (Vec<PartResult>, Belt) {
    let shortened = Scenario { steps: scenario.steps.clone(), ..scenario.clone() };
    let answers = shortened.answers.clone();
    let way = move |part: &PartAnnouncement| answers[part.sequence.get() as usize % answers.len()];
    let mut simulation = Simulation::new(shortened.settings.clone(), Box::new(way));
    simulation.make_ready(at(1));
    let mut belt = Belt::new(at(2), 0);
    belt.step = shortened.step;
    belt.tell(&mut simulation);
    let speed = way_of(&shortened.settings).speed_max_counts_per_s;
    for (movement, action) in &shortened.steps {
        if let Move::Forward { counts, .. } = movement {
            belt.travel(&mut simulation, *counts, speed);
        }
        if matches!(action, Action::Trigger) {
            belt.part(&mut simulation);
        }
    }
    // Every part is known once the line has stopped; only their places are of interest.
    simulation.push(LineEvent::Stop { time: belt.time });
    simulation.run_until(belt.time + ms(10_000));
    (simulation.trace.results, belt)
}

/// Invariants 10 and 11: parts at places, each with its answer, and nothing that takes time.
#[derive(Clone, Debug)]
struct Places {
    settings: LineSettings,
    gaps: Vec<i64>,
    answers: Vec<Option<Answer>>,
    /// The belt's speed changes at each part; sometimes it stands for a while.
    speeds: Vec<u32>,
    /// After this part the belt goes back so far.
    back: (usize, i64),
}

fn places(with_gap: bool) -> impl Strategy<Value = Places> {
    settings().prop_flat_map(move |mut settings| {
        (settings.actuation_time, settings.jitter) = (Duration::ZERO, Duration::ZERO);
        settings.pulse = Duration::from_nanos(1); // 0 is no pulse
        settings.decide_max = Duration::from_secs(3600);
        (settings.lockout, settings.min_part) = (Duration::ZERO, Duration::ZERO);
        if !with_gap {
            settings.min_gap = Duration::ZERO;
        }
        settings.fault_gate = FaultGate::Reject;
        settings.run_signal = RunSignal::AlwaysRuns;
        settings.air_ok_wired = false;
        settings.stop_alarms = AlarmSet::always_stopping();
        settings.alarm_limits.no_decisions_in_a_row = 10_000;
        let longest =
            if with_gap { 0 } else { settings.decision_time().as_micros() as u64 * 9 / 10 };
        let answer = (0..=longest, 0_u8..10).prop_map(|(after, kind)| {
            let after = Duration::from_micros(after);
            match kind {
                0..6 => Answer::good(after),
                6..8 => Answer::bad(after),
                _ => None,
            }
        });
        let reverse_max = i64::from(way_of(&settings).reverse_max_counts);
        (
            Just(settings),
            proptest::collection::vec(1_i64..250, 1..50),
            proptest::collection::vec(answer, 1..20),
            proptest::collection::vec(50_u32..=1000, 1..10),
            (0_usize..50, 0..=reverse_max),
        )
            .prop_map(|(settings, gaps, answers, speeds, back)| Places {
                settings,
                gaps,
                answers,
                speeds,
                back,
            })
    })
}

fn visit(places: &Places, speeds: &[u32], reverses: bool) -> Simulation {
    let answers = places.answers.clone();
    let way = move |part: &PartAnnouncement| answers[part.sequence.get() as usize % answers.len()];
    let mut simulation = Simulation::new(places.settings.clone(), Box::new(way));
    simulation.make_ready(at(1));
    let mut belt = Belt::new(at(2), 0);
    belt.tell(&mut simulation);
    let way = way_of(&places.settings);
    let speed = |index: usize| way.speed_max_counts_per_s * speeds[index % speeds.len()] / 1000;
    for (index, gap) in places.gaps.iter().enumerate() {
        belt.travel(&mut simulation, *gap, speed(index));
        if reverses && index == places.back.0 % places.gaps.len() {
            belt.travel(&mut simulation, -places.back.1, speed(index));
            belt.travel(&mut simulation, places.back.1, speed(index + 1));
        }
        belt.part(&mut simulation);
    }
    let rest = i64::from(way.distance_counts + way.length_counts) + 10;
    for part in 0..10 {
        belt.travel(&mut simulation, rest / 10 + 1, speed(part));
        if reverses && part == 3 {
            belt.travel(&mut simulation, -places.back.1, speed(part));
            belt.travel(&mut simulation, places.back.1, speed(part + 1));
        }
    }
    assert_ne!(simulation.state(), LineState::Fault, "{:?}", simulation.trace.alarms);
    simulation
}

proptest! {
    #![proptest_config(config(100))]

    /// 10: the gate is a function of the place, at any speed.
    #[test]
    fn the_gate_is_a_function_of_the_place(
        places in prop_oneof![places(true), places(false)],
    ) {
        let fast = visit(&places, &[1000], false);
        let varied = visit(&places, &places.speeds, false);
        let ours = DistanceChecker::new(&places.settings, &fast.trace);
        let theirs = DistanceChecker::new(&places.settings, &varied.trace);
        theirs.all();
        prop_assert_eq!(ours.gate_by_place(), theirs.gate_by_place());
    }

    /// 11: back and forward again rejects the same parts.
    #[test]
    fn back_and_forward_again_rejects_the_same_parts(places in places(true)) {
        let straight = visit(&places, &[700], false);
        let back = visit(&places, &places.speeds, true);
        let ours = DistanceChecker::new(&places.settings, &straight.trace);
        let theirs = DistanceChecker::new(&places.settings, &back.trace);
        theirs.all();
        prop_assert_eq!(ours.rejected_last(), theirs.rejected_last());
    }
}
