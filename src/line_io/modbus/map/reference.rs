//! The map as text, for people and PLC tools.

use super::super::frame::Exception;
use super::rows::{COILS, REGISTERS, RESULT, RING_ENTRY, STATUS};
use super::{Bit, HEAD, LATEST, RING, RING_START, RING_WORDS, Row};
use crate::line::Alarm;
use crate::part::Reason;
use serde::Serialize;
use std::fmt::Write;

/// How the map is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapFormat {
    /// Markdown tables (docs/reference/modbus.md).
    #[default]
    Markdown,
    /// One JSON document.
    Json,
    /// One table, comma separated.
    Csv,
}

impl std::str::FromStr for MapFormat {
    type Err = String;

    /// `md`, `json` or `csv`.
    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "md" => Ok(Self::Markdown),
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            other => Err(format!("`{other}` is no format of the map: use md, json or csv")),
        }
    }
}

/// A row as people see it.
#[derive(Serialize)]
struct Entry {
    /// Zero-based, on the wire.
    address: usize,
    /// One-based: 40000 + n holding, 30000 + n input register.
    number: usize,
    name: String,
    r#type: &'static str,
    words: usize,
    /// 1, or how often the entry is repeated, `stride` registers apart.
    repeat: usize,
    stride: usize,
    writable: bool,
    meaning: &'static str,
}

#[derive(Serialize)]
struct NamedBit {
    address: usize,
    number: usize,
    name: &'static str,
    meaning: &'static str,
}

#[derive(Serialize)]
struct Map {
    map_version: &'static str,
    word_order: &'static str,
    registers: Vec<Entry>,
    coils: Vec<NamedBit>,
    discrete_inputs: Vec<NamedBit>,
    /// Bits of `alarms`.
    alarms: Vec<NamedBit>,
    reasons: Vec<NamedReason>,
    /// In the order they are tested.
    exceptions: Vec<NamedException>,
}

#[derive(Serialize)]
struct NamedException {
    code: u8,
    meaning: &'static str,
}

#[derive(Serialize)]
struct NamedReason {
    code: u16,
    decision: &'static str,
    meaning: &'static str,
}

fn entries<T>(start: usize, prefix: &str, repeat: usize, rows: &[Row<T>]) -> Vec<Entry> {
    let entry = |row: &Row<T>| Entry {
        address: start + row.address,
        number: start + row.address + 1,
        name: format!("{prefix}{}", row.name),
        r#type: row.kind.word(),
        words: row.kind.words(),
        repeat,
        stride: if repeat > 1 { RING_WORDS } else { 0 },
        writable: row.writable,
        meaning: row.meaning,
    };
    rows.iter().map(entry).collect()
}

fn bits(table: &'static [Bit]) -> Vec<NamedBit> {
    let named = |(address, bit): (usize, &'static Bit)| NamedBit {
        address,
        number: address + 1,
        name: bit.name,
        meaning: bit.meaning,
    };
    table.iter().enumerate().map(named).collect()
}

fn whole() -> Map {
    let mut registers = entries(0, "", 1, REGISTERS);
    registers.extend(entries(HEAD, "r.", 1, RESULT));
    registers.extend(entries(LATEST, "latest.", 1, RESULT));
    registers.extend(entries(RING_START, "ring.", RING, RING_ENTRY));
    registers.sort_by_key(|entry| entry.address);
    Map {
        map_version: "1.0",
        word_order: "high word first unless configured otherwise",
        registers,
        coils: bits(COILS),
        discrete_inputs: bits(STATUS),
        alarms: Alarm::ALL.iter().map(|alarm| alarm_bit(*alarm)).collect(),
        reasons: Reason::ALL.iter().map(|reason| named_reason(*reason)).collect(),
        exceptions: Exception::ALL.iter().map(|exception| named_exception(*exception)).collect(),
    }
}

fn alarm_bit(alarm: Alarm) -> NamedBit {
    let address = usize::from(alarm.bit());
    NamedBit { address, number: address + 1, name: alarm.word(), meaning: alarm.remedy() }
}

fn named_reason(reason: Reason) -> NamedReason {
    let decision = reason.decision().word();
    NamedReason { code: reason.code(), decision, meaning: reason.word() }
}

fn named_exception(exception: Exception) -> NamedException {
    NamedException { code: exception as u8, meaning: exception.meaning() }
}

/// The map as text, ending in a line end.
pub fn render(format: MapFormat) -> String {
    let map = whole();
    match format {
        MapFormat::Markdown => markdown(&map),
        MapFormat::Json => format!("{:#}\n", serde_json::json!(map)),
        MapFormat::Csv => csv(&map),
    }
}

const HEAD_TEXT: &str = "\
# Modbus map

Written by `onenipd modbus map`; a test holds it against the code. Map version 1.0.

`a` is the zero-based address on the wire; one-based numbers are 30000 + n (input register),
40000 + n (holding register), n (coil), 10000 + n (discrete input). Function codes 3 and 4 return
the same data for a = 0 to 767. Writable: holding registers 200 to 231 and coils 0 to 15. Holes
read 0; writes to holes of the writable area are ignored. 32 and 64 bit values lie high word
first, unless the word order is configured low first; a 32 bit value is written in one request.
TCP, any unit id; function codes 1 2 3 4 5 6 15 16 23.

## Registers

| a | n | name | type | access | meaning |
|---|---|---|---|---|---|
";

fn markdown(map: &Map) -> String {
    let mut text = HEAD_TEXT.to_owned();
    for e in &map.registers {
        let repeat = if e.repeat > 1 { format!(" + {}k", e.stride) } else { String::new() };
        let last =
            if e.words > 1 { format!("-{}", e.address + e.words - 1) } else { String::new() };
        let access = if e.writable { "read, write" } else { "read" };
        let (a, n, name, kind) = (e.address, e.number, &e.name, e.r#type);
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "| {a}{last}{repeat} | {n} | `{name}` | {kind} | {access} | {} |",
            e.meaning
        );
    }
    let _ = writeln!(text, "\nRing: k = seq mod {RING}.");
    let tables = [
        ("Coils (bits of `ctrl`)", &map.coils),
        ("Discrete inputs (bits of `status`)", &map.discrete_inputs),
    ];
    for (title, table) in tables {
        let _ = write!(text, "\n## {title}\n\n| a | n | name | meaning |\n|---|---|---|---|\n");
        for NamedBit { address, number, name, meaning } in table {
            let _ = writeln!(text, "| {address} | {number} | `{name}` | {meaning} |");
        }
    }
    text.push_str("\n## Alarms (bits of `alarms`; fault_code = bit + 1)\n\n");
    text.push_str("| bit | name | meaning |\n|---|---|---|\n");
    for NamedBit { address, name, meaning, .. } in &map.alarms {
        let _ = writeln!(text, "| {address} | `{name}` | {meaning} |");
    }
    text.push_str("\n## Reasons\n\n| code | decision | meaning |\n|---|---|---|\n");
    for NamedReason { code, decision, meaning } in &map.reasons {
        let _ = writeln!(text, "| {code} | {decision} | {meaning} |");
    }
    text.push_str(
        "\n## Exceptions\n\nTested in this order; a refused request changes nothing.\n\n",
    );
    text.push_str("| code | when |\n|---|---|\n");
    for NamedException { code, meaning } in &map.exceptions {
        let _ = writeln!(text, "| {code} | {meaning} |");
    }
    text
}

fn csv(map: &Map) -> String {
    let mut text =
        "table,address,number,name,type,words,repeat,stride,writable,meaning\n".to_owned();
    for e in &map.registers {
        let Entry { address, number, name, words, repeat, stride, writable, .. } = e;
        let meaning = e.meaning.replace('"', "\"\"");
        let _ = writeln!(
            text,
            "register,{address},{number},{name},{},{words},{repeat},{stride},{writable},\"{meaning}\"",
            e.r#type
        );
    }
    let tables = [
        ("coil", true, &map.coils),
        ("discrete_input", false, &map.discrete_inputs),
        ("alarm", false, &map.alarms),
    ];
    for (table, writable, list) in tables {
        for NamedBit { address, number, name, meaning } in list {
            let meaning = meaning.replace('"', "\"\"");
            let _ = writeln!(
                text,
                "{table},{address},{number},{name},bit,1,1,0,{writable},\"{meaning}\""
            );
        }
    }
    // A code is no address: it stands in both columns, and its decision is its name.
    for NamedReason { code, decision, meaning } in &map.reasons {
        let _ = writeln!(text, "reason,{code},{code},{decision},code,1,1,0,false,\"{meaning}\"");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_reference_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/modbus.md");
        let table = render(MapFormat::Markdown);
        if std::env::var_os("ONENIPD_WRITE_REFERENCE").is_some() {
            std::fs::write(path, &table).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == table,
            "docs/reference/modbus.md is old: ONENIPD_WRITE_REFERENCE=1 cargo test --release the_committed"
        );
    }

    #[test]
    fn every_format_has_every_register_and_bit() {
        let json: serde_json::Value = serde_json::from_str(&render(MapFormat::Json)).unwrap();
        let registers = json["registers"].as_array().unwrap();
        assert_eq!(registers.len(), REGISTERS.len() + 2 * RESULT.len() + RING_ENTRY.len());
        let csv = render(MapFormat::Csv);
        let bits = COILS.len() + STATUS.len() + Alarm::ALL.len();
        let lines = 1 + registers.len() + bits + Reason::ALL.len();
        assert_eq!(csv.lines().count(), lines);
        for line in csv.lines() {
            let quoted: String = line.split('"').step_by(2).collect();
            assert_eq!(quoted.matches(',').count(), 9, "{line}");
        }
        for name in ["order_test", "r.seq_end", "latest.utc_us", "ring.seq_low", "life_rejects"] {
            assert!(registers.iter().any(|entry| entry["name"] == name), "{name}");
        }
        assert_eq!("json".parse(), Ok(MapFormat::Json));
        assert!("xml".parse::<MapFormat>().unwrap_err().contains("md, json or csv"));
    }

    /// Constants of the Structured Text examples are named and numbered as the map.
    #[test]
    fn the_programs_for_the_plc_name_what_the_map_has() {
        let map = whole();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide/plc");
        let (mut registers, mut bits) = (0, 0);
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for line in text.lines() {
                let Some((name, rest)) = line.trim().split_once(" : ") else { continue };
                let value = rest.split_once(" := ").map(|(_, value)| value.trim_end_matches(';'));
                if rest.starts_with("INT := ") {
                    let name = name.to_lowercase();
                    let name = name.strip_prefix("r_").map_or(name.clone(), |n| format!("r.{n}"));
                    let found = map.registers.iter().find(|entry| entry.name == name);
                    let found = found.map(|entry| entry.address.to_string());
                    assert_eq!(found.as_deref(), value, "{name}");
                    registers += 1;
                } else if let Some(name) = name.strip_suffix("_BIT")
                    && let Some(mask) = value.and_then(|value| value.strip_prefix("WORD#16#"))
                {
                    let bit = u16::from_str_radix(mask, 16).unwrap().trailing_zeros() as usize;
                    let has = |table: &[NamedBit]| {
                        table.iter().any(|entry| (entry.name, entry.address) == (name, bit))
                    };
                    assert!(has(&map.coils) || has(&map.discrete_inputs), "{name} {mask}");
                    bits += 1;
                }
            }
        }
        assert!(registers >= 20 && bits >= 10, "{registers} registers, {bits} bits");
    }
}
