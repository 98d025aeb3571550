//! What each fuzz target does with its bytes. `make fuzz` drives them by coverage;
//! `tests/fuzz_corpus.rs` drives the same functions by the committed corpus and mutations of it.
//!
//! A new target is a function, a line in `TARGETS` and a folder with its name in `fuzz/corpus`.

use onenipd::bundle::Bundle;
use onenipd::config::{Layers, load_without_bundle};
use onenipd::line::LineSnapshot;
use onenipd::line_io::modbus::{
    Caller, HEADER_BYTES, Header, MasterRequest, ModbusSettings, ResultsMode, Station, answer,
    decode_response, frames,
};
use onenipd::part::LineTime;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// Takes any bytes; a panic is a finding.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("modbus_tcp", modbus_tcp),
    ("modbus_rtu", modbus_rtu),
    ("modbus_response", modbus_response),
    ("configuration", configuration),
    ("bundle_manifest", bundle_manifest),
    #[cfg(feature = "train")]
    ("torch_file", torch_file),
];

/// What comes over a serial line: the frames found and what is none are no more than came.
fn modbus_rtu(bytes: &[u8]) {
    let (found, rest) = frames(bytes, 1);
    assert!(found.iter().map(|frame| frame.pdu.len() + 3).sum::<usize>() + rest <= bytes.len());
}

/// What a PLC or a coupler answers to each kind of request.
fn modbus_response(bytes: &[u8]) {
    let requests = [
        MasterRequest::ReadRegisters { address: 64, quantity: 8 },
        MasterRequest::WriteCoil { address: 1, level: true },
        MasterRequest::WriteRegister { address: 0x1008, word: 0x1234 },
        MasterRequest::WriteRegisters { address: 0, words: &[0; 32] },
    ];
    for request in &requests {
        let _ = decode_response(request, 1, 255, bytes);
    }
}

/// What a Modbus client sends, to a station of which the first byte says how it is configured:
/// answer, exception or close, and what is refused changes nothing (line-io 1.9, 16 and 24).
fn modbus_tcp(bytes: &[u8]) {
    let Some((&kind, mut stream)) = bytes.split_first() else { return };
    let bit = |number: u8| kind >> number & 1 == 1;
    let settings = ModbusSettings {
        results: match kind & 3 {
            0 => ResultsMode::Latest,
            1 => ResultsMode::Handshake,
            _ => ResultsMode::Index,
        },
        low_word_first: bit(2),
        soft_trigger: bit(3),
        allow_inhibit: bit(4),
        read_only: bit(5) && bit(6),
        ..ModbusSettings::default()
    };
    let time = LineTime::from_millis(1);
    let mut station = Station::new(&settings, time);
    station.observe(LineSnapshot::default(), time);
    let caller = Caller { client: 1, address: IpAddr::V4(Ipv4Addr::LOCALHOST), time };
    while let Some((header, body)) = stream.split_first_chunk::<HEADER_BYTES>() {
        let Some(header) = Header::parse(*header) else { return };
        let Some((pdu, next)) = body.split_at_checked(header.pdu_bytes) else { return };
        let before = station.image();
        let Some(reply) = answer(pdu, &mut station, caller) else { return };
        assert!((2..=253).contains(&reply.len()));
        let refused = reply[0] & 0x80 != 0;
        if refused {
            assert_eq!(reply[0], pdu[0] | 0x80);
            assert_eq!(before, station.image(), "a refused request changes nothing");
        } else {
            assert_eq!(reply[0], pdu[0]);
            assert!(!settings.read_only || !matches!(pdu[0], 5 | 6 | 15 | 16 | 23));
        }
        assert_eq!(header.frame(&reply).len(), HEADER_BYTES + reply.len());
        stream = next;
    }
}

/// A folder of this process for what is read from files: in memory where the system has that, for a
/// disk would be waited for at each input.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let folder = base.join(format!("onenipd-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let file = self.0.join(name);
        std::fs::write(&file, bytes).unwrap();
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A configuration file: a configuration or problems, each with a place.
fn configuration(bytes: &[u8]) {
    let folder = Folder::new();
    let files = vec![folder.file("onenipd.toml", bytes)];
    let layers = Layers { files, ..Layers::default() };
    if let Err(errors) = load_without_bundle(&layers) {
        assert!(!errors.to_string().is_empty());
    }
}

/// `bundle.toml` without the files it lists: always an error, with words.
fn bundle_manifest(bytes: &[u8]) {
    let folder = Folder::new();
    folder.file("bundle.toml", bytes);
    let error = Bundle::open(&folder.0).err().unwrap();
    assert!(!error.to_string().is_empty());
}

/// Weights of the trainer: tensors or an error, never more memory than the file is long.
#[cfg(feature = "train")]
fn torch_file(bytes: &[u8]) {
    if let Ok(tensors) = onenipd::model::torch_file::parse(bytes) {
        let values: usize = tensors.values().map(|tensor| tensor.values().len()).sum();
        assert!(4 * values <= bytes.len());
    }
}
