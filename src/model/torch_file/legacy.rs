//! torch's container before 1.6: five pickles one after another, then the storages.

use super::keys::shown;
use super::pickle::{self, Heap, Value};
use super::{Storages, TorchFileError};

/// The first pickle: torch's magic number, always the same bytes.
pub(super) const SIGNATURE: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// The second pickle: the container's version.
const VERSION: i64 = 1001;

/// The object saved and the storages it refers to.
pub(super) fn open(bytes: &[u8]) -> Result<(Heap<'_>, Value<'_>, Storages<'_>), TorchFileError> {
    let mut heap = Heap::default();
    let wrong = |offset, what: String| TorchFileError::Container { offset, what };
    let start = SIGNATURE.len();
    let (version, start) = pickle::read(&mut heap, bytes, start)?;
    if version != Value::Int(VERSION) {
        return Err(wrong(start, format!("version {version} instead of {VERSION}")));
    }
    let (system, start) = pickle::read(&mut heap, bytes, start)?;
    let little = match system {
        Value::Dictionary(id) => heap.dictionary(id).unwrap_or_default(),
        _ => &[],
    };
    if !little.contains(&(Value::Text("little_endian"), Value::Bool(true))) {
        return Err(wrong(start, "was not written on a little-endian machine".into()));
    }
    let (root, start) = pickle::read(&mut heap, bytes, start)?;
    let (keys, mut at) = pickle::read(&mut heap, bytes, start)?;
    let keys = match keys {
        Value::List(id) => heap.list(id).unwrap_or_default(),
        _ => return Err(wrong(start, "has no list of storages".into())),
    };
    let mut storages = Storages::new();
    for key in keys {
        let Value::Text(key) = key else {
            return Err(wrong(at, "a storage's key is text".into()));
        };
        let storage = heap.storage(key);
        let storage =
            storage.ok_or_else(|| wrong(at, format!("nothing uses storage {:?}", shown(key))))?;
        let (length, rest) = bytes
            .get(at..)
            .and_then(|rest| rest.split_first_chunk::<8>())
            .ok_or_else(|| wrong(at, format!("the file ends before storage {:?}", shown(key))))?;
        if usize::try_from(i64::from_le_bytes(*length)) != Ok(storage.count) {
            let count = storage.count;
            return Err(wrong(
                at,
                format!("storage {:?} has not its {count} elements", shown(key)),
            ));
        }
        let values = storage.count.checked_mul(storage.element.bytes());
        let values = values.and_then(|length| rest.get(..length));
        let values = values
            .ok_or_else(|| wrong(at, format!("the file ends in storage {:?}", shown(key))))?;
        at += 8 + values.len();
        if storages.insert(key, values).is_some() {
            return Err(wrong(at, format!("storage {:?} occurs twice", shown(key))));
        }
    }
    if at != bytes.len() {
        return Err(wrong(at, "something follows the last storage".into()));
    }
    Ok((heap, root, storages))
}
