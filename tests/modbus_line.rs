//! Status, result block and counters read by an independent Modbus client while parts run through
//! the real line, pairing, preprocessing and judge.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use onenipd::daemon::WayEnds;
use onenipd::line_io::modbus::{ModbusServer, ModbusSettings, ResultsMode};
use onenipd::part::{Duration, LineTime};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use support::{Act, Bench};

const PARTS: usize = 40;

#[test]
fn an_independent_client_follows_the_running_line() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/test-python/bin/python3");
    assert!(python.exists(), "{} is missing: `make test` creates it", python.display());
    let ends = WayEnds::new();
    let settings = ModbusSettings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        results: ResultsMode::Index,
        ..ModbusSettings::default()
    };
    let (snapshot, results) = (Arc::clone(&ends.snapshot), ends.results_receiver.clone());
    let server = ModbusServer::start(settings, snapshot, results, ends.events.clone()).unwrap();
    let mut part = 0;
    let script = move || {
        part += 1;
        if part % 5 == 0 { Act::Score(0.9) } else { Act::Score(0.1) }
    };
    let mut bench = Bench::start_with(script, ends, true);
    let mut client = Command::new(python)
        .arg(root.join("tests/modbus_line.py"))
        .args([server.local_address().port().to_string(), PARTS.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(client.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready");
    for number in 0..PARTS {
        let next = LineTime::now() + Duration::from_millis(70);
        // Every tenth part has no picture: no decision.
        if number % 10 == 9 {
            bench.trigger();
        } else {
            bench.part();
        }
        bench.until(|_| LineTime::now() >= next);
    }
    bench.results(PARTS);
    let status = client.wait().unwrap();
    assert!(status.success(), "the client is not content");
    line.clear();
    said.read_line(&mut line).unwrap();
    println!("{}", line.trim());
    drop(server);
    bench.stop();
}
