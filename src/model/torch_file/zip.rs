//! torch's container since 1.6: a zip archive, nothing compressed (specification 7).

use super::pickle::{self, Heap, Value};
use super::{Storages, TorchFileError};
use std::collections::HashMap;

/// How the first entry begins.
pub(super) const SIGNATURE: &[u8] = b"PK\x03\x04";
/// End of the central directory without its comment.
const END_BYTES: usize = 22;
const COMMENT_BYTES: usize = 65_535;

/// The object saved and the storages it refers to.
pub(super) fn open(bytes: &[u8]) -> Result<(Heap<'_>, Value<'_>, Storages<'_>), TorchFileError> {
    let entries = entries(bytes)?;
    let wrong = |what: &str| TorchFileError::Container { offset: 0, what: what.to_owned() };
    let mut folders = entries.keys().filter_map(|name| name.strip_suffix("/data.pkl"));
    let folder = folders.next().ok_or_else(|| wrong("holds no data.pkl"))?;
    if folders.next().is_some() {
        return Err(wrong("holds several data.pkl"));
    }
    let entry = |name: &str| entries.get(format!("{folder}/{name}").as_str());
    if entry("byteorder").is_some_and(|range| slice(bytes, *range) != b"little") {
        return Err(wrong("was not written in little-endian order"));
    }
    let (start, end) = *entry("data.pkl").ok_or_else(|| wrong("holds no data.pkl"))?;
    let mut heap = Heap::default();
    let until = bytes.get(..end).unwrap_or_default();
    let (root, _) = pickle::read(&mut heap, until, start)?;
    let mut storages = Storages::new();
    for (name, range) in &entries {
        let inside = name.strip_prefix(folder).and_then(|rest| rest.strip_prefix("/data/"));
        if let Some(key) = inside {
            storages.insert(key, slice(bytes, *range));
        }
    }
    Ok((heap, root, storages))
}

fn slice(bytes: &[u8], (start, end): (usize, usize)) -> &[u8] {
    bytes.get(start..end).unwrap_or_default()
}

/// Start and end of every entry's data, by its name; read from the central directory, as the
/// entries' own headers may leave their sizes open.
fn entries(bytes: &[u8]) -> Result<HashMap<&str, (usize, usize)>, TorchFileError> {
    let wrong = |offset, what: &str| TorchFileError::Container { offset, what: what.to_owned() };
    let earliest = bytes.len().saturating_sub(END_BYTES + COMMENT_BYTES);
    let tail = bytes.get(earliest..).unwrap_or_default();
    let end = tail.windows(END_BYTES).rposition(|window| window.starts_with(b"PK\x05\x06"));
    let end = end.ok_or_else(|| wrong(bytes.len(), "has no zip directory: is it complete?"))?;
    let end = earliest + end;
    let count = number(bytes, end + 10, 2).unwrap_or_default();
    let mut at = number(bytes, end + 16, 4).unwrap_or_default();
    if count == 0xffff || at == 0xffff_ffff {
        return Err(wrong(end, "is larger than 4 GB: no checkpoint of this network is"));
    }
    let mut found = HashMap::new();
    for _ in 0..count {
        let entry = entry(bytes, at).ok_or_else(|| wrong(at, "a damaged zip directory"))?;
        if entry.flags & 1 != 0 || entry.method != 0 {
            return Err(wrong(
                at,
                "a compressed or encrypted entry: torch stores them as they are",
            ));
        }
        let range = data(bytes, &entry).ok_or_else(|| wrong(at, "an entry beyond the file"))?;
        if found.insert(entry.name, range).is_some() {
            return Err(wrong(at, "two entries of one name"));
        }
        at = entry.end;
    }
    Ok(found)
}

/// An entry of the central directory.
struct Entry<'a> {
    flags: usize,
    method: usize,
    size: usize,
    header: usize,
    name: &'a str,
    /// Where the next entry begins.
    end: usize,
}

fn entry(bytes: &[u8], at: usize) -> Option<Entry<'_>> {
    let head = bytes.get(at..at.checked_add(46)?)?;
    let field = |offset, width| number(head, offset, width);
    let name_end = at.checked_add(46)?.checked_add(field(28, 2)?)?;
    let name = std::str::from_utf8(bytes.get(at + 46..name_end)?).ok()?;
    let end = name_end.checked_add(field(30, 2)?)?.checked_add(field(32, 2)?)?;
    let same_size = field(20, 4)? == field(24, 4)?;
    let entry = Entry {
        flags: field(8, 2)?,
        method: field(10, 2)?,
        size: field(24, 4)?,
        header: field(42, 4)?,
        name,
        end,
    };
    (head.starts_with(b"PK\x01\x02") && same_size).then_some(entry)
}

/// Where the entry's data lie: after its own header, whose name and extra field may differ.
fn data(bytes: &[u8], entry: &Entry<'_>) -> Option<(usize, usize)> {
    let head = bytes.get(entry.header..entry.header.checked_add(30)?)?;
    let variable = number(head, 26, 2)?.checked_add(number(head, 28, 2)?)?;
    let start = entry.header.checked_add(30)?.checked_add(variable)?;
    let end = start.checked_add(entry.size).filter(|end| *end <= bytes.len())?;
    head.starts_with(SIGNATURE).then_some((start, end))
}

/// A little-endian number of 2 or 4 bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(width)?)?;
    Some(field.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
}
