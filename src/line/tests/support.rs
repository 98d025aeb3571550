//! A virtual clock, a way that answers as scripted, and a trace of everything that happened.

use crate::line::*;
use crate::part::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub const fn at(millis: u64) -> LineTime {
    LineTime::from_millis(millis)
}

/// Room for the outputs of one event, as the line's thread has it.
pub const OUTPUTS: usize = 1024;

pub const ACTIVE_PRODUCT: u16 = 7;

/// What the way does with a part.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub after: Duration,
    pub reason: Reason,
    pub score: f32,
    pub threshold: f32,
}

impl Answer {
    pub fn good(after: Duration) -> Option<Self> {
        Some(Self { after, reason: Reason::Good, score: 0.1, threshold: 0.5 })
    }

    pub fn bad(after: Duration) -> Option<Self> {
        let reason = Reason::ScoreAtOrAboveThreshold;
        Some(Self { after, reason, score: 0.9, threshold: 0.5 })
    }

    pub fn nothing(after: Duration, reason: Reason) -> Option<Self> {
        Some(Self { after, reason, score: f32::NAN, threshold: f32::NAN })
    }
}

/// Everything that came out, with the time it came out.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub outputs: Vec<(LineTime, OutputLevels)>,
    pub armed: Vec<(LineTime, PartAnnouncement)>,
    pub results: Vec<PartResult>,
    pub states: Vec<(LineTime, LineState, LineState)>,
    pub alarms: Vec<(LineTime, Alarm, bool)>,
    pub loads: Vec<(LineTime, u16)>,
    pub late: Vec<Verdict>,
    pub stopped: Option<LineTime>,
    pub purge_done: Vec<LineTime>,
    /// When the line began.
    pub begun: LineTime,
    /// Where the belt is, as told.
    pub counts: Vec<(LineTime, i64)>,
    /// Every output as text, to compare two runs; only if asked for.
    pub everything: Option<Vec<String>>,
}

pub type Way = Box<dyn FnMut(&PartAnnouncement) -> Option<Answer>>;

/// An event on its way: arrival, order, stamp is inside the event.
struct Queued(LineTime, u64, LineEvent);

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

pub struct Simulation {
    pub line: Line,
    pub settings: LineSettings,
    pub trace: Trace,
    pub way: Way,
    /// A product whose load fails with 5.
    pub broken_product: u16,
    /// Whether the n-th reject is seen in the chute, over and over; `None`: no barrier.
    pub chute: Option<Vec<bool>>,
    fallen: usize,
    pub now: LineTime,
    queue: BinaryHeap<Reverse<Queued>>,
    queued: u64,
    out: Vec<LineOutput>,
    state: LineState,
}

impl Simulation {
    /// A line that has just started, at 0.
    pub fn new(settings: LineSettings, way: Way) -> Self {
        Self::start(settings, way, LineTime::ZERO)
    }

    /// A line that has just started.
    pub fn start(settings: LineSettings, way: Way, begun: LineTime) -> Self {
        let line = Line::new(settings.clone(), begun);
        let mut simulation = Self {
            line,
            settings,
            trace: Trace { begun, ..Trace::default() },
            way,
            broken_product: 0,
            chute: None,
            fallen: 0,
            now: begun,
            queue: BinaryHeap::new(),
            queued: 0,
            out: Vec::with_capacity(OUTPUTS),
            state: LineState::Starting,
        };
        simulation.advance(begun);
        simulation
    }

    /// Started, Ready at 1 ms, purge over: PURGE_DONE at 2 ms.
    pub fn ready(settings: LineSettings, way: Way) -> Self {
        let mut simulation = Self::new(settings, way);
        simulation.make_ready(at(1));
        simulation.command(Command::PurgeDone, at(2));
        simulation.run_until(at(2));
        assert!(simulation.line.snapshot().outputs.ready);
        simulation
    }

    /// The wires' first levels, product and way.
    pub fn make_ready(&mut self, time: LineTime) {
        self.input(InputLine::Run, true, time);
        self.input(InputLine::AirOk, true, time);
        self.command(Command::PlcHeartbeat(1), time);
        self.command(Command::BeltRun(true), time);
        self.push(LineEvent::ProductChanged { product: ACTIVE_PRODUCT, result: 0, time });
        self.push(LineEvent::WayReady { ready: true, time });
    }

    pub fn push(&mut self, event: LineEvent) {
        self.push_late(event, Duration::ZERO);
    }

    /// The event reaches the line thread later than its stamp.
    pub fn push_late(&mut self, event: LineEvent, delay: Duration) {
        self.queued += 1;
        self.queue.push(Reverse(Queued(event.time() + delay, self.queued, event)));
    }

    pub fn trigger(&mut self, time: LineTime) {
        self.push(LineEvent::Trigger { time, source: TriggerSource::Wire });
    }

    pub fn command(&mut self, command: Command, time: LineTime) {
        self.push(LineEvent::Command { command, time });
    }

    pub fn input(&mut self, input: InputLine, level: bool, time: LineTime) {
        self.push(LineEvent::Input { input, level, time });
    }

    /// Serves events and due moments in order, up to `end`.
    pub fn run_until(&mut self, end: LineTime) {
        loop {
            let due = self.line.next_due();
            let arrival = self.queue.peek().map(|queued| queued.0.0);
            match arrival {
                Some(arrival) if arrival <= due && arrival <= end => {
                    let Some(Reverse(Queued(_, _, event))) = self.queue.pop() else { return };
                    self.deliver(event, arrival);
                }
                _ if due <= end => self.advance(due),
                _ => return self.advance(end),
            }
        }
    }

    fn deliver(&mut self, event: LineEvent, arrival: LineTime) {
        if let LineEvent::Command { command: Command::PurgeDone, .. } = event {
            self.trace.purge_done.push(arrival);
        }
        if let LineEvent::Encoder { count, .. } = event {
            self.trace.counts.push((arrival, count));
        }
        self.now = arrival;
        let mut out = std::mem::take(&mut self.out);
        self.line.wake(arrival);
        self.line.handle(event, &mut out);
        self.line.advance(arrival, &mut out);
        self.take(out);
    }

    pub fn advance(&mut self, now: LineTime) {
        self.now = now;
        let mut out = std::mem::take(&mut self.out);
        self.line.advance(now, &mut out);
        self.take(out);
    }

    fn take(&mut self, mut out: Vec<LineOutput>) {
        for output in out.drain(..) {
            if let Some(everything) = &mut self.trace.everything {
                everything.push(format!("{} {output:?}", self.now));
            }
            self.note(output);
        }
        self.out = out;
        self.check_moment();
    }

    fn note(&mut self, output: LineOutput) {
        let now = self.now;
        match output {
            LineOutput::Outputs(levels) => {
                let before = self.trace.outputs.last().is_some_and(|last| last.1.reject);
                self.trace.outputs.push((now, levels));
                if levels.reject && !before {
                    self.drop_into_chute();
                }
            }
            LineOutput::Armed(part) => {
                self.trace.armed.push((now, part));
                self.answer(&part);
            }
            LineOutput::Decided(result) => self.trace.results.push(result),
            LineOutput::Late(verdict) => self.trace.late.push(verdict),
            LineOutput::LoadProduct(product) => {
                self.trace.loads.push((now, product));
                let failed = product == self.broken_product;
                let (product, result) = if failed { (0, 5) } else { (product, 0) };
                let time = now + ms(30);
                self.push(LineEvent::ProductChanged { product, result, time });
            }
            LineOutput::AlarmChanged { alarm, active } => {
                self.trace.alarms.push((now, alarm, active));
            }
            LineOutput::StateChanged { from, to } => {
                assert_eq!(from, self.state);
                self.state = to;
                self.trace.states.push((now, from, to));
            }
            LineOutput::Stopped => self.trace.stopped = Some(now),
        }
    }

    /// Energise to reject: what is rejected covers the barrier 80 ms later, for 30 ms.
    fn drop_into_chute(&mut self) {
        let Some(seen) = &self.chute else { return };
        self.fallen += 1;
        if seen[(self.fallen - 1) % seen.len()] {
            self.input(InputLine::Confirm, true, self.now + ms(80));
            self.input(InputLine::Confirm, false, self.now + ms(110));
        }
    }

    fn answer(&mut self, part: &PartAnnouncement) {
        if let Some(answer) = (self.way)(part) {
            let Answer { after, reason, score, threshold } = answer;
            let sequence = part.sequence;
            let verdict = Verdict { reason, score, threshold, regions: 0, largest: None, sequence };
            self.push(LineEvent::Verdict { verdict, time: self.now + after });
        }
    }

    /// What holds at every moment (1.9: 13, 19, 22), and that the line is called again in time.
    fn check_moment(&self) {
        let snapshot = self.line.snapshot();
        let counters = snapshot.counters;
        let pending = self.line.pending() as u32;
        let decided = counters.pass + counters.fail + counters.no_decision;
        assert_eq!(counters.parts, decided + pending, "parts = decided + pending");
        assert_eq!(snapshot.state, self.state);
        assert_eq!(self.trace.outputs.last().map(|last| last.1), Some(snapshot.outputs));
        let (outputs, state) = (snapshot.outputs, snapshot.state);
        let working = [LineState::Ready, LineState::Running, LineState::Degraded];
        assert!(!outputs.ready || working.contains(&state), "ready in {state:?}");
        if state == LineState::Fault {
            let rejects = snapshot.gate_rejects || self.settings.fault_gate == FaultGate::PerPart;
            assert!(rejects && !outputs.ready && outputs.fault, "Fault rejects");
            assert!(snapshot.fault_code > 0);
        } else {
            assert!(!outputs.fault);
        }
        if self.trace.stopped.is_some() {
            assert!(snapshot.gate_rejects && !outputs.ready && !outputs.alive);
            assert_eq!(pending, 0);
        } else {
            let due = self.line.next_due();
            assert!(due > self.now && due <= self.now + ms(100), "next due {due}");
        }
    }

    /// What was allocated at the start is all there ever is.
    pub fn assert_memory_is_flat(&self) {
        let fresh = Line::new(self.settings.clone(), LineTime::ZERO);
        assert_eq!(self.line.capacities(), fresh.capacities());
        assert_eq!(self.out.capacity(), OUTPUTS);
    }

    /// The gate's level over time: (from, rejects), edges only.
    pub fn gate(&self) -> Vec<(LineTime, bool)> {
        gate_of(&self.settings, &self.trace)
    }

    /// The gate's level at `time`.
    pub fn rejects_at(&self, time: LineTime) -> bool {
        self.gate().iter().rev().find(|edge| edge.0 <= time).unwrap().1
    }

    pub fn result(&self, sequence: u32) -> PartResult {
        let wanted = |result: &&PartResult| result.sequence.get() == sequence;
        *self.trace.results.iter().find(wanted).unwrap()
    }

    pub fn state(&self) -> LineState {
        self.line.snapshot().state
    }
}

pub fn gate_of(settings: &LineSettings, trace: &Trace) -> Vec<(LineTime, bool)> {
    let rejects = |levels: &OutputLevels| match settings.wiring {
        Wiring::EnergiseToReject => levels.reject,
        Wiring::EnergiseToPass => !levels.pass,
    };
    let mut edges: Vec<(LineTime, bool)> = Vec::new();
    for (time, levels) in &trace.outputs {
        let level = rejects(levels);
        if edges.last().is_some_and(|last| last.0 == *time) {
            edges.pop(); // no time passed at the level in between
        }
        if edges.last().is_none_or(|last| last.1 != level) {
            edges.push((*time, level));
        }
    }
    edges
}

/// A belt with an encoder: it tells every `step` counts, and pulls the trigger where parts are.
#[derive(Clone, Copy, Debug)]
pub struct Belt {
    pub time: LineTime,
    pub count: i64,
    pub step: i64,
    /// The line is called between the counts too.
    pub called_more: bool,
}

impl Belt {
    pub fn new(time: LineTime, count: i64) -> Self {
        Self { time, count, step: 1, called_more: false }
    }

    /// The first count, told at once.
    pub fn tell(&self, simulation: &mut Simulation) {
        if self.called_more {
            let between = self.time - Duration::from_micros(77);
            if between > simulation.now {
                simulation.run_until(between);
                simulation.advance(between);
            }
        }
        simulation.push(LineEvent::Encoder { count: self.count, time: self.time });
        simulation.run_until(self.time);
    }

    /// Goes `counts` on (back where negative) at `speed` counts per second.
    pub fn travel(&mut self, simulation: &mut Simulation, counts: i64, speed: u32) {
        let mut left = counts.abs();
        while left > 0 {
            let step = left.min(self.step);
            left -= step;
            self.time = self.time + time_for(step, speed);
            self.count += step * counts.signum();
            self.tell(simulation);
        }
    }

    /// As [`Belt::travel`], to a place.
    pub fn travel_to(&mut self, simulation: &mut Simulation, count: i64, speed: u32) {
        self.travel(simulation, count - self.count, speed);
    }

    /// Stands.
    pub fn wait(&mut self, simulation: &mut Simulation, time: Duration) {
        self.time = self.time + time;
        simulation.run_until(self.time);
    }

    /// A part here and now.
    pub fn part(&self, simulation: &mut Simulation) {
        simulation.trigger(self.time);
        simulation.run_until(self.time);
    }
}

/// Time for `counts`, rounded up.
pub fn time_for(counts: i64, speed: u32) -> Duration {
    Duration::from_nanos((counts.unsigned_abs() * 1_000_000_000).div_ceil(u64::from(speed)))
}

/// Distance mode's numbers.
pub fn way_of(settings: &LineSettings) -> EncoderTravel {
    match settings.travel {
        Travel::Distance(way) => way,
        Travel::Delay { .. } => panic!("delay mode"),
    }
}

/// From the trigger to the ejector, in delay mode; in distance mode at the largest speed.
pub fn delay_of(settings: &LineSettings) -> Duration {
    match settings.travel {
        Travel::Delay { delay, .. } => delay,
        Travel::Distance(way) => Duration::from_secs_f64(
            f64::from(way.distance_counts) / f64::from(way.speed_max_counts_per_s),
        ),
    }
}

/// R6 in delay mode: delay + actuation + pulse + 2 J.
pub fn transit_of(settings: &LineSettings) -> Duration {
    let window = settings.actuation_time + settings.pulse + settings.jitter * 2;
    delay_of(settings) + window
}
