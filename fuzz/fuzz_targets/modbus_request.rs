//! Any bytes on a Modbus connection: answer, exception or close; no panic (line-io 1.9, 24).
#![no_main]

use libfuzzer_sys::fuzz_target;
use onenipd::line::LineSnapshot;
use onenipd::line_io::modbus::{Caller, HEADER_BYTES, Header, ModbusSettings, Station, answer};
use onenipd::part::LineTime;
use std::net::{IpAddr, Ipv4Addr};

fuzz_target!(|stream: &[u8]| {
    let settings = ModbusSettings { soft_trigger: true, allow_inhibit: true, ..Default::default() };
    let time = LineTime::from_millis(1);
    let mut station = Station::new(&settings, time);
    station.observe(LineSnapshot::default(), time);
    let caller = Caller { client: 1, address: IpAddr::V4(Ipv4Addr::LOCALHOST), time };
    let mut rest = stream;
    while let Some((header, body)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let Some(header) = Header::parse(*header) else { return };
        let Some((pdu, next)) = body.split_at_checked(header.pdu_bytes) else { return };
        let before = station.image();
        let Some(reply) = answer(pdu, &mut station, caller) else { return };
        assert!(reply.len() <= 253);
        if reply[0] & 0x80 != 0 && pdu[0] & 0x80 == 0 {
            assert_eq!(before, station.image(), "a refused request changes nothing");
        }
        rest = next;
    }
});
