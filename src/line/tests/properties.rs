//! Random schedules of triggers, verdicts, stops, faults and commands.

use super::checks::Checker;
use super::support::*;
use crate::line::*;
use crate::part::*;
use proptest::prelude::*;

/// What somebody does.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    Trigger,
    SoftTrigger,
    Command(Command),
    Run(bool),
    Air(bool),
    Way(bool),
    Heartbeat,
    WireFault,
    Reset,
    Nothing,
}

#[derive(Clone, Debug)]
struct Scenario {
    settings: LineSettings,
    steps: Vec<(Duration, Action)>,
    answers: Vec<Option<Answer>>,
    /// Products that do not load.
    broken_product: u16,
    stop: bool,
}

pub fn micros(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_micros)
}

fn settings() -> impl Strategy<Value = LineSettings> {
    let wiring = prop_oneof![Just(Wiring::EnergiseToReject), Just(Wiring::EnergiseToPass)];
    let run = prop_oneof![
        2 => Just(RunSignal::AlwaysRuns),
        1 => Just(RunSignal::RunLine),
        1 => Just(RunSignal::BeltRun),
    ];
    let valve = (micros(0..20_000), micros(0..3_000), micros(0..5_000), micros(1_000..400_000));
    let gate = (micros(1_000..90_000), micros(0..60_000), micros(20_000..1_000_000));
    let trigger = (micros(0..6_000), micros(0..20_000), any::<bool>());
    let choices = (any::<[bool; 4]>(), 1_u32..4);
    (wiring, run, valve, gate, trigger, choices).prop_map(
        |(wiring, run_signal, valve, gate, trigger, ([inhibit, plc, air, alarms], few))| {
            let (actuation_time, jitter, guard, decide) = valve;
            let delay = actuation_time + jitter + guard + decide;
            let mut settings = LineSettings::with_delay(wiring, delay);
            (settings.actuation_time, settings.jitter, settings.guard) =
                (actuation_time, jitter, guard);
            (settings.pulse, settings.min_gap, settings.decide_max) = gate;
            settings.lockout = trigger.0;
            settings.min_part = trigger.0 + trigger.1;
            settings.strobe =
                trigger.2.then_some(Strobe { offset: ms(0), width: Duration::from_micros(300) });
            settings.run_signal = run_signal;
            settings.soft_trigger = true;
            settings.allow_inhibit = inhibit;
            settings.air_ok_wired = air;
            settings.stop_alarms.set(Alarm::PlcLost, plc && inhibit);
            settings.stop_alarms.set(Alarm::Overrun, alarms && plc);
            settings.alarm_limits.no_decisions_in_a_row = 4 * few;
            settings.alarm_limits.fails_in_a_row = 4 * few;
            settings.alarm_limits.fails = Share { count: few, parts: 3 * few };
            settings
        },
    )
}

pub fn answer(decision_time: Duration) -> impl Strategy<Value = Option<Answer>> {
    let longest = decision_time.as_micros() as u64 * 5 / 4 + 2;
    let after = prop_oneof![
        6 => micros(0..longest),
        1 => Just(decision_time),
        1 => Just(decision_time.saturating_sub(Duration::from_nanos(1))),
    ];
    (after, 0_u8..20).prop_map(|(after, kind)| match kind {
        0..12 => Answer::good(after),
        12..15 => Answer::bad(after),
        15 => Answer::nothing(after, Reason::NoFrame),
        16 => Answer::nothing(after, Reason::Good),
        17 => Answer::good(after).map(|answer| Answer { score: f32::NEG_INFINITY, ..answer }),
        18 => Answer::good(after).map(|answer| Answer { threshold: answer.score, ..answer }),
        _ => None,
    })
}

pub fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        60 => Just(Action::Trigger),
        2 => Just(Action::SoftTrigger),
        8 => Just(Action::Nothing),
        8 => Just(Action::Heartbeat),
        6 => Just(Action::Command(Command::ClearFault)),
        2 => Just(Action::Reset),
        1 => Just(Action::Command(Command::PurgeDone)),
        1 => Just(Action::Command(Command::ForceReject)),
        1 => Just(Action::Command(Command::ResetCounters)),
        2 => any::<bool>().prop_map(|level| Action::Command(Command::Inhibit(level))),
        2 => (1_u16..4).prop_map(|product| Action::Command(Command::ChangeProduct(product))),
        1 => prop_oneof![1 => Just(false), 2 => Just(true)].prop_map(Action::Run),
        1 => prop_oneof![1 => Just(false), 2 => Just(true)]
            .prop_map(|level| Action::Command(Command::BeltRun(level))),
        1 => prop_oneof![1 => Just(false), 3 => Just(true)].prop_map(Action::Air),
        1 => any::<bool>().prop_map(Action::Way),
        1 => Just(Action::WireFault),
    ]
}

fn gap() -> impl Strategy<Value = Duration> {
    prop_oneof![
        8 => micros(0..120_000),
        3 => micros(0..12_000),
        1 => micros(0..900_000),
        1 => Just(Duration::ZERO),
    ]
}

fn scenario() -> impl Strategy<Value = Scenario> {
    settings().prop_flat_map(|settings| {
        let steps = proptest::collection::vec((gap(), action()), 1..120);
        let answers = proptest::collection::vec(answer(settings.decision_time()), 1..20);
        (Just(settings), steps, answers, 1_u16..4, any::<bool>()).prop_map(
            |(settings, steps, answers, broken_product, stop)| Scenario {
                settings,
                steps,
                answers,
                broken_product,
                stop,
            },
        )
    })
}

/// How a scenario is run.
#[derive(Clone, Copy, Default)]
struct Manner {
    /// Answers that would come late are dropped instead.
    drop_late: bool,
    /// Moments between, at which `advance` is called although nothing is due.
    extra_advances: u64,
    record: bool,
    /// The PLC's heartbeat beats.
    without_plc: bool,
}

fn run(scenario: &Scenario, manner: Manner) -> Simulation {
    let answers = scenario.answers.clone();
    let drop_late = manner.drop_late;
    let way = move |part: &PartAnnouncement| {
        let answer = answers[part.sequence.get() as usize % answers.len()];
        answer.filter(|a| !drop_late || part.triggered + a.after < part.deadline)
    };
    let mut simulation = Simulation::new(scenario.settings.clone(), Box::new(way));
    simulation.trace.everything = manner.record.then(Vec::new);
    simulation.broken_product = scenario.broken_product;
    if !manner.without_plc {
        simulation.make_ready(at(1));
    } else {
        simulation.push(LineEvent::ProductChanged { product: 7, result: 0, time: at(1) });
        simulation.push(LineEvent::WayReady { ready: true, time: at(1) });
    }
    let mut time = at(2);
    let mut extra = 0;
    for (index, (gap, action)) in scenario.steps.iter().enumerate() {
        for _ in 0..manner.extra_advances {
            extra += 7_919_000;
            let between = time + Duration::from_nanos(extra % (gap.as_nanos() as u64 + 1));
            if between >= simulation.now {
                simulation.run_until(between);
                simulation.advance(between);
            }
        }
        time = time + *gap;
        push(&mut simulation, *action, index as u16, time);
        simulation.run_until(time);
    }
    let rest = transit_of(&scenario.settings) + scenario.settings.decide_max + ms(10);
    if scenario.stop {
        simulation.push(LineEvent::Stop { time });
    }
    simulation.run_until(time + rest);
    if scenario.stop {
        simulation.run_until(time + ms(5000));
        assert!(simulation.trace.stopped.is_some());
    }
    assert_eq!(simulation.line.pending(), 0);
    simulation
}

pub fn push(simulation: &mut Simulation, action: Action, index: u16, time: LineTime) {
    match action {
        Action::Trigger => simulation.trigger(time),
        Action::SoftTrigger => simulation.command(Command::SoftTrigger, time),
        Action::Command(command) => simulation.command(command, time),
        Action::Run(level) => simulation.input(InputLine::Run, level, time),
        Action::Air(level) => simulation.input(InputLine::AirOk, level, time),
        Action::Way(ready) => simulation.push(LineEvent::WayReady { ready, time }),
        Action::Heartbeat => simulation.command(Command::PlcHeartbeat(index + 2), time),
        Action::WireFault => {
            simulation.push(LineEvent::WireFault { alarm: Alarm::Actuator, time });
        }
        Action::Reset => {
            simulation.input(InputLine::Reset, true, time);
            simulation.input(InputLine::Reset, false, time + ms(130));
        }
        Action::Nothing => {}
    }
}

/// Only parts and what the way makes of them.
fn parts_only(mut scenario: Scenario) -> Scenario {
    scenario.steps.retain(|step| matches!(step.1, Action::Trigger | Action::Nothing));
    scenario.settings.run_signal = RunSignal::AlwaysRuns;
    scenario.settings.stop_alarms.set(Alarm::PlcLost, false);
    scenario.settings.air_ok_wired = false;
    scenario.stop = false;
    scenario
}

pub fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        cases,
        max_shrink_iters: 4000,
        ..Default::default()
    }
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn the_invariants_hold(scenario in scenario()) {
        let simulation = run(&scenario, Manner::default());
        Checker::new(&scenario.settings, &simulation.trace).all();
    }

    #[test]
    fn the_invariants_hold_for_parts_alone_and_collateral_is_exact(scenario in scenario()) {
        let scenario = parts_only(scenario);
        let simulation = run(&scenario, Manner::default());
        let checker = Checker::new(&scenario.settings, &simulation.trace);
        checker.all();
        prop_assert_eq!(simulation.line.snapshot().counters.collateral, checker.collateral());
    }
}

proptest! {
    #![proptest_config(config(500))]

    /// Invariant 5.
    #[test]
    fn a_late_verdict_is_worth_as_much_as_none(scenario in scenario()) {
        let told = run(&scenario, Manner::default());
        let dropped = run(&scenario, Manner { drop_late: true, ..Manner::default() });
        prop_assert_eq!(told.gate(), dropped.gate());
        let decisions = |s: &Simulation| -> Vec<_> {
            s.trace.results.iter().map(|r| (r.sequence, r.reason, r.committed)).collect()
        };
        prop_assert_eq!(decisions(&told), decisions(&dropped));
    }

    #[test]
    fn calling_more_often_changes_nothing(scenario in scenario(), extra in 1_u64..4) {
        let record = Manner { record: true, ..Manner::default() };
        let once = run(&scenario, record);
        let often = run(&scenario, Manner { extra_advances: extra, ..record });
        prop_assert_eq!(once.trace.everything, often.trace.everything);
        let mut ours = once.line.snapshot();
        ours.outputs = often.line.snapshot().outputs;
        prop_assert_eq!(ours, often.line.snapshot());
    }

    /// Invariant 7: with plc_lost=warn and no commands the PLC does not move the gate.
    #[test]
    fn the_gate_does_not_depend_on_the_plc(scenario in scenario()) {
        let mut scenario = scenario;
        let silent = parts_only(scenario.clone());
        scenario.settings = silent.settings.clone();
        scenario.stop = false;
        scenario.steps.iter_mut().for_each(|step| {
            if !matches!(step.1, Action::Trigger | Action::Heartbeat) {
                step.1 = Action::Nothing;
            }
        });
        let mut silent = scenario.clone();
        silent.steps.iter_mut().for_each(|step| {
            if !matches!(step.1, Action::Trigger) {
                step.1 = Action::Nothing;
            }
        });
        let spoken = run(&scenario, Manner::default());
        let silent = run(&silent, Manner { without_plc: true, ..Manner::default() });
        prop_assert_eq!(spoken.gate(), silent.gate());
    }

    /// Triggers whose event reaches the thread late: the reject still comes within J, or the line
    /// says LATE_FIRE.
    #[test]
    fn late_trigger_events_still_reject_or_say_so(
        scenario in scenario(), delays in proptest::collection::vec(micros(0..600_000), 1..8),
        rarely in 2_usize..9,
    ) {
        let scenario = parts_only(scenario);
        let answers = scenario.answers.clone();
        let way = move |part: &PartAnnouncement| answers[part.sequence.get() as usize % answers.len()];
        let mut simulation = Simulation::new(scenario.settings.clone(), Box::new(way));
        simulation.make_ready(at(1));
        let mut time = at(2);
        for (index, (gap, action)) in scenario.steps.iter().enumerate() {
            time = time + *gap;
            if matches!(action, Action::Trigger) {
                let delay = if index % rarely == 0 { delays[index % delays.len()] } else { ms(0) };
                let event = LineEvent::Trigger { time, source: TriggerSource::Wire };
                simulation.push_late(event, delay);
            }
        }
        simulation.run_until(time + ms(1000) + transit_of(&scenario.settings));
        let late = simulation.trace.alarms.iter().any(|alarm| alarm.1 == Alarm::LateFire);
        let checker = Checker::new(&scenario.settings, &simulation.trace);
        checker.sequence_without_gaps();
        checker.passes_have_evidence_in_time();
        if !late {
            checker.rejects_cover_their_windows_within(scenario.settings.jitter);
        }
    }
}
