//! What torch.save writes, in both containers.

use onenipd::bundle::rule::{COUNTER, rule_tensor};

/// A tensor to be written, row-major, little-endian.
pub struct Stored {
    pub key: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl Stored {
    /// The weight by the rule; `prefix` is put before its key in the file.
    pub fn by_rule(prefix: &str, key: &str, shape: &[usize]) -> Self {
        let values = rule_tensor(key, shape).into_values();
        Self { key: format!("{prefix}{key}"), shape: shape.to_vec(), values }
    }

    fn is_counter(&self) -> bool {
        self.key.ends_with(COUNTER)
    }

    fn bytes(&self) -> Vec<u8> {
        if self.is_counter() {
            self.values.iter().flat_map(|value| (*value as i64).to_le_bytes()).collect()
        } else {
            self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
    }
}

pub fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn int(out: &mut Vec<u8>, number: usize) {
    out.push(b'J');
    out.extend((number as i32).to_le_bytes());
}

fn tuple(out: &mut Vec<u8>, numbers: impl Iterator<Item = usize>) {
    out.push(b'(');
    numbers.for_each(|number| int(out, number));
    out.push(b't');
}

/// The pickle: the state dict, around it `state_dict` where `wrapped`.
fn pickle(tensors: &[Stored], legacy: bool, wrapped: bool) -> Vec<u8> {
    let mut out = b"\x80\x02".to_vec();
    if wrapped {
        out.push(b'}');
        text(&mut out, "state_dict");
    }
    out.extend(b"ccollections\nOrderedDict\nq\x00)Rq\x01(");
    // What occurs again is kept at its first use and recalled, as torch does.
    let mut kept = Vec::new();
    let mut said = |out: &mut Vec<u8>, index: u8, what: &[u8]| {
        if kept.contains(&index) {
            out.extend([b'h', index]);
        } else {
            out.extend(what);
            out.extend([b'q', index]);
            kept.push(index);
        }
    };
    for (number, tensor) in tensors.iter().enumerate() {
        text(&mut out, &tensor.key);
        said(&mut out, 2, b"ctorch._utils\n_rebuild_tensor_v2\n");
        out.extend(b"((");
        said(&mut out, 3, b"X\x07\0\0\0storage");
        match tensor.is_counter() {
            true => said(&mut out, 4, b"ctorch\nLongStorage\n"),
            false => said(&mut out, 5, b"ctorch\nFloatStorage\n"),
        }
        text(&mut out, &number.to_string());
        said(&mut out, 6, b"X\x06\0\0\0cuda:0");
        int(&mut out, tensor.values.len());
        out.extend(if legacy { &b"NtQ"[..] } else { &b"tQ"[..] });
        int(&mut out, 0);
        tuple(&mut out, tensor.shape.iter().copied());
        let axes = 0..tensor.shape.len();
        tuple(&mut out, axes.map(|axis| tensor.shape[axis + 1..].iter().product()));
        out.extend(b"\x89h\x00)RtR");
    }
    out.extend(b"u}");
    text(&mut out, "_metadata");
    out.extend(b"h\x00)Rsb");
    if wrapped {
        out.push(b's');
    }
    out.push(b'.');
    out
}

/// The container before torch 1.6.
pub fn legacy(tensors: &[Stored], wrapped: bool) -> Vec<u8> {
    legacy_of(&pickle(tensors, true, wrapped), tensors)
}

/// The same around any pickle.
pub fn legacy_of(pickle: &[u8], tensors: &[Stored]) -> Vec<u8> {
    let mut out = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    out.extend(b"\x80\x02M\xe9\x03.\x80\x02}");
    text(&mut out, "little_endian");
    out.extend(b"\x88s.");
    out.extend(pickle);
    out.extend(b"\x80\x02](");
    (0..tensors.len()).for_each(|number| text(&mut out, &number.to_string()));
    out.extend(b"e.");
    for tensor in tensors {
        out.extend((tensor.values.len() as i64).to_le_bytes());
        out.extend(tensor.bytes());
    }
    out
}

/// The container since torch 1.6, under the folder `ckpt/`.
pub fn zip(tensors: &[Stored], wrapped: bool) -> Vec<u8> {
    let pickle = pickle(tensors, false, wrapped);
    let storages =
        tensors.iter().enumerate().map(|(i, tensor)| (format!("ckpt/data/{i}"), tensor.bytes()));
    let files = std::iter::once(("ckpt/data.pkl".to_owned(), pickle)).chain(storages);
    archive(files.chain([("ckpt/version".to_owned(), b"3\n".to_vec())]))
}

/// A zip archive of stored files.
pub fn archive(files: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let (mut out, mut directory, mut count) = (Vec::new(), Vec::new(), 0_u16);
    for (name, data) in files {
        let header = out.len() as u32;
        out.extend(b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        out.extend((name.len() as u16).to_le_bytes());
        out.extend([0, 0]);
        out.extend(name.bytes());
        out.extend(&data);
        directory.extend(entry(&name, data.len() as u32, header));
        count += 1;
    }
    let start = out.len() as u32;
    let length = directory.len() as u32;
    out.extend(directory);
    out.extend(end(count, length, start));
    out
}

/// An entry of the directory.
pub fn entry(name: &str, size: u32, header: u32) -> Vec<u8> {
    let mut out = b"PK\x01\x02\0\0\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0".to_vec();
    out.extend([size.to_le_bytes(), size.to_le_bytes()].concat());
    out.extend((name.len() as u16).to_le_bytes());
    out.extend([0; 12]);
    out.extend(header.to_le_bytes());
    out.extend(name.bytes());
    out
}

/// The directory's end.
pub fn end(count: u16, length: u32, start: u32) -> Vec<u8> {
    let mut out = b"PK\x05\x06\0\0\0\0".to_vec();
    out.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    out.extend([length.to_le_bytes(), start.to_le_bytes()].concat());
    out.extend([0, 0]);
    out
}
