//! Small containers of both kinds, whole, cut, spoilt; and the real weights where they lie.

use super::*;
use crate::bundle::Backbone;
use proptest::prelude::*;

/// A tensor to be written: name, storage type, storage key, elements of the storage, offset, shape.
type Entry<'a> = (&'a str, &'a str, &'a str, usize, usize, &'a [usize]);

const ENTRIES: [Entry<'static>; 4] = [
    ("conv.weight", "FloatStorage", "0", 6, 0, &[2, 3]),
    ("bn.bias", "FloatStorage", "1", 8, 4, &[4]),
    ("scale", "FloatStorage", "2", 1, 0, &[]),
    ("bn.num_batches_tracked", "LongStorage", "3", 1, 0, &[]),
];

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn int(out: &mut Vec<u8>, number: usize) {
    out.push(b'J');
    out.extend((number as i32).to_le_bytes());
}

fn tuple(out: &mut Vec<u8>, numbers: &[usize]) {
    out.push(b'(');
    numbers.iter().for_each(|number| int(out, *number));
    out.push(b't');
}

fn contiguous(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

/// The pickle of a state dict, as torch writes it.
fn state_pickle(entries: &[Entry], legacy: bool, wrapped: bool) -> Vec<u8> {
    let mut out = b"\x80\x02".to_vec();
    if wrapped {
        out.push(b'}');
        text(&mut out, "state_dict");
    }
    out.extend(b"ccollections\nOrderedDict\nq\x00)Rq\x01(");
    for (name, kind, key, count, offset, shape) in entries {
        text(&mut out, name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(format!("ctorch\n{kind}\n").bytes());
        text(&mut out, key);
        text(&mut out, "cuda:0");
        int(&mut out, *count);
        if legacy {
            out.push(b'N');
        }
        out.extend(b"tQ");
        int(&mut out, *offset);
        tuple(&mut out, shape);
        tuple(&mut out, &contiguous(shape));
        out.extend(b"\x89h\x00)RtR");
    }
    out.extend(b"u}"); // Attributes: {"_metadata": {}}.
    text(&mut out, "_metadata");
    out.extend(b"}sb");
    if wrapped {
        out.push(b's');
    }
    out.push(b'.');
    out
}

fn storage(kind: &str, count: usize) -> Vec<u8> {
    let values = (0..count).map(|i| i as f32 + 0.5);
    let longs = (0..count).map(|i| (i as i64).to_le_bytes());
    match kind {
        "LongStorage" => longs.flatten().collect(),
        _ => values.flat_map(f32::to_le_bytes).collect(),
    }
}

fn legacy(entries: &[Entry], pickle: &[u8]) -> Vec<u8> {
    let mut out = legacy::SIGNATURE.to_vec();
    out.extend(b"\x80\x02M\xe9\x03.\x80\x02}");
    text(&mut out, "little_endian");
    out.extend(b"\x88s.");
    out.extend(pickle);
    out.extend(b"\x80\x02](");
    entries.iter().for_each(|entry| text(&mut out, entry.2));
    out.extend(b"e.");
    for (_, kind, _, count, ..) in entries {
        out.extend((*count as i64).to_le_bytes());
        out.extend(storage(kind, *count));
    }
    out
}

fn zip(entries: &[Entry], pickle: &[u8], method: u8) -> Vec<u8> {
    let mut files = vec![("ckpt/data.pkl".to_owned(), pickle.to_vec())];
    for (_, kind, key, count, ..) in entries {
        files.push((format!("ckpt/data/{key}"), storage(kind, *count)));
    }
    files.push(("ckpt/version".into(), b"3\n".to_vec()));
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in &files {
        let header = out.len() as u32;
        let sizes = [(data.len() as u32).to_le_bytes(); 2].concat();
        // Sizes are left open in the entry's own header, as torch does.
        out.extend(b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        out.extend((name.len() as u16).to_le_bytes());
        out.extend([5, 0]);
        out.extend(name.bytes().chain(*b"extra"));
        out.extend(data);
        directory.extend(b"PK\x01\x02\0\0\0\0\x08\x08");
        directory.extend([method, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        directory.extend(sizes);
        directory.extend((name.len() as u16).to_le_bytes());
        directory.extend([0; 12]);
        directory.extend(header.to_le_bytes());
        directory.extend(name.bytes());
    }
    let start = (out.len() as u32).to_le_bytes();
    out.extend(&directory);
    let count = (files.len() as u16).to_le_bytes();
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count, count].concat());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(start);
    out.extend([0, 0]);
    out
}

fn both(entries: &[Entry]) -> [Vec<u8>; 2] {
    [
        legacy(entries, &state_pickle(entries, true, false)),
        zip(entries, &state_pickle(entries, false, true), 0),
    ]
}

fn said(bytes: &[u8]) -> String {
    parse(bytes).unwrap_err().to_string()
}

#[test]
fn both_containers_give_the_same_tensors() {
    for bytes in both(&ENTRIES) {
        let tensors = parse(&bytes).unwrap();
        let keys: Vec<_> = tensors.keys().map(String::as_str).collect();
        assert_eq!(keys, ["bn.bias", "conv.weight", "scale"]);
        assert_eq!(tensors["conv.weight"].shape(), [2, 3]);
        assert_eq!(tensors["conv.weight"].values(), [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]);
        assert_eq!(tensors["bn.bias"].values(), [4.5, 5.5, 6.5, 7.5]);
        assert_eq!(tensors["scale"].shape(), [] as [usize; 0]);
    }
}

#[test]
fn strides_are_followed() {
    let pickle = state_pickle(&ENTRIES[..1], false, false);
    let strides = |from: [usize; 2], to: [usize; 2]| {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        tuple(&mut old, &from);
        tuple(&mut new, &to);
        let at = pickle.windows(old.len()).rposition(|window| window == old).unwrap();
        let mut pickle = pickle.clone();
        pickle.splice(at..at + old.len(), new);
        parse(&zip(&ENTRIES[..1], &pickle, 0))
    };
    let transposed = strides([3, 1], [1, 2]).unwrap();
    assert_eq!(transposed["conv.weight"].values(), [0.5, 2.5, 4.5, 1.5, 3.5, 5.5]);
    let repeated = strides([3, 1], [0, 1]).unwrap();
    assert_eq!(repeated["conv.weight"].values(), [0.5, 1.5, 2.5, 0.5, 1.5, 2.5]);
    assert!(strides([3, 1], [4, 1]).unwrap_err().to_string().contains("reaches beyond"));
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for bytes in both(&ENTRIES) {
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_err(), "cut at {length} of {}", bytes.len());
        }
    }
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let cases: [(Entry, &str); 4] = [
        (("a", "FloatStorage", "0", 6, 1, &[2, 3]), "reaches beyond"),
        (("a", "FloatStorage", "0", 6, 0, &[2_000_000_000, 3]), "reaches beyond"),
        (("a", "LongStorage", "0", 1, 0, &[2]), "reaches beyond"),
        (("a", "FloatStorage", "0", 1, 0, &[1; 9]), "without a shape"),
    ];
    for (entry, expected) in cases {
        for bytes in both(&[entry]) {
            let said = said(&bytes);
            assert!(said.contains(expected), "{said}");
        }
    }
    let twice = [ENTRIES[0], ENTRIES[0]];
    assert!(said(&zip(&ENTRIES[..1], &state_pickle(&twice, false, false), 0)).contains("twice"));
    let shared: Vec<Entry> = vec![("a", "FloatStorage", "0", 6, 0, &[6]); 200];
    let names: Vec<String> = (0..200).map(|i| format!("{i}")).collect();
    let shared: Vec<Entry> = shared
        .iter()
        .zip(&names)
        .map(|(e, name)| (name.as_str(), e.1, e.2, e.3, e.4, e.5))
        .collect();
    let mut pickle = state_pickle(&shared, false, false);
    assert!(parse(&zip(&shared[..1], &pickle, 0)).is_ok(), "sharing alone is no error");
    let large: Vec<Entry> = shared.iter().map(|e| (e.0, e.1, e.2, 4000, 0, &[4000][..])).collect();
    pickle = state_pickle(&large, false, false);
    assert!(said(&zip(&large[..1], &pickle, 0)).contains("larger than the file"));
}

#[test]
fn only_the_four_names_are_opened() {
    let spoil = |from: &[u8], to: &[u8]| {
        let pickle = state_pickle(&ENTRIES, false, false);
        let at = pickle.windows(from.len()).position(|window| window == from).unwrap();
        let mut pickle = pickle;
        pickle.splice(at..at + from.len(), to.iter().copied());
        said(&zip(&ENTRIES, &pickle, 0))
    };
    let system = spoil(b"ccollections\nOrderedDict\n", b"cos\nsystem\n");
    assert!(system.contains("at byte") && system.contains("not opened"), "{system}");
    assert!(spoil(b"FloatStorage", b"HalfStorage").contains("not opened"));
    assert!(spoil(b"\x89h\x00)R", b"\x89h\x00NR").contains("a call without arguments"));
    assert!(spoil(b")Rq\x01(", b")Rh\x09(").contains("never kept"));
    assert!(spoil(b"sb", b"s\x93").contains("does not use"));
}

#[test]
fn other_files_are_named_as_such() {
    assert!(said(b"").contains("not a file of torch.save"));
    assert!(said(b"\x89PNG\r\n\x1a\n").contains("not a file of torch.save"));
    let pickle = state_pickle(&ENTRIES, false, false);
    assert!(said(&zip(&ENTRIES, &pickle, 8)).contains("compressed"));
    assert!(said(&zip(&ENTRIES[1..], &pickle, 0)).contains("storage \"0\" is missing"));
    assert!(said(&legacy(&ENTRIES[1..], &state_pickle(&ENTRIES, true, false))).contains("missing"));
    let mut trailing = legacy(&ENTRIES, &state_pickle(&ENTRIES, true, false));
    trailing.push(0);
    assert!(said(&trailing).contains("follows the last storage"));
    let nowhere = published_backbone(Path::new("/nowhere/weights.pth"), Backbone::Lite0);
    assert!(nowhere.unwrap_err().to_string().contains("nowhere"));
    let endless = published_backbone(Path::new("/dev/zero"), Backbone::Lite0);
    assert!(endless.unwrap_err().to_string().contains("no plain file"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn spoilt_bytes_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..8),
    ) {
        for mut bytes in both(&ENTRIES) {
            for (index, mask) in &flips {
                let at = index.index(bytes.len());
                bytes[at] ^= mask;
            }
            let limit = bytes.len();
            if let Ok(tensors) = parse(&bytes) {
                let values: usize = tensors.values().map(|t| t.values().len()).sum();
                prop_assert!(values * 4 <= limit);
            }
        }
    }

    #[test]
    fn any_pickle_never_panics(
        noise in prop::collection::vec(
            prop_oneof![
                prop::sample::select(b"()tbsueaQRXJKMNcqhrj.}]\x80\x85\x86\x87\x88\x89\x8a".to_vec()),
                any::<u8>(),
            ],
            0..200,
        ),
    ) {
        let _ = parse(&zip(&ENTRIES, &noise, 0));
        let _ = parse(&legacy(&ENTRIES, &noise));
    }
}

#[test]
fn published_weights() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime/efficientnet-lite0-57934424.pth");
    if !path.exists() {
        println!("skipped: {} is missing, `make setup` fetches it", path.display());
        return;
    }
    let tensors = parse(&std::fs::read(&path).unwrap()).unwrap();
    // 296 keys, of which 49 count batches.
    assert_eq!(tensors.len(), 247);
    assert_eq!(tensors["_conv_stem.weight"].shape(), [32, 3, 3, 3]);
    assert_eq!(tensors["_blocks.10._project_conv.weight"].shape(), [112, 672, 1, 1]);
    assert_eq!(tensors["_fc.weight"].shape(), [1000, 1280]);
    assert!(tensors.values().all(|t| t.values().iter().all(|v| v.is_finite())));
    let backbone = published_backbone(&path, Backbone::Lite0).unwrap();
    assert_eq!(backbone.note, None);
    let learned = backbone.tensors.iter().filter(|(key, _)| !key.contains("running_"));
    let learned: usize = learned.map(|(_, tensor)| tensor.values().len()).sum();
    assert_eq!(learned, 700_768, "specification 8.5");
    // Channels that are always zero have no variance; eps covers them.
    assert!(backbone.tensors["backbone._bn0.running_var"].values().iter().all(|v| *v >= 0.0));
}

#[test]
fn a_backbone_without_its_keys_is_refused_with_all_of_them_and_where_to_get_the_right_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.pth");
    std::fs::write(&path, &both(&ENTRIES)[0]).unwrap();
    for backbone in Backbone::ALL {
        let said = published_backbone(&path, backbone).unwrap_err().to_string();
        let count = crate::bundle::rule::backbone_shapes(backbone).len();
        assert!(said.contains(&format!("{count} missing")), "{said}");
        assert!(said.contains("_conv_stem.weight") && said.contains("._bn2.running_var"), "{said}");
        assert!(said.contains(published_file(backbone).name), "{said}");
    }
}
