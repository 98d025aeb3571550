//! The station as a master sees it: the contract's byte examples, its order of exceptions, its
//! handshakes, and its invariants under any bytes.

use super::frame::{HEADER_BYTES, Header, answer};
use super::results::ResultsMode;
use super::results::tests::example;
use super::server::ModbusSettings;
use super::station::{Caller, Station};
use crate::line::{Alarm, LineEvent, LineSnapshot, LineState, TriggerSource};
use crate::part::{Command, LineTime, SequenceNumber};
use std::net::{IpAddr, Ipv4Addr};

const NOW: LineTime = LineTime::from_millis(10_000);

fn caller(client: u64) -> Caller {
    Caller { client, address: IpAddr::V4(Ipv4Addr::LOCALHOST), time: NOW }
}

fn alive() -> LineSnapshot {
    LineSnapshot { heartbeat: 1, ..LineSnapshot::default() }
}

fn station(settings: &ModbusSettings) -> Station {
    let mut station = Station::new(settings, NOW);
    station.observe(alive(), NOW);
    station
}

fn index_station() -> Station {
    station(&ModbusSettings { results: ResultsMode::Index, ..ModbusSettings::default() })
}

fn ask(station: &mut Station, pdu: &[u8]) -> Vec<u8> {
    answer(pdu, station, caller(1)).unwrap()
}

fn write_word(station: &mut Station, address: u16, word: u16) -> Vec<u8> {
    let ([a, b], [c, d]) = (address.to_be_bytes(), word.to_be_bytes());
    ask(station, &[6, a, b, c, d])
}

fn events(station: &mut Station) -> Vec<LineEvent> {
    station.outbox().drain(..).collect()
}

/// The line has handled everything sent so far, with `result`.
fn handled(station: &mut Station, snapshot: LineSnapshot, result: u16) {
    let last_command = NOW + std::time::Duration::from_millis(1);
    let snapshot = LineSnapshot { last_command, command_result: result, ..snapshot };
    station.observe(snapshot, NOW);
}

/// A whole TCP frame through header and PDU.
fn exchange(station: &mut Station, frame: &[u8]) -> Vec<u8> {
    let (header, pdu) = frame.split_at(HEADER_BYTES);
    let header = Header::parse(header.try_into().unwrap()).unwrap();
    assert_eq!(header.pdu_bytes, pdu.len());
    header.frame(&ask(station, pdu))
}

#[test]
fn the_contracts_byte_examples() {
    let mut station = index_station();
    station.publish(example(1234), NOW);
    let request = [0, 1, 0, 0, 0, 6, 0xFF, 3, 0, 0x20, 0, 0x20];
    #[rustfmt::skip]
    let expected = [
        0x00, 0x01, 0x00, 0x00, 0x00, 0x43, 0xFF, 0x03, 0x40,
        0x00, 0x00, 0x04, 0xD2, 0x00, 0x02, 0x00, 0x64, 0x00, 0x08, 0x00, 0x07, 0x00, 0x00, 0x1C, 0x90,
        0x00, 0x00, 0x13, 0x88, 0x05, 0xB6, 0x00, 0x02, 0x01, 0x9C, 0x00, 0x60, 0x00, 0x26, 0x00, 0x15,
        0x00, 0x00, 0x02, 0x05, 0x00, 0x00, 0xBC, 0xDE, 0x00, 0x01, 0x17, 0xE2, 0x00, 0x01, 0x81, 0xCD,
        0x00, 0x06, 0x47, 0x48, 0x46, 0x24, 0x10, 0x90, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0xD2,
    ];
    assert_eq!(exchange(&mut station, &request), expected);
    let request = [0, 2, 0, 0, 0, 0x0B, 0xFF, 0x10, 0, 0xCC, 0, 2, 4, 0, 0, 4, 0xD2];
    let expected = [0, 2, 0, 0, 0, 6, 0xFF, 0x10, 0, 0xCC, 0, 2];
    assert_eq!(exchange(&mut station, &request), expected);
    assert_eq!(station.image()[34], 0, "acknowledged");
    let bit_style = [0, 3, 0, 0, 0, 6, 0xFF, 5, 0, 1, 0xFF, 0];
    assert_eq!(exchange(&mut station, &bit_style), bit_style);
    let request = [0, 4, 0, 0, 0, 6, 0xFF, 6, 0, 4, 0, 1];
    assert_eq!(exchange(&mut station, &request), [0, 4, 0, 0, 0, 3, 0xFF, 0x86, 2]);
}

#[test]
fn exceptions_come_in_the_order_of_the_table() {
    let mut station = index_station();
    write_word(&mut station, 202, 1);
    let late = LineTime::from_millis(11_000);
    let other = |station: &mut Station, pdu: &[u8], time| {
        let answer = answer(pdu, station, Caller { time, ..caller(2) }).unwrap();
        assert_eq!((answer.len(), answer[0]), (2, pdu[0] | 0x80), "{pdu:?}");
        answer[1]
    };
    // The write lock is held by client 1 and at 11 s the line is silent: each request is refused
    // for the first reason that holds.
    assert_eq!(other(&mut station, &[8, 0, 0, 0, 0], late), 1);
    assert_eq!(other(&mut station, &[6, 0, 200, 0x02, 0], late), 3, "reserved bit");
    assert_eq!(other(&mut station, &[6, 0, 200, 0, 4], late), 3, "INHIBIT not allowed");
    assert_eq!(other(&mut station, &[5, 0, 9, 0xFF, 0], late), 3, "reserved coil");
    assert_eq!(other(&mut station, &[16, 0, 204, 0, 2, 4, 0, 0, 0, 1], late), 3, "read_index");
    assert_eq!(other(&mut station, &[6, 0, 204, 0, 1], late), 2, "half a u32");
    assert_eq!(other(&mut station, &[6, 0, 207, 0, 1], late), 2, "half a u32");
    assert_eq!(other(&mut station, &[6, 0, 199, 0, 1], late), 2);
    assert_eq!(other(&mut station, &[6, 0, 232, 0, 1], late), 2);
    assert_eq!(other(&mut station, &[5, 0, 16, 0, 0], late), 2);
    assert_eq!(other(&mut station, &[3, 2, 0xFF, 0, 2], late), 2);
    assert_eq!(other(&mut station, &[3, 0xFF, 0xFF, 0, 125], late), 2);
    assert_eq!(other(&mut station, &[2, 0, 1, 0, 16], late), 2);
    assert_eq!(other(&mut station, &[23, 3, 0, 0, 1, 0, 202, 0, 1, 2, 0, 1], late), 2);
    assert_eq!(other(&mut station, &[6, 0, 202, 0, 1], late), 6);
    assert_eq!(other(&mut station, &[3, 0, 0, 0, 1], late), 4);
    assert_eq!(other(&mut station, &[6, 0, 202, 0, 1], NOW), 6);
    assert_eq!(answer(&[4, 2, 0xFF, 0, 1], &mut station, caller(2)).unwrap(), [4, 2, 0, 0]);
}

#[test]
fn the_lock_is_free_after_close_or_timeout_and_never_has_two_holders() {
    let mut station = index_station();
    let write = [6, 0, 202, 0, 1];
    let by = |station: &mut Station, client, millis| {
        let time = LineTime::from_millis(millis);
        let heartbeat = station.image()[6] + 1;
        station.observe(LineSnapshot { heartbeat, ..LineSnapshot::default() }, time);
        answer(&write, station, Caller { client, time, ..caller(0) }).unwrap() == write
    };
    assert!(by(&mut station, 1, 10_000) && !by(&mut station, 2, 10_001));
    assert!(by(&mut station, 1, 19_000) && !by(&mut station, 2, 28_999), "writing keeps it");
    assert!(by(&mut station, 2, 29_000) && !by(&mut station, 1, 29_001), "ten seconds silent");
    station.closed(1);
    assert!(!by(&mut station, 1, 29_002), "another's close frees nothing");
    station.closed(2);
    assert!(by(&mut station, 1, 29_003));
}

#[test]
fn a_configured_writer_is_the_only_one_and_read_only_is_nobody() {
    let writer = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
    let only = ModbusSettings { writer: Some(writer), ..ModbusSettings::default() };
    let mut guarded = station(&only);
    assert_eq!(write_word(&mut guarded, 202, 1), [0x86, 6]);
    for client in [7, 8] {
        let plc = Caller { client, address: writer, time: NOW };
        assert_eq!(answer(&[6, 0, 202, 0, 1], &mut guarded, plc).unwrap(), [6, 0, 202, 0, 1]);
    }
    let mut silent = station(&ModbusSettings { read_only: true, ..ModbusSettings::default() });
    assert_eq!(write_word(&mut silent, 202, 1), [0x86, 6]);
    assert_eq!(ask(&mut silent, &[3, 0, 0, 0, 1]), [3, 2, 0x4F, 0x4E]);
}

#[test]
fn an_edge_acts_once_and_only_after_it_was_zero() {
    let mut station = index_station();
    write_word(&mut station, 200, 0x20);
    assert_eq!(events(&mut station), [], "1 since the start: no edge");
    write_word(&mut station, 200, 0);
    write_word(&mut station, 200, 0x20);
    write_word(&mut station, 200, 0x20);
    let sent = events(&mut station);
    assert!(
        matches!(sent[..], [LineEvent::Command { command: Command::ClearFault, .. }]),
        "{sent:?}"
    );
    assert_eq!(station.image()[14], 0, "the line has not handled it yet");
    handled(&mut station, alive(), 1);
    assert_eq!(station.image()[14..16], [0x20, 1]);
    write_word(&mut station, 200, 0);
    assert_eq!(station.image()[14], 0);
}

#[test]
fn a_product_change_ends_when_the_line_is_no_longer_busy() {
    let mut station = index_station();
    write_word(&mut station, 202, 9);
    ask(&mut station, &[5, 0, 4, 0, 0]);
    ask(&mut station, &[5, 0, 4, 0xFF, 0]);
    let sent = events(&mut station);
    let change = Command::ChangeProduct(9);
    assert!(matches!(sent[..], [LineEvent::Command { command, .. }] if command == change));
    let busy = LineSnapshot { product_busy: true, ..alive() };
    handled(&mut station, busy, 0);
    assert_eq!(station.image()[14], 0);
    assert_eq!(station.image()[4] & 1 << 14, 1 << 14);
    handled(&mut station, LineSnapshot { active_product: 9, ..alive() }, 0);
    assert_eq!((station.image()[14], station.image()[12]), (0x10, 9));
}

#[test]
fn one_write_carries_tag_heartbeat_levels_and_trigger_in_this_order() {
    let settings = ModbusSettings {
        allow_inhibit: true,
        soft_trigger: true,
        low_word_first: true,
        ..ModbusSettings::default()
    };
    let mut station = station(&settings);
    write_word(&mut station, 200, 0);
    let write =
        [16, 0, 200, 0, 8, 16, 0, 0x0D, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x56, 0x78, 0x12, 0x34];
    assert_eq!(ask(&mut station, &write), write[..5]);
    let sent = events(&mut station);
    let commands = [
        Command::Tag(0x1234_5678),
        Command::PlcHeartbeat(1),
        Command::Inhibit(true),
        Command::BeltRun(true),
    ];
    let mut last = LineTime::ZERO;
    for (event, expected) in sent.iter().zip(commands) {
        let LineEvent::Command { command, time } = *event else { panic!("{event:?}") };
        assert!(command == expected && time >= NOW && time > last, "{event:?}");
        last = time;
    }
    let [.., LineEvent::Trigger { time, source: TriggerSource::Modbus }] = sent[..] else {
        panic!("{sent:?}")
    };
    assert!(sent.len() == 5 && time > last);
    assert_eq!(station.image()[4] & 8, 0);
    let taken = LineSnapshot { last_triggered: SequenceNumber::new(5), ..alive() };
    handled(&mut station, taken, 0);
    assert_eq!(station.image()[4] & 8, 8, "TRIGGER_ACK");
    assert_eq!(station.image()[14], 0x0D);
    assert_eq!(ask(&mut station, &[5, 0, 0, 0, 0]), [5, 0, 0, 0, 0]);
    assert_eq!((station.image()[4] & 8, station.image()[14]), (0, 0x0C));
    assert_eq!(station.image()[20..22], [5, 0], "low word first");
    assert_eq!(station.image()[206..208], [0x5678, 0x1234]);
}

#[test]
fn a_soft_trigger_that_is_not_configured_is_not_allowed() {
    let mut station = index_station();
    write_word(&mut station, 200, 0);
    write_word(&mut station, 200, 1);
    assert_eq!(events(&mut station), []);
    assert_eq!(station.image()[14..16], [1, 4]);
    assert_eq!(station.image()[4] & 8, 0, "no part: no TRIGGER_ACK");
}

#[test]
fn handshake_over_coils_and_acknowledge_and_read_at_once_by_index() {
    let handshake = ModbusSettings { results: ResultsMode::Handshake, ..Default::default() };
    let mut bits = station(&handshake);
    bits.publish(example(1), NOW);
    bits.publish(example(2), NOW);
    let valid = |station: &mut Station| ask(station, &[2, 0, 6, 0, 1])[2];
    assert_eq!((valid(&mut bits), bits.image()[33], bits.image()[16]), (1, 1, 2));
    ask(&mut bits, &[5, 0, 1, 0xFF, 0]);
    assert_eq!((valid(&mut bits), bits.image()[14], bits.image()[16]), (0, 2, 1));
    ask(&mut bits, &[5, 0, 1, 0, 0]);
    assert_eq!((valid(&mut bits), bits.image()[33]), (1, 2));

    let mut index = index_station();
    index.publish(example(1), NOW);
    index.publish(example(2), NOW);
    let acknowledge = [23, 0, 32, 0, 2, 0, 204, 0, 2, 4, 0, 0, 0, 1];
    assert_eq!(ask(&mut index, &acknowledge), [23, 4, 0, 0, 0, 2]);
    assert_eq!(ask(&mut index, &acknowledge), [23, 4, 0, 0, 0, 2], "once more: no effect");
    assert_eq!(ask(&mut index, &[16, 0, 204, 0, 2, 4, 0, 0, 0, 0]), [16, 0, 204, 0, 2]);
    assert_eq!(index.image()[204..206], [0, 1], "an older index is no step back");
}

#[test]
fn an_overrun_is_told_to_the_line_and_cleared_with_the_fault() {
    let mut station = index_station();
    for sequence in 1..=70 {
        station.publish(example(sequence), NOW);
    }
    let told = LineEvent::WireFault { alarm: Alarm::ResultsOverrun, time: NOW };
    assert_eq!(events(&mut station), [told]);
    assert_eq!((station.image()[4] & 0x80, station.image()[17]), (0x80, 6));
    write_word(&mut station, 200, 0);
    write_word(&mut station, 200, 0x20);
    handled(&mut station, alive(), 1);
    assert_eq!(station.image()[4] & 0x80, 0x80, "a CLEAR_FAULT refused clears nothing");
    handled(&mut station, LineSnapshot { clears: 1, ..alive() }, 0);
    assert_eq!((station.image()[4] & 0x80, station.image()[17]), (0, 6));
    // The line ran out of room for results 71 to 73: their loss is counted too.
    station.publish(example(74), NOW);
    assert_eq!((station.image()[4] & 0x80, station.image()[17]), (0x80, 10));
    let by_reset = LineSnapshot { clears: 2, ..alive() };
    station.observe(by_reset, NOW);
    assert_eq!(station.image()[4] & 0x80, 0, "the button clears it as the coil does");
}

#[test]
fn in_mode_latest_there_is_no_overrun() {
    let mut station = station(&ModbusSettings::default());
    for sequence in (1..=300).chain(310..=400) {
        station.publish(example(sequence), NOW);
    }
    let image = station.image();
    assert_eq!((image[4] & 0x80, image[16], image[17]), (0, 0, 0));
    assert_eq!((image[4] & 0x40, image[33], image[65]), (0x40, 400, 400));
    assert_eq!(events(&mut station), []);
}

#[test]
fn acquiring_and_missed_are_the_lines() {
    let mut station = index_station();
    let bits = |station: &Station| station.image()[4] & (1 << 4 | 1 << 10);
    assert_eq!(bits(&station), 0);
    station.observe(LineSnapshot { acquiring: true, ..alive() }, NOW);
    assert_eq!(bits(&station), 1 << 4);
    station.observe(LineSnapshot { missed: true, ..alive() }, NOW);
    assert_eq!(bits(&station), 1 << 10);
}

#[test]
fn a_second_product_change_is_busy_and_never_looks_like_the_first() {
    let mut station = index_station();
    let change = |station: &mut Station, product| {
        write_word(station, 202, product);
        ask(station, &[5, 0, 4, 0, 0]);
        ask(station, &[5, 0, 4, 0xFF, 0]);
        events(station).len()
    };
    assert_eq!(change(&mut station, 5), 1);
    let busy = LineSnapshot { product_busy: true, ..alive() };
    handled(&mut station, busy, 0);
    assert_eq!(change(&mut station, 6), 0, "the line is not asked");
    assert_eq!(station.image()[14..16], [0x10, 3]);
    // Both within one scan: the line refuses the second itself.
    station.observe(alive(), NOW);
    let mut station = index_station();
    change(&mut station, 5);
    write_word(&mut station, 202, 6);
    ask(&mut station, &[5, 0, 4, 0, 0]);
    ask(&mut station, &[5, 0, 4, 0xFF, 0]);
    let [LineEvent::Command { time, .. }] = events(&mut station)[..] else { panic!() };
    let refused = LineSnapshot { last_command: time, command_result: 3, ..busy };
    station.observe(refused, NOW);
    assert_eq!(station.image()[14..16], [0x10, 3]);
    handled(&mut station, LineSnapshot { active_product: 5, ..alive() }, 0);
    assert_eq!(station.image()[12], 5);
    assert_eq!(station.image()[14..16], [0x10, 3], "the end of the first is not its own");
}

#[test]
fn status_ready_follows_state_product_and_product_change() {
    let mut station = index_station();
    let running = LineSnapshot { state: LineState::Running, active_product: 3, ..alive() };
    let mut ready = |snapshot| {
        station.observe(snapshot, NOW);
        station.image()[4] & 1 == 1
    };
    assert!(ready(running));
    assert!(!ready(LineSnapshot { product_busy: true, ..running }));
    assert!(!ready(LineSnapshot { active_product: 0, ..running }));
    assert!(!ready(LineSnapshot { state: LineState::Inhibited, ..running }));
    assert!(!ready(LineSnapshot { state: LineState::Fault, ..running }));
}

#[test]
fn a_line_that_takes_no_events_is_dead_and_nothing_is_lost() {
    let mut station = index_station();
    for beat in 1..=256 {
        assert_eq!(write_word(&mut station, 201, beat).len(), 5);
    }
    assert_eq!(write_word(&mut station, 201, 999), [0x86, 4]);
    assert_eq!(events(&mut station).len(), 256);
    assert_eq!(write_word(&mut station, 201, 999).len(), 5);
}
