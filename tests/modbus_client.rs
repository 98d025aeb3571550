//! The Modbus server over real sockets: an independent client (pymodbus), and raw bytes.

#![allow(clippy::unwrap_used, clippy::panic)]

use arc_swap::ArcSwap;
use crossbeam_channel::{Sender, bounded};
use onenipd::line::{LineEvent, LineSnapshot, LineState, TriggerSource};
use onenipd::line_io::channel;
use onenipd::line_io::modbus::{ModbusServer, ModbusSettings, ResultsMode, Traffic};
use onenipd::part::{
    Command, Decision, Duration, LineTime, PartResult, Reason, ResultFlags, SequenceNumber,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Stands where the line thread stands: publishes snapshots and results, handles commands.
struct Line {
    server: Option<ModbusServer>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<LineEvent>>>,
}

impl Line {
    /// Serves Modbus on a free port; from the PLC's first heartbeat on, `results` results are
    /// published one by one.
    fn start(settings: ModbusSettings, results: u32) -> Self {
        let snapshot: Arc<ArcSwap<LineSnapshot>> = Arc::default();
        let (publish, published) = bounded(64);
        let (send, events) = channel::bounded(64);
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = ModbusSettings { listen, ..settings };
        let server = ModbusServer::start(settings, Arc::clone(&snapshot), published, send).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread =
            std::thread::spawn(move || run(&snapshot, &publish, &events, &stopped, results));
        Self { server: Some(server), stop, thread: Some(thread) }
    }

    fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().local_address()
    }

    fn traffic(&self) -> Traffic {
        self.server.as_ref().unwrap().traffic()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Ends server, then line; what the line was told.
    fn stop(mut self) -> Vec<LineEvent> {
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
) -> Vec<LineEvent> {
    let mut snapshot = LineSnapshot {
        state: LineState::Running,
        boot_id: 77,
        active_product: 3,
        trigger_ready: true,
        ..LineSnapshot::default()
    };
    let (mut told, mut next, mut plc_alive) = (Vec::new(), SequenceNumber::FIRST, false);
    while !stop.load(Ordering::Relaxed) {
        for event in events.try_iter() {
            told.push(event);
            match event {
                LineEvent::Command { command, time } => {
                    snapshot.last_command = time;
                    plc_alive |= matches!(command, Command::PlcHeartbeat(_));
                    carry_out(command, &mut snapshot);
                }
                LineEvent::Trigger { time, .. } => snapshot.last_command = time,
                _ => {}
            }
        }
        if plc_alive && next.get() <= results {
            let result = result(next);
            let counters = &mut snapshot.counters;
            counters.parts += 1;
            counters.pass += u32::from(result.decision == Decision::Pass);
            counters.fail += u32::from(result.decision == Decision::Fail);
            snapshot.last_triggered = Some(next);
            publish.send(result).unwrap();
            next = next.next();
        }
        snapshot.heartbeat = snapshot.heartbeat.wrapping_add(1);
        shown.store(Arc::new(snapshot));
        std::thread::sleep(Duration::from_millis(2));
    }
    told
}

fn carry_out(command: Command, snapshot: &mut LineSnapshot) {
    match command {
        Command::ChangeProduct(99) => (snapshot.active_product, snapshot.command_result) = (0, 2),
        Command::ChangeProduct(product) => {
            (snapshot.active_product, snapshot.command_result) = (product, 0);
        }
        Command::ResetCounters => {
            snapshot.counters = Default::default();
            snapshot.command_result = 0;
        }
        _ => {}
    }
}

/// Part n has score n % 100 / 100, threshold 0.5 and tag 7 n.
fn result(sequence: SequenceNumber) -> PartResult {
    let score = (sequence.get() % 100) as f32 / 100.0;
    let reason = if score < 0.5 { Reason::Good } else { Reason::ScoreAtOrAboveThreshold };
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

fn index() -> ModbusSettings {
    ModbusSettings { results: ResultsMode::Index, ..ModbusSettings::default() }
}

/// Sends one PDU and returns the answer's PDU; `None` when the server closes instead.
fn ask(stream: &mut TcpStream, pdu: &[u8]) -> Option<Vec<u8>> {
    let mut frame = vec![9, 9, 0, 0, 0, pdu.len() as u8 + 1, 0xFF];
    frame.extend(pdu);
    stream.write_all(&frame).ok()?;
    let mut header = [0; 7];
    stream.read_exact(&mut header).ok()?;
    assert_eq!((&header[..4], header[6]), (&frame[..4], 0xFF));
    let mut answer = vec![0; usize::from(header[5]) - 1];
    stream.read_exact(&mut answer).ok()?;
    Some(answer)
}

fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(read) => read == 0,
        Err(error) => {
            assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
            true
        }
    }
}

/// Asks again until `done`; what ends by itself ends within seconds.
fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("did not happen");
}

const READ_MAGIC: [u8; 5] = [3, 0, 0, 0, 1];
const MAGIC: [u8; 4] = [3, 2, 0x4F, 0x4E];
const WRITE_PRODUCT: [u8; 5] = [6, 0, 202, 0, 1];

#[test]
fn an_independent_client_reads_results_while_they_are_published() {
    let root = env!("CARGO_MANIFEST_DIR");
    let python = format!("{root}/target/test-python/bin/python3");
    assert!(
        std::path::Path::new(&python).exists(),
        "the Python environment target/test-python is missing: `make test` creates it"
    );
    let line = Line::start(index(), 401);
    let port = line.address().port().to_string();
    let script = format!("{root}/tests/modbus_client.py");
    let output = std::process::Command::new(python).args([&script, &port]).output().unwrap();
    let told = line.stop();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stdout));
    let was_told = |wanted| {
        told.iter().any(|e| matches!(*e, LineEvent::Command { command, .. } if command == wanted))
    };
    for command in [
        Command::Tag(0x0102_0304),
        Command::PlcHeartbeat(11),
        Command::ChangeProduct(5),
        Command::ChangeProduct(99),
        Command::ResetCounters,
    ] {
        assert!(was_told(command), "{command:?} of {told:?}");
    }
}

#[test]
fn garbage_closes_its_connection_and_no_other() {
    let line = Line::start(index(), 0);
    let mut good = line.connect();
    let mut half_open = line.connect();
    half_open.write_all(&[0, 1, 0]).unwrap();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 1, 0, 0, 0, 1, 1], &[0xFF; 300]] {
        let mut bad = line.connect();
        bad.write_all(garbage).unwrap();
        assert!(is_closed(&mut bad), "{garbage:?}");
        assert_eq!(ask(&mut good, &READ_MAGIC).unwrap(), MAGIC);
    }
    // Two requests in one segment, then the rest of what was half sent.
    let twice = [0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1, 0, 2, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1];
    good.write_all(&twice).unwrap();
    let mut answers = [0; 22];
    good.read_exact(&mut answers).unwrap();
    assert_eq!((answers[1], answers[12], &answers[18..]), (1, 2, &MAGIC[..]));
    half_open.write_all(&[0, 0, 6, 1, 3, 0, 0, 0, 1]).unwrap();
    let mut answer = [0; 11];
    half_open.read_exact(&mut answer).unwrap();
    assert_eq!(answer[7..], MAGIC);
    let counted = line.traffic();
    assert_eq!((counted.connections, counted.malformed, counted.requests), (5, 3, 6));
    line.stop();
    assert!(is_closed(&mut good) && is_closed(&mut half_open), "stop closes every connection");
}

#[test]
fn one_connection_too_many_is_closed_and_a_place_comes_free() {
    let line = Line::start(ModbusSettings { connections: 3, ..index() }, 0);
    let mut clients: Vec<TcpStream> = (0..3).map(|_| line.connect()).collect();
    for client in &mut clients {
        assert_eq!(ask(client, &READ_MAGIC).unwrap(), MAGIC);
    }
    assert!(is_closed(&mut line.connect()));
    assert_eq!(line.traffic().too_many, 1);
    drop(clients.pop());
    until(|| ask(&mut line.connect(), &READ_MAGIC).is_some());
    line.stop();
}

#[test]
fn the_write_lock_is_free_when_its_holder_closes() {
    let line = Line::start(index(), 0);
    let (mut first, mut second) = (line.connect(), line.connect());
    assert_eq!(ask(&mut first, &WRITE_PRODUCT).unwrap(), WRITE_PRODUCT);
    assert_eq!(ask(&mut second, &WRITE_PRODUCT).unwrap(), [0x86, 6]);
    assert_eq!(ask(&mut second, &READ_MAGIC).unwrap(), MAGIC);
    drop(first);
    until(|| ask(&mut second, &WRITE_PRODUCT).unwrap() == WRITE_PRODUCT);
    line.stop();
}

#[test]
fn only_allowed_addresses_are_served_and_idle_ones_are_closed() {
    let nobody = vec!["192.0.2.1".parse().unwrap()];
    let line = Line::start(ModbusSettings { allow: nobody, ..index() }, 0);
    assert!(is_closed(&mut line.connect()));
    until(|| line.traffic().not_allowed == 1);
    line.stop();
    let idle_timeout = Duration::from_millis(50);
    let allow = vec!["127.0.0.1".parse().unwrap()];
    let line = Line::start(ModbusSettings { allow, idle_timeout, ..index() }, 0);
    let mut client = line.connect();
    assert!(is_closed(&mut client));
    until(|| line.traffic().idle == 1);
    line.stop();
}

#[test]
fn a_request_must_be_complete_within_a_second_of_its_first_byte() {
    let line = Line::start(index(), 0);
    let (mut stuck, mut good) = (line.connect(), line.connect());
    stuck.write_all(&[0, 1, 0]).unwrap();
    // One byte after the other keeps no connection either: the time is that of the whole request.
    let mut drip = line.connect();
    let dripping = std::thread::spawn(move || {
        for byte in [0, 1, 0, 0, 0, 200, 255, 16].into_iter().cycle() {
            if drip.write_all(&[byte]).is_err() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    });
    assert!(is_closed(&mut stuck) && dripping.join().unwrap());
    assert_eq!(ask(&mut good, &READ_MAGIC).unwrap(), MAGIC, "an idle one is not slow");
    until(|| line.traffic().slow == 2);
    assert_eq!((line.traffic().idle, line.traffic().malformed), (0, 0));
    line.stop();
}

#[test]
fn a_client_that_takes_no_answers_is_closed_and_holds_up_nobody() {
    let line = Line::start(index(), 0);
    let (mut deaf, mut good) = (line.connect(), line.connect());
    deaf.set_nonblocking(true).unwrap();
    let read_all: Vec<u8> = [0, 1, 0, 0, 0, 6, 255, 3, 1, 0, 0, 125].repeat(50);
    until(|| {
        while deaf.write(&read_all).is_ok_and(|written| written > 0) {}
        assert_eq!(ask(&mut good, &READ_MAGIC).unwrap(), MAGIC);
        line.traffic().slow == 1
    });
    line.stop();
}

#[test]
fn a_read_only_server_refuses_every_write_as_busy_and_counts_it() {
    let line = Line::start(ModbusSettings { read_only: true, ..index() }, 0);
    let mut client = line.connect();
    assert_eq!(ask(&mut client, &WRITE_PRODUCT).unwrap(), [0x86, 6]);
    assert_eq!(ask(&mut client, &[5, 0, 1, 0xFF, 0]).unwrap(), [0x85, 6]);
    assert_eq!(ask(&mut client, &[6, 0, 4, 0, 1]).unwrap(), [0x86, 2], "02 is tested before");
    assert_eq!(ask(&mut client, &READ_MAGIC).unwrap(), MAGIC);
    assert_eq!((line.traffic().requests, line.traffic().exceptions), (4, 3));
    assert_eq!(line.stop(), []);
}

/// Floods of every kind, of which the line thread must not notice anything.
#[test]
fn a_flood_of_writes_leaves_the_lines_channel_room() {
    let snapshot: Arc<ArcSwap<LineSnapshot>> = Arc::default();
    let ((_publish, results), (send, events)) = (bounded(1), channel::bounded(64));
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let shown = Arc::clone(&snapshot);
    let server =
        ModbusServer::start(ModbusSettings { listen, ..index() }, snapshot, results, send).unwrap();
    let mut plc = TcpStream::connect(server.local_address()).unwrap();
    // Nobody takes the events: only a quarter of the channel is the flood's.
    let mut refused = None;
    for beat in 1..2_000_u16 {
        shown.store(Arc::new(LineSnapshot { heartbeat: beat, ..LineSnapshot::default() }));
        let [high, low] = beat.to_be_bytes();
        let answer = ask(&mut plc, &[6, 0, 201, high, low]).unwrap();
        if answer.len() == 2 {
            refused = Some((beat, answer));
            break;
        }
    }
    assert_eq!(refused, Some((16 + 256 + 1, vec![0x86, 4])), "what it cannot pass on it refuses");
    assert_eq!(events.len(), 16);
    let sent: Vec<LineEvent> = events.try_iter().collect();
    assert!(matches!(sent[..], [LineEvent::Command { command: Command::PlcHeartbeat(1), .. }, ..]));
    // Taken again, everything kept follows in order and nothing is lost.
    let mut beats = sent.len();
    until(|| {
        beats += events.try_iter().count();
        beats == 16 + 256
    });
}

#[test]
fn a_soft_trigger_reaches_the_line_with_the_time_of_its_request() {
    let line = Line::start(ModbusSettings { soft_trigger: true, ..index() }, 0);
    let mut plc = line.connect();
    let before = LineTime::now();
    ask(&mut plc, &[5, 0, 0, 0, 0]).unwrap();
    ask(&mut plc, &[5, 0, 0, 0xFF, 0]).unwrap();
    until(|| ask(&mut plc, &[2, 0, 3, 0, 1]).unwrap() == [2, 1, 1]);
    let told = line.stop();
    let [LineEvent::Trigger { time, source: TriggerSource::Modbus }] = told[..] else {
        panic!("{told:?}")
    };
    assert!(before <= time && time <= LineTime::now());
}

#[test]
fn a_line_thread_that_stands_still_shows_as_device_failure() {
    let snapshot: Arc<ArcSwap<LineSnapshot>> = Arc::default();
    let ((_publish, results), (send, _events)) = (bounded(1), channel::bounded(1));
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = ModbusServer::start(
        ModbusSettings { listen, ..index() },
        Arc::clone(&snapshot),
        results,
        send,
    )
    .unwrap();
    let mut client = TcpStream::connect(server.local_address()).unwrap();
    until(|| ask(&mut client, &READ_MAGIC).unwrap() == [0x83, 4]);
    snapshot.store(Arc::new(LineSnapshot { heartbeat: 1, ..LineSnapshot::default() }));
    assert_eq!(ask(&mut client, &READ_MAGIC).unwrap(), MAGIC);
    until(|| ask(&mut client, &READ_MAGIC).unwrap() == [0x83, 4]);
}
