//! A thousand parts through the real line, pairing, preprocessing and judge, read by independent
//! Modbus masters: pymodbus in both styles of line-io 1.7, and mbpoll, one process per request. No
//! loss, no double, in order, acknowledged both ways, and the PLC knows what the box decided.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use onenipd::daemon::{FrameWindow, WayEnds};
use onenipd::line::{LineSettings, Wiring};
use onenipd::line_io::modbus::{ModbusServer, ModbusSettings, ResultsMode};
use onenipd::part::{Duration, LineTime, PartResult};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use support::{Act, Bench};

const PARTS: usize = 1_000;
/// Parts come no closer than this.
const SPACING: Duration = Duration::from_millis(6);
/// The infeed is held while so many results wait; with those on their way they stay below 64.
const WAITING_MOST: u16 = 24;

/// The box: a running line behind a Modbus server.
struct BoxUnderTest {
    bench: Bench,
    server: ModbusServer,
    gauge: TcpStream,
}

impl BoxUnderTest {
    /// Every fifth part the engine sees is bad; parts may be 6 ms apart.
    fn start(results: ResultsMode) -> Self {
        let ends = WayEnds::new();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings =
            ModbusSettings { listen, results, soft_trigger: true, ..ModbusSettings::default() };
        let (snapshot, receiver) = (Arc::clone(&ends.snapshot), ends.results_receiver.clone());
        let server =
            ModbusServer::start(settings, snapshot, receiver, ends.events.clone()).unwrap();
        let mut seen = 0;
        let script = move || {
            seen += 1;
            Act::Score(if seen % 5 == 0 { 0.9 } else { 0.1 })
        };
        let ms = Duration::from_millis;
        let mut bench = Bench::open(script, ends, true, |parts| {
            let line = LineSettings::with_delay(Wiring::EnergiseToReject, ms(600));
            parts.line.travel = line.travel;
            // Nothing here depends on the wire being in time, and the machine may be busy.
            (parts.line.jitter, parts.line.soft_trigger) = (ms(200), true);
            parts.window =
                FrameWindow { before: ms(1), after: ms(2), timeout: ms(40), one_per_trigger: true };
        });
        bench.until_ready();
        let gauge = TcpStream::connect(server.local_address()).unwrap();
        gauge.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { bench, server, gauge }
    }

    fn port(&self) -> String {
        self.server.local_address().port().to_string()
    }

    /// fifo_count, by a connection of its own.
    fn waiting(&mut self) -> u16 {
        self.gauge.write_all(&[0, 1, 0, 0, 0, 6, 255, 4, 0, 16, 0, 1]).unwrap();
        let mut answer = [0; 11];
        self.gauge.read_exact(&mut answer).unwrap();
        assert_eq!(answer[7..9], [4, 2]);
        u16::from_be_bytes([answer[9], answer[10]])
    }

    /// Parts at the wire while the PLC keeps up; every tenth has no picture: no decision.
    fn feed(&mut self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let patience = LineTime::now() + Duration::from_secs(20);
            while self.waiting() > WAITING_MOST {
                assert!(LineTime::now() < patience, "nobody reads");
                self.pause(Duration::from_millis(2));
            }
            let without_picture = number % 10 == 9;
            let time = if without_picture { self.bench.trigger() } else { self.bench.part() };
            self.pause((time + SPACING).since(LineTime::now()));
        }
    }

    fn pause(&mut self, pause: Duration) {
        let until = LineTime::now() + pause;
        self.bench.until(|_| LineTime::now() >= until);
    }

    /// What the box decided must be what the PLC read, part by part.
    fn compare(mut self, read: &[String]) {
        let decided: Vec<String> = self.bench.results(PARTS).iter().map(line).collect();
        assert_eq!(decided.len(), PARTS);
        for (number, (decided, read)) in decided.iter().zip(read).enumerate() {
            assert_eq!(decided, read, "part {}", number + 1);
        }
        assert_eq!(read.len(), PARTS, "no loss, no double");
        for decision in [" 1 ", " 2 ", " 3 "] {
            assert!(read.iter().any(|line| line.contains(decision)), "no decision {decision}");
        }
        assert_eq!(self.waiting(), 0, "every result is acknowledged");
        let count = |word: &str| read.iter().filter(|line| line.contains(word)).count();
        let (pass, fail, none) = (count(" 1 "), count(" 2 "), count(" 3 "));
        println!("{PARTS} parts: {pass} pass, {fail} fail, {none} no decision");
        println!("{}", self.server.traffic());
        drop(self.server);
        self.bench.stop();
    }
}

/// As the PLC says it: number, decision, reason, score x 10000.
fn line(result: &PartResult) -> String {
    let score = if result.score.is_finite() {
        (f64::from(result.score) * 10_000.0).round() as i64
    } else {
        0x7FFF_FFFF
    };
    let (sequence, decision) = (result.sequence.get(), result.decision.code());
    format!("{sequence} {decision} {} {score}", result.reason.code())
}

/// The independent master, and what it says.
struct Master {
    process: Child,
    lines: Receiver<String>,
}

impl Master {
    fn start(arguments: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/test-python/bin/python3");
        assert!(python.exists(), "{} is missing: `make test` creates it", python.display());
        let mut process = Command::new(python)
            .arg(root.join("tests/modbus_line.py"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = whole_lines(process.stdout.take().unwrap());
        let master = Self { process, lines };
        assert_eq!(master.lines.recv_timeout(Duration::from_secs(20)).unwrap(), "ready");
        master
    }

    /// Everything it has said, once it has ended well.
    fn finish(mut self) -> Vec<String> {
        let said = self.lines.iter().collect();
        assert!(self.process.wait().unwrap().success(), "the client is not content");
        said
    }

    /// Killed, wherever it is; what it had said until then.
    fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.lines.iter().collect()
    }
}

/// Half a line, cut by a kill, is not said.
fn whole_lines(out: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let (mut out, mut line) = (BufReader::new(out), String::new());
        while out.read_line(&mut line).is_ok_and(|read| read > 0) {
            if line.ends_with('\n') && sender.send(line.trim_end().to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

#[test]
fn a_thousand_parts_by_index_with_the_client_killed_in_between() {
    let mut device = BoxUnderTest::start(ResultsMode::Index);
    let port = device.port();
    let first = Master::start(&["index", &port, "1000", "0"]);
    device.feed(0..PARTS / 2);
    // Killed without warning, perhaps between reading and acknowledging; parts go on coming.
    let mut read = first.kill();
    assert!(read.len() > 100, "{} parts were read before", read.len());
    let last = read.last().unwrap().split(' ').next().unwrap().to_owned();
    device.feed(PARTS / 2..PARTS / 2 + 10);
    let second = Master::start(&["index", &port, "1000", &last]);
    device.feed(PARTS / 2 + 10..PARTS);
    device.bench.results(PARTS);
    let mut rest = second.finish();
    assert_eq!(rest.pop().as_deref(), Some("content"));
    read.extend(rest);
    device.compare(&read);
}

#[test]
fn a_thousand_parts_by_trigger_and_result_handshake() {
    let mut device = BoxUnderTest::start(ResultsMode::Handshake);
    let master = Master::start(&["handshake", &device.port(), "1000"]);
    for number in 0..PARTS {
        // The camera answers the box's trigger; sometimes it does not.
        let armed = |bench: &Bench| {
            let newest = bench.way.snapshot.load().last_triggered;
            newest.is_some_and(|newest| newest.get() as usize > number)
        };
        let patience = LineTime::now() + Duration::from_secs(20);
        while !armed(&device.bench) {
            let line = device.bench.way.snapshot.load();
            assert!(LineTime::now() < patience, "the PLC does not trigger: {line:?}");
            std::thread::sleep(Duration::from_micros(200));
        }
        if number % 20 == 19 {
            device.bench.lose_frame();
        } else {
            // A triggered camera stamps its frame with the trigger, here the PLC's last command.
            let triggered = device.bench.way.snapshot.load().last_command;
            device.bench.frame(triggered);
        }
        device.bench.results(number + 1);
    }
    let mut read = master.finish();
    assert_eq!(read.pop().as_deref(), Some("content"));
    assert!(device.bench.results.iter().all(|result| result.flags.soft_trigger));
    device.compare(&read);
}

/// One run of mbpoll: the values it shows, in hexadecimal, or nothing for a write.
fn mbpoll(port: &str, arguments: &[&str]) -> Vec<u32> {
    let common = ["-m", "tcp", "-a", "255", "-0", "-1", "-q", "-p", port];
    let output = Command::new("mbpoll").args(common).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("mbpoll: {e}; `make test` installs it"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let value = |line: &str| {
        let value = line.strip_prefix('[')?.split_once("]:")?.1.trim().to_owned();
        let hexadecimal = value.strip_prefix("0x").map(|digits| u32::from_str_radix(digits, 16));
        hexadecimal.unwrap_or_else(|| value.parse()).ok()
    };
    text.lines().filter_map(value).collect()
}

fn acknowledge(port: &str, level: &str) {
    mbpoll(port, &["-t", "0", "-r", "1", "127.0.0.1", level]);
}

/// Site check, then part by part: VALID and head read, ACK set, VALID gone, ACK cleared.
fn mbpoll_handshakes(port: &str, parts: usize) -> Vec<String> {
    let identity = mbpoll(port, &["-t", "3:hex", "-r", "0", "-c", "4", "127.0.0.1"]);
    assert_eq!(identity, [0x4F4E, 0x0100, 0x0102, 0x0304]);
    let mut read = Vec::new();
    while read.len() < parts {
        let head = mbpoll(port, &["-t", "4:hex", "-r", "32", "-c", "32", "127.0.0.1"]);
        if head[2] == 0 {
            continue;
        }
        let pair = |at: usize| head[at] << 16 | head[at + 1];
        assert_eq!(pair(0), pair(30), "torn");
        read.push(format!("{} {} {} {}", pair(0), head[2], head[3], pair(6)));
        acknowledge(port, "1");
        if read.len() % 100 == 1 {
            let status = mbpoll(port, &["-t", "1", "-r", "6", "-c", "1", "127.0.0.1"]);
            assert_eq!(status, [0], "ACK takes VALID away");
        }
        acknowledge(port, "0");
    }
    read
}

#[test]
fn a_thousand_parts_by_mbpoll_one_process_per_request() {
    let mut device = BoxUnderTest::start(ResultsMode::Handshake);
    let port = device.port();
    let master = std::thread::spawn(move || mbpoll_handshakes(&port, PARTS));
    device.feed(0..PARTS);
    device.bench.results(PARTS);
    let read = master.join().unwrap();
    device.compare(&read);
}
