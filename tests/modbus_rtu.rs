//! The serial line on real pseudo-terminals: an independent RTU master (pymodbus), and raw bytes.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/fieldbus.rs"]
mod fieldbus;

use fieldbus::Stand;
use onenipd::line_io::modbus::{Fieldbus, ModbusSettings, ResultsMode, RtuSettings, crc, seal};
use onenipd::part::{Duration, LineTime};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Longer than any answer takes: silence for so long is none.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is waited before the next bytes where nothing may be answered: longer than a frame's gap.
const GAP: Duration = Duration::from_millis(30);

/// A pseudo-terminal: what is written to `master` the device reads, and the other way round.
fn pty() -> (File, PathBuf) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let mut modes = tcgetattr(&master).unwrap();
    modes.make_raw();
    tcsetattr(&master, OptionalActions::Now, &modes).unwrap();
    let device = ptsname(&master, Vec::new()).unwrap();
    (File::from(master), PathBuf::from(device.to_str().unwrap()))
}

/// A master that sends raw bytes.
struct Master {
    line: File,
    waiting: Vec<u8>,
}

impl Master {
    fn new(line: File) -> Self {
        let flags = fcntl_getfl(&line).unwrap();
        fcntl_setfl(&line, flags | OFlags::NONBLOCK).unwrap();
        Self { line, waiting: Vec::new() }
    }

    fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.line.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    /// Hears until so many bytes have come, or `patience` is over.
    fn hear(&mut self, length: usize, patience: Duration) -> bool {
        let end = LineTime::now() + patience;
        let mut bytes = [0; 512];
        while self.waiting.len() < length && LineTime::now() < end {
            // Nobody has the device open, or there is nothing to hear yet.
            match self.line.read(&mut bytes) {
                Ok(read) => self.waiting.extend(&bytes[..read]),
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        self.waiting.len() >= length
    }

    /// The next answer, which has this many bytes.
    fn answer(&mut self, length: usize) -> Vec<u8> {
        assert!(self.hear(length, PATIENCE), "no answer, only {:02X?}", self.waiting);
        let answer: Vec<u8> = self.waiting.drain(..length).collect();
        assert_eq!(crc(&answer), 0, "{answer:02X?}");
        answer
    }

    /// Asks for the magic number, again until it is answered; nothing else is heard.
    fn until_served(&mut self) {
        let answered = (0..10).any(|_| {
            std::thread::sleep(GAP);
            self.send(&READ_MAGIC);
            self.hear(7, Duration::from_secs(2))
        });
        assert!(answered, "nobody answers");
        assert_eq!(self.answer(7), MAGIC);
        assert!(self.waiting.is_empty(), "{:02X?}", self.waiting);
    }
}

const READ_MAGIC: [u8; 8] = [1, 3, 0, 0, 0, 1, 0x84, 0x0A];
const MAGIC: [u8; 7] = [1, 3, 2, 0x4F, 0x4E, 0x0C, 0x40];

fn serial(device: &Path) -> Fieldbus {
    Fieldbus { rtu: Some(RtuSettings::new(device)), ..Fieldbus::default() }
}

fn index() -> ModbusSettings {
    ModbusSettings { results: ResultsMode::Index, ..ModbusSettings::default() }
}

#[test]
fn an_independent_master_reads_results_and_changes_the_product() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/test-python/bin/python3");
    assert!(python.exists(), "{} is missing: `make test` creates it", python.display());
    // Two terminals, back to back: what one device sends the other hears.
    let ((left, left_device), (right, right_device)) = (pty(), pty());
    for (mut from, mut to) in [
        (left.try_clone().unwrap(), right.try_clone().unwrap()),
        (right.try_clone().unwrap(), left.try_clone().unwrap()),
    ] {
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    }
    let stand = Stand::start(index(), serial(&left_device), 401, true);
    let script = root.join("tests/modbus_rtu.py");
    let output = std::process::Command::new(python).arg(script).arg(&right_device).output();
    let output = output.unwrap();
    let told = stand.stop();
    let (out, err) = (&output.stdout, &output.stderr);
    let (out, err) = (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    assert!(output.status.success(), "{out}{err}\n{told:?}");
    print!("{out}");
}

#[test]
fn the_contracts_exception_as_bytes() {
    let (line, device) = pty();
    let stand = Stand::start(index(), serial(&device), 0, false);
    let mut master = Master::new(line);
    master.until_served();
    master.send(&[0x01, 0x06, 0x00, 0x04, 0x00, 0x01, 0x09, 0xCB]);
    assert_eq!(master.answer(5), [0x01, 0x86, 0x02, 0xC3, 0xA1]);
    stand.stop();
}

#[test]
fn garbage_cut_frames_and_other_units_are_not_answered() {
    let (line, device) = pty();
    let stand = Stand::start(index(), serial(&device), 0, false);
    let mut master = Master::new(line);
    master.until_served();
    let mut spoilt = READ_MAGIC;
    spoilt[7] ^= 0x10;
    let other_unit = seal(2, &[3, 0, 0, 0, 1]);
    let other_answers = seal(2, &[3, 2, 0, 7]);
    let broadcast = seal(0, &[6, 0, 202, 0, 9]);
    let flood = vec![0x55; 5000];
    let cases: [&[u8]; 9] = [
        &spoilt,
        &READ_MAGIC[..5],
        &READ_MAGIC[5..],
        &[0xFF; 300],
        &[0],
        &other_unit,
        &other_answers,
        &broadcast,
        &flood,
    ];
    for bytes in cases {
        master.send(bytes);
        master.until_served();
    }
    stand.stop();
}

#[test]
fn frames_in_one_burst_are_one_answer_and_every_broadcast() {
    let (line, device) = pty();
    let stand = Stand::start(index(), serial(&device), 0, false);
    let mut master = Master::new(line);
    master.until_served();
    std::thread::sleep(GAP);
    let mut burst = seal(1, &[6, 0, 202, 0, 3]);
    burst.extend(seal(2, &[3, 2, 0, 7]));
    burst.extend(seal(0, &[6, 0, 201, 0, 42]));
    burst.extend(seal(1, &[3, 0, 200, 0, 3]));
    master.send(&burst);
    assert_eq!(master.answer(11)[3..9], [0, 0, 0, 42, 0, 0], "heartbeat yes, product_req no");
    assert!(master.waiting.is_empty(), "{:02X?}", master.waiting);
    master.until_served();
    stand.stop();
}

#[test]
fn there_is_one_writer_over_both_transports() {
    let (line, device) = pty();
    let stand = Stand::start(index(), serial(&device), 0, false);
    let mut master = Master::new(line);
    master.until_served();
    let write = seal(1, &[6, 0, 202, 0, 1]);
    master.send(&write);
    assert_eq!(master.answer(8), write);
    let mut tcp = TcpStream::connect(stand.address()).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.write_all(&[0, 1, 0, 0, 0, 6, 1, 6, 0, 202, 0, 2]).unwrap();
    let mut answer = [0; 9];
    tcp.read_exact(&mut answer).unwrap();
    assert_eq!(answer[7..], [0x86, 6]);
    stand.stop();
}

#[test]
fn a_device_that_vanishes_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("ttyUSB0");
    let stand = Stand::start(index(), serial(&name), 0, false);
    for _ in 0..2 {
        let (line, device) = pty();
        symlink(&device, &name).unwrap();
        let mut master = Master::new(line);
        master.until_served();
        // Unplugged: the name goes, and the open device ends.
        std::fs::remove_file(&name).unwrap();
        drop(master);
    }
    stand.stop();
}
