//! tests/golden/modbus-exchanges.txt: byte-exact requests and answers, written from the table and
//! held against the station. Where they come from twice, table and codec must agree.

use super::super::frame::{HEADER_BYTES, Header, answer};
use super::super::results::ResultsMode;
use super::super::results::tests::example;
use super::super::server::ModbusSettings;
use super::super::station::{Caller, Station};
use super::rows::{REGISTERS, RESULT, RING_ENTRY};
use super::{HEAD, LATEST, RING, RING_START, RING_WORDS, Row};
use crate::line::{Alarm, AlarmSet, Counters, LineSnapshot, LineState, NamurStatus};
use crate::part::{LineTime, SequenceNumber};
use std::fmt::Write;

const NOW: LineTime = LineTime::from_millis(1_000);

/// A line of which every number differs from 0 and from its neighbours.
fn snapshot() -> LineSnapshot {
    let mut alarms = AlarmSet::default();
    alarms.set(Alarm::ResultsOverrun, true);
    alarms.set(Alarm::MOfN, true);
    LineSnapshot {
        state: LineState::Degraded,
        namur: NamurStatus::OutOfSpecification,
        alarms,
        fault_code: 6,
        heartbeat: 4321,
        boot_id: 0xB007,
        active_product: 7,
        command_result: 5,
        last_command: LineTime::from_millis(9_000),
        last_triggered: SequenceNumber::new(0x0001_0005),
        armed: 3,
        trigger_ready: true,
        busy: true,
        acquiring: true,
        energise_to_pass: true,
        encoder_count: -98_765,
        encoder_counts_per_s: -2_500,
        counters: Counters {
            parts: 0x0001_0004,
            pass: 0x0001_0003,
            fail: 1_001,
            no_decision: 1_002,
            rejects_fired: 1_003,
            rejects_confirmed: 1_004,
            rejects_missing: 1_005,
            collateral: 1_006,
            bounce: 1_007,
            overrun: 1_008,
            late: 1_009,
            life_parts: 0x0001_0002_0003_0004,
            life_rejects: 0x0005_0006_0007_0008,
        },
        ..LineSnapshot::default()
    }
}

fn station(low_word_first: bool) -> Station {
    let settings = ModbusSettings {
        results: ResultsMode::Index,
        low_word_first,
        soft_trigger: true,
        ..ModbusSettings::default()
    };
    let mut station = Station::new(&settings, NOW);
    station.observe(snapshot(), NOW);
    station.publish(example(1234), NOW);
    let mut second = example(1235);
    (second.result.tag, second.result.score) = (0x0A0B_0C0D, 0.25);
    station.publish(second, NOW);
    station
}

fn exchange(station: &mut Station, frame: &[u8]) -> Vec<u8> {
    let (header, pdu) = frame.split_at(HEADER_BYTES);
    let header = Header::parse(header.try_into().unwrap()).unwrap();
    let caller = Caller { client: 1, address: [127, 0, 0, 1].into(), time: NOW };
    header.frame(&answer(pdu, station, caller).unwrap())
}

fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(" ")
}

/// One exchange: name, request and answer.
type Exchange = (String, Vec<u8>, Vec<u8>);

/// A read of one row: the answer comes from the table alone.
fn reads<T>(
    start: usize,
    prefix: &str,
    rows: &[Row<T>],
    from: &T,
    low_first: bool,
) -> Vec<Exchange> {
    let read = |row: &Row<T>| {
        let (address, words) = (start + row.address, row.kind.words());
        let [a, b] = (address as u16).to_be_bytes();
        let [t, u] = (address as u16 + 1).to_be_bytes();
        let request = vec![t, u, 0, 0, 0, 6, 0xFF, 3, a, b, 0, words as u8];
        let value = (row.value)(from).to_be_bytes();
        let mut pairs: Vec<[u8; 2]> = value.as_chunks::<2>().0[4 - words..].to_vec();
        if low_first {
            pairs.reverse();
        }
        let bytes = 2 * words as u8;
        let mut answer = vec![t, u, 0, 0, 0, 3 + bytes, 0xFF, 3, bytes];
        answer.extend(pairs.concat());
        (format!("{prefix}{}", row.name), request, answer)
    };
    rows.iter().map(read).collect()
}

fn from_the_table(station: &Station) -> Vec<Exchange> {
    let low = station.low_word_first;
    let (head, newest) = (station.board.head().unwrap(), station.board.newest().unwrap());
    let place = newest.sequence() as usize % RING;
    let mut all = reads(0, "", REGISTERS, station, low);
    all.extend(reads(HEAD, "r.", RESULT, head, low));
    all.extend(reads(LATEST, "latest.", RESULT, newest, low));
    let entry = RING_START + RING_WORDS * place;
    all.extend(reads(entry, "ring.", RING_ENTRY, newest, low));
    all
}

/// The contract's examples, then one exchange for each function code, exception and bit style.
const EXAMPLES: [(&str, &str); 22] = [
    ("example 1: the head result", "00 01 00 00 00 06 FF 03 00 20 00 20"),
    ("example 2: acknowledged by index", "00 02 00 00 00 0B FF 10 00 CC 00 02 04 00 00 04 D2"),
    ("example 2: bit style", "00 03 00 00 00 06 FF 05 00 01 FF 00"),
    ("example 3: status is read-only", "00 04 00 00 00 06 FF 06 00 04 00 01"),
    ("all coils", "00 05 00 00 00 06 FF 01 00 00 00 10"),
    ("all discrete inputs", "00 06 00 00 00 06 FF 02 00 00 00 10"),
    ("three discrete inputs from 5", "00 07 00 00 00 06 FF 02 00 05 00 03"),
    ("site check by code 4", "00 08 00 00 00 06 FF 04 00 00 00 04"),
    ("heartbeat", "00 09 00 00 00 06 FF 06 00 C9 00 11"),
    ("coils 4 to 7 at 0", "00 0A 00 00 00 08 FF 0F 00 04 00 04 01 00"),
    ("product 9 asked for, coil 4", "00 0B 00 00 00 0D FF 10 00 C8 00 03 06 00 10 00 11 00 09"),
    (
        "acknowledge 1235 and read on",
        "00 0C 00 00 00 0F FF 17 00 20 00 04 00 CC 00 02 04 00 00 04 D3",
    ),
    ("any unit is answered", "00 0D 00 00 00 06 01 03 00 00 00 01"),
    ("exception 01: code 8", "00 0E 00 00 00 06 FF 08 00 00 00 00"),
    ("exception 03: 126 registers", "00 0F 00 00 00 06 FF 03 00 00 00 7E"),
    ("exception 03: reserved bit of ctrl", "00 10 00 00 00 06 FF 06 00 C8 80 00"),
    ("exception 03: INHIBIT is not allowed", "00 11 00 00 00 06 FF 05 00 02 FF 00"),
    ("exception 03: coil value", "00 12 00 00 00 06 FF 05 00 01 01 00"),
    ("exception 03: read_index ahead", "00 13 00 00 00 0B FF 10 00 CC 00 02 04 00 00 04 D4"),
    ("exception 02: beyond 767", "00 14 00 00 00 06 FF 03 02 FF 00 02"),
    ("exception 02: half of read_index", "00 15 00 00 00 06 FF 06 00 CC 00 01"),
    ("exception 02: coil 16", "00 16 00 00 00 06 FF 05 00 10 00 00"),
];

fn examples(station: &mut Station) -> Vec<Exchange> {
    let bytes = |text: &str| -> Vec<u8> {
        text.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    };
    let ask = |(name, request): &(&str, &str)| {
        let request = bytes(request);
        let answer = exchange(station, &request);
        ((*name).to_owned(), request, answer)
    };
    EXAMPLES.iter().map(ask).collect()
}

const HEAD_TEXT: &str = "\
# Exchanges of Modbus TCP, byte for byte: name | request | answer. Written from the register table by
# ONENIPD_WRITE_REFERENCE=1 cargo test --release the_committed. First reads of one value each, then
# requests in this order to one station (results by index, high word first).
";

#[test]
fn the_committed_exchanges_are_the_tables_and_the_stations() {
    let mut text = HEAD_TEXT.to_owned();
    let mut station = station(false);
    let mut all = from_the_table(&station);
    all.extend(examples(&mut station));
    for (name, request, answer) in &all {
        writeln!(text, "{name} | {} | {}", hex(request), hex(answer)).unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/modbus-exchanges.txt");
    if std::env::var_os("ONENIPD_WRITE_REFERENCE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == text,
        "tests/golden/modbus-exchanges.txt is old: ONENIPD_WRITE_REFERENCE=1 cargo test --release \
         the_committed"
    );
}

#[test]
fn every_row_of_the_table_is_read_as_it_says_in_both_word_orders() {
    for low_first in [false, true] {
        let mut station = station(low_first);
        let all = from_the_table(&station);
        assert_eq!(all.len(), REGISTERS.len() + 2 * RESULT.len() + RING_ENTRY.len());
        for (name, request, expected) in all {
            assert_eq!(exchange(&mut station, &request), expected, "{name}");
            let mut by_code_4 = request.clone();
            by_code_4[7] = 4;
            assert_eq!(exchange(&mut station, &by_code_4)[8..], expected[8..], "{name}");
        }
    }
}
