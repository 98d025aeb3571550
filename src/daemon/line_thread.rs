//! The `line` thread: owns the tracker and the output wires, wakes for events and due edges.

use super::observation::{Drops, Observation};
use super::service::Watchdog;
use crate::line::{Alarm, Line, LineEvent, LineOutput, LineSnapshot};
use crate::line_io::OutputLines;
use crate::line_io::channel::{self, RecvTimeoutError};
use crate::line_io::realtime::{self, RealtimeSettings};
use crate::part::{LineTime, PartAnnouncement, PartResult, Reason, Verdict};
use arc_swap::ArcSwap;
use crossbeam_channel::Sender;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Outputs of one event; a purge of a full schedule decides 256 parts at once.
const OUTPUTS_PER_EVENT: usize = 1024;

/// Snapshots that go round; as many as readers hold at a time, and one.
const SNAPSHOTS: usize = 4;

/// Where the line's outputs go. Every send is a `try_send`: the line never waits.
pub struct LineExits {
    /// To the pairing of frames; full means the way cannot follow: no decision.
    pub announcements: channel::Sender<PartAnnouncement>,
    /// To the Modbus server, if there is one.
    pub results: Option<Sender<PartResult>>,
    /// To log, terminal and archive.
    pub observations: channel::Sender<Observation>,
    /// Product numbers to load, to the engine's thread.
    pub loads: Sender<u16>,
    /// Published whole after each event.
    pub snapshot: Arc<ArcSwap<LineSnapshot>>,
    /// Counted drops.
    pub drops: Arc<Drops>,
}

/// Starts the thread. It ends after `LineOutput::Stopped`, with the outputs safe.
pub fn spawn(
    line: Line,
    wires: Vec<Box<dyn OutputLines>>,
    events: channel::Receiver<LineEvent>,
    exits: LineExits,
    watchdog: Option<Watchdog>,
    realtime: RealtimeSettings,
) -> std::io::Result<JoinHandle<()>> {
    let outputs = Vec::with_capacity(OUTPUTS_PER_EVENT);
    let spare = Vec::with_capacity(SNAPSHOTS);
    let mut thread =
        LineThread { line, wires, events, exits, watchdog, outputs, spare, stopped: false };
    std::thread::Builder::new().name("line".into()).spawn(move || {
        realtime::apply(&realtime);
        thread.run();
    })
}

struct LineThread {
    line: Line,
    wires: Vec<Box<dyn OutputLines>>,
    events: channel::Receiver<LineEvent>,
    exits: LineExits,
    watchdog: Option<Watchdog>,
    outputs: Vec<LineOutput>,
    /// Snapshots published before; free again once no reader holds them.
    spare: Vec<Arc<LineSnapshot>>,
    stopped: bool,
}

impl LineThread {
    fn run(&mut self) {
        while !self.stopped {
            let wait = self.line.next_due().since(LineTime::now());
            let event = match self.events.recv_timeout(wait) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                // Nobody is left to trigger or to stop: stop by ourselves, safely.
                Err(RecvTimeoutError::Disconnected) => {
                    Some(LineEvent::Stop { time: LineTime::now() })
                }
            };
            self.step(event);
            if let Some(watchdog) = &self.watchdog {
                watchdog.feed();
            }
        }
    }

    fn step(&mut self, event: Option<LineEvent>) {
        let now = LineTime::now();
        self.line.wake(now);
        if let Some(event) = event {
            self.line.handle(committed_now(event, now), &mut self.outputs);
        }
        self.line.advance(now, &mut self.outputs);
        while !self.outputs.is_empty() {
            let mut outputs = std::mem::take(&mut self.outputs);
            for output in outputs.drain(..) {
                self.carry_out(output);
            }
            // What carrying out caused (an actuator fault, a full way) comes next.
            if self.outputs.is_empty() {
                self.outputs = outputs;
            }
        }
        self.publish();
    }

    /// Shows the line as it is; allocates only while readers hold every spare snapshot.
    fn publish(&mut self) {
        let snapshot = self.line.snapshot();
        let free = self.spare.iter_mut().position(|spare| Arc::get_mut(spare).is_some());
        let mut next = match free {
            Some(index) => self.spare.swap_remove(index),
            None => Arc::new(snapshot),
        };
        if let Some(place) = Arc::get_mut(&mut next) {
            *place = snapshot;
        }
        let before = self.exits.snapshot.swap(next);
        if self.spare.len() < SNAPSHOTS {
            self.spare.push(before);
        }
    }

    fn carry_out(&mut self, output: LineOutput) {
        match output {
            LineOutput::Outputs(levels) => {
                let failed = self.wires.iter_mut().any(|wires| wires.write(levels).is_err());
                if failed {
                    let time = LineTime::now();
                    let fault = LineEvent::WireFault { alarm: Alarm::Actuator, time };
                    self.line.handle(fault, &mut self.outputs);
                }
            }
            LineOutput::Armed(part) => {
                if self.exits.announcements.try_send(part).is_err() {
                    let verdict = Verdict::nothing_known(part.sequence, Reason::Overrun);
                    let event = LineEvent::Verdict { verdict, time: LineTime::now() };
                    self.line.handle(event, &mut self.outputs);
                }
            }
            LineOutput::Decided(result) => {
                if self.exits.results.is_some() {
                    // Whoever has the result must find it counted in the snapshot.
                    self.publish();
                }
                if let Some(results) = &self.exits.results
                    && results.try_send(result).is_err()
                {
                    Drops::count(&self.exits.drops.results);
                }
                self.observe(Observation::Decided(result));
            }
            LineOutput::LoadProduct(number) => {
                if self.exits.loads.try_send(number).is_err() {
                    let time = LineTime::now();
                    let event = LineEvent::ProductChanged { product: 0, result: 5, time };
                    self.line.handle(event, &mut self.outputs);
                }
            }
            LineOutput::Late(verdict) => self.observe(Observation::Late(verdict)),
            LineOutput::AlarmChanged { alarm, active } => {
                self.observe(Observation::AlarmChanged { alarm, active });
            }
            LineOutput::StateChanged { from, to } => {
                self.observe(Observation::StateChanged { from, to });
            }
            LineOutput::Stopped => {
                self.stopped = true;
                self.observe(Observation::Stopped);
            }
        }
    }

    fn observe(&self, observation: Observation) {
        if self.exits.observations.try_send(observation).is_err() {
            Drops::count(&self.exits.drops.observations);
        }
    }
}

/// A verdict counts from when the line has it: commit and fire are one critical section.
fn committed_now(event: LineEvent, now: LineTime) -> LineEvent {
    match event {
        LineEvent::Verdict { verdict, .. } => LineEvent::Verdict { verdict, time: now },
        other => other,
    }
}
