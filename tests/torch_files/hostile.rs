//! Hostile files: an error each, in bounded memory, never a panic.

use crate::writer::{Stored, archive, end, entry, legacy, legacy_of, text, zip};
use onenipd::model::torch_file::parse;
use std::path::Path;
use std::process::Command;

fn small() -> Vec<Stored> {
    let stored = |key, shape| Stored::by_rule("", key, shape);
    vec![
        stored("conv.weight", &[3, 2, 3, 3]),
        stored("bn.running_var", &[3]),
        stored("bn.num_batches_tracked", &[]),
    ]
}

/// A zip archive whose pickle this is, and the legacy container around it.
fn both(pickle: Vec<u8>) -> [Vec<u8>; 2] {
    let legacy = legacy_of(&pickle, &small());
    [archive(std::iter::once(("ckpt/data.pkl".to_owned(), pickle))), legacy]
}

fn repeated(piece: &[u8], count: usize) -> Vec<u8> {
    let mut pickle = b"\x80\x02".to_vec();
    (0..count).for_each(|_| pickle.extend(piece));
    pickle
}

/// Pickles that ask for more than they hold.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let mut doubled = b"\x80\x02)q\x00".to_vec();
    // Each tuple holds the one before twice: 2^200 of them, were they ever followed.
    (0..200).for_each(|_| doubled.extend(b"h\x00h\x00\x86q\x00"));
    doubled.push(b'.');
    let mut kept = b"\x80\x02)".to_vec();
    (0..300_000_u32).for_each(|i| {
        kept.push(b'r');
        kept.extend((i.wrapping_mul(0x9e37_79b9)).to_le_bytes());
    });
    let mut views = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x01(X\x07\0\0\0storage".to_vec();
    views.extend(b"ctorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQq\x02");
    // One set of arguments, called 60,000 times.
    views.extend(b"(h\x02K\x00(K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01tq\x03h\x03\x89}tq\x04");
    (0..60_000).for_each(|_| views.extend(b"h\x01h\x04R"));
    let mut long_text = b"\x80\x02X\xff\xff\xff\xff".to_vec();
    long_text.extend([b'a'; 100]);
    let mut long_key = b"\x80\x02}".to_vec();
    text(&mut long_key, &"k".repeat(1 << 20));
    long_key.extend(b"Ns.");
    let mut itself = b"\x80\x02}q\x00".to_vec();
    text(&mut itself, "state_dict");
    itself.extend(b"h\x00s.");
    vec![
        ("tuples doubled", doubled),
        ("a memo without end", kept),
        ("views without end", views),
        ("deep marks", repeated(b"(", 4_000_000)),
        ("deep lists", repeated(b"]", 4_000_000)),
        ("deep dictionaries", [repeated(b"}X\x01\0\0\0a", 1_000_000), b".".to_vec()].concat()),
        ("nested tuples", [repeated(b"", 0), b")".to_vec(), vec![0x85; 4_000_000]].concat()),
        ("text longer than the file", long_text),
        ("a number longer than the file", b"\x80\x02\x8a\xff\x01".to_vec()),
        ("a key of a megabyte", long_key),
        ("a dictionary in itself", itself),
        ("nothing", Vec::new()),
    ]
}

#[test]
fn bombs_are_errors() {
    for (name, pickle) in bombs() {
        for bytes in both(pickle) {
            let said = match parse(&bytes) {
                Err(error) => error.to_string(),
                Ok(tensors) => panic!("{name}: {} tensors", tensors.len()),
            };
            assert!(said.len() < 1000, "{name}: a message of {} bytes", said.len());
        }
    }
}

#[test]
fn archives_that_lie_are_errors() {
    // 65,534 entries of the same bytes; an entry of 4 GB; a directory in itself.
    let mut many = archive(std::iter::once(("ckpt/data.pkl".to_owned(), b"\x80\x02".to_vec())));
    let start = many.len() as u32;
    let directory: Vec<u8> =
        (0..65_534).flat_map(|i| entry(&format!("ckpt/data/{i}"), 2, 0)).collect();
    let length = directory.len() as u32;
    many.extend(directory);
    many.extend(end(65_534, length, start));
    let mut huge = archive(std::iter::once(("ckpt/data.pkl".to_owned(), b"\x80\x02N.".to_vec())));
    let start = huge.len() as u32;
    huge.extend(entry("ckpt/data.pkl", u32::MAX - 1, 0));
    huge.extend(end(1, 60, start));
    let mut itself = b"PK\x03\x04".to_vec();
    itself.extend(end(1000, 0, 4));
    for bytes in [many, huge, itself] {
        assert!(parse(&bytes).is_err());
    }
}

/// In a process that may not have more than 1 GB, 300 MB of it the program's own libraries; these
/// files have up to 64 MB, so three times that and 128 MB are allowed.
#[test]
fn bombs_stay_within_the_memory_that_is_promised() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ckpt.pkl");
    let mut files: Vec<Vec<u8>> = bombs()
        .into_iter()
        .filter(|(_, pickle)| pickle.len() > 100_000)
        .flat_map(|(_, pickle)| both(pickle))
        .collect();
    // 64 MB of zeros that 900 tensors want to have each for itself.
    let zeros = vec![0_u8; 64 << 20];
    let mut pickle = b"\x80\x02}".to_vec();
    for number in 0..900 {
        text(&mut pickle, &number.to_string());
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n");
        pickle.extend(b"FloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuJ\0\0\0\x01tQK\x00");
        pickle.extend(b"J\0\0\0\x01\x85K\x01\x85\x89}tRs");
    }
    pickle.push(b'.');
    let entries = [("ckpt/data.pkl".to_owned(), pickle), ("ckpt/data/0".to_owned(), zeros)];
    files.push(archive(entries.into_iter()));
    for bytes in files {
        std::fs::write(&path, &bytes).unwrap();
        let output = Command::new("sh")
            .args(["-c", "ulimit -v 1048576; exec \"$@\"", "sh"])
            .args([env!("CARGO_BIN_EXE_onenipd"), "import"])
            .args([&path, Path::new("--output"), &folder.path().join("engine")])
            .args(["--fusion-constant", "1"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(65), "{said}");
    }
}

#[test]
fn a_small_file_cut_or_with_any_byte_spoilt_never_panics() {
    for bytes in [zip(&small(), true), legacy(&small(), true)] {
        assert_eq!(parse(&bytes).unwrap().len(), 2);
        for at in 0..bytes.len() {
            assert!(parse(&bytes[..at]).is_err(), "cut at {at}");
            let mut spoilt = bytes.clone();
            for value in [0, 0xff, bytes[at] ^ 1, bytes[at] ^ 0x80] {
                spoilt[at] = value;
                if let Ok(tensors) = parse(&spoilt) {
                    let values: usize = tensors.values().map(|tensor| tensor.values().len()).sum();
                    assert!(4 * values <= bytes.len());
                }
            }
        }
    }
}

/// The published Lite0 weights, 19 MB of the legacy container: 296 tensors.
#[test]
fn the_real_file_cut_or_spoilt_never_panics() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime/efficientnet-lite0-57934424.pth");
    assert!(path.exists(), "{} is missing: `make setup` fetches it", path.display());
    let mut bytes = std::fs::read(path).unwrap();
    for part in 0..400 {
        assert!(parse(&bytes[..bytes.len() * part / 400]).is_err(), "cut at {part}/400");
    }
    // The pickles lie before the first storage; a prime step meets every kind of operation.
    for at in (0..30_000).step_by(769) {
        let kept = bytes[at];
        for mask in [0x01, 0x80] {
            bytes[at] = kept ^ mask;
            let _ = parse(&bytes);
        }
        bytes[at] = kept;
    }
    assert_eq!(parse(&bytes).unwrap().len(), 247);
}
