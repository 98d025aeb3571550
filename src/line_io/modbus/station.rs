//! The Modbus station: snapshot, results and the PLC's words behind one address map. Pure: times
//! and snapshots are handed in, events for the line are taken out.

use super::control::Control;
use super::frame::{Exception, Read, Request, Table};
use super::lock::WriteLock;
use super::map;
use super::results::{PublishedResult, ResultBoard};
use super::server::ModbusSettings;
use crate::line::{Alarm, LineEvent, LineSnapshot};
use crate::part::{Duration, LineTime};
use std::collections::VecDeque;
use std::net::IpAddr;

/// hb_box unchanged for longer than this: the line thread is dead (line-io 1.4, exception 04).
const SILENCE: Duration = Duration::from_millis(500);
/// Events kept while the line's channel is full; beyond it the line counts as dead.
const OUTBOX: usize = 256;
/// RESULTS_OVERRUN is told to the line once per this time at most.
const OVERRUN_EVERY: Duration = Duration::from_secs(1);

/// Who asks, and when.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Number of the connection, never used twice.
    pub client: u64,
    /// Address of the client.
    pub address: IpAddr,
    /// When the request was complete; t0 of a part triggered by it.
    pub time: LineTime,
}

/// Everything a Modbus master sees and may do, apart from bytes and sockets.
pub struct Station {
    pub(super) control: Control,
    pub(super) board: ResultBoard,
    pub(super) low_word_first: bool,
    pub(super) snapshot: LineSnapshot,
    lock: WriteLock,
    heartbeat_moved: LineTime,
    overrun_told: Option<LineTime>,
}

impl Station {
    /// A station at `now`; the line has [500 ms](Exception::DeviceFailure) to show itself.
    pub fn new(settings: &ModbusSettings, now: LineTime) -> Self {
        let low_word_first = settings.low_word_first;
        let (inhibit, trigger) = (settings.allow_inhibit, settings.soft_trigger);
        Self {
            control: Control::new(inhibit, trigger, low_word_first),
            board: ResultBoard::new(settings.results),
            lock: WriteLock::new(settings),
            low_word_first,
            snapshot: LineSnapshot::default(),
            heartbeat_moved: now,
            overrun_told: None,
        }
    }

    /// The line as it is now; to be called before each request and at least every 100 ms.
    pub fn observe(&mut self, snapshot: LineSnapshot, now: LineTime) {
        if snapshot.heartbeat != self.snapshot.heartbeat {
            self.heartbeat_moved = now;
        }
        if snapshot.clears != self.snapshot.clears {
            self.board.clear_overrun();
        }
        self.snapshot = snapshot;
        self.control.observe(&snapshot);
    }

    /// The next result, in order of sequence.
    pub fn publish(&mut self, published: PublishedResult, now: LineTime) {
        let quiet = self.overrun_told.is_none_or(|told| now.since(told) >= OVERRUN_EVERY);
        if self.board.publish(published) && quiet {
            self.overrun_told = Some(now);
            self.control.push(LineEvent::WireFault { alarm: Alarm::ResultsOverrun, time: now });
        }
    }

    /// Events for the line, in order; what its channel takes is to be removed from the front.
    pub fn outbox(&mut self) -> &mut VecDeque<LineEvent> {
        self.control.outbox()
    }

    /// A connection is closed: its write lock is free.
    pub fn closed(&mut self, client: u64) {
        self.lock.release(client);
    }

    /// Tests a request (03 values, 02, 06, 04) and carries out its write; a refused one changes
    /// nothing.
    pub(super) fn perform(&mut self, request: &Request, caller: Caller) -> Result<(), Exception> {
        if let Some(write) = &request.write {
            self.control.check_values(write, &self.board)?;
            Control::check_addresses(write)?;
        }
        if let Some(read) = request.read {
            check_read(read)?;
        }
        if request.write.is_some() && !self.lock.admits(caller) {
            return Err(Exception::Busy);
        }
        let silent = caller.time.since(self.heartbeat_moved) > SILENCE;
        if silent || self.control.outbox().len() >= OUTBOX {
            return Err(Exception::DeviceFailure);
        }
        if let Some(write) = &request.write {
            self.lock.hold(caller);
            self.control.apply(write, &mut self.board, caller.time);
        }
        Ok(())
    }

    /// The whole map, a = 0..=767.
    pub fn image(&self) -> Vec<u16> {
        map::image(self)
    }

    /// Coils 0..=15.
    pub(super) fn coils(&self) -> u16 {
        self.control.ctrl()
    }

    /// Discrete inputs 0..=15.
    pub(super) fn status(&self) -> u16 {
        map::status(self)
    }
}

fn check_read(read: Read) -> Result<(), Exception> {
    let end = usize::from(read.address) + usize::from(read.quantity);
    let size = if read.table == Table::Registers { map::SIZE } else { map::BITS };
    if end <= size { Ok(()) } else { Err(Exception::IllegalAddress) }
}
