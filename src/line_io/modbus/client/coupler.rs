//! A remote I/O coupler as the slave: one of its coils is the gate.
//!
//! The line thread stores levels and wakes; this thread writes them, at once on a change and every
//! 50 ms besides. What goes wrong is told to the line: an edge acknowledged too late is LATE_FIRE, a
//! coupler that does not answer is ACTUATOR until it answers again with its output watchdog set.

use super::codec::{Answer, MasterRequest};
use super::gate_cell::{GateCell, Wanted};
use super::link::{Link, Trouble};
use super::{BACKOFF, TIMEOUT, longer};
use crate::line::{Alarm, LineEvent, OutputLevels};
use crate::line_io::channel::{Sender, TrySendError};
use crate::line_io::realtime::{self, RealtimeSettings};
use crate::line_io::{LineIoError, OutputLines};
use crate::part::{Duration, LineTime};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Every coil is written at least this often: what feeds the coupler's watchdog.
const REFRESH: Duration = Duration::from_millis(50);
/// Events kept while the line's channel is full.
const EVENTS_KEPT: usize = 16;

/// The coupler's watchdog: outputs go to 0 when nobody writes any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputWatchdog {
    /// Register of its time.
    pub register: u16,
    /// The time in the register's unit; 200 ms at most (line-io 1.4).
    pub value: u16,
    /// Registers written before, each with its value.
    pub prepare: Vec<(u16, u16)>,
    /// Registers written after, each with its value.
    pub start: Vec<(u16, u16)>,
    /// Registers that must then read so, besides the time itself.
    pub verify: Vec<(u16, u16)>,
}

/// The coupler and its coils (line-io 1.4, client mode).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CouplerSettings {
    /// Its Modbus server.
    pub address: SocketAddr,
    /// Its unit.
    pub unit: u8,
    /// The gate.
    pub gate_coil: u16,
    /// Output `ready`, if it is wired there.
    pub ready_coil: Option<u16>,
    /// Output `alive`, if it is wired there.
    pub alive_coil: Option<u16>,
    /// Wiring of the gate.
    pub energise_to_pass: bool,
    /// An edge of the gate may take this long, acknowledged.
    pub net_time: Duration,
    /// And this much more (J of line-io 1.3).
    pub jitter: Duration,
    /// An answer is waited for this long, twice.
    pub timeout: Duration,
    /// The watchdog without which the line does not become ready.
    pub watchdog: OutputWatchdog,
    /// Scheduling of the thread: it moves the gate.
    pub realtime: RealtimeSettings,
}

impl CouplerSettings {
    /// The defaults of the contract, the gate at coil 0.
    pub fn new(address: SocketAddr, energise_to_pass: bool, watchdog: OutputWatchdog) -> Self {
        Self {
            address,
            unit: 255,
            gate_coil: 0,
            ready_coil: None,
            alive_coil: None,
            energise_to_pass,
            net_time: Duration::from_millis(20),
            jitter: Duration::from_millis(2),
            timeout: TIMEOUT,
            watchdog,
            realtime: RealtimeSettings::default(),
        }
    }
}

/// The coupler's coils as output wires. Dropping it writes the last levels and closes; the
/// coupler's watchdog does the rest.
pub struct CouplerOutputs {
    wanted: Wanted,
    energise_to_pass: bool,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What both threads hold.
struct Shared {
    cell: GateCell,
    stop: AtomicBool,
}

impl CouplerOutputs {
    /// Starts the thread, which connects at once and for ever. It tells the line by `events`:
    /// `Cause { ACTUATOR, present: false }` once the watchdog is verified, `present: true` when the
    /// coupler is lost, `WireFault { LATE_FIRE }` for an edge acknowledged too late.
    ///
    /// # Errors
    /// The thread cannot be started. A coupler that is not there is no error: the line does not
    /// become ready.
    pub fn start(
        settings: CouplerSettings,
        events: Sender<LineEvent>,
    ) -> Result<Self, LineIoError> {
        let wanted = Wanted::start(!settings.energise_to_pass);
        let (cell, stop) = (GateCell::new(wanted), AtomicBool::new(false));
        let shared = Arc::new(Shared { cell, stop });
        let energise_to_pass = settings.energise_to_pass;
        let what = settings.address.to_string();
        let mut worker = Worker {
            settings,
            shared: Arc::clone(&shared),
            events,
            untold: VecDeque::new(),
            written: None,
            verified: false,
        };
        let thread = std::thread::Builder::new().name("coupler".into()).spawn(move || {
            realtime::apply(&worker.settings.realtime);
            worker.run();
        });
        let thread = thread.map_err(|error| LineIoError::Modbus {
            what,
            reason: format!("{error}; look at the limits of processes and memory"),
        })?;
        Ok(Self { wanted, energise_to_pass, shared, thread: Some(thread) })
    }
}

impl OutputLines for CouplerOutputs {
    fn write(&mut self, levels: OutputLevels) -> Result<(), LineIoError> {
        let gate = if self.energise_to_pass { levels.pass } else { levels.reject };
        self.wanted = self.wanted.next(gate, levels.ready, levels.alive, LineTime::now());
        self.shared.cell.store(self.wanted);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
        Ok(())
    }
}

impl Drop for CouplerOutputs {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                log::error!("the coupler's thread ended by a panic");
            }
        }
    }
}

/// The thread.
struct Worker {
    settings: CouplerSettings,
    shared: Arc<Shared>,
    events: Sender<LineEvent>,
    /// What the line's channel could not take yet.
    untold: VecDeque<LineEvent>,
    /// As last acknowledged by the coupler, on this connection.
    written: Option<Wanted>,
    /// Watchdog verified at some time: the line may be ready, so a loss is a fault.
    verified: bool,
}

impl Worker {
    fn run(&mut self) {
        let address = self.settings.address;
        let (mut pause, mut down) = (BACKOFF.0, false);
        while !self.stops() {
            let opened = Link::open(address, self.settings.unit, self.settings.timeout);
            let armed = opened.and_then(|mut link| self.arm(&mut link).map(|()| link));
            let end = match armed {
                Ok(mut link) => {
                    log::info!("coupler {address}: output watchdog verified, it drives the gate");
                    (pause, down, self.verified) = (BACKOFF.0, false, true);
                    self.actuator_lost(false);
                    self.written = None;
                    let end = self.serve(&mut link);
                    if end.is_err() {
                        self.actuator_lost(true);
                    }
                    end
                }
                Err(trouble) => Err(trouble),
            };
            let Err(trouble) = end else { return };
            if !down {
                down = true;
                log::error!("coupler {address}: {trouble}; tried again until its gate is held");
            }
            self.rest(pause);
            pause = longer(pause);
        }
    }

    fn stops(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    fn rest(&mut self, pause: Duration) {
        let until = LineTime::now() + pause;
        loop {
            self.tell();
            let left = until.since(LineTime::now());
            if left.is_zero() || self.stops() {
                return;
            }
            std::thread::park_timeout(left.min(REFRESH));
        }
    }

    /// The gate first, whatever the watchdog says of it; then sets the watchdog and reads it back.
    fn arm(&self, link: &mut Link) -> Result<(), Trouble> {
        let level = self.shared.cell.load().gate;
        link.ask(&MasterRequest::WriteCoil { address: self.settings.gate_coil, level }, None)?;
        let watchdog = &self.settings.watchdog;
        let time = (watchdog.register, watchdog.value);
        let writes = watchdog.prepare.iter().chain([&time]).chain(&watchdog.start);
        for &(address, word) in writes {
            let what = format!("{word} in watchdog register {address:#06X}");
            link.demand(&what, &MasterRequest::WriteRegister { address, word }, None)?;
        }
        for &(register, expected) in [&time].into_iter().chain(&watchdog.verify) {
            let what = format!("reading watchdog register {register:#06X}");
            let read = MasterRequest::ReadRegisters { address: register, quantity: 1 };
            let found = match link.demand(&what, &read, None)? {
                Answer::Words(words) => words.first().copied().unwrap_or_default(),
                _ => 0,
            };
            if found != expected {
                return Err(Trouble::Watchdog { register, found, expected });
            }
        }
        Ok(())
    }

    /// Writes what changes and refreshes the rest, until told to stop.
    fn serve(&mut self, link: &mut Link) -> Result<(), Trouble> {
        let mut refresh_due = LineTime::now();
        loop {
            self.tell();
            let (stops, wanted) = (self.stops(), self.shared.cell.load());
            let now = LineTime::now();
            let refresh = now >= refresh_due;
            if refresh {
                refresh_due = now + REFRESH;
            }
            self.write_gate(link, wanted, refresh)?;
            let before = self.written.unwrap_or(wanted);
            let others = [
                ("coil ready", self.settings.ready_coil, wanted.ready, before.ready),
                ("coil alive", self.settings.alive_coil, wanted.alive, before.alive),
            ];
            for (what, coil, level, before) in others {
                if let Some(address) = coil
                    && (refresh || level != before)
                {
                    link.demand(what, &MasterRequest::WriteCoil { address, level }, None)?;
                }
            }
            self.written = Some(wanted);
            if stops {
                return Ok(());
            }
            if self.shared.cell.load() == wanted {
                std::thread::park_timeout(refresh_due.since(LineTime::now()));
            }
        }
    }

    /// An edge is due [`CouplerSettings::net_time`] + J after the line made it; one of which the
    /// coupler saw nothing, because the next had come, is late whatever the time.
    fn write_gate(
        &mut self,
        link: &mut Link,
        wanted: Wanted,
        refresh: bool,
    ) -> Result<(), Trouble> {
        let edges = self.written.map_or(0, |written| wanted.edges_since(written));
        if edges == 0 && !refresh {
            return Ok(());
        }
        let due = wanted.edge_time() + self.settings.net_time + self.settings.jitter;
        let level = wanted.gate;
        let request = MasterRequest::WriteCoil { address: self.settings.gate_coil, level };
        let mut late = edges > 1;
        let mut tell_late = || late = true;
        let overdue: Option<(LineTime, &mut dyn FnMut())> =
            if edges > 0 { Some((due, &mut tell_late)) } else { None };
        let written = link.demand("the gate's coil", &request, overdue);
        if late {
            let time = LineTime::now();
            self.say(LineEvent::WireFault { alarm: Alarm::LateFire, time });
        }
        written.map(|_| ())
    }

    fn actuator_lost(&mut self, present: bool) {
        if self.verified {
            let (alarm, time) = (Alarm::Actuator, LineTime::now());
            self.say(LineEvent::Cause { alarm, present, time });
        }
    }

    fn say(&mut self, event: LineEvent) {
        // The oldest may go: a later cause says all that an older one did.
        if self.untold.len() == EVENTS_KEPT {
            self.untold.pop_front();
        }
        self.untold.push_back(event);
        self.tell();
    }

    fn tell(&mut self) {
        while let Some(&event) = self.untold.front() {
            match self.events.try_send(event) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => drop(self.untold.pop_front()),
                Err(TrySendError::Full(_)) => return,
            }
        }
    }
}
