//! The line itself: takes events, keeps the plan, says what to do.
//!
//! One rule of time: everything happens in order of its stamp. An event stamped before what is
//! already done happens now, with its own stamp as the part's; what was decided stays decided.

mod belt;
mod flow;
mod requests;
mod state;
mod view;

use super::alarms::Alarms;
use super::confirm::Confirm;
use super::gate::{Gate, GateRule, Moment};
use super::history::History;
use super::plc::Plc;
use super::purge::Purge;
use super::schedule::Schedule;
use super::settings::LineSettings;
use super::tracker::{Place, Tracker};
use super::travel::Travel;
use super::{Alarm, Counters, LineEvent, LineOutput, LineState, OutputLevels, TriggerSource};
use crate::part::{Duration, LineTime, SequenceNumber};
use requests::ProductChange;
use state::Drain;

/// Half a period of `alive` (5 Hz) and one step of the heartbeat.
const ALIVE_EDGE: Duration = Duration::from_millis(100);
/// Length of the pulse at a commit on the line that is not the gate.
const INDICATOR_PULSE: Duration = Duration::from_millis(20);
/// How long `reset` must be held.
const RESET_HOLD: Duration = Duration::from_millis(100);
/// Running -> Ready after so long without a part.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// The line: tracker, deadlines, armed rejects, gate, state machine, alarms, counters (line-io 1).
///
/// Feed it events with [`Line::handle`], call [`Line::advance`] no later than [`Line::next_due`],
/// and do what it says in the order it says it. It knows no clock and allocates nothing after
/// [`Line::new`] (given an `out` with room).
#[derive(Debug)]
pub struct Line {
    settings: LineSettings,
    geometry_sound: bool,
    /// Everything due up to here is done.
    now: LineTime,
    /// The clock as last told: edges planned before it are written late.
    clock: LineTime,
    schedule: Schedule,
    tracker: Tracker,
    gate: Gate,
    purge: Purge,
    confirm: Confirm,
    alarms: Alarms,
    history: History,
    plc: Plc,
    counters: Counters,
    product: ProductChange,
    state: LineState,
    /// Left Starting for the first time.
    started: bool,
    way_ready: bool,
    /// Whether verdicts come in time, as last measured; `None` before.
    verdicts_fit: Option<bool>,
    air_ok: Option<bool>,
    /// The coupler's watchdog was verified (only where that is awaited).
    actuator_known: bool,
    stopping: Option<Drain>,
    stopped: bool,
    last_triggered: Option<SequenceNumber>,
    /// Stamp of the last accepted trigger.
    last_trigger: Option<LineTime>,
    force_next: bool,
    tag: u32,
    missed: bool,
    clears: u16,
    command_result: u16,
    /// Stamp of the last command or Modbus trigger handled.
    last_command: LineTime,
    running_until: LineTime,
    /// Pulse of a pass (energise to reject) or of a reject (energise to pass).
    indicator_until: LineTime,
    reset_due: Option<LineTime>,
    alive: bool,
    alive_due: LineTime,
    heartbeat: u16,
    /// Levels as last told.
    shown: Option<OutputLevels>,
}

impl Line {
    /// A line in Starting, its gate at the rejecting level, its purge begun at `now`.
    pub fn new(settings: LineSettings, now: LineTime) -> Self {
        let counters = Counters {
            life_parts: settings.life_parts,
            life_rejects: settings.life_rejects,
            ..Counters::default()
        };
        let mut line = Self {
            geometry_sound: settings.check().is_empty(),
            now,
            clock: now,
            schedule: Schedule::new(),
            tracker: Tracker::new(&settings),
            gate: Gate::new(&settings, now),
            purge: Purge::begin(&settings, now, Place::of_count(0)),
            confirm: Confirm::new(),
            alarms: Alarms::new(settings.stop_alarms),
            history: History::new(settings.alarm_limits),
            plc: Plc::new(settings.plc_timeout),
            counters,
            product: ProductChange::default(),
            state: LineState::Starting,
            started: false,
            way_ready: false,
            verdicts_fit: None,
            air_ok: None,
            actuator_known: !settings.actuator_awaited,
            stopping: None,
            stopped: false,
            last_triggered: None,
            last_trigger: None,
            force_next: false,
            tag: 0,
            missed: false,
            clears: 0,
            command_result: 0,
            last_command: LineTime::ZERO,
            running_until: now,
            indicator_until: now,
            reset_due: None,
            alive: false,
            alive_due: now + ALIVE_EDGE,
            heartbeat: 0,
            shown: None,
            settings,
        };
        line.tracker.follow(&line.plc, now);
        line.begin_purge();
        line
    }

    /// Tells the clock after a wait, before the events that queued meanwhile are handled: edges
    /// that were planned before `now` are written late, and too late is LATE_FIRE.
    pub fn wake(&mut self, now: LineTime) {
        self.clock = self.clock.max(now);
    }

    /// Does everything due up to `now`, in order of time.
    pub fn advance(&mut self, now: LineTime, out: &mut Vec<LineOutput>) {
        if self.stopped {
            return;
        }
        self.clock = self.clock.max(now);
        if self.shown.is_none() {
            self.settle(out);
        }
        while !self.stopped {
            let due = self.next_due();
            if due > now || due <= self.now {
                break; // not due yet, or the end of the clock
            }
            self.move_to(due);
            self.settle(out);
        }
        self.move_to(now);
    }

    /// Does everything due up to the event's stamp, then what the event asks for.
    pub fn handle(&mut self, event: LineEvent, out: &mut Vec<LineOutput>) {
        self.advance(event.time(), out);
        if self.stopped {
            return;
        }
        self.tracker.follow(&self.plc, self.now);
        match event {
            LineEvent::Trigger { time, source } => {
                if source == TriggerSource::Modbus {
                    self.last_command = time;
                    self.command_result = 0;
                }
                self.trigger(time, source, out);
            }
            LineEvent::Input { input, level, .. } => self.input(input, level),
            LineEvent::Encoder { count, time } => self.encoder(count, time),
            LineEvent::Verdict { verdict, .. } => self.verdict(&verdict, out),
            LineEvent::Captured { sequence, .. } => self.captured(sequence),
            LineEvent::Command { command, time } => {
                self.last_command = time;
                self.command(command, time, out);
            }
            LineEvent::WayReady { ready, .. } => self.way_ready = ready,
            LineEvent::ProductChanged { product, result, .. } => {
                self.product_changed(product, result);
            }
            LineEvent::WireFault { alarm, .. } => self.alarms.happened(alarm, self.now),
            LineEvent::Cause { alarm, present, .. } => {
                self.actuator_known |= alarm == Alarm::Actuator && !present;
                self.alarms.told(alarm, present);
            }
            LineEvent::VerdictTime { p999, .. } => {
                self.verdicts_fit = Some(self.settings.verdicts_fit(p999));
            }
            LineEvent::Stop { .. } => self.stop(),
        }
        self.settle(out);
    }

    /// The next moment [`Line::advance`] must be called; at most 100 ms ahead until it has stopped.
    pub fn next_due(&self) -> LineTime {
        let never = LineTime::from_nanos(u64::MAX);
        if self.stopped {
            return never;
        }
        let mut next = never;
        let mut consider = |moment: LineTime| {
            if moment > self.now {
                next = next.min(moment);
            }
        };
        let single = [self.alive_due, self.running_until, self.indicator_until, self.gate.due()];
        single.into_iter().for_each(&mut consider);
        let optional = [
            self.purge.due(),
            self.alarms.due(),
            self.plc.due(),
            self.reset_due,
            self.stopping.map(|drain| drain.until),
            self.tracker.encoder.due(),
            self.confirm.due_motion().and_then(|motion| self.tracker.motion_due(motion)),
            self.confirm.stuck_due(),
        ];
        optional.into_iter().flatten().for_each(&mut consider);
        for entry in self.schedule.iter() {
            let window = &entry.window;
            let places = [window.open, window.close].map(|place| self.tracker.due(place));
            places.into_iter().flatten().for_each(&mut consider);
            if entry.is_pending() {
                consider(window.latest);
                self.tracker.due(window.deadline).into_iter().for_each(&mut consider);
            }
            if let (true, Some(strobe)) = (entry.announced, self.settings.strobe) {
                let flash = entry.result.triggered + strobe.offset;
                consider(flash);
                consider(flash + strobe.width);
            }
        }
        next
    }

    /// Time passes with the gate as it is.
    fn move_to(&mut self, moment: LineTime) {
        if moment <= self.now {
            return;
        }
        if self.gate.rejects() {
            let (from, to) = (self.tracker.here(self.now), self.tracker.here(moment));
            for entry in self.schedule.iter_mut() {
                entry.met_reject |= entry.window.meets(from, to);
            }
        }
        self.now = moment;
    }

    /// Brings everything up to `self.now`.
    fn settle(&mut self, out: &mut Vec<LineOutput>) {
        self.expire(out);
        self.decide_overdue();
        self.publish(out);
        self.watch_belt();
        self.watch_encoder();
        self.watch_windows();
        self.watch_chute();
        self.load_product(out);
        self.alarms.tell(out);
        self.change_state(out);
        self.set_gate();
        self.close_windows();
        self.end_drain(out);
        self.show_outputs(out);
        if self.stopped {
            out.push(LineOutput::Stopped);
        }
    }

    /// Timers.
    fn expire(&mut self, out: &mut Vec<LineOutput>) {
        let now = self.now;
        self.plc.expire(now);
        self.alarms.expire(now);
        self.alarms.cause(Alarm::PlcLost, self.plc.went_silent());
        self.alarms.cause(Alarm::AirLost, self.air_ok == Some(false));
        let slow = self.started && self.verdicts_fit == Some(false);
        self.alarms.cause(Alarm::Thermal, slow);
        self.tracker.follow(&self.plc, now);
        self.purge.follow(self.tracker.belt_runs(&self.plc), now);
        if self.reset_due.is_some_and(|due| due <= now) {
            self.reset_due = None;
            self.clear_fault(out);
        }
        if self.alive_due <= now {
            self.alive = !self.alive;
            self.heartbeat = self.heartbeat.wrapping_add(1);
            // A stalled thread does not catch up: the gap in `alive` is what tells of it.
            let edge = ALIVE_EDGE.as_nanos() as u64;
            let missed = (self.clock.as_nanos() - self.alive_due.as_nanos()) / edge;
            self.alive_due = self.alive_due + Duration::from_nanos(edge * (missed + 1));
        }
    }

    fn set_gate(&mut self) {
        let rule = self.gate_rule();
        let at = Moment::new(&self.tracker, self.now, self.clock);
        let merged = self.gate.update(rule, &self.schedule, at);
        self.await_confirmation(merged, rule);
    }

    fn gate_rule(&self) -> GateRule {
        match self.state {
            LineState::Starting => GateRule::Reject,
            LineState::Fault if self.rejects_per_part() && !self.purge.is_active() => {
                GateRule::EveryWindow
            }
            LineState::Fault => GateRule::Reject,
            LineState::Inhibited => GateRule::Release,
            LineState::Stopping if self.stopped || self.stops_at_once() => GateRule::Reject,
            _ if self.purge.is_active() => GateRule::Reject,
            _ => GateRule::Windows,
        }
    }

    fn close_windows(&mut self) {
        let here = self.tracker.here(self.now);
        let mut skipped = false;
        for entry in self.schedule.iter_mut().filter(|entry| !entry.closed) {
            if entry.window.close <= here {
                entry.closed = true;
                if entry.is_armed() {
                    let closed = self.tracker.beyond_since(entry.window.close);
                    // Counts handled late: the wire followed when the part was by already.
                    skipped |= entry.late && self.gate.rejects_only_after(closed);
                    self.tracker.reject_closed(entry.window.close);
                } else if entry.met_reject {
                    self.counters.collateral = self.counters.collateral.wrapping_add(1);
                }
            }
        }
        if skipped {
            self.alarms.happened(Alarm::LateFire, self.now);
        }
        let behind = self.behind_recall();
        self.schedule.retire(behind);
        self.gate.retire(behind);
    }

    /// The belt does not come back behind this place with its parts still known.
    fn behind_recall(&self) -> Place {
        match self.settings.travel {
            Travel::Delay { .. } => Place::END,
            Travel::Distance(way) => {
                let recall = i64::from(way.reverse_max_counts).saturating_add(self.gate.reach());
                self.tracker.furthest(self.now).ahead(-recall)
            }
        }
    }
}
