//! What PLC, operator and wires ask of the line, and the product change between two parts.

use super::super::{Alarm, InputLine, LineOutput, LineState, TriggerSource};
use super::{Line, RESET_HOLD};
use crate::line::purge::Purge;
use crate::part::{Command, LineTime};

/// cmd_result of line-io 1.4.
mod result {
    pub const OK: u16 = 0;
    pub const WRONG_STATE: u16 = 1;
    pub const BUSY: u16 = 3;
    pub const NOT_ALLOWED: u16 = 4;
    pub const LOAD_FAILED: u16 = 5;
}

/// The product, and its change (line-io 1.7 C): asked -> loading -> none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProductChange {
    /// The product now active; 0 none.
    pub active: u16,
    /// A change is under way: `ready` is 0 and new parts are 207.
    pub busy: bool,
    /// The product asked for.
    pub requested: u16,
    /// The way was told to load it.
    pub loading: bool,
}

impl Line {
    pub(super) fn command(&mut self, command: Command, time: LineTime, out: &mut Vec<LineOutput>) {
        match command {
            Command::SoftTrigger => {
                self.command_result = result::OK;
                self.trigger(time, TriggerSource::Modbus, out);
            }
            Command::ChangeProduct(product) => {
                self.command_result = self.change_product(product);
            }
            Command::ClearFault => self.command_result = self.clear_fault(out),
            Command::ResetCounters => self.reset_counters(),
            Command::ForceReject => {
                self.force_next = true;
                self.command_result = result::OK;
            }
            Command::PurgeDone => {
                self.purge = Purge::Over;
                self.command_result = result::OK;
            }
            Command::Inhibit(level) if self.settings.allow_inhibit => self.plc.inhibit = level,
            Command::Inhibit(_) => self.command_result = result::NOT_ALLOWED,
            Command::BeltRun(level) => self.plc.belt_run = level,
            Command::PlcHeartbeat(value) => self.plc.heartbeat(value, self.now),
            Command::Tag(tag) => self.tag = tag,
        }
    }

    /// An input line changed. A `reset` press clears once, after it was held.
    pub(super) fn input(&mut self, input: InputLine, level: bool) {
        match input {
            InputLine::Run => self.tracker.run_line = level,
            InputLine::AirOk => self.air_ok = Some(level),
            InputLine::Reset => self.reset_due = level.then_some(self.now + RESET_HOLD),
            InputLine::Confirm => self.barrier(level),
            InputLine::Trigger => {} // triggers come as LineEvent::Trigger
        }
    }

    /// Fault -> Ready (or what holds then), if no cause is left. Elsewhere it only restarts the
    /// alarms' windows and the latched bits, and starts no purge.
    pub(super) fn clear_fault(&mut self, out: &mut Vec<LineOutput>) -> u16 {
        if self.stopping.is_some() {
            return result::WRONG_STATE;
        }
        if self.alarms.stopped() {
            let nobody_looks =
                self.alarms.active().contains(Alarm::InspectionLost) && !self.way_ready;
            self.restart_history();
            if nobody_looks || !self.alarms.clearable() {
                return result::WRONG_STATE;
            }
            self.sweep(out);
            self.alarms.clear();
            self.begin_purge();
        }
        self.restart_history();
        self.confirm.restart();
        self.missed = false;
        self.clears = self.clears.wrapping_add(1);
        result::OK
    }

    fn restart_history(&mut self) {
        self.history.restart();
        self.judge_history();
    }

    fn reset_counters(&mut self) {
        self.counters = super::Counters {
            parts: u32::try_from(self.schedule.pending()).unwrap_or(u32::MAX),
            life_parts: self.counters.life_parts,
            life_rejects: self.counters.life_rejects,
            ..super::Counters::default()
        };
        self.command_result = result::OK;
    }

    fn change_product(&mut self, product: u16) -> u16 {
        if self.stopping.is_some() {
            return result::WRONG_STATE;
        }
        if self.product.busy {
            return result::BUSY;
        }
        self.product.busy = true;
        self.product.requested = product;
        result::OK
    }

    /// Tells the way to load once every part of the old product is decided.
    pub(super) fn load_product(&mut self, out: &mut Vec<LineOutput>) {
        if self.product.busy && !self.product.loading && self.schedule.pending() == 0 {
            self.product.loading = true;
            out.push(LineOutput::LoadProduct(self.product.requested));
        }
    }

    /// The load has ended. A failure leaves no product, never the old one.
    pub(super) fn product_changed(&mut self, product: u16, outcome: u16) {
        let asked_for = !self.product.busy || self.product.requested == product;
        if outcome == result::OK && !asked_for {
            return; // the end of an older load: the one asked for is still to come
        }
        let loaded = outcome == result::OK && product > 0;
        let failed = if outcome == result::OK { result::LOAD_FAILED } else { outcome };
        self.command_result = if loaded { result::OK } else { failed };
        let active = if loaded { product } else { 0 };
        self.product = ProductChange { active, ..ProductChange::default() };
        self.restart_history();
    }

    /// INHIBIT in force.
    pub(super) fn is_inhibited(&self) -> bool {
        self.settings.allow_inhibit && self.plc.inhibits()
    }

    /// `ready` of line-io 1.5.
    pub(super) fn is_ready(&self) -> bool {
        let state =
            matches!(self.state, LineState::Ready | LineState::Running | LineState::Degraded);
        state && !self.product.busy && self.product.active > 0
    }
}
