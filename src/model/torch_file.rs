//! Weights in torch's files, read as data (specification 2.4, 7): the zip container and the
//! legacy one before it.
//!
//! Nothing in the file is run: the pickle reader knows four names and refuses every other. Every
//! size is held against the file's length before anything is reserved for it, so that reading takes
//! at most three times the file's length ([`MOST_BYTES`]) and 128 MB for its pickles.

mod keys;
mod legacy;
mod pickle;
mod published;
mod zip;

pub use keys::KeyProblems;
pub use published::{PublishedBackbone, PublishedFile, published_backbone, published_file};

use crate::bundle::rule;
use crate::part::{NamedTensors, Tensor};
use pickle::{Element, Heap, Storage, Value};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Largest file that is read; an official checkpoint has 112 MB.
pub const MOST_BYTES: u64 = 1 << 30;

/// Why a file of weights cannot be read.
#[derive(Debug, Error)]
pub enum TorchFileError {
    /// The file cannot be opened.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// Neither of torch's containers.
    #[error("not a file of torch.save: it begins like neither of its containers")]
    NotATorchFile,
    /// The container is damaged or of a kind torch does not write.
    #[error("torch file, at byte {offset}: {what}")]
    Container {
        /// Where in the file.
        offset: usize,
        /// What is wrong.
        what: String,
    },
    /// The pickle in it says something that a file of weights does not.
    #[error("torch file, pickle at byte {offset}: {what}")]
    Pickle {
        /// Where in the file.
        offset: usize,
        /// What is wrong.
        what: String,
    },
    /// A tensor whose shape, strides or storage do not fit.
    #[error("tensor {key}: {what}")]
    Tensor {
        /// Its key.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// More than any file of weights.
    #[error("{}: is larger than {MOST_BYTES} bytes or no plain file: no file of weights", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Tensors that the backbone needs are not there, or not as they must be.
    #[error("{}: not the weights of {backbone} ({problems})\n{remedy}", path.display())]
    OtherBackbone {
        /// The file.
        path: PathBuf,
        /// The backbone asked for.
        backbone: &'static str,
        /// What is wrong.
        problems: Box<KeyProblems>,
        /// Where the right file is found.
        remedy: String,
    },
}

/// Bytes of every storage, by its key.
type Storages<'a> = HashMap<&'a str, &'a [u8]>;

/// What a file of weights holds.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The f32 tensors by key.
    pub tensors: NamedTensors,
    /// Shapes of the integer tensors by key; their values mean nothing here.
    pub integers: BTreeMap<String, Vec<usize>>,
}

impl Contents {
    /// Shapes of the f32 tensors and of the counters of batches, the only integers of a network.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let counters = self.integers.iter().filter(|(key, _)| key.ends_with(rule::COUNTER));
        let counters = counters.map(|(key, shape)| (key.clone(), shape.clone()));
        let floats = self.tensors.iter();
        floats.map(|(key, tensor)| (key.clone(), tensor.shape().to_vec())).chain(counters).collect()
    }
}

/// Bytes of a file, refused beyond [`MOST_BYTES`], and their SHA-256 in hexadecimal digits.
pub(super) fn read_bytes(path: &Path) -> Result<(Vec<u8>, String), TorchFileError> {
    let io = |reason| TorchFileError::Io { path: path.to_path_buf(), reason };
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    let mut bytes = Vec::new();
    if metadata.is_file() && metadata.len() <= MOST_BYTES {
        // It may grow meanwhile.
        file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(io)?;
    } else {
        return Err(TorchFileError::TooLarge { path: path.to_path_buf() });
    }
    let digest = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    Ok((bytes, digest))
}

/// The f32 tensors of the bytes of a `.pth` file; see [`parse_contents`].
pub fn parse(bytes: &[u8]) -> Result<NamedTensors, TorchFileError> {
    Ok(parse_contents(bytes)?.tensors)
}

/// Reads the bytes of a `.pth` file: a dictionary of tensors, or one whose only entry is such a
/// dictionary under `state_dict`. Keys stay as stored (`module.` and all).
pub fn parse_contents(bytes: &[u8]) -> Result<Contents, TorchFileError> {
    let (heap, root, storages) = if bytes.starts_with(zip::SIGNATURE) {
        zip::open(bytes)?
    } else if bytes.starts_with(legacy::SIGNATURE) {
        legacy::open(bytes)?
    } else {
        return Err(TorchFileError::NotATorchFile);
    };
    let entries = state_dict(&heap, root)?;
    let mut contents = Contents::default();
    // Tensors may share a storage or repeat its elements; together they may not outgrow the file.
    let mut allowance = bytes.len() / 4;
    for (key, value) in entries {
        let (Value::Text(key), Value::Tensor(tensor)) = (key, value) else {
            let what = format!("a state dict holds tensors by name, not {value} by {key}");
            return Err(TorchFileError::Pickle { offset: 0, what });
        };
        let wrong = |what: String| TorchFileError::Tensor { key: keys::shown(key), what };
        let view = heap.tensor(*tensor);
        let view = view.ok_or_else(|| wrong("refers to nothing".into()))?;
        if contents.tensors.contains_key(*key) || contents.integers.contains_key(*key) {
            return Err(wrong("occurs twice".into()));
        }
        if let Some(values) = values(view, &storages, &mut allowance).map_err(wrong)? {
            let tensor = Tensor::new(view.size.clone(), values);
            contents.tensors.insert((*key).to_owned(), tensor.map_err(|e| wrong(e.to_string()))?);
        } else {
            contents.integers.insert((*key).to_owned(), view.size.clone());
        }
    }
    Ok(contents)
}

/// The dictionary itself, or the one under its only key `state_dict`.
fn state_dict<'h, 'a>(
    heap: &'h Heap<'a>,
    root: Value<'a>,
) -> Result<&'h [(Value<'a>, Value<'a>)], TorchFileError> {
    let dictionary = |value| match value {
        Value::Dictionary(id) => heap.dictionary(id),
        _ => None,
    };
    let found = dictionary(root).and_then(|entries| match entries {
        [(Value::Text("state_dict"), inner)] => dictionary(*inner),
        entries => Some(entries),
    });
    found.ok_or_else(|| TorchFileError::Pickle {
        offset: 0,
        what: "holds no dictionary of tensors".into(),
    })
}

/// Row-major values of an f32 tensor, taken off `allowance`; `None` for an integer one.
///
/// The strides are free: the published Lite0 weights keep TensorFlow's order of axes.
fn values(
    view: &pickle::View,
    storages: &Storages,
    allowance: &mut usize,
) -> Result<Option<Vec<f32>>, String> {
    let Storage { element, key, count } = view.storage;
    let bytes = storages
        .get(key)
        .ok_or_else(|| format!("its storage {:?} is missing", keys::shown(key)))?;
    if count.checked_mul(element.bytes()) != Some(bytes.len()) {
        let found = bytes.len();
        return Err(format!("its storage of {count} elements has {found} bytes"));
    }
    let mut elements = Some(1_usize);
    let mut last = Some(view.offset);
    for (size, stride) in view.size.iter().zip(&view.stride) {
        elements = elements.and_then(|elements| elements.checked_mul(*size));
        let reach = size.saturating_sub(1).checked_mul(*stride);
        last = last.zip(reach).and_then(|(last, reach)| last.checked_add(reach));
    }
    if elements != Some(0) && last.is_none_or(|last| last >= count) {
        return Err(format!("shape {:?} reaches beyond its storage of {count}", view.size));
    }
    let left = elements.and_then(|elements| allowance.checked_sub(elements));
    let (Some(elements), Some(left)) = (elements, left) else {
        return Err("the tensors together are larger than the file".into());
    };
    if element == Element::Long {
        return Ok(None);
    }
    *allowance = left;
    let mut values = Vec::with_capacity(elements);
    let mut index = vec![0; view.size.len()];
    let mut position = view.offset;
    while values.len() < elements {
        let value = bytes.get(position * 4..).and_then(|rest| rest.first_chunk());
        values.push(f32::from_le_bytes(*value.ok_or("reaches beyond its storage")?));
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < view.size[axis] {
                position += view.stride[axis];
                break;
            }
            position -= (index[axis] - 1) * view.stride[axis];
            index[axis] = 0;
        }
    }
    Ok(Some(values))
}

#[cfg(test)]
mod tests;
