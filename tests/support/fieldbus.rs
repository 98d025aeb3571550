//! Stands where the line thread stands, for stations without one: publishes snapshots and results,
//! handles commands.

// Each test file uses its part of this one.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use arc_swap::ArcSwap;
use crossbeam_channel::{Sender, bounded};
use onenipd::line::{LineEvent, LineSnapshot, LineState};
use onenipd::line_io::channel;
use onenipd::line_io::modbus::{Fieldbus, ModbusServer, ModbusSettings};
use onenipd::part::{
    Command, Decision, Duration, LineTime, PartResult, Reason, ResultFlags, SequenceNumber,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// How many results may be on their way to a PLC that says by its tag what it has read.
const UNREAD: u32 = 32;

pub struct Stand {
    server: Option<ModbusServer>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<LineEvent>>>,
}

impl Stand {
    /// From the PLC's first heartbeat on `results` results are published; with `paced` never more
    /// than [`UNREAD`] ahead of the PLC's tag.
    pub fn start(settings: ModbusSettings, fieldbus: Fieldbus, results: u32, paced: bool) -> Self {
        let snapshot: Arc<ArcSwap<LineSnapshot>> = Arc::default();
        let (publish, published) = bounded(64);
        let (send, events) = channel::bounded(64);
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = ModbusSettings { listen, ..settings };
        let shown = Arc::clone(&snapshot);
        let server = ModbusServer::start_with(settings, fieldbus, shown, published, send).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread =
            std::thread::spawn(move || run(&snapshot, &publish, &events, &stopped, results, paced));
        Self { server: Some(server), stop, thread: Some(thread) }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().local_address()
    }

    /// Ends server, then line; what the line was told.
    pub fn stop(mut self) -> Vec<LineEvent> {
        self.server.take().unwrap().stop();
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

fn run(
    shown: &ArcSwap<LineSnapshot>,
    publish: &Sender<PartResult>,
    events: &channel::Receiver<LineEvent>,
    stop: &AtomicBool,
    results: u32,
    paced: bool,
) -> Vec<LineEvent> {
    let mut snapshot = LineSnapshot {
        state: LineState::Running,
        boot_id: 77,
        active_product: 3,
        trigger_ready: true,
        ..LineSnapshot::default()
    };
    let (mut told, mut next, mut plc_alive, mut read) = (vec![], SequenceNumber::FIRST, false, 0);
    while !stop.load(Ordering::Relaxed) {
        for event in events.try_iter() {
            told.push(event);
            if let LineEvent::Command { command, time } = event {
                snapshot.last_command = time;
                match command {
                    Command::PlcHeartbeat(_) => plc_alive = true,
                    Command::Tag(tag) => read = tag,
                    Command::ChangeProduct(product) => snapshot.active_product = product,
                    _ => {}
                }
            }
        }
        let room = !paced || next.get() <= read + UNREAD;
        if plc_alive && room && next.get() <= results && publish.try_send(result(next)).is_ok() {
            snapshot.last_triggered = Some(next);
            next = next.next();
        }
        snapshot.heartbeat = snapshot.heartbeat.wrapping_add(1);
        shown.store(Arc::new(snapshot));
        std::thread::sleep(Duration::from_millis(2));
    }
    told
}

/// Every third part fails.
fn result(sequence: SequenceNumber) -> PartResult {
    let fails = sequence.get().is_multiple_of(3);
    let (score, reason) =
        if fails { (0.9, Reason::ScoreAtOrAboveThreshold) } else { (0.1, Reason::Good) };
    assert_eq!(reason.decision() == Decision::Fail, fails);
    let triggered = LineTime::now();
    PartResult {
        sequence,
        decision: reason.decision(),
        reason,
        flags: ResultFlags::default(),
        product: 3,
        score,
        threshold: 0.5,
        regions: 0,
        largest: None,
        triggered,
        committed: triggered + Duration::from_millis(1),
        deadline: triggered + Duration::from_millis(2),
        encoder_count: -1,
        tag: 7 * sequence.get(),
    }
}
