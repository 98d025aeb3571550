//! Client mode against independent slaves (pymodbus servers): a PLC that takes results, and a
//! coupler whose coil is the gate of the real line thread.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/fieldbus.rs"]
mod fieldbus;
mod support;

use fieldbus::Stand;
use onenipd::daemon::WayEnds;
use onenipd::line::{Alarm, LineEvent, LineSettings, LineState, OutputLevels};
use onenipd::line_io::OutputLines;
use onenipd::line_io::modbus::{
    CouplerOutputs, CouplerSettings, Fieldbus, ModbusServer, ModbusSettings, OutputWatchdog,
    PlcSettings, ResultsMode,
};
use onenipd::part::{Command, Duration, LineTime};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use support::{Act, Bench};

/// Nothing here is timed: a slow machine must not look like a broken wire.
const PATIENCE: Duration = Duration::from_secs(20);

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A script of tests/ at work, with what it says.
struct Script {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    lines: Receiver<()>,
}

impl Script {
    fn start(name: &str, arguments: &[String]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/test-python/bin/python3");
        assert!(python.exists(), "{} is missing: `make test` creates it", python.display());
        let mut command = std::process::Command::new(python);
        command.arg(root.join("tests").join(name)).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (tell, lines) = channel();
        let (out, kept) = (child.stdout.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
                let _ = tell.send(());
            }
        });
        Self { child, said, lines }
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    fn until(&self, holds: impl Fn(&[String]) -> bool) {
        while !holds(&self.said()) {
            let said = self.lines.recv_timeout(PATIENCE);
            assert!(said.is_ok() || holds(&self.said()), "said no more than {:?}", self.said());
        }
    }

    /// Waits for its end, which must be a good one.
    fn finish(mut self) {
        let status = self.child.wait().unwrap();
        while self.lines.recv().is_ok() {}
        println!("{}", self.said().join("\n"));
        assert!(status.success(), "the script is not content");
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn plc(address: SocketAddr) -> PlcSettings {
    let cycle = Duration::from_millis(5);
    let defaults = PlcSettings::new(address);
    PlcSettings {
        unit: 1,
        register: 100,
        status_registers: 12,
        cycle,
        timeout: PATIENCE,
        ..defaults
    }
}

fn results_reach_the_plc(mode: ResultsMode, program: &str) {
    let address = free_address();
    let settings = ModbusSettings { results: mode, ..ModbusSettings::default() };
    let fieldbus = Fieldbus { plc: Some(plc(address)), ..Fieldbus::default() };
    // The box is there first: it tries until the PLC is.
    let stand = Stand::start(settings, fieldbus, 320, true);
    let arguments = [address.port().to_string(), program.into(), "320".into()];
    Script::start("modbus_plc.py", &arguments).finish();
    let told = stand.stop();
    let changes = |event: &&LineEvent| {
        let command = Command::ChangeProduct(5);
        matches!(event, LineEvent::Command { command: c, .. } if *c == command)
    };
    assert_eq!(told.iter().filter(changes).count(), 1, "one edge, one product change");
}

#[test]
fn results_reach_the_plc_one_by_one_with_valid_and_ack() {
    results_reach_the_plc(ResultsMode::Handshake, "handshake");
}

#[test]
fn results_reach_the_plc_in_order_with_its_index() {
    results_reach_the_plc(ResultsMode::Index, "index");
}

#[test]
fn a_plc_whose_heartbeat_stops_is_lost_to_the_real_line() {
    let (address, ends) = (free_address(), WayEnds::new());
    let fieldbus = Fieldbus { plc: Some(plc(address)), without_tcp: true, ..Fieldbus::default() };
    let (snapshot, results) = (Arc::clone(&ends.snapshot), ends.results_receiver.clone());
    let settings = ModbusSettings::default();
    let commands = ends.events.clone();
    let server = ModbusServer::start_with(settings, fieldbus, snapshot, results, commands).unwrap();
    let bench = Bench::start_with(|| Act::Score(0.1), ends, true);
    let arguments = [address.port().to_string(), "heartbeat".into(), "0".into()];
    Script::start("modbus_plc.py", &arguments).finish();
    drop(server);
    bench.stop();
}

/// The watchdog of a WAGO 750 coupler: stopped, set, started, verified.
fn watchdog() -> OutputWatchdog {
    OutputWatchdog {
        register: 0x1000,
        value: 2,
        prepare: vec![(0x1008, 0x55AA)],
        start: vec![(0x100A, 1)],
        verify: vec![(0x1006, 1)],
    }
}

fn coupler(address: SocketAddr, ends: &WayEnds) -> Box<dyn OutputLines> {
    let settings = CouplerSettings {
        unit: 1,
        ready_coil: Some(1),
        alive_coil: Some(2),
        net_time: PATIENCE,
        timeout: PATIENCE,
        ..CouplerSettings::new(address, false, watchdog())
    };
    Box::new(CouplerOutputs::start(settings, ends.events.clone()).unwrap())
}

fn start_coupler(address: SocketAddr, watchdog: &str) -> Script {
    let script =
        Script::start("modbus_coupler.py", &[address.port().to_string(), watchdog.to_owned()]);
    script.until(|said| said.iter().any(|line| line == "listening"));
    script
}

/// What a coil was written, change by change.
fn coil(said: &[String], number: u16) -> Vec<bool> {
    let prefix = format!("coil {number} ");
    said.iter().filter_map(|line| Some(line.strip_prefix(&prefix)? == "1")).collect()
}

/// Levels of the gate, change by change, from the rejecting level it begins with.
fn gate(bench: &Bench) -> Vec<bool> {
    let mut levels = vec![true];
    for (_, written) in bench.lines.history() {
        if levels.last() != Some(&written.reject) {
            levels.push(written.reject);
        }
    }
    levels
}

#[test]
fn the_couplers_coil_follows_the_gate_and_a_cut_is_a_fault_until_it_is_back() {
    let (address, ends) = (free_address(), WayEnds::new());
    let script = start_coupler(address, "wago");
    let wires = vec![coupler(address, &ends)];
    let mut number = 0;
    let engine = move || {
        number += 1;
        if number % 3 == 0 { Act::Score(0.9) } else { Act::Score(0.1) }
    };
    let mut bench = Bench::build(engine, ends, false, wires, behind_a_coupler);
    bench.until(|bench| bench.way.snapshot.load().outputs.ready);
    // The purge ends with parts in sight, then parts pass and are rejected.
    bench.way.events.send(command(Command::PurgeDone)).unwrap();
    bench.until(|bench| gate(bench) == [true, false]);
    for _ in 0..9 {
        let next = LineTime::now() + Duration::from_millis(120);
        bench.part();
        bench.until(|_| LineTime::now() >= next);
    }
    bench.results(9);
    bench.until(|bench| {
        let line = bench.way.snapshot.load();
        line.armed == 0 && !line.gate_rejects
    });
    let levels = gate(&bench);
    assert!(levels.len() >= 4, "rejects and passes: {levels:?}");
    script.until(|said| coil(said, 0).len() == levels.len());
    assert_eq!(coil(&script.said(), 0), levels);
    script.until(|said| coil(said, 2).len() == 4);
    assert_eq!(coil(&script.said(), 1).last(), Some(&true), "ready");

    drop(script);
    bench.until(|bench| {
        let line = bench.way.snapshot.load();
        line.state == LineState::Fault && line.alarms.contains(Alarm::Actuator)
    });
    bench.way.events.send(command(Command::ClearFault)).unwrap();
    bench.until(|bench| bench.way.snapshot.load().command_result == 1);
    assert_eq!(bench.way.snapshot.load().state, LineState::Fault, "nothing to clear it for");

    let script = start_coupler(address, "wago");
    script.until(|said| coil(said, 0) == [true]);
    let mut asked = LineTime::now();
    while bench.way.snapshot.load().state == LineState::Fault {
        // Cleared as soon as the watchdog is verified again.
        bench.way.events.send(command(Command::ClearFault)).unwrap();
        asked = asked + Duration::from_millis(100);
        bench.until(|_| LineTime::now() >= asked);
    }
    bench.way.events.send(command(Command::PurgeDone)).unwrap();
    script.until(|said| coil(said, 0) == [true, false]);
    script.until(|said| coil(said, 1).last() == Some(&true));
    bench.stop();
    script
        .until(|said| coil(said, 0) == [true, false, true] && coil(said, 1).last() == Some(&false));
}

/// Waits for the coupler, and takes no edge of a slow machine for a late one.
fn behind_a_coupler(line: &mut LineSettings) {
    line.actuator_awaited = true;
    line.jitter = Duration::from_millis(60);
}

fn command(command: Command) -> LineEvent {
    LineEvent::Command { command, time: LineTime::now() }
}

#[test]
fn without_a_verified_watchdog_the_line_does_not_become_ready() {
    for watchdog in ["none", "deaf"] {
        let (address, ends) = (free_address(), WayEnds::new());
        let script = start_coupler(address, watchdog);
        let wires = vec![coupler(address, &ends)];
        let mut bench = Bench::build(|| Act::Score(0.1), ends, false, wires, behind_a_coupler);
        // The gate is written and the watchdog tried; the line goes on beating, in Starting.
        script.until(|said| coil(said, 0) == [true]);
        let heartbeat = bench.way.snapshot.load().heartbeat;
        bench.until(|bench| bench.way.snapshot.load().heartbeat.wrapping_sub(heartbeat) >= 10);
        let line = bench.way.snapshot.load();
        assert_eq!((line.state, line.outputs.ready), (LineState::Starting, false), "{watchdog}");
        assert!(line.gate_rejects);
        drop(line);
        drop(script);
        bench.stop();
    }
}

/// Says what no slave may, one answer per connection; counts the connections.
fn hostile(answers: Vec<Vec<u8>>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    std::thread::spawn(move || {
        for answer in answers.iter().cycle() {
            let Ok((mut stream, _)) = listener.accept() else { return };
            count.fetch_add(1, Ordering::Relaxed);
            let mut request = [0; 64];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer);
            let _ = stream.read(&mut request);
        }
    });
    (address, connections)
}

fn eventually(holds: impl Fn() -> bool) {
    let patience = LineTime::now() + PATIENCE;
    while !holds() {
        assert!(LineTime::now() < patience, "did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn hostile_answers_end_their_connection_and_nothing_else() {
    let answers = vec![
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        vec![0, 1, 0, 0, 0, 6, 1, 5, 0, 0, 0, 0],
        vec![0, 9, 0, 0, 0, 6, 1, 5, 0, 0, 0xFF, 0],
        vec![0, 1, 0, 0, 0, 200, 1],
        vec![0xFF; 2000],
        vec![],
    ];
    let all = answers.len();
    let (address, connections) = hostile(answers.clone());
    let ends = WayEnds::new();
    let settings = CouplerSettings {
        timeout: Duration::from_millis(20),
        ..CouplerSettings::new(address, false, watchdog())
    };
    let wires = CouplerOutputs::start(settings, ends.events.clone()).unwrap();
    let wires: Vec<Box<dyn OutputLines>> = vec![Box::new(wires)];
    let mut bench = Bench::build(|| Act::Score(0.1), ends, false, wires, behind_a_coupler);
    bench.until(|_| connections.load(Ordering::Relaxed) > all);
    assert_eq!(bench.way.snapshot.load().state, LineState::Starting);
    bench.stop();

    let (address, connections) = hostile(answers);
    let plc = PlcSettings { timeout: Duration::from_millis(20), ..PlcSettings::new(address) };
    let fieldbus = Fieldbus { plc: Some(plc), ..Fieldbus::default() };
    let stand = Stand::start(ModbusSettings::default(), fieldbus, 0, false);
    eventually(|| connections.load(Ordering::Relaxed) > all);
    let told = stand.stop();
    assert_eq!(told, [], "nothing they said was a command");
}

/// A coupler with its watchdog running: answers at once, except while it is held.
#[derive(Clone, Default)]
struct Slave {
    held: Arc<AtomicBool>,
    /// Requests that came, answered or not.
    asked: Arc<AtomicUsize>,
    gate: Arc<Mutex<Vec<bool>>>,
}

impl Slave {
    fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let slave = self.clone();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut request = [0; 12];
                while stream.read_exact(&mut request).is_ok() {
                    let answer = slave.answer(request);
                    if stream.write_all(&answer).is_err() {
                        break;
                    }
                }
            }
        });
        address
    }

    fn answer(&self, request: [u8; 12]) -> Vec<u8> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        while self.held.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        match request[7] {
            3 => {
                let value = if request[9] == 6 { 1 } else { 2 };
                [&request[..4], &[0, 5, request[6], 3, 2, 0, value]].concat()
            }
            5 => {
                let level = request[10] == 0xFF;
                let mut gate = self.gate.lock().unwrap();
                if gate.last() != Some(&level) {
                    gate.push(level);
                }
                request.to_vec()
            }
            _ => request.to_vec(),
        }
    }
}

/// A coupler's outputs and what they tell the line, once the watchdog is verified.
fn outputs(
    slave: &Slave,
    net_time: Duration,
    timeout: Duration,
) -> (CouplerOutputs, onenipd::line_io::channel::Receiver<LineEvent>) {
    let (events, told) = onenipd::line_io::channel::bounded(64);
    let settings = CouplerSettings {
        net_time,
        timeout,
        jitter: Duration::ZERO,
        ..CouplerSettings::new(slave.start(), false, watchdog())
    };
    let outputs = CouplerOutputs::start(settings, events).unwrap();
    let first = told.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(first, LineEvent::Cause { alarm: Alarm::Actuator, present: false, .. }));
    (outputs, told)
}

fn levels(reject: bool) -> OutputLevels {
    OutputLevels { reject, ..OutputLevels::default() }
}

fn is_late_fire(event: LineEvent) -> bool {
    matches!(event, LineEvent::WireFault { alarm: Alarm::LateFire, .. })
}

#[test]
fn an_edge_acknowledged_later_than_its_time_is_late_fire() {
    let slave = Slave::default();
    let (mut outputs, told) = outputs(&slave, Duration::ZERO, PATIENCE);
    outputs.write(levels(false)).unwrap();
    assert!(is_late_fire(told.recv_timeout(PATIENCE).unwrap()));
    eventually(|| *slave.gate.lock().unwrap() == [true, false]);
    drop(outputs);
    assert!(told.try_recv().is_err(), "a refresh is never late");
}

#[test]
fn a_pulse_of_which_the_coupler_saw_nothing_is_late_fire() {
    let slave = Slave::default();
    let (mut outputs, told) = outputs(&slave, PATIENCE, PATIENCE);
    outputs.write(levels(false)).unwrap();
    eventually(|| *slave.gate.lock().unwrap() == [true, false]);
    slave.held.store(true, Ordering::Relaxed);
    let asked = slave.asked.load(Ordering::Relaxed);
    eventually(|| slave.asked.load(Ordering::Relaxed) > asked);
    // While the coupler is busy the gate pulses and is as before.
    outputs.write(levels(true)).unwrap();
    outputs.write(levels(false)).unwrap();
    slave.held.store(false, Ordering::Relaxed);
    assert!(is_late_fire(told.recv_timeout(PATIENCE).unwrap()));
    drop(outputs);
    assert_eq!(*slave.gate.lock().unwrap(), [true, false]);
}

#[test]
fn a_coupler_that_does_not_answer_is_an_actuator_fault_until_it_does() {
    let slave = Slave::default();
    let (mut outputs, told) = outputs(&slave, PATIENCE, Duration::from_millis(300));
    let actuator = |expected| {
        let event = told.recv_timeout(PATIENCE).unwrap();
        let LineEvent::Cause { alarm: Alarm::Actuator, present, .. } = event else {
            panic!("{event:?}")
        };
        assert_eq!(present, expected);
    };
    slave.held.store(true, Ordering::Relaxed);
    actuator(true);
    // The line thread is never kept waiting.
    for _ in 0..1000 {
        outputs.write(levels(true)).unwrap();
    }
    slave.held.store(false, Ordering::Relaxed);
    actuator(false);
    drop(outputs);
}
