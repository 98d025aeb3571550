//! What the PLC writes (line-io 1.4, HR 200 to 231) and the commands it makes of it.

use super::frame::{Exception, Write};
use super::map;
use super::results::ResultBoard;
use crate::line::{LineEvent, LineSnapshot, TriggerSource};
use crate::part::{Command, Duration, LineTime};
use std::collections::VecDeque;

/// Bits of HR 200, by number; also the coils.
pub(super) mod bit {
    pub const TRIGGER: u16 = 0;
    pub const RESULTS_ACK: u16 = 1;
    pub const INHIBIT: u16 = 2;
    pub const BELT_RUN: u16 = 3;
    pub const PRODUCT_CHANGE: u16 = 4;
    pub const CLEAR_FAULT: u16 = 5;
    pub const RESET_COUNTERS: u16 = 6;
    pub const FORCE_REJECT: u16 = 7;
    pub const PURGE_DONE: u16 = 8;
}

/// Bits that act on 0 -> 1, in the order they are carried out within one request.
const EDGES: [u16; 6] = [
    bit::CLEAR_FAULT,
    bit::RESET_COUNTERS,
    bit::FORCE_REJECT,
    bit::PURGE_DONE,
    bit::PRODUCT_CHANGE,
    bit::TRIGGER,
];
/// Bits that act while they are 1, carried out by the line.
const LEVELS: [u16; 2] = [bit::INHIBIT, bit::BELT_RUN];
/// Bits 9 to 15 must be 0.
const RESERVED: u16 = 0xFE00;
/// cmd_result "busy".
const BUSY: u16 = 3;
/// cmd_result "not allowed".
const NOT_ALLOWED: u16 = 4;

/// Addresses of what the PLC writes.
const CTRL: u16 = 200;
const PLC_HEARTBEAT: u16 = 201;
const PRODUCT_REQUEST: u16 = 202;
const READ_INDEX: u16 = 204;
const TAG: u16 = 206;
/// The writable area.
const WRITABLE: std::ops::RangeInclusive<u16> = 200..=231;
/// Coils and discrete inputs.
const BITS: u32 = 16;

/// What a write would make of the PLC's words.
#[derive(Clone, Copy)]
struct Words {
    ctrl: u16,
    plc_heartbeat: u16,
    product_request: u16,
    read_index: u32,
    tag: u32,
}

/// The PLC's words, and which bits of HR 200 are carried out.
pub(super) struct Control {
    allow_inhibit: bool,
    soft_trigger: bool,
    low_word_first: bool,
    words: Words,
    echo: u16,
    /// Edge bits written 0 since the start: only these may act.
    unlocked: u16,
    /// Bits handed to the line, with the stamp of their event, until it has handled them.
    pending: [Option<LineTime>; BITS as usize],
    last_stamp: LineTime,
    /// Result of a command that never reached the line, or was refused there.
    refused: Option<u16>,
    /// The coil TRIGGER made a part and was not cleared since.
    trigger_taken: bool,
    /// A product change is under way.
    product_busy: bool,
    /// Events for the line, in order, until its channel takes them.
    outbox: VecDeque<LineEvent>,
}

impl Control {
    pub(super) fn new(allow_inhibit: bool, soft_trigger: bool, low_word_first: bool) -> Self {
        let words = Words { ctrl: 0, plc_heartbeat: 0, product_request: 0, read_index: 0, tag: 0 };
        Self {
            allow_inhibit,
            soft_trigger,
            low_word_first,
            words,
            echo: 0,
            unlocked: 0,
            pending: [None; BITS as usize],
            last_stamp: LineTime::ZERO,
            refused: None,
            trigger_taken: false,
            product_busy: false,
            outbox: VecDeque::new(),
        }
    }

    /// Exception 03: values that are not allowed.
    pub(super) fn check_values(&self, write: &Write, board: &ResultBoard) -> Result<(), Exception> {
        let (after, _) = self.after(write);
        let inhibits = after.ctrl & 1 << bit::INHIBIT != 0;
        let ahead = after.read_index != self.words.read_index && board.is_ahead(after.read_index);
        let reserved = after.ctrl & RESERVED != 0;
        if reserved || (inhibits && !self.allow_inhibit) || ahead {
            return Err(Exception::IllegalValue);
        }
        Ok(())
    }

    /// Exception 02: a write outside the writable area, or half of a 32-bit value.
    pub(super) fn check_addresses(write: &Write) -> Result<(), Exception> {
        let valid = match write {
            Write::Coils { address, bits } => u32::from(*address) + bits.len() as u32 <= BITS,
            Write::Words { address, words } => {
                let first = u32::from(*address);
                let written = first..first + words.len() as u32;
                let inside = first >= u32::from(*WRITABLE.start())
                    && written.end <= u32::from(*WRITABLE.end()) + 1;
                let has = |at: u16| written.contains(&u32::from(at));
                inside && [READ_INDEX, TAG].iter().all(|&at| has(at) == has(at + 1))
            }
        };
        valid.then_some(()).ok_or(Exception::IllegalAddress)
    }

    /// The words as `write` would leave them, and the bits of HR 200 it writes.
    fn after(&self, write: &Write) -> (Words, u16) {
        let mut after = self.words;
        let mut written = 0_u16;
        match write {
            Write::Coils { address, bits } => {
                for (at, &value) in (u32::from(*address)..BITS).zip(bits) {
                    written |= 1 << at;
                    after.ctrl = after.ctrl & !(1 << at) | u16::from(value) << at;
                }
            }
            Write::Words { address, words } => {
                let word = |at: u16| words.get(usize::from(at.checked_sub(*address)?)).copied();
                let pair = |at: u16| Some(map::join(word(at)?, word(at + 1)?, self.low_word_first));
                if let Some(ctrl) = word(CTRL) {
                    (after.ctrl, written) = (ctrl, u16::MAX);
                }
                after.plc_heartbeat = word(PLC_HEARTBEAT).unwrap_or(after.plc_heartbeat);
                after.product_request = word(PRODUCT_REQUEST).unwrap_or(after.product_request);
                after.read_index = pair(READ_INDEX).unwrap_or(after.read_index);
                after.tag = pair(TAG).unwrap_or(after.tag);
            }
        }
        (after, written)
    }

    /// Carries out a write that has passed every test.
    pub(super) fn apply(&mut self, write: &Write, board: &mut ResultBoard, time: LineTime) {
        let before = self.words;
        let (mut after, written) = self.after(write);
        if board.age(after.read_index) > board.age(before.read_index) {
            after.read_index = before.read_index;
        }
        self.words = after;
        board.acknowledge_up_to(after.read_index);
        let acknowledge = 1 << bit::RESULTS_ACK;
        board.set_acknowledge(after.ctrl & acknowledge != 0);
        self.echo = self.echo & !acknowledge | after.ctrl & acknowledge;
        if after.tag != before.tag {
            self.send(Command::Tag(after.tag), time);
        }
        if after.plc_heartbeat != before.plc_heartbeat {
            self.send(Command::PlcHeartbeat(after.plc_heartbeat), time);
        }
        let changed = before.ctrl ^ after.ctrl;
        for level in LEVELS {
            let value = after.ctrl & 1 << level != 0;
            if changed & 1 << level != 0 {
                let command =
                    if level == bit::INHIBIT { Command::Inhibit } else { Command::BeltRun };
                let stamp = self.send(command(value), time);
                self.await_line(level, stamp);
            }
        }
        self.apply_edges(changed & after.ctrl, written & !after.ctrl, time);
    }

    fn apply_edges(&mut self, rising: u16, zeros: u16, time: LineTime) {
        for edge in EDGES {
            let mask = 1 << edge;
            if zeros & mask != 0 {
                self.unlocked |= mask;
                self.echo &= !mask;
                self.trigger_taken &= edge != bit::TRIGGER;
                self.await_line(edge, None);
            } else if rising & self.unlocked & mask != 0 {
                self.fire(edge, time);
            }
        }
    }

    fn fire(&mut self, edge: u16, time: LineTime) {
        self.refused = None;
        let command = match edge {
            bit::TRIGGER if self.soft_trigger => {
                let time = self.stamp(time);
                let source = TriggerSource::Modbus;
                self.outbox.push_back(LineEvent::Trigger { time, source });
                self.await_line(edge, Some(time));
                return;
            }
            bit::TRIGGER => return self.refuse(edge, NOT_ALLOWED),
            bit::PRODUCT_CHANGE if self.product_busy => return self.refuse(edge, BUSY),
            bit::PRODUCT_CHANGE => Command::ChangeProduct(self.words.product_request),
            bit::CLEAR_FAULT => Command::ClearFault,
            bit::RESET_COUNTERS => Command::ResetCounters,
            bit::FORCE_REJECT => Command::ForceReject,
            _ => Command::PurgeDone,
        };
        let stamp = self.send(command, time);
        self.await_line(edge, stamp);
    }

    /// Done at once: the line is not asked.
    fn refuse(&mut self, edge: u16, result: u16) {
        self.refused = Some(result);
        self.echo |= 1 << edge;
    }

    fn await_line(&mut self, number: u16, stamp: Option<LineTime>) {
        if let Some(entry) = self.pending.get_mut(usize::from(number)) {
            *entry = stamp;
        }
    }

    /// Stamps rise strictly: each names one event.
    fn stamp(&mut self, time: LineTime) -> LineTime {
        self.last_stamp = time.max(self.last_stamp + Duration::from_nanos(1));
        self.last_stamp
    }

    fn send(&mut self, command: Command, time: LineTime) -> Option<LineTime> {
        let time = self.stamp(time);
        self.outbox.push_back(LineEvent::Command { command, time });
        Some(time)
    }

    /// Tells the line something besides commands.
    pub(super) fn push(&mut self, event: LineEvent) {
        self.outbox.push_back(event);
    }

    /// Events for the line, in order.
    pub(super) fn outbox(&mut self) -> &mut VecDeque<LineEvent> {
        &mut self.outbox
    }

    /// Marks as executed what the line has handled by `snapshot`.
    pub(super) fn observe(&mut self, snapshot: &LineSnapshot) {
        self.product_busy = snapshot.product_busy;
        for (number, entry) in self.pending.iter_mut().enumerate() {
            let Some(stamp) = *entry else { continue };
            let change = number == usize::from(bit::PRODUCT_CHANGE);
            // Another change was faster: its end must not look like the end of this one.
            let busy = snapshot.last_command == stamp && snapshot.command_result == BUSY;
            if change && busy {
                self.refused = Some(BUSY);
            }
            if snapshot.last_command >= stamp && (busy || !change || !snapshot.product_busy) {
                *entry = None;
                let mask = 1 << number;
                self.echo = self.echo & !mask | self.words.ctrl & mask;
                self.trigger_taken |= number == usize::from(bit::TRIGGER);
            }
        }
    }

    /// HR 200 as written.
    pub(super) fn ctrl(&self) -> u16 {
        self.words.ctrl
    }

    /// TRIGGER_ACK: the coil's part is in trig_seq.
    pub(super) fn trigger_taken(&self) -> bool {
        self.trigger_taken
    }

    /// HR 200 as executed.
    pub(super) fn echo(&self) -> u16 {
        self.echo
    }

    /// cmd_result.
    pub(super) fn command_result(&self, snapshot: &LineSnapshot) -> u16 {
        self.refused.unwrap_or(snapshot.command_result)
    }

    /// HR 201.
    pub(super) fn plc_heartbeat(&self) -> u16 {
        self.words.plc_heartbeat
    }

    /// HR 202.
    pub(super) fn product_request(&self) -> u16 {
        self.words.product_request
    }

    /// HR 204-205.
    pub(super) fn read_index(&self) -> u32 {
        self.words.read_index
    }

    /// HR 206-207.
    pub(super) fn tag(&self) -> u32 {
        self.words.tag
    }
}
